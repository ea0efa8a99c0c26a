"""Looking an object up after a call, and whether it is what was sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.applying.records import bare, met, still_there
from synapse_apply.applying.task import Live, Task, Tools
from synapse_apply.kinds.search import read_object, search
from synapse_apply.model.diagnostic import Path
from synapse_apply.model.errors import NotFound, RemoteError
from synapse_apply.model.observed import Observed
from synapse_apply.model.ports import Secrets
from synapse_apply.model.values import (
    ABSENT,
    Reference,
    SecretRef,
    Sensitive,
    Withheld,
    dig,
)


def by_key(task: Task, tools: Tools, key: str) -> Observed | None:
    """The one object with this key; None when there is none, several, or no telling."""
    try:
        hits = search(
            tools.api, task.binding, key, tools.capabilities, tools.marks.for_address(task.address)
        )
    except RemoteError:
        return None
    return hits[0] if len(hits) == 1 else None


def by_id(task: Task, tools: Tools, remote_id: str) -> Observed | None:
    """The object with this id, None when it is gone; RemoteError when nobody can tell."""
    try:
        return read(task, tools, remote_id)
    except NotFound:
        return None


def read(task: Task, tools: Tools, remote_id: str) -> Observed:
    """The object with this id; RemoteError when it cannot be had, or another one is answered."""
    return read_object(tools.api, task.binding, remote_id, tools.marks.for_address(task.address))


def made_so(task: Task, sent: Mapping[Path, Any], found: Observed, secrets: Secrets) -> bool:
    """Whether an object is what a create sent, as far as it can be seen."""
    package = task.desired.package if task.desired else None
    told = digest_of(found)
    if package is not None and told is not None and told != package.digest:
        return False
    return all(
        _as_sent(task, path, value, found, secrets) is not False for path, value in sent.items()
    )


def digest_of(found: Observed) -> str | None:
    """The digest that travels in an object, where its publisher put one."""
    told = found.extra.get("digest")
    return told if isinstance(told, str) else None


def changed_so(task: Task, sent: Mapping[Path, Any], found: Observed, secrets: Secrets) -> bool:
    """Whether an update has certainly been done: what cannot be seen is no proof of it."""
    dropped = (change.path for change in task.change.fields if change.path not in sent)
    if any(still_there(task, found, path) for path in dropped):
        return False
    unkept = task.record.unkept if task.record is not None else ()
    return all(path[0] in unkept for path in not_shown_as_sent(task, sent, found, secrets))


def not_shown_as_sent(
    task: Task, sent: Mapping[Path, Any], found: Observed, secrets: Secrets
) -> list[Path]:
    """The fields that an object does not show as they were sent, hidden ones among them."""
    return [
        path
        for path, value in sorted(sent.items())
        if not _as_sent(task, path, value, found, secrets)
    ]


def _as_sent(task: Task, path: Path, value: Any, found: Observed, secrets: Secrets) -> bool | None:
    """Whether a field is as it was sent; None where the server does not show it."""
    rule, has = task.type.rule(path), dig(found.spec, path)
    if rule.write_only or isinstance(has, Withheld) or is_out_of_sight(task, path, found):
        return None
    if not isinstance(value, SecretRef):
        return met(rule, value, has) or (None if rule.packaged else False)
    if has is ABSENT:
        return None
    shown = has.reveal() if isinstance(has, Sensitive) else bare(has)
    return met(rule, secrets.resolve(value).reveal(), shown)


def is_out_of_sight(task: Task, path: Path, found: Observed) -> bool:
    """Whether an object says nothing of a field: its answer has none, or leaves that part out."""
    if path[0] in found.partial and dig(found.spec, path) is ABSENT:
        return True
    return path[0] in found.lacks and path[0] not in task.type.identity


def tells_nothing(task: Task, path: Path, found: Observed) -> bool:
    """Whether an object is taken over whatever is declared there: nothing will ever compare it."""
    if task.type.rule(path).packaged:
        return True
    return is_out_of_sight(task, path, found) and task.type.is_fixed(task.binding, path[0])


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
