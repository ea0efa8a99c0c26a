"""Which rows of a plan are done now, which are held or refused and why, and for which backend.

The loop judges to know what is to be done, the worker under the lock once more: the same rows and
terms always give the same judgement.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from urllib.parse import unquote, urlsplit

from synapse_apply.controller.planned_rows import (
    ApplyTerms,
    Binding,
    HeldRow,
    HoldReason,
    Judgement,
    PlannedRow,
    RowAction,
    RowCause,
)
from synapse_apply.controller.ports import RunResult
from synapse_apply.controller.rows import RunOutcome, TargetRow
from synapse_apply.controller.rules.brakes import find_row_brake
from synapse_apply.controller.settings import AutoRule, Mode, TargetRule
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.frozen import replace
from synapse_apply.model.json_values import format_canonical_json
from synapse_apply.model.secrets.secret_rules import spell_host
from synapse_apply.model.state import BackendIdentity

POLICY_GUARD_PREFIX = "policy:"
BRAKE_RULE = "brake"
REJECTED_PHRASE = "a person rejected it"
# What has no cause of its own (a verification, an adoption) is there because Git asks for it.
_CAUSES_WITHOUT_ONE = (RowCause.GIT,)


def get_causes_or_git(row: PlannedRow) -> tuple[RowCause, ...]:
    """The causes of a row; one that names none is there because Git asks for it."""
    return row.causes or _CAUSES_WITHOUT_ONE


def judge_rows(rows: Sequence[PlannedRow], terms: ApplyTerms) -> Judgement:
    """What becomes of the rows of a plan, in time linear in their number.

    A row is permitted if all its actions and causes are in the terms, or its digest is approved,
    and all that it needs is permitted or not in the plan. A guard that these rows violate and that
    is not approved stops all of them; that of a policy stops them in any case. They are held, or
    wait where all that stops them ends by itself. A row that a person has rejected is held, also
    where it would wait: so it is still known when it could be done. What was restored often waits
    for its brake, or for a person.
    """
    guards = [row for row in rows if row.action is RowAction.GUARD]
    others = [row for row in rows if row.action is not RowAction.GUARD]
    refused_rows = [row for row in others if _is_stopped(row) and not row.is_waiting]
    waiting_rows = [row for row in others if row.is_waiting and row.digest not in terms.rejected]
    doable_rows = [
        row
        for row in others
        if not _is_stopped(row) or (row.is_waiting and row.digest in terms.rejected)
    ]

    holds = {id(row): hold for row in doable_rows if (hold := _find_hold(row, terms)) is not None}
    brakes = {(one.address, one.field): one for one in terms.brakes}
    braked: dict[int, PlannedRow] = {}
    ends = list[float]()
    for row in doable_rows:
        is_asked = id(row) in holds or row.digest in terms.approvals
        brake = None if is_asked else find_row_brake(row, brakes, is_live=terms.is_live)
        if brake is None:
            continue
        # Nothing of it is a matter of the revision, which was live.
        drifted = replace(row, causes=(RowCause.DRIFT,))
        if brake.until is None:
            holds[id(row)] = HeldRow(drifted, HoldReason.BRAKE, brake.reason)
            continue
        ends.append(brake.until)
        waiting_rows.append(row)
        braked[id(row)] = replace(
            drifted, refusal=BRAKE_RULE, refusal_reason=brake.reason, is_waiting=True
        )
    dependents = _rows_by_need(row for row in doable_rows if id(row) not in holds)
    stopped_rows = [*(hold.row for hold in holds.values()), *refused_rows]
    for row, needed_address in _iter_dependents(stopped_rows, dependents):
        holds[id(row)] = HeldRow(
            row, HoldReason.DEPENDENCY, f"it depends on {needed_address}, which is not applied"
        )
    waiting_ids = {
        id(row) for row, _ in _iter_dependents(waiting_rows, dependents) if id(row) not in holds
    } | {id(row) for row in waiting_rows}

    permitted_rows = [
        row for row in doable_rows if id(row) not in holds and id(row) not in waiting_ids
    ]
    violated_guards = [guard for guard in guards if _is_violated(guard, permitted_rows)]
    stopping_guards = [guard for guard in violated_guards if not _is_overridden(guard, terms)]
    if all(guard.is_waiting for guard in stopping_guards):
        # Such as a freeze of the policy, which ends by itself: nobody is asked about it.
        waiting_ids |= {id(row) for row in (*stopping_guards, *permitted_rows) if stopping_guards}
    else:
        detail = f"stopped by {', '.join(guard.address for guard in stopping_guards)}"
        holds |= {id(row): HeldRow(row, HoldReason.GUARD, detail) for row in permitted_rows}
    if stopping_guards:
        permitted_rows = []
    # Told before its rows are approved, so that a person approves both at once.
    for guard in guards:
        is_open = not guard.is_waiting and not _is_overridden(guard, terms)
        if is_open and _is_violated(guard, doable_rows, is_whole_plan_guard_always_violated=True):
            holds[id(guard)] = HeldRow(guard, HoldReason.GUARD)
    overridden_guards = [] if stopping_guards else violated_guards
    return Judgement(
        permitted_rows=tuple(permitted_rows),
        used_approvals={
            row.digest: terms.approvals[row.digest]
            for row in (*permitted_rows, *overridden_guards)
            if row.digest in terms.approvals
        },
        overridden_guards=tuple(guard.address for guard in overridden_guards),
        held_rows=tuple(holds[id(row)] for row in rows if id(row) in holds),
        refused_rows=tuple(refused_rows),
        waiting_rows=tuple(braked.get(id(row), row) for row in rows if id(row) in waiting_ids),
        braked_until=min(ends, default=None),
    )


def build_rejected_hold(row: PlannedRow) -> HeldRow:
    """What holds a row that a person has rejected: an approval of its own lets it be done."""
    return HeldRow(row, HoldReason.APPROVAL, REJECTED_PHRASE)


def _is_stopped(row: PlannedRow) -> bool:
    return bool(row.refusal) or row.is_waiting or row.is_outcome_unknown


def _find_hold(row: PlannedRow, terms: ApplyTerms) -> HeldRow | None:
    """Why a row waits for an approval of its own; None where it needs none, or has it."""
    if row.digest in terms.rejected:
        return build_rejected_hold(row)
    if row.digest in terms.approvals:
        return None
    if not terms.actions or not terms.causes:
        return HeldRow(row, HoldReason.APPROVAL)
    missing = [action.value for action in row.actions if action not in terms.actions]
    if missing:
        detail = f"the action {', '.join(missing)} needs approval"
        return HeldRow(row, HoldReason.ACTION, detail)
    if row.is_irreversible and not terms.irreversible:
        return HeldRow(row, HoldReason.ACTION, "what cannot be undone needs approval")
    others = [cause.value for cause in get_causes_or_git(row) if cause not in terms.causes]
    if others:
        return HeldRow(row, HoldReason.CAUSE, f"the cause {', '.join(others)} needs approval")
    return None


def _rows_by_need(rows: Iterable[PlannedRow]) -> dict[str, list[PlannedRow]]:
    """The rows that need an address, by that address."""
    dependents: dict[str, list[PlannedRow]] = {}
    for row in rows:
        for address in row.needs:
            dependents.setdefault(address, []).append(row)
    return dependents


def _iter_dependents(
    stopped_rows: Iterable[PlannedRow], dependents: Mapping[str, Sequence[PlannedRow]]
) -> Iterable[tuple[PlannedRow, str]]:
    """Each row that needs a stopped one, also by way of others, once; and the address it needs."""
    addresses = list(dict.fromkeys(row.address for row in stopped_rows))
    dependent_ids: set[int] = set()
    all_addresses = set(addresses)
    while addresses:
        address = addresses.pop()
        for row in dependents.get(address, ()):
            if id(row) in dependent_ids:
                continue
            dependent_ids.add(id(row))
            yield row, address
            if row.address not in all_addresses:
                all_addresses.add(row.address)
                addresses.append(row.address)


def _is_violated(
    guard: PlannedRow,
    rows: Collection[PlannedRow],
    *,
    is_whole_plan_guard_always_violated: bool = False,
) -> bool:
    """Whether doing these rows violates a guard.

    One that counts no rows judges the plan as a whole: any row violates it, and with
    `is_whole_plan_guard_always_violated` also none.
    """
    if not guard.needs:
        return bool(rows) or is_whole_plan_guard_always_violated
    counted = frozenset(guard.needs)
    return sum(row.address in counted for row in rows) > guard.limit


def _is_overridden(guard: PlannedRow, terms: ApplyTerms) -> bool:
    """Whether people have approved what a guard stops; a policy is not theirs to override.

    What they say of another backend counts before anything is judged: then there is no such guard.
    """
    is_theirs = not (guard.address.startswith(POLICY_GUARD_PREFIX) or is_moved_row(guard))
    return guard.digest in terms.approvals and is_theirs


# The address of the row that holds a target; no guard of a plan is called so.
BINDING_GUARD = "binding"
MOVED_SUMMARY = "The target now points to a different backend"
_DEFAULT_PORTS = {"https": 443, "http": 80}
_STRICTEST_FIRST = (Mode.OBSERVE, Mode.APPROVE, Mode.AUTO)


def format_backend(identity: BackendIdentity) -> str:
    """A backend in one spelling for all of its urls and, behind a blank, the tenant."""
    url = f"{identity.url}{identity.data_set}"
    with suppress(ValueError):
        parts = urlsplit(identity.url)
        host, port = spell_host(parts.hostname or ""), parts.port
        path = re.sub("/+", "/", unquote(parts.path)).rstrip("/").replace(" ", "%20")
        url = f"{parts.scheme}://{host}:{port or _DEFAULT_PORTS.get(parts.scheme)}{path}"
    # As it is sent.
    return f"{url} {identity.tenant.strip().removeprefix('Token ').strip()}".rstrip()


def may_be_one_tenant(backend: str, other: str) -> bool:
    """Whether two backends have one url and may have one tenant, in whatever letter case.

    Without a tenant a token tells it.
    """
    (url, _, tenant), (other_url, _, other_tenant) = backend.partition(" "), other.partition(" ")
    is_either_open = not (tenant and other_tenant)
    return url == other_url and (is_either_open or tenant.casefold() == other_tenant.casefold())


def may_be_one_state(binding: Binding, other: Binding | None) -> bool:
    """Whether two targets may mean one backend, tenant and state."""
    return (
        other is not None
        and binding.lineage == other.lineage
        and may_be_one_tenant(binding.backend, other.backend)
    )


def build_moved_row(bound: Binding | None, new: Binding, beside: str = "") -> PlannedRow:
    """The row that stops all others until people accept that a target means `new`.

    `beside` names targets of that backend with a stricter rule, "" for none.
    """
    old = bound and [bound.backend, bound.lineage, bound.token]
    facts = [old, new.backend, new.lineage, new.token]
    digest = hashlib.sha256(format_canonical_json([BINDING_GUARD, *facts]).encode()).hexdigest()
    moved = f"{MOVED_SUMMARY}: {new}{f', not {bound}' if bound else ''}"
    if bound == new:
        token = f"{new.token}, not {bound.token}"
        moved = f"The token has changed, and may be for a different tenant: {token}"
    rule = (
        f". The stricter rule of {beside} applies there: a person who may approve both "
        "targets must accept this"
    )
    return PlannedRow(
        f"row1:{digest}", BINDING_GUARD, RowAction.GUARD, summary=f"{moved}{rule if beside else ''}"
    )


def is_moved_row(row: PlannedRow) -> bool:
    return row.action is RowAction.GUARD and row.address == BINDING_GUARD


def second_name_result(owner: TargetRow, shown: str, *, is_own_source: bool) -> RunResult:
    """What becomes of a look at a target that means what an older name is bound to.

    `shown` is what its readers may know of that name.
    """
    is_named = shown == str(owner.name)
    rule = "the stricter of both rules" if is_own_source else "its own rule"
    finding = error_finding(
        "Another target already points to this backend and state",
        f"{shown} already uses {owner.binding if is_named else 'them'}, and continues under "
        f"{rule}. The controller applies nothing under this name.",
        Text(
            "If that target is gone permanently, or was renamed: ",
            Command(f"controller forget-rule {owner.name if is_named else 'SOURCE/TARGET'}"),
            "" if is_named else ". The controller's log shows its name.",
        ),
    )
    digest = f"second name of {owner.name}"
    return RunResult(RunOutcome.PLAN_ERROR, findings=(finding,), result_digest=digest)


def merge_rules(rule: TargetRule, other: TargetRule) -> TargetRule:
    """A rule that lets happen only what both let; nothing where their windows differ."""
    mode = min(rule.mode, other.mode, key=_STRICTEST_FIRST.index)
    if rule.windows and other.windows and rule.windows != other.windows:
        mode = Mode.OBSERVE
    auto = AutoRule(
        rule.auto.causes & other.auto.causes,
        rule.auto.actions & other.auto.actions,
        rule.auto.irreversible and other.auto.irreversible,
    )
    pauses = [pause for pause in (rule.pause, other.pause) if pause is not None]
    return replace(
        rule,
        mode=mode,
        auto=auto if mode is Mode.AUTO else rule.auto,
        approvals=max(rule.approvals, other.approvals),
        approval_lists=(
            *rule.approval_lists,
            *(one for one in other.approval_lists if one not in rule.approval_lists),
        ),
        not_author=rule.not_author or other.not_author,
        windows=rule.windows or other.windows,
        brake_holds=tuple(dict.fromkeys((*rule.brake_holds, *other.brake_holds))),
        pause=max(pauses, key=lambda pause: pause.until or float("inf"), default=None),
        prune=min(rule.prune, other.prune, key=(False, None, True).index),
        create_state=rule.create_state and other.create_state,
    )


def is_stricter(other: TargetRule, rule: TargetRule) -> bool:
    """Whether a rule forbids something that another one lets happen."""
    return rule.mode is not Mode.OBSERVE and merge_rules(rule, other) != rule
