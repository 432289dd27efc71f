"""What was done on pages, kept so that it is found again: the latest state of each of the last pages."""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from ad_hypotheses.errors import DataError, UserError
from ad_hypotheses.explorer.state import FromHistories, FromPlay, State, read_state
from ad_hypotheses.storage.reading import read_text

MOST_SESSIONS = 20
NAME = re.compile(r"[0-9a-z]{6,40}")


def usual_folder() -> Path:
    """Return where sessions are kept: in the user's folder of what can be made again."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "ad-hypotheses" / "explorer"


class Sessions:
    """The states of the last pages, a file each.

    Args:
        folder: Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, name: str, state: State) -> None:
        """Keep the state of a page in place of its earlier one, and forget all but the last pages.

        Raises:
            DataError: That is no name of a page, or nothing can be written there.
        """
        path = self._path(name)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            part = path.with_suffix(".part")
            part.write_text(state.model_dump_json(by_alias=True), encoding="utf-8")
            part.replace(path)
            for old in self._files()[MOST_SESSIONS:]:
                old.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(f"this session cannot be kept in {self.folder}: {error.strerror or error}.") from error

    def view(self) -> list[dict[str, Any]]:
        """Return what is kept, the latest first; what cannot be read is left out."""
        lines = []
        for path in self._files():
            try:
                state = self.read(path.stem)
            except UserError:
                continue
            when = datetime.fromtimestamp(path.stat().st_mtime).isoformat(" ", "minutes")
            lines.append({"name": path.stem, "when": when, "words": words_of(state)})
        return lines

    def read(self, name: str) -> State:
        """Return a state that was kept.

        Raises:
            DataError: There is none of that name, or it is damaged.
        """
        path = self._path(name)
        try:
            return read_state(read_text(path))
        except (OSError, ValueError) as error:
            raise DataError(f"there is no session {name!r} in {self.folder}.") from error

    def _path(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise DataError(f"{name!r:.60} is not the name of a session.")
        return self.folder / f"{name}.json"

    def _files(self) -> list[Path]:
        """Return the files, the latest first."""
        files = [path for path in self.folder.glob("*.json") if NAME.fullmatch(path.stem)]
        return sorted(files, key=lambda path: -path.stat().st_mtime)


def words_of(state: State) -> str:
    """Return a line that tells a state from others."""
    origin, edits = state.origin, len(state.edits)
    place = f"row {origin.row} of {origin.data}" if isinstance(origin, FromHistories) else "a history from a file"
    if isinstance(origin, FromPlay):
        place = f"{len(origin.actions)} actions by hand"
    parts = [state.model.name, place, f"{edits} edit{'' if edits == 1 else 's'}", f"step {state.step}"]
    parts += [state.claim.name or state.claim.file] if state.claim else []
    note = state.notes.strip().partition("\n")[0][:80]
    return " · ".join([*parts, *([note] if note else [])])
