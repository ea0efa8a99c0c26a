"""What a worker is asked, permitted and answers: a line of JSON each, of bounded size.

A worker reads what a hostile commit and a hostile server say. Its answers are values of our own
only after they were checked (`answer_checks.py`), and their texts are never more than texts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import PurePath
from typing import Any, TypeVar

from synapse_apply.controller.planned_rows import ApplyTerms, Binding
from synapse_apply.controller.ports import Permit, RunResult
from synapse_apply.controller.worker.answer_checks import (
    MAX_FINDINGS,
    MAX_PLAN_CHARACTERS,
    MAX_REPORT_CHARACTERS,
    require_plausible_apply,
    require_plausible_look,
)
from synapse_apply.model.coding.json_shapes import build_coder
from synapse_apply.model.coding.json_values import WrongShapeError
from synapse_apply.model.diagnostic import warning_finding
from synapse_apply.model.frozen import frozen
from synapse_apply.model.secrets.secret_marks import ReadableFiles

MAX_LINE_BYTES = 96 * 1024 * 1024
_ORDER, _PERMIT = "order", "permit"
_DOCUMENTS = {"plan_json": "plan", "report_json": "report"}

# So that a permit is always written at once, whatever letters its reason has.
_MAX_REASON = 500

T = TypeVar("T")


@frozen
class ApplyOrder:
    """What of a target's plan a worker may do, and under which names; as in ApplyRequest."""

    run_id: str
    who: str
    operation: str
    terms: ApplyTerms
    binding: Binding | None = None


@frozen
class Order:
    """One look, apply or reading of a project file, as a worker is asked for it.

    `folder` is the project's folder of the source's place. `variables` are those of the worker's
    environment that the target can name. `readable` and `unreadable` are the real paths of a
    ReadableFiles, `opened` are those of ReservedVariables, `closed` those of LookRequest. `prune`
    deletes what is no longer declared. `hosts` narrow SYNAPSE_APPLY_HOSTS. To read a project file,
    `read` has name, path and project_from of its source, the controller's folder, and the pin's
    commit.
    """

    target: str
    commit: str
    folder: str
    project_from: str = ""
    variables: tuple[str, ...] = ()
    readable: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    prune: bool = False
    hosts: tuple[str, ...] = ()
    apply: ApplyOrder | None = None
    opened: tuple[str, ...] = ()
    closed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    read: tuple[str, ...] = ()
    live_commit: str = ""

    @property
    def readable_files(self) -> ReadableFiles:
        """All that the target can name of files on this machine."""
        return ReadableFiles(
            tuple(map(PurePath, self.readable)), tuple(map(PurePath, self.unreadable))
        )


def encode_order(order: Order) -> bytes:
    """The line of an order."""
    return _encode_line({_ORDER: _encode_as(Order, order)})


def encode_permit(permit: Permit) -> bytes:
    """The line of a permit for the apply that is under way."""
    return _encode_line({_PERMIT: [permit.until, permit.reason[:_MAX_REASON]]})


def decode_order_or_permit(line: bytes) -> Order | Permit:
    """What a line for a worker says; WrongShapeError."""
    match _decode_json(line):
        case {"order": order}:
            decoded: Order = build_coder(Order).decode(order)
            return decoded
        case {"permit": [int() | float() as until, str() as reason]} if math.isfinite(until):
            return Permit(float(until), reason)
    raise WrongShapeError("this is neither an order nor a permit")


def encode_result(result: RunResult) -> bytes:
    """The line of a result; documents that are too large are left out, with a warning."""
    result = replace(result, findings=result.findings[:MAX_FINDINGS])
    if len(result.plan_json) > MAX_PLAN_CHARACTERS:
        result = _drop_documents(result, "plan_json")
    if len(result.report_json) > MAX_REPORT_CHARACTERS:
        result = _drop_documents(result, "report_json")
    line = _encode_line(_encode_as(RunResult, result))
    if len(line) > MAX_LINE_BYTES:
        line = _encode_line(_encode_as(RunResult, _drop_documents(result, *_DOCUMENTS)))
    return line


def _drop_documents(result: RunResult, *names: str) -> RunResult:
    nouns = " and ".join(_DOCUMENTS[name] for name in names if getattr(result, name))
    warning = warning_finding(
        f"The {nouns} is too large to be kept",
        f"It has {max(len(getattr(result, name)) for name in names):,} characters; its counts are "
        "right.",
        "Split the target, or plan it on the command line.",
    )
    without: dict[str, Any] = dict.fromkeys(names, "")
    findings = (*result.findings[: MAX_FINDINGS - 1], warning)
    return replace(result, findings=findings, **without)


def decode_look_result(line: bytes) -> RunResult:
    """The result of a look; WrongShapeError for one that no worker of ours writes."""
    result = _decode(line)
    require_plausible_look(result)
    return result


def decode_apply_result(line: bytes, order: ApplyOrder) -> RunResult:
    """The result of an apply; WrongShapeError for one that no worker of ours writes."""
    result = _decode(line)
    require_plausible_apply(
        result, {name for names in order.terms.approvals.values() for name in names}
    )
    return result


def _decode(line: bytes) -> RunResult:
    result: RunResult = build_coder(RunResult).decode(_decode_json(line))
    return result


def _encode_as(kind: type[T], value: T) -> Any:
    hint: Any = kind
    return build_coder(hint).encode(value)


def _encode_line(document: Any) -> bytes:
    return json.dumps(document).encode() + b"\n"


def _decode_json(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise WrongShapeError("this is no JSON") from None
