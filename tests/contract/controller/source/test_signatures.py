"""Commits of a source that must be signed: by SSH and OpenPGP keys, in both modes, real ones."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from contract.controller.upstream import PROJECT, Upstream, build_source, read_no_secret, storage
from controllers.signers import Signers, open_signers
from git_repositories import git

from synapse_apply.controller.ports import SourceUnavailable
from synapse_apply.controller.settings import Signatures
from synapse_apply.controller.source.mirror import GitMirror
from synapse_apply.controller.source.signatures import CommitSignatures
from synapse_apply.model.errors import InputError

FILES = {"synapse-apply.yaml": PROJECT, "manifests/a.yaml": storage("a")}
LONG_AGO = "1577836800"  # 2020-01-01


@pytest.fixture
def signers(tmp_path: Path) -> Iterator[Signers]:
    with open_signers(tmp_path / "signers") as made:
        yield made


@pytest.fixture
def make_mirror(upstream: Upstream, data: Path, signers: Signers) -> Callable[..., GitMirror]:
    def make(mode: str = "head", *, gpg: bool = False, **settings: object) -> GitMirror:
        file = {"keys": str(signers.keys)} if gpg else {"allowed_signers": str(signers.allowed)}
        signed = Signatures(**file, mode=mode)
        return GitMirror(build_source(upstream, signed=signed, **settings), data, read_no_secret)

    return make


def refusal(mirror: GitMirror, live: str = "") -> str:
    """Why the head must not be used, "" if it may; `live` is the commit of the targets."""
    head = mirror.fetch_head().commit
    try:
        mirror.require_signed(head, frozenset({live}) if live else None)
    except InputError as problem:
        return problem.diagnostics[0].detail
    return ""


@pytest.mark.parametrize("mode", ["head", "since_live"])
def test_an_ssh_key_of_the_file(upstream, signers, make_mirror, mode):
    """One of the file counts; none, an unknown, an expired and a backdated one do not."""
    for name in ("ann", "eve"):
        signers.make_ssh_key(name, is_allowed=name == "ann")
    signers.make_ssh_key("old", 'valid-before="20210101Z"')
    mirror = make_mirror(mode)
    live = signers.sign(upstream, upstream.commit(FILES), "ann")
    assert refusal(mirror) == ""
    plain = upstream.commit({"manifests/b.yaml": storage("b")})
    assert f"{plain[:12]} by x has no signature" in refusal(mirror, live)
    for name, made in (("eve", ""), ("old", ""), ("old", LONG_AGO)):
        bad = signers.sign(upstream, plain, name, made=made)
        told = refusal(mirror, live)
        assert f"{bad[:12]} by {name} is signed by a key that is not in " in told
        assert str(signers.allowed) in told
    signers.sign(upstream, plain, "ann")
    assert refusal(mirror, live) == ""
    # A key that is taken out of the file counts no more, with no restart.
    signers.allowed.write_text("")
    assert "is not in" in refusal(mirror, live)


def test_an_openpgp_key_of_the_file(upstream, signers, make_mirror):
    """One of the file counts; an unknown and an expired one do not, nor an SSH key."""
    signers.make_gpg_key("ann")
    signers.make_gpg_key("eve")
    signers.make_gpg_key("old", "2020-06-01", made="20200101T000000")
    signers.make_ssh_key("sam")
    signers.export_gpg("ann", "old")
    mirror = make_mirror(gpg=True)
    plain = upstream.commit(FILES)
    assert "has no signature" in refusal(mirror)
    signers.sign(upstream, plain, "ann")
    assert refusal(mirror) == ""
    for name, made, fault in (
        ("eve", "", "by a key that is not in"),
        ("sam", "", "by a key that is not in"),
        ("old", LONG_AGO, "is signed by a key that has expired"),
    ):
        signers.sign(upstream, plain, name, made=made)
        assert fault in refusal(mirror), name


def test_a_signed_merge_of_unsigned_commits(upstream, signers, make_mirror):
    """It is enough for a head, and not where each commit since what is live needs a signature."""
    signers.make_ssh_key("ann")
    live = signers.sign(upstream, upstream.commit(FILES), "ann")
    side = upstream.commit({"README": "x"}, branch="side", parent=live)
    tree = git(upstream.path, "rev-parse", f"{side}^{{tree}}")
    merge = git(upstream.path, "commit-tree", "-p", live, "-p", side, tree, input=b"Merge")
    signers.sign(upstream, merge, "ann")
    assert refusal(make_mirror(), live) == ""
    told = refusal(make_mirror("since_live"), live)
    assert told == f"acme: {side[:12]} by x has no signature."
    # What is live was accepted before, signed or not.
    assert refusal(make_mirror("since_live"), side) == ""


def test_each_unsigned_commit_is_named(upstream, signers, make_mirror):
    """Five of them, and how many more."""
    signers.make_ssh_key("ann")
    live = signers.sign(upstream, upstream.commit(FILES), "ann")
    commits = [upstream.commit({"README": str(number)}) for number in range(7)]
    told = refusal(make_mirror("since_live"), live)
    assert all(commit[:12] in told for commit in commits[2:])
    assert told.endswith("; and 2 more.")


def test_an_altered_commit(upstream, signers, make_mirror):
    """A signature of another content does not count."""
    signers.make_ssh_key("ann")
    live = signers.sign(upstream, upstream.commit(FILES), "ann")
    content = git(upstream.path, "cat-file", "commit", live).replace("Signed", "Altered")
    altered = git(
        upstream.path, "hash-object", "-w", "-t", "commit", "--stdin", input=content.encode()
    )
    git(upstream.path, "update-ref", "refs/heads/main", altered)
    assert f"{altered[:12]} by ann has a signature that does not match its content" in refusal(
        make_mirror()
    )


def test_the_settings_of_a_pin_are_signed_as_well(upstream, signers, make_mirror, monkeypatch):
    """A pin that moves to an unsigned commit stays where it was, and the fetch says why."""
    signers.make_ssh_key("ann")
    live = signers.sign(upstream, upstream.commit(FILES), "ann")
    git(upstream.path, "update-ref", "refs/heads/settings", live)
    mirror = make_mirror(project_from="settings")
    before = mirror.fetch_head() and mirror.list_targets(live)
    other = PROJECT.replace("127.0.0.1:9", "127.0.0.1:10")
    upstream.commit({"synapse-apply.yaml": other}, branch="settings")
    during = list[object]()
    verify = CommitSignatures.require

    def look_meanwhile(self: CommitSignatures, *given: Any) -> None:
        during.append(make_mirror(project_from="settings").list_targets(live))
        verify(self, *given)

    monkeypatch.setattr(CommitSignatures, "require", look_meanwhile)
    # Also after a restart, and for who reads the settings while the commit is verified.
    for one in (mirror, mirror, make_mirror(project_from="settings")):
        with pytest.raises(SourceUnavailable, match="not signed by an allowed key"):
            one.fetch_head()
        assert one.list_targets(live) == before
    assert during == [before] * 3


@pytest.mark.parametrize("mode", ["head", "since_live"])
def test_going_back_to_an_unsigned_commit(upstream, signers, make_mirror, mode):
    """It has no signature, whatever was signed upon it: neither as the head nor as the pin."""
    signers.make_ssh_key("ann")
    plain = upstream.commit(FILES)
    live = signers.sign(upstream, upstream.commit({"README": "x"}), "ann")
    git(upstream.path, "update-ref", "refs/heads/settings", live)
    mirror = make_mirror(mode, project_from="settings")
    mirror.fetch_head()
    for branch in ("settings", "main"):
        git(upstream.path, "update-ref", f"refs/heads/{branch}", plain)
    with pytest.raises(SourceUnavailable, match="not signed by an allowed key"):
        mirror.fetch_head()
    assert "has no signature" in refusal(make_mirror(mode), live)


def test_who_signed_is_among_the_authors(upstream, signers, make_mirror):
    """Whoever is written as the author: `not_author` compares both."""
    signers.make_ssh_key("ann")
    signers.make_gpg_key("kim")
    signers.export_gpg("kim")
    plain = upstream.commit(FILES)
    signers.sign(upstream, plain, "ann")
    mirror = make_mirror()
    head = mirror.fetch_head().commit
    assert "ann@acme.example" in mirror.list_author_names_and_emails(head, "")
    head = signers.sign(upstream, plain, "kim")
    mirror = make_mirror(gpg=True)
    mirror.fetch_head()
    names = mirror.list_author_names_and_emails(head, "")
    assert {"kim", "kim@acme.example", "kim <kim@acme.example>"} <= {*names}


def test_all_names_of_a_key_are_among_the_authors(upstream, signers, make_mirror):
    """Git tells only the first: people approve under any of them, also after the key's end."""
    signers.make_ssh_key("ann")
    signers.make_ssh_key("bob")
    line = signers.allowed.read_text()
    signers.allowed.write_text(line.replace("ann@", "laptop,ann@"))
    head = signers.sign(upstream, upstream.commit(FILES), "ann")
    mirror = make_mirror()
    mirror.fetch_head()
    names = {"ann", "laptop", "ann@acme.example"}
    assert {*mirror.list_author_names_and_emails(head, "")} == names
    signers.allowed.write_text(
        line.replace("ann@acme.example", 'ann@acme.example valid-before="20210101Z"')
    )
    assert {*mirror.list_author_names_and_emails(head, "")} == names - {"laptop"}


