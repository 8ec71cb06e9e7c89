"""The label server's routes over the label store and the clips. Knows no SQL, no training and no sockets."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from os import PathLike, getpid, stat_result
from pathlib import Path
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import APIKeyCookie, HTTPBearer
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from pairplay import __version__
from pairplay.labels.store import Conflict, LabelStore, LeasedQuery, RecentAnswer
from pairplay.run.config_file import read_config
from pairplay.run.layout import RunDir
from pairplay.run.lock import trainer_pid
from pairplay.web import messages
from pairplay.web.events import ChangeFeed
from pairplay.web.media import byte_range, clip_times, find_clip
from pairplay.web.messages import documented, error_response
from pairplay.web.security import AccessError, Guard, Sessions

API = "/api/v1"
PAGE = Path(__file__).parent / "static"
TRAINER_SILENT = timedelta(seconds=30)
"""A trainer that has posted nothing for so long is taken for dead."""
SCRIPT = "script"
"""The labeler of requests that show the token itself instead of a session."""
COOKIE_AGE_S = 90 * 24 * 3600


def create_app(run: RunDir, store: LabelStore, token: str, *, port: int, feed: ChangeFeed | None = None) -> Guard:
    """The ASGI application for one run, reachable as localhost:`port` with `token` only.

    The caller keeps `store` (and closes it) and may pass the `feed` of its changes, to close that before shutdown.
    UserError when the run's configuration cannot be read.
    """
    read_config(run.config_toml)
    sessions = Sessions(token)
    app = FastAPI(
        title="Pairplay label server",
        version=__version__,
        summary="Lease pairs of clips, answer them, watch the run.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    app.state.run, app.state.store, app.state.sessions = run, store, sessions
    app.state.feed = feed or ChangeFeed(store.change_token)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(Conflict, _conflict)
    app.add_exception_handler(AccessError, _refused)
    app.add_exception_handler(Exception, _our_fault)
    who = [
        Security(APIKeyCookie(name=sessions.cookie_name, auto_error=False, scheme_name="session")),
        Security(HTTPBearer(auto_error=False, scheme_name="token")),
    ]
    app.include_router(_entrance)
    app.include_router(_api, dependencies=who)
    app.mount("/static", page := _PageFiles(directory=PAGE))

    @app.get("/", include_in_schema=False)
    async def index(request: Request) -> Response:
        return await page.get_response("index.html", request.scope)

    # Browsers leave port 80 out.
    suffix = "" if port == 80 else f":{port}"
    return Guard(app, sessions, [name + suffix for name in ("127.0.0.1", "localhost", "[::1]")])


@dataclass(frozen=True)
class Desk:
    """Where a labeler sits: what a request of theirs may use."""

    run: RunDir
    store: LabelStore
    labeler_id: int

    def clip(self, sha256: str) -> messages.Clip:
        path = find_clip(self.run.clips, sha256)
        times = clip_times(path) if path else None
        return messages.Clip(
            clip=sha256, url=f"{API}/clips/{sha256}.mp4", seconds=round(times.seconds, 3) if times else None
        )

    def query(self, leased: LeasedQuery) -> messages.Query:
        return messages.Query(
            id=leased.id,
            question=leased.question,
            left=self.clip(leased.left_clip),
            right=self.clip(leased.right_clip),
            lease_expires_at=leased.lease_expires_at,
        )

    def past(self, answer: RecentAnswer) -> messages.PastAnswer:
        return messages.PastAnswer(
            client_uuid=answer.client_uuid,
            query_id=answer.query_id,
            question=answer.question,
            answer=answer.answer,
            answered_at=answer.recorded_at,
            left=self.clip(answer.left_clip),
            right=self.clip(answer.right_clip),
        )

    def status(self) -> messages.Status:
        progress = self.store.progress()
        alive = False
        if progress is not None and progress.updated_at is not None and progress.phase not in ("finished", "stopped"):
            # By the store's clock, which stamped it too. A trainer that starts up, or is slow, is silent for longer.
            alive = self.store.now() - progress.updated_at < TRAINER_SILENT or trainer_pid(self.run) is not None
        return messages.Status(
            counts=messages.Counts.model_validate(self.store.counts()),
            mine=messages.Mine(answered=self.store.answered_by(self.labeler_id)),
            progress=None if progress is None else messages.Progress.model_validate(progress),
            trainer_alive=alive,
            next_due_at_step=None if progress is None else progress.next_due_at_step,
        )


async def _desk(request: Request) -> Desk:
    state = request.app.state
    store: LabelStore = state.store
    # Set by the guard: a route that is reached without it fails here, closed.
    labeler_id: int | None = request.state.labeler_id
    if labeler_id is None:
        script: int = await run_in_threadpool(store.labeler, SCRIPT, "synthetic")
        return Desk(state.run, store, script)
    return Desk(state.run, store, labeler_id)


AtDesk = Annotated[Desk, Depends(_desk)]

# -- before the door ---------------------------------------------------------------------------------------------

_entrance = APIRouter(responses=documented(422, 429))


@_entrance.get("/healthz")
async def health(request: Request) -> messages.Health:
    """Says which run is served here, to those who know its token."""
    return messages.Health(server=request.app.state.sessions.server_name, pid=getpid())


@_entrance.post(f"{API}/session", responses=documented(401))
def open_session(body: messages.SessionRequest, request: Request, response: Response) -> messages.Session:
    """Exchange the token for a cookie. A browser that has one stays who it is, unless it gives a name."""
    sessions: Sessions = request.app.state.sessions
    if not sessions.knows(body.token):
        raise sessions.unauthorized()
    known = sessions.labeler(request.headers)
    name = body.name or (known[1] if known else f"person-{secrets.token_hex(3)}")
    labeler_id = request.app.state.store.labeler(name, "human")
    response.set_cookie(
        sessions.cookie_name, sessions.cookie(labeler_id, name), COOKIE_AGE_S, httponly=True, samesite="strict"
    )
    return messages.Session(labeler=name)


# -- behind it ---------------------------------------------------------------------------------------------------

_api = APIRouter(prefix=API, responses=documented(401, 422, 429))


@_api.get("/run")
def run_facts(desk: AtDesk) -> messages.Run:
    """What the run is about."""
    config = read_config(desk.run.config_toml)
    clip = next(desk.run.clips.glob("*.mp4"), None)
    times = clip_times(clip) if clip else None
    return messages.Run(
        run_name=desk.run.name,
        env_id=config.env_id,
        question=config.question,
        teacher=config.teacher,
        labels_budget=config.labels,
        clip_fps=round(times.fps, 3) if times else None,
    )


@_api.get("/status")
def status(desk: AtDesk) -> messages.Status:
    """How the run and this labeler stand."""
    return desk.status()


@_api.get("/events", response_class=EventSourceResponse)
async def events(desk: AtDesk, request: Request) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: `status`, with the JSON of `/status`, at once and then whenever it changes."""
    feed: ChangeFeed = request.app.state.feed
    last = None
    async for _ in feed.listen():
        now = (await run_in_threadpool(desk.status)).model_dump_json()
        if now != last:
            yield ServerSentEvent(raw_data=now, event="status", retry=1000)
            last = now


