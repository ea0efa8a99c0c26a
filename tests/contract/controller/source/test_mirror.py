"""The mirror of a source: what it fetches, tells and keeps, and that nothing is checked out."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from contract.controller.upstream import (
    PROJECT,
    Upstream,
    build_source,
    get_digest,
    list_names,
    read_no_secret,
    storage,
)
from git_repositories import git

from synapse_apply.controller.ports import SourceUnavailable
from synapse_apply.controller.source import mirror_git
from synapse_apply.controller.source.mirror import GitMirror
from synapse_apply.controller.source.mirror_git import MirrorLimits
from synapse_apply.model.errors import InputError

FILES = {"synapse-apply.yaml": PROJECT, "manifests/a.yaml": storage("a")}


def make_mirror(upstream: Upstream, data: Path, **settings: object) -> GitMirror:
    return GitMirror(build_source(upstream, **settings), data, read_no_secret)


def test_the_commits_that_an_apply_would_bring(upstream, data):
    """The newest 20 of all that are not live, as text; one alone where nothing is live."""
    live = upstream.commit(FILES, message="First")
    for number in range(24):
        upstream.commit({"README": f"{number}"}, message=f"Change {number}")
    head = upstream.commit({"README": "x"}, message=f"A \x1b[31m\u202e{'long ' * 100}\n\nBody")
    mirror = make_mirror(upstream, data)
    mirror.fetch_head()
    newest, total, signers = mirror.list_new_commits(head, live)
    assert (total, len(newest), signers) == (25, 20, ())
    assert newest[0].commit == head
    assert newest[0].subject.startswith("A \\u001b[31m\\u202elong long")
    assert len(newest[0].subject) == 300
    assert [one.subject for one in newest[1:3]] == ["Change 23", "Change 22"]
    assert newest[1].author == "x <x>"
    for since in ("", "0" * 40):
        assert [one.commit for one in mirror.list_new_commits(head, since).newest] == [head]
        assert mirror.list_new_commits(head, since).total == 1
    assert mirror.list_new_commits(live, head) == ((), 0, ())


def test_a_tag_keeps_what_it_named_first(upstream, data):
    """Moved, deleted, or made anew, also where the mirror is opened again; it is told of."""
    first = upstream.commit(FILES)
    upstream.tag("v1", first)
    upstream.tag("a/b", first)
    mirror = make_mirror(upstream, data)
    assert mirror.fetch_head().moved_tags == ()
    second = upstream.commit({"README": "x"}, branch="other")
    upstream.tag("v1", second)
    git(upstream.path, "update-ref", "-d", "refs/tags/a/b")
    upstream.tag("a", second)
    upstream.tag("v2", second)

    def name(tag: str) -> str:
        return git(data / "places" / "acme", "rev-parse", f"refs/tags/{tag}^{{commit}}").strip()

    for following in (mirror, make_mirror(upstream, data)):
        head = following.fetch_head()
        assert (head.commit, head.moved_tags) == (first, ("refs/tags/a", "refs/tags/v1"))
        assert (name("v1"), name("a/b"), name("v2")) == (first, first, second)
    git(upstream.path, "update-ref", "-d", "refs/tags/v1")
    assert mirror.fetch_head().moved_tags == ("refs/tags/a",)
    upstream.tag("v1", second)
    assert mirror.fetch_head().moved_tags == ("refs/tags/a", "refs/tags/v1")
    assert name("v1") == first


@pytest.mark.parametrize("setting", ["ref", "project_from"])
def test_a_tag_that_is_followed_keeps_it_for_packages_alone(upstream, data, setting):
    """The head or the settings follow it; what a manifest calls by its name does not move."""
    commits = [upstream.commit(FILES)]
    upstream.tag("live", commits[0])
    mirror = make_mirror(upstream, data, **{setting: "live"})
    mirror.fetch_head()
    place = data / "places" / "acme"
    for _ in range(2):
        commits.append(upstream.commit({"README": str(len(commits))}))
        upstream.tag("live", commits[-1])
        head = mirror.fetch_head()
        assert (head.commit, head.moved_tags) == (commits[-1], ())
        own = "head" if setting == "ref" else "pin/live"
        for ref, commit in ((f"synapse-apply/{own}", commits[-1]), ("tags/live", commits[0])):
            assert git(place, "rev-parse", f"refs/{ref}^{{commit}}").strip() == commit


@pytest.mark.parametrize("setting", ["ref", "project_from"])
def test_nor_in_an_empty_mirror_where_the_tag_was_followed(upstream, data, setting):
    """On another machine, or after the mirror was removed: the store knows which of both it was."""
    first = upstream.commit(FILES)
    upstream.tag("live", first)
    followed = make_mirror(upstream, data, **{setting: "live"}).fetch_head().followed
    assert "refs/tags/live" in followed
    upstream.commit({"README": "x"}, branch="live")
    ref = "head" if setting == "ref" else "pin/live"
    for name in ("head", "commit"):
        mirror = make_mirror(upstream, data / name, **{setting: "live"})
        if name == "head":
            assert mirror.fetch_head(followed).followed == followed
        else:
            mirror.fetch_commit(first, followed)
        place = data / name / "places" / "acme"
        assert git(place, "rev-parse", f"refs/synapse-apply/{ref}").strip() == first


@pytest.mark.parametrize("setting", ["ref", "project_from"])
def test_a_name_of_a_branch_and_a_tag_is_an_error_where_nothing_remembers(upstream, data, setting):
    """Who may push the one does not answer for the other at the first fetch; a full name is one."""
    first = upstream.commit(FILES)
    upstream.tag("live", first)
    upstream.commit({"README": "x"}, branch="live")
    with pytest.raises(SourceUnavailable) as raised:
        make_mirror(upstream, data, **{setting: "live"}).fetch_head()
    (finding,) = raised.value.diagnostics
    assert "there are refs/heads/live and refs/tags/live" in finding.detail
    assert "full name" in finding.hint
    followed = make_mirror(upstream, data, **{setting: "refs/tags/live"}).fetch_head().followed
    assert "refs/tags/live" in followed
    # What was followed by its full name is what the name means from then on.
    assert make_mirror(upstream, data, **{setting: "live"}).fetch_head().followed == followed


@pytest.mark.parametrize("setting", ["ref", "project_from"])
def test_a_branch_does_not_take_the_place_of_a_tag(upstream, data, setting):
    """Who may push the one must not answer for the other, also once that is gone."""
    first = upstream.commit(FILES)
    upstream.tag("live", first)
    make_mirror(upstream, data, **{setting: "live"}).fetch_head()
    second = upstream.commit({"README": "x"}, branch="live")
    mirror = make_mirror(upstream, data, **{setting: "live"})
    mirror.fetch_head()

    def read() -> str:
        ref = "head" if setting == "ref" else "pin/live"
        return git(data / "places" / "acme", "rev-parse", f"refs/synapse-apply/{ref}").strip()

    assert read() == first
    git(upstream.path, "update-ref", "-d", "refs/tags/live")
    with pytest.raises(SourceUnavailable) as raised:
        mirror.fetch_head()
    assert (
        "refs/tags/live, which the controller followed until now"
        in raised.value.diagnostics[0].detail
    )
    assert read() == first
    make_mirror(upstream, data, **{setting: "refs/heads/live"}).fetch_head()
    if setting == "ref":
        assert read() == second


def test_what_was_forced_away_stays_while_it_is_kept(upstream, data):
    first = upstream.commit(FILES)
    second = upstream.commit({"README": "x"})
    mirror = make_mirror(upstream, data)
    mirror.fetch_head()
    mirror.protect_commits([second])
    git(upstream.path, "update-ref", "refs/heads/main", first)
    assert mirror.fetch_head().commit == first
    assert not mirror.is_same_or_descendant(first, second)
    bare = data / "mirrors" / "acme.git"
    git(bare, "repack", "-a", "-d", "-q")
    assert list_names(mirror, second) == ("prod",)
    mirror.protect_commits([first])
    git(bare, "repack", "-a", "-d", "-q")
    git(bare, "prune", "--expire=now")
    with pytest.raises(SourceUnavailable):
        make_mirror(upstream, data).list_targets(second)


def test_a_commit_is_fetched_where_a_machine_first_needs_it(upstream, data, tmp_path):
    """Once; a commit that is not to be had is said so, and what is here is asked of nobody."""
    first = upstream.commit({"synapse-apply.yaml": PROJECT})
    source = build_source(upstream)
    mirror = GitMirror(source, data, read_no_secret)
    assert mirror.fetch_commit(first)
    assert not mirror.fetch_commit(first)
    second = upstream.commit({"README.md": "second"})
    assert mirror.fetch_commit(second)
    with pytest.raises(SourceUnavailable):
        mirror.fetch_commit("0" * 40)
    upstream.path.rename(tmp_path / "away.git")
    assert not mirror.fetch_commit(second)


@pytest.mark.parametrize("damage", ["gone", "emptied", "broken pack"])
def test_a_broken_mirror_is_made_anew(upstream, data, damage):
    upstream.commit(FILES)
    mirror = make_mirror(upstream, data)
    mirror.fetch_head()
    bare = data / "mirrors" / "acme.git"
    if damage == "gone":
        shutil.rmtree(bare)
    elif damage == "emptied":
        shutil.rmtree(bare / "objects")
    else:
        pack = next((bare / "objects" / "pack").glob("*.pack"))
        pack.chmod(0o600)
        pack.write_bytes(b"")
    head = upstream.commit({"README": "x"})
    assert mirror.fetch_head().commit == head
    assert list_names(mirror, head) == ("prod",)


def test_findings_name_commit_and_file(upstream, data):
    commit = upstream.commit({"synapse-apply.yaml": "kind: Project\nnonsense: 1\n"})
    mirror = make_mirror(upstream, data)
    mirror.fetch_head()
    with pytest.raises(InputError) as raised:
        list_names(mirror, commit)
    files = {str(finding.position).partition(":synapse")[0] for finding in raised.value.diagnostics}
    assert files == {commit[:7]}
    other = upstream.commit({"synapse-apply.yaml": None, "README": "x"})
    mirror.fetch_head()
    with pytest.raises(InputError, match="The commit has no project file"):
        list_names(mirror, other)


def test_targets_are_those_that_the_pin_has_too(upstream, data):
    upstream.commit({"synapse-apply.yaml": PROJECT}, branch="rules")
    more = PROJECT + '  evil: {url: "http://127.0.0.1:9"}\n'
    upstream.commit({"synapse-apply.yaml": more})
    pinned, free = (
        make_mirror(upstream, data / name, project_from=pin)
        for name, pin in (("pinned", "rules"), ("free", ""))
    )
    head = pinned.fetch_head()
    assert head.pin != head.commit
    assert list_names(pinned, head.commit) == ("prod",)
    moved = upstream.commit({"synapse-apply.yaml": PROJECT + "\n"}, branch="rules")
    assert pinned.fetch_head() == head._replace(pin=moved)
    assert list_names(free, free.fetch_head().commit) == ("evil", "prod")
    assert free.fetch_head().pin == ""


def test_a_digest_changes_with_what_a_target_is_read_from(upstream, data):
    project = (
        PROJECT.replace('"}', '"}') + '  dev: {url: "http://127.0.0.1:9", manifests: [dev/]}\n'
    )
    project = project.replace("ACME_TOKEN}}", "ACME_TOKEN}, manifests: [prod/]}")
    files = {"synapse-apply.yaml": project, "prod/a.yaml": storage("a"), "dev/a.yaml": storage("a")}
    mirror = make_mirror(upstream, data)
    upstream.commit(files)

    def compute() -> tuple[str, str]:
        commit = mirror.fetch_head().commit
        return get_digest(mirror, commit, "prod"), get_digest(mirror, commit, "dev")

    first = compute()
    upstream.commit({}, message="Nothing")
    assert compute() == first
    upstream.commit({"dev/a.yaml": storage("a", "other")})
    second = compute()
    assert second[0] == first[0]
    assert second[1] != first[1]
    upstream.commit({"plugins/x/main.py": "x"})
    third = compute()
    assert third[0] != second[0]
    assert third[1] != second[1]


LISTED = """
apiVersion: synapse-apply/v1
kind: Project
targets: {prod: {}}
targets_from:
  file: lists/tenants.yaml
  template: {tenant: "${row.code}", manifests: [common/]}
