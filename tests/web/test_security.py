"""Who may talk to the server, by tables; and what every response carries."""

from __future__ import annotations

import asyncio
import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import Headers
from starlette.types import Message

from pairplay.types import UserError
from pairplay.web import security
from pairplay.web.app import create_app
from pairplay.web.security import (
    MAX_BODY_BYTES,
    SECURITY_HEADERS,
    Guard,
    RateLimit,
    Sessions,
    own_port,
    read_or_create_token,
)

from .site import HOME, PORT, TOKEN, Site

# -- Host --------------------------------------------------------------------------------------------------------

HOSTS = [
    ("127.0.0.1:8000", True),
    ("localhost:8000", True),
    ("[::1]:8000", True),
    ("LOCALHOST:8000", True),
    ("127.0.0.1", False),
    ("localhost", False),
    ("[::1]", False),
    ("127.0.0.1:80", False),
    ("127.0.0.1:8001", False),
    ("127.0.0.1:08000", False),
    ("127.0.0.1:8000:8000", False),
    ("127.1:8000", False),
    ("127.0.0.2:8000", False),
    ("0.0.0.0:8000", False),
    ("2130706433:8000", False),
    ("::1:8000", False),
    ("[::]:8000", False),
    ("[::ffff:127.0.0.1]:8000", False),
    ("localhost.:8000", False),
    ("localhost.evil.example:8000", False),
    ("evil.example:8000", False),
    ("evil.example", False),
    ("127.0.0.1.nip.io:8000", False),
    ("127.0.0.1:8000@evil.example", False),
    ("user@127.0.0.1:8000", False),
    ("127.0.0.1:8000/", False),
    ("127.0.0.1:8000, evil.example", False),
    ("http://127.0.0.1:8000", False),
    ("testserver", False),
    ("", False),
]


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/v1/run"])
def test_only_this_machine_is_served(site: Site, path: str) -> None:
    client = site.script()
    for host, passes in HOSTS:
        reply = client.get(path, headers={"host": host})
        assert reply.status_code == (200 if passes else 400), (host, reply.text)
        assert passes or reply.json()["error"]["code"] == "bad_host"


def test_on_port_80_browsers_name_no_port(site: Site) -> None:
    site.app = create_app(site.run, site.store, TOKEN, port=80)
    for host, status in (("localhost", 200), ("localhost:8000", 400)):
        assert site.stranger().get("/", headers={"host": host}).status_code == status


def test_the_host_is_checked_before_the_token(site: Site) -> None:
    refused = site.stranger(host="evil.example").post("/api/v1/session", json={"token": TOKEN})
    assert refused.status_code == 400
    assert "set-cookie" not in refused.headers


def test_two_hosts_are_none(site: Site) -> None:
    headers = [("host", "127.0.0.1:8000"), ("host", "evil.example")]
    assert site.stranger().get("/healthz", headers=headers).status_code == 400


# -- Origin and Sec-Fetch-Site -----------------------------------------------------------------------------------

ORIGINS: list[tuple[str | None, bool]] = [
    (None, True),
    (HOME, True),
    ("http://127.0.0.1:8001", False),
    ("http://127.0.0.1", False),
    ("http://localhost:8000", False),  # right only where Host says so too
    ("https://127.0.0.1:8000", False),
    ("null", False),
    ("", False),
    ("http://evil.example", False),
    ("http://127.0.0.1:8000.evil.example", False),
]
SITES: list[tuple[str | None, bool]] = [
    (None, True),
    ("same-origin", True),
    ("same-site", False),
    ("cross-site", False),
    ("none", False),
]


@pytest.mark.parametrize(("path", "body"), [("/api/v1/queries/lease", {}), ("/api/v1/session", {"token": TOKEN})])
def test_only_our_own_page_may_change_anything(site: Site, path: str, body: dict[str, str]) -> None:
    client = site.browser().client
    for (origin, origin_passes), (fetch_site, site_passes) in itertools.product(ORIGINS, SITES):
        headers = {"origin": origin, "sec-fetch-site": fetch_site}
        given = {name: value for name, value in headers.items() if value is not None}
        reply = client.post(path, json=body, headers=given)
        assert reply.status_code == (200 if origin_passes and site_passes else 403), (given, reply.text)
        assert reply.status_code == 200 or reply.json()["error"]["code"] == "cross_origin"


