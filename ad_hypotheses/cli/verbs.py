"""The verbs and their options; what they do is imported when one is called, so that help and mistakes cost nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ad_hypotheses.cli.options import (
    LISTS,
    Adversary,
    AsJson,
    Device,
    Findings,
    Hypotheses,
    HypothesisFile,
    Memory,
    Models,
    OneModel,
    Parquet,
    Reports,
    Seed,
    Tasks,
    Threads,
    Trust,
    at_least,
    check_threads,
    load_named,
    parse_memory,
    parse_share,
)
from ad_hypotheses.studies.machine import require_writable, set_up_torch


def list_all(
    hypotheses: Hypotheses = Path("hypotheses"), models: Models = Path("models"), as_json: AsJson = False
) -> None:
    """List the checkpoints and the hypotheses.

    Hypothesis files are read, not run.
    """
    from ad_hypotheses.cli.list import show_all

    show_all(hypotheses, models, as_json)


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file.", show_default=False)],
    folder: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Where to keep the checkpoint.", show_default="models/<name>"),
    ] = None,
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Train a model from a configuration.

    Ctrl-C stops it; the same command goes on.
    """
    from ad_hypotheses.distill.config import read_config

    settings = read_config(config, task_file="named")
    from ad_hypotheses.distill.parallel import Ranks
    from ad_hypotheses.studies.train.study import command, default_name, train_or_go_on

    set_up_torch(Ranks.from_environment().device(device), threads)
    target = Path("models") / default_name(config) if folder is None else folder
    train_or_go_on(settings, target, device, command(config, folder, device, threads))


def sweep(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="A YAML file with a base and a grid.", show_default=False)
    ],
    folder: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Where to keep the models.", show_default="models/<name>"),
    ] = None,
    reports: Reports = Path("reports"),
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            callback=check_threads,
            help="Models trained at a time.",
            show_default="CPUs / threads",
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option("--threads", metavar="N", callback=check_threads, help="Threads of each worker.")
    ] = 1,
    device: Device = "cpu",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the models and their cost; run nothing.")] = False,
) -> None:
    """Train a grid of models, several at a time, and compare them.

    Ctrl-C stops it; the same command goes on.
    """
    from ad_hypotheses.studies.sweep.grid import read_sweep

    grid = read_sweep(config)
    from ad_hypotheses.studies.sweep.plan import SweepSettings
    from ad_hypotheses.studies.sweep.study import show_plan, sweep_all, sweep_command
    from ad_hypotheses.studies.train.study import default_name

    set_up_torch(device, threads)
    target = Path("models") / default_name(config) if folder is None else folder
    typed = sweep_command(config, folder, {"reports": reports, "device": device, "threads": threads})
    run = SweepSettings(grid, target, reports, device, workers, threads, typed)
    (show_plan if dry_run else sweep_all)(run)


