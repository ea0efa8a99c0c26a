"""No two targets of a project have one state, or one file of a state key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from in_process import run

PAIRS = [
    ("s3://states/team/prod?region=eu-west-1", "s3://states/team/prod/"),
    ("s3://states/synapse-apply/b", "s3://states"),
    ("az://states/x?account=one", "az://states/x/?account=one"),
    ("git:https://Git.example.com/team/x.git?ref=refs/heads/s",
     "git:https://git.example.com/team/x?pace=0&ref=refs/heads/s"),
    ("git:origin?ref=refs/synapse-apply/state/b", "git:origin"),
    ("postgresql://me:pw@db.example.com:5432/s?schema=one", "postgres://DB.example.com/s?schema=one"),
    ("", "sqlite:///x/../.synapse-apply/state/a.db"),
    ("s3://states/x", {"env": "B_URL"}),
]  # fmt: skip
APART = [
    ("s3://states", "s3://states"), ("git:origin", "git:origin"), ("", ""),
    ({"env": "A_URL"}, {"env": "A_URL"}), ({"env": "NO_URL"}, {"env": "NO_URL"}),
    ("s3://states/x", "s3://states/x/y"), ("s3://states/x?endpoint=https://a", "s3://states/x"),
    ("az://states/x?account=one", "az://states/x?account=two"), ("s3://states/x?no=1", "s3://states/x"),
]  # fmt: skip
ENVIRON = {"A_URL": "postgresql://me@db/s", "B_URL": "s3://states/x/?region=us-east-1"}


def validate(root: Path, code: int, **states: object) -> str:
    """What is said of a project whose targets have these settings of a state."""
    targets = {
        name: {"url": "https://x.example.com", "state": settings}
        for name, settings in states.items()
    }
    (root / "manifests").mkdir()
    project = {"apiVersion": "synapse-apply/v1", "kind": "Project", "targets": targets}
    (root / "synapse-apply.yaml").write_text(json.dumps(project, indent=1), encoding="utf-8")
    done = run("validate --color=never", root, ENVIRON, code)
    return done.stdout + done.stderr


def settings(url: object) -> dict[str, object]:
    return {"url": url} if url else {}


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=lambda value: str(value)[:20])
def test_two_urls_that_name_one_place(tmp_path: Path, first: object, second: object) -> None:
    """Refused with both places, and no url, which may hold a password."""
    shown = validate(tmp_path, 1, a=settings(first), b=settings(second))
    assert "Error: Two targets have one state" in shown
    assert "keeps its state where target a (synapse-apply.yaml:" in shown
    assert shown.count("synapse-apply.yaml:") == 2
    assert "Give targets.b.state.url a separate place" in shown
    assert "pw" not in shown


@pytest.mark.parametrize(("first", "second"), APART, ids=lambda value: str(value)[:20])
def test_places_that_differ(tmp_path: Path, first: object, second: object) -> None:
    """A url without a folder, a ref or a schema has one for each target."""
    assert "one state" not in validate(tmp_path, 0, a=settings(first), b=settings(second))


def test_one_file_of_a_key(tmp_path: Path) -> None:
    """A new key for one of them would shut out the other; a variable may differ for each job."""
    shared = {"key": {"env": "STATE_KEY"}}
    shown = validate(
        tmp_path,
        1,
        a={"key": {"file": "../k"}},
        b={"key": {"file": "../x/../k"}},
        c=shared,
        d=shared,
    )
    assert shown.count("Error:") == 1
    assert "has its state key in the file of target a (synapse-apply.yaml:5:" in shown
    assert "Use a different file in targets.b.state.key" in shown
