"""Which body a create or an update sends, and which of its fields become ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, replace
from typing import Any, NamedTuple

from synapse_apply.applying import messages
from synapse_apply.applying.lookup import resolve_natural_key_or_empty
from synapse_apply.applying.step import CREATES, LiveObjects, Step, list_step_and_companion
from synapse_apply.kinds.descriptor import UpdateMode
from synapse_apply.model.address import Address
from synapse_apply.model.coding.json_types import DecodedSpec, JsonObject, RequestBody, Spec
from synapse_apply.model.diagnostic import FieldPath, is_at_or_below
from synapse_apply.model.errors import Stale
from synapse_apply.model.frozen import frozen
from synapse_apply.model.ports import Secrets
from synapse_apply.model.secrets.masked_text import unmask_value
from synapse_apply.model.values import (
    ABSENT,
    Fields,
    Reference,
    SecretRef,
    Sensitive,
    WithheldSecret,
    delete_at_if_present,
    flatten,
    get_at_or_absent,
    set_at_creating_maps,
)

ResolveSecret = Callable[[SecretRef], Sensitive]


def build_declared_fields_without_final_call(step: Step, live: LiveObjects) -> dict[FieldPath, Any]:
    """The declared fields by path, with references as remote ids and secrets still as SecretRef.

    A create sends all of them. Undeclared fields are left to the server, and the field that a final
    call sets is not sent before.
    """
    if step.desired is None:
        return {}
    final_field = (step.binding.final_call.name,) if step.binding.final_call is not None else None
    fields: dict[FieldPath, Any] = {}
    for path, value in flatten(step.desired.spec).items():
        if path == final_field and value is True:
            continue
        fields[path] = live[value.address].remote_id if isinstance(value, Reference) else value
    return fields


@frozen
class PendingObject:
    """One object that a create makes: its fields that become ours, and its request body.

    Only the first object's body is sent; a companion is inside it. `preferred_forms` are fields of
    it in the form that is tried first.
    """

    step: Step
    managed_fields: Mapping[FieldPath, Any]
    body: RequestBody
    preferred_forms: Mapping[str, Any] = field(default_factory=dict)


# The digest of a release is sent where the platform stores and shows it (`x-synapse-apply-digest`);
# where an answer does not show it, the record has it.
def build_pending_objects(
    step: Step, live: LiveObjects, resolve: ResolveSecret
) -> list[PendingObject]:
    """The objects of a create: the step's own, and its companion; the first has the call's body.

    ValueError for a companion of a kind that makes none, or none of one that does.
    """
    bootstraps, member = step.binding.bootstrap, step.companion
    if (bootstraps is None) != (member is None):
        raise ValueError(f"{step.address} makes another with it, and the plan says which")
    pending_objects = [
        _build_pending_object(
            step,
            build_declared_fields_without_final_call(step, live),
            resolve,
            resolve_natural_key_or_empty(step, live),
        )
    ]
    if bootstraps is not None and member is not None:
        managed_fields = _build_member_fields_without_owner(step.address, member, live)
        pending_objects.append(
            _build_pending_object(
                member, managed_fields, resolve, resolve_natural_key_or_empty(member, live)
            )
        )
        pending_objects[0] = replace(
            pending_objects[0],
            body=bootstraps.build_body(
                *(pending_object.body for pending_object in pending_objects)
            ),
        )
    return pending_objects


def find_address_of_package_to_upload(step: Step) -> Address | None:
    """The address of the package that a create uploads; None for none."""
    for created_step in list_step_and_companion(step):
        if created_step.type.carries_package and created_step.change.extras.get("package"):
            return created_step.address
    return None


def _build_pending_object(
    step: Step, managed_fields: Mapping[FieldPath, Any], resolve: ResolveSecret, natural_key: str
) -> PendingObject:
    body, package = unflatten(managed_fields), step.desired.package if step.desired else None
    if step.type.carries_package and package is not None and package.digest:
        body["digest"] = package.digest
    spec, binding = reveal_secrets_and_masks_in_body(body, resolve), step.binding
    return PendingObject(
        step, managed_fields, binding.encode(spec), binding.encode_for_platform(spec, natural_key)
    )


def _build_member_fields_without_owner(
    owner: Address, member: Step, live: LiveObjects
) -> dict[FieldPath, Any]:
    """A member's declared fields without the reference to its owner, which has no id yet."""
    spec = member.desired.spec if member.desired else {}
    # The server fills the reference in, since both objects come from one call.
    remaining_spec = {name: value for name, value in spec.items() if value != Reference(owner)}
    desired = replace(member.desired, spec=remaining_spec) if member.desired else None
    return build_declared_fields_without_final_call(replace(member, desired=desired), live)


