"""Signatures under a state key: of the results of runs, and of lines that tell what a run did.

A signature is `KEY_ID:HEX`: HMAC-SHA256 under a sub-key of the state key, over a document as
canonical JSON. Each purpose has a sub-key of its own, none is the key that secrets are digested
with, so that no signature can be taken for another kind of thing.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import Enum
from functools import lru_cache
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.frozen import frozen
from synapse_apply.model.state import Record
from synapse_apply.model.verification import LastRun, Verdict
from synapse_apply.secrets.keys import Keys, StateKey
from synapse_apply.secrets.macs import canonical_json

_SUB_KEY = b"synapse-apply sub-key 1\0"
_RUNS = "result of a run"


class Standing(Enum):
    """What a signature shows.

    GENUINE: the key in use made it. EARLIER: another key at hand did. STRANGE: it names a key that
    is not at hand. FORGED: a key at hand did not make it of this document. UNSIGNED: there is none.
    """

    GENUINE = "genuine"
    EARLIER = "earlier"
    STRANGE = "strange"
    FORGED = "forged"
    UNSIGNED = "unsigned"


def sign(keys: Keys, purpose: str, document: Mapping[str, Any]) -> str:
    """The signature of a document under the key in use; "" without one."""
    return _signature(keys.current, purpose, document) if keys.current is not None else ""


def standing(keys: Keys, purpose: str, document: Mapping[str, Any], signature: str) -> Standing:
    """What the signature of a document shows."""
    if not signature:
        return Standing.UNSIGNED
    named = key_id_of(signature)
    key = next((key for key in keys.known if key.key_id == named), None)
    if key is None:
        return Standing.STRANGE
    made = _signature(key, purpose, document)
    # As bytes: what is compared may hold anything.
    if not hmac.compare_digest(made.encode(), signature.encode("utf-8", "replace")):
        return Standing.FORGED
    return Standing.GENUINE if key == keys.current else Standing.EARLIER


def key_id_of(signature: str) -> str:
    """The id of the key that a signature names."""
    return signature.partition(":")[0]


def _signature(key: StateKey, purpose: str, document: Mapping[str, Any]) -> str:
    made = hmac.digest(_sub_key(key, purpose), canonical_json(document), "sha256")
    return f"{key.key_id}:{made.hex()}"


@lru_cache(maxsize=16)
def _sub_key(key: StateKey, purpose: str) -> bytes:
    """Kept, since it is asked for with every record."""
    return hmac.digest(key.reveal(), _SUB_KEY + purpose.encode(), "sha256")


@frozen
class RunSigner:
    """Signs what the records of one state remember of their last runs, and checks it."""

    keys: Keys
    lineage: str

    def signed(self, record: Record) -> Record:
        """The record with a signature of its last run; unsigned without a key."""
        last = LastRun.of(record.verification)
        if last is None:
            return record
        signature = sign(self.keys, _RUNS, self._document(record.address, last))
        return replace(record, verification=replace(last, signature=signature).to_json())

    def standing(self, record: Record) -> Standing:
        """What the signature of a record's last run shows."""
        last = LastRun.of(record.verification)
        if last is None or not last.signature:
            return Standing.UNSIGNED
        document = self._document(record.address, last)
        return standing(self.keys, _RUNS, document, last.signature)

    def moved(self, before: Record, after: Record) -> Record:
        """A record under its new address, signed anew where it was signed under the former one."""
        if before.address == after.address or self.standing(before) is not Standing.GENUINE:
            return after
        return self.signed(after)

    def without_forged(
        self, records: Mapping[Address, Record]
    ) -> tuple[Mapping[Address, Record], tuple[Address, ...]]:
        """The records, the result of a run unknown where its signature is forged; and whose is."""
        forged = tuple(self._find_forged(records.values()))
        doubted = {address: _with_unknown_run(records[address]) for address in forged}
        return ({**records, **doubted} if doubted else records), forged

    def _find_forged(self, records: Iterable[Record]) -> Iterable[Address]:
        return (one.address for one in records if self.standing(one) is Standing.FORGED)

    def _document(self, address: Address, last: LastRun) -> dict[str, str]:
        return {
            "lineage": self.lineage,
            "address": str(address),
            **replace(last, signature="").to_json(),
        }


def _with_unknown_run(record: Record) -> Record:
    last = LastRun.of(record.verification)
    if last is None:
        return record
    unknown = replace(last, result=Verdict.UNKNOWN, signature="")
    return replace(record, verification=unknown.to_json())
