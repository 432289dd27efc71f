"""The command line: a file for every verb, each importing what it needs when it runs."""

from __future__ import annotations

import sys
from types import TracebackType

_shown_by_python = sys.excepthook


def _quiet(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say nothing of a Ctrl-C that came while the command line itself was being imported."""
    if not issubclass(kind, KeyboardInterrupt):
        _shown_by_python(kind, error, trace)


sys.excepthook = _quiet
