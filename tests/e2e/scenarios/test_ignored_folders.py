"""Wherever the tool writes states, keys or data of its own, `git add -A` takes none of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from e2e.scenarios.workplace import Server, Workplace, project, sample
from git_repositories import commit, git

from synapse_apply import EmbeddedServer
from synapse_apply.model.project import Project, Target
from synapse_apply.secrets.resolve import SecretResolver
from synapse_apply.stores.snapshot import KEPT_FILE_SUFFIX
from synapse_apply.workspace.recovery_journal import FILE_FORMAT, _append_line_durably
from synapse_apply.workspace.state_key import build_key_sources

Write = Callable[[Workplace, Server], object]


@pytest.fixture
def checkout(tmp_path: Path, server: Server) -> Workplace:
    """A repository in which everything is committed; the user's own folders are in it as well."""
    root = tmp_path / "checkout"
    root.mkdir()
    homes = {"XDG_CACHE_HOME": str(root / "cache"), "XDG_CONFIG_HOME": str(root / "config")}
    place = Workplace(root, {"PROD_TOKEN": server.token, **homes})
    place.write("synapse-apply.yaml", project(server.url))
    sample(place)
    commit(root, "base", with_ignored=False)
    return place


@contextmanager
def watching_new_files(root: Path, patch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The files that are made below a folder while Git would take one of them, as it goes on."""
    real, exposed = os.open, []

    def open_and_look(path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        descriptor = real(path, flags, mode, **more)
        if flags & os.O_CREAT:
            made = Path(f"/proc/self/fd/{descriptor}").readlink()
            is_ours = made.is_relative_to(root) and not made.name.startswith(".gitignore")
            if is_ours and not _is_below_ignored_folder(made, root):
                exposed.append(str(made))
        return descriptor

    with patch.context() as patched:
        patched.setattr(os, "open", open_and_look)
        yield exposed


def _is_below_ignored_folder(path: Path, root: Path) -> bool:
    folders = [folder for folder in path.parents if folder.is_relative_to(root)]
    ignores = [folder / ".gitignore" for folder in folders]
    return any(ignore.exists() and ignore.read_text() == "*\n" for ignore in ignores)


def make_state(place: Workplace, _server: Server) -> None:
    place.run("state", "init", code=0)
    assert (place.root / ".synapse-apply/state/prod.db").exists()
    assert (place.root / ".synapse-apply/state/prod.key").exists()


def renew_key_in_file_keeping_old(place: Workplace, server: Server) -> None:
    make_state(place, server)
    (place.root / ".synapse-apply/.gitignore").unlink()
    place.run("state", "rekey", code=0)
    assert (place.root / ".synapse-apply/state/prod.key.previous").exists()


def make_state_elsewhere(place: Workplace, server: Server) -> None:
    place.write("synapse-apply.yaml", project(server.url, state={"url": "states/prod.db"}))
    git(place.root, "commit", "-qam", "elsewhere")
    place.run("state", "init", code=0)
    assert (place.root / "states/prod.db").exists()


def back_up(place: Workplace, server: Server) -> None:
    make_state(place, server)
    place.run("state", "backup", "backups/prod.backup", code=0)


def restore(place: Workplace, server: Server) -> None:
    back_up(place, server)
    place.run("state", "restore", "backups/prod.backup", "--auto-approve", code=0)
    assert (place.root / f".synapse-apply/state/prod.db.{KEPT_FILE_SUFFIX}").exists()


def apply_to_embedded(place: Workplace, _server: Server) -> None:
    place.run("apply", "-t", "embedded", "--auto-approve", code=0)
    assert (place.root / ".synapse-apply/embedded/data.sqlite3").exists()


def serve_data(place: Workplace, _server: Server) -> None:
    with EmbeddedServer(place.root / "data"):
        assert (place.root / "data/data.sqlite3").exists()


def serve_own_data(place: Workplace, _server: Server) -> None:
    with EmbeddedServer(place.root / ".synapse-apply/embedded"):
        assert (place.root / ".synapse-apply/embedded/data.sqlite3").exists()


def remember_progress_if_greater(place: Workplace, server: Server) -> None:
    make_state(place, server)
    place.apply()
    assert list((place.root / "cache/synapse-apply/seen").glob("*.json"))
    assert list((place.root / ".synapse-apply/seen").glob("*.json"))


def make_users_key(place: Workplace, _server: Server) -> None:
    project_of_id = Project(place.root, id="5f1c2d60-0000-4000-8000-000000000001")
    resolver = SecretResolver(place.root, place.environ)
    sources = build_key_sources(
        project_of_id, Target("prod"), place.environ, resolver.resolve_setting_or_reason
    )
    assert sources.user_key_path is not None
    assert sources.user_key_path.is_relative_to(place.root / "config")
    sources.make_or_read_key_file(sources.user_key_path)
    sources.renew_key_in_file_keeping_old(sources.user_key_path)


def record_in_a_journal(place: Workplace, _server: Server) -> None:
    path = place.root / ".synapse-apply/unrecorded-prod-1.jsonl"
    _append_line_durably(path, f'{{"format": {FILE_FORMAT}}}')
    assert path.exists()


@pytest.mark.parametrize(
    "write",
    [
        make_state,
        renew_key_in_file_keeping_old,
        make_state_elsewhere,
        back_up,
        restore,
        apply_to_embedded,
        serve_data,
        serve_own_data,
        remember_progress_if_greater,
        make_users_key,
        record_in_a_journal,
    ],
)
def test_git_takes_nothing_at_any_moment(
    checkout: Workplace, server: Server, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `.gitignore` comes first, so that a command that is killed leaves nothing to commit."""
    with watching_new_files(checkout.root, monkeypatch) as exposed:
        write(checkout, server)
    assert exposed == []
    git(checkout.root, "add", "-A")
    assert git(checkout.root, "status", "--porcelain") == ""
