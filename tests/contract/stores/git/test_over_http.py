"""A log behind `git http-backend`: the checkout's credentials serve, and lost answers are met."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from contract.stores.git.repositories import (
    REF,
    batch_of,
    first_batch,
    make_fresh_checkout,
    read_every_byte,
    record_change,
    replace_tree,
)
from contract.stores.git.web import HEADER, GitServer, serve_repositories
from git_repositories import git

from synapse_apply.model.errors import StateError
from synapse_apply.stores.git import private_repository
from synapse_apply.stores.git.git_log import GitLog

OpenLog = Callable[..., GitLog]


@pytest.fixture
def server(remote: Path) -> Iterator[GitServer]:
    with serve_repositories(remote.parent) as server:
        yield server


@pytest.fixture
def web_checkout(tmp_path: Path, remote: Path, server: GitServer) -> Path:
    """A clone with the server as its remote, whose credentials a file of its own has.

    That file is included for this checkout alone, as actions/checkout does it.
    """
    assert remote.parent == tmp_path
    checkout = make_fresh_checkout(tmp_path)
    git(checkout, "remote", "set-url", "origin", f"{server.url}/remote.git")
    credentials = tmp_path / "credentials.config"
    git(checkout, "config", "-f", str(credentials), f"http.{server.url}/.extraheader", HEADER)
    git_dir = os.path.realpath(checkout / ".git")
    git(checkout, "config", f"includeIf.gitdir:{git_dir}.path", str(credentials))
    return checkout


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The Git commands that were started since the last call, with their arguments."""
    program, notes = shutil.which("git"), tmp_path / "commands"
    shim = tmp_path / "programs" / "git"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\necho "$@" >>{notes}\nexec {program} "$@"\n')
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{shim.parent}:{os.environ['PATH']}")

    def take_commands() -> list[str]:
        lines = notes.read_text().splitlines()
        notes.unlink()
        return lines

    return take_commands


def test_credentials_of_the_checkout_serve(
    web_checkout: Path, open_log: OpenLog, commands: Callable[[], list[str]]
) -> None:
    """Also those that its configuration includes; on no command line, and nothing is written.

    A batch is two commands of ours.
    """
    before = read_every_byte(web_checkout)
    log = open_log(web_checkout)
    assert not log.exists()
    made = log.append_or_none_if_overtaken(
        first_batch(*map(record_change, map(str, range(300)))), ""
    )
    assert made is not None
    first_commands = commands()
    assert (
        log.append_or_none_if_overtaken(batch_of(record_change("one")), made.position) is not None
    )
    assert len(commands()) == 2
    tables = open_log(web_checkout).read_since_position_or_anew("").tables
    assert tables is not None
    assert len(tables["records"]) == 301
    assert read_every_byte(web_checkout) == before
    all_commands = "\n".join(first_commands + commands())
    assert "push" in all_commands
    assert HEADER.rpartition(" ")[2] not in all_commands
    assert "127.0.0.1" not in all_commands


def test_no_password_is_told(web_checkout: Path, server: GitServer, open_log: OpenLog) -> None:
    """A URL that a pipeline left in the checkout may hold one; an error shows the rest of it."""
    url = f"http://x:open-sesame-please@127.0.0.1:{server.server_port}/remote.git"
    git(web_checkout, "remote", "add", "other", url)
    (include,) = git(web_checkout, "config", "--name-only", "--get-regexp", "^includeif").split()
    git(web_checkout, "config", "--unset", include)
    with pytest.raises(StateError) as refused:
        open_log(web_checkout, "git:other").exists()
    (finding,) = refused.value.diagnostics
    assert "cannot be reached" in finding.summary
    assert "127.0.0.1" in finding.detail
    assert "sesame" not in f"{finding.detail}{finding.hint}{refused.value!r}"


def test_an_address_without_a_password_is_told(
    web_checkout: Path, server: GitServer, open_log: OpenLog
) -> None:
    """It is no secret, and tells which server Git could not use."""
    server.failure = 500
    with pytest.raises(StateError) as refused:
        open_log(web_checkout).exists()
    (finding,) = refused.value.diagnostics
    assert f"'{server.url}/remote.git/'" in finding.detail


