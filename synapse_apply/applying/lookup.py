"""How an object is looked up at the backend, whose it is, and whether it is as it was sent."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import field
from threading import Lock
from typing import Any

from synapse_apply.applying.records import is_as_sent, is_still_set, reveal_live
from synapse_apply.applying.step import Step
from synapse_apply.kinds.compare import is_same_value
from synapse_apply.kinds.descriptor import Api
from synapse_apply.kinds.wire import list_by_natural_key, read_observed
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.errors import NotFound, RemoteError, StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_types import ServerObject
from synapse_apply.model.ports import Secrets, StateStore
from synapse_apply.model.resource import Capabilities, Lookup, ObjectKey, Observed
from synapse_apply.model.secrets.secret_marks import SecretMarks
from synapse_apply.model.state import Record
from synapse_apply.model.values import (
    ABSENT,
    Fields,
    Reference,
    SecretRef,
    WithheldSecret,
    get_at_or_absent,
)

_BETWEEN_WORDS = re.compile(r"[\s_-]+")


@frozen
class Backend:
    """The backend of one apply, and the live objects that are known so far.

    `request_id` gives the server's id of the last request of this thread ("" without one);
    `longest_call` the seconds after which a call that uploads so many bytes must have ended.
    `owners` are the target's. `known` has what this run's calls have left, too: later steps need
    the ids.
    """

    api: Api
    marks: SecretMarks
    capabilities: Capabilities
    request_id: Callable[[], str]
    longest_call: Callable[[int], float]
    owners: tuple[str, ...] = ()
    known: dict[Address, Observed] = field(default_factory=dict)

    def marks_of(self, step: Step) -> SecretMarks:
        return self.marks.with_address(step.address)

    def decode(self, step: Step, raw: ServerObject) -> Observed:
        return step.binding.decode(raw, self.marks_of(step))

    def read(self, step: Step, remote_id: str) -> Observed:
        """The object with this id; raises RemoteError, also where another object is answered."""
        return read_observed(self.api, step.binding, remote_id, self.marks_of(step))

    def find(self, step: Step, remote_id: str) -> Observed | None:
        """As `read`; None where the object is gone."""
        try:
            return self.read(step, remote_id)
        except NotFound:
            return None

    def search(self, step: Step, key: str) -> list[Observed]:
        """The objects with this natural key; RemoteError where the search fails."""
        return list_by_natural_key(
            self.api, step.binding, key, self.capabilities, self.marks_of(step)
        )

    def only(self, step: Step, key: str) -> Observed | None:
        """The only object with this natural key; None for none, several, or a failed search."""
        try:
            hits = self.search(step, key)
        except RemoteError:
            return None
        return hits[0] if len(hits) == 1 else None

    def proves_absence(self, step: Step, key: str) -> bool:
        """Whether a search for this natural key could prove that there is no such object."""
        return step.binding.determine_search_proof(key, self.capabilities) is Lookup.COMPLETE

    def key(self, step: Step) -> str:
        """The step's natural key; where it has a parent's id, "" until that exists."""
        if step.natural_key or step.desired is None:
            return step.natural_key
        parents = {
            name: self.known[value.address]
            for name, value in step.spec.items()
            if isinstance(value, Reference) and value.address in self.known
        }
        return step.type.derive_natural_key(step.spec, parents)


def index_owners(records: Mapping[Address, Record]) -> dict[ObjectKey, Address]:
    """The address of each recorded object, by kind, API version and id."""
    return {
        ObjectKey(address.kind, record.api, record.remote_id): address
        for address, record in records.items()
    }


# A wrong answer could give one object to two addresses; an id that another address has is never
# recorded.
class Claims:
    """The ids of recorded objects and of objects that this run's calls returned; thread-safe."""

    def __init__(self, store: StateStore) -> None:
        """Reads nothing yet."""
        self._store = store
        self._lock = Lock()
        self._recorded: dict[ObjectKey, Address] | None = None
        self._claimed: dict[ObjectKey, Address] = {}

    def other_owner(self, observed: Observed, address: Address) -> Address | None:
        """The other address that has an object already; else claims it for `address`: None.

        Never raises: the call was done by then, and an unreadable state must not make it look
        otherwise. Recording the call then meets the same error, and writes the outcome to a
        recovery file.
        """
        key = ObjectKey(address.kind, observed.api, observed.remote_id)
        # One lock for look-up and claim, so that two threads cannot claim the same object.
        with self._lock:
            owner = self._recorded_owner(key, address)
            if owner is None:
                # The records of concurrent calls may not be written yet.
                owner = self._claimed.setdefault(key, address)
            return None if owner == address else owner

    def read_records_once(self) -> None:
        """Read what is recorded before a call: once it is answered, it waits for no read."""
        with self._lock, suppress(StateError):
            self._index_records()

    def _index_records(self) -> dict[ObjectKey, Address]:
        if self._recorded is None:
            self._recorded = index_owners(self._store.read_state().records)
        return self._recorded

    def _recorded_owner(self, key: ObjectKey, address: Address) -> Address | None:
        with suppress(StateError):
            owner = self._index_records().get(key)
            if owner == address:
                return owner
            # The index may be stale: the record may be gone, and the server may have given its id
            # again.
            record = self._store.find_record(owner) if owner is not None else None
            if record is not None and (record.api, record.remote_id) == key[1:]:
                return owner
        return None


