"""`scrub`: test every hypothesis of a file by causal scrubbing, and write a report of each."""

from __future__ import annotations

import shlex
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ad_hypotheses.cli.claims import chosen
from ad_hypotheses.cli.interrupt import stoppable
from ad_hypotheses.cli.options import (
    AsJson,
    Device,
    Memory,
    Models,
    Reports,
    Seed,
    Threads,
    at_least,
    parse_memory,
    require_writable,
    set_up_torch,
)
from ad_hypotheses.cli.progress import Meter, metered
from ad_hypotheses.cli.terminal import out, print_json, size

if TYPE_CHECKING:
    from ad_hypotheses.causal.study import Cost, Progress, Settings, Trial
    from ad_hypotheses.evidence.record import Study
    from ad_hypotheses.language.hypothesis import Hypothesis

PARTIAL = ".partial"  # folder in the reports for what is measured, so that an interrupted study goes on


def scrub(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A hypothesis file; it is run.", show_default=False)],
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="Test on this model.", show_default="what the file names"),
    ] = None,
    models: Models = Path("models"),
    reports: Reports = Path("reports"),
    samples: Annotated[
        int,
        typer.Option(
            "--samples", metavar="N", callback=at_least(2, "256 is a good number"), help="Learning histories."
        ),
    ] = 256,
    passes: Annotated[
        int, typer.Option("--passes", metavar="N", callback=at_least(1), help="How often each history is scrubbed.")
    ] = 5,
    tasks: Annotated[
        Literal["all", "train", "held-out"], typer.Option("--tasks", help="Which tasks the histories come from.")
    ] = "all",
    others: Annotated[
        Literal["joint", "independent"],
        typer.Option("--others", help="Whether unimportant inputs come from one random history, or each from its own."),
    ] = "joint",
    align: Annotated[
        Literal["step", "episode_step", "any"],
        typer.Option("--align", help="Which steps may stand in for a step: the same, the same of any episode, any."),
    ] = "step",
    shared: Annotated[
        bool, typer.Option("--shared", help="Draw a node once for all its readers: cheaper, and less strict.")
    ] = False,
    seed: Seed = 0,
    rollouts: Annotated[
        int,
        typer.Option("--rollouts", metavar="N", callback=at_least(0), help="Lives of the explanation as a learner."),
    ] = 64,
    memory: Memory = None,
    device: Device = "cpu",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Test the hypotheses of a file by causal scrubbing, and write a report of each.

    Hypotheses, their controls and a claim at wrong sites are judged together. Ctrl-C stops it; the same command goes on.
    """
    from ad_hypotheses.language.discover import load

    given = {name: value for name, value in locals().items() if name in OPTIONS}
    groups = chosen(load(file), model)
    require_writable(reports, "--reports")
    from ad_hypotheses.causal.study import Settings, run_studies
    from ad_hypotheses.report.page import write_report

    set_up_torch(device, threads)
    settings = Settings(
        samples, passes, tasks, others, align, shared, seed, rollouts, None if memory is None else parse_memory(memory)
    )
    scratch = reports / PARTIAL / Path(file).stem
    kept = f"stopped; what was measured is kept in {scratch}; the same command goes on."
    with metered() as meter, stoppable(lambda: kept):
        trials = _prepared(groups, models, device, settings, meter)
        progress = _progress(meter, trials)
        studies = run_studies(trials, settings, command(file, given), scratch, progress)
        meter.begin("writing reports", len(studies))
        pages = [write_report(study, reports)[-1] for study in studies]
    _discard(scratch)
    _show(studies, pages, as_json)


OPTIONS: dict[str, Any] = {
    "model": None, "models": Path("models"), "samples": 256, "passes": 5, "tasks": "all", "others": "joint",
    "align": "step", "shared": False, "seed": 0, "rollouts": 64, "device": "cpu", "threads": None,
}  # fmt: skip


def command(file: str, given: dict[str, Any]) -> str:
    """Return what makes the same study again: options that change nothing, or have their default, are left out."""
    words = ["python", "cli.py", "scrub", _shown(file)]
    for name, value in given.items():
        if value != OPTIONS[name]:
            words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return shlex.join(words)


def _shown(file: str) -> str:
    """Return the path of a hypothesis file that was loaded, relative if it can be; it may have been given by its name."""
    from ad_hypotheses.language.discover import FOLDER
    from ad_hypotheses.language.problems import shown_path

    given = Path(file)
    places = (given, given.with_name(f"{given.name}.py"), FOLDER / given.name, FOLDER / f"{given.name}.py")
    return shown_path(next((place for place in places if place.is_file()), given))


def _prepared(
    groups: list[tuple[Hypothesis, list[Hypothesis]]], models: Path, device: str, settings: Settings, meter: Meter
) -> list[Trial]:
    from ad_hypotheses.causal.study import prepare
    from ad_hypotheses.distill.zoo import load

    checkpoints = {name: load(name, models, device) for name in dict.fromkeys(main.model for main, _ in groups)}
    meter.begin("letting learners live", len(groups), "hypotheses")
    trials = []
    for main, controls in groups:
        trials.append(prepare(main, controls, checkpoints[main.model], settings))
        meter.advance(1)
    return trials


def _progress(meter: Meter, trials: list[Trial]) -> Progress:
    from ad_hypotheses.causal.study import Progress

    n_claims = sum(len(trial.bound) for trial in trials)
    shape = trials[0].history
    begun = 0

    def cost(predicted: Cost) -> None:
        meter.say(
            f"{n_claims} claims over {shape.n_rows:,} histories of {shape.n_steps:,} steps: "
            f"{predicted.forwards:,} partial forward passes, {size(predicted.bytes)} of memory"
        )
        meter.begin("scrubbing", predicted.forwards, "forwards")

    def claim(name: str) -> None:
        nonlocal begun
        begun += 1
        meter.reach(meter.done, f"{name} ({begun} of {n_claims})")

    return Progress(cost, claim, meter.advance)


def _discard(scratch: Path) -> None:
    """Remove what was kept for an interruption that did not come."""
    shutil.rmtree(scratch, ignore_errors=True)
    with suppress(OSError):  # another study may keep something there
        scratch.parent.rmdir()


def _show(studies: list[Study], pages: list[Path], as_json: bool) -> None:
    import json

    from ad_hypotheses.report.console import show

    if as_json:
        print_json([{"report": str(page), **json.loads(study.to_json())} for study, page in zip(studies, pages, strict=True)])
        return
    console = out()
    for study, page in zip(studies, pages, strict=True):
        show(study, console, page)
        console.print()
