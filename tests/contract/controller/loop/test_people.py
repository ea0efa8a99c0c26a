"""What people ask of a running loop: what it does, what it refuses, and what the audit has of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace

import pytest
from contract.controller.loop.stand_ins import FAILURE, IN_SYNC, World, plan_of, row

from synapse_apply.controller.loop.driver import ControllerLoop
from synapse_apply.controller.loop.following import fetch_source
from synapse_apply.controller.planned_rows import PlannedRow, RowAction, RowCause
from synapse_apply.controller.ports import ActionRefused, Permit, RunResult, SourceUnavailable
from synapse_apply.controller.rows import (
    CallCounts,
    RunCause,
    RunOutcome,
    RunVerb,
    TargetCondition,
    TargetName,
)
from synapse_apply.controller.settings import (
    DAY,
    ApprovalRule,
    AutoRule,
    FixedPause,
    Mode,
    TargetRule,
)
from synapse_apply.controller.store.store_writer import find_first_broken_audit_row
from synapse_apply.controller.worker.exchange import Order
from synapse_apply.model.diagnostic import error_finding

PROD = TargetName("acme", "prod")
APPROVE = TargetRule("*", mode=Mode.APPROVE)
AUTO = TargetRule("*", mode=Mode.AUTO)
FIRST, SECOND = row("plugin/a"), row("plugin/b")
ANN, BOB = "proxy:ann", "token:bob"


@pytest.fixture
def loop(world: World) -> ControllerLoop:
    """A loop in mode approve, whose target prod has two rows that wait."""
    world.set_rules(APPROVE)
    world.workers.results["acme/prod"] = plan_of(FIRST, SECOND)
    return world.begin()


def list_actions(world: World) -> list[str]:
    """What the audit has of people, oldest first."""
    rows = [audit for audit in world.store.iter_audit() if not audit.who.startswith("contr")]
    assert find_first_broken_audit_row(world.store.iter_audit()) is None
    return [f"{audit.who} {audit.action} {audit.subject}" for audit in rows]


def test_an_approval_ends_when_the_row_differs_or_after_a_week(world, loop):
    """What is live by then was not approved."""
    world.approve(ANN, FIRST)
    world.workers.results["acme/prod"] = plan_of(replace(FIRST, digest="row1:other"))
    world.settle(loop)
    assert world.workers.applies == []
    (hold,) = world.store.list_holds(PROD)
    assert hold.row_digest == "row1:other"
    world.workers.results["acme/prod"] = plan_of(FIRST)
    world.settle(loop, after=7 * DAY + 1)
    assert world.workers.applies == []


def test_an_approval_that_comes_while_the_target_is_looked_at_is_the_cause(world, loop):
    """Of the apply; of the look after it, the apply."""

    def approve_meanwhile(_request: Order) -> RunResult:
        world.workers.results["acme/prod"] = plan_of(FIRST)
        world.approve(ANN, FIRST)
        return plan_of(FIRST)

    world.workers.results["acme/prod"] = approve_meanwhile
    world.settle(loop, after=800)
    runs = world.store.newest_runs(PROD, 2)
    assert [(run.verb, run.cause) for run in runs] == [
        (RunVerb.LOOK, RunCause.APPLIED),
        (RunVerb.APPLY, RunCause.APPROVED),
    ]


@pytest.mark.parametrize("is_restarted", [True, False])
@pytest.mark.parametrize("ahead", [6.9 * DAY, 30 * DAY])
@pytest.mark.parametrize("days", [6.5, 7.5])
def test_an_approval_by_a_clock_that_was_ahead_is_given_when_that_is_put_right(
    world, loop, ahead, days, is_restarted
):
    """It lasts seven days from then on, however far ahead the clock was."""
    world.clock.wall += ahead
    world.settle(loop)
    world.pause(BOB, "acme/prod", "release", 60 * DAY)
    world.approve(ANN, FIRST)
    world.settle(loop)
    world.clock.wall -= ahead
    if is_restarted:
        loop = world.begin()
    world.settle(loop)
    (approval,) = world.store.list_approvals(PROD)
    assert world.clock.wall - 60 <= approval.approved_at <= world.clock.wall
    world.settle(loop, after=days * DAY)
    world.resume(BOB, "acme/prod")
    world.settle(loop, after=60)
    assert len(world.workers.applies) == (days < 7)


OTHER = replace(FIRST, digest="row1:other")
REFUSED = replace(FIRST, refusal="policy", refusal_reason="not now")
WAITING = replace(REFUSED, is_waiting=True)
UNKNOWN = replace(FIRST, refusal="open call", is_outcome_unknown=True)


def describe_ended_approvals(world: World) -> list[str]:
    """What the audit has of approvals that ended with their row, oldest first."""
    rows = list(world.store.iter_audit())
    assert find_first_broken_audit_row(rows) is None
    return [
        f"{row.who} {row.subject}: {row.detail}" for row in rows if row.action == "end approval"
    ]


def approve_during_pause(world: World, loop: ControllerLoop) -> None:
    """Have the first row approved, so that its approval stays unused."""
    world.pause(BOB, "acme/prod", "release", 3 * DAY)
    world.approve(ANN, FIRST)
    world.settle(loop)
    assert world.workers.applies == []
    assert len(world.store.list_approvals(PROD)) == 1


@pytest.mark.parametrize("rows", [(), (SECOND,), (OTHER, SECOND)], ids=["all", "one", "other"])
def test_an_approval_ends_with_its_row(world, loop, rows):
    """A commit is reverted while its approval is unused; whoever pushes it again has to ask."""
    approve_during_pause(world, loop)
    for commit, plan in (("c2", plan_of(*rows)), ("c3", plan_of(FIRST, SECOND))):
        world.workers.results["acme/prod"] = plan
        world.repository.push(commit, prod=f"p of {commit}")
        world.settle(loop, after=700)
    assert world.get_target("prod").looked_number == 3
    world.resume(BOB, "acme/prod")
    world.settle(loop)
    assert world.workers.applies == []
    assert [hold.held_row.row for hold in world.store.list_holds(PROD)] == [FIRST, SECOND]
    assert world.store.list_approvals(PROD) == []
    (ended,) = describe_ended_approvals(world)
    assert ended == (
        "controller:main acme/prod: gone: update plugin/a (row1:plugin/a:update); "
        "approved by proxy:ann"
    )
    world.approve(ANN, FIRST)
    world.settle(loop)
    assert [run.terms.approvals.keys() for run in world.workers.applies] == [{FIRST.digest}]


@pytest.mark.parametrize(
    "result",
    [
        FAILURE,
        replace(FAILURE, rows=(SECOND,)),
        RunResult(RunOutcome.TIMEOUT),
        RunResult(RunOutcome.WORKER_LOST),
        replace(IN_SYNC, held_up_by_run="a laptop"),
        plan_of(REFUSED),
        plan_of(WAITING, SECOND),
        plan_of(UNKNOWN, SECOND),
        plan_of(FIRST, row("recreate", RowAction.GUARD)),
    ],
    ids=["broken", "in part", "late", "lost", "beside", "refused", "waits", "unknown", "guarded"],
)
def test_an_approval_outlives_looks_that_do_not_tell(world, loop, result):
    """Of a plan that failed nobody knows its rows, and what cannot be done now is a row, too."""
    approve_during_pause(world, loop)
    world.workers.results["acme/prod"] = result
    looks = len(world.workers.looks)
    for _ in range(3):
        world.settle(loop, after=700)
    assert len(world.workers.looks) > looks
    world.workers.results["acme/prod"] = plan_of(FIRST, SECOND)
    world.resume(BOB, "acme/prod")
    world.settle(loop, after=7200)
    assert describe_ended_approvals(world) == []
    assert [hold.held_row.row for hold in world.store.list_holds(PROD)] == [SECOND]
    assert len(world.workers.applies) == 1


def test_the_first_of_two_approvals_ends_with_its_row(world):
    """The second comes when the row is there again: it is the first then."""
    world.set_rules(replace(APPROVE, approvals=2))
    world.workers.results["acme/prod"] = plan_of(FIRST)
    loop = world.begin()
    world.approve(ANN, FIRST)
    for plan in (IN_SYNC, plan_of(FIRST)):
        world.workers.results["acme/prod"] = plan
        world.settle(loop, after=700)
    world.approve(BOB, FIRST)
    world.settle(loop)
    assert world.workers.applies == []
    world.approve(ANN, FIRST)
    world.settle(loop)
    (request,) = world.workers.applies
    assert request.who == "controller:main, approved by proxy:ann, token:bob"


def test_a_row_is_released_by_the_people_of_its_entry(world):
    """By nobody else, and by no person twice, whatever right they have."""
    published = replace(row("release/a@1"), is_irreversible=True)
    entry = ApprovalRule(irreversible=True, who=(ANN, "proxy:p1", BOB, "proxy:bob"), count=2)
    world.set_rules(replace(APPROVE, approval_lists=((entry, ApprovalRule()),)))
    world.workers.results["acme/prod"] = plan_of(FIRST, published)
    loop = world.begin()
    for rows in ([published], [FIRST, published]):
        with pytest.raises(ActionRefused, match="You cannot approve this row"):
            world.approve("proxy:eve", *rows)
    assert world.store.list_approvals(PROD) == []
    for who in (BOB, "proxy:bob"):
        world.approve(who, published)
        world.settle(loop)
    assert world.workers.applies == []
    world.approve("proxy:eve", FIRST)
    world.settle(loop)
    assert [run.terms.approvals.keys() for run in world.workers.applies] == [{FIRST.digest}]
    world.approve(ANN, published)
    world.settle(loop)
    assert published.digest in world.workers.applies[-1].terms.approvals


@pytest.mark.parametrize("is_told", [True, False], ids=["all rows", "no rows"])
def test_an_apply_ends_approvals_of_rows_that_its_plan_has_no_more(world, loop, is_told):
    """One that began nothing tells no rows, and ends none; what it has used stands as used."""
    third = row("plugin/c")
    approve_during_pause(world, loop)
    world.approve(ANN, SECOND)

    def apply(request: Order, _permit: Callable[[], Permit]) -> RunResult:
        used = request.terms.approvals[SECOND.digest]
        world.workers.results["acme/prod"] = FAILURE
        if not is_told:
            return RunResult(RunOutcome.APPLY_STOPPED, stop_reason="the controller is stopping")
        calls, rows = CallCounts(done=1), (SECOND, third)
        return RunResult(RunOutcome.APPLIED, rows=rows, calls=calls, used_approvals=used)

    world.workers.applied["acme/prod"] = apply
    world.resume(BOB, "acme/prod")
    world.settle(loop)
    assert len(world.workers.applies) == 1
    unused = {
        approval.row_digest: not approval.used_at for approval in world.store.list_approvals(PROD)
    }
    kept = {FIRST.digest: True, SECOND.digest: True}
    assert unused == ({SECOND.digest: False} if is_told else kept)
    assert len(describe_ended_approvals(world)) == is_told


def test_an_approval_that_the_state_knows_as_used_is_tried_once(world, loop):
    """A store that was restored does not know; the target's own state does."""
    world.approve(ANN, FIRST)
    (approval,) = world.store.list_approvals(PROD)
    world.workers.applied["acme/prod"] = RunResult(
        RunOutcome.APPLY_FAILED,
        rows=(FIRST, SECOND),
        calls=CallCounts(failed=1),
        used_approvals=(approval.id,),
    )
    world.settle(loop)
    for _ in range(3):
        world.settle(loop, after=3700)
    assert len(world.workers.applies) == 1
    assert world.get_target("prod").state is TargetCondition.HELD


