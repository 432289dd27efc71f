"""`train`: distil a checkpoint from one YAML file, going on where an interrupted run stopped."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ad_hypotheses.distill.checkpoint import CARD, CONFIG, CURVE, WEIGHTS, alterations, build, load, save
from ad_hypotheses.distill.config import SCRATCH, Config, differences, read_config
from ad_hypotheses.distill.feasible import require_feasible
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.distill.parallel import Ranks
from ad_hypotheses.distill.train import HISTORIES, TrainingProgress, train
from ad_hypotheses.errors import CheckpointError, UserError
from ad_hypotheses.report.markdown import describe
from ad_hypotheses.report.progress import Meter, metered
from ad_hypotheses.report.screen import duration, out, say
from ad_hypotheses.storage.lock import clear_after_kills, held
from ad_hypotheses.studies.evaluate.study import evaluated
from ad_hypotheses.studies.evaluate.summary import meaning, n_learners, table
from ad_hypotheses.studies.histories.study import SOURCE_CURVE, source_figures
from ad_hypotheses.studies.interrupt import Brake, braking, following, stoppable
from ad_hypotheses.studies.machine import require_writable
from ad_hypotheses.studies.train.card import card_files, machine, write_missing

ROLLOUTS = 256  # lives behind the figures of a card
MEASURED = 5  # updates after which the time that the others take can be told


def train_or_go_on(config: Config, target: Path, device: str, typed: str) -> None:
    """Train a model and keep it, unless it is there already.

    Args:
        config: What to train.
        target: Folder of the checkpoint.
        device: Where to train.
        typed: The command, for the record.

    Raises:
        UserError: The folder holds another model or cannot be written, or several processes should train together and
            others train into it already; one alone waits until these have finished.
        Stopped: The user pressed Ctrl-C.
    """
    ranks, finished = Ranks.from_environment(), is_finished(target, config)
    if not ranks.first:
        if not finished:
            with following():
                train(config, target / SCRATCH, device)
        return
    if finished:
        _say_finished(target, config)
        return
    require_feasible(config, f"the configuration of {target}")
    require_writable(target / SCRATCH, "out")
    with (
        _nothing_empty_left(target),
        metered() as meter,
        # of several processes only the first comes here, and the others do not know that it waits
        held(target, "training", meter.say if ranks.count == 1 else None) as waited,
    ):
        if waited and is_finished(target, config):
            _say_finished(target, config)
            return
        run = _Run(config, meter, ranks.count)
        run.announce(target)
        with braking(run.stopped, passed_on=ranks.count > 1) as brake:
            model, record = train(config, target / SCRATCH, device, run.progress(brake))
        with stoppable(lambda: "stopped during the evaluation; the model is trained: the same command goes on."):
            record["command"] = typed
            _finish(target, config, model, record, meter)
    _show(target, config, record)


@contextmanager
def _nothing_empty_left(target: Path) -> Iterator[None]:
    """Remove the folders of a training that was refused, if there is nothing in them."""
    try:
        yield
    except UserError:
        for folder in (target / SCRATCH / HISTORIES, target / SCRATCH, target):
            with suppress(OSError):  # it holds something
                folder.rmdir()
        raise


def default_name(config: Path) -> str:
    """Return what a model is called: its file, or its folder if the file is called config.yaml."""
    return config.resolve().parent.name if config.name in ("config.yaml", "config.yml") else config.stem


def command(config: Path, folder: Path | None, device: str, threads: int | None) -> str:
    """Return what trains the same model again."""
    count = Ranks.from_environment().count
    start = ["python"] if count == 1 else ["torchrun", "--nproc-per-node", str(count)]
    words = [*start, "cli.py", "train", config.as_posix()]
    words += [] if folder is None else ["--out", folder.as_posix()]
    words += [] if device == "cpu" else ["--device", device]
    words += [] if threads is None else ["--threads", str(threads)]
    return shlex.join(words)


def is_finished(folder: Path, config: Config) -> bool:
    """Whether a folder holds this model, trained and unharmed.

    Raises:
        UserError: It holds another one.
    """
    if not (folder / WEIGHTS).exists():
        return False
    other = differences(config, read_config(folder / CONFIG, "unmade")) if (folder / CONFIG).exists() else []
    try:
        other = other or alterations(folder, config)
    except CheckpointError:
        return False
    if other:
        listed = "".join(f"\n  {difference}" for difference in other)
        raise UserError(
            f"{folder} holds a model that was trained with another configuration; it is left alone.{listed}\n"
            f"  Train into another folder (`out`), or delete {folder}."
        )
    try:
        load(folder)
    except CheckpointError:
        return False
    return True


@dataclass
class _Run:
    """What is said of a training run."""

    config: Config
    meter: Meter
    n_processes: int
    phase: str = ""
    update: int = 0
    first: int = field(default=-1)

    def announce(self, target: Path) -> None:
        """Say what the run will cost."""
        config = self.config
        n_parameters = sum(weight.numel() for weight in build(config).parameters())
        n_steps = config.kept_episodes * config.make_task().horizon
        self.meter.say(
            f"training {target}: {n_parameters:,} parameters, {config.training.updates:,} updates of "
            f"{config.training.batch} histories" + (f" in {self.n_processes} processes" * (self.n_processes > 1))
        )
        self.meter.say(
            f"histories: {n_learners(config):,} of {n_steps:,} steps; {describe(config.make_source())} "
            f"in {describe(config.make_task())}",
            "dim",
        )

    def progress(self, brake: Brake) -> TrainingProgress:
        """Return what training reports to; it stops only where the state that is saved is whole."""

        def lived(done: int, total: int) -> None:
            if self.phase != "histories":
                self.phase = "histories"
                self.meter.begin("histories", total, done=done)
            self.meter.reach(done)
            brake.stop_if_pulled()

        def updated(done: int, total: int, loss: float) -> None:
            self._note(done, total, loss)
            if done % self.config.training.evaluate_every and done < total:
                brake.stop_if_pulled()  # otherwise only after the evaluation, which a later run would leave out

        def evaluated(line: dict[str, Any]) -> None:
            self.meter.say(_sentence(line))
            self.meter.rename("updates")
            brake.stop_if_pulled()

        return TrainingProgress(lived, updated, evaluated)

    def _note(self, done: int, total: int, loss: float) -> None:
        if self.phase != "updates":
            self.phase, self.first = "updates", done
            self.meter.begin("updates", total, done=done)
            if done > 1:
                self.meter.say(f"going on after update {done - 1:,}")
        self.update = done
        self.meter.reach(done, f"loss {loss:.3f}")
        if done == self.first + MEASURED and self.meter.time_left:
            self.meter.say(f"about {self.meter.time_left} for the other {total - done:,} updates, evaluations apart")
        if done % self.config.training.evaluate_every == 0 or done == total:
            self.meter.rename("rolling the model out")

    def stopped(self) -> str:
        """Return what to say when the user stopped the run."""
        if self.phase != "updates":
            return "stopped before the first update; the same command goes on."
        return f"stopped after update {self.update:,} of {self.config.training.updates:,}; the same command goes on."


def _sentence(line: dict[str, Any]) -> str:
    shares = [
        f"{name.replace('_', '-')} {line[f'{name}_of_optimum']:.0%} of the optimum"
        for name in ("train", "held_out")
        if f"{name}_of_optimum" in line
    ]
    return f"update {line['update']:,}: loss {line['loss']:.3f}, {', '.join(shares)} ({duration(line['seconds'])})"


def write_missing_card(target: Path, config: Config) -> list[str]:
    """Write the card of a finished model and its pictures where they are missing; returns the names of those.

    Raises:
        UserError: They cannot be written.
    """
    record = load(target).record
    names = [CURVE, CARD] + ([SOURCE_CURVE] if "source" in record else [])
    try:
        return write_missing(target, names, lambda: card_files(target.name, config, record, record["weights_sha256"]))
    except KeyError:  # the record is of a version that did not tell all that a card says today
        return []


def _say_finished(target: Path, config: Config) -> None:
    for folder in (target, target / SCRATCH, target / SCRATCH / HISTORIES):
        clear_after_kills(folder)
    missing = write_missing_card(target, config)
    wrote = f" Its {', '.join(missing)} {'was' if len(missing) == 1 else 'were'} missing, and written." * bool(missing)
    say(out(), f"{target} is trained already, with this very configuration; delete it to train it anew.{wrote}")


def _finish(target: Path, config: Config, model: ADTransformer, record: dict[str, Any], meter: Meter) -> None:
    """Evaluate a trained model and keep it; the weights come last, so that half of it is never taken for all."""
    record["machine"] = machine(record["threads"], record["device"])
    record["parameters"] = sum(weight.numel() for weight in model.parameters())
    record["context"] = model.shape.n_ctx
    record["source"] = source_figures(config, target / SCRATCH / HISTORIES)
    record["evaluation"] = evaluated(model, config, ROLLOUTS, 0, meter)
    save(target, config, model, record, lambda sha256: card_files(target.name, config, record, sha256))


def _show(target: Path, config: Config, record: dict[str, Any]) -> None:
    console = out()
    console.print(table(record["evaluation"], config))
    say(console, meaning(record["evaluation"], config).replace("*", ""), "dim")
    say(console, f"kept in {target} after {duration(record['seconds'])}; its card: {target / 'card.md'}")
    say(console, f"{target / SCRATCH} holds the histories and may be deleted", "dim")
