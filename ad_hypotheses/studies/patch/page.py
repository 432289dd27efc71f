"""The report on patches as plain files: which declared arrows are needed, and which undeclared edges matter more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ad_hypotheses.causal.metrics import METRICS
from ad_hypotheses.evidence.effects import ALPHA, Effect, PatchRecord, PatchStudy, Screening
from ad_hypotheses.report.words import chance, code, figure, file_name, interval, literal, options_of, prose, sentence
from ad_hypotheses.storage.files import report_files
from ad_hypotheses.studies.patch import pictures as heatmap
from ad_hypotheses.studies.patch.answer import answer, arrows_of, by_size, declared_of, open_of, undeclared_of
from ad_hypotheses.studies.patch.graph import drawing
from ad_hypotheses.studies.tables import patch_csv, patch_parquet

LISTED = 20  # edges in a table; the CSV has all
DRAWN = 12  # edges of the model in the drawing, and in the picture of the strongest


def patch_report_name(study: PatchStudy) -> str:
    """Return the name of the report's files without their ending, `"patch-mimic-dark-room"`."""
    return file_name("patch", *(part for part in (study.name, study.model) if part), *options_of(study.command))


def write_patch_report(study: PatchStudy, folder: Path, parquet: bool = False) -> list[Path]:
    """Write `patch-<hypothesis>-<model>.md`, its pictures, and beside it the record and all effects as a table.

    Args:
        study: What to report.
        folder: Where to; made if it does not exist.
        parquet: Whether to write the table as a parquet file too.

    Returns:
        The files, the page last.

    Raises:
        UserError: The folder cannot be written or the disk is full. An older report is then still whole.
    """
    pictures = draw_pictures(study)
    texts = study.to_json(), patch_csv(study), page(study, pictures)
    return report_files(
        folder, patch_report_name(study), pictures, *texts, parquet=patch_parquet(study) if parquet else b""
    )


def words_of(study: PatchStudy, metric: str) -> str:
    """Return what a metric's effect is, by the direction."""
    if study.direction == "noising":
        return METRICS[metric].words
    return f"share restored of {METRICS[metric].quantity}"


def draw_pictures(study: PatchStudy) -> dict[str, bytes]:
    """Return the pictures by file name; those that would have nothing to show are left out."""
    ranked = study.metrics[0]
    shown = [*study.of_kind("set"), *by_size(arrows_of(study), ranked), *by_size(undeclared_of(study), ranked)[:DRAWN]]
    shown += study.of_kind("node", "path")[:DRAWN]
    pictures = {}
    if shown:
        label = words_of(study, ranked)
        pictures["strongest.png"] = heatmap.strongest(shown, ranked, "The strongest effects, with 95% intervals", label)
    if heatmap.drawable(study):
        for metric in study.metrics:
            if metric == ranked or METRICS[metric].never_negative:
                words = _capital(words_of(study, metric))
                pictures[f"edges-{metric}.png"] = heatmap.edge_maps(study, metric, ["all"], words)
        regimes = [name for name in study.regimes if name != "all"]
        if len(regimes) > 1:
            words = _capital(words_of(study, ranked))
            pictures["edges-by-regime.png"] = heatmap.edge_maps(study, ranked, regimes, words)
    return pictures


