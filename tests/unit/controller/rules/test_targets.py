"""Which targets a head touches, what a look makes of one, and who is looked at first."""

from __future__ import annotations

from dataclasses import replace
from itertools import repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synapse_apply.controller.loop.parts import RunIdSource
from synapse_apply.controller.planned_rows import Judgement
from synapse_apply.controller.ports import RunResult
from synapse_apply.controller.rows import (
    ChangeCounts,
    RunCause,
    RunOutcome,
    RunRow,
    RunVerb,
    TargetCondition,
    TargetName,
    TargetProgress,
    TargetRow,
)
from synapse_apply.controller.rules.assessment import assess_look
from synapse_apply.controller.rules.due import choose_due_targets
from synapse_apply.controller.rules.revisions import list_target_events
from synapse_apply.controller.rules.targets import (
    TargetAtHead,
    find_rule,
    is_same_as_last_run,
    target_row_after_run,
    target_rows_at_head,
)
from synapse_apply.controller.settings import Defaults, Event, Source, TargetRule

DEFAULTS = Defaults()
RULE = TargetRule("*")
PROD = TargetName("acme", "prod")
DONE = TargetRow(
    PROD,
    "c1",
    1,
    input_digest="d",
    wanted_digest="d",
    due_at=500.0,
    progress=TargetProgress.DONE,
)


def move(rows: list[TargetRow], digests: dict[str, str], number: int = 2) -> dict[str, TargetRow]:
    keyed = [TargetAtHead(TargetName("acme", n), RULE, d) for n, d in digests.items()]
    moved = target_rows_at_head(
        rows,
        keyed,
        f"c{number}",
        number,
        defaults=DEFAULTS,
        now=100.0,
        chances=repeat(0.5),
        spreads_new_targets=True,
    )
    return {row.name.target: row for row in moved}


def test_the_first_rule_that_matches_holds():
    """Case counts; a target without a rule is left alone."""
    source = Source("acme", "url", rules=(TargetRule("prod-*"), TargetRule("p*", interval=5)))
    assert find_rule(source, "prod-eu") == source.rules[0]
    assert find_rule(source, "play") == source.rules[1]
    assert find_rule(source, "PROD-eu") is None


def test_a_push_touches_the_targets_whose_inputs_changed():
    """All are to be at the head, and only those are due; one that was not done before is, too."""
    rows = [
        replace(DONE, name=TargetName("acme", name), input_digest=digest)
        for name, digest in (("same", "d"), ("changed", "d"), ("failing", "older"), ("gone", "d"))
    ]
    moved = move(rows, {"same": "d", "changed": "e", "failing": "d"})
    assert {row.wanted_commit for name, row in moved.items() if name != "gone"} == {"c2"}
    assert (moved["same"].due_at, moved["same"].touched_number) == (500.0, 0)
    for name in ("changed", "failing"):
        assert (moved[name].due_at, moved[name].due_cause) == (100.0, RunCause.PUSH)
        assert moved[name].touched_number == 2
    assert moved["gone"].is_gone
    again = [replace(row, due_at=300.0) for row in moved.values()]
    assert {row.due_at for row in move(again, {"same": "d", "changed": "e"}).values()} == {300.0}
    back = move(list(moved.values()), {"gone": "d"}, 3)["gone"]
    assert (back.is_gone, back.due_at, back.touched_number) == (False, 100.0, 0)


def test_what_was_in_sync_is_pending_where_a_push_changed_its_inputs():
    """Nobody is told that Git is live while a newer commit is looked at and applied."""
    states = {"same": TargetCondition.IN_SYNC, "new": TargetCondition.IN_SYNC}
    states |= {"held": TargetCondition.HELD, "drifted": TargetCondition.DRIFTED}
    rows = [replace(DONE, name=TargetName("acme", n), state=s) for n, s in states.items()]
    moved = move(rows, {"same": "d", "new": "e", "held": "e", "drifted": "e"})
    found = {name: row.state for name, row in moved.items()}
    assert found == {**states, "new": TargetCondition.PENDING}


def test_new_targets_are_spread():
    """Twelve within twelve seconds, thousands over their interval."""
    few = move([], {f"t{n}": "d" for n in range(12)})
    assert {row.due_at for row in few.values()} == {105.5}
    many = move([], {f"t{n}": "d" for n in range(2000)})
    assert {row.due_at for row in many.values()} == {400.0}
    assert {row.touched_number for row in many.values()} == {2}


def look(outcome: RunOutcome, **counts: int) -> RunResult:
    return RunResult(outcome, ChangeCounts(**counts), result_digest="r", backend_host="host")


def finish(row: TargetRow, result: RunResult, begun: TargetRow | None = None) -> TargetRow:
    begun = begun or row
    observed = assess_look(result, Judgement(), RULE, None, begun.due_cause)
    return target_row_after_run(
        row,
        begun,
        "r1",
        result,
        observed,
        verb=RunVerb.LOOK,
        now=1000.0,
        rule=RULE,
        defaults=DEFAULTS,
        chance=0.5,
    )


