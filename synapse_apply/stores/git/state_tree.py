"""How the tree of a commit is read: which files it has, and the rows in those that have changed.

Whoever may push could write any tree. So its size is limited, and anything but folders and files of
mode 100644 with names of a state makes it a damaged one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from synapse_apply.stores import schema
from synapse_apply.stores.batch_log import TableRows
from synapse_apply.stores.database import Row
from synapse_apply.stores.git.object_reader import GitObject, ObjectReader, UnreadableObjectError
from synapse_apply.stores.git.state_files import (
    AUDIT_FOLDER,
    MAX_FILE_BYTES,
    META_FILE,
    DamagedFileError,
    FileRows,
    decode_state_file,
)

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


def read_tree_or_raise_damaged(
    reader: ObjectReader, tree_id: str, earlier_content: TreeContent, max_audit_files: int
) -> TreeContent:
    """Read a tree; files whose objects are in `earlier_content` are not read again.

    Of the audit only the newest files are read. DamagedTreeError, which is no StateError and has
    what can be read.
    """
    object_ids = {
        entry.path: entry.object_id
        for entry in _iter_files_or_raise_damaged(reader, tree_id, id_length=len(tree_id))
    }
    audit_paths = list_audit_paths_oldest_first(object_ids)
    left_out = frozenset(audit_paths[: max(0, len(audit_paths) - max_audit_files)])
    rows: dict[str, FileRows] = {}
    new_paths = []
    for path, object_id in object_ids.items():
        # An object's id is the digest of its content, so that equal ids need no reading.
        if earlier_content.object_ids.get(path) == object_id and path in earlier_content.rows:
            rows[path] = earlier_content.rows[path]
        elif path not in left_out:
            new_paths.append(path)
    rows.update(read_files_or_raise_damaged(reader, new_paths, object_ids))
    content = TreeContent(object_ids, rows)
    if META_FILE not in rows:
        raise DamagedTreeError(META_FILE, "there is no such file", content)
    return content


def read_files_or_raise_damaged(
    reader: ObjectReader, paths: Sequence[str], object_ids: Mapping[str, str]
) -> dict[str, FileRows]:
    """The rows of files by their paths; DamagedTreeError, after all others were read."""
    rows: dict[str, FileRows] = {}
    damages: list[tuple[str, str]] = []
    total_bytes = 0
    objects = reader.iter_objects([object_ids[path] for path in paths], MAX_FILE_BYTES)
    for path in paths:
        blob = _read_next_or_raise_damaged(objects, path)
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


def list_audit_paths_oldest_first(paths: Mapping[str, str]) -> list[str]:
    """The files of the audit, oldest first."""
    audit_paths = [path for path in paths if path.startswith(f"{AUDIT_FOLDER}/")]
    return sorted(audit_paths, key=_get_first_number_or_zero)


def _get_first_number_or_zero(path: str) -> int:
    name = path.rpartition("/")[2].removesuffix(".json")
    return int(name) if name.isascii() and name.isdecimal() else 0


def _iter_files_or_raise_damaged(
    reader: ObjectReader, tree_id: str, id_length: int
) -> Iterator[ObjectEntry]:
    """All files of a tree, folder by folder, all folders of one depth at a time."""
    folders = [ObjectEntry("", is_folder=True, object_id=tree_id)]
    entry_count = 0
    # Depth by depth: one request for all folders of a depth, and no cycle without end.
    for _ in range(_MAX_DEPTH):
        trees = reader.iter_objects([folder.object_id for folder in folders], _MAX_TREE_BYTES)
        subfolders = []
        for folder in folders:
            tree = _read_next_or_raise_damaged(trees, folder.path or "the tree")
            if tree.kind != "tree":
                raise DamagedTreeError(folder.path, "it is no folder")
            for entry in _iter_entries_or_raise_damaged(tree.content, folder.path, id_length // 2):
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


def _iter_entries_or_raise_damaged(
    content: bytes, folder: str, id_size: int
) -> Iterator[ObjectEntry]:
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


def _read_next_or_raise_damaged(objects: Iterator[GitObject], path: str) -> GitObject:
    try:
        return next(objects)
    except UnreadableObjectError as problem:
        raise DamagedTreeError(path, str(problem)) from None
