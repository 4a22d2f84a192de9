"""The labelling page's server: on the loopback interface alone, and deaf to whoever lacks the token.

The page is served to an address with the token, and says it in a header of every call: no cookie that
another page of the same machine could ride on. Names of other hosts are refused, so that no page from
elsewhere reaches it by pointing its own name here.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
from dataclasses import asdict
from importlib.resources import files
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from aihf_control.errors import InvalidChoice
from aihf_control.labelling.clips import Clips
from aihf_control.labelling.session import Asked, Refused, Session

HOST = "127.0.0.1"
LARGEST_BODY = 10_000
AHEAD = 2
"""Pairs drawn before they are asked for."""


def make_app(session: Session, clips: Clips, token: str, title: str) -> Starlette:
    """The page and its four calls."""

    def asked(found: Asked) -> JSONResponse:
        for pair in [found.pair, *session.upcoming(AHEAD)]:
            if pair is not None:
                clips.film(pair, 0), clips.film(pair, 1)
        return JSONResponse(asdict(found))

    def knows_token(said: str | None) -> bool:
        return secrets.compare_digest((said or "").encode(), token.encode())

    async def page(request: Request) -> Response:
        if not knows_token(request.query_params.get("token")):
            return PlainTextResponse("Open the address that `aihf label` printed: it has a token.", 403)
        nonce = secrets.token_urlsafe(16)
        text = files("aihf_control.labelling").joinpath("page.html").read_text(encoding="utf-8")
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src blob:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        headers = {
            "Content-Security-Policy": policy,
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }
        return HTMLResponse(text.replace("{nonce}", nonce).replace("{title}", title), headers=headers)

    async def call(request: Request) -> Response:
        if not knows_token(request.headers.get("x-token")):
            return JSONResponse({"error": "the token is missing or wrong"}, 403)
        if int(request.headers.get("content-length") or LARGEST_BODY + 1) > LARGEST_BODY:
            return JSONResponse({"error": "the body is too long, or does not say how long it is"}, 413)
        try:
            body = json.loads(await request.body())
            name, this = str(body["name"]), str(body["page"])
            match request.path_params["what"]:
                case "join":
                    return asked(session.join(name, this))
                case "answer":
                    return asked(session.answer(name, this, int(body["pair"]), float(body["label"])))
                case "undo":
                    return asked(session.undo(name, this))
                case _:
                    return JSONResponse({"error": "there is no such call"}, 404)
        except Refused as error:
            return JSONResponse({"error": str(error)}, 409)
        except (ValueError, KeyError, TypeError) as error:
            return JSONResponse({"error": f"the call is malformed: {error}"}, 400)
        except OSError as error:  # a full disk: the person is told, and the answer is not counted
            return JSONResponse({"error": f"not saved: {error}"}, 507)

    async def clip(request: Request) -> Response:
        if not knows_token(request.headers.get("x-token")):
            return PlainTextResponse("the token is missing or wrong", 403)
        pair, side = request.path_params["pair"], request.path_params["side"]
        if pair >= session.total or side > 1:
            return PlainTextResponse("there is no such clip", 404)
        film = await asyncio.wrap_future(clips.film(pair, side))
        return Response(film, media_type="image/webp", headers={"Cache-Control": "no-store"})

    routes = [
        Route("/", page),
        Route("/call/{what}", call, methods=["POST"]),
        Route("/clip/{pair:int}/{side:int}", clip),
    ]
    return Starlette(
        routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])]
    )


def listen(port: int) -> socket.socket:
    """A socket that listens on the loopback interface; raises `InvalidChoice` if the port is taken."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()  # who comes before the server does waits
    except (OSError, OverflowError) as error:
        listener.close()
        raise InvalidChoice(f"--port {port} cannot be used ({error}): name another, or 0 for any") from None
    return listener


def serve(app: Any, listener: socket.socket) -> None:
    """Answer until Ctrl-C, which is raised again once open calls are done."""
    config = uvicorn.Config(app, log_level="error", access_log=False, server_header=False, lifespan="off",
                            timeout_graceful_shutdown=3)  # fmt: skip
    uvicorn.Server(config).run(sockets=[listener])
