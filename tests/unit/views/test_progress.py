"""Progress says what goes on, on a terminal and in a log, and never ends an apply."""

import io
import re
import subprocess
import sys
import time

import pytest

from synapse_apply import SilentProgress
from synapse_apply.model.address import Address
from synapse_apply.model.job import Job, JobStatus
from synapse_apply.views.json.events import EventWriter
from synapse_apply.views.text.progress import (
    LineProgress,
    LiveProgress,
    LogProgress,
    choose_display,
)

YOLO = Address("plugin", "yolo")
RELEASE = Address("release", "yolo@1.2.0")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        if self.closed:
            raise ValueError("closed")
        return True


class Broken(Terminal):
    """A terminal that went away."""

    def write(self, text):
        raise BrokenPipeError


def play(display):
    """One apply with an upload, a failure and an unknown outcome."""
    with display:
        display.report_start(YOLO, "create")
        display.report_end(YOLO, "create", "done", 1.2)
        display.report_start(RELEASE, "create")
        for part in range(11):
            display.report_upload(RELEASE, part * 2_000_000, 20_000_000)
        display.report_end(RELEASE, "create", "failed", 75.0)
        display.report_end(Address("plugin", "a"), "update", "skipped", 0.0)
        display.report_end(Address("plugin", "b"), "delete", "unknown", 30.4)
        display.report_start(RELEASE, "verify")
        for part in (0, 20, 40, 41, 100):
            status = JobStatus.COMPLETED if part == 100 else JobStatus.RUNNING
            display.report_job(RELEASE, Job("12\x1b", status, part))
        display.report_job(RELEASE, Job("12", JobStatus.QUEUED))
        display.report_end(RELEASE, "verify", "passed", 31.0)
        display.report_end(RELEASE, "verify", "timed-out", 300.0)
        display.report_start(YOLO, "try")
        display.report_end(YOLO, "try", "done", 0.2)
        display.report_end(YOLO, "try", "refused", 0.2)
        display.report_upload(Address("plugin", "never started"), 0, 0)
        display.report_start(Address("plugin", "[red]::x\x1b"), "run\x1b")


def test_lines_say_what_begins_and_ends():
    """One line at the start and end of a resource, and at each quarter of an upload."""
    stream = Terminal()
    play(LineProgress(stream))
    assert stream.getvalue().splitlines() == [
        "plugin/yolo: Creating...",
        "plugin/yolo: Creation complete after 1.2s",
        "release/yolo@1.2.0: Creating...",
        "release/yolo@1.2.0: Uploading... 30% of 19.1 MiB",
        "release/yolo@1.2.0: Uploading... 60% of 19.1 MiB",
        "release/yolo@1.2.0: Uploading... 90% of 19.1 MiB",
        "release/yolo@1.2.0: Failed after 1m15s",
        "plugin/a: Skipped",
        "plugin/b: Outcome unknown after 30s",
        "release/yolo@1.2.0: Verifying...",
        "release/yolo@1.2.0: Verifying... job 12\\u001b running, 0%",
        "release/yolo@1.2.0: Verifying... job 12\\u001b running, 40%",
        "release/yolo@1.2.0: Verifying... job 12 queued",
        "release/yolo@1.2.0: Verification passed after 31s",
        "release/yolo@1.2.0: Still running after 5m00s",
        "plugin/yolo: Trying...",
        "plugin/yolo: Dry run complete after 0.2s",
        "plugin/yolo: Refused after 0.2s",
        "plugin/[red]::x\\u001b: Run\\u001b...",
    ]


def test_live_bars_leave_a_line_for_each_that_ended():
    """What stays on the screen are the endings, and no markup of a name is obeyed."""
    stream = Terminal()
    play(LiveProgress(stream))
    shown = stream.getvalue()
    assert "plugin/yolo: Creation complete after 1.2s" in shown
    assert "release/yolo@1.2.0: Failed after 1m15s" in shown


def test_a_bar_tells_how_much_has_gone():
    """Bytes sent and their sum stand behind the bar of an upload, and nothing behind others."""
    stream = Terminal()
    with LiveProgress(stream) as live:
        live.report_start(YOLO, "create")
        live.report_start(RELEASE, "create")
        live.report_upload(RELEASE, 3 * 1024**2, 1024**3)
    shown = stream.getvalue()
    assert "3.0 MiB of 1.0 GiB" in shown
    assert shown.count(" of ") == shown.count("3.0 MiB of 1.0 GiB")


def test_a_wait_for_the_state_is_told():
    """With a bar while it lasts, or by one line; a short one is over before it is read."""
    terminal, pipe = Terminal(), io.StringIO()
    with LiveProgress(terminal) as live, LogProgress(pipe, color=False) as log:
        for display in (live, log):
            for seconds in (0.5, 0.0, 7.0, 0.0, 8.0, 0.0):
                display.report_wait(seconds, "git:origin\x1b")
    told = "Waiting 7.0s before the next write to the state (git:origin\\u001b)"
    assert told in terminal.getvalue()
    assert pipe.getvalue() == f"{told}\n"


