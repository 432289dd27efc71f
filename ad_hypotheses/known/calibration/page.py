"""The report of a calibration: headline, tables, pictures, what got through, and how to make it again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

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
from ad_hypotheses.known.calibration.record import REFUSED, Calibration, ClaimFacts, TrialOutcome
from ad_hypotheses.report.words import code, figure, file_name, interval, literal, options_of, percent
from ad_hypotheses.storage.files import report_files
from ad_hypotheses.studies.evaluate.learners import counted
from ad_hypotheses.studies.tables import calibration_csv


def write_calibration(calibration: Calibration, folder: Path) -> list[Path]:
    """Write `calibration.md` with its pictures, its figures as CSV and its record; returns the paths, the page last.

    Raises:
        UserError: They cannot be written.
    """
    pictures = {"kinds.png": by_kind(calibration), "errors.png": errors(calibration)}
    pictures["measures.png"] = measures(calibration)
    pictures["features.png"] = correlated(calibration)
    if calibration.coverage:
        pictures["coverage.png"] = coverage(calibration.coverage)
    table = calibration_csv(rows(calibration))
    return report_files(folder, report_name(calibration), pictures, calibration.to_json(), table, page(calibration))


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


def page(calibration: Calibration) -> str:
    """Return the page as Markdown."""
    parts = [
        "# Calibration: how often verdicts are wrong",
        "Networks whose algorithm is known node by node were tested as any model is: their true claims, and wrong ones "
        "that are tempting. Every study has fresh histories and fresh draws; the claims of a network are judged "
        "together, with one control that the tool makes, as `scrub` does with a file.",
        "\n".join(f"- {line}" for line in headline(calibration)),
        _by_kind(calibration),
        f"![What every claim recovers, by kind]({report_name(calibration)}/kinds.png)",
        advice(calibration),
        _errors(calibration),
        _coverage(calibration),
        _measures(calibration),
        _through(calibration),
        _features(calibration),
        _claims(calibration),
        _again(calibration),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _by_kind(calibration: Calibration) -> str:
    lines = []
    for kind in kinds(calibration):
        claims = [item for item in calibration.claims if item.kind == kind]
        trials = about(calibration.trials(), claims)
        deserved = {name_of(item): item.expected for item in claims}
        wrong = rate(trials, lambda item: item.verdicts[_key(calibration)] != deserved[name_of(item)])  # noqa: B023
        verdicts = [item.verdicts[_key(calibration)] for item in trials]
        expected = ", ".join(dict.fromkeys(deserved.values()))
        counts = [str(verdicts.count(verdict)) for verdict in VERDICTS]
        lines.append([kind, str(len(claims)), expected, str(len(trials)), *counts, _share(wrong)])
    heads = ["kind of claim", "claims", "deserves", "studies", *VERDICTS, "another verdict than deserved"]
    return (
        table(heads, lines, left=3)
        + "\n\n*Refused*: on so few histories a node has nobody to swap with, and `scrub` says so instead of testing."
    )


def _share(share: Rate) -> str:
    return f"{percent(share.interval.value)} [{percent(share.interval.low)}, {percent(share.interval.high)}]"


def _key(calibration: Calibration) -> str:
    return f"{calibration.accept:.2f}"


def _errors(calibration: Calibration) -> str:
    parts = [
        "## Sample size, passes and accept",
        f"![Share of true and of wrong claims called supported]({report_name(calibration)}/errors.png)",
    ]
    by_size, by_accept = [], []
    for n_rows, passes in sizes(calibration):
        by_size.append(
            [str(n_rows), str(passes), *_two_rates(calibration, calibration.trials(n_rows, passes), _key(calibration))]
        )
    for accept in accepts(calibration):
        by_accept.append([f"{accept:.2f}", *_two_rates(calibration, calibration.trials(), f"{accept:.2f}")])
    heads = [
        "true: refuted",
        "true: inconclusive",
        "true: vacuous",
        "true: refused",
        "wrong: supported",
        "wrong: inconclusive",
    ]
    parts.append(table(["histories", "passes", *heads], by_size, left=0))
    parts.append("By the share that must be recovered, on the same studies of the standard size:")
    parts.append(table(["accept", *heads], by_accept, left=0))
    parts.append(
        "Brackets: 95 % intervals (Clopper and Pearson) of the share for fresh data on these claims. Studies of "
        "several numbers of passes on as many histories share their first passes."
    )
    return "\n\n".join(parts)


def _two_rates(calibration: Calibration, trials: Sequence[TrialOutcome], key: str) -> list[str]:
    true, wrong = about(trials, true_claims(calibration)), about(trials, wrong_claims(calibration))
    asked: list[tuple[list[TrialOutcome], str]] = [
        (true, verdict) for verdict in ("refuted", "inconclusive", "vacuous", "refused")
    ] + [(wrong, "supported"), (wrong, "inconclusive")]
    return [_share(rate(outcomes, _was(key, verdict))) for outcomes, verdict in asked]


def _was(key: str, verdict: str) -> Callable[[TrialOutcome], bool]:
    return lambda trial: trial.verdicts[key] == verdict


def _coverage(calibration: Calibration) -> str:
    if not calibration.coverage:
        return "## Do intervals hold the exact value?\n\nNo claim recovers a share strictly inside (0.2, 0.98)."
    lines = []
    ordered = sorted(calibration.coverage, key=lambda item: (-item.rows, item.network, item.claim, item.figure))
    for entry in ordered:
        share = exact_interval(entry.covered, entry.replicates)
        mark = "" if AIM[0] <= share.value <= AIM[1] else "below" if share.value < AIM[0] else "above"
        lines.append(
            [code(f"{entry.network}: {entry.claim}"), entry.figure.replace("_", " "), str(entry.rows),
             f"{entry.exact:.4f} ± {entry.exact_error:.4f}", interval(share, 3), mark,
             f"{entry.too_high}, {entry.too_low}", f"{entry.covered_mean / entry.replicates:.3f}",
             f"{entry.mean - entry.exact:+.4f}", f"{entry.deviation:.4f}", f"{entry.claimed:.4f}"]
        )  # fmt: skip
    heads = [
        "claim",
        "figure",
        "rows",
        "exact",
        "covered",
        "",
        "too high, low",
        "mean covered",
        "bias",
        "scatter",
        "claimed",
    ]
    first = calibration.coverage[0]
    return "\n\n".join(
        [
            "## Do intervals hold the exact value?",
            f"![Share of intervals that hold the exact value]({report_name(calibration)}/coverage.png)",
            f"{first.replicates} fresh datasets each, {first.passes} passes. *Exact*: pooled over "
            f"{calibration.options['exact'][2]} datasets of {calibration.options['exact'][0]:,} histories, with its "
            "standard error, read from how those datasets differ. *Mean covered*: intervals that hold the mean of all "
            "estimates, so what *covered* lacks of it is bias, of donors that are too few. *Scatter*: standard "
            "deviation of the estimates; *claimed*: what the intervals say it is.",
            table(heads, lines, left=2),
        ]
    )


def _measures(calibration: Calibration) -> str:
    where = {row.name: row.where for row in MEASURES}
    lines, caught = [], catches(calibration).values()
    for row in separations(calibration):
        apart = row.wrong - len(row.not_told_apart)
        lines.append(
            [row.measure, where[row.measure], figure(row.worst_true, 3), code(row.worst_true_claim),
             figure(row.best_wrong, 3), code(row.best_wrong_claim), f"{row.area:.3f}", f"{apart} of {row.wrong}",
             f"{sum(row.measure in names for names in caught)} of {len(caught)}"]
        )  # fmt: skip
    heads = ["measure", "from", "worst true", "", "best wrong", "", "area", "told apart", "in its network"]
    return "\n\n".join(
        [
            "## Which measure tells wrong claims from true ones?",
            f"![Measures on true and on wrong claims]({report_name(calibration)}/measures.png)",
            table(heads, lines, left=2),
            "*Told apart*: wrong claims that look worse than the worst true one; *in its network*: by 0.01 or more "
            "than the worst true one about the same network, which needs no common scale. *Area*: chance that a true "
            "claim looks better than a wrong one, ties half. *KL recovered*, *loss change recovered*: one less the "
            "mean KL divergence (size of the change of the loss) under scrubbing, as a share of that between two "
            "rows; errors of opposite sign cannot cancel in them. *Undeclared edges*, *weakest arrow*: KL divergence "
            "when all edges that no arrow speaks of, or the weakest arrow alone, read from another history, as a "
            "share of patching everything. *With donors from any step*, *with independent others*: recovered with "
            "these options, on 64 histories with one pass. *Policy agreement*: how often the explanation likes best "
            "what the model likes best.",
        ]
    )


def _through(calibration: Calibration) -> str:
    passed, caught = got_through(calibration), catches(calibration)
    lines = [
        [code(name_of(claim)), claim.kind, f"{supported.count} of {supported.trials}", literal(claim.why),
         ", ".join(caught[name_of(claim)]) or "none of these"]
        for claim, supported in passed
    ]  # fmt: skip
    heads = ["claim", "kind", "supported", "what is wrong with it", "told apart by"]
    wrong = "No wrong claim was called supported in a study of the standard size."
    if passed:
        wrong = (
            "Wrong claims that were called supported in at least one study of the standard size, and the measures by "
            "which they look worse, by 0.01 or more, than every true claim about the same network:\n\n"
            + table(heads, lines, left=5)
        )
    return f"## What got through\n\n{wrong}{_missed(calibration)}"


def _missed(calibration: Calibration) -> str:
    """Say which true claims were not supported, and how far the logits' input moved under them."""
    lines = []
    for claim, failed in not_supported(calibration):
        verdicts = [trial.verdicts[_key(calibration)] for trial in failed]
        counts = ", ".join(f"{verdict} {verdicts.count(verdict)}" for verdict in dict.fromkeys(verdicts))
        moved = figure(float(np.mean([trial.root_movement for trial in failed])), 3)
        recovered = figure(float(np.mean([trial.recovered.value for trial in failed])), 3)
        lines.append([code(name_of(claim)), counts, recovered, moved])
    if not lines:
        return ""
    heads = ["claim", "verdicts", "recovered", "root movement"]
    return "\n\nTrue claims that were not called supported:\n\n" + table(heads, lines, left=2)


