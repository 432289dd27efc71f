"""The pictures of a report on patches: maps of writer by reader, and the strongest effects with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import FuncNorm, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ad_hypotheses.causal.metrics import METRICS
from ad_hypotheses.report.draw import BLUE, FAINT, GREY, INK, ORANGE, VERMILION, picture
from ad_hypotheses.studies.patch.answer import declared_of, open_of
from ad_hypotheses.studies.patch.record import PatchRecord, PatchStudy

MANY_COLUMNS = 60  # beyond it only one reader a head is named
LEAST_CELLS = 6  # fewer are better read in the table
_SIGNED = LinearSegmentedColormap.from_list("signed", [(0, BLUE), (0.5, "#FFFFFF"), (1, VERMILION)])
_GROWING = LinearSegmentedColormap.from_list("growing", [(0, "#FFFFFF"), (0.5, VERMILION), (1, "#4A1D00")])


def drawable(study: PatchStudy) -> bool:
    """Whether there are enough edges for a map."""
    return len({(record.reader, *record.writers) for record in study.of_kind("edge")}) >= LEAST_CELLS


def edge_maps(study: PatchStudy, metric: str, regimes: Sequence[str], words: str) -> bytes:
    """Draw what patching each edge does, a writer a row and a reader a column; one map a regime, on one scale.

    Colours follow the root of the effect, so that weak edges show beside strong ones. Declared edges have a black
    frame, those that the claim leaves open a blue one; those that a screening left out a dot.

    Args:
        study: With single edges.
        metric: Which effect.
        regimes: Which steps.
        words: What the metric is, for the title.
    """
    maps = {regime: _cells(study, metric, regime) for regime in regimes}
    rows, columns = _used(study)
    framed = {
        colour: [(rows.index(" + ".join(record.writers)), columns.index(record.reader)) for record in edges]
        for colour, edges in ((BLUE, open_of(study)), (INK, declared_of(study)))
    }
    left_out = [(rows.index(" + ".join(record.writers)), columns.index(record.reader)) for record in _unmeasured(study)]
    top = max((np.nanmax(np.abs(cells)) for cells in maps.values() if np.isfinite(cells).any()), default=0.0) or 1.0
    signed = not METRICS[metric].never_negative or study.direction == "denoising"
    norm = FuncNorm((_root, _square), vmin=-top if signed else 0, vmax=top)

    def draw(figure: Figure) -> None:
        axes = figure.subplots(len(maps), squeeze=False)[:, 0]
        for ax, (regime, cells) in zip(axes, maps.items(), strict=True):
            last = ax is axes[-1]
            image = ax.pcolormesh(
                cells, cmap=_SIGNED if signed else _GROWING, norm=norm, edgecolor=FAINT, linewidth=0.3
            )
            ax.set_facecolor(FAINT)  # no such edge
            _frames(ax, framed)
            if left_out:
                down, right = np.array(left_out).T + 0.5
                ax.plot(right, down, ".", markersize=2.2, color=GREY, markeredgewidth=0)
            _label(ax, rows, columns if last else [])
            ax.set_title(f"{words}, {regime} steps: {study.regimes[regime]:,}", fontsize=9.5)
        bar = figure.colorbar(image, ax=axes.tolist(), aspect=30, pad=0.015, fraction=0.03)
        bar.set_ticks(_ticks(top, signed), labels=[f"{tick:.2g}" for tick in _ticks(top, signed)])
        bar.ax.tick_params(labelsize=7.5)

    return picture(draw, 1.1 + len(maps) * (0.35 + 0.145 * len(rows)))


def strongest(records: Sequence[PatchRecord], metric: str, title: str, label: str) -> bytes:
    """Draw effects with their intervals, one a line: declared arrows blue, everything undeclared orange.

    The axis follows the root of the effect, as the colours of the maps do, so that weak edges show beside strong sets.

    Args:
        records: From above.
        metric: Which effect.
        title: Above the picture.
        label: Below it.
    """

    def draw(figure: Figure) -> None:
        ax = figure.subplots()
        ax.set_title(title)
        for place, record in enumerate(records):
            number = record.effects[metric]["all"].value
            colour = GREY if record.kind == "set" else BLUE if record.arrow else ORANGE
            ax.barh(place, number.value, 0.62, color=colour, alpha=0.85)
            if np.isfinite([number.low, number.high]).all():
                ax.plot([number.low, number.high], [place, place], color=INK, linewidth=1.1)
        ax.axvline(0, color=INK, linewidth=0.8)
        low, high = ax.get_xlim()
        ax.set_xscale("function", functions=(_root, _square))
        ax.set_xlim(low, high)
        ticks = [tick for tick in _ticks(_round(max(-low, high)), signed=True) if low <= tick <= high]
        ax.set_xticks(ticks, labels=[f"{tick:.2g}" for tick in ticks])
        ax.set_yticks(range(len(records)), [record.name for record in records], fontsize=8.5)
        ax.set_ylim(len(records) - 0.4, -0.6)
        ax.set_xlabel(f"{label}, on a scale of roots")
        ax.grid(axis="x")
        ax.spines["left"].set_visible(False)

    return picture(draw, 0.9 + 0.23 * len(records))


def _unmeasured(study: PatchStudy) -> list[PatchRecord]:
    return [] if study.screening is None else study.screening.unmeasured


def _used(study: PatchStudy) -> tuple[list[str], list[str]]:
    edges = [*study.of_kind("edge"), *_unmeasured(study)]
    writers, readers = {" + ".join(record.writers) for record in edges}, {record.reader for record in edges}
    groups = sorted(writers - set(study.writers))
    return [*groups, *(w for w in study.writers if w in writers)], [r for r in study.readers if r in readers]


def _cells(study: PatchStudy, metric: str, regime: str) -> Float[np.ndarray, "writer reader"]:
    rows, columns = _used(study)
    cells = np.full((len(rows), len(columns)), np.nan)
    for record in study.of_kind("edge"):
        cells[rows.index(" + ".join(record.writers)), columns.index(record.reader)] = record.value(metric, regime)
    return cells


def _frames(ax: Axes, framed: Mapping[str, Sequence[tuple[int, int]]]) -> None:
    for colour, cells in framed.items():
        for row, column in cells:
            frame = Rectangle((column + 0.06, row + 0.06), 0.88, 0.88, fill=False, edgecolor=colour, linewidth=0.7)
            ax.add_patch(frame)


def _label(ax: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    ax.set_yticks(np.arange(len(rows)) + 0.5, rows, fontsize=7)
    ax.invert_yaxis()
    few = len(columns) <= MANY_COLUMNS
    named = [(n, name) for n, name in enumerate(columns) if few or not name.endswith((".k", ".v"))]
    names = [name if few else name.removesuffix(".q") for _, name in named]
    ax.set_xticks([n + 0.5 for n, _ in named], names, rotation=90, fontsize=6.5)
    ax.spines[["left", "bottom"]].set_visible(False)


def _root(x: np.ndarray) -> np.ndarray:
    return np.sign(x) * np.sqrt(np.abs(x))


def _square(x: np.ndarray) -> np.ndarray:
    return np.sign(x) * np.square(x)


def _round(x: float) -> float:
    """The number below that has one digit other than 0."""
    return float(f"{0.95 * x:.0e}")


def _ticks(top: float, signed: bool) -> list[float]:
    grown = [top * share for share in (0.01, 0.1, 0.3, 1.0)]
    return [*(-tick for tick in reversed(grown)), 0.0, *grown] if signed else [0.0, *grown]
