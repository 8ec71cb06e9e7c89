"""The API as the page uses it: the whole life of a query, and what happens when something is wrong."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from pairplay.labels.store import Progress
from pairplay.run.clips import encode, save_clip
from pairplay.run.lock import trainer_lock
from pairplay.web.app import Desk, events
from pairplay.web.events import ChangeFeed

from .site import SHOWN, TOKEN, Site


def test_a_query_lives_from_lease_to_answer(site: Site) -> None:
    (query_id,) = site.ask()
    ada = site.browser("Ada")

    (query,) = ada.lease()
    assert query["id"] == query_id
    assert query["question"] == "Question 0?"
    assert ada.client.get(query["left"]["url"]).content == b"clip 0"
    assert ada.client.get(query["right"]["url"]).content == b"clip 1"
    assert query["left"] == {
        "clip": query["left"]["clip"],
        "url": f"/api/v1/clips/{query['left']['clip']}.mp4",
        "seconds": None,  # not a film
    }
    assert query["lease_expires_at"] == "2030-01-01T00:02:00Z"
    assert ada.status()["counts"] == {"asked": 1, "pending": 0, "leased": 1, "answered": 0, "skipped": 0, "expired": 0}

    reply = ada.answer(query_id, "left")
    assert reply.status_code == 201
    assert reply.json() == {"id": 1, "query_id": query_id, "answer": "left", "answered": 1}
    assert ada.status()["counts"] == {"asked": 1, "pending": 0, "leased": 0, "answered": 1, "skipped": 0, "expired": 0}
    assert ada.lease() == []
    (preference,) = site.store.preferences()
    assert (preference.query_id, preference.answer, preference.labeler) == (query_id, "left", "Ada")
    assert preference.answered_at.isoformat() == "2026-01-02T03:04:05.678000+00:00"


def test_two_labelers_never_get_the_same_pair(site: Site) -> None:
    ids = site.ask(20)
    ada, ben = site.browser(), site.browser()
    assert ada.labeler != ben.labeler
    got: dict[str, list[int]] = {"ada": [], "ben": []}
    for _ in range(4):
        for name, person in (("ada", ada), ("ben", ben)):
            leased = [query["id"] for query in person.lease(limit=3)]
            got[name] += leased
            for query_id in leased:
                assert person.answer(query_id, "tie").status_code == 201
    assert sorted(got["ada"] + got["ben"]) == ids
    assert ada.status()["mine"] == {"answered": len(got["ada"])}
    assert ben.status()["mine"] == {"answered": len(got["ben"])}


def test_sending_an_answer_again_changes_nothing(site: Site) -> None:
    site.ask()
    ada, uuid = site.browser(), str(uuid4())
    (query,) = ada.lease()
    first, again = ada.answer(query["id"], "right", uuid), ada.answer(query["id"], "right", uuid.upper())
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert len(list(site.store.iter_answers())) == 1

    other = ada.answer(query["id"], "left", uuid)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "uuid_reused")


def test_conflicts_say_what_is_wrong(site: Site) -> None:
    first, second = site.ask(2)
    ada, ben = site.browser(), site.browser()
    ada.lease(limit=2)
    refused = ben.answer(first, "left")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "leased_by_other")
    assert ada.answer(first, "left").status_code == 201
    late = ada.answer(first, "right")
    assert (late.status_code, late.json()["error"]["code"]) == (409, "already_answered")
    unknown = ada.answer(second + 100, "left")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_query")
    nothing = ben.undo(str(uuid4()))
    assert (nothing.status_code, nothing.json()["error"]["code"]) == (404, "unknown_answer")


def test_undo_brings_the_pair_back_to_the_same_person(site: Site) -> None:
    site.ask(2)
    ada, ben, uuid = site.browser(), site.browser(), str(uuid4())
    query = ada.lease()[0]
    ada.answer(query["id"], "left", uuid)

    undone = ada.undo(uuid)
    assert undone.status_code == 200
    assert undone.json() == {"query": query, "answered": 0}
    assert site.store.preferences() == []
    assert query["id"] not in [other["id"] for other in ben.lease(limit=5)]
    assert ada.undo(uuid).json() == undone.json()

    again = str(uuid4())
    assert ada.answer(query["id"], "skip", again).json()["answered"] == 1
    assert [preference.answer for preference in site.store.preferences()] == ["skip"]
    # By now it is neither a live answer nor the labeler's query.
    assert ada.undo(uuid).json() == {"query": None, "answered": 1}


def test_the_last_answers_newest_first_and_only_ones_own(site: Site) -> None:
    site.ask(3)
    ada, ben = site.browser(), site.browser()
    (one, two), (three,) = ada.lease(limit=2), ben.lease(limit=5)
    uuids = [str(uuid4()) for _ in range(2)]
    ada.answer(one["id"], "left", uuids[0])
    ada.answer(two["id"], "tie", uuids[1])
    ben.answer(three["id"], "right")
    answers = ada.client.get("/api/v1/answers", params={"limit": 5}).json()["answers"]
    assert [(past["query_id"], past["answer"]) for past in answers] == [(two["id"], "tie"), (one["id"], "left")]
    assert [past["client_uuid"] for past in answers] == uuids[::-1]
    assert answers[1]["left"] == one["left"]
    assert answers[1]["question"] == one["question"]
    assert len(ada.client.get("/api/v1/answers?limit=1").json()["answers"]) == 1


def test_a_lease_gives_new_pairs_and_renews_those_on_the_page(site: Site) -> None:
    site.ask(6)
    ada = site.browser()
    page = tuple(query["id"] for query in ada.lease(limit=3))
    site.clock.move(100)
    reply = ada.client.post("/api/v1/queries/lease", json={"limit": 2, "hold": [*page, 999]}).json()
    fresh = [query["id"] for query in reply["queries"]]
    assert len(fresh) == 2
    assert not set(fresh) & set(page)
    assert reply["held"] == sorted(page)
    site.clock.move(100)  # 200 s after the first lease, 100 s after its renewal
    assert [query["id"] for query in site.browser().lease(limit=5)] == [1]


def test_a_reloaded_page_gets_its_pairs_back(site: Site) -> None:
    site.ask(6)
    ada = site.browser()
    before = ada.lease(limit=3)
    assert ada.lease(limit=3) == before


def test_the_pairs_of_a_labeler_who_vanished_are_served_again(site: Site) -> None:
    ids = site.ask(3)
    gone, there = site.browser(), site.browser()
    assert len(gone.lease(limit=5)) == 3
    assert there.lease(limit=5) == []
    site.clock.move(121)
    assert sorted(query["id"] for query in there.lease(limit=5)) == ids
    late = gone.answer(ids[0], "left")
    assert (late.status_code, late.json()["error"]["code"]) == (409, "leased_by_other")


def test_a_late_answer_counts_while_nobody_else_has_the_pair(site: Site) -> None:
    (query_id,) = site.ask()
    ada = site.browser()
    ada.lease()
    site.clock.move(3600)
    assert ada.answer(query_id, "left").status_code == 201


def test_an_expired_query_is_gone_but_its_late_answer_counts(site: Site) -> None:
    first, second = site.ask(2)
    ada, ben = site.browser(), site.browser()
    assert len(ada.lease(limit=5)) == 2
    assert site.store.expire(10) == 0
    site.clock.move(121)
    assert site.store.expire(10) == 2
    reply = ada.client.post("/api/v1/queries/lease", json={"limit": 1, "hold": [first, second]}).json()
    assert reply == {"queries": [], "held": []}
    assert ben.lease(limit=5) == []
    assert ada.answer(first, "left").status_code == 201
    assert ada.status()["counts"] == {
        "asked": 2,
        "pending": 0,
        "leased": 0,
        "answered": 1,
        "skipped": 0,
        "expired": 1,
    }
    late = ben.answer(first, "right")
    assert (late.status_code, late.json()["error"]["code"]) == (409, "already_answered")


def test_a_browser_stays_the_same_labeler(site: Site) -> None:
    site.ask(2)
    ada = site.browser()
    query = ada.lease()[0]
    assert ada.client.post("/api/v1/session", json={"token": TOKEN}).json() == {"labeler": ada.labeler}
    assert ada.lease() == [query]
    renamed = ada.client.post("/api/v1/session", json={"token": TOKEN, "name": "  Zoë 🚗 "})
    assert renamed.json() == {"labeler": "Zoë 🚗"}
    assert ada.lease()[0]["id"] != query["id"]
    assert ada.client.post("/api/v1/session", json={"token": TOKEN}).json() == {"labeler": "Zoë 🚗"}


def test_scripts_answer_as_a_labeler_of_their_own(site: Site) -> None:
    (query_id,) = site.ask()
    body = {"answer": "left", "client_uuid": str(uuid4())}
    assert site.script().post(f"/api/v1/queries/{query_id}/answer", json=body).status_code == 201
    (row,) = site.store.iter_answers()
    assert (row.labeler, row.kind) == ("script", "synthetic")


def test_what_the_run_is_about(site: Site) -> None:
    client = site.browser().client
    facts = {
        "run_name": "enduro-1",
        "env_id": "ALE/Enduro-v5",
        "question": "Overtake",
        "teacher": "human",
        "labels_budget": 70,
        "clip_fps": None,
    }
    assert client.get("/api/v1/run").json() == facts
    save_clip(site.run.clips, encode(np.zeros((30, 16, 16, 3), np.uint8), fps=15.0))
    assert client.get("/api/v1/run").json() == facts | {"clip_fps": 15.0}


def test_status_says_what_the_trainer_does(site: Site) -> None:
    ada = site.browser()
    status = ada.status()
    assert (status["progress"], status["trainer_alive"], status["next_due_at_step"]) == (None, False, None)

    site.store.post_progress(
        Progress("learning", 100, 1000, 70, fps=250.0, true_return=float("nan"), next_due_at_step=120, notice="Paused.")
    )
    status = ada.status()
    assert status["progress"] == {
        "phase": "learning",
        "step": 100,
        "total_timesteps": 1000,
        "fps": 250.0,
        "labels_budget": 70,
        "true_return": None,
        "predicted_return": None,
        "notice": "Paused.",
        "updated_at": "2030-01-01T00:00:00Z",
    }
    assert (status["trainer_alive"], status["next_due_at_step"]) == (True, 120)
    site.clock.move(31)
    assert ada.status()["trainer_alive"] is False
    with trainer_lock(site.run):  # it starts up, or an iteration takes long
        assert ada.status()["trainer_alive"] is True
    for phase in ("finished", "stopped"):
        site.store.post_progress(Progress(phase, 1000, 1000, 70))
        assert ada.status()["trainer_alive"] is False


def test_events_tell_what_changed_and_nothing_twice(site: Site) -> None:
    async def scene() -> None:
        feed = ChangeFeed(site.store.change_token, poll_s=0.01, beat_s=0.01)
        request: Any = SimpleNamespace(app=SimpleNamespace(state=SimpleNamespace(feed=feed)))
        told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

        async def listen() -> None:
            async for event in events(Desk(site.run, site.store, labeler_id=1), request):
                assert event.event == "status"
                told.put_nowait(json.loads(event.raw_data or ""))

        task = asyncio.create_task(listen())
        assert (await asyncio.wait_for(told.get(), 5))["counts"]["asked"] == 0
        await asyncio.sleep(0.2)
        assert told.empty()
        site.ask(1)
        assert (await asyncio.wait_for(told.get(), 5))["counts"]["asked"] == 1
        feed.close()
        await asyncio.wait_for(task, 5)

    asyncio.run(scene())


WRONG = [
    ("post", "/api/v1/queries/lease", {"limit": 0}),
    ("post", "/api/v1/queries/lease", {"limit": 6}),
    ("post", "/api/v1/queries/lease", {"hold": [0]}),
    ("post", "/api/v1/queries/lease", {"hold": [2**63]}),
    ("post", "/api/v1/queries/lease", {"hold": list(range(1, 22))}),
    ("post", "/api/v1/queries/lease", {"limits": 3}),
    ("post", "/api/v1/queries/lease", []),
    ("post", "/api/v1/queries/1/answer", {"answer": "both", "client_uuid": str(uuid4())}),
    ("post", "/api/v1/queries/1/answer", {"answer": "left", "client_uuid": "1"}),
    ("post", "/api/v1/queries/1/answer", {"answer": "left"}),
    ("post", "/api/v1/queries/1/answer", {"answer": "left", "client_uuid": str(uuid4()), "shown_at": "2026-01-01"}),
    (
        "post",
        "/api/v1/queries/1/answer",
        {"answer": "left", "client_uuid": str(uuid4()), "shown_at": "0001-01-01T00:00:00+23:00"},
    ),
    ("post", "/api/v1/queries/0/answer", {"answer": "left", "client_uuid": str(uuid4())}),
    ("post", f"/api/v1/queries/{2**63}/answer", {"answer": "left", "client_uuid": str(uuid4())}),
    ("post", "/api/v1/queries/one/answer", {"answer": "left", "client_uuid": str(uuid4())}),
    ("post", "/api/v1/answers/1/undo", {}),
    ("post", "/api/v1/session", {"token": TOKEN, "name": "   "}),
    ("post", "/api/v1/session", {"token": TOKEN, "name": "a\nb"}),
    ("post", "/api/v1/session", {"token": TOKEN, "name": "x" * 65}),
    ("post", "/api/v1/session", {}),
    ("get", "/api/v1/answers?limit=0", None),
    ("get", "/api/v1/answers?limit=many", None),
]


@pytest.mark.parametrize(("method", "path", "body"), WRONG)
def test_a_malformed_request_is_refused_in_words(site: Site, method: str, path: str, body: object) -> None:
    site.ask()
    ada = site.browser()
    reply = ada.client.request(method, path, json=body) if body is not None else ada.client.request(method, path)
    assert reply.status_code == 422, reply.text
    error = reply.json()["error"]
    assert error["code"] == "invalid_request"
    assert error["message"]
    assert TOKEN not in reply.text
    assert site.store.counts().answered == 0


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"{", "application/json"), (b'{"limit": 1}', "text/plain"), (b"\xff\xfe", "application/json"), (b"", "")],
)
def test_a_body_that_is_no_json_is_refused(site: Site, content: bytes, kind: str) -> None:
    client = site.browser().client
    reply = client.post("/api/v1/queries/lease", content=content, headers={"content-type": kind})
    assert reply.status_code in (400, 422)
    assert set(reply.json()) == {"error"}


def test_a_token_of_broken_unicode_is_wrong_and_nothing_more(site: Site) -> None:
    reply = site.stranger().post(
        "/api/v1/session", content=b'{"token": "\\ud800"}', headers={"content-type": "application/json"}
    )
    assert reply.status_code in (401, 422)


def test_other_errors_have_the_same_shape(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    client = site.browser().client
    missing = client.get("/api/v1/nothing")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    method = client.delete("/api/v1/run")
    assert (method.status_code, method.json()["error"]["code"]) == (405, "method_not_allowed")

    def fail() -> None:
        raise RuntimeError("a secret of the house")

    monkeypatch.setattr(site.store, "counts", fail)
    broken = client.get("/api/v1/status")
    assert (broken.status_code, broken.json()["error"]["code"]) == (500, "internal_error")
    assert "secret" not in broken.text


def test_clips_come_whole_or_in_part_and_are_kept(site: Site) -> None:
    site.ask()
    ada = site.browser()
    url = ada.lease()[0]["left"]["url"]
    whole = ada.client.get(url)
    assert (whole.status_code, whole.content) == (200, b"clip 0")
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert whole.headers["accept-ranges"] == "bytes"

    part = ada.client.get(url, headers={"range": "bytes=2-3"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"ip", "bytes 2-3/6")
    assert part.headers["content-length"] == "2"
    beyond = ada.client.get(url, headers={"range": "bytes=6-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */6")
    assert beyond.json()["error"]["code"] == "requested_range_not_satisfiable"

    etag = whole.headers["etag"]
    assert ada.client.get(url, headers={"range": "bytes=2-3", "if-range": etag}).status_code == 206
    assert ada.client.get(url, headers={"range": "bytes=2-3", "if-range": '"old"'}).status_code == 200
    head = ada.client.head(url)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "6")


def test_the_page_is_kept_but_asked_about_each_time(site: Site) -> None:
    stranger = site.stranger()
    page = stranger.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["cache-control"] == "no-cache"
    again = stranger.get("/", headers={"if-none-match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    icon = stranger.get("/static/icon.svg")
    assert (icon.status_code, icon.headers["cache-control"]) == (200, "no-cache")


def test_the_api_describes_itself_to_those_who_may_use_it(site: Site) -> None:
    schema = site.script().get("/openapi.json").json()
    assert set(schema["paths"]) == {
        "/healthz",
        "/api/v1/session",
        "/api/v1/run",
        "/api/v1/status",
        "/api/v1/events",
        "/api/v1/queries/lease",
        "/api/v1/queries/{query_id}/answer",
        "/api/v1/answers/{client_uuid}/undo",
        "/api/v1/answers",
        "/api/v1/clips/{sha256}.mp4",
    }
    answer = schema["paths"]["/api/v1/queries/{query_id}/answer"]["post"]["responses"]
    assert set(answer) == {"200", "201", "401", "404", "409", "422", "429"}
    assert "HTTPValidationError" not in schema["components"]["schemas"]
    for path in ("/docs", "/redoc"):
        assert site.script().get(path).status_code == 404


def test_times_are_optional(site: Site) -> None:
    (query_id,) = site.ask()
    body = {"answer": "tie", "client_uuid": str(uuid4()), "shown_at": SHOWN}
    assert site.browser().client.post(f"/api/v1/queries/{query_id}/answer", json=body).status_code == 201
    (row,) = site.store.iter_answers()
    assert row.answered_at is None
