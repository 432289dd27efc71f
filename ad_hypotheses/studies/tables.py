"""The figures of a study as one tidy table, a row a figure, for people who go on with pandas or a spreadsheet."""

from __future__ import annotations

import csv
import importlib
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from ad_hypotheses.errors import UserError
from ad_hypotheses.evidence.plain_data import Number
from ad_hypotheses.studies.adversary import page as challenge
from ad_hypotheses.studies.patch.record import PatchStudy
from ad_hypotheses.studies.scrub.record import Claim, Study

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["claim", "kind", "scope", "data", "of", "figure", "value", "low", "high"]
PATCH_COLUMNS = [
    "patch", "kind", "writer", "reader", "arrow", "edges", "metric", "regime", "value", "low", "high", "p", "holm",
    "bh", "attribution", "attribution size",
]  # fmt: skip
EVALUATION_COLUMNS = ["model", "task", "tasks", "learner", "figure", "of", "value", "low", "high"]


def tidy(study: Study) -> pd.DataFrame:
    """Return every figure of every claim.

    Returns:
        Columns `claim`, `kind`; `scope` (`claim`, `regime`, `node`, `adversary`, `step` or `episode`), the `data` set
        and which one it is `of`; `figure`, its `value`, and the bounds `low` and `high` of its interval where it has
        one. What is not estimable is missing.
    """
    import pandas as pd  # loads as slowly as half of torch, and CSV needs none of it

    return pd.DataFrame(list(_tidy_rows(study)), columns=COLUMNS)


def tidy_csv(study: Study) -> str:
    """Return the table as CSV."""
    return _csv(COLUMNS, _tidy_rows(study))


def sweep_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the models of a sweep, a row each, as CSV."""
    return _csv(*_columns(rows))


def calibration_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the claims of a calibration, a row for each and each size of study, as CSV."""
    return _csv(*_columns(rows))


def evaluation_table(rows: Sequence[Sequence[Any]]) -> pd.DataFrame:
    """Return the figures of an evaluation, a row each in the order of `EVALUATION_COLUMNS`."""
    import pandas as pd

    return pd.DataFrame(list(rows), columns=EVALUATION_COLUMNS)


def evaluation_csv(rows: Sequence[Sequence[Any]]) -> str:
    """Return that table as CSV."""
    return _csv(EVALUATION_COLUMNS, rows)


def table_of(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a table of rows that name their columns."""
    import pandas as pd

    return pd.DataFrame(list(rows))


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Write a table as pandas does with six digits: nothing where a figure is missing."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, Real) and not isinstance(value, Integral):
        return "" if math.isnan(float(value)) else f"{float(value):.6g}"
    return "" if value is None else value


def _columns(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Return the keys of all rows in the order in which they come first, and what each row has there."""
    columns = list({key: None for row in rows for key in row})
    return columns, [[row.get(column) for column in columns] for row in rows]


def _tidy_rows(study: Study) -> Iterator[tuple[Any, ...]]:
    for claim in study.claims:
        for row in _figures(claim):
            yield claim.name, claim.kind, *row


def _figures(claim: Claim) -> Iterator[tuple[str, str, str, str, Any, float | None, float | None]]:
    for regime in claim.regimes:
        for name, value in vars(regime).items():
            if isinstance(value, Number):
                yield "regime", regime.data, regime.name, name, *value.cells()
            elif isinstance(value, int | float):
                yield "regime", regime.data, regime.name, name, value, None, None
    first = claim.regimes[0].data
    for node in claim.nodes:
        for name in ("alone", "swapped", "moved", "spread", "recovered", "resampled", "free_bits", "history_bits"):
            yield "node", first, node.name, name, getattr(node, name), None, None
    yield "claim", first, claim.name, "specificity", claim.specificity, None, None
    for name, value in claim.figures.items():
        yield "claim", first, claim.name, name, value, None, None
    for scope, name, figure, *numbers in challenge.figures(claim):
        yield scope, first, name, figure, *numbers  # type: ignore[misc]
    for scope, curves in (("step", claim.steps), ("episode", claim.episodes)):
        for name, losses in curves.items():
            for number, loss in enumerate(losses):
                yield scope, first, str(number), name, loss, None, None


def patch_table(study: PatchStudy) -> pd.DataFrame:
    """Return every effect of a study of patches, a row each.

    Returns:
        Columns `patch` and its `kind`, `writer`, `reader`, `arrow` and number of `edges`; `metric` and `regime`; the
        effect's `value`, the bounds `low` and `high` of its interval, and its p-values, as they are and corrected.
        Where edges were screened, what `attribution` says of the first metric over all steps, and the mean of its
        size over histories; edges that were left out have nothing else.
    """
    import pandas as pd

    numbers = dict.fromkeys(PATCH_COLUMNS[PATCH_COLUMNS.index("value") :], float)  # also where all are missing
    return pd.DataFrame(_patch_rows(study), columns=PATCH_COLUMNS).astype(numbers)


def _patch_rows(study: PatchStudy) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    ranked = (study.metrics[0], "all")
    for record in study.patches:
        identity = (record.name, record.kind, " + ".join(record.writers), record.reader, record.arrow, record.n_edges)
        for metric, by_regime in record.effects.items():
            for regime, effect in by_regime.items():
                screened = (record.attribution, record.attribution_size) if (metric, regime) == ranked else (None, None)
                rows.append(
                    (*identity, metric, regime, *effect.value.cells(), effect.p, effect.holm, effect.bh, *screened)
                )
    for record in study.screening.unmeasured if study.screening else ():
        identity = (record.name, record.kind, " + ".join(record.writers), record.reader, record.arrow, record.n_edges)
        rows.append((*identity, *ranked, *[None] * 6, record.attribution, record.attribution_size))
    return rows


def patch_csv(study: PatchStudy) -> str:
    """Return that table as CSV."""
    return _csv(PATCH_COLUMNS, _patch_rows(study))


def patch_parquet(study: PatchStudy) -> bytes:
    """Return that table as a parquet file, with all digits.

    Raises:
        UserError: What writes it is not installed.
    """
    require_parquet()
    return bytes(patch_table(study).to_parquet(engine="pyarrow", index=False))


def require_parquet() -> None:
    """Refuse to promise a parquet file that cannot be written.

    Raises:
        UserError: What writes it is not installed.
    """
    try:
        importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise UserError(
            "`parquet` needs pyarrow, which is not installed. Install it: pip install 'ad-hypotheses[parquet]'."
        ) from error
