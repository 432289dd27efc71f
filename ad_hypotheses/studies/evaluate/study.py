"""`evaluate`: let checkpoints live on training and held-out tasks, beside their source and the baselines."""

from __future__ import annotations

import hashlib
import inspect
import json
import shlex
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ad_hypotheses.distill.config import Config
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.distill.train import split
from ad_hypotheses.errors import UserError
from ad_hypotheses.report.markdown import describe
from ad_hypotheses.report.progress import Meter, metered
from ad_hypotheses.report.screen import duration, out, print_json, say
from ad_hypotheses.storage.checked import checked_json, read_checked_json
from ad_hypotheses.storage.files import write_atomically
from ad_hypotheses.storage.reading import read_file
from ad_hypotheses.storage.scratch import clear_old
from ad_hypotheses.studies.evaluate.ablations import ablation_parts, ablations
from ad_hypotheses.studies.evaluate.choose import CheckpointChoice
from ad_hypotheses.studies.evaluate.curves import TASK_SETS, EvaluationPart, curve_parts, in_context
from ad_hypotheses.studies.evaluate.learners import counted
from ad_hypotheses.studies.evaluate.page import write_evaluation
from ad_hypotheses.studies.evaluate.record import Evaluated, Evaluation, headline, overview_rows
from ad_hypotheses.studies.evaluate.summary import curve_unit, drawn, mean_optimum, meaning, seen, table
from ad_hypotheses.studies.interrupt import stoppable
from ad_hypotheses.tasks import Facts
from ad_hypotheses.tasks.task import n_tasks_of

KEPT = ".evaluated"  # folder in the reports for what was measured, so that no run measures it again
CODE = Path(__file__).resolve().parent.parent
SECONDS_MEASURED = 5  # of living, after which the time that all of it takes can be told


@dataclass(frozen=True)
class EvaluationSettings:
    """What was asked of an evaluation.

    Attributes:
        typed: The models, as they were typed.
        models: Where named checkpoints lie.
        rollouts: Lives of each learner.
        seed: Of the tasks and of all sampling.
        quick: Whether learning curves are enough.
        device: Where to compute.
        reports: Where the report goes.
        trusted: Python files that the user named, for models whose task is in one.
    """

    typed: Sequence[str]
    models: Path
    rollouts: int
    seed: int
    quick: bool
    device: str
    reports: Path
    trusted: Sequence[Path] = ()

    @property
    def command(self) -> str:
        """What makes the same report again."""
        words = ["python", "cli.py", "evaluate", *self.typed]
        words += [] if self.models == Path("models") else ["--models", self.models.as_posix()]
        words += ["--rollouts", str(self.rollouts), "--seed", str(self.seed)]
        words += ["--quick"] if self.quick else []
        words += [word for file in self.trusted for word in ("--trust", file.as_posix())]
        words += [] if self.device == "cpu" else ["--device", self.device]
        words += [] if self.reports == Path("reports") else ["--out", self.reports.as_posix()]
        return shlex.join(words)


@dataclass
class KeptResults:
    """The results of a model's parts, kept in a file so that no run measures them again.

    Attributes:
        path: Of the file; None to keep nothing.
        key: What they were measured with; results of another key are not read.
        results: By the name of the part.
    """

    path: Path | None
    key: str
    results: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, key: str) -> KeptResults:
        """Read what is there; what is damaged or older is measured again."""
        content = read_checked_json(path)
        return cls(path, key, content["results"] if content and content["key"] == key else {})

    def add(self, name: str, result: Any) -> None:
        """Keep a result; a disk that takes nothing stops no evaluation."""
        self.results[name] = result
        if self.path is None:
            return
        with suppress(OSError, UserError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, checked_json({"key": self.key, "results": self.results}))


