"""Who could steer the Git of a state: variables, the checkout's configuration, the user's."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from contract.stores.git.repositories import batch_of, first_batch, make_remote, record_change
from git_repositories import git

from synapse_apply import SynapseApplyError

OpenLog = Callable[..., Any]
DAY = 24 * 3600


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A program that must not be run: it leaves a file behind."""
    program = tmp_path / "trap"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/caught\nexit 1\n")
    program.chmod(0o755)
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-push", "reference-transaction", "post-checkout", "pre-auto-gc"):
        (hooks / name).symlink_to(program)
    return program


def test_what_a_killed_run_left_is_removed(
    checkout: Path, open_log: OpenLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only old folders of that name; what a link of that name leads to stays as it is."""
    temporary = tmp_path / "temporary"
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    old, new, other, elsewhere = (
        temporary / "synapse-apply-git-old",
        temporary / "synapse-apply-git-new",
        temporary / "other",
        tmp_path / "elsewhere",
    )
    for folder in (old, new, other, elsewhere):
        folder.mkdir(parents=True)
        (folder / "file").touch()
    (old / "link").symlink_to(elsewhere)
    link = temporary / "synapse-apply-git-link"
    link.symlink_to(elsewhere)
    past = time.time() - DAY - 60
    for path in (old, other, elsewhere, link):
        os.utime(path, (past, past), follow_symlinks=False)
    log = open_log(checkout)
    assert log.append_or_none_if_overtaken(first_batch(record_change("one")), "") is not None
    log.close()
    assert sorted(temporary.iterdir()) == sorted([new, other, link])
    assert (elsewhere / "file").exists()


def write_twice(log: Any) -> None:
    made = log.append_or_none_if_overtaken(first_batch(record_change("one")), "")
    assert made is not None
    assert (
        log.append_or_none_if_overtaken(batch_of(record_change("two")), made.position) is not None
    )


def test_variables_of_git(
    remote: Path,
    checkout: Path,
    tmp_path: Path,
    trap: Path,
    open_log: OpenLog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that a command above has left, or that name another repository or program."""
    (tmp_path / "other").mkdir()
    elsewhere = make_remote(tmp_path / "other")
    for name, value in {
        "GIT_DIR": str(elsewhere),
        "GIT_WORK_TREE": str(tmp_path),
        "GIT_INDEX_FILE": str(tmp_path / "index"),
        "GIT_OBJECT_DIRECTORY": str(tmp_path / "objects"),
        "GIT_CONFIG_PARAMETERS": f"'core.hooksPath'='{tmp_path}/hooks'",
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "core.fsmonitor",
        "GIT_CONFIG_VALUE_0": str(trap),
        "GIT_CONFIG_KEY_1": "push.gpgSign",
        "GIT_CONFIG_VALUE_1": "true",
        "GIT_EXTERNAL_DIFF": str(trap),
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_EXEC_PATH": str(tmp_path),
        "GIT_TRACE2_EVENT": str(tmp_path / "caught"),
    }.items():
        monkeypatch.setenv(name, value)
    write_twice(open_log(checkout))
    for name in ("GIT_DIR", "GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS", "GIT_EXEC_PATH"):
        monkeypatch.delenv(name)
    assert git(remote, "for-each-ref", "refs/synapse-apply")
    assert not git(elsewhere, "for-each-ref", "refs/synapse-apply")
    assert not (tmp_path / "caught").exists()
    assert not (tmp_path / "objects").exists()


def test_settings_of_the_checkout_and_the_user(
    checkout: Path, tmp_path: Path, trap: Path, open_log: OpenLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks, filters, signing and protocols that are meant for work of people."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    settings = {
        "core.hooksPath": str(tmp_path / "hooks"),
        "core.fsmonitor": str(trap),
        "commit.gpgSign": "true",
        "gpg.program": str(trap),
        "push.gpgSign": "true",
        "push.recurseSubmodules": "check",
        "push.default": "nothing",
        "fetch.prune": "true",
        "fetch.recurseSubmodules": "yes",
        "protocol.file.allow": "never",
        "remote.state.url": str(tmp_path / "nowhere"),
        "remote.state.receivepack": str(trap),
        "remote.state.vcs": "trap",
        "gc.auto": "1",
        "alias.push": f"!{trap}",
    }
    for name, value in settings.items():
        git(checkout, "config", name, value)
        git(checkout, "config", "-f", str(home / ".gitconfig"), name, value)
    write_twice(open_log(checkout))
    assert not (tmp_path / "caught").exists()


@pytest.mark.parametrize(
    "url", ["ext::sh -c 'touch caught'", "git://h/a", "trap::x", "ftp://h/a", "-u/a", "foo://h"]
)
def test_remotes_that_start_programs(checkout: Path, open_log: OpenLog, url: str) -> None:
    """Only https, http, ssh and files: a remote helper is a program."""
    git(checkout, "config", "remote.odd.url", url)
    with pytest.raises(SynapseApplyError, match="cannot hold a state"):
        open_log(checkout, "git:odd").exists()
