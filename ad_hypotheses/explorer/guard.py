"""Who may ask the server: whoever has the token, from this machine, by a page that this server sent."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ad_hypotheses.storage.places import program

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_BYTES = 1_000_000  # of a request
LOOPBACK = ("127.0.0.1", "localhost", "::1")
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def cookie_name(token: str) -> str:
    """Return the name of the cookie of a server: browsers do not tell servers of one machine apart by their ports."""
    return f"ad-hypotheses-explorer-{hashlib.sha256(token.encode()).hexdigest()[:12]}"


class Guard:
    """Lets through what may be answered, and adds what browsers are to forbid.

    The host must be a name of this machine, so that no other name can be made to lead here (DNS rebinding), and a page
    that asks must come from the same host. The token is in the link that is opened first, then in a cookie that no
    page of another site gets to send.

    Args:
        app: What answers.
        token: The token.
        hosts: Host names under which the server may be asked.
    """

    def __init__(self, app: App, token: str, hosts: tuple[str, ...] = LOOPBACK) -> None:
        self.app, self.token, self.hosts = app, token, hosts
        self.cookie = cookie_name(token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _refuse(send, *refusal)
            return
        body = await _body(receive)
        if body is None:
            await _refuse(send, 413, f"a request of more than {MOST_BYTES:,} bytes is not read.")
            return
        sent = False

        async def once() -> MutableMapping[str, Any]:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        given_in_link = scope["path"] == "/" and self._matches(_token_in_link(scope))

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                added = dict(HEADERS)
                if given_in_link:
                    added["set-cookie"] = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"
                message["headers"] = [*message["headers"], *((n.encode(), v.encode()) for n, v in added.items())]
            await send(message)

        await self.app(scope, once, with_headers)

    def _refusal(self, scope: Scope, headers: MutableMapping[str, str]) -> tuple[int, str] | None:
        """Return the status and the words of a refusal, None where there is nothing to refuse."""
        if _host(f"//{headers.get('host', '')}") not in self.hosts:
            return 403, "this server answers only to the name under which it was started."
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            return 403, "a page of another site may not ask this server."
        if scope["method"] not in ("GET", "HEAD") and not headers.get("content-type", "").startswith(
            "application/json"
        ):
            return 415, "requests are JSON."
        if not self._matches(_cookie(headers, self.cookie)) and not (
            scope["path"] == "/" and self._matches(_token_in_link(scope))
        ):
            return 403, f"open the link that `{program()} explore` printed: it holds the token of this server."
        return None

    def _matches(self, token: str) -> bool:
        return secrets.compare_digest(token.encode(), self.token.encode())


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _cookie(headers: MutableMapping[str, str], name: str) -> str:
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return cookies[name].value if name in cookies else ""


def _token_in_link(scope: Scope) -> str:
    return parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]


async def _body(receive: Receive) -> bytes | None:
    """Return the whole request, None where it is too long."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MOST_BYTES:
            return None
        if not message.get("more_body"):
            return body


async def _refuse(send: Send, status: int, words: str) -> None:
    content = json.dumps({"error": words}).encode()
    headers = {**HEADERS, "content-type": "application/json", "content-length": str(len(content))}
    start = {"type": "http.response.start", "status": status}
    await send({**start, "headers": [(name.encode(), value.encode()) for name, value in headers.items()]})
    await send({"type": "http.response.body", "body": content})
