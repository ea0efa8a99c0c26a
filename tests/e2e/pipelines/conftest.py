"""The gitops example as a repository on a forge, its prod a backend that is served."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forking
import pytest
from e2e.pipelines.actions import Runner
from e2e.pipelines.forge import PROJECT, TOKEN, Forge, serving
from e2e.scenarios.workplace import Server
from git_repositories import commit, git, make_bare_repository, make_repository, read_head
from in_process import run
from installed import ROOT, copied, variables

from synapse_apply import EmbeddedServer

PIN = "3d2c6f0e-5b1f-4c9a-9d57-0a6f6f2d8c11"
KEY = "c3RhdGUta2V5LW9mLXRlc3RzLTMyLWJ5dGVzLWxvbmc="
BACKEND = "prod-token-of-tests"
SECRETS = {
    **variables(ROOT / "examples" / "gitops" / "example.env"),
    "SYNAPSE_PROD_TOKEN": BACKEND,
    "SYNAPSE_APPLY_STATE_KEY": KEY,
}


# Those of a clone, with who commits on it.
SETTINGS = """\
[remote "origin"]
\turl = {origin}
\tfetch = +refs/heads/*:refs/remotes/origin/*
[user]
\tname = t
\temail = t@example.org
"""


@dataclass
class World:
    """`origin` has `main` applied to prod; `checkout` is where the runner works."""

    root: Path
    origin: Path
    checkout: Path
    forge: Forge
    url: str
    python: Path

    def change(self, old: str = "float", new: str = "number") -> str:
        """A branch `change` with one edit of a manifest, checked out on the runner; its commit."""
        file = self.checkout / "manifests" / "defect-detection.yaml"
        git(self.checkout, "checkout", "-q", "-B", "change", "origin/main")
        file.write_text(file.read_text().replace(old, new))
        return self.commit("change")

    def commit(self, branch: str) -> str:
        sha = commit(self.checkout, with_ignored=False)
        git(self.checkout, "push", "-q", "-f", "origin", f"HEAD:{branch}")
        return sha

    def merge(self, branch: str = "change") -> str:
        """Squash the branch into main, as a forge does; the new commit, checked out."""
        git(self.checkout, "checkout", "-q", "-B", "main", "origin/main")
        git(self.checkout, "merge", "-q", "--squash", branch)
        git(self.checkout, "commit", "-qm", "merged")
        git(self.checkout, "push", "-q", "origin", "main")
        git(self.checkout, "fetch", "-q", "origin")
        for line in git(self.checkout, "rev-list", "--parents", "HEAD").splitlines():
            sha, *parents = line.split()
            self.forge.parents[sha] = parents
        return read_head(self.checkout)

    def add_storage(self, name: str) -> str:
        """A branch of that name with one more storage, checked out on the runner; its commit."""
        git(self.checkout, "checkout", "-q", "-B", name, "origin/main")
        archive = self.checkout / "manifests-prod" / "archive.yaml"
        text = archive.read_text().replace("archive}", f"{name}}}").replace("Archive", name.title())
        archive.with_name(f"{name}.yaml").write_text(text)
        return self.commit(name)

    def types(self) -> list[str]:
        """The one thing that changes of the one plugin there is."""
        parameters = [row["body"]["configuration"]["parameters"] for row in self.objects("plugin")]
        return [each["threshold"]["type"] for each in parameters]

    def objects(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.server.objects(kind)
        return found

    @property
    def server(self) -> Server:
        """The backend, to be looked at and changed by hand."""
        return Server(self.url, BACKEND)

    def runner(
        self,
        sha: str,
        *,
        run_id: str = "1",
        head: str = PROJECT,
        number: int = 7,
        before: str = "",
        **more: Any,
    ) -> Runner:
        """A runner that works on a commit; `head` is the repository the branch is of.

        With `before` it is one that a push from there started, else one of a pull request.
        """
        request = {"pull_request": {"number": number, "head": {"repo": {"full_name": head}}}}
        started_by = {"before": before} if before else request
        event = {
            "repository": PROJECT,
            "sha": sha,
            "base_ref": "chosen-by-its-author",
            "event": {**started_by, "repository": {"default_branch": "main"}},
        }
        given = {"GITHUB_API_URL": self.forge.url, "GIT_CONFIG_GLOBAL": "/dev/null"}
        return Runner(
            self.checkout, self.root / "temp", self.root / "artifacts", event, SECRETS, given,
            TOKEN, run_id, python=self.python, **more,
        )  # fmt: skip


@pytest.fixture(autouse=True)
def _of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of who runs the tests changes what Git does."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def forge() -> Iterator[Forge]:
    with serving() as forge:
        yield forge


@pytest.fixture
def interpreter() -> Path:
    """What the steps start: a fork that has imported all, as its start is not what is tested."""
    return forking.programs() / "python"


@contextmanager
def make_world(root: Path, forge: Forge, example: str, python: Path) -> Iterator[World]:
    """A repository with an example, and prod that is served; there is no state yet."""
    with EmbeddedServer(root / "backend", token=BACKEND, tenant="acme") as server:
        source = copied(ROOT / "examples" / example, root)
        host = server.url.removeprefix("http://")
        for path in source.rglob("*"):
            if path.suffix in {".yml", ".yaml"}:
                text = path.read_text().replace("https://api.synapse.example", server.url)
                path.write_text(text.replace("api.synapse.example", host))
        origin = make_bare_repository(root / "origin.git")
        checkout = source.rename(root / "checkout")
        make_repository(checkout, SETTINGS.format(origin=origin))
        commit(checkout, "first", with_ignored=False)
        git(checkout, "push", "-q", "origin", "main")
        yield World(root, origin, checkout, forge, server.url, python)


@pytest.fixture
def fresh(tmp_path: Path, forge: Forge, interpreter: Path) -> Iterator[World]:
    """Nothing is applied yet; prod's state is there, and empty."""
    with make_world(tmp_path, forge, "gitops", interpreter) as world:
        run(f"state init -t prod --lineage {PIN}", world.checkout, SECRETS)
        yield world


@pytest.fixture
def world(fresh: World) -> World:
    """main is applied to prod."""
    run("apply -t prod --auto-approve", fresh.checkout, SECRETS)
    return fresh
