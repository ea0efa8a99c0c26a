"""`validate --graph` and `plan --graph`: from the manifests alone, or coloured by a plan."""

from __future__ import annotations

from pathlib import Path

from .conftest import Run


def test_a_graph_needs_no_backend(cli: Run, project: Path) -> None:
    """Declared resources and what they need; no secret, no state, nothing written."""
    done = cli("validate", "--graph", RAW_KEY=None)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        'flowchart LR\n  n0["plugin/yolo"]\n  n1["release/yolo@1.0.0"]\n  n2["storage/raw"]\n'
        "  n1 --> n0\n"
    )
    assert not (project / ".synapse-apply").exists()


def test_a_graph_of_a_plan(cli: Run, project: Path) -> None:
    """What would be done colours it; what is settled has no colour; what is refused is told."""
    assert 'n0["plugin/yolo<br/>create"]:::isCreate' in cli("plan", "--graph").stdout
    cli("apply", "--auto-approve")
    assert "classDef" not in cli("plan", "--graph").stdout
    raw = project / "manifests" / "raw.yaml"
    raw.write_text(raw.read_text().replace("bucket_name: raw", "bucket_name: other"))
    assert 'n2["storage/raw<br/>refused"]:::isRefused' in cli("plan", "--graph").stdout


def test_a_graph_of_broken_manifests(cli: Run, project: Path) -> None:
    """Findings, and no half of a graph."""
    raw = project / "manifests" / "raw.yaml"
    raw.write_text(raw.read_text().replace("category", "categry"))
    done = cli("validate", "--graph")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "raw.yaml:7:3" in done.stderr
