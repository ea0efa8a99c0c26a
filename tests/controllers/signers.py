"""Keys of people, SSH and OpenPGP, and commits of a repository that they sign."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from contract.controller.upstream import Upstream
from git_repositories import git


class Signers:
    """Keys of people, and commits that they sign."""

    def __init__(self, folder: Path, home: Path) -> None:
        """`home` is where gpg's agent listens: the path of a socket has 107 characters at most."""
        self.folder = folder
        self.allowed = folder / "allowed_signers"
        self.keys = folder / "keys.asc"
        self.home = home
        self.allowed.write_text("# people\n")

    def make_ssh_key(self, name: str, options: str = "", *, is_allowed: bool = True) -> None:
        key = self.folder / name
        command = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key))
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        if is_allowed:
            line = f"{name}@acme.example {options} {key.with_suffix('.pub').read_text()}"
            self.allowed.write_text(self.allowed.read_text() + line)

    def make_gpg_key(self, name: str, expires: str = "never", made: str = "") -> None:
        clock = ("--faked-system-time", f"{made}!") if made else ()
        user = f"{name} <{name}@acme.example>"
        self._gpg(*clock, "--quick-gen-key", user, "ed25519", "sign", expires)

    def add_gpg_name(self, name: str, user: str) -> None:
        """Another name of a key, which becomes the one that Git shows."""
        for command in ("--quick-add-uid", "--quick-set-primary-uid"):
            self._gpg(command, f"{name}@acme.example", user)

    def export_gpg(self, *names: str) -> None:
        self.keys.write_bytes(self._gpg("--export", "--armor", *names))

    def _gpg(self, *words: str) -> bytes:
        command = ("gpg", "--homedir", str(self.home), "--batch", "--passphrase", "", *words)
        environ = {**os.environ, "GNUPGHOME": str(self.home)}
        return subprocess.run(command, check=True, capture_output=True, env=environ).stdout

    def sign(self, upstream: Upstream, commit: str, name: str, *, made: str = "") -> str:
        """Put a signed copy of a commit in its place, which the branch names from then on."""
        is_ssh = (self.folder / name).exists()
        settings = {
            "gpg.format": "ssh" if is_ssh else "openpgp",
            "user.signingKey": str(self.folder / name) if is_ssh else f"{name}@acme.example",
        }
        if made:
            program = self.folder / "gpg-then"
            program.write_text(f'#!/bin/sh\nexec gpg --faked-system-time {made}! "$@"\n')
            program.chmod(0o700)
            settings["gpg.program"] = str(program)
        words = [word for pair in settings.items() for word in ("-c", "=".join(pair))]
        tree = git(upstream.path, "rev-parse", f"{commit}^{{tree}}")
        parents = git(upstream.path, "rev-parse", f"{commit}^@").split()
        ids = [word for parent in parents for word in ("-p", parent)]
        command = ("git", "-C", str(upstream.path), *words, "commit-tree", "-S", *ids, tree)
        environ = {
            **os.environ,
            **{f"GIT_{role}_{part}": name for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")},
            **({"GIT_COMMITTER_DATE": f"{made} +0000"} if made else {}),
            "GNUPGHOME": str(self.home),
        }  # fmt: skip
        done = subprocess.run(
            command, env=environ, input=b"Signed", capture_output=True, check=True
        )
        signed = done.stdout.decode().strip()
        git(upstream.path, "update-ref", "refs/heads/main", signed)
        return signed


@contextmanager
def open_signers(folder: Path) -> Iterator[Signers]:
    """Nobody yet, in a folder that is made; an agent of gpg ends with the block."""
    folder.mkdir()
    with TemporaryDirectory(prefix="gpg-", dir="/tmp") as home:
        yield Signers(folder, Path(home))
        subprocess.run(("gpgconf", "--homedir", home, "--kill", "all"), check=True)
