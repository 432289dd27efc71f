"""What was worked out for some histories, kept on disk so that an interrupted run goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np

from ad_hypotheses.causal.history_pairs import HistoryPairs
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.storage.checked import read_checked_arrays, write_checked_arrays
from ad_hypotheses.storage.files import replacing, write_atomically
from ad_hypotheses.storage.reading import read_file

Arrays = dict[str, np.ndarray]


def fingerprint(model: ADTransformer, pairs: HistoryPairs, settings: object, arrays: Iterable[np.ndarray] = ()) -> str:
    """Return a name for numbers: it changes with the weights, the data and what is asked.

    Args:
        model: Whose runs they are about.
        pairs: The histories and their donors.
        settings: Everything else that the numbers depend on; its text counts.
        arrays: What else the numbers depend on.
    """
    digest = hashlib.sha256(repr((settings, pairs.name, sorted(pairs.towards))).encode())
    for name, weights in model.state_dict().items():
        digest.update(name.encode() + weights.cpu().contiguous().numpy().tobytes())
    for history in (pairs.reference, pairs.donor):
        for array in (history.observations, history.actions, history.rewards):
            digest.update(np.ascontiguousarray(array).tobytes())
    for array in (*(pairs.towards[name] for name in sorted(pairs.towards)), *arrays):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:24]


def kept_or_made(path: Path | None, make: Callable[[], Arrays]) -> tuple[Arrays, bool]:
    """Return arrays that lie on disk, or make them and keep them there.

    Args:
        path: Where; None to keep nothing. A file that is not as it was written is made again.
        make: Works them out.

    Returns:
        The arrays, and whether they were there already.
    """
    if path is None:
        return make(), False
    arrays = read_checked_arrays(path)
    if arrays is not None:
        return arrays, True
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = make()
    with replacing(path) as temporary, temporary.open("wb") as file:
        write_checked_arrays(file, arrays)
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
        lines = []
        with suppress(OSError):  # it is missing, or something that cannot be read has taken its place
            lines = read_file(path).decode("ascii", "replace").splitlines(keepends=True)
        sound = [line for line in lines if line == _line(*line.split(" ")[:2])]
        write_atomically(path, "".join(sound).encode("ascii"))  # without what was cut off or damaged
        for line in sound:
            name, value, _ = line.split(" ")
            self._known[name] = float(value)

    def get(self, name: str, make: Callable[[], float]) -> float:
        """Return the number of that name, worked out if it is not there yet."""
        if name not in self._known:
            self._known[name] = value = make()
            if self._path is not None:
                with self._path.open("a", encoding="ascii") as file:
                    file.write(_line(name, repr(value)))
        return self._known[name]


def _line(name: str, value: str = "") -> str:
    """Return what is kept of a number: its name, its value, and a checksum of the two."""
    checksum = hashlib.sha256(f"{name} {value}".encode()).hexdigest()[:8]
    return f"{name} {value} {checksum}\n"
