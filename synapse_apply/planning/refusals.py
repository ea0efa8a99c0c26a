"""What a refusal says: why something cannot be done, and every way out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from synapse_apply.kinds.descriptor import ApiBinding
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text, join_texts
from synapse_apply.model.diagnostic import FieldPath, Position, format_json_pointer
from synapse_apply.model.observed import FoundBy
from synapse_apply.model.packages.rules import RULES_BY_ID, SECRET_RULES, PackageFlaw
from synapse_apply.model.phrases import format_field_path, format_short_list
from synapse_apply.model.plan import Cause, FieldChange, Refusal
from synapse_apply.model.state import Record
from synapse_apply.planning.plan_input import ResourceState

FIXED = "fixed"


def _find_position_of_first_path(
    resource: ResourceState, paths: Sequence[FieldPath]
) -> Position | None:
    return resource.desired.find_position(paths[0]) if resource.desired and paths else None


def _build_change_in_synapse_and_accept_hint(resource: ResourceState) -> str:
    """How to make the live value the declared one, with an import first if it is not recorded."""
    observed = resource.lookup_result.observed
    # `state accept` works on recorded objects only.
    import_step = Text()
    if resource.record is None and observed is not None:
        import_step = Text(Command("import", resource.address, observed.remote_id), " and ")
    accept_command = Command("state accept", resource.address)
    return Text("change it in Synapse, then ", import_step, accept_command)


def _build_ignore_changes_hint(paths: Sequence[FieldPath]) -> str:
    return (
        f"leave it as it is: lifecycle.ignore_changes: "
        f"[{format_short_list(map(format_json_pointer, paths))}]"
    )


def suggest_resend_or_accept_of_secrets(secrets: Iterable[tuple[Address, ApiBinding]]) -> str:
    """The commands that settle secrets whose value and state key have both changed."""
    sendable: list[Address] = []
    fixed: list[Address] = []
    for address, binding in secrets:
        (fixed if binding.update_object is None else sendable).append(address)
    ways_out = []
    if sendable:
        ways_out.append(
            Text(
                Command(
                    "apply --resend-secrets --only", _format_only_address_or_placeholder(sendable)
                ),
                " sends it",
            )
        )
    if fixed:
        accept_command = Command("state accept", _format_only_address_or_placeholder(fixed))
        ways_out.append(Text("enter it in Synapse, then ", accept_command))
    return join_texts("; ", ways_out)


def _format_only_address_or_placeholder(addresses: Sequence[Address]) -> str:
    """The only address for a command, or ADDRESS for several."""
    return str(addresses[0]) if len(addresses) == 1 else "ADDRESS"


def is_found_by_id_never_applied(resource: ResourceState) -> bool:
    """Whether the object is known only by an id that a user gave, pinned or imported."""
    if resource.lookup_result.observed is None or resource.lookup_result.found_by is FoundBy.KEY:
        return False
    return not (resource.record is not None and resource.record.applied)


def is_fixed_field(resource: ResourceState, path: FieldPath) -> bool:
    """Whether this API can never change this field of an existing object."""
    return resource.type.is_unchangeable_field(resource.binding, path[0])


def is_field_set_by_final_call(resource: ResourceState, path: FieldPath) -> bool:
    """Whether this field cannot be set back once it is set, not even in Synapse."""
    return resource.binding.final_call is not None and path == (resource.binding.final_call.name,)


def build_drift_write_command(resource: ResourceState) -> Command:
    """The command that writes live values into the manifest."""
    return Command("drift --write", resource.address)


def _suggest_manifest_change_by_cause(
    resource: ResourceState, changes: Sequence[FieldChange], *, is_live_writable: bool
) -> tuple[str, ...]:
    """The ways out by a change of the manifest to the live values, without another tool.

    Where only the live side has changed there is no change in Git to take back.
    """
    names = format_short_list(format_field_path(change.path) for change in changes)
    causes = {change.cause for change in changes}
    if causes == {Cause.DRIFT}:
        way_out = Text("take it into the manifest: ", build_drift_write_command(resource))
        return (way_out,) if is_live_writable else ()
    # Adoption: nothing was applied yet, so Git is not ahead of the live object.
    if causes <= {Cause.NONE}:
        return (f"declare {names} as it is live",)
    return (f"take the change of {names} back in Git",)


def _suggest_synapse_change_unless_sealed(
    resource: ResourceState, changes: Sequence[FieldChange]
) -> tuple[str, ...]:
    """The ways out by a change in Synapse; none for fields that it cannot change either."""
    if any(is_field_set_by_final_call(resource, change.path) for change in changes):
        return ()
    # Only the product has changed, so changing it back is the first way out.
    if {change.cause for change in changes} == {Cause.DRIFT}:
        accept_command = Command("state accept", resource.address)
        return (
            "change it back in Synapse",
            Text("leave both sides as they are: ", accept_command),
        )
    return (_build_change_in_synapse_and_accept_hint(resource),)


def build_fixed_fields_refusal(
    resource: ResourceState, changes: Sequence[FieldChange], *, is_live_writable: bool = False
) -> Refusal:
    """The refusal of fields that cannot change, or of a kind that this API cannot update.

    `is_live_writable` says that the live values can be written into the manifest.
    """
    paths = [change.path for change in changes]
    api_hints = [resource.binding.immutable.get(str(path[0]), "") for path in paths]
    hints = [
        resource.type.require_rule_of_field(path).fixed_hint
        for path in paths
        if path[0] in resource.type.rules
    ]
    if resource.binding.update_object is None:
        # Where nothing can be updated, the kind's hint explains more than that of a field.
        hints.insert(0, resource.type.update_hint)
    hint = next((text for text in (*api_hints, *hints, resource.type.update_hint) if text), "")
    # With another identity it is another object, which can be created with any value.
    new_identity = "a new version" if resource.type.series_field else "a new name"
    id_hints = (
        (Text("if it is the wrong object: ", _build_correct_id_hint(resource)),)
        if is_found_by_id_never_applied(resource)
        else ()
    )
    return Refusal(
        FIXED,
        f"{format_short_list(map(format_field_path, paths))} cannot be changed: "
        f"{hint or f'API {resource.binding.api} has no update for this kind'}",
        (
            *_suggest_manifest_change_by_cause(
                resource, changes, is_live_writable=is_live_writable
            ),
            *_suggest_synapse_change_unless_sealed(resource, changes),
            _build_ignore_changes_hint(paths),
            f"declare it under {new_identity}",
            *id_hints,
        ),
        _find_position_of_first_path(resource, paths),
    )


def build_no_reset_refusal(resource: ResourceState, paths: Sequence[FieldPath]) -> Refusal:
    """The refusal for fields that are no longer declared and have no value to reset them to."""
    return Refusal(
        "no-reset",
        f"{format_short_list(map(format_field_path, paths))} was applied and is no longer "
        "declared, and there is no value it could be reset to",
        (
            (
                f"take the change back in Git: declare "
                f"{format_short_list(map(format_field_path, paths))} again"
            ),
            _build_change_in_synapse_and_accept_hint(resource),
            _build_ignore_changes_hint(paths),
        ),
        _find_position_of_first_path(resource, paths),
    )


def build_secret_cleared_refusal(
    resource: ResourceState,
    paths: Sequence[FieldPath],
    changes: Sequence[FieldChange],
    *,
    is_live_writable: bool = False,
) -> Refusal:
    """The refusal of an update of the whole object that would clear secrets we cannot send."""
    return Refusal(
        "secret-cleared",
        f"an update sends the whole object and would clear "
        f"{format_short_list(map(format_field_path, paths))}, "
        "a secret that is never read back to be sent again",
        (
            *_suggest_manifest_change_by_cause(
                resource, changes, is_live_writable=is_live_writable
            ),
            f"give {format_short_list(map(format_field_path, paths))} a valueFrom other than live",
            *_suggest_synapse_change_unless_sealed(resource, changes),
        ),
        _find_position_of_first_path(resource, paths),
    )


def build_held_secret_refusal(resource: ResourceState, paths: Sequence[FieldPath]) -> Refusal:
    """The refusal of an update of the whole object that would undo kept drift of a secret."""
    names = format_short_list(map(format_field_path, paths))
    return Refusal(
        "held-secret",
        f"{names} was changed outside and is kept (on_drift: hold), but an update sends the whole "
        "object, and a secret is never read back to be sent again",
        (
            Text(
                Command("apply --only", resource.address, "--revert-drift"),
                " sends the declared one",
            ),
            f"bring the new value to where {names} is read from, then plan again",
        ),
        _find_position_of_first_path(resource, paths),
    )


def build_no_live_secret_refusal(resource: ResourceState, paths: Sequence[FieldPath]) -> Refusal:
    """The refusal of `valueFrom: {live: true}` for an object that is to be created."""
    return Refusal(
        "no-live-secret",
        f"{format_short_list(map(format_field_path, paths))} keeps the live value, but there is "
        "no live value to keep: the object does not exist",
        (
            f"give {format_short_list(map(format_field_path, paths))} a valueFrom other than live",
            Text("if it does exist: ", Command("import", resource.address, "ID")),
        ),
        _find_position_of_first_path(resource, paths),
    )


def build_no_package_refusal(resource: ResourceState) -> Refusal:
    """The refusal of a create that uploads a package, where the manifest gives none."""
    source = resource.desired.source if resource.desired else None
    source_text = f"`source: {source.kind}`" if source else "the manifest"
    return Refusal(
        "no-package",
        f"the server has no {resource.address} and {source_text} gives no bytes to publish",
        ("name a folder, a Git ref or a zip as its source", "publish it, then plan again"),
        (source.position if source else None)
        or (resource.desired.position if resource.desired else None),
    )


def build_package_flaw_refusal(flaw: PackageFlaw, digest: str) -> Refusal:
    """The refusal to publish a package with a flaw; no option lifts a rule about secrets."""
    title = RULES_BY_ID[flaw.rule].title
    way_out: str = Text("if it is meant: ", Command("apply --no-package-check", flaw.rule))
    if flaw.rule in SECRET_RULES:
        line = flaw.position.line if flaw.position else 1
        way_out = (
            "if it opens nothing, let this one pass in the project file: `policy: "
            f"{{allow_package_secrets: [{{file: {json.dumps(flaw.file)}, line: {line}, "
            f"digest: {digest}, reason: ...}}]}}`"
        )
    return Refusal(
        flaw.rule,
        f"{title[0].lower()}{title[1:]}: {flaw.detail} ({flaw.rule})",
        tuple(filter(None, (flaw.hint, way_out))),
        flaw.position,
    )


def build_create_sealed_again_refusal(resource: ResourceState) -> Refusal:
    """The refusal to create a sealed object that is gone, as the server accepts no second one."""
    name = resource.binding.final_call.name if resource.binding.final_call else ""
    identity_field = resource.type.version_field if resource.type.series_field else "name"
    return Refusal(
        "sealed",
        f"it was {name} and is gone: API {resource.binding.api} takes no second "
        f"{resource.type.prefix} with its {identity_field}",
        (
            f"declare it under a new {identity_field}",
            "take it out of the manifests, if nothing needs it any more",
        ),
        _find_position_of_first_path(resource, [(identity_field,)]),
    )


def describe_what_sealed_delete_loses(resource: ResourceState) -> str:
    """What is lost for good when a sealed object is deleted."""
    record = resource.record
    digest = record.digest if record is not None else None
    content = f", and its content {digest}, if nothing else has it," if digest else ""
    remote_id = resource.lookup_result.observed.remote_id if resource.lookup_result.observed else ""
    identity_field = resource.type.version_field if resource.type.series_field else "name"
    return (
        f"{resource.address} (id {remote_id}){content} is lost for good: API "
        f"{resource.binding.api} takes no second {resource.type.prefix} with its {identity_field}"
    )


def build_delete_sealed_refusal(resource: ResourceState) -> Refusal:
    """The refusal to delete a sealed object, which can never be created again."""
    name = resource.binding.final_call.name if resource.binding.final_call else ""
    return Refusal(
        "delete-sealed",
        f"it is {name}. Deleted, {describe_what_sealed_delete_loses(resource)}",
        (
            "take the change back in Git: declare it again",
            Text("keep the object and stop managing it: ", Command("state rm", resource.address)),
            Text("if the loss is meant: ", Command("apply --prune --allow-locked")),
        ),
    )


def build_unfit_for_create_refusal(resource: ResourceState, field_names: Sequence[str]) -> Refusal:
    """The refusal of values that objects may have but creates of this API version do not accept."""
    constraint_text = "; ".join(
        f"{name}: {resource.binding.create_constraints[name].description}" for name in field_names
    )
    return Refusal(
        "not-taken",
        f"API {resource.binding.api} makes no {resource.type.prefix} with this "
        f"{format_short_list(field_names)}. It takes {constraint_text}",
        (
            f"declare another {format_short_list(field_names)}",
            Text("if it is there already: ", Command("import", resource.address, "ID")),
        ),
        _find_position_of_first_path(resource, [(name,) for name in field_names]),
    )


def build_platform_object_refusal(resource: ResourceState) -> Refusal:
    """The refusal to adopt an object of the platform, which only the platform changes."""
    return Refusal(
        "not-ours",
        f"this {resource.type.prefix} is the platform's own, not yours: it is never taken over",
        ("take it out of the manifests", "declare one of your own, under another name and code"),
        resource.desired.position if resource.desired else None,
    )


def build_changed_content_refusal(
    resource: ResourceState, rule: str, reason: str, way_out: str
) -> Refusal:
    """The refusal of changed content under a published version, with one more way out."""
    return Refusal(
        rule,
        f"{resource.address} has {reason}",
        ("take the change back in Git", "release it: raise the version", way_out),
        _find_position_of_first_path(resource, [(resource.type.version_field,)]),
    )


def build_recorded_id_of_other_object_refusal(
    resource: ResourceState, names: Sequence[str]
) -> Refusal:
    """The refusal of a recorded id that now belongs to an object with another identity."""
    remote_id = resource.record.remote_id if resource.record else ""
    return Refusal(
        "other-object",
        f"id {remote_id} is another object than the one recorded: its {format_short_list(names)} "
        f"differs",
        (
            "check that url and tenant are those this state belongs to",
            Text(Command("state rm", resource.address), ", then plan again"),
            Text(Command("import", resource.address, "ID"), " with the id of the right object"),
        ),
        resource.desired.position if resource.desired else None,
    )


def build_given_id_of_other_object_refusal(
    resource: ResourceState, paths: Sequence[FieldPath]
) -> Refusal:
    """The refusal of an id, given by a user, of an object that cannot be the declared one."""
    remote_id = resource.lookup_result.observed.remote_id if resource.lookup_result.observed else ""
    names = format_short_list(map(format_field_path, paths))
    return Refusal(
        "other-object",
        f"id {remote_id} is another object than the one declared: its {names} differs, which "
        "never changes",
        (
            _build_correct_id_hint(resource),
            f"if it is the right one: declare {names} as it is live",
        ),
        _find_position_of_first_path(resource, paths),
    )


def _build_correct_id_hint(resource: ResourceState) -> str:
    address = resource.address
    if resource.record is None:
        return "correct `metadata.id` in the manifest"
    # With a wrong pin the next plan would find the same wrong object.
    pin = ", correct `metadata.id`" if resource.desired and resource.desired.remote_id else ""
    return Text(
        "correct the id: ",
        Command("state rm", address),
        f"{pin}, then ",
        Command("import", address, "ID"),
        " with the right one",
    )


def build_id_of_other_api_version_refusal(resource: ResourceState) -> Refusal:
    """The refusal of a pinned id that means another object since the API version changed."""
    record = resource.record
    before, api = (record.natural_key, record.api) if record else ("", "")
    return Refusal(
        "other-space",
        f"on API {api} this was {before}, and with API {resource.binding.api} it would be "
        f"{resource.natural_key}: ids of two versions are not one space",
        (
            f"name what it belongs to by its manifest, or by its id of API {resource.binding.api}",
            Text("if it is another object on purpose: ", Command("state rm", resource.address)),
        ),
        resource.desired.position if resource.desired else None,
    )


def build_not_looked_up_refusal(resource: ResourceState, record: Record) -> Refusal:
    """The refusal of a record of another API version, whose object this one cannot search for."""
    address, api = resource.address, resource.binding.api
    return Refusal(
        "other-api",
        f"it is recorded as id {record.remote_id} of API {record.api}; API {api} has other ids and "
        "no complete list to search in, so it was not looked up",
        (
            Text(
                f"record its id of API {api}: ",
                Command("state rm", address),
                ", then ",
                Command("import", address, "ID"),
            ),
            Text(f"if API {api} does not have it: ", Command("state rm", address), ", then apply"),
            f"say `api: {record.api}` again",
        ),
        resource.desired.position if resource.desired else None,
    )


def build_rename_refusal(resource: ResourceState, old: Address, new: Address) -> Refusal:
    """The refusal of a new address whose object is recorded under an undeclared address.

    `old` and `new` are its own addresses, or those of its owner, whose rename includes it.
    """
    recorded_text = (
        f"the object recorded as {old}" if new == resource.address else f"recorded as part of {old}"
    )
    return Refusal(
        "renamed",
        f"this is {recorded_text}, which is no longer declared: a rename",
        (
            Text(Command("state mv", old, new)),
            # `state mv` changes one state; `moved:` is applied on every target.
            f"in the project file, for every target: moved: [{{from: {old}, to: {new}}}]",
        ),
        resource.desired.position if resource.desired else None,
    )


def build_prevent_destroy_refusal(resource: ResourceState) -> Refusal:
    """The refusal to delete a protected object, be it declared or only recorded as protected."""
    return Refusal(
        "prevent-destroy",
        "lifecycle.prevent_destroy protects it, also after its manifest is gone",
        (
            "declare it again with prevent_destroy: false, apply, then remove it",
            Text("keep the object and stop managing it: ", Command("state rm", resource.address)),
        ),
    )
