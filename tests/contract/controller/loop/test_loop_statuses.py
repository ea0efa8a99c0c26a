"""Commit statuses as the loop sends them: what failed, what is not known, what was written over."""

from __future__ import annotations

from dataclasses import replace

from synapse_apply.controller.ports import SendResult
from synapse_apply.controller.rows import StatusRow, StatusState, StatusText
from synapse_apply.model.diagnostic import error_finding


def test_statuses_are_sent_again_where_they_failed_and_read_where_it_is_not_known(world):
    """A status that arrived, and whose answer was lost with the process, is not sent twice."""
    world.forge.failures = [SendResult(error_finding("Away"))]
    world.run_once()
    assert world.forge.describe() == {}
    world.run_once(after=60)
    assert world.forge.reads == 1
    assert [text.state for _, text in world.forge.sent] == [StatusState.SUCCESS]
    status = world.store.find_status("acme", "c1", "synapse-apply/main/acme")
    assert status is not None
    with world.store.write() as writer:
        writer.put(replace(status, sent=None))
    world.run_once()
    assert len(world.forge.sent) == 1
    assert world.store.unsent() == ([], [])


def test_a_status_whose_answer_was_lost_is_read_before_it_is_sent_again(world):
    """It arrived: what the forge shows already is not sent twice."""
    loop = world.build_loop()
    loop._take_part()
    world.settle(loop)
    send = world.forge.send

    def lose_answer(row: StatusRow) -> SendResult:
        send(row)
        return SendResult(error_finding("Timeout"))

    world.forge.send = lose_answer
    world.settle(loop, after=2)
    assert world.forge.describe() == {"c1": "success: planned only: no changes, 2 targets"}
    count = len(world.forge.sent)
    world.settle(loop, after=60)
    assert (len(world.forge.sent), world.forge.reads) == (count, 1)
    assert world.store.unsent() == ([], [])


def test_what_failed_after_it_was_listed_is_not_tried_at_once(world):
    """A task goes by the row as it is when it begins, not by the one of its round."""
    loop = world.build_loop()
    loop._take_part()
    world.settle(loop)
    (sent,) = world.forge.sent
    status = world.store.find_status("acme", "c1", "synapse-apply/main/acme")
    assert status is not None
    world.forge.failures = [SendResult(error_finding("Away"))]
    world.settle(loop, after=2)
    assert loop._lead is not None
    loop._lead[1]._start_status_send(replace(status, sent=None))
    assert loop._tasks.wait_until_idle(60)
    assert (world.forge.sent, world.forge.reads) == ([sent], 0)


def test_a_status_that_is_refused_stops_nothing(world):
    """It is not tried again, and can be seen."""
    refusal = SendResult(error_finding("Forbidden"), is_final=True)
    world.forge.failures = [refusal]
    assert world.run_once() == ["acme/dev", "acme/prod"]
    world.run_once(after=1000)
    assert world.forge.sent == []
    (status,), _ = world.store.unsent()
    assert status.refusal == "Forbidden"


def test_an_outage_of_a_forge_is_one_line_a_minute(world):
    """With how many failures were left out since the last line of its kind."""
    world.forge.failures = [SendResult(error_finding("Away"))] * 500
    loop = world.build_loop()
    world.start(loop)
    for number in range(30):
        world.repository.push(f"d{number}", prod=f"{number}")
        world.settle(loop, after=10)
    lines = [line for line in world.log.getvalue().splitlines() if "status failed" in line]
    failed = 500 - len(world.forge.failures)
    assert failed > 30
    assert 5 <= len(lines) <= 6
    assert "more=" not in lines[0]
    told = len(lines) + sum(int(line.partition("more=")[2]) for line in lines[1:])
    assert failed - 20 < told <= failed


def test_statuses_of_a_source_without_a_forge_block_no_other(world):
    """What was not sent when a source lost its forge is more than a round sends."""
    gone = [
        StatusRow("gone", f"c{number}", "x", StatusText(StatusState.PENDING, "waits", ""))
        for number in range(60)
    ]
    with world.store.write() as writer:
        for row in gone:
            writer.put(row)
    assert world.run_once() == ["acme/dev", "acme/prod"]
    assert world.store.list_statuses_of_commit("acme", "c1")[0].sent is not None
