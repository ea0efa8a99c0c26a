"""The controller's store: what is written is read back, and what must never move back does not."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from synapse_apply.controller.ports import AuditFilter, TargetFilter, TargetOrder, TargetPage
from synapse_apply.controller.rows import (
    ApplyLog,
    CallProgress,
    ChangeCounts,
    MessageRow,
    RevisionEnd,
    RevisionRow,
    RunCause,
    RunOutcome,
    RunRow,
    SourceRow,
    StatusRow,
    StatusState,
    StatusText,
    TargetCondition,
    TargetName,
    TargetRow,
)
from synapse_apply.controller.store.controller_store import ControllerStore
from synapse_apply.controller.store.store_database import ControllerStoreError, StoreTooNew
from synapse_apply.controller.store.store_schema import STORE_FORMAT
from synapse_apply.controller.store.store_writer import find_first_broken_audit_row
from synapse_apply.model.diagnostic import Position, error_finding

FINDING = error_finding(
    "Broken", "a detail", "a hint", position=Position("f.yaml", 1, 2), path=("spec", 0, "x")
)
PROD = TargetName("acme", "prod")


def put_head(store: ControllerStore, source: str, number: int, commit: str) -> bool:
    with store.write() as writer:
        return writer.accept_head(source, number - 1, RevisionRow(source, number, commit, 1.0))


def test_rows_are_read_back_as_they_were_written(store):
    """Every kind of row, with findings, positions, texts beyond ASCII and values of every type."""
    source = SourceRow("acme", fetched_at=1.5, failures=2, finding=FINDING)
    target = TargetRow(
        PROD, "c1", 1, state=TargetCondition.DRIFTED, counts=ChangeCounts(add=1), due_at=9
    )
    revision = RevisionRow("acme", 1, "c1", 2.0, "김", "first", RevisionEnd.ERROR, finding=FINDING)
    run = RunRow(
        *("r1", PROD, "c1", RunCause.PUSH, 1.0, 2.0, RunOutcome.CHANGES, ChangeCounts(change=2)),
        (FINDING,),
        '{"a": 1}',
        "digest",
    )
    wished = StatusText(StatusState.PENDING, "1 of 2", "https://page.example/x")
    status = StatusRow("acme", "c1", "synapse-apply/main/acme", wished)
    message = MessageRow("m1", "hook", "failed", "f1", {"n": 1, "$x": [None, "y"]}, 3.0)
    with store.write() as writer:
        writer.put(source)
        writer.put(target)
        writer.put(revision)
        writer.put(run)
        writer.put(status)
        assert writer.put_message_if_new(message)
        writer.replace_configuration_findings([FINDING])
    assert store.list_configured_sources() == [source]
    assert store.find_target(PROD) == target
    assert store.find_revision("acme", "c1") == revision
    assert store.newest_revisions("acme", 5) == [revision]
    assert store.find_run("r1") == run
    assert store.newest_runs(PROD, 5) == [replace(run, plan_json="")]
    size = len(run.plan_json) + len(run.report_json)
    assert store.list_document_sizes("acme", size) == [("r1", PROD, size)]
    assert store.list_document_sizes("acme", size + 1) == []
    assert store.newest_outcomes([PROD], 5) == {PROD: [RunOutcome.CHANGES]}
    of_commit = TargetFilter("acme", wanted_commit="c1")
    assert store.target_page(of_commit, 0, 9) == TargetPage([target], 1)
    of_another = TargetFilter("acme", wanted_commit="c2")
    assert store.target_page(of_another, 0, 9) == TargetPage([], 0)
    assert store.unsent() == ([status], [message])
    assert store.find_status("acme", "c1", status.context) == status
    assert list(store.list_configuration_findings()) == [FINDING]
    with store.write() as writer:
        writer.put(replace(status, sent=wished))
        writer.put(replace(message, sent_at=4.0))
        writer.replace_configuration_findings([])
    assert store.unsent() == ([], [])
    assert list(store.list_configuration_findings()) == []


def test_what_one_receiver_does_not_take_hides_nothing_of_another(store):
    """Some of each channel and of each source are due, the oldest first; one of each subject."""
    wished = StatusText(StatusState.PENDING, "1 of 2", "")
    with store.write() as writer:
        for number in range(30):
            name = f"{number:02}"
            fields = {"source": "acme", "target": f"acme/{name}"}
            writer.put(MessageRow(f"m{name}", "down", "failed", name, fields, 1.0))
            writer.put(StatusRow("acme", f"c{name}", "x", wished, try_at=1.0))
        of_prod = {"source": "acme", "target": "acme/prod"}
        writer.put(MessageRow("n1", "up", "failed", "p", of_prod, 1.0, try_at=5.0))
        writer.put(MessageRow("n2", "up", "recovered", "p", of_prod, 1.0))
        writer.put(MessageRow("n3", "up", "failed", "q", {"source": "acme"}, 1.0, try_at=8.0))
        writer.put(StatusRow("other", "d", "x", wished, try_at=4.0))
        writer.put(StatusRow("other", "e", "x", wished, try_at=8.0))
        writer.put(StatusRow("without a forge", "f", "x", wished))
    statuses, messages = store.due_sends(7.0, ["acme", "other"], 3)
    assert [message.id for message in messages] == ["m00", "m01", "m02", "n1"]
    assert [status.commit for status in statuses] == ["c00", "c01", "c02", "d"]
    statuses, messages = store.due_sends(8.0, [], 1)
    assert (statuses, [message.id for message in messages]) == ([], ["m00", "n1"])


def test_what_is_not_there_is_none(store):
    """Unknown names are no errors of a page."""
    assert store.find_target(PROD) is None
    assert store.find_run("r") is None
    assert store.find_revision("acme", "c") is None
    assert store.newest_outcomes([PROD], 3) == {PROD: []}


def test_a_head_is_accepted_once_for_each_number(store):
    """Whoever read an older head does not replace a newer one, nor does a row that was read before."""
    with store.write() as writer:
        writer.put(SourceRow("acme"))
    assert put_head(store, "acme", 1, "c1")
    assert not put_head(store, "acme", 1, "old")
    assert put_head(store, "acme", 2, "c2")
    with store.write() as writer:
        writer.put(SourceRow("acme", head="c1", head_number=1, due_at=7.0))
    (source,) = store.list_configured_sources()
    assert (source.head, source.head_number, source.due_at) == ("c2", 2, 7.0)
    assert store.find_revision("acme", "old") is None
    with pytest.raises(ValueError, match="cannot follow"), store.write() as writer:
        writer.accept_head("acme", 2, RevisionRow("acme", 9, "c9", 1.0))


def test_a_wanted_revision_never_moves_back(store):
    """A stopped process that goes on writes what it knew; the wanted revision stays."""
    with store.write() as writer:
        writer.put(TargetRow(PROD, "c2", 2))
        writer.put(TargetRow(PROD, "c1", 1, state=TargetCondition.FAILING))
    row = store.find_target(PROD)
    assert (row.wanted_commit, row.wanted_number, row.state) == ("c2", 2, TargetCondition.FAILING)


def test_due_targets_come_longest_due_first_and_sources_in_turn(store):
    """A source with many targets does not keep another one waiting."""
    with store.write() as writer:
        for source in ("a", "b"):
            writer.put(SourceRow(source))
        for number in range(5):
            writer.put(TargetRow(TargetName("a", f"t{number}"), due_at=10 - number))
        writer.put(TargetRow(TargetName("b", "t"), due_at=9))
        writer.put(TargetRow(TargetName("b", "later"), due_at=11))
        writer.put(TargetRow(TargetName("b", "gone"), due_at=1, is_gone=True))
        writer.put(TargetRow(TargetName("b", "busy"), due_at=1))
        writer.claim(TargetName("b", "busy"), "x", until=99, now=10)
        due = [str(row.name) for row in writer.list_due(10, 4)]
    assert due == ["a/t4", "b/t", "a/t3", "a/t2"]


def test_labels_of_a_source_are_replaced_as_a_whole(store):
    with store.write() as writer:
        writer.replace_labels("acme", {"dev": {"tier": "first"}, "old": {"tier": "last"}})
        writer.replace_labels("beta", {"dev": {}})
        writer.replace_labels("acme", {"dev": {"tier": "%_"}})
    dev, other = TargetName("acme", "dev"), TargetName("beta", "dev")
    assert store.list_labels() == {dev: {"tier": "%_"}, other: {}}


def test_what_an_apply_does_is_kept_while_it_runs(store):
    dev, other = TargetName("acme", "dev"), TargetName("acme", "dev%")
    first, second = (
        ApplyLog("r1", (CallProgress(1, 2, "storage/\0\U0001f4a5", "create", 5.0, word),))
        for word in ("", "done")
    )
    with store.write() as writer:
        writer.replace_apply_log(dev, first)
        writer.replace_apply_log(dev, second)
    assert (store.find_apply_log(dev), store.find_apply_log(other)) == (second, None)
    with store.write() as writer:
        writer.delete_apply_log(other)
        writer.delete_apply_log(dev)
    assert store.find_apply_log(dev) is None


def test_targets_are_sorted_by_times(store):
    with store.write() as writer:
        for number, name in enumerate(("a", "c", "b")):
            row = TargetRow(TargetName("acme", name), changed_at=number, due_at=9 - number // 2)
            writer.put(row)
    for order, names in ((TargetOrder.CHANGED, "bca"), (TargetOrder.NEXT_CHECK, "bac")):
        page = store.target_page(TargetFilter(order=order), 0, 9)
        assert "".join(row.name.target for row in page.targets) == names


def test_pages_of_targets_begin_with_those_that_need_a_person(store):
    """Filters by source, state and text; a text is no pattern; gone targets are not shown."""
    with store.write() as writer:
        for name, state in (
            ("dev", TargetCondition.IN_SYNC),
            ("prod_eu", TargetCondition.FAILING),
            ("prodxeu", TargetCondition.DRIFTED),
        ):
            writer.put(TargetRow(TargetName("acme", name), state=state))
        writer.put(TargetRow(TargetName("acme", "old"), is_gone=True))
        writer.put(TargetRow(TargetName("beta", "dev")))

    def names(target_filter: TargetFilter, offset: int = 0, limit: int = 10) -> list[str]:
        page = store.target_page(target_filter, offset, limit)
        return [*(str(row.name) for row in page.targets), str(page.matching_count)]

    assert names(TargetFilter(), limit=2) == ["acme/prod_eu", "acme/prodxeu", "4"]
    assert names(TargetFilter(), offset=2) == ["acme/dev", "beta/dev", "4"]
    assert names(TargetFilter(text="D_E")) == ["acme/prod_eu", "1"]
    assert names(TargetFilter(text="%")) == ["0"]
    assert names(TargetFilter(source="beta")) == ["beta/dev", "1"]
    assert names(TargetFilter(state=TargetCondition.DRIFTED)) == ["acme/prodxeu", "1"]
    assert names(TargetFilter(names=("beta/dev", "acme/old", "acme/dev"))) == [
        *("acme/dev", "beta/dev", "2")
    ]
    assert names(TargetFilter(names=())) == ["0"]
    by_name = ["acme/dev", "acme/prod_eu", "acme/prodxeu", "beta/dev", "4"]
    assert names(TargetFilter(order=TargetOrder.NAME)) == by_name
    counts = store.target_counts("acme")
    assert counts[TargetCondition.FAILING] == counts[TargetCondition.IN_SYNC] == 1
    assert counts[TargetCondition.NOT_LOOKED_AT] == 0


def test_one_fact_is_one_message(store):
    """The second message of the same channel, event and fact is not written."""
    first = MessageRow("m1", "hook", "failed", "f", {}, 1.0)
    with store.write() as writer:
        assert writer.put_message_if_new(first)
        assert not writer.put_message_if_new(replace(first, id="m2"))
        assert writer.put_message_if_new(replace(first, id="m3", channel="slack"))


def test_a_transaction_that_fails_writes_nothing(store):
    """All of a block is committed at its end, or nothing."""

    def write_and_fail() -> None:
        with store.write() as writer:
            writer.put(SourceRow("acme"))
            raise KeyError

    with pytest.raises(KeyError):
        write_and_fail()
    assert store.list_configured_sources() == []
    with store.write() as writer:
        writer.put(SourceRow("beta"))
        assert store.list_configured_sources() == []  # a reader sees the last commit meanwhile
    assert [row.name for row in store.list_configured_sources()] == ["beta"]


def test_a_write_within_another_one_is_a_mistake_that_commits_nothing(store):
    """On every database alike: the inner one's end would end the outer one, too."""

    def write_twice() -> None:
        with store.write() as writer:
            writer.put(SourceRow("acme"))
            with store.write():
                pytest.fail("it may not begin")

    with pytest.raises(RuntimeError, match="within another"):
        write_twice()
    assert store.list_configured_sources() == []
    with store.write() as writer:
        writer.put(SourceRow("beta"))
    assert [row.name for row in store.list_configured_sources()] == ["beta"]


