"""Fields of a create that are sent in one of two forms: which one, and when the other is tried.

The preferred form is that of the platform's own service, the plain one that of the API page. A
server that refuses the preferred form, and says so of that field alone, has done nothing: the same
create is sent once more with the plain one.
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import Any

from synapse_apply.kinds.descriptor import ApiBinding
from synapse_apply.model.errors import Effect, RemoteError
from synapse_apply.model.remote.error_body import parse_field_errors

BAD_REQUEST = 400


class AcceptedPlainForms:
    """The fields whose plain form a backend took after it had refused the other; thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._names: set[tuple[str, str, str]] = set()

    def remember_plain_fields(self, prefix: str, api: str, names: frozenset[str]) -> None:
        """From now on these fields of a kind are sent in their plain form at once."""
        with self._lock:
            self._names.update((prefix, api, name) for name in names)

    def select_preferred_fields(
        self, prefix: str, binding: ApiBinding, preferred: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The fields that are to be sent in their preferred form."""
        with self._lock:
            plain_names = set(self._names)
        return {
            name: value
            for name, value in preferred.items()
            if (prefix, binding.api, name) not in plain_names
        }


def list_refused_fields(failure: RemoteError) -> frozenset[str]:
    """The top-level fields that a refusal names; "" stands for the request as a whole."""
    paths = parse_field_errors(failure.detail)
    return frozenset(str(path[0]) if path else "" for path in paths)


def list_refused_preferred_fields(
    failure: RemoteError, preferred: Mapping[str, Any]
) -> frozenset[str]:
    """The preferred fields that are all a server refused; empty where it refused anything else."""
    if failure.status_code != BAD_REQUEST or failure.effect is not Effect.NONE:
        return frozenset()
    names = list_refused_fields(failure)
    return names if names <= preferred.keys() else frozenset()
