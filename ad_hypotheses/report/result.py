"""What studies return, as a person meets it: one line, a table in a notebook, JSON that can be read again."""

from __future__ import annotations

import dataclasses
import json
from html import escape
from typing import Any, Self

from ad_hypotheses.errors import DataError, did_you_mean
from ad_hypotheses.evidence.plain_data import build, plain
from ad_hypotheses.storage.reading import parse_json

LINE = 200  # characters
TAUGHT_ELSEWHERE = {
    "save": 'write("reports") for its report and its record, or to_json()',
    "plot": 'write("reports"), which draws the pictures of its report; a notebook shows a table',
    "summary": "to_frame()",
    "to_df": "to_frame()",
    "to_pandas": "to_frame()",
    "clean": "reference",
    "corrupted": "donor",
}  # names that other libraries taught
ROWS, COLUMNS, CELL = 24, 12, 60  # of the table in a notebook: lines, columns, characters


class Result:
    """A frozen record that shows itself in one line, as a table, and as JSON.

    A subclass is a dataclass without a `repr` of its own.
    """

    @property
    def headline(self) -> str:
        """What it says, in a line."""
        raise NotImplementedError

    def to_frame(self) -> Any:
        """Return its figures as a pandas.DataFrame."""
        raise NotImplementedError

    def to_json(self) -> str:
        """Return the record as JSON; what JSON does not know is null."""
        return json.dumps(plain(dataclasses.asdict(self)), indent=1)  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the record that :meth:`to_json` wrote.

        Raises:
            DataError: The text is not such a record.
        """
        try:
            return build(cls, parse_json(text))  # type: ignore[no-any-return]
        except ValueError as error:
            raise DataError(f"`text` does not hold what a {cls.__name__} holds: {error}.") from error

    def __getattr__(self, name: str) -> Any:
        """Say what is meant, where an attribute does not exist."""
        known = [known for known in {*dir(type(self)), *self.__dataclass_fields__} if not known.startswith("_")]  # type: ignore[attr-defined]
        meant = TAUGHT_ELSEWHERE.get(name)
        hint = "" if name.startswith("_") else f" Write {meant}." if meant else did_you_mean(name, known)
        raise AttributeError(f"a {type(self).__name__} has no {name!r}.{hint}")

    def __repr__(self) -> str:
        line = " ".join(f"{type(self).__name__}({self.headline})".split())
        return line if len(line) <= LINE else f"{line[: LINE - 4]}...)"

    def _repr_html_(self) -> str:
        """Return its table without scripts, for a notebook: the first lines and columns."""
        frame = self.to_frame()
        shown = frame.iloc[:ROWS, :COLUMNS].map(_cell)
        more = f"{len(frame)} lines, {len(frame.columns)} columns: to_frame()" if shown.shape != frame.shape else ""
        return f"<p>{escape(repr(self))}</p>{shown.to_html(border=0, index=False, na_rep='')}<p>{more}</p>"


def _cell(value: Any) -> Any:
    """Return a value of a table as short as can be read."""
    if isinstance(value, float):
        return f"{value:.3g}" if value == value else ""
    return value if not isinstance(value, str) or len(value) <= CELL else f"{value[: CELL - 3]}..."