def test_a_failure_is_tried_again_and_the_target_stays_undone():
    """It is due by backoff; a good look makes it done and due after its interval."""
    row = TargetRow(PROD, "c1", 1, wanted_digest="d", due_cause=RunCause.PUSH)
    failing = finish(row, look(RunOutcome.PLAN_ERROR))
    assert (failing.failures, failing.due_cause, failing.due_at) == (1, RunCause.RETRY, 1015.0)
    assert (failing.input_digest, failing.looked_number) == ("", 1)
    failing = finish(failing, look(RunOutcome.PLAN_ERROR))
    assert (failing.failures, failing.due_at) == (2, 1030.0)
    good = finish(failing, look(RunOutcome.IN_SYNC))
    assert (good.failures, good.due_cause, good.due_at) == (0, RunCause.INTERVAL, 1600.0)
    assert (good.input_digest, good.applied_commit, good.backend_host) == ("d", "c1", "host")
    changed = finish(good, look(RunOutcome.CHANGES, add=1))
    assert changed.applied_commit == "c1"


def test_a_head_that_came_during_a_look_is_looked_at_next():
    """The look counts for the inputs that it saw, and not for those that are wanted now."""
    looked = TargetRow(PROD, "c1", 1, wanted_digest="d")
    row = replace(
        looked,
        wanted_commit="c2",
        wanted_number=2,
        wanted_digest="e",
        touched_number=2,
        due_at=990.0,
        due_cause=RunCause.PUSH,
    )
    after = finish(row, look(RunOutcome.IN_SYNC), looked)
    assert (after.due_at, after.due_cause, after.input_digest) == (990.0, RunCause.PUSH, "d")
    assert (after.applied_commit, after.looked_number) == ("c1", 1)


def test_a_revert_of_a_broken_commit_is_looked_at_at_once():
    """It has the inputs of the last good look; a backend that fails makes no push count."""
    broken = finish(move([DONE], {"prod": "broken"}, 2)["prod"], look(RunOutcome.PLAN_ERROR))
    mended = move([broken], {"prod": "d"}, 3)["prod"]
    assert (mended.due_at, mended.due_cause) == (100.0, RunCause.PUSH)
    assert (mended.touched_number, mended.input_digest) == (3, "")
    unreachable = finish(DONE, look(RunOutcome.PLAN_ERROR))
    other = move([unreachable], {"prod": "d"}, 2)["prod"]
    assert (other.due_cause, other.touched_number) == (RunCause.RETRY, 0)


def test_a_revert_during_the_look_at_a_broken_commit_is_looked_at_next():
    """When the head came, the target still was as the last good look left it."""
    looked = move([DONE], {"prod": "broken"}, 2)["prod"]
    mended = move([looked], {"prod": "d"}, 3)["prod"]
    for outcome in (RunOutcome.PLAN_ERROR, RunOutcome.CHANGES):
        after = finish(mended, look(outcome), looked)
        assert (after.due_at, after.due_cause) == (1000.0, RunCause.PUSH)


def test_what_was_found_before_is_a_time_in_a_row():
    """The same outcome and content, of the same commit or of the same inputs."""
    cause, outcome = RunCause.INTERVAL, RunOutcome.CHANGES
    last = RunRow("r1", PROD, "c1", cause, 0.0, 1.0, outcome, result_digest="d")
    again = replace(last, id="r2", ended_at=5.0)
    assert is_same_as_last_run(last, again, has_same_inputs=False)
    assert not is_same_as_last_run(None, again, has_same_inputs=True)
    assert not is_same_as_last_run(last, replace(again, commit="c2"), has_same_inputs=False)
    assert is_same_as_last_run(last, replace(again, commit="c2"), has_same_inputs=True)
    assert not is_same_as_last_run(last, replace(again, result_digest="e"), has_same_inputs=True)
    assert not is_same_as_last_run(
        last, replace(again, outcome=RunOutcome.IN_SYNC), has_same_inputs=True
    )


def test_people_are_told_of_changes_and_recovery_alone():
    """A state that stays tells nothing, nor does anything that needs nobody."""
    rows = {state: TargetRow(PROD, state=state) for state in TargetCondition}
    events = {
        (before.name, after.name): told
        for before in rows
        for after in rows
        if (told := list_target_events(rows[before], rows[after]))
    }
    assert not any(before == after for before, after in events)
    assert events["IN_SYNC", "FAILING"] == [Event.FAILED]
    assert events["IN_SYNC", "DRIFTED"] == [Event.DRIFT]
    assert events["PENDING", "REFUSED"] == [Event.HELD]
    assert ("IN_SYNC", "PENDING") not in events
    assert ("DRIFTED", "IN_SYNC") not in events
    assert events["PENDING", "HELD"] == [Event.HELD]
    assert events["PENDING", "UNKNOWN"] == [Event.FAILED]
    assert not any(after == "WAITING" and before == "IN_SYNC" for before, after in events)
    assert ("WAITING", "PAUSED") not in events
    for state in TargetCondition:
        fourth = TargetRow(PROD, state=state, failures=4)
        assert list_target_events(fourth, replace(fourth, failures=5)) == [Event.FAILED]
        assert list_target_events(fourth, fourth) == []


