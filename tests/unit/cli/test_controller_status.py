"""What `controller status` says to who has no page before them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from synapse_apply.cli.console import Console
from synapse_apply.cli.texts.controller import print_target_list

UNKNOWN = {
    "name": "acme/prod",
    "state": "unknown",
    "wanted_commit": "1a2b3c4d",
    "counts": {"refused": 1},
    "looked_at": "2026-11-27T09:00:00Z",
    "finding": None,
    "hold_count": 0,
    "waiting_reason": None,
}


def show(capsys: pytest.CaptureFixture[str], *items: dict[str, Any]) -> str:
    print_target_list(Console(color="never", environ={}), {"items": list(items)})
    return capsys.readouterr().out


def test_who_has_no_target_is_told_where_to_look(capsys: pytest.CaptureFixture[str]) -> None:
    """Such as for a mistyped url of the only source: nothing else would say so."""
    shown = show(capsys)
    assert "the controller has read no source" in shown
    assert "log" in shown


def test_an_unknown_outcome_is_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """A target that needs attention says why."""
    assert "the outcome of a call is unknown" in show(capsys, UNKNOWN)
    paused = {"hold_count": 2, "held_guard_count": 1, "waiting_reason": "paused by proxy:ann"}
    held = show(capsys, UNKNOWN | {"state": "held"} | paused)
    assert "1 row and 1 guard await approval; paused by proxy:ann" in held
    finding = {"summary": "The backend refused the token"}
    failing = show(capsys, UNKNOWN | {"state": "failing", "finding": finding} | paused)
    assert "The backend refused the token; paused by proxy:ann" in failing
    refused = show(capsys, UNKNOWN | {"state": "refused"})
    assert "outcome of a call" not in refused


def test_live_and_wanted_commits_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """A target that is behind shows both; a new one has nothing live."""
    shown = show(capsys, UNKNOWN | {"applied_commit": "9f8e7d6c"}, UNKNOWN | {"name": "acme/new"})
    assert re.search("TARGET +LIVE +TARGET REVISION +PLAN", shown)
    assert re.search(r"acme/prod +9f8e7d6 +1a2b3c4 ", shown)
    assert re.search(r"acme/new +- +1a2b3c4 ", shown)
    assert "so far" not in shown


def test_a_first_start_says_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """By the targets that are checked already."""
    new = UNKNOWN | {"state": "not looked at"}
    assert "\n1 of 3 targets checked so far. " in show(capsys, UNKNOWN, new, new)