@_api.post("/queries/lease")
def lease(body: messages.LeaseRequest, desk: AtDesk) -> messages.Lease:
    """Take pairs to answer: nobody else gets them until the lease expires. `hold` renews the ones on the page."""
    held = list(desk.store.renew(desk.labeler_id, body.hold)) if body.hold else []
    leased = desk.store.lease(desk.labeler_id, limit=len(held) + body.limit)
    fresh = [desk.query(query) for query in leased if query.id not in held]
    return messages.Lease(queries=fresh[: body.limit], held=held)


@_api.post(
    "/queries/{query_id}/answer",
    status_code=201,
    responses={200: {"model": messages.AnswerReply, "description": "Recorded before."}, **documented(404, 409)},
)
def answer(
    query_id: messages.RowId, body: messages.AnswerRequest, desk: AtDesk, response: Response
) -> messages.AnswerReply:
    """Record an answer. 201 means that it is on the disk; the same `client_uuid` again is 200 and changes nothing."""
    receipt = desk.store.answer(
        desk.labeler_id,
        query_id,
        body.answer,
        client_uuid=str(body.client_uuid),
        shown_at=body.shown_at,
        answered_at=body.answered_at,
    )
    if receipt.replay:
        response.status_code = 200
    return messages.AnswerReply(
        id=receipt.id,
        query_id=receipt.query_id,
        answer=body.answer,
        answered=desk.store.answered_by(desk.labeler_id),
    )