def evaluate_all(chosen: Sequence[CheckpointChoice], asked: EvaluationSettings, as_json: bool) -> None:
    """Evaluate checkpoints, write one report of all and print what they earn.

    Raises:
        UserError: The report cannot be written.
        Stopped: The user pressed Ctrl-C.
    """
    stores = [_kept(choice, asked) for choice in chosen]
    with metered() as meter, stoppable(lambda: _stopped(asked.reports, stores)):
        parts = [_parts(choice.checkpoint.model, choice.checkpoint.config, asked) for choice in chosen]
        _announce(chosen, parts, stores, asked.rollouts, meter)
        works = zip(chosen, parts, stores, strict=True)
        _run(
            [_Work(choice.name, choice.checkpoint.model, own_parts, store) for choice, own_parts, store in works], meter
        )
        evaluations = [
            _evaluated(choice, {part.name: store.results[part.name] for part in own_parts}, asked)
            for choice, own_parts, store in zip(chosen, parts, stores, strict=True)
        ]
        page = write_evaluation(Evaluation(asked.command, evaluations), asked.reports)[-1]
        meter.say(clear_old(asked.reports / KEPT), "dim")
    if as_json:
        print_json({"report": page.as_posix(), "models": [_plain(choice) for choice in evaluations]})
    else:
        _show(chosen, evaluations, page)


def evaluated(model: ADTransformer, config: Config, rollouts: int, seed: int, meter: Meter) -> dict[str, Any]:
    """Return the learning curves of a model, showing what is done."""
    results: dict[str, Any] = {}
    _run([_Work("", model, curve_parts(model, config, rollouts, seed), KeptResults(None, "", results))], meter)
    return in_context(results, rollouts, seed)


@dataclass(frozen=True)
class _Work:
    """The parts of a model, and where their results go."""

    name: str
    model: ADTransformer
    parts: Sequence[EvaluationPart]
    kept: KeptResults


def _parts(model: ADTransformer, config: Config, asked: EvaluationSettings) -> list[EvaluationPart]:
    parts = curve_parts(model, config, asked.rollouts, asked.seed)
    return parts if asked.quick else [*parts, *ablation_parts(model, config, asked.rollouts, asked.seed)]


def _announce(
    chosen: Sequence[CheckpointChoice],
    parts: Sequence[Sequence[EvaluationPart]],
    stores: Sequence[KeptResults],
    rollouts: int,
    meter: Meter,
) -> None:
    n_parts = sum(map(len, parts))
    known = sum(
        part.name in store.results for own_parts, store in zip(parts, stores, strict=True) for part in own_parts
    )
    steps = sum(
        part.steps
        for own_parts, store in zip(parts, stores, strict=True)
        for part in own_parts
        if part.name not in store.results
    )
    lives = f"in which models live {counted(steps, 'step')} in up to {counted(rollouts, 'life', 'lives')} at once"
    models = chosen[0].name if len(chosen) == 1 else f"{len(chosen)} models"
    meter.say(f"evaluating {models}: {counted(n_parts - known, 'part')}, {lives}")
    if known:
        where = ", ".join(str(store.path) for store in stores[:2]) + (", ..." if len(stores) > 2 else "")
        meter.say(f"{known} more are known from an earlier run ({where}; delete it to measure them anew)", "dim")


def _run(works: Sequence[_Work], meter: Meter) -> None:
    """Run every part that is not known yet; time is told by what the models cost, baselines hardly cost any."""
    left = [
        (work, part, part.steps * _cost(work.model))
        for work in works
        for part in work.parts
        if part.name not in work.kept.results
    ]
    total, done, announced = sum(cost for _, _, cost in left), 0.0, False
    meter.begin("evaluating", 100, "%")
    began = time.monotonic()
    for work, part, cost in left:
        says = f"{work.name}: {part.says}" if len(works) > 1 else part.says

        def lived(
            steps: int, part: EvaluationPart = part, cost: float = cost, done: float = done, says: str = says
        ) -> None:
            nonlocal announced
            share = (done + cost * min(1.0, steps / max(part.steps, 1))) / max(total, 1)
            meter.reach(int(100 * share), says)
            passed = time.monotonic() - began
            if not announced and share and passed > SECONDS_MEASURED:
                announced = True
                meter.say(f"about {duration(passed / share)} for all of it")

        lived(0)
        work.kept.add(part.name, part.run(lived))
        done += cost
    meter.reach(100)


def _cost(model: ADTransformer) -> int:
    """What a step costs, about: every weight once, and attention to half of the context."""
    shape = model.shape
    return sum(weight.numel() for weight in model.parameters()) + shape.n_layers * shape.d_model * shape.n_ctx


