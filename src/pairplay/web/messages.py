"""What travels over the API: the JSON of every request, response and error. Knows neither routes nor storage."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints
from starlette.responses import JSONResponse

from pairplay.types import Answer

RowId = Annotated[int, Field(ge=1, le=2**63 - 1)]
"""Beyond 63 bits the database itself would refuse, and the fault would look like ours."""
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")
]


def _plausible(moment: datetime) -> datetime:
    if not 2000 <= moment.year <= 2200:
        raise ValueError("not a time that a clock shows")
    return moment


Moment = Annotated[AwareDatetime, AfterValidator(_plausible)]
"""A client's clock may be wrong, but must stay where every database can convert it."""


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Reply(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class SessionRequest(_Request):
    token: str = Field(max_length=256, description="The secret behind `#token=` in the printed address.")
    name: Name | None = Field(None, description="Who answers; without it this browser becomes a new, numbered person.")


class Session(_Reply):
    labeler: str


class Run(_Reply):
    run_name: str
    env_id: str
    question: str
    teacher: str
    labels_budget: int
    clip_fps: float | None = Field(description="Frames a second of the clips; null before the first clip exists.")


class Clip(_Reply):
    clip: str = Field(description="sha256 of the file.")
    url: str
    seconds: float | None = Field(description="Duration; null when the file cannot be read.")


class Query(_Reply):
    id: int
    question: str
    left: Clip
    right: Clip
    lease_expires_at: datetime


class LeaseRequest(_Request):
    limit: int = Field(1, ge=1, le=5, description="How many pairs to hold at most besides `hold`.")
    hold: list[RowId] = Field(default_factory=list, max_length=20, description="Pairs already on the page: renew them.")


class Lease(_Reply):
    queries: list[Query]
    held: list[int] = Field(description="Those of `hold` that are still this labeler's.")


class AnswerRequest(_Request):
    answer: Answer
    client_uuid: UUID = Field(description="Made by the page; sending the same one again changes nothing.")
    shown_at: Moment | None = Field(None, description="When the pair became visible, on the client's clock.")
    answered_at: Moment | None = None


class AnswerReply(_Reply):
    id: int
    query_id: int
    answer: Answer
    answered: int = Field(description="Live answers of this labeler.")


class UndoReply(_Reply):
    query: Query | None = Field(description="The pair to answer anew; null when it is no longer this labeler's.")
    answered: int


class PastAnswer(_Reply):
    client_uuid: str
    query_id: int
    question: str
    answer: Answer
    answered_at: datetime
    left: Clip
    right: Clip


class PastAnswers(_Reply):
    answers: list[PastAnswer]


class Counts(_Reply):
    asked: int
    pending: int
    leased: int
    answered: int
    skipped: int
    expired: int


class Mine(_Reply):
    answered: int


class Progress(_Reply):
    phase: str
    step: int
    total_timesteps: int
    fps: float | None
    labels_budget: int
    true_return: float | None
    predicted_return: float | None
    notice: str | None = Field(description="A sentence of the trainer's for the person who labels.")
    updated_at: datetime


class Status(_Reply):
    counts: Counts
    mine: Mine
    progress: Progress | None = Field(description="The trainer's last word; null before the first.")
    trainer_alive: bool
    next_due_at_step: int | None


class Health(_Reply):
    server: str = Field(description="Which run is served, as a digest that only holders of its token can compute.")
    pid: int


class Fault(BaseModel):
    code: str
    message: str


class ErrorReply(BaseModel):
    """The body of every response from 400 on."""

    error: Fault


def error_response(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error as the API says it."""
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` for errors that a route may give."""
    return {status: {"model": ErrorReply} for status in statuses}
