"""What is asked of models, checked before anything is measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ad_hypotheses.errors import DataError, did_you_mean
from ad_hypotheses.ladder.catalogue import LADDER, rungs_in_file
from ad_hypotheses.ladder.rung import Rung
from ad_hypotheses.ladder.source import SEEDS, source_rung
from ad_hypotheses.studies.behave.battery import BATTERY, TESTS, BehaviourTest
from ad_hypotheses.studies.behave.record import SOURCE

CONTEXTS = 200  # of a cell, usually


@dataclass(frozen=True)
class BehaviourSettings:
    """How to ask.

    Attributes:
        contexts: Contexts a cell.
        seeds: Learners that the source is averaged over.
        seed: Of everything random.
        tests: Tests to do.
        ladder: Rungs to run, where they fit.
        data: Data sets that a model is taken apart on.
    """

    contexts: int
    seeds: int
    seed: int
    tests: tuple[BehaviourTest, ...]
    ladder: tuple[Rung, ...]
    data: tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """What was asked for, as it can be sent to workers.

    Attributes:
        contexts, seeds, seed, tests, rungs, leave_out, data: As for :func:`behave`.
    """

    contexts: int
    seeds: int
    seed: int
    tests: tuple[str, ...] | None
    rungs: tuple[Path, ...]
    leave_out: tuple[str, ...]
    data: tuple[str, ...]

    def settings(self) -> BehaviourSettings:
        """Return how to ask.

        Raises:
            DataError: There is no such test or rung, or too few contexts are asked for.
        """
        if self.contexts < 2:
            raise DataError(
                f"`contexts` is {self.contexts}, but an interval needs at least 2; {CONTEXTS} is a good number."
            )
        if self.seeds < 1:
            raise DataError(
                f"`seeds` is {self.seeds}, but the source needs at least 1 learner; {SEEDS} is a good number."
            )
        for name in self.tests or ():
            if name not in TESTS:
                raise DataError(f"there is no test {name!r}.{did_you_mean(name, TESTS)} Known: {', '.join(TESTS)}.")
        own = [rung for file in self.rungs for rung in rungs_in_file(file)]
        ladder = (*(source_rung(self.seeds) if rung.name == SOURCE else rung for rung in LADDER), *own)
        names = [rung.name for rung in ladder]
        for name in self.leave_out:
            if name not in names:
                raise DataError(f"there is no rung {name!r}.{did_you_mean(name, names)} Known: {', '.join(names)}.")
        ladder = tuple(rung for rung in ladder if rung.name not in self.leave_out)
        chosen = tuple(test for test in BATTERY if self.tests is None or test.name in self.tests)
        return BehaviourSettings(self.contexts, self.seeds, self.seed, chosen, ladder, self.data)
