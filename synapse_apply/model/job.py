"""What a server's words for a job mean, of both APIs, and what a verification run is.

How a run whose result comes later is recognised, and which request asks for the result. An action
with `method: serve` waits a few seconds for its result. Then it answers an envelope with a ticket,
and a run of the same action that sends the ticket gives the result, or the envelope again. Only an
envelope with the mark says that the action knows such requests: to another action they would be a
second run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from enum import Enum
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.command import WithCommands
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import Effect, RemoteError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_types import JsonObject, RequestBody, ServerAnswer
from synapse_apply.model.secrets.secret_marks import MaskedText

DEFERRED_MARK = "__synapse_deferred__"
_POLL = "__synapse_poll__"
_PENDING = "pending"
_LONGEST_TICKET = 200
# Parameters of the run that route the request to the process that has the ticket.
_ROUTING = ("model",)


def is_deferred_envelope(answer: ServerAnswer) -> bool:
    """Whether an answer is such an envelope, and not the action's result."""
    return answer.get(DEFERRED_MARK) is True


def is_pending_envelope(answer: ServerAnswer) -> bool:
    """Whether an answer is an envelope that says that the action still runs."""
    return is_deferred_envelope(answer) and answer.get("status") == _PENDING


# Only after the vendor's mark: to an action that does not know such questions, one would be a
# second run.
def build_poll_request(body: RequestBody, answer: ServerAnswer) -> JsonObject | None:
    """The request body that asks for the result of the run of `body`; None where it cannot be."""
    ticket, params = answer.get("ticket"), body.get("params")
    if isinstance(ticket, int) and not isinstance(ticket, bool):
        ticket = str(ticket)
    if not isinstance(ticket, str) or isinstance(ticket, MaskedText):
        return None
    if (
        not is_pending_envelope(answer)
        or not 0 < len(ticket) <= _LONGEST_TICKET
        or not body.get("action")
    ):
        return None
    parameters = params if isinstance(params, Mapping) else {}
    routing = {name: parameters[name] for name in _ROUTING if name in parameters}
    return {**body, "params": {**routing, "method": "post", "json": {_POLL: ticket}}}


# What a server tells of a job only where it is asked to expand it.
EXPANDABLE_FIELDS = ("logs", "metrics", "result")


class JobStatus(Enum):
    """A job's status: the API page's words, and `stopped`, which only the platform has."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"
    UNKNOWN = "unknown"

    @property
    def has_ended(self) -> bool:
        return self in _ENDED_STATUSES


_ENDED_STATUSES = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.STOPPED})
_ACTIVE_STATUSES = frozenset({JobStatus.QUEUED, JobStatus.RUNNING})
# The platform's words (PENDING, SUCCEEDED, ...) and the page's, in lower case.
_STATUS_BY_WORD = {
    **{status.value: status for status in JobStatus if status is not JobStatus.UNKNOWN},
    "pending": JobStatus.QUEUED,
    "succeeded": JobStatus.COMPLETED,
}


# The platform's words; the page's are the values of JobStatus.
PLATFORM_WORDS = {
    JobStatus.QUEUED: "PENDING",
    JobStatus.RUNNING: "RUNNING",
    JobStatus.COMPLETED: "SUCCEEDED",
    JobStatus.FAILED: "FAILED",
    JobStatus.STOPPED: "STOPPED",
}


def list_status_words(status: JobStatus) -> tuple[str, ...]:
    """The words by which a server may call a status, the API page's first."""
    word = PLATFORM_WORDS[status]
    return tuple(dict.fromkeys((status.value, word.lower(), word)))


def parse_job_status(word: object) -> JobStatus:
    """The status of a server's word; UNKNOWN for a word that is in neither vocabulary."""
    return _STATUS_BY_WORD.get(str(word).strip().lower(), JobStatus.UNKNOWN)


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


