"""How a job or a deferred result is polled until it ends, a timeout, or a request to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from synapse_apply.kinds.descriptor import JobCalls
from synapse_apply.model.errors import (
    RateLimited,
    RemoteError,
    RemoteTimeout,
    ServerFault,
    Unreachable,
)
from synapse_apply.model.frozen import frozen
from synapse_apply.model.job import Job, build_poll_request, parse_job
from synapse_apply.model.json_types import RequestBody, ServerAnswer

POLL_INTERVAL = 5.0  # seconds, as in the example of the API page
_SLICE = 0.25  # seconds between two checks of `should_stop`


@frozen
class ListPace:
    """Seconds between two readings of a log: `min_pause` at first, `max_pause` at most.

    A reading costs as much as the log is long, so there is a second for each `lines_per_second`.
    """

    min_pause: float = 1.0
    max_pause: float = 30.0
    lines_per_second: int = 2_000

    def compute_pause(self, line_count: int) -> float:
        """Seconds to wait after a reading of so many lines."""
        return min(max(self.min_pause, line_count / self.lines_per_second), self.max_pause)


@frozen
class FollowOptions:
    """How a job is followed: `interval` and `timeout` in seconds, None for no timeout.

    `sleep` waits so many seconds, `read_seconds` is a monotonic clock; `should_stop` says that
    following shall end, while the job goes on. `interval` is between two readings of the job,
    `list_pace` between two of its log.
    """

    interval: float
    timeout: float | None
    sleep: Callable[[float], None]
    read_seconds: Callable[[], float]
    should_stop: Callable[[], bool] = lambda: False
    list_pace: ListPace = ListPace()

    def seconds_left(self, started_at: float) -> float:
        """The seconds until the timeout of what began at a time of `read_seconds`."""
        if self.timeout is None:
            return float("inf")
        return started_at + self.timeout - self.read_seconds()

    def wait(self, seconds: float) -> bool:
        """Wait for some seconds; False where `should_stop` ended it early, or there are none."""
        if seconds <= 0:
            return False
        deadline = self.read_seconds() + seconds
        while (remaining := deadline - self.read_seconds()) > 0:
            if self.should_stop():
                return False
            self.sleep(min(remaining, _SLICE))
        return True


def poll_job(
    api: JobCalls, job_id: str, options: FollowOptions, on_job: Callable[[Job], None]
) -> Job:
    """Poll a job until it ends, a timeout or a stop; returns it as it was seen last.

    `on_job` gets the job after each read. Raises RemoteError once the client's own retries failed.
    """
    started_at = options.read_seconds()
    while True:
        job = read_job(api, job_id)
        on_job(job)
        if job.status.has_ended:
            return job
        if not options.wait(min(options.interval, options.seconds_left(started_at))):
            return job


def poll_deferred_run(
    run: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    body: RequestBody,
    answer: ServerAnswer,
    options: FollowOptions,
) -> ServerAnswer:
    """Poll for the result of a deferred run; returns the last envelope where none came in time.

    `run` sends a run with another body. A lost answer is asked for again, since asking starts
    nothing; raises RemoteError where the server refuses.
    """
    started_at = options.read_seconds()
    while (question := build_poll_request(body, answer)) is not None:
        if not options.wait(min(options.interval, options.seconds_left(started_at))):
            break
        try:
            answer = run(question)
        except (RateLimited, RemoteTimeout, ServerFault, Unreachable):
            continue
    return answer


def read_job(api: JobCalls, job_id: str) -> Job:
    """Read a job; raises RemoteError, also for an answer that is no job."""
    try:
        return parse_job(api.get_job(job_id))
    except ValueError as problem:
        raise RemoteError(f"GET jobs/{job_id}/: {problem}") from None
