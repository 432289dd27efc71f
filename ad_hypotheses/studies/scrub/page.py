"""The report of a study as plain files: a Markdown page that reads well on GitHub, its pictures, its record."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path

from ad_hypotheses.report import draw
from ad_hypotheses.report.words import code, figure, interval, literal, prose, sentence
from ad_hypotheses.storage.files import report_files
from ad_hypotheses.studies.adversary import page as challenge
from ad_hypotheses.studies.scrub import pictures as plots
from ad_hypotheses.studies.scrub import position_pictures as places
from ad_hypotheses.studies.scrub import sections
from ad_hypotheses.studies.scrub.record import Claim, Study, did_as_well, report_name
from ad_hypotheses.studies.tables import tidy_csv

_CURVES_TITLE = "Learning in context on held-out tasks, weights frozen"


def write_report(study: Study, folder: Path) -> list[Path]:
    """Write `<hypothesis>-<model>.md`, its pictures in a folder of that name, and beside it the record and its figures.

    The record is JSON and everything that the page says; the figures are one tidy table, as CSV.

    Everything is drawn before anything is written, and each file replaces its predecessor in one move. The same study
    gives the same bytes.

    Args:
        study: What to report.
        folder: Where to; made if it does not exist.

    Returns:
        The files: pictures, record, table, page.

    Raises:
        UserError: The folder cannot be written or the disk is full. An older report is then still whole.
    """
    pictures = draw_pictures(study)
    texts = study.to_json(), tidy_csv(study), page(study, pictures)
    return report_files(folder, report_name(study), pictures, *texts)


def draw_pictures(study: Study) -> dict[str, bytes]:
    """Return the pictures of a study by file name; those that would have nothing to show are left out."""
    claim = study.claims[0]
    pictures = {
        "recovered.png": plots.recovered(claim),
        "losses.png": plots.losses(claim, study.horizon, len(study.action_names)),
    }
    if claim.worst:
        pictures["worst.png"] = places.positions(claim.worst, study.action_names, study.task_facts.get("size"))
    if study.curves:
        pictures["curves.png"] = draw.learning_curves(study.curves, _CURVES_TITLE, unit=study.curve_unit)
    return pictures


def page(study: Study, pictures: Iterable[str]) -> str:
    """Return the page of a study as Markdown.

    Args:
        study: What to report.
        pictures: File names of those that exist, in the folder named like the page.
    """
    claim, shown = study.claims[0], set(pictures)
    parts = [
        _verdict(study),
        _claim(study),
        sections.graph(claim),
        sections.recovered(study, claim),
        _how_to_read(claim),
        sections.along_the_context(study),
        sections.by_position(claim),
        sections.nodes(study, claim),
        challenge.section(claim),
        sections.where_it_breaks(study, claim) if "worst.png" in shown else "",
        sections.controls(study),
        sections.as_a_policy(study, claim, "curves.png" in shown),
        _warnings(study),
        _rerun(study),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _verdict(study: Study) -> str:
    claim = study.claims[0]
    overall = claim.regimes[0]
    numbers = (
        f"Recovered {interval(overall.recovered)}, beyond structure {interval(overall.beyond_structure)}; "
        f"needed {figure(claim.accept)}."
    )
    lines = [
        f"# {literal(claim.name)} on {literal(study.model)}: {claim.verdict}",
        f"**{prose(sentence(claim.reason), emphasis=False)} {numbers}**",
    ]
    equals = [control for control in study.claims[1:] if control.kind == "wrong site" and did_as_well(control, claim)]
    if equals:
        lines.append(_equals_warning(claim, equals))
    return "\n\n".join(lines)


def _equals_warning(claim: Claim, equals: Sequence[Claim]) -> str:
    listed = ", ".join(f"{literal(control.name)} {interval(control.regimes[0].recovered)}" for control in equals)
    return (
        "> [!WARNING]\n"
        f"> The same claim at a wrong site does as well as the hypothesis, or better: {listed}, "
        f"against {interval(claim.regimes[0].recovered)} of the hypothesis.\n"
        "> So the numbers do not show that the claimed sites are the ones that matter."
    )


def _claim(study: Study) -> str:
    claim = study.claims[0]
    texts = [study.title, study.text] if study.title or study.text else [claim.doc]
    body = "\n\n".join(prose(inspect.cleandoc(text)) for text in texts if text.strip())
    quoted = "\n".join(f"> {line}".rstrip() for line in body.splitlines())
    model = prose(sentence(study.model_text), emphasis=False)
    return f"## The claim\n\n{quoted}\n\nWritten in {code(study.file)}. The model: {model}"


def _how_to_read(claim: Claim) -> str:
    return f"""## How to read this

- **Recovered.** Whatever the claim calls unimportant is swapped with other histories. Recovered is the share of the
  model's gain over the baseline that survives: 1 means nothing is lost, 0 means that it is no better than swapping
  everything. It is never clamped.
- **Beyond structure.** The same graph with constant features already recovers something, because swapping many steps
  averages them out. This ratio counts only what the features add. A claim is *supported* only if both ratios lie
  above {figure(claim.accept)}, fixed before the run.
- **Swap share.** How many draws really came from another history. A low share means that little was tested. With
  *self-donors* a history may stand in for itself, which flatters the claim; the verdict must hold both ways.
- **Losses** are cross-entropies of the action that the history really took. A *regime* is a kind of position; one
  average over all of them hides most of what happens.
- **Known limits.** Harm and help can cancel in an average: read the figures by position. A feature that tells nearly
  every history apart (an injective one) passes without being right: read the specificity. Relations between two
  steps are not features of one step, so this method cannot test them."""


def _warnings(study: Study) -> str:
    claim = study.claims[0]
    lines = [f"- {prose(sentence(warning), emphasis=False)}" for warning in claim.warnings]
    for control in study.claims[1:]:
        new = [warning for warning in control.warnings if warning not in claim.warnings]
        lines += [f"- {literal(control.name)}: {prose(sentence(warning), emphasis=False)}" for warning in new]
    return "## Warnings\n\n" + ("\n".join(lines) or "None.")


def _rerun(study: Study) -> str:
    options = [code(f"{key}={value}") for key, value in study.options.items() if value is not None]
    versions = [f"{literal(name)} {literal(version)}" for name, version in study.versions.items()]
    facts = [
        ["Model", f"{code(study.model)}: {prose(study.model_text, emphasis=False)}"],
        ["Checkpoint (SHA-256)", code(study.model_sha256)],
        ["Task", ", ".join([code(study.task), *(f"{literal(k)} {v}" for k, v in study.task_facts.items())])],
        ["Data", prose(study.data_text, emphasis=False)],
        ["Histories", f"{study.rows:,} rows of {study.n_steps:,} steps, {study.horizon} steps an episode"],
        ["Options", ", ".join(options) or "-"],
        ["Versions", ", ".join(versions) or "-"],
    ]
    name = report_name(study)
    return "\n\n".join(
        [
            "## Rerun",
            f"```sh\n{study.command.strip()}\n```",
            sections.table(["", ""], facts),
            f"Every number of this page, and more, is in [{literal(name)}.json]({name}.json).",
        ]
    )