def test_all_names_of_an_openpgp_key_are_among_the_authors(upstream, signers, make_mirror):
    """It is the first that Git tells."""
    signers.make_gpg_key("kim")
    signers.make_gpg_key("bob")
    signers.add_gpg_name("kim", "Kim: Lee <private@home.example>")
    signers.export_gpg("bob", "kim")
    head = signers.sign(upstream, upstream.commit(FILES), "kim")
    mirror = make_mirror(gpg=True)
    mirror.fetch_head()
    names = {*mirror.list_author_names_and_emails(head, "")}
    assert {"kim@acme.example", "private@home.example", "Kim: Lee"} <= names
    assert "bob" not in names


def test_who_signed_is_found_out_once(upstream, signers, make_mirror, monkeypatch, tmp_path):
    """Until the file of keys changes: a long history is asked for at each check."""
    signers.make_ssh_key("ann")
    head = signers.sign(upstream, upstream.commit(FILES), "ann")
    log, program = tmp_path / "log", tmp_path / "ssh-keygen"
    program.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec {shutil.which("ssh-keygen")} "$@"\n')
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    mirror = make_mirror()
    mirror.fetch_head()
    names = mirror.list_author_names_and_emails(head, "")
    asked = log.read_text()
    assert mirror.list_author_names_and_emails(head, "") == names
    assert (log.read_text(), "laptop" in names) == (asked, False)
    line = signers.allowed.read_text()
    signers.allowed.write_text(line.replace("ann@", "laptop,ann@"))
    assert "laptop" in mirror.list_author_names_and_emails(head, "")


