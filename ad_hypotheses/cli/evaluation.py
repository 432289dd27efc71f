"""`evaluate`: let a checkpoint live on training and held-out tasks, beside its source and the baselines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ad_hypotheses.cli.interrupt import stoppable
from ad_hypotheses.cli.options import AsJson, Device, Models, Seed, Threads, at_least, require_writable, set_up_torch
from ad_hypotheses.cli.progress import Meter, metered
from ad_hypotheses.cli.terminal import out, print_json, say

if TYPE_CHECKING:
    from ad_hypotheses.distill.config import Config
    from ad_hypotheses.distill.zoo import Checkpoint


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name or folder.", show_default=False)],
    models: Models = Path("models"),
    rollouts: Annotated[
        int, typer.Option("--rollouts", metavar="N", callback=at_least(1), help="Lives of each learner.")
    ] = 500,
    seed: Seed = 0,
    device: Device = "cpu",
    threads: Threads = None,
    folder: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where to write the page.")] = Path("reports"),
    as_json: AsJson = False,
) -> None:
    """Let a model learn in its context, and compare what it earns.

    Writes a page and a picture.
    """
    from ad_hypotheses.distill.zoo import load

    set_up_torch(device, threads)
    checkpoint = load(model, models, device)
    require_writable(folder, "--out")
    with metered() as meter, stoppable(lambda: "stopped; nothing was written."):
        results = evaluated(checkpoint.model, checkpoint.config, rollouts, seed, meter)
        page = write_page(checkpoint, results, folder)
    if as_json:
        print_json({"model": checkpoint.name, "weights_sha256": checkpoint.sha256, **results})
        return
    from ad_hypotheses.cli.results import meaning, table

    console = out()
    say(console, f"{checkpoint.name}, {rollouts:,} rollouts", "bold")
    console.print(table(results, checkpoint.config))
    say(console, meaning(results, checkpoint.config).replace("*", ""), "dim")
    say(console, f"report: {page}")


def evaluated(model: Any, config: Config, rollouts: int, seed: int, meter: Meter) -> dict[str, Any]:
    """Evaluate a model, showing what is done."""
    from ad_hypotheses.distill.evaluate import evaluate as live

    phases = 6 if config.histories.held_out else 3
    meter.begin("evaluating", phases, "parts")
    begun = 0

    def next_part(what: str) -> None:
        nonlocal begun
        meter.reach(min(begun, phases), what)
        begun += 1

    results = live(model, config, rollouts, seed, next_part)
    meter.reach(phases)
    return results


def write_page(checkpoint: Checkpoint, results: dict[str, Any], folder: Path) -> Path:
    """Write `evaluate-<model>.md` and its picture; returns the page.

    Raises:
        UserError: They cannot be written.
    """
    from ad_hypotheses.cli.results import curve_unit, curves, markdown
    from ad_hypotheses.report.draw import learning_curves
    from ad_hypotheses.report.files import write_files

    name, config = f"evaluate-{checkpoint.name}", checkpoint.config
    where = "held-out" if "held_out" in results else "train"
    title = f"{checkpoint.name}: learning in context on {where} tasks, weights frozen"
    text = (
        f"# {checkpoint.name}, evaluated\n\n{markdown(results, config)}\n\n"
        f"![Mean return as the context grows]({name}.png)\n\n"
        f"Seed {results['seed']}; weights (SHA-256) `{checkpoint.sha256}`.\n"
    )
    picture = learning_curves(curves(results), title, unit=curve_unit(config))
    write_files({folder / f"{name}.png": picture, folder / f"{name}.md": text.encode()})
    return folder / f"{name}.md"
