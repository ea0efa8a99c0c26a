"""In which of two forms a field of a create is sent, and when the other one is tried.

The preferred form is that of the platform's service, the plain one that of the API page. A
server that refuses only a field in its preferred form has done nothing, so the same
create is sent again with the plain one.
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import Any

from synapse_apply.kinds.descriptor import ApiBinding
from synapse_apply.model.coding.json_types import JsonObject
from synapse_apply.model.errors import Effect, RemoteError
from synapse_apply.model.remote.error_body import parse_field_errors

BAD_REQUEST = 400


class AcceptedPlainForms:
    """The fields of which a backend has accepted only the plain form; thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._names: set[tuple[str, str, str]] = set()

    def remember_plain_fields(self, prefix: str, api: str, names: frozenset[str]) -> None:
        """Send these fields of a kind in their plain form from now on."""
        with self._lock:
            self._names.update((prefix, api, name) for name in names)

    def drop_fields_to_be_sent_in_plain_form(
        self, prefix: str, binding: ApiBinding, preferred: Mapping[str, Any]
    ) -> JsonObject:
        """The given fields without those that are sent in their plain form."""
        with self._lock:
            plain_names = set(self._names)
        return {
            name: value
            for name, value in preferred.items()
            if (prefix, binding.api, name) not in plain_names
        }


def list_top_level_names_of_refusal(failure: RemoteError) -> frozenset[str]:
    """The top-level fields that a refusal names; "" for the whole request."""
    paths = parse_field_errors(failure.detail)
    return frozenset(str(path[0]) if path else "" for path in paths)


def list_refused_names_if_all_are_preferred(
    failure: RemoteError, preferred: Mapping[str, Any]
) -> frozenset[str]:
    """The refused fields if all are in their preferred form; empty if anything else was refused."""
    if failure.status_code != BAD_REQUEST or failure.effect is not Effect.NONE:
        return frozenset()
    names = list_top_level_names_of_refusal(failure)
    return names if names <= preferred.keys() else frozenset()
