"""How a job's log is followed, so that each line is shown once although connections break.

Where the server can stream a log (tail), it is streamed; else the whole log is read again and
again. Servers cannot resume a tail, so after each connection the whole log is read as well, which
fills the gap of the break (new_lines.py finds what is new). Memory does not grow with the length of
the log.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from typing import Any, cast

from synapse_apply.applying.logs.following import FollowOptions, read_job, wait_unless_stopped
from synapse_apply.applying.logs.new_lines import LogListing, LogTail, ShownLines
from synapse_apply.model.command import Command, Text
from synapse_apply.model.errors import (
    NotFound,
    RateLimited,
    RemoteError,
    RemoteTimeout,
    ServerFault,
    Unauthorized,
    Unreachable,
)
from synapse_apply.model.frozen import frozen
from synapse_apply.model.job import Job
from synapse_apply.model.ports import JobCalls
from synapse_apply.model.remote.log_lines import LogLine, iter_log_lines, iter_tail_frame_lines

TRANSIENT_ERRORS = (Unreachable, RemoteTimeout, RateLimited, ServerFault)
MAX_FAILURES = 8  # in a row, each after the client's own retries
MAX_BREAKS = 5  # connections of the tail in a row that brought no line
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
        self._deadline = (
            None if options.timeout is None else options.read_seconds() + options.timeout
        )
        self._job_read_at = self._list_read_at = 0.0
        self._failures = 0
        self._lines_heard = 0
        self._breaks = 0
        self._uses_tail = True
        self._has_list = True
        self._is_following = False
        self._has_gap = False
        self._last_note = ""

    def show_current_log(self) -> None:
        """Show the log as it is now; a reading that breaks off continues where it broke.

        Raises RemoteError once that failed too often.
        """
        self._show_existing_lines_as_limited()
        self._show_whole_list_with_retries()

    def follow_log(self) -> Job:
        """Show the log until the job ends, a timeout or a stop; returns the job as seen last.

        Raises RemoteError where the job cannot be read at first, and once calls failed too often.
        """
        job = self._read_job_status()
        self._is_following = True
        self._show_existing_lines_as_limited()
        while not job.status.has_ended and not self._should_end():
            if self._uses_tail:
                self._follow_tail_over_one_connection()
            elif self._try_with_backoff(self._show_new_lines_of_list):
                self._wait_within_interval_and_timeout(self._options.interval)
            if not self._job.status.has_ended:
                self._try_with_backoff(self._read_job_status)
            job = self._job
        if job.status.has_ended:
            self._show_whole_list_with_retries()
        self._note_missed_lines_if_any()
        return job

    def _show_existing_lines_as_limited(self) -> None:
        """Show only the last lines that exist so far, if `last_count` says so."""
        if self._last_count is None:
            return
        last_lines: deque[LogLine] = deque(maxlen=self._last_count)
        self._show_line = last_lines.append
        self._show_whole_list_with_retries()
        self._show_line = self._listener.on_line
        for line in last_lines:
            self._show_line(line)

    def _show_whole_list_with_retries(self) -> None:
        while not self._try_with_backoff(self._show_new_lines_of_list):
            pass
        self._note_missed_lines_if_any()

    def _read_job_status(self) -> Job:
        self._job = read_job(self._api, self._job_id)
        self._job_read_at = self._options.read_seconds()
        self._listener.on_job(self._job)
        return self._job

    def _follow_tail_over_one_connection(self) -> None:
        """Stream the log over one connection, until it ends or breaks."""
        self._lines_heard, reason = 0, "it ends at once"
        try:
            if self._read_tail_until_done_or_broken():
                return
        except Unauthorized:
            raise
        except TRANSIENT_ERRORS as failure:
            reason = f"{failure}"
        except RemoteError as failure:
            is_expected = isinstance(failure, NotFound) or failure.status_code == _NO_SUCH_ENDPOINT
            self._stop_using_tail("" if is_expected else f"{failure}")
            return
        self._breaks = 0 if self._lines_heard else self._breaks + 1
        if self._breaks >= MAX_BREAKS:
            self._stop_using_tail(reason)
        else:
            self._wait_within_interval_and_timeout(_FIRST_WAIT * 2**self._breaks)

    def _stop_using_tail(self, reason: str) -> None:
        """Read the list from now on; without a reason no message is shown."""
        self._uses_tail = False
        if reason:
            self._listener.on_note(
                f"The log cannot be listened to ({reason.removesuffix('.')}); it is read anew "
                f"every "
                f"{self._options.interval:g} s instead."
            )

    def _read_tail_until_done_or_broken(self) -> bool:
        """Show lines of one connection; True where the log is complete or following shall end."""
        tail: LogTail | None = None
        frames = self._api.tail_job_console_logs(
            self._job_id, max_seconds=self._remaining_seconds()
        )
        with closing(cast("Generator[Mapping[str, Any]]", frames)):
            for frame in frames:
                kind = str(frame.get("type"))
                if tail is None:
                    # All that was written before the first frame is in the list by now.
                    self._show_new_lines_of_list()
                    tail = LogTail(self._shown_lines, has_list=self._has_list)
                if kind == "log":
                    for line in iter_tail_frame_lines(frame):
                        if tail.is_new_line(line):
                            self._show_new_line(line)
                            self._lines_heard += 1
                elif kind == "complete":
                    self._uses_tail = False
                    return True
                elif kind == "error":
                    self._note_stream_error(frame)
                    return False
                if tail.is_in_doubt and (not tail.was_list_read or self._may_read_list()):
                    self._show_new_lines_of_list()
                    tail.resolve_doubt()
                if self._should_end() or self._has_job_ended_long_enough(kind):
                    return True
        return False

    def _may_read_list(self) -> bool:
        """Whether enough time has passed since the list was last read.

        A log with repeated lines is in doubt often, and must not be read again at each line.
        """
        return self._options.read_seconds() - self._list_read_at >= self._options.interval

    def _has_job_ended_long_enough(self, kind: str) -> bool:
        """Whether the job ended so long ago that its tail must be over, even unannounced."""
        since = self._options.read_seconds() - self._job_read_at
        if self._job.status.has_ended:
            return kind == "heartbeat" or since > self._options.interval
        if since >= self._options.interval:
            self._read_job_status()
        return False

    def _note_stream_error(self, frame: Mapping[str, Any]) -> None:
        message = str(frame.get("message") or "no reason given")
        self._note_unless_repeated(
            f"The log stream ended with an error: {message}.".replace("..", ".")
        )

    def _note_unless_repeated(self, text: str) -> None:
        """Show a message unless it is the last one; each connection may end in the same way."""
        if text != self._last_note:
            self._listener.on_note(text)
        self._last_note = text

    def _show_new_lines_of_list(self) -> None:
        """Read the whole list, and show the lines that are new."""
        if not self._has_list:
            return
        listing = LogListing(self._shown_lines)
        try:
            for entry in self._api.iterate_job_console_logs(self._job_id):
                for line in iter_log_lines(entry):
                    if listing.is_new_line(line):
                        self._show_new_line(line)
        except NotFound:
            if not self._is_following:
                read_job(self._api, self._job_id)  # raises NotFound where the job itself is missing
                self._note_unless_repeated(f"The server has no log of job {self._job_id} yet.")
        except RemoteError as failure:
            if failure.status_code != _NO_SUCH_ENDPOINT:
                raise
            self._has_list = False
        self._has_gap = self._has_gap or listing.has_gap
        self._list_read_at = self._options.read_seconds()

    def _show_new_line(self, line: LogLine) -> None:
        self._shown_lines.add_line(line)
        self._show_line(line)

    def _try_with_backoff(self, action: Callable[[], object]) -> bool:
        """Whether an action succeeded; after a transient failure, waits and returns False."""
        try:
            action()
        except TRANSIENT_ERRORS as failure:
            self._failures += 1
            if self._failures > MAX_FAILURES or self._should_end():
                raise
            retry_after = getattr(failure, "retry_after", None) or 0.0
            self._wait_within_interval_and_timeout(
                max(retry_after, _FIRST_WAIT * 2**self._failures)
            )
            return False
        self._failures = 0
        return True

    def _wait_within_interval_and_timeout(self, seconds: float) -> None:
        remaining = self._remaining_seconds()
        max_seconds = (
            self._options.interval if remaining is None else min(self._options.interval, remaining)
        )
        wait_unless_stopped(min(seconds, max_seconds), self._options)

    def _remaining_seconds(self) -> float | None:
        return (
            None
            if self._deadline is None
            else max(self._deadline - self._options.read_seconds(), 0.0)
        )

    def _should_end(self) -> bool:
        return self._options.should_stop() or self._remaining_seconds() == 0.0

    def _note_missed_lines_if_any(self) -> None:
        if self._has_gap:
            self._listener.on_note(
                Text(
                    "Some lines are missing above: the server listed them too late. ",
                    Command("jobs logs", self._job_id),
                    " prints all of them.",
                )
            )
            self._has_gap = False