def _evaluated(choice: CheckpointChoice, results: Mapping[str, Any], asked: EvaluationSettings) -> Evaluated:
    checkpoint = choice.checkpoint
    config, model = checkpoint.config, checkpoint.model
    curves = in_context(results, asked.rollouts, asked.seed)
    facts = dict(zip(TASK_SETS, split(config), strict=True))
    train, held_out = map(n_tasks_of, facts.values())
    histories, task = config.histories, config.make_task()
    return Evaluated(
        name=choice.name,
        sha256=checkpoint.sha256,
        command=str(checkpoint.record.get("command", "")),
        task=describe(task),
        source=describe(config.make_source()),
        layers=config.model.n_layers,
        heads=config.model.n_heads,
        width=config.model.d_model,
        parameters=sum(weight.numel() for weight in model.parameters()),
        train_tasks=train,
        held_out_tasks=held_out,
        episodes=config.kept_episodes,
        horizon=task.horizon,
        skip=histories.skip,
        keep_every=histories.keep_every,
        seeds={"histories": histories.seed, "training": config.training.seed},
        unit=curve_unit(config),
        optimum={name: round(mean_optimum(curves, config, name), 4) for name in curves["figures"]},
        results={**curves, **ablations(results, config, asked.rollouts, asked.seed)},
        seen=seen(config),
        positions=config.model.positions,
        facts={tasks: _digest(facts[tasks]) for tasks in curves["figures"]},
        by_task={tasks: results[f"{tasks}/model"]["by_task"] for tasks in curves["figures"]},
    )


def _digest(facts: Facts) -> str:
    """Return a digest of tasks, by which those of two models are known to be the same."""
    digest = hashlib.sha256()
    for name, fact in sorted(facts.items()):
        values = np.ascontiguousarray(fact)
        digest.update(f"{name} {values.dtype.str} {values.shape} ".encode() + values.tobytes())
    return digest.hexdigest()[:16]


def _kept(choice: CheckpointChoice, asked: EvaluationSettings) -> KeptResults:
    """Return what is known of a model; what was measured with other options has a file of its own, and stays."""
    key = _key(choice, asked)
    return KeptResults.open(asked.reports / KEPT / f"{choice.name}-{key[:12]}.json", key)


def _key(choice: CheckpointChoice, asked: EvaluationSettings) -> str:
    """Return a digest of everything that results depend on, this program's own code among it."""
    config = choice.checkpoint.config
    asks = {"seed": asked.seed, "rollouts": asked.rollouts, "device": asked.device}
    digest = hashlib.sha256(json.dumps([choice.checkpoint.sha256, config.model_dump(), asks]).encode())
    for made in (config.make_task(), config.make_source()):
        digest.update(_bytes(Path(inspect.getfile(type(made)))))  # which may be a file of the user's own
    digest.update(_code())
    return digest.hexdigest()


@cache
def _code() -> bytes:
    """Return a digest of the code that plays, as it was when this process began."""
    digest = hashlib.sha256()
    for folder in ("language", "evidence", "tasks", "sources", "distill"):
        for path in sorted((CODE / folder).rglob("*.py")):
            digest.update(_bytes(path))
    return digest.digest()


def _bytes(path: Path) -> bytes:
    try:
        return read_file(path)
    except OSError:  # a class that was made by hand has no file
        return b""


def _stopped(reports: Path, stores: Sequence[KeptResults]) -> str:
    if not any(store.results for store in stores):
        return "stopped before anything was measured; nothing was written."
    return f"stopped; what was measured is kept in {reports / KEPT}; the same command goes on."


def _plain(evaluation: Evaluated) -> dict[str, Any]:
    return {
        "model": evaluation.name,
        "weights_sha256": evaluation.sha256,
        "task": evaluation.task,
        "parameters": evaluation.parameters,
        **evaluation.results,
    }


def _show(chosen: Sequence[CheckpointChoice], evaluations: Sequence[Evaluated], page: Path) -> None:
    console = out()
    if len(evaluations) == 1:
        config, results = chosen[0].checkpoint.config, dict(evaluations[0].results)
        say(console, f"{evaluations[0].name}, {counted(results['rollouts'], 'rollout')}", "bold")
        console.print(table(results, config))
        say(
            console,
            headline(results, evaluations[0].episodes, evaluations[0].unit, evaluations[0].seen).replace("*", ""),
        )
        say(console, meaning(results, config).replace("*", ""), "dim")
    else:
        heads, rows = overview_rows(evaluations, brief=True)
        console.print(drawn(heads, rows))
    say(console, f"report: {page}")
