"""Orders and results of workers on their way, and lines that no worker of ours writes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from synapse_apply.controller.ports import RunResult
from synapse_apply.controller.rows import ChangeCounts, RunOutcome
from synapse_apply.controller.worker.exchange import (
    LookOrder,
    decode_order,
    decode_result,
    encode_order,
    encode_result,
)
from synapse_apply.model.coding.json_values import WrongShapeError
from synapse_apply.model.diagnostic import Position, warning_finding

RESULT = RunResult(
    RunOutcome.CHANGES,
    ChangeCounts(add=1, refused=2),
    (warning_finding("s", "d", position=Position("f", 1, 2), path=("a", 0)),),
    "{}",
    "0" * 64,
    "api.example:8443",
    "held by x",
)


def test_both_come_as_they_were_sent() -> None:
    order = LookOrder("prod", "1" * 40, "/x", "main", ("A",), ("/a",), ("/b",))
    assert decode_order(encode_order(order)) == order
    line = encode_result(RESULT)
    assert line.count(b"\n") == 1
    assert decode_result(line) == RESULT


def test_a_plan_that_is_too_large_is_left_out_with_a_warning() -> None:
    result = decode_result(encode_result(replace(RESULT, plan_json="x" * (32 * 1024**2 + 1))))
    assert result.plan_json == ""
    assert result.findings[-1].summary == "The plan is too large to be kept"
    assert result.counts == RESULT.counts


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": "worker_lost"},
        {"outcome": "applied"},
        {"counts": {"add": -1}},
        {"counts": {"add": "1"}},
        {"result_digest": "x"},
        {"backend_host": "x/<script>"},
        {"held_up_by_run": "x" * 5000},
        {"findings": [{"severity": "error"}]},
        {"plan_json": 1},
    ],
)
def test_a_result_of_another_shape_is_refused(changes: dict[str, Any]) -> None:
    line = json.dumps({**json.loads(encode_result(RESULT)), **changes}).encode()
    with pytest.raises(WrongShapeError):
        decode_result(line)


@pytest.mark.parametrize("line", [b"", b"x", b"[" * 100_000, b"\xff", b"null", b"{}"])
def test_a_line_that_is_none_is_refused(line: bytes) -> None:
    with pytest.raises(WrongShapeError):
        decode_result(line)
