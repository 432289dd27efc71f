"""The report of a study as plain files: a Markdown page that reads well on GitHub, its pictures, its record."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ad_hypotheses.evidence.plain_data import as_recorded
from ad_hypotheses.evidence.spending import CLEARLY
from ad_hypotheses.evidence.verdict import (
    ENOUGH_LEARNERS,
    ENOUGH_NATS,
    POWER_AT_LEAST,
    SWAPPED_AT_LEAST,
    VACUOUS_BELOW,
)
from ad_hypotheses.report.templates import render
from ad_hypotheses.report.words import NOT_ESTIMABLE, Markdown, code, figure, prose
from ad_hypotheses.storage.files import report_files, write_report_files
from ad_hypotheses.studies.adversary.page import at_stake, section
from ad_hypotheses.studies.rivals import page as rival_page
from ad_hypotheses.studies.scrub.graph import CLASSES, mermaid, node_class
from ad_hypotheses.studies.scrub.made import POSITIONS
from ad_hypotheses.studies.scrub.opening import controls_outcome, next_step, program_of, status, undeclared_section
from ad_hypotheses.studies.scrub.pictures import draw_pictures
from ad_hypotheses.studies.scrub.position_pictures import MAX_DRAWN
from ad_hypotheses.studies.scrub.record import Claim, Study, did_as_well, kept, report_name
from ad_hypotheses.studies.tables import tidy_csv

_SPARKS = "▁▂▃▄▅▆▇█"
_COLOURS = {"ok": "blue", "weak": "orange", "exact": "grey", "untested": "white, dashed", "made": "green"}


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
    return write_report_files(draw_report(study), folder)


def draw_report(study: Study, name: str = "") -> dict[str, bytes]:
    """Return the files of a report by their path in its folder, the page last.

    Args:
        study: What to report; drawn as its record says it, so that the record gives the same report.
        name: Of the files; by default that of the hypothesis and the model.
    """
    study, name = as_recorded(study), name or report_name(study)
    pictures = draw_pictures(study)
    return report_files(name, pictures, study.to_json(), tidy_csv(study), page(study, pictures, name))


def page(study: Study, pictures: Iterable[str], name: str = "") -> str:
    """Return the page of a study as Markdown, which `scrub.md` says word for word.

    Args:
        study: What to report.
        pictures: File names of those that exist, in the folder named like the page.
        name: Of the page.
    """
    claim, controls = study.claims[0], study.claims[1:]
    equals = [control for control in controls if did_as_well(control, claim)]
    return render(
        "studies/scrub/scrub.md",
        study=study,
        claim=claim,
        controls=controls,
        equals=equals,
        wrong_sites=[control for control in equals if control.kind == "wrong site"],
        name=name or report_name(study),
        explore=f"{program_of(study)} explore {name or report_name(study)}.json",
        pictures=set(pictures),
        quotation=_quotation(study),
        graph=Markdown(mermaid(claim)),
        legend=_legend(claim),
        draws_vary=max([spent.passes for spent in claim.spending] or [study.options.get("passes", 2)]) > 1,
        vacuous_below=f"{VACUOUS_BELOW:.0%}",
        swapped_at_least=f"{SWAPPED_AT_LEAST:.0%}",
        tested_nodes=[node for node in claim.nodes if node.level != "root"],
        made_nodes=[node for node in claim.nodes if node.symmetry is not None],
        power_at_least=f"{POWER_AT_LEAST:g}",
        made_positions=POSITIONS,
        stake=at_stake(claim),
        sample=f"on {'the first 64' if study.rows > 64 else 'these'} histories and in one pass",
        class_sizes=_class_sizes,
        adversary=section(claim),
        rivals=rival_page.section(claim.rivals),
        regime_names=[regime.name for regime in claim.of_data(claim.regimes[0].data) if regime.name != "all"],
        names_bar=figure(claim.accept) in claim.reason,
        controls_outcome=controls_outcome(claim, controls),
        rivals_outcome=rival_page.outcome(claim.rivals),
        next_step=None if claim.undeclared is None else next_step(claim.undeclared),
        undeclared=undeclared_section(study),
        status=status,
        names_ratio=any(status(regime) != regime.status for regime in claim.regimes if regime.status),
        n_drawn=min(len(claim.worst), MAX_DRAWN),
        moved_sites=_moved_sites,
        difference=_difference,
        kept=kept,
        half_pool=_half_pool(claim.half_pool),
        clearly=f"{CLEARLY:g}",
        not_counting=[regime for regime in claim.regimes if regime.why_not],
        enough_learners=ENOUGH_LEARNERS,
        enough_nats=f"{ENOUGH_NATS:g}",
        rollouts=[f"{curve.name} {curve.rollouts:,}" for curve in study.curves if curve.rollouts],
        control_warnings=_control_warnings(claim, controls),
        command=Markdown(study.command.strip()),
        options=[code(f"{key}={value}") for key, value in study.options.items() if value is not None],
        versions=[f"{package} {version}" for package, version in study.versions.items()],
    )


def _quotation(study: Study) -> Markdown:
    """Return what the hypothesis file says of itself, or the claim where the file says nothing, as a quotation."""
    texts = [study.title, study.text] if study.title or study.text else [study.claims[0].doc]
    body = "\n\n".join(prose(inspect.cleandoc(text), emphasis=True) for text in texts if text.strip())
    return Markdown("\n".join(f"> {line}".rstrip() for line in body.splitlines()))


def _legend(claim: Claim) -> list[str]:
    """Return what each colour of the graph means, of the colours that it has."""
    used = {node_class(node, claim) for node in claim.nodes}
    return [f"{_COLOURS[name]}: {meaning}" for name, meaning in CLASSES.items() if name in used]


def _class_sizes(sizes: dict[str, int]) -> str:
    """Return a histogram as a line of text, with the largest class size that occurs."""
    used = [label for label, count in sizes.items() if count > 0]
    if not used:
        return "-"
    labels = list(sizes)[list(sizes).index(used[0]) : list(sizes).index(used[-1]) + 1]
    top = max(sizes.values())
    bars = "".join(_SPARKS[-(-sizes[label] * (len(_SPARKS) - 1) // top)] for label in labels)
    return f"{bars} {f'up to {used[-1]}' if len(used) > 1 else used[0]}"


def _moved_sites(sites: dict[str, str]) -> Markdown:
    """Return which nodes of a control sit elsewhere: where the claim has them, and where the control does."""
    arrow = re.compile(r"\s*(?:->|→)\s*")
    changes = [f"{code(node)}: {' → '.join(map(code, arrow.split(change)))}" for node, change in sites.items()]
    return Markdown("; ".join(changes) or "-")


def _half_pool(change: float | None) -> str:
    """Return how fidelity changes with half as many donors."""
    return "" if change is None else f"{abs(change):.3f} {'higher' if change > 0 else 'lower'}"


def _difference(control: Claim, claim: Claim) -> str:
    """Return what a control keeps, less what the claim keeps."""
    shares = [kept(item) for item in (control, claim)]
    if not all(number.estimable for number in shares):
        return NOT_ESTIMABLE
    return f"{shares[0].value - shares[1].value:+.2f}"


def _control_warnings(claim: Claim, controls: Sequence[Claim]) -> list[tuple[Claim, str]]:
    """Return the warnings of controls that the claim does not share."""
    return [(control, text) for control in controls for text in control.warnings if text not in claim.warnings]
