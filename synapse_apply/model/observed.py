"""What is live, as one backend answered it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.frozen import frozen


class Lookup(Enum):
    """What a search by natural key can prove.

    COMPLETE: a miss is absence. POSITIVE: a hit is proof, a miss proves nothing. NONE: no search.
    """

    COMPLETE = "complete"
    POSITIVE = "positive"
    NONE = "none"


class FoundBy(Enum):
    """How the live object of an address was identified."""

    PIN = "pin"
    RECORD = "record"
    KEY = "key"


@frozen
class Observed:
    """One live object. `spec` holds only fields of the kind, secrets wrapped or withheld.

    `missing_fields` are the kind's fields that the answer does not even name; `partial_fields`
    those of which it leaves out what is inside, so that a missing key proves nothing. `is_foreign`:
    it says of itself that it is the platform's own.
    """

    remote_id: str
    api: str
    spec: Mapping[str, Any]
    extra: Mapping[str, Any] = field(default_factory=dict)
    missing_fields: frozenset[str] = frozenset()
    partial_fields: frozenset[str] = frozenset()
    is_foreign: bool = False


@frozen
class LookupResult:
    """What the observer learned of one address.

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
    """What was probed of a backend, once per run: `plugin.list` -> True, and so on."""

    facts: Mapping[str, bool] = field(default_factory=dict)

    def has_capability(self, name: str) -> bool:
        """Whether the backend showed this ability."""
        return self.facts.get(name, False)