def parse_job(raw: Mapping[str, Any]) -> Job:
    """The job in a server's answer to a run (`job_id`) or to a read (`id`).

    Raises ValueError where it names no job, since a server may answer a run with its result, and
    RemoteError where the job's id is masked, so that it cannot be followed.
    """
    job_id = raw.get("job_id", raw.get("id"))
    if job_id is None or isinstance(job_id, bool | Mapping | list):
        raise ValueError("the answer names no job")
    if isinstance(job_id, MaskedText):
        message = "the backend returned a job whose id repeats a secret that it received"
        raise RemoteError(message, effect=Effect.UNKNOWN)
    context, owner = raw.get("context"), _plugin_reference(raw)
    release = raw.get("plugin_release")
    release_version = release.get("version") if isinstance(release, Mapping) else None
    return Job(
        id=str(job_id),
        status=parse_job_status(raw.get("status", "queued")),
        progress=_progress_percent(raw),
        plugin=_value_or_id(owner),
        plugin_code=_value_or_id(owner.get("code")) if isinstance(owner, Mapping) else "",
        release=_value_or_id(raw.get("plugin_release")),
        version=_value_or_id(raw.get("version") or release_version),
        created=_value_or_id(raw.get("created", raw.get("created_at"))),
        completed=_value_or_id(raw.get("completed", raw.get("completed_at"))),
        context=context if isinstance(context, Mapping) else {},
        raw=raw,
    )


# Names that actions use in their results for success, and for errors.
_SUCCESS_FLAGS = ("success", "succeeded", "ok")
_ERROR_FIELDS = ("error", "errors", "exception", "traceback")


def derive_run_status(answer: ServerAnswer) -> JobStatus:
    """The status of a run whose answer is the result itself in place of a job.

    The action's own result has any form. It has failed where it, or the `result` inside it, has an
    error, a flag that denies success, or a status of failure. It has not ended where its status
    says so and there is no result beside it. An envelope of a run whose result comes later has
    none, whatever it says: one that does not go on has lost it.
    """
    if is_deferred_envelope(answer):
        return JobStatus.QUEUED if is_pending_envelope(answer) else JobStatus.FAILED
    inner = answer.get("result")
    for result in (answer, inner):
        if isinstance(result, Mapping):
            status = parse_job_status(result.get("status"))
            if status in {JobStatus.FAILED, JobStatus.STOPPED}:
                return status
            if _is_failure(result):
                return JobStatus.FAILED
    status = parse_job_status(answer.get("status"))
    return status if status in _ACTIVE_STATUSES and inner is None else JobStatus.COMPLETED


def _is_failure(result: Mapping[str, Any]) -> bool:
    denies_success = any(result.get(name) is False for name in _SUCCESS_FLAGS)
    status = str(result.get("status", "")).strip().lower()
    # A number under such a name is a measurement, such as an error rate.
    error_values = (result.get(name) for name in _ERROR_FIELDS)
    has_error = any(value for value in error_values if isinstance(value, str | list | Mapping))
    return denies_success or status == "error" or has_error


def _plugin_reference(raw: Mapping[str, Any]) -> object:
    """The plugin that a job names, else the one that its expanded release names."""
    release = raw.get("plugin_release")
    release_fields = release if isinstance(release, Mapping) else {}
    owners = (raw.get("plugin"), release_fields.get("plugin_id"), release_fields.get("plugin"))
    return next((owner for owner in owners if owner is not None), None)


def _progress_percent(raw: Mapping[str, Any]) -> float | None:
    """The percentage of the whole job: from the platform's `progress_record`, else `progress`."""
    record = raw.get("progress_record")
    record = record if isinstance(record, Mapping) else {}
    current = record.get("current_progress")
    overall = current.get("overall") if isinstance(current, Mapping) else None
    for value in (overall, raw.get("progress"), record.get("percent")):
        if isinstance(value, int | float) and not isinstance(value, bool):
            # Some servers go beyond the range for a moment.
            return min(max(float(value), 0.0), 100.0)
    return None


def _value_or_id(value: object) -> str:
    if isinstance(value, Mapping):  # an expanded plugin or release
        value = value.get("id")
    return "" if value is None else str(value)


# What a verification run is, planned and ended, and which last run a record stores.
#
# A verification runs what was published, to show that it works; it is a step of its own.

# The verb of intents and audit entries of runs.
RUN_VERB = "run"
# Defaults of a manifest's `verify` block, in seconds.
DEFAULT_TIMEOUT, DEFAULT_POLL_INTERVAL = 300.0, 5.0