def test_old_rows_are_deleted_but_for_the_newest(store):
    """A target keeps its newest run, a source its head; what is unsent stays."""

    def run(run_id: str, ended_at: float, repeats_until: float = 0.0) -> RunRow:
        cause, outcome = RunCause.INTERVAL, RunOutcome.IN_SYNC
        row = RunRow(run_id, PROD, "c", cause, 0.0, ended_at, outcome)
        return replace(row, last_seen_at=repeats_until)

    with store.write() as writer:
        writer.put(SourceRow("acme"))
        for row in (run("r1", 1), run("r2", 2, 99), run("r3", 3)):
            writer.put(row)
        for row in (
            MessageRow("m1", "h", "e", "1", {}, 1.0),
            MessageRow("m2", "h", "e", "2", {}, 1.0),
        ):
            writer.put_message_if_new(row)
        writer.put(MessageRow("m1", "h", "e", "1", {}, 1.0, sent_at=2.0))
        for number in (1, 2):
            writer.accept_head("acme", number - 1, RevisionRow("acme", number, f"c{number}", 1.0))
            text = StatusText(StatusState.SUCCESS, "", "")
            writer.put(StatusRow("acme", f"c{number}", "x", text))
        assert writer.delete_old_runs(50) == 1
        writer.delete_old_messages(50)
    assert [row.id for row in store.newest_runs(PROD, 9)] == ["r3", "r2"]
    assert [row.commit for row in store.newest_revisions("acme", 9)] == ["c2"]
    statuses, messages = store.unsent()
    assert ([row.commit for row in statuses], [row.id for row in messages]) == (["c2"], ["m2"])