@pytest.mark.parametrize(
    ("rule", "who", "digests", "reason"),
    [
        (APPROVE, ANN, ["row1:unknown"], "The rows have changed"),
        (APPROVE, ANN, [], "No row was selected"),
        (TargetRule("*"), ANN, [FIRST.digest], "in mode observe"),
        (replace(APPROVE, not_author=True), "proxy:kim", [FIRST.digest], "author cannot approve"),
    ],
)
def test_what_cannot_be_approved(world, rule, who, digests, reason):
    """All or none: no approval is written, and no act is in the audit."""
    world.set_rules(rule)
    world.workers.results["acme/prod"] = plan_of(FIRST, SECOND)
    loop = world.begin()
    with pytest.raises(ActionRefused, match=reason) as caught:
        loop.get_people_actions().approve_rows_or_refuse(
            who, PROD, [SECOND.digest, *digests] if digests else []
        )
    assert caught.value.diagnostics[0].hint
    assert world.store.list_approvals(PROD) == []
    assert list_actions(world) == []


def test_a_guard_stops_all_until_it_is_approved_by_name(world):
    """The rows that it stops cannot be approved in its place; a policy's guard by nobody."""
    guard = row("recreate", RowAction.GUARD)
    policy = row("policy:freeze", RowAction.GUARD)
    world.set_rules(AUTO)
    world.workers.results["acme/prod"] = plan_of(FIRST, guard)
    loop = world.begin()
    assert world.workers.applies == []
    with pytest.raises(ActionRefused, match="You cannot approve this row"):
        world.approve(ANN, FIRST)
    world.approve(ANN, guard)
    world.settle(loop)
    assert len(world.workers.applies) == 1
    world.workers.results["acme/prod"] = plan_of(FIRST, policy)
    world.settle(loop, after=700)
    with pytest.raises(ActionRefused, match="You cannot approve this row") as caught:
        world.approve(ANN, policy)
    assert "nobody" in caught.value.diagnostics[0].hint


