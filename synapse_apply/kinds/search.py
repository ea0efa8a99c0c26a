"""How live objects are read by id, by list, and by natural key, as an ApiBinding says."""

from __future__ import annotations

from collections.abc import Sequence

from synapse_apply.kinds.descriptor import Api, ApiBinding
from synapse_apply.kinds.wire import require_remote_id_of_answer
from synapse_apply.model.coding.json_types import ServerObject
from synapse_apply.model.errors import RemoteError
from synapse_apply.model.resource import Capabilities, Lookup, Observed
from synapse_apply.model.secrets.secret_marks import SecretMarks

_NO_SUCH_ENDPOINT = (404, 405)


def list_raw_objects(api: Api, binding: ApiBinding) -> Sequence[ServerObject] | None:
    """All listed objects; None if this backend has no list of this kind.

    That is known by 404 or 405, and only for a list that is a probed capability. RemoteError for
    any other failure.
    """
    if binding.list_objects is None:
        return None
    try:
        return binding.list_objects(api)
    except RemoteError as failure:
        if binding.list_capability and failure.status_code in _NO_SUCH_ENDPOINT:
            return None
        raise


def list_members_or_none(
    api: Api, binding: ApiBinding, owner: Observed
) -> Sequence[ServerObject] | None:
    """The objects of one live owner, of a kind that can only be listed by owner.

    None if this owner's cannot be listed, or this backend has no such list (404 or 405).
    """
    if binding.list_members_or_none is None:
        return None
    try:
        return binding.list_members_or_none(api, owner)
    except RemoteError as failure:
        if failure.status_code in _NO_SUCH_ENDPOINT:
            return None
        raise


def read_observed(api: Api, binding: ApiBinding, remote_id: str, marks: SecretMarks) -> Observed:
    """Read the live object with this id; RemoteError if that fails or another one is answered."""
    observed = binding.decode(binding.read_object(api, remote_id), marks)
    if observed.remote_id != remote_id:
        message = f"the backend answered id {observed.remote_id} where {remote_id} was asked for"
        raise RemoteError(message)
    return observed


def list_by_natural_key(
    api: Api, binding: ApiBinding, key: str, capabilities: Capabilities, marks: SecretMarks
) -> list[Observed]:
    """All live objects with this natural key, with all fields. RemoteError if the search fails.

    [] also if this backend cannot search for such a key.
    """
    # A search whose result proves nothing is not sent.
    if not key or binding.determine_search_proof(key, capabilities) is Lookup.NONE:
        return []
    hits: Sequence[ServerObject] = []
    if binding.list_objects is not None and (
        not binding.list_capability or capabilities.has_capability(binding.list_capability)
    ):
        hits = read_in_full(
            api,
            binding,
            [raw for raw in binding.list_objects(api) if key in binding.list_natural_keys(raw)],
        )
    elif binding.find_by_key is not None:
        hits = binding.find_by_key(api, key)
    return [binding.decode(raw, marks) for raw in hits]


def read_in_full(
    api: Api, binding: ApiBinding, hits: Sequence[ServerObject]
) -> Sequence[ServerObject]:
    """Listed objects with all their fields: each is read by id, unless list items are complete."""
    if binding.lists_whole_objects:
        return hits
    return [binding.read_object(api, require_remote_id_of_answer(raw)) for raw in hits]