def histories(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file, as for train.", show_default=False)],
    folder: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Where to keep them.", show_default="histories/<name>"),
    ] = None,
    learners: Annotated[
        int | None,
        typer.Option(
            "--learners", metavar="N", callback=at_least(1), help="How many.", show_default="what CONFIG says"
        ),
    ] = None,
    minari: Annotated[
        str | None,
        typer.Option("--export-minari", metavar="NAME", help="Also write a Minari dataset, e.g. dark-room/dyna-q-v0."),
    ] = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Let the learners of a configuration live, and see whether they learn.

    Ctrl-C stops it; the same command goes on.
    """
    from ad_hypotheses.distill.config import read_config

    settings = read_config(config, task_file="named")
    from ad_hypotheses.studies.histories.study import live
    from ad_hypotheses.studies.train.study import default_name

    set_up_torch("cpu", threads)
    if learners is not None:
        fewer = settings.histories.model_copy(update={"learners": learners})
        settings = settings.model_copy(update={"histories": fewer})
    live(settings, Path("histories") / default_name(config) if folder is None else folder, minari, as_json)


def evaluate(
    model: Annotated[
        list[str],
        typer.Argument(metavar="MODEL", help="Names or folders, or patterns such as 'grid/*'.", show_default=False),
    ],
    models: Models = Path("models"),
    rollouts: Annotated[
        int, typer.Option("--rollouts", metavar="N", callback=at_least(1), help="Lives of each learner.")
    ] = 500,
    seed: Seed = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Learning curves only; no shorter memory, no unusual starts.")
    ] = False,
    trust: Trust = None,
    device: Device = "cpu",
    threads: Threads = None,
    folder: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where to write the report.")] = Path(
        "reports"
    ),
    as_json: AsJson = False,
) -> None:
    """Let models learn in their context, and compare what they earn.

    Writes one page with pictures and a table of every figure.

    Ctrl-C stops it; the same command goes on.
    """
    from ad_hypotheses.errors import CheckpointError, UserError
    from ad_hypotheses.studies.evaluate.choose import choose
    from ad_hypotheses.studies.evaluate.study import EvaluationSettings, evaluate_all

    set_up_torch(device, threads)
    damaged: dict[str, UserError] = {}
    chosen = choose(model, models, device, damaged)
    require_writable(folder, "--out")
    evaluate_all(chosen, EvaluationSettings(model, models, rollouts, seed, quick, device, folder, trust or ()), as_json)
    if damaged:
        listed = "\n".join(f"  {name}: {error}" for name, error in damaged.items())
        raise CheckpointError(f"the others were evaluated; these are damaged:\n{listed}")


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the hypothesis and its file.", show_default=False)],
    folder: Annotated[Path, typer.Option("--folder", metavar="FOLDER", help="Where the hypothesis files are.")] = Path(
        "hypotheses"
    ),
) -> None:
    """Begin a hypothesis file that runs as it is."""
    from ad_hypotheses.language.problems import shown_path
    from ad_hypotheses.language.template import write_template
    from ad_hypotheses.report.screen import out, say

    file = shown_path(write_template(name, folder))
    say(out(), f"wrote {file}", "green")
    say(out(), f"change it, then: python cli.py check {file}")


def check(
    file: HypothesisFile,
    model: OneModel = None,
    models: Models = Path("models"),
    trust: Trust = None,
    as_json: AsJson = False,
) -> None:
    """Check every hypothesis of a file without running a model.

    Sites, arrows and features are tried on the model's anatomy and on 64 fresh histories.
    """
    hypotheses = load_named(file)
    from ad_hypotheses.cli.check import check_all

    check_all(hypotheses, file, model, models, as_json)


def scrub(
    file: HypothesisFile,
    model: OneModel = None,
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
    tasks: Tasks = "all",
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
    adversary: Adversary = False,
    findings: Findings = None,
    memory: Memory = None,
    trust: Trust = None,
    device: Device = "cpu",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Test the hypotheses of a file by causal scrubbing, and write a report of each.

    Hypotheses, their controls and a claim at wrong sites are judged together.

    Ctrl-C stops it; the same command goes on.
    """
    given = {**locals(), "trust": trust or []}

    hypotheses = load_named(file)
    require_writable(reports, "--reports")
    from ad_hypotheses.cli.scrub import ScrubCommand, command, findings_of, scrub_all
    from ad_hypotheses.studies.scrub.bind import ScrubSettings

    set_up_torch(device, threads)
    budget = None if memory is None else parse_memory(memory)
    wanted = findings_of(adversary, findings)
    settings = ScrubSettings(samples, passes, tasks, others, align, shared, seed, rollouts, budget, wanted)
    run = ScrubCommand(Path(file).stem, model, models, reports, device, command(file, given))
    scrub_all(hypotheses, run, settings, as_json)


