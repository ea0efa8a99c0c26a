"""Cases of bad input as text files: the files a user has, and what is said of them.

`=== PATH` begins a file (`=== PATH bytes`: Python escapes such as \\xff stand for bytes). The lines
under `=== run` are `target: NAME`, `var: NAME=VALUE` and `strict`. Under `=== findings` stands each
finding: `SEVERITY PLACE SUMMARY`, below it, indented, pieces its detail and hint must hold.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synapse_apply import Invocation, SynapseApplyError, validate

FOLDER = Path(__file__).resolve().parents[2] / "cases" / "invalid"


@dataclass
class Finding:
    """What a case expects: the first line exactly, the pieces anywhere in detail and hint."""

    line: str
    pieces: list[str] = field(default_factory=list)


@dataclass
class Case:
    files: dict[str, bytes] = field(default_factory=dict)
    target: str | None = None
    assignments: list[str] = field(default_factory=list)
    strict: bool = False
    findings: list[Finding] = field(default_factory=list)


def read_case(path: Path) -> Case:
    case = Case()
    sections = re.split(r"^=== (.+)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for title, body in zip(sections[1::2], sections[2::2], strict=True):
        if title == "findings":
            case.findings = [*_findings(body)]
        elif title == "run":
            _run_line(case, body)
        elif title.endswith(" bytes"):
            data = body.removesuffix("\n").encode().decode("unicode_escape").encode("latin-1")
            case.files[title.removesuffix(" bytes")] = data
        else:
            case.files[title] = body.encode()
    return case


def _run_line(case: Case, body: str) -> None:
    for line in body.splitlines():
        word, _, value = line.partition(": ")
        if word == "target":
            case.target = value
        elif word == "var":
            case.assignments.append(value)
        else:
            case.strict = word == "strict"


def _findings(body: str) -> list[Finding]:
    found: list[Finding] = []
    for line in body.splitlines():
        if line.startswith(" "):
            found[-1].pieces.append(line.strip())
        elif line:
            found.append(Finding(line))
    return found


def findings_of(case: Case, folder: Path) -> tuple[Any, ...]:
    """What validate says of a case laid out in a folder, which is the working folder."""
    for name, data in case.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    invocation = Invocation(
        folder,
        target=case.target,
        variables=dict(assignment.split("=", 1) for assignment in case.assignments),
        strict=case.strict,
        environ={},
    )
    try:
        return validate(invocation, every_target=case.target is None).diagnostics
    except SynapseApplyError as problem:
        return problem.diagnostics


def line_of(finding: Any) -> str:
    """A finding as the first line a case writes for it."""
    return f"{finding.severity.value} {finding.position or '-'} {finding.summary}"
