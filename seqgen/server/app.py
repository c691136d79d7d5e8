"""The application: its routes, who may ask, and errors as answers."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seqgen.server import generating, predicting
from seqgen.server.connections import SECURITY_HEADERS
from seqgen.server.errors import HttpError
from seqgen.server.openapi import describe_api
from seqgen.server.state import ServerState, credentials_of, state_of

Endpoint = Callable[[Request], Awaitable[Response]]

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "[::1]"})
_BODY_SECONDS = 30  # in which a whole request must have come


def make_app(state: ServerState) -> ASGIApp:
    """The application over these models."""
    routes = [
        *([Route("/", _page(), methods=["GET"])] if state.page else []),
        Route("/v1/models", _guarded(_models), methods=["GET"]),
        Route("/v1/models/{name:path}", _guarded(_model), methods=["GET"]),
        Route("/v1/completions", _guarded(generating.completions), methods=["POST"]),
        Route("/v1/chat/completions", _guarded(generating.chat_completions), methods=["POST"]),
        Route("/v1/classify", _guarded(predicting.classify), methods=["POST"]),
        Route("/v1/score", _guarded(predicting.score), methods=["POST"]),
        Route("/v1/forecast", _guarded(predicting.forecast), methods=["POST"]),
        Route("/v1/compose", _guarded(predicting.compose), methods=["POST"]),
        Route("/openapi.json", _guarded(_openapi), methods=["GET"]),
        Route("/health", _health, methods=["GET"]),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _unknown_route})
    app.router.redirect_slashes = False  # before it is known who asks, and to http:// behind a proxy for TLS
    app.state.server = state
    return _OuterMiddleware(app, state)


def _page() -> Endpoint:
    """The page, which loads nothing and may run only its own script."""
    text = Path(__file__).with_name("page.html").read_text("utf-8")
    parts = {name: re.findall(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)[0] for name in ("script", "style")}
    digests = {name: base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for name, part in parts.items()}
    policy = "default-src 'none'; connect-src 'self'; media-src blob:; frame-ancestors 'none'; " + "; ".join(
        f"{name}-src 'sha256-{digest}'" for name, digest in digests.items()
    )

    async def page(request: Request) -> Response:
        return HTMLResponse(text, headers={"Content-Security-Policy": policy})

    return page


async def _models(request: Request) -> Response:
    return JSONResponse({"object": "list", "data": [model.describe() for model in state_of(request).models.all()]})


async def _model(request: Request) -> Response:
    return JSONResponse(state_of(request).models.find(request.path_params["name"]).describe())


async def _openapi(request: Request) -> Response:
    return JSONResponse(describe_api())


async def _health(request: Request) -> Response:
    draining = state_of(request).draining
    return JSONResponse({"status": "draining" if draining else "ok"}, 503 if draining else 200)


async def _unknown_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = {404: "there is no such path", 405: f"{request.method} is not for this path"}
    return JSONResponse(HttpError(error.status_code, message.get(error.status_code, error.detail)).body(),
                        error.status_code, error.headers)  # fmt: skip


def _guarded(endpoint: Endpoint) -> Endpoint:
    """An endpoint behind the checks of who asks, with errors as one sentence."""

    async def answer(request: Request) -> Response:
        state = state_of(request)
        try:
            _check_caller(request, state)
            if state.draining:
                raise HttpError(503, "the server is shutting down", 30)
            async with asyncio.timeout(state.timeout):
                return await endpoint(request)
        except Exception as error:
            return _answer(state.error_of(error))

    return answer


def _answer(error: HttpError) -> Response:
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error.body(), error.status, headers)


def _check_caller(request: Request, state: ServerState) -> None:
    """Raise `HttpError` for a missing key, or for a request that another site's page makes."""
    if state.keys:
        scheme, sent = credentials_of(request)  # decoded as Latin-1: some clients send UTF-8
        given = [(each, one.encode()) for each in (sent.encode(), sent.encode("latin-1")) for one in state.keys]
        if scheme != "bearer" or not any(hmac.compare_digest(*pair) for pair in given):
            raise HttpError(401, "the request needs one of the server's keys, as Authorization: Bearer KEY")
    elif (_split("//" + request.headers.get("host", "")).hostname or "") not in _LOOPBACK:
        raise HttpError(403, "the server can only be reached as localhost")
    origin = request.headers.get("origin")
    if origin is not None and _split(origin).netloc != request.headers.get("host"):
        raise HttpError(403, "requests from pages of other sites are refused")


def _split(address: str) -> SplitResult:
    """The parts of an address, none of a malformed one."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


class _OuterMiddleware:
    """Sets headers, limits the time in which a body arrives, and writes a line of the log for each request."""

    def __init__(self, app: ASGIApp, state: ServerState) -> None:
        self._app, self._state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, sent = time.monotonic(), {"status": 0, "bytes": 0}
        arrived = False

        async def timed_receive() -> Message:
            nonlocal arrived
            if arrived:
                return await receive()
            left = _BODY_SECONDS - (time.monotonic() - began)
            try:
                message = await asyncio.wait_for(receive(), max(left, 0.01))
            except TimeoutError:
                arrived = True
                raise HttpError(408, f"the body took longer than {_BODY_SECONDS} seconds") from None
            arrived = message["type"] != "http.request" or not message.get("more_body", False)
            return message

        async def counted_send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                sent["status"] = message["status"]
                headers = [*message.get("headers", ())]
                has = {name.lower() for name, _ in headers}
                headers += [(name, value) for name, value in SECURITY_HEADERS if name not in has]
                message = {**message, "headers": headers}
            sent["bytes"] += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, timed_receive, counted_send)  # type: ignore[arg-type]
        finally:
            seconds = time.monotonic() - began
            client = (scope.get("client") or ("-",))[0]
            self._state.log(
                f'{client} "{scope["method"]} {scope["path"][:100]!r}" {sent["status"]} '
                f"{sent['bytes']} bytes {1000 * seconds:.0f} ms"
            )
