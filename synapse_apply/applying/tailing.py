"""Follows the log of a job: each line once and in order, however often the connection breaks.

Where the server has a tail it is listened to; elsewhere the whole log is read again and again.
Servers cannot resume a tail, so after each connection the whole log is read too, which closes the
gap that the break left, and the tail is laid over it (seam.py). Memory stays the same however long
the log is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from typing import Any, cast

from synapse_apply.applying.following import Pace, look, wait
from synapse_apply.applying.seam import Known, Listing, Tail
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
from synapse_apply.model.logs import LogLine, lines_of, lines_of_frame
from synapse_apply.model.ports import JobCalls

PASSING = (Unreachable, RemoteTimeout, RateLimited, ServerFault)
MOST_FAILURES = 8  # in a row, each after the client's own repeats
MOST_BREAKS = 5  # connections of the tail in a row that brought nothing
_FIRST_WAIT = 0.25
_NO_SUCH_ENDPOINT = 405


@frozen
class Watcher:
    """Who is told: of each line, of each look at the job, and in words of what is out of order."""

    line: Callable[[LogLine], None]
    look: Callable[[Job], None]
    note: Callable[[str], None]


class Tailer:
    """One job's log, shown to a watcher."""

    def __init__(
        self, api: JobCalls, job_id: str, pace: Pace, watcher: Watcher, last: int | None = None
    ) -> None:
        """Nothing is asked for yet. `last`: of the lines there are at first, only so many."""
        self._api = api
        self._id = job_id
        self._pace = pace
        self._watcher = watcher
        self._show = watcher.line
        self._last = last
        self._known = Known()
        self._until = None if pace.timeout is None else pace.seconds() + pace.timeout
        self._looked = self._asked = 0.0
        self._failures = 0
        self._heard = 0
        self._breaks = 0
        self._tails = True
        self._listed = True
        self._follows = False
        self._gap = False
        self._last_note = ""

    def show(self) -> None:
        """The log as it is now; a reading that breaks off is taken up where it broke.

        RemoteError once that failed too often.
        """
        self._begin()
        self._catch_up()

    def follow(self) -> Job:
        """The log until the job ends, the time is up or a stop was asked for; the job as last seen.

        RemoteError when the job cannot be read at first, and once calls failed too often.
        """
        job = self._look()
        self._follows = True
        self._begin()
        while not job.status.ended and not self._over():
            if self._tails:
                self._listen()
            elif self._tried(self._read):
                self._pause(self._pace.interval)
            if not self._job.status.ended:
                self._tried(self._look)
            job = self._job
        if job.status.ended:
            self._catch_up()
        self._tell_gap()
        return job

    def _begin(self) -> None:
        """Pass over all but the last lines there are, where that was asked for."""
        if self._last is None:
            return
        kept: deque[LogLine] = deque(maxlen=self._last)
        self._show = kept.append
        self._catch_up()
        self._show = self._watcher.line
        for line in kept:
            self._show(line)

    def _catch_up(self) -> None:
        while not self._tried(self._read):
            pass
        self._tell_gap()

    def _look(self) -> Job:
        self._job = look(self._api, self._id)
        self._looked = self._pace.seconds()
        self._watcher.look(self._job)
        return self._job

    def _listen(self) -> None:
        """One connection of the tail, until it ends or breaks."""
        self._heard, why = 0, "it ends at once"
        try:
            if self._hear():
                return
        except Unauthorized:
            raise
        except PASSING as failure:
            why = f"{failure}"
        except RemoteError as failure:
            quiet = isinstance(failure, NotFound) or failure.status_code == _NO_SUCH_ENDPOINT
            self._give_up("" if quiet else f"{failure}")
            return
        self._breaks = 0 if self._heard else self._breaks + 1
        if self._breaks >= MOST_BREAKS:
            self._give_up(why)
        else:
            self._pause(_FIRST_WAIT * 2**self._breaks)

    def _give_up(self, why: str) -> None:
        """Read the list from now on; without a reason it is just what this server can do."""
        self._tails = False
        if why:
            self._watcher.note(
                f"The log cannot be listened to ({why.removesuffix('.')}); it is read anew every "
                f"{self._pace.interval:g} s instead."
            )

    def _hear(self) -> bool:
        """Whether there is nothing more to listen to: the log is complete, or nobody wants it."""
        tail: Tail | None = None
        frames = self._api.tail_job_console_logs(self._id, longest=self._left())
        with closing(cast("Generator[Mapping[str, Any]]", frames)):
            for frame in frames:
                kind = str(frame.get("type"))
                if tail is None:
                    # Whatever was written before this frame is in the list by now.
                    self._read()
                    tail = Tail(self._known, has_list=self._listed)
                if kind == "log":
                    for line in lines_of_frame(frame):
                        if tail.is_new(line):
                            self._take(line)
                            self._heard += 1
                elif kind == "complete":
                    self._tails = False
                    return True
                elif kind == "error":
                    self._refused(frame)
                    return False
                if tail.doubt and (not tail.asked_once or self._may_ask()):
                    self._read()
                    tail.asked()
                if self._over() or self._has_ended(kind):
                    return True
        return False

    def _may_ask(self) -> bool:
        """A log that repeats itself keeps its tail in doubt; it must not be read at every line."""
        return self._pace.seconds() - self._asked >= self._pace.interval

    def _has_ended(self, kind: str) -> bool:
        """Whether the job ended and its tail, which may not say so, had its time to end."""
        since = self._pace.seconds() - self._looked
        if self._job.status.ended:
            return kind == "heartbeat" or since > self._pace.interval
        if since >= self._pace.interval:
            self._look()
        return False

    def _refused(self, frame: Mapping[str, Any]) -> None:
        words = str(frame.get("message") or "no reason given")
        self._note_once(f"The log stream ended with an error: {words}.".replace("..", "."))

    def _note_once(self, text: str) -> None:
        """Each connection may end in the same way."""
        if text != self._last_note:
            self._watcher.note(text)
        self._last_note = text

    def _read(self) -> None:
        """The whole log as the server lists it now; only what is new is shown."""
        if not self._listed:
            return
        listing = Listing(self._known)
        try:
            for entry in self._api.iterate_job_console_logs(self._id):
                for line in lines_of(entry):
                    if listing.is_new(line):
                        self._take(line)
        except NotFound:
            if not self._follows:
                look(self._api, self._id)  # NotFound where it is the job that is not there
                self._note_once(f"The server has no log of job {self._id} yet.")
        except RemoteError as failure:
            if failure.status_code != _NO_SUCH_ENDPOINT:
                raise
            self._listed = False
        self._gap = self._gap or listing.gap
        self._asked = self._pace.seconds()

    def _take(self, line: LogLine) -> None:
        self._known.add(line)
        self._show(line)

    def _tried(self, step: Callable[[], object]) -> bool:
        """Whether a step went well; after a failure that may pass it has waited a little."""
        try:
            step()
        except PASSING as failure:
            self._failures += 1
            if self._failures > MOST_FAILURES or self._over():
                raise
            asked = getattr(failure, "retry_after", None) or 0.0
            self._pause(max(asked, _FIRST_WAIT * 2**self._failures))
            return False
        self._failures = 0
        return True

    def _pause(self, seconds: float) -> None:
        left = self._left()
        most = self._pace.interval if left is None else min(self._pace.interval, left)
        wait(min(seconds, most), self._pace)

    def _left(self) -> float | None:
        return None if self._until is None else max(self._until - self._pace.seconds(), 0.0)

    def _over(self) -> bool:
        return self._pace.stop() or self._left() == 0.0

    def _tell_gap(self) -> None:
        if self._gap:
            self._watcher.note(
                "Some lines are missing above: the server listed them too late. "
                f"`synapse-apply jobs logs {self._id}` prints all of them."
            )
            self._gap = False
