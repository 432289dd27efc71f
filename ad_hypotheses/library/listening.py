"""Whether a run shows how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ad_hypotheses.progress import Progress


@contextmanager
def listening(progress: bool | Progress) -> Iterator[Progress]:
    """Give what a study reports to: what was given, or a bar on stderr for True, else what shows nothing."""
    if isinstance(progress, Progress):
        yield progress
        return
    if not progress:
        yield Progress()
        return
    from ad_hypotheses.report.progress import Meter, metered

    with metered(Meter) as meter:
        yield meter


def reaching(listener: Progress) -> Callable[[int, int], None]:
    """Return what is called with what is done and what there is to do, and tells a listener, who may stop the run."""

    def reached(done: int, total: int) -> None:
        listener.reach(done)
        listener.may_stop()

    return reached