def page(study: PatchStudy, pictures: Iterable[str]) -> str:
    """Return the page as Markdown.

    Args:
        study: What to report.
        pictures: File names of those that exist, in the folder named like the page.
    """
    drawn = set(pictures)
    subject = f"{literal(study.name)} on {literal(study.model)}" if study.name else literal(study.model)
    parts = [
        f"# {subject}: which edges matter",
        answer(study),
        _image(study, drawn, "strongest.png", "The strongest effects with their intervals"),
        _sets(study),
        _arrows(study),
        _edges(study),
        _others(study),
        _maps(study, drawn),
        _drawing(study),
        _how_to_read(study),
        _tested(study),
        _warnings(study),
        _rerun(study),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _sets(study: PatchStudy) -> str:
    sets, base = study.of_kind("set"), study.runs
    metric = study.metrics[0]
    plain = ", ".join(
        f"{name} {figure(base['reference'][metric][name], 3)} (on the donors {figure(base['donor'][metric][name], 3)})"
        for name in study.regimes
    )
    text = f"Plain runs, {literal(metric)} by regime: {literal(plain)}."
    if not sets:
        return text
    return "\n\n".join(["## All at once", _table(study, sets, "Set", count=True), text])


def _arrows(study: PatchStudy) -> str:
    arrows = study.of_kind("arrow")
    if not arrows:
        return ""
    inside = any(record.name.startswith("inside ") for record in arrows)
    text = "All edges of an arrow are patched at once."
    text += " *Inside* are the edges between the places of one node: no arrow, but part of the claim." if inside else ""
    return "\n\n".join(
        ["## Declared arrows", text, _table(study, by_size(arrows, study.metrics[0]), "Arrow", count=True)]
    )


def _edges(study: PatchStudy) -> str:
    edges = study.of_kind("edge")
    if not edges:
        return ""
    if not study.name:
        return "\n\n".join(["## Edges", _listed(study, edges)])
    parts = ["## Undeclared edges", "Each is patched alone. They are the evidence against the claim."]
    parts += [_listed(study, undeclared_of(study)) if undeclared_of(study) else "None was patched."]
    if study.of_kind("open"):
        text = "They lead to a node without parents. The claim says nothing of how such a node comes by its value, so "
        parts += ["## Edges left open", f"{text}these are no evidence against it; they show what to claim next."]
        parts += [
            _table(study, study.of_kind("open"), "Edges at once", count=True),
            _listed(study, open_of(study), True),
        ]
    if declared_of(study):
        parts += ["## Declared edges, one at a time", _listed(study, declared_of(study), declared=True)]
    return "\n\n".join(parts)


def _listed(study: PatchStudy, edges: Sequence[PatchRecord], declared: bool = False) -> str:
    ranked = by_size(edges, study.metrics[0])
    more = len(ranked) - LISTED
    lines = [_table(study, ranked[:LISTED], "Edge", declared=declared)]
    if more > 0:
        lines.append(f"And {more:,} weaker ones, in the CSV.")
    if study.screening and study.screening.unmeasured and not declared:
        lines.append("Attributions of the edges that were not measured are in the CSV.")
    return "\n\n".join(lines)


def _others(study: PatchStudy) -> str:
    parts = []
    for kind, head in (("node", "Nodes"), ("path", "Paths")):
        records = study.of_kind(kind)
        if records:
            parts += [f"## {head}", _table(study, by_size(records, study.metrics[0]), head[:-1])]
    return "\n\n".join(parts)


def _table(
    study: PatchStudy, records: Sequence[PatchRecord], head: str, count: bool = False, declared: bool = False
) -> str:
    """Effects: the first metric with its interval and by regime, the others over all steps."""
    first, *rest = study.metrics
    regimes = [name for name in study.regimes if name != "all"]
    heads = [head, *(["Edges"] if count else []), *(["Arrow"] if declared else [])]
    heads += [
        METRICS[first].title,
        *map(literal, regimes),
        *(literal(METRICS[name].title) for name in rest),
        "p (Holm)",
        "p (BH)",
    ]
    rows = []
    for record in records:
        row = [code(record.name) if record.kind != "set" else record.name]
        row += [str(record.n_edges)] if count else []
        row += [code(record.arrow)] if declared else []
        overall = record.effects[first]["all"]
        row += [interval(overall.value, 3), *(_figure(record.effects[first][name]) for name in regimes)]
        row += [_figure(record.effects[name]["all"]) for name in rest]
        rows.append([*row, _p(overall.holm), _p(overall.bh)])
    return table(heads, rows)


def _figure(effect: Effect) -> str:
    value = figure(effect.value.value if effect.value.estimable else None, 3)
    return f"**{value}**" if effect.sure else value


def _p(value: float | None) -> str:
    return "-" if value is None else chance(value)


def _maps(study: PatchStudy, drawn: set[str]) -> str:
    names = [name for name in sorted(drawn) if name.startswith("edges-")]
    if not names:
        return ""
    shown = [_image(study, drawn, name, f"Map of the edges: {name.removesuffix('.png')}") for name in names]
    text = "A row writes, a column reads; a cell is one edge, patched alone. Colours follow the root of the effect, so "
    text += "that weak edges show beside strong ones; white is no effect, grey no such edge."
    text += " Framed in black: declared; in blue: left open by the claim." if study.name else ""
    text += " A dot: not measured, since screening left it out." if study.screening else ""
    return "\n\n".join(["## Maps", text, *shown])


def _drawing(study: PatchStudy) -> str:
    ranked = study.metrics[0]
    edges = by_size(undeclared_of(study), ranked)[: DRAWN if study.name else LISTED]
    if not edges and not study.arrows:
        return ""
    text = f"Numbers: {words_of(study, ranked)}. "
    text += (
        "Solid blue: declared arrows, all edges of one at once. Dashed orange: the strongest undeclared edges, one "
        "between any two boxes; white boxes are places of which the claim says nothing."
        if study.name
        else "The strongest edges; of those between two components only the strongest."
    )
    return f"## The strongest edges\n\n```mermaid\n{drawing(study, edges, ranked)}\n```\n\n{text}"


def _how_to_read(study: PatchStudy) -> str:
    noising = (
        "The model runs on a history, and one edge, so what one component reads of another, comes from the run on "
        "its donor. Whatever follows is computed anew, LayerNorm too. An effect is the metric after less before: what "
        "is needed raises the loss when it is patched."
    )
    denoising = (
        "The model runs on the donor's history, and one edge, so what one component reads of another, comes from the "
        "run on the reference. Whatever follows is computed anew, LayerNorm too. An effect is the share of the "
        "difference between the two runs that comes back, a ratio of means: 1 is all of it. What is sufficient "
        "restores much; what is only needed along with something else may restore nothing."
    )
    return f"""## How to read this

- **Patching.** {noising if study.direction == "noising" else denoising}
- **Effects do not add up.** Two edges may do the same work (then neither alone is needed), or undo each other. So
  "not shown to be needed" is no proof of idleness; see the sets that are patched at once.
- **Direct and indirect.** An edge carries only what its reader sees directly; what goes through other components does
  not count, so a component can matter by none of its edges alone.
- **p-values** are two-sided, from flipping the signs of histories, and corrected across the patches of a kind.
  Bold: below {ALPHA} after Holm's correction. {_untested()}
- **Donors decide the question.** A random history differs in everything; a matched counterfactual in one thing, and
  then an edge matters only as far as it carries that thing. What is the same in both runs cannot show."""


def _untested() -> str:
    """Which metrics are not tested against 0."""
    names = [metric.quantity for metric in METRICS.values() if metric.never_negative]
    return f"{_capital(' and '.join(names))} {'is' if len(names) == 1 else 'are'} never below 0 and not tested."


def _tested(study: PatchStudy) -> str:
    single, n_sets = len(study.of_kind("edge")), len(study.of_kind("arrow", "set"))
    facts = [
        ["Donors", f"{code(study.donors)}: {prose(study.donors_text)}"],
        ["Direction", study.direction],
        ["Patches", f"{single:,} single edges, {n_sets} sets, {len(study.of_kind('node', 'path'))} nodes and paths"],
        *([["Screening", _method(study.screening)]] if study.screening else []),
        ["Steps", ", ".join(f"{literal(name)} {count:,}" for name, count in study.regimes.items())],
        ["Data", prose(study.data_text)],
        ["Model", f"{code(study.model)}: {prose(study.model_text)}"],
        ["Checkpoint (SHA-256)", code(study.model_sha256)],
        ["Hypothesis", code(study.file) if study.file else "none"],
    ]
    return "\n\n".join(["## What was tested", table(["", ""], facts)])


def _method(screening: Screening) -> str:
    gradient = (
        "gradient at the run that is patched"
        if screening.steps == 1
        else f"integrated gradients, {screening.steps} steps"
    )
    return (
        f"{gradient}: {len(screening.picked):,} of {screening.asked:,} edges picked, "
        f"{len(screening.sampled):,} drawn at random, "
        f"{len(screening.unmeasured):,} not measured; p-values are corrected as if all had been tested"
    )


def _warnings(study: PatchStudy) -> str:
    lines = [f"- {prose(sentence(warning))}" for warning in study.warnings]
    return "## Warnings\n\n" + ("\n".join(lines) or "None.")


def _rerun(study: PatchStudy) -> str:
    options = [code(f"{key}={value}") for key, value in study.options.items() if value is not None]
    versions = [f"{literal(name)} {literal(version)}" for name, version in study.versions.items()]
    name = patch_report_name(study)
    return "\n\n".join(
        [
            "## Rerun",
            f"```sh\n{study.command.strip()}\n```",
            f"Options: {', '.join(options)}. Versions: {', '.join(versions)}.",
            f"Every effect on every metric in every regime is in [{literal(name)}.csv]({name}.csv), a row each, and "
            f"with all else of this page in [{literal(name)}.json]({name}.json).",
        ]
    )


def _image(study: PatchStudy, drawn: set[str], picture: str, text: str) -> str:
    return f"![{text}]({patch_report_name(study)}/{picture})" if picture in drawn else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table of cells that are Markdown already."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