"""


def test_a_target_of_a_list_notices_its_own_row_alone(upstream, data):
    """A new tenant in the list is nothing to do for the other ten thousand."""

    def commit_rows(*rows: str, project: str = LISTED) -> dict[str, str]:
        upstream.commit(
            {
                "synapse-apply.yaml": project,
                "common/a.yaml": storage("a"),
                "lists/tenants.yaml": "".join(f"- {{{row}}}\n" for row in rows),
            }
        )
        commit = mirror.fetch_head().commit
        return {name: get_digest(mirror, commit, name) for name in list_names(mirror, commit)}

    mirror = make_mirror(upstream, data)
    first = commit_rows("name: acme, code: A", "name: beta, code: B")
    assert sorted(first) == ["acme", "beta", "prod"]
    second = commit_rows("name: new, code: N", "name: beta, code: C", "name: acme, code: A")
    assert {name for name, digest in second.items() if first.get(name) == digest} == {
        "acme",
        "prod",
    }
    third = commit_rows("name: acme, code: A", project=LISTED.replace("[common/]", "[.]"))
    assert third["acme"] != second["acme"]


def test_a_list_is_read_from_the_pin_and_its_rows_count(upstream, data):
    """What a change adds to the list is no target yet, and what the pin's list says counts."""
    list_name, rows = "lists/tenants.yaml", "- {name: acme, code: A}\n"
    files = {"synapse-apply.yaml": LISTED, "common/a.yaml": storage("a")}
    upstream.commit({**files, list_name: rows}, branch="rules")
    upstream.commit({**files, list_name: rows + "- {name: evil, code: E}\n"})
    mirror = make_mirror(upstream, data, project_from="rules")
    head = mirror.fetch_head().commit
    assert list_names(mirror, head) == ("acme", "prod")
    first = get_digest(mirror, head, "acme")
    upstream.commit({list_name: rows.replace("code: A", "code: B")}, branch="rules")
    mirror.fetch_head()
    assert get_digest(mirror, head, "acme") != first


