"""What counts as one backend, how a target is held that means another, which rule is stricter."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from synapse_apply.controller.planned_rows import Binding, PlannedRow, RowAction
from synapse_apply.controller.ports import RunResult
from synapse_apply.controller.rows import RunOutcome, TargetRow
from synapse_apply.controller.settings import AutoRule, Mode, TargetRule
from synapse_apply.model.coding.json_values import format_canonical_json
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.secrets.secret_rules import spell_host
from synapse_apply.model.state import BackendIdentity

# The address of the row that holds a target; no guard of a plan is called so.
BINDING_GUARD = "binding"
MOVED_SUMMARY = "This target means another backend now"
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
        moved = f"The token is another one now, and may be for another tenant: {token}"
    rule = f". There a stricter rule holds for {beside}: who may approve that, too, accepts this"
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
    rule = "the strictest of both rules" if is_own_source else "its own rule"
    finding = error_finding(
        "Another target means this backend and state",
        f"{shown} was seen first with {owner.binding if is_named else 'them'}, and goes on under "
        f"{rule}. Nothing is applied by this name.",
        Text(
            "If that one is gone for good, or was renamed: ",
            Command(f"controller forget-rule {owner.name if is_named else 'SOURCE/TARGET'}"),
            "" if is_named else ". The log of the controller has its name.",
        ),
    )
    digest = f"second name of {owner.name}"
    return RunResult(RunOutcome.PLAN_ERROR, findings=(finding,), result_digest=digest)


def merge_rules(rule: TargetRule, other: TargetRule) -> TargetRule:
    """A rule that lets happen only what both let; nothing where their windows differ."""
    mode = min(rule.mode, other.mode, key=_STRICTEST_FIRST.index)
    if rule.windows and other.windows and rule.windows != other.windows:
        mode = Mode.OBSERVE
    auto = AutoRule(rule.auto.causes & other.auto.causes, rule.auto.actions & other.auto.actions)
    pauses = [pause for pause in (rule.pause, other.pause) if pause is not None]
    return replace(
        rule,
        mode=mode,
        auto=auto if mode is Mode.AUTO else rule.auto,
        approvals=max(rule.approvals, other.approvals),
        not_author=rule.not_author or other.not_author,
        windows=rule.windows or other.windows,
        pause=max(pauses, key=lambda pause: pause.until or float("inf"), default=None),
        prune=min(rule.prune, other.prune, key=(False, None, True).index),
    )


def is_stricter(other: TargetRule, rule: TargetRule) -> bool:
    """Whether a rule forbids something that another one lets happen."""
    return rule.mode is not Mode.OBSERVE and merge_rules(rule, other) != rule
