"""What there is: models, hypotheses and reports, a line each, and the record of a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ad_hypotheses.errors import UserError
from ad_hypotheses.language.load import listing
from ad_hypotheses.storage.places import HYPOTHESES, MODELS
from ad_hypotheses.studies.listing import checkpoints
from ad_hypotheses.studies.records import kind_of
from ad_hypotheses.studies.records import read as read_any
from ad_hypotheses.studies.tables import table_of

if TYPE_CHECKING:
    import pandas


def models(folder: str | Path = MODELS) -> pandas.DataFrame:
    """List trained models, without loading their weights.

    Args:
        folder: Where to look; by default in `./models`, in the folder that `$AD_HYPOTHESES_MODELS` names, and among
            those that are installed with the package.

    Returns:
        A table: `name`, `task`, `layers`, `heads`, `width`, `parameters`, `held_out_of_optimum`, `seconds`, `error`.

    Example:
        >>> import ad_hypotheses as adh
        >>> "bandit" in set(adh.models()["name"])
        True
    """
    lines = [{**vars(entry), "channels": ", ".join(entry.channels)} for entry in checkpoints(Path(folder))]
    return table_of(lines)


def hypotheses(folder: str | Path = HYPOTHESES) -> pandas.DataFrame:
    """List the hypotheses of a folder, without running any file.

    Args:
        folder: Where to look.

    Returns:
        A table: `name`, `file`, `title`, `nodes`, `error`.

    Raises:
        HypothesisError: There is no such folder.

    Example:
        >>> import ad_hypotheses as adh
        >>> "mimic" in set(adh.hypotheses()["name"])
        True
    """
    lines = [
        {"name": name, "file": str(entry.file), "title": entry.title, "nodes": entry.n_nodes, "error": entry.error}
        for entry in listing(folder)
        for name in entry.hypotheses or ((entry.file.stem,) if entry.error else ())
    ]
    return table_of(lines)


def reports(folder: str | Path = "reports") -> pandas.DataFrame:
    """List the recorded studies of a folder and of those in it.

    Args:
        folder: Where to look.

    Returns:
        A table: `name`, `study` (`scrub`, `patch`, `evaluate` or `calibrate`), `says` and `file`, for :func:`read`.

    Example:
        >>> import ad_hypotheses as adh
        >>> adh.reports("reports/examples").set_index("name").loc["win_stay-bandit", "study"]
        'scrub'
    """
    lines: list[dict[str, Any]] = []
    for path in sorted(Path(folder).rglob("*.json")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        try:
            kind = kind_of(path)
            lines.append({"name": path.stem, "study": kind.verb, "says": kind.read(path).headline, "file": str(path)})
        except UserError:  # a JSON file of somebody else
            continue
    return table_of(lines)


def read(path: str | Path) -> Any:
    """Read the record of a study, of whichever kind it is.

    Args:
        path: A JSON file that `write` or the command line wrote beside a page.

    Returns:
        What `scrub`, `patch`, `evaluate` or `calibrate` returned; `write` draws its report again.

    Raises:
        DataError: The file is missing, damaged, of another version or not such a record.

    Example:
        >>> import ad_hypotheses as adh
        >>> adh.read("reports/examples/win_stay-bandit.json").verdict
        'refuted'
    """
    return read_any(Path(path))
