"""The report of a calibration: headline, tables, pictures, what got through, and how to make it again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ad_hypotheses.evidence.plain_data import Number, as_recorded
from ad_hypotheses.known.calibration.advice import advice
from ad_hypotheses.known.calibration.answer import (
    MEASURES,
    VERDICTS,
    about,
    accepts,
    catches,
    got_through,
    kinds,
    name_of,
    not_supported,
    separations,
    sizes,
    true_claims,
    values,
    wrong_claims,
)
from ad_hypotheses.known.calibration.error_rates import Rate, exact_interval, rate, said
from ad_hypotheses.known.calibration.pictures import AIM, by_kind, correlated, coverage, errors, measures
from ad_hypotheses.known.calibration.record import (
    IN_PART,
    REFUSED,
    Calibration,
    Coverage,
    TrialCell,
    TrialOutcome,
    readable,
)
from ad_hypotheses.report.templates import render
from ad_hypotheses.report.words import NONE, Markdown, counted, figure, file_name, options_of, percent, table
from ad_hypotheses.storage.files import report_files, write_report_files
from ad_hypotheses.studies.tables import calibration_csv

WRONG = ("supported", IN_PART, "inconclusive")  # what may be said of wrong claims that are not refuted
COLUMNS = (
    "fidelity", "fidelity with independent others", "beyond structure", "explained", "fidelity over all steps",
    "recovered over all steps", "share tested", "swap share", "root movement",
)  # fmt: skip
FIGURES = (
    "at_stake", "fidelity", "with_self", "independent", "beyond_structure", "explained", "recovered", "tested",
    "swapped",
)  # fmt: skip


def write_calibration(calibration: Calibration, folder: Path) -> list[Path]:
    """Write `calibration.md` with its pictures, its figures as CSV and its record; returns the paths, the page last.

    Raises:
        UserError: They cannot be written.
    """
    return write_report_files(draw_report(calibration), folder)


def draw_report(calibration: Calibration, name: str = "") -> dict[str, bytes]:
    """Return the files of a report by their path in its folder, the page last.

    Args:
        calibration: What to report; drawn as its record says it, so that the record gives the same report.
        name: Of the files; `"calibration"` by default, with the options that are not the usual ones.
    """
    calibration, name = as_recorded(calibration), name or report_name(calibration)
    pictures = {"kinds.png": by_kind(calibration), "errors.png": errors(calibration)}
    pictures["measures.png"] = measures(calibration)
    pictures["features.png"] = correlated(calibration)
    if calibration.coverage:
        pictures["coverage.png"] = coverage(calibration.coverage)
    figures = calibration_csv(rows(calibration))
    return report_files(name, pictures, calibration.to_json(), figures, page(calibration, name))


def report_name(calibration: Calibration) -> str:
    """Return the name of the report's files without their ending, `"calibration"`, or `"calibration-quick"`."""
    return file_name("calibration", *options_of(calibration.command))


def rows(calibration: Calibration) -> list[dict[str, Any]]:
    """Return one row for each claim, size of study, data set and regime, for a spreadsheet."""
    table_rows: list[dict[str, Any]] = []
    for claim in calibration.claims:
        named = {"network": claim.network, "claim": claim.claim, "kind": claim.kind, "deserves": claim.expected}
        for n_rows in sizes(calibration):
            trials = about(calibration.trials(n_rows), [claim])
            verdicts = [trial.verdict(calibration.accept) for trial in trials]
            counts = {verdict: verdicts.count(verdict) for verdict in VERDICTS}
            by_place: dict[tuple[str, str], list[TrialCell]] = {}
            for trial in trials:
                for cell in trial.cells:
                    by_place.setdefault((cell.data, cell.regime), []).append(cell)
            for (data, regime), cells in by_place.items() or [(("", ""), [])]:
                place = {"rows": n_rows, "trials": len(trials), "data": data, "regime": regime}
                figures = {name: _mean_of_cells(cells, name) for name in FIGURES}
                counting = sum(cell.counts for cell in cells)
                table_rows.append(named | place | counts | {"counts": counting} | figures)
    return table_rows


