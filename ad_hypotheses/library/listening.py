"""Whether a run shows how far it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ad_hypotheses.progress import Progress


@contextmanager
def listening(progress: bool) -> Iterator[Progress]:
    """Give what a study reports to: a bar on stderr if `progress`, else what shows nothing."""
    if not progress:
        yield Progress()
        return
    from ad_hypotheses.report.progress import Meter, metered

    with metered(Meter) as meter:
        yield meter
