"""What lets calls of an apply begin, and what ends it in its middle or before it begins."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from contract.controller.loop.stand_ins import (
    IN_SYNC,
    StandInForge,
    World,
    describe_runs,
    plan_of,
    row,
)

from synapse_apply.controller.loop.driver import ControllerLoop
from synapse_apply.controller.loop.following import fetch_source
from synapse_apply.controller.page.app import list_reasons_not_ready
from synapse_apply.controller.planned_rows import RowAction
from synapse_apply.controller.ports import Permit, RunResult
from synapse_apply.controller.rows import (
    CallCounts,
    RunOutcome,
    RunVerb,
    TargetCondition,
    TargetName,
)
from synapse_apply.controller.settings import (
    Access,
    AccessRule,
    ForgeStatus,
    Mode,
    ProxyAccess,
    Right,
    SecretName,
    Source,
    TargetRule,
)
from synapse_apply.controller.store.store_database import ControllerStoreError
from synapse_apply.controller.worker.exchange import Order
from synapse_apply.model.diagnostic import error_finding

PROD = TargetName("acme", "prod")
AUTO = TargetRule("*", mode=Mode.AUTO)
FIRST, SECOND = row("plugin/a"), row("plugin/b")


def apply_with_permits(
    world: World, change: Callable[[], None], permits: list[Permit]
) -> Callable[[Order, Callable[[], Permit]], RunResult]:
    """An apply during which something changes between two permits."""

    def apply(_request: Order, read_permit: Callable[[], Permit]) -> RunResult:
        permits.append(read_permit())
        change()
        permits.append(read_permit())
        return RunResult(
            RunOutcome.APPLY_STOPPED,
            rows=(FIRST, SECOND),
            calls=CallCounts(done=1, skipped=1),
            stop_reason=permits[-1].reason,
        )

    return apply


def test_a_pause_in_the_middle_of_an_apply_takes_its_permit(world):
    """What has begun is recorded; the rest waits, and is no failure."""
    world.set_rules(AUTO)
    world.workers.results["acme/prod"] = plan_of(FIRST, SECOND)
    loop = world.build_loop()
    permits: list[Permit] = []

    def pause() -> None:
        until = world.clock.wall + 300
        loop.get_people_actions().pause_scope_or_refuse("proxy:ann", "acme/*", "an incident", until)

    world.workers.applied["acme/prod"] = apply_with_permits(world, pause, permits)
    world.start(loop)
    first, second = permits
    assert (first.reason, first.until - world.clock.counter) == ("", 10)
    assert second.reason.startswith("paused by proxy:ann until ")
    assert second.until <= world.clock.counter
    prod = world.get_target("prod")
    assert (prod.state, prod.failures) == (TargetCondition.PAUSED, 0)
    assert prod.due_at == world.clock.wall + 300
    # The look after it says what is left.
    look, run = world.store.newest_runs(prod.name, 2)
    assert (look.id, look.verb) == (prod.last_run, RunVerb.LOOK)
    assert run.stop_reason == second.reason
    del world.workers.applied["acme/prod"]
    world.workers.results["acme/prod"] = plan_of(SECOND)
    world.settle(loop, after=301)
    assert world.get_target("prod").state is TargetCondition.IN_SYNC


def test_a_rejection_in_the_middle_of_an_apply_takes_its_permit(world):
    """Of a row that is done there without an approval of its own; that row is held from then on."""
    guard = row("recreate", RowAction.GUARD)
    world.set_rules(AUTO)
    world.workers.results["acme/prod"] = plan_of(guard, FIRST, SECOND)
    loop, permits = world.build_loop(), list[Permit]()
    world.start(loop)

    world.workers.applied["acme/prod"] = apply_with_permits(
        world,
        lambda: world.reject("proxy:ann", "not this one", FIRST),
        permits,
    )
    world.approve("proxy:ann", guard)
    world.settle(loop)
    assert [permit.reason for permit in permits] == ["", "a person has rejected a row"]
    del world.workers.applied["acme/prod"]
    world.workers.results["acme/prod"] = plan_of(FIRST, SECOND)
    world.settle(loop, after=60)
    assert world.workers.results["acme/prod"] == plan_of(FIRST)
    (hold,) = world.store.list_holds(PROD)
    assert (hold.row_digest, hold.rejected_reason) == (FIRST.digest, "not this one")


def test_a_controller_that_stops_begins_no_further_call(world):
    """What was begun is recorded; the next start goes on soon."""
    world.set_rules(AUTO)
    world.workers.results["acme/prod"] = plan_of(FIRST, SECOND)
    loop = world.build_loop()
    permits: list[Permit] = []
    world.workers.applied["acme/prod"] = apply_with_permits(world, loop.request_stop, permits)
    world.start(loop)
    assert permits[1].reason == "the controller is stopping"
    loop._drain()
    assert world.workers.is_stopped
    assert describe_runs(world) == ["apply apply_stopped"]
    prod = world.get_target("prod")
    assert (prod.failures, prod.due_at - world.clock.wall) == (1, 15)
    del world.workers.applied["acme/prod"]
    world.workers.results["acme/prod"] = plan_of(SECOND)
    world.run_once(after=16)
    assert describe_runs(world)[-2:] == ["apply applied", "look in_sync"]


def test_a_controller_that_stops_begins_no_apply(world):
    """The target is still due, and free, for the next start."""
    world.set_rules(AUTO)
    loop = world.build_loop()

    def look(_request: object) -> RunResult:
        loop.request_stop()
        return plan_of(FIRST)

    world.workers.results["acme/prod"] = look
    world.start(loop)
    assert world.workers.applies == []
    prod = world.get_target("prod")
    assert (prod.holder, prod.last_run) == ("", "")
    world.workers.results["acme/prod"] = plan_of(FIRST)
    world.run_once()
    assert len(world.workers.applies) == 1


def test_a_store_that_cannot_be_read_permits_nothing(world, monkeypatch):
    """Whether somebody has paused the target is not known then."""
    world.set_rules(AUTO)
    world.workers.results["acme/prod"] = plan_of(FIRST)
    permits: list[Permit] = []

    list_pauses = world.store.list_pauses

    def raise_error() -> object:
        # The rounds of the loop read them, too, on their own thread.
        if threading.current_thread() is threading.main_thread():
            return list_pauses()
        raise ControllerStoreError(error_finding("The disk is away"))

    def apply(_request: Order, read_permit: Callable[[], Permit]) -> RunResult:
        with monkeypatch.context() as patch:
            patch.setattr(world.store, "list_pauses", raise_error)
            permits.append(read_permit())
        return RunResult(RunOutcome.APPLY_STOPPED, rows=(FIRST,), calls=CallCounts(skipped=1))

    world.workers.applied["acme/prod"] = apply
    world.run_once()
    assert permits == [Permit(world.clock.counter, "the controller's store cannot be read")]


def push_and_follow(world: World, loop: ControllerLoop, commit: str, **inputs: str) -> None:
    """A new head, as the loop takes it over while something else goes on."""
    world.repository.push(commit, **inputs)
    fetch_source(loop._parts, "acme", spreads_new_targets=False)


def test_no_apply_begins_for_a_revision_that_is_not_wanted_any_more(world):
    """What a look saw of other inputs is not applied; the look at the new ones is."""
    world.set_rules(AUTO)
    loop = world.build_loop()

    def look(request: Order) -> RunResult:
        if request.commit == "c2":
            return IN_SYNC
        push_and_follow(world, loop, "c2", prod="p2")
        return plan_of(FIRST)

    world.workers.results["acme/prod"] = look
    world.start(loop)
    assert world.workers.applies == []
    assert world.get_target("prod").applied_commit == "c2"


def test_a_claim_that_was_lost_takes_the_permit_and_the_record(world):
    """Another worker has the target: what this one finds is not written over its record."""
    world.set_rules(AUTO)
    world.workers.results["acme/prod"] = plan_of(FIRST, SECOND)
    permits: list[Permit] = []

    def lose_claim() -> None:
        with world.store.write() as writer:
            writer.release_claims()
            writer.claim(PROD, "another", world.clock.wall + 900, world.clock.wall)

    world.workers.applied["acme/prod"] = apply_with_permits(world, lose_claim, permits)
    world.run_once()
    assert permits[1].reason == "another worker has taken over the target"
    assert describe_runs(world) == []


def test_an_approval_that_is_taken_back_ends_the_apply(world):
    """What was rejected meanwhile does not begin."""
    world.set_rules(replace(AUTO, mode=Mode.APPROVE))
    world.workers.results["acme/prod"] = plan_of(FIRST, SECOND)
    loop = world.begin()
    permits: list[Permit] = []
    world.workers.applied["acme/prod"] = apply_with_permits(
        world,
        lambda: world.reject("proxy:bob", "no", SECOND),
        permits,
    )
    world.approve("proxy:ann", FIRST, SECOND)
    world.settle(loop)
    assert permits[0].reason == ""
    assert "approval" in permits[1].reason
    assert world.get_target("prod").state is not TargetCondition.FAILING


PROXY = ProxyAccess("X-User", "X-Secret", SecretName("env", "PROXY"))
OPS = {"ops": SecretName("env", "OPS")}


def list_rules_of(*who: str) -> tuple[AccessRule, ...]:
    return (AccessRule(who, frozenset(Right), ("*",)),)


@pytest.mark.parametrize(
    ("changes", "is_ended"),
    [
        ({"rules": list_rules_of("token:ops")}, True),
        ({"tokens": {}}, True),
        ({"proxy": None}, True),
        ({"persons": {"ops": "ann@acme.example"}}, True),
        ({"persons": {"ops": "kim@acme.example"}}, True),
        ({"rules": list_rules_of("token:ops", "group:sre")}, False),
        ({"persons": {"ops": "bob@acme.example"}}, False),
    ],
)
def test_an_apply_ends_where_its_approvals_count_no_more(world, changes, is_ended):
    """Of who lost the right, the token or the name; kim wrote the commits."""
    access = Access(PROXY, OPS, list_rules_of("proxy:ann", "token:ops"))
    world.settings = replace(world.settings, access=access)
    world.set_rules(replace(AUTO, mode=Mode.APPROVE, approvals=2, not_author=True))
    world.workers.results["acme/prod"] = plan_of(FIRST, SECOND)
    loop, permits = world.build_loop(), list[Permit]()
    world.start(loop)

    def change_access() -> None:
        world.settings = replace(world.settings, access=replace(access, **changes))
        loop._reload = world.configure
        loop._take_configuration()

    world.workers.applied["acme/prod"] = apply_with_permits(world, change_access, permits)
    actions, digests = loop.get_people_actions(), [FIRST.digest, SECOND.digest]
    actions.approve_rows_or_refuse("proxy:ann", PROD, digests, ["sre"])
    actions.approve_rows_or_refuse("token:ops", PROD, digests)
    world.settle(loop)
    assert permits[0].reason == ""
    ended = "an approval was withdrawn, or no longer counts" if is_ended else ""
    assert permits[1].reason == ended
    assert world.get_target("prod").state is not TargetCondition.FAILING
    if is_ended:
        # It is begun no more until enough people have approved it again.
        count = len(world.workers.applies)
        world.settle(loop, after=700)
        assert len(world.workers.applies) == count


def test_an_apply_ends_where_what_it_may_come_to_do_is_approved_no_more(world):
    """It plans anew under the lock: a row that waited at the look may be done there."""
    waiting = replace(SECOND, is_waiting=True, refusal="verification")
    world.settings = replace(
        world.settings, access=Access(PROXY, OPS, list_rules_of("proxy:ann", "token:ops"))
    )
    world.set_rules(replace(AUTO, mode=Mode.APPROVE))
    world.workers.results["acme/prod"] = plan_of(SECOND)
    loop, permits = world.build_loop(), list[Permit]()
    world.start(loop)
    world.workers.results["acme/prod"] = plan_of(FIRST, waiting)
    world.approve("token:ops", SECOND)
    world.settle(loop)

    def change_access() -> None:
        access = Access(PROXY, OPS, list_rules_of("proxy:ann"))
        world.settings = replace(world.settings, access=access)
        loop._reload = world.configure
        loop._take_configuration()

    world.workers.applied["acme/prod"] = apply_with_permits(world, change_access, permits)
    world.approve("proxy:ann", FIRST)
    world.settle(loop)
    assert [permit.reason for permit in permits[:2]] == [
        "",
        "an approval was withdrawn, or no longer counts",
    ]


def test_the_clock_is_compared_with_that_of_the_forges(world):
    """The one that is farthest away counts: `readyz` tells of it."""
    loop = world.build_loop()
    assert loop.read_health().clock_offset is None
    world.forge.clock_offset = -75.0
    assert loop.read_health().clock_offset == -75.0


@pytest.mark.parametrize(
    ("offsets", "farthest", "agreed"),
    [
        ({"one": 255_088_461.0}, 255_088_461.0, None),
        ({"one": 255_088_461.0, "two": 0.5}, 255_088_461.0, 0.5),
        ({"one": -75.0, "two": -80.0}, -80.0, -75.0),
        ({"one": -75.0, "one/api/v3": -76.0}, -76.0, None),
    ],
)
def test_one_forge_is_not_believed_about_the_time(world, monkeypatch, offsets, farthest, agreed):
    """The page of all sources stays in service until another server says the same."""
    sources, senders = {}, {}
    for place, offset in offsets.items():
        status = ForgeStatus("github", "a/b", SecretName("env", "T"), f"https://{place}")
        sources[place] = Source(place, "url", status=status)
        senders[place] = StandInForge()
        senders[place].clock_offset = offset
    world.settings = replace(world.settings, sources=sources)
    configured = replace(world.configure(), status_senders=senders)
    monkeypatch.setattr(world, "configure", lambda: configured)
    health = world.build_loop().read_health()
    assert (health.clock_offset, health.agreed_offset) == (farthest, agreed)
    reasons = [text for text in list_reasons_not_ready(world.store, health) if "clock" in text]
    assert bool(reasons) == (agreed == -75.0)