def test_where_authors_are_unknown_no_approval_counts(world):
    """A mirror that does not tell neither lets anybody approve nor an older approval count."""
    world.set_rules(replace(APPROVE, not_author=True))
    world.workers.results["acme/prod"] = plan_of(FIRST)
    loop = world.begin()
    world.repository.are_authors_unknown = True
    with pytest.raises(ActionRefused, match="cannot read the authors"):
        world.approve(ANN, FIRST)
    assert loop.next_authors(PROD) is None
    world.repository.are_authors_unknown = False
    world.approve(ANN, FIRST)
    assert loop.next_authors(PROD) == ("Kim", "kim@acme.example")
    # Before the next round, so that the approval is first asked for at another commit.
    world.repository.push("c2", prod="p2")
    world.repository.are_authors_unknown = True
    fetch_source(loop._parts, "acme", spreads_new_targets=False)
    world.settle(loop)
    assert world.get_target("prod").looked_number == 2
    assert world.workers.applies == []


def test_no_page_waits_for_a_repository(world, loop, monkeypatch):
    """Of a fleet: what this machine lacks is fetched once meanwhile, whoever asks again and again."""
    fetches, begun, gate = list[str](), threading.Event(), threading.Event()

    def fetch(commit: str, _followed: tuple[str, ...] = ()) -> bool:
        fetches.append(commit)
        begun.set()
        return gate.wait(60)

    monkeypatch.setattr(type(world.store), "is_shared", property(lambda _store: True))
    monkeypatch.setattr(world.repository, "fetch_commit", fetch)
    with ThreadPoolExecutor() as pool:
        try:
            for ask in (loop.next_commits, loop.next_authors, loop.next_commits):
                pool.submit(ask, PROD).result(timeout=20)
            assert begun.wait(20)
        finally:
            gate.set()
    assert fetches == ["c1"]