def published_digest(observed: Observed) -> str | None:
    """The package digest in an object, if its publisher put one there."""
    digest = observed.extra.get("digest")
    return digest if isinstance(digest, str) else None


def shows_other_package(observed: Observed, digest: str | None) -> bool:
    """Whether an object shows the digest of another package."""
    return published_digest(observed) not in {None, digest}


def may_be_created(step: Step, sent: Fields, observed: Observed, secrets: Secrets) -> bool:
    """Whether an object may be what a create sent: nothing that is shown differs."""
    if step.package is not None and shows_other_package(observed, step.package.digest):
        return False
    # What was there before a replacement looks the same, but for its package.
    if step.change.replaces_package and published_digest(observed) is None:
        return False
    return all(
        _is_as_sent(step, path, value, observed, secrets) is not False
        for path, value in sent.items()
    )


def shows_update(step: Step, sent: Fields, observed: Observed, secrets: Secrets) -> bool:
    """Whether an update was certainly done: every field that is kept is shown as it was sent."""
    dropped_paths = (change.path for change in step.change.fields if change.path not in sent)
    if any(is_still_set(step, observed, path) for path in dropped_paths):
        return False
    unkept = step.record.unkept if step.record is not None else ()
    return all(path[0] in unkept for path in unlike_sent(step, sent, observed, secrets))


def unlike_sent(step: Step, sent: Fields, observed: Observed, secrets: Secrets) -> list[FieldPath]:
    """The fields that an object does not show as they were sent, or does not show at all."""
    return [
        path
        for path, value in sorted(sent.items())
        if not _is_as_sent(step, path, value, observed, secrets)
    ]


def _is_as_sent(
    step: Step, path: FieldPath, value: Any, observed: Observed, secrets: Secrets
) -> bool | None:
    """Whether a field is as it was sent; None where the server does not show it."""
    rule, live_value = step.type.require_rule_of_field(path), get_at_or_absent(observed.spec, path)
    if (
        rule.write_only
        or isinstance(live_value, WithheldSecret)
        or is_not_shown(step, path, observed)
    ):
        return None
    if not isinstance(value, SecretRef):
        return is_as_sent(rule, value, live_value) or (None if rule.packaged else False)
    if live_value is ABSENT:
        return None
    return is_as_sent(rule, secrets.resolve_secret(value).reveal(), reveal_live(live_value))


def is_not_shown(step: Step, path: FieldPath, observed: Observed) -> bool:
    """Whether an answer says nothing of a field, as it is missing or partly left out."""
    if path[0] in observed.partial_fields and get_at_or_absent(observed.spec, path) is ABSENT:
        return True
    return path[0] in observed.missing_fields and path[0] not in step.type.identity_fields


def shows_value(value: Any) -> bool:
    """Whether a server shows a value: it is neither absent nor withheld."""
    return value is not ABSENT and type(value) is not WithheldSecret


def equals_up_to_rewriting(sent: Any, live: Any) -> bool:
    """Whether two values are equal up to how servers rewrite names: case, blanks, hyphens."""
    if sent == live and type(sent) is type(live) is str:
        return True
    if isinstance(sent, str) and isinstance(live, str):
        return _normalize(sent) == _normalize(live)
    return is_same_value(sent, live)


def _normalize(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).casefold()
    return _BETWEEN_WORDS.sub("-", text).strip("-")