def _features(calibration: Calibration) -> str:
    lines = []
    for depth in sorted({item.depth for item in calibration.claims}):
        claims = [item for item in calibration.claims if item.depth == depth]
        trials = about(calibration.trials(), claims)
        true, wrong = (about(trials, select(calibration)) for select in (true_claims, wrong_claims))
        accept = calibration.accept
        lines.append(
            [str(depth), _or_none(rate(true, lambda item: not said(accept, "supported")(item))),  # noqa: B023
             _or_none(rate(wrong, said(accept, "supported")))]
        )  # fmt: skip
    return "\n\n".join(
        [
            "## Depth, and features that go together",
            table(["depth of the claim", "true claims not supported", "wrong claims supported"], lines, left=0),
            "![What wrong claims recover over how much of the true feature their swaps keep]"
            f"({report_name(calibration)}/features.png)",
            "A wrong feature may go together with the true one. Across: how often two histories that agree on what the "
            "claim's last node reads also agree on what the true claim's last node reads, corrected for chance (1: a "
            "swap that the claim allows changes nothing that matters, so no sampling of swaps can reject it).",
        ]
    )


def _or_none(share: Rate) -> str:
    return f"{share.count} of {share.trials}, {_share(share)}" if share.trials else "-"


def _claims(calibration: Calibration) -> str:
    given = values(calibration)
    lines = [_claim(calibration, claim, given) for claim in calibration.claims]
    heads = ["claim", "kind", "deserves", "verdicts", "model", "scrubbed", "baseline", "structure", "recovered",
             "beyond structure", "swap share", "root movement"]  # fmt: skip
    words = "Means over the studies of the standard size; losses in nats."
    return f"## Every claim\n\n{words}\n\n{table(heads, lines, left=4)}"


