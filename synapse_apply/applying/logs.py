"""How a job or a deferred result is polled until it ends, and how its log is followed."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

from synapse_apply.kinds.descriptor import JobCalls
from synapse_apply.model.command import Command, Text
from synapse_apply.model.errors import (
    NotFound,
    RateLimited,
    RemoteError,
    RemoteTimeout,
    ServerFault,
    Unreachable,
)
from synapse_apply.model.frozen import frozen
from synapse_apply.model.job import Job, build_poll_request, parse_job
from synapse_apply.model.json_types import RequestBody, ServerAnswer
from synapse_apply.model.remote import LogLine, iter_log_lines

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


# How a job's log is followed: its list is read again and again, and each line shown once.
#
# Every second at first, and more seldom as the log grows (`ListPace`), since each reading is of the
# whole list. Memory does not grow with the length of the log: it only grows, and its list begins
# with the first line, so that the lines that were shown are counted, and as many are skipped; the
# last of them tells whether the server has inserted others before it.

TRANSIENT_ERRORS = (Unreachable, RemoteTimeout, RateLimited, ServerFault)
MAX_FAILURES = 8  # in a row, each after the client's own retries
_FIRST_WAIT = 0.25
_NO_SUCH_ENDPOINT = 405


@frozen
class LogListener:
    """Callbacks for each line, each read of the job, and messages about problems."""

    on_line: Callable[[LogLine], None]
    on_job: Callable[[Job], None]
    on_note: Callable[[str], None]


class LogTailer:
    """Shows one job's log to a listener."""

    def __init__(
        self,
        api: JobCalls,
        job_id: str,
        options: FollowOptions,
        listener: LogListener,
        last_count: int | None = None,
    ) -> None:
        """`last_count` limits how many of the lines that exist at first are shown; None for all."""
        self._api = api
        self._job_id = job_id
        self._options = options
        self._listener = listener
        self._show_line = listener.on_line
        self._last_count = last_count
        # Of the lines that were shown.
        self._count = 0
        self._last_line: LogLine | None = None
        self._started_at = self._job_read_at = options.read_seconds()
        self._failures: Counter[Callable[[], object]] = Counter()
        self._has_list = True
        self._is_following = False
        # Lines before the last known one were new; the last list had fewer lines than were shown.
        self._has_gap = self._is_list_too_short = False
        self._last_note = ""

    def show_current_log(self) -> None:
        """Show the log as it is now; a reading that breaks off continues where it broke.

        Raises RemoteError once that failed too often.
        """
        self._show_last()
        self._show_all_new_lines()

    def follow_log(self) -> Job:
        """Show the log until the job ends, a timeout or a stop; returns the job as seen last.

        Raises RemoteError where the job cannot be read at first, and once calls failed too often.
        """
        options = self._options
        self._read_job()
        self._is_following = True
        # When the list is to be read again.
        next_list_at = options.read_seconds()
        if self._last_count is not None:
            self._show_last()
            next_list_at = options.read_seconds() + options.list_pace.compute_pause(self._count)
        while not self._job.status.has_ended and not self._is_over():
            if next_list_at <= options.read_seconds() and self._try(self._show_new_lines):
                next_list_at = options.read_seconds() + options.list_pace.compute_pause(self._count)
            # Sooner than `interval` in the job's first seconds, so that the end of a short job is
            # noticed soon, for a handful of requests.
            pause = max(options.list_pace.min_pause, (self._job_read_at - self._started_at) / 2)
            next_job_at = self._job_read_at + min(pause, options.interval)
            self._wait(min(next_list_at, next_job_at) - options.read_seconds())
            if next_job_at <= options.read_seconds():
                self._try(self._read_job)
        if self._job.status.has_ended:
            self._show_all_new_lines()
        self._note_missed_lines()
        return self._job

    def _show_last(self) -> None:
        """Show only the last lines that exist so far, if `last_count` says so."""
        if self._last_count is None:
            return
        last_lines: deque[LogLine] = deque(maxlen=self._last_count)
        self._show_line = last_lines.append
        self._show_all_new_lines()
        self._show_line = self._listener.on_line
        for line in last_lines:
            self._show_line(line)

    def _show_all_new_lines(self) -> None:
        while not self._try(self._show_new_lines):
            pass
        self._note_missed_lines()

    def _read_job(self) -> None:
        self._job = read_job(self._api, self._job_id)
        self._job_read_at = self._options.read_seconds()
        self._listener.on_job(self._job)

    def _show_new_lines(self) -> None:
        """Read the whole list, and show the lines that are new."""
        if not self._has_list:
            return
        last_known, number, has_gap = self._count - 1, 0, False
        has_joined = self._count == 0
        last_line = self._last_line
        try:
            for entry in self._api.iterate_job_console_logs(self._job_id):
                # A log may grow as fast as it is read.
                if self._is_following and self._is_over():
                    return
                for line in iter_log_lines(entry):
                    if has_joined:
                        self._count, self._last_line = self._count + 1, line
                        self._show_line(line)
                    elif number >= last_known:
                        # This should be the last known line; if it is not, lines were inserted
                        # before that one.
                        has_joined = line == last_line
                        has_gap = has_gap or not has_joined
                    number += 1
            # The last reading decides: a list that is complete again has lost nothing.
            self._is_list_too_short = not (has_joined or has_gap)
        except NotFound:
            if not self._is_following:
                read_job(self._api, self._job_id)  # raises NotFound where the job itself is missing
                self._note(f"The server has no log of job {self._job_id} yet.")
        except RemoteError as failure:
            if failure.status_code != _NO_SUCH_ENDPOINT:
                raise
            self._has_list = False
            self._note("This server does not return the logs of jobs.")
        self._has_gap = self._has_gap or has_gap

    def _note(self, text: str) -> None:
        """Show a message unless it is the last one; each reading may end in the same way."""
        if text != self._last_note:
            self._listener.on_note(text)
        self._last_note = text

    def _note_missed_lines(self) -> None:
        if self._has_gap or self._is_list_too_short:
            self._listener.on_note(
                Text(
                    "Some lines may be missing above: the server no longer lists lines that it "
                    "listed before, or lists others before them. ",
                    Command("jobs logs", self._job_id),
                    " prints what it lists now.",
                )
            )
            self._has_gap = self._is_list_too_short = False

    def _try(self, action: Callable[[], object]) -> bool:
        """Whether an action succeeded; after a transient failure, waits and returns False."""
        try:
            action()
        except TRANSIENT_ERRORS as failure:
            self._failures[action] += 1
            if self._failures[action] > MAX_FAILURES or self._is_over():
                raise
            retry_after = getattr(failure, "retry_after", None) or 0.0
            self._wait(max(retry_after, _FIRST_WAIT * 2 ** self._failures[action]))
            return False
        self._failures[action] = 0
        return True

    def _wait(self, seconds: float) -> None:
        """Wait so long, at most until the interval or the timeout is over."""
        options = self._options
        options.wait(min(seconds, options.interval, options.seconds_left(self._started_at)))

    def _is_over(self) -> bool:
        options = self._options
        return options.should_stop() or options.seconds_left(self._started_at) <= 0
