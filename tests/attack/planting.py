"""An applied project in a Git repository, and what a commit or another user can plant in it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e.scenarios.workplace import Ran, Workplace
from git_repositories import git

from synapse_apply import EmbeddedServer

REFUSED = "Error: A file is not trusted: synapse-apply did not create it\n"
STRANGER = 54321


@dataclass
class Site:
    """`server` is the backend of target `prod`; `outside` is no part of the checkout."""

    place: Workplace
    server: EmbeddedServer
    outside: Path

    @property
    def own(self) -> Path:
        return self.place.root / ".synapse-apply"

    @property
    def state(self) -> Path:
        return self.own / "state" / "prod.db"

    @property
    def key(self) -> Path:
        return self.own / "state" / "prod.key"

    def is_refused(self, *typed: str, because: str, **environ: str) -> Ran:
        """A command ends with 1 and says why; nothing was sent and nothing outside has changed."""
        sent, before = self.sent(), contents(self.outside)
        self.place.environ |= environ
        ran = self.place.run(*typed, code=1)
        assert ran.err.startswith(REFUSED), ran.err
        assert because in " ".join(ran.err.split()), ran.err
        assert self.sent() == sent
        assert contents(self.outside) == before
        return ran

    def sent(self) -> dict[str, int]:
        """How many requests the backend has had."""
        return dict(self.server.backend.request_log.counts)

    def git(self, *words: str) -> str:
        return git(self.place.root, *words)


def contents(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Mode, owner and bytes of everything in a folder; no link is followed, no pipe opened."""
    found = {}
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        data = path.read_bytes() if stat.S_ISREG(info.st_mode) else b""
        found[str(path)] = (info.st_mode, info.st_uid, data)
    return found


def move_out(path: Path, site: Site) -> Path:
    """What has a name goes outside, and a link to it takes the name."""
    there = site.outside / path.name
    path.rename(there)
    path.symlink_to(there)
    return there


def make_pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir(parents=True)


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a file another user's; who cannot do that becomes another user."""
    if os.geteuid() == 0:
        os.chown(path, STRANGER, -1, follow_symlinks=False)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: STRANGER)


def foreign_database(path: Path) -> Path:
    """A database of another program."""
    with closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE accounts (name TEXT)")
        made.execute("INSERT INTO accounts VALUES ('mine')")
        made.commit()
    path.chmod(0o644)
    return path


def use_state(site: Site, path: str) -> None:
    """Have the project file name another place for the state of `prod`."""
    file = site.place.root / "synapse-apply.yaml"
    settings = json.loads(file.read_text())
    settings["targets"]["prod"]["state"] = {"url": path}
    file.write_text(json.dumps(settings))


def copy_state(site: Site, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy2(site.state, path))


Plant = Callable[[Site, pytest.MonkeyPatch], None]