def test_the_page_may_be_opened_under_each_of_its_names(site: Site) -> None:
    for name in ("localhost", "[::1]"):
        headers = {"host": f"{name}:{PORT}", "origin": f"http://{name}:{PORT}", "sec-fetch-site": "same-origin"}
        assert site.script().post("/api/v1/queries/lease", json={}, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("fetch_site", "page", "api"),
    [
        (None, 200, 200),
        ("same-origin", 200, 200),
        ("none", 200, 200),
        ("same-site", 200, 403),
        ("cross-site", 200, 403),
    ],
)
def test_other_sites_may_link_to_the_page_and_read_nothing(
    site: Site, fetch_site: str | None, page: int, api: int
) -> None:
    headers = {} if fetch_site is None else {"sec-fetch-site": fetch_site}
    client = site.browser().client
    assert client.get("/", headers=headers).status_code == page
    assert client.get("/api/v1/status", headers=headers).status_code == api
    assert client.get("/openapi.json", headers=headers).status_code == api


def test_a_preflight_is_granted_nothing(site: Site) -> None:
    headers = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    reply = site.stranger().options("/api/v1/queries/lease", headers=headers)
    assert reply.status_code == 401
    assert not [name for name in reply.headers if name.startswith("access-control-")]


# -- the token ---------------------------------------------------------------------------------------------------


def routes(site: Site) -> Iterator[tuple[str, str]]:
    """Every route of the API but the exchange of the token, and some that do not exist."""
    schema = site.script().get("/openapi.json").json()
    for path, methods in schema["paths"].items():
        if path not in ("/healthz", "/api/v1/session"):
            filled = path.format(query_id=1, client_uuid="0" * 8 + "-0000-4000-8000-" + "0" * 12, sha256="0" * 64)
            yield from ((method.upper(), filled) for method in methods)
    for path in ("/openapi.json", "/docs", "/api/v1/session", "/api/v1/nothing", "/nothing", "/api", "//api/v1/run"):
        yield "GET", path


def test_every_route_asks_for_the_token(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "REFUSALS_PER_S", 1000.0)
    site.app = create_app(site.run, site.store, TOKEN, port=PORT)
    genuine = site.browser()
    name, value = next(iter(genuine.client.cookies.items()))
    claim, _, signature = value.rpartition(".")
    forged = f"{int(claim[0]) + 1}{claim[1:]}"
    other = Sessions("another-run's-token-0123456789")
    bad: list[dict[str, str]] = [
        {},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Bearer {TOKEN[:-1]}"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": TOKEN},
        {"authorization": "Bearer \xff"},
        {"cookie": f"{name}={claim}."},
        {"cookie": f"{name}={claim}"},
        {"cookie": f"{name}={forged}.{signature}"},
        {"cookie": f"{name}={claim}.{signature[:-1]}"},
        {"cookie": f"{name}={TOKEN}"},
        {"cookie": f"{name}="},
        {"cookie": f"{name}=1.QQ.\xff"},
        {"cookie": f"{name}={other.cookie(1, 'A')}"},
        {"cookie": f"{other.cookie_name}={other.cookie(1, 'A')}"},
        {"cookie": f"session={value}"},
        # A wrong token is not made up for by a right cookie.
        {"cookie": f"{name}={value}", "authorization": "Bearer wrong"},
    ]
    tried = 0
    for method, path in routes(site):
        for headers in bad:
            raw = [(header.encode(), text.encode("latin-1")) for header, text in headers.items()]
            reply = site.stranger().request(method, path, headers=raw)
            assert reply.status_code == 401, (method, path, headers, reply.text)
            assert reply.json()["error"]["code"] == "unauthorized"
            tried += 1
    assert tried >= 14 * len(bad)
    assert genuine.client.get("/api/v1/run").status_code == 200


