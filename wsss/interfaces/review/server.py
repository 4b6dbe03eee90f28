"""The review's page, served to browsers on this machine alone.

The server listens on the loopback address, and on a port that the system chooses. Its address holds a secret token, so
other users of the machine cannot guess it. Requests that another site sends through the browser are refused: those with
another ``Host`` (a name that was rebound), another ``Origin``, or that the browser calls cross-site. Ids are looked up,
never made into paths. What is posted has to have the length that its image demands.

==========================  ==========================================================================
``GET /TOKEN/``             the page; ``review.css`` and ``review.js`` beside it
``GET /TOKEN/images``       JSON: classes, colours, images (``Session.described``)
``GET /TOKEN/photo?id=``    JPEG; ``thumbnail?id=``: a small one
``GET /TOKEN/layers?id=``   bytes of the pseudo-label, then of the correction
``POST /TOKEN/save``        ``?id=&state=``, body: the correction's bytes; answers ``{"state": ...}``
``POST /TOKEN/end``         ends the server; answers ``{"said": [...]}``
==========================  ==========================================================================
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from wsss.errors import WsssError
from wsss.interfaces.review.session import Session

LOOPBACK = "127.0.0.1"
NAMES = (LOOPBACK, "localhost")
"""Hosts under which a browser on this machine reaches the server."""
STATIC = Path(__file__).resolve().parent / "static"
PAGES = {
    "": ("review.html", "text/html; charset=utf-8"),
    "review.css": ("review.css", "text/css; charset=utf-8"),
    "review.js": ("review.js", "text/javascript; charset=utf-8"),
}
"""Path below the token -> file and type."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PATIENCE = 60
"""Seconds after which a silent connection is closed."""


class ReviewServer(ThreadingHTTPServer):
    """Serves one session until ``end`` is posted or ``shutdown`` is called.

    Args:
        session: What is reviewed.
        farewell: What to say at the end.
        port: On which port; 0: a free one.

    Raises:
        WsssError: The port is taken.
    """

    daemon_threads = True

    def __init__(self, session: Session, farewell: Callable[[], list[str]] = list, port: int = 0) -> None:
        self.session, self.farewell = session, farewell
        self.token = secrets.token_urlsafe(24)
        try:
            super().__init__((LOOPBACK, port), Handler)
        except OSError as error:
            raise WsssError(f"port {port} cannot be used ({error.strerror}); leave --port out for a free one") from None

    @property
    def hosts(self) -> tuple[str, ...]:
        """What a request may name as its host."""
        return tuple(f"{name}:{self.server_port}" for name in NAMES)

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{self.hosts[0]}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away is no error."""


class Refused(Exception):
    """A request that is not answered: status and reason."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    server: ReviewServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "wsss", ""
    timeout = PATIENCE

    def do_GET(self) -> None:  # noqa: N802 - the library's name
        """Send a page, a picture or layers."""
        self._answer(self._get)

    def do_POST(self) -> None:  # noqa: N802 - the library's name
        """Save a decision, or end the server."""
        self._answer(self._post)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: addresses hold the token."""

    def _answer(self, act: Callable[[str, dict[str, str]], tuple[str, bytes]]) -> None:
        try:
            path, query = self._checked()
            status, (kind, body) = HTTPStatus.OK, act(path, query)
        except Refused as error:
            self.close_connection = True  # what it wanted to send is left unread
            status, kind, body = error.status, "text/plain; charset=utf-8", f"{error}\n".encode()
        except WsssError as error:
            status, kind, body = HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", f"{error}\n".encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Content-Security-Policy": POLICY,
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
            **({"Connection": "close"} if self.close_connection else {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _checked(self) -> tuple[str, dict[str, str]]:
        """Path below the token and query of a request that comes from the page. Raises ``Refused`` for any other."""
        hosts = self.server.hosts
        if self.headers.get("Host") not in hosts:
            raise Refused(HTTPStatus.FORBIDDEN, "another host")
        origin = self.headers.get("Origin")
        if origin is not None and origin not in [f"http://{host}" for host in hosts]:
            raise Refused(HTTPStatus.FORBIDDEN, "another origin")
        if self.command == "POST" and origin is None:
            raise Refused(HTTPStatus.FORBIDDEN, "no origin")
        if self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise Refused(HTTPStatus.FORBIDDEN, "another site")
        parts = urlsplit(self.path)
        token, slash, path = parts.path.removeprefix("/").partition("/")
        if not slash or not hmac.compare_digest(token.encode(), self.server.token.encode()):
            raise Refused(HTTPStatus.NOT_FOUND, "nothing is here; the address is printed by wsss review")
        return path, {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}

    def _get(self, path: str, query: dict[str, str]) -> tuple[str, bytes]:
        session = self.server.session
        if path in PAGES:
            name, kind = PAGES[path]
            return kind, (STATIC / name).read_bytes()
        if path == "images":
            return _json(session.described())
        if path in ("photo", "thumbnail"):
            return "image/jpeg", session.picture(self._id(query), small=path == "thumbnail")
        if path == "layers":
            return "application/octet-stream", session.layers(self._id(query))
        raise Refused(HTTPStatus.NOT_FOUND, "nothing is here")

    def _post(self, path: str, query: dict[str, str]) -> tuple[str, bytes]:
        if path == "end":
            said = self.server.farewell()
            threading.Thread(target=self.server.shutdown, daemon=True).start()
            self.close_connection = True
            return _json({"said": said})
        if path != "save":
            raise Refused(HTTPStatus.NOT_FOUND, "nothing is here")
        id = self._id(query)
        item = self.server.session.photos[id].item
        if self.headers.get("Content-Length") != str(item.height * item.width):
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"not {item.height * item.width} bytes")
        body = self.rfile.read(item.height * item.width)
        try:
            return _json({"state": self.server.session.save(id, query.get("state", ""), body)})
        except ValueError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from None

    def _id(self, query: dict[str, str]) -> str:
        id = query.get("id", "")
        if id not in self.server.session.photos:
            raise Refused(HTTPStatus.NOT_FOUND, "no such image")
        return id


def _json(value: Any) -> tuple[str, bytes]:
    return "application/json; charset=utf-8", json.dumps(value, ensure_ascii=False).encode()
