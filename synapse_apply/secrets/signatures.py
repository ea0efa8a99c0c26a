"""How documents are signed with a state key: results of runs, lines of the recovery journal.

A signature is `KEY_ID:HEX`: the HMAC-SHA256 under a sub-key of the state key over a document in
canonical JSON. Each purpose has its own sub-key, and none is the key of secrets' digests, so that a
signature for one purpose is never valid for another.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from enum import Enum
from functools import lru_cache
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.job import LastRun, RunStatus
from synapse_apply.model.secrets.secret_rules import KEY_VARIABLE
from synapse_apply.model.state import Record
from synapse_apply.secrets.keys import StateKey, StateKeys
from synapse_apply.secrets.macs import encode_canonical_json

_SUB_KEY_DOMAIN = b"synapse-apply sub-key 1\0"
_RUN_PURPOSE = "result of a run"


class SignatureStatus(Enum):
    """The result of a check of a signature.

    GENUINE: made with the current key. EARLIER: made with another available key. STRANGE: names a
    key that is not available. FORGED: names an available key, and does not match the document.
    UNSIGNED: there is none.
    """

    GENUINE = "genuine"
    EARLIER = "earlier"
    STRANGE = "strange"
    FORGED = "forged"
    UNSIGNED = "unsigned"


def sign_document_or_empty_without_key(
    keys: StateKeys, purpose: str, document: Mapping[str, Any]
) -> str:
    """The signature of a document under the current key; "" without a key."""
    return (
        _compute_signature(keys.current_key, purpose, document)
        if keys.current_key is not None
        else ""
    )


def verify_signature(
    keys: StateKeys, purpose: str, document: Mapping[str, Any], signature: str
) -> SignatureStatus:
    """Check the signature of a document; "" counts as UNSIGNED."""
    if not signature:
        return SignatureStatus.UNSIGNED
    key_id = parse_key_id(signature)
    key = next((key for key in keys.all_keys if key.key_id == key_id), None)
    if key is None:
        return SignatureStatus.STRANGE
    expected_signature = _compute_signature(key, purpose, document)
    # As bytes: compare_digest raises TypeError for a str that is not ASCII.
    if not hmac.compare_digest(expected_signature.encode(), signature.encode("utf-8", "replace")):
        return SignatureStatus.FORGED
    return SignatureStatus.GENUINE if key == keys.current_key else SignatureStatus.EARLIER


def parse_key_id(signature: str) -> str:
    """The key id in a signature, which is the part before the colon."""
    return signature.partition(":")[0]


def _compute_signature(key: StateKey, purpose: str, document: Mapping[str, Any]) -> str:
    digest = hmac.digest(_derive_sub_key(key, purpose), encode_canonical_json(document), "sha256")
    return f"{key.key_id}:{digest.hex()}"


@lru_cache(maxsize=16)
def _derive_sub_key(key: StateKey, purpose: str) -> bytes:
    """The sub-key for a purpose; cached, since it is needed for each record."""
    return hmac.digest(key.reveal(), _SUB_KEY_DOMAIN + purpose.encode(), "sha256")


class StateKeySigner:
    """Signs texts of a store with the state key, so that who has no key cannot forge a state.

    `get_keys` is asked for each text: a key may be made, or another one take its place, meanwhile.
    `is_renewed` is set where another key takes the place of the one that signed what is stored.
    `accepts_former_keys` is set for a rekey alone, which may have to go on where one was cut short:
    a key that was replaced, because it leaked perhaps, is kept here to check what it digested, and
    signs nothing any more.
    """

    def __init__(
        self,
        purpose: str,
        get_keys: Callable[[], StateKeys],
        describe_places_to_put_key: Callable[[], str] = lambda: KEY_VARIABLE,
    ) -> None:
        self._purpose = purpose
        self._get_keys = get_keys
        # Where a key is to be put so that it is at hand, as a part of a sentence.
        self.describe_places_to_put_key = describe_places_to_put_key
        self.is_renewed = False
        self.accepts_former_keys = False

    def sign_or_empty_without_key(self, content: str) -> str:
        """The signature of a text, in one line; "" without a key."""
        return sign_document_or_empty_without_key(
            self._get_keys(), self._purpose, {"text": content}
        )

    def is_genuine_or_none_if_uncheckable(self, content: str, signature: str) -> bool | None:
        """Whether a signature is genuine; None if its key, or any key, is not at hand.

        A missing signature ("") is not genuine where there is a key.
        """
        keys = self._get_keys()
        status = verify_signature(keys, self._purpose, {"text": content}, signature)
        if status is SignatureStatus.STRANGE:
            return None
        if status is SignatureStatus.UNSIGNED:
            # Without a key nothing tells that a signature was not taken away.
            # A rekey may sign what an earlier version has not, and asks before that.
            return None if keys.current_key is None or self.accepts_former_keys else False
        if status is SignatureStatus.EARLIER:
            return self.accepts_former_keys
        return status is SignatureStatus.GENUINE


# What a state says to another target counts only if it is signed, and only under the key in use: a
# key file could lie in the checkout beside the state. Its own target accepts an unsigned result,
# because it believes every id of that state as well; a changed one counts as unknown and is run
# again.
@frozen
class RunSigner:
    """Signs and verifies the results of last runs in the records of one state."""

    keys: StateKeys
    lineage: str

    def sign_last_run_if_any(self, record: Record) -> Record:
        """The record with its last run signed (with "" without a key); unchanged without a run."""
        last_run = LastRun.from_json_or_none(record.verification)
        if last_run is None:
            return record
        signature = sign_document_or_empty_without_key(
            self.keys, _RUN_PURPOSE, self._build_document_to_sign(record.address, last_run)
        )
        return replace(record, verification=replace(last_run, signature=signature).to_json())

    def verify_last_run(self, record: Record) -> SignatureStatus:
        """Check the signature of a record's last run; UNSIGNED without a run."""
        last_run = LastRun.from_json_or_none(record.verification)
        if last_run is None or not last_run.signature:
            return SignatureStatus.UNSIGNED
        document = self._build_document_to_sign(record.address, last_run)
        return verify_signature(self.keys, _RUN_PURPOSE, document, last_run.signature)

    def sign_moved_run(self, before: Record, after: Record) -> Record:
        """`after`, signed again if the address changed and the signature of `before` is genuine.

        The address is part of the signed document.
        """
        if (
            before.address == after.address
            or self.verify_last_run(before) is not SignatureStatus.GENUINE
        ):
            return after
        return self.sign_last_run_if_any(after)

    def mark_forged_runs_unknown(
        self, records: Mapping[Address, Record]
    ) -> tuple[Mapping[Address, Record], tuple[Address, ...]]:
        """The records, with result UNKNOWN in place of each run that has a forged signature.

        And the addresses of these.
        """
        forged: dict[Address, Record] = {}
        for record in records.values():
            run = LastRun.from_json_or_none(record.verification)
            if run and self.verify_last_run(record) is SignatureStatus.FORGED:
                unproven_run = replace(run, result=RunStatus.UNKNOWN, signature="")
                forged[record.address] = replace(record, verification=unproven_run.to_json())
        return {**records, **forged} if forged else records, tuple(forged)

    def _build_document_to_sign(self, address: Address, last_run: LastRun) -> dict[str, str]:
        return {
            "lineage": self.lineage,
            "address": str(address),
            **replace(last_run, signature="").to_json(),
        }
