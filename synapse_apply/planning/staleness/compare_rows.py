"""Whether one row of a saved plan is stale: what a fresh plan would do is compared.

Changes are compared by content, never by serials or times, so that an untouched one is never stale.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.coding.codec import format_canonical_field_value
from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.phrases import format_field_path, format_short_list
from synapse_apply.model.plan import Action, Change, FieldChange, Refusal
from synapse_apply.model.values import ABSENT, KnownAfterApply, flatten, get_at_or_absent
from synapse_apply.model.verification import Verification
from synapse_apply.planning.create_companions import CARRIES
from synapse_apply.planning.package import uploaded_digest

STALE, UNREVIEWED = "stale", "unreviewed"
_PLAN_AGAIN = ("plan again",)
_REVIEW_AGAIN = ("review a new plan",)
_MAX_MOVES = 20
_MAX_VALUE_LENGTH = 60


def has_same_effect(before: Change, now: Change) -> bool:
    """Whether carrying out `now` is what was planned, on an object that has not changed.

    Whether a secret could be checked when planning does not count, as its value is not in a plan.
    """
    return (
        before.action is now.action
        and before.remote_id == now.remote_id
        and before.fingerprint == now.fingerprint
        and [_field_effect(field) for field in before.fields]
        == [_field_effect(field) for field in now.fields]
        and call_extras(before) == call_extras(now)
        and has_same_run(before, now)
    )


def has_same_run(before: Change, now: Change) -> bool:
    """Whether the same run is due under the same rules, be it started or already followed."""
    return plain_run(before) == plain_run(now)


def plain_run(change: Change) -> Verification | None:
    """The run of a change without what may differ while the run stays the same."""
    due = change.verification
    return replace(due, reason="", job="") if due is not None else None


def with_ids_created_meanwhile(
    before: Change, now: Change | None, ids: Mapping[Address, str]
) -> Change:
    """The planned change with remote ids of referenced objects that were created in the meantime.

    An apply that was interrupted has created them, and changes that refer to them are still as
    planned.
    """
    fresh = {field.path: field.after for field in now.fields} if now else {}

    def resolve_field(field: FieldChange) -> FieldChange:
        after, value = field.after, fresh.get(field.path)
        is_known = isinstance(after, KnownAfterApply) and value == ids.get(after.address)
        return replace(field, after=value) if is_known and value else field

    return replace(before, fields=tuple(map(resolve_field, before.fields)))


def refuse_changed_row(before: Change, now: Change, *, reviewed: bool = False) -> Change:
    """The fresh change, refused, with the planned, old and present value of each difference."""
    reason = "it is not what was reviewed" if reviewed else "it changed since it was planned"
    lines = "\n".join((reason, *(f"  {move}" for move in _limited_differences(before, now))))
    staleness = Refusal(STALE, lines, _REVIEW_AGAIN if reviewed else _PLAN_AGAIN, now.position)
    refusals = (staleness, *now.refusals)
    # The fresh fields and notes say what would be done now, which is just what is refused.
    base_row = replace(now, action=before.action, fields=(), notes=())
    return replace(base_row, refusals=refusals, rebase=False, verification=None)


def refuse_gone_row(before: Change, *, reviewed: bool = False) -> Change:
    """The planned change, refused since its address is neither declared nor recorded now."""
    reason = "it is neither declared nor recorded now"
    ways_out = _REVIEW_AGAIN if reviewed else _PLAN_AGAIN
    return _with_single_refusal(before, Refusal(STALE, reason, ways_out))


def with_unreviewed_refusal(now: Change) -> Change:
    """The fresh change, refused since no reviewed plan has it."""
    refusal = Refusal(UNREVIEWED, "no reviewed plan has it", _REVIEW_AGAIN, now.position)
    return _with_single_refusal(now, refusal)


def refuse_needing_row(now: Change, needs: Iterable[Address], *, reviewed: bool = False) -> Change:
    """A change that still holds, refused since it needs others that will not be made."""
    reason = f"it needs {format_short_list(sorted(needs))}, which will not be done"
    return _with_single_refusal(
        now, Refusal(STALE, reason, _REVIEW_AGAIN if reviewed else _PLAN_AGAIN, now.position)
    )


def _with_single_refusal(row: Change, refusal: Refusal) -> Change:
    return replace(row, refusals=(refusal,), rebase=False, verification=None)


def _field_effect(field: FieldChange) -> tuple[FieldPath, bool, str, str]:
    return (
        field.path,
        field.sensitive,
        format_canonical_field_value(field.before),
        format_canonical_field_value(field.after),
    )


def call_extras(change: Change) -> tuple[str, Any, Any]:
    """The digests of the uploaded and of the published package, and whom its call makes, too."""
    extras = change.extras
    return uploaded_digest(change), extras.get("published_digest"), extras.get(CARRIES)


def _limited_differences(before: Change, now: Change) -> Iterator[str]:
    differences = list(_iter_difference_texts(before, now))
    yield from differences[:_MAX_MOVES]
    if len(differences) > _MAX_MOVES:
        yield f"and {len(differences) - _MAX_MOVES} more"


def _iter_difference_texts(before: Change, now: Change) -> Iterator[str]:
    # Nothing was going to be done, so there are no values to compare.
    if before.is_refused:
        yield f"it was refused when it was planned, now it would be {now.action.value}"
        return
    if before.action is not now.action:
        words = {
            Action.NO_OP: "there is nothing to do",
            Action.RECREATE: "it is missing",
            Action.ADOPT: "it exists outside this state",
        }
        current = words.get(now.action, f"it would be {now.action.value}")
        yield f"planned {before.action.value}, now {current}"
    if before.remote_id != now.remote_id:
        yield f"id: was {before.remote_id or 'absent'}, is now {now.remote_id or 'absent'}"
    if before.action is now.action or now.action is Action.UPDATE:
        yield from _field_differences(before, now)
    if before.action is now.action and call_extras(before) != call_extras(now):
        is_other_companion = before.extras.get(CARRIES) != now.extras.get(CARRIES)
        yield (
            "another is made along with it"
            if is_other_companion
            else "its package has other content"
        )
    if before.action is now.action and not has_same_run(before, now):
        yield _run_difference(before, now)


def _run_difference(before: Change, now: Change) -> str:
    if before.verification is None:
        return "it would be verified now, which was not planned"
    if now.verification is None:
        return "it would not be verified now, as was planned"
    return "it would be verified in another way than was planned"


def _field_differences(before: Change, now: Change) -> Iterator[str]:
    planned = {field.path: field for field in before.fields}
    fresh = {field.path: field for field in now.fields}
    paths = sorted({*planned, *fresh}, key=lambda field_path: [str(part) for part in field_path])
    texts = [
        _field_difference(path, planned.get(path), fresh.get(path), before, now) for path in paths
    ]
    other_moves = (
        [] if now.action is Action.CREATE else list(_unplanned_changes(before, now, set(paths)))
    )
    differences = [*filter(None, texts), *other_moves]
    yield from differences
    is_comparable = before.action is now.action and before.remote_id == now.remote_id
    # A plan has no secrets, so the fingerprint alone shows that one has changed.
    if not differences and is_comparable and before.fingerprint != now.fingerprint:
        yield "a secret of it changed, or it was planned with another state key"


def _field_difference(
    path: FieldPath,
    planned: FieldChange | None,
    fresh: FieldChange | None,
    before: Change,
    now: Change,
) -> str:
    if planned is not None and fresh is not None and _field_effect(planned) == _field_effect(fresh):
        return ""
    name = format_field_path(path)
    if any(field is not None and field.sensitive for field in (planned, fresh)):
        return f"{name}: (sensitive), {_secret_effect(planned)}, {_secret_effect(fresh, 'now ')}"
    planned_value = planned.after if planned else get_at_or_absent(before.after, path)
    old_value = planned.before if planned else get_at_or_absent(before.before, path)
    current_value = fresh.before if fresh else get_at_or_absent(now.before, path)
    text = (
        f"{name}: planned {_format_short_value(planned_value)}, was "
        f"{_format_short_value(old_value)}, is now {_format_short_value(current_value)}"
    )
    if fresh is not None and format_canonical_field_value(
        fresh.after
    ) != format_canonical_field_value(planned_value):
        text += f" and would become {_format_short_value(fresh.after)}"
    return text


def _secret_effect(field: FieldChange | None, prefix: str = "planned ") -> str:
    return f"{prefix}{'left alone' if field is None else 'sent'}"


def _unplanned_changes(
    before: Change, now: Change, reported_paths: set[FieldPath]
) -> Iterator[str]:
    """Descriptions of live fields that have changed although the plan does not change them."""
    old_fields, new_fields = flatten(before.before or {}), flatten(now.before or {})
    for path in sorted(
        {*old_fields, *new_fields}, key=lambda field_path: [str(part) for part in field_path]
    ):
        old, new = old_fields.get(path, ABSENT), new_fields.get(path, ABSENT)
        if path not in reported_paths and format_canonical_field_value(
            old
        ) != format_canonical_field_value(new):
            yield (
                f"{format_field_path(path)}: was {_format_short_value(old)}, is now "
                f"{_format_short_value(new)}"
            )


def _format_short_value(value: Any) -> str:
    if value is ABSENT:
        return "absent"
    try:
        text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    except TypeError:
        text = str(value)
    except ValueError:  # Python limits how long an integer may be in decimal
        text = format_canonical_field_value(value)
    return text if len(text) <= _MAX_VALUE_LENGTH else text[: _MAX_VALUE_LENGTH - 3] + "..."
