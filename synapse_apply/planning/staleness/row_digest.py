"""What a row of a plan does, as a digest: equal for the same effect on the same object, or not.

By it a row is approved by content, whatever plan it stands in. A secret, and an id that another row
of the plan makes, stand in it in forms that are the same in each plan (`stable_after`). A reference
to an object that is there counts with its id: after a rename the address may be another object's.
"""

from __future__ import annotations

import hashlib
from typing import Any

from synapse_apply.model.coding.canonical_json import format_canonical_json
from synapse_apply.model.coding.codec import format_canonical_field_value
from synapse_apply.model.coding.json_shapes import build_coder
from synapse_apply.model.plan import Change, FieldChange, GuardViolation, Plan, PlanBase
from synapse_apply.model.values import KnownAfterApply
from synapse_apply.model.verification import Verification
from synapse_apply.planning.diff.field_diff import UNCHECKED_NOTE
from synapse_apply.planning.staleness.compare_rows import call_extras, plain_run
from synapse_apply.planning.staleness.narrow_to_permitted import (
    list_counted_addresses,
    list_decidable_changes,
)

_PREFIX = "row1:"


def compute_row_digest(change: Change, base: PlanBase) -> str:
    """`row1:` and 64 hex digits over all that a row does, on which object of which target.

    Equal digests mean the same effect (as `compare_rows.has_same_effect`, of a
    secret its value, too). They differ between two targets, and between states of two lineages.
    Refusals, notes and causes are no part of it. Without a state key no digest of a secret can be
    made: such a row is one of these manifests alone, so that none can name another secret in its
    place; only another value of the same secret does not show.
    """
    uploaded, published, companion = call_extras(change)
    run = plain_run(change)
    manifests = {"manifests": base.manifests_digest} if _lacks_digest(change) else {}
    return _digest_for(
        base,
        {
            **manifests,
            "address": str(change.address),
            "action": change.action.value,
            "remote_id": change.remote_id,
            "fields": sorted(map(_field_facts, change.fields)),
            "fingerprint": change.fingerprint,
            "packages": [uploaded, format_canonical_field_value(published)],
            "companion": format_canonical_field_value(companion),
            "run": build_coder(Verification).encode(run) if run is not None else None,
        },
    )


def _lacks_digest(change: Change) -> bool:
    is_sent = any(field.sensitive and not field.stable_after for field in change.fields)
    return is_sent or any(UNCHECKED_NOTE in note for note in change.notes)


def compute_guard_digest(guard: GuardViolation, plan: Plan) -> str:
    """`row1:` and 64 hex digits over a guard and the rows that it counts, all rows if none.

    So an approval of a guard is one of these rows together, and of no other.
    """
    counted = {*list_counted_addresses(guard, plan)}
    row_digests = [
        compute_row_digest(change, plan.base)
        for change in list_decidable_changes(plan)
        if not counted or change.address in counted
    ]
    return _digest_for(
        plan.base, {"guard": guard.name, "limit": guard.limit, "rows": sorted(row_digests)}
    )


def _digest_for(base: PlanBase, facts: dict[str, Any]) -> str:
    binding = base.binding
    target = [binding.url, binding.tenant, binding.data_set, base.lineage]
    text = format_canonical_json({"target": target, **facts})
    return _PREFIX + hashlib.sha256(text.encode()).hexdigest()


def _field_facts(field: FieldChange) -> list[Any]:
    path = format_canonical_json(list(field.path))
    before, after = format_canonical_field_value(field.before), field.after
    is_named_alone = field.stable_after and (field.sensitive or isinstance(after, KnownAfterApply))
    text = "" if is_named_alone else format_canonical_field_value(after)
    return [path, field.sensitive, before, text, field.stable_after]
