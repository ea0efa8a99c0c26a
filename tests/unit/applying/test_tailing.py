"""A followed log: each line once and in order, whatever breaks and wherever a tail begins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.applying.job_server import (
    JobServer,
    NotFound,
    ServerFault,
    Told,
    Unreachable,
    follow,
    tailer,
)

from synapse_apply.applying.logs.new_lines import LogTail, ShownLines
from synapse_apply.model.errors import Forbidden, Unauthorized
from synapse_apply.model.job import JobStatus
from synapse_apply.model.remote.log_lines import LogLine

STEPS = [f"step {number}" for number in range(1, 41)]
BEGINS = ["start", "now", 3]


TIMES = [
    "2026-01-01T00:00:{:02d}.123Z ",
    "[2026-01-01 00:00:{:02d}] ",
    "2026-01-01 00:00:{:02d},5: ",
]


@pytest.mark.parametrize("time", TIMES)
@settings(max_examples=40, deadline=None)
@given(
    begins=st.sampled_from(["start", "now", 4]),
    cuts=st.lists(st.integers(0, 30), max_size=10),
    step=st.integers(1, 9),
    own_time=st.booleans(),
)
def test_a_list_whose_texts_begin_with_their_time(
    time: str, begins: Any, cuts: list[int], step: int, own_time: bool
) -> None:
    """As the vendor's lists do, whose tails have the text alone; it may begin with a time itself."""
    plain = [f"2020-02-02 02:02:02 {line}" if own_time else line for line in STEPS]
    pairs = {time.format(number) + line: line for number, line in enumerate(plain)}
    server = JobServer(list(pairs), begins, cuts, step, tail_entry=lambda line: pairs[line])
    _, told = follow(server)
    assert [pairs.get(line, line) for line in told.messages] == plain
    assert not any("missing" in note for note in told.notes)


def timed(lines: list[str]) -> list[dict[str, str]]:
    return [
        {"timestamp": f"2026-01-01T00:00:{number:02d}Z", "level": "info", "message": line}
        for number, line in enumerate(lines)
    ]


@pytest.mark.parametrize("begins", BEGINS)
@pytest.mark.parametrize("entries", [STEPS, timed(STEPS)], ids=["texts", "objects"])
def test_ten_cuts_lose_and_repeat_nothing(begins: Any, entries: Any) -> None:
    """Wherever the tail begins again, each line is shown once, and the job is seen to end."""
    server = JobServer(entries, begins, cuts=[2, 5, 1, 9, 4, 3, 14, 2, 30, 20])
    job, told = follow(server)
    assert told.messages == STEPS
    assert job.status is JobStatus.COMPLETED


@pytest.mark.parametrize("begins", BEGINS)
@pytest.mark.parametrize("entries", [STEPS, timed(STEPS)], ids=["texts", "objects"])
def test_lines_are_shown_when_they_are_written(begins: Any, entries: Any) -> None:
    """Also after a break: no line waits for the end of the job."""
    server = JobServer(entries, begins, cuts=[5, 15])
    late = []
    told = Told()
    one, _ = tailer(server, told)
    one._show_line = lambda line: (
        told.lines.append(line),
        late.append(server.written - len(told.lines)),
    )
    one.follow_log()
    assert told.messages == STEPS
    assert max(late) <= 3
    assert server.asked.count("list") <= 8


def test_a_log_of_one_line_again_and_again() -> None:
    """Nobody can tell its lines apart, so the list is asked, at each interval and not at each line."""
    server = JobServer(["tick"] * 1000, "now", cuts=[3])
    told = Told()
    one, time = tailer(server, told, timeout=120)
    server.passes = lambda: time.pause(1.0)
    job = one.follow_log()
    assert job.status is JobStatus.RUNNING
    assert server.written - 10 <= len(told.lines) <= server.written
    assert server.asked.count("list") <= 120 / 5 + 5


@settings(max_examples=300, deadline=None)
@given(
    lines=st.lists(st.sampled_from(["tick", "tock", "loss 0.5", "done"]), max_size=40),
    begins=st.sampled_from(["start", "now", 1, 5]),
    cuts=st.lists(st.integers(0, 12), max_size=10),
    step=st.integers(1, 7),
    written=st.integers(0, 20),
    complete=st.booleans(),
)
def test_logs_that_repeat_themselves(
    lines: list[str], begins: Any, cuts: list[int], step: int, written: int, complete: bool
) -> None:
    """Lines that are alike are never taken for one another."""
    server = JobServer(
        lines, begins, cuts, step, written=min(written, len(lines)), says_complete=complete
    )
    _, told = follow(server)
    assert told.messages == lines


@settings(max_examples=100, deadline=None)
@given(
    begins=st.sampled_from(["start", "now", 4]),
    cuts=st.lists(st.integers(0, 30), max_size=10),
    step=st.integers(1, 9),
)
def test_a_tail_without_the_times_of_the_list(begins: Any, cuts: list[int], step: int) -> None:
    """Its lines are known again by their text."""
    server = JobServer(timed(STEPS), begins, cuts, step, tail_entry=lambda entry: entry["message"])
    _, told = follow(server)
    assert told.messages == STEPS


