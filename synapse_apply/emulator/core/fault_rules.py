"""What shall go wrong, and when: rules that are read from JSON and counted as requests come in.

The shape is that of schemas/v1/faults.schema.json; docs/faults.md explains it.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BEFORE, AFTER = "before", "after"
_PLACES = (BEFORE, AFTER)
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_MATCH = ("method", "path", "nth", "from", "to")
# The parts that may stand beside each deed.
_BESIDE: dict[str, tuple[str, ...]] = {
    "latency": (),
    "hang": ("commit",),
    "status": ("commit", "retry_after"),
    "reset": (),
    "truncate": (),
    "slow": (),
    "page_shift": (),
    "cut": ("wait",),
    "narrow": (),
    "bucket": ("retry_after",),
}
DEEDS = tuple(_BESIDE)


class FaultsError(ValueError):
    """A schedule that cannot be used; the message names every rule that is wrong."""


@dataclass(frozen=True, slots=True)
class Deed:
    """What happens to a request.

    `value`: latency in ms, hang in seconds, status as such, reset `before` or `after`, truncate
    in bytes, slow in bytes per second, page_shift `insert` or `delete`, cut in bytes of a request,
    narrow in bytes of a request per second, bucket in requests per second.
    `commit` says whether the deed comes before or after the server has acted, `wait` for how many
    seconds nothing more is read before a cut.
    """

    kind: str
    value: Any
    commit: str = AFTER
    retry_after: float | None = None
    wait: float = 0.0


@dataclass(slots=True)
class Rule:
    """A deed for the `first` to the `last` request of a method on a path (glob; `*` any text)."""

    deed: Deed
    raw: Mapping[str, Any]
    method: str = ""
    path: str = "*"
    first: int = 1
    last: int | None = None
    seen: int = 0
    done: int = 0
    left: float = 0.0
    filled_at: float = float("-inf")

    def spend(self, now: float) -> bool:
        """Take one of a bucket, which holds those of a second; False when it is empty."""
        rate = self.deed.value
        self.left = min(float(rate), self.left + (now - self.filled_at) * rate)
        self.filled_at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True

    def concerns(self, method: str, path: str) -> bool:
        """Count this request if the rule is about it, and say whether its turn has come."""
        if self.method not in ("", method) or not fnmatch.fnmatchcase(path, self.path):
            return False
        self.seen += 1
        return self.first <= self.seen and (self.last is None or self.seen <= self.last)


@dataclass(slots=True)
class Schedule:
    """The rules in force. Every rule counts; of those whose turn it is, the first one acts."""

    rules: list[Rule] = field(default_factory=list)

    def take(self, method: str, path: str) -> Rule | None:
        """The rule that acts on the request that has just come in."""
        due = [rule for rule in self.rules if rule.concerns(method, path)]
        return due[0] if due else None

    def replace(self, document: Any) -> None:
        """Put other rules in force, all counters at 0. Raises FaultsError; then none changes."""
        self.rules = parse(document)

    def as_dict(self) -> dict[str, Any]:
        """The rules, and for each how many requests it has `seen` and to how many it was `done`."""
        counted = [{"seen": rule.seen, "done": rule.done} for rule in self.rules]
        return {"rules": [dict(rule.raw) for rule in self.rules], "counts": counted}


def read(path: Path) -> Any:
    """The document in a file, which `parse` takes. Raises FaultsError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FaultsError(f"cannot read the faults of {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise FaultsError(f"the faults of {path} are not JSON: {error}") from None
    try:
        parse(document)
    except FaultsError as error:
        raise FaultsError(f"{path}: {error}") from None
    return document


def parse(document: Any) -> list[Rule]:
    """`{"rules": [...]}` as rules. Raises FaultsError with every finding."""
    if not isinstance(document, Mapping) or not isinstance(document.get("rules"), list):
        raise FaultsError('faults are an object {"rules": [...]}')
    problems = [f"there is no {name!r} beside rules" for name in document if name not in _TOP]
    rules: list[Rule] = []
    for number, raw in enumerate(document["rules"]):
        found = list(_rule_problems(raw))
        problems += [f"rules[{number}]: {problem}" for problem in found]
        if not found:
            rules.append(_rule(raw))
    if problems:
        raise FaultsError("; ".join(problems))
    return rules


_TOP = ("rules", "$schema")


def _rule(raw: Mapping[str, Any]) -> Rule:
    match, do = raw.get("match", {}), raw["do"]
    kind = next(name for name in DEEDS if name in do)
    place = do[kind] if kind == "reset" else do.get("commit", _usual_place(kind))
    nth = match.get("nth")
    return Rule(
        deed=Deed(kind, do[kind], place, do.get("retry_after"), do.get("wait", 0.0)),
        raw=raw,
        method=match.get("method", ""),
        path=match.get("path", "*"),
        first=nth or match.get("from", 1),
        last=nth or match.get("to"),
    )


def _usual_place(kind: str) -> str:
    return BEFORE if kind in ("latency", "hang", "status", "bucket") else AFTER


def _rule_problems(raw: Any) -> Iterator[str]:
    if not isinstance(raw, Mapping) or not isinstance(raw.get("do"), Mapping):
        yield "a rule is an object {match: {...}, do: {...}}"
        return
    yield from (f"there is no {name!r} beside match and do" for name in raw if name not in _RULE)
    match = raw.get("match", {})
    if isinstance(match, Mapping):
        yield from _match_problems(match)
    else:
        yield "match is an object"
    yield from _deed_problems(raw["do"])


_RULE = ("match", "do")


def _match_problems(match: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"match has no {name!r}; it has {_MATCH}" for name in match if name not in _MATCH)
    if match.get("method", "GET") not in _METHODS:
        yield f"method is one of {_METHODS}"
    if not isinstance(match.get("path", ""), str):
        yield "path is a text"
    for name in ("nth", "from", "to"):
        if name in match and not _is_count(match[name]):
            yield f"{name} is a whole number from 1 on"
    if "nth" in match and ("from" in match or "to" in match):
        yield "nth excludes from and to"


def _deed_problems(do: Mapping[str, Any]) -> Iterator[str]:
    kinds = [name for name in DEEDS if name in do]
    if len(kinds) != 1:
        yield f"do has exactly one of {DEEDS}"
        return
    kind = kinds[0]
    value, fitting = do[kind], _FITTING[kind]
    yield from (
        f"there is no {name!r} beside {kind}" for name in do if name not in (kind, *_BESIDE[kind])
    )
    if not fitting[0](value):
        yield f"{kind} is {fitting[1]}"
    if do.get("commit", BEFORE) not in _PLACES:
        yield "commit is before or after"
    elif kind == "status" and do.get("commit") == AFTER and _is_number(value) and value < 500:
        yield "a status below 500 says that nothing was done: it cannot come after the commit"
    for name in ("retry_after", "wait"):
        if name in do and not _is_number(do[name]):
            yield f"{name} is a number of seconds"


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


_FITTING: dict[str, tuple[Any, str]] = {
    "latency": (_is_number, "a number of milliseconds"),
    "hang": (_is_number, "a number of seconds"),
    "status": (lambda value: _is_count(value) and 400 <= value <= 599, "a status, 400 to 599"),
    "reset": (lambda value: value in _PLACES, "before or after"),
    "truncate": (lambda value: value == 0 or _is_count(value), "a number of bytes"),
    "slow": (_is_count, "a number of bytes per second, from 1 on"),
    "page_shift": (lambda value: value in ("insert", "delete"), "insert or delete"),
    "bucket": (_is_count, "a number of requests per second, from 1 on"),
    "cut": (lambda value: value == 0 or _is_count(value), "a number of bytes"),
    "narrow": (_is_count, "a number of bytes per second, from 1 on"),
}