@pytest.mark.parametrize("is_told", [True, False])
def test_git_is_not_asked_while_others_wait_for_the_store(world, monkeypatch, is_told):
    """A history that takes long to read, or to fail, stops no other write."""
    world.set_rules(replace(APPROVE, not_author=True))
    world.workers.results["acme/prod"] = plan_of(FIRST)
    world.begin()
    ends: list[bool] = []

    def write() -> None:
        with world.store.write():
            pass

    def list_slowly(commit: str, since_commit: str) -> tuple[str, ...]:
        other = threading.Thread(target=write)
        other.start()
        other.join(5)
        ends.append(not other.is_alive())
        time.sleep(1.0)
        if not is_told:
            raise SourceUnavailable(error_finding("It takes too long"))
        return ("Kim",)

    monkeypatch.setattr(world.repository, "list_author_names_and_emails", list_slowly)
    with (
        nullcontext() if is_told else pytest.raises(ActionRefused, match="cannot read the authors")
    ):
        world.approve(ANN, FIRST)
    assert ends == [True]
    assert len(world.store.list_approvals(PROD)) == is_told


def test_what_is_rejected_stays_held_and_loses_its_approvals(world, loop):
    """Until the row differs, or somebody approves it after all."""
    loop._parts.is_stopping = True
    world.approve(ANN, FIRST)
    world.reject(BOB, "not\nthis week", FIRST)
    loop._parts.is_stopping = False
    world.settle(loop)
    assert world.workers.applies == []
    assert world.store.list_approvals(PROD) == []
    hold = world.store.list_holds(PROD)[0]
    assert (hold.rejected_by, hold.rejected_reason) == (BOB, "not this week")
    world.settle(loop, after=700)
    assert world.store.list_holds(PROD)[0] == replace(hold, run=hold.run)
    world.approve(ANN, FIRST)
    assert world.store.list_holds(PROD)[0].rejected_by == ""
    world.settle(loop)
    assert len(world.workers.applies) == 1
    assert list_actions(world) == [
        "proxy:ann approve acme/prod",
        "token:bob reject acme/prod",
        "proxy:ann approve acme/prod",
    ]


