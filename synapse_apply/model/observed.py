"""What a backend's answer says of live objects, and what a search for one proves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from typing import Any, NamedTuple

from synapse_apply.model.address import Address
from synapse_apply.model.coding.json_types import Spec
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.frozen import frozen
from synapse_apply.model.values import Fields, flatten


class Lookup(Enum):
    """What a search by natural key proves.

    COMPLETE: no hit proves absence. POSITIVE: a hit proves existence, no hit proves nothing. NONE:
    there is no search.
    """

    COMPLETE = "complete"
    POSITIVE = "positive"
    NONE = "none"


class FoundBy(Enum):
    """How the live object of an address was identified."""

    PIN = "pin"
    RECORD = "record"
    KEY = "key"


class ObjectKey(NamedTuple):
    """Which object of a backend: each API version numbers the objects of a kind on its own."""

    kind: str
    api: str
    remote_id: str


@frozen
class Observed:
    """One live object. `spec` holds only fields of the kind, secrets wrapped or withheld.

    `missing_fields` are the kind's fields that the answer does not have; `partial_fields`
    those whose content is not complete, so that a missing key proves nothing. `is_platform_owned`:
    nobody but the platform may change it.
    """

    remote_id: str
    api: str
    spec: Spec
    extra: Mapping[str, Any] = field(default_factory=dict)
    missing_fields: frozenset[str] = frozenset()
    partial_fields: frozenset[str] = frozenset()
    is_platform_owned: bool = False
    _fields: Fields | None = field(default=None, init=False, repr=False, compare=False)

    def flatten_spec(self) -> Fields:
        """The fields of `spec` by path, computed once."""
        if self._fields is None:
            self._fields = flatten(self.spec)  # type: ignore[misc] # no other value is changed
        return self._fields


@frozen
class LookupResult:
    """What reading and searching found for one address.

    No `observed` and no `problem` means absent as far as `lookup` can tell. A read that failed is
    a problem, never absence.
    """

    address: Address
    observed: Observed | None = None
    found_by: FoundBy | None = None
    lookup: Lookup = Lookup.NONE
    problem: Diagnostic | None = None


@frozen
class Capabilities:
    """What a backend was found to support, once for each run, such as `plugin.list`: True."""

    facts: Mapping[str, bool] = field(default_factory=dict)

    def has_capability(self, name: str) -> bool:
        """Whether the backend was found to support this."""
        return self.facts.get(name, False)
