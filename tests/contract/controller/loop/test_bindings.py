"""For what a rule was given: a target that means another backend is held until people accept it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, timedelta

import pytest
import requests
from contract.controller.loop.stand_ins import World, plan_of, row
from unit.views import plan_samples

from synapse_apply.controller.configuration.secrets import AccessSecrets
from synapse_apply.controller.loop import deciding
from synapse_apply.controller.loop.driver import ControllerLoop
from synapse_apply.controller.page.run_documents import parse_readable_plan
from synapse_apply.controller.page.server import PageServer
from synapse_apply.controller.planned_rows import Binding, PlannedRow
from synapse_apply.controller.ports import ActionRefused, RunResult
from synapse_apply.controller.rows import (
    ApprovalRow,
    HoldRow,
    TargetCondition,
    TargetName,
    TargetProgress,
)
from synapse_apply.controller.settings import (
    DAY,
    AccessRule,
    Mode,
    Right,
    Source,
    TargetRule,
    Window,
)
from synapse_apply.controller.store.store_writer import find_first_broken_audit_row
from synapse_apply.controller.worker.look import build_result_of_plan
from synapse_apply.model.cron import Cron
from synapse_apply.model.plan import Plan
from synapse_apply.model.values import Sensitive

AUTO = TargetRule("*", mode=Mode.AUTO)
DEV, PROD = TargetName("acme", "dev"), TargetName("acme", "prod")
ANN, BOB, KIM = "proxy:ann", "token:bob", "proxy:kim"
AT_DEV = Binding("https://dev:443", "l-dev", "env DEV_TOKEN")
AT_PROD = Binding("https://prod:443", "l-prod", "env PROD_TOKEN")
CHANGE = row("plugin/a")
SECRET = "c4n4ry-secret-0123456789"


def find(binding: Binding, *rows: PlannedRow) -> RunResult:
    """What a look finds at a backend."""
    return replace(plan_of(*rows), binding=binding)


def look(world: World, loop: ControllerLoop, target: str, result: RunResult) -> None:
    """Have a push to a target be looked at, of which a look finds this."""
    world.workers.results[f"acme/{target}"] = result
    world.repository.push(f"{world.repository.head}+", **{target: f"{target} {world.clock.wall}"})
    world.clock.advance(61)
    loop.fetch_soon("acme")
    world.settle(loop)


def list_bound(world: World) -> list[str]:
    """What the audit has of bindings, oldest first."""
    rows = world.store.iter_audit()
    return [f"{row.subject}: {row.detail}" for row in rows if row.action == "bind"]


def start(world: World, *rules: TargetRule) -> ControllerLoop:
    """A loop whose targets are bound, each to its backend."""
    world.set_rules(*rules)
    world.workers.results = {"acme/dev": find(AT_DEV), "acme/prod": find(AT_PROD)}
    return world.begin()


def find_move(world: World, name: TargetName) -> HoldRow:
    """The row that says that a target means another backend; it can be approved."""
    holds = world.store.list_holds(name)
    (hold,) = [hold for hold in holds if hold.held_row.row.address == "binding"]
    assert hold.held_row.can_be_approved
    return hold


def list_approvals(world: World) -> list[ApprovalRow]:
    return list(world.store.list_approvals(DEV))


def accept(world: World, loop: ControllerLoop, who: str, name: TargetName) -> None:
    hold = find_move(world, name)
    world.approve(who, hold.row_digest, target=name)
    world.settle(loop)


def test_the_first_look_binds_and_is_in_the_audit(world):
    """Nothing is held; a look that finds the same writes no more of it."""
    loop = start(world, AUTO)
    assert sorted(list_bound(world)) == [
        "acme/dev: https://dev:443, state l-dev, token: env DEV_TOKEN",
        "acme/prod: https://prod:443, state l-prod, token: env PROD_TOKEN",
    ]
    look(world, loop, "dev", find(AT_DEV, CHANGE))
    assert [request.target for request in world.workers.applies] == [DEV]
    assert world.workers.applies[0].binding == AT_DEV
    assert len(list_bound(world)) == 2


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize(
    "other",
    [
        replace(AT_DEV, backend="https://other:443"),
        replace(AT_DEV, backend="https://dev:443 tenant"),
        replace(AT_DEV, lineage="l-other"),
    ],
)
def test_another_binding_is_held_until_somebody_accepts_it(world, mode, other):
    """In every mode, however much else there is to do; then its rule holds for that one."""
    loop = start(world, TargetRule("*", mode=mode))
    look(world, loop, "dev", replace(find(other, CHANGE), is_state_behind=True))
    target = world.get_target("dev")
    assert (target.state, target.progress) == (TargetCondition.HELD, TargetProgress.HELD)
    assert (target.binding, target.found_binding) == (AT_DEV, other)
    assert "now points to a different backend" in find_move(world, DEV).held_row.row.summary
    world.settle(loop, after=2 * DAY)
    assert world.workers.applies == []
    assert "held acme/dev" in world.inbox.describe()
    accept(world, loop, ANN, DEV)
    assert world.get_target("dev").binding == other
    assert list_bound(world)[-1].endswith("1 of 1 approval, by proxy:ann")
    # In mode approve what is to be written to the state alone.
    is_applied = mode is not Mode.OBSERVE
    assert [request.binding for request in world.workers.applies] == [other] * is_applied
    moves = [hold for hold in world.store.list_holds(DEV) if hold.held_row.row.address == "binding"]
    assert moves == []


def test_as_many_accept_it_as_the_rule_asks_for(world):
    """And no author, where those do not count; a rejection takes it back."""
    loop = start(world, replace(AUTO, approvals=2, not_author=True))
    look(world, loop, "dev", find(replace(AT_DEV, lineage="l-2"), CHANGE))
    with pytest.raises(Exception, match="author cannot approve"):
        accept(world, loop, KIM, DEV)
    accept(world, loop, ANN, DEV)
    assert world.get_target("dev").binding == AT_DEV
    hold = find_move(world, DEV)
    world.reject(BOB, "no", hold.row_digest, target=DEV)
    accept(world, loop, BOB, DEV)
    assert world.get_target("dev").binding == AT_DEV
    assert world.workers.applies == []
    accept(world, loop, ANN, DEV)
    assert len(world.workers.applies) == 1


def test_no_target_is_bound_by_approvals_that_a_rejection_took_back(world):
    """The rejection waits for the store while the look that was asked for ends, and comes first."""
    loop = start(world, AUTO)
    other = replace(AT_DEV, backend="https://other:443")
    look(world, loop, "dev", find(other, CHANGE))
    digest = find_move(world, DEV).row_digest
    world.act_during_look(
        find(other, CHANGE),
        lambda: world.reject(BOB, "that is a customer's", digest, target=DEV),
        "acme/dev",
    )
    world.approve(ANN, digest, target=DEV)
    world.settle(loop)
    assert (world.get_target("dev").binding, world.workers.applies) == (AT_DEV, [])
    assert (list_bound(world)[2:], list_approvals(world)) == ([], [])
    hold = find_move(world, DEV)
    assert (hold.rejected_by, hold.rejected_reason) == (BOB, "that is a customer's")


def test_what_was_accepted_once_is_not_accepted_again(world):
    """A target that went back is held, and held again where it was before."""
    loop, other = start(world, AUTO), replace(AT_DEV, lineage="l-2")
    look(world, loop, "dev", find(other))
    accept(world, loop, ANN, DEV)
    for binding in (AT_DEV, other):
        look(world, loop, "dev", find(binding, CHANGE))
        assert world.get_target("dev").state is TargetCondition.HELD or binding == other
    assert world.get_target("dev").binding == other
    look(world, loop, "dev", find(AT_DEV, CHANGE))
    accept(world, loop, ANN, DEV)
    count = len(world.workers.applies)
    look(world, loop, "dev", find(other, CHANGE))
    assert world.get_target("dev").state is TargetCondition.HELD
    assert len(world.workers.applies) == count


def test_what_was_approved_for_another_backend_ends_in_the_audit(world):
    """Whoever asks why an approval counts no more finds who gave it, for what, and why it ended."""
    loop = start(world, TargetRule("*", mode=Mode.APPROVE, approvals=2))
    look(world, loop, "dev", find(AT_DEV, CHANGE, replace(CHANGE, digest="row1:second")))
    world.approve(ANN, CHANGE, "row1:second", target=DEV)
    world.approve(BOB, "row1:second", target=DEV)
    world.settle(loop)
    (used,) = {one.used_by_run for one in list_approvals(world) if one.row_digest == "row1:second"}
    assert used
    look(world, loop, "dev", find(replace(AT_DEV, lineage="l-2"), CHANGE))
    rows = [*world.store.iter_audit()]
    assert find_first_broken_audit_row(rows) is None
    assert [(row.who, row.subject, row.detail) for row in rows if row.action == "end approval"] == [
        (
            "controller:main",
            "acme/dev",
            (
                f"given for another backend or state: update plugin/a ({CHANGE.digest}); "
                "approved by proxy:ann"
            ),
        )
    ]
    assert {one.row_digest for one in list_approvals(world)} == {"row1:second"}
    look(world, loop, "dev", find(AT_DEV, CHANGE))
    rows = [*world.store.iter_audit()]
    assert [row.action for row in rows].count("end approval") == 1


def test_a_second_name_of_one_backend_is_refused(world):
    """The one that was seen later; the first goes on, under the strictest rule of both."""
    approve = TargetRule("prod", mode=Mode.APPROVE)
    loop = start(world, approve, AUTO)
    look(world, loop, "dev", find(AT_PROD, CHANGE))
    target = world.get_target("dev")
    assert (target.state, target.hold_count) == (TargetCondition.FAILING, 0)
    run = world.store.find_run(target.last_run)
    assert "acme/prod already uses" in run.findings[0].detail
    assert "forget-rule acme/prod" in str(run.findings[0].hint)
    # The other way round: prod reaches what dev is bound to.
    look(world, loop, "dev", find(AT_DEV))
    look(world, loop, "prod", find(AT_DEV, CHANGE))
    assert world.get_target("prod").state is TargetCondition.FAILING
    look(world, loop, "dev", find(AT_DEV, CHANGE))
    assert world.get_target("dev").state is TargetCondition.HELD
    assert world.workers.applies == []
    look(world, loop, "prod", find(AT_PROD))
    look(world, loop, "dev", find(AT_DEV, CHANGE))
    assert [request.target for request in world.workers.applies] == [DEV]


@pytest.mark.parametrize("first", ["dev", "prod"])
def test_a_tenant_in_other_letters_is_no_other_state(world, first):
    """The second name is refused, and the first goes on under the strictest rule of both."""
    world.set_rules(TargetRule("prod", mode=Mode.APPROVE), AUTO)
    second = "prod" if first == "dev" else "dev"
    of_first, of_second = (replace(AT_PROD, backend=f"https://prod:443 {t}") for t in ("T", "t"))
    world.workers.results = {f"acme/{first}": find(of_first)}
    loop = world.begin()
    look(world, loop, second, find(of_second, CHANGE))
    assert world.get_target(second).state is TargetCondition.FAILING
    look(world, loop, first, find(of_first, CHANGE))
    assert world.get_target(first).state is TargetCondition.HELD
    assert world.workers.applies == []


def test_two_names_that_were_bound_to_one_tenant_before_both_go_on(world):
    """An earlier version took its letters for two tenants; now the stricter rule holds for both."""
    loop, rows = start(world, TargetRule("prod", mode=Mode.APPROVE), AUTO), {}
    for name, tenant in ((DEV, "T"), (PROD, "t")):
        binding = replace(AT_PROD, backend=f"https://prod:443 {tenant}")
        rows[name] = replace(world.get_target(name.target), binding=binding, found_binding=binding)
    with world.store.write() as writer:
        for row_before in rows.values():
            writer.put(row_before)
    for name, row_before in rows.items():
        assert row_before.binding is not None
        look(world, loop, name.target, find(row_before.binding, CHANGE))
        assert world.get_target(name.target).state is TargetCondition.HELD
        assert [hold.row_digest for hold in world.store.list_holds(name)] == [CHANGE.digest]
    assert world.workers.applies == []


def test_a_target_whose_tenant_changes_its_letters_is_held(world):
    """A backend may tell them apart."""
    loop, of_tenant = start(world, AUTO), replace(AT_DEV, backend="https://dev:443 devt")
    look(world, loop, "dev", find(of_tenant))
    accept(world, loop, ANN, DEV)
    look(world, loop, "dev", find(replace(AT_DEV, backend="https://dev:443 DEVT"), CHANGE))
    assert "DEVT" in find_move(world, DEV).held_row.row.summary
    assert world.workers.applies == []


def test_a_pause_of_the_second_name_holds_for_the_first(world):
    """Of people as well; it ends with the other name."""
    loop = start(world, AUTO)
    world.pause(ANN, "acme/prod", "freeze", DAY)
    look(world, loop, "prod", find(AT_DEV))
    look(world, loop, "dev", find(AT_DEV, CHANGE))
    assert world.get_target("dev").state is TargetCondition.PAUSED
    assert world.workers.applies == []


def test_an_apply_on_request_heeds_the_windows_of_both_names(world):
    """Nothing is applied where they differ, though the mode of the first is observe."""
    day, night = (
        Window(Cron.parse(f"0 {hour} * * *"), timedelta(hours=8), UTC) for hour in (0, 12)
    )
    loop = start(
        world,
        TargetRule("prod", mode=Mode.APPROVE, windows=(night,)),
        TargetRule("*", mode=Mode.OBSERVE, windows=(day,)),
    )
    look(world, loop, "dev", find(AT_DEV, CHANGE))
    look(world, loop, "prod", find(AT_DEV))
    with pytest.raises(ActionRefused, match="Only a target in mode observe is applied on request"):
        loop.get_people_actions().apply_now_or_refuse(ANN, DEV, [CHANGE.digest])


def test_others_can_write_while_an_apply_on_request_reads_its_plan(world, monkeypatch, tmp_path):
    """A large one takes seconds. What a look has found meanwhile is another plan."""
    loop = start(world, TargetRule("*", mode=Mode.OBSERVE))
    found = replace(build_result_of_plan(plan_samples.PLANS["create"]), binding=AT_DEV)
    look(world, loop, "dev", found)
    row, *_ = found.rows
    people = loop.get_people_actions()

    def read_beside_a_writer(text: str) -> Plan | None:
        with closing(sqlite3.connect(next(tmp_path.glob("*.db")), timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")
        return parse_readable_plan(text)

    monkeypatch.setattr(deciding, "parse_readable_plan", read_beside_a_writer)
    people.apply_now_or_refuse(ANN, DEV, [row.digest])
    assert world.get_target("dev").is_applied_now

    def read_before_a_look(text: str) -> Plan | None:
        look(world, loop, "dev", find(AT_DEV, CHANGE))
        return parse_readable_plan(text)

    monkeypatch.setattr(deciding, "parse_readable_plan", read_before_a_look)
    with pytest.raises(ActionRefused, match="The rows have changed"):
        people.apply_now_or_refuse(ANN, DEV, [row.digest])


def test_a_removed_and_a_renamed_target_keep_their_memory(world):
    """No other name takes the place of one that is gone; itself comes back as it was."""
    loop = start(world, TargetRule("prod", mode=Mode.APPROVE), AUTO)
    inputs = world.repository.inputs[world.repository.head]
    del inputs["prod"]
    look(world, loop, "prod2", find(AT_PROD, CHANGE))
    assert world.get_target("prod").is_gone
    assert world.get_target("prod2").state is TargetCondition.FAILING
    del world.repository.inputs[world.repository.head]["prod2"]
    look(world, loop, "prod", find(AT_PROD, CHANGE))
    assert world.get_target("prod").state is TargetCondition.HELD
    assert [hold.row_digest for hold in world.store.list_holds(PROD)] == [CHANGE.digest]
    assert world.workers.applies == []


@pytest.mark.parametrize("mode", [Mode.APPROVE, Mode.OBSERVE])
def test_a_new_name_at_a_backend_of_a_stricter_rule_is_held(world, mode):
    """Though it has a state of its own: whoever may push could make one."""
    loop = start(world, TargetRule("prod", mode=mode), AUTO)
    look(world, loop, "new", find(replace(AT_PROD, lineage="l-new"), CHANGE))
    assert world.get_target("new").state is TargetCondition.HELD
    assert world.workers.applies == []
    look(world, loop, "other", find(Binding("https://other:443", "l-other"), CHANGE))
    assert len(world.workers.applies) == 1
    accept(world, loop, ANN, TargetName("acme", "new"))
    assert len(world.workers.applies) == 2


def test_another_variable_of_the_token_of_a_tenant_is_a_warning(world):
    """In that run and in the audit; what there is to do is done."""
    loop, of_tenant = start(world, AUTO), replace(AT_DEV, backend="https://dev:443 devt")
    look(world, loop, "dev", find(of_tenant))
    accept(world, loop, ANN, DEV)
    look(world, loop, "dev", find(replace(of_tenant, token="env OTHER_TOKEN"), CHANGE))
    assert len(world.workers.applies) == 1
    assert list_bound(world)[-1] == "acme/dev: token: env OTHER_TOKEN, not env DEV_TOKEN"
    assert "bind target=acme/dev" in world.log.getvalue()


@pytest.mark.parametrize("mode", list(Mode))
def test_another_token_without_a_tenant_is_held(world, mode):
    """It may be for another tenant; an approval of one token is for no other one."""
    loop = start(world, TargetRule("*", mode=mode, approvals=2))
    others = [replace(AT_DEV, token=f"env {name}_TOKEN") for name in ("OTHER", "THIRD")]
    for other in others:
        look(world, loop, "dev", find(other, CHANGE))
        summary = find_move(world, DEV).held_row.row.summary
        assert f"{other.token}, not env DEV_TOKEN" in summary
        accept(world, loop, ANN, DEV)
    assert world.workers.applies == []
    bound = world.get_target("dev").binding
    assert bound.token == "env DEV_TOKEN"
    accept(world, loop, BOB, DEV)
    bound = world.get_target("dev").binding
    assert bound.token == "env THIRD_TOKEN"
    assert len(world.workers.applies) == (mode is Mode.AUTO)


def test_what_was_approved_before_a_move_is_not_approved_after_it(world):
    """Whichever way it went: of the rows, and of the move."""
    loop = start(world, TargetRule("prod", mode=Mode.APPROVE, approvals=2), AUTO)
    other = replace(AT_PROD, token="env OTHER_TOKEN")
    look(world, loop, "prod", find(AT_PROD, CHANGE))
    world.approve(ANN, CHANGE)
    look(world, loop, "prod", find(other, CHANGE))
    accept(world, loop, ANN, PROD)
    world.approve(BOB, CHANGE)
    accept(world, loop, BOB, PROD)
    assert world.get_target("prod").binding == other
    assert world.workers.applies == []
    world.approve(ANN, CHANGE)
    world.settle(loop)
    assert [request.target for request in world.workers.applies] == [PROD]


@pytest.mark.parametrize(
    ("there", "new"),
    [
        ("https://prod:443", "https://prod:443 prodt"),
        ("https://prod:443 prodt", "https://prod:443"),
        ("https://prod:443 prodt", "https://prod:443 PRODT"),
        ("https://prod:443 ProdT", "https://prod:443 pRODt"),
    ],
)
def test_a_stricter_rule_holds_where_both_may_have_one_tenant(world, there, new):
    """One has none, which its token tells, or it is written in other letters."""
    world.set_rules(TargetRule("prod", mode=Mode.APPROVE), AUTO)
    world.workers.results = {"acme/prod": find(replace(AT_PROD, backend=there))}
    loop = world.begin()
    look(world, loop, "new", find(Binding(new, "l-new"), CHANGE))
    assert (
        "The stricter rule of" in find_move(world, TargetName("acme", "new")).held_row.row.summary
    )
    assert world.workers.applies == []
    if there != "https://prod:443":
        look(world, loop, "own", find(Binding("https://prod:443 own", "l-own"), CHANGE))
        assert len(world.workers.applies) == 1


@pytest.mark.parametrize("declared", ["https://prod:443", "https://prod:443 PRODT"])
def test_a_target_that_was_never_looked_at_counts_by_what_the_commit_says(world, declared):
    """Its backend may have been down, or it has no state yet."""
    world.set_rules(TargetRule("prod", mode=Mode.APPROVE), AUTO)
    world.workers.results = {"acme/prod": find(replace(AT_PROD, lineage=""))}
    world.repository.backends = {"prod": declared}
    loop = world.begin()
    look(world, loop, "new", find(Binding("https://prod:443 prodt", "l-new"), CHANGE))
    assert "The stricter rule of acme/prod" in (
        find_move(world, TargetName("acme", "new")).held_row.row.summary
    )
    assert world.workers.applies == []
    look(world, loop, "own", find(Binding("https://own:443 prodt", "l-own"), CHANGE))
    assert len(world.workers.applies) == 1


def test_a_pause_by_people_holds_for_a_new_name_at_that_backend(world):
    """While it lasts; one that holds for both holds neither binding."""
    loop = start(world, AUTO)
    world.pause(ANN, "acme/prod", "freeze", DAY)
    look(world, loop, "new", find(replace(AT_PROD, lineage="l-new"), CHANGE))
    assert world.get_target("new").state is TargetCondition.HELD
    world.pause(ANN, "acme/*", "freeze", 2 * DAY)
    look(world, loop, "new2", find(replace(AT_PROD, lineage="l-new2"), CHANGE))
    assert world.get_target("new2").state is TargetCondition.PAUSED
    assert world.workers.applies == []


def test_what_gets_stricter_later_stops_no_other_state(world):
    """Two states of one backend that were bound before own different objects; a pattern stops both."""
    loop = start(world, AUTO)
    own, other = replace(AT_PROD, lineage="l-new"), TargetName("acme", "new")
    look(world, loop, "new", find(own))
    world.pause(ANN, "acme/prod", "freeze", DAY)
    look(world, loop, "new", find(own, CHANGE))
    assert [request.target for request in world.workers.applies] == [other]
    world.pause(ANN, "acme/*", "freeze", DAY)
    look(world, loop, "new", find(own, row("plugin/b")))
    assert world.get_target("new").state is TargetCondition.PAUSED
    assert len(world.workers.applies) == 1


def test_a_move_to_a_backend_of_a_stricter_rule_is_for_its_people(world):
    """Who may approve the one that moved alone has not accepted it, nor too few of the others."""
    access = world.settings.access
    assert access is not None
    only_dev = AccessRule(("proxy:dan",), frozenset(Right), ("acme/dev",))
    access = replace(access, rules=(*access.rules, only_dev))
    world.settings = replace(world.settings, access=access)
    loop = start(world, TargetRule("prod", mode=Mode.APPROVE, approvals=2), AUTO)
    look(world, loop, "dev", find(replace(AT_PROD, lineage="l-own"), CHANGE))
    assert "The stricter rule of another target" in find_move(world, DEV).held_row.row.summary
    assert "others=acme/prod" in world.log.getvalue()
    for who in ("proxy:dan", ANN):
        accept(world, loop, who, DEV)
        assert world.get_target("dev").binding == AT_DEV
    assert world.workers.applies == []
    accept(world, loop, BOB, DEV)
    assert len(world.workers.applies) == 1


def test_a_move_beside_a_rule_that_counts_no_author_is_for_no_author(world):
    """Eve wrote the commit, and may approve both targets."""
    world.repository.authors = ("Eve", "eve@acme.example")
    loop = start(world, TargetRule("prod", mode=Mode.AUTO, not_author=True), AUTO)
    look(world, loop, "dev", find(replace(AT_PROD, lineage="l-own"), CHANGE))
    accept(world, loop, "proxy:eve", DEV)
    assert world.get_target("dev").binding == AT_DEV
    accept(world, loop, ANN, DEV)
    assert world.get_target("dev").binding == replace(AT_PROD, lineage="l-own")


def test_a_source_that_the_operator_took_out_leaves_its_place(world):
    """Its rules are gone with it; so that a source can have another name."""
    start(world, AUTO)
    source = world.settings.sources["acme"]
    world.settings = replace(world.settings, sources={"other": replace(source, name="other")})
    world.workers.results = {"other/dev": find(AT_DEV), "other/prod": find(AT_PROD)}
    world.begin()
    for target, binding in (("dev", AT_DEV), ("prod", AT_PROD)):
        row = world.store.find_target(TargetName("other", target))
        assert (row.state, row.binding) == (TargetCondition.IN_SYNC, binding)
        assert world.get_target(target).binding is None


@pytest.mark.parametrize("decoy", ["declared beside", "seen before"])
def test_a_decoy_hides_no_stricter_rule(world, decoy):
    """A name of mode observe, at the same backend: who may approve there still has to."""
    access = world.settings.access
    assert access is not None
    dan = AccessRule(("proxy:dan",), frozenset(Right), ("acme/dev*", "acme/zz"))
    world.settings = replace(world.settings, access=replace(access, rules=(*access.rules, dan)))
    loop = start(
        world,
        TargetRule("dev", mode=Mode.AUTO),
        TargetRule("prod", mode=Mode.APPROVE, approvals=2),
        TargetRule("*"),
    )
    if decoy == "seen before":
        look(world, loop, "zz", find(AT_DEV))
    else:
        world.repository.backends = {"dev-a": AT_PROD.backend}
        world.repository.push(f"{world.repository.head}+", **{"dev-a": "x"})
    look(world, loop, "dev", find(replace(AT_PROD, lineage="l-own"), CHANGE))
    assert "another target of this controller" in find_move(world, DEV).held_row.row.summary
    assert "acme/prod" in world.log.getvalue().rpartition("binding beside others")[2]
    accept(world, loop, "proxy:dan", DEV)
    assert world.get_target("dev").binding == AT_DEV
    assert world.workers.applies == []


def test_a_name_of_another_source_changes_no_rule(world):
    """It is refused itself; sources do not trust one another."""
    acme = world.settings.sources["acme"]
    beta = Source("beta", "url", rules=(TargetRule("*"),))
    loop = start(world, AUTO)
    world.settings = replace(
        world.settings, sources={"acme": replace(acme, rules=(AUTO,)), "beta": beta}
    )
    world.workers.results |= {"beta/dev": find(AT_DEV, CHANGE), "beta/prod": find(AT_PROD)}
    loop.request_stop()
    loop = world.begin()
    run = world.store.find_run(world.store.find_target(TargetName("beta", "dev")).last_run)
    assert run.findings[0].summary == "Another target already points to this backend and state"
    look(world, loop, "dev", find(AT_DEV, CHANGE))
    assert [request.target for request in world.workers.applies] == [DEV]
    assert world.get_target("dev").waiting_reason == ""


def test_whose_stricter_rule_counts_is_said_of_the_first_name(world):
    loop = start(world, TargetRule("prod", mode=Mode.OBSERVE), AUTO)
    look(world, loop, "prod", find(AT_DEV))
    look(world, loop, "dev", find(AT_DEV, CHANGE))
    target = world.get_target("dev")
    assert (target.state, target.waiting_reason) == (
        TargetCondition.PENDING,
        "the stricter rule of acme/prod also applies",
    )


def test_findings_of_a_target_do_not_name_what_its_readers_may_not_read(world):
    """Somebody who reads acme/dev alone; the operator has the name in the log."""
    access = world.settings.access
    assert access is not None
    only_dev = AccessRule(("proxy:dan",), frozenset({Right.READ}), ("acme/dev",))
    access = replace(access, rules=(*access.rules, only_dev))
    world.settings = replace(world.settings, access=access)
    loop = start(world, TargetRule("prod", mode=Mode.APPROVE, approvals=2), AUTO)
    look(world, loop, "dev", find(replace(AT_PROD, lineage="l-own"), CHANGE))
    summary = find_move(world, DEV).held_row.row.summary
    assert "The stricter rule of another target of this controller" in summary
    look(world, loop, "dev", find(AT_PROD, CHANGE))
    run = world.store.find_run(world.get_target("dev").last_run)
    assert "another target of this controller already uses" in run.findings[0].detail
    shown = f"{run.findings} {summary}"
    assert "acme/prod" not in shown
    assert "l-prod" not in shown
    assert "binding beside others target=acme/dev others=acme/prod" in world.log.getvalue()
    look(world, loop, "prod", find(AT_DEV))
    look(world, loop, "dev", find(AT_DEV, CHANGE))
    assert world.get_target("dev").state is TargetCondition.HELD
    assert "acme/prod" not in world.get_target("dev").waiting_reason


def test_the_page_counts_approvals_by_the_strictest_rule_of_both_names(world):
    """And so does the API; both say whose rule that is, and the page what its author is told."""
    strict = TargetRule("prod", mode=Mode.APPROVE, approvals=2, not_author=True)
    access = world.settings.access
    rules = (*access.rules, AccessRule((KIM,), frozenset(Right), ("acme/*",)))
    world.settings = replace(world.settings, access=replace(access, rules=rules))
    loop = start(world, TargetRule("dev", mode=Mode.APPROVE), strict)
    look(world, loop, "dev", find(AT_DEV, CHANGE))
    look(world, loop, "prod", find(AT_DEV))
    world.approve(ANN, CHANGE, target=DEV)
    world.settle(loop)
    secrets, clock = AccessSecrets(Sensitive(SECRET), {"bob": Sensitive(SECRET * 2)}), world.clock
    with PageServer(world.store, loop, {}, clock.read_wall, lambda: secrets) as server:
        headers = {"Authorization": f"Bearer {SECRET * 2}"}
        holds = requests.get(f"{server.url}/api/v1/holds", headers=headers, timeout=60).json()
        headers = {"X-Secret": SECRET, "X-User": "kim"}
        page = requests.get(f"{server.url}/targets/acme/dev", headers=headers, timeout=60).text
    (hold,) = holds["items"]
    assert (hold["target"], hold["approvals_needed"]) == ("acme/dev", 2)
    assert (hold["approved_by"], hold["stricter_by"]) == ([ANN], "acme/prod")
    for words in (
        "1 of 2 approvals",
        "stricter rule of acme/prod also applies",
        "You are an author",
    ):
        assert words in page
    assert world.workers.applies == []