def patch(
    subject: Annotated[
        str, typer.Argument(metavar="FILE or MODEL", help="A hypothesis file; or a model alone.", show_default=False)
    ],
    model: OneModel = None,
    edges: Annotated[
        list[str] | None,
        typer.Option("--edges", metavar="EDGE", help="'all', or one such as 'head(0, 1) -> logits'; repeatable."),
    ] = None,
    nodes: Annotated[
        list[str] | None,
        typer.Option("--nodes", metavar="WRITER", help="Replace it for all its readers; repeatable."),
    ] = None,
    path: Annotated[
        list[str] | None,
        typer.Option("--path", metavar="PATH", help="Edges in a row: 'embed(\"x\") -> head(0, 1).v -> logits'."),
    ] = None,
    written: Annotated[
        str | None, typer.Option("--written", metavar="ROLE", help="Only what steps of this role write.")
    ] = None,
    read: Annotated[str | None, typer.Option("--read", metavar="ROLE", help="Only at steps of this role.")] = None,
    donors: Annotated[
        str,
        typer.Option("--donors", metavar="NAME", help="any, agree:NODE, or a counterfactual such as reward-moved."),
    ] = "any",
    direction: Annotated[
        Literal["noising", "denoising"],
        typer.Option("--direction", help="Patch the donor's writing into the reference's run, or the other way round."),
    ] = "noising",
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric", metavar="NAME", help="The first ranks; repeatable.", show_default="loss, kl, logit-difference"
        ),
    ] = None,
    screen: Annotated[
        int | None,
        typer.Option(
            "--screen",
            metavar="N",
            callback=at_least(1),
            help="Measure only the N undeclared edges with the largest attribution.",
            show_default="all",
        ),
    ] = None,
    screen_steps: Annotated[
        int | None,
        typer.Option(
            "--screen-steps",
            metavar="N",
            callback=at_least(1),
            help="1: attribution by gradients; more: by integrated gradients.",
            show_default="1; for kl 4",
        ),
    ] = None,
    search: Annotated[
        float | None,
        typer.Option(
            "--search",
            metavar="SHARE",
            parser=parse_share,
            help="Find few edges that keep so much; write a hypothesis.",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Where --search writes.", show_default="hypotheses/found_<model>.py"
        ),
    ] = None,
    models: Models = Path("models"),
    reports: Reports = Path("reports"),
    samples: Annotated[
        int, typer.Option("--samples", metavar="N", callback=at_least(2, "64 is a good number"), help="Histories.")
    ] = 64,
    tasks: Tasks = "all",
    seed: Seed = 0,
    memory: Memory = None,
    trust: Trust = None,
    device: Device = "cpu",
    threads: Annotated[
        int,
        typer.Option("--threads", metavar="N", callback=check_threads, help="Threads that torch may use."),
    ] = 2,
    parquet: Parquet = False,
    as_json: AsJson = False,
) -> None:
    """Test single edges by path patching: which declared ones are needed, which undeclared ones matter more.

    Given a model alone, edges, nodes and paths of it are mapped without a claim, or few edges are searched for.

    Ctrl-C stops it; the same command goes on.
    """
    given = {name: [] if value is None and name in LISTS else value
             for name, value in locals().items()} | {"out": file}  # fmt: skip
    require_writable(reports, "--reports")
    from ad_hypotheses.cli.patch import PatchArguments, command, patch_all, refuse_loose_options, subjects
    from ad_hypotheses.cli.search import SearchArguments, refuse_what_does_not_go_with_it, search_model
    from ad_hypotheses.studies.patch.study import PatchSettings

    set_up_torch(device, threads)
    # roles are spelt with "_", as Python names; "-" is accepted on the command line
    written, read = (None if role is None else role.replace("-", "_") for role in (written, read))
    typed = PatchArguments(
        subject, model, models, reports, device, tuple(edges or ()), tuple(nodes or ()), tuple(path or ()), written,
        read, command(subject, given), parquet, trust or (),
    )  # fmt: skip
    budget = None if memory is None else parse_memory(memory)
    metrics = tuple(metric) if metric else PatchSettings.metrics
    asked = PatchSettings(donors, direction, metrics, samples, tasks, seed, budget, screen, screen_steps)
    refuse_loose_options(given)
    if search is not None:
        refuse_what_does_not_go_with_it(typed, given)
        search_model(typed, SearchArguments(search, file), asked, as_json)
        return
    patch_all(subjects(typed), typed, asked, as_json)
