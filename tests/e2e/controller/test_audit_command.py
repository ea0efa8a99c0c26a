"""`controller audit`, of a data folder and over HTTP: who did what, and whether the chain holds."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from answering import Answer, Asked, answering
from in_process import run_in_process
from installed import environment

from synapse_apply.controller.ports import AuditFilter
from synapse_apply.controller.rows import AuditRow
from synapse_apply.controller.store.controller_store import SqliteControllerStore

ACTS = [
    ("proxy:ann", "pause", "acme/*", "until 2026-12-01: incident"),
    ("token:ops", "approve", "acme/prod", "row1:aaaa"),
    ("proxy:ann", "resume", "acme/*", ""),
    ("token:ops", "reconcile", "lab/bench", ""),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    with closing(SqliteControllerStore(folder)) as store:
        store.create_or_upgrade()
        for number, act in enumerate(ACTS):
            with store.write() as writer:
                writer.append_audit(1_764_000_000.5 + number, *act)
    return folder


def read_audit(data: Path, *typed: str, code: int = 0) -> str:
    done = run_in_process(
        ["controller", "audit", "--data", str(data), *typed], data.parent, environment({})
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def change_store(data: Path, statement: str) -> None:
    with closing(sqlite3.connect(data / "controller.db")) as database, database:
        assert database.execute(statement).rowcount == 1


def list_rows(data: Path) -> list[AuditRow]:
    with closing(SqliteControllerStore(data)) as store:
        return list(store.audit_rows(100, AuditFilter(after=0)))


def test_it_says_who_did_what_newest_first(data):
    """By target, also of a pattern that has it; by person; at most so many; all are counted."""
    shown = read_audit(data)
    assert shown.index("lab/bench") < shown.index("row1:aaaa") < shown.index("incident")
    assert "2025-11-24T16:00:00Z" in shown
    assert "The chain is intact: 4 rows" in shown
    shown = read_audit(data, "acme/prod", "--who", "proxy:ann")
    assert ("incident" in shown, "row1:" in shown, "lab/bench" in shown) == (True, False, False)
    assert "incident" not in read_audit(data, "--limit", "1")
    assert "No row of the audit matches." in read_audit(data, "other/*")
    document = json.loads(read_audit(data, "--json", "--limit", "2"))
    assert [item["number"] for item in document["items"]] == [4, 3]
    assert (document["total"], document["first_wrong"], document["exit_code"]) == (4, None, 0)


@pytest.mark.parametrize(
    ("statement", "wrong"),
    [
        ("UPDATE audit SET who = 'proxy:bob' WHERE number = 2", 2),
        ("DELETE FROM audit WHERE number = 3", 4),
        ("UPDATE audit SET time = time + 1 WHERE number = 1", 1),
        ("UPDATE audit SET time = 9e999 WHERE number = 2", 2),
        ("UPDATE audit SET time = -9e999 WHERE number = 3", 3),
        ("UPDATE audit SET time = 9e99 WHERE number = 1", 1),
    ],
)
def test_a_changed_chain_is_told_with_its_first_wrong_row(data, statement, wrong):
    """Exit code 1, and the rows are listed all the same; also where a time is no number of JSON."""
    change_store(data, statement)
    shown = read_audit(data, code=1)
    assert f"Row {wrong} of " in shown
    assert "lab/bench" in shown
    document = json.loads(read_audit(data, "--json", code=1))
    assert document["first_wrong"] == wrong


def test_a_digest_of_before_tells_a_cut(data):
    """The chain holds without its end; the digest of a log is not in it."""
    newest = list_rows(data)[-1].digest
    read_audit(data, "--expect", newest)
    change_store(data, "DELETE FROM audit WHERE number = 4")
    read_audit(data)
    assert "no row with the expected digest" in read_audit(data, "--expect", newest, code=1)


def build_answer(rows: list[AuditRow]) -> Callable[[Asked], Answer]:
    def answer(asked: Asked) -> Answer:
        newer = [row for row in rows if row.number > int(asked.query["after"])]
        items = [vars_of(row) for row in newer[:2]]
        return 200, {"apiVersion": "synapse-apply/v1", "kind": "AuditList", "items": items}

    return answer


def vars_of(row: AuditRow) -> dict[str, object]:
    names = ("number", "time", "who", "action", "subject", "detail", "digest")
    return {name: getattr(row, name) for name in names}


def test_a_running_controller_is_not_believed(data):
    """The chain is computed here, page by page; one that never ends is no audit."""
    rows = list_rows(data)

    def read(code: int) -> str:
        typed = ["controller", "audit", "--url", server.url]
        done = run_in_process(typed, data, environment({}))
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    with answering(build_answer(rows)) as server:
        assert "The chain is intact: 4 rows" in read(0)
        del rows[1]
        assert "Row 3 of" in read(1)
    with answering(lambda _: build_answer(list_rows(data))(_first_page())) as server:
        assert "do not grow" in read(1)


def _first_page() -> Asked:
    return Asked("GET", "/api/v1/audit", {"after": "0"}, {})
