"""Lets every visitor of the page reach their own files only, and the page no other server.

Gradio serves each file of its folder to everybody who knows the file's path. It also fetches any address that stands
in a request. This module stands before Gradio. A visitor is a browser, known by a signed cookie. A request that names
a file of somebody else, a file of the machine or an address is refused.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any

COOKIE = "auss_visitor"
# Everything that Gradio's page needs. All other routes of Gradio, such as its proxy and its monitor, are closed.
PUBLIC_ROUTES = re.compile(
    r"/|/config/?|/(?:theme\.css|favicon\.ico|manifest\.json|robots\.txt)|/(?:static|assets|svelte)/.*"
    r"|/gradio_api/(?:info/?|theme\.css|startup-events|app_id/?)"
)
VISITOR_ROUTES = re.compile(
    r"/gradio_api/(?:upload|upload_progress|cancel|reset/?|heartbeat/[^/]+|queue/(?:join|data)|run/[^/]+/?|file=.*)"
)
FILE_ROUTE, UPLOAD_ROUTE = "/gradio_api/file=", "/gradio_api/upload"
CALL_ROUTES = re.compile(r"/gradio_api/(?:queue/join|run/.*)")
LARGEST_CALL = 1_000_000  # bytes of the arguments of a call; a file travels by the route for uploads
# Gradio's page has scripts within the page. It may load nothing from elsewhere, so that it works offline.
CONTENT_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; form-action 'self'; "
    "base-uri 'self'"
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Visitors:
    """Knows the visitors by their cookies, and which files belong to whom.

    Args:
        root: the folder in which Gradio keeps its files.
    """

    def __init__(self, root: Path):
        self.root = Path(os.path.realpath(root))
        self._secret = secrets.token_bytes(32)
        self._owners: dict[str, set[str]] = {}  # the path of an upload -> the visitors who uploaded it

    def _signature(self, visitor: str) -> str:
        return hmac.new(self._secret, visitor.encode(), hashlib.sha256).hexdigest()

    def new_cookie(self) -> str:
        """The value of a cookie for a new visitor."""
        visitor = secrets.token_hex(16)
        return f"{visitor}.{self._signature(visitor)}"

    def visitor(self, cookie: str | None) -> str | None:
        """Returns the name of the visitor with this cookie; None if this server did not sign the cookie."""
        visitor, _, signature = (cookie or "").partition(".")
        return visitor if hmac.compare_digest(signature.encode(), self._signature(visitor).encode()) else None

    def folder(self, visitor: str) -> Path:
        """The folder for the results of a visitor."""
        return self.root / "results" / visitor

    def add_upload(self, visitor: str, path: str) -> None:
        """Notes that a visitor uploaded a file. Two visitors who upload the same file share it."""
        self._owners.setdefault(os.path.realpath(path), set()).add(visitor)

    def owns(self, visitor: str, path: str) -> bool:
        """Whether a file is an upload or a result of this visitor."""
        real = os.path.realpath(path)
        return visitor in self._owners.get(real, ()) or Path(real).is_relative_to(self.folder(visitor))


def named_paths(values: Any) -> Iterator[str]:
    """Yields every path of a file in the arguments of a call to Gradio, however deep it stands."""
    waiting = [values]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if "path" in one:
                yield str(one["path"])
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


class OwnFilesOnly:
    """The ASGI middleware that applies the rules of this module.

    Args:
        app: the application behind the middleware.
        visitors: the visitors and their files.
    """

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], visitors: Visitors):
        self.app = app
        self.visitors = visitors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        path, visitor = scope["path"], self.visitors.visitor(cookie_of(scope))
        if PUBLIC_ROUTES.fullmatch(path):
            is_page = path.strip("/") in ("", "config")
            cookie = self.visitors.new_cookie() if is_page and visitor is None else None
            await self.app(scope, receive, with_headers(send, cookie, scope["scheme"]))
        elif not VISITOR_ROUTES.fullmatch(path):
            await refuse(send, 404, "There is no such page.")
        elif visitor is None:
            await refuse(send, 403, "This page needs its cookie: allow cookies for it, and load the page again.")
        elif path.startswith(FILE_ROUTE) and not self.visitors.owns(visitor, path.removeprefix(FILE_ROUTE)):
            await refuse(send, 403, "This file is not yours.")
        elif CALL_ROUTES.fullmatch(path):
            await self._call(visitor, scope, receive, send)
        elif path == UPLOAD_ROUTE:
            await self.app(scope, receive, self._noting_uploads(visitor, send))
        else:
            await self.app(scope, receive, with_headers(send))

    async def _call(self, visitor: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a call on if every file in its arguments belongs to the visitor."""
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > LARGEST_CALL:
                await refuse(send, 413, "The request is too large.")
                return
        try:
            paths = list(named_paths(json.loads(body)))
        except ValueError:
            await refuse(send, 400, "The request is not JSON.")
            return
        if not all(self.visitors.owns(visitor, path) for path in paths):
            await refuse(send, 403, "This file is not yours.")
            return
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def replay() -> MutableMapping[str, Any]:
            return next(messages, None) or await receive()

        await self.app(scope, replay, with_headers(send))

    def _noting_uploads(self, visitor: str, send: Send) -> Send:
        """Notes the paths in the answer to an upload before the visitor gets them."""
        body, succeeded = bytearray(), False

        async def noting(message: MutableMapping[str, Any]) -> None:
            nonlocal succeeded
            if message["type"] == "http.response.start":
                succeeded = message["status"] == 200
            elif succeeded:
                body.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    for path in json.loads(bytes(body)):
                        self.visitors.add_upload(visitor, path)
            await send(message)

        return noting


def cookie_of(scope: Scope) -> str | None:
    """Returns the value of the visitor's cookie in a request."""
    for name, value in scope["headers"]:
        if name == b"cookie":
            try:
                cookies = SimpleCookie(value.decode("latin-1"))
            except CookieError:
                return None
            if COOKIE in cookies:
                return cookies[COOKIE].value
    return None


def with_headers(send: Send, cookie: str | None = None, scheme: str = "http") -> Send:
    """Adds the security headers to an answer, and the cookie if there is one."""
    # A Space is shown in a frame of another site, where browsers send only such cookies. They need https.
    place = "SameSite=None; Secure; Partitioned" if scheme == "https" else "SameSite=Lax"

    async def adding(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = [
                *message.get("headers", ()),
                (b"content-security-policy", CONTENT_POLICY.encode()),
                (b"x-content-type-options", b"nosniff"),
                (b"referrer-policy", b"no-referrer"),
            ]
            if cookie is not None:
                headers.append((b"set-cookie", f"{COOKIE}={cookie}; Path=/; HttpOnly; {place}".encode()))
            message = {**message, "headers": headers}
        await send(message)

    return adding


async def refuse(send: Send, status: int, reason: str) -> None:
    """Answers a request with an error. Gradio's page shows `detail`."""
    body = json.dumps({"detail": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


__all__ = ["COOKIE", "OwnFilesOnly", "Visitors"]
