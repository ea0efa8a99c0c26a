"""What a rollback does: it is planned first, stays over looks, restarts and commits, and ends at the mend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from contract.controller.loop.rollout_world import (
    ANN,
    AUTO,
    BOB,
    CANARIES,
    PROD,
    TARGETS,
    RolloutWorld,
)
from contract.controller.loop.stand_ins import FAILURE, IN_SYNC, end_of, plan_of, row

from synapse_apply.controller.loop.driver import ControllerLoop
from synapse_apply.controller.loop.rollbacks import PlannedRollback
from synapse_apply.controller.outbox.messages import format_message_sentence
from synapse_apply.controller.planned_rows import PlannedRow, RowCause
from synapse_apply.controller.ports import ActionRefused, RunResult
from synapse_apply.controller.rows import (
    END_OF_ROLLBACK,
    Rollback,
    RunOutcome,
    TargetCondition,
    TargetName,
)
from synapse_apply.controller.settings import DAY, HOUR, Mode, Rollout, TargetRule
from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.errors import InputError

NAME = TargetName("acme", "prod-1")
APPROVE = TargetRule("*", mode=Mode.APPROVE)
WORD = TargetCondition.ROLLED_BACK


def content_of(text: str) -> str:
    """What of the inputs of a target is in its manifests: all but what follows a plus."""
    return text.partition("+")[0]


def planned_row(name: TargetName, text: str, cause: RowCause = RowCause.GIT) -> PlannedRow:
    """The row that brings a target to what its manifests declare."""
    digest = f"row1:{name.target} {content_of(text)}"
    return replace(row(f"plugin/{name.target}", cause=cause), digest=digest)


class ManifestWorld(RolloutWorld):
    """A world whose rows say what they do, and whose inputs have more in them than manifests."""

    def _compare(self, name: TargetName, commit: str) -> RunResult:
        text, live = self.repository.inputs[commit][name.target], self.live.get(name.target, "")
        is_live = content_of(live) == content_of(text)
        cause = RowCause.DRIFT if live.startswith("by hand") else RowCause.GIT
        return IN_SYNC if is_live else plan_of(planned_row(name, text, cause))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RolloutWorld]:
    """Targets without a rollout, live with the first head."""
    world = ManifestWorld(tmp_path, rollout=None)
    world.push("c1", "prod-1", "eu-1")
    yield world
    world.store.close()


@pytest.fixture
def loop(world: RolloutWorld) -> ControllerLoop:
    """The head is c3: c2 changed prod-1, and c3 only eu-1."""
    loop = world.begin()
    for commit, target in (("c2", "prod-1"), ("c3", "eu-1")):
        world.push(commit, target)
        world.follow(loop)
    assert world.live == {"prod-1": "c2", "eu-1": "c3"}
    world.take_writes()
    return loop


def plan(world: RolloutWorld, revision: str = "c1", name: TargetName = NAME) -> PlannedRollback:
    """What a rollback would do; nothing is done."""
    people = world.loop.get_people_actions()
    planned = people.roll_back_or_refuse(ANN, name, revision, "", "incident 4711")
    assert planned is not None
    assert planned.digest
    return planned


def roll_back(world: RolloutWorld, revision: str = "c1", name: TargetName = NAME) -> None:
    """Have a target rolled back by somebody who has seen the plan."""
    people, digest = world.loop.get_people_actions(), plan(world, revision, name).digest
    assert people.roll_back_or_refuse(ANN, name, revision, digest, "incident 4711") is None


def get_rollback(world: RolloutWorld) -> Rollback | None:
    return world.get_target("prod-1").rollback


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(ActionRefused) as caught:
        act()
    return caught.value.diagnostics[0].summary


def test_it_stays_and_ends_at_the_mend(world, loop):
    """Over commits that change nothing of it; what drifts there is put back there."""
    roll_back(world)
    world.settle(loop)
    target = world.get_target("prod-1")
    assert (world.take_writes(), target.state, target.wanted_commit) == (["prod-1 c1"], WORD, "c1")
    # The second has other inputs, and the same manifests.
    for commit, target, text in (("c3a", "eu-1", "c4"), ("c4", "prod-1", "c2+readme")):
        world.push(commit, target, text=text)
        world.follow(loop)
    assert world.take_writes() == ["eu-1 c4"]
    rollback = get_rollback(world)
    assert rollback is not None
    assert (rollback.left_commit, rollback.left_digest) == ("c4", "c2+readme")
    world.live["prod-1"] = "by hand"
    world.wait(loop, HOUR, step=600)
    assert world.take_writes() == ["prod-1 c1"]
    target = world.get_target("prod-1")
    assert (target.state, target.applied_commit, target.progress.value) == (WORD, "c1", "done")
    target_reason = target.waiting_reason
    assert target_reason == "rolled back to c1 by proxy:ann: incident 4711"
    assert end_of(world, "c4")[1] == "0 of 1 done, 1 rolled back: prod-1"
    world.push("c5", "prod-1")
    world.follow(loop)
    target = world.get_target("prod-1")
    assert (world.take_writes(), target.rollback) == (["prod-1 c5"], None)
    assert (target.state, target.wanted_commit) == (TargetCondition.IN_SYNC, "c5")
    assert end_of(world, "c5")[1] == "applied: 1 change"
    told = [
        f"{one.who} {one.action} {one.subject}: {one.detail}"
        for one in world.store.iter_audit()
        if "roll" in one.action
    ]
    assert told == [
        "proxy:ann roll back acme/prod-1: to c1 from c3: incident 4711",
        "controller:main end rollback acme/prod-1: c5 changes it; it was " + target_reason,
    ]


def test_the_earlier_content_is_a_mend_too(world, loop):
    """A revert: the target has it already, and nothing is written."""
    roll_back(world)
    world.settle(loop)
    world.take_writes()
    world.push("c4", "prod-1", text="c1")
    world.follow(loop)
    target = world.get_target("prod-1")
    assert (target.state, target.wanted_commit) == (TargetCondition.IN_SYNC, "c4")
    assert (world.take_writes(), target.rollback) == ([], None)


def test_resume_ends_it(world, loop):
    """At once, at the head; a pause of the same name ends first."""
    roll_back(world)
    world.settle(loop)
    world.pause(BOB, "acme/prod-1", "release", HOUR)
    world.settle(loop)
    world.resume(BOB, "acme/prod-1")
    world.settle(loop, after=60)
    assert get_rollback(world) is not None
    world.take_writes()
    world.resume(BOB, "acme/*")
    world.settle(loop)
    target = world.get_target("prod-1")
    assert (world.take_writes(), target.state) == (["prod-1 c2"], TargetCondition.IN_SYNC)
    assert target.wanted_commit == "c3"
    newest = world.store.newest_runs(NAME, 9)
    assert END_OF_ROLLBACK in {run.cause_detail for run in newest}
    assert refused(lambda: world.resume(BOB, "acme/*")) == "Pause not found"


def test_it_is_planned_first(world, loop):
    """Nothing is done by a plan; one that has changed since is not taken, and one that fails."""
    planned = plan(world)
    assert [(one.address, one.effect) for one in planned.rows] == [("plugin/prod-1", "applied")]
    world.follow(loop)
    assert (world.take_writes(), get_rollback(world)) == ([], None)
    people = world.loop.get_people_actions()

    def act(digest: str) -> object:
        return people.roll_back_or_refuse(ANN, NAME, "c1", digest, "why")

    assert refused(lambda: act("other")) == "The plan of the rollback has changed"
    # Somebody looks again after the time for which a plan counts.
    world.clock.advance(601)
    cannot = replace(
        row("plugin/a"), refusal="v1", refusal_reason="API v1 cannot delete a release."
    )
    drifted = row("plugin/b", cause=RowCause.DRIFT)
    world.workers.results[str(NAME)] = plan_of(drifted, cannot)
    assert refused(lambda: act(planned.digest)) == "The plan of the rollback has changed"
    assert [(one.effect, one.detail) for one in plan(world).rows] == [
        ("refused", "API v1 cannot delete a release."),
        ("applied", ""),
    ]
    world.clock.advance(601)
    world.workers.results[str(NAME)] = FAILURE
    assert refused(lambda: plan(world)) == "Broken"
    assert get_rollback(world) is None


def test_any_number_of_targets_is_rolled_back(world):
    """More than plans are kept: all are planned first, and then asked for one by one."""
    names = [TargetName("acme", f"prod-{number}") for number in range(25)]
    targets = [name.target for name in names]
    world.add_targets(*targets)
    loop = world.begin()
    for commit in ("c2", "c3"):
        world.push(commit, *targets)
        world.follow(loop)
    digests = {name: plan(world, "c2", name).digest for name in names}
    people = world.loop.get_people_actions()
    for name, digest in digests.items():
        assert people.roll_back_or_refuse(ANN, name, "c2", digest, "incident 4711") is None
    assert all(world.get_target(target).rollback for target in targets)


def test_what_may_not_be_applied_cannot_be_rolled_back_to(world, loop, monkeypatch):
    """Nor what was never the head, was forced away, or would change nothing."""
    assert refused(lambda: plan(world, "c9")) == "Revision not found"
    assert refused(lambda: plan(world, "c")) == "Several revisions begin with this id"
    assert refused(lambda: plan(world, "c3")) == "There is nothing to roll back to"
    assert refused(lambda: plan(world, "c2")) == "There is nothing to roll back to"
    world.repository.broken.add("c4")
    world.push("c4", "prod-1")
    world.follow(loop)
    world.push("c5", "prod-1")
    world.follow(loop)
    assert refused(lambda: plan(world, "c4")) == "The controller cannot use the revision"

    def require_signed(commit: str, _live: object) -> None:
        raise InputError(error_finding(f"{commit} is not signed"))

    monkeypatch.setattr(world.repository, "require_signed", require_signed)
    assert refused(lambda: plan(world)) == "c1 is not signed"
    monkeypatch.undo()
    world.repository.parents["c5"] = ""
    assert refused(lambda: plan(world)) == "The revision was removed from the branch"
    assert get_rollback(world) is None


def test_nothing_is_rolled_back_where_nothing_is_applied(world, loop):
    world.set_rules(TargetRule("*"))
    world.reload(loop)
    assert refused(lambda: plan(world)) == "You cannot roll back a target in mode observe"


def test_in_mode_approve_its_rows_wait_for_people(world, loop):
    """Also in the plan that is shown first."""
    world.set_rules(APPROVE)
    world.reload(loop)
    assert [one.effect for one in plan(world).rows] == ["held"]
    roll_back(world)
    world.settle(loop)
    assert (world.take_writes(), world.get_target("prod-1").state) == ([], TargetCondition.HELD)
    assert world.get_target("prod-1").waiting_reason.startswith("rolled back to c1")
    world.approve(ANN, planned_row(NAME, "c1"), target=NAME)
    world.settle(loop)
    assert (world.take_writes(), world.get_target("prod-1").state) == (["prod-1 c1"], WORD)


@pytest.mark.parametrize("was_live", [True, False])
def test_authors_of_what_was_never_live_cannot_approve_it(world, loop, was_live, monkeypatch):
    """What was live there once had its approvals then."""
    asked = list[tuple[str, str]]()

    def list_authors(commit: str, since: str) -> tuple[str, ...]:
        asked.append((commit, since))
        return ("ann", "ann@acme.example")

    monkeypatch.setattr(world.repository, "list_author_names_and_emails", list_authors)
    world.set_rules(replace(APPROVE, not_author=True))
    world.reload(loop)
    if not was_live:
        world.push("c4", "prod-1")
        world.follow(loop)
        world.push("c5", "prod-1", text="c2")
        world.follow(loop)
    roll_back(world, "c1" if was_live else "c4")
    world.settle(loop)
    asked.clear()
    with pytest.raises(ActionRefused):
        world.approve(ANN, planned_row(NAME, "c1" if was_live else "c4"), target=NAME)
    assert set(asked) == {("c1", "c1") if was_live else ("c4", "")}


def test_people_are_told_and_reminded(world, loop):
    """Once when it is set, and once a day; the sentence says by whom and why."""
    world.inbox.messages.clear()
    roll_back(world)
    world.settle(loop, after=2)
    world.wait(loop, 2.5 * DAY, step=HOUR)
    told = [message for message in world.inbox.messages if message.event == "paused"]
    assert [message.fields["reminder"] for message in told] == [False, True, True]
    finding = told[0].fields["finding"]
    assert finding["summary"] == "to c1 by proxy:ann: incident 4711"
    assert "synapse-apply controller resume acme/prod-1" in finding["hint"]
    assert format_message_sentence(told[1]) == (
        "Reminder: acme/prod-1 is rolled back: to c1 by proxy:ann: incident 4711"
    )


def test_the_commits_of_a_rollback_are_kept(world, loop):
    """Also the head that it left, with which the next ones are compared."""
    roll_back(world)
    world.push("c4", "eu-1")
    world.follow(loop)
    assert {"c1", "c3", "c4"} <= {*world.repository.commits_in_use}


def test_a_version_that_reads_other_inputs_ends_none(world, loop):
    """As an upgrade does, or another pin; what is there is looked at anew."""
    roll_back(world)
    world.settle(loop)
    world.take_writes()
    for inputs in world.repository.inputs.values():
        inputs.update({name: f"{text}+by 2" for name, text in inputs.items()})
    loop = world.begin()
    world.follow(loop)
    target = world.get_target("prod-1")
    assert (target.state, target.wanted_digest, target.input_digest) == (WORD, "c1+by 2", "c1+by 2")
    assert world.take_writes() == []


def test_it_cuts_an_apply_of_what_it_leaves(world, loop):
    """No call of the commit that is bad begins once it is rolled back."""
    reasons = list[str]()

    def apply(request, read_permit):
        assert not read_permit().reason
        if request.commit == "c4":
            world.workers.running.clear()
            world.workers.results[str(NAME)] = plan_of(row("plugin/prod-1"))
            roll_back(world)
        reasons.append(read_permit().reason)
        world.workers.results[str(NAME)] = world._look
        world.workers.applied[str(NAME)] = world._apply
        outcome = RunOutcome.APPLY_STOPPED
        return replace(plan_of(row("plugin/prod-1")), outcome=outcome, stop_reason=reasons[-1])

    world.workers.applied[str(NAME)] = apply
    world.push("c4", "prod-1")
    world.follow(loop)
    assert reasons == ["the target revision has changed"]
    assert (world.take_writes(), world.get_target("prod-1").state) == (["prod-1 c1"], WORD)


def test_a_removed_target_forgets_it(world, loop):
    """One that comes back is at the head."""
    roll_back(world)
    world.settle(loop)
    world.push("c4", "eu-1")
    del world.repository.inputs["c4"]["prod-1"]
    world.follow(loop)
    assert get_rollback(world) is None
    world.push("c5", "prod-1")
    world.follow(loop)
    assert (world.live["prod-1"], get_rollback(world)) == ("c5", None)


def test_while_the_backend_is_away_nothing_is_decided(world, loop):
    """A head with other inputs may be the mend, or not: it is asked again."""
    roll_back(world)
    world.settle(loop)
    world.take_writes()
    world.workers.results[str(NAME)] = FAILURE
    world.push("c4", "prod-1")
    world.follow(loop)
    assert get_rollback(world) is not None
    world.workers.results[str(NAME)] = world._look
    world.wait(loop, HOUR, step=600)
    assert (world.take_writes(), get_rollback(world)) == (["prod-1 c4"], None)


def test_a_head_that_never_could_be_planned_is_mended_too(world, loop):
    """What was left is a failure at each look: what can be planned is something else."""

    def look(request):
        return FAILURE if request.commit == "c4" else world._look(request)

    world.workers.results[str(NAME)] = look
    world.push("c4", "prod-1", text="c4")
    world.follow(loop)
    assert world.get_target("prod-1").state is TargetCondition.FAILING
    roll_back(world)
    world.follow(loop)
    world.push("c5", "prod-1", text="c2")
    world.follow(loop)
    assert (world.take_writes(), get_rollback(world)) == (["prod-1 c1", "prod-1 c2"], None)


ALL = Rollout("all", "acme", (CANARIES, PROD))


@pytest.fixture
def rollout_world(tmp_path: Path) -> Iterator[RolloutWorld]:
    """All targets are live with the first head, c1."""
    world = ManifestWorld(tmp_path)
    world.push("c1")
    world.live = dict.fromkeys(TARGETS, "c1")
    yield world
    world.store.close()


@pytest.fixture
def rollout_loop(rollout_world: RolloutWorld) -> ControllerLoop:
    """c2 is with all targets of two waves."""
    rollout_world.set_rollouts(ALL)
    rollout_world.set_rules(AUTO)
    loop = rollout_world.begin()
    rollout_world.follow(loop)
    rollout_world.push("c2")
    rollout_world.follow(loop)
    assert rollout_world.describe_rollout() == "c2 wave 2 done"
    rollout_world.take_writes()
    return loop


def test_a_rollout_leaves_what_is_rolled_back(rollout_world, rollout_loop):
    """Its wave stays open at a new head that does not change it, and a mend comes in its wave."""
    world, loop = rollout_world, rollout_loop
    roll_back(world)
    world.follow(loop)
    assert world.take_writes() == ["prod-1 c1"]
    world.push("c3", "canary-1")
    world.follow(loop)
    assert world.take_writes() == ["canary-1 c3"]
    assert world.rollout.description == "wave 2 of 2: 0 of 1 healthy, 1 rolled back: prod-1"
    world.push("c4")
    world.follow(loop)
    of_waves = [one for one in world.take_writes() if not one.startswith("eu")]
    assert of_waves == ["canary-1 c4", "prod-1 c4"]
    assert (world.live["prod-1"], world.describe_rollout()) == ("c4", "c4 wave 2 done")


@pytest.mark.parametrize("is_open", [True, False])
def test_resume_brings_back_what_the_rollout_has_brought(rollout_world, rollout_loop, is_open):
    """In its open wave, or at once where that is closed."""
    world, loop = rollout_world, rollout_loop
    roll_back(world)
    world.follow(loop)
    if is_open:
        world.push("c3", "canary-1")
        world.follow(loop)
    world.resume(BOB, "acme/prod-1")
    world.follow(loop)
    assert world.take_writes()[-1] == "prod-1 c2"
    assert world.describe_rollout() == f"{'c3' if is_open else 'c2'} wave 2 done"
    assert world.get_target("prod-1").state is TargetCondition.IN_SYNC


def test_what_an_abort_stopped_can_be_rolled_back(rollout_world, rollout_loop):
    """Resumed, it is where the abort stopped it: the aborted revision goes no further."""
    world, loop = rollout_world, rollout_loop
    world.failing.add("canary-1 c3")
    world.push("c3")
    world.follow(loop)
    people, name = loop.get_people_actions(), TargetName("acme", "canary-1")
    people.abort_rollout_or_refuse(ANN, "all", world.rollout.number, "wrong")
    world.live["canary-1"] = "half of c3"
    roll_back(world, "c2", name)
    world.follow(loop)
    assert world.live["canary-1"] == "c2"
    world.failing.clear()
    world.resume(BOB, "acme/canary-1")
    world.follow(loop)
    target = world.get_target("canary-1")
    assert (world.live["canary-1"], target.wanted_commit) == ("c2", "c3")
    assert target.state is TargetCondition.PAUSED
