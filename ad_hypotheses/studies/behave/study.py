"""Show models what simpler learners and their source would take differently, and see whom they follow."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from ad_hypotheses.distill.checkpoint import Checkpoint, build, versions
from ad_hypotheses.evidence.plain_data import build as from_plain
from ad_hypotheses.evidence.plain_data import plain
from ad_hypotheses.ladder.catalogue import LADDER, fitting
from ad_hypotheses.ladder.run import predict
from ad_hypotheses.ladder.rung import Background, Begin, Context
from ad_hypotheses.ladder.source import SEEDS, source_rung
from ad_hypotheses.progress import Progress, duration
from ad_hypotheses.report.markdown import describe
from ad_hypotheses.report.words import counted
from ad_hypotheses.storage.store import Store
from ad_hypotheses.studies.behave.asked import CONTEXTS, Asked, BehaviourSettings
from ad_hypotheses.studies.behave.battery import TESTS, BehaviourTest
from ad_hypotheses.studies.behave.condition import Subject
from ad_hypotheses.studies.behave.measure import Everybody, judged, measure, probabilities
from ad_hypotheses.studies.behave.mixture import Shown, mixtures
from ad_hypotheses.studies.behave.record import (
    MODEL,
    SOURCE,
    UNTRAINED,
    Behaviour,
    MixtureRecord,
    ModelBehaviour,
    RungRecord,
    TestRecord,
    TrackingRecord,
)
from ad_hypotheses.studies.behave.tracking import track
from ad_hypotheses.studies.data import FRESH, chosen_data, data_names, facts_of, histories
from ad_hypotheses.studies.evaluate.choose import CheckpointChoice
from ad_hypotheses.studies.evaluate.curves import spread
from ad_hypotheses.studies.evaluate.figures import task_numbers
from ad_hypotheses.studies.evaluate.study import results_store
from ad_hypotheses.studies.parallel.checkpoints import CheckpointOnDisk
from ad_hypotheses.studies.parallel.workers import ALONE, Workers
from ad_hypotheses.tasks.task import n_tasks_of

KEPT = ".behaved"  # folder in the reports for what was measured, so that no run measures it again
MEASURED_AS = 3  # raise it when a test or a rung becomes another: what was measured is then measured again
FEW_CONTEXTS, FEW_SEEDS = 12, 8
LIVES, FEWEST_LIVES = 512, 112  # of the source, from which rungs take their numbers; fewer for few contexts
DATA_ROWS = 64  # lives of a data set that a model is taken apart on
USUAL_CELLS = 40  # conditions of a battery, for what it costs
FOLLOWED = ("source", "counting", "belief")  # rungs that decisions are regressed on


def behave(
    checkpoints: Sequence[CheckpointChoice],
    *,
    contexts: int = CONTEXTS,
    seeds: int = SEEDS,
    seed: int = 0,
    tests: Sequence[str] | None = None,
    rungs: Sequence[Path] = (),
    leave_out: Sequence[str] = (),
    data: str | Sequence[str] = ("source", "own", "edited"),
    command: str = "",
    kept: Path | None = None,
    workers: Workers = ALONE,
    progress: Progress | None = None,
) -> Behaviour:
    """Ask how models behave where the rungs of the ladder disagree.

    Args:
        checkpoints: From :func:`ad_hypotheses.studies.evaluate.choose.choose`.
        contexts: Contexts a cell, at least 2; 200 is a good number.
        seeds: Learners that the source is averaged over in each context.
        seed: Of everything random.
        tests: Names of the tests to do; all by default.
        rungs: Python files with rungs of the user's own, which are run.
        leave_out: Names of rungs that are not run.
        data: Data sets that a model is taken apart on, as a mixture of rungs, in a list or with commas between; empty
            for none.
        command: What makes the same record again.
        kept: Folder for what is measured part by part, so that no later run measures it again; None to keep nothing.
        workers: Where the tests and data sets of all models are measured.
        progress: Listens on the way.

    Returns:
        What was found of each model.

    Raises:
        DataError: There is no such test, rung or data set, or too few contexts are asked for.
        ConfigError: A file of rungs cannot be used.
    """
    progress = progress or Progress()
    asked = Asked(
        contexts, seeds, seed, None if tests is None else tuple(tests), tuple(rungs), tuple(leave_out),
        data_names(data) if data else (),
    )  # fmt: skip
    settings, models = asked.settings(), []
    stores = [_store(choice, settings, rungs, kept) for choice in checkpoints]
    with progress.stopping(lambda: _stopped(kept)):
        if not workers.alone:
            _measure_elsewhere(workers, checkpoints, stores, asked, kept, progress)
        for choice, store in zip(checkpoints, stores, strict=True):
            models.append(_Work.of(choice, settings, store).run(progress))
    return Behaviour(command, contexts, seeds, seed, versions(), models)


@dataclass(frozen=True)
class BehaviourJob:
    """A part of what is asked of a model, to be measured wherever a job may be sent.

    Attributes:
        number: Of the model, among those that are asked.
        model: Where it lies.
        asked: What was asked for.
        part: Name of the part.
    """

    number: int
    model: CheckpointOnDisk
    asked: Asked
    part: str


def run_part(job: BehaviourJob) -> dict[str, Any]:
    """Measure a part; returns plain data."""
    return _work_of(job.model, job.asked).measured(job.part)


@lru_cache(maxsize=1)
def _work_of(model: CheckpointOnDisk, asked: Asked) -> _Work:
    return _Work.of(CheckpointChoice(model.name, model.load()), asked.settings(), Store(None))


def _measure_elsewhere(
    workers: Workers,
    checkpoints: Sequence[CheckpointChoice],
    stores: Sequence[Store],
    asked: Asked,
    kept: Path | None,
    progress: Progress,
) -> None:
    """Let workers measure every part of every model that is not known yet."""
    asked = replace(asked, rungs=tuple(file.absolute() for file in asked.rungs))
    jobs = []
    for number, (choice, store) in enumerate(zip(checkpoints, stores, strict=True)):
        parts = _Work.of(choice, asked.settings(), store).parts
        model = CheckpointOnDisk.of(choice.checkpoint)
        jobs += [BehaviourJob(number, model, asked, part) for part in parts if part not in store.plain]
    progress.begin("asking", len(jobs), "parts")
    for job, result in workers.do(run_part, jobs, kept):
        stores[job.number].keep(job.part, result)
        progress.advance(1)


def _store(choice: CheckpointChoice, settings: BehaviourSettings, files: Sequence[Path], kept: Path | None) -> Store:
    """Return what is known of a model already."""
    asked: list[int | str] = [MEASURED_AS, settings.contexts, settings.seeds, settings.seed]
    asked += [file.read_text(encoding="utf-8") for file in files]
    asked += [f"without {rung.name}" for rung in LADDER if rung.name not in {each.name for each in settings.ladder}]
    return results_store(choice, asked, kept)


def background_of(checkpoint: Checkpoint, lives: int = LIVES, seed: int = 0) -> Background:
    """Return what rungs may know beside a model: its tasks, its source, and fresh lives of that on training tasks."""
    config = checkpoint.config
    rng = np.random.default_rng([config.histories.seed + FRESH, seed, 2])
    trained = facts_of(checkpoint, "train")
    fresh = config.experiment.live(spread(trained, lives, rng), rng)
    settings = config.histories
    return Background(config.experiment.task, config.experiment.source, trained, fresh, settings.episodes,
                      settings.keep_every, settings.skip)  # fmt: skip


@dataclass(frozen=True)
class _Work:
    """All that is asked of one model."""

    choice: CheckpointChoice
    subject: Subject
    everybody: Everybody
    absent: Mapping[str, str]
    settings: BehaviourSettings
    store: Store

    @classmethod
    def of(cls, choice: CheckpointChoice, settings: BehaviourSettings, store: Store) -> _Work:
        checkpoint = choice.checkpoint
        lives = min(LIVES, FEWEST_LIVES + 2 * settings.contexts)
        background = background_of(checkpoint, lives, settings.seed)
        rungs, absent = fitting(background, settings.ladder)
        begins = {rung.name: rung.fit(background) for rung in rungs}
        single: dict[str, Begin] = {**begins}
        if SOURCE in begins:
            single[SOURCE] = source_rung(1).fit(background)
        untrained = build(checkpoint.config).to(checkpoint.model.device).eval()
        everybody = Everybody(checkpoint.model, untrained, rungs, begins, single, lambda steps: None)
        subject = Subject(checkpoint, background, settings.contexts, settings.seed)
        return cls(choice, subject, everybody, absent, settings, store)

    @property
    def lacking(self) -> dict[str, str]:
        """Tests that cannot be done with this model, and why."""
        reasons = {test.name: test.lacks(self.subject) for test in self.settings.tests}
        return {name: reason for name, reason in reasons.items() if reason}

    @property
    def data(self) -> tuple[str, ...]:
        """Data sets that it is taken apart on."""
        return chosen_data(self.settings.data, self.subject.task, self.subject.config.kept_episodes)

    @property
    def parts(self) -> list[str]:
        """Names of all that is measured: tests, and data sets."""
        lacking = self.lacking
        tests = [test.name for test in self.settings.tests if test.name not in lacking]
        return [*tests, *(f"data {name}" for name in self.data)]

    def measured(self, part: str) -> dict[str, Any]:
        """Measure a part; returns plain data."""
        return self._test(TESTS[part]) if part in TESTS else self._data(part.removeprefix("data "))

    def run(self, progress: Progress) -> ModelBehaviour:
        lacking, data, parts = self.lacking, self.data, self.parts
        tests = [test for test in self.settings.tests if test.name not in lacking]
        left = [part for part in parts if part not in self.store.plain]
        progress.say(self._cost(len(left), len(parts)))
        progress.begin(f"asking {self.choice.name}", len(parts), "parts", done=len(parts) - len(left))
        for number, part in enumerate(left, len(parts) - len(left) + 1):
            progress.note(part)
            began = time.monotonic()
            self.store.get(part, partial(self.measured, part))
            progress.reach(number, f"{part} took {duration(time.monotonic() - began)}")
        return self._found(tests, lacking, data)

    def _cost(self, left: int, parts: int) -> str:
        """Say beforehand what is to be done."""
        subject, known = self.subject, parts - left
        steps = subject.episodes * subject.task.horizon
        learners = subject.rows * self.settings.seeds if SOURCE in self.everybody.begins else 0
        lived = USUAL_CELLS * steps * learners * subject.background.keep_every * left // max(parts, 1)
        words = (
            f"{self.choice.name}: {counted(left, 'part')}, each with up to {counted(subject.rows, 'context')} a cell"
        )
        words += f" and {counted(len(self.everybody.rungs), 'rung')}"
        if lived >= 1e6:
            words += (
                f"; learners of the source take up to {lived / 1e6:,.0f} million steps, a few hundred thousand a second"
            )
        return words + (f"; {known} more are known from an earlier run" if known else "")

    def _test(self, test: BehaviourTest) -> dict[str, Any]:
        cells = measure(test, self.subject, self.everybody)
        if not cells:
            return {"record": None, "decisions": []}
        decisions = [
            {
                "cell": number,
                "clusters": cell.clusters.tolist(),
                "chances": {who: chance.round(6).tolist() for who, chance in chances.items()},
            }
            for number, (cell, chances) in enumerate((cell, chances) for cell in cells for chances in cell.decisions)
        ]
        return {"record": plain(asdict(judged(test, cells))), "decisions": decisions}

    def _data(self, name: str) -> dict[str, Any]:
        """Take the model apart on a data set, and an untrained network on the source's own lives."""
        subject, rows = self.subject, min(self.settings.contexts, DATA_ROWS)
        tasks = "held-out" if subject.config.histories.held_out else "train"
        life = histories(subject.checkpoint, rows, name, [self.settings.seed, 2], tasks).history
        life = life.window(stop=subject.episodes * subject.task.horizon)
        plain_life = not name.startswith("edited:")
        names = [rung for rung in self.everybody.rungs if plain_life or rung.name != SOURCE]
        shown = {
            rung.name: predict(self.everybody.begins[rung.name], Context(life), subject.task, subject.seed,
                               rung.rows_at_once, self.everybody.advance)
            for rung in names
        }  # fmt: skip
        regimes, clusters = subject.task.regimes(life), task_numbers(life.task)
        of_reward = frozenset(rung.name for rung in self.everybody.rungs if rung.of_reward)
        model = Shown(name, probabilities(self.everybody.model, life), shown, regimes, clusters, of_reward)
        result = {MODEL: [plain(asdict(record)) for record in mixtures(model, subject.seed)]}
        if name == "source":
            untrained = Shown(name, probabilities(self.everybody.untrained, life), shown, {}, clusters, of_reward)
            result[UNTRAINED] = [plain(asdict(record)) for record in mixtures(untrained, subject.seed)]
        return result

    def _found(self, tests: Sequence[BehaviourTest], left_out: dict[str, str], data: Sequence[str]) -> ModelBehaviour:
        results, checkpoint = self.store.plain, self.choice.checkpoint
        for test in tests:
            if results[test.name]["record"] is None:
                left_out[test.name] = "no context can be built in which rungs disagree"
        mixed = [results[f"data {name}"] for name in data]
        return ModelBehaviour(
            name=self.choice.name,
            sha256=checkpoint.sha256,
            task=describe(self.subject.task),
            source=describe(self.subject.background.source),
            layers=checkpoint.config.model.n_layers,
            train_tasks=n_tasks_of(self.subject.background.trained),
            rungs=[
                RungRecord(rung.name, rung.level, rung.words, rung.ignores, rung.of_reward)
                for rung in self.everybody.rungs
            ],
            absent=dict(self.absent),
            tests=[from_plain(TestRecord, results[test.name]["record"]) for test in tests if test.name not in left_out],
            left_out=left_out,
            tracking=self._tracking(tests),
            mixtures=[from_plain(MixtureRecord, record) for part in mixed for record in part[MODEL]],
            untrained=[from_plain(MixtureRecord, record) for part in mixed for record in part.get(UNTRAINED, [])],
        )

    def _tracking(self, tests: Sequence[BehaviourTest]) -> list[TrackingRecord]:
        """Regress decisions of all tests together."""
        chances: dict[str, list[float]] = {}
        cells, clusters = [], []
        for number, test in enumerate(tests):
            for cell in self.store.plain[test.name]["decisions"]:
                cells += [1000 * number + cell["cell"]] * len(cell["clusters"])
                clusters += [f"{number} {cluster}" for cluster in cell["clusters"]]
                for who, values in cell["chances"].items():
                    chances.setdefault(who, []).extend(values)
        if not cells:
            return []
        cell_numbers, cluster_numbers = (np.unique(values, return_inverse=True)[1] for values in (cells, clusters))
        model = np.array(chances[MODEL])
        return [
            track(rung, model, np.array(chances[rung]), cell_numbers, cluster_numbers, self.settings.seed)
            for rung in FOLLOWED
            if rung in chances
        ]


def _stopped(kept: Path | None) -> str:
    where = "nothing was written" if kept is None else f"what was measured is kept in {kept}"
    return f"stopped; {where}; the same command goes on."
