"""What a refusal says: why something cannot be done, and every way out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from synapse_apply.kinds.descriptor import ApiBinding
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text, fill, import_text, join_texts
from synapse_apply.model.diagnostic import FieldPath, Position, format_json_pointer
from synapse_apply.model.frozen import replace
from synapse_apply.model.packages import RULES_BY_ID, SECRET_RULES, PackageFlaw
from synapse_apply.model.phrases import format_field_path, format_short_list
from synapse_apply.model.plan import OF_DEPENDENCY, Action, Cause, Change, FieldChange, Refusal
from synapse_apply.model.resource import FoundBy
from synapse_apply.planning.plan_input import CanWrite, PlanOptions, ResourceState

FIXED = "fixed"
_MAX_OPTIONS = 5
_FORGET = "keep the object and stop managing it: {forget}"
_OTHER_SOURCE = "give {names} a valueFrom other than live"
_DECLARE_IT = "declare {names}, as a secret with a valueFrom other than live"
_WOULD_CLEAR = (
    "an update sends the whole object and would clear {names}, because the tool never reads a "
    "secret back to send it again"
)
_WOULD_REPLACE = (
    "{names} is kept (on_drift: hold), but an update sends the whole object, and the tool never "
    "reads a secret back to send it again"
)


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
            "declare the resource under {new_identity}",
            "{wrong_object}",
        ),
    ),
    "no-reset": _Case(
        "{names} was applied and is no longer declared, but the API has no value to reset it to",
        ("revert the change in Git: declare {names} again", "{accept}", "{ignore}"),
    ),
    "secret-cleared": _Case(
        _WOULD_CLEAR,
        ("{in_git}", _OTHER_SOURCE, "{in_synapse}", "{as_they_are}"),
    ),
    "secret-cleared: undeclared": _Case(
        _WOULD_CLEAR,
        (
            "{in_git}",
            _DECLARE_IT,
            "clear {names} in Synapse",
            "{in_synapse}",
            "{as_they_are}",
        ),
    ),
    "held-secret": _Case(
        _WOULD_REPLACE,
        (
            "{revert} sends the declared one",
            "write the new value to the source of {names}, then plan again",
        ),
    ),
    "held-secret: undeclared": _Case(_WOULD_REPLACE, ("{revert} removes it", _DECLARE_IT)),
    "no-live-secret": _Case(
        "{names} keeps the live value, but the object does not exist, so it has no live value",
        (_OTHER_SOURCE, "if the object exists: {import_it}"),
    ),
    "forgotten": _Case(
        "its object exists, and was forgotten while one of its calls was open. A create would "
        "make a second object",
        ("{record_it} records the object again",),
    ),
    "external: absent": _Case(
        "it is external and does not exist",
        (
            "let its owner create it, then plan again",
            "to manage it here: remove lifecycle.external",
        ),
    ),
    "external: not found": _Case(
        "it is external and was not found, and API {api} has no complete list to search",
        (
            "declare its id: metadata.id",
            "let its owner create it, then plan again",
            "to manage it here: remove lifecycle.external",
        ),
    ),
    "no-package": _Case(
        "the server has no {address}, and {source} provides no bytes to publish",
        ("declare a folder, a Git ref or a zip as its source", "publish it, then plan again"),
    ),
    "sealed": _Case(
        "it was {seal} and is gone: API {api} accepts no second {prefix} with its {identity}",
        (
            "declare it under a new {identity}",
            "remove it from the manifests, if you no longer need it",
        ),
    ),
    "seal-untold": _Case(
        "it is unknown whose package is published, and a {verb} cannot be undone",
        (
            "{verify} compares the bytes if the backend offers a URL for them",
            "if the package is yours: remove {names} from Git, {ours}, and declare it again",
            "if the package is not yours: release yours as another version",
        ),
    ),
    "delete-sealed": _Case(
        "it is {seal}. If you delete it, {loss}",
        (
            "revert the change in Git: declare the resource again",
            _FORGET,
            "if you accept the loss: {allow}",
        ),
    ),
    "delete-untold": _Case(
        "it is unknown whose package is published, so it may be somebody else's",
        (
            "{verify} compares the bytes if the backend offers a URL for them",
            "if the package is yours: declare it again, then {ours}",
            _FORGET,
        ),
    ),
    "not-taken": _Case(
        "API {api} creates no {prefix} with this {names}. It accepts {taken}",
        ("declare another {names}", "if the object already exists: {import_it}"),
    ),
    "not-ours": _Case(
        "this {prefix} belongs to the platform, not to you: the tool never adopts it",
        ("remove it from the manifests", "declare your own {prefix} under another name and code"),
    ),
    "other-owner": _Case(
        "id {live_id} {marked}",
        (
            "let {owner} hand it over: `state mv {address} --to TARGET` in its project",
            "leave it to {owner}: declare it here with lifecycle: {external: true}",
            "if {owner} was a name of this project: add it to `owners` in the project file",
        ),
    ),
    "replace": _Case(
        "{address} has {change}, which would replace the published package",
        (
            "revert the change in Git",
            "release it under a higher version",
            "replace the package: {allow}, or apply a saved plan",
        ),
    ),
    "replace: outside": _Case(
        "its live package was published outside Git, and the declared package would replace it",
        (
            "release it under a higher version",
            "replace the package: {allow}, or apply a saved plan",
        ),
    ),
    "unreleased-source": _Case(
        "{address} has {change}",
        (
            "revert the change in Git",
            "release it under a higher version",
            "set policy.unreleased_source: note",
        ),
    ),
    "other-object: recorded": _Case(
        "id {recorded_id} is not the recorded object: its {names} differs",
        (
            "check that url and tenant belong to this state",
            "{forget}, then plan again",
            "{import_it} with the id of the right object",
        ),
    ),
    "other-object: given": _Case(
        "id {live_id} is not the declared object: its {names} differs, and this field never "
        "changes",
        ("{correct_id}", "if it is the right object: declare the live value of {names}"),
    ),
    "other-space": _Case(
        "on API {recorded_api} this was {recorded_key}, and on API {api} it would be {key}: "
        "each API version has its own ids",
        (
            "refer to its owner by manifest, or by the owner's id on API {api}",
            "if you intend another object: {forget}",
        ),
    ),
    "other-api": _Case(
        "it is recorded as id {recorded_id} of API {recorded_api}. API {api} has other ids and "
        "no complete list to search, so the object was not looked up",
        (
            "record its id on API {api}: {import_it}",
            "if the object does not exist on API {api}: {forget}, then apply",
            "set `api: {recorded_api}` again",
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
    "dependency": _Case(
        "it depends on {names}, which this plan cannot provide", ("resolve {names} first",)
    ),
    "dependency: unselected": _Case(
        "it depends on {names}, which does not exist yet and is not selected", ("{select}",)
    ),
    "prevent-destroy": _Case(
        "lifecycle.prevent_destroy protects it, even after you remove its manifest",
        ("declare it again with prevent_destroy: false, apply, then remove the manifest", _FORGET),
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
    record, binding, observed = resource.record, resource.binding, resource.observed
    known: dict[str, Any] = {
        "accept": _accept(resource),
        "address": resource.address,
        "api": binding.api,
        "correct_id": _correct_id(resource),
        "forget": Command("state rm", resource.address),
        "identity": resource.identity_name,
        "ignore": "leave the field unchanged: lifecycle.ignore_changes: ["
        f"{format_short_list(map(format_json_pointer, paths))}]",
        "import_it": import_text(resource.address, is_recorded=record is not None),
        "key": resource.natural_key,
        "live_id": observed.remote_id if observed else "",
        "names": format_short_list(map(format_field_path, paths)),
        "prefix": resource.type.prefix,
        "recorded_api": record.api if record else "",
        "recorded_id": record.remote_id if record else "",
        "recorded_key": record.natural_key if record else "",
        "seal": binding.final_call.name if binding.final_call else "",
    }
    reason, ways_out = _REFUSALS[case]
    fields = known | fields
    position = position or (resource.position(paths[0]) if paths else resource.position())
    filled = (fill(way_out, fields) for way_out in ways_out)
    rule = case.partition(":")[0]
    return Refusal(rule, fill(reason, fields), tuple(filter(None, filled)), position)


def _accept(resource: ResourceState) -> str:
    """How to make the live value the declared one."""
    address, steps = resource.address, tuple[str | Command, ...]()
    # `state accept` works on recorded objects only.
    if resource.record is None and resource.observed is not None:
        steps = (Command("import", address, resource.remote_id), " and ")
    return Text("change it in Synapse, then ", *steps, Command("state accept", address))


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
        " with the right id",
    )


def settle_secrets(
    secrets: Iterable[tuple[Address, ApiBinding]], send: str = "apply --resend-secrets --only"
) -> str:
    """The commands that settle secrets whose value and state key have both changed."""
    sendable: list[Address] = []
    fixed: list[Address] = []
    for address, binding in secrets:
        (fixed if binding.update_object is None else sendable).append(address)
    ways_out = []
    if sendable:
        only = sendable[0] if len(sendable) == 1 else "ADDRESS"
        ways_out.append(Text(Command(send, only), " sends it"))
    if fixed:
        only = fixed[0] if len(fixed) == 1 else "ADDRESS"
        ways_out.append(Text("enter the secret in Synapse, then ", Command("state accept", only)))
    return join_texts(ways_out)


def is_given_by_id(resource: ResourceState) -> bool:
    """Whether the object is known only by an id that a user gave, and nothing was applied to it."""
    is_found = resource.observed and resource.lookup_result.found_by is not FoundBy.KEY
    return bool(is_found) and not (resource.record and resource.record.applied)


def _is_sealing(resource: ResourceState, changes: Iterable[FieldChange]) -> bool:
    """Whether one of these fields cannot be set back once it is set, not even in Synapse."""
    seal = resource.binding.final_call
    return seal is not None and any(change.path == (seal.name,) for change in changes)


def can_write_all(
    resource: ResourceState, changes: Iterable[FieldChange], can_write: CanWrite
) -> bool:
    """Whether all fields can be written: no secret, no reference, no value from elsewhere."""
    desired, rules = resource.desired, resource.type.rules
    return desired is not None and all(
        not change.sensitive
        and change.path[0] in rules
        and not resource.rule(change.path).references
        and can_write(desired, change.path)
        for change in changes
    )


def of_fields(
    case: str,
    resource: ResourceState,
    paths: Sequence[FieldPath],
    changes: Sequence[FieldChange],
    can_write: CanWrite,
    **fields: Any,
) -> Refusal:
    """As `refusal`, with the ways out by a change of either side: of the manifest, in Synapse.

    Where only the live side has changed there is no change in Git to take back, and changing it
    back is the first way out.
    """
    names = format_short_list(format_field_path(change.path) for change in changes)
    causes, address = {change.cause for change in changes}, resource.address
    in_git: str = f"revert the change of {names} in Git"
    in_synapse, as_they_are = _accept(resource), ""
    if causes == {Cause.DRIFT}:
        is_writable, write = (
            can_write_all(resource, changes, can_write),
            Command("drift --write", address),
        )
        in_git = Text("write the live value to the manifest: ", write) if is_writable else ""
    # Adoption: nothing was applied yet, so Git is not ahead of the live object.
    elif causes <= {Cause.NONE}:
        in_git = f"declare the live value of {names}"
    # There are fields that Synapse cannot change either.
    if _is_sealing(resource, changes):
        in_synapse = ""
    elif causes == {Cause.DRIFT}:
        in_synapse = "change it back in Synapse"
        as_they_are = Text("leave both sides unchanged: ", Command("state accept", address))
    sides: dict[str, Any] = {"in_git": in_git, "in_synapse": in_synapse, "as_they_are": as_they_are}
    return refusal(case, resource, paths, **sides, **fields)


def fixed(resource: ResourceState, changes: Sequence[FieldChange], can_write: CanWrite) -> Refusal:
    """The refusal of fields that cannot change, or of a kind that this API cannot update."""
    paths, binding, kind = [change.path for change in changes], resource.binding, resource.type
    hints = [
        *(binding.immutable.get(str(path[0]), "") for path in paths),
        # Where nothing can be updated, the kind's hint explains more than that of a field.
        kind.update_hint if binding.update_object is None else "",
        *(resource.rule(path).fixed_hint for path in paths),
        kind.update_hint,
        f"API {binding.api} has no update for this kind",
    ]
    wrong = Text("if this is the wrong object: ", _correct_id(resource))
    return of_fields(
        FIXED,
        resource,
        paths,
        changes,
        can_write,
        why=next(filter(None, hints)),
        new_identity="a new version" if kind.series_field else "a new name",
        wrong_object=wrong if is_given_by_id(resource) else "",
    )


def package_flaw(flaw: PackageFlaw, digest: str) -> Refusal:
    """The refusal to publish a package with a flaw; no option lifts a rule about secrets."""
    title = RULES_BY_ID[flaw.rule].title
    way_out: str = Text("if you intend this: ", Command("apply --no-package-check", flaw.rule))
    if flaw.rule in SECRET_RULES:
        line = flaw.position.line if flaw.position else 1
        way_out = (
            "if the secret gives no access, allow it in the project file: `policy: "
            f"{{allow_package_secrets: [{{file: {json.dumps(flaw.file)}, line: {line}, digest: "
            f"{digest}, reason: ...}}]}}`"
        )
    return Refusal(
        flaw.rule,
        f"{title[0].lower()}{title[1:]}: {flaw.detail} ({flaw.rule})",
        tuple(filter(None, (flaw.hint, way_out))),
        flaw.position,
    )


def held_drift_notes(
    resource: ResourceState,
    held_fields: Sequence[FieldChange],
    can_write: CanWrite,
    *,
    has_ways_out: bool,
) -> tuple[str, ...]:
    """One note for all fields of an object whose drift is kept; none without such fields."""
    if not held_fields:
        return ()
    names = format_short_list(format_field_path(change.path) for change in held_fields)
    past_verb, verb, them = (
        ("was", "is", "it") if len(held_fields) == 1 else ("were", "are", "them")
    )
    accept = Text(Command("drift --write", resource.address), f" writes {them} to the manifest")
    # A secret is never written into a file.
    if any(change.sensitive for change in held_fields):
        accept = Text("to keep a live secret, write it to the source of its value")
    elif not can_write_all(resource, held_fields, can_write):
        accept = Text(f"to keep {them}, edit the source of the declared value manually")
    revert = Text(Command("apply --only", resource.address, "--revert-drift"), f" undoes {them}")
    if _is_sealing(resource, held_fields):
        revert = Text("nothing undoes it")
    # `--revert-drift` sends an update, which cannot contain such a field.
    elif any(resource.is_fixed(change.path) for change in held_fields):
        revert = Text(f"to undo {them}, change the values back in Synapse: this API cannot")
    heading = f"{names} {past_verb} changed outside and {verb} kept (on_drift: hold):"
    if origins := [f"{format_field_path(f.path)} {f.origin}" for f in held_fields if f.origin]:
        heading = f"{names} {verb} kept (on_drift: hold); {'; '.join(origins)}:"
    if not has_ways_out:
        return (heading.removesuffix(":"),)
    return (Text(f"{heading}\n", accept, ",\n", revert),)


def no_first_member(
    resource: ResourceState, kind: str, members: Sequence[Change], options: PlanOptions
) -> Refusal:
    """The refusal of a create that needs a first member of `kind`, where none can be created."""
    kind_name, api = resource.type.prefix, resource.binding.api
    why, ways_out = (
        "the manifests declare none",
        [f"declare a {kind.capitalize()} of {resource.address.name}"],
    )
    if members:
        reasons, unselected = [], []
        for member in members:
            reason = "it is not selected, or has an error"
            if member.refusals:
                reason = member.refusals[0].reason
            elif member.action is not Action.CREATE:
                reason = f"{member.action.value} is planned for it"
            reasons.append(f"{member.address} ({reason})")
            if not (member.refusals or options.selects(member.address)):
                unselected.append(member.address)
        why = f"no declared one can be created with it: {format_short_list(reasons)}"
        unsolvable = [one.address for one in members if one.address not in unselected]
        ways_out = [f"resolve {format_short_list(unsolvable)} first"] if unsolvable else []
        ways_out += [_select(unselected)] if unselected else []
    waits = any(one.ends_by_itself for member in members for one in member.refusals)
    other_apis = sorted(set(resource.type.bindings) - {api})
    # Another API version may create the owner without a member: beside a call that makes both a
    # second time.
    if other_apis and not waits:
        ways_out.append(f"or set another API version in the target: `api: {other_apis[0]}`")
    reason = f"API {api} creates a {kind_name} together with its first {kind}, but {why}"
    return Refusal("no-first-member", reason, tuple(ways_out), resource.position())


def hidden_dependency(resource: ResourceState, need: Address, cause: Refusal) -> Refusal:
    """The refusal for a dependency that the plan does not show; `cause`: what it waits for."""
    found = refusal("dependency", resource, names=str(need))
    return replace(
        found,
        rule=OF_DEPENDENCY + cause.rule,
        reason=f"{found.reason}: {cause.reason}",
        ways_out=cause.ways_out,
        outcome_unknown=True,
    )


def not_selected(resource: ResourceState, missing: Sequence[Address]) -> Refusal:
    """The refusal of a resource whose dependencies have to be created, but are not selected."""
    names = format_short_list(missing)
    return refusal("dependency: unselected", resource, names=names, select=_select(missing))


def _select(missing: Sequence[Address]) -> str:
    # A few are enough to show what to do.
    options = " ".join(f"--only {address}" for address in missing[:_MAX_OPTIONS])
    return f"add `{options}`, or remove it from --exclude"