class RunStatus(Enum):
    """The status of a run.

    TIMED_OUT: it did not end within the timeout, and may still run. RUNNING: its end was not seen.
    SKIPPED: not started. UNKNOWN: it may have been started. UNVERIFIED is only in a state: the
    package is not ours and there was no run, or it was replaced and no run of it counts.
    """

    PASSED = "passed"
    FAILED = "failed"
    TIMED_OUT = "timed-out"
    RUNNING = "running"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"
    UNVERIFIED = "unverified"

    @property
    def may_run_still(self) -> bool:
        """Whether there is a job that may still be running."""
        return self in {RunStatus.RUNNING, RunStatus.TIMED_OUT}


@frozen
class Verification:
    """A planned run: `body` is the request body (without secrets), `parameters` its digest.

    `job` was started for it earlier, and is followed in place of a new run. `timeout` and
    `poll_interval` are in seconds; `on_failure` is fail or warn.
    """

    body: RequestBody
    parameters: str
    reason: str
    job: str = ""
    timeout: float = DEFAULT_TIMEOUT
    poll_interval: float = DEFAULT_POLL_INTERVAL
    on_failure: str = "fail"

    @property
    def tolerates_failure(self) -> bool:
        """Whether a failed run is only a warning."""
        return self.on_failure == "warn"


@frozen
class VerificationResult(WithCommands):
    """The result of a verification run.

    `tolerated`: it failed, and by the manifest this is only a warning. `job` is empty
    where none was started, or the server answered without a job. `logs` are the last lines of a job
    that failed, as the server wrote them. `recovery_file` is as in Outcome: the file that
    has what could not be recorded.
    """

    TEXT_FIELDS = ("diagnostics",)

    address: Address
    status: RunStatus
    job: str = ""
    tolerated: bool = False
    request_id: str = ""
    seconds: float = 0.0
    logs: tuple[str, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    recovery_file: str | None = None

    @property
    def is_acceptable(self) -> bool:
        """Whether changes that depend on it may be applied."""
        return self.status is RunStatus.PASSED or self.tolerated


@frozen
class LastRun:
    """The last run that a record stores.

    `parameters` and `digest` are digests: of what was sent, and of the package that ran ("" where
    it is unknown). `at` is RFC 3339 UTC. `signature` is over all of it under the state key
    (`secrets/signatures.py`); "" where no key was at hand, and in records of earlier versions.
    """

    result: RunStatus
    job: str = ""
    parameters: str = ""
    digest: str = ""
    at: str = ""
    signature: str = ""

    @classmethod
    def from_json_or_none(cls, data: Mapping[str, Any] | None) -> LastRun | None:
        """The last run in a record's data; None without one.

        An unknown result counts as UNKNOWN.
        """
        if not data:
            return None
        status_by_value = {verdict.value: verdict for verdict in RunStatus}
        return cls(
            status_by_value.get(str(data.get("result")), RunStatus.UNKNOWN),
            **{name: str(data.get(name, "")) for name in _LAST_RUN_TEXTS},
        )

    def to_json(self) -> dict[str, str]:
        """The JSON object that a record stores."""
        texts = {name: getattr(self, name) for name in _LAST_RUN_TEXTS}
        if not self.signature:
            del texts["signature"]
        return {"result": self.result.value, **texts}


_LAST_RUN_TEXTS = tuple(text.name for text in fields(LastRun) if text.name != "result")


@frozen
class RunDoubt:
    """Why a recorded run is not trusted, as part of a sentence, and further ways out."""

    reason: str
    ways_out: tuple[str, ...] = ()


@frozen
class OtherTargetRuns:
    """What another target's state says: by address, the package's digest and its last run.

    `doubts` has the addresses whose recorded run is not trusted. `problem` says why nothing is
    known; `missing`: that there is no state at all.
    """

    digests: Mapping[Address, str] = field(default_factory=dict)
    runs: Mapping[Address, LastRun] = field(default_factory=dict)
    problem: str = ""
    missing: bool = False
    doubts: Mapping[Address, RunDoubt] = field(default_factory=dict)
