"""Names and contents of the files that a state is in a repository."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synapse_apply.model.json_values import format_canonical_json
from synapse_apply.stores import schema
from synapse_apply.stores.database import Row, RowChange
from synapse_apply.stores.git.git_url import escape_name
from synapse_apply.stores.git.state_files import (
    DamagedFileError,
    decode_state_file,
    iter_state_files,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
DOCUMENTS = st.dictionaries(TEXTS, st.none() | st.integers() | TEXTS | st.lists(TEXTS), max_size=4)
JSON_TEXTS = DOCUMENTS.map(format_canonical_json) | TEXTS
NUMBERS = st.integers(0, schema.LARGEST_NUMBER)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("yolo", "yolo"),
        ("yolo@1.1.0", "yolo%401.1.0"),
        ("Yolo", "%59olo"),
        ("a..b", "a%2E%2Eb"),
        (".git", "%2Egit"),
        ("a.lock", "a%2Elock"),
        ("a.locks", "a.locks"),
        ("con", "%63on"),
        ("nul.json", "%6Eul.json"),
        ("console", "console"),
        ("저장소", "%EC%A0%80%EC%9E%A5%EC%86%8C"),
        ("a/b\\c", "a%2Fb%5Cc"),
        ("100%", "100%25"),
        ("", "%"),
    ],
)
def test_names_that_every_file_system_takes(text: str, name: str) -> None:
    """Lower case stays as it is, all else is written in hexadecimal."""
    assert escape_name(text) == name


@given(TEXTS, TEXTS)
def test_no_two_texts_have_one_name(one: str, other: str) -> None:
    """Also where a file system takes A for a."""
    assert (escape_name(one).casefold() == escape_name(other).casefold()) == (one == other)


def test_long_names_stay_apart() -> None:
    """A name that would be too long ends with a digest."""
    names = {escape_name(f"{'Ü' * 300}{number}") for number in range(3)}
    assert len(names) == 3
    assert max(map(len, names)) <= 200


@st.composite
def rows(draw: st.DrawFn) -> RowChange:
    """A row of any table but the audit."""
    table = draw(st.sampled_from(["meta", "lock", "records", "intents", "plans"]))
    cells = [
        draw(JSON_TEXTS)
        if column in ("record", "intent")
        else draw(NUMBERS if column in schema.NUMBER_COLUMNS else TEXTS)
        for column in schema.TABLE_COLUMNS[table]
    ]
    if table in ("meta", "lock"):
        cells[0] = 1
    return RowChange(table, cells[0], tuple(cells))


@given(rows())
def test_a_row_comes_back_as_it_was(change: RowChange) -> None:
    """Each text is the same to the byte, and only the lock's file has a lease."""
    (file,) = iter_state_files([change], 300.0)
    assert file.content is not None
    file_rows = decode_state_file(file.path, file.content)
    assert file_rows.rows == (change.row,)
    assert file_rows.lease_seconds == (300.0 if change.table == "lock" else None)


def test_audit_rows_are_kept_by_day_and_thousand() -> None:
    """So that no folder grows without an end; each row comes back."""
    audit_rows: list[Row] = [
        (999, "2026-01-31T23:59:59Z", "a", "{}"),
        (1000, "2026-01-31T23:59:59Z", "a", "{}"),
        (1001, "2026-01-31T23:59:59Z", "a", "no json"),
        (1002, "2026-02-01T00:00:00Z", "a", '{"a":1.5}'),
        (1003, "yesterday", "a", "{}"),
    ]
    files = list(iter_state_files([RowChange("audit", row[0], row) for row in audit_rows], 1.0))
    assert [file.path for file in files] == [
        "audit/2026/01/31/0/999.json",
        "audit/2026/01/31/1/1000.json",
        "audit/2026/02/01/1/1002.json",
        "audit/0000/00/00/1/1003.json",
    ]
    read_rows = [
        row for file in files for row in decode_state_file(file.path, file.content or b"").rows
    ]
    assert read_rows == audit_rows


RECORD = {"address": "storage/a", "kind": "storage", "api": "v2", "remote_id": "1", "record": {}}
LOCK = {column: "" for column in schema.TABLE_COLUMNS["lock"] if column != "id"}
LOCK_NUMBERS = {"token": 1, "counter": 1, "pid": 1, "lease_seconds": 30}


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("records/storage/00/a.json", RECORD),
        ("records/a.json", RECORD),
        ("README.md", "a"),
        ("meta.json/a.json", "a"),
        ("intents/00/a.json", {"id": 1, "seq": 1, "address": "a", "intent": {}}),
        ("lock.json", {**LOCK, **LOCK_NUMBERS, "id": 1}),
        ("lock.json", {**LOCK, **LOCK_NUMBERS, "lease_seconds": -1}),
        ("lock.json", {**LOCK, **LOCK_NUMBERS, "token": True}),
        ("lock.json", {**LOCK, **LOCK_NUMBERS, "token": 2**63}),
        ("lock.json", {**LOCK, **LOCK_NUMBERS, "host": "\ud800"}),
        ("audit/2026/01/31/0/1.json", []),
        ("audit/2026/01/31/0/2.json", [{"seq": 1, "at": "2026-01-31", "address": "", "entry": {}}]),
        (
            "audit/2026/01/31/0/1.json",
            [{"seq": 1, "at": "2026-01-31", "address": "", "entry": {}}] * 2,
        ),
    ],
)
def test_a_file_that_no_run_writes_is_refused(path: str, document: object) -> None:
    """Another name than that of its content, other fields, other types, a row twice."""
    with pytest.raises(DamagedFileError):
        decode_state_file(path, json.dumps(document).encode())
