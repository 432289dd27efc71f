"""The page in a cell of a notebook: it asks by messages to the kernel, so that no port need be reached."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import anywidget
import traitlets

from ad_hypotheses.explorer.bundle import whole_page
from ad_hypotheses.explorer.guard import App

HEIGHT = 820  # pixels of the frame
SCRIPT = """
function render({ model, el }) {
  const frame = document.createElement("iframe");
  frame.style.cssText = `width: 100%; height: ${model.get("height")}px; border: 1px solid #8888; border-radius: 4px`;
  frame.allow = "clipboard-write; fullscreen";
  frame.title = "explorer";
  frame.srcdoc = model.get("page");
  const asked = (event) => {
    if (event.source === frame.contentWindow) model.send(event.data);
  };
  const answered = (answer) => frame.contentWindow?.postMessage(answer, "*");
  window.addEventListener("message", asked);
  model.on("msg:custom", answered);
  el.appendChild(frame);
  return () => {
    window.removeEventListener("message", asked);
    model.off("msg:custom", answered);
  };
}
export default { render };
"""


class ExplorerWidget(anywidget.AnyWidget):  # type: ignore[misc]
    """The page of an explorer, in a cell.

    Args:
        app: What answers, without the guard of the server: only this cell asks.
        height: Of the frame, in pixels.
    """

    _esm = SCRIPT
    page = traitlets.Unicode().tag(sync=True)
    height = traitlets.Int(HEIGHT).tag(sync=True)

    def __init__(self, app: App, height: int = HEIGHT) -> None:
        super().__init__(page=whole_page(wire="frame"), height=height)
        self._app, self._loop = app, asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="explorer widget", daemon=True).start()
        self.on_msg(self._asked)

    def _asked(self, widget: Any, content: Any, buffers: Any) -> None:
        """Answer what the page asks, as soon as that is known; the kernel does not wait."""
        asyncio.run_coroutine_threadsafe(self._answer(content), self._loop)

    async def _answer(self, content: Any) -> None:
        if isinstance(content, dict) and isinstance(content.get("path"), str):
            status, body = await asked(self._app, content["path"], content.get("content"))
            self.send({"number": content.get("number"), "status": status, "body": body})


async def asked(app: App, path: str, content: Any) -> tuple[int, Any]:
    """Return the status and the answer of an application, asked without a network.

    Args:
        app: The application.
        path: Below `api/`.
        content: What is posted; None to get.
    """
    body, parts, status = json.dumps(content).encode(), list[bytes](), 500
    whole = f"/api/{path}"
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "root_path": "",
        "method": "GET" if content is None else "POST", "path": whole, "raw_path": whole.encode(), "query_string": b"",
        "headers": [(b"content-type", b"application/json")], "client": None, "server": None,
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            parts.append(message.get("body", b""))

    await app(scope, receive, send)
    return status, json.loads(b"".join(parts) or b"{}")
