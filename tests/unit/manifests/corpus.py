"""Cases of bad input as text files: the files a user has, and what is said of them.

`=== PATH` begins a file (`=== PATH bytes`: Python escapes such as \\xff stand for bytes). The lines
under `=== run` are `target: NAME`, `var: NAME=VALUE` and `strict`. Under `=== findings` stands each
finding: `SEVERITY PLACE SUMMARY`, below it, indented, pieces its detail and hint must hold.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from synapse_apply.manifests.decode.loading import load_all_manifests
from synapse_apply.manifests.decode.variables import parse_given_variables
from synapse_apply.manifests.project.project import (
    FILE_NAME,
    build_default_project,
    find_project_file,
    read_project_or_findings,
)
from synapse_apply.manifests.project.targets import select_targets_to_check
from synapse_apply.manifests.yaml.reader import read_single_mapping
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import InputError
from synapse_apply.packages.sources import SourceFiles

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


def findings_of(case: Case, folder: Path) -> list[Diagnostic]:
    """What validate says of a case laid out in a folder, which is the working folder."""
    for name, data in case.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    file = find_project_file(folder) if FILE_NAME in case.files else None
    findings: list[Diagnostic] = []
    project = build_default_project(folder)
    if file is not None:
        read, problems = read_project_or_findings(file, FILE_NAME)
        if read is None:
            return list(problems)
        project = read
    given, problems = parse_given_variables(project, case.assignments)
    findings.extend(problems)
    try:
        targets = select_targets_to_check(project, case.target)
    except InputError as problem:
        return [*findings, *problem.diagnostics]
    _, found = load_all_manifests(
        project,
        targets,
        variables=given,
        strict=case.strict,
        package_config_reader=lambda _target: (
            lambda source: SourceFiles(source, folder).config(read_single_mapping)
        ),
    )
    return [*findings, *found]


def line_of(finding: Diagnostic) -> str:
    """A finding as the first line a case writes for it."""
    return f"{finding.severity.value} {finding.position or '-'} {finding.summary}"