@_api.post("/answers/{client_uuid}/undo", responses=documented(404, 409))
def undo(client_uuid: UUID, desk: AtDesk) -> messages.UndoReply:
    """Withdraw one's own answer; its pair comes back to the same labeler."""
    receipt = desk.store.undo(desk.labeler_id, client_uuid=str(client_uuid))
    return messages.UndoReply(
        query=None if receipt.query is None else desk.query(receipt.query),
        answered=desk.store.answered_by(desk.labeler_id),
    )


@_api.get("/answers")
def past_answers(desk: AtDesk, limit: Annotated[int, Query(ge=1, le=100)] = 5) -> messages.PastAnswers:
    """The labeler's own live answers, newest first."""
    return messages.PastAnswers(answers=[desk.past(answer) for answer in desk.store.recent(desk.labeler_id, limit)])


@_api.head("/clips/{sha256}.mp4", include_in_schema=False)
@_api.get(
    "/clips/{sha256}.mp4",
    response_class=Response,
    responses={
        200: {"content": {"video/mp4": {}}, "description": "The clip."},
        206: {"content": {"video/mp4": {}}, "description": "A part of it."},
        **documented(404, 416),
    },
)
def clip(sha256: str, request: Request, desk: AtDesk) -> Response:
    """A clip, whole or in part. It never changes, so a browser need not ask twice."""
    path = find_clip(desk.run.clips, sha256)
    if path is None:
        raise HTTPException(404, "there is no such clip")
    data = path.read_bytes()
    headers = {
        "accept-ranges": "bytes",
        "cache-control": "private, max-age=31536000, immutable",
        "etag": f'"{sha256}"',
    }
    unchanged = request.headers.get("if-range", headers["etag"]) == headers["etag"]
    part = byte_range(request.headers.get("range"), len(data)) if unchanged else None
    if part is None:
        return Response(data, 200, headers, "video/mp4")
    if not part:
        raise HTTPException(416, "the clip ends before that", {"content-range": f"bytes */{len(data)}"})
    headers["content-range"] = f"bytes {part.start}-{part.stop - 1}/{len(data)}"
    return Response(data[part.start : part.stop], 206, headers, "video/mp4")


# -- the page, and everything that goes wrong --------------------------------------------------------------------


class _PageFiles(StaticFiles):
    """The page's files: kept by the browser, but asked about each time, so that an upgrade is seen at once."""

    def file_response(
        self, full_path: str | PathLike[str], stat_result: stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["cache-control"] = "no-cache"
        return response


def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = HTTPStatus(error.status_code).name.lower()
    headers = dict(error.headers) if error.headers else None
    return error_response(error.status_code, code, str(error.detail), headers)


def _invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    # Without the input: it may hold the token.
    faults = (f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors())
    return error_response(422, "invalid_request", "; ".join(faults))


def _conflict(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Conflict)
    return error_response(404 if error.code.startswith("unknown_") else 409, error.code, str(error))


def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AccessError)
    return error_response(error.status, error.code, error.message, error.headers)


def _our_fault(request: Request, error: Exception) -> JSONResponse:
    return error_response(500, "internal_error", "the server failed; its log says why")
