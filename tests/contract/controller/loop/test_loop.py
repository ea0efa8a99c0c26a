"""The loop: what it fetches, looks at, records and tells, on a real store with stand-ins around it."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace

import pytest
from contract.controller.loop.stand_ins import (
    CHANGES,
    DRIFT,
    FAILURE,
    IN_SYNC,
    World,
    end_of,
    plan_of,
    row,
)
from forges.loopback_server import wait_until

from synapse_apply.controller.loop import driver, leading, parts
from synapse_apply.controller.ports import ActionRefused, RunResult, SourceUnavailable, TargetFilter
from synapse_apply.controller.rows import (
    RevisionEnd,
    SourceRow,
    StatusState,
    TargetCondition,
    TargetName,
)
from synapse_apply.controller.run import accept_push
from synapse_apply.controller.settings import MayRead, Mode, Rollout, Source, TargetRule, Wave
from synapse_apply.controller.worker.exchange import Order
from synapse_apply.model.diagnostic import error_finding

PROD = TargetName("acme", "prod")


def test_a_first_round_looks_at_everything_once(world):
    """The head is announced before anything is looked at, and ends with what was found."""
    world.workers.results["acme/prod"] = CHANGES
    announced: list[StatusState] = []

    def look(_request: Order) -> RunResult:
        status = world.store.find_status("acme", "c1", "synapse-apply/main/acme")
        announced.append(status.wished.state)
        return IN_SYNC

    world.workers.results["acme/dev"] = look
    assert world.run_once() == ["acme/dev", "acme/prod"]
    assert announced == [StatusState.PENDING]
    assert world.forge.describe() == {"c1": "success: planned only: 1 change"}
    assert world.forge.shown["c1"].url == "https://page.example/revisions/acme/c1"
    assert end_of(world, "c1") == (RevisionEnd.SUCCESS, "planned only: 1 change")
    prod = world.store.find_target(PROD)
    assert (prod.state, prod.wanted_commit, prod.applied_commit) == (
        TargetCondition.PENDING,
        "c1",
        "",
    )
    assert sorted(world.repository.commits_in_use) == ["c1"]
    assert world.inbox.messages == []


def test_a_push_is_looked_at_where_its_inputs_changed(world):
    """The others are at the new commit without a look; the commit ends as those that it touched."""
    world.run_once()
    world.repository.push("c2", prod="p2")
    world.workers.results["acme/prod"] = CHANGES
    assert world.run_once() == ["acme/prod"]
    dev = world.store.find_target(TargetName("acme", "dev"))
    assert (dev.wanted_commit, dev.applied_commit) == ("c2", "c1")
    world.repository.push("c3")
    assert world.run_once() == []
    assert world.forge.describe() == {
        "c1": "success: planned only: no changes, 2 targets",
        "c2": "success: planned only: 1 change",
        "c3": "success: affects no target",
    }


def test_large_plans_of_a_source_do_not_fill_the_disk(world, monkeypatch):
    """The newest are kept, and small ones; of the others what became of them."""
    monkeypatch.setattr(parts, "MOST_LARGE_CHARACTERS", 250_000)
    loop = world.begin()
    for number, size in enumerate((10, 100_000, 100_000, 100_000, 100_000), 1):
        plan = replace(CHANGES, plan_json="x" * size, result_digest=f"{number}")
        world.workers.results["acme/prod"] = plan
        world.repository.push(f"c{number + 1}", prod=f"p{number + 1}")
        world.settle(loop, after=61)
    runs = [world.store.find_run(run.id) for run in world.store.newest_runs(PROD, 5)]
    assert [len(run.plan_json) for run in runs] == [100_000, 100_000, 0, 0, 10]
    assert {run.counts.add for run in runs} == {1}


def test_the_plan_by_which_people_decide_is_not_the_first_to_go(world, monkeypatch):
    """Of a target that waits it is kept, whatever many commits of others make."""
    monkeypatch.setattr(parts, "MOST_LARGE_CHARACTERS", 250_000)
    large = replace(CHANGES, plan_json="x" * 100_000)
    world.workers.results["acme/prod"] = large
    loop = world.begin()
    for number in range(1, 5):
        world.workers.results["acme/dev"] = replace(large, result_digest=f"{number}")
        world.repository.push(f"c{number + 1}", dev=f"d{number + 1}")
        world.settle(loop, after=61)
    prod, dev = (
        [len(world.store.find_run(run.id).plan_json) for run in world.store.newest_runs(name, 9)]
        for name in (PROD, TargetName("acme", "dev"))
    )
    assert (prod, dev[:2]) == ([100_000], [100_000, 0])


def test_a_controller_that_starts_again_counts_the_large_plans_that_are_there(world, monkeypatch):
    """Each start, and each process of a fleet, would keep as many again."""
    monkeypatch.setattr(parts, "MOST_LARGE_CHARACTERS", 250_000)
    for number in range(1, 5):
        loop = world.begin()
        plan = replace(CHANGES, plan_json="x" * 100_000, result_digest=f"{number}")
        world.workers.results["acme/prod"] = plan
        world.repository.push(f"c{number + 1}", prod=f"p{number + 1}")
        world.settle(loop, after=61)
    runs = [world.store.find_run(run.id) for run in world.store.newest_runs(PROD, 4)]
    assert [len(run.plan_json) for run in runs] == [100_000, 100_000, 0, 0]


def test_a_commit_that_cannot_be_used_is_red_and_changes_no_target(world):
    """The targets stay at the revision before; the next commit is fine again."""
    world.run_once()
    world.repository.push("c2", prod="p2")
    world.repository.broken.add("c2")
    assert world.run_once() == []
    prod = world.store.find_target(PROD)
    assert prod.wanted_commit == "c1"
    world.repository.push("c3")
    assert world.run_once() == ["acme/prod"]
    assert world.forge.describe() == {
        "c1": "success: planned only: no changes, 2 targets",
        "c2": "failure: unusable: Duplicate key",
        "c3": "success: planned only: no changes, 1 target",
    }
    assert world.inbox.describe() == ["failed", "recovered"]


@pytest.mark.parametrize("rewinds", ["hold", "follow"])
def test_a_branch_that_goes_back_is_believed_at_a_second_look(tmp_path, rewinds):
    """And then held, or followed, where what was forced away ends with an error."""
    world = World(tmp_path, rewinds=rewinds)
    world.repository.push("c1", prod="p1")
    world.repository.push("c2", prod="p2")
    world.run_once()
    world.repository.head = "c1"  # a Git server that lags
    world.run_once()
    world.repository.head = "c2"
    world.run_once()
    world.clock.advance(100)
    world.repository.head = "c1"
    world.run_once()
    assert [row.commit for row in world.store.newest_revisions("acme", 9)] == ["c2"]
    world.run_once(after=61)
    commits = [row.commit for row in world.store.newest_revisions("acme", 9)]
    (source,) = world.store.list_configured_sources()
    if rewinds == "hold":
        assert commits == ["c2"]
        assert source.finding is not None
        assert source.sideways == "c1"
        assert world.inbox.describe() == ["held"]
        world.run_once()
        assert world.inbox.describe() == ["held"]
        assert world.log.getvalue().count("head held") == 1
    else:
        assert commits == ["c1", "c2"]
        assert (source.head, source.head_number, source.finding) == ("c1", 2, None)
        revision = world.store.find_revision("acme", "c2")
        assert revision.forced_away
    world.store.close()


def test_a_force_push_is_accepted_once(world):
    """By an operator, who says why: the commit that is held becomes the head, and no other one."""
    for commit in ("c2", "c3"):
        world.repository.push(commit, prod=commit)
    world.run_once()

    def rewind(commit: str) -> None:
        world.repository.head = commit
        world.run_once()
        world.run_once(after=61)

    rewind("c2")
    with pytest.raises(ActionRefused, match="is not holding back this commit"):
        accept_push(world.store, "acme", "c1", "typed in error")
    with pytest.raises(ActionRefused, match="is not holding back this commit"):
        accept_push(world.store, "other", "c2", "typed in error")
    (source,) = world.store.list_configured_sources()
    assert (source.head, source.accepted) == ("c3", "")
    assert accept_push(world.store, "acme", "c2", "history was cleaned up") == "c2"
    assert world.run_once() == ["acme/prod"]
    (source,) = world.store.list_configured_sources()
    assert (source.head, source.finding, source.accepted) == ("c2", None, "")
    assert world.get_target("prod").wanted_commit == "c2"
    audited = [row for row in world.store.iter_audit() if row.action == "accept push"]
    assert [(row.who, row.subject, row.detail) for row in audited] == [
        ("operator", "acme", "c2: history was cleaned up")
    ]
    rewind("c1")
    (source,) = world.store.list_configured_sources()
    assert (source.head, source.sideways) == ("c2", "c1")
    assert "accept-push acme c1 --reason TEXT" in str(source.finding.hint)


def test_an_accepted_push_that_moves_on_is_held_again(world):
    """What was accepted is one commit, not whatever the branch names afterwards."""
    for commit in ("c2", "c3"):
        world.repository.push(commit, prod=commit)
    world.run_once()
    world.repository.head = "c2"
    world.run_once()
    accept_push(world.store, "acme", "c2", "history was cleaned up")
    world.repository.head = "c1"
    world.run_once()
    world.run_once(after=61)
    (source,) = world.store.list_configured_sources()
    assert (source.head, source.sideways) == ("c3", "c1")


def test_a_shorter_interval_counts_at_once(world):
    """Of all targets in controller.yaml: none waits for the end of the longer one."""
    loop = world.build_loop()
    loop._reload = world.configure
    world.start(loop)
    world.settings = replace(world.settings, defaults=replace(world.settings.defaults, interval=30))
    loop.request_reload()
    world.settle(loop)
    assert set(world.settle(loop, after=40)) == {"acme/dev", "acme/prod"}


def test_a_source_that_is_away_is_told_at_the_third_failure_and_when_it_is_back(world):
    """Its targets are looked at meanwhile, at the revision that is known."""
    world.run_once()
    world.repository.is_away = True
    for _ in range(4):
        world.run_once()
    (source,) = world.store.list_configured_sources()
    assert source.failures == 4
    assert source.finding is not None
    assert world.run_once(after=700) == ["acme/dev", "acme/prod"]
    world.repository.is_away = False
    world.run_once()
    assert world.inbox.describe() == ["failed", "recovered"]


def test_a_clock_that_jumps_neither_stops_looks_nor_floods_them(world):
    """Neither while the loop runs, nor while it did not."""
    loop = world.build_loop()
    loop._take_part()
    assert world.settle(loop) == []  # spread over two seconds
    assert world.settle(loop, after=2) == ["acme/dev", "acme/prod"]
    for jump in (86_400.0, -86_400.0, -(10.0**9) / 2, 10.0**9):
        world.clock.wall += jump
        assert world.settle(loop) == [], jump
        assert world.settle(loop, after=590) == [], jump
        assert world.settle(loop, after=11) == ["acme/dev", "acme/prod"], jump
    world.clock.wall -= 86_400
    assert world.run_once() == []
    assert world.run_once(after=3601) == ["acme/dev", "acme/prod"]


def test_a_clock_that_is_set_back_while_nothing_runs_keeps_nothing_waiting(world):
    """By less than an hour, too: the source is fetched and its targets are looked at in time."""
    assert world.run_once() == ["acme/dev", "acme/prod"]
    world.clock.wall -= 1800
    world.repository.push("c2", dev="2", prod="2")
    loop = world.build_loop()
    loop._take_part()
    assert world.settle(loop, after=90) == ["acme/dev", "acme/prod"]


@pytest.mark.parametrize("jump", [-86_400.0, -600.0, 600.0, 86_400.0])
def test_a_clock_that_jumps_during_a_look_puts_nothing_off(world, jump):
    """What ends between the jump and the round that sees it is due an interval later, no more."""
    loop = world.build_loop()
    loop._take_part()
    world.settle(loop)
    world.clock.advance(2)

    def look(_request: Order) -> RunResult:
        world.clock.wall += jump
        return IN_SYNC

    world.workers.results["acme/prod"] = look
    assert world.settle(loop) == ["acme/dev", "acme/prod"]
    world.workers.results["acme/prod"] = IN_SYNC
    assert world.settle(loop, after=590) == []
    assert world.settle(loop, after=11) == ["acme/dev", "acme/prod"]


def test_a_host_gets_at_most_four_looks_at_once_and_no_target_two(tmp_path):
    """A hundred targets of two sources; while their host is not known, the workers are the limit."""
    world = World(tmp_path)
    names = {f"t{number}": "d" for number in range(50)}
    limit, is_full = leading.MAX_LOOKS, threading.Event()

    def look(_request: Order) -> RunResult:
        wait_until(lambda: world.workers.most_running >= limit, 60, f"{limit} looks", pause=0.002)
        if not is_full.is_set():
            time.sleep(0.1)  # so that one more than that would be seen
            is_full.set()
        return IN_SYNC

    for name in names:
        world.workers.results[f"acme/{name}"] = look
    world.repository.push("c1", **names)
    acme = world.settings.sources["acme"]
    sources = {"acme": acme, "beta": replace(acme, name="beta")}
    world.settings = replace(world.settings, sources=sources)
    asked = world.run_once()
    assert len(asked) == len(set(asked)) == 100
    assert world.workers.most_running == limit
    limit = 4
    is_full.clear()
    world.clock.advance(700)
    world.workers.most_running = 0
    assert len(world.run_once()) == 100
    assert world.workers.most_running == limit
    counts = world.store.target_counts()
    assert counts[TargetCondition.IN_SYNC] == 100
    world.store.close()


def test_stopping_lets_looks_end_and_then_ends_the_workers(world, monkeypatch):
    """What was cut is not recorded, and looked at by the next controller."""
    monkeypatch.setattr(driver, "DRAIN_SECONDS", 0.2)
    world.workers.gate.clear()
    loop = world.build_loop()
    runner = threading.Thread(target=loop.run_until_stopped, args=(lambda: None,))
    runner.start()
    deadline = time.monotonic() + 60
    while not world.workers.asked and time.monotonic() < deadline:
        world.clock.advance(3)
        loop.fetch_soon("acme")
        time.sleep(0.01)
    loop.request_stop()
    runner.join(60)
    assert not runner.is_alive()
    assert world.workers.is_closed
    assert world.store.newest_runs(PROD, 9) == []
    assert world.store.target_counts()[TargetCondition.NOT_LOOKED_AT] == 2
    assert world.run_once() == ["acme/dev", "acme/prod"]


def test_another_runs_apply_is_not_told_as_drift(world):
    """A look whose state was locked all along is made again soon, and not recorded."""
    world.run_once()
    world.workers.results["acme/prod"] = replace(DRIFT, held_up_by_run="run 7")
    world.clock.advance(700)
    assert "acme/prod" in world.run_once()
    assert world.inbox.messages == []
    world.workers.results["acme/prod"] = IN_SYNC
    assert world.run_once(after=31) == ["acme/prod"]
    assert world.inbox.messages == []


@pytest.mark.parametrize("ends", ["a new head", "the same head", "an unusable head", "a failure"])
def test_a_source_is_removed_while_it_is_fetched(world, ends):
    """The fetch ends without an error of its own, and brings nothing back."""
    loop = world.build_loop()
    world.start(loop)
    begun, released = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert released.wait(60)

    world.repository.broken = {"c2"} if ends == "an unusable head" else set()
    if ends in {"a new head", "an unusable head"}:
        world.repository.push("c2", dev="d2", prod="p2")
    world.repository.during_fetch = wait
    world.repository.is_away = ends == "a failure"
    acme = world.settings.sources["acme"]
    world.clock.advance(700)
    loop._go_round()
    assert begun.wait(60)
    world.settings = replace(world.settings, sources={})
    loop._reload = world.configure
    loop.request_reload()
    loop._go_round()
    assert world.store.list_configured_sources() == []
    released.set()
    world.settle(loop)
    world.clock.advance(60)
    world.settle(loop)
    assert "internal error" not in world.log.getvalue()
    assert world.store.list_configured_sources() == []
    assert not world.store.target_page(TargetFilter(), 0, 10).targets
    world.repository.is_away, world.repository.broken = False, set()
    world.settings = replace(world.settings, sources={"acme": acme})
    loop.request_reload()
    world.clock.advance(60)
    world.settle(loop)
    page = world.store.target_page(TargetFilter(), 0, 10)
    assert {str(one.name) for one in page.targets} == {"acme/dev", "acme/prod"}


def test_a_configuration_is_taken_over_while_it_runs(world):
    """Targets without a rule are left alone, removed sources vanish, and come back as they were."""
    loop = world.build_loop()
    loop._take_part()
    world.settle(loop, after=0)
    world.settle(loop, after=2)
    acme = world.settings.sources["acme"]

    def take(**sources: Source) -> None:
        world.settings = replace(world.settings, sources=sources)
        loop._reload = world.configure
        loop.request_reload()
        world.settle(loop, after=6)

    def list_names() -> list[str]:
        page = world.store.target_page(TargetFilter(), 0, 10)
        return sorted(str(row.name) for row in page.targets)

    take(acme=replace(acme, rules=(TargetRule("prod"),)))
    assert list_names() == ["acme/prod"]
    take()
    assert list_names() == []
    assert world.store.list_configured_sources() == []
    take(acme=acme)
    assert list_names() == ["acme/dev", "acme/prod"]
    assert [row.number for row in world.store.newest_revisions("acme", 9)] == [1]
    loop._reload = lambda: None
    loop.request_reload()
    world.settle(loop)
    assert list_names() == ["acme/dev", "acme/prod"]


def test_a_new_rule_holds_also_where_the_first_fetch_after_it_fails(world):
    """The comparison that the configuration asked for is made at the next fetch, at the same head."""
    world.run_once()
    loop = world.build_loop()
    loop._take_part()
    world.settle(loop)
    acme = world.settings.sources["acme"]
    world.settings = replace(
        world.settings, sources={"acme": replace(acme, rules=(TargetRule("prod"),))}
    )
    list_targets = world.repository.list_targets

    def fail(commit: str) -> None:
        raise SourceUnavailable(error_finding("The repository is not read"))

    world.repository.list_targets = fail
    loop._reload = world.configure
    loop.request_reload()
    world.settle(loop, after=6)
    world.repository.list_targets = list_targets
    for _ in range(8):
        world.settle(loop, after=300)
    page = world.store.target_page(TargetFilter(), 0, 10)
    assert [str(row.name) for row in page.targets] == ["acme/prod"]


@pytest.mark.parametrize("head", ["stays", "moves and is unusable"])
def test_what_only_a_moved_pin_named_for_credentials_stays_closed(world, head):
    """No head came between its two moves, or one that no target gets."""
    acme = replace(world.settings.sources["acme"], may_read=MayRead(("ACME_*",)))
    world.settings = replace(world.settings, sources={"acme": acme})
    repository = world.repository
    repository.pin = "p1"
    repository.credentials = {("p2", "prod"): ("ACME_VAULT_TOKEN", "OTHER_TOKEN")}
    loop = world.begin()
    repository.pin = "p2"
    if head != "stays":
        repository.push("broken")
        repository.broken.add("broken")
    world.settle(loop, after=700)
    repository.pin = "p3"
    repository.push("c2", prod="new inputs")
    world.settle(loop, after=700)
    closed = [order.closed for order in world.workers.looks if order.name == "prod"][-1]
    assert list(closed) == ["ACME_VAULT_TOKEN"]


@pytest.mark.parametrize("is_apply", [False, True])
def test_what_a_pin_named_between_two_fetches_stays_closed(world, is_apply):
    """A worker reads the pin at a commit whose names are remembered, though no fetch told of it."""
    acme = replace(world.settings.sources["acme"], may_read=MayRead(("ACME_*",)))
    world.settings = replace(world.settings, sources={"acme": acme})
    world.set_rules(TargetRule("*", mode=Mode.AUTO))
    repository, workers = world.repository, world.workers
    repository.pin = "p1"
    repository.credentials = {("p2", "prod"): ("ACME_VAULT_TOKEN", "OTHER_TOKEN")}
    loop = world.begin()

    def move_pin(*_: object) -> None:
        repository.pin = "p2"

    newer, read_pin = repository.find_newer_head, repository.read_pin
    if is_apply:  # before an apply a newer head is asked for
        workers.results["acme/prod"] = plan_of(row("plugin/a"))
        repository.find_newer_head = lambda commit: move_pin() or newer(commit)
    else:  # as soon as a look may ask, which may begin before the fetch has ended
        repository.read_pin = lambda: move_pin() or read_pin()
    repository.push("c2", prod="new inputs")
    world.settle(loop, after=61)
    repository.find_newer_head, repository.read_pin = newer, read_pin
    orders = workers.applies if is_apply else workers.looks
    read = [order for order in orders if order.name == "prod"][-1]
    assert (read.commit, read.project_from) == ("c2", "p2")
    assert list(read.closed) == ["ACME_VAULT_TOKEN"]
    repository.pin = "p3"
    repository.push("c3", prod="newer inputs")
    world.settle(loop, after=61)
    last = [order for order in workers.looks if order.name == "prod"][-1]
    assert (last.project_from, list(last.closed)) == ("p3", ["ACME_VAULT_TOKEN"])


def test_a_pin_that_cannot_be_read_fails_a_look_and_not_the_controller(world):
    """Nobody can tell what it closes, so nothing is read by it; the next look tries again."""
    repository = world.repository
    repository.pin = "p1"
    loop = world.begin()
    repository.pin = "p2"
    repository.unreadable.add(repository.head)
    world.settle(loop, after=700)
    assert world.get_target("prod").state is TargetCondition.FAILING
    repository.unreadable.clear()
    world.settle(loop, after=700)
    assert world.get_target("prod").state is not TargetCondition.FAILING
    assert world.workers.looks[-1].project_from == "p2"


def test_what_a_head_named_that_no_rollout_can_use_stays_closed(world):
    """Its targets were read, though none of them came to it."""
    acme = replace(world.settings.sources["acme"], may_read=MayRead(("ACME_*",)))
    world.settings = replace(world.settings, sources={"acme": acme})
    # The first head has no target of that name, which a rollout must not have in mode observe.
    world.set_rollouts(Rollout("all", "acme", (Wave(targets=("new",)),)))
    loop = world.begin()
    repository = world.repository
    repository.push("c2", new="inputs")
    repository.credentials = {("c2", "prod"): ("ACME_VAULT_TOKEN",)}
    world.settle(loop, after=700)
    assert world.store.find_revision("acme", "c2").finding is not None
    del repository.inputs["c2"]["new"]
    repository.push("c3", prod="new inputs")
    world.settle(loop, after=700)
    closed = [order.closed for order in world.workers.looks if order.name == "prod"][-1]
    assert list(closed) == ["ACME_VAULT_TOKEN"]


def test_a_webhook_makes_one_poll_come_sooner(world):
    """A flood of them no more than one in five seconds; an unknown source none."""
    loop = world.build_loop()
    loop._take_part()
    world.settle(loop)
    for _ in range(20):
        loop.fetch_soon("acme")
        loop.fetch_soon("unknown")
        world.settle(loop)
    assert world.repository.fetches == 1
    world.clock.advance(6)
    loop.fetch_soon("acme")
    world.settle(loop)
    assert world.repository.fetches == 2


def test_health_and_log_tell_what_was_done(world):
    """Counts by outcome; one line a head and a look that found something new."""
    world.workers.results["acme/prod"] = FAILURE
    world.run_once()
    lines = world.log.getvalue().splitlines()
    assert any("head accepted source=acme commit=c1 number=1" in line for line in lines)
    # So that the audit's end stands elsewhere, too.
    (audited,) = world.store.audit_rows(1)
    assert any(f"audit row=1 digest={audited.digest}" in line for line in lines)
    failing = next(line for line in lines if "target=acme/prod" in line)
    assert " warn look " in failing
    assert "summary=Broken" in failing
    loop = world.build_loop()
    assert loop.read_health().round_age is None
    loop._take_part()
    world.settle(loop)
    assert loop.read_health().round_age == 0.0


@pytest.mark.parametrize("is_apply", [False, True])
def test_a_source_that_goes_while_its_target_is_claimed(world, is_apply):
    """Another configuration is taken after the claim, before the look or the apply: it goes on."""
    world.set_rules(TargetRule("*", mode=Mode.AUTO))
    loop = world.begin()
    world.workers.results["acme/prod"] = plan_of(row("plugin/a"))
    find, acme, asked = world.store.find_source, world.settings.sources["acme"], 0

    def find_then_take_configuration(name: str) -> SourceRow | None:
        # Of what is read while a request to a worker is made, the source's row is the first.
        nonlocal asked
        asked += sys._getframe(1).f_code.co_name == "find_closed_credentials"
        if asked > is_apply:
            world.settings = replace(world.settings, sources={})
            loop._parts.configured = world.configure()
        return find(name)

    world.store.find_source = find_then_take_configuration
    world.repository.push("c2", prod="p2")
    loop.fetch_soon("acme")
    world.settle(loop, after=61)
    assert asked > is_apply
    assert "internal error" not in world.log.getvalue()
    world.store.find_source = find
    world.settings = replace(world.settings, sources={"acme": acme})
    loop._reload = world.configure
    loop.request_reload()
    world.settle(loop, after=700)
    target = world.get_target("prod")
    assert (target.state, target.applied_commit) == (TargetCondition.IN_SYNC, "c2")
    # The apply that was asked for without a rule had no permit.
    assert len(world.workers.applies) == 1 + is_apply
