"""Who may talk to the label server, and what every response carries.

Threat model
------------
The server runs on a person's own machine, binds loopback, and holds a run's answers and clips. Trusted: the person, the
run directory, whoever was given the printed address. We defend against

* another web site open in the same browser: cross-site requests (SameSite=Strict, Origin, Sec-Fetch-Site), framing,
  embedding and reading (CSP, CORP, COOP), and DNS rebinding (Host is checked before anything else);
* another *local* web server: to a browser `localhost:3000` is the same *site* as we are and its pages send our
  cookies, so Sec-Fetch-Site `same-site` is refused too; and cookies ignore ports, so ours are named after the run;
* another user of the machine, who can reach the port but not read the run directory: nothing but the page's own code
  answers without the token (256 random bits, file mode 0600, compared in constant time);
* leaks of the token: it travels in the URL's fragment, which browsers never send, and is exchanged for a signed
  HttpOnly cookie; it is in no log, no Referer, no response;
* scripts run wild and broken clients: bodies ≤ 64 KiB read within 10 s, a rate limit per labeler, strict parsing;
* paths from the outside: none is ever opened. Clips are named by `^[0-9a-f]{64}$` only.

Not defended against: root, or the same user of the machine, who can read the run directory anyway; a person with the
token who answers in bad faith (answers are append-only and carry their labeler); eavesdropping on a network, since
only loopback is served.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pairplay.types import UserError
from pairplay.web.messages import error_response

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self' blob:; "
        "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
"""On every response, errors included."""

MAX_BODY_BYTES = 64 * 1024
BODY_TIMEOUT_S = 10.0
REQUESTS_PER_S = 100.0
"""Of one labeler, after a burst of four times as many."""
REFUSALS_PER_S = 10.0
"""Wrong or missing tokens, from everybody together; beyond it they are told to wait. Never delays a valid session."""

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_PUBLIC = re.compile(r"/|/healthz|/static/.*", re.DOTALL)
_SESSION_ROUTE = "/api/v1/session"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22,256}")


def read_or_create_token(path: Path) -> str:
    """The run's secret: 256 bits, mode 0600, the same for every server this run will have.

    UserError when the file holds something else.
    """
    if not path.exists():
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(32))
            # A link, unlike a rename, fails where another process was faster; then its token is the run's.
            path.hardlink_to(partial)
        except FileExistsError:
            pass
        finally:
            partial.unlink()
    token = path.read_text().strip()
    if not _TOKEN.fullmatch(token):
        raise UserError(f"{path} holds no token: delete it, and the next server writes a new one")
    path.chmod(0o600)
    return token


def own_port(token: str) -> int:
    """The port a run prefers: always the same, and below those that systems give to outgoing connections."""
    return 20_000 + int.from_bytes(hashlib.sha256(f"pairplay v1 port {token}".encode()).digest()[:4]) % 12_000


class AccessError(Exception):
    """A request that goes no further, with the answer it gets."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers


