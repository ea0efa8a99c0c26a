"""One object, one owner: of two states that record one live object, the first one keeps it.

The store has who manages each object. A target whose state records an object comes before one whose
plan would take or create it, and of two of a kind the first. What a plan would take or create
counts only while the controller may do it: a plan alone keeps no object from anybody.
"""

from __future__ import annotations

from synapse_apply.controller.loop.claiming import ClaimedTarget, FinishedRun
from synapse_apply.controller.loop.deciding import TargetDecision
from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.planned_rows import Binding
from synapse_apply.controller.ports import TargetFilter
from synapse_apply.controller.rows import OwnerRow, TargetCondition, TargetName, TargetRow
from synapse_apply.controller.rules.access import name_to_readers
from synapse_apply.controller.rules.due import SETTLING_SECONDS
from synapse_apply.controller.rules.judging import is_moved_row, judge_rows, may_be_one_tenant
from synapse_apply.controller.rules.permits import ApplyBlock
from synapse_apply.controller.settings import Mode
from synapse_apply.controller.worker.look import refuse_owned_in_result
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.frozen import replace
from synapse_apply.model.phrases import format_count_and_noun


def settle_owners(
    parts: LoopParts, claimed: ClaimedTarget, look: FinishedRun, decision: TargetDecision
) -> tuple[FinishedRun, TargetDecision]:
    """Record what a target manages, and refuse its rows of objects that another target manages.

    The decision has how readers of this target may name the other, by the address of each of them.
    """
    result, name = look.result, claimed.row.name
    binding = result.binding
    if (
        result.outcome.is_failure
        or binding is None
        or not binding.lineage
        or any(map(is_moved_row, result.rows))
    ):
        return look, decision
    now, known = parts.clock.read_wall(), {one.thing: one for one in parts.store.list_owned(name)}
    url = binding.backend.partition(" ")[0]
    wished = {
        claim.thing: _keep_time(
            OwnerRow(
                url,
                claim.thing,
                name,
                binding.backend,
                binding.lineage,
                binding.token,
                claim.remote_id,
                claim.is_recorded,
                now,
            ),
            known.get(claim.thing),
        )
        for claim in result.claims
    }
    if wished == known and all(one.is_recorded for one in wished.values()):
        return look, decision
    with parts.write() as writer:
        if not writer.is_claim_own(name, parts.holder, claimed.epoch):
            return look, decision
        # Since this transaction, in which the others are read: of two that are checked at once,
        # the one that writes first is the owner, whichever looked first.
        owned = parts.store.list_owners(binding.backend, [*wished])
        # Not before theirs, also where a clock is behind.
        now = max([parts.clock.read_wall(), *(row.since for row in owned if row.name != name)])
        wished = {
            thing: one if one == known.get(thing) else replace(one, since=now)
            for thing, one in wished.items()
        }
        others = {row.thing: row for row in owned if _comes_before(parts, row, wished[row.thing])}
        owners = {
            claim.address: name_to_readers(parts.settings.access, name, others[claim.thing].name)
            for claim in result.claims
            if claim.thing in others
        }
        if owners:
            result = refuse_owned_in_result(result, owners, str(name))
            look, terms = look._replace(result=result), replace(decision.terms, owners=owners)
            decision = replace(decision, terms=terms, judgement=judge_rows(result.rows, terms))
        permitted = {row.address for row in decision.judgement.permitted_rows}
        if decision.block is not None or decision.rule.mode is Mode.OBSERVE:
            permitted = set()
        # All that one object is called has one owner: also the id of what another one has made.
        kept = {
            claim.thing: wished[claim.thing]
            for claim in result.claims
            if claim.address not in owners and (claim.is_recorded or claim.address in permitted)
        }
        taken = any(one.remote_id and not one.is_recorded for one in kept.values())
        unchecked = _count_unchecked(parts, name, binding) if taken else 0
        if unchecked:
            kept = {thing: one for thing, one in kept.items() if one.is_recorded}
            targets = format_count_and_noun(unchecked, "target")
            phrase = f"the first check of {targets}, which may manage what it would adopt"
            block = ApplyBlock(TargetCondition.WAITING, now + SETTLING_SECONDS, phrase)
            decision = replace(decision, block=block)
        writer.delete_owners([one for thing, one in known.items() if thing not in kept])
        writer.put(*(one for thing, one in kept.items() if known.get(thing) != one))
    if owners:
        parts.log(
            "warn",
            "objects of another target",
            target=name,
            owners=", ".join(sorted({str(row.name) for row in others.values()})),
            objects=", ".join(sorted(owners)[:5]),
        )
    return look, decision


def _keep_time(new: OwnerRow, known: OwnerRow | None) -> OwnerRow:
    """What is managed since an earlier look, with the time of that."""
    earlier = new if known is None else replace(new, since=known.since)
    return earlier if earlier == known else new


def _comes_before(parts: LoopParts, owner: OwnerRow, wished: OwnerRow) -> bool:
    """Whether another target manages an object, and still may.

    Objects of one natural key are one object unless both have ids that differ, of one version of
    the API. Another name for one state is no other owner.
    """
    if owner.name == wished.name or owner.lineage == wished.lineage:
        return False
    ids = [one.remote_id.split(" ", 1) for one in (owner, wished) if one.remote_id]
    are_apart = len(ids) == 2 and ids[0][0] == ids[1][0] and ids[0] != ids[1]
    is_first = (owner.is_recorded, -owner.since) >= (wished.is_recorded, -wished.since)
    # A token tells a tenant without a name.
    are_named = " " in owner.backend and " " in wished.backend
    is_one_tenant = may_be_one_tenant(owner.backend, wished.backend)
    is_one_tenant = is_one_tenant and (are_named or owner.token == wished.token)
    if not is_first or not is_one_tenant or are_apart:
        return False
    # Asked last: many tenants have objects of one name.
    row = parts.store.find_target(owner.name)
    return row is not None and not row.is_gone and owner.name.source in parts.settings.sources


def _count_unchecked(parts: LoopParts, name: TargetName, binding: Binding) -> int:
    """How many other targets of a backend were never looked at: their states may record anything.

    One that waits for its wave of a rollout is not asked: nobody looks at it meanwhile.
    """
    rows = parts.store.list_targets(TargetFilter(state=TargetCondition.NOT_LOOKED_AT))
    return sum(
        row.name != name and bool(row.wanted_commit) and _may_be_at(parts, row, binding)
        for row in rows
    )


def _may_be_at(parts: LoopParts, row: TargetRow, binding: Binding) -> bool:
    """Whether a target may be at a backend and tenant, by what its commit declares."""
    mirror = parts.configured.mirrors.get(row.name.source)
    try:
        targets = mirror.list_targets(row.wanted_commit) if mirror is not None else ()
    except SynapseApplyError:
        return True
    backend = next((one.backend for one in targets if one.name == row.name.target), "")
    return mirror is not None and (not backend or may_be_one_tenant(backend, binding.backend))