def test_each_failure_is_closed_once_and_nothing_else_is():
    """Whatever the target waits for then; what was held and is approved was no failure."""
    failed = {TargetCondition.FAILING, TargetCondition.UNKNOWN}
    for before in TargetCondition:
        for after in TargetCondition:
            told = list_target_events(TargetRow(PROD, state=before), TargetRow(PROD, state=after))
            is_closed = before in failed and after not in failed
            assert told.count(Event.RECOVERED) == is_closed, (before, after)
            assert Event.RECOVERED not in told[1:]
    # One that never becomes what is declared fails in other words; an apply ends no failure.
    fifth = TargetRow(PROD, state=TargetCondition.PENDING, failures=5)
    in_sync = replace(fifth, state=TargetCondition.IN_SYNC)
    assert list_target_events(fifth, in_sync) == []
    assert list_target_events(in_sync, replace(in_sync, failures=0)) == [Event.RECOVERED]


def due_rows(*names: str, host: str = "") -> list[TargetRow]:
    return [TargetRow(TargetName(*name.split("/")), backend_host=host or name) for name in names]


def test_one_source_leaves_a_worker_to_the_others():
    """Also while no other one has something due: what comes later waits for no timeout of it."""
    due = due_rows("a/1", "a/2", "a/3", "a/4")
    alone = choose_due_targets(due, [], 4, has_many_sources=False)
    assert [row.name.target for row in alone] == ["1", "2", "3", "4"]
    early = choose_due_targets(due, [], 4, has_many_sources=True)
    assert [row.name.target for row in early] == ["1", "2", "3"]
    mixed = [*due, *due_rows("b/1")]

    def choose(running: list[TargetRow], worker_count: int = 4) -> list[str]:
        chosen = choose_due_targets(mixed, running, worker_count, has_many_sources=True)
        return [str(row.name) for row in chosen]

    assert choose([]) == ["a/1", "a/2", "a/3", "b/1"]
    assert choose(due[:3]) == ["b/1"]
    assert choose(due) == []
    assert len(choose([], 1)) == 1


def test_one_host_gets_four_looks_at_once():
    """Those of a host that is not known yet count for none."""
    due = due_rows(*(f"a/{n}" for n in range(9)), host="api.example")
    assert len(choose_due_targets(due, [], 16, has_many_sources=False)) == 4
    assert len(choose_due_targets(due[2:], due[:2], 16, has_many_sources=False)) == 2
    unknown = [replace(row, backend_host="") for row in due]
    assert len(choose_due_targets(unknown, [], 16, has_many_sources=False)) == 9


@given(
    st.lists(st.integers(0, 29), max_size=30, unique=True),
    st.lists(st.integers(0, 29), max_size=4, unique=True),
    st.integers(1, 6),
)
def test_choices_are_never_twice_and_never_too_many(due, running, workers):
    """Whatever is due and running; and something is chosen where anything may be."""
    rows = [TargetRow(TargetName(f"s{n % 3}", f"{n}"), backend_host=f"h{n % 5}") for n in range(30)]
    busy = [rows[n] for n in running]
    chosen = choose_due_targets([rows[n] for n in due], busy, workers, has_many_sources=True)
    assert len({row.name for row in [*busy, *chosen]}) == len(busy) + len(chosen)
    assert not chosen or len(busy) + len(chosen) <= workers
    if due and not busy:
        assert chosen


@given(st.lists(st.floats(0, 4e9), max_size=30), st.binary(min_size=10, max_size=10))
def test_run_ids_only_grow(times, randomness):
    """In the same millisecond, after the clock was set back, and after a restart."""
    source = RunIdSource()
    ids = [source.make_id(now, randomness) for now in times]
    assert ids == sorted(set(ids))
    newest = ids[-1] if ids else ""
    after_restart = RunIdSource()
    after_restart.begin_after(newest)
    assert after_restart.make_id(0.0, randomness) > newest
    assert all(run_id[14] == "7" for run_id in ids)


@pytest.mark.parametrize("progress", list(TargetProgress))
def test_a_head_touches_what_is_not_done_with_the_same_inputs(progress):
    """What is held is told again, and nothing is looked at sooner; an old failure says nothing."""
    row = replace(DONE, progress=progress)
    moved = move([row], {"prod": "d"}, 2)["prod"]
    assert moved.touched_number == (0 if progress is TargetProgress.DONE else 2)
    assert moved.due_at == 500.0
    is_failing = progress is TargetProgress.FAILING
    assert moved.progress is (TargetProgress.OPEN if is_failing else progress)
    assert move([moved], {"prod": "d"}, 2)["prod"] == moved
    assert move([row], {"prod": "e"}, 2)["prod"].progress is TargetProgress.OPEN
