"""`explore`: open a page on which a context is edited, and shows what the model does and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ad_hypotheses.cli.options import Threads, Trust
from ad_hypotheses.errors import UserError
from ad_hypotheses.report.screen import out, say
from ad_hypotheses.studies.machine import set_up_torch


def explore(
    subject: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL | FILE]",
            help="Name or folder of a model, or a JSON file: record of scrub, history, or state that the page saved.",
            show_default="a model that ships",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="MODEL", help="The model that reads a history.", show_default=False),
    ] = None,
    worst: Annotated[
        int, typer.Option("--worst", metavar="N", min=1, help="Which position where the claim of a record breaks.")
    ] = 1,
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="N", min=1, max=65535, help="Where to serve.", show_default="8765 if free"),
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the browser.")] = True,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle",
            metavar="FILE.html",
            help="Write the page as one file that needs no server, instead of serving it.",
            show_default=False,
        ),
    ] = None,
    claim: Annotated[
        bool, typer.Option("--claim", help="With --bundle: run the hypothesis of the record or state, and show it.")
    ] = False,
    trust: Trust = None,
    threads: Threads = None,
) -> None:
    """See a whole context in the browser, change anything in it, and watch what the model does and why.

    Only this machine is answered, and only whoever has the link that is printed. Ctrl-C ends it.
    """
    from ad_hypotheses.explorer.start import bundle as write_bundle
    from ad_hypotheses.explorer.start import explore as start
    from ad_hypotheses.explorer.start import require_installed

    require_installed()
    set_up_torch("cpu", threads)
    console = out()
    if claim and bundle is None:
        raise UserError("`claim` goes with `bundle`: on the page, a hypothesis is run by a click.")
    if bundle is not None:
        path = write_bundle(subject, bundle, model=model, worst=worst, claim=claim)
        say(console, f"wrote {path}, {path.stat().st_size / 1e6:.1f} MB: open it in a browser", "bold")
        return
    with start(subject, model=model, worst=worst, port=port, browser=browser) as explorer:
        if explorer.moved:
            say(console, f"the usual port is in use; this one is {explorer.port}", "dim")
        say(console, f"open {explorer.url}", "bold")
        say(console, f"from another machine: ssh -L {explorer.port}:127.0.0.1:{explorer.port} {_this_machine()}", "dim")
        explorer.wait()


def _this_machine() -> str:
    import platform

    return platform.node() or "HOST"
