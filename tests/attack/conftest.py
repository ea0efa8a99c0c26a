"""Prints the table that ends `make attack`: attempts by subject, held and open."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Count the outcomes of each file of this folder; one attempt is one test."""
    outcomes: dict[str, Counter[str]] = {}
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.stats.get(outcome, ()):
            path = Path(report.nodeid.partition("::")[0])
            if path.parent.name != Path(__file__).parent.name:
                continue
            subject = path.stem.removeprefix("test_").replace("_", " ")
            outcomes.setdefault(subject, Counter())["held" if outcome == "passed" else "open"] += 1
    if not outcomes:
        return
    total = sum(outcomes.values(), Counter())
    rows = [*sorted(outcomes.items()), ("all", total)]
    width = max(len(subject) for subject, _ in rows)
    terminalreporter.section("attacks")
    terminalreporter.write_line(f"{'subject':<{width}}  attempts  held  open")
    for subject, counts in rows:
        terminalreporter.write_line(
            f"{subject:<{width}}  {counts.total():>8}  {counts['held']:>4}  {counts['open']:>4}"
        )
