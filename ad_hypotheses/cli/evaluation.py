"""`evaluate`: let a checkpoint live on training and held-out tasks, beside its source and the baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ad_hypotheses.cli.interrupt import stoppable
from ad_hypotheses.cli.progress import Meter, metered
from ad_hypotheses.cli.results import curve_unit, curves, markdown, meaning, table
from ad_hypotheses.cli.terminal import out, print_json, say
from ad_hypotheses.distill.config import Config
from ad_hypotheses.distill.evaluate import evaluate
from ad_hypotheses.distill.model import ADTransformer
from ad_hypotheses.distill.zoo import Checkpoint
from ad_hypotheses.report.draw import learning_curves
from ad_hypotheses.report.files import write_files


def evaluate_model(checkpoint: Checkpoint, rollouts: int, seed: int, folder: Path, as_json: bool) -> None:
    """Evaluate a checkpoint, write its page and print what it earns.

    Raises:
        UserError: The page cannot be written.
        Stopped: The user pressed Ctrl-C.
    """
    with metered() as meter, stoppable(lambda: "stopped; nothing was written."):
        results = evaluated(checkpoint.model, checkpoint.config, rollouts, seed, meter)
        page = write_page(checkpoint, results, folder)
    if as_json:
        print_json({"model": checkpoint.name, "weights_sha256": checkpoint.sha256, **results})
        return
    console = out()
    say(console, f"{checkpoint.name}, {rollouts:,} rollouts", "bold")
    console.print(table(results, checkpoint.config))
    say(console, meaning(results, checkpoint.config).replace("*", ""), "dim")
    say(console, f"report: {page}")


def evaluated(model: ADTransformer, config: Config, rollouts: int, seed: int, meter: Meter) -> dict[str, Any]:
    """Evaluate a model, showing what is done."""
    phases = 6 if config.histories.held_out else 3
    meter.begin("evaluating", phases, "parts")
    begun = 0

    def next_part(what: str) -> None:
        nonlocal begun
        meter.reach(min(begun, phases), what)
        begun += 1

    results = evaluate(model, config, rollouts, seed, next_part)
    meter.reach(phases)
    return results


def write_page(checkpoint: Checkpoint, results: dict[str, Any], folder: Path) -> Path:
    """Write `evaluate-<model>.md` and its picture; returns the page.

    Raises:
        UserError: They cannot be written.
    """
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
