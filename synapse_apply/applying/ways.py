"""How each verb is tried on a backend, and how to find out whether it was done all the same."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

from synapse_apply.applying import lookup
from synapse_apply.applying.body import parts_of, update_of, uploaded
from synapse_apply.applying.task import Live, Task, Tools
from synapse_apply.kinds.search import search
from synapse_apply.model.errors import Effect, NotFound, RemoteError, Unconfirmed
from synapse_apply.model.frozen import frozen
from synapse_apply.model.observed import Lookup
from synapse_apply.model.values import dig

_GONE = "the answer says nothing, and the object is gone"


@frozen
class Way:
    """How one verb is tried, and how to find out whether it was done all the same.

    `send` raises RemoteError; None where it cannot be tried. `acted` is None where nobody can
    tell. `lasting`: nothing takes back what it would do.
    """

    verb: str
    send: Callable[[Task, Tools, Live], None] | None
    acted: Callable[[Task, Tools, Live], bool | None]
    lasting: bool = False


def _create(task: Task, tools: Tools, live: Live) -> None:
    body, packed = parts_of(task, live, tools.secrets.resolve)[0].body, uploaded(task)
    with tools.packages.open(packed) if packed else nullcontext() as package:
        whole = {**body, "file": package} if packed else body
        task.binding.create(tools.api.trying, whole, "")


def _is_made(task: Task, tools: Tools, live: Live) -> bool | None:
    binding, key = task.binding, lookup.key_now(task, live)
    try:
        hits = search(
            tools.api, binding, key, tools.capabilities, tools.marks.for_address(task.address)
        )
    except RemoteError:
        return None
    surely = binding.proves(key, tools.capabilities) is Lookup.COMPLETE
    return bool(hits) if hits or surely else None


def _update(task: Task, tools: Tools, live: Live) -> None:
    call, observed = task.binding.update, task.observed
    if call is None or observed is None:
        raise ValueError(f"{task.address} cannot be updated, yet its plan says so")
    body, _ours = update_of(task, observed.spec, live, tools.secrets.resolve)
    call(tools.api.trying, task.change.remote_id, body)


def _is_changed(task: Task, tools: Tools, live: Live) -> bool | None:
    try:
        found = lookup.by_id(task, tools, task.change.remote_id)
    except RemoteError:
        return None
    if found is None or task.observed is None:
        return None
    _body, ours = update_of(task, task.observed.spec, live, tools.secrets.resolve)
    return lookup.changed_so(task, ours, found, tools.secrets)


def _delete(task: Task, tools: Tools, live: Live) -> None:
    call = task.binding.delete
    if call is None:
        raise ValueError(f"{task.address} cannot be deleted, yet its plan says so")
    try:
        call(tools.api.trying, task.change.remote_id)
    except NotFound:
        return  # what is to be gone is gone
    if _is_gone(task, tools, live):
        raise Unconfirmed(_GONE, effect=Effect.UNKNOWN)


def _is_gone(task: Task, tools: Tools, _live: Live) -> bool | None:
    try:
        return lookup.by_id(task, tools, task.change.remote_id) is None
    except RemoteError:
        return None


def _seal(task: Task, tools: Tools, _live: Live) -> None:
    if task.binding.seal is None:
        raise ValueError(f"{task.address} cannot be sealed, yet its plan says so")
    task.binding.seal.call(tools.api.trying, task.change.remote_id)


def _is_sealed(task: Task, tools: Tools, _live: Live) -> bool | None:
    try:
        found = lookup.by_id(task, tools, task.change.remote_id)
    except RemoteError:
        return None
    seal = task.binding.seal
    return None if found is None or seal is None else dig(found.spec, (seal.name,)) is True


def _is_run(_task: Task, _tools: Tools, _live: Live) -> None:
    """Nobody can tell."""


CREATE = Way("create", _create, _is_made)
UPDATE = Way("update", _update, _is_changed)
DELETE = Way("delete", _delete, _is_gone, lasting=True)
SEAL = Way("seal", _seal, _is_sealed, lasting=True)
RUN = Way("run", None, _is_run, lasting=True)