def test_without_a_tail_the_list_is_read_again_and_again() -> None:
    """405: no word about it, the same lines."""
    server = JobServer(STEPS, has_tail=False, step=7)
    _, told = follow(server)
    assert (told.messages, told.notes) == (STEPS, [])
    assert server.asked.count("tail") == 1


@pytest.mark.parametrize("begins", BEGINS)
def test_without_a_list_the_tail_is_all(begins: Any) -> None:
    """Lines that came before it are not to be had; none comes twice."""
    server = JobServer(timed(STEPS), begins, cuts=[4, 6], has_list=False)
    _, told = follow(server)
    assert len(set(told.messages)) == len(told.messages)
    assert told.messages[-1] == STEPS[-1]


def test_a_list_that_breaks_off_is_taken_up_where_it_broke() -> None:
    """Without following, too."""
    server = JobServer(STEPS, written=40, list_fails=[Unreachable("cut"), ServerFault("503")])
    told = Told()
    tailer(server, told)[0].show_current_log()
    assert told.messages == STEPS


def test_only_the_last_lines_and_what_follows() -> None:
    """`last` counts the lines there are at first."""
    server = JobServer(STEPS, written=20, step=1, cuts=[3, 30])
    _, told = follow(server, last=2)
    first = STEPS.index(told.messages[0])
    assert told.messages == STEPS[first:]
    assert 18 <= first <= 22
    ended = JobServer(STEPS, written=40)
    assert follow(ended, last=2)[1].messages == STEPS[-2:]
    assert follow(JobServer(STEPS, written=40), last=0)[1].messages == []


def test_a_tail_that_keeps_failing_is_given_up_and_said_so() -> None:
    """The list takes its place; the reason is told once."""
    server = JobServer(STEPS, tail_fails=[ServerFault("GET x: 503.")] * 9, step=1)
    _, told = follow(server)
    assert told.messages == STEPS
    assert told.notes == [
        "The log cannot be listened to (GET x: 503); it is read anew every 5 s instead."
    ]
    assert server.asked.count("tail") == 5


def test_a_tail_that_is_not_allowed_is_not_asked_again() -> None:
    """403 on the tail alone: the list is read."""
    server = JobServer(STEPS, tail_fails=[Forbidden("GET x: 403", status_code=403)], step=9)
    _, told = follow(server)
    assert (told.messages, len(told.notes)) == (STEPS, 1)


def test_a_server_that_is_away_for_a_while() -> None:
    """Failed looks are tried again, with growing waits."""
    server = JobServer(STEPS, has_tail=False, step=5)
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
    server = JobServer(STEPS, has_tail=False, step=1)
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
        follow(JobServer(STEPS, tail_fails=[Unauthorized("401", status_code=401)]))


def test_time_that_is_up() -> None:
    """The job goes on; what was seen of it last is the answer."""
    server = JobServer(STEPS, has_tail=False, step=1)
    job, told = follow(server, timeout=11)
    assert job.status is JobStatus.RUNNING
    assert told.messages == STEPS[: len(told.messages)]


def test_an_error_frame_is_told() -> None:
    """In the server's words; the lines come all the same."""

    class Refusing(JobServer):
        def tail_job_console_logs(self, pk: Any, *, max_seconds: Any = None) -> Any:
            self.asked.append("tail")
            yield {"type": "error", "message": "agent is away"}

    server = Refusing(STEPS, step=3)
    _, told = follow(server)
    assert told.messages == STEPS
    assert told.notes[0] == "The log stream ended with an error: agent is away."
    assert sum("agent is away" in note for note in told.notes) == 1


def test_a_list_that_comes_late_is_told() -> None:
    """Lines nobody saw in time are not shown out of order, and nothing is shown twice."""

    class Late(JobServer):
        def iterate_job_console_logs(self, pk: Any) -> Any:
            behind = 0 if self.written >= len(self.lines) else 4
            return iter(self.lines[: max(self.written - behind, 0)])

    server = Late(timed(STEPS), "now", cuts=[3, 3, 3], step=2)
    _, told = follow(server)
    assert len(set(told.messages)) == len(told.messages)
    assert told.messages == sorted(told.messages, key=STEPS.index)
    assert "`synapse-apply jobs logs 7` prints all of them" in told.notes[-1]


def test_a_tail_cannot_bring_more_than_the_list_has() -> None:
    """A line that the list does not have a second time is the one that was shown."""
    known = ShownLines()
    for line in ("a", "b", "c"):
        known.add_line(LogLine(line))
    tail = LogTail(known, has_list=True)
    assert not tail.is_new_line(LogLine("a"))
    assert (tail.is_in_doubt, tail.is_start_known) == (True, False)
    tail.resolve_doubt()
    assert (tail.is_in_doubt, tail.is_start_known) == (False, True)
    assert [tail.is_new_line(LogLine(line)) for line in ("b", "c", "d")] == [False, False, True]


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
    """Nothing is lost by its being 404 at first, with a tail or without."""
    for has_tail in (True, False):
        job, told = follow(_Unwritten(STEPS, has_tail=has_tail))
        assert job.status.has_ended
        assert told.messages == STEPS


def test_the_last_lines_of_a_job_without_a_log() -> None:
    """None, and no error."""
    told = Told()
    tailer(_Unwritten(STEPS, never=True), told, last=3)[0].show_current_log()
    assert (told.lines, len(told.notes)) == ([], 1)