def _claim(calibration: Calibration, claim: ClaimFacts, given: dict[str, dict[str, float]]) -> list[str]:
    trials = about(calibration.trials(), [claim])
    verdicts = [trial.verdicts[_key(calibration)] for trial in trials]
    counts = ", ".join(f"{verdict} {verdicts.count(verdict)}" for verdict in dict.fromkeys(verdicts))
    losses = [
        figure(float(np.mean([getattr(trial, name) for trial in trials])), 3)
        for name in ("model", "scrubbed", "baseline", "structure")
    ]
    ratios = [figure(given[name][name_of(claim)], 3) for name in ("recovered", "beyond structure")]
    rest = [figure(given[name][name_of(claim)]) for name in ("swap share", "root movement")]
    return [code(name_of(claim)), claim.kind, claim.expected, counts, *losses, *ratios, *rest]


def _again(calibration: Calibration) -> str:
    minutes = calibration.seconds / 60
    lasted = f" It took {minutes:.0f} minutes of processor time; two processes share them."
    versions = ", ".join(f"{name} {version}" for name, version in calibration.versions.items())
    lines = [
        [code(f"known-{network.name}"), literal(network.words), code(network.sha256[:16])]
        for network in calibration.networks
    ]
    name = report_name(calibration)
    return (
        f"## Make it again\n\n```sh\n{calibration.command}\n```\n\n"
        f"Seed {calibration.options['seed']}.{lasted} {versions}. "
        f"Figures by claim and size: [{name}.csv]({name}.csv).\n\n"
        + table(["network", "how it works", "SHA-256 of the weights"], lines, left=3)
    )


def table(heads: Sequence[str], lines: Sequence[Sequence[str]], left: int) -> str:
    """Return a Markdown table whose first `left` columns are words."""
    rule = ["---"] * left + ["--:"] * (len(heads) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *lines))
