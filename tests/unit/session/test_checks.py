"""What is judged of a clock and of an agent's answer, and that no check hides another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from synapse_apply import Invocation
from synapse_apply.model.project import Target
from synapse_apply.model.remote import ClockSkew
from synapse_apply.model.report import CheckResult, CheckStatus
from synapse_apply.model.values import SecretRef
from synapse_apply.operations import doctor as use_case
from synapse_apply.operations.health import ask_agents, clock_findings
from synapse_apply.secrets.resolve import SecretResolver

TOKEN = "tok-of-agent"
AGENT = ("gpu-1", SecretRef("env", "GPU"))


@pytest.mark.parametrize(
    ("low", "high", "settle_after", "verdict"),
    [
        (-0.5, 0.5, 30, CheckStatus.OK),
        (4.0, 5.0, 30, CheckStatus.OK),
        (5.1, 6.1, 30, CheckStatus.WARNING),
        (-31.0, -29.9, 30, CheckStatus.WARNING),
        (30.1, 31.0, 30, CheckStatus.PROBLEM),
        (-31.0, -30.1, 30, CheckStatus.PROBLEM),
        (30.1, 31.0, 60, CheckStatus.WARNING),
        (4.0, 5.0, 0.2, CheckStatus.OK),
        (5.1, 6.0, 0.2, CheckStatus.PROBLEM),
        (-1.0, 90.0, 30, CheckStatus.OK),
    ],
)
def test_how_far_apart_clocks_may_be(
    low: float, high: float, settle_after: float, verdict: CheckStatus
) -> None:
    """Five seconds are noted, settle_after is the limit; only what is certain counts."""
    findings = clock_findings(ClockSkew(low, high), Target("t", settle_after=settle_after))
    judged = [CheckResult.from_finding("clock", finding).status for finding in findings]
    assert (judged or [CheckStatus.OK]) == [verdict]


def test_a_server_that_tells_no_time() -> None:
    """That is no fault of anybody's."""
    assert clock_findings(None, Target("t")) == ()


def judged(answer: Mapping[str, Any], token: str = TOKEN) -> tuple[CheckStatus, str]:
    resolver = SecretResolver(Path(), {"GPU": f" {token}\n"})
    asked: list[str] = []

    def ask(sent: str) -> Mapping[str, Any]:
        asked.append(sent)
        return answer

    (row,) = ask_agents([AGENT], resolver.resolve_setting, ask)
    assert asked == [token]
    return row.status, f"{row.summary} {row.detail} {row.hint}"


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ({}, CheckStatus.OK),
        ({"status": None}, CheckStatus.OK),
        ({"status": 200}, CheckStatus.OK),
        ({"status": "connected"}, CheckStatus.OK),
        ({"status": "ONLINE"}, CheckStatus.OK),
        ({"status": "ok", "healthy": True}, CheckStatus.OK),
        ({"status": "Disconnected"}, CheckStatus.PROBLEM),
        ({"status": "ok", "healthy": False}, CheckStatus.PROBLEM),
        ({"connected": False}, CheckStatus.PROBLEM),
        ({"status": "hibernating"}, CheckStatus.WARNING),
    ],
)
def test_what_an_answer_says_of_an_agent(answer: Mapping[str, Any], verdict: CheckStatus) -> None:
    """A success is health, unless it says otherwise; words of other servers are a warning."""
    found, text = judged(answer)
    assert found is verdict
    if verdict is CheckStatus.PROBLEM:
        assert "not" in text
    if answer.get("status") == "hibernating":
        assert "hibernating" in text


@pytest.mark.parametrize(
    "word", [TOKEN, f"no {TOKEN}", f"x{TOKEN}x", "\x1b[31mred", "a" * 99, "http://x/"]
)
def test_a_status_that_may_not_be_told(word: str) -> None:
    """It may be the token handed back, or no word at all."""
    verdict, text = judged({"status": word})
    assert verdict is CheckStatus.WARNING
    assert word not in text
    assert TOKEN not in text


def test_agents_are_asked_at_once() -> None:
    """In the order they were named, whoever answers first; with nobody to ask, it is said why."""
    from threading import Barrier

    together = Barrier(3, timeout=60)

    def ask(_token: str) -> Mapping[str, Any]:
        together.wait()
        return {"status": "ok"}

    agents = [(name, SecretRef("env", "GPU")) for name in ("c", "a", "b")]
    resolve = SecretResolver(Path(), {"GPU": TOKEN}).resolve_setting
    assert [row.subject for row in ask_agents(agents, resolve, ask)] == [
        "c",
        "a",
        "b",
    ]
    rows = ask_agents(agents, resolve, None, "the target has no url")
    assert {(row.status, row.summary) for row in rows} == {
        (CheckStatus.UNCHECKED, "the target has no url")
    }


def test_a_defect_of_one_check_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a row of its own, by its type and place, without the text; what came before stays."""

    def check_odd(patient: Any) -> Any:
        yield from use_case.check_tool(patient)
        raise TypeError("s3cret in a message")

    checks = (check_odd, use_case.check_tool)
    monkeypatch.setattr(use_case, "SECTIONS", (("Project", checks),))
    checkup = use_case.run_all_checks(Invocation(tmp_path, target="embedded", environ={}))
    assert [row.status for row in checkup.results] == [
        CheckStatus.OK,
        CheckStatus.PROBLEM,
        CheckStatus.OK,
    ]
    told = "".join(f"{row.summary}{row.detail}" for row in checkup.results)
    assert "TypeError at test_checks.py" in told
    assert "s3cret" not in told


def test_every_check_has_a_name_of_its_own_or_shares_a_row_with_its_kind() -> None:
    """A program finds a check by its name."""
    names = [check.__name__ for _, checks in use_case.SECTIONS for check in checks]
    assert len(names) == len(set(names))
