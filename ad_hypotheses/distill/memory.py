"""How much memory there is."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path

import torch


def free_memory(device: str = "cpu") -> int | None:
    """Bytes that are free on a device, None if nobody knows."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info()[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
    return kilobytes[0] * 1024 if kilobytes else None


def give_back_freed_memory() -> None:
    """Give what was freed back to the operating system, holes between what is still used among it; needs glibc.

    To be called between phases that need blocks of other sizes, which would not fit into the holes that are left.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