def test_the_last_head_that_could_be_used_stays(store):
    """However old: a head without a signature is taken out of the branch back to it, not further."""
    with store.write() as writer:
        writer.put(SourceRow("acme", keyed_number=2))
        for number in range(1, 6):
            refused = None if number <= 3 else error_finding("A commit is not signed", "")
            row = RevisionRow("acme", number, f"c{number}", 1.0, finding=refused)
            writer.accept_head("acme", number - 1, row)
        writer.delete_old_messages(50)
    # The third was overtaken before anybody looked at it.
    assert [row.commit for row in store.newest_revisions("acme", 9)] == ["c5", "c2"]


def test_the_audit_is_a_chain(store, run_beside):
    """Whoever changes or removes a row is found out."""
    with store.write() as writer:
        for number in range(4):
            writer.append_audit(float(number), "token:ops", "reconcile", "acme/prod", f"{number}")
    rows = list(reversed(store.audit_rows(10)))
    assert find_first_broken_audit_row(rows) is None
    assert find_first_broken_audit_row(rows[:1] + rows[2:]) == rows[2]
    run_beside("UPDATE audit SET who = 'token:other' WHERE number = 2")
    changed = list(reversed(store.audit_rows(10)))
    assert find_first_broken_audit_row(changed) == changed[1]


