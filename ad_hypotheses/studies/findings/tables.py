"""The tables of the findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.report.words import NONE, Markdown, code, figure, interval, table
from ad_hypotheses.studies.behave.record import MODEL, SOURCE, BehaviourCell, MixtureRecord, TestRecord
from ad_hypotheses.studies.findings.figures import Figure, Figures, Records, leading, leading_of, number_of, whole
from ad_hypotheses.studies.findings.judging import (
    NOT_ASKED,
    ConditionOutcome,
    answer_of,
    controls,
    judged,
    nearest,
    withheld_of,
)
from ad_hypotheses.studies.findings.plan import Plan

SUBJECT, PRELIMINARY, GRID, CELL = "subject", "preliminary", "grid", "cell"
OWN = "own"
WAYS = (2, 3, 4)  # steps of ways that a table shows
TOGETHER = "put together"  # ways that no episode went whole, at the end of a label
OTHERS = ("source", "belief", "counting", "gate", "way", "novice")  # rungs whose figures a table shows
SIGNS = {True: "holds", False: "fails", None: "unknown"}


def models_of(figures: Figures, *roles: str, plan: Plan | None = None) -> list[str]:
    """Return the models of some roles, in the order of a plan, that of the study by default."""
    models = (plan or figures.records.plan).models
    return [name for name, planned in models.items() if planned.role in roles]


def families(figures: Figures, plan: Plan | None = None) -> Markdown:
    """Return one row a model: the answer, what it is a mixture of in its own lives, and what no rung explains."""
    rows = []
    for name in models_of(figures, SUBJECT, plan=plan):
        family, mixture = figures.records.planned[name].family, whole(figures.records.subject(name), OWN)
        if mixture is None:
            rows.append([family, code(name), answer_of(figures, name), NONE, NONE, NONE])
            continue
        reward = interval(mixture.of_reward) if mixture.of_reward else NONE
        rows.append([family, code(name), answer_of(figures, name), _greatest(mixture), reward,
                     interval(mixture.unexplained, 3)])  # fmt: skip
    return table(["family", "model", "answer", "greatest shares", "of reward", "unexplained (nats)"], rows, left=4)


def _greatest(mixture: MixtureRecord, number: int = 3) -> Markdown:
    order = sorted(mixture.weights, key=lambda rung: -mixture.weights[rung].value)[:number]
    shares = [f"{rung} {figure(mixture.weights[rung].value)}" for rung in order if mixture.weights[rung].value >= 0.01]
    return Markdown(", ".join(shares))


def rungs(figures: Figures, plan: Plan | None = None) -> Markdown:
    """Return one row a rung and one column a family: its share in the model's own lives."""
    asked = [name for name in models_of(figures, SUBJECT, plan=plan) if whole(figures.records.subject(name), OWN)]
    subjects = [subject for name in asked if (subject := figures.records.subject(name)) is not None]
    levels = {rung.name: rung.level for subject in subjects for rung in subject.rungs}
    mixtures = [whole(subject, OWN) for subject in subjects]
    rows = [
        [Markdown(f"{levels[rung]} {rung}"), *(_share(mixture.weights.get(rung)) for mixture in mixtures if mixture)]
        for rung in sorted(levels, key=lambda rung: levels[rung])
    ]
    return table(["rung", *map(code, asked)], rows, left=1)


def _share(number: Number | None) -> Markdown:
    if number is None:
        return NONE
    shown = figure(number.value)
    return Markdown(f"**{shown}**") if number.value >= 0.5 else shown


def tests(figures: Figures, model: str) -> Markdown:
    """Return one row a test: the figure of the model, of some rungs, the nearest rung, and whether it is reported."""
    subject = figures.records.subject(model)
    rows = []
    withheld = withheld_of(figures, model)
    for test in subject.tests if subject else ():
        rows.append([
            test.name, test.effect, interval(test.effects[MODEL]), others(test), nearest(test),
            "no" if test.name in withheld else "yes",
        ])  # fmt: skip
    return table(["test", "figure", "model", "others", "nearest over all cells", "reported"], rows)


def others(test: TestRecord) -> Markdown:
    """Return the figures of some rungs in a test."""
    return Markdown(", ".join(f"{who} {figure(test.effects[who].value)}" for who in OTHERS if who in test.effects))


