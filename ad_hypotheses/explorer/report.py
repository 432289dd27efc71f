"""From the record of a study to the context at which scrubbing did most harm."""

from __future__ import annotations

from ad_hypotheses.errors import DataError
from ad_hypotheses.explorer.session import Session
from ad_hypotheses.explorer.state import ClaimReference, FromHistories, ModelReference, State
from ad_hypotheses.language.load import listing
from ad_hypotheses.studies.scrub.record import Study


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