def test_a_list_that_is_a_link_is_refused(upstream, data):
    upstream.commit({"synapse-apply.yaml": LISTED})
    blob = upstream.write_blob(b"/etc/passwd")
    upstream.commit(raw_entries=(f"120000 {blob}\tlists/tenants.yaml",))
    mirror = make_mirror(upstream, data)
    with pytest.raises(InputError, match="The list of targets is not a regular file") as raised:
        list_names(mirror, mirror.fetch_head().commit)
    assert "lists/tenants.yaml is a link or a submodule" in raised.value.diagnostics[0].detail


def test_a_repository_that_is_too_large_is_not_kept(upstream, data):
    upstream.commit(FILES)
    mirror = make_mirror(upstream, data)
    small = mirror.fetch_head().commit
    blob = upstream.write_blob(os.urandom(1_000_000))
    upstream.commit(raw_entries=(f"100644 {blob}\tlarge",))
    limited = GitMirror(build_source(upstream), data, read_no_secret, MirrorLimits(size=100_000))
    with pytest.raises(SourceUnavailable, match="cannot be read"):
        limited.fetch_head()
    assert list_names(limited, small) == ("prod",)


def test_a_commit_that_is_missing_shows_no_path_of_the_machine(upstream, data):
    """All who may read the source read it; the operator knows the data folder."""
    upstream.commit(FILES)
    mirror = make_mirror(upstream, data)
    mirror.fetch_head()
    with pytest.raises(SourceUnavailable, match="cannot be read") as raised:
        mirror.list_author_names_and_emails("0" * 40, "")
    (problem,) = raised.value.diagnostics
    assert "mirrors/acme.git in the controller's data folder" in problem.hint
    assert str(data) not in f"{problem.detail} {problem.hint}"


