"""What a refusal says: why something cannot be done, and every way out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from synapse_apply.kinds.descriptor import ApiBinding
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text, fill, import_text, join_texts
from synapse_apply.model.diagnostic import FieldPath, Position, format_json_pointer
from synapse_apply.model.packages import RULES_BY_ID, SECRET_RULES, PackageFlaw
from synapse_apply.model.phrases import format_field_path, format_short_list
from synapse_apply.model.plan import OF_DEPENDENCY, Action, Cause, Change, FieldChange, Refusal
from synapse_apply.model.resource import FoundBy
from synapse_apply.planning.plan_input import CanWrite, ResourceState, can_always_write

FIXED = "fixed"
_FORGET = "keep the object and stop managing it: {forget}"
_OTHER_SOURCE = "give {names} a valueFrom other than live"


class _Case(NamedTuple):
    reason: str
    ways_out: tuple[str, ...]


# By rule, and where a rule has several cases by `RULE: CASE`; with `{names}` of what a resource or
# the caller gives. A way out that comes to nothing is left out.
_REFUSALS: Mapping[str, _Case] = {
    FIXED: _Case(
        "{names} cannot be changed: {why}",
        (
            "{in_git}",
            "{in_synapse}",
            "{as_they_are}",
            "{ignore}",
            # With another identity it is another object, which can be created with any value.
            "declare it under {new_identity}",
            "{wrong_object}",
        ),
    ),
    "no-reset": _Case(
        "{names} was applied and is no longer declared, and there is no value it could be reset to",
        ("take the change back in Git: declare {names} again", "{accept}", "{ignore}"),
    ),
    "secret-cleared": _Case(
        "an update sends the whole object and would clear {names}, a secret that is never read "
        "back to be sent again",
        ("{in_git}", _OTHER_SOURCE, "{in_synapse}", "{as_they_are}"),
    ),
    "held-secret": _Case(
        "{names} was changed outside and is kept (on_drift: hold), but an update sends the whole "
        "object, and a secret is never read back to be sent again",
        (
            "{revert} sends the declared one",
            "bring the new value to where {names} is read from, then plan again",
        ),
    ),
    "no-live-secret": _Case(
        "{names} keeps the live value, but there is no live value to keep: the object does not "
        "exist",
        (_OTHER_SOURCE, "if it does exist: {import_it}"),
    ),
    "no-package": _Case(
        "the server has no {address} and {source} gives no bytes to publish",
        ("name a folder, a Git ref or a zip as its source", "publish it, then plan again"),
    ),
    "sealed": _Case(
        "it was {seal} and is gone: API {api} takes no second {prefix} with its {identity}",
        (
            "declare it under a new {identity}",
            "take it out of the manifests, if nothing needs it any more",
        ),
    ),
    "seal-untold": _Case(
        "nobody can tell whose package is published, and a {verb} is never taken back",
        (
            "{verify} compares the bytes where the backend has a URL of them",
            "if the package is ours: take {names} out of Git, {ours}, and declare it again",
            "if it is not: release it as another version",
        ),
    ),
    "delete-sealed": _Case(
        "it is {seal}. Deleted, {loss}",
        ("take the change back in Git: declare it again", _FORGET, "if the loss is meant: {allow}"),
    ),
    "not-taken": _Case(
        "API {api} makes no {prefix} with this {names}. It takes {taken}",
        ("declare another {names}", "if it is there already: {import_it}"),
    ),
    "not-ours": _Case(
        "this {prefix} is the platform's own, not yours: it is never taken over",
        ("take it out of the manifests", "declare one of your own, under another name and code"),
    ),
    "replace": _Case(
        "{address} has {change}, and they would replace the package that is published",
        (
            "take the change back in Git",
            "release it: raise the version",
            "replace it: {allow}, or a saved plan of it",
        ),
    ),
    "replace: outside": _Case(
        "its live package was published outside, and the declared one would replace it",
        ("release it: raise the version", "replace it: {allow}, or a saved plan of it"),
    ),
    "unreleased-source": _Case(
        "{address} has {change}",
        (
            "take the change back in Git",
            "release it: raise the version",
            "or set policy.unreleased_source: note",
        ),
    ),
    "other-object: recorded": _Case(
        "id {recorded_id} is another object than the one recorded: its {names} differs",
        (
            "check that url and tenant are those this state belongs to",
            "{forget}, then plan again",
            "{import_it} with the id of the right object",
        ),
    ),
    "other-object: given": _Case(
        "id {live_id} is another object than the one declared: its {names} differs, which never "
        "changes",
        ("{correct_id}", "if it is the right one: declare {names} as it is live"),
    ),
    "other-space": _Case(
        "on API {recorded_api} this was {recorded_key}, and with API {api} it would be {key}: ids "
        "of two versions are not one space",
        (
            "name what it belongs to by its manifest, or by its id of API {api}",
            "if it is another object on purpose: {forget}",
        ),
    ),
    "other-api": _Case(
        "it is recorded as id {recorded_id} of API {recorded_api}; API {api} has other ids and no "
        "complete list to search in, so it was not looked up",
        (
            "record its id of API {api}: {import_it}",
            "if API {api} does not have it: {forget}, then apply",
            "say `api: {recorded_api}` again",
        ),
    ),
    "renamed": _Case(
        "this is {what}, which is no longer declared: a rename",
        (
            "{move}",
            # `state mv` changes one state; `moved:` is applied on every target.
            "in the project file, for every target: moved: [{from: {old}, to: {new}}]",
        ),
    ),
    "prevent-destroy": _Case(
        "lifecycle.prevent_destroy protects it, also after its manifest is gone",
        ("declare it again with prevent_destroy: false, apply, then remove it", _FORGET),
    ),
}


def refusal(
    case: str,
    resource: ResourceState,
    paths: Sequence[FieldPath] = (),
    *,
    position: Position | None = None,
    **fields: Any,
) -> Refusal:
    """The refusal of a rule; `paths` are the fields that it is about, shown at the first."""
    desired, record, binding = resource.desired, resource.record, resource.binding
    observed, seal = resource.lookup_result.observed, binding.final_call
    known: dict[str, Any] = {
        "accept": _accept_after_change(resource),
        "address": resource.address,
        "api": binding.api,
        "correct_id": _correct_id(resource),
        "forget": Command("state rm", resource.address),
        "identity": resource.type.version_field if resource.type.series_field else "name",
        "ignore": f"leave it as it is: lifecycle.ignore_changes: "
        f"[{format_short_list(map(format_json_pointer, paths))}]",
        "import_it": import_text(resource.address, is_recorded=record is not None),
        "key": resource.natural_key,
        "live_id": observed.remote_id if observed else "",
        "names": format_short_list(map(format_field_path, paths)),
        "prefix": resource.type.prefix,
        "recorded_api": record.api if record else "",
        "recorded_id": record.remote_id if record else "",
        "recorded_key": record.natural_key if record else "",
        "seal": seal.name if seal else "",
    }
    reason, ways_out = _REFUSALS[case]
    fields = known | fields
    if desired and not position:
        position = desired.find_position(paths[0]) if paths else desired.position
    return Refusal(
        case.partition(":")[0],
        fill(reason, fields),
        tuple(filter(None, (fill(way_out, fields) for way_out in ways_out))),
        position,
    )


def _accept_after_change(resource: ResourceState) -> Text:
    """How to make the live value the declared one, with an import first if it is not recorded."""
    observed = resource.lookup_result.observed
    # `state accept` works on recorded objects only.
    import_step = Text()
    if resource.record is None and observed is not None:
        import_step = Text(Command("import", resource.address, observed.remote_id), " and ")
    accept = Command("state accept", resource.address)
    return Text("change it in Synapse, then ", import_step, accept)


def _correct_id(resource: ResourceState) -> str:
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


def settle_secrets(secrets: Iterable[tuple[Address, ApiBinding]]) -> str:
    """The commands that settle secrets whose value and state key have both changed."""
    sendable: list[Address] = []
    fixed: list[Address] = []
    for address, binding in secrets:
        (fixed if binding.update_object is None else sendable).append(address)
    ways_out = []
    if sendable:
        only = sendable[0] if len(sendable) == 1 else "ADDRESS"
        ways_out.append(Text(Command("apply --resend-secrets --only", only), " sends it"))
    if fixed:
        only = fixed[0] if len(fixed) == 1 else "ADDRESS"
        ways_out.append(Text("enter it in Synapse, then ", Command("state accept", only)))
    return join_texts("; ", ways_out)


def is_given_by_id(resource: ResourceState) -> bool:
    """Whether the object is known only by an id that a user gave, and nothing was applied to it."""
    if resource.lookup_result.observed is None or resource.lookup_result.found_by is FoundBy.KEY:
        return False
    return not (resource.record is not None and resource.record.applied)


def is_fixed_field(resource: ResourceState, path: FieldPath) -> bool:
    """Whether this API can never change this field of an existing object."""
    return resource.type.is_unchangeable_field(resource.binding, path[0])


def is_sealing(resource: ResourceState, path: FieldPath) -> bool:
    """Whether this field cannot be set back once it is set, not even in Synapse."""
    return resource.binding.final_call is not None and path == (resource.binding.final_call.name,)


def drift_write(resource: ResourceState) -> Command:
    """The command that writes live values into the manifest."""
    return Command("drift --write", resource.address)


def _sides(
    resource: ResourceState, changes: Sequence[FieldChange], *, is_live_writable: bool
) -> dict[str, Any]:
    """The ways out by a change of either side: of the manifest, and in Synapse.

    Where only the live side has changed there is no change in Git to take back, and changing it
    back is the first way out. `is_live_writable` says that the live values can be written into the
    manifest.
    """
    names = format_short_list(format_field_path(change.path) for change in changes)
    causes = {change.cause for change in changes}
    in_git: str = f"take the change of {names} back in Git"
    if causes == {Cause.DRIFT}:
        write = Text("take it into the manifest: ", drift_write(resource))
        in_git = write if is_live_writable else ""
    # Adoption: nothing was applied yet, so Git is not ahead of the live object.
    elif causes <= {Cause.NONE}:
        in_git = f"declare {names} as it is live"
    in_synapse: str = _accept_after_change(resource)
    as_they_are: str = ""
    # There are fields that Synapse cannot change either.
    if any(is_sealing(resource, change.path) for change in changes):
        in_synapse = ""
    elif causes == {Cause.DRIFT}:
        in_synapse = "change it back in Synapse"
        as_they_are = Text(
            "leave both sides as they are: ", Command("state accept", resource.address)
        )
    return {"in_git": in_git, "in_synapse": in_synapse, "as_they_are": as_they_are}


def fixed(
    resource: ResourceState, changes: Sequence[FieldChange], *, is_live_writable: bool = False
) -> Refusal:
    """The refusal of fields that cannot change, or of a kind that this API cannot update."""
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
    wrong_object = Text("if it is the wrong object: ", _correct_id(resource))
    return refusal(
        FIXED,
        resource,
        paths,
        why=hint or f"API {resource.binding.api} has no update for this kind",
        new_identity="a new version" if resource.type.series_field else "a new name",
        wrong_object=wrong_object if is_given_by_id(resource) else "",
        **_sides(resource, changes, is_live_writable=is_live_writable),
    )


def secret_cleared(
    resource: ResourceState,
    paths: Sequence[FieldPath],
    changes: Sequence[FieldChange],
    *,
    is_live_writable: bool = False,
) -> Refusal:
    """The refusal of an update of the whole object that would clear secrets we cannot send."""
    sides = _sides(resource, changes, is_live_writable=is_live_writable)
    return refusal("secret-cleared", resource, paths, **sides)


def package_flaw(flaw: PackageFlaw, digest: str) -> Refusal:
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


def sealed_loss(resource: ResourceState) -> str:
    """What is lost for good when a sealed object is deleted."""
    record, observed = resource.record, resource.lookup_result.observed
    digest = record.digest if record is not None else None
    content = f", and its content {digest}, if nothing else has it," if digest else ""
    identity = resource.type.version_field if resource.type.series_field else "name"
    return (
        f"{resource.address} (id {observed.remote_id if observed else ''}){content} is lost for "
        f"good: API {resource.binding.api} takes no second {resource.type.prefix} with its "
        f"{identity}"
    )


def can_write_all(
    resource: ResourceState, changes: Sequence[FieldChange], can_write: CanWrite
) -> bool:
    """Whether all fields can be written: no secret, no reference, no value from elsewhere."""
    desired = resource.desired
    return desired is not None and all(
        not change.sensitive
        and change.path[0] in resource.type.rules
        and not resource.type.require_rule_of_field(change.path).references
        and can_write(desired, change.path)
        for change in changes
    )


def is_or_was_sealed(resource: ResourceState) -> bool:
    """Whether the object is sealed now or was when last seen, as a seal cannot be taken back."""
    seal = resource.binding.final_call
    return seal is not None and (
        resource.live_fields.get((seal.name,)) is True or was_recorded_sealed(resource)
    )


def was_recorded_sealed(resource: ResourceState) -> bool:
    """Whether the object was sealed when the record was written."""
    seal, record = resource.binding.final_call, resource.record
    if seal is None or record is None:
        return False
    return record.seen.get((seal.name,)) is True


def held_drift_note(
    resource: ResourceState,
    held_fields: Sequence[FieldChange],
    can_write: CanWrite = can_always_write,
) -> tuple[str, ...]:
    """One note for all fields of an object whose drift is kept; none without such fields."""
    if not held_fields:
        return ()
    names = format_short_list(format_field_path(change.path) for change in held_fields)
    past_verb, present_verb, pronoun = (
        ("was", "is", "it") if len(held_fields) == 1 else ("were", "are", "them")
    )
    address, has_fixed = (
        resource.address,
        any(is_fixed_field(resource, change.path) for change in held_fields),
    )
    accept = Text(drift_write(resource), f" takes {pronoun} into the manifest")
    # A secret is never written into a file.
    if any(change.sensitive for change in held_fields):
        accept = Text("a secret is taken over where its value is read from")
    elif not can_write_all(resource, held_fields, can_write):
        accept = Text(
            f"taking {pronoun} over is an edit by hand where the declared value comes from"
        )
    revert = Text(Command("apply --only", address, "--revert-drift"), f" undoes {pronoun}")
    # `--revert-drift` sends an update, which cannot contain such a field.
    if has_fixed:
        revert = Text(f"changing {pronoun} back in Synapse undoes {pronoun}: this API cannot")
    if any(is_sealing(resource, change.path) for change in held_fields):
        revert = Text("nothing takes it back")
    heading = f"{names} {past_verb} changed outside and {present_verb} kept (on_drift: hold):"
    if origins := [f"{format_field_path(f.path)} {f.origin}" for f in held_fields if f.origin]:
        heading = f"{names} {present_verb} kept (on_drift: hold); {'; '.join(origins)}:"
    return (Text(f"{heading}\n", accept, ",\n", revert),)


_MAX_OPTIONS = 5


def no_first_member_refusal(
    resource: ResourceState,
    kind: str,
    members: Sequence[Change],
    is_unselected: Callable[[Address], bool],
) -> Refusal:
    """The refusal of a create that needs a first member of `kind`, where none can be created.

    `is_unselected` says whether an address is not selected.
    """
    kind_name, api = resource.type.prefix, resource.binding.api
    reason = f"API {api} makes a {kind_name} together with its first {kind}, and "
    if members:
        reason += (
            f"none that is declared can be made with it: "
            f"{format_short_list(map(_explain_unmade_member, members))}"
        )
        unselected = [
            address
            for address in (change.address for change in members if not change.is_refused)
            if is_unselected(address)
        ]
        unsolvable = [change.address for change in members if change.address not in unselected]
        ways_out: tuple[str, ...] = (
            (f"solve {format_short_list(unsolvable)} first",) if unsolvable else ()
        )
        ways_out += (_build_selection_hint(unselected),) if unselected else ()
    else:
        reason += "none is declared"
        ways_out = (f"declare a {kind.capitalize()} of {resource.address.name}",)
    waits = any(one.ends_by_itself for change in members for one in change.refusals)
    other_apis = sorted(set(resource.type.bindings) - {api})
    # Another API version may create the owner without a member: beside a call that makes both a
    # second time.
    if other_apis and not waits:
        ways_out += (f"or let the target use another API version: `api: {other_apis[0]}`",)
    return Refusal(
        "no-first-member", reason, ways_out, resource.desired.position if resource.desired else None
    )


def _explain_unmade_member(change: Change) -> str:
    reason = change.refusals[0].reason if change.refusals else "it is not selected, or in error"
    if not change.refusals and change.action is not Action.CREATE:
        reason = f"{change.action.value} is due for it"
    return f"{change.address} ({reason})"


def build_dependency_refusal(
    resource: ResourceState, missing_addresses: Sequence[Address], cause: Refusal | None = None
) -> Refusal:
    """The refusal of a resource whose dependencies are refused, in error, or do not exist.

    `cause` is the refusal of one that the plan does not show: the call that it waits for.
    """
    names, why = format_short_list(missing_addresses), f": {cause.reason}" if cause else ""
    return Refusal(
        OF_DEPENDENCY + cause.rule if cause else "dependency",
        f"it depends on {names}, which this plan cannot provide{why}",
        cause.ways_out if cause else (f"solve {names} first",),
        resource.desired.position if resource.desired else None,
        outcome_unknown=cause is not None,
    )


def not_selected_refusal(resource: ResourceState, missing_addresses: Sequence[Address]) -> Refusal:
    """The refusal of a resource whose dependencies have to be created, but are not selected."""
    return Refusal(
        "dependency",
        f"it depends on {format_short_list(missing_addresses)}, which is not there yet and is not "
        f"selected",
        (_build_selection_hint(missing_addresses),),
        resource.desired.position if resource.desired else None,
    )


def _build_selection_hint(missing_addresses: Sequence[Address]) -> str:
    # A few are enough to show what to do.
    options = " ".join(f"--only {address}" for address in missing_addresses[:_MAX_OPTIONS])
    return f"select it as well: add `{options}`, or leave it out of --exclude"
