"""What a link, a seal and a snapshot are as bytes, and which bytes are refused.

An object is a line of canonical JSON and a line with its signature; compressed by zlib if that
pays. Its digest is the SHA-256 of the two lines.

The rules of a chain as pure functions: what a link proves, and what may be pruned. Link n + 1 is
made only if it is absent, and holds the digest of link n. An answer decides nothing: the link is
read. A name must never be made twice, although pruning frees names: so some links are never pruned,
and who takes a lock looks for a newer snapshot before it believes its link. Each of the two alone
fails; tests/unit/stores/chain enumerates that both together hold.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple, Protocol

from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.json_values import format_canonical_json
from synapse_apply.stores import schema
from synapse_apply.stores.database import Batch, LogReading, Row, RowChange, Signer, TableRows


class ObjectInfo(NamedTuple):
    """An object as a list shows it. `age_seconds` is by the store's own clock, if it tells."""

    name: str
    size: int
    age_seconds: float | None


class ObjectFolder(Protocol):
    """One folder of a bucket. Names are relative to it, such as `links/000000000001`.

    Names have one or two folders before the last part, such as `chain-2/links/000000000001`, and
    consist of lower-case letters, digits, `-` and `/`. One thread uses it at a time.

    Every method raises StateError where the store cannot be used at all (no such bucket, no
    permission, no connection before the deadline).
    """

    @property
    def location(self) -> str:
        """The URL for messages, without credentials."""
        ...

    def try_put_if_absent_and_tell_if_certain(self, name: str, content: bytes) -> bool:
        """Ask once to make an object only if there is none; True if the store says it did.

        False decides nothing: the answer may be lost, or be a refusal that met our own request.
        The caller reads the object to find out. The same after a StateError.
        """
        ...

    def get_or_none_if_absent(self, name: str) -> bytes | None:
        """The content of an object, None if there is none."""
        ...

    def get_objects_or_none_in_order(self, names: Sequence[str]) -> list[bytes | None]:
        """The contents of several objects in their order, fetched side by side."""
        ...

    def list_objects(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        """The objects whose names begin with `prefix`, sorted by name, behind the name `after`."""
        ...

    def delete_and_count_undeleted(self, names: Sequence[str]) -> int:
        """Delete objects, as far as that is permitted; returns how many could not be deleted."""
        ...

    def close(self) -> None: ...


# A snapshot pays when the links behind the last one weigh more than it, or are this many.
FEWEST_LINK_BYTES = 256 * 1024
MOST_LINKS = 200

# Nothing younger is pruned, by the clock of the store: who reads or writes is slower at times.
PRUNE_AGE_SECONDS = 24 * 3600.0


class LinkOutcome(Enum):
    """What became of a request to make a link, told by what stands there now.

    OURS: made, however the request was answered. ABSENT: to be sent again, the same bytes. OTHERS:
    refused for good, so that nothing more may be sent.
    """

    OURS = "ours"
    ABSENT = "absent"
    OTHERS = "others"


def decide_link_outcome(own_content: object, stored_content: object | None) -> LinkOutcome:
    """Tell what became of a link from what is stored under its number, None for nothing."""
    if stored_content is None:
        return LinkOutcome.ABSENT
    return LinkOutcome.OURS if stored_content == own_content else LinkOutcome.OTHERS


def is_link_in_the_chain(number: int, newest_snapshot: int, *, by_lock_owner: bool) -> bool:
    """Whether a link that was made is part of the chain, or stands where old links were pruned.

    `newest_snapshot` is its number, looked up after the link was made; 0 for none. A lock owner's
    link needs no look: where it would stand, links are never pruned.
    """
    return by_lock_owner or newest_snapshot < number


def list_kept_links(number: int, *, ends_foreign_lock: bool) -> tuple[int, ...]:
    """The links to keep for ever because of this one.

    A lock that its owner had not given back: this link stands where that owner writes next, and the
    one before is what the owner had read.
    """
    return (number - 1, number) if ends_foreign_lock else ()


def select_links_to_prune(
    link_numbers: Iterable[int],
    snapshot_numbers: Sequence[int],
    never_pruned: Collection[int],
    known_until: int,
) -> list[int]:
    """The links that may be pruned.

    Two snapshots are kept, with all links behind the older one: a damaged snapshot is not the end.
    `never_pruned` are those among the links until `known_until`, which the caller has read; what
    comes later may be a link that is never pruned, or make the last one such.
    """
    if len(snapshot_numbers) < 2:
        return []
    last = min(sorted(snapshot_numbers)[-2], known_until - 1)
    return [number for number in link_numbers if number <= last and number not in never_pruned]


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
        raise WrongContent("differs from the object that the snapshot names")
    try:
        return _parse_rows("audit", json.loads(text))
    except (TypeError, ValueError, RecursionError):
        raise WrongContent("has content that a chain never writes") from None


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
            raise WrongContent("was written without the state key")
        raise NewerContent(format_number)
    # A genuine object that somebody copied to another number would otherwise pass here.
    if format_number != CHAIN_FORMAT or document.get("number") != number:
        raise WrongContent("belongs to another place")
    try:
        value = _PARSERS[document["kind"]](document)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise WrongContent("has content that a chain never writes") from None
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
        raise WrongContent("is cut off, or has data after its end")
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
    "seal": lambda document: Seal(
        _require_number(document["number"]), _require_number(document["next_folder"])
    ),
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


class ChainBookmark(NamedTuple):
    """The last link that an earlier process has read, in a folder of the chain."""

    folder: int
    number: int
    digest: str


@frozen
class ChainView:
    """The last link that was read, and what came before it. The first view is of an empty chain.

    `folder` is 1, or greater where the chain goes on in another folder behind a seal; `number` and
    `digest` are those of the last link, or of that seal. `link_count` and `link_bytes` are of the
    links behind the snapshot. `forged_number` is the first link whose signature is wrong, 0 for
    none; `lacks_key`: a signature could not be checked.
    """

    folder: int = 1
    number: int = 0
    digest: str = ""
    lock: LockSign = LockSign()
    never_pruned: frozenset[int] = frozenset()
    audit_objects: tuple[AuditObject, ...] = ()
    snapshot_bytes: int = 0
    link_count: int = 0
    link_bytes: int = 0
    forged_number: int = 0
    lacks_key: bool = False
    damaged_snapshots: tuple[int, ...] = ()

    @property
    def position(self) -> str:
        """The position as callers of a BatchLog keep it; "" for an empty chain."""
        return f"{self.folder}:{self.number}:{self.digest}" if self.number else ""

    @property
    def needs_snapshot(self) -> bool:
        """Whether the links behind a snapshot are so many, or so large, that another one pays."""
        return self.link_count >= MOST_LINKS or self.link_bytes >= max(
            FEWEST_LINK_BYTES, self.snapshot_bytes
        )

    @property
    def is_genuine(self) -> bool | None:
        """Whether all that was read is signed with the key at hand; None if nobody can tell."""
        return False if self.forged_number else None if self.lacks_key else True

    @property
    def doubted_name(self) -> str:
        """The name of the link that messages about the signature name."""
        return build_link_name(self.folder, self.forged_number or self.number)

    def build_view_after_link(
        self, link: Link, digest: str, size: int, *, is_genuine: bool | None = True
    ) -> ChainView:
        """The view with one more link; `size` is in bytes."""
        never_pruned = list_kept_links(link.number, ends_foreign_lock=link.batch.ends_foreign_lock)
        return replace(
            self,
            number=link.number,
            digest=digest,
            lock=link.lock,
            never_pruned=self.never_pruned.union(never_pruned),
            audit_objects=() if link.batch.replaces_all else self.audit_objects,
            link_count=self.link_count + 1,
            link_bytes=self.link_bytes + size,
            forged_number=self.forged_number or (link.number if is_genuine is False else 0),
            lacks_key=self.lacks_key or is_genuine is None,
        )

    def build_view_at_snapshot(
        self, snapshot: Snapshot, size: int, *, is_genuine: bool | None = True
    ) -> ChainView:
        """The view of a chain that is read from a snapshot on."""
        return replace(
            self,
            number=snapshot.number,
            digest=snapshot.link_digest,
            lock=snapshot.lock,
            never_pruned=frozenset(snapshot.never_pruned),
            audit_objects=snapshot.audit_objects,
            snapshot_bytes=size,
            link_count=0,
            link_bytes=0,
            lacks_key=self.lacks_key or is_genuine is None,
        )


class ChainReading(NamedTuple):
    """What was read: how far, the rows of the snapshot (None: none was read), and batches."""

    view: ChainView
    tables: TableRows | None
    batches: tuple[Batch, ...]

    def to_log_reading(self) -> LogReading:
        lock = self.view.lock
        owner_lease_seconds = lock.lease_seconds if lock.lock_id else None
        return LogReading(self.tables, self.batches, self.view.position, owner_lease_seconds)


def parse_bookmark_or_none(text: str) -> ChainBookmark | None:
    """The bookmark in a position of a view; None for any other text, which may be of a file."""
    folder, _, rest = text.partition(":")
    number, _, digest = rest.partition(":")
    if not digest or not all(part.isascii() and part.isdigit() for part in (folder, number)):
        return None
    bookmark = ChainBookmark(int(folder[:18]), int(number[:18]), digest)
    return bookmark if bookmark.folder and bookmark.number else None


def folder_prefix_of(folder: int) -> str:
    """Where the objects of a folder of the chain are: the first has no name of its own."""
    return "" if folder == 1 else f"chain-{folder}/"


def build_link_name(folder: int, number: int) -> str:
    return f"{folder_prefix_of(folder)}links/{number:012}"


def build_snapshot_name(folder: int, number: int) -> str:
    return f"{folder_prefix_of(folder)}snapshots/{number:012}"


def build_audit_name(folder: int, first: int, last: int, digest: str) -> str:
    prefix = folder_prefix_of(folder)
    return f"{prefix}audit/{first:012}-{last:012}-{digest[:16]}"


def parse_object_number(name: str) -> int | None:
    """The number at the end of the name of a link or snapshot, None for a name of another sort."""
    text = name.rpartition("/")[2]
    return int(text) if 12 <= len(text) <= 18 and text.isascii() and text.isdigit() else None
