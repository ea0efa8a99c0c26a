"""Repositories for states: a bare one as the remote, clones of it, and logs over them."""

from __future__ import annotations

import atexit
import hmac
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from git_repositories import git, make_bare_repository

from synapse_apply.stores.database import Batch, RowChange
from synapse_apply.stores.git.git_log import GIT_TIMING, GitLog, make_unstarted_git_store
from synapse_apply.stores.git.git_url import parse_git_url
from synapse_apply.stores.sql import SqlStore

REMOTE = "remote.git"
REF = "refs/synapse-apply/state/prod"
META = (1, 1, "lineage", 1, "https://x", "", "", "2026-01-01T00:00:00Z", "1", 0)


class KeySigner:
    """A Signer with one key."""

    is_renewed = False

    def __init__(self, key: bytes = b"key") -> None:
        self.key = key

    def sign_or_empty_without_key(self, content: str) -> str:
        return hmac.digest(self.key, content.encode(), "sha256").hex()

    def is_genuine_or_none_if_uncheckable(self, content: str, signature: str) -> bool | None:
        return hmac.compare_digest(self.sign_or_empty_without_key(content), signature)

    def describe_places_to_put_key(self) -> str:
        return "KEY"


class NoKey:
    """A Signer of who has no key."""

    is_renewed = False

    def sign_or_empty_without_key(self, content: str) -> str:
        del content
        return ""

    def is_genuine_or_none_if_uncheckable(self, content: str, signature: str) -> bool | None:
        del content, signature
        return None

    def describe_places_to_put_key(self) -> str:
        return "KEY"


def make_remote(folder: Path) -> Path:
    """A bare repository with one commit on `main`."""
    return Path(shutil.copytree(_make_pattern() / REMOTE, folder / REMOTE))


def make_fresh_checkout(folder: Path) -> Path:
    """A clone of what `make_remote` has just made in the same folder."""
    checkout = Path(shutil.copytree(_make_pattern() / "checkout", folder / "checkout"))
    settings = checkout / ".git" / "config"
    settings.write_text(settings.read_text().replace(str(_make_pattern()), str(folder)))
    return checkout


@cache
def _make_pattern() -> Path:
    """Both, made once: each is ten processes."""
    holder = tempfile.TemporaryDirectory()
    atexit.register(holder.cleanup)
    folder = Path(holder.name)
    remote = make_bare_repository(folder / REMOTE)
    tree = git(remote, "mktree", input=b"")
    git(remote, "update-ref", "refs/heads/main", git(remote, "commit-tree", "-m", "m", tree))
    make_checkout(folder, remote)
    for sample in folder.glob("**/hooks/*.sample"):
        sample.unlink()
    return folder


def open_git_at(remote: Path, **options: Any) -> SqlStore:
    """The store in a bare repository, by its path; the repository is made if it is missing."""
    if not remote.exists():
        make_bare_repository(remote)
    location = parse_git_url(f"git:file://{remote}?pace=0", "prod")
    return make_unstarted_git_store(location, remote.parent, **options)


def make_checkout(folder: Path, remote: Path, *options: str) -> Path:
    """A clone of the remote."""
    checkout = folder / "checkout"
    git(folder, "clone", "-q", *options, f"file://{remote}", str(checkout))
    return checkout


def make_log(
    checkout: Path,
    url: str = "git:origin?pace=0",
    signer: KeySigner | NoKey | None = None,
    batches_per_root: int = 500,
) -> GitLog:
    timing = replace(GIT_TIMING, shortest_pause=0.001, lease_seconds=60.0)
    location = parse_git_url(url, "prod")
    return GitLog(location, checkout, signer or KeySigner(), timing, batches_per_root)


def replace_tree(remote: Path, entry: str, name: str) -> None:
    """Make another commit the state's last one, with this entry in place of a file.

    The entry is a mode and an object, "" for no such file. `{rubbish}`, `{list}`, `{deep}`,
    `{huge}` and `{commit}` stand for objects.
    """
    contents = {"rubbish": b"../../etc/passwd", "list": b"[]", "deep": b"[" * 100_000}
    contents |= {"huge": b" " * (17 * 1024 * 1024)}
    objects = {
        key: git(remote, "hash-object", "-w", "--stdin", input=content)
        for key, content in contents.items()
        if f"{{{key}}}" in entry
    }
    objects["commit"] = git(remote, "rev-parse", REF)
    lines = [line for line in git(remote, "ls-tree", REF).splitlines() if not line.endswith(name)]
    lines += [f"{entry.format_map(objects)}\t{name}"] if entry else []
    tree = git(remote, "mktree", "--missing", input="\n".join(lines).encode())
    commit = git(remote, "cat-file", "commit", REF)
    changed = commit.replace(git(remote, "rev-parse", f"{REF}^{{tree}}"), tree, 1)
    arguments = ("hash-object", "-t", "commit", "-w", "--stdin")
    git(remote, "update-ref", REF, git(remote, *arguments, input=f"{changed}\n".encode()))


def first_batch(*changes: RowChange) -> Batch:
    """The batch that makes a state."""
    return Batch(str(uuid4()), (RowChange("meta", 1, META), *changes), replaces_all=True)


def record_change(name: str, text: str = '{"a":1}') -> RowChange:
    address = f"storage/{name}"
    return RowChange("records", address, (address, "storage", "v2", name, text))


def batch_of(*changes: RowChange) -> Batch:
    return Batch(str(uuid4()), changes)


def follow(remote: str) -> None:
    """Append a batch to the state in a remote, as another client does."""
    log = make_log(Path(remote), f"git:file://{remote}?pace=0")
    log.append_or_none_if_overtaken(
        batch_of(record_change("theirs")), log.read_since_position_or_anew("").position
    )
    log.close()


def read_every_byte(folder: Path) -> Mapping[str, bytes]:
    """All files below a folder, by their paths."""
    return dict(_iter_files(folder))


def _iter_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()
