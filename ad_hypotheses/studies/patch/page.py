"""The report on patches as plain files: which declared arrows are needed, and which undeclared edges matter more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from ad_hypotheses.causal.metrics import METRICS
from ad_hypotheses.evidence.effects import ALPHA, Effect
from ad_hypotheses.evidence.plain_data import as_recorded
from ad_hypotheses.report.templates import render
from ad_hypotheses.report.words import Markdown, chance, code, figure, file_name, interval, options_of, table
from ad_hypotheses.storage.files import report_files, write_report_files
from ad_hypotheses.studies.patch import pictures as heatmap
from ad_hypotheses.studies.patch.answer import answer, arrows_of, by_size, declared_of, open_of, undeclared_of
from ad_hypotheses.studies.patch.graph import drawing
from ad_hypotheses.studies.patch.record import PatchRecord, PatchStudy
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
    files = draw_report(study)
    if parquet:  # before the page, which comes last; with all digits
        *others, page_name = files
        files = {
            **{name: files[name] for name in others},
            f"{patch_report_name(study)}.parquet": patch_parquet(study),
            page_name: files[page_name],
        }
    return write_report_files(files, folder)


def draw_report(study: PatchStudy, name: str = "") -> dict[str, bytes]:
    """Return the files of a report by their path in its folder, the page last.

    Args:
        study: What to report; drawn as its record says it, so that the record gives the same report.
        name: Of the files; by default that of the hypothesis and the model.
    """
    study, name = as_recorded(study), name or patch_report_name(study)
    pictures = draw_pictures(study)
    return report_files(name, pictures, study.to_json(), patch_csv(study), page(study, pictures, name))


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


def page(study: PatchStudy, pictures: Iterable[str], name: str = "") -> str:
    """Return the page as Markdown, which `patch.md` says word for word.

    Args:
        study: What to report.
        pictures: File names of those that exist, in the folder named like the page.
        name: Of the page.
    """
    drawn, ranked = set(pictures), study.metrics[0]
    kinds = {kind: study.of_kind(kind) for kind in ("set", "arrow", "edge", "open", "node", "path")}
    return render(
        "studies/patch/patch.md",
        study=study,
        metric=ranked,
        name=name or patch_report_name(study),
        pictures=drawn,
        answer=Markdown(answer(study)),
        table=partial(_table, study),
        most=LISTED,
        sets=kinds["set"],
        arrows=by_size(kinds["arrow"], ranked),
        inside=any(record.name.startswith("inside ") for record in kinds["arrow"]),
        edges=kinds["edge"],
        undeclared=by_size(undeclared_of(study) if study.name else kinds["edge"], ranked),
        open_sets=kinds["open"],
        open=by_size(open_of(study), ranked),
        declared=by_size(declared_of(study), ranked),
        nodes=by_size(kinds["node"], ranked),
        paths=by_size(kinds["path"], ranked),
        n_sets=len(study.of_kind("arrow", "set")),
        maps=[picture.removesuffix(".png") for picture in sorted(drawn) if picture.startswith("edges-")],
        drawing=_drawing(study),
        effect_words=words_of(study, ranked),
        alpha=f"{ALPHA}",
        untested=_untested(),
        command=Markdown(study.command.strip()),
        options=[code(f"{key}={value}") for key, value in study.options.items() if value is not None],
        versions=[f"{package} {version}" for package, version in study.versions.items()],
    )


def _table(
    study: PatchStudy, records: Sequence[PatchRecord], head: str, count: bool = False, declared: bool = False
) -> Markdown:
    """Return effects as a table: the first metric with its interval and by regime, the others over all steps.

    Args:
        study: Where they are from.
        records: A row each.
        head: What they are.
        count: Whether to say how many edges were patched at once.
        declared: Whether to say which arrow an edge belongs to.
    """
    first, *rest = study.metrics
    regimes = [name for name in study.regimes if name != "all"]
    heads = [head, *(["Edges"] if count else []), *(["Arrow"] if declared else []), METRICS[first].title, *regimes]
    heads += [*(METRICS[name].title for name in rest), "p (Holm)", "p (BH)"]
    rows = []
    for record in records:
        row: list[str | int] = [code(record.name) if record.kind != "set" else record.name]
        row += [record.n_edges] if count else []
        row += [code(record.arrow)] if declared else []
        overall = record.effects[first]["all"]
        row += [interval(overall.value, 3), *(_figure(record.effects[first][name]) for name in regimes)]
        row += [_figure(record.effects[name]["all"]) for name in rest]
        rows.append([*row, chance(overall.holm), chance(overall.bh)])
    return table(heads, rows)


def _figure(effect: Effect) -> Markdown:
    value = figure(effect.value.value if effect.value.estimable else None, 3)
    return Markdown(f"**{value}**") if effect.sure else value


def _drawing(study: PatchStudy) -> Markdown:
    """Return the declared arrows and the strongest edges beside them as Mermaid source; empty if there are none."""
    ranked = study.metrics[0]
    edges = by_size(undeclared_of(study), ranked)[: DRAWN if study.name else LISTED]
    return Markdown(drawing(study, edges, ranked)) if edges or study.arrows else Markdown()


def _untested() -> str:
    """Return which metrics are not tested against 0, as a sentence."""
    names = [metric.quantity for metric in METRICS.values() if metric.never_negative]
    return f"{_capital(' and '.join(names))} {'is' if len(names) == 1 else 'are'} never below 0 and not tested."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
