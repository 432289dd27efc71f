"""The report of a calibration: headline, tables, pictures, what got through, and how to make it again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
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
from ad_hypotheses.known.calibration.record import REFUSED, Calibration, Coverage, TrialOutcome
from ad_hypotheses.report.templates import render
from ad_hypotheses.report.words import NONE, Markdown, counted, figure, file_name, options_of, percent, table
from ad_hypotheses.storage.files import report_files, write_report_files
from ad_hypotheses.studies.tables import calibration_csv


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
    """Return one row for each claim and size of study, for a spreadsheet."""
    table_rows: list[dict[str, Any]] = []
    for claim in calibration.claims:
        for n_rows, passes in sizes(calibration):
            trials = about(calibration.trials(n_rows, passes), [claim])
            verdicts = [trial.verdicts[f"{calibration.accept:.2f}"] for trial in trials]
            ratios = {
                name: [number.value for number in (getattr(trial, name) for trial in trials) if number.estimable]
                for name in ("recovered", "beyond_structure")
            }
            table_rows.append(
                {"network": claim.network, "claim": claim.claim, "kind": claim.kind, "deserves": claim.expected}
                | {"rows": n_rows, "passes": passes, "trials": len(trials)}
                | {verdict: verdicts.count(verdict) for verdict in VERDICTS}
                | {
                    name: float(np.mean(values_of_ratio)) if values_of_ratio else None
                    for name, values_of_ratio in ratios.items()
                }
                | {"depth": claim.depth, "kept": claim.kept}
            )
    return table_rows


def headline(calibration: Calibration) -> list[str]:
    """Return the sentences that matter most."""
    trials, accept = calibration.trials(), calibration.accept
    n_rows, passes = calibration.standard
    true, wrong = about(trials, true_claims(calibration)), about(trials, wrong_claims(calibration))
    refuted, vacuous = (rate(true, said(accept, verdict)) for verdict in ("refuted", "vacuous"))
    open_ = rate(true, said(accept, "inconclusive", REFUSED))
    through = rate(wrong, said(accept, "supported"))
    hard = [item for item in calibration.claims if item.kind in ("injective", "cancellation")]
    rest = rate([item for item in wrong if item not in about(trials, hard)], said(accept, "supported"))
    lines = [
        f"**True claims called refuted:** {_counted(refuted)}; inconclusive or refused: {_counted(open_, True)}; "
        f"vacuous: {_counted(vacuous, True)}.",
        f"**Wrong claims called supported:** {_counted(through)}; {_counted(rest)} without those that were made so "
        "that scrubbing cannot see them (injective features, cancellation).",
    ]
    large = [item for item in calibration.coverage if item.rows == max(figure.rows for figure in calibration.coverage)]
    if large:
        shares = [item.covered / item.replicates for item in large]
        lines.append(
            f"**95 % intervals hold the exact value** in {percent(min(shares))} to {percent(max(shares))} of "
            f"{large[0].replicates} fresh datasets of {large[0].rows} histories ({len(large)} figures of "
            f"{counted(len({(item.network, item.claim) for item in large}), 'claim')}; aimed at: 92 to 98 %)."
        )
    size = f"{n_rows} histories, {passes} passes, accept {accept:.2f}"
    scope = f"{counted(len(calibration.claims), 'claim')} about {counted(len(calibration.networks), 'network')}"
    return [f"{scope}; {size}.", *lines]


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
    coverages = sorted(calibration.coverage, key=lambda item: (-item.rows, item.network, item.claim, item.figure))
    caught, trials = catches(calibration), calibration.trials()
    return render(
        "known/calibration/calibration.md",
        calibration=calibration,
        name=name or report_name(calibration),
        headline=[Markdown(sentence) for sentence in headline(calibration)],
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
        missed=not_supported(calibration),
        name_of=name_of,
        verdicts=partial(_verdicts, _key(calibration)),
        mean=_mean,
        by_depth=_by_depth(calibration),
        trials_of_claims=[(claim, about(trials, [claim])) for claim in calibration.claims],
        values=values(calibration),
        command=Markdown(calibration.command),
        minutes=f"{calibration.seconds / 60:.0f}",
        versions=", ".join(f"{package} {version}" for package, version in calibration.versions.items()),
    )


def _by_kind(calibration: Calibration) -> Markdown:
    """Return the verdicts on each kind of claim."""
    lines = []
    for kind in kinds(calibration):
        claims = [item for item in calibration.claims if item.kind == kind]
        trials = about(calibration.trials(), claims)
        deserved = {name_of(item): item.expected for item in claims}
        wrong = rate(trials, lambda item: item.verdicts[_key(calibration)] != deserved[name_of(item)])  # noqa: B023
        verdicts = [item.verdicts[_key(calibration)] for item in trials]
        counts = [verdicts.count(verdict) for verdict in VERDICTS]
        lines.append(
            [kind, len(claims), ", ".join(dict.fromkeys(deserved.values())), len(trials), *counts, _share(wrong)]
        )
    heads = ["kind of claim", "claims", "deserves", "studies", *VERDICTS, "another verdict than deserved"]
    return table(heads, lines, left=3)


def _share(share: Rate) -> Markdown:
    value, low, high = map(percent, (share.interval.value, share.interval.low, share.interval.high))
    return Markdown(f"{value} [{low}, {high}]")


def _key(calibration: Calibration) -> str:
    return f"{calibration.accept:.2f}"


_RATES = [
    "true: refuted",
    "true: inconclusive",
    "true: vacuous",
    "true: refused",
    "wrong: supported",
    "wrong: inconclusive",
]


def _errors_by_size(calibration: Calibration) -> Markdown:
    lines = [
        [n_rows, passes, *_rates(calibration, calibration.trials(n_rows, passes), _key(calibration))]
        for n_rows, passes in sizes(calibration)
    ]
    return table(["histories", "passes", *_RATES], lines, left=0)


def _errors_by_accept(calibration: Calibration) -> Markdown:
    lines = [
        [figure(accept), *_rates(calibration, calibration.trials(), f"{accept:.2f}")] for accept in accepts(calibration)
    ]
    return table(["accept", *_RATES], lines, left=0)


def _rates(calibration: Calibration, trials: Sequence[TrialOutcome], key: str) -> list[Markdown]:
    true, wrong = about(trials, true_claims(calibration)), about(trials, wrong_claims(calibration))
    asked: list[tuple[list[TrialOutcome], str]] = [
        (true, verdict) for verdict in ("refuted", "inconclusive", "vacuous", "refused")
    ] + [(wrong, "supported"), (wrong, "inconclusive")]
    return [_share(rate(outcomes, _was(key, verdict))) for outcomes, verdict in asked]


def _was(key: str, verdict: str) -> Callable[[TrialOutcome], bool]:
    return lambda trial: trial.verdicts[key] == verdict


def _covered(entry: Coverage) -> Number:
    return exact_interval(entry.covered, entry.replicates)


def _beside_aim(entry: Coverage) -> str:
    """Return on which side of what is aimed at a coverage lies; nothing where it is inside."""
    value = _covered(entry).value
    return "" if AIM[0] <= value <= AIM[1] else "below" if value < AIM[0] else "above"


def _verdicts(key: str, trials: Sequence[TrialOutcome]) -> str:
    """Return how often which verdict was given, `"supported 3, inconclusive 1"`."""
    verdicts = [trial.verdicts[key] for trial in trials]
    return ", ".join(f"{verdict} {verdicts.count(verdict)}" for verdict in dict.fromkeys(verdicts))


def _mean(trials: Sequence[TrialOutcome], name: str) -> float:
    """Return the mean of a figure over trials."""
    figures = [getattr(trial, name) for trial in trials]
    return float(np.mean([item.value if isinstance(item, Number) else item for item in figures]))


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
