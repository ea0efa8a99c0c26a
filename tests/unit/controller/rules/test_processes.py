"""Which processes of a controller are alive, and what is told of those that differ."""

from dataclasses import replace

from synapse_apply.controller.rows import LEADER_LEASE, LeaseRow, ProcessRole, ProcessRow
from synapse_apply.controller.rules.processes import describe_processes, list_live_processes

LEADER = ProcessRow("b:2:x", "b", 2, ProcessRole.REPLICA, "1.0", "d1", 4, 0.0, 1000.0)
WORKER = ProcessRow("a:1:x", "a", 1, ProcessRole.WORKER, "1.0", "d1", 4, 0.0, 999.0)


def test_who_was_seen_lately_is_alive():
    """By the clock of those that were seen; who leads and what differs is said of them alone."""
    silent = replace(WORKER, holder="c:3:x", host="c", seen_at=900.0)
    newer = replace(WORKER, version="1.1", settings_digest="d2")
    processes = list_live_processes([LEADER, newer, silent], LeaseRow(LEADER_LEASE, "b:2:x"))
    assert [(p.row.host, p.is_leading) for p in processes] == [("a", False), ("b", True)]
    assert [p.difference for p in processes] == [
        "version 1.1, but the leader has 1.0; a different controller.yaml from the leader",
        "",
    ]
    assert describe_processes(processes) == "1 replica and 1 worker; b (process 2) leads"


def test_without_a_leader_nothing_differs():
    """Nobody knows which of two files is the right one."""
    other = replace(LEADER, holder="a:9:x", host="a", settings_digest="d2")
    processes = list_live_processes([LEADER, other], LeaseRow(LEADER_LEASE, "gone:1:x"))
    assert [p.difference for p in processes] == ["", ""]
    assert describe_processes(processes) == "2 replicas; no process leads"
    assert describe_processes(list_live_processes([], None)) == ""