class BodyAndOwnedFields(NamedTuple):
    """The body of a call, and the fields in it that become ours."""

    body: dict[str, Any]
    owned_fields: dict[FieldPath, Any]


def build_update_body_or_raise_stale_if_clearing_secret(
    step: Step, live_spec: Spec, live: LiveObjects, resolve: ResolveSecret
) -> BodyAndOwnedFields:
    """The body of an update of the live object, secrets revealed, and the fields that are ours.

    Stale where it would leave out, and so clear, a live secret that the plan does not drop: a plan
    refuses such an update, so the secret was set since.
    """
    full_body, managed_fields = build_unrevealed_put_body_and_owned_fields(step, live_spec, live)
    if step.binding.update_mode is UpdateMode.PATCH:
        full_body = select_top_level_fields_with_changes(full_body, step)
    if cleared_paths := _list_secrets_body_would_clear(step, live_spec, full_body):
        raise Stale(messages.build_secret_set_since_plan_diagnostic(step, cleared_paths))
    return BodyAndOwnedFields(
        step.binding.encode(reveal_secrets_and_masks_in_body(full_body, resolve)), managed_fields
    )


def _list_secrets_body_would_clear(
    step: Step, live_spec: Spec, body: RequestBody
) -> list[FieldPath]:
    """Live secrets that are not in a body which replaces them, although nobody dropped them."""
    changed_paths = [change.path for change in step.change.fields]
    is_put = step.binding.update_mode is UpdateMode.PUT
    return [
        path
        for path, value in flatten(unmask_value(dict(live_spec))).items()
        if isinstance(value, Sensitive | WithheldSecret)
        and path[0] in (step.binding.fields if is_put else body)
        and not is_at_or_below(path, changed_paths)
        and get_at_or_absent(body, path) is ABSENT
    ]


def iter_secrets_that_calls_send(step: Step) -> Iterator[tuple[FieldPath, SecretRef]]:
    """The secrets that the step's calls send, with their paths."""
    is_create = step.change.action in CREATES
    if step.desired is None or not (is_create or step.change.fields):
        return
    ignored_and_held_paths = () if is_create else step.ignored_and_held_paths
    for path, value in flatten(step.desired.spec).items():
        if not isinstance(value, SecretRef) or is_at_or_below(path, ignored_and_held_paths):
            continue
        if is_create or not value.keeps_live_value:
            yield path, value


