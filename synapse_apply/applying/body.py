"""What a call sends, and what of it becomes ours: pure, but for secrets revealed at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, replace
from typing import Any

from synapse_apply.applying.lookup import key_now
from synapse_apply.applying.task import CREATES, Live, Task, together
from synapse_apply.kinds.descriptor import UpdateMode
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Path, lies_in
from synapse_apply.model.frozen import frozen
from synapse_apply.model.masked import as_answered
from synapse_apply.model.ports import Secrets
from synapse_apply.model.values import (
    ABSENT,
    Fields,
    Reference,
    SecretRef,
    Sensitive,
    Withheld,
    dig,
    leaves,
    plant,
    prune,
)

Resolve = Callable[[SecretRef], Sensitive]
LIVE = "live"


def wanted(task: Task, live: Live) -> dict[Path, Any]:
    """The declared fields, flat, references as remote ids; secrets still as SecretRef.

    A create sends them all; what is absent is the server's to choose, and what a last call sets
    for good is not set before.
    """
    if task.desired is None:
        return {}
    last = (task.binding.seal.name,) if task.binding.seal is not None else None
    fields: dict[Path, Any] = {}
    for path, value in leaves(task.desired.spec).items():
        if path == last and value is True:
            continue
        fields[path] = live[value.address].remote_id if isinstance(value, Reference) else value
    return fields


@frozen
class Part:
    """One object that a create makes: its fields that become ours, and the body that asks for it.

    The first part's body is that of the call. `preferred` are fields of it in the form that is
    tried first.
    """

    task: Task
    ours: Mapping[Path, Any]
    body: Mapping[str, Any]
    preferred: Mapping[str, Any] = field(default_factory=dict)


def parts_of(task: Task, live: Live, resolve: Resolve) -> list[Part]:
    """What a create makes: its own object, and the member that goes along with it."""
    bootstraps, member = task.binding.bootstraps, task.carries
    if (bootstraps is None) != (member is None):
        raise ValueError(f"{task.address} makes another with it, and the plan says which")
    parts = [_part(task, wanted(task, live), resolve, key_now(task, live))]
    if bootstraps is not None and member is not None:
        ours = _without(task.address, member, live)
        parts.append(_part(member, ours, resolve, key_now(member, live)))
        parts[0] = replace(parts[0], body=bootstraps.body(*(part.body for part in parts)))
    return parts


def uploaded(task: Task) -> Address | None:
    """Whose package the call of a create uploads, if any."""
    for one in together(task):
        if one.type.carries_package and one.change.extras.get("package"):
            return one.address
    return None


def _part(task: Task, ours: Mapping[Path, Any], resolve: Resolve, natural_key: str) -> Part:
    body, package = nest(ours), task.desired.package if task.desired else None
    if task.type.carries_package and package is not None and package.digest:
        body["digest"] = package.digest
    spec, binding = reveal(body, resolve), task.binding
    return Part(task, ours, binding.encode(spec), binding.preferred(spec, natural_key))


def _without(owner: Address, member: Task, live: Live) -> dict[Path, Any]:
    """A member's fields but the reference to its owner, which has no id yet."""
    spec = member.desired.spec if member.desired else {}
    rest = {name: value for name, value in spec.items() if value != Reference(owner)}
    desired = replace(member.desired, spec=rest) if member.desired else None
    return wanted(replace(member, desired=desired), live)


def update_of(
    task: Task, now: Mapping[str, Any], live: Live, resolve: Resolve
) -> tuple[dict[str, Any], dict[Path, Any]]:
    """The body of an update of the object as it is now, and of it what is ours."""
    whole, ours = update_fields(task, now, live)
    if task.binding.update_mode is UpdateMode.PATCH:
        whole = patch_of(whole, task)
    return task.binding.encode(reveal(whole, resolve)), ours


def sent_secrets(task: Task) -> Iterator[tuple[Path, SecretRef]]:
    """The secrets that its calls carry, and where they stand."""
    creates = task.change.action in CREATES
    if task.desired is None or not (creates or task.change.fields):
        return
    left = () if creates else task.left
    for path, value in leaves(task.desired.spec).items():
        if not isinstance(value, SecretRef) or lies_in(path, left):
            continue
        if creates or value.source != LIVE:
            yield path, value


def update_fields(
    task: Task, now: Mapping[str, Any], live: Live
) -> tuple[dict[str, Any], dict[Path, Any]]:
    """The whole body of a PUT, and of it what is ours.

    The body is the live object overlaid by what is declared, without the fields that were
    dropped; drift that is kept stays in it. A secret is taken from its source or left out, never
    echoed from the live object.
    """
    left = task.left
    body: dict[str, Any] = {}
    declared = task.desired.spec if task.desired else {}
    quiet = {name for name, rule in task.type.rules.items() if rule.usual is not ABSENT}
    names = task.binding.fields - (quiet - declared.keys())
    # What is kept of the live object goes back as the server had it.
    for path, value in leaves(as_answered(dict(now))).items():
        if path[0] in names and not isinstance(value, Sensitive | Withheld):
            plant(body, path, value)
    ours: dict[Path, Any] = {}
    for path, value in wanted(task, live).items():
        if lies_in(path, left) or (isinstance(value, SecretRef) and value.source == LIVE):
            continue
        ours[path] = value
        if not _is_held_map(value, body, path):
            plant(body, path, value)
    for change in task.change.fields:
        if change.path in ours or change.sensitive:
            continue
        if change.after is ABSENT:
            _drop(body, change.path, ours)
        else:
            plant(body, change.path, change.after)
    return body, ours


def _drop(body: dict[str, Any], path: Path, ours: Mapping[Path, Any]) -> None:
    """Take a dropped field out, and the maps it leaves empty unless one is declared so."""
    prune(body, path)
    for end in range(len(path) - 1, 1, -1):
        if dig(body, path[:end]) != {} or path[:end] in ours:
            return
        prune(body, path[:end])


def patch_of(body: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """Of a whole body, the top-level fields that changed: what a PATCH sends."""
    touched = {str(change.path[0]) for change in task.change.fields}
    return {name: value for name, value in body.items() if name in touched}


def nest(fields: Fields) -> dict[str, Any]:
    """Flat fields as a nested map."""
    tree: dict[str, Any] = {}
    for path, value in fields.items():
        plant(tree, path, value)
    return tree


def reveal(tree: Mapping[str, Any], resolve: Resolve) -> dict[str, Any]:
    """The same map with every secret's value in it: on its way to the socket."""
    return {as_answered(key): _revealed(value, resolve) for key, value in tree.items()}


def _revealed(value: Any, resolve: Resolve) -> Any:
    if isinstance(value, SecretRef):
        return resolve(value).reveal()
    if isinstance(value, Mapping):
        return reveal(value, resolve)
    return as_answered(value)


def remembered(fields: Fields, salt: str, secrets: Secrets) -> dict[Path, Any]:
    """Fields as a record keeps them: secrets as keyed digests, left out where there is no key."""
    kept: dict[Path, Any] = {}
    for path, value in fields.items():
        if isinstance(value, SecretRef):
            mac = secrets.mac(salt, path, secrets.resolve(value)) if value.source != LIVE else None
            if mac is not None:
                kept[path] = mac
        else:
            kept[path] = value
    return kept


def _is_held_map(value: Any, body: Mapping[str, Any], path: Path) -> bool:
    """Whether an empty declared map is already satisfied: its live keys are left alone."""
    return value == {} and isinstance(value, Mapping) and isinstance(dig(body, path), Mapping)