def test_a_server_that_lists_refs_without_end_takes_no_more_memory_than_a_limit(
    web_checkout: Path, server: GitServer, open_log: OpenLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git keeps all of them before it prints one."""
    monkeypatch.setattr(private_repository, "_MAX_MEMORY", 32 * 1024**2)
    server.listed_bytes = 512 * 1024**2
    with pytest.raises(StateError) as refused:
        open_log(web_checkout).exists()
    assert "Git's message: fatal: Out of memory" in refused.value.diagnostics[0].detail
    assert 0 < server.sent_bytes < 64 * 1024**2


@pytest.mark.parametrize(
    ("limit", "most", "words"),
    [
        ("_MAX_FILE", 1024**2, "write error: File too large; fatal: index-pack failed."),
        ("_MAX_OUTPUT", 50, "the program printed more than 50 bytes"),
    ],
)
def test_a_server_fills_neither_the_disk_nor_the_run(
    web_checkout: Path,
    remote: Path,
    open_log: OpenLog,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    most: int,
    words: str,
) -> None:
    """With a pack or a list that does not end."""
    log = open_log(web_checkout)
    log.append_or_none_if_overtaken(first_batch(), "")
    large = git(remote, "hash-object", "-w", "--stdin", input=os.urandom(5 * 1024**2))
    replace_tree(remote, f"100644 blob {large}", "large")
    monkeypatch.setattr(private_repository, limit, most)
    with pytest.raises(StateError) as refused:
        open_log(web_checkout).read_since_position_or_anew("")
    assert words in refused.value.diagnostics[0].detail
    monkeypatch.undo()
    assert open_log(web_checkout).exists()


@pytest.mark.parametrize("kept", ["in a setting", "in the url", "by a helper"])
def test_no_credential_is_told_that_the_server_repeats(
    web_checkout: Path, server: GitServer, open_log: OpenLog, kept: str
) -> None:
    """Not as it was sent, nor what that stands for; where a helper has it, nobody can compare."""
    server.repeats = True
    if kept != "in a setting":
        (include,) = git(
            web_checkout, "config", "--name-only", "--get-regexp", "^includeif"
        ).split()
        git(web_checkout, "config", "--unset", include)
    if kept == "in the url":
        url = server.url.replace("//", "//x:hunter%32-and-some-more@")
        git(web_checkout, "remote", "set-url", "origin", f"{url}/remote.git")
    if kept == "by a helper":
        helper = "!printf 'username=x\\npassword=hunter2-and-some-more\\n'; true"
        git(web_checkout, "config", "credential.helper", helper)
    with pytest.raises(StateError) as refused:
        open_log(web_checkout).exists()
    (finding,) = refused.value.diagnostics
    said = f"{finding.detail}{finding.hint}{refused.value!r}"
    assert "remote error:" in said
    assert "hunter2" not in said
    assert HEADER.rpartition(" ")[2][:12] not in said
    assert ("no access for" in said) is (kept != "by a helper")


@pytest.mark.parametrize("setting", ["", "http.followRedirects"])
@pytest.mark.parametrize("is_url", [False, True], ids=["remote", "url"])
def test_no_redirect_is_followed(
    web_checkout: Path, server: GitServer, open_log: OpenLog, setting: str, is_url: bool
) -> None:
    """Git would send the checkout's header on to whoever a redirect names."""
    if setting:
        git(web_checkout, "config", setting, "initial")
    with serve_repositories(server.root) as other:
        server.moved_to = other.url
        where = (f"git:{server.url}/remote.git",) if is_url else ()
        with pytest.raises(StateError, match="cannot be reached"):
            open_log(web_checkout, *where).exists()
    assert other.asked == []
    assert server.asked


@pytest.mark.parametrize(
    "answers", [["lose"], ["lose", "lose"], ["drop", "drop"], [503], ["drop", "drop", "lose"]]
)
def test_lost_answers(
    remote: Path,
    server: GitServer,
    web_checkout: Path,
    open_log: OpenLog,
    answers: list[str | int],
) -> None:
    """What was done is not done again; what was not is sent again, the same bytes.

    The HTTP library sends once more by itself, and then meets its own success.
    """
    log = open_log(web_checkout)
    server.answers[:] = answers
    made = log.append_or_none_if_overtaken(first_batch(record_change("one")), "")
    assert made is not None
    assert made.is_last
    assert not server.answers
    assert git(remote, "rev-parse", REF) == made.position
    assert len(git(remote, "rev-list", REF).splitlines()) == 1


def test_an_outcome_that_stays_unknown(
    remote: Path, server: GitServer, web_checkout: Path, open_log: OpenLog
) -> None:
    """If the server cannot be asked either, the batch is passed once more, and is one."""
    log = open_log(web_checkout)
    made = log.append_or_none_if_overtaken(first_batch(), "")
    assert made is not None
    server.answers[:] = [500]
    repository = remote.rename(remote.with_name("moved.git"))
    batch = batch_of(record_change("one"))
    with pytest.raises(StateError, match="unknown whether"):
        log.append_or_none_if_overtaken(batch, made.position)
    repository.rename(remote)
    again = log.append_or_none_if_overtaken(batch, made.position)
    assert again is not None
    assert git(remote, "rev-parse", f"{REF}^") == made.position