def answers(figures: Figures, plan: Plan | None = None) -> Markdown:
    """Return every condition of every answer, for each model that is a subject."""
    rows = []
    for name in models_of(figures, SUBJECT, plan=plan):
        if name not in figures.records.asked:
            rows.append([code(name), NOT_ASKED, NONE, NONE, NONE, NONE])
            continue
        for answer in (plan or figures.records.plan).answers:
            conditions = judged(answer, figures, name, withheld_of(figures, name))
            rows += [[code(name), answer.answer, *_condition(each)] for each in conditions]
    return table(["model", "answer", "condition", "figure", "threshold", ""], rows, left=3)


def _condition(condition: ConditionOutcome) -> list[Markdown | str]:
    number = NONE if condition.number is None else _shown(condition.number)
    return [code(condition.figure), number, f"{condition.sign} {condition.limit:g}", SIGNS[condition.holds]]


def judged_controls(figures: Figures) -> Markdown:
    """Return every condition of every control."""
    rows = [[name, *_condition(each)] for name, conditions in controls(figures).items() for each in conditions]
    return table(["control", "condition", "figure", "threshold", ""], rows, left=2)


def confusion(figures: Figures) -> Markdown:
    """Return one row a known network: the rung that it is, and those with the greatest shares."""
    rows = []
    for name, planned in figures.records.plan.models.items():
        if not planned.expected:
            continue
        mixture = whole(figures.records.subject(name), SOURCE)
        verdict = "-" if not mixture else "yes" if leading_of(figures.records, name) == planned.expected else "**no**"
        rows.append([code(name), planned.expected, _greatest(mixture) if mixture else NONE, Markdown(verdict)])
    return table(["network", "is a", "greatest shares", "told"], rows)


def pilots(figures: Figures) -> Markdown:
    """Return every figure that was measured before the study, beside that of the study."""
    rows = []
    near = figures.records.plan.thresholds["nearby"]
    for words, pilot in figures.records.plan.pilots.items():
        value = figures.get(pilot.reference)
        if value is None:
            rows.append([words, figure(pilot.value), NONE, NOT_ASKED])
            continue
        number = number_of(value)
        inside = number.has_interval and number.low <= pilot.value <= number.high
        again = inside or abs(number.value - pilot.value) <= near
        rows.append([words, _exact(pilot.value), _shown(number), "yes" if again else "**no**"])
    rows = [[*row[:3], Markdown(row[3])] for row in rows]
    return table(["figure", "before", "in the study", "reproduced"], rows, left=1)


def _shown(number: Number) -> Markdown:
    return interval(number) if number.has_interval else figure(number.value)


def _exact(value: float) -> Markdown:
    """Return a figure with the digits that it was written with."""
    return Markdown(f"{value:g}") if abs(value) < 0.01 and value else figure(value)


def sizes(figures: Figures, roles: Sequence[str] = (PRELIMINARY,)) -> Markdown:
    """Return one row a model of a sweep: what pay pulls, what failures take from it, and what stays without pay."""
    names = [name for name in (*models_of(figures, *roles), "dark-room") if name in figures.records.asked]
    columns = {
        "pull of one reward": "paid.{}.step", "most less one": "paid.{}.rise", "failures": "failure.{}.effect",
        "failures, visits alike": "stale.{}.effect", "likeliest action kept": "erased.{}.same",
    }  # fmt: skip
    rows = []
    for name in names:
        subject = figures.records.asked[name].subjects[0]
        cells = [figures.get(reference.format(name)) for reference in columns.values()]
        shown = map(_interval, cells)
        rows.append([code(name), subject.layers, subject.train_tasks, *shown])
    return table(["model", "layers", "training goals", *columns], rows, left=1)


def cells(figures: Figures) -> Markdown:
    """Return one row a model that may have learned to plan: how it was trained, and how it goes ways of each length."""
    rows = []
    for name, planned in figures.records.planned.items():
        test = test_of(figures.records, "stitched", name) if planned.role == CELL else None
        if test is None:
            continue
        card = figures.records.cards[name]
        numbers = {steps: cell.values[MODEL] for steps, cell in ways_of(test).items()}
        learned = (card.get("next_state") or {}).get("learned_at")
        rows.append([
            code(name), *training_of(card), card["config"]["model"]["n_layers"], card["updates"],
            "-" if learned is None else f"after {learned:,}", *(_interval(numbers.get(steps)) for steps in WAYS),
        ])  # fmt: skip
    heads = ["model", "contexts of", "next states first", "layers", "updates", "next states learned"]
    return table([*heads, *(f"{steps} steps" for steps in WAYS)], rows, left=3)


