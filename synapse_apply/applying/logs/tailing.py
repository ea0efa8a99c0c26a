"""How a job's log is followed: its list is read again and again, and each line shown once.

Every second at first, and more seldom as the log grows (`ListPace`), since each reading is of the
whole list; new_lines.py finds what is new. Memory does not grow with the length of the log.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from synapse_apply.applying.logs.following import (
    FollowOptions,
    read_job,
    wait_and_tell_if_not_stopped,
)
from synapse_apply.applying.logs.new_lines import LogListing, ShownLines
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
from synapse_apply.model.job import Job
from synapse_apply.model.remote.log_lines import LogLine, iter_log_lines

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
        self._shown_lines = ShownLines()
        self._started_at = self._job_read_at = options.read_seconds()
        self._deadline = None if options.timeout is None else self._started_at + options.timeout
        self._failures: Counter[Callable[[], object]] = Counter()
        self._has_list = True
        self._is_following = False
        self._has_gap = False
        self._is_list_too_short = False
        self._last_note = ""

    def show_current_log(self) -> None:
        """Show the log as it is now; a reading that breaks off continues where it broke.

        Raises RemoteError once that failed too often.
        """
        self._show_last_existing_lines_if_limited()
        self._show_new_lines_retrying_until_read()

    def follow_log(self) -> Job:
        """Show the log until the job ends, a timeout or a stop; returns the job as seen last.

        Raises RemoteError where the job cannot be read at first, and once calls failed too often.
        """
        job = self._read_job_and_notify_listener()
        self._is_following = True
        next_list_at = self._options.read_seconds()
        if self._last_count is not None:
            self._show_last_existing_lines_if_limited()
            next_list_at = self._compute_next_list_read_time()
        while not job.status.has_ended and not self._is_stopped_or_timed_out():
            if (
                next_list_at <= self._options.read_seconds()
                and self._try_once_and_wait_after_transient_failure(
                    self._show_new_lines_or_note_missing_log
                )
            ):
                next_list_at = self._compute_next_list_read_time()
            next_job_at = self._compute_next_job_read_time()
            self._wait_within_interval_and_timeout(
                min(next_list_at, next_job_at) - self._options.read_seconds()
            )
            if next_job_at <= self._options.read_seconds():
                self._try_once_and_wait_after_transient_failure(self._read_job_and_notify_listener)
            job = self._job
        if job.status.has_ended:
            self._show_new_lines_retrying_until_read()
        self._note_missed_lines_if_any()
        return job

    def _show_last_existing_lines_if_limited(self) -> None:
        """Show only the last lines that exist so far, if `last_count` says so."""
        if self._last_count is None:
            return
        last_lines: deque[LogLine] = deque(maxlen=self._last_count)
        self._show_line = last_lines.append
        self._show_new_lines_retrying_until_read()
        self._show_line = self._listener.on_line
        for line in last_lines:
            self._show_line(line)

    def _show_new_lines_retrying_until_read(self) -> None:
        while not self._try_once_and_wait_after_transient_failure(
            self._show_new_lines_or_note_missing_log
        ):
            pass
        self._note_missed_lines_if_any()

    def _read_job_and_notify_listener(self) -> Job:
        self._job = read_job(self._api, self._job_id)
        self._job_read_at = self._options.read_seconds()
        self._listener.on_job(self._job)
        return self._job

    def _compute_next_job_read_time(self) -> float:
        """When the job is to be read again: sooner than `interval` in its first seconds.

        So the end of a short job is noticed soon, for a handful of requests.
        """
        pause = max(self._options.list_pace.min_pause, (self._job_read_at - self._started_at) / 2)
        return self._job_read_at + min(pause, self._options.interval)

    def _compute_next_list_read_time(self) -> float:
        """When the list is to be read again, on the clock of `read_seconds`."""
        pause = self._options.list_pace.compute_pause(self._shown_lines.count)
        return self._options.read_seconds() + pause

    def _note_unless_repeated(self, text: str) -> None:
        """Show a message unless it is the last one; each reading may end in the same way."""
        if text != self._last_note:
            self._listener.on_note(text)
        self._last_note = text

    def _show_new_lines_or_note_missing_log(self) -> None:
        """Read the whole list, and show the lines that are new."""
        if not self._has_list:
            return
        listing = LogListing(self._shown_lines)
        try:
            for entry in self._api.iterate_job_console_logs(self._job_id):
                for line in iter_log_lines(entry):
                    if listing.advance_and_tell_if_new(line):
                        self._show_new_line(line)
            # The last reading decides: a list that is complete again has lost nothing.
            self._is_list_too_short = listing.has_fewer_lines_than_shown
        except NotFound:
            if not self._is_following:
                read_job(self._api, self._job_id)  # raises NotFound where the job itself is missing
                self._note_unless_repeated(f"The server has no log of job {self._job_id} yet.")
        except RemoteError as failure:
            if failure.status_code != _NO_SUCH_ENDPOINT:
                raise
            self._has_list = False
            self._note_unless_repeated("This server does not show the logs of jobs.")
        self._has_gap = self._has_gap or listing.has_gap

    def _show_new_line(self, line: LogLine) -> None:
        self._shown_lines.add_line(line)
        self._show_line(line)

    def _try_once_and_wait_after_transient_failure(self, action: Callable[[], object]) -> bool:
        """Whether an action succeeded; after a transient failure, waits and returns False."""
        try:
            action()
        except TRANSIENT_ERRORS as failure:
            self._failures[action] += 1
            if self._failures[action] > MAX_FAILURES or self._is_stopped_or_timed_out():
                raise
            retry_after = getattr(failure, "retry_after", None) or 0.0
            self._wait_within_interval_and_timeout(
                max(retry_after, _FIRST_WAIT * 2 ** self._failures[action])
            )
            return False
        self._failures[action] = 0
        return True

    def _wait_within_interval_and_timeout(self, seconds: float) -> None:
        remaining = self._compute_remaining_seconds_or_none()
        max_seconds = (
            self._options.interval if remaining is None else min(self._options.interval, remaining)
        )
        wait_and_tell_if_not_stopped(min(seconds, max_seconds), self._options)

    def _compute_remaining_seconds_or_none(self) -> float | None:
        return (
            None
            if self._deadline is None
            else max(self._deadline - self._options.read_seconds(), 0.0)
        )

    def _is_stopped_or_timed_out(self) -> bool:
        return self._options.should_stop() or self._compute_remaining_seconds_or_none() == 0.0

    def _note_missed_lines_if_any(self) -> None:
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
