"""Options that several verbs share, and the checks of what is typed for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ad_hypotheses.storage.reading import real_path

if TYPE_CHECKING:
    from ad_hypotheses.language.hypothesis import Hypothesis
    from ad_hypotheses.progress import Progress
    from ad_hypotheses.studies.parallel.workers import Workers

DATA = "source,own,edited"  # data sets that are usual
MOST_THREADS = 1024  # more end in an abort inside of the thread library
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


def between(least: int, most: int) -> Callable[[int | None], int | None]:
    """Return a check that a number is neither too small nor too large."""
    not_less = at_least(least)

    def check(value: int | None) -> int | None:
        if value is not None and value > most:
            raise typer.BadParameter(f"{value} is too many: at most {most:,}.")
        return not_less(value)

    return check


check_threads = between(1, MOST_THREADS)


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
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", text.lower())
    n_bytes = int(float(match[1]) * UNITS[match[2]]) if match and match[2] in UNITS else 0
    if not n_bytes:
        raise typer.BadParameter(f"{text!r} is no amount of memory; write it like 2GB or 500MB.")
    return n_bytes


def _trust(files: list[Path] | None) -> list[Path]:
    """Let the named files run, wherever a checkpoint names one of them as its task."""
    for file in files or []:
        if not file.is_file() or file.suffix != ".py":
            raise typer.BadParameter(f"{file} is not a Python file; name the file that the message names.")
        from ad_hypotheses.tasks import trust  # which takes long to load

        trust(file)
    return files or []


def is_hypothesis(subject: str, models: Path) -> bool:
    """Return whether a hypothesis file is meant, by its path or its name, rather than a model."""
    from ad_hypotheses.language.load import places

    given = Path(subject)
    if given.suffix == ".py":
        return True
    if any((folder / "config.yaml").is_file() for folder in (models / given, given)):
        return False
    return bool(places(given))


def default_name(config: Path) -> str:
    """Return what a model is called: its file, or its folder if the file is called config.yaml."""
    return real_path(config).parent.name if config.name in ("config.yaml", "config.yml") else config.stem


def load_named(file: str) -> list[Hypothesis]:
    """Run a hypothesis file that the user named; a task family in it may be made from now on.

    Raises:
        HypothesisError: There is no such file, it does not run, or it holds no hypothesis.
    """
    from ad_hypotheses.language.load import load, places

    hypotheses = load(file)
    from ad_hypotheses.tasks import trust  # takes long to load, so a mistake in the file is told first

    for place in places(file):
        trust(place)
    return hypotheses


def threads_of(engine: str, threads: int | None) -> int | None:
    """Return how many threads a process uses: one where there are several processes and nobody says otherwise."""
    from ad_hypotheses.jobs.engines import Engine

    return threads or (None if Engine.parse(engine) == Engine() else 1)


@contextmanager
def workers_of(
    engine: str, progress: Progress, threads: int | None = None, device: str = "cpu", workers: int = 1
) -> Iterator[Workers]:
    """Connect to an engine, and give what does the parts of a study there.

    Args:
        engine: As it was typed.
        progress: Is told of workers that are lost.
        threads: Threads of each worker; None for what :func:`threads_of` says.
        device: Where they compute; each needs a GPU of its own for `cuda`.
        workers: Processes of this machine, where the engine does not say how many.

    Raises:
        UserError: There is no such engine, or it does not answer.
    """
    from ad_hypotheses.jobs.engines import Engine, Needs, executor_of
    from ad_hypotheses.studies.parallel.workers import Workers

    place, each = Engine.parse(engine), threads_of(engine, threads) or 1
    with executor_of(place, Needs(each, float(device.startswith("cuda")))) as executor:
        yield Workers(place.workers or workers, executor, each, progress.say)


Hypotheses = Annotated[Path, typer.Option("--hypotheses", metavar="FOLDER", help="Where the hypothesis files are.")]
HypothesisFile = Annotated[
    str, typer.Argument(metavar="FILE", help="A hypothesis file; it is run.", show_default=False)
]
OneModel = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="Use this model.", show_default="what the file names"),
]
Tasks = Annotated[
    Literal["all", "train", "held-out"], typer.Option("--tasks", help="Which tasks the histories come from.")
]
Models = Annotated[Path, typer.Option("--models", metavar="FOLDER", help="Where the checkpoints are.")]
Reports = Annotated[Path, typer.Option("--reports", metavar="FOLDER", help="Where to write the reports.")]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="Where to compute: cpu, cuda, cuda:1, mps.")]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine", metavar="WHERE", help="Where to run: local:N, ray, ray:ADDRESS or dask:ADDRESS (docs/clusters.md)."
    ),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", metavar="N", callback=check_threads, help="Threads that torch may use."),
]
Trust = Annotated[
    list[Path] | None,
    typer.Option(
        "--trust", metavar="FILE", callback=_trust, help="Python file of a model's task, which may run; repeatable."
    ),
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