# Observed values overlaid by desired ones: a field that nobody declared keeps its value, and a
# server gives the same result whether it treats PUT as a whole or as a part. Secrets are never sent
# back; where leaving one out would clear it, the update is refused.
def build_unrevealed_put_body_and_owned_fields(
    step: Step, live_spec: Spec, live: LiveObjects
) -> BodyAndOwnedFields:
    """The whole body of a PUT, and the fields in it that become ours.

    The body is the live object overlaid with the declared fields, without dropped ones; kept drift
    stays in it. A secret is taken from its source or left out, never copied from the live object.
    """
    ignored_and_held_paths = step.ignored_and_held_paths
    body: dict[str, Any] = {}
    declared = step.desired.spec if step.desired else {}
    usual_names = {name for name, rule in step.type.rules.items() if rule.usual_value is not ABSENT}
    # Fields with a usual value are only sent if they are declared: the manifest may not own them.
    names = step.binding.fields - (usual_names - declared.keys())
    # Live values are sent back as the server had them, without masks.
    for path, value in flatten(unmask_value(dict(live_spec))).items():
        if path[0] in names and not isinstance(value, Sensitive | WithheldSecret):
            set_at_creating_maps(body, path, value)
    managed_fields: dict[FieldPath, Any] = {}
    for path, value in build_declared_fields_without_final_call(step, live).items():
        if is_at_or_below(path, ignored_and_held_paths) or (
            isinstance(value, SecretRef) and value.keeps_live_value
        ):
            continue
        managed_fields[path] = value
        if not _is_empty_map_where_body_has_map(value, body, path):
            set_at_creating_maps(body, path, value)
    for change in step.change.fields:
        # Declared values are in the body already, and a secret must not be copied from the plan.
        if change.path in managed_fields or change.sensitive:
            continue
        if change.after is ABSENT:
            _remove_dropped_field_and_emptied_maps(body, change.path, managed_fields)
        else:
            set_at_creating_maps(body, change.path, change.after)
    return BodyAndOwnedFields(body, managed_fields)


def _remove_dropped_field_and_emptied_maps(
    body: dict[str, Any], path: FieldPath, managed_fields: Mapping[FieldPath, Any]
) -> None:
    """Remove a dropped field, and maps that become empty, unless a map is declared as empty."""
    delete_at_if_present(body, path)
    for end in range(len(path) - 1, 1, -1):
        if get_at_or_absent(body, path[:end]) != {} or path[:end] in managed_fields:
            return
        delete_at_if_present(body, path[:end])


def select_top_level_fields_with_changes(body: RequestBody, step: Step) -> JsonObject:
    """The top-level fields of a body that changed, which a PATCH sends."""
    touched = {str(change.path[0]) for change in step.change.fields}
    return {name: value for name, value in body.items() if name in touched}


def select_sent_fields(step: Step, fields: Fields) -> Fields:
    """Of the fields that become ours those that an update sends."""
    if step.binding.update_mode is UpdateMode.PUT:
        return fields
    touched = {change.path[0] for change in step.change.fields}
    return {path: value for path, value in fields.items() if path[0] in touched}


def unflatten(fields: Fields) -> DecodedSpec:
    """Fields by path as a nested map."""
    tree: dict[str, Any] = {}
    for path, value in fields.items():
        set_at_creating_maps(tree, path, value)
    return tree


def reveal_secrets_and_masks_in_body(tree: Mapping[str, Any], resolve: ResolveSecret) -> JsonObject:
    """A copy of a map with secrets revealed and masks removed, for a request body."""
    return {
        unmask_value(key): _reveal_value_or_secrets_in_map(value, resolve)
        for key, value in tree.items()
    }


def _reveal_value_or_secrets_in_map(value: Any, resolve: ResolveSecret) -> Any:
    if isinstance(value, SecretRef):
        return resolve(value).reveal()
    if isinstance(value, Mapping):
        return reveal_secrets_and_masks_in_body(value, resolve)
    return unmask_value(value)


def replace_secrets_by_macs_or_leave_out(
    fields: Fields, salt: str, secrets: Secrets
) -> dict[FieldPath, Any]:
    """Fields as a record stores them: secrets as MACs, left out without a state key."""
    recorded_fields: dict[FieldPath, Any] = {}
    for path, value in fields.items():
        if isinstance(value, SecretRef):
            if value.keeps_live_value:
                continue
            secret, place = secrets.resolve_secret(value), secrets.find_place(value)
            if mac := secrets.compute_mac(salt, path, secret, place):
                recorded_fields[path] = mac
        else:
            recorded_fields[path] = value
    return recorded_fields


def _is_empty_map_where_body_has_map(value: Any, body: RequestBody, path: FieldPath) -> bool:
    """Whether an empty map is declared and there is a live map, whose keys are then kept."""
    return (
        value == {}
        and isinstance(value, Mapping)
        and isinstance(get_at_or_absent(body, path), Mapping)
    )
