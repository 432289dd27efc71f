"""Jobs whose processes are killed, in a module of their own so that those load nothing else."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def killed_once(folder: Path, number: int) -> int:
    """Return the square of a number; the first process that is asked for that of 3 is killed."""
    if number == 3:
        try:
            (folder / "killed").touch(exist_ok=False)
        except FileExistsError:
            return 9
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def always_killed(number: int, place: object = None) -> int:
    """Kill the process, wherever results would go."""
    os.kill(os.getpid(), signal.SIGKILL)
    return number
