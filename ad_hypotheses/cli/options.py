"""Options that several verbs share, and the checks of what is typed for them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def at_least(least: int, why: str = "") -> Callable[[int | None], int | None]:
    """Return a check that a number is not too small.

    Args:
        least: The smallest that will do.
        why: What else there is to say.
    """

    def check(value: int | None) -> int | None:
        if value is not None and value < least:
            raise typer.BadParameter(f"{value} is too few: at least {least}" + (f"; {why}." if why else "."))
        return value

    return check


def parse_share(text: str) -> float:
    """Return a share of something, which is written as `0.9`, not as `90%`.

    Raises:
        typer.BadParameter: It is no such number.
    """
    text = str(text)  # a default is a number already
    try:
        value = float(text)
    except ValueError:
        percent = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text)
        advice = f"write {float(percent[1]) / 100:g}, not {text.strip()}" if percent else "write a number such as 0.9"
        raise typer.BadParameter(f"{text!r} is no share: {advice}.") from None
    if not 0 < value <= 1:
        raise typer.BadParameter(f"{value:g} is no share: above 0, and 1 is all; 0.9 is a good number.")
    return value


def _seed(value: int) -> int:
    if value < 0:
        raise typer.BadParameter(f"{value} is negative; a seed is a whole number from 0.")
    return value


def _memory(value: str | None) -> str | None:
    if value is not None:
        parse_memory(value)
    return value


def parse_memory(text: str) -> int:
    """Return a number of bytes written as `2GB`, `500 MB`, `1.5GiB` or `800000000`."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", text.lower())
    n_bytes = int(float(found[1]) * UNITS[found[2]]) if found and found[2] in UNITS else 0
    if not n_bytes:
        raise typer.BadParameter(f"{text!r} is no amount of memory; write it like 2GB or 500MB.")
    return n_bytes


Models = Annotated[Path, typer.Option("--models", metavar="FOLDER", help="Where the checkpoints are.")]
Reports = Annotated[Path, typer.Option("--reports", metavar="FOLDER", help="Where to write the reports.")]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="Where to compute: cpu, cuda, cuda:1, mps.")]
Threads = Annotated[
    int | None, typer.Option("--threads", metavar="N", callback=at_least(1), help="Threads that torch may use.")
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", callback=_seed, help="Of everything random.")]
Adversary = Annotated[bool, typer.Option("--adversary", help="Search for what each hypothesis leaves out.")]
Findings = Annotated[
    int | None,
    typer.Option("--findings", metavar="N", callback=at_least(1), help="How much of it to report.", show_default="3"),
]
Parquet = Annotated[bool, typer.Option("--parquet", help="Write the table of all effects as parquet too.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        callback=_memory,
        help="What the run may use, e.g. 2GB.",
        show_default="what is free",
    ),
]