def _mean_of_cells(cells: Sequence[TrialCell], name: str) -> float | None:
    """Return the mean of a figure over trials; None where it can be read in none."""
    figures = [getattr(cell, name) for cell in cells]
    values_of_figure = [item.value if isinstance(item, Number) else item for item in figures if readable(item)]
    return float(np.mean(values_of_figure)) if values_of_figure else None


def headline(calibration: Calibration) -> list[str]:
    """Return the sentences that matter most."""
    trials, accept, n_rows = calibration.trials(), calibration.accept, calibration.rows
    true, wrong = about(trials, true_claims(calibration)), about(trials, wrong_claims(calibration))
    refuted, vacuous = (rate(true, said(accept, verdict)) for verdict in ("refuted", "vacuous"))
    open_, in_part = rate(true, said(accept, "inconclusive", REFUSED)), rate(true, said(accept, IN_PART))
    through, partly = rate(wrong, said(accept, "supported")), rate(wrong, said(accept, IN_PART))
    lines = [
        f"**True claims called refuted:** {_counted(refuted)}; supported in some regimes only: "
        f"{_counted(in_part, True)}; inconclusive or refused: {_counted(open_, True)}; vacuous: "
        f"{_counted(vacuous, True)}.",
        f"**Wrong claims called supported:** {_counted(through)}. Supported in some regimes: {_counted(partly)}.",
    ]
    large = [item for item in calibration.coverage if item.rows == max(figure.rows for figure in calibration.coverage)]
    if large:
        shares = [item.covered / item.replicates for item in large]
        lines.append(
            f"**95 % intervals hold the exact value** in {percent(min(shares))} to {percent(max(shares))} of "
            f"{large[0].replicates} fresh data sets of {large[0].rows} references ({len(large)} figures of "
            f"{counted(len({(item.network, item.claim) for item in large}), 'claim')}; aimed at: 92 to 98 %)."
        )
    data = ", ".join(dict.fromkeys(cell.data for trial in trials for cell in trial.cells))
    size = f"{n_rows} references and {trials[0].pool:,} donors of each data set ({data}), {trials[0].passes} passes"
    scope = f"{counted(len(calibration.claims), 'claim')} about {counted(len(calibration.networks), 'network')}"
    return [f"{scope}; {size}, accept {accept:.2f}.", *lines]


def _counted(share: Rate, brief: bool = False) -> str:
    claims = f"{share.claims} of {counted(share.of_claims, 'claim')} ever"
    if brief:
        return f"{share.count} ({claims})"
    return (
        f"{share.count} of {share.trials} studies ({percent(share.interval.value)}, 95 % interval "
        f"{percent(share.interval.low)} to {percent(share.interval.high)}; {claims})"
    )


def page(calibration: Calibration, name: str = "") -> str:
    """Return the page as Markdown, which `calibration.md` says word for word.

    Args:
        calibration: What to report.
        name: Of the page.
    """
    coverages = sorted(calibration.coverage, key=lambda item: (-item.rows, name_of(item), item.regime, item.figure))
    caught, trials = catches(calibration), calibration.trials()
    return render(
        "known/calibration/calibration.md",
        calibration=calibration,
        name=name or report_name(calibration),
        headline=[Markdown(sentence) for sentence in headline(calibration)],
        of_truth=_further(calibration),
        kinds=_by_kind(calibration),
        advice=Markdown(advice(calibration)),
        errors_by_size=_errors_by_size(calibration),
        errors_by_accept=_errors_by_accept(calibration),
        intervals=coverages,
        covered=_covered,
        beside_aim=_beside_aim,
        bias=lambda entry: f"{entry.mean - entry.exact:+.4f}",
        separations=separations(calibration),
        measured_by={row.name: row.where for row in MEASURES},
        caught=caught,
        n_caught=lambda measure: sum(measure in names for names in caught.values()),
        passed=got_through(calibration),
        passed_in_part=got_through(calibration, IN_PART),
        missed=not_supported(calibration),
        name_of=name_of,
        verdicts=lambda trials: _verdicts(calibration.accept, trials),
        lowest=lambda trials: _mean([trial.lowest("fidelity") for trial in trials]),
        moved=lambda trials: _mean([trial.root_movement for trial in trials]),
        columns=COLUMNS,
        by_depth=_by_depth(calibration),
        trials_of_claims=[(claim, about(trials, [claim])) for claim in calibration.claims],
        values=values(calibration),
        command=Markdown(calibration.command),
        minutes=f"{calibration.seconds / 60:.0f}",
        versions=", ".join(f"{package} {version}" for package, version in calibration.versions.items()),
    )


