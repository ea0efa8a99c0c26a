"""What a row of a plan does: whether two do the same, how they differ, and the digest of one.

Rows are compared by content, never by serials or times, so that an untouched one is never stale,
and a row is approved by content, whatever plan it stands in. A digest is narrower than equality: a
secret, and an id that another row of the plan makes, stand in it in forms that are the same in each
plan (`stable_after`). A reference to an object that is there counts with its id: after a rename the
address may be another object's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.model.address import Address
from synapse_apply.model.codec import build_coder
from synapse_apply.model.codec import format_canonical_field_value as canonical
from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.frozen import replace
from synapse_apply.model.job import Verification
from synapse_apply.model.json_values import format_canonical_json
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.plan import Action, Change, FieldChange, Plan, PlanBase
from synapse_apply.model.values import ABSENT, KnownAfterApply, flatten, get_at_or_absent
from synapse_apply.planning.diff import NO_STATE_KEY_REASON, UNCHECKED_NOTE
from synapse_apply.planning.package import uploaded_digest
from synapse_apply.planning.series import CARRIES

_PREFIX = "row1:"
_MAX_DIFFERENCES = 20
_MAX_VALUE_LENGTH = 60
_MAX_KEY_LENGTH = 400


def is_irreversible(change: Change) -> bool:
    """Whether no later call can undo a change.

    That is a create of what cannot be deleted, a published package, a final call, and a delete.
    """
    kind = CATALOGUE.get(change.address.kind)
    binding = kind.bindings.get(change.api) if kind else None
    if kind is None or binding is None:
        return False
    if change.action in {Action.CREATE, Action.RECREATE}:
        return kind.carries_package or binding.delete_object is None
    final = binding.final_call
    is_final = final is not None and any(map(final.makes_change, change.fields))
    return change.action is Action.DELETE or change.replaces_package or is_final


def iter_managed_objects(plan: Plan) -> Iterator[tuple[str, str, str, bool]]:
    """The objects that a target manages after a plan: address, what it is, id, is it recorded.

    The id is behind its API version, or "" for what is to be created. Each is told by its id and by
    its natural key; a member of a series by the key of its owner, whose name is another one in each
    project, and its version.
    """
    keys = dict(_iter_global_keys(plan))
    for change in plan.changes:
        is_made = change.action in {Action.CREATE, Action.RECREATE}
        is_recorded = change.action not in {Action.CREATE, Action.ADOPT}
        is_left = change.action in {Action.FORGET, Action.DELETE} or "external" in change.extras
        if is_left or change.address.kind not in CATALOGUE:
            continue
        if not is_recorded and change.is_refused:
            continue
        prefix = change.address.kind
        remote_id = "" if is_made or not change.remote_id else f"{change.api} {change.remote_id}"
        if remote_id:
            thing = f"{prefix} {change.api} id={change.remote_id}"
            yield str(change.address), thing, remote_id, is_recorded
        if key := keys.get(str(change.address)):
            yield str(change.address), f"{prefix} {key}", remote_id, is_recorded


def _iter_global_keys(plan: Plan) -> Iterator[tuple[str, str]]:
    """The addresses whose key tells one object from all others of the backend, and that key."""
    members: list[Change] = []
    owners: dict[str, str] = {}
    for change in plan.changes:
        if (kind := CATALOGUE.get(change.address.kind)) is None:
            continue
        if kind.series_field:
            members.append(change)
            continue
        key = kind.derive_natural_key(change.after or {}, {})
        form = key.partition("=")[0]
        # A name tells no object apart where the kind has a better key.
        if key and form in (kind.global_keys or {form}) and len(key) <= _MAX_KEY_LENGTH:
            owners[str(change.address)] = key
            yield str(change.address), key
            if change.remote_id:
                owners[f"id={change.remote_id}"] = key
    for change in members:
        series = CATALOGUE[change.address.kind].locate_in_series(change.after or {})
        if series.version and (owner := owners.get(series.series)):
            yield str(change.address), f"{owner} version={series.version}"


def has_same_effect(before: Change, now: Change, *, reviewed: bool) -> bool:
    """Whether carrying out `now` is what was planned, on an object that has not changed.

    Whether a secret could be checked when planning does not count, as its value is not in a plan;
    that it is the same one does. Unless `reviewed`, both were planned from the same manifests.
    """
    return (
        before.action is now.action
        and before.remote_id == now.remote_id
        and before.fingerprint == now.fingerprint
        and list(map(_field_effect, before.fields)) == list(map(_field_effect, now.fields))
        and not any(map(partial(_secret_fault, reviewed), before.fields, now.fields))
        and not (reviewed and _sends_unseen_secret(now))
        and _call_extras(before) == _call_extras(now)
        and plain_run(before) == plain_run(now)
    )


def _secret_fault(reviewed: bool, before: FieldChange, now: FieldChange) -> str:
    """Why a secret may not be the one that was planned, as a phrase; "" where it is that one.

    Digests tell it. Where one is missing, or is of another state key, the references do; values of
    manifests have none.
    """
    if not now.sensitive:
        return ""
    digests = [field.stable_after.partition(":") for field in (before, now)]
    if all(digests[0]) and all(digests[1]) and digests[0][0] == digests[1][0]:
        return "" if digests[0] == digests[1] else "its value differs from the planned value"
    # The manifests of a saved plan are the same, which name each secret but a literal one.
    if now.reference and (not reviewed or before.reference == now.reference):
        return ""
    if before.reference and now.reference:
        return "its value comes from a different source than planned"
    return "the plan does not identify the secret (a valueFrom or a state key would)"


def _sends_unseen_secret(change: Change) -> bool:
    """Whether a call may send a secret that is no field, as it cannot be compared."""
    end = f"{UNCHECKED_NOTE}{NO_STATE_KEY_REASON})"
    return bool(change.fields) and any(note.endswith(end) for note in change.notes)


def plain_run(change: Change) -> Verification | None:
    """The run of a change without what may differ while the run stays the same.

    That is why it is due, and whether it was started already.
    """
    due = change.verification
    return replace(due, reason="", job="") if due is not None else None


def _field_effect(field: FieldChange) -> tuple[FieldPath, bool, str, str]:
    return field.path, field.sensitive, canonical(field.before), canonical(field.after)


def _call_extras(change: Change) -> tuple[str, Any, Any]:
    """The digests of the uploaded and of the published package, and whom its call makes, too."""
    extras = change.extras
    return uploaded_digest(change), extras.get("published_digest"), extras.get(CARRIES)


def with_ids_created_meanwhile(
    before: Change, now: Change | None, ids: Mapping[Address, str]
) -> Change:
    """The planned change with remote ids of referenced objects that were created in the meantime.

    An apply that was interrupted has created them, and changes that refer to them are still as
    planned.
    """
    fresh, fields = {field.path: field.after for field in now.fields} if now else {}, []
    for field in before.fields:
        after, value = field.after, fresh.get(field.path)
        is_known = isinstance(after, KnownAfterApply) and value and value == ids.get(after.address)
        fields.append(replace(field, after=value) if is_known else field)
    return replace(before, fields=tuple(fields))


def compute_row_digest(change: Change, base: PlanBase) -> str:
    """`row1:` and 64 hex digits over all that a row does, on which object of which target.

    Equal digests mean the same effect (as `has_same_effect`, of a secret its value, too). They
    differ between two targets, and between states of two lineages. Refusals, notes and causes are
    no part of it. Without a state key no digest of a secret can be made: such a row is one of this
    commit alone, so that none can put another secret in its place, as a text of the manifest or in
    a file; only another value of a variable, or of a server, does not show.
    """
    uploaded, published, companion = _call_extras(change)
    run = plain_run(change)
    lacks_digest = any(field.sensitive and not field.stable_after for field in change.fields)
    is_of_manifests = lacks_digest or any(UNCHECKED_NOTE in note for note in change.notes)
    return digest_for_target(
        base,
        {
            **({"manifests": [base.manifests_digest, base.commit]} if is_of_manifests else {}),
            "address": str(change.address),
            "action": change.action.value,
            "remote_id": change.remote_id,
            "fields": sorted(map(_field_facts, change.fields)),
            "fingerprint": change.fingerprint,
            "packages": [uploaded, canonical(published)],
            "companion": canonical(companion),
            "run": build_coder(Verification).encode(run) if run is not None else None,
        },
    )


def digest_for_target(base: PlanBase, facts: Mapping[str, Any]) -> str:
    """`row1:` and 64 hex digits over facts of a plan, and whose plan it is."""
    binding = base.binding
    target = [binding.url, binding.tenant, binding.data_set, base.lineage]
    text = format_canonical_json({"target": target, **facts})
    return _PREFIX + hashlib.sha256(text.encode()).hexdigest()


def _field_facts(field: FieldChange) -> list[Any]:
    path = format_canonical_json(list(field.path))
    is_named_alone = field.stable_after and (
        field.sensitive or isinstance(field.after, KnownAfterApply)
    )
    after = "" if is_named_alone else canonical(field.after)
    return [path, field.sensitive, canonical(field.before), after, field.stable_after]


def explain_difference(before: Change, now: Change, *, reviewed: bool) -> str:
    """The planned, old and present value of each difference, a line each."""
    lines = _list_differences(before, now, reviewed)
    if len(lines) > _MAX_DIFFERENCES:
        lines[_MAX_DIFFERENCES:] = [f"and {len(lines) - _MAX_DIFFERENCES} more"]
    return "".join(f"\n  {line}" for line in lines)


def _list_differences(before: Change, now: Change, reviewed: bool) -> list[str]:
    # Nothing was going to be done, so there are no values to compare.
    if before.is_refused:
        return [f"the plan refused it, and now the action would be {now.action.value}"]
    lines, is_same_action = [], before.action is now.action
    if not is_same_action:
        words = {
            Action.NO_OP: "nothing to do",
            Action.RECREATE: "the object is missing",
            Action.ADOPT: "the object exists, but this state does not record it",
        }
        current = words.get(now.action, f"the action would be {now.action.value}")
        lines.append(f"planned {before.action.value}, now {current}")
    if before.remote_id != now.remote_id:
        lines.append(f"id: was {before.remote_id or 'absent'}, is now {now.remote_id or 'absent'}")
    if is_same_action or now.action is Action.UPDATE:
        lines += _list_field_differences(before, now, reviewed)
    if not is_same_action:
        return lines
    if before.extras.get(CARRIES) != now.extras.get(CARRIES):
        lines.append("another object is created with it")
    elif _call_extras(before) != _call_extras(now):
        lines.append("the content of its package differs")
    if plain_run(before) != plain_run(now):
        if before.verification is None:
            lines.append("it would now be verified, which was not planned")
        elif now.verification is None:
            lines.append("it would not be verified now, although that was planned")
        else:
            lines.append("it would be verified differently than planned")
    return lines


def _list_field_differences(before: Change, now: Change, reviewed: bool) -> list[str]:
    planned = {field.path: field for field in before.fields}
    fresh = {field.path: field for field in now.fields}
    old, new = flatten(before.before or {}), flatten(now.before or {})
    lines = []
    for path in _sorted_by_text({*planned, *fresh}):
        was, is_now, name = planned.get(path), fresh.get(path), format_field_path(path)
        if was is not None and is_now is not None and _field_effect(was) == _field_effect(is_now):
            if fault := _secret_fault(reviewed, was, is_now):
                lines.append(f"{name}: (sensitive), {fault}")
            continue
        if any(field is not None and field.sensitive for field in (was, is_now)):
            effects = ("left unchanged" if field is None else "sent" for field in (was, is_now))
            lines.append("{}: (sensitive), planned {}, now {}".format(name, *effects))
            continue
        value = was.after if was else get_at_or_absent(before.after, path)
        old_value = was.before if was else get_at_or_absent(before.before, path)
        current = is_now.before if is_now else get_at_or_absent(now.before, path)
        text = f"{name}: planned {_short(value)}, was {_short(old_value)}, is now {_short(current)}"
        if is_now is not None and canonical(is_now.after) != canonical(value):
            text += f" and would become {_short(is_now.after)}"
        lines.append(text)
    # Live fields that have changed although the plan does not change them.
    unplanned = {*old, *new} - {*planned, *fresh} if now.action is not Action.CREATE else ()
    for path in _sorted_by_text(unplanned):
        was_value, value = old.get(path, ABSENT), new.get(path, ABSENT)
        if canonical(was_value) != canonical(value):
            name = format_field_path(path)
            lines.append(f"{name}: was {_short(was_value)}, is now {_short(value)}")
    if reviewed and _sends_unseen_secret(now):
        lines.append(
            f"the plan does not identify the secret that is sent with it: {NO_STATE_KEY_REASON}"
        )
    is_comparable = before.action is now.action and before.remote_id == now.remote_id
    # A plan has no secrets, so the fingerprint alone shows that one has changed.
    if not lines and is_comparable and before.fingerprint != now.fingerprint:
        lines.append("one of its secrets changed, or another state key was used for the plan")
    return lines


def _sorted_by_text(paths: Iterable[FieldPath]) -> list[FieldPath]:
    return sorted(paths, key=lambda path: [str(part) for part in path])


def _short(value: Any) -> str:
    if value is ABSENT:
        return "absent"
    try:
        text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    except TypeError:
        text = str(value)
    except ValueError:  # Python limits how long an integer may be in decimal
        text = canonical(value)
    return text if len(text) <= _MAX_VALUE_LENGTH else text[: _MAX_VALUE_LENGTH - 3] + "..."