def training_of(card: Mapping[str, Any]) -> tuple[str, str]:
    """Return whose contexts a model was trained on, and whether it predicted next states at first."""
    config = card["config"]
    agents = (config.get("contexts") or {}).get("agents") or ["source"]
    first = config["training"].get("next_state_until") is not None
    return "its source" if agents == ["source"] else "other agents", "yes" if first else "no"


def test_of(records: Records, name: str, model: str) -> TestRecord | None:
    """Return what was found in a test of a model, None where it was not done or is not reported."""
    subject = records.subject(model)
    return next((test for test in subject.tests if test.name == name and test.reported), None) if subject else None


def ways_of(test: TestRecord) -> dict[int, BehaviourCell]:
    """Return the cells of ways that no episode went whole, by their steps."""
    return {int(cell.label.partition(" ")[0]): cell for cell in test.cells if cell.label.endswith(TOGETHER)}


def scrubbed(figures: Figures) -> Markdown:
    """Return one row a claim: its fidelity on each data set, and its verdict, by family."""
    rows = sorted(_claims(figures), key=lambda row: (row[0], row[1]))
    return table(["model", "claim", "source", "own lives", "edited lives", "verdict"], [list(row) for row in rows], 2)


def claims(figures: Figures) -> Markdown:
    """Return one row a record of scrubbing: what the claim says, its fidelity on each data set, and its verdict."""
    heads = ["hypothesis", "claim", "fidelity, source", "own lives", "edited lives", "verdict"]
    rows = [
        [
            Markdown(f"{code(study['claims'][0]['name'])} on {code(study['model'])}"),
            str(study["title"]).partition(": ")[2].rstrip(".") or str(study["title"]),
            *_judged(figures, name),
        ]
        for name, study in sorted(figures.records.studies.items(), key=lambda item: _order(figures, *item))
    ]
    return table(heads, rows, left=2)


def _order(figures: Figures, name: str, study: Mapping[str, Any]) -> tuple[bool, str, float]:
    """Dark Room first, then model by model; of a model the claim that keeps most first."""
    value = _fidelities(figures, name)[0]
    return study["model"] != "dark-room", str(study["model"]), 0.0 if value is None else -number_of(value).value


def _fidelities(figures: Figures, name: str) -> list[Figure | None]:
    return [figures.get(f"scrub.{name}.{data}.all.fidelity") for data in ("source", "own", "edited")]


def _judged(figures: Figures, name: str) -> list[Markdown | str]:
    """Return the fidelities of a record of scrubbing, and its verdict."""
    return [*map(_interval, _fidelities(figures, name)), str(figures.get(f"scrub.{name}.verdict") or "-")]


def _interval(value: Figure | None) -> Markdown:
    return NONE if value is None else interval(number_of(value))


def _claims(figures: Figures) -> Iterator[tuple[Markdown | str, ...]]:
    for name, study in figures.records.studies.items():
        link = Markdown(f"[`{name}`](../examples/{name}.json)")
        yield code(str(study["model"])), link, *_judged(figures, name)


def regimes(figures: Figures) -> Markdown:
    """Return one row a model and regime of its own lives: the rung with the greatest share, and what none explains."""
    rows = []
    for name in models_of(figures, SUBJECT):
        subject = figures.records.subject(name)
        for mixture in subject.mixtures if subject else ():
            if mixture.data != OWN:
                continue
            rung = leading(mixture)
            reward = interval(mixture.of_reward) if mixture.of_reward else NONE
            rows.append([code(name), mixture.regime, rung, interval(mixture.weights[rung]), reward,
                         interval(mixture.unexplained, 3)])  # fmt: skip
    return table(["model", "regime", "greatest share", "", "of reward", "unexplained (nats)"], rows, left=3)


def tracking(figures: Figures, plan: Plan | None = None) -> Markdown:
    """Return one row a model and rung: how the log-odds of the model follow those of the rung, context by context."""
    rows = []
    for name in models_of(figures, SUBJECT, PRELIMINARY, plan=plan):
        subject = figures.records.subject(name)
        for each in subject.tracking if subject else ():
            parts = map(interval, (each.slope, each.r2, each.within, each.within_r2))
            rows.append([code(name), each.rung, each.contexts, *parts])
    return table(["model", "rung", "decisions", "slope", "R²", "slope within cells", "R² within cells"], rows, left=2)
