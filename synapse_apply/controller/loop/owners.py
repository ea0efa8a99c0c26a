"""One object, one owner: of two states that record one live object, the first one keeps it.

The store has the owner of each object of a tenant, from the first look whose plan records, takes or
creates it. So the second target is refused from its first look on, whatever both apply at once.
"""

from __future__ import annotations

from collections.abc import Mapping

from synapse_apply.controller.loop.claiming import ClaimedTarget, FinishedRun
from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.planned_rows import Binding
from synapse_apply.controller.rows import OwnerRow
from synapse_apply.controller.rules.access import name_to_readers
from synapse_apply.controller.rules.judging import is_moved_row
from synapse_apply.controller.worker.look import refuse_owned_in_result


def settle_owners(
    parts: LoopParts, claimed: ClaimedTarget, look: FinishedRun
) -> tuple[FinishedRun, Mapping[str, str]]:
    """Record what a target manages, and refuse its rows of objects that another target manages.

    Returns how readers of this target may name the other, by the address of each such object.
    """
    result, name = look.result, claimed.row.name
    binding = result.binding
    if (
        result.outcome.is_failure
        or binding is None
        or not binding.lineage
        or any(map(is_moved_row, result.rows))
    ):
        return look, {}
    tenant = _name_tenant(binding)
    wished = {
        claim.thing: OwnerRow(tenant, claim.thing, name, binding.lineage, claim.remote_id)
        for claim in result.claims
    }
    if {*parts.store.list_owned(name)} == {*wished.values()}:
        return look, {}
    with parts.write() as writer:
        if not writer.is_claim_own(name, parts.holder, claimed.epoch):
            return look, {}
        own = {(row.tenant, row.thing): row for row in parts.store.list_owned(name)}
        new = [thing for thing in wished if (tenant, thing) not in own]
        others = {
            row.thing: row
            for row in parts.store.list_owners(tenant, new)
            if _is_other_owner(parts, row, wished[row.thing])
        }
        owners = {
            claim.address: name_to_readers(parts.settings.access, name, others[claim.thing].name)
            for claim in result.claims
            if claim.thing in others
        }
        # All that one object is called has one owner: also the id of what another one has made.
        kept = {claim.thing for claim in result.claims if claim.address not in owners}
        writer.delete_owners(
            [row for row in own.values() if row.tenant != tenant or row.thing not in kept]
        )
        writer.put(*(wished[thing] for thing in kept if own.get((tenant, thing)) != wished[thing]))
    if not owners:
        return look, {}
    parts.log(
        "warn",
        "objects of another target",
        target=name,
        owners=", ".join(sorted({str(row.name) for row in others.values()})),
        objects=", ".join(sorted(owners)[:5]),
    )
    return look._replace(result=refuse_owned_in_result(result, owners, str(name))), owners


def _name_tenant(binding: Binding) -> str:
    """One text for each tenant of a backend; its token tells a tenant that has no name."""
    url, _, tenant = binding.backend.partition(" ")
    return f"{url} {tenant.casefold()}" if tenant else f"{url} token: {binding.token}"


def _is_other_owner(parts: LoopParts, owner: OwnerRow, wished: OwnerRow) -> bool:
    """Whether another target manages an object, and still may.

    Objects of one natural key are one object unless both have ids that differ.
    """
    row = parts.store.find_target(owner.name)
    is_there = row is not None and not row.is_gone and owner.name.source in parts.settings.sources
    is_same = not (owner.remote_id and wished.remote_id) or owner.remote_id == wished.remote_id
    return is_there and is_same and owner.lineage != wished.lineage
