"""Code that a user wrote cannot end the program, and where it fails its place is named."""

from __future__ import annotations

import linecache
import sys
import traceback
import types
from collections.abc import Iterator
from contextlib import contextmanager

from ad_hypotheses.language.problems import Problem, shown_path

MODULE = "ad_hypotheses_user_code_"  # how the name of every module begins that is made from a file of a user


class EndedProgram(Exception):
    """User code raised what would have ended the program; `__cause__` is what it raised."""


@contextmanager
def user_code() -> Iterator[None]:
    """Run what is inside, which a user wrote, so that only Ctrl-C can end the program.

    Raises:
        EndedProgram: It called `sys.exit`, or raised another exception that is not an :class:`Exception`.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise EndedProgram(described(error)) from error


def described(error: BaseException) -> str:
    """Return an exception as a person reads it, `ValueError: no such goal`, in one line."""
    error = _original(error)
    try:
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    except Exception:  # its __str__ is user code too
        text = ""
    return f"{type(error).__name__}: {(text.strip().splitlines() or [''])[0]}".removesuffix(": ")


def failed(error: BaseException) -> Problem | None:
    """Return the problem of the user's file in which an exception came up; None if none was running."""
    original = _original(error)
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(original.__traceback__)]
    calls = zip(modules, frames_of(error), strict=True)
    own = [frame for module, frame in calls if module.startswith(MODULE)]
    if not own:
        return None
    file, code = shown_path(own[-1].filename), own[-1].line or ""
    verb = "ends the program" if isinstance(error, EndedProgram) else "fails"
    return Problem(f"{file} {verb}: {described(error)}", f"{file}:{own[-1].lineno}", (("code", code),) if code else ())


def line_of(code: types.CodeType) -> int:
    """Return the line of a function's `def`; a code object knows that of its first decorator."""
    for line in range(code.co_firstlineno, code.co_firstlineno + 100):
        if linecache.getline(code.co_filename, line).lstrip().startswith(("def ", "async def ")):
            return line
    return code.co_firstlineno


def frames_of(error: BaseException) -> traceback.StackSummary:
    """Return the calls that led to an exception, the innermost last."""
    return traceback.extract_tb(_original(error).__traceback__)


def _original(error: BaseException) -> BaseException:
    return error.__cause__ if isinstance(error, EndedProgram) and error.__cause__ is not None else error


def calling_frame() -> types.FrameType:
    """Return the frame of whoever called us: the first that is neither ours nor a run-time type checker's."""
    frame = sys._getframe(1)
    while frame.f_back is not None and (
        str(frame.f_globals.get("__name__")).partition(".")[0] in ("ad_hypotheses", "jaxtyping", "beartype")
        or frame.f_code.co_filename.startswith("<@")
    ):
        frame = frame.f_back
    return frame
