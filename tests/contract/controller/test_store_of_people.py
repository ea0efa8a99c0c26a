"""What the controller's store keeps of people and applies: approvals, pauses, the audit."""

from contextlib import closing
from dataclasses import replace

from synapse_apply.controller.planned_rows import PlannedRow, RowAction
from synapse_apply.controller.ports import AuditFilter
from synapse_apply.controller.rows import (
    ApprovalRow,
    CallCounts,
    ChangeCounts,
    PauseRow,
    RevisionProgress,
    RevisionRow,
    RunCause,
    RunOutcome,
    RunRow,
    RunVerb,
    SourceRow,
    TargetName,
    TargetProgress,
    TargetRow,
)
from synapse_apply.controller.settings import Mode
from synapse_apply.controller.store import controller_store
from synapse_apply.controller.store.controller_store import SqliteControllerStore
from synapse_apply.controller.store.row_table import SQLITE_DIALECT
from synapse_apply.controller.store.store_writer import find_first_broken_audit_row

PROD = TargetName("acme", "prod")


def test_approvals_are_used_once_and_deleted_when_old(store):
    """The first use stands; taking back spares what was used; what is young is kept."""
    row = PlannedRow("row1:a", "plugin/a", RowAction.UPDATE)
    first = ApprovalRow("a1", PROD, "row1:a", row, "proxy:ann", 100.0)
    second = replace(first, id="a2", who="proxy:bob", approved_at=200.0)
    with store.write() as writer:
        writer.put_approval(first)
        writer.put_approval(second)
        writer.mark_approvals_used(["a1"], "r1", 300.0)
        writer.mark_approvals_used(["a1"], "r2", 400.0)
        writer.delete_unused_approvals_of_row(PROD, "row1:a")
    used = replace(first, used_at=300.0, used_by_run="r1")
    assert list(store.list_approvals(PROD)) == [used]
    with store.write() as writer:
        writer.put_approval(second)
        writer.put_pause(PauseRow("acme/*", "proxy:ann", "old", 1.0, 150.0))
        writer.put_pause(PauseRow("*", "proxy:ann", "lasts", 1.0, 250.0))
        writer.delete_old_approvals(200.0)
    assert list(store.list_approvals(PROD)) == [second]
    assert [pause.scope for pause in store.list_pauses()] == ["*"]


def test_the_audit_is_read_in_parts_and_a_part_can_be_checked(store, monkeypatch):
    """All rows, oldest first, however many; the chain behind a row that is known."""
    monkeypatch.setattr(controller_store, "_AUDIT_ROWS_AT_ONCE", 20)
    with store.write() as writer:
        for number in range(50):
            writer.append_audit(number, "proxy:ann", "approve", "acme/prod", "")
    rows = list(store.iter_audit())
    assert [row.number for row in rows] == list(range(1, 51))
    assert find_first_broken_audit_row(rows) is None
    assert find_first_broken_audit_row(rows[20:], rows[19]) is None
    changed = replace(rows[30], who="proxy:bob")
    broken = find_first_broken_audit_row([*rows[20:30], changed, *rows[31:]], rows[19])
    assert broken == changed
    assert find_first_broken_audit_row(rows[21:], rows[19]) == rows[21]


def test_a_text_that_no_database_holds_is_changed_and_breaks_no_chain(store):
    """NUL and half of a surrogate pair, which an answer in JSON may have."""
    with store.write() as writer:
        writer.append_audit(1.0, "proxy:ann", "pause", "acme/*", "a\0b\ud800c")
        writer.append_audit(2.0, "proxy:ann", "resume", "acme/*", "")
    assert find_first_broken_audit_row(store.iter_audit()) is None
    assert [row.detail for row in store.audit_rows(9, AuditFilter(text="b?C"))] == ["a␀b?c"]


def test_rows_that_applies_of_a_revision_have_done_are_counted(store):
    """Of its commit alone."""
    run = RunRow("r1", PROD, "c1", RunCause.PUSH, 1.0, 2.0, RunOutcome.APPLIED)
    applied = replace(run, verb=RunVerb.APPLY, calls=CallCounts(done=2))
    with store.write() as writer:
        writer.put(SourceRow("acme"))
        writer.accept_head("acme", 0, RevisionRow("acme", 1, "c1", 1.0))
        writer.put(run)
        writer.put(replace(applied, id="r2"))
        writer.put(replace(applied, id="r3", calls=CallCounts(done=1, failed=4)))
        writer.put(replace(applied, id="r4", commit="c2"))
    assert store.read_progress_of_revision("acme", 1).applied_row_count == 3


def test_rows_that_applies_have_done_are_found_by_an_index(tmp_path):
    """There may be many runs."""
    statement = controller_store._SUM_APPLIED_ROWS.format(SQLITE_DIALECT.call_count)
    with closing(SqliteControllerStore(tmp_path)) as store:
        store.create_or_upgrade()
        with store.write() as writer:
            plan = writer._connection.execute(
                f"EXPLAIN QUERY PLAN {statement}", ["acme", "acme", 1]
            ).fetchall()
    assert any("runs_applied" in cells[3] for cells in plan), plan


def test_progress_counts_only_what_the_revision_touched(store):
    """Failing only by a run at this head; whom the rule applies to, and the first names in order."""
    base = TargetRow(
        PROD,
        "c2",
        2,
        input_digest="d",
        wanted_digest="d",
        head_digest="d",
        touched_number=2,
        looked_number=2,
    )
    done, failing = TargetProgress.DONE, TargetProgress.FAILING
    counts = ChangeCounts(change=2, refused=1)
    rows = {
        "planned": replace(base, progress=done, counts=counts),
        "applied": replace(base, progress=done, mode=Mode.AUTO),
        "other-inputs": replace(base, progress=done, input_digest="older"),
        "failed-before": replace(base, progress=failing, looked_number=1),
        "failing": replace(base, progress=failing),
        "refused": replace(base, progress=TargetProgress.REFUSED),
        "window": replace(base, progress=TargetProgress.WAITING),
        "untouched": replace(base, progress=done, touched_number=1),
        "gone": replace(base, progress=done, is_gone=True),
        "later-wave": replace(base, progress=TargetProgress.HELD, head_digest="newer"),
    }
    rows |= {f"held-{n}": replace(base, progress=TargetProgress.HELD) for n in "dcba"}
    with store.write() as writer:
        for name, row in rows.items():
            writer.put(replace(row, name=TargetName("acme", name)))
    assert store.read_progress_of_revision("acme", 2) == RevisionProgress(
        touched_count=12,
        done_count=2,
        failing_count=2,
        failing_names=("failing", "refused"),
        change_count=3,
        refused_count=1,
        held_count=4,
        held_names=("held-a", "held-b", "held-c"),
        waiting_count=1,
        waiting_names=("window",),
        applied_count=1,
        later_wave_count=1,
    )
    assert store.read_progress_of_revision("acme", 9) == RevisionProgress()