@pytest.mark.parametrize("is_auto", [True, False])
@pytest.mark.parametrize("what", ["row", "guard"])
def test_a_rejection_at_the_end_of_a_look_is_kept(world, what, is_auto):
    """The look has judged the row as approved by then, and writes what waits after the rejection."""
    guard = row("recreate", RowAction.GUARD)
    loop, plan = reject_in_mode_auto(world), plan_of(guard, FIRST)
    if not is_auto:
        world.set_rules(APPROVE)
        loop = world.begin()
    world.pause(BOB, "acme/prod", "release", 3 * DAY)
    world.approve(ANN, guard, FIRST)
    world.settle(loop)
    digest = guard.digest if what == "guard" else FIRST.digest
    world.act_during_look(plan, lambda: world.reject(BOB, "not this one", digest))
    world.reconcile(ANN, PROD)
    world.settle(loop)
    world.workers.results["acme/prod"] = plan
    world.resume(BOB, "acme/prod")
    world.settle(loop, after=60)
    assert world.workers.applies == []
    (hold,) = [hold for hold in world.store.list_holds(PROD) if hold.rejected_by]
    assert (hold.row_digest, hold.rejected_by) == (digest, BOB)
    assert hold.rejected_reason == "not this one"


@pytest.mark.parametrize("approvals", [1, 2])
def test_an_approval_is_taken_back_while_a_verification_is_waited_for(world, approvals):
    """Of the row, and of the guard that was approved with it."""
    guard = row("recreate", RowAction.GUARD)
    world.set_rules(replace(APPROVE, approvals=approvals))
    world.workers.results["acme/prod"] = plan_of(guard, FIRST)
    loop = world.begin()
    world.pause(BOB, "acme/prod", "release", 3 * DAY)
    for who in (ANN, BOB)[:approvals]:
        world.approve(who, guard, FIRST)
    world.settle(loop)
    world.workers.results["acme/prod"] = plan_of(guard, WAITING)
    world.resume(BOB, "acme/prod")
    world.settle(loop)
    assert world.get_target("prod").state is TargetCondition.WAITING
    assert world.store.list_holds(PROD) == []
    world.reject(BOB, "stop", guard, FIRST)
    assert world.store.list_approvals(PROD) == []
    world.workers.results["acme/prod"] = plan_of(guard, FIRST)
    world.settle(loop, after=4000)
    assert world.workers.applies == []
    assert {hold.row_digest: hold.rejected_by for hold in world.store.list_holds(PROD)} == {
        guard.digest: BOB,
        FIRST.digest: BOB,
    }
    for who in (ANN, BOB)[:approvals]:
        world.approve(who, guard, FIRST)
    world.settle(loop)
    assert len(world.workers.applies) == 1


