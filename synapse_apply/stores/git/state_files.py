"""Which files of the tree a state is, what its commits say, and what is refused of a tree.

    meta.json                             one row
    lock.json                             one row, with the lease of its owner; absent if unlocked
    records/storage/3f/NAME.json          a row for each address
    intents/3f/ID.json, plans/3f/ID.json  a row each
    audit/2026/01/31/12/12345.json        the audit rows of one batch, named by the first

`3f` is the beginning of a digest, so that no folder has more than a thousand entries. A file's name
follows from its content. Whoever may push could write any tree: a file that has another name than
its content, or that is no file of a state at all, makes the state a damaged one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_types import JsonObject, JsonValue
from synapse_apply.model.json_values import format_canonical_json, is_encodable_as_utf8
from synapse_apply.model.state import STATE_FORMAT
from synapse_apply.stores import schema
from synapse_apply.stores.database import Row, RowChange, Signer, TableRows
from synapse_apply.stores.git.git_url import escape_name
from synapse_apply.stores.git.private_repository import (
    GitObject,
    ObjectReader,
    UnreadableObjectError,
)
from synapse_apply.stores.state_messages import fault

MAX_FILE_BYTES = 16 * 1024 * 1024
AUDIT_FOLDER = "audit"
META_FILE, LOCK_FILE = "meta.json", "lock.json"
_ONE_ROW_FILES = {"meta": META_FILE, "lock": LOCK_FILE}
_TABLES_BY_FILE = {name: table for table, name in _ONE_ROW_FILES.items()}
# Columns with a JSON text, which a file holds as JSON, for who reads it.
_JSON_COLUMNS = frozenset(("record", "intent", "entry"))
_LEASE_KEY = "lease_seconds"
_AUDIT_ROWS_PER_FOLDER = 1000
_DAY_PATTERN = re.compile(r"(\d{4})-(\d\d)-(\d\d)")


class DamagedFileError(ValueError):
    """A file that is not what a state has; the text says why, without its content."""


class StateFile(NamedTuple):
    """A file of the tree; `content` is None where it is deleted."""

    path: str
    content: bytes | None


class FileRows(NamedTuple):
    """The rows of one file; that of the lock has the lease of its owner, too."""

    table: str
    rows: tuple[Row, ...]
    lease_seconds: float | None = None


def iter_state_files(changes: Iterable[RowChange], lease_seconds: float) -> Iterator[StateFile]:
    """The files that a batch writes and deletes; ValueError for a deleted audit row.

    `lease_seconds` is the lease of who writes them.
    """
    audit_rows: list[Row] = []
    for change in changes:
        if change.table == AUDIT_FOLDER:
            if change.row is None:
                raise ValueError("audit rows are never deleted")
            audit_rows.append(change.row)
            continue
        content = None
        if change.row is not None:
            cells = _build_cells_by_column(change.table, change.row)
            if change.table == "lock":
                cells[_LEASE_KEY] = lease_seconds
            content = _encode_lines(cells)
        yield StateFile(_build_file_path(change.table, change.key), content)
    for path, rows in _audit_by_file(audit_rows):
        yield StateFile(
            path, _encode_lines([_build_cells_by_column(AUDIT_FOLDER, row) for row in rows])
        )


def decode_state_file(path: str, content: bytes) -> FileRows:
    """The rows in a file of the tree; DamagedFileError if its name or content is not a state's."""
    folder, slash, _ = path.partition("/")
    table = _TABLES_BY_FILE.get(path, folder)
    if table not in schema.TABLE_COLUMNS or bool(slash) == (table in _ONE_ROW_FILES):
        raise DamagedFileError("a state has no such file")
    document = _parse_json(content)
    if table == AUDIT_FOLDER:
        return FileRows(table, _decode_audit_rows(path, document))
    lease_seconds = None
    if table == "lock" and isinstance(document, dict):
        lease_seconds = document.pop(_LEASE_KEY, None)
        if type(lease_seconds) not in (int, float) or not 0 < lease_seconds <= 86_400:
            raise DamagedFileError("it does not name the lease of its owner")
    row = _decode_valid_row(table, document)
    if _build_file_path(table, row[0]) != path:
        raise DamagedFileError("its content belongs to a file with another name")
    return FileRows(table, (row,), lease_seconds)


