"""Which body a create or an update sends, and which of its fields become ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from synapse_apply.applying import messages
from synapse_apply.applying.lookup import Backend
from synapse_apply.applying.step import CREATES, Step
from synapse_apply.kinds.descriptor import UpdateMode
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import FieldPath, is_at_or_below
from synapse_apply.model.errors import Stale
from synapse_apply.model.frozen import replace
from synapse_apply.model.json_types import JsonObject, RequestBody, Spec
from synapse_apply.model.phrases import format_field_path, format_short_list
from synapse_apply.model.ports import Secrets
from synapse_apply.model.secrets.secret_marks import unmask_value
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
    is_map,
    set_at_creating_maps,
    unflatten,
)

ResolveSecret = Callable[[SecretRef], Sensitive]


class CreateBody(NamedTuple):
    """One object of a create: its fields that become ours, and its request body.

    Only the first object's body is sent; a companion is inside it. `preferred` are fields of it in
    the platform's form, which is tried first.
    """

    step: Step
    fields: Fields
    body: RequestBody
    preferred: Mapping[str, Any]


class UpdateBody(NamedTuple):
    """The body of an update, the fields that become ours, and those of them that are sent."""

    body: dict[str, Any]
    fields: Fields
    sent: Fields


def declared_fields(step: Step, backend: Backend) -> dict[FieldPath, Any]:
    """The declared fields by path, with references as remote ids and secrets still as SecretRef.

    A create sends all of them. Undeclared fields are left to the server, and the field that a final
    call sets is not sent before.
    """
    final_call = step.binding.final_call
    fields: dict[FieldPath, Any] = {}
    for path, value in flatten(step.spec).items():
        if final_call is not None and path == (final_call.name,) and value is True:
            continue
        is_reference = type(value) is Reference
        fields[path] = backend.known[value.address].remote_id if is_reference else value
    return fields


# The digest of a release is sent where the platform stores and shows it (`x-synapse-apply-digest`);
# where an answer does not show it, the record has it.
def create_bodies(step: Step, backend: Backend, resolve: ResolveSecret) -> list[CreateBody]:
    """The objects of a create: the step's own, and its companion; the first has the call's body.

    ValueError for a companion of a kind that makes none, or none of one that does.
    """
    bootstrap, member = step.binding.bootstrap, step.companion
    if (bootstrap is None) != (member is None):
        raise ValueError(f"{step.address} creates a second object that the plan does not contain")

    def build(one: Step, fields: Fields) -> CreateBody:
        tree, package, binding = unflatten(fields), one.package, one.binding
        if one.type.carries_package and package is not None and package.digest:
            tree["digest"] = package.digest
        if one.type.carries_package and backend.owners:
            tree["owner"] = backend.owners[0]
        spec = reveal(tree, resolve)
        platform_form = binding.encode_for_platform(spec, backend.key(one))
        return CreateBody(one, fields, binding.encode(spec), platform_form)

    bodies = [build(step, declared_fields(step, backend))]
    if bootstrap is not None and member is not None:
        # The server fills the reference to its owner in, which has no id yet.
        owner = Reference(step.address)
        rest = {name: value for name, value in member.spec.items() if value != owner}
        desired = replace(member.desired, spec=rest) if member.desired else None
        fields = declared_fields(replace(member, desired=desired), backend)
        bodies.append(build(member, fields))
        both = bootstrap.build_body(*(part.body for part in bodies))
        bodies[0] = bodies[0]._replace(body=both)
    return bodies


def package_to_upload(step: Step) -> Address | None:
    """The address of the package that a create uploads; None for none."""
    for created in step.all_created:
        if created.type.carries_package and created.change.extras.get("package"):
            return created.address
    return None


def update_body(
    step: Step, live_spec: Spec, backend: Backend, resolve: ResolveSecret
) -> UpdateBody:
    """The body of an update of the live object, secrets revealed.

    Stale where it would leave out, and so clear, a live secret that the plan does not drop: a plan
    refuses such an update, so the secret was set since.
    """
    tree, fields = _put_body(step, live_spec, backend)
    sent: Fields = fields
    changed_paths = [change.path for change in step.change.fields]
    is_put = step.binding.update_mode is UpdateMode.PUT
    if not is_put:
        touched = {str(path[0]) for path in changed_paths}
        tree = {name: value for name, value in tree.items() if name in touched}
        sent = {path: value for path, value in fields.items() if path[0] in touched}
    cleared = [
        path
        for path, value in flatten(unmask_value(dict(live_spec))).items()
        if isinstance(value, Sensitive | WithheldSecret)
        and path[0] in (step.binding.fields if is_put else tree)
        and not is_at_or_below(path, changed_paths)
        and get_at_or_absent(tree, path) is ABSENT
    ]
    if cleared:
        names = format_short_list(map(format_field_path, cleared))
        raise Stale(messages.finding("secret set since", step.address, names=names))
    return UpdateBody(step.binding.encode(reveal(tree, resolve)), fields, sent)


# Observed values overlaid by desired ones: a field that nobody declared keeps its value, and a
# server gives the same result whether it treats PUT as a whole or as a part. Secrets are never sent
# back; where leaving one out would clear it, the update is refused.
def _put_body(
    step: Step, live_spec: Spec, backend: Backend
) -> tuple[dict[str, Any], dict[FieldPath, Any]]:
    """The whole body of a PUT, secrets not revealed, and the fields in it that become ours.

    The body is the live object overlaid with the declared fields, without dropped ones; kept drift
    stays in it. A secret is taken from its source or left out, never copied from the live object.
    """
    untouched = step.ignored_and_held_paths
    body: dict[str, Any] = {}
    usual_names = {name for name, rule in step.type.rules.items() if rule.usual_value is not ABSENT}
    # Fields with a usual value are only sent if they are declared: the manifest may not own them.
    names = step.binding.fields - (usual_names - step.spec.keys())
    # Live values are sent back as the server had them, without masks.
    for path, value in flatten(unmask_value(dict(live_spec))).items():
        if path[0] in names and not isinstance(value, Sensitive | WithheldSecret):
            set_at_creating_maps(body, path, value)
    fields: dict[FieldPath, Any] = {}
    for path, value in declared_fields(step, backend).items():
        keeps_live = isinstance(value, SecretRef) and value.keeps_live_value
        if keeps_live or is_at_or_below(path, untouched):
            continue
        fields[path] = value
        # A live map keeps its keys where an empty map is declared.
        is_empty_map = isinstance(value, Mapping) and value == {}
        if not (is_empty_map and isinstance(get_at_or_absent(body, path), Mapping)):
            set_at_creating_maps(body, path, value)
    for change in step.change.fields:
        # Declared values are in the body already, and a secret must not be copied from the plan.
        if change.path in fields or change.sensitive:
            continue
        if change.after is ABSENT:
            _drop(body, change.path, fields)
        else:
            set_at_creating_maps(body, change.path, change.after)
    return body, fields


def _drop(body: dict[str, Any], path: FieldPath, fields: Fields) -> None:
    """Remove a dropped field, and maps that become empty, unless a map is declared as empty."""
    delete_at_if_present(body, path)
    for end in range(len(path) - 1, 1, -1):
        if get_at_or_absent(body, path[:end]) != {} or path[:end] in fields:
            return
        delete_at_if_present(body, path[:end])


def secrets_to_send(step: Step) -> Iterator[tuple[FieldPath, SecretRef]]:
    """The secrets that the step's calls send, with their paths."""
    is_create = step.change.action in CREATES
    if not (is_create or step.change.fields):
        return
    untouched = () if is_create else step.ignored_and_held_paths
    for path, value in flatten(step.spec).items():
        if not isinstance(value, SecretRef) or is_at_or_below(path, untouched):
            continue
        if is_create or not value.keeps_live_value:
            yield path, value


def reveal(tree: Mapping[str, Any], resolve: ResolveSecret) -> JsonObject:
    """A copy of a map with secrets revealed and masks removed, for a request body."""
    revealed: JsonObject = {}
    for key, value in tree.items():
        if type(value) is not str:  # what has a mask is of another type
            if isinstance(value, SecretRef):
                value = resolve(value).reveal()  # noqa: PLW2901
            else:
                value = reveal(value, resolve) if is_map(value) else unmask_value(value)  # noqa: PLW2901
        revealed[key if type(key) is str else unmask_value(key)] = value
    return revealed


def with_macs(fields: Fields, salt: str, secrets: Secrets) -> dict[FieldPath, Any]:
    """Fields as a record stores them: secrets as MACs, left out without a state key."""
    recorded: dict[FieldPath, Any] = {}
    for path, value in fields.items():
        if type(value) is SecretRef:
            if value.keeps_live_value:
                continue
            secret, place = secrets.resolve_secret(value), secrets.find_place(value)
            if mac := secrets.compute_mac(salt, path, secret, place):
                recorded[path] = mac
        else:
            recorded[path] = value
    return recorded
