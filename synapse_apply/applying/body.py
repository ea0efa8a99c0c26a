"""What a call sends, and what of it becomes ours: pure, but for secrets revealed at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from synapse_apply.applying.task import Live, Task
from synapse_apply.model.diagnostic import Path, lies_in
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
    for path, value in leaves(task.desired.spec):
        if path == last and value is True:
            continue
        fields[path] = live[value.address].remote_id if isinstance(value, Reference) else value
    return fields


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
    for path, value in leaves(now):
        if path[0] in task.binding.fields and not isinstance(value, Sensitive | Withheld):
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
    return {key: _revealed(value, resolve) for key, value in tree.items()}


def _revealed(value: Any, resolve: Resolve) -> Any:
    if isinstance(value, SecretRef):
        return resolve(value).reveal()
    if isinstance(value, Mapping):
        return reveal(value, resolve)
    return value


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
