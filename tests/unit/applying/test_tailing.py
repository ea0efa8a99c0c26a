"""A followed log: each line once and in order, whatever breaks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws.effort import effort
from unit.applying.job_server import (
    JobServer,
    NotFound,
    ServerFault,
    Told,
    Unreachable,
    follow,
    tailer,
)

from synapse_apply.applying.logs import ListPace
from synapse_apply.model.errors import Unauthorized
from synapse_apply.model.job import JobStatus

STEPS = [f"step {number}" for number in range(1, 41)]


def timed(lines: list[str]) -> list[dict[str, str]]:
    return [
        {"timestamp": f"2026-01-01T00:00:{number:02d}Z", "level": "info", "message": line}
        for number, line in enumerate(lines)
    ]


@effort(50, 2000)
@given(
    lines=st.lists(st.sampled_from(["tick", "tock", "loss 0.5", "done"]), max_size=40),
    step=st.integers(1, 7),
    written=st.integers(0, 20),
)
def test_logs_that_repeat_themselves(lines: list[str], step: int, written: int) -> None:
    """Lines that are alike are never taken for one another."""
    _, told = follow(JobServer(lines, step=step, written=min(written, len(lines))))
    assert told.messages == lines


@pytest.mark.parametrize("entries", [STEPS, timed(STEPS)], ids=["texts", "objects"])
def test_lines_are_shown_within_a_second(entries: Any) -> None:
    """At first; the job is read at its own interval, but for a few times at the beginning."""
    server, told = JobServer(entries, step=2), Told()
    one, time = tailer(server, told)
    assert one.follow_log().status is JobStatus.COMPLETED
    assert told.messages == STEPS
    assert max(time.waits) <= 1.0
    assert server.asked.count("job") <= time.now / 5 + 5


@pytest.mark.parametrize("last", [None, 5])
def test_a_log_that_grows_as_fast_as_it_is_read_ends_with_the_timeout(last: int | None) -> None:
    """Also while the last lines are looked for, before the first one is shown."""

    class Endless(JobServer):
        def iterate_job_console_logs(self, pk: Any) -> Iterator[Any]:
            for number in itertools.count():
                time.now += 0.01
                yield f"step {number}"

    told = Told()
    one, time = tailer(Endless(STEPS, step=0), told, timeout=5, last=last)
    assert one.follow_log().status is JobStatus.RUNNING
    assert time.now < 10
    assert told.messages[-1] in {"step 498", "step 499", "step 500"}


def test_the_end_of_a_short_job_is_noticed_soon() -> None:
    """Within a second or two, although a job is read every five seconds later."""
    told = Told()
    one, time = tailer(JobServer(STEPS, step=20), told)
    assert one.follow_log().status is JobStatus.COMPLETED
    assert told.messages == STEPS
    assert time.now <= 2


def test_a_job_that_ends_between_two_readings_of_its_log() -> None:
    """What it wrote last is read once it has ended."""

    class Ending(JobServer):
        def iterate_job_console_logs(self, pk: Any) -> Iterator[Any]:
            return iter(self.lines[: self.written])

    job, told = follow(Ending(STEPS, step=1), list_pace=ListPace(60.0, 60.0))
    assert job.status.has_ended
    assert told.messages == STEPS


def test_a_job_that_cannot_be_read_ends_it_although_its_log_can() -> None:
    """Each is counted for itself: a log that is there does not hide a job that is not."""

    class Failing(JobServer):
        def get_job(self, pk: Any, params: Any = None) -> dict[str, Any]:
            if self.written:
                raise ServerFault("503")
            return super().get_job(pk, params)

    one, time = tailer(Failing(["tick"] * 1000, step=1), Told())
    with pytest.raises(ServerFault):
        one.follow_log()
    assert time.now < 120


def test_a_stop_ends_it() -> None:
    """The job as it was read last is the answer, and nothing is asked any more."""
    server, told = JobServer(STEPS, step=1), Told()
    one, _ = tailer(server, told, should_stop=lambda: len(told.lines) >= 5)
    assert one.follow_log().status is JobStatus.RUNNING
    assert told.messages == STEPS[: len(told.messages)]
    assert len(told.messages) < 10


def test_a_server_without_a_list_is_told_once() -> None:
    """405: the job is followed to its end, and the list is not asked for again."""
    server = JobServer(STEPS, step=5, has_list=False)
    job, told = follow(server)
    assert job.status is JobStatus.COMPLETED
    assert told.notes == ["This server does not return the logs of jobs."]
    assert (told.lines, server.asked.count("list")) == ([], 1)


def test_a_long_log_is_read_more_seldom() -> None:
    """Each reading is of the whole list: of a long one there are few."""
    server, told = JobServer(["tick"] * 100_000, written=20_000, step=1), Told()
    one, _ = tailer(server, told, timeout=300)
    assert one.follow_log().status is JobStatus.RUNNING
    assert server.asked.count("list") <= 300 / 10 + 1
    assert 20_000 < len(told.lines) <= server.written


def test_a_list_that_breaks_off_is_taken_up_where_it_broke() -> None:
    """Without following, too."""
    server = JobServer(STEPS, written=40, list_fails=[Unreachable("cut"), ServerFault("503")])
    told = Told()
    tailer(server, told)[0].show_current_log()
    assert told.messages == STEPS


def test_only_the_last_lines_and_what_follows() -> None:
    """`last` counts the lines there are at first."""
    server = JobServer(STEPS, written=20, step=1)
    _, told = follow(server, last=2)
    first = STEPS.index(told.messages[0])
    assert told.messages == STEPS[first:]
    assert 18 <= first <= 22
    ended = JobServer(STEPS, written=40)
    assert follow(ended, last=2)[1].messages == STEPS[-2:]
    assert follow(JobServer(STEPS, written=40), last=0)[1].messages == []


def test_a_server_that_is_away_for_a_while() -> None:
    """Failed looks are tried again, with growing waits."""
    server = JobServer(STEPS, step=5)
    told = Told()
    one, time = tailer(server, told)
    server.get_job("7")
    server.job_fails = []
    server.list_fails = [Unreachable("refused")] * 4
    assert one.follow_log().status is JobStatus.COMPLETED
    assert told.messages == STEPS
    assert 0.25 in time.waits


def test_a_server_that_stays_away_ends_it() -> None:
    """After so many failures in a row the last one is the answer."""
    server = JobServer(STEPS, step=1)
    one, _ = tailer(server, Told())
    server.list_fails = [Unreachable("refused")] * 99
    with pytest.raises(Unreachable):
        one.follow_log()


def test_a_job_that_is_not_there_ends_it_at_once() -> None:
    """The first look must go well."""
    server = JobServer(STEPS, job_fails=[NotFound("404", status_code=404)])
    with pytest.raises(NotFound):
        follow(server)
    assert server.asked == ["job"]


def test_a_token_that_ran_out_ends_it() -> None:
    """401 is never waited for."""
    with pytest.raises(Unauthorized):
        follow(JobServer(STEPS, list_fails=[Unauthorized("401", status_code=401)]))


def test_time_that_is_up() -> None:
    """The job goes on; what was seen of it last is the answer."""
    server = JobServer(STEPS, step=1)
    job, told = follow(server, timeout=11)
    assert job.status is JobStatus.RUNNING
    assert told.messages == STEPS[: len(told.messages)]


def test_a_list_that_comes_late_is_told() -> None:
    """Lines nobody saw in time are not shown out of order, and nothing is shown twice."""

    class Late(JobServer):
        def iterate_job_console_logs(self, pk: Any) -> Any:
            self._write()
            missing = 0 if self.written >= len(self.lines) else 2
            return iter(self.lines[missing : self.written])

    _, told = follow(Late(timed(STEPS), step=2))
    assert told.messages == STEPS[2:]
    assert "`synapse-apply jobs logs 7` prints what it lists now" in told.notes[-1]


def test_a_server_that_keeps_only_the_last_lines_is_told() -> None:
    """Lines that it dropped before they were read cannot be had any more: none are promised."""

    class Forgetful(JobServer):
        def iterate_job_console_logs(self, pk: Any) -> Any:
            self._write()
            return iter(self.lines[max(self.written - 5, 0) : self.written])

    _, told = follow(Forgetful(timed(STEPS), step=7))
    assert len(told.messages) < len(STEPS)
    assert told.notes[-1].startswith(
        "Some lines may be missing above: the server no longer lists lines that it listed before"
    )
    assert "all of them" not in told.notes[-1]


@pytest.mark.parametrize("stays_short", [True, False])
def test_a_list_that_becomes_shorter_than_what_was_shown(stays_short: bool) -> None:
    """New lines of such a list cannot be told from old ones. One that is complete again is fine."""

    class Shrinking(JobServer):
        def iterate_job_console_logs(self, pk: Any) -> Any:
            self._write()
            is_short = self.written >= 20 and (stays_short or self.written < 30)
            return iter(self.lines[: 3 if is_short else self.written])

    _, told = follow(Shrinking(timed(STEPS), step=5))
    notes = [note for note in told.notes if note.startswith("Some lines may be missing")]
    assert len(notes) == stays_short
    assert (told.messages == STEPS) is not stays_short


@dataclass
class _Unwritten(JobServer):
    """A server whose log of a job is 404 until something is written; `never`: always."""

    never: bool = False

    def iterate_job_console_logs(self, pk: Any) -> Iterator[Any]:
        if self.never or self.written == 0:
            self.asked.append("list")
            self._write()
            raise NotFound("404: not found", status_code=404)
        yield from super().iterate_job_console_logs(pk)


def test_a_job_that_has_no_log_yet_has_an_empty_one() -> None:
    """404 of the log while the job is there; it is told in words."""
    told = Told()
    server = _Unwritten(STEPS, never=True)
    tailer(server, told)[0].show_current_log()
    assert (told.lines, server.asked) == ([], ["list", "job"])
    assert told.notes == ["The server has no log of job 7 yet."]


def test_a_log_of_no_job_is_an_error() -> None:
    """404 of both."""
    server = _Unwritten(STEPS, never=True, job_fails=[NotFound("404", status_code=404)])
    with pytest.raises(NotFound):
        tailer(server, Told())[0].show_current_log()


def test_a_log_that_comes_later_is_followed() -> None:
    """Nothing is lost by its being 404 at first."""
    job, told = follow(_Unwritten(STEPS))
    assert job.status.has_ended
    assert told.messages == STEPS


def test_the_last_lines_of_a_job_without_a_log() -> None:
    """None, and no error."""
    told = Told()
    tailer(_Unwritten(STEPS, never=True), told, last=3)[0].show_current_log()
    assert (told.lines, len(told.notes)) == ([], 1)
