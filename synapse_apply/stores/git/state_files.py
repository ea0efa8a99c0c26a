"""Which files of the tree a state is, their names and contents, and what is refused of a tree.

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
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from synapse_apply.model.coding.canonical_json import format_canonical_json
from synapse_apply.model.coding.json_types import JsonObject, JsonValue
from synapse_apply.stores import schema
from synapse_apply.stores.batch_log import RowChange
from synapse_apply.stores.database import Row
from synapse_apply.stores.git.escaped_names import escape_name

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
        elif change.row is None:
            yield StateFile(_build_file_path(change.table, change.key), None)
        else:
            cells = _build_cells_by_column(change.table, change.row)
            if change.table == "lock":
                cells[_LEASE_KEY] = lease_seconds
            yield StateFile(
                _build_file_path(change.table, change.key),
                _encode_json_with_one_value_a_line(cells),
            )
    for path, rows in _iter_audit_rows_by_file(audit_rows):
        yield StateFile(
            path,
            _encode_json_with_one_value_a_line(
                [_build_cells_by_column(AUDIT_FOLDER, row) for row in rows]
            ),
        )


def decode_state_file(path: str, content: bytes) -> FileRows:
    """The rows in a file of the tree; DamagedFileError if its name or content is not a state's."""
    folder, slash, _ = path.partition("/")
    table = _TABLES_BY_FILE.get(path, folder)
    if table not in schema.TABLE_COLUMNS or bool(slash) == (table in _ONE_ROW_FILES):
        raise DamagedFileError("a state has no such file")
    document = _parse_json_or_raise_damaged(content)
    if table == AUDIT_FOLDER:
        return FileRows(table, _decode_audit_rows(path, document))
    lease_seconds = None
    if table == "lock" and isinstance(document, dict):
        lease_seconds = document.pop(_LEASE_KEY, None)
        if type(lease_seconds) not in (int, float) or not 0 < lease_seconds <= 86_400:
            raise DamagedFileError("it names no lease of its owner")
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


def _iter_audit_rows_by_file(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """(path, rows) of each file for audit rows: those of one day and one thousand of numbers."""
    rows_by_folder: dict[str, list[Row]] = {}
    for row in sorted(rows):
        rows_by_folder.setdefault(_build_audit_folder(row), []).append(row)
    for folder, folder_rows in rows_by_folder.items():
        yield f"{folder}/{folder_rows[0][0]}.json", folder_rows


def _build_audit_folder(row: Row) -> str:
    day = _DAY_PATTERN.match(str(row[1]))
    day_path = "/".join(day.groups()) if day else "0000/00/00"
    return f"{AUDIT_FOLDER}/{day_path}/{int(row[0]) // _AUDIT_ROWS_PER_FOLDER}"


def _decode_audit_rows(path: str, document: Any) -> tuple[Row, ...]:
    if not isinstance(document, list) or not document:
        raise DamagedFileError("it is no list of audit entries")
    rows = tuple(_decode_valid_row(AUDIT_FOLDER, cells) for cells in document)
    numbers = [row[0] for row in rows]
    paths = [file_path for file_path, _ in _iter_audit_rows_by_file(rows)]
    if paths != [path] or numbers != sorted(set(numbers)):
        raise DamagedFileError("its content belongs to a file with another name")
    return rows


def _build_cells_by_column(table: str, row: Row) -> JsonObject:
    """The cells by column, without the constant `id` of tables with one row."""
    cells = dict(zip(schema.TABLE_COLUMNS[table], row, strict=True))
    if table in _ONE_ROW_FILES:
        del cells["id"]
    return {
        column: _parse_canonical_object_or_keep_text(cell) if column in _JSON_COLUMNS else cell
        for column, cell in cells.items()
    }


def _parse_canonical_object_or_keep_text(text: str) -> JsonValue:
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
        raise DamagedFileError("it is no JSON object")
    cells = {"id": 1, **document} if table in _ONE_ROW_FILES else document
    if cells.keys() != set(columns) or (table in _ONE_ROW_FILES and "id" in document):
        raise DamagedFileError("it has other fields than a state has")
    return tuple(_decode_valid_cell(table, column, cells[column]) for column in columns)


def _decode_valid_cell(table: str, column: str, value: Any) -> Any:
    if column in _JSON_COLUMNS and isinstance(value, dict):
        try:
            return format_canonical_json(value)
        except (ValueError, RecursionError):
            raise DamagedFileError(f"its {column} cannot be read") from None
    is_number = schema.is_number_column_besides_id(column) or (
        column == "id" and table in _ONE_ROW_FILES
    )
    is_valid = (
        type(value) is int and abs(value) <= schema.LARGEST_NUMBER
        if is_number
        else type(value) is str and _is_utf8(value)
    )
    if not is_valid:
        raise DamagedFileError(f"its {column} is not what a state has")
    return value


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _encode_json_with_one_value_a_line(document: Any) -> bytes:
    # One value a line, for who reads the difference of two commits.
    return (json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n").encode("ascii")


def _parse_json_or_raise_damaged(content: bytes) -> JsonValue:
    try:
        return json.loads(content.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise DamagedFileError("it is not JSON") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)
