"""Messages as the loop sends them: in order for each target, and every failure closed."""

import json
from dataclasses import replace

import pytest
from contract.controller.loop.stand_ins import FAILURE, IN_SYNC, plan_of, row
from support.core import error_finding

from synapse_apply.controller.ports import SendResult
from synapse_apply.controller.settings import DAY, AccessRule, Event, Mode, Right, TargetRule

AWAY = SendResult(error_finding("The receiver is away"))


def test_what_waits_is_sent_when_the_one_before_is_given_up(world):
    """After a day; or at once, where the receiver will never take it."""
    world.workers.results |= {"acme/prod": FAILURE}
    world.inbox.failures["failed acme/prod"] = AWAY
    world.run_once()
    world.workers.results |= {"acme/prod": IN_SYNC}
    world.repository.push("c2", prod="p2")
    world.run_once()
    assert world.inbox.describe() == []
    world.run_once(after=DAY + 1)
    assert world.inbox.describe() == ["recovered acme/prod"]


def test_a_channel_gets_the_events_that_it_names(world):
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
def test_a_message_names_no_target_that_a_reader_of_its_own_cannot_read(world, is_open):
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
