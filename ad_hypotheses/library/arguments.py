"""What is wrong with what was given to a function of the library, before anything runs."""

from __future__ import annotations

import operator

from ad_hypotheses.errors import DataError


def require_whole(**given: object) -> None:
    """Refuse arguments that are neither whole numbers nor None.

    Args:
        given: Arguments by the name of their parameter.

    Raises:
        DataError: One is something else.
    """
    for name, value in given.items():
        try:
            whole = value is None or (not isinstance(value, bool) and operator.index(value) == value)  # type: ignore[arg-type]
        except TypeError:
            whole = False
        if not whole:
            raise DataError(f"`{name}` is {value!r}, but it must be a whole number.")
