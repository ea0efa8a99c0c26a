"""Looking an object up after a call, and whether it is what was sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.applying.records import met
from synapse_apply.applying.task import Live, Task, Tools
from synapse_apply.kinds.search import search
from synapse_apply.model.diagnostic import Path
from synapse_apply.model.errors import NotFound, RemoteError
from synapse_apply.model.observed import Observed
from synapse_apply.model.values import ABSENT, Mac, Reference, SecretRef, dig


def by_key(task: Task, tools: Tools, key: str) -> Observed | None:
    """The one object with this key; None when there is none, several, or no telling."""
    try:
        hits = search(tools.api, task.binding, key, tools.capabilities, tools.marks)
    except RemoteError:
        return None
    return hits[0] if len(hits) == 1 else None


def by_id(task: Task, tools: Tools, remote_id: str) -> Observed | None:
    """The object with this id, None when it is gone; RemoteError when nobody can tell."""
    try:
        return task.binding.decode(task.binding.read(tools.api, remote_id), tools.marks)
    except NotFound:
        return None


def agrees(task: Task, sent: Mapping[Path, Any], found: Observed) -> bool:
    """Whether every field that was sent and can be seen is as it was sent."""
    for path, value in sent.items():
        rule = task.type.rule(path)
        if isinstance(value, SecretRef | Mac) or rule.write_only:
            continue
        if not met(rule, value, dig(found.spec, path)):
            return False
    return True


def parents_of(task: Task, live: Live) -> dict[str, Observed]:
    """The live objects that a task's reference fields point to, by field."""
    spec = task.desired.spec if task.desired else {}
    return {
        name: live[value.address]
        for name, value in spec.items()
        if isinstance(value, Reference) and value.address in live
    }


def key_now(task: Task, live: Live) -> str:
    """The natural key, which may need a parent that was only just created."""
    if task.natural_key or task.desired is None:
        return task.natural_key
    return task.type.natural_key(task.desired.spec, parents_of(task, live))


def shows(found: Observed, path: Path) -> bool:
    """Whether the server shows anything at this path."""
    return dig(found.spec, path) is not ABSENT