class RateLimit:
    """A token bucket for each key: `per_s` in the long run, `burst` at once."""

    def __init__(self, per_s: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._levels: dict[object, tuple[float, float]] = {}

    def admits(self, key: object) -> bool:
        now = self._clock()
        level, since = self._levels.get(key, (self._burst, now))
        level = min(self._burst, level + (now - since) * self._per_s)
        admitted = level >= 1.0
        self._levels[key] = (level - 1.0 if admitted else level, now)
        return admitted


class Sessions:
    """Everything derived from the run's token: the cookie, its signature, the server's public name."""

    def __init__(self, token: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._token = token
        self._refusals = RateLimit(REFUSALS_PER_S, 4 * REFUSALS_PER_S, clock)
        self.server_name = self._digest("server")[:32]
        self.cookie_name = f"pairplay-{self._digest('cookie')[:12]}"

    def knows(self, token: str) -> bool:
        """Is this the run's token? In constant time."""
        return hmac.compare_digest(token.encode(), self._token.encode())

    def cookie(self, labeler_id: int, name: str) -> str:
        """A cookie's value that only this run's server can have made."""
        claim = f"{labeler_id}.{base64.urlsafe_b64encode(name.encode()).decode().rstrip('=')}"
        return f"{claim}.{self._digest(f'session {claim}')}"

    def labeler(self, headers: Headers) -> tuple[int, str] | None:
        """Id and name of the labeler that a request's cookie was made for; None without a genuine one."""
        cookie = cookie_parser(headers.get("cookie", "")).get(self.cookie_name, "")
        claim, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._digest(f"session {claim}").encode()):
            return None
        labeler_id, _, name = claim.partition(".")
        return int(labeler_id), base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()

    def unauthorized(self) -> AccessError:
        """The refusal of a missing or wrong token: 401, and 429 once there have been too many."""
        if not self._refusals.admits("everybody"):
            return AccessError(429, "too_many_requests", "too many wrong tokens: wait a moment", {"retry-after": "1"})
        message = "open the address with #token=… that `pairplay label RUN` prints"
        return AccessError(401, "unauthorized", message, {"www-authenticate": 'Bearer realm="pairplay"'})

    def _digest(self, purpose: str) -> str:
        return hmac.new(self._token.encode(), f"pairplay v1 {purpose}".encode(), hashlib.sha256).hexdigest()


class Guard:
    """ASGI middleware around the whole application; it goes outermost, so that its headers are on every error too.

    Host → body's size → where the request comes from → who sends it → how often. Everything needs a session except the
    page's own files, `/healthz` and the exchange of the token: a route added tomorrow is protected without being told.
    Sets `scope["state"]["labeler_id"]`: int for a cookie, None for a script that showed the token.
    """

    def __init__(
        self,
        app: ASGIApp,
        sessions: Sessions,
        hosts: Iterable[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.app = app
        self._sessions = sessions
        self._hosts = frozenset(hosts)
        self._requests = RateLimit(REQUESTS_PER_S, 4 * REQUESTS_PER_S, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        send = _with_security_headers(send)
        try:
            self._check(scope)
            receive = await _read_body(receive)
        except AccessError as refused:
            # The rest of the body is not read, so the connection cannot be used again.
            headers = {"connection": "close"} | (refused.headers or {})
            response = error_response(refused.status, refused.code, refused.message, headers)
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = self._check_host(headers)
        _check_length(headers)
        _check_source(scope, headers, host)
        if _is_public(scope):
            return
        labeler_id = self._identify(headers)
        scope.setdefault("state", {})["labeler_id"] = labeler_id
        if not self._requests.admits(labeler_id):
            raise AccessError(429, "too_many_requests", "slow down", {"retry-after": "1"})

    def _check_host(self, headers: Headers) -> str:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            expected = " or ".join(sorted(self._hosts))
            raise AccessError(400, "bad_host", f"this server answers only as {expected}")
        return hosts[0].lower()

    def _identify(self, headers: Headers) -> int | None:
        authorization = headers.get("authorization")
        if authorization is None:
            labeler = self._sessions.labeler(headers)
            if labeler is not None:
                return labeler[0]
        else:
            scheme, _, token = authorization.partition(" ")
            if scheme.lower() == "bearer" and self._sessions.knows(token.strip()):
                return None
        raise self._sessions.unauthorized()


def _is_public(scope: Scope) -> bool:
    if scope["method"] in ("GET", "HEAD"):
        return _PUBLIC.fullmatch(scope["path"]) is not None
    return bool(scope["method"] == "POST" and scope["path"] == _SESSION_ROUTE)


def _check_length(headers: Headers) -> None:
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit():
        raise AccessError(400, "bad_length", "Content-Length is not a number")
    if int(length[:10]) > MAX_BODY_BYTES:
        raise _too_large()


def _check_source(scope: Scope, headers: Headers, host: str) -> None:
    """Only our own page, or no browser at all. Browsers always say at least one of the two on an unsafe request."""
    origins, sites = headers.getlist("origin"), headers.getlist("sec-fetch-site")
    if scope["method"] not in _SAFE_METHODS:
        refused = any(origin != f"http://{host}" for origin in origins) or any(site != "same-origin" for site in sites)
    else:
        # Reading is harmless to us, but a page elsewhere has no business with it. `none` is the address bar.
        refused = not _is_public(scope) and any(site not in ("same-origin", "none") for site in sites)
    if refused:
        raise AccessError(403, "cross_origin", "requests from other web pages are refused")


def _too_large() -> AccessError:
    return AccessError(413, "too_large", f"a request's body is at most {MAX_BODY_BYTES} bytes")


async def _read_body(receive: Receive) -> Receive:
    """The whole body, bounded in size and time, before any route runs; returns a `receive` that replays it."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise AccessError(400, "disconnected", "the client left before its request was complete")
                body += message.get("body", b"")
                if len(body) > MAX_BODY_BYTES:
                    raise _too_large()
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        raise AccessError(408, "too_slow", f"the request's body took more than {BODY_TIMEOUT_S:.0f} s") from None
    pending: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay


def _with_security_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(SECURITY_HEADERS)
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return send_with_headers
