"""A finding quotes what it found, and no more of it than a person reads."""

from __future__ import annotations

import json

import pytest
from in_process import run_command

from synapse_apply.model.diagnostic import MAX_TEXT_LENGTH, error_finding

LARGE = "A" * 2_000_000


@pytest.mark.parametrize("part", ["detail", "hint", "address", "request_id"])
def test_a_text_that_nobody_reads_is_shortened(part):
    """Beginning, end, and how much is missing."""
    text = getattr(error_finding("Odd", **{part: "begins" + LARGE + "ends"}), part)
    assert len(text) < MAX_TEXT_LENGTH + 100
    assert text.startswith("begins")
    assert text.endswith("ends")
    assert "more characters" in text


def test_what_a_person_reads_stays():
    """Also the longest, to the letter."""
    assert error_finding("Odd", "x" * MAX_TEXT_LENGTH).detail == "x" * MAX_TEXT_LENGTH


def test_a_change_of_a_finding_is_shortened_too():
    """`with_` makes a new one."""
    assert len(error_finding("Odd").with_changes(detail=LARGE).detail) < MAX_TEXT_LENGTH + 100


@pytest.mark.parametrize("where", ["name", "key", "kind", "overlay", "label", "target"])
@pytest.mark.parametrize("form", [(), ("--json",), ("--report", "github")], ids=str)
def test_validate_echoes_no_large_name(tmp_path, monkeypatch, capsys, where, form):
    """A name of 20 MB came back as 20 MB, several times over."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    parts = dict.fromkeys(("name", "key", "kind", "overlay", "label", "target"), "a")
    parts |= {"kind": "Storage", "key": "name", where: LARGE}
    target = parts["target"]
    (tmp_path / "synapse-apply.yaml").write_text(
        "apiVersion: synapse-apply/v1\nkind: Project\ntargets:\n"
        f"  ? {json.dumps(target)}\n  : url: https://x.example\n    tenant: t\n"
        f"    overlays: {{? {json.dumps(parts['overlay'])} : {{spec: {{}}}}}}\n"
    )
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "a.yaml").write_text(
        f"apiVersion: synapse-apply/v1\nkind: {parts['kind']}\n"
        f"metadata: {{name: {parts['name']}, labels: {{? {parts['label']} : 1}}}}\n"
        f"spec: {{? {parts['key']} : x, provider: file_system, category: internal}}\n"
    )
    assert run_command(["validate", *form]) == 1
    out, err = capsys.readouterr()
    written = [
        one.read_text() for one in tmp_path.iterdir() if one.name in ("summary.md", "output")
    ]
    assert len(out) + len(err) + len("".join(written)) < 100_000
