"""`list`: which checkpoints and hypothesis files there are, read without running or loading any of them."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import asdict, dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ad_hypotheses.cli.terminal import duration, out, print_json, say
from ad_hypotheses.distill.config import read_config
from ad_hypotheses.language.discover import Found, listing
from ad_hypotheses.sources import Source
from ad_hypotheses.tasks import Task

WEIGHTS, CONFIG, RECORD = "weights.safetensors", "config.yaml", "record.json"  # as in distill.zoo, which needs torch


@dataclass(frozen=True)
class Row:
    """What a checkpoint's files say of it.

    Attributes:
        name: Of its folder.
        task: Its task family with the parameters that were set.
        layers, heads, width: Size of the transformer.
        parameters: How many weights it has.
        held_out_of_optimum: Mean return of its last three episodes on held-out tasks, as a share of the optimum.
        seconds: That its training took.
        error: Why it cannot be read; None if it can.
    """

    name: str
    task: str = ""
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
    found = listing(hypotheses) if hypotheses.exists() else []
    if as_json:
        files = [{**asdict(one), "file": str(one.file)} for one in found]
        print_json({"models": [asdict(row) for row in rows], "hypotheses": files})
        return
    console = out()
    _show_models(rows, models, console)
    _show_hypotheses(found, hypotheses, console)


def checkpoints(models: Path) -> list[Row]:
    """Return what the checkpoints of a folder say of themselves, by name; a broken one has an error."""
    rows = []
    for weights in sorted(models.glob(f"*/{WEIGHTS}")):
        try:
            rows.append(_read(weights.parent))
        except Exception as error:  # whatever is wrong with one must not hide the others
            rows.append(Row(weights.parent.name, error=str(error).splitlines()[0]))
    return rows


def n_parameters(weights: Path) -> int:
    """Return how many numbers a safetensors file holds, from its header.

    Raises:
        ValueError: It is no such file.
    """
    with weights.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < length < weights.stat().st_size:
            raise ValueError(f"{weights.name} is truncated or no safetensors file")
        header = json.loads(file.read(length))
    tensors = [entry for name, entry in header.items() if name != "__metadata__"]
    if 8 + length + max((one["data_offsets"][1] for one in tensors), default=0) != weights.stat().st_size:
        raise ValueError(f"{weights.name} is truncated")
    return sum(math.prod(one["shape"]) for one in tensors)


def describe(made: Task | Source) -> str:
    """Return a task or source with its parameters: `dark-room (size 9, horizon 20)`."""
    values = asdict(made)  # type: ignore[call-overload]
    rest = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())
    return f"{made.name} ({rest})" if rest else made.name


def _read(folder: Path) -> Row:
    config = read_config(folder / CONFIG)
    record = json.loads((folder / RECORD).read_text())
    size = config.model
    return Row(
        folder.name,
        describe(config.make_task()),
        size.n_layers,
        size.n_heads,
        size.d_model,
        n_parameters(folder / WEIGHTS),
        record.get("evaluation", {}).get("summary", {}).get("held_out_of_optimum"),
        record.get("seconds"),
    )


def _show_models(rows: list[Row], models: Path, console: Console) -> None:
    if not rows:
        say(console, f"no checkpoints in {models}/; make one: python cli.py train CONFIG.yaml", "dim")
        return
    table = _table("model", "task", "layers", "width", "parameters", "held-out", "trained in")
    for row in rows:
        if row.error is not None:
            _add_broken(table, row.name, row.error)
            continue
        share = "-" if row.held_out_of_optimum is None else f"{row.held_out_of_optimum:.0%}"
        seconds = "-" if row.seconds is None else duration(row.seconds)
        table.add_row(row.name, row.task, str(row.layers), str(row.width), f"{row.parameters:,}", share, seconds)
    console.print(table)
    say(console, "held-out: return of the last three episodes on tasks never trained on, of the optimum", "dim")


def _show_hypotheses(found: list[Found], folder: Path, console: Console) -> None:
    if not found:
        say(console, f"no hypotheses in {folder}/; begin one: python cli.py new win_stay", "dim")
        return
    table = _table("file", "hypotheses", "nodes", "what it says", numbers=("nodes",))
    for one in found:
        if one.error is not None:
            _add_broken(table, str(one.file), one.error)
        else:
            table.add_row(str(one.file), ", ".join(one.hypotheses) or "none", str(one.n_nodes), one.title)
    console.print(table)


def _table(
    *heads: str, numbers: tuple[str, ...] = ("layers", "width", "parameters", "held-out", "trained in")
) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for place, head in enumerate(heads):
        table.add_column(
            head, justify="right" if head in numbers else "left", no_wrap=not place, style="cyan" if not place else None
        )
    return table


def _add_broken(table: Table, name: str, error: str) -> None:
    table.add_row(Text(name, style="red"), Text(error, style="red"))
