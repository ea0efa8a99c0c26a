"""What a commit of a state says of its batch, and what is signed of it.

    synapse-apply: state prod, batch 42

    {"batch":"...","format":1,"number":42,"previous":"...","ref":"...","signature":"..."}

The signature is over these fields and the tree, so that a commit is valid for one ref alone, behind
one other commit alone. `previous` is that commit, also where a commit has no parent (a squash).
"""

from __future__ import annotations

import json

from synapse_apply.model.coding.canonical_json import format_canonical_json
from synapse_apply.model.coding.json_types import JsonObject
from synapse_apply.model.frozen import frozen
from synapse_apply.stores.chain.signer import Signer
from synapse_apply.stores.git.object_reader import GitObject

FORMAT = 1
_FIELDS = {"batch": str, "format": int, "number": int, "previous": str, "ref": str}
_SIGNATURE = "signature"
_MAX_NUMBER = 2**53


class ForeignCommitError(ValueError):
    """A commit that no run has made for a state; the text says why."""


class NewerFormatError(ValueError):
    """A commit of a newer version; `format_number` is its format."""

    def __init__(self, format_number: int) -> None:
        super().__init__(f"format {format_number}")
        self.format_number = format_number


@frozen
class StateCommit:
    """What a commit says: the batch `number`, counted from 1, its id, and what it follows.

    `tree_id` is the tree of the commit. `signature` is "" where there was no key.
    """

    ref: str
    number: int
    batch_id: str
    previous_id: str
    tree_id: str
    signature: str = ""

    def format_signed_message(self, signer: Signer) -> str:
        """The message of the commit, signed now."""
        signature = signer.sign_or_empty_without_key(self._format_signed_text())
        document = {**self._build_document(), _SIGNATURE: signature}
        subject = f"synapse-apply: state {self.ref.rpartition('/')[2]}, batch {self.number}"
        return f"{subject}\n\n{format_canonical_json(document)}\n"

    def is_signature_valid_or_none_without_key(self, signer: Signer) -> bool | None:
        """Whether the signature is valid; None where there is no key that could tell."""
        return signer.is_genuine_or_none_if_uncheckable(self._format_signed_text(), self.signature)

    def _build_document(self) -> JsonObject:
        return {
            "batch": self.batch_id,
            "format": FORMAT,
            "number": self.number,
            "previous": self.previous_id,
            "ref": self.ref,
        }

    def _format_signed_text(self) -> str:
        return format_canonical_json({**self._build_document(), "tree": self.tree_id})


def parse_unverified_state_commit(commit: GitObject, ref: str) -> StateCommit:
    """What a commit object says; ForeignCommitError or NewerFormatError.

    Its signature is not checked here.
    """
    headers, _, message = commit.content.partition(b"\n\n")
    tree_id = headers.partition(b"\n")[0].removeprefix(b"tree ").decode("ascii", "replace")
    document = _parse_last_line_as_document(message)
    format_number = document.get("format")
    if type(format_number) is int and format_number > FORMAT:
        raise NewerFormatError(format_number)
    if document.keys() != {*_FIELDS, _SIGNATURE} or not all(
        type(document[key]) is kind for key, kind in {**_FIELDS, _SIGNATURE: str}.items()
    ):
        raise ForeignCommitError("its last commit is not one of a state")
    if document["ref"] != ref:
        raise ForeignCommitError("its last commit was made for another ref")
    if not 0 < document["number"] <= _MAX_NUMBER:
        raise ForeignCommitError("its last commit has no number of a batch")
    return StateCommit(
        ref,
        document["number"],
        document["batch"],
        document["previous"],
        tree_id,
        document[_SIGNATURE],
    )


def _parse_last_line_as_document(message: bytes) -> JsonObject:
    try:
        document = json.loads(message.strip().rpartition(b"\n")[2].decode("utf-8"))
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ForeignCommitError("its last commit is not one of a state")
    return document
