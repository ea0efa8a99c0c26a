"""What a link, a seal and a snapshot are as bytes, and which bytes are refused.

An object is a line of canonical JSON and a line with its signature; compressed by zlib if that
pays. Its digest is the SHA-256 of the two lines.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from synapse_apply.model.coding.canonical_json import format_canonical_json
from synapse_apply.model.frozen import frozen
from synapse_apply.stores import schema
from synapse_apply.stores.batch_log import Batch, RowChange, TableRows
from synapse_apply.stores.chain.signer import Signer
from synapse_apply.stores.database import Row

CHAIN_FORMAT = 1
# What unpacks to more is no object of ours: a compressed bomb ends here. Above the lower size also
# what is a hundred times as large as its bytes: rows have ids and digests, which are not repeated.
_MAX_TEXT_BYTES, _MAX_BOMB_BYTES = 512 * 1024**2, 32 * 1024**2
_MAX_RATIO = 100
# zlib begins with this byte, JSON with a brace.
_ZLIB_FIRST_BYTE = b"\x78"


class WrongContent(Exception):
    """The bytes are not what a chain has in this place; the text is the end of a sentence."""


class NewerContent(Exception):
    """The bytes were written by a newer version; the argument is their format number."""


@frozen
class LockSign:
    """The owner of the lock as of a link.

    `lock_id` is "" if nobody holds it; `token` is the number of the link by which the owner took
    it, and `lease_seconds` the lease that it announced.
    """

    lock_id: str = ""
    token: int = 0
    lease_seconds: float = 0.0


@frozen
class Link:
    """One batch in the chain. `previous` is the digest of the link before, "" for the first."""

    number: int
    previous: str
    batch: Batch
    lock: LockSign


@frozen
class Seal:
    """The last link of a folder whose end cannot be read; the chain goes on in `next_folder`."""

    number: int
    next_folder: int


class AuditObject(NamedTuple):
    """An object with rows of the audit table until the number `last`; `digest` is its own."""

    name: str
    digest: str
    last: int


@frozen
class Snapshot:
    """The state as of a link, whose digest is `link_digest`.

    `never_pruned` are the links of this folder to be kept for ever. `audit_objects` have the older
    rows of the audit table, `tables` the others.
    """

    number: int
    link_digest: str
    lock: LockSign
    never_pruned: tuple[int, ...]
    audit_objects: tuple[AuditObject, ...]
    tables: TableRows


class Decoded(NamedTuple):
    """An object that was read: what it is, its digest, and whether its signature is genuine."""

    value: Link | Seal | Snapshot
    digest: str
    is_genuine: bool | None


class Encoded(NamedTuple):
    """The bytes of an object, and its digest."""

    content: bytes
    digest: str


def encode_link(link: Link, signer: Signer) -> Encoded:
    """The bytes of a link; the same again for the same link and key."""
    batch = link.batch
    written: dict[str, list[Row]] = {}
    deleted: dict[str, list[str | int]] = {}
    for change in batch.changes:
        if change.row is None:
            deleted.setdefault(change.table, []).append(change.key)
        else:
            written.setdefault(change.table, []).append(change.row)
    document = {
        "kind": "link",
        "number": link.number,
        "previous": link.previous,
        "batch": batch.batch_id,
        **_lock_to_json(link.lock),
        "replaces_all": batch.replaces_all,
        "takes_lock": batch.takes_lock,
        "ends_foreign_lock": batch.ends_foreign_lock,
        "written": written,
        "deleted": deleted,
    }
    return _encode_signed(document, signer)


def encode_seal(seal: Seal, signer: Signer) -> Encoded:
    """The bytes of a seal."""
    document = {"kind": "seal", "number": seal.number, "next_folder": seal.next_folder}
    return _encode_signed(document, signer)


def encode_snapshot(snapshot: Snapshot, signer: Signer) -> Encoded:
    """The bytes of a snapshot."""
    document = {
        "kind": "snapshot",
        "number": snapshot.number,
        "link": snapshot.link_digest,
        **_lock_to_json(snapshot.lock),
        "never_pruned": snapshot.never_pruned,
        "audit": snapshot.audit_objects,
        "tables": dict(snapshot.tables),
    }
    return _encode_signed(document, signer)


def encode_audit_rows(rows: Sequence[Row]) -> Encoded:
    """The bytes of an audit object; it has no signature, since a snapshot has its digest."""
    return _encode_text(format_canonical_json(rows).encode())


def decode_audit_rows(content: bytes, digest: str) -> list[Row]:
    """The rows of an audit object; WrongContent if it does not have this digest."""
    text = _decompress_if_zlib(content)
    if _compute_digest(text) != digest:
        raise WrongContent("is not what the snapshot names")
    try:
        return _parse_rows("audit", json.loads(text))
    except (TypeError, ValueError, RecursionError):
        raise WrongContent("does not have what a chain writes") from None


def _compute_digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def decode_object_of_number(content: bytes, number: int, signer: Signer) -> Decoded:
    """The link, seal or snapshot in bytes that were stored under a number.

    WrongContent if it is none, or of another number; NewerContent for another format.
    """
    text = _decompress_if_zlib(content)
    # Canonical JSON has no line break of its own, so that the first one ends it.
    body, _, signature = text.removesuffix(b"\n").partition(b"\n")
    try:
        document = json.loads(body)
        signature_text = signature.decode("ascii")
    except (ValueError, RecursionError):
        raise WrongContent("is not JSON") from None
    if not isinstance(document, dict):
        raise WrongContent("is not a JSON object")
    format_number = document.get("format")
    # Asked before the place: a newer format may name it elsewhere, and the user must be told to
    # update, not that the chain is damaged. `type is`, since True is an int, too. Anybody can write
    # a number, so each format signs its own; without a key at hand the number is believed.
    if type(format_number) is int and format_number > CHAIN_FORMAT:
        text_to_sign = _build_text_to_sign(body, format_number)
        if signer.is_genuine_or_none_if_uncheckable(text_to_sign, signature_text) is False:
            raise WrongContent("was not written by somebody with the state key")
        raise NewerContent(format_number)
    # A genuine object that somebody copied to another number would otherwise pass here.
    if format_number != CHAIN_FORMAT or document.get("number") != number:
        raise WrongContent("is not of this place")
    try:
        value = _PARSERS[document["kind"]](document)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise WrongContent("does not have what a chain writes") from None
    is_genuine = signer.is_genuine_or_none_if_uncheckable(_build_text_to_sign(body), signature_text)
    return Decoded(value, _compute_digest(text), is_genuine)


def _encode_signed(document: Mapping[str, Any], signer: Signer) -> Encoded:
    body = format_canonical_json({"format": CHAIN_FORMAT, **document}).encode()
    signature = signer.sign_or_empty_without_key(_build_text_to_sign(body))
    return _encode_text(body + b"\n" + signature.encode() + b"\n")


def _build_text_to_sign(body: bytes, format_number: int = CHAIN_FORMAT) -> str:
    """What is signed: the digest of the JSON, which has kind and number, and its format."""
    return f"chain {format_number} {_compute_digest(body)}"


def _encode_text(text: bytes) -> Encoded:
    compressed = zlib.compress(text, 6)
    # Else it stays a text, which a person can read in the bucket.
    content = compressed if len(compressed) < 0.9 * len(text) else text
    return Encoded(content, _compute_digest(text))


def _decompress_if_zlib(content: bytes) -> bytes:
    if not content.startswith(_ZLIB_FIRST_BYTE):
        return content
    decompressor = zlib.decompressobj()
    limit = min(_MAX_TEXT_BYTES, max(_MAX_BOMB_BYTES, _MAX_RATIO * len(content)))
    try:
        text = decompressor.decompress(content, limit)
    except zlib.error:
        raise WrongContent("is damaged") from None
    if len(text) == limit and not decompressor.eof:
        raise WrongContent(f"unpacks to more than {limit // 1024**2} MiB, which no state writes")
    # Unused bytes behind the end would give one object two contents, with one digest.
    if not decompressor.eof or decompressor.unused_data:
        raise WrongContent("is cut off, or goes on behind its end")
    return text


def _lock_to_json(lock: LockSign) -> dict[str, object]:
    return {"holder": lock.lock_id, "token": lock.token, "lease": lock.lease_seconds}


def _parse_lock(document: Mapping[str, Any]) -> LockSign:
    """The lock in a link; KeyError or ValueError for a form that none has."""
    lease_seconds = document["lease"]
    # NaN and a lease of years fail here: nobody could ever take that lock over.
    if type(lease_seconds) not in (int, float) or not 0 <= lease_seconds < 86400:
        raise ValueError("lease")
    return LockSign(
        _require_text(document["holder"]), _require_number(document["token"]), lease_seconds
    )


def _parse_link(document: Mapping[str, Any]) -> Link:
    changes = [
        RowChange(table, row[0], row)
        for table, rows in document["written"].items()
        for row in _parse_rows(table, rows)
    ]
    for table, keys in document["deleted"].items():
        # The name of a table becomes part of a statement in the replica: only known ones.
        if table not in schema.TABLE_COLUMNS or any(type(key) not in (str, int) for key in keys):
            raise ValueError(table)
        changes += [RowChange(table, key, None) for key in keys]
    lock = _parse_lock(document)
    batch = Batch(
        _require_text(document["batch"]),
        tuple(changes),
        replaces_all=document["replaces_all"] is True,
        lock_id=lock.lock_id,
        takes_lock=document["takes_lock"] is True,
        ends_foreign_lock=document["ends_foreign_lock"] is True,
    )
    return Link(
        _require_number(document["number"]), _require_text(document["previous"]), batch, lock
    )


def _parse_seal(document: Mapping[str, Any]) -> Seal:
    return Seal(_require_number(document["number"]), _require_number(document["next_folder"]))


def _parse_snapshot(document: Mapping[str, Any]) -> Snapshot:
    audit_objects = tuple(
        AuditObject(_require_text(name), _require_text(digest), _require_number(last))
        for name, digest, last in document["audit"]
    )
    return Snapshot(
        _require_number(document["number"]),
        _require_text(document["link"]),
        _parse_lock(document),
        tuple(_require_number(number) for number in document["never_pruned"]),
        audit_objects,
        {table: _parse_rows(table, rows) for table, rows in document["tables"].items()},
    )


_PARSERS: dict[str, Callable[[Mapping[str, Any]], Link | Seal | Snapshot]] = {
    "link": _parse_link,
    "seal": _parse_seal,
    "snapshot": _parse_snapshot,
}


def _parse_rows(table: str, rows: Any) -> list[Row]:
    """Rows of a table; ValueError unless their cells have the types of its columns."""
    types = [schema.list_allowed_cell_types(column) for column in schema.TABLE_COLUMNS[table]]
    for row in rows:
        if type(row) is not list or len(row) != len(types):
            raise ValueError(table)
        # By exact type: True is an int as well, and would come back from SQLite as 1.
        for cell, allowed_types in zip(row, types, strict=True):
            if type(cell) not in allowed_types:
                raise ValueError(table)
    return [tuple(row) for row in rows]


def _require_text(value: object) -> str:
    """The value; ValueError if it is no text."""
    if type(value) is not str:
        raise ValueError("no text")
    return value


def _require_number(value: object) -> int:
    """The value; ValueError if it is no whole number that a state can hold."""
    if type(value) is not int or not 0 <= value <= schema.LARGEST_NUMBER:
        raise ValueError("no number")
    return value
