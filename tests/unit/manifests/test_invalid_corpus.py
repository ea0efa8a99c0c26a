"""Each bad input of tests/cases/invalid gets its own message, place and hint."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.manifests.corpus import FOLDER, findings_of, line_of, read_case

CASES = sorted(FOLDER.glob("*.txt"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_bad_input_is_explained(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every finding of a case is told with its place and hint, and nothing else is."""
    monkeypatch.chdir(tmp_path)
    case = read_case(path)
    found = findings_of(case, tmp_path)
    assert [line_of(one) for one in found] == [one.line for one in case.findings]
    for finding, wanted in zip(found, case.findings, strict=True):
        said = f"{finding.detail} {finding.hint}"
        for piece in wanted.pieces:
            assert piece in said, said


def test_the_corpus_is_large_and_every_case_an_error() -> None:
    """At least sixty cases, each of which stops a run."""
    assert len(CASES) >= 60
    for path in CASES:
        findings = read_case(path).findings
        assert any(one.line.startswith("error ") for one in findings), path.name
        assert all(one.pieces for one in findings), path.name
