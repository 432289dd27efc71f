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
from ad_hypotheses.storage.files import write_atomically
from ad_hypotheses.storage.reading import read_text
from ad_hypotheses.studies.scrub.record import Study, read_study

if TYPE_CHECKING:
    import uvicorn

    from ad_hypotheses.explorer.guard import App

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
    _app: App = field(repr=False)  # what answers, without the guard of the server

    def wait(self) -> None:
        """Wait until it is stopped."""
        while self._thread.is_alive():
            self._thread.join(0.5)

    def stop(self) -> None:
        """Stop it."""
        self._server.should_exit = True
        self._thread.join(10)

    def widget(self, height: int | None = None) -> Any:
        """Return the page as a widget, which asks the kernel of the notebook itself: no port need be reached.

        Args:
            height: In pixels; None for a usual one.

        Raises:
            UserError: What widgets need is not installed.
        """
        try:
            from ad_hypotheses.explorer.widget import HEIGHT, ExplorerWidget
        except ImportError as error:
            raise UserError(
                f"the explorer in a cell needs {error.name}, which is not installed. Install it: pip install "
                "'ad-hypotheses[notebook]'."
            ) from error
        return ExplorerWidget(self._app, HEIGHT if height is None else height)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        """Return the page in a cell of a notebook; where widgets are not installed, a link to it."""
        try:
            return self.widget()._repr_mimebundle_()
        except UserError:
            link = f'<a href="{self.url}" target="_blank" rel="noopener">open the explorer</a>'
            return {"text/html": link, "text/plain": repr(self)}

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
    browser: bool | None = None,
) -> Explorer:
    """Open a page in the browser on which a context is edited, and shows what a model does and why.

    The page is served to this machine alone, and to whoever has the link.

    Args:
        subject: A model or its name, histories of which the first is shown, the record of a study by `scrub`, or a JSON
            file of histories, of such a record, or of a state that the page saved; None for a model that ships.
        model: The model that reads histories, or its name; None for one that ships.
        worst: Which of the positions where the claim of a record breaks is shown, from 1.
        port: Where to serve; None for a usual one, or another if that is in use.
        browser: Whether to open the browser; None to do so except in a notebook, whose cell shows the page.

    Returns:
        What runs in the background until :meth:`Explorer.stop`. A notebook shows the page where it is the last line of
        a cell, with the extra `notebook`; else a link.

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
    guard = make_app(session, state, token)
    server, thread = _serve(guard, listener)
    number = int(listener.getsockname()[1])
    explorer = Explorer(f"http://{HOST}:{number}/?token={token}", number, moved, server, thread, guard.app)
    if browser or (browser is None and not _in_notebook()):
        webbrowser.open(explorer.url)
    return explorer


def bundle(
    subject: Model | History | Study | str | Path | None,
    path: str | Path,
    *,
    model: Model | str | Path | None = None,
    worst: int = 1,
    claim: bool = False,
) -> Path:
    """Write what a page would show as one HTML file that needs no server, to send or to put beside a paper.

    Steps can be selected and panels read; nothing can be changed, and the file asks nobody. What heads look at and what
    parts add is there for the episode of the selected step.

    Args:
        subject: As for :func:`explore`; a JSON file of a state gives the step, what is asked and what else is shown.
        path: Of the file; its folder is made.
        model: As for :func:`explore`.
        worst: As for :func:`explore`.
        claim: Whether the hypothesis of the state, or of the record, is run and shown; a hypothesis is code.

    Returns:
        The path.

    Raises:
        UserError: The subject cannot be shown, the file cannot be written or would be too large.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import ad_hypotheses as adh
        >>> folder = tempfile.mkdtemp()
        >>> adh.bundle("known-retrieval", Path(folder) / "page.html").name
        'page.html'
    """
    from ad_hypotheses.explorer.bundle import bundle_page

    session, state = subject_state(subject, model, worst)
    if claim and state.claim is None:
        raise DataError("`claim` was asked for, but no hypothesis is chosen in this state: choose one, and save it.")
    page = bundle_page(session, state, claim)
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(Path(path), page.encode())
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}.") from error
    return Path(path)


def _in_notebook() -> bool:
    """Return whether a notebook runs this, and can show the page in a cell."""
    import importlib.util
    import sys

    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None and importlib.util.find_spec("anywidget") is not None


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
