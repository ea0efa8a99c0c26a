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
from synapse_apply.model.verification import LastRun, RunStatus
from synapse_apply.secrets.keys import StateKey, StateKeys
from synapse_apply.secrets.macs import encode_canonical_json

_SUB_KEY_DOMAIN = b"synapse-apply sub-key 1\0"
_RUN_PURPOSE = "result of a run"


class SignatureStatus(Enum):
    """What a signature shows.

    GENUINE: the key in use made it. EARLIER: another key at hand did. STRANGE: it names a key that
    is not at hand. FORGED: a key at hand did not make it of this document. UNSIGNED: there is none.
    """

    GENUINE = "genuine"
    EARLIER = "earlier"
    STRANGE = "strange"
    FORGED = "forged"
    UNSIGNED = "unsigned"


def sign_document(keys: StateKeys, purpose: str, document: Mapping[str, Any]) -> str:
    """The signature of a document under the key in use; "" without one."""
    return (
        _compute_signature(keys.current_key, purpose, document)
        if keys.current_key is not None
        else ""
    )


def verify_signature(
    keys: StateKeys, purpose: str, document: Mapping[str, Any], signature: str
) -> SignatureStatus:
    """What the signature of a document shows."""
    if not signature:
        return SignatureStatus.UNSIGNED
    key_id = parse_key_id(signature)
    key = next((key for key in keys.all_keys if key.key_id == key_id), None)
    if key is None:
        return SignatureStatus.STRANGE
    expected_signature = _compute_signature(key, purpose, document)
    # As bytes: what is compared may hold anything.
    if not hmac.compare_digest(expected_signature.encode(), signature.encode("utf-8", "replace")):
        return SignatureStatus.FORGED
    return SignatureStatus.GENUINE if key == keys.current_key else SignatureStatus.EARLIER


def parse_key_id(signature: str) -> str:
    """The id of the key that a signature names."""
    return signature.partition(":")[0]


def _compute_signature(key: StateKey, purpose: str, document: Mapping[str, Any]) -> str:
    digest = hmac.digest(_derive_sub_key(key, purpose), encode_canonical_json(document), "sha256")
    return f"{key.key_id}:{digest.hex()}"


@lru_cache(maxsize=16)
def _derive_sub_key(key: StateKey, purpose: str) -> bytes:
    """Kept, since it is asked for with every record."""
    return hmac.digest(key.reveal(), _SUB_KEY_DOMAIN + purpose.encode(), "sha256")


# What a state says to another target counts only if it is signed, and only under the key in use: a
# key file could lie in the checkout beside the state. Its own target accepts an unsigned result,
# because it believes every id of that state as well; a changed one counts as unknown and is run
# again.
@frozen
class RunSigner:
    """Signs what the records of one state remember of their last runs, and checks it."""

    keys: StateKeys
    lineage: str

    def sign_record(self, record: Record) -> Record:
        """The record with a signature of its last run; unsigned without a key."""
        last_run = LastRun.from_json(record.verification)
        if last_run is None:
            return record
        signature = sign_document(
            self.keys, _RUN_PURPOSE, self._build_signed_document(record.address, last_run)
        )
        return replace(record, verification=replace(last_run, signature=signature).to_json())

    def verify_record(self, record: Record) -> SignatureStatus:
        """What the signature of a record's last run shows."""
        last_run = LastRun.from_json(record.verification)
        if last_run is None or not last_run.signature:
            return SignatureStatus.UNSIGNED
        document = self._build_signed_document(record.address, last_run)
        return verify_signature(self.keys, _RUN_PURPOSE, document, last_run.signature)

    def sign_moved_record(self, before: Record, after: Record) -> Record:
        """A record under its new address, signed anew where it was signed under the former one."""
        if (
            before.address == after.address
            or self.verify_record(before) is not SignatureStatus.GENUINE
        ):
            return after
        return self.sign_record(after)

    def mark_forged_runs_unknown(
        self, records: Mapping[Address, Record]
    ) -> tuple[Mapping[Address, Record], tuple[Address, ...]]:
        """The records, the result of a run unknown where its signature is forged; and whose is."""
        forged = tuple(self._find_forged_addresses(records.values()))
        unknown_run_records = {address: _mark_run_unknown(records[address]) for address in forged}
        return ({**records, **unknown_run_records} if unknown_run_records else records), forged

    def _find_forged_addresses(self, records: Iterable[Record]) -> Iterable[Address]:
        return (
            record.address
            for record in records
            if self.verify_record(record) is SignatureStatus.FORGED
        )

    def _build_signed_document(self, address: Address, last_run: LastRun) -> dict[str, str]:
        return {
            "lineage": self.lineage,
            "address": str(address),
            **replace(last_run, signature="").to_json(),
        }


def _mark_run_unknown(record: Record) -> Record:
    last_run = LastRun.from_json(record.verification)
    if last_run is None:
        return record
    unproven_run = replace(last_run, result=RunStatus.UNKNOWN, signature="")
    return replace(record, verification=unproven_run.to_json())
