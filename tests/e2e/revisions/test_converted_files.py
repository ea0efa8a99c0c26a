"""Files that Git converts on the way into a checkout are no change of a package."""

from __future__ import annotations

import json

import pytest
from e2e.revisions.conftest import Repository

AGAINST = ("--offline", "--against", "git:HEAD", "--detailed-exitcode")
BAT = "plugins/yolo/run.bat"
UNRELEASED = "release/yolo@1.0.0 has unreleased changes"


@pytest.fixture
def strict(unapplied: Repository) -> Repository:
    """A policy that refuses other content under one version, and nobody to ask."""
    unapplied.place.environ.clear()
    document = json.loads((unapplied.root / "synapse-apply.yaml").read_text())
    document["policy"] = {"unreleased_source": "refuse"}
    unapplied.place.write("synapse-apply.yaml", json.dumps(document))
    return unapplied


def with_script(repo: Repository, attributes: str) -> None:
    """A script with line ends of Windows, committed with these attributes."""
    repo.place.write(".gitattributes", attributes)
    (repo.root / BAT).write_bytes(b"@echo off\r\nrun\r\n")
    repo.commit("script")
    assert repo.git("status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("attributes", "config"),
    [
        ("*.bat text eol=crlf\n", ()),
        ("", ("core.autocrlf", "true")),
        ("*.bat text\n", ("core.eol", "crlf")),
        ("*.bat text eol=crlf ident\nmanifests/* -text\n", ()),
    ],
)
def test_what_git_converts_is_no_change(
    strict: Repository, attributes: str, config: tuple[str, ...]
) -> None:
    """A clean checkout has none; an edit of a converted file is told."""
    if config:
        strict.git("config", *config)
    with_script(strict, attributes)
    assert "No changes." in strict.place.plan(*AGAINST, code=0).out
    (strict.root / BAT).touch()
    assert "No changes." in strict.place.plan(*AGAINST, code=0).out
    (strict.root / "plugins/yolo/start.bat").symlink_to("run.bat")
    strict.git("add", "-A")
    strict.git("commit", "-q", "-m", "linked")
    assert "No changes." in strict.place.plan(*AGAINST, code=0).out
    (strict.root / BAT).write_bytes(b"@echo off\r\nrun faster\r\n")
    ran = strict.place.plan(*AGAINST, code=2)
    assert f"{UNRELEASED} (2 files; next version 1.0.1)" in ran.out


def test_another_conversion_is_a_change(strict: Repository) -> None:
    """Attributes that came with the change alter what is uploaded, though no blob differs."""
    strict.place.write("plugins/yolo/run.bat", "@echo off\n")
    strict.commit("plain")
    with_script(strict, "*.bat text eol=crlf\n")
    assert "No changes." in strict.place.plan(*AGAINST, code=0).out
    ran = strict.place.plan("--offline", "--against", "git:HEAD~1", code=0)
    assert f"{UNRELEASED} (1 file; next version 1.0.1)" in ran.out


def test_a_bit_is_a_change_beside_a_conversion(strict: Repository) -> None:
    """What Git holds of a file is its executable bit, too."""
    with_script(strict, "*.bat text eol=crlf\n")
    (strict.root / BAT).chmod(0o755)
    assert f"{UNRELEASED} (1 file" in strict.place.plan(*AGAINST, code=2).out


def test_a_filter_is_not_run_and_its_files_are_told(strict: Repository) -> None:
    """What a filter would make of a file nobody knows: no change, and a warning that says so."""
    ran = strict.root.parent / "ran"
    strict.git("config", "filter.strip.clean", f"touch {ran}; tr -d x")
    with_script(strict, "*.ipynb filter=strip\n")
    (strict.root / "plugins/yolo/a.ipynb").write_text("axbx\n")
    strict.commit("notebook")
    ran.unlink()
    told = strict.place.plan(*AGAINST, code=0)
    assert "Files behind a Git filter were not compared" in told.text
    assert "a.ipynb" in told.text
    assert not ran.exists()
    strict.git("config", "--remove-section", "filter.strip")
    assert UNRELEASED in strict.place.plan(*AGAINST, code=2).out
