"""The command line, run in the process of the tests."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Ran:
    """What the command line did: its exit code, and what it wrote to stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Everything in stderr in one line, without the box that frames usage errors."""
        return re.sub(r"[\s│╭╮╰╯─]+", " ", self.err)


def run_main(arguments: tuple[object, ...], capsys: pytest.CaptureFixture[str]) -> Ran:
    """Run the command line in this process; it must never show a traceback."""
    from ad_hypotheses.cli.app import main

    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert "\x1b[" not in out + err, "control codes although this is no terminal"
    return Ran(int(end.value.code or 0), out, err)
