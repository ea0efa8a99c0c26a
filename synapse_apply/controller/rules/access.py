"""Who may do what with which targets, and which approvals count now.

Without `access` whoever reaches the page may read it, and nobody may do anything.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any, TypeVar, cast

from synapse_apply.controller.planned_rows import (
    ApplyTerms,
    HeldRow,
    HoldReason,
    PlannedRow,
    RowAction,
)
from synapse_apply.controller.rows import (
    ApprovalRow,
    HoldRow,
    RunningJob,
    TargetName,
    TargetRow,
)
from synapse_apply.controller.settings import (
    DAY,
    Access,
    AccessRule,
    ApprovalRule,
    Mode,
    Right,
    TargetRule,
)
from synapse_apply.model.frozen import frozen, replace

T = TypeVar("T")

GROUP_PREFIX, OIDC_PREFIX, PROXY_PREFIX, TOKEN_PREFIX = "group:", "oidc:", "proxy:", "token:"

_WILDCARDS = frozenset("*?[")
HIDDEN_TARGET = "another target of this controller"
_BRACKET = re.compile(r"\[!?.[^\]]*\]", re.DOTALL)
_WORDS = re.compile(r"[\w-]+", re.ASCII)
# What of rows, findings, plans and reports is words, by its field or JSON key; what is another's.
_TEXTS = {"summary", "detail", "hint", "path", "target", "reason", "ways_out", "notes"} | {
    "refusal_reason", "approved_reason", "rejected_reason", "waiting_reason", "due_detail",
    "cause_detail", "stop_reason", "blame",
}  # fmt: skip
_DOCUMENTS, _VALUES = ("plan_json", "report_json"), ("fields", "before", "after", "body")


@frozen
class Person:
    """Who asks: `proxy:NAME`, `oidc:NAME` or `token:NAME`; `groups` are names without a prefix."""

    identity: str
    groups: frozenset[str] = frozenset()


def get_person_name(access: Access | None, identity: str) -> str:
    """The name of a person; of a token the one that `access` gives it, else its own."""
    name = identity.partition(":")[2] or identity
    persons = access.persons if access is not None else {}
    return persons.get(name, name) if identity.startswith(TOKEN_PREFIX) else name


def list_rights(access: Access | None, person: Person | None, name: TargetName) -> frozenset[Right]:
    """All that somebody may do with a target; every right includes that of reading it.

    `person` is None for who did not say who they are.
    """
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
        return all(Right.PAUSE in list_rights(access, person, name) for name in matching)
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
    # Whether there still is what says that somebody is who they say.
    who = person.identity if person else ""
    is_backed = {
        PROXY_PREFIX: access.proxy is not None,
        OIDC_PREFIX: access.oidc is not None,
        TOKEN_PREFIX: who.removeprefix(TOKEN_PREFIX) in access.tokens,
    }
    if person is not None and is_backed.get(who.partition(":")[0] + ":"):
        names = {who, *(f"{GROUP_PREFIX}{group}" for group in person.groups)}
        yield from (rule for rule in access.rules if not names.isdisjoint(rule.who))


def _rights_of(rule: AccessRule) -> frozenset[Right]:
    # Nobody can act on what they do not see.
    return rule.rights | {Right.READ} if rule.rights else rule.rights


# Which approvals count now, whose do not and why, and what they permit.
#
# Rules count as they are when a row is done, not as they were when it was approved.

APPROVAL_SECONDS = 7 * DAY
# As GitHub writes an author who hides their address: NUMBER+NAME@users.noreply.github.com.
_NUMBERED_ADDRESS = "@users.noreply."


@frozen
class LeftOutApproval:
    """An approval that does not count, and why, as a phrase."""

    who: str
    reason: str


@frozen
class ApprovalCount:
    """How many people have approved a row of those who have to.

    `who_counts` are the people whose approvals count. `approval_ids` are all that are used up where
    the row is done: also what does not count now, which would permit the same row once more later.
    `approvers` is as `format_approvers` says.
    """

    needed_count: int
    approval_ids: tuple[str, ...] = ()
    who_counts: tuple[str, ...] = ()
    left_out: tuple[LeftOutApproval, ...] = ()
    approvers: str = ""

    @property
    def is_enough(self) -> bool:
        return len(self.who_counts) >= self.needed_count


def list_needs(rule: TargetRule, row: PlannedRow) -> tuple[ApprovalRule, ...]:
    """Who has to approve a row, all of them: the first that matches of each list.

    What none of a list matches needs as many people as any row of it.
    """
    needs = [ApprovalRule(count=rule.approvals)]
    for rules in rule.approval_lists:
        other = ApprovalRule(count=max(one.count for one in rules))
        needs.append(next((one for one in rules if _matches(one, row)), other))
    # So many people are also enough for those that ask for fewer of whomever.
    greatest = max(needs, key=lambda one: (one.count, bool(one.who)))
    return tuple(one for one in needs if one.who or one is greatest)


def format_approvers(rule: TargetRule, row: PlannedRow) -> str:
    """A phrase such as `2 of group:leads`; "" where all who have the right can approve a row."""
    named = (f"{one.count} of {', '.join(one.who)}" for one in list_needs(rule, row) if one.who)
    return " and ".join(dict.fromkeys(named))


def can_approve(rule: TargetRule, row: PlannedRow, person: Person) -> bool:
    """Whether the approval of somebody who has the right may count for a row."""
    return any(_is_among(one, person) for one in list_needs(rule, row))


def _matches(rule: ApprovalRule, row: PlannedRow) -> bool:
    labels = [label.partition("=") for label in row.labels]
    is_guard = row.action is RowAction.GUARD
    return (
        (not rule.actions or row.action in rule.actions)
        and (not rule.kind or (row.address.startswith(f"{rule.kind}/") and not is_guard))
        and rule.irreversible in (None, None if is_guard else row.is_irreversible)
        and all(
            any(key == name and fnmatchcase(value, pattern) for key, _, value in labels)
            for name, pattern in rule.labels.items()
        )
    )


def _is_among(rule: ApprovalRule, person: Person) -> bool:
    names = {person.identity, *(f"{GROUP_PREFIX}{group}" for group in person.groups)}
    return not rule.who or not names.isdisjoint(rule.who)


def build_apply_terms(
    rule: TargetRule,
    approvals: Iterable[ApprovalRow],
    rows: Iterable[PlannedRow] = (),
    *,
    now: float,
    access: Access | None,
    authors: Collection[str] = (),
    rejected: Collection[str] = (),
) -> ApplyTerms:
    """What may be done with a target now: nothing in mode observe.

    `approvals` are those of the target, also old ones; `rows` are those of its plan, as they are
    now; `access` says who may approve now; `authors`
    are the names and addresses of who wrote the commits that would be applied; `rejected` are the
    digests of rows that a person has rejected.
    """
    if rule.mode is Mode.OBSERVE:
        return ApplyTerms()
    by_digest: dict[str, list[ApprovalRow]] = {}
    for approval in approvals:
        by_digest.setdefault(approval.row_digest, []).append(approval)
    author_names = _author_names(authors) if rule.not_author else frozenset()
    planned = {row.digest: row for row in rows}
    counts = {
        digest: _count_of_row(
            rule, planned.get(digest, of_row[0].row), of_row, now, access, author_names
        )
        for digest, of_row in by_digest.items()
        if digest not in rejected
    }
    is_auto = rule.mode is Mode.AUTO
    return ApplyTerms(
        rule.auto.causes if is_auto else frozenset(),
        rule.auto.actions if is_auto else frozenset(),
        {digest: count.approval_ids for digest, count in counts.items() if count.is_enough},
        frozenset(rejected),
        irreversible=rule.auto.irreversible,
    )


def count_approvals_of_row(
    rule: TargetRule,
    approvals: Iterable[ApprovalRow],
    row: PlannedRow,
    *,
    now: float,
    access: Access | None,
    authors: Collection[str] = (),
) -> ApprovalCount:
    """Who has approved a row, and whose approval does not count, as for `build_apply_terms`."""
    of_row = [approval for approval in approvals if approval.row_digest == row.digest]
    author_names = _author_names(authors) if rule.not_author else frozenset()
    return _count_of_row(rule, row, of_row, now, access, author_names)


def add_approved_rows(
    holds: Sequence[HoldRow], approvals: Iterable[ApprovalRow], now: float, row: TargetRow | None
) -> list[HoldRow]:
    """The holds of a target, and rows that have unused approvals and are not done yet.

    Where it waits for no person any more, it can still be rejected. What `row` applies says so.
    """
    rows = {hold.row_digest: hold for hold in holds}
    for given in approvals:
        if not given.used_at and not is_approval_stale(given, now):
            held_row = HeldRow(given.row, HoldReason.APPROVED)
            hold = HoldRow(given.target, given.row_digest, held_row, "", "", given.approved_at)
            rows.setdefault(given.row_digest, hold)
    for digest in rows.keys() & (row.applying if row else ()):
        applying = HeldRow(rows[digest].held_row.row, HoldReason.APPLYING)
        rows[digest] = replace(rows[digest], held_row=applying)
    return [*rows.values()]


def lead_with_irreversible(
    holds: Sequence[HoldRow], running: Iterable[RunningJob] = ()
) -> list[HoldRow]:
    """Rows as people decide on them: what cannot be undone, what has running jobs, and the rest."""
    busy = {job.owner for job in running}

    def rank(hold: HoldRow) -> tuple[bool, bool]:
        row = hold.held_row.row
        return not row.is_irreversible, row.address not in busy

    return sorted(holds, key=rank)


def describe_approvals(count: ApprovalCount) -> str:
    """A phrase such as `1 of 2 approvals, by proxy:ann; proxy:bob does not count: expired`."""
    noun = "approval" if count.needed_count == 1 else "approvals"
    text = f"{len(count.who_counts)} of {count.needed_count} {noun}"
    if count.who_counts:
        text += f", by {', '.join(count.who_counts)}"
    left_out = [
        f"the approval by {approval.who} does not count: {approval.reason}"
        for approval in count.left_out
    ]
    return "; ".join([text, *left_out])


def is_approval_stale(approval: ApprovalRow, now: float) -> bool:
    """Whether an approval is too old; one of the future counts as given now."""
    return now - approval.approved_at >= APPROVAL_SECONDS


def is_author(access: Access | None, who: str, authors: Collection[str]) -> bool:
    """Whether a person (`proxy:NAME`, `token:NAME`) goes by the name or address of an author.

    Names are compared without regard to case, addresses also by what stands before the `@`. That
    stops slips, not people who write another name into their commits.
    """
    names = _names_of_author(get_person_name(access, who))
    return not names.isdisjoint(_author_names(authors))


def get_person_key(access: Access | None, who: str) -> str:
    """The same for all identities of one person: people are compared as authors are.

    An address counts by what stands before its `@`, so that a token of that name is no second one.
    """
    return min(_names_of_author(get_person_name(access, who)), key=len, default="")


def _count_of_row(
    rule: TargetRule,
    row: PlannedRow,
    approvals: Iterable[ApprovalRow],
    now: float,
    access: Access | None,
    author_names: frozenset[str],
) -> ApprovalCount:
    needs = list_needs(rule, row)
    people = [set[str]() for _ in needs]
    counted: dict[str, ApprovalRow] = {}
    left_out: dict[str, LeftOutApproval] = {}
    unused_ids: list[str] = []
    # The newest of each person, so that one who approves again after a week counts.
    for approval in sorted(approvals, key=lambda row: (row.approved_at, row.id), reverse=True):
        person = get_person_key(access, approval.who)
        # A right, or a token, may have been taken away since.
        holder, reason = Person(approval.who, frozenset(approval.groups)), ""
        names = _names_of_author(get_person_name(access, approval.who))
        if approval.used_at:
            reason = "an apply has used it"
        elif is_approval_stale(approval, now):
            reason = "it is older than 7 days"
        else:
            unused_ids.append(approval.id)
            if Right.APPROVE not in list_rights(access, holder, approval.target):
                reason = "they no longer have the right `approve`"
            elif rule.not_author and not names.isdisjoint(author_names):
                reason = "they are an author of the commits"
            elif approval.is_of_now and not (rule.is_of_now or rule.mode is Mode.OBSERVE):
                reason = "it was for an apply in mode observe"
            elif not can_approve(rule, row, holder):
                reason = f"the row needs {format_approvers(rule, row)}"
        for need, names_of_need in zip(needs, people, strict=True):
            if not reason and _is_among(need, holder):
                names_of_need.add(person)
        if reason:
            left_out.setdefault(person, LeftOutApproval(approval.who, reason))
        elif (first := counted.setdefault(person, approval)).who != approval.who:
            same = f"it comes from the same person as the approval of {first.who}"
            left_out[approval.who] = LeftOutApproval(approval.who, same)
    missing = max(one.count - len(names) for one, names in zip(needs, people, strict=True))
    in_time = sorted(counted.values(), key=lambda row: (row.approved_at, row.id))
    return ApprovalCount(
        max(len(counted) + missing, *(one.count for one in needs)),
        tuple(sorted(unused_ids)),
        tuple(approval.who for approval in in_time),
        tuple(approval for person, approval in sorted(left_out.items()) if person not in counted),
        format_approvers(rule, row),
    )


def _author_names(authors: Collection[str]) -> frozenset[str]:
    return frozenset(name for author in authors for name in _names_of_author(author))


def _names_of_author(text: str) -> frozenset[str]:
    """A name, or an address and what stands before its `@`; to be compared."""
    name = unicodedata.normalize("NFKC", text).strip().casefold()
    local_part, sign, _ = name.rpartition("@")
    names = {name, local_part} if sign else {name}
    if _NUMBERED_ADDRESS in name:
        names.add(local_part.partition("+")[2])
    return frozenset(names - {""})
