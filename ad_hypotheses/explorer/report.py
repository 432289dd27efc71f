"""From the record of a study to the context at which scrubbing did most harm."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from ad_hypotheses.errors import DataError, UserError
from ad_hypotheses.explorer.session import Session
from ad_hypotheses.explorer.state import ClaimReference, FromHistories, ModelReference, State
from ad_hypotheses.language.load import listing
from ad_hypotheses.studies.records import kind_of
from ad_hypotheses.studies.scrub.record import Study, read_study

REPORTS = Path("reports")


def studies(folder: Path = REPORTS) -> dict[str, Study]:
    """Return the records of `scrub` in a folder and those in it, by their files; damaged ones are left out."""
    records: dict[str, Study] = {}
    for path in filter(is_study, _files(folder)):
        with suppress(UserError):
            records[str(path)] = read_study(path)
    return records


def _files(folder: Path) -> list[Path]:
    """Return the files of a folder and those in it that may be records; hidden ones are not."""
    paths = sorted(folder.rglob("*.json"))
    return [path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def is_study(path: Path) -> bool:
    """Return whether a file holds a record of `scrub`; one that cannot be read does not."""
    try:
        return kind_of(path).verb == "scrub"
    except UserError:
        return False


def studies_view(folder: Path = REPORTS) -> list[dict[str, Any]]:
    """Return every record with the positions where its claim breaks."""
    return [
        {
            "file": file,
            "headline": study.headline,
            "worst": [
                {
                    "row": position.row,
                    "step": position.step,
                    "place": f"{position.episode}.{position.episode_step}",
                    "regime": position.regime,
                    "action": study.action_names[position.taken],
                    "model": position.model[position.taken],
                    "scrubbed": position.scrubbed[position.taken],
                }
                for position in study.claims[0].worst
            ],
        }
        for file, study in studies(folder).items()
    ]


def opened_study(session: Session, file: str, worst: int, folder: Path = REPORTS) -> State:
    """Return the state that shows where the claim of a record breaks.

    Args:
        session: Makes the context, to see that it is the one of the record.
        file: The record, as :func:`studies_view` names it.
        worst: Which of the positions, from 1.
        folder: Where records lie.

    Raises:
        DataError: There is no such record or position, or its histories are not what they were.
    """
    path = next((path for path in _files(folder) if str(path) == file), None)
    if path is None or not is_study(path):
        raise DataError(f"there is no record {file!r:.200} in {folder}.")
    study = read_study(path)
    state = state_of_study(study, worst)
    require_same(session, state, study, worst)
    return state


def state_of_study(study: Study, worst: int) -> State:
    """Return the state that shows one of the worst positions of a study's claim.

    Args:
        study: The record.
        worst: Which of them, from 1.

    Raises:
        DataError: There is no such position, or the study is of more histories than the explorer makes.
    """
    claim = study.claims[0]
    if not 1 <= worst <= len(claim.worst):
        raise DataError(
            f"`worst` is {worst}, but the report of {claim.name} has {len(claim.worst)} positions where it breaks."
        )
    position, options = claim.worst[worst - 1], study.options
    data = options.get("data", ["source"])
    numbers = {"row": position.row, "rows": study.rows, "seed": options["seed"]}
    try:
        origin = FromHistories(data=data[0], tasks=options["tasks"], **numbers)
    except ValueError as error:
        raise DataError(f"the histories of this report cannot be shown: {error}") from error
    notes = (
        f"Position {worst} of {len(claim.worst)} where {claim.name} breaks: {study.action_names[position.taken]} "
        f"{position.model[position.taken]:.1%} by the model, {position.scrubbed[position.taken]:.1%} scrubbed."
    )
    return State(  # type: ignore[call-arg]
        model=ModelReference(name=study.model, sha256=study.model_sha256),
        origin=origin,
        step=position.step,
        claim=_claim(study),
        notes=notes,
    )


def require_same(session: Session, state: State, study: Study, worst: int) -> None:
    """Make the context of a report, and refuse it if it is not what the report shows.

    Raises:
        DataError: It is not: the histories are generated otherwise than they were.
    """
    position, context = study.claims[0].worst[worst - 1], session.context(state)
    first = position.step - position.episode_step
    steps = slice(first, position.step + 1)
    shown = [*position.actions, position.taken]
    if context.observations[0, steps].tolist() != position.path or context.actions[0, steps].tolist() != shown:
        raise DataError(
            f"row {position.row} of the histories of this report is another one today: they are generated otherwise "
            f"than they were. Run the study again: {study.command}"
        )


def _claim(study: Study) -> ClaimReference | None:
    """Return the hypothesis of a study by its file, None where that is not among those of the folders."""
    files = [str(entry.file) for entry in listing() if study.claims[0].name in entry.hypotheses]
    file = study.file if study.file in files else next(iter(files), None)
    return None if file is None else ClaimReference(file=file, name=study.claims[0].name)
