"""What a training reports of its updates."""

from __future__ import annotations

from typing import Any

from ad_hypotheses.progress import Pace, Progress, duration

MEASURED = 5  # updates after which the time that the others take can be told


class UpdateProgress:
    """Reports updates: how far they are, that they go on from earlier ones, and how long the others will take.

    Args:
        progress: Listens.
        total: Number of updates of the whole training.
        apart: What the time left does not count, `", evaluations apart"`.
    """

    def __init__(self, progress: Progress, total: int, apart: str = "") -> None:
        self.progress, self.total, self.apart = progress, total, apart
        self.pace, self.first = Pace(), 0

    def report(self, update: int, loss: float) -> None:
        """Report that so many updates are done, and the smoothed loss."""
        progress, left = self.progress, self.total - update
        if not self.first:
            self.first = update
            progress.begin("updates", self.total, done=update)
            if update > 1:
                progress.say(f"going on after update {update - 1:,}")
        self.pace.note(update)
        progress.measured("update", {"update": update, "loss": loss})
        progress.reach(update, f"loss {loss:.3f}")
        seconds = self.pace.left(self.total)
        if update == self.first + MEASURED and left and seconds is not None:
            progress.say(f"about {duration(seconds)} for the other {left:,} updates{self.apart}")

    def change_total(self, total: int) -> None:
        """Count on another number of updates from now on."""
        self.total, self.first = total, 0

    def stopped(self, update: int, kept: str = "") -> str:
        """Return what to say when the user stopped a training after so many updates, and where it is kept."""
        if not update:
            return "stopped before the first update; the same command goes on."
        return f"stopped after update {update:,} of {self.total:,}{kept}; the same command goes on."


def evaluation_words(line: dict[str, Any]) -> str:
    """Return what a line of the metrics says, in words."""
    shares = [
        f"{name.replace('_', '-')} {line[f'{name}_of_optimum']:.0%} of the optimum"
        for name in ("train", "held_out")
        if f"{name}_of_optimum" in line
    ]
    return f"update {line['update']:,}: loss {line['loss']:.3f}, {', '.join(shares)} ({duration(line['seconds'])})"
