"""Where jobs run: processes of this machine, a Ray cluster, or a dask cluster.

An engine is a `concurrent.futures.Executor`. Where a job is placed, that it is tried again when its worker is lost, and
which GPU it sees are the engine's business. All machines see the same folders, and have the same version of this
package installed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from ad_hypotheses.errors import UserError, did_you_mean
from ad_hypotheses.jobs.versions import require_same_code

Kind = Literal["local", "ray", "dask"]
KINDS: tuple[Kind, ...] = ("local", "ray", "dask")
EXAMPLES = "local, local:4, ray, ray:10.0.0.1:6379, dask:tcp://10.0.0.1:8786"
INSTALL = "{0} is not installed. Install it: pip install 'ad-hypotheses[{0}]'."
RETRIES = 3  # of a job whose worker was lost


@dataclass(frozen=True)
class Needs:
    """What a job needs of the machine that it runs on.

    Attributes:
        cpus: Processors, which are the threads that it uses.
        gpus: GPUs; a fraction lets several jobs share one.
    """

    cpus: int = 1
    gpus: float = 0.0


@dataclass(frozen=True)
class Engine:
    """Where jobs run.

    Attributes:
        kind: `"local"`, `"ray"` or `"dask"`.
        address: Address of a cluster; empty to use this machine alone.
        workers: Processes of this machine; None to let the study choose.
    """

    kind: Kind = "local"
    address: str = ""
    workers: int | None = None

    @classmethod
    def parse(cls, text: str) -> Engine:
        """Read what is given as `engine`: `local[:N]`, `ray[:ADDRESS]` or `dask:ADDRESS`.

        Raises:
            UserError: It is none of them.
        """
        kind, _, rest = text.partition(":")
        if kind not in KINDS:
            advice = f"{did_you_mean(kind, KINDS)}\n  engines: {EXAMPLES}"
            raise UserError(f"there is no engine {text!r} (`engine`).{advice}")
        if kind == "local":
            if rest and not (rest.isdecimal() and int(rest)):
                raise UserError(f"engine {text!r} must name a number of processes, at least 1, as local:4 (`engine`).")
            return cls("local", workers=int(rest) if rest else None)
        if kind == "dask" and not rest:
            raise UserError("dask needs the address of its scheduler, as dask:tcp://10.0.0.1:8786 (`engine`).")
        return cls("ray" if kind == "ray" else "dask", rest)

    def __str__(self) -> str:
        rest = self.address or (str(self.workers) if self.workers else "")
        return f"{self.kind}:{rest}" if rest else self.kind


@contextmanager
def executor_of(engine: Engine, needs: Needs) -> Iterator[Executor | None]:
    """Connect to a Ray or dask cluster and yield an executor that runs jobs there; None for this machine.

    Args:
        engine: Where jobs run.
        needs: What every job needs.

    Raises:
        UserError: The engine is not installed, its cluster does not answer, or runs another version of this package.
    """
    if engine.kind == "local":
        yield None
        return
    with (_ray if engine.kind == "ray" else _dask)(engine, needs) as executor:
        require_same_code(executor, str(engine))
        yield executor


@contextmanager
def _ray(engine: Engine, needs: Needs) -> Iterator[Executor]:
    # nothing is reported to anybody, and nothing listens that is not needed
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise UserError(INSTALL.format("ray")) from error
    from ad_hypotheses.jobs.ray_executor import RayExecutor

    connected = ray.is_initialized()
    if not connected:
        try:
            ray.init(
                address=engine.address or None,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"no Ray cluster answers at {engine.address or 'this machine'}: {_first_line(error)} (`engine`).\n"
                "  Start one (ray start --head), or leave the address away to use this machine alone."
            ) from error
    executor = RayExecutor(ray, needs.cpus, needs.gpus, RETRIES)
    try:
        yield executor
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        if not connected:
            ray.shutdown()


@contextmanager
def _dask(engine: Engine, needs: Needs) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError as error:
        raise UserError(INSTALL.format("dask")) from error
    try:
        client = Client(engine.address, timeout="20s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"no dask scheduler answers at {engine.address}: {_first_line(error)} (`engine`).\n"
            "  Start one (dask scheduler), and workers (dask worker ADDRESS --nthreads 1)."
        ) from error
    with client:
        yield client.get_executor(retries=RETRIES, pure=False)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