def test_names_of_one_key_in_two_exports_are_among_the_authors(upstream, signers, make_mirror):
    """Someone exported the key again after it got a name, below the one that was there."""
    signers.make_gpg_key("kim")
    signers.export_gpg("kim")
    before = signers.keys.read_text()
    signers.add_gpg_name("kim", "Kim Lee <private@home.example>")
    signers.add_gpg_name("kim", "Kim Low <work@acme.example>")
    signers.export_gpg("kim")
    signers.keys.write_text(before + signers.keys.read_text())
    head = signers.sign(upstream, upstream.commit(FILES), "kim")
    mirror = make_mirror(gpg=True)
    mirror.fetch_head()
    names = {*mirror.list_author_names_and_emails(head, "")}
    assert {"kim@acme.example", "private@home.example", "Kim Lee"} <= names


def test_a_quoted_name_with_a_space_is_among_the_authors(upstream, signers, make_mirror):
    """ssh-keygen(1) allows it."""
    signers.make_ssh_key("ann")
    line = signers.allowed.read_text()
    signers.allowed.write_text(
        line.replace("ann@acme.example", '"laptop,Ann Lee,ann@acme.example"')
    )
    head = signers.sign(upstream, upstream.commit(FILES), "ann")
    mirror = make_mirror()
    mirror.fetch_head()
    names = {*mirror.list_author_names_and_emails(head, "")}
    assert {"ann", "laptop", "Ann Lee", "ann@acme.example"} <= names