@pytest.mark.parametrize("what_held", ["cause", "guard"])
def test_what_is_rejected_is_not_done_in_mode_auto(world, what_held):
    """Also when what held it is approved; an approval of its own lets it be done, even at once."""
    opener, rejected = row("plugin/a", cause=RowCause.DRIFT), row("plugin/b", needs=("plugin/a",))
    rows = [opener, rejected]
    if what_held == "guard":
        opener, rejected = row("recreate", RowAction.GUARD), row("plugin/b")
        rows = [opener, rejected, row("plugin/c")]
    world.set_rules(replace(AUTO, auto=AutoRule(frozenset({RowCause.GIT}))))
    world.workers.results["acme/prod"] = plan_of(*rows)
    loop = world.begin()
    actions = loop.get_people_actions()
    with pytest.raises(ActionRefused, match="You cannot approve this row"):
        world.approve(ANN, rejected)
    world.reject(BOB, "keep it", rejected)
    (hold,) = [one for one in world.store.list_holds(PROD) if one.rejected_by]
    world.approve(ANN, opener)
    world.settle(loop)
    (request,) = world.workers.applies
    assert request.terms.rejected == {rejected.digest}
    result = world.workers.results["acme/prod"]
    assert isinstance(result, RunResult)
    assert rejected in result.rows
    kept = next(one for one in world.store.list_holds(PROD) if one.row_digest == rejected.digest)
    assert (kept.rejected_by, kept.held_row) == (BOB, hold.held_row)
    assert kept.held_row.detail == "a person rejected it"
    waiting = [one.row_digest for one in world.store.list_holds(PROD)]
    actions.approve_rows_or_refuse(ANN, PROD, waiting)
    world.settle(loop)
    result = world.workers.results["acme/prod"]
    assert isinstance(result, RunResult)
    assert rejected not in result.rows


def reject_in_mode_auto(world: World, *others: PlannedRow) -> ControllerLoop:
    """A loop in mode auto, where bob has rejected FIRST while a guard stopped it."""
    world.set_rules(AUTO)
    world.workers.results["acme/prod"] = plan_of(row("recreate", RowAction.GUARD), FIRST, *others)
    loop = world.begin()
    world.reject(BOB, "keep it", FIRST)
    return loop


REFUSED = replace(FIRST, refusal="open-call", refusal_reason="a call is open")
# Before an object is compared nobody knows what its row would be.
UNKNOWN = replace(REFUSED, digest=f"row1:{'7' * 64}", is_outcome_unknown=True)


@pytest.mark.parametrize(
    "between",
    [
        plan_of(REFUSED, SECOND),
        plan_of(UNKNOWN, SECOND),
        plan_of(replace(UNKNOWN, is_waiting=True)),
        replace(plan_of(SECOND), outcome=RunOutcome.PLAN_ERROR),
        FAILURE,
    ],
    ids=["refused", "unknown", "waiting", "in part", "failed"],
)
def test_what_is_rejected_is_known_until_it_can_be_done_again(world, between):
    """Also where a look between says that it is refused, or nothing of it."""
    loop = reject_in_mode_auto(world)
    (before,) = [hold for hold in world.store.list_holds(PROD) if hold.rejected_by]
    for result in (between, between, plan_of(FIRST), plan_of(FIRST)):
        world.workers.results["acme/prod"] = result
        world.settle(loop, after=3700)
        (hold,) = [hold for hold in world.store.list_holds(PROD) if hold.rejected_by]
        assert (hold.row_digest, hold.rejected_by) == (FIRST.digest, BOB)
        assert (hold.rejected_reason, hold.since) == ("keep it", before.since)
    # The stand-in for a worker takes from the plan what it has done.
    assert world.workers.results["acme/prod"] == plan_of(FIRST)
    assert world.get_target("prod").state is TargetCondition.HELD
    # Another row of the same address is another matter, and what is gone is forgotten.
    world.workers.results["acme/prod"] = plan_of(replace(FIRST, digest=f"row1:{'8' * 64}"))
    world.settle(loop, after=3700)
    assert world.store.list_holds(PROD) == []
    assert world.get_target("prod").state is TargetCondition.IN_SYNC


