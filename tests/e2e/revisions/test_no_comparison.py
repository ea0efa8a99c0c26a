"""An offline plan that has nothing to compare with says so, and lets a repair pass."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e.revisions.conftest import Repository
from jsonschema import Draft202012Validator

AGAINST = ("--offline", "--against", "git:main")


@pytest.fixture
def fork(unapplied: Repository) -> Repository:
    """A checkout with no credentials at all, and no state."""
    unapplied.place.environ.clear()
    return unapplied


def a_manifest(repo: Repository) -> str:
    repo.place.write("manifests/storage.yaml", "not: [valid")
    return "main:manifests/storage.yaml:2:1"


def a_project_file(repo: Repository) -> str:
    repo.place.write("synapse-apply.yaml", "kind: Projekt\n")
    return "main:synapse-apply.yaml:1:"


def a_linked_folder(repo: Repository) -> str:
    (repo.root / "manifests/more").symlink_to("../plugins")
    return "manifests/more in main is a link to a folder"


@pytest.fixture(params=[a_manifest, a_project_file, a_linked_folder])
def broken(fork: Repository, request: pytest.FixtureRequest) -> str:
    """`main` cannot be used, and the checkout mends it; gives what is wrong there."""
    breaks: Callable[[Repository], str] = request.param
    said = breaks(fork)
    fork.commit("broken")
    fork.git("branch", "-f", "main")
    assert fork.place.plan(*AGAINST, code=1)
    fork.git("checkout", "-q", "main~1", "--", ".")
    (fork.root / "manifests/more").unlink(missing_ok=True)
    return said


def test_a_repair_passes_and_is_not_compared(fork: Repository, broken: str, tmp_path: Path) -> None:
    """All is planned as new, every view says so, and no program takes it for a comparison."""
    at = f"git:main ({fork.git('rev-parse', '--short=7', 'main')})"
    kinds = ("markdown", "gitlab", "html")
    reports = [f"--report={kind}={tmp_path / kind}" for kind in kinds]
    ran = fork.place.plan(*AGAINST, *reports, code=0)
    assert f"not compared with {at}, without querying the backend" in ran.out
    assert f"\nNot compared with {at}: every declared resource is treated as new.\n" in ran.out
    assert "\nPlan: 3 to add, 0 to change, 0 to destroy.\n" in ran.out
    assert "Warning: Nothing was compared" in ran.text
    assert broken in ran.text
    assert "No changes" not in ran.text
    assert f"not compared with `{at}`" in (tmp_path / "markdown").read_text()
    assert json.loads((tmp_path / "gitlab").read_text()) == {}
    assert f"Not compared with {at}" in (tmp_path / "html").read_text()
    document = fork.place.plan(*AGAINST, "--json", "--detailed-exitcode", code=2).document
    schema = json.loads(Path("schemas/v1/plan.schema.json").read_text())
    Draft202012Validator(schema).validate(document)
    assert (document["complete"], document["base"]["compared"]) == (False, False)
    assert (document["errored"], document["applyable"]) == (False, False)


def test_nothing_declared_is_not_no_change(fork: Repository) -> None:
    """Where neither side says anything nobody may read that nothing changes."""
    a_manifest(fork)
    fork.commit("broken")
    fork.git("branch", "-f", "main")
    for name in ("plugin", "storage"):
        (fork.root / f"manifests/{name}.yaml").unlink()
    ran = fork.place.plan(*AGAINST, "--detailed-exitcode", code=2)
    assert "Not compared with git:main" in ran.out
    assert "No changes" not in ran.text


def test_a_refusal_still_speaks(fork: Repository) -> None:
    """The policy judges what is declared, whatever was declared before."""
    a_manifest(fork)
    fork.commit("broken")
    fork.git("branch", "-f", "main")
    fork.git("checkout", "-q", "main~1", "--", ".")
    text = (fork.root / "synapse-apply.yaml").read_text()
    rules = {"policy": {"rules": [{"rule": "required-labels", "labels": ["team"]}]}}
    fork.place.write("synapse-apply.yaml", json.dumps({**json.loads(text), **rules}))
    ran = fork.place.plan(*AGAINST, code=0)
    assert "Refused: 3" in ran.out
    assert "Not compared with git:main" in ran.out


def test_what_a_clone_lacks_is_an_error(fork: Repository) -> None:
    """A partial clone is mended by a fetch; it must not pass as a plan without a comparison."""
    blob = fork.git("rev-parse", "main:manifests/storage.yaml")
    (fork.root / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    ran = fork.place.plan(*AGAINST, code=1)
    assert "git fetch" in ran.text


@pytest.mark.parametrize("ref", ["HEAD", "@", "trunk", "refs/heads/trunk"])
def test_before_the_first_commit_everything_is_new(fork: Repository, ref: str) -> None:
    """There is no commit yet: nothing is wrong with the clone."""
    fork.git("checkout", "-q", "--orphan", "trunk")
    ran = fork.place.plan("--offline", "--against", f"git:{ref}", "--detailed-exitcode", code=2)
    assert f"against git:{ref} (no commit yet), without querying the backend" in ran.out
    assert "\nPlan: 3 to add, 0 to change, 0 to destroy.\n" in ran.out
    assert "shallow" not in ran.text
    ran = fork.place.run("plan", "--ref", ref, code=1)
    assert "No commit yet" in ran.text
    ran = fork.place.plan("--offline", "--against", "git:nowhere", code=1)
    assert "Unknown Git ref" in ran.text


@pytest.mark.parametrize("said", ["HEAD", "main.yaml"])
def test_a_comparison_without_its_kind_is_told_what_it_may_mean(
    fork: Repository, said: str
) -> None:
    """The value is put into both forms, so that one of them can be copied."""
    ran = fork.place.plan("--offline", "--against", said, code=64)
    assert f"--offline needs --against git:{said}, or --against state:{said}" in " ".join(
        ran.err.split()
    )