@pytest.mark.parametrize(
    ("options", "made"),
    [('Valid-Before="20210101Z"', LONG_AGO), ('valid-after="20900101Z"', "3786912000")],
)
def test_a_key_that_is_not_valid_now(upstream, signers, make_mirror, options, made):
    """Whatever time the commit claims."""
    signers.make_ssh_key("ann", options)
    signers.sign(upstream, upstream.commit(FILES), "ann", made=made)
    assert "by a key that is not in" in refusal(make_mirror())


@pytest.mark.parametrize("options", ["cert-authority", 'valid-before="soon"'])
def test_a_file_of_keys_that_cannot_be_used(upstream, signers, make_mirror, options):
    """Certificates have times of their own, which a commit could claim."""
    signers.make_ssh_key("ann", options)
    signers.sign(upstream, upstream.commit(FILES), "ann")
    with pytest.raises(SourceUnavailable) as refused:
        refusal(make_mirror())
    assert str(signers.allowed) in refused.value.diagnostics[0].detail


def test_a_signature_that_git_ends_at(upstream, signers, make_mirror):
    """It counts for nothing, names its commit, and keeps no signed merge and no authors from others."""
    signers.make_ssh_key("ann")
    live = signers.sign(upstream, upstream.commit(FILES), "ann")
    plain = upstream.commit({"README": "x"})
    content = git(upstream.path, "cat-file", "commit", plain)
    head, _, message = content.partition("\n\n")
    odd_content = f"{head}\ngpgsig hello\n\n{message}\n".encode()
    odd = git(
        upstream.path, "hash-object", "-w", "--literally", "-t", "commit", "--stdin",
        input=odd_content,
    )  # fmt: skip
    git(upstream.path, "update-ref", "refs/heads/main", odd)
    told = refusal(make_mirror(), live)
    assert f"{odd[:12]} by x has a signature in a format that Git does not know" in told
    merged = signers.sign(upstream, upstream.commit({"README": "y"}), "ann")
    assert refusal(make_mirror(), live) == ""
    assert odd[:12] in refusal(make_mirror("since_live"), live)
    assert "ann@acme.example" in make_mirror().list_author_names_and_emails(merged, live)


def test_a_file_of_keys_that_is_not_there(upstream, signers, make_mirror):
    """Nothing counts as signed, and the file is named; the next look tries again."""
    signers.make_ssh_key("ann")
    signers.sign(upstream, upstream.commit(FILES), "ann")
    mirror = make_mirror()
    signers.allowed.unlink()
    with pytest.raises(SourceUnavailable, match="signatures cannot be verified"):
        refusal(mirror)


def test_signers_are_those_of_the_commits_that_are_shown(upstream, signers, make_mirror):
    """Of a long range the rest is not verified: a page would wait for thousands of signatures."""
    for name in ("ann", "kim"):
        signers.make_ssh_key(name)
    live = signers.sign(upstream, upstream.commit(FILES), "ann")
    signers.sign(upstream, upstream.commit({"README": "kim"}), "kim")
    for number in range(19):
        upstream.commit({"README": f"{number}"})
    head = signers.sign(upstream, upstream.commit({"README": "ann"}), "ann")
    mirror = make_mirror()
    mirror.fetch_head()
    found = mirror.list_new_commits(head, live)
    assert (found.total, len(found.newest)) == (21, 20)
    assert found.signers == ("ann@acme.example",)