def test_a_wrong_token_opens_no_session(site: Site) -> None:
    for token in ("", TOKEN[:-1], TOKEN + "x", TOKEN.upper()):
        reply = site.stranger().post("/api/v1/session", json={"token": token})
        assert (reply.status_code, reply.json()["error"]["code"]) == (401, "unauthorized")
        assert "set-cookie" not in reply.headers


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(site: Site) -> None:
    reply = site.stranger().post("/api/v1/session", json={"token": TOKEN})
    attributes = {part.strip().lower() for part in reply.headers["set-cookie"].split(";")}
    assert {"httponly", "samesite=strict", "path=/"} <= attributes
    assert not [part for part in attributes if part.startswith("domain")]
    assert TOKEN not in reply.headers["set-cookie"]


def test_runs_on_one_machine_keep_their_cookies_apart() -> None:
    one, two = Sessions("token-of-one"), Sessions("token-of-two")
    assert one.cookie_name != two.cookie_name
    assert one.server_name != two.server_name
    # The same token later: the same names, so a restarted server knows its people.
    assert Sessions("token-of-one").labeler(_cookie(one, one.cookie(7, "Zoë"))) == (7, "Zoë")
    assert two.labeler(_cookie(two, one.cookie(7, "Zoë"))) is None


def _cookie(sessions: Sessions, value: str) -> Headers:
    return Headers({"cookie": f"{sessions.cookie_name}={value}"})


def test_the_token_is_written_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "token"
    token = read_or_create_token(path)
    assert len(token) >= 43
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    os.chmod(path, 0o644)
    assert read_or_create_token(path) == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["token"]
    path.write_text("short")
    with pytest.raises(UserError, match="holds no token: delete it"):
        read_or_create_token(path)


def test_the_port_of_a_run_is_always_the_same_and_below_the_outgoing_ones() -> None:
    ports = {own_port(f"token-{number}") for number in range(200)}
    assert len(ports) > 190
    assert 20_000 <= min(ports) <= max(ports) < 32_000
    assert own_port("token-1") == own_port("token-1")


# -- bodies and rates --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "passes"), [(MAX_BODY_BYTES, True), (MAX_BODY_BYTES + 1, False), (10**7, False)])
def test_a_body_is_at_most_64_kib(site: Site, size: int, passes: bool) -> None:
    def in_pieces() -> Iterator[bytes]:
        yield b"{}"
        yield b" " * (size - 2)

    client = site.browser().client
    headers = {"content-type": "application/json"}
    for content in (b"{}".ljust(size), in_pieces()):  # with and without Content-Length
        reply = client.post("/api/v1/queries/lease", content=content, headers=headers)
        assert reply.status_code == (200 if passes else 413), reply.text
        assert passes or reply.json()["error"]["code"] == "too_large"


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "", "1, 1", "٣", "9" * 5000])
def test_a_length_that_is_no_length_is_refused(site: Site, length: str) -> None:
    headers = [(b"content-length", length.encode())]
    reply = site.script().post("/api/v1/queries/lease", headers=headers)
    assert reply.status_code in (400, 413)


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "BODY_TIMEOUT_S", 0.01)

    async def no_app(*_: object) -> None:
        raise AssertionError("reached")

    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.sleep(3600)
        raise AssertionError("unreachable")

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"host", b"a:1"), (b"authorization", f"Bearer {TOKEN}".encode())]
    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/api/v1/x", "headers": headers}
    asyncio.run(Guard(no_app, Sessions(TOKEN), ["a:1"])(scope, receive, send))
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]


