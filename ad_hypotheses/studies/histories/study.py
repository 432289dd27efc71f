"""`histories`: let the learners of a configuration live, and show whether they learn."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from ad_hypotheses.distill.config import Config
from ad_hypotheses.distill.feasible import require_feasible
from ad_hypotheses.distill.train import training_histories
from ad_hypotheses.report.markdown import describe
from ad_hypotheses.report.progress import Meter, metered
from ad_hypotheses.report.screen import out, print_json, say
from ad_hypotheses.sources.histories import HistoryFolder, open_histories
from ad_hypotheses.sources.learning import Learning, learning_of_histories, require_improvement
from ad_hypotheses.storage.files import write_atomically
from ad_hypotheses.storage.lock import held
from ad_hypotheses.studies.histories.pictures import source_curve
from ad_hypotheses.studies.interrupt import stoppable
from ad_hypotheses.studies.machine import require_writable

CURVE = "learning.png"  # beside the histories
SOURCE_CURVE = "source.png"  # beside the weights of a model that was distilled from them


def live(config: Config, folder: Path, minari: str | None, as_json: bool) -> None:
    """Generate the histories of a configuration, or open those that are there, and show how they learn.

    Args:
        config: Whose.
        folder: Where they are kept.
        minari: Name of a Minari dataset to write as well.
        as_json: Print the figures as JSON and nothing else.

    Raises:
        UserError: The folder cannot be written, or the configuration asks for learners that learn and they do not.
        Stopped: The user pressed Ctrl-C.
    """
    require_feasible(config, f"the configuration of {folder}")
    require_writable(folder, "out")
    with (
        metered() as meter,
        stoppable(lambda: "stopped; finished parts are kept, the same command goes on."),
        held(folder, "generating histories", meter.say),
    ):
        meter.begin("histories", 0, "learners")
        histories = training_histories(config, folder, _counting(meter, "histories"), check=False)
        meter.begin("looking at what they earn", 0)
        learning = learning_of_histories(histories, config.make_task(), config.histories.seed)
        write_atomically(folder / CURVE, source_curve(learning, _title(config)))
    if as_json:
        counts = {"histories": histories.n_histories, "steps": histories.n_steps}
        print_json({"folder": str(folder), **counts, "learning": asdict(learning)})
    else:
        _show(config, folder, histories, learning)
    if minari is not None:
        _export(histories, minari, config, as_json)
    if config.histories.check:
        require_improvement(learning)


def source_figures(config: Config, folder: Path) -> dict[str, Any]:
    """Return how the learners improved that a model is distilled from, for its record.

    Args:
        config: Of the model.
        folder: Where its histories are.

    Raises:
        DataError: The histories are damaged.
    """
    histories = open_histories(folder, verify=False)
    return asdict(learning_of_histories(histories, config.make_task(), config.histories.seed))


def draw_source_curve(figures: dict[str, Any], config: Config) -> bytes:
    """Return the picture of what :func:`source_figures` returned, as a PNG."""
    return source_curve(Learning(**figures), _title(config))


def sentence(learning: Learning) -> str:
    """Say how learners improved."""
    return (
        f"{learning.learners:,} learners earn {learning.first:.2f} in the first {learning.span} and "
        f"{learning.last:.2f} in the last, on average; {learning.optimum:.2f} is the optimum. "
        f"{learning.improved:.0%} of those with something to learn improve."
    )


def _export(histories: HistoryFolder, name: str, config: Config, quiet: bool) -> None:
    from ad_hypotheses.sources.minari_data import export_minari

    with metered() as meter, stoppable(lambda: f"stopped; the Minari dataset {name} was not written."):
        meter.begin("writing for Minari", histories.n_histories)
        export_minari(histories, name, config.make_task(), _counting(meter, "writing for Minari"))
    if not quiet:
        say(out(), f"Minari has them as {name}")


def _counting(meter: Meter, title: str) -> Any:
    def reached(done: int, total: int) -> None:
        if meter.total != total:
            meter.begin(title, total, done=done)
        meter.reach(done)

    return reached


def _show(config: Config, folder: Path, histories: HistoryFolder, learning: Learning) -> None:
    console = out()
    rows = {
        "histories": f"{histories.n_histories:,} of {histories.n_steps:,} steps, {config.kept_episodes:,} episodes",
        f"first {learning.span}": f"{learning.first:.2f}",
        f"last {learning.span}": f"{learning.last:.2f}",
        "optimum": f"{learning.optimum:.2f}",
        "acting at random": "" if learning.random is None else f"{learning.random:.2f}",
        "learners that improve": f"{learning.improved:.0%} of those with something to learn",
        "learners with nothing to learn": f"{learning.satisfied:.0%}",
    }
    table = Table(box=box.SIMPLE_HEAD, show_header=False, title=_title(config), title_justify="left")
    for label, figure in rows.items():
        table.add_row(label, figure)
    console.print(table)
    say(console, f"kept in {folder}; the learning curve: {folder / CURVE}")


def _title(config: Config) -> str:
    return f"{config.source['name']} learning {describe(config.make_task())}"
