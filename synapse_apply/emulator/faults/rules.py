"""Which request a fault rule applies to, and which rules are valid.

Their JSON has the form of schemas/v1/faults.schema.json, see docs/faults.md.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

BEFORE, AFTER = "before", "after"
_COMMIT_POINTS = (BEFORE, AFTER)
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_DOCUMENT_PARTS = ("rules", "$schema")
_RULE_PARTS = ("match", "do")
_MATCH_PARTS = ("method", "path", "nth", "from", "to")


class FaultsError(ValueError):
    """The rules cannot be used; the message names each wrong one."""


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _is_whole(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and _is_amount(value) and value >= least


def _is_positive(value: Any) -> bool:
    return _is_whole(value, 1)


def _is_status(value: Any) -> bool:
    return _is_whole(value, 400) and value <= 599


class _FaultKind(NamedTuple):
    """What a value of this kind must be, and the further keys that may stand beside it.

    A refusal normally means that nothing was done (`commit` before); a lost answer matters after
    the commit.
    """

    is_valid: Callable[[Any], bool]
    wanted: str
    keys: tuple[str, ...] = ()
    commit: str = AFTER


_SPEED = "a number of bytes per second, at least 1"
_KINDS = {
    "latency": _FaultKind(_is_amount, "a number of milliseconds", commit=BEFORE),
    "hang": _FaultKind(_is_amount, "a number of seconds", ("commit",), BEFORE),
    "status": _FaultKind(_is_status, "a status from 400 to 599", ("commit", "retry_after"), BEFORE),
    "reset": _FaultKind(_COMMIT_POINTS.__contains__, "before or after"),
    "truncate": _FaultKind(_is_whole, "a number of bytes"),
    "slow": _FaultKind(_is_positive, _SPEED),
    "page_shift": _FaultKind(("insert", "delete").__contains__, "insert or delete"),
    "cut": _FaultKind(_is_whole, "a number of bytes", ("wait",)),
    "narrow": _FaultKind(_is_positive, _SPEED),
    "bucket": _FaultKind(
        _is_positive, "a number of requests per second, at least 1", ("retry_after",), BEFORE
    ),
}
ACTION_KINDS = tuple(_KINDS)


@dataclass(frozen=True, slots=True)
class FaultAction:
    """What a fault does to a request.

    The unit of `value` depends on `kind`: latency in ms, hang in seconds, status an HTTP status,
    reset `before` or `after`, truncate in bytes of the answer, slow in bytes per second, page_shift
    `insert` or `delete`, cut in bytes of the request, narrow in bytes of the request per second,
    bucket in requests per second. `commit_point`: whether the fault comes before or after the
    request is handled. `wait_seconds`: how long nothing more is read before a cut.
    """

    kind: str
    value: Any
    commit_point: str = AFTER
    retry_after: float | None = None
    wait_seconds: float = 0.0


@dataclass(slots=True)
class FaultRule:
    """A fault for matching requests number `first_request` to `last_request` (None: all later).

    A request matches by its method ("": any) and its path, a glob pattern. `matched_count` and
    `applied_count` count requests. `tokens_left` and `filled_at` are the state of a bucket.
    """

    action: FaultAction
    rule_document: Mapping[str, Any]
    method: str = ""
    path: str = "*"
    first_request: int = 1
    last_request: int | None = None
    matched_count: int = 0
    applied_count: int = 0
    tokens_left: float = 0.0
    # So that the bucket is full at the first request.
    filled_at: float = float("-inf")

    def take_token_if_any(self, now: float) -> bool:
        """Take a token of the bucket, which holds those of one second; False if it is empty.

        `now` is in seconds of any clock.
        """
        rate = self.action.value
        self.tokens_left = min(float(rate), self.tokens_left + (now - self.filled_at) * rate)
        self.filled_at = now
        if self.tokens_left < 1:
            return False
        self.tokens_left -= 1
        return True

    def count_match(self, method: str, path: str) -> bool:
        """Count a request that matches; whether its number is in the rule's range."""
        if self.method not in ("", method) or not fnmatch.fnmatchcase(path, self.path):
            return False
        self.matched_count += 1
        return self.first_request <= self.matched_count and (
            self.last_request is None or self.matched_count <= self.last_request
        )


@dataclass(slots=True)
class FaultSchedule:
    """The rules in force: all of them count requests, the first one that is due is applied."""

    rules: list[FaultRule] = field(default_factory=list)

    def count_request_in_all_rules_and_get_first_due(
        self, method: str, path: str
    ) -> FaultRule | None:
        """Count a new request in all rules; returns the first rule that is due, else None."""
        # A list and no `next`: every rule must count the request.
        due = [rule for rule in self.rules if rule.count_match(method, path)]
        return due[0] if due else None

    def replace_rules(self, document: Any) -> None:
        """Replace all rules, with counters at 0. Raises FaultsError and keeps the old ones."""
        self.rules = parse_valid_rules_or_raise_all(document)

    def as_dict(self) -> dict[str, Any]:
        """The rules as JSON, with the requests that each has matched (`seen`) and hit (`done`)."""
        counts = [{"seen": rule.matched_count, "done": rule.applied_count} for rule in self.rules]
        return {"rules": [dict(rule.rule_document) for rule in self.rules], "counts": counts}