def test_an_upload_that_begins_anew_is_told_anew():
    """The quarters of the second try are told as those of the first."""
    stream = Terminal()
    lines = LineProgress(stream)
    for done in (30, 60, 5, 30, 60):
        lines.report_upload(RELEASE, done * 1024, 100 * 1024)
    assert [line.rpartition("... ")[2][:3] for line in stream.getvalue().splitlines()] == [
        "30%", "60%", "30%", "60%",
    ]  # fmt: skip


def test_live_outside_with_falls_back_to_lines():
    """A display nobody opened still tells."""
    stream = Terminal()
    live = LiveProgress(stream)
    live.report_start(YOLO, "update")
    live.report_end(YOLO, "update", "done", 0.1)
    assert "Modifications complete" in stream.getvalue()


@pytest.mark.parametrize("display", [LineProgress, LiveProgress, LogProgress, EventWriter])
def test_a_broken_terminal_does_not_end_an_apply(display):
    """Progress that cannot be written is dropped."""
    play(display(Broken()))


def test_quiet_is_silent_on_a_terminal_and_off_it():
    """Nothing is written where nothing is asked for."""
    pipe, terminal = io.StringIO(), Terminal()
    for stream in (pipe, terminal):
        display = choose_display(stream, color=True, silent=True)
        assert type(display) is SilentProgress
        play(display)
    assert (pipe.getvalue(), terminal.getvalue()) == ("", "")


def test_a_log_leaves_endings_to_the_report():
    """It has a job as it is started, and what is not at its end."""
    pipe = io.StringIO()
    log = choose_display(pipe, color=False)
    with log:
        log.report_start(RELEASE, "no-op")
        log.report_end(RELEASE, "no-op", "done", 0.0, "1")
        log.report_end(YOLO, "delete", "done", 0.3, "7\x1b")
    play(log)
    assert pipe.getvalue().splitlines() == [
        "plugin/b: Outcome unknown after 30s",
        "release/yolo@1.2.0: Verifying... job 12\\u001b running",
        "release/yolo@1.2.0: Verifying... job 12 queued",
        "release/yolo@1.2.0: Still running after 5m00s",
    ]


def test_a_log_says_what_still_goes_on_every_ten_seconds():
    """How long and how far, once an interval; of what has ended only how many."""
    pipe, now = io.StringIO(), [0.0]
    log = LogProgress(pipe, now=lambda: now[0])
    log.report_start(RELEASE, "create")
    log.report_start(YOLO, "update")
    for second in range(0, 31, 5):
        now[0] = float(second)
        if second == 15:
            log.report_upload(RELEASE, 3 * 1024**2, 1024**3)
            log.report_end(YOLO, "update", "done", 15.0)
        log.report_overdue_calls()
    assert pipe.getvalue().splitlines() == [
        "release/yolo@1.2.0: Still creating... [10s elapsed]",
        "plugin/yolo: Still modifying... [10s elapsed]",
        "So far 1 done [15s elapsed]",
        "release/yolo@1.2.0: Still creating... [20s elapsed, 3.0 MiB of 1.0 GiB]",
        "release/yolo@1.2.0: Still creating... [30s elapsed, 3.0 MiB of 1.0 GiB]",
    ]


def test_a_log_reports_by_itself_until_its_end():
    """The lines come without anybody asking, and none after the end, though the call goes on."""
    pipe = io.StringIO()
    with LogProgress(pipe, interval=0.01) as log:
        log.report_start(RELEASE, "verify")
        log.report_job(RELEASE, Job("12", JobStatus.RUNNING, 40.0))
        deadline = time.monotonic() + 60
        while "40%" not in pipe.getvalue() and time.monotonic() < deadline:
            time.sleep(0.005)
    log.report_overdue_calls()
    shown = pipe.getvalue()
    line = (
        r"release/yolo@1\.2\.0: Still verifying\.\.\. \[\d+\.\ds elapsed, job 12 running, 40%\]\n"
    )
    assert re.search(line, shown)
    time.sleep(0.05)
    assert pipe.getvalue() == shown


def test_the_display_fits_the_terminal():
    """Bars where there is colour, plain lines on a dumb terminal."""
    assert type(choose_display(Terminal(), color=True)) is LiveProgress
    assert type(choose_display(Terminal(), color=False)) is LineProgress


def test_plain_text_needs_no_rich():
    """Rendering and a silent progress import neither rich nor anything else heavy."""
    code = (
        "import sys, synapse_apply.views.text.plan, synapse_apply.views.json.documents, synapse_apply.views.text.record,"
        " synapse_apply.views.text.terminal, synapse_apply.views.text.progress;"
        "print(sorted({'rich', 'jsonschema', 'yaml', 'requests'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