@pytest.mark.parametrize("is_auto", [True, False])
def test_a_rejection_is_ended_by_as_many_as_the_row_needs(world, is_auto):
    """Not by one of two, nor by who rejects it, too; what was approved before counts no more."""
    reject_in_mode_auto(world)
    world.set_rules(replace(AUTO if is_auto else APPROVE, approvals=2))
    world.workers.results["acme/prod"] = plan_of(FIRST)
    loop = world.begin()
    world.clock.advance(3700)

    def check_still_rejected(who: str) -> None:
        world.settle(loop)
        (hold,) = world.store.list_holds(PROD)
        assert (hold.rejected_by, world.workers.applies) == (who, [])

    check_still_rejected(BOB)
    world.approve(ANN, FIRST)
    check_still_rejected(BOB)
    world.approve(ANN, FIRST)
    world.approve("token:ann", FIRST)
    check_still_rejected(BOB)
    world.reject(ANN, "", FIRST)
    world.approve(BOB, FIRST)
    check_still_rejected(ANN)
    world.approve("proxy:eve", FIRST)
    assert world.store.list_holds(PROD)[0].rejected_by == ""
    world.settle(loop)
    assert len(world.workers.applies) == 1
    assert world.get_target("prod").state is TargetCondition.IN_SYNC


def test_a_pause_holds_until_its_end_and_is_told_once_a_day(world):
    """What it keeps from being applied says so, is applied when it ends, and not before."""
    world.set_rules(AUTO)
    loop = world.begin()
    actions = loop.get_people_actions()
    until = world.clock.wall + 2.5 * DAY
    assert actions.pause_scope_or_refuse(ANN, "acme/p*", "a  release", until).reason == "a release"
    world.workers.results["acme/prod"] = plan_of(FIRST)
    world.workers.results["acme/dev"] = plan_of(FIRST)
    world.settle(loop, after=700)
    assert [str(request.target) for request in world.workers.applies] == ["acme/dev"]
    prod = world.get_target("prod")
    assert prod.state is TargetCondition.PAUSED
    assert prod.waiting_reason.startswith("paused by proxy:ann until ")
    assert world.inbox.describe() == ["paused"]
    assert world.inbox.messages[0].fields["pause"]["scope"] == "acme/p*"
    while world.clock.wall < until - 1800:
        world.settle(loop, after=1800)
    assert [message.fields["reminder"] for message in world.inbox.messages] == [False, True, True]
    assert len(world.workers.applies) == 1
    world.settle(loop, after=until - world.clock.wall)
    assert len(world.workers.applies) == 2
    assert list_actions(world) == ["proxy:ann pause acme/p*"]
    with pytest.raises(ActionRefused, match="Pause not found"):
        world.resume(ANN, "acme/p*")


def test_a_target_under_a_paused_pattern_is_not_resumed_alone(world, loop):
    """The refusal names the pattern, and the command that ends its pause."""
    world.pause(ANN, "acme/p*", "x", DAY)
    with pytest.raises(ActionRefused, match="Pause not found") as caught:
        world.resume(BOB, "acme/prod")
    (problem,) = caught.value.diagnostics
    assert problem.detail == "proxy:ann paused `acme/p*`, which includes `acme/prod`."
    assert problem.hint.endswith("run `synapse-apply controller resume 'acme/p*'`.")
    assert [row.scope for row in world.store.list_pauses()] == ["acme/p*"]


