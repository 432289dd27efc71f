"""The command line: `python cli.py --help`."""

from __future__ import annotations

import functools
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ad_hypotheses.cli.behave import behave
from ad_hypotheses.cli.calibrate import calibrate
from ad_hypotheses.cli.check import check
from ad_hypotheses.cli.evaluate import evaluate
from ad_hypotheses.cli.explore import explore
from ad_hypotheses.cli.findings import findings
from ad_hypotheses.cli.histories import histories
from ad_hypotheses.cli.known import known
from ad_hypotheses.cli.list import list_all
from ad_hypotheses.cli.messages import options_of, with_options
from ad_hypotheses.cli.new import new
from ad_hypotheses.cli.patch import patch
from ad_hypotheses.cli.report import report
from ad_hypotheses.cli.scrub import scrub
from ad_hypotheses.cli.sweep import sweep
from ad_hypotheses.cli.train import train
from ad_hypotheses.errors import UserError
from ad_hypotheses.language.user_code import described, failed, user_code
from ad_hypotheses.report.screen import aside, results_alone, say, say_error
from ad_hypotheses.storage.places import program
from ad_hypotheses.studies.interrupt import STOPPED, Stopped, leaving_at_once

TRACEBACK = "AD_HYPOTHESES_TRACEBACK"
NAMES = ("cli.py", "ad-hypotheses")
SUPPORTED = ("linux", "darwin")
FORMER = {"samples": "rows"}  # options by earlier names, which commands in older reports have

app = typer.Typer(
    help="Write down how a model learns in context, and test it by causal scrubbing.",
    epilog=f"Start with: {program()} list",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda option: FORMER.get(option, option),
    },
)


def _verb(name: str, function: Callable[..., None], example: str) -> None:
    app.command(name, epilog=f"Example: {program()} {name} {example}".rstrip())(_guarded(function))


def _guarded(function: Callable[..., None]) -> Callable[..., None]:
    """Keep code of a user, wherever it runs, from ending a verb and from printing among its results.

    Messages of the library name parameters, and get the names of the verb's options.
    """

    @functools.wraps(function)
    def verb(*values: Any, **named: Any) -> None:
        with results_alone():
            try:
                with user_code():
                    function(*values, **named)
            except UserError as error:
                error.args = (with_options(str(error), options_of(function)),)
                raise
            except MemoryError:
                raise
            except Exception as error:
                problem = failed(error)
                if problem is None:
                    raise
                raise UserError(str(problem)) from error

    return verb


_verb("list", list_all, "")
_verb("histories", histories, "models/dark-room/config.yaml --learners 1000")
_verb("train", train, "models/dark-room/config.yaml")
_verb("sweep", sweep, "sweep.yaml --workers 4")
_verb("known", known, "win-stay")
_verb("evaluate", evaluate, "dark-room --rollouts 1000")
_verb("behave", behave, "dark-room --quick")
_verb("explore", explore, "dark-room")
_verb("findings", findings, "--check")
_verb("new", new, "win_stay")
_verb("check", check, "hypotheses/win_stay.py")
_verb("scrub", scrub, "hypotheses/win_stay.py --model dark-room --rows 512")
_verb("calibrate", calibrate, "--only win-stay --quick")
_verb("patch", patch, "hypotheses/win_stay.py --donors rewards-swapped")
_verb("report", report, "reports/win_stay-bandit.json")


def _version(wanted: bool) -> bool:
    if wanted:
        sys.stdout.write(f"ad-hypotheses {_own_version()}\n")
        raise typer.Exit
    return wanted


def _own_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ad-hypotheses")
    except PackageNotFoundError:  # run from a checkout that was never installed
        import tomllib

        text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
        return str(tomllib.loads(text)["project"]["version"])


@app.callback()
def _everywhere(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Write down how a model learns in context, and test it by causal scrubbing."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 refused or stopped, 1 training diverged or a bug of ours.

    Args:
        argv: Arguments; those of the process by default.
    """
    name = Path(sys.argv[0]).name
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows no → shows ? for it
    if sys.platform not in SUPPORTED:
        say_error(f"Linux and macOS are supported, and this is {sys.platform}.")
        sys.exit(2)
    try:
        with leaving_at_once():
            _command()(arguments, prog_name=name if name in NAMES else NAMES[0])
    except Stopped as stopped:
        if str(stopped):
            say(aside(), str(stopped), "yellow")
        sys.exit(STOPPED)
    except (UserError, MemoryError, OSError) as error:
        if os.environ.get(TRACEBACK):
            raise
        say_error(_message(error))
        sys.exit(error.exit_code if isinstance(error, UserError) else 2)
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        say_error(
            f"{described(error)} - this is a bug of ours, please report it; {TRACEBACK}=1 shows where it happened."
        )
        sys.exit(1)


@functools.cache  # reading the annotations of all verbs takes a tenth of a second
def _command() -> Callable[..., None]:
    return typer.main.get_command(app)


def _message(error: Any) -> str:
    if isinstance(error, MemoryError):
        return "there is not enough memory. Use fewer histories (--rows), or free some."
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}."
    return str(error)
