"""A repository that a controller follows: commits of projects, made without a work tree."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from git_repositories import git, make_bare_repository

from synapse_apply.controller.settings import SecretName, Source
from synapse_apply.controller.source.mirror import GitMirror
from synapse_apply.model.values import Sensitive

PROJECT = """
apiVersion: synapse-apply/v1
kind: Project
targets:
  prod: {url: "http://127.0.0.1:9", token: {env: ACME_TOKEN}}
"""


class Upstream:
    """A bare repository; each commit has the files of the one before and those that are given."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "upstream.git"
        self._index = folder / "index"
        make_bare_repository(self.path)

    def commit(
        self,
        files: Mapping[str, str | None] | None = None,
        *,
        message: str = "Change",
        branch: str = "main",
        parent: str | None = None,
        raw_entries: tuple[str, ...] = (),
    ) -> str:
        """Commit files (None removes one) on a branch, from `parent` ("": none) or its tip.

        `raw_entries` are lines of git-update-index(1): MODE ID and a path behind a tab.
        """
        if not raw_entries:
            return self._import_commit(files or {}, message, f"refs/heads/{branch}", parent)
        tip = git(self.path, "for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")
        base = tip if parent is None else parent
        head = ["-c", "core.bare=false", f"--work-tree={self.path.parent}"]
        git(self.path, *head, "read-tree", *([base] if base else ["--empty"]))
        lines = []
        for path, text in (files or {}).items():
            if text is None:
                lines.append(f"0 {'0' * 40}\t{path}")
            else:
                blob = git(self.path, "hash-object", "-w", "--stdin", input=text.encode())
                lines.append(f"100644 {blob}\t{path}")
        text = "".join(f"{line}\n" for line in (*lines, *raw_entries))
        git(self.path, *head, "update-index", "--index-info", input=text.encode())
        tree = git(self.path, *head, "write-tree")
        parents = ["-p", base] if base else []
        commit = git(self.path, "commit-tree", *parents, tree, input=message.encode())
        git(self.path, "update-ref", f"refs/heads/{branch}", commit)
        return commit

    def _import_commit(
        self, files: Mapping[str, str | None], message: str, ref: str, parent: str | None
    ) -> str:
        """The same in one process, for files that Git itself would commit."""
        base = f"{ref}^0" if parent is None and (self.path / ref).exists() else parent
        stream = f"commit {ref}\nmark :1\ncommitter x <x> {int(time.time())} +0000\n"
        stream += _format_bytes(message) + (f"from {base}\n" if base else "")
        for path, text in files.items():
            stream += f"D {path}\n" if text is None else f"M 100644 inline {path}\n"
            stream += "" if text is None else _format_bytes(text)
        stream += "\nget-mark :1\n"
        return git(self.path, "fast-import", "--quiet", "--force", input=stream.encode())

    def write_blob(self, content: bytes) -> str:
        """The id of a blob with this content."""
        return git(self.path, "hash-object", "-w", "--stdin", input=content)

    def commit_nested_trees(self, files: Mapping[str, str], path: str, *, leaf: str = "") -> str:
        """A commit of files where `path` is a tree that has 100 of a tree, and so on, five deep.

        The innermost have a file with the text `leaf`, or nothing.
        """
        blob = self.write_blob(leaf.encode())
        tree = git(self.path, "mktree", input=f"100644 blob {blob}\tx\n".encode() if leaf else b"")
        for _ in range(5):
            lines = "".join(f"040000 tree {tree}\tt{number:02}\n" for number in range(100))
            tree = git(self.path, "mktree", input=lines.encode())
        listed = git(self.path, "ls-tree", self.commit(files))
        root = git(self.path, "mktree", input=f"{listed}\n040000 tree {tree}\t{path}\n".encode())
        commit = git(self.path, "commit-tree", root, input=b"Bomb")
        git(self.path, "update-ref", "refs/heads/main", commit)
        return commit

    def tag(self, name: str, commit: str) -> None:
        git(self.path, "update-ref", f"refs/tags/{name}", commit)


def _format_bytes(text: str) -> str:
    """As git-fast-import(1) reads it."""
    return f"data {len(text.encode())}\n{text}\n"


def storage(name: str, bucket: str = "images") -> str:
    """A manifest of a storage whose secrets are read from ACME_KEY."""
    return f"""
apiVersion: synapse-apply/v1
kind: Storage
metadata: {{name: {name}}}
spec:
  name: {name}
  provider: amazon_s3
  category: external
  configuration:
    bucket_name: {bucket}
    region_name: eu-west-1
    access_key: {{valueFrom: {{env: ACME_KEY}}}}
    secret_key: {{valueFrom: {{env: ACME_KEY}}}}
"""


def build_source(upstream: Upstream, **settings: object) -> Source:
    return Source("acme", str(upstream.path), **settings)  # type: ignore[arg-type]


def read_no_secret(name: SecretName) -> Sensitive:
    raise AssertionError(f"nothing needs {name}")


def list_names(mirror: GitMirror, commit: str) -> tuple[str, ...]:
    """The names of the targets that a commit declares."""
    return tuple(target.name for target in mirror.list_targets(commit))


def get_digest(mirror: GitMirror, commit: str, name: str) -> str:
    """The digest over what a look at a target reads."""
    return {target.name: target.digest for target in mirror.list_targets(commit)}[name]