@pytest.mark.parametrize(
    ("settings", "summary"),
    [
        ({"ref": "--upload-pack=x"}, "source ref"),
        ({"ref": "a..b"}, "source ref"),
        ({"path": "../x"}, "leaves its repository"),
        ({"project_from": "-x"}, "source ref"),
    ],
)
def test_odd_settings_are_refused(upstream, data, settings, summary):
    with pytest.raises(InputError, match=summary):
        make_mirror(upstream, data, **settings)


def test_a_ref_that_is_gone(upstream, data):
    upstream.commit(FILES)
    with pytest.raises(SourceUnavailable, match="no such ref"):
        make_mirror(upstream, data, ref="release").fetch_head()


def test_other_settings_follow_another_branch(upstream, data):
    """In the same mirror, also where the name of one is in the way of the other."""
    first = upstream.commit(FILES, branch="a")
    assert make_mirror(upstream, data, ref="a", project_from="a").fetch_head().commit == first
    git(upstream.path, "update-ref", "-d", "refs/heads/a")
    second = upstream.commit(FILES, branch="a/b")
    mirror = make_mirror(upstream, data, ref="refs/heads/a/b", project_from="a/b")
    assert mirror.fetch_head().commit == second
    assert list_names(mirror, second) == ("prod",)


def test_many_packs_become_one(upstream, data, monkeypatch):
    """With all that is followed or kept."""
    monkeypatch.setattr(mirror_git, "MOST_PACKS", 3)
    mirror = make_mirror(upstream, data)
    commits = []
    for number in range(5):
        commits.append(upstream.commit({**FILES, "README": str(number)}))
        mirror.fetch_head()
        mirror.protect_commits(commits[:1])
    packs = data / "mirrors" / "acme.git" / "objects" / "pack"
    assert len(list(packs.glob("*.pack"))) <= 3
    fresh = make_mirror(upstream, data)
    assert list_names(fresh, commits[0]) == list_names(fresh, commits[-1]) == ("prod",)
