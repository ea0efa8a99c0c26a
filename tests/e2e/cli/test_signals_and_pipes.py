"""Ends that nobody planned: signals, closed pipes; and a server that is served on."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest
import requests
from forges.loopback_server import wait_until
from forking import ForkedProcess, run_to_end
from stopping import asked_again

from synapse_apply import Invocation, open_state

from .conftest import COMMAND, SECRETS, STORAGE, Run, environment


@contextmanager
def started(folder: Path, *typed: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    process = ForkedProcess(
        [COMMAND, *typed],
        cwd=folder,
        env=environment(**SECRETS, **environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_the_first_signal_drains_and_reports(project: Path, number: int, code: int) -> None:
    """What had begun is finished and recorded, the rest is skipped, the report says so."""
    for index in range(8):  # enough that it is not done before the signal is there
        name = f"more-{index}"
        (project / "manifests" / f"{name}.yaml").write_text(STORAGE.format(name=name))
    slow = ("emulator", "--latency", "200")
    typed = ("apply", "--auto-approve", "--json", "--parallelism", "1")
    with started(project, *slow) as server:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("listening on http://127.0.0.1:")
        with started(project, *typed, SYNAPSE_APPLY_LOG="debug") as apply:
            assert apply.stderr is not None
            wait_for(apply.stderr, "POST ")
            apply.send_signal(number)
            out, err = apply.communicate(timeout=60)
    report = json.loads(out)
    assert apply.returncode == code == report["exit_code"]
    assert "Stopping" in err
    results = {outcome["result"] for outcome in report["outcomes"]}
    assert results == {"done", "skipped"}
    assert report["stopped"] == number
    page = Path(__file__).parents[3] / "docs" / "exit-codes.md"
    name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    (row,) = [line for line in page.read_text().splitlines() if "143 |" in line]
    assert name in row.partition("(130)")[number != signal.SIGINT and 2]


def test_an_interrupted_plan_says_that_nothing_was_changed(project: Path) -> None:
    with started(project, "emulator", "--latency", "1000") as server:
        assert server.stdout is not None
        server.stdout.readline()
        typed = ("plan", "--parallelism", "1")
        with started(project, *typed, SYNAPSE_APPLY_LOG="debug") as process:
            assert process.stderr is not None
            wait_for(process.stderr, "GET ")
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.endswith("Interrupted.\nNothing was changed.\n")


def test_the_second_signal_stops_at_once(project: Path) -> None:
    """It does not wait for what is under way, names it, and the next run settles it."""
    with started(project, "emulator") as server:
        assert server.stdout is not None
        server.stdout.readline()
        leave_creates_without_an_answer(project)
        with started(project, "apply", "--auto-approve") as apply:
            assert apply.stderr is not None
            wait_for_an_open_call(project)
            apply.send_signal(signal.SIGINT)
            wait_for(apply.stderr, "Stopping")
            asked_again(apply, signal.SIGINT)
            out, err = apply.communicate(timeout=60)
    assert apply.returncode == 7  # an unknown outcome counts before the signal
    assert "Stopped at once. Running calls: " in err
    assert "Apply incomplete" in out
    assert open_calls(project)


def leave_creates_without_an_answer(project: Path) -> None:
    """Until the backend that is served ends, however slow the machine is."""
    served = json.loads((project / ".synapse-apply" / "embedded" / "endpoint.json").read_text())
    rule = {"match": {"method": "POST"}, "do": {"hang": 600}}
    answer = requests.put(
        f"{served['url']}/_emulator/faults/",
        json={"rules": [rule]},
        headers={"Synapse-Access-Token": served["token"]},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text


def open_calls(project: Path) -> list[str]:
    """Addresses whose call was announced and not settled."""
    with open_state(Invocation(project, target="embedded")) as context:
        state = context.store.read_state()
    return [str(intent.address) for intent in state.open_intents]


def wait_for_an_open_call(project: Path) -> None:
    wait_until(lambda: open_calls(project), 60, "a call is open")


def wait_for(stream: TextIO, text: str) -> None:
    assert any(text in line for line in stream)


def test_a_reader_that_went_away_is_no_error(project: Path) -> None:
    """`plan | head` ends quietly."""
    with started(project, "plan") as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate(timeout=60)
    assert process.returncode == 141
    assert err == ""


@pytest.mark.parametrize("typed", [("plan",), ("plan", "--json"), ("--help",)])
def test_output_that_cannot_be_written_is_an_error(project: Path, typed: tuple[str, ...]) -> None:
    """A full disk must not look like a success, nor like a defect."""
    with Path("/dev/full").open("w") as full:
        done = run_to_end([COMMAND, *typed], project, environment(), stdout=full)
    assert done.returncode == 1
    assert done.stderr == "Error: The output cannot be written\n  No space left on device.\n"


@pytest.mark.parametrize("unbuffered", [True, False])
def test_output_that_is_cut_off_is_an_error(project: Path, unbuffered: bool) -> None:
    """A part of it fits: neither is that taken for the whole where Python was told not to buffer."""
    more = {"PYTHONUNBUFFERED": "1" if unbuffered else ""}
    limited = ["bash", "-c", 'trap \'\' XFSZ; ulimit -f 4; exec "$0" "$@"', COMMAND]
    with (project / "out.json").open("w") as file:
        done = subprocess.run(
            [*limited, "schema", "manifest"], cwd=project, env=environment(**more), stdout=file,
            stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert (project / "out.json").stat().st_size == 4096
    assert done.returncode == 1
    assert done.stderr == "Error: The output cannot be written\n  File too large.\n"


def test_an_apply_whose_report_cannot_be_written_says_what_it_did(project: Path) -> None:
    """On stderr, since the program that waits for its document gets none."""
    with Path("/dev/full").open("w") as full:
        typed = ("apply", "--auto-approve", "--json")
        done = run_to_end([COMMAND, *typed], project, environment(**SECRETS), stdout=full)
    assert done.returncode == 1
    assert "Apply complete! Resources: 3 added" in done.stderr
    assert done.stderr.endswith("Error: The output cannot be written\n  No space left on device.\n")


def test_a_process_without_streams_still_works(project: Path) -> None:
    """Started by a daemon with stdout closed, the exit code alone tells."""
    script = f"exec {COMMAND} plan --detailed-exitcode >&- <&-"
    done = subprocess.run(
        ["/bin/sh", "-c", script], cwd=project, env=environment(), stderr=subprocess.PIPE,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == ""


def test_a_served_backend_is_used_and_stops_when_told(cli: Run, project: Path) -> None:
    """While it is served, target embedded uses it; SIGTERM ends it well."""
    with started(project, "emulator", "serve") as server:
        assert server.stdout is not None
        server.stdout.readline()
        assert cli("apply", "--auto-approve").returncode == 0
        assert cli("emulator", "--reset", "--auto-approve").returncode == 1
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
    assert server.returncode == 0
    assert cli("plan").stdout.startswith("No changes.")


def test_a_switch_nobody_knows_is_named(cli: Run) -> None:
    """The emulator says which there are."""
    done = cli("emulator", "--switch", "nope=1")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