def test_what_is_held_says_that_it_is_paused_until_it_is_not(world, loop):
    world.pause(ANN, "acme/*", "x", DAY)
    world.settle(loop, after=31)
    held = world.get_target("prod")
    assert held.state is TargetCondition.HELD
    assert held.waiting_reason.startswith("paused by proxy:ann until ")
    world.resume(BOB, "acme/*")
    world.settle(loop, after=31)
    assert world.get_target("prod").waiting_reason == ""


@pytest.mark.parametrize(
    ("scope", "seconds", "reason"),
    [
        ("acme/unknown", 60, "No target matches"),
        ("acme/*", -1, "Invalid end of the pause"),
        ("acme/*", 400 * DAY, "Invalid end of the pause"),
        ("acme/*", float("nan"), "Invalid end of the pause"),
    ],
)
def test_pauses_that_are_refused(world, loop, scope, seconds, reason):
    """One that would pause nothing, and one that has ended or never would."""
    with pytest.raises(ActionRefused, match=reason):
        world.pause(ANN, scope, "x", seconds)
    assert world.store.list_pauses() == []


def test_a_pause_of_the_file_is_not_for_people_to_end(world):
    """The message says where it stands."""
    world.set_rules(replace(AUTO, pause=FixedPause("a freeze")))
    world.begin()
    with pytest.raises(ActionRefused, match="Pause not found") as caught:
        world.resume(ANN, "acme/prod")
    assert "controller.yaml pauses it: a freeze" in caught.value.diagnostics[0].detail
    assert world.inbox.describe() == ["paused"]


def test_reconcile_looks_at_once_and_fetches(world):
    """Also at a target that fails; one that does not exist is refused."""
    world.workers.results["acme/prod"] = FAILURE
    loop = world.begin()
    fetches = world.repository.fetches
    world.workers.results["acme/prod"] = IN_SYNC
    world.clock.advance(6)
    world.reconcile(BOB, PROD)
    assert world.settle(loop) == ["acme/prod"]
    assert world.repository.fetches == fetches + 1
    assert world.get_target("prod").state is TargetCondition.IN_SYNC
    (run, *_) = world.store.newest_runs(PROD, 1)
    assert run.cause is RunCause.ASKED
    with pytest.raises(ActionRefused, match="Target not found"):
        world.reconcile(BOB, TargetName("acme", "unknown"))
    assert list_actions(world) == ["token:bob reconcile acme/prod"]


def test_what_is_held_is_reminded_of_once_a_day(world, loop):
    """With what is held; a restart reminds of nothing twice."""
    for _ in range(50):
        world.settle(loop, after=3600)
    world.start(world.build_loop())
    reminders = [message.fields["reminder"] for message in world.inbox.messages]
    assert reminders == [False, True, True]
    assert world.inbox.messages[1].fields["held"]["count"] == 2


def test_people_can_act_from_many_threads(world, loop):
    """Each act is whole, and the audit is one chain."""

    def act(number: int) -> None:
        world.approve(f"proxy:p{number}", FIRST, SECOND)
        world.reconcile(f"proxy:p{number}", PROD)

    threads = [threading.Thread(target=act, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list_actions(world)) == 16
    assert len(world.store.list_approvals(PROD)) == 16


def test_an_approval_that_may_still_count_is_kept_however_short_history_is(world):
    """Old runs go after an hour here; what a person said counts for a week."""
    world.set_rules(replace(APPROVE, approvals=2))
    world.settings = replace(world.settings, defaults=replace(world.settings.defaults, keep=3600))
    world.workers.results["acme/prod"] = plan_of(FIRST)
    loop = world.begin()
    world.approve(ANN, FIRST)
    world.settle(loop, after=6 * DAY)
    assert len(world.store.list_approvals(PROD)) == 1
    world.settle(loop, after=DAY + 3600)
    assert world.store.list_approvals(PROD) == []
