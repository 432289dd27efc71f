"""Workers of a cluster must run the same code as the process that sends them jobs."""

from __future__ import annotations

import hashlib
import socket
from concurrent.futures import Executor
from functools import cache
from pathlib import Path

from ad_hypotheses.errors import UserError

PACKAGE = Path(__file__).parents[1]


@cache
def code_digest() -> str:
    """Return a digest of the code of this package."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def code_of_worker() -> tuple[str, str, str]:
    """Return the digest of the code where the call runs, where it lies, and the name of that machine."""
    return code_digest(), str(PACKAGE), socket.gethostname()


def require_same_code(executor: Executor, engine: str) -> None:
    """Ask a worker for its code.

    Raises:
        UserError: It has another version, or none at all.
    """
    try:
        digest, folder, host = executor.submit(code_of_worker).result()
    except Exception as error:  # each engine has its own for what its worker could not import
        if "No module named" not in str(error) and not isinstance(error, AttributeError):
            raise
        raise UserError(
            f"a worker of {engine} has not this package (`engine`).\n"
            "  Install ad-hypotheses in the environment of every worker."
        ) from error
    if digest != code_digest():
        raise UserError(
            f"the code of a worker of {engine} is not that of this process (`engine`):\n"
            f"  {digest} in {folder} on {host}\n  {code_digest()} in {PACKAGE} here\n"
            "  Install the same version on all machines: numbers of different versions are not compared."
        )