@pytest.fixture(scope="module")
def searched_store(store_of_module: ControllerStore) -> ControllerStore:
    """Four rows of the audit and four targets, which no test changes."""
    with store_of_module.write() as writer:
        for who, subject, detail in (
            ("proxy:ann", "acme/prod", ""),
            ("token:ops", "acme/prod-eu", ""),
            ("proxy:ann", "acme/prod", ""),
            ("controller:main", "controller:main", "100% of it"),
        ):
            writer.append_audit(1.0, who, "pause", subject, detail)
        for source, target in (("acme", "dev"), ("acme", "prod"), ("globex", "dev"),
                               ("Acme", "dev")):  # fmt: skip
            writer.put(TargetRow(TargetName(source, target)))
    return store_of_module


@pytest.mark.parametrize(
    ("audit_filter", "numbers"),
    [
        (AuditFilter(), [4, 3, 2, 1]),
        (AuditFilter(who="proxy:ann"), [3, 1]),
        (AuditFilter(text="ACME/prod"), [3, 2, 1]),
        (AuditFilter(text="100%"), [4]),
        (AuditFilter(before=3), [2, 1]),
        (AuditFilter(after=2), [3, 4]),
        (AuditFilter(patterns=("acme/prod", "globex/*")), [3, 1]),
        (AuditFilter(patterns=("acme/[!x]*",), who="proxy:ann", before=3), [1]),
        (AuditFilter(patterns=()), []),
    ],
)
def test_the_audit_can_be_searched(searched_store, audit_filter, numbers):
    rows = searched_store.audit_rows(9, audit_filter)
    assert [row.number for row in rows] == numbers


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (("*",), ["Acme/dev", "acme/dev", "acme/prod", "globex/dev"]),
        (("acme/*",), ["acme/dev", "acme/prod"]),
        (("*/de?", "acme/prod"), ["Acme/dev", "acme/dev", "acme/prod", "globex/dev"]),
        (("[!a]*/dev",), ["Acme/dev", "globex/dev"]),
        (("[^a]*/dev",), ["acme/dev"]),
        (("acme/[a-d]ev", "(globex)/*", "a.me/*", "***:.*"), ["acme/dev"]),
        (("[z-a]*", "acme/[d", "acme/\\\\dev"), []),
        (("[!z-a]*/d[]e-]v", "acme/de?\n"), ["Acme/dev", "acme/dev", "globex/dev"]),
        (("acme", "acme/", "prod"), []),
        ((), []),
    ],
)
def test_targets_are_found_by_patterns_as_python_has_them(searched_store, patterns, names):
    """Lists and counts have the same ones, whatever SQLite means by a bracket or by case."""
    store = searched_store
    page = store.target_page(TargetFilter(patterns=patterns), 0, 9)
    assert [str(row.name) for row in page.targets] == names
    assert page.matching_count == len(names)
    assert sum(store.target_counts(patterns=patterns).values()) == len(names)


