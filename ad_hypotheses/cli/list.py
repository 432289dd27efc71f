"""`list`: which checkpoints and hypothesis files there are, read without running or loading any of them.

Neither is the Python file of a checkpoint's task: what is said of such a checkpoint stands in its configuration.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ad_hypotheses.distill.config import SCRATCH, Config, read_config
from ad_hypotheses.distill.record import read_record
from ad_hypotheses.language.load import FileListing, listing
from ad_hypotheses.report.markdown import describe
from ad_hypotheses.report.screen import duration, out, print_json, say
from ad_hypotheses.storage.reading import open_file, parse_json
from ad_hypotheses.tasks.task_file import file_of

WEIGHTS, CONFIG = "weights.safetensors", "config.yaml"  # as in distill.zoo, which needs torch

NUMBERS = ("layers", "heads", "width", "weights", "held-out", "trained", "nodes")  # columns


@dataclass(frozen=True)
class Row:
    """What a checkpoint's files say of it.

    Attributes:
        name: Of its folder; of one that lies deeper, its path.
        task: Its task family and the parameters.
        channels: The parts of its tokens, each an embedding; none of a task in a Python file, which is not run.
        layers, heads, width: Size of the transformer.
        parameters: How many weights it has.
        held_out_of_optimum: Mean return of its last three episodes on held-out tasks, as a share of the optimum.
        seconds: That its training took.
        error: Why it cannot be read; None if it can.
    """

    name: str
    task: str = ""
    channels: tuple[str, ...] = ()
    layers: int = 0
    heads: int = 0
    width: int = 0
    parameters: int = 0
    held_out_of_optimum: float | None = None
    seconds: float | None = None
    error: str | None = None


def show_all(hypotheses: Path, models: Path, as_json: bool) -> None:
    """Print what there is."""
    rows = checkpoints(models)
    listings = listing(hypotheses) if hypotheses.exists() else []
    if as_json:
        files = [{**asdict(file), "file": str(file.file)} for file in listings]
        print_json({"models": [asdict(row) for row in rows], "hypotheses": files})
        return
    console = out()
    _show_models(rows, models, console)
    _show_hypotheses(listings, hypotheses, console)


def checkpoints(models: Path) -> list[Row]:
    """Return what the checkpoints of a folder say of themselves, by name; a broken one has an error."""
    rows = []
    weights = [path for depth in range(1, 4) for path in models.glob("*/" * depth + WEIGHTS)]
    for folder in sorted(path.parent for path in weights if SCRATCH not in path.relative_to(models).parts):
        name = folder.relative_to(models).as_posix()
        try:
            rows.append(_read(folder, name))
        except Exception as error:  # whatever is wrong with one must not hide the others
            rows.append(Row(name, error=(str(error).splitlines() or [type(error).__name__])[0]))
    return rows


def n_parameters(weights: Path) -> int:
    """Return how many numbers a safetensors file holds, from its header.

    Raises:
        ValueError: It is no such file.
    """
    with open_file(weights) as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < length < weights.stat().st_size:
            raise ValueError(f"{weights.name} is truncated or no safetensors file")
        header = parse_json(file.read(length))
    tensors = [entry for name, entry in header.items() if name != "__metadata__"]
    if 8 + length + max((tensor["data_offsets"][1] for tensor in tensors), default=0) != weights.stat().st_size:
        raise ValueError(f"{weights.name} is truncated")
    return sum(math.prod(tensor["shape"]) for tensor in tensors)


def shortened(channels: Sequence[str]) -> str:
    """Return the parts of a token; of those that differ only in where they were seen, the first and the last."""
    groups: dict[str, list[str]] = {}
    for name in channels:
        groups.setdefault(re.sub(r"_\d+_\d+$", "", name), []).append(name)
    return ", ".join(group[0] if len(group) == 1 else f"{group[0]} to {group[-1]}" for group in groups.values())


def _read(folder: Path, name: str) -> Row:
    config = read_config(folder / CONFIG, task_file="unmade")
    record, size = read_record(folder), config.model
    return Row(
        name,
        *_task(config),
        size.n_layers,
        size.n_heads,
        size.d_model,
        n_parameters(folder / WEIGHTS),
        record.get("evaluation", {}).get("summary", {}).get("held_out_of_optimum"),
        record.get("seconds"),
    )


def _task(config: Config) -> tuple[str, tuple[str, ...]]:
    """Return a task with its parameters, and the parts of its tokens; of a file, only what the configuration says."""
    if file_of(config.task["name"]) is None:
        task = config.make_task()
        return describe(task), (*task.channels, "action", "reward")
    rest = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in config.task.items() if key != "name")
    return config.task["name"] + (f" ({rest})" if rest else ""), ()


def _show_models(rows: list[Row], models: Path, console: Console) -> None:
    if not rows:
        say(console, f"no checkpoints in {models}/; make one: python cli.py train CONFIG.yaml", "dim")
        return
    table = _table("model", "task", "layers", "heads", "width", "weights", "held-out", "trained")
    for row in rows:
        if row.error is not None:
            _add_broken(table, row.name, row.error)
            continue
        share = "-" if row.held_out_of_optimum is None else f"{row.held_out_of_optimum:.0%}"
        seconds = "-" if row.seconds is None else duration(row.seconds)
        sizes = (str(row.layers), str(row.heads), str(row.width), f"{row.parameters:,}")
        channels = shortened(row.channels) or "as its file says, which was not run"
        task = Text.assemble(row.task, "\nembed: ", (channels, "dim"))
        table.add_row(Text(row.name), task, *map(Text, (*sizes, share, seconds)))
    console.print(table)
    say(
        console,
        "held-out: return of the last three episodes (or of the only one) on tasks never trained on, of the optimum",
        "dim",
    )


def _show_hypotheses(listings: list[FileListing], folder: Path, console: Console) -> None:
    if not listings:
        say(console, f"no hypotheses in {folder}/; begin one: python cli.py new win_stay", "dim")
        return
    table = _table("file", "hypotheses", "nodes", "what it says")
    for file in listings:
        if file.error is not None:
            _add_broken(table, str(file.file), file.error)
        else:
            names = ", ".join(file.hypotheses) or "none"
            table.add_row(*map(Text, (str(file.file), names, str(file.n_nodes), file.title)))
    console.print(table)


def _table(*heads: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, collapse_padding=True)
    for head in heads:
        first = head == heads[0]
        table.add_column(
            head,
            justify="right" if head in NUMBERS else "left",
            no_wrap=first or head in NUMBERS,
            style="cyan" if first else None,
        )
    return table


def _add_broken(table: Table, name: str, error: str) -> None:
    table.add_row(Text(name, style="red"), Text(error, style="red"))
