"""Messages as the loop sends them: in order for each target, and every failure closed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from contract.controller.loop.rollout_world import ANN, RolloutWorld, start_after_first_head
from contract.controller.loop.stand_ins import (
    FAILURE,
    IN_SYNC,
    World,
    plan_of,
    row,
)
from support.core import error_finding

from synapse_apply.controller.ports import SendResult
from synapse_apply.controller.settings import DAY, AccessRule, Event, Mode, Right, TargetRule

AWAY = SendResult(error_finding("The receiver is away"))


def test_messages_of_a_target_wait_for_one_another_and_those_of_others_go_on(world: World) -> None:
    """Until the first of them is taken."""
    world.workers.results |= {"acme/prod": FAILURE}
    world.inbox.failures["failed acme/prod"] = AWAY
    world.run_once()
    world.workers.results |= {"acme/prod": IN_SYNC, "acme/dev": FAILURE}
    world.repository.push("c2", dev="d2", prod="p2")
    world.run_once()
    world.workers.results |= {"acme/dev": IN_SYNC}
    world.repository.push("c3", dev="d3")
    world.run_once()
    assert world.inbox.describe() == ["failed acme/dev", "recovered acme/dev"]
    world.inbox.failures.clear()
    world.clock.advance(3600)
    world.run_once()
    assert world.inbox.describe()[2:] == ["failed acme/prod", "recovered acme/prod"]


def test_what_waits_is_sent_when_the_one_before_is_given_up(world: World) -> None:
    """After a day; or at once, where the receiver will never take it."""
    world.workers.results |= {"acme/prod": FAILURE}
    world.inbox.failures["failed acme/prod"] = AWAY
    world.run_once()
    world.workers.results |= {"acme/prod": IN_SYNC}
    world.repository.push("c2", prod="p2")
    world.run_once()
    assert world.inbox.describe() == []
    world.clock.advance(DAY + 1)
    world.run_once()
    assert world.inbox.describe() == ["recovered acme/prod"]


@pytest.mark.parametrize("mode", [Mode.APPROVE, Mode.OBSERVE])
def test_a_failure_is_over_whatever_is_found_then(world: World, mode: Mode) -> None:
    """Rows that wait, or a plan that has refusals."""
    refused = row("plugin/a", refusal="protected", refusal_reason="it is protected")
    found = plan_of(row("plugin/a") if mode is Mode.APPROVE else refused)
    world.set_rules(TargetRule("*", mode))
    world.workers.results |= {"acme/prod": FAILURE}
    world.run_once()
    world.workers.results |= {"acme/prod": found}
    world.repository.push("c2", prod="p2")
    world.run_once()
    assert world.inbox.describe() == ["failed acme/prod", "recovered acme/prod", "held acme/prod"]


def test_a_rollout_that_stopped_is_over_when_it_is_aborted(rollout_world: RolloutWorld) -> None:
    """Who ended it, and why, is told."""
    world = rollout_world
    loop = start_after_first_head(world)
    world.push("c2")
    world.failing.add("canary-1 c2")
    world.follow(loop)
    loop.get_rollout_actions().abort_rollout_or_refuse(ANN, "all", 2, "wrong model")
    world.follow(loop)
    told = [message for message in world.inbox.messages if message.fields["rollout"]]
    assert [message.event for message in told] == ["failed", "recovered"]
    finding = told[-1].fields["finding"]
    assert finding["summary"] == "aborted in wave 1 of 3 by proxy:ann: wrong model"


def test_a_channel_gets_the_events_that_it_names(world: World) -> None:
    """And no other."""
    (channel,) = world.settings.channels
    channel = replace(channel, events=frozenset({Event.RECOVERED}))
    world.settings = replace(world.settings, channels=(channel,))
    world.workers.results |= {"acme/prod": FAILURE}
    world.run_once()
    world.workers.results |= {"acme/prod": IN_SYNC}
    world.repository.push("c2", prod="p2")
    world.run_once()
    assert world.inbox.describe() == ["recovered acme/prod"]


@pytest.mark.parametrize("is_open", [True, False])
def test_a_message_names_no_target_that_a_reader_of_its_own_cannot_read(
    world: World, *, is_open: bool
) -> None:
    """Where all who may read the one may read the other, it does; in what is held, too."""
    if not is_open:
        access = world.settings.access
        assert access is not None
        only_dev = AccessRule(("proxy:dan",), frozenset({Right.READ}), ("acme/dev",))
        access = replace(access, rules=(*access.rules, only_dev))
        world.settings = replace(world.settings, access=access)
    world.set_rules(TargetRule("*", Mode.APPROVE))
    named = error_finding("Two targets have one state", "where target prod keeps its own: http://p")
    failure = replace(FAILURE, findings=(named,))
    held = plan_of(replace(row("plugin/a"), summary="update it as prod has it"))
    world.workers.results |= {"acme/dev": failure}
    world.run_once()
    world.workers.results |= {"acme/dev": held}
    world.repository.push("c2", dev="d2")
    world.run_once()
    told = json.dumps([message.fields for message in world.inbox.messages])
    assert world.inbox.describe() == ["failed acme/dev", "recovered acme/dev", "held acme/dev"]
    assert ("prod" in told) == ("http://p" in told) == is_open
    assert told.count("another target of this controller") == (0 if is_open else 2)
