"""What a worker is asked and answers: a line of JSON each, of bounded size, checked when read.

A worker reads what a hostile commit and a hostile server say. Its answers are values of our own
only after their shape was checked here, and their texts are never more than texts.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import PurePath
from typing import Any, TypeVar

from synapse_apply.controller.ports import RunResult
from synapse_apply.controller.rows import RunOutcome
from synapse_apply.model.coding.json_shapes import build_coder
from synapse_apply.model.coding.json_values import WrongShapeError
from synapse_apply.model.diagnostic import warning_finding
from synapse_apply.model.frozen import frozen
from synapse_apply.model.secrets.readable_files import ReadableFiles

MAX_LINE_BYTES = 64 * 1024 * 1024
_MAX_PLAN_CHARACTERS = 32 * 1024 * 1024
_MAX_FINDINGS = 1000
_MAX_SHORT_TEXT = 4000
_DIGEST = re.compile(r"[0-9a-f]{64}|")
_HOST = re.compile(r"[A-Za-z0-9.:\[\]_-]{0,255}")

T = TypeVar("T")


@frozen
class LookOrder:
    """One look, as a worker is asked for it.

    `folder` is the project's folder of the source's place. `variables` are those of the worker's
    environment that the target can name. `readable` and `unreadable` are the real paths of a
    ReadableFiles.
    """

    target: str
    commit: str
    folder: str
    project_from: str = ""
    variables: tuple[str, ...] = ()
    readable: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()

    @property
    def readable_files(self) -> ReadableFiles:
        """All that the target can name of files on this machine."""
        return ReadableFiles(
            tuple(map(PurePath, self.readable)), tuple(map(PurePath, self.unreadable))
        )


def encode_order(order: LookOrder) -> bytes:
    """The line of an order."""
    return _encode_line(LookOrder, order)


def decode_order(line: bytes) -> LookOrder:
    """The order of a line; WrongShapeError."""
    return _decode_line(LookOrder, line)


def encode_result(result: RunResult) -> bytes:
    """The line of a result; a plan that is too large is left out, with a warning."""
    if len(result.plan_json) > _MAX_PLAN_CHARACTERS:
        warning = warning_finding(
            "The plan is too large to be kept",
            f"It has {len(result.plan_json):,} characters; its counts are right.",
            "Split the target, or plan it on the command line.",
        )
        result = replace(result, plan_json="", findings=(*result.findings, warning))
    return _encode_line(RunResult, replace(result, findings=result.findings[:_MAX_FINDINGS]))


def decode_result(line: bytes) -> RunResult:
    """The result of a line; WrongShapeError for one that no worker of ours writes."""
    result = _decode_line(RunResult, line)
    counts = result.counts
    is_plausible = (
        result.outcome in {RunOutcome.IN_SYNC, RunOutcome.CHANGES, RunOutcome.PLAN_ERROR}
        and all(getattr(counts, name) >= 0 for name in counts.__slots__)  # type: ignore[attr-defined]
        and len(result.findings) <= _MAX_FINDINGS + 1
        and len(result.plan_json) <= _MAX_PLAN_CHARACTERS
        and len(result.held_up_by_run) <= _MAX_SHORT_TEXT
        and _DIGEST.fullmatch(result.result_digest)
        and _HOST.fullmatch(result.backend_host)
    )
    if not is_plausible:
        raise WrongShapeError("a value is not one that a look has")
    return result


def _encode_line(kind: type[T], value: T) -> bytes:
    hint: Any = kind
    return json.dumps(build_coder(hint).encode(value)).encode() + b"\n"


def _decode_line(kind: type[T], line: bytes) -> T:
    hint: Any = kind
    try:
        decoded: T = build_coder(hint).decode(json.loads(line))
    except (ValueError, RecursionError):
        raise WrongShapeError("this is no JSON") from None
    return decoded
