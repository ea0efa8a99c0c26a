"""Orders, permits and results of workers on their way, and lines that no worker of ours writes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from synapse_apply.controller.planned_rows import (
    ApplyTerms,
    FieldBrake,
    PlannedRow,
    RowAction,
    RowCause,
)
from synapse_apply.controller.ports import Permit, RunResult
from synapse_apply.controller.rows import CallCounts, CallProgress, ChangeCounts, RunOutcome
from synapse_apply.controller.worker.exchange import (
    PROGRESS_START,
    decode_order_or_permit,
    decode_progress,
    decode_result,
    encode_permit,
    encode_progress,
    encode_result,
)
from synapse_apply.model.diagnostic import Position, warning_finding
from synapse_apply.model.json_values import WrongShapeError

DIGEST = f"row1:{'a' * 64}"
ROW = PlannedRow(
    DIGEST,
    "storage/a",
    RowAction.UPDATE,
    (RowCause.GIT, RowCause.DRIFT),
    ("storage/b",),
    summary="update region",
    fields=("configuration.region", "name"),
    is_always_restored=True,
    changed_by="ann@laptop",
)
GUARD = PlannedRow(f"row1:{'b' * 64}", "recreate", RowAction.GUARD, needs=("storage/a",), limit=1)
RESULT = RunResult(
    RunOutcome.CHANGES,
    ChangeCounts(add=1, refused=2),
    (warning_finding("s", "d", position=Position("f", 1, 2), path=("a", 0)),),
    "{}",
    "0" * 64,
    "api.example:8443",
    "held by x",
    (ROW, GUARD),
    is_state_behind=True,
)
APPLIED = replace(
    RESULT,
    outcome=RunOutcome.APPLIED,
    calls=CallCounts(done=1),
    used_approvals=("one",),
    report_json="{}",
)
TERMS = ApplyTerms(
    frozenset({RowCause.GIT, RowCause.DRIFT}),
    frozenset({RowAction.UPDATE}),
    {DIGEST: ("one", "two")},
    frozenset({GUARD.digest}),
    brakes=(FieldBrake("storage/a", "name", 9.0, "x"), FieldBrake("storage/b", "", None, "y")),
    is_live=True,
)


def test_a_permit_fits_into_a_pipe_at_once():
    """Whatever letters its reason has: less than the 4,096 bytes that are written whole."""
    assert len(encode_permit(Permit(1.0, "\U0001f4a5" * 5000))) < 7000


@pytest.mark.parametrize("text", ["x" * (32 * 1024**2 + 1), "[]," * 2_000_001])
@pytest.mark.parametrize("name", ["plan_json", "report_json"])
def test_a_document_that_is_too_large_is_left_out_with_a_warning(name, text):
    document: dict[str, Any] = {name: text}
    result = decode_result(encode_result(replace(APPLIED, **document)), TERMS)
    assert getattr(result, name) == ""
    assert result.findings[-1].summary.endswith("is too large to keep")
    assert (result.counts, result.rows) == (APPLIED.counts, APPLIED.rows)


def test_a_line_of_very_many_values_is_not_decoded():
    """It would hold the controller for seconds."""
    with pytest.raises(WrongShapeError, match="too many values"):
        decode_result(b'{"rows": [' + b"[]," * 2_000_001 + b"[]]}")


ROW_JSON = json.loads(encode_result(RESULT))["rows"][0]
JOB_JSON = {"id": "7", "owner": "plugin/yolo", "version": "", "progress": None, "since": 0.0}
JOBS_JSON = {"jobs": [JOB_JSON], "is_cut": False, "unread_reason": "", "seen_at": 0.0}
WRONG_JOBS: tuple[dict[str, Any], ...] = (
    {"id": ""},
    {"id": "x" * 200},
    {"owner": "x" * 200},
    {"progress": 101},
    {"progress": -1},
    {"since": float("nan")},
)
WRONG_VALUES: tuple[dict[str, Any], ...] = (
    {"outcome": "worker_lost"},
    {"outcome": "timeout"},
    {"counts": {"add": -1}},
    {"counts": {"add": "1"}},
    {"result_digest": "x"},
    {"backend_host": "x/<script>"},
    {"held_up_by_run": "x" * 5000},
    {"findings": [{"severity": "error"}]},
    {"plan_json": 1},
    {"is_state_behind": 1},
    {"calls": {"done": -1}},
    {"rows": [{**ROW_JSON, "digest": "row1:1"}]},
    {"rows": [{**ROW_JSON, "digest": f"row2:{'a' * 64}"}]},
    {"rows": [{**ROW_JSON, "address": ""}]},
    {"rows": [{**ROW_JSON, "address": "x" * 5000}]},
    {"rows": [{**ROW_JSON, "action": "destroy"}]},
    {"rows": [{**ROW_JSON, "causes": ["git", "git"]}]},
    {"rows": [{**ROW_JSON, "limit": -1}]},
    {"rows": [{**ROW_JSON, "summary": "x" * 5000}]},
    {"rows": [{**ROW_JSON, "refusal_reason": "of no rule"}]},
    {"rows": [{**ROW_JSON, "fields": ["name", "name"]}]},
    {"rows": [{**ROW_JSON, "fields": [f"name{number}" for number in range(51)]}]},
    {"rows": [{**ROW_JSON, "fields": ["x" * 5000]}]},
    {"rows": [{**ROW_JSON, "changed_by": "x" * 5000}]},
    {"rows": [{**ROW_JSON, "needs": ["storage/x"] * 200_001}]},
    {"rows": [ROW_JSON, ROW_JSON]},
    {"rows": [ROW_JSON, {**ROW_JSON, "digest": f"row1:{'c' * 64}"}]},
)


@pytest.mark.parametrize(
    "changes",
    [
        *WRONG_VALUES,
        {"outcome": "applied"},
        {"calls": {"done": 1}},
        {"used_approvals": ["one"]},
        {"stop_reason": "x"},
        {"report_json": "{}"},
        {"running_jobs": {**JOBS_JSON, "seen_at": 1.0}},
        {"running_jobs": {**JOBS_JSON, "unread_reason": "x" * 200}},
        {"running_jobs": {**JOBS_JSON, "jobs": [JOB_JSON] * 21}},
        *({"running_jobs": {**JOBS_JSON, "jobs": [{**JOB_JSON, **wrong}]}} for wrong in WRONG_JOBS),
    ],
)
def test_a_look_of_another_shape_is_refused(changes):
    line = json.dumps({**json.loads(encode_result(RESULT)), **changes}).encode()
    with pytest.raises(WrongShapeError):
        decode_result(line)


@pytest.mark.parametrize(
    "changes",
    [
        *WRONG_VALUES,
        {"used_approvals": ["three"]},
        {"used_approvals": ["one", "one"]},
        {"stop_reason": "x" * 5000},
        {"calls": {"done": 30_000}},
        {"calls": {"done": 1, "unknown": 1}},
        {"running_jobs": JOBS_JSON},
    ],
)
def test_an_apply_of_another_shape_is_refused(changes):
    """Also one that says it used up what it was not given, or that all is done where it is not."""
    line = json.dumps({**json.loads(encode_result(APPLIED)), **changes}).encode()
    with pytest.raises(WrongShapeError):
        decode_result(line, TERMS)


PROGRESS = CallProgress(2, 3, "storage/a", "create", 5.0, "done", 0.5)


def test_progress_in_a_long_line_is_refused():
    line = encode_progress(PROGRESS).replace(b"{", b"{" + b" " * 100_000, 1)
    with pytest.raises(WrongShapeError, match="too long"):
        decode_progress(line)


def test_progress_is_told_in_a_line_that_no_result_has():
    line = encode_progress(PROGRESS)
    assert line.startswith(PROGRESS_START)
    assert decode_progress(line) == PROGRESS
    assert not encode_result(APPLIED).startswith(PROGRESS_START)


@pytest.mark.parametrize(
    "changes",
    [
        {"number": 0},
        {"number": 4},
        {"total": 30_000},
        {"address": ""},
        {"address": "x" * 5000},
        {"action": "x" * 200},
        {"result": "x" * 200},
        {"began_at": float("nan")},
        {"seconds": -1},
        {"seconds": float("inf")},
        {"seconds": "1"},
    ],
)
def test_progress_of_another_shape_is_refused(changes):
    document = json.loads(encode_progress(PROGRESS))["progress"]
    with pytest.raises(WrongShapeError):
        decode_progress(json.dumps({"progress": {**document, **changes}}).encode())


LINES = [b"", b"x", b"[" * 100_000, b"\xff", b"null", b"{}"]


@pytest.mark.parametrize("line", LINES)
def test_a_line_that_is_none_is_refused(line):
    with pytest.raises(WrongShapeError):
        decode_result(line)


@pytest.mark.parametrize(
    "line", [*LINES, b'{"order": {}}', b'{"permit": [1]}', b'{"permit": [NaN, ""]}']
)
def test_a_line_that_is_neither_order_nor_permit_is_refused(line):
    with pytest.raises(WrongShapeError):
        decode_order_or_permit(line)
