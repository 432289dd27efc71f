"""Start the explorer: find a port, serve, and open the browser."""

from __future__ import annotations

import secrets
import socket
import threading
import webbrowser
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ad_hypotheses.errors import DataError, UserError
from ad_hypotheses.explorer.report import is_study, require_same, state_of_study
from ad_hypotheses.explorer.session import Session
from ad_hypotheses.explorer.state import ModelReference, State, read_origin, state_of_history
from ad_hypotheses.language.history import History
from ad_hypotheses.library.model import Model, load
from ad_hypotheses.storage.reading import read_text
from ad_hypotheses.studies.scrub.record import Study, read_study

if TYPE_CHECKING:
    import uvicorn

PORT = 8765  # where the explorer is unless that is in use
HOST = "127.0.0.1"
FIRST_MODEL = "dark-room"
SECONDS_TO_START = 30


@dataclass
class Explorer:
    """A running explorer; :meth:`stop` ends it, and so does the end of a `with`.

    Attributes:
        url: Link to open; it holds the token without which nothing is answered.
        port: Its port on this machine.
        moved: Whether another port was taken than the one that was wished for, which was in use.
    """

    url: str
    port: int
    moved: bool
    _server: uvicorn.Server = field(repr=False)
    _thread: threading.Thread = field(repr=False)

    def wait(self) -> None:
        """Wait until it is stopped."""
        while self._thread.is_alive():
            self._thread.join(0.5)

    def stop(self) -> None:
        """Stop it."""
        self._server.should_exit = True
        self._thread.join(10)

    def _repr_html_(self) -> str:
        """Return a link, for a notebook."""
        return f'<a href="{self.url}" target="_blank" rel="noopener">open the explorer</a>'

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def explore(
    subject: Model | History | Study | str | Path | None = None,
    *,
    model: Model | str | Path | None = None,
    worst: int = 1,
    port: int | None = None,
    browser: bool = True,
) -> Explorer:
    """Open a page in the browser on which a context is edited, and shows what a model does and why.

    The page is served to this machine alone, and to whoever has the link.

    Args:
        subject: A model or its name, histories of which the first is shown, the record of a study by `scrub`, or a JSON
            file of histories, of such a record, or of a state that the page saved; None for a model that ships.
        model: The model that reads histories, or its name; None for one that ships.
        worst: Which of the positions where the claim of a record breaks is shown, from 1.
        port: Where to serve; None for a usual one, or another if that is in use.
        browser: Whether to open the browser.

    Returns:
        What runs in the background until :meth:`Explorer.stop`.

    Raises:
        UserError: What serves the page is not installed, the port is in use, or the subject cannot be shown.

    Example:
        >>> import ad_hypotheses as adh
        >>> with adh.explore("bandit", browser=False) as explorer:
        ...     explorer.url.startswith("http://127.0.0.1:")
        True
    """
    require_installed()
    session, state = subject_state(subject, model, worst)
    token = secrets.token_urlsafe(24)
    from ad_hypotheses.explorer.server import make_app

    listener, moved = _listener(port)
    server, thread = _serve(make_app(session, state, token), listener)
    number = int(listener.getsockname()[1])
    explorer = Explorer(f"http://{HOST}:{number}/?token={token}", number, moved, server, thread)
    if browser:
        webbrowser.open(explorer.url)
    return explorer


def require_installed() -> None:
    """Refuse to start without what serves the page.

    Raises:
        UserError: It is not installed.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"the explorer needs {error.name}, which is not installed. Install it: pip install 'ad-hypotheses[app]'."
        ) from error


def subject_state(
    subject: Model | History | Study | str | Path | None, model: Model | str | Path | None = None, worst: int = 1
) -> tuple[Session, State]:
    """Return the session and the state that a page begins with; arguments and errors as for :func:`explore`."""
    session = Session()

    def named(given: Model | str | Path) -> str:
        """Return the name under which the session has a model."""
        name = given.name if isinstance(given, Model) else str(given)
        session.models[name] = given if isinstance(given, Model) else load(given)
        return name

    reader = FIRST_MODEL if model is None else model
    if isinstance(subject, str | Path) and Path(subject).suffix == ".json" and is_study(Path(subject)):
        subject = read_study(Path(subject))
    if isinstance(subject, Study):
        state = state_of_study(subject, worst)
        require_same(session, state, subject, worst)
        return session, state
    if isinstance(subject, History):
        return session, state_of_history(subject, named(reader))
    if isinstance(subject, str | Path) and Path(subject).suffix == ".json":
        state = read_origin(_content(Path(subject)), FIRST_MODEL if model is None else named(model))
        session.model(state.model.name)
        return session, state
    return session, State(model=ModelReference(name=named(reader if subject is None else subject)))  # type: ignore[call-arg]


def _content(path: Path) -> str:
    try:
        return read_text(path)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error


def _listener(port: int | None) -> tuple[socket.socket, bool]:
    """Return a socket that listens, and whether its port is another one than was wished for.

    Raises:
        UserError: The port that was asked for is in use, or may not be used.
    """
    for number in (PORT, 0) if port is None else (port,):
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, number))
            listener.listen(64)
        except (OSError, OverflowError) as error:
            listener.close()
            if port is not None:
                reason = getattr(error, "strerror", None) or error
                raise UserError(f"port {port} cannot be used: {reason}. Leave `port` out, or take another.") from error
            continue
        return listener, number != (PORT if port is None else port)
    raise UserError("no port of this machine can be used.")


def _serve(app: Any, listener: socket.socket) -> tuple[uvicorn.Server, threading.Thread]:
    """Serve in a thread of its own; return once requests are answered."""
    import uvicorn

    config = uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off", server_header=False)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.run, args=([listener],), name="explorer server", daemon=True)
    thread.start()
    waited = threading.Event()
    for _ in range(SECONDS_TO_START * 100):
        if server.started or not thread.is_alive():
            break
        waited.wait(0.01)
    if not server.started:
        raise UserError("the server of the explorer did not start.")
    return server, thread