def test_a_websocket_is_refused() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("unreachable")

    guard = Guard(None, Sessions(TOKEN), ["a:1"])  # type: ignore[arg-type]
    asyncio.run(guard({"type": "websocket", "headers": []}, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_a_rate_limit_refills() -> None:
    time = [0.0]
    limit = RateLimit(per_s=2.0, burst=3.0, clock=lambda: time[0])
    assert [limit.admits("a") for _ in range(4)] == [True, True, True, False]
    assert limit.admits("b")
    time[0] = 0.5
    assert [limit.admits("a") for _ in range(2)] == [True, False]
    time[0] = 1000.0
    assert [limit.admits("a") for _ in range(4)] == [True, True, True, False]


def test_a_labeler_run_wild_delays_nobody_else(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "REQUESTS_PER_S", 0.5)
    site.app = create_app(site.run, site.store, TOKEN, port=PORT)
    wild, calm = site.browser().client, site.browser().client
    replies = [wild.get("/api/v1/run") for _ in range(8)]
    assert replies[0].status_code == 200
    assert (replies[-1].status_code, replies[-1].headers["retry-after"]) == (429, "1")
    assert replies[-1].json()["error"]["code"] == "too_many_requests"
    assert calm.get("/api/v1/run").status_code == 200


def test_guessing_tokens_is_slowed_down_and_delays_no_session(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "REFUSALS_PER_S", 0.5)
    site.app = create_app(site.run, site.store, TOKEN, port=PORT)
    stranger = site.stranger()
    statuses = [stranger.post("/api/v1/session", json={"token": "x"}).status_code for _ in range(5)]
    assert (statuses[0], statuses[-1]) == (401, 429)
    assert stranger.get("/api/v1/run").status_code == 429
    assert site.browser().client.get("/api/v1/run").status_code == 200


# -- what every response carries ---------------------------------------------------------------------------------


def test_every_response_carries_the_security_headers(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.ask()
    ada = site.browser()
    url = ada.lease()[0]["left"]["url"]
    ask, json = ada.client.request, {"content-type": "application/json"}

    def fail() -> None:
        raise RuntimeError

    monkeypatch.setattr(site.store, "counts", fail)
    wrong = {"answer": "left", "client_uuid": "12345678-1234-4234-8234-123456789abc"}
    page = ask("GET", "/")
    replies = [
        page,
        ask("GET", "/", headers={"if-none-match": page.headers["etag"]}),
        ask("GET", "/static/icon.svg"),
        ask("GET", "/static/nothing"),
        ask("POST", "/static/icon.svg"),
        ask("GET", "/healthz"),
        ask("POST", "/api/v1/session", json={"token": TOKEN}),
        ask("POST", "/api/v1/session", json={"token": "wrong"}),
        ask("GET", "/api/v1/run"),
        ask("GET", "/api/v1/status"),
        ask("GET", "/api/v1/nothing"),
        ask("DELETE", "/api/v1/run"),
        ask("GET", url),
        ask("HEAD", url),
        ask("GET", url, headers={"range": "bytes=0-1"}),
        ask("GET", url, headers={"range": "bytes=100-"}),
        ask("POST", "/api/v1/queries/99/answer", json=wrong),
        ask("POST", "/api/v1/queries/1/answer", json=wrong),
        ask("POST", "/api/v1/queries/1/answer", json=wrong),
        ask("POST", "/api/v1/queries/1/answer", json=wrong | {"answer": "right"}),
        ask("POST", "/api/v1/queries/lease", content=b"{", headers=json),
        ask("POST", "/api/v1/queries/lease", content=b" " * (MAX_BODY_BYTES + 1)),
        ask("POST", "/api/v1/queries/lease", headers={"origin": "null"}),
        ask("GET", "/", headers={"host": "evil.example"}),
        ask("GET", "/openapi.json"),
        site.stranger().get("/openapi.json"),
    ]
    wanted = {200, 201, 206, 304, 400, 401, 403, 404, 405, 409, 413, 416, 422, 500}
    assert {reply.status_code for reply in replies} == wanted
    for reply in replies:
        found = {name: reply.headers.get(name) for name in SECURITY_HEADERS}
        assert found == SECURITY_HEADERS, (reply.request.method, reply.request.url, reply.status_code)
        assert "cache-control" in reply.headers
        assert "server" not in reply.headers
        assert reply.status_code < 400 or reply.request.method == "HEAD" or set(reply.json()) == {"error"}


def test_the_content_policy_is_the_strict_one() -> None:
    policy = dict(part.strip().split(" ", 1) for part in SECURITY_HEADERS["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self'",
        "media-src": "'self' blob:",
        "connect-src": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
