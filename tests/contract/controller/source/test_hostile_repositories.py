"""What a repository can hold, and the controller does not do."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from contract.controller.upstream import (
    PROJECT,
    Upstream,
    build_source,
    list_names,
    read_no_secret,
    storage,
)
from git_repositories import ENVIRON, git

from synapse_apply.controller.ports import SourceUnavailable
from synapse_apply.controller.rows import TargetName
from synapse_apply.controller.source.access import build_pin_revision_or_empty
from synapse_apply.controller.source.mirror import GitMirror
from synapse_apply.controller.worker.exchange import Order
from synapse_apply.controller.worker.look import look_at_target
from synapse_apply.library.opening import open_target_at_commit
from synapse_apply.model.errors import InputError
from synapse_apply.model.secrets.secret_marks import ReadableFiles

FILES = {"synapse-apply.yaml": PROJECT, "manifests/a.yaml": storage("a")}
OUTSIDE = "canary-outside"


@pytest.fixture
def mirror(upstream: Upstream, data: Path) -> GitMirror:
    return GitMirror(build_source(upstream), data, read_no_secret)


@pytest.fixture
def look(mirror: GitMirror, data: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """What a look at the head's target says."""

    def fetch_and_look() -> str:
        commit = mirror.fetch_head().commit
        folder = data / "places" / "acme"
        monkeypatch.chdir(folder)
        result = look_at_target(
            Order(*TargetName("acme", "prod"), commit, 60.0, folder=str(folder)),
            {"ACME_TOKEN": "x" * 20},
        )
        return "\n".join(f"{f.summary}: {f.detail}" for f in result.findings)

    return fetch_and_look


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file that no project may read."""
    file = tmp_path / "outside.yaml"
    file.write_text(f"kind: {OUTSIDE}\n")
    return file


def link(upstream: Upstream, path: str, target: str) -> str:
    return f"120000 {upstream.write_blob(target.encode())}\t{path}"


def test_a_project_file_that_is_a_link(upstream, mirror, look, outside):
    commit = upstream.commit(raw_entries=(link(upstream, "synapse-apply.yaml", str(outside)),))
    mirror.fetch_head()
    with pytest.raises(InputError, match="is not a regular file"):
        list_names(mirror, commit)
    assert OUTSIDE not in look()


@pytest.mark.parametrize("pin", ["", "main"])
def test_a_folder_that_became_a_link_leads_to_no_other_project(upstream, data, pin):
    """The path of a source is that in the commit, and so it is in a pin."""
    files = {f"{folder}/{name}": text for folder in ("lax", "prod") for name, text in FILES.items()}
    upstream.commit(files)
    source = build_source(upstream, path="prod", ref="refs/heads/change", project_from=pin)
    mirror = GitMirror(source, data, read_no_secret)
    upstream.commit({}, branch="change", parent="main")
    assert list_names(mirror, mirror.fetch_head().commit) == ("prod",)
    upstream.commit({f"prod/{name}": None for name in FILES}, branch="change")
    commit = upstream.commit(raw_entries=(link(upstream, "prod", "lax"),), branch="change")
    mirror.fetch_head()
    with pytest.raises(InputError):
        list_names(mirror, commit)


@pytest.mark.parametrize("depth", ["", "../../../../.."])
def test_manifests_that_are_links(upstream, look, outside, depth):
    entry = link(upstream, "manifests/b.yaml", f"{depth}{outside}")
    upstream.commit(FILES, raw_entries=(entry,))
    text = look()
    assert OUTSIDE not in text
    assert "Link cannot be followed" in text


def test_a_submodule_is_no_folder_of_ours(upstream, look):
    modules = '[submodule "x"]\n\tpath = manifests/x\n\turl = --upload-pack=touch /tmp/x\n'
    entry = f"160000 {'1' * 40}\tmanifests/x"
    upstream.commit({**FILES, ".gitmodules": modules.replace("--", "")}, raw_entries=(entry,))
    assert "is a Git submodule" in look()


def test_what_git_refuses_is_refused(upstream, mirror):
    """A `.git` in a tree, which no honest program makes; the head that was there stays."""
    first = upstream.commit(FILES)
    mirror.fetch_head()
    blob = upstream.write_blob(b"x")
    tree = b"100644 .git\0" + bytes.fromhex(blob)
    command = ("git", "-C", str(upstream.path), "hash-object", "-t", "tree", "-w", "--literally")
    done = subprocess.run(
        (*command, "--stdin"), input=tree, env=ENVIRON, capture_output=True, check=True
    )
    commit = git(upstream.path, "commit-tree", "-p", first, done.stdout.decode().strip(), input=b"")
    git(upstream.path, "update-ref", "refs/heads/main", commit)
    with pytest.raises(SourceUnavailable) as raised:
        mirror.fetch_head()
    assert "Git rejects an object" in raised.value.diagnostics[0].hint
    assert list_names(mirror, first) == ("prod",)


def test_texts_of_a_commit_are_cut_and_escaped(upstream, mirror):
    upstream.commit(FILES, message="\x1b[31mred\u202e " + "x" * 200_000)
    head = mirror.fetch_head()
    assert head.subject.startswith("\\u001b[31mred\\u202e x")
    assert len(head.subject) <= 300


def test_odd_tags_change_nothing(upstream, mirror):
    """Names like options, like ours, like the branch; and one in the place of a folder."""
    commit = upstream.commit(FILES)
    assert mirror.fetch_head().commit == commit
    other = upstream.commit({"README": "x"}, branch="other")
    for name in ("--upload-pack=x", "main", "origin/main", "synapse-apply/head", "a/b"):
        upstream.tag(name, other)
    assert mirror.fetch_head().commit == commit
    git(upstream.path, "update-ref", "-d", "refs/tags/a/b")
    upstream.tag("a", other)
    newer = upstream.commit({"README": "y"})
    assert mirror.fetch_head().commit == newer


def test_a_huge_project_file_is_not_read(upstream, mirror):
    commit = upstream.commit({"synapse-apply.yaml": PROJECT + "#" * 5_000_000})
    mirror.fetch_head()
    with pytest.raises(InputError, match="cannot be read"):
        list_names(mirror, commit)


def test_committed_states_and_keys_are_no_state(upstream, look, data):
    """What the tool keeps beside a project never comes from a commit."""
    state = {f".synapse-apply/{name}": "x" for name in ("state/prod.db", "state/prod.key")}
    upstream.commit({**FILES, **state})
    assert "There is no state for this target" in look()
    assert [path.name for path in (data / "places" / "acme").iterdir()] == [".git"]


def test_a_pin_holds_url_and_token(upstream, data, monkeypatch):
    """Who may push manifests alone changes neither, and is told so."""
    source = build_source(upstream, project_from="rules")
    upstream.commit(FILES, branch="rules")
    evil = PROJECT.replace("127.0.0.1:9", "127.0.0.1:8").replace("ACME_TOKEN", "ACME_OTHER")
    upstream.commit({**FILES, "synapse-apply.yaml": evil})
    mirror = GitMirror(source, data, read_no_secret)
    commit = mirror.fetch_head().commit
    folder = data / "places" / "acme"
    monkeypatch.chdir(folder)
    with open_target_at_commit(
        "prod",
        folder=folder,
        commit=commit,
        environ={},
        readable_files=ReadableFiles(),
        project_from=build_pin_revision_or_empty(source),
    ) as target:
        findings = target.validate().diagnostics
    (finding,) = [each for each in findings if "are ignored" in each.summary]
    assert "targets.prod.url, targets.prod.token" in finding.detail
    assert "refs/synapse-apply/pin/rules" in finding.detail


@pytest.mark.parametrize("leaf", [storage("a"), ""])
def test_a_look_at_trees_that_hold_one_another_many_times(upstream, look, leaf):
    """They are listed up to a bound, which is told."""
    upstream.commit_nested_trees({"synapse-apply.yaml": PROJECT}, "manifests", leaf=leaf)
    assert "A commit has too many files: " in look()


def test_names_of_authors_that_would_fill_the_memory(upstream, mirror):
    """The controller keeps them for each target: of a history that has too many, nobody is told."""
    first = upstream.commit(FILES)
    commit = mirror.fetch_head().commit
    assert mirror.list_author_names_and_emails(commit, "") == ("x",)
    lines = [
        f"commit refs/heads/main\nauthor {number}{'a' * 60_000} <x> 1 +0000\n"
        f"committer x <x> 1 +0000\ndata 0\n{'' if number else f'from {first}'}\n"
        for number in range(20)
    ]
    git(upstream.path, "fast-import", "--quiet", input="".join(lines).encode())
    commit = mirror.fetch_head().commit
    with pytest.raises(SourceUnavailable, match="author names are too long"):
        mirror.list_author_names_and_emails(commit, first)
