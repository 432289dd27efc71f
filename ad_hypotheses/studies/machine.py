"""The machine that a study runs on: its folders, devices, processors and allocator."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from ad_hypotheses.errors import UserError

MALLOPT = {"trim threshold": (-1, 2**31 - 1), "top pad": (-2, 2**26), "mmap threshold": (-3, 2**25)}  # malloc.h


def require_writable(folder: Path, parameter: str) -> None:
    """Make a folder and try to write to it, before hours of work are spent on what could not be kept.

    Args:
        folder: Which.
        parameter: Name of the parameter that says which.

    Raises:
        UserError: It cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written: {error.strerror or error}. Nothing was run yet.\n"
            f"  Make it a folder that you may write to, or choose another one (`{parameter}`)."
        ) from error


def set_up_torch(device: str, threads: int | None) -> None:
    """Check that torch has the device, and let it use so many threads.

    Raises:
        UserError: It has no such device.
    """
    # blocks of more than 2 MB in large pages, which take half as long to be had; torch reads it when it first allocates
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    try:
        torch.zeros(1, device=torch.device(device)).item()
    except Exception as error:  # each of torch's many backends fails in its own way where it is not there
        exists = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        exists += ["mps"] if torch.backends.mps.is_available() else []
        raise UserError(
            f"there is no device {device!r} on this machine (`device`).\n  devices: {', '.join(exists)}"
        ) from error


def keep_freed_memory() -> None:
    """Tell glibc to keep what is freed, since the next pass needs as much again: it saves page faults.

    That is a tenth of the time of a scrubbing pass. The largest blocks are given back all the same, since no other
    block would fit into the gap that they leave. Does nothing where there is no glibc.
    """
    import ctypes

    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        for option, value in MALLOPT.values():
            libc.mallopt(option, value)


def n_cpus() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
