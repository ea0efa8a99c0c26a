"""Apply to several targets: one question for all, one after the other, a stop at the first failure."""

from __future__ import annotations

import json
import signal
import subprocess

import jsonschema
import pytest
from at_terminal import run_at_terminal
from e2e.fleet.conftest import break_target
from e2e.scenarios.workplace import QUIET, Server, Workplace
from forking import ForkedProcess
from in_process import read_schema
from installed import BIN
from stopping import meets_fault


def count_storages(server: Server) -> int:
    return server.counts[2]


def apply_at_terminal(place: Workplace, answer: bytes, *typed: str) -> tuple[int, str]:
    environ = {**QUIET, **place.environ, "TERM": "xterm", "NO_COLOR": "1"}
    return run_at_terminal(place.root, answer, environ, "apply", *typed)


def test_all_are_applied(fleet: Workplace, server: Server) -> None:
    """Each in its own tenant, by its own variables; a report a target, and no change after it."""
    ran = fleet.run("apply", "-t", "*", "--auto-approve", "--json", code=0)
    jsonschema.validate(ran.document, read_schema("targets"))
    assert [part["document"]["complete"] for part in ran.document["targets"]] == [True] * 3
    assert count_storages(server) == 3
    assert fleet.plan("-t", "*", "--detailed-exitcode", code=0).out.count("No changes.") == 3


def test_the_next_target_is_not_begun_after_a_failure(fleet: Workplace, server: Server) -> None:
    """What went wrong in one may go wrong in all; who did not have a turn is named."""
    break_target(fleet, "beta")
    ran = fleet.run("apply", "-t", "*", "--auto-approve", "--report=markdown=a.md", code=1)
    assert ran.out.endswith("\nTargets: 3. Exit code 1: beta. Not started: canary.\n")
    assert count_storages(server) == 1
    assert "Not started: `canary`." in (fleet.root / "a.md").read_text()
    document = fleet.run("apply", "-t", "*", "--auto-approve", "--json", code=1).document
    assert document["not_begun"] == ["canary"]
    ran = fleet.run("apply", "-t", "*", "--auto-approve", "--keep-going", code=1)
    assert ran.out.endswith("\nTargets: 3. Exit code 1: beta.\n")
    assert count_storages(server) == 2


def test_nothing_without_approval(fleet: Workplace, server: Server) -> None:
    ran = fleet.run("apply", "-t", "*", code=1)
    assert "Approval is required" in ran.err
    assert count_storages(server) == 0


@pytest.mark.parametrize(("answer", "code", "count"), [(b"yes\n", 0, 2), (b"no\n", 1, 0)])
def test_one_question_for_all(
    fleet: Workplace, server: Server, answer: bytes, code: int, count: int
) -> None:
    """It stands below every plan and names every target that would change."""
    done, shown = apply_at_terminal(fleet, answer, "-t", "tier=standard")
    assert done == code, shown
    question = "Do you want to perform these actions on 2 targets, beta, canary?"
    before, _, after = shown.partition(question)
    assert before.count("Plan: 1 to add") == 2
    assert after.count("Apply complete! Resources: 1 added") == count
    assert shown.count("Enter a value") == 1
    assert count_storages(server) == count


def test_nothing_is_asked_while_a_plan_fails(fleet: Workplace, server: Server) -> None:
    """With --keep-going the rest is asked for, and applied."""
    break_target(fleet, "acme")
    done, shown = apply_at_terminal(fleet, b"yes\n", "-t", "acme", "-t", "beta")
    assert done == 1
    assert "Nothing was sent to any target." in shown
    assert "Do you want" not in shown
    assert count_storages(server) == 0
    done, shown = apply_at_terminal(fleet, b"yes\n", "-t", "acme", "-t", "beta", "--keep-going")
    assert done == 1
    assert "on 1 targets, beta?" in shown
    assert count_storages(server) == 1


def test_ctrl_c_ends_all(fleet: Workplace, server: Server) -> None:
    """At the question nothing was sent."""
    done, shown = apply_at_terminal(fleet, b"\x03", "-t", "*")
    assert done == 130, shown
    assert "Interrupted.\nNothing was sent to any target." in shown
    assert count_storages(server) == 0


def test_a_signal_ends_all_whatever_is_unknown(fleet: Workplace, server: Server) -> None:
    """Exit code 7 of the target that was stopped lets no other begin, --keep-going or not."""
    rule = {"match": {"method": "POST"}, "do": {"hang": 60}}
    server.call("PUT", "_emulator/faults/", {"rules": [rule]})
    process = ForkedProcess(
        [BIN / "synapse-apply", "apply", "-t", "*", "--auto-approve", "--keep-going", "--json"],
        cwd=fleet.root,
        env={**QUIET, **fleet.environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    meets_fault(server, process)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 7
    document = json.loads(out)
    assert document["not_begun"] == ["beta", "canary"]
