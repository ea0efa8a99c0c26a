"""Every case of tests/cases/controller.yaml: a configuration, and all that `controller check` says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from controllers.checking import Finding, check

WRITTEN = yaml.safe_load(
    (Path(__file__).parents[3] / "cases" / "controller.yaml").read_text(encoding="utf-8")
)
CASES = [
    pytest.param({"base": group.get("base"), **case}, id=f"{group['title'][:40]} {number}")
    for group in WRITTEN["groups"]
    for number, case in enumerate(group["cases"])
]


def fill_in(case: dict[str, Any]) -> str:
    """The text of a case; what it does not replace has its default."""
    text = str(case.get("file") or WRITTEN["bases"].get(case["base"], ""))
    for old, new in case.get("with", {}).items():
        assert old in text
        text = text.replace(old, new, 1)
    for name, default in WRITTEN["defaults"].items():
        text = text.replace(name, default, 1)
    return text


def is_as_written(finding: Finding, line: str) -> bool:
    said, _, piece = line.partition(" | ")
    severity = "error" if finding.is_error else "warning"
    found = f"{severity} {finding.line} {finding.summary}"
    return found == said and piece in f"{finding.detail} {finding.hint}"


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_said_with_its_place(case: dict[str, Any]) -> None:
    """Nothing else is said, and no secret is shown."""
    findings, says = check(fill_in(case)), case.get("says", [])
    lines = [says] if isinstance(says, str) else says
    assert len(findings) == len(lines), findings
    for finding, line in zip(findings, lines, strict=True):
        assert is_as_written(finding, line), finding
    assert "s3cr3t" not in repr(findings).lower()
    assert "s3cret" not in repr(findings).lower()
