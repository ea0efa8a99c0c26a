"""Reading live objects the way a Binding says: by id, or by natural key."""

from __future__ import annotations

from collections.abc import Sequence

from synapse_apply.kinds.descriptor import Binding, Raw
from synapse_apply.kinds.wire import remote_id
from synapse_apply.model.errors import RemoteError
from synapse_apply.model.marks import SecretMarks
from synapse_apply.model.observed import Capabilities, Lookup, Observed
from synapse_apply.model.ports import Api

_NO_SUCH_ENDPOINT = (404, 405)


def lists(binding: Binding, capabilities: Capabilities) -> bool:
    """Whether every object of the kind can be listed here."""
    return binding.list is not None and (
        not binding.list_needs or capabilities.has(binding.list_needs)
    )


def probe(api: Api, binding: Binding) -> Sequence[Raw] | None:
    """Every listed object, or None where this backend has no list.

    404 and 405 say that there is none; any other failure is an error, never a no.
    """
    if binding.list is None:
        return None
    try:
        return binding.list(api)
    except RemoteError as failure:
        if binding.list_needs and failure.status_code in _NO_SUCH_ENDPOINT:
            return None
        raise


def members_of(api: Api, binding: Binding, owner: Observed) -> Sequence[Raw] | None:
    """What belongs to one live owner, of a kind that is listed by owner only.

    None where this owner has none that could be listed, or this backend no such list.
    """
    if binding.members is None:
        return None
    try:
        return binding.members(api, owner)
    except RemoteError as failure:
        if failure.status_code in _NO_SUCH_ENDPOINT:
            return None
        raise


def read_object(api: Api, binding: Binding, remote_id: str, marks: SecretMarks) -> Observed:
    """The live object with this id; RemoteError when it cannot be had, or another one answers."""
    found = binding.decode(binding.read(api, remote_id), marks)
    if found.remote_id != remote_id:
        words = f"the backend answered id {found.remote_id} where {remote_id} was asked for"
        raise RemoteError(words)
    return found


def search(
    api: Api, binding: Binding, key: str, capabilities: Capabilities, marks: SecretMarks
) -> list[Observed]:
    """Every live object with this natural key, whole. RemoteError when the search failed."""
    if not key or binding.proves(key, capabilities) is Lookup.NONE:
        return []
    hits: Sequence[Raw] = []
    if binding.list is not None and lists(binding, capabilities):
        hits = whole(api, binding, [raw for raw in binding.list(api) if key in binding.keys(raw)])
    elif binding.find is not None:
        hits = binding.find(api, key)
    return [binding.decode(raw, marks) for raw in hits]


def whole(api: Api, binding: Binding, hits: Sequence[Raw]) -> Sequence[Raw]:
    """Listed objects with all their fields: read one by one where list items are short."""
    if binding.list_is_whole:
        return hits
    return [binding.read(api, remote_id(raw)) for raw in hits]
