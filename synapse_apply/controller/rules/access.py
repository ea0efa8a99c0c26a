"""Who may do what with which targets, by `access` of controller.yaml.

Without `access` whoever reaches the page may read it, and nobody may do anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any, TypeVar, cast

from synapse_apply.controller.rows import TargetName
from synapse_apply.controller.settings import Access, AccessRule, Right
from synapse_apply.model.frozen import frozen

T = TypeVar("T")

GROUP_PREFIX, PROXY_PREFIX, TOKEN_PREFIX = "group:", "proxy:", "token:"

_WILDCARDS = frozenset("*?[")
HIDDEN_TARGET = "another target of this controller"
_BRACKET = re.compile(r"\[!?.[^\]]*\]", re.DOTALL)
_WORDS = re.compile(r"[\w-]+", re.ASCII)
# What of rows, findings, plans and reports is words, by its field or JSON key; what is another's.
_TEXTS = {"summary", "detail", "hint", "path", "target", "reason", "ways_out", "notes"} | {
    "refusal_reason", "rejected_reason", "waiting_reason", "due_detail", "cause_detail",
    "stop_reason",
}  # fmt: skip
_DOCUMENTS, _VALUES = ("plan_json", "report_json"), ("fields", "before", "after", "body")


@frozen
class Person:
    """Who asks: `identity` is `proxy:NAME` or `token:NAME`, `groups` are names without a prefix."""

    identity: str
    groups: frozenset[str] = frozenset()


def get_person_name(access: Access | None, identity: str) -> str:
    """The name of a person; of a token the one that `access` gives it, else its own."""
    name = identity.partition(":")[2] or identity
    persons = access.persons if access is not None else {}
    return persons.get(name, name) if identity.startswith(TOKEN_PREFIX) else name


def is_allowed_for(
    access: Access | None, person: Person | None, right: Right, name: TargetName | None
) -> bool:
    """Whether somebody may do something with a target; with any target at all for None.

    `person` is None for who did not say who they are.
    """
    if name is not None:
        return right in list_rights(access, person, name)
    if access is None:
        return right is Right.READ
    return any(right in _rights_of(rule) and rule.targets for rule in _rules_of(access, person))


def list_rights(access: Access | None, person: Person | None, name: TargetName) -> frozenset[Right]:
    """All that somebody may do with a target; every right includes that of reading it."""
    if access is None:
        return frozenset({Right.READ})
    rights: set[Right] = set()
    for rule in _rules_of(access, person):
        if any(fnmatchcase(str(name), pattern) for pattern in rule.targets):
            rights |= _rights_of(rule)
    return frozenset(rights)


def list_readable_patterns(access: Access | None, person: Person | None) -> tuple[str, ...]:
    """Patterns (fnmatch) of SOURCE/TARGET that together match all that somebody may read."""
    if access is None:
        return ("*",)
    patterns = [
        pattern
        for rule in _rules_of(access, person)
        if _rights_of(rule)
        for pattern in rule.targets
    ]
    return ("*",) if "*" in patterns else tuple(dict.fromkeys(patterns))


def name_to_readers(access: Access | None, name: TargetName, other: TargetName) -> str:
    """How a text of a target names another one: not by its name unless all readers may read both.

    Readers are told apart by the rules of `access`, each alone.
    """
    readers = [
        rule.targets
        for rule in (access.rules if access is not None else ())
        if any(fnmatchcase(str(name), pattern) for pattern in rule.targets)
    ]
    is_open = all(any(fnmatchcase(str(other), pattern) for pattern in one) for one in readers)
    return str(other) if is_open else HIDDEN_TARGET


def hide_targets(value: T, source: str, names: AbstractSet[str]) -> T:
    """A row or finding whose words do not name these targets of a source, nor say more of one.

    Addresses, and values of fields, stay as they are.
    """
    words = {word for name in names for word in name.split(".") if len(word) > 1 or word == name}

    def hide(item: Any, key: str = "") -> Any:
        if isinstance(item, str) and key in _TEXTS:
            text = _WORDS.sub(lambda word: HIDDEN_TARGET if word[0] in words else word[0], item)
            before, name, rest = text.partition(HIDDEN_TARGET) if text != item else (text, "", "")
            clause, colon, _ = rest.partition(": ")
            return before.removesuffix(f"{source}/") + name + clause + (colon and ": ...")
        if key in _DOCUMENTS and item:
            with suppress(ValueError, RecursionError):
                return json.dumps(hide(json.loads(item)))
            return ""
        if isinstance(item, dict):
            return {k: one if k in _VALUES else hide(one, k) for k, one in item.items()}
        if fields := getattr(item, "__match_args__", ()):  # of a dataclass or a named tuple
            return type(item)(*(hide(getattr(item, field), field) for field in fields))
        is_several = isinstance(item, list | tuple)
        return type(item)(hide(one, key) for one in item) if is_several else item

    return cast("T", hide(value)) if words else value


def can_pause_scope(
    access: Access | None, person: Person | None, scope: str, names: Iterable[TargetName]
) -> bool:
    """Whether somebody may pause, and resume, every target that a scope matches.

    `names` are all targets that there are. A scope that matches none is nobody's. One with a
    wildcard also matches targets to come: one pattern of theirs has to cover all of it.
    """
    matching = [name for name in names if fnmatchcase(str(name), scope)]
    if not matching or access is None:
        return False
    if _WILDCARDS.isdisjoint(scope):
        return all(is_allowed_for(access, person, Right.PAUSE, name) for name in matching)
    return any(
        _surely_covers(pattern, scope)
        for rule in _rules_of(access, person)
        if Right.PAUSE in rule.rights
        for pattern in rule.targets
    )


def _surely_covers(pattern: str, scope: str) -> bool:
    """Whether a pattern surely matches all that a scope matches.

    Where `*` is its only wildcard, what matches the text of the scope matches all of it. A bracket
    of the scope is some character, and its own text is none that the scope matches.
    """
    has_stars_alone = set(pattern).isdisjoint(_WILDCARDS - {"*"})
    text = _BRACKET.sub("?", scope)
    return pattern == scope or (has_stars_alone and fnmatchcase(text, pattern))


def _rules_of(access: Access, person: Person | None) -> Iterator[AccessRule]:
    if person is None or not _is_configured(access, person.identity):
        return
    names = {person.identity, *(f"{GROUP_PREFIX}{group}" for group in person.groups)}
    for rule in access.rules:
        if not names.isdisjoint(rule.who):
            yield rule


def _is_configured(access: Access, identity: str) -> bool:
    """Whether there still is what says that somebody is who they say."""
    if identity.startswith(PROXY_PREFIX):
        return access.proxy is not None
    is_token = identity.startswith(TOKEN_PREFIX)
    return is_token and identity.removeprefix(TOKEN_PREFIX) in access.tokens


def _rights_of(rule: AccessRule) -> frozenset[Right]:
    # Nobody can act on what they do not see.
    return rule.rights | {Right.READ} if rule.rights else rule.rights
