"""What was worked out for some histories, kept on disk so that an interrupted run goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np

from ad_hypotheses.causal.history_pairs import HistoryPairs
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.storage import UNREADABLE, replacing

Arrays = dict[str, np.ndarray]


def fingerprint(model: ADTransformer, pairs: HistoryPairs, what: object, arrays: Iterable[np.ndarray] = ()) -> str:
    """Return a name for numbers: it changes with the weights, the data and what is asked.

    Args:
        model: Whose runs they are about.
        pairs: The histories and their donors.
        what: Is asked; its text counts.
        arrays: What else the numbers depend on.
    """
    digest = hashlib.sha256(repr((what, pairs.name, sorted(pairs.towards))).encode())
    for name, weights in model.state_dict().items():
        digest.update(name.encode() + weights.cpu().contiguous().numpy().tobytes())
    for history in (pairs.reference, pairs.donor):
        for array in (history.observations, history.actions, history.rewards):
            digest.update(np.ascontiguousarray(array).tobytes())
    for array in (*(pairs.towards[name] for name in sorted(pairs.towards)), *arrays):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:24]


def kept_or_made(path: Path | None, names: Iterable[str], make: Callable[[], Arrays]) -> tuple[Arrays, bool]:
    """Return arrays that lie on disk, or make them and keep them there.

    Args:
        path: Where; None to keep nothing. A file that is damaged is made anew.
        names: Of the arrays.
        make: Works them out.

    Returns:
        The arrays, and whether they were there already.
    """
    if path is None:
        return make(), False
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            return {name: content[name] for name in names}, True
    except UNREADABLE:
        path.parent.mkdir(parents=True, exist_ok=True)
    arrays = make()
    with replacing(path) as temporary, temporary.open("wb") as kept:
        np.savez(kept, allow_pickle=False, **arrays)  # type: ignore[arg-type]
    return arrays, False


class Numbers:
    """Numbers by name, kept line by line as they are worked out.

    Args:
        path: Where; None to keep nothing. What an interrupted run left there is used again.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, float] = {}
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        whole, end, _ = (path.read_text() if path.exists() else "").rpartition("\n")
        path.write_text(whole + end)  # without a line that was cut off
        for line in whole.splitlines():
            name, _, value = line.partition(" ")
            with suppress(ValueError):
                self._known[name] = float(value)

    def get(self, name: str, make: Callable[[], float]) -> float:
        """Return the number of that name, worked out if it is not there yet."""
        if name not in self._known:
            self._known[name] = value = make()
            if self._path is not None:
                with self._path.open("a") as file:
                    file.write(f"{name} {value!r}\n")
        return self._known[name]