def _further(calibration: Calibration) -> str:
    """Say on how many further data sets only true claims were tested; nothing where on none."""
    further = calibration.options.get("of_truth", {})
    return ", ".join(
        f"on {number} further groups of data sets with {rows} references" for rows, number in further.items()
    )


def _by_kind(calibration: Calibration) -> Markdown:
    """Return the verdicts on each kind of claim."""
    lines = []
    for kind in kinds(calibration):
        claims = [item for item in calibration.claims if item.kind == kind]
        trials = about(calibration.trials(), claims)
        deserved = {name_of(item): item.expected for item in claims}
        wrong = rate(trials, lambda item: item.verdict(calibration.accept) != deserved[name_of(item)])  # noqa: B023
        verdicts = [item.verdict(calibration.accept) for item in trials]
        counts = [verdicts.count(verdict) for verdict in VERDICTS]
        lines.append(
            [kind, len(claims), ", ".join(dict.fromkeys(deserved.values())), len(trials), *counts, _share(wrong)]
        )
    heads = ["kind of claim", "claims", "deserves", "studies", *VERDICTS, "another verdict than deserved"]
    return table(heads, lines, left=3)


def _share(share: Rate) -> Markdown:
    value, low, high = map(percent, (share.interval.value, share.interval.low, share.interval.high))
    return Markdown(f"{value} [{low}, {high}]")


_RATES = [*(f"true: {verdict}" for verdict in VERDICTS[1:]), *(f"wrong: {verdict}" for verdict in WRONG)]


def _errors_by_size(calibration: Calibration) -> Markdown:
    lines = [[n, *_rates(calibration, n, calibration.accept)] for n in sizes(calibration)]
    return table(["references", *_RATES], lines, left=0)


def _errors_by_accept(calibration: Calibration) -> Markdown:
    lines = [[figure(share), *_rates(calibration, calibration.rows, share)] for share in accepts(calibration)]
    return table(["accept", *_RATES], lines, left=0)


def _rates(calibration: Calibration, n_rows: int, accept: float) -> list[Markdown]:
    trials = calibration.trials(n_rows)
    true, wrong = about(trials, true_claims(calibration)), about(trials, wrong_claims(calibration))
    asked = [(true, verdict) for verdict in VERDICTS[1:]] + [(wrong, verdict) for verdict in WRONG]
    return [_share(rate(outcomes, said(accept, verdict))) for outcomes, verdict in asked]


def _covered(entry: Coverage) -> Number:
    return exact_interval(entry.covered, entry.replicates)


def _beside_aim(entry: Coverage) -> str:
    """Return on which side of what is aimed at a coverage lies; nothing where it is inside."""
    value = _covered(entry).value
    return "" if AIM[0] <= value <= AIM[1] else "below" if value < AIM[0] else "above"


def _verdicts(accept: float, trials: Sequence[TrialOutcome]) -> str:
    """Return how often which verdict was given, `"supported 3, inconclusive 1"`."""
    verdicts = [trial.verdicts[f"{accept:.2f}"] for trial in trials]
    return ", ".join(f"{verdict} {verdicts.count(verdict)}" for verdict in dict.fromkeys(verdicts))


def _mean(numbers: Sequence[float]) -> float:
    return float(np.mean(numbers))


def _by_depth(calibration: Calibration) -> dict[int, tuple[Markdown, Markdown]]:
    """Return by depth how many studies did not support a true claim, and how many supported a wrong one."""
    supported, by_depth = said(calibration.accept, "supported"), {}
    for depth in sorted({item.depth for item in calibration.claims}):
        trials = about(calibration.trials(), [item for item in calibration.claims if item.depth == depth])
        true, wrong = (about(trials, select(calibration)) for select in (true_claims, wrong_claims))
        missed = rate(true, lambda item: not supported(item))
        by_depth[depth] = _or_none(missed), _or_none(rate(wrong, supported))
    return by_depth


def _or_none(share: Rate) -> Markdown:
    return Markdown(f"{share.count} of {share.trials}, {_share(share)}") if share.trials else NONE
