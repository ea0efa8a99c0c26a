"""A job as every layer sees it: one vocabulary for what servers say in two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from typing import Any

from synapse_apply.model.deferred_run import is_deferred, is_pending
from synapse_apply.model.errors import Effect, RemoteError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.masked import MaskedText


class JobStatus(Enum):
    """The API page's words, and `stopped`, which only the real platform has."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"
    UNKNOWN = "unknown"

    @property
    def ended(self) -> bool:
        return self in _ENDED


_ENDED = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.STOPPED})
_GOES_ON = frozenset({JobStatus.QUEUED, JobStatus.RUNNING})
# The platform's words (PENDING, SUCCEEDED, ...) beside the page's; letter case means nothing.
_WORDS = {
    **{status.value: status for status in JobStatus if status is not JobStatus.UNKNOWN},
    "pending": JobStatus.QUEUED,
    "succeeded": JobStatus.COMPLETED,
}


# As the platform writes them; the page's words are the values above.
PLATFORM_WORDS = {
    JobStatus.QUEUED: "PENDING",
    JobStatus.RUNNING: "RUNNING",
    JobStatus.COMPLETED: "SUCCEEDED",
    JobStatus.FAILED: "FAILED",
    JobStatus.STOPPED: "STOPPED",
}


def words_of(status: JobStatus) -> tuple[str, ...]:
    """What a server may call a status, the API page's word first."""
    word = PLATFORM_WORDS[status]
    return tuple(dict.fromkeys((status.value, word.lower(), word)))


def status_of(word: object) -> JobStatus:
    """What a server's word means; UNKNOWN for one that neither vocabulary has."""
    return _WORDS.get(str(word).strip().lower(), JobStatus.UNKNOWN)


@frozen
class Job:
    """One job. `progress` is in percent, None where the server gives none.

    `plugin`, `version`, `created` and `completed` are as the server writes them ("" where it does
    not), `version` being that of the release that runs; `plugin` is an id, `plugin_code` the code
    and `release` the release's id where a server tells those;
    `context` is what the run gave, empty where the server does not return it; `raw` the answer.
    """

    id: str
    status: JobStatus
    progress: float | None = None
    plugin: str = ""
    plugin_code: str = ""
    release: str = ""
    version: str = ""
    created: str = ""
    completed: str = ""
    context: Mapping[str, Any] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict)


def job_of(raw: Mapping[str, Any]) -> Job:
    """A job from a server's answer, of a run (`job_id`) or of a read (`id`).

    ValueError where it names no job: a server may answer a run with its direct result. RemoteError
    for an id that is masked.
    """
    found = raw.get("job_id", raw.get("id"))
    if found is None or isinstance(found, bool | Mapping | list):
        raise ValueError("the answer names no job")
    if isinstance(found, MaskedText):
        words = "the backend answered a job whose id repeats a secret that it was sent"
        raise RemoteError(words, effect=Effect.UNKNOWN)
    context, owner = raw.get("context"), _owner(raw)
    return Job(
        id=str(found),
        status=status_of(raw.get("status", "queued")),
        progress=_percent(raw),
        plugin=_text(owner),
        plugin_code=_code(owner),
        release=_text(raw.get("plugin_release")),
        version=_version(raw),
        created=_text(raw.get("created", raw.get("created_at"))),
        completed=_text(raw.get("completed", raw.get("completed_at"))),
        context=context if isinstance(context, Mapping) else {},
        raw=raw,
    )


# Flags by which the result of an action says how it went, and fields that hold an error.
_SUCCESS_FLAGS = ("success", "succeeded", "ok")
_ERROR_FIELDS = ("error", "errors", "exception", "traceback")


def judge_result(answer: Mapping[str, Any]) -> JobStatus:
    """How a run went whose answer is its result and no job.

    The action's own result has any form. It has failed where it, or the `result` inside it, has an
    error, a flag that denies success, or a status of failure. It has not ended where its status
    says so and there is no result beside it. An envelope of a run whose result comes later has
    none, whatever it says: one that does not go on has lost it.
    """
    if is_deferred(answer):
        return JobStatus.QUEUED if is_pending(answer) else JobStatus.FAILED
    inner = answer.get("result")
    for place in (answer, inner):
        if isinstance(place, Mapping):
            status = status_of(place.get("status"))
            if status in {JobStatus.FAILED, JobStatus.STOPPED}:
                return status
            if _says_failed(place):
                return JobStatus.FAILED
    status = status_of(answer.get("status"))
    return status if status in _GOES_ON and inner is None else JobStatus.COMPLETED


def _says_failed(place: Mapping[str, Any]) -> bool:
    denied = any(place.get(name) is False for name in _SUCCESS_FLAGS)
    status = str(place.get("status", "")).strip().lower()
    # A number under such a name is a measure, as an error rate is.
    told = (place.get(name) for name in _ERROR_FIELDS)
    has_error = any(value for value in told if isinstance(value, str | list | Mapping))
    return denied or status == "error" or has_error


def _owner(raw: Mapping[str, Any]) -> object:
    """The plugin that a job names: itself, or by the object of its release (`plugin_id` of v2)."""
    release = raw.get("plugin_release")
    beside = release if isinstance(release, Mapping) else {}
    owners = (raw.get("plugin"), beside.get("plugin_id"), beside.get("plugin"))
    return next((owner for owner in owners if owner is not None), None)


def _code(owner: object) -> str:
    return _text(owner.get("code")) if isinstance(owner, Mapping) else ""


def _percent(raw: Mapping[str, Any]) -> float | None:
    """What the platform's `progress_record` says of the whole job, else `progress` of the page."""
    record = raw.get("progress_record")
    record = record if isinstance(record, Mapping) else {}
    current = record.get("current_progress")
    overall = current.get("overall") if isinstance(current, Mapping) else None
    for value in (overall, raw.get("progress"), record.get("percent")):
        if isinstance(value, int | float) and not isinstance(value, bool):
            return min(max(float(value), 0.0), 100.0)
    return None


def _version(raw: Mapping[str, Any]) -> str:
    """Beside the job, else in its expanded release."""
    release = raw.get("plugin_release")
    beside = release.get("version") if isinstance(release, Mapping) else None
    return _text(raw.get("version") or beside)


def _text(value: object) -> str:
    if isinstance(value, Mapping):  # an expanded plugin or release
        value = value.get("id")
    return "" if value is None else str(value)
