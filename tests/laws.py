"""How many random examples a law is tried on."""

from __future__ import annotations

from hypothesis import settings

DEFAULT = 40  # of a law whose examples are cheap
MORE = 5  # times as many with --runslow


def law(examples: int) -> settings:
    """Return the settings of a law whose examples are costly: it is tried on so many, with --runslow on more.

    Args:
        examples: Their number in a default run.
    """
    return settings(max_examples=examples * settings.default.max_examples // DEFAULT)
