"""What the page asks, over HTTP: each request holds the whole state, so that the server may be restarted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from ad_hypotheses.distill.checkpoint import names
from ad_hypotheses.errors import UserError
from ad_hypotheses.explorer import claims, report, views
from ad_hypotheses.explorer.bundle import STATIC, bundle_page
from ad_hypotheses.explorer.guard import LOOPBACK, Guard
from ad_hypotheses.explorer.session import Session
from ad_hypotheses.explorer.sessions import Sessions, usual_folder
from ad_hypotheses.explorer.state import State, read_origin, read_state
from ad_hypotheses.explorer.worker import Cancelled, ModelThread, Replaced
from ad_hypotheses.language.user_code import described


class Question(BaseModel):
    """What a page asks of a state.

    Attributes:
        page: Name that the page gave itself; a newer question of it replaces an older one about the same panel.
        state: The state, which is read strictly.
        source: Whether the source is asked too, where learners are.
        edges: Whether edges are asked about too, where carriers or ablations are.
        claim: Whether the hypothesis is run and shown, where a page is written.
        who: Whose life is taken as a context, where lives are.
    """

    model_config = ConfigDict(extra="forbid")

    page: str = Field("", max_length=40)
    state: dict[str, Any]
    source: bool = False
    edges: bool = False
    claim: bool = False
    who: str = Field("", max_length=100)


class PageQuestion(BaseModel):
    """Which page asks."""

    model_config = ConfigDict(extra="forbid")

    page: str = Field("", max_length=40)


class ModelQuestion(PageQuestion):
    """Which model a page asks about."""

    name: str = Field(max_length=500)


class SessionQuestion(BaseModel):
    """Which session is opened."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=40)


class ReportQuestion(PageQuestion):
    """Where the claim of which record breaks."""

    file: str = Field(max_length=500)
    worst: int = Field(ge=1, le=1000)


class OpenedFile(BaseModel):
    """A file that was opened on the page, and the model to read a history with."""

    model_config = ConfigDict(extra="forbid")

    text: str
    model: str = Field(max_length=500)


def make_app(
    session: Session, first: State, token: str, hosts: tuple[str, ...] = LOOPBACK, kept: Path | None = None
) -> Guard:
    """Return the application.

    Args:
        session: Models and contexts.
        first: What a page shows that was opened without a state.
        token: What a page must know to be answered.
        hosts: Host names under which the server may be asked.
        kept: Folder in which sessions are kept; None for the usual one.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    worker, sessions = ModelThread(), Sessions(kept or usual_folder())
    session.listener = worker.listener
    _answer_errors(app)

    def about(panel: str, view: Callable[[Question, State], Any]) -> None:
        async def answer(question: Question) -> Any:
            return await worker.run(question.page, panel, lambda: view(question, read_state(question.state)))

        app.post(f"/api/{panel}")(answer)

    about("context", lambda question, state: views.context_view(session, state))
    about("rows", lambda question, state: views.rows_view(session, state))
    about("look", lambda question, state: views.look_view(session, state))
    about("learners", lambda question, state: views.learners_view(session, state, question.source))
    about("carriers", lambda question, state: views.carriers_view(session, state, question.edges))
    about("ablations", lambda question, state: views.ablations_view(session, state, question.edges))
    about("replaced", lambda question, state: views.replaced_view(session, state))
    about("live", lambda question, state: views.live_view(session, state))
    about("taken", lambda question, state: views.taken_view(session, state, question.who))
    about("scan", lambda question, state: views.scan_view(session, state))
    about("others", lambda question, state: views.others_view(session, state))
    about("rivals", lambda question, state: claims.rivals_view(session, state))
    about("claim", lambda question, state: claims.claim_view(session, state))
    about("bundle", lambda question, state: bundle_page(session, state, question.claim))
    about("python", lambda question, state: views.python_view(session, state))

    @app.get("/api/start")
    async def start() -> Any:
        models = sorted({*names(), *session.models})
        return {"models": models, "claims": claims.claims_view(), "state": first.plain()}

    @app.post("/api/model")
    async def model(question: ModelQuestion) -> Any:
        return await worker.run(question.page, "model", lambda: views.model_view(session, question.name))

    @app.post("/api/alike")
    async def alike(question: ModelQuestion) -> Any:
        return await worker.run(question.page, "alike", lambda: views.alike_view(session, question.name))

    @app.get("/api/reports")
    async def reports() -> Any:
        return await worker.run("", "reports", report.studies_view)

    @app.post("/api/report")
    async def open_report(question: ReportQuestion) -> Any:
        work = partial(report.opened_study, session, question.file, question.worst)
        return (await worker.run(question.page, "report", work)).plain()

    @app.get("/api/progress")
    async def progress() -> Any:
        return worker.listener.plain()

    @app.post("/api/cancel")
    async def cancel(question: PageQuestion) -> Any:
        worker.cancel(question.page)
        return {}

    @app.post("/api/keep")
    async def keep(question: Question) -> Any:
        sessions.keep(question.page, read_state(question.state))
        return {}

    @app.get("/api/sessions")
    async def list_sessions() -> Any:
        return sessions.view()

    @app.post("/api/session")
    async def open_session(question: SessionQuestion) -> Any:
        return sessions.read(question.name).plain()

    @app.post("/api/open")
    async def open_file(file: OpenedFile) -> Any:
        return read_origin(file.text, file.model).plain()

    @app.get("/")
    async def page() -> Any:
        return FileResponse(STATIC / "index.html")

    app.mount("/", StaticFiles(directory=STATIC))
    return Guard(app, token, hosts)  # type: ignore[arg-type]


def _answer_errors(app: FastAPI) -> None:
    """Answer what goes wrong with a message, never with a traceback."""

    def response(status: int, message: str) -> JSONResponse:
        return JSONResponse({"error": message}, status_code=status)

    @app.exception_handler(UserError)
    async def refused(request: Request, error: UserError) -> JSONResponse:
        return response(400, str(error))

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        problem = error.errors()[0]
        return response(422, f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}.")

    # what nobody wants any more is no failure, of which a browser would tell
    @app.exception_handler(Replaced)
    async def replaced(request: Request, error: Replaced) -> JSONResponse:
        return JSONResponse({"unanswered": "replaced"}, status_code=202)

    @app.exception_handler(Cancelled)
    async def cancelled(request: Request, error: Cancelled) -> JSONResponse:
        return JSONResponse({"unanswered": "cancelled"}, status_code=202)

    @app.exception_handler(HTTPException)
    async def not_answered(request: Request, error: HTTPException) -> JSONResponse:
        return response(error.status_code, f"{request.method} {request.url.path}: {error.detail}.")

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return response(500, f"{described(error)} - this is a bug of ours, please report it.")
