"""Follows a run until it ends, by asking again and again; nothing is started here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from synapse_apply.model.deferred_run import build_poll
from synapse_apply.model.errors import RemoteError, RemoteTimeout, ServerFault, Unreachable
from synapse_apply.model.frozen import frozen
from synapse_apply.model.job import Job, job_of
from synapse_apply.model.ports import JobCalls

POLL_INTERVAL = 5.0  # as the API page's own loop waits
_SLICE = 0.25  # seconds between two looks at whether to stop


@frozen
class Pace:
    """How a job is followed: `interval` and `timeout` in seconds, None for no end.

    `pause` waits so many seconds, `seconds` is a monotonic clock; `stop` tells that whoever
    follows shall end, while the job goes on.
    """

    interval: float
    timeout: float | None
    pause: Callable[[float], None]
    seconds: Callable[[], float]
    stop: Callable[[], bool] = lambda: False


def follow(api: JobCalls, job_id: str, pace: Pace, seen: Callable[[Job], None]) -> Job:
    """The job as it was last seen: ended, or not where the time was up or a stop was asked for.

    `seen` is told each look. RemoteError as the client raises it once its own retries are over.
    """
    until = None if pace.timeout is None else pace.seconds() + pace.timeout
    while True:
        job = look(api, job_id)
        seen(job)
        if job.status.ended or pace.stop():
            return job
        left = pace.interval if until is None else min(pace.interval, until - pace.seconds())
        if left <= 0 or not wait(left, pace):
            return job


def follow_ticket(
    run: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    body: Mapping[str, Any],
    answer: Mapping[str, Any],
    pace: Pace,
) -> Mapping[str, Any]:
    """The result of a run that was answered with a ticket, or the last envelope where none came.

    `run` sends a run with another body. A question that was not answered is asked again, since it
    starts nothing; RemoteError for one that is refused.
    """
    until = None if pace.timeout is None else pace.seconds() + pace.timeout
    while (question := build_poll(body, answer)) is not None:
        left = pace.interval if until is None else min(pace.interval, until - pace.seconds())
        if left <= 0 or pace.stop() or not wait(left, pace):
            break
        try:
            answer = run(question)
        except (RemoteTimeout, ServerFault, Unreachable):
            continue
    return answer


def look(api: JobCalls, job_id: str) -> Job:
    """The job as it is now; RemoteError also for an answer that is no job."""
    try:
        return job_of(api.get_job(job_id))
    except ValueError as problem:
        raise RemoteError(f"GET jobs/{job_id}/: {problem}") from None


def wait(seconds: float, pace: Pace) -> bool:
    """Wait; False when a stop was asked for meanwhile."""
    until = pace.seconds() + seconds
    while (left := until - pace.seconds()) > 0:
        if pace.stop():
            return False
        pace.pause(min(left, _SLICE))
    return True
