"""Messages as the loop sends them: in order for each target, and every failure closed."""

import json
import threading
import time
from dataclasses import replace

import pytest
from contract.controller.loop.stand_ins import FAILURE, IN_SYNC, StandInForge, plan_of, row

from synapse_apply.controller.ports import SendResult
from synapse_apply.controller.rows import MessageRow, StatusRow, StatusState, StatusText
from synapse_apply.controller.settings import DAY, AccessRule, Event, Mode, Right, TargetRule
from synapse_apply.model.diagnostic import error_finding

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


class SilentReceiver(StandInForge):
    """A sender, also of statuses, that does not answer before a test ends."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = threading.Event()
        self.tries: list[StatusRow | MessageRow] = []

    def send(self, row: StatusRow | MessageRow) -> SendResult:
        self.tries.append(row)
        self.ended.wait(60)
        return AWAY


@pytest.mark.parametrize("silent", ["channel", "forge"])
def test_a_receiver_that_does_not_answer_delays_no_other(world, monkeypatch, silent):
    """Two requests at a time go to it, however much is due; the others get all of theirs."""
    receiver = SilentReceiver()
    names = [f"t{number:02}" for number in range(60)]
    world.workers.results |= dict.fromkeys((f"acme/{name}" for name in names), FAILURE)
    world.repository.push("c2", **dict.fromkeys(names, "x"))
    if silent == "channel":
        channels = [replace(channel, name="silent") for channel in world.settings.channels]
        channels = (*channels, *world.settings.channels)
        world.settings = replace(world.settings, channels=channels)
        configured = world.configure()
        senders = {"silent": receiver, "inbox": world.inbox}
        configured = replace(configured, message_senders=senders)
        monkeypatch.setattr(world, "configure", lambda: configured)
    else:
        world.forge = receiver
        text = StatusText(StatusState.PENDING, "waits", "")
        with world.store.write() as writer:
            for number in range(60):
                writer.put(StatusRow("acme", f"c{number}", "x", text))
    loop = world.build_loop()
    loop._take_part()
    while len(world.inbox.messages) < len(names):
        loop._go_round()
        world.clock.advance(1)
        time.sleep(0.01)
    assert len(receiver.tries) == 2
    receiver.ended.set()
    assert loop._tasks.wait_until_idle(60)