def read_valid_fault_document(path: Path) -> dict[str, Any]:
    """Read a document of rules from a file, and validate it. Raises FaultsError."""
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FaultsError(f"cannot read the faults of {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise FaultsError(f"the faults of {path} are not JSON: {error}") from None
    try:
        parse_valid_rules_or_raise_all(document)
    except FaultsError as error:
        raise FaultsError(f"{path}: {error}") from None
    return document


def parse_valid_rules_or_raise_all(document: Any) -> list[FaultRule]:
    """The rules in a document `{"rules": [...]}`. Raises FaultsError with all problems."""
    if not isinstance(document, Mapping) or not isinstance(document.get("rules"), list):
        raise FaultsError('faults must be an object {"rules": [...]}')
    problems = list(_iter_unknown(document, _DOCUMENT_PARTS, "next to rules"))
    rules: list[FaultRule] = []
    for number, rule_document in enumerate(document["rules"]):
        rule_problems = list(_iter_rule_problems(rule_document))
        problems += [f"rules[{number}]: {problem}" for problem in rule_problems]
        if not rule_problems:
            rules.append(_build_rule(rule_document))
    if problems:
        raise FaultsError("; ".join(problems))
    return rules


def _build_rule(rule_document: Mapping[str, Any]) -> FaultRule:
    """The rule of a document in which `_iter_rule_problems` has found none."""
    match, action_document = rule_document.get("match", {}), rule_document["do"]
    kind = next(name for name in ACTION_KINDS if name in action_document)
    value = action_document[kind]
    commit_point = value if kind == "reset" else action_document.get("commit", _KINDS[kind].commit)
    nth = match.get("nth")
    return FaultRule(
        action=FaultAction(
            kind,
            value,
            commit_point,
            action_document.get("retry_after"),
            action_document.get("wait", 0.0),
        ),
        rule_document=rule_document,
        method=match.get("method", ""),
        path=match.get("path", "*"),
        first_request=nth or match.get("from", 1),
        last_request=nth or match.get("to"),
    )


def _iter_unknown(document: Mapping[str, Any], known: tuple[str, ...], place: str) -> Iterator[str]:
    for name in document:
        if name not in known:
            yield f"unknown key {name!r} {place}"


def _iter_rule_problems(rule_document: Any) -> Iterator[str]:
    if not isinstance(rule_document, Mapping) or not isinstance(rule_document.get("do"), Mapping):
        yield "a rule must be an object {match: {...}, do: {...}}"
        return
    yield from _iter_unknown(rule_document, _RULE_PARTS, "next to match and do")
    match = rule_document.get("match", {})
    if isinstance(match, Mapping):
        yield from _iter_match_problems(match)
    else:
        yield "match must be an object"
    yield from _iter_action_problems(rule_document["do"])


def _iter_match_problems(match: Mapping[str, Any]) -> Iterator[str]:
    for name in match:
        if name not in _MATCH_PARTS:
            yield f"unknown key {name!r} in match; known: {_MATCH_PARTS}"
    if match.get("method", "GET") not in _METHODS:
        yield f"method must be one of {_METHODS}"
    if not isinstance(match.get("path", ""), str):
        yield "path must be a string"
    for name in ("nth", "from", "to"):
        if name in match and not _is_positive(match[name]):
            yield f"{name} must be a whole number of at least 1"
    if "nth" in match and ("from" in match or "to" in match):
        yield "nth cannot be combined with from or to"


def _iter_action_problems(action_document: Mapping[str, Any]) -> Iterator[str]:
    names = [name for name in ACTION_KINDS if name in action_document]
    # The keys that are allowed depend on the kind: without exactly one, nothing more is checked.
    if len(names) != 1:
        yield f"do must have exactly one of {ACTION_KINDS}"
        return
    name, kind = names[0], _KINDS[names[0]]
    value = action_document[name]
    yield from _iter_unknown(action_document, (name, *kind.keys), f"next to {name}")
    if not kind.is_valid(value):
        yield f"{name} must be {kind.wanted}"
    commit = action_document.get("commit", BEFORE)
    if commit not in _COMMIT_POINTS:
        yield "commit must be before or after"
    elif name == "status" and commit == AFTER and _is_amount(value) and value < 500:
        yield "a status below 500 means that nothing was done, so it cannot come after the commit"
    for seconds in ("retry_after", "wait"):
        if seconds in action_document and not _is_amount(action_document[seconds]):
            yield f"{seconds} must be a number of seconds"