def test_many_threads_read_while_one_writes(store):
    """Readers never fail and never see half of a transaction."""
    torn: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            page = store.target_page(TargetFilter(), 0, 100)
            torn.extend([len(page.targets)] if len(page.targets) % 2 else [])

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(20):
        with store.write() as writer:
            writer.put(TargetRow(TargetName("a", f"{number}")))
            writer.put(TargetRow(TargetName("b", f"{number}")))
    done.set()
    for reader in readers:
        reader.join()
    assert torn == []
    assert store.target_page(TargetFilter(), 0, 100).matching_count == 40


def test_a_store_of_a_newer_format_is_refused_only_where_writing_would_harm(store, run_beside):
    """A newer format that this version may still write works; one that it may not is left alone.

    A program that runs while a newer one upgrades the store is told at its next write.
    """

    def set_meta(key: str, value: int) -> None:
        run_beside(f"UPDATE meta SET value = '{value}' WHERE key = '{key}'")

    set_meta("format", STORE_FORMAT + 1)
    with store.write() as writer:
        writer.put(SourceRow("acme"))
    set_meta("oldest_format_that_may_write", STORE_FORMAT + 1)
    with pytest.raises(StoreTooNew, match="newer version"), store.write():
        pytest.fail("it may not write")
    store.close()
    with pytest.raises(StoreTooNew, match="newer version"):
        store.list_configured_sources()
    with pytest.raises(StoreTooNew, match="newer version"):
        store.create_or_upgrade()


def test_odd_cells_are_an_error_and_no_traceback(store, run_beside):
    """What this program would not have written is said to be damage."""
    with store.write() as writer:
        writer.put(SourceRow("acme"))
    run_beside("UPDATE sources SET finding = '{' ")
    with pytest.raises(ControllerStoreError, match="damaged") as caught:
        store.list_configured_sources()
    assert "sources.finding" in caught.value.diagnostics[0].detail


def test_due_times_move_with_the_clock(store):
    """What was due in a minute is due in a minute still; what is far away can be found."""
    with store.write() as writer:
        writer.put(SourceRow("acme", due_at=100.0))
        writer.put(TargetRow(PROD, due_at=160.0))
        writer.shift_times(-50)
        assert [row.name for row in writer.list_due_after(100)] == [PROD]
        assert [row.name for row in writer.list_due_after(110)] == []
    assert store.list_configured_sources()[0].due_at == 50


def test_commits_in_use_and_open_revisions(store):
    """Head, what is beside it, what is wanted and applied; ended revisions are closed."""
    with store.write() as writer:
        writer.put(SourceRow("acme", sideways="side"))
        for number in (1, 2, 3):
            revision = RevisionRow("acme", number, f"c{number}", 1.0, is_final=number == 2)
            writer.accept_head("acme", number - 1, revision)
        writer.put(TargetRow(PROD, "c3", 3, applied_commit="c1"))
    assert sorted(store.list_commits_in_use("acme")) == ["c1", "c3", "side"]
    assert [row.number for row in store.open_revisions("acme")] == [3, 1]
    assert [row.name for row in store.source_targets("acme")] == [PROD]
