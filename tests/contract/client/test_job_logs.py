"""The logs of jobs against the embedded backend: as a list, and as they are written."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from synapse_apply import BackendClient
from synapse_apply.model.remote import iter_log_lines

TAIL = "/jobs/*/tail_console_logs/"
DEFAULTS = {"tail": "start", "tail_data": "entry", "console_logs": "entries"}
Steer = Callable[[str, str, dict[str, Any]], Any]


@pytest.fixture(autouse=True)
def _as_it_was(steer: Steer) -> Iterator[None]:
    """The backend is shared: its switches and faults are put back."""
    yield
    steer("PATCH", "_emulator/switches/", DEFAULTS)
    steer("PUT", "_emulator/faults/", {"rules": []})


@pytest.fixture
def run(client: BackendClient) -> Callable[..., int]:
    """Starts a job of its own plugin."""

    def started(**script: Any) -> int:
        plugin = client.create_plugin({"name": "Plugin", "code": f"p-{uuid.uuid4().hex[:8]}"})
        job = client.run_plugin(plugin["id"], {"parameters": {"emulator": script}})
        identity: int = job["job_id"]
        return identity

    return started


def messages(client: BackendClient, job: int) -> list[str]:
    frames = client.tail_job_console_logs(job)
    return [
        line.message
        for frame in frames
        if frame["type"] == "log"
        for line in iter_log_lines(frame["data"])
    ]


@pytest.mark.parametrize(
    "switches",
    [{}, {"tail_data": "nested"}, {"console_logs": "lines"}],
    ids=["entries", "nested", "texts"],
)
def test_a_tail_from_the_first_line_to_the_end(
    client: BackendClient, steer: Steer, run: Callable[..., int], switches: dict[str, str]
) -> None:
    """connected, the lines in any of their forms, complete; the list has the same lines."""
    steer("PATCH", "_emulator/switches/", switches)
    job = run(seconds=0.3, log_lines=30)
    frames = list(client.tail_job_console_logs(job))
    assert frames[0] == {"type": "connected", "job_id": job}
    assert frames[-1]["type"] == "complete"
    expected = [f"step {number} of 30" for number in range(1, 31)]
    assert messages(client, job) == expected
    listed = [
        line for entry in client.iterate_job_console_logs(job) for line in iter_log_lines(entry)
    ]
    assert [line.message for line in listed] == expected
    assert list(client.iterate_job_console_logs(job)) == client.list_job_console_logs(job)


def test_a_silent_job_gives_signs_of_life(client: BackendClient, run: Callable[..., int]) -> None:
    """Heartbeats come while nothing is written."""
    frames = client.tail_job_console_logs(run(seconds=3600))
    assert [next(frames)["type"] for _ in range(2)] == ["connected", "heartbeat"]
    frames.close()


@pytest.mark.parametrize("deed", [{"reset": "after"}, {"reset": "before"}, {"hang": 0.1},
                                  {"latency": 50}, {"slow": 20_000},
                                  {"hang": 0.1, "commit": "after"}])  # fmt: skip
def test_other_faults_of_a_tail(
    client: BackendClient, steer: Steer, run: Callable[..., int], deed: dict[str, Any]
) -> None:
    """None waits for the end of a job that goes on for an hour."""
    job = run(seconds=3600)
    steer("PUT", "_emulator/faults/", {"rules": [{"match": {"path": TAIL, "nth": 1}, "do": deed}]})
    frames = client.tail_job_console_logs(job)
    assert next(frames, {"type": "connected"})["type"] == "connected"
    frames.close()
    assert steer("GET", "_emulator/faults/", {})["counts"][0]["done"] == 1


def test_a_long_log(client: BackendClient, run: Callable[..., int]) -> None:
    """Twenty thousand lines, each once and in order, by both ways."""
    job = run(seconds=0, log_lines=20_000)
    wanted = (f"step {number} of 20000" for number in range(1, 20_001))
    listed = client.iterate_job_console_logs(job)
    assert all(a == b["message"] for a, b in zip(wanted, listed, strict=True))
    assert len(messages(client, job)) == 20_000