def _build_file_path(table: str, key: str | int) -> str:
    if table in _ONE_ROW_FILES:
        return _ONE_ROW_FILES[table]
    text = str(key)
    shard = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:2]
    kind, slash, name = text.partition("/")
    if table != "records" or not slash:
        return f"{table}/{shard}/{escape_name(text)}.json"
    return f"{table}/{escape_name(kind)}/{shard}/{escape_name(name)}.json"


def _audit_by_file(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """(path, rows) of each file for audit rows: those of one day and one thousand of numbers."""
    rows_by_folder: dict[str, list[Row]] = {}
    for row in sorted(rows):
        day = _DAY_PATTERN.match(str(row[1]))
        day_path = "/".join(day.groups()) if day else "0000/00/00"
        rows_by_folder.setdefault(
            f"{AUDIT_FOLDER}/{day_path}/{int(row[0]) // _AUDIT_ROWS_PER_FOLDER}", []
        ).append(row)
    for folder, folder_rows in rows_by_folder.items():
        yield f"{folder}/{folder_rows[0][0]}.json", folder_rows


def _decode_audit_rows(path: str, document: Any) -> tuple[Row, ...]:
    if not isinstance(document, list) or not document:
        raise DamagedFileError("it is not a list of audit entries")
    rows = tuple(_decode_valid_row(AUDIT_FOLDER, cells) for cells in document)
    numbers = [row[0] for row in rows]
    paths = [file_path for file_path, _ in _audit_by_file(rows)]
    if paths != [path] or numbers != sorted(set(numbers)):
        raise DamagedFileError("its content belongs to a file with another name")
    return rows


def _build_cells_by_column(table: str, row: Row) -> JsonObject:
    """The cells by column, without the constant `id` of tables with one row."""
    cells = dict(zip(schema.TABLE_COLUMNS[table], row, strict=True))
    if table in _ONE_ROW_FILES:
        del cells["id"]
    return {
        column: _parse_canonical(cell) if column in _JSON_COLUMNS else cell
        for column, cell in cells.items()
    }


def _parse_canonical(text: str) -> JsonValue:
    """The value of a canonical JSON text of an object; any other text as it is."""
    try:
        value = json.loads(text)
        is_exact = isinstance(value, dict) and format_canonical_json(value) == text
    except (ValueError, RecursionError):
        return text
    return value if is_exact else text


def _decode_valid_row(table: str, document: Any) -> Row:
    columns = schema.TABLE_COLUMNS[table]
    if not isinstance(document, dict):
        raise DamagedFileError("it is not a JSON object")
    cells = {"id": 1, **document} if table in _ONE_ROW_FILES else document
    if cells.keys() != set(columns) or (table in _ONE_ROW_FILES and "id" in document):
        raise DamagedFileError("its fields differ from those of a state")
    return tuple(_decode_valid_cell(table, column, cells[column]) for column in columns)


def _decode_valid_cell(table: str, column: str, value: Any) -> Any:
    if column in _JSON_COLUMNS and isinstance(value, dict):
        try:
            return format_canonical_json(value)
        except (ValueError, RecursionError):
            raise DamagedFileError(f"its {column} cannot be read") from None
    is_number = column in schema.NUMBER_COLUMNS or (column == "id" and table in _ONE_ROW_FILES)
    is_valid = (
        type(value) is int and abs(value) <= schema.LARGEST_NUMBER
        if is_number
        else type(value) is str and is_encodable_as_utf8(value)
    )
    if not is_valid:
        raise DamagedFileError(f"its {column} has a value that no state has")
    return value


def _encode_lines(document: Any) -> bytes:
    # One value a line, for who reads the difference of two commits.
    return (json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n").encode("ascii")


def _parse_json(content: bytes) -> JsonValue:
    try:
        return json.loads(content.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise DamagedFileError("it is not JSON") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


# Whoever may push could write any tree. So its size is limited, and anything but folders and files
# of mode 100644 with names of a state makes it a damaged one.
_MAX_TREE_BYTES = 4 * 1024 * 1024
_MAX_ENTRIES = 1_000_000
_MAX_TOTAL_BYTES = 1024 * 1024 * 1024
_MAX_DEPTH = 6
_MAX_SHOWN_PATH = 300
_FOLDER_MODE, _FILE_MODE = b"40000", b"100644"


class DamagedTreeError(Exception):
    """A tree that is not one of a state; `path` says where, the text why.

    `content` is what can be read of it, None where that is nothing.
    """

    def __init__(self, path: str, reason: str, content: TreeContent | None = None) -> None:
        super().__init__(reason)
        self.path = path[:_MAX_SHOWN_PATH]
        self.content = content


class ObjectEntry(NamedTuple):
    """A file or a folder in a tree, with the object that is its content."""

    path: str
    is_folder: bool
    object_id: str


class TreeContent(NamedTuple):
    """The rows of a whole tree, by path of their files, with the object of each."""

    object_ids: Mapping[str, str]
    rows: Mapping[str, FileRows]

    def collect_tables(self) -> TableRows:
        """All rows by table; every table has a list."""
        tables: dict[str, list[Row]] = {table: [] for table in schema.TABLE_COLUMNS}
        for file_rows in self.rows.values():
            tables[file_rows.table] += file_rows.rows
        tables[AUDIT_FOLDER].sort()
        return tables


NO_CONTENT = TreeContent({}, {})


def read_tree(
    reader: ObjectReader, tree_id: str, earlier_content: TreeContent, max_audit_files: int
) -> TreeContent:
    """Read a tree; files whose objects are in `earlier_content` are not read again.

    Of the audit only the newest files are read. DamagedTreeError, which is no StateError and has
    what can be read.
    """
    object_ids = {
        entry.path: entry.object_id
        for entry in _iter_files(reader, tree_id, id_length=len(tree_id))
    }
    audit_paths = list_audit_paths(object_ids)
    left_out = frozenset(audit_paths[: max(0, len(audit_paths) - max_audit_files)])
    rows: dict[str, FileRows] = {}
    new_paths = []
    for path, object_id in object_ids.items():
        # An object's id is the digest of its content, so that equal ids need no reading.
        if earlier_content.object_ids.get(path) == object_id and path in earlier_content.rows:
            rows[path] = earlier_content.rows[path]
        elif path not in left_out:
            new_paths.append(path)
    rows.update(read_files(reader, new_paths, object_ids))
    content = TreeContent(object_ids, rows)
    if META_FILE not in rows:
        raise DamagedTreeError(META_FILE, "there is no such file", content)
    return content


def read_files(
    reader: ObjectReader, paths: Sequence[str], object_ids: Mapping[str, str]
) -> dict[str, FileRows]:
    """The rows of files by their paths; DamagedTreeError, after all others were read."""
    rows: dict[str, FileRows] = {}
    damages: list[tuple[str, str]] = []
    total_bytes = 0
    objects = reader.iter_objects([object_ids[path] for path in paths], MAX_FILE_BYTES)
    for path in paths:
        blob = _read_next(objects, path)
        total_bytes += len(blob.content)
        # Each file is limited by itself, but a tree may have very many.
        if total_bytes > _MAX_TOTAL_BYTES:
            raise DamagedTreeError(path, "all files together are too large")
        try:
            rows[path] = decode_state_file(path, blob.content)
        except DamagedFileError as problem:
            damages.append((path, str(problem)))
    if damages:
        # What can be read goes with the error: a restore saves it before it replaces the state.
        raise DamagedTreeError(*damages[0], TreeContent(object_ids, rows))
    return rows


def list_audit_paths(paths: Mapping[str, str]) -> list[str]:
    """The files of the audit, oldest first."""

    def first_number(path: str) -> int:
        name = path.rpartition("/")[2].removesuffix(".json")
        return int(name) if name.isascii() and name.isdecimal() else 0

    audit_paths = [path for path in paths if path.startswith(f"{AUDIT_FOLDER}/")]
    return sorted(audit_paths, key=first_number)


def _iter_files(reader: ObjectReader, tree_id: str, id_length: int) -> Iterator[ObjectEntry]:
    """All files of a tree, folder by folder, all folders of one depth at a time."""
    folders = [ObjectEntry("", is_folder=True, object_id=tree_id)]
    entry_count = 0
    # Depth by depth: one request for all folders of a depth, and no cycle without end.
    for _ in range(_MAX_DEPTH):
        trees = reader.iter_objects([folder.object_id for folder in folders], _MAX_TREE_BYTES)
        subfolders = []
        for folder in folders:
            tree = _read_next(trees, folder.path or "the tree")
            if tree.kind != "tree":
                raise DamagedTreeError(folder.path, "it is not a folder")
            for entry in _iter_entries(tree.content, folder.path, id_length // 2):
                entry_count += 1
                if entry_count > _MAX_ENTRIES:
                    raise DamagedTreeError(entry.path, "there are too many files")
                if entry.is_folder:
                    subfolders.append(entry)
                else:
                    yield entry
        folders = subfolders
    if folders:
        raise DamagedTreeError(folders[0].path, "a state has no such folder")


def _iter_entries(content: bytes, folder: str, id_size: int) -> Iterator[ObjectEntry]:
    """The entries of a tree object: `MODE NAME`, a zero byte and the bytes of an id each."""
    position = 0
    while position < len(content):
        end = content.find(b"\0", position)
        mode, _, name = content[position:end].partition(b" ")
        text = name.decode("utf-8", "backslashreplace").encode("unicode_escape").decode("ascii")
        path = f"{folder}/{text}" if folder else text
        position = end + 1 + id_size
        if end < 0 or position > len(content):
            raise DamagedTreeError(folder or "the tree", "it cannot be read")
        if mode not in (_FOLDER_MODE, _FILE_MODE):
            raise DamagedTreeError(path, "it is neither a folder nor a plain file")
        yield ObjectEntry(path, mode == _FOLDER_MODE, content[end + 1 : position].hex())


def _read_next(objects: Iterator[GitObject], path: str) -> GitObject:
    try:
        return next(objects)
    except UnreadableObjectError as problem:
        raise DamagedTreeError(path, str(problem)) from None


# A commit's message is the line `synapse-apply: state prod, batch 42`, an empty line, and a line of
# JSON with the fields `batch`, `format`, `number`, `previous`, `ref` and `signature`.
#
# The signature is over these fields and the tree, so that a commit is valid for one ref alone,
# behind one other commit alone. `previous` is that commit, also where a commit has no parent (a
# squash).

FORMAT = 1
_FIELDS = {"batch": str, "format": int, "number": int, "previous": str, "ref": str}
_SIGNATURE = "signature"
_MAX_NUMBER = 2**53


@frozen
class StateCommit:
    """What a commit says: the batch `number`, counted from 1, its id, and what it follows.

    `tree_id` is the tree of the commit. `signature` is "" where there was no key. `commit_id` is ""
    until it is written.
    """

    ref: str
    number: int
    batch_id: str
    previous_id: str
    tree_id: str
    signature: str = ""
    commit_id: str = ""

    def format_signed_message(self, signer: Signer) -> str:
        """The message of the commit, signed now."""
        signature = signer.sign_or_empty_without_key(self._format_signed_text())
        document = {**self._build_document(), _SIGNATURE: signature}
        subject = f"synapse-apply: state {self.ref.rpartition('/')[2]}, batch {self.number}"
        return f"{subject}\n\n{format_canonical_json(document)}\n"

    def check_signature(self, signer: Signer) -> bool | None:
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


def parse_state_commit(commit: GitObject, ref: str, location: str) -> StateCommit:
    """What a commit object says; StateError if no run of this version has made it for a state.

    Its signature is not checked here. `location` is for messages.
    """
    headers, _, message = commit.content.partition(b"\n\n")
    tree_id = headers.partition(b"\n")[0].removeprefix(b"tree ").decode("ascii", "replace")
    try:
        document = json.loads(message.strip().rpartition(b"\n")[2].decode("utf-8"))
    except (ValueError, RecursionError):
        document = None
    format_number = document.get("format") if isinstance(document, dict) else None
    if type(format_number) is int and format_number > FORMAT:
        raise fault("newer", location, format=format_number, known=STATE_FORMAT)
    reason = ""
    if (
        not isinstance(document, dict)
        or document.keys() != {*_FIELDS, _SIGNATURE}
        or not all(
            type(document[key]) is kind for key, kind in {**_FIELDS, _SIGNATURE: str}.items()
        )
    ):
        reason = "its last commit is not a commit of a state"
    elif document["ref"] != ref:
        reason = "its last commit was made for another ref"
    elif not 0 < document["number"] <= _MAX_NUMBER:
        reason = "its last commit has no batch number"
    if reason or not isinstance(document, dict):
        raise fault("foreign ref", location, reason=reason)
    return StateCommit(
        ref,
        document["number"],
        document["batch"],
        document["previous"],
        tree_id,
        document[_SIGNATURE],
        commit.object_id,
    )
