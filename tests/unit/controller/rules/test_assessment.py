"""What a look and an apply make of a target: state word, progress, and when it is looked at next."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws.effort import effort

from synapse_apply.controller.planned_rows import ApplyTerms, PlannedRow, RowAction, RowCause
from synapse_apply.controller.ports import RunResult
from synapse_apply.controller.rows import (
    CallCounts,
    ChangeCounts,
    RunCause,
    RunOutcome,
    RunVerb,
    TargetCondition,
    TargetName,
    TargetProgress,
    TargetRow,
)
from synapse_apply.controller.rules.access import build_apply_terms
from synapse_apply.controller.rules.assessment import Assessment, assess_apply, assess_look
from synapse_apply.controller.rules.judging import judge_rows
from synapse_apply.controller.rules.permits import ApplyBlock
from synapse_apply.controller.rules.revisions import format_held_rows
from synapse_apply.controller.rules.targets import target_row_after_run
from synapse_apply.controller.settings import AutoRule, Defaults, Mode, TargetRule
from synapse_apply.model.diagnostic import warning_finding
from synapse_apply.model.plan import UNTOLD_PACKAGE_SUMMARY

AUTO = TargetRule("*", Mode.AUTO)
GIT_ONLY = TargetRule("*", Mode.AUTO, auto=AutoRule(causes=frozenset({RowCause.GIT})))
APPROVE = TargetRule("*", Mode.APPROVE)
OBSERVE = TargetRule("*", Mode.OBSERVE)
WINDOW = ApplyBlock(TargetCondition.WAITING, 5000.0, "outside its windows until Mon")
PAUSE = ApplyBlock(TargetCondition.PAUSED, None, "paused by proxy:ann")
NOW = 1000.0
GIT = PlannedRow("row1:git", "plugin.git", RowAction.UPDATE, (RowCause.GIT,))
DRIFT = PlannedRow("row1:drift", "plugin.drift", RowAction.UPDATE, (RowCause.DRIFT,))
SECRET = PlannedRow("row1:secret", "plugin.secret", RowAction.UPDATE, (RowCause.SECRET,))
REFUSED = replace(GIT, address="plugin.no", digest="row1:no", refusal="immutable")
DRIFT_REFUSED = replace(DRIFT, digest="row1:d", address="plugin.lost", refusal="foreign")
UNKNOWN = replace(DRIFT_REFUSED, is_outcome_unknown=True)
WAITING = replace(REFUSED, is_waiting=True, refusal_reason="not verified on staging yet")
SETTLING = replace(UNKNOWN, is_waiting=True, address="plugin.young", digest="row1:y")
GUARD = PlannedRow("row1:guard", "adopt", RowAction.GUARD)


def make_result(*rows: PlannedRow, outcome: RunOutcome = RunOutcome.CHANGES) -> RunResult:
    drifted = sum(RowCause.DRIFT in row.causes for row in rows)
    counts = ChangeCounts(
        change=len(rows),
        refused=sum(bool(row.refusal) for row in rows),
        drifted=drifted,
        guards=sum(row.action is RowAction.GUARD for row in rows),
    )
    return RunResult(outcome, counts, rows=rows)


def look(
    rule: TargetRule,
    *rows: PlannedRow,
    block: ApplyBlock | None = None,
    cause: RunCause = RunCause.PUSH,
    outcome: RunOutcome = RunOutcome.CHANGES,
) -> Assessment:
    result = make_result(*rows, outcome=outcome)
    judgement = judge_rows(result.rows, build_apply_terms(rule, (), now=NOW, access=None))
    return assess_look(result, judgement, rule, block, cause)


C, P = TargetCondition, TargetProgress


@pytest.mark.parametrize(
    ("rule", "rows", "block", "condition", "progress"),
    [
        (AUTO, [GIT], None, C.PENDING, P.OPEN),
        (AUTO, [DRIFT], None, C.DRIFTED, P.DONE),
        (AUTO, [GIT], WINDOW, C.WAITING, P.WAITING),
        (AUTO, [GIT], PAUSE, C.PAUSED, P.WAITING),
        (AUTO, [DRIFT], PAUSE, C.PAUSED, P.DONE),
        (AUTO, [GIT, REFUSED], WINDOW, C.REFUSED, P.REFUSED),
        (AUTO, [GIT, DRIFT_REFUSED], None, C.REFUSED, P.OPEN),
        (AUTO, [DRIFT_REFUSED], None, C.REFUSED, P.DONE),
        (AUTO, [UNKNOWN, REFUSED], None, C.UNKNOWN, P.REFUSED),
        (AUTO, [WAITING], None, C.WAITING, P.WAITING),
        (AUTO, [SETTLING], None, C.WAITING, P.WAITING),
        (AUTO, [SETTLING, UNKNOWN], None, C.UNKNOWN, P.REFUSED),
        (OBSERVE, [SETTLING], None, C.WAITING, P.DONE),
        (AUTO, [GIT, WAITING], None, C.WAITING, P.WAITING),
        (AUTO, [GIT, GUARD], None, C.HELD, P.HELD),
        (AUTO, [DRIFT, GUARD], None, C.HELD, P.DONE),
        (AUTO, [GUARD], None, C.HELD, P.HELD),
        (GIT_ONLY, [DRIFT], None, C.DRIFTED, P.DONE),
        (GIT_ONLY, [DRIFT, GIT], None, C.DRIFTED, P.OPEN),
        (GIT_ONLY, [DRIFT, GIT], WINDOW, C.WAITING, P.WAITING),
        (GIT_ONLY, [DRIFT], WINDOW, C.DRIFTED, P.DONE),
        (GIT_ONLY, [SECRET], None, C.HELD, P.HELD),
        (GIT_ONLY, [replace(GIT, causes=(RowCause.GIT, RowCause.DRIFT))], None, C.HELD, P.HELD),
        (GIT_ONLY, [replace(GIT, needs=("plugin.drift",)), DRIFT], None, C.HELD, P.HELD),
        (APPROVE, [GIT], None, C.HELD, P.HELD),
        (APPROVE, [GIT], PAUSE, C.HELD, P.HELD),
        (APPROVE, [DRIFT], None, C.HELD, P.DONE),
        (APPROVE, [GIT, GUARD], None, C.HELD, P.HELD),
        (OBSERVE, [GIT], PAUSE, C.PENDING, P.DONE),
        (OBSERVE, [GIT, DRIFT], None, C.DRIFTED, P.DONE),
        (OBSERVE, [GIT, REFUSED], None, C.REFUSED, P.REFUSED),
        (OBSERVE, [GIT, GUARD], None, C.REFUSED, P.DONE),
        (OBSERVE, [WAITING], None, C.WAITING, P.DONE),
    ],
)
def test_state_word_and_progress(rule, rows, block, condition, progress):
    """The word of what needs attention most; the progress of what Git asks for alone."""
    found = look(rule, *rows, block=block)
    assert (found.condition, found.progress) == (condition, progress)


@pytest.mark.parametrize("rule", [AUTO, APPROVE, OBSERVE])
def test_plans_without_rows_and_failures(rule):
    """In sync is done, and a failure is one, in every mode and whatever holds."""
    in_sync = look(rule, outcome=RunOutcome.IN_SYNC, block=PAUSE)
    assert (in_sync.condition, in_sync.progress) == (C.IN_SYNC, P.DONE)
    for outcome in (RunOutcome.PLAN_ERROR, RunOutcome.TIMEOUT, RunOutcome.WORKER_LOST):
        failing = look(rule, GIT, outcome=outcome)
        assert (failing.condition, failing.progress) == (C.FAILING, P.FAILING)
        assert not failing.is_apply_next


@pytest.mark.parametrize("rule", [AUTO, OBSERVE])
def test_a_release_that_somebody_else_may_have_published_is_not_in_sync(rule):
    """A person has to say whose it is, also where nothing is to be done."""
    doubt = warning_finding(UNTOLD_PACKAGE_SUMMARY, "...", address="release/a@1.0.0")
    result = replace(make_result(outcome=RunOutcome.IN_SYNC), findings=(doubt,))
    judgement = judge_rows((), build_apply_terms(rule, (), now=NOW, access=None))
    found = assess_look(result, judgement, rule, None, RunCause.PUSH)
    assert found.condition is TargetCondition.UNKNOWN
    assert found.progress is TargetProgress.WAITING
    assert found.waiting_reason == "release/a@1.0.0: it is unknown whose package is published"
    assert not found.is_apply_next


@pytest.mark.parametrize(
    ("rule", "block", "cause"),
    [*product((AUTO, GIT_ONLY, APPROVE, OBSERVE), (None, WINDOW, PAUSE), RunCause)],
)
def test_when_an_apply_comes_next(rule, block, cause):
    """Only for what is permitted, while nothing keeps it, and not at once after an apply."""
    found = look(rule, GIT, block=block, cause=cause)
    is_permitted = rule in {AUTO, GIT_ONLY} and block is None
    assert found.is_apply_next == (is_permitted and cause is not RunCause.APPLIED)
    assert found.is_unsettled == (is_permitted and cause is RunCause.APPLIED)
    assert not look(rule, REFUSED, block=block, cause=cause).is_apply_next


def test_what_the_state_lacks_is_written_without_a_change():
    """A moved address is no row: it is applied all the same, but in mode observe."""
    result = replace(make_result(), is_state_behind=True)
    judgement = judge_rows((), ApplyTerms())
    for rule, is_next in ((AUTO, True), (APPROVE, True), (OBSERVE, False)):
        assert assess_look(result, judgement, rule, None, RunCause.PUSH).is_apply_next == is_next
    blocked = assess_look(result, judgement, AUTO, WINDOW, RunCause.PUSH)
    assert (blocked.is_apply_next, blocked.condition) == (False, C.WAITING)


def test_approved_drift_that_a_guard_stops_is_held():
    """Somebody has decided that it is to be done: it is not left alone any more."""
    terms = replace(
        build_apply_terms(GIT_ONLY, (), now=NOW, access=None), approvals={DRIFT.digest: ("a1",)}
    )
    result = make_result(DRIFT, GUARD)
    found = assess_look(result, judge_rows(result.rows, terms), GIT_ONLY, None, RunCause.APPROVED)
    assert found.condition is C.HELD


def test_why_something_waits():
    """The pause or the window, else what the row waits for; nothing for what does not."""
    assert look(AUTO, GIT, block=WINDOW).waiting_reason == WINDOW.phrase
    assert look(AUTO, GIT, block=WINDOW).resumes_at == 5000.0
    assert look(APPROVE, GIT, block=WINDOW).waiting_reason == ""
    assert look(AUTO, WAITING).waiting_reason == "plugin.no: not verified on staging yet"
    frozen = look(AUTO, GIT, replace(GUARD, is_waiting=True, summary="Changes are frozen"))
    assert (frozen.condition, frozen.progress) == (C.WAITING, P.WAITING)
    assert frozen.waiting_reason == "Changes are frozen"
    assert look(APPROVE, GIT, DRIFT).hold_count == 2
    assert look(OBSERVE, GIT, DRIFT).hold_count == 0


def test_why_something_is_refused():
    """The first row says it, beside what is waited for; a guard where nobody is asked about it."""
    refused = replace(REFUSED, refusal_reason="published bytes never change")
    said = "plugin.no: published bytes never change"
    assert look(AUTO, GIT, refused).waiting_reason == said
    assert look(OBSERVE, refused).waiting_reason == said
    assert look(AUTO, GIT, refused, block=WINDOW).waiting_reason == f"{WINDOW.phrase}; {said}"
    guard = replace(GUARD, summary="Too many objects are missing")
    assert look(OBSERVE, GIT, guard).waiting_reason == guard.summary
    assert look(AUTO, GIT, guard).waiting_reason == ""


def test_what_needs_a_person_says_that_it_is_paused_too():
    """A pause, which people forget; not a window, which is no matter where nobody has approved."""
    until = replace(PAUSE, until=1200.0)
    for shown in (
        look(APPROVE, GIT, block=until),
        look(AUTO, REFUSED, block=until),
        look(AUTO, UNKNOWN, block=until),
        look(AUTO, outcome=RunOutcome.PLAN_ERROR, block=until),
    ):
        assert shown.condition not in {C.PAUSED, C.WAITING}
        assert shown.waiting_reason.startswith(PAUSE.phrase)
        assert shown.resumes_at == 1200.0
    assert look(OBSERVE, GIT, block=until).waiting_reason == ""
    assert look(AUTO, outcome=RunOutcome.IN_SYNC, block=until).waiting_reason == ""
    held = finish_look(ROW, APPROVE, GIT, block=until)
    assert (held.state, held.due_at, held.due_cause) == (C.HELD, 1200.0, RunCause.RESUMED)


def test_guards_are_counted_apart_from_rows():
    held = finish_look(ROW, APPROVE, GIT, GUARD)
    assert (held.hold_count, held.held_guard_count) == (2, 1)
    assert format_held_rows(2, 1) == "1 row and 1 guard"
    assert format_held_rows(1, 1) == "1 guard"
    assert format_held_rows(3, 0) == "3 rows"


ROW = TargetRow(
    TargetName("acme", "prod"), "c1", 1, wanted_digest="d", due_at=900.0, due_cause=RunCause.PUSH
)


def finish_look(row: TargetRow, rule: TargetRule, *rows: PlannedRow, **values: object) -> TargetRow:
    result = make_result(*rows, outcome=RunOutcome.CHANGES if rows else RunOutcome.IN_SYNC)
    judgement = judge_rows(rows, build_apply_terms(rule, (), now=NOW, access=None))
    block = values.get("block")
    assert block is None or isinstance(block, ApplyBlock)
    found = assess_look(result, judgement, rule, block, row.due_cause)
    return finish(row, result, found, RunVerb.LOOK, rule)


def finish_apply(
    row: TargetRow,
    outcome: RunOutcome,
    *rows: PlannedRow,
    block: ApplyBlock | None = None,
    calls: CallCounts | None = None,
) -> TargetRow:
    result = replace(make_result(*rows, outcome=outcome), calls=calls or CallCounts())
    judgement = judge_rows(rows, build_apply_terms(AUTO, (), now=NOW, access=None))
    return finish(row, result, assess_apply(result, judgement, AUTO, block), RunVerb.APPLY, AUTO)


def finish(
    row: TargetRow, result: RunResult, found: Assessment, verb: RunVerb, rule: TargetRule
) -> TargetRow:
    return target_row_after_run(
        row,
        row,
        "r1",
        result,
        found,
        verb=verb,
        now=NOW,
        rule=rule,
        defaults=Defaults(jitter=0.0),
        chance=0.5,
    )


def test_an_apply_between_two_looks():
    """It stays due until it was applied; the look after it says that it is live."""
    looked = finish_look(ROW, AUTO, GIT)
    assert (looked.due_at, looked.due_cause) == (900.0, RunCause.PUSH)
    applied = finish_apply(looked, RunOutcome.APPLIED, GIT, calls=CallCounts(done=1))
    assert (applied.due_at, applied.due_cause) == (NOW, RunCause.APPLIED)
    assert (applied.applied_at, applied.applied_commit) == (NOW, "")
    assert applied.progress is P.OPEN
    live = finish_look(applied, AUTO)
    assert (live.state, live.progress, live.applied_commit) == (C.IN_SYNC, P.DONE, "c1")
    assert (live.due_at, live.due_cause) == (NOW + 600, RunCause.INTERVAL)


def test_held_drift_keeps_no_commit_from_being_applied():
    """All that Git asks for is live; in mode observe nobody knows whether it ever was."""
    assert finish_look(ROW, GIT_ONLY, DRIFT).applied_commit == "c1"
    assert finish_look(ROW, GIT_ONLY, DRIFT, GIT).applied_commit == ""
    assert finish_look(ROW, OBSERVE, DRIFT).applied_commit == ""


def test_an_apply_that_fails_is_tried_again_later_each_time():
    """The looks between are good, and do not begin the backoff anew."""
    row, delays = ROW, []
    for _ in range(4):
        row = finish_look(row, AUTO, GIT)
        row = finish_apply(row, RunOutcome.APPLY_FAILED, GIT, calls=CallCounts(failed=1))
        assert (row.state, row.progress, row.due_cause) == (C.FAILING, P.FAILING, RunCause.RETRY)
        delays.append(row.due_at - NOW)
        row = finish_look(row, AUTO, GIT)
        # Nobody is told of a recovery that is none, and the commit stays red.
        assert (row.state, row.progress) == (C.FAILING, P.FAILING)
    assert delays == [15.0, 30.0, 60.0, 120.0]
    row = finish_look(finish_apply(row, RunOutcome.APPLIED, GIT), AUTO)
    assert (row.failures, row.state, row.progress) == (0, C.IN_SYNC, P.DONE)


def test_what_a_pause_left_of_an_apply_is_looked_at():
    """Else its page would show the plan of before, of which a part is done."""
    begun = finish_look(ROW, AUTO, GIT)
    calls = CallCounts(done=1, skipped=1)
    stopped = finish_apply(begun, RunOutcome.APPLY_STOPPED, GIT, block=PAUSE, calls=calls)
    assert (stopped.state, stopped.due_at, stopped.due_cause) == (C.PAUSED, NOW, RunCause.APPLIED)
    looked = finish_look(stopped, AUTO, GIT, block=PAUSE)
    assert (looked.state, looked.due_at, looked.failures) == (C.PAUSED, NOW + 600, 0)
    skipped = CallCounts(skipped=2)
    untouched = finish_apply(begun, RunOutcome.APPLY_STOPPED, GIT, block=PAUSE, calls=skipped)
    assert (untouched.state, untouched.due_at) == (C.PAUSED, NOW + 600)


def test_what_never_becomes_as_declared_is_not_applied_without_end():
    """Each further apply of it comes later."""
    row, delays = ROW, []
    for _ in range(3):
        row = finish_apply(finish_look(row, AUTO, DRIFT), RunOutcome.APPLIED, DRIFT)
        row = finish_look(row, AUTO, DRIFT)
        assert row.due_cause is RunCause.RETRY
        delays.append(row.due_at - NOW)
    assert delays == [15.0, 30.0, 60.0]


def test_what_waits_is_looked_at_when_it_goes_on():
    """At the opening of the window where that is sooner than the interval."""
    soon = replace(WINDOW, until=1200.0)
    waiting = finish_look(ROW, AUTO, GIT, block=soon)
    assert (waiting.due_at, waiting.due_cause) == (1200.0, RunCause.RESUMED)
    assert waiting.waiting_reason == WINDOW.phrase
    late = finish_look(ROW, AUTO, GIT, block=WINDOW)
    assert (late.due_at, late.due_cause) == (1600.0, RunCause.INTERVAL)
    held = finish_look(ROW, APPROVE, GIT, block=soon)
    assert (held.due_at, held.mode, held.hold_count) == (1600.0, Mode.APPROVE, 1)


def test_an_open_call_that_is_too_young_is_looked_at_soon():
    """It is known within a minute whether the server acted on it, and nobody is told before."""
    settling = finish_look(ROW, AUTO, SETTLING)
    assert (settling.due_at, settling.due_cause) == (NOW + 30, RunCause.RETRY)
    assert (settling.state, settling.failures) == (C.WAITING, 0)
    assert finish_look(ROW, AUTO, WAITING).due_at == NOW + 600


def test_an_apply_that_was_stopped():
    """It waits for the end of what stopped it; else it is looked at again by backoff."""
    soon = replace(WINDOW, until=1200.0)
    stopped = finish_apply(ROW, RunOutcome.APPLY_STOPPED, GIT, block=soon)
    assert (stopped.state, stopped.progress) == (C.WAITING, P.WAITING)
    assert (stopped.due_at, stopped.due_cause) == (1200.0, RunCause.RESUMED)
    other = finish_apply(ROW, RunOutcome.APPLY_STOPPED, GIT)
    assert (other.progress, other.due_at, other.failures) == (P.OPEN, NOW + 15, 1)
    forever = finish_apply(ROW, RunOutcome.APPLY_STOPPED, GIT, block=PAUSE)
    assert (forever.state, forever.due_at, forever.failures) == (C.PAUSED, NOW + 600, 0)


def test_a_later_failure_undoes_no_revision():
    """Drift that cannot be put right, or a backend that is away, is no matter of the commit."""
    done = finish_look(ROW, AUTO)
    failing = finish_apply(finish_look(done, AUTO, DRIFT), RunOutcome.APPLY_FAILED, DRIFT)
    assert (failing.state, failing.progress) == (C.FAILING, P.DONE)
    held = finish_look(ROW, APPROVE, GIT)
    result = RunResult(RunOutcome.PLAN_ERROR)
    found = assess_look(result, judge_rows((), ApplyTerms()), APPROVE, None, RunCause.INTERVAL)
    assert finish(held, result, found, RunVerb.LOOK, APPROVE).progress is P.FAILING


LOOKS = st.sampled_from(
    [RunOutcome.CHANGES, RunOutcome.CHANGES, RunOutcome.PLAN_ERROR, RunOutcome.TIMEOUT]
)
APPLIES = st.sampled_from(
    [
        *(RunOutcome.APPLIED, RunOutcome.APPLY_FAILED, RunOutcome.APPLY_STOPPED),
        *(RunOutcome.CHANGES, RunOutcome.WORKER_LOST, RunOutcome.PLAN_ERROR),
    ]
)


@effort(12, 500)
@given(st.data())
def test_no_run_of_bad_luck_applies_without_end(data):
    """A target that never becomes as declared is applied ever less, whatever applies end with."""
    now, row, applied_at = NOW, ROW, list[float]()
    while now < NOW + 3600:
        look_outcome = data.draw(LOOKS)
        result = make_result(*([GIT] if look_outcome is RunOutcome.CHANGES else []))
        result = replace(result, outcome=look_outcome)
        judgement = judge_rows(result.rows, build_apply_terms(AUTO, (), now=now, access=None))
        found, verb = assess_look(result, judgement, AUTO, None, row.due_cause), RunVerb.LOOK
        if found.is_apply_next:
            applied_at.append(now)
            result = make_result(GIT, outcome=data.draw(APPLIES))
            found, verb = assess_apply(result, judgement, AUTO, None), RunVerb.APPLY
        row = target_row_after_run(
            row,
            row,
            "r1",
            result,
            found,
            verb=verb,
            now=now,
            rule=AUTO,
            defaults=Defaults(),
            chance=data.draw(st.sampled_from([0.0, 0.5, 0.999])),
        )
        assert now <= row.due_at <= now + 3600
        assert row.due_at > now or row.due_cause is RunCause.APPLIED
        now = max(row.due_at, now + 0.1)
    # At the shortest chances of all: 1.5 s, 3 s, 6 s, up to 180 s.
    assert len(applied_at) <= 35
