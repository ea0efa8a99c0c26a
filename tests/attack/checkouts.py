"""A checkout whose change wants to be taken for its base; for the attempts on what Git answers.

The base is honest: `refs/remotes/origin/main`. The change names its own url, and whatever a program
that it smuggles in makes is a file `canary`.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from git_repositories import commit, git, make_repository
from unit.packages.trees import write

from synapse_apply import Invocation, PlanOptions, open_target
from synapse_apply.model.plan import Action
from synapse_apply.model.resource import PackageSource
from synapse_apply.operations import offline_plan
from synapse_apply.packages.sources import read_source_as_package
from synapse_apply.workspace import configuration
from synapse_apply.workspace.environment import read_head_commit_id_or_empty
from synapse_apply.workspace.target_session import TargetSession

BASE = "refs/remotes/origin/main"
GOOD, EVIL = "https://good.example", "https://evil.example"
TEXT = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: bucket}
spec: {name: NAME, provider: amazon_s3, category: external, configuration: {bucket_name: b}}
"""


def project(url: str, name: str) -> dict[str, str]:
    """The files of a project, by their names in its folder."""
    settings = f"apiVersion: synapse-apply/v1\nkind: Project\ntargets: {{prod: {{url: {url}}}}}\n"
    return {
        "synapse-apply.yaml": settings,
        "manifests/bucket.yaml": TEXT.replace("NAME", name),
        "p/config.yaml": f"version: {name}\n",
    }


def read_url(where: Invocation) -> str:
    """Where the settings of a target send its token; of `prod` if none is named."""
    targets = configuration.load_valid_project_or_defaults(where).targets
    return targets[where.target or "prod"].url


@dataclass
class Checkout:
    """`top` is that of the honest repository, `folder` the project's; `canary` must never be."""

    top: Path
    folder: Path
    canary: Path
    base: str = ""
    head: str = ""

    def url(self, ref: str = BASE) -> str:
        """The url that a plan under the settings of a ref would send the token to."""
        return read_url(Invocation(self.folder, project_from=ref))

    def recorded_head(self) -> str:
        """The commit that a run would be recorded with; empty if Git is not believed."""
        return read_head_commit_id_or_empty(self.folder)

    def names(self, ref: str = BASE) -> list[object]:
        """The names of the storages that `--ref` would make."""
        where = Invocation(self.folder, as_of=ref, target="prod")
        return [one.spec["name"] for one in TargetSession(where).desired.values()]

    def changes(self, ref: str = BASE) -> list[str]:
        """The addresses that `--offline --against` shows as changed."""
        comparison = offline_plan.load_offline_against_git(
            Invocation(self.folder, target="prod"), ref
        )
        plan = offline_plan.plan_offline(comparison, PlanOptions())
        return [str(one.address) for one in plan.changes if one.action is not Action.NO_OP]

    def digest(self, ref: str) -> str:
        return read_source_as_package(PackageSource("git", "p", ref), self.folder).digest

    def row(self) -> str:
        """What doctor says about the repository."""
        with open_target(folder=self.folder, environ={}) as target:
            rows = [one for one in target.diagnose().results if one.check == "repository"]
        return " ".join(f"{one.summary} {one.detail}" for one in rows)

    def make_evil(self, at: Path, *, prefix: str = "", bare: bool = True) -> str:
        """A repository of the attacker's with a base of its own; gives that one's commit."""
        source, evil = make_evil_source(prefix)
        shutil.copytree(source / ".git", at, dirs_exist_ok=True)
        if bare:
            (at / "config").write_text("[core]\n repositoryformatversion = 0\n bare = true\n")
        return evil


@cache
def make_evil_source(prefix: str) -> tuple[Path, str]:
    """The attacker's repository with the project in a folder; made once, and its commit."""
    source = make_folder_until_exit()
    files = {f"{prefix}{name}": text for name, text in project(EVIL, "evil").items()}
    write(source, files)
    evil = commit(source)
    git(source, "update-ref", BASE, evil)
    return source, evil


@cache
def make_honest_source(place: str) -> tuple[Path, str, str]:
    """The honest repository with its project in a folder, its base and the change's commit."""
    top = make_folder_until_exit()
    write(top / place, project(GOOD, "good"))
    # No file of a copy is taken for changed: it has size and time alone in common with this one.
    make_repository(top, "[core]\n\tcheckStat = minimal\n\ttrustCtime = false\n")
    base = commit(top)
    git(top, "update-ref", BASE, base)
    git(top, "checkout", "-q", "-b", "change")
    write(top / place, project(EVIL, "changed"))
    return top, base, commit(top)


def make_folder_until_exit() -> Path:
    folder = tempfile.mkdtemp(prefix="checkouts-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Checkout]:
    """A change that names another url is checked out; no canary may be there at the end."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    place = "deploy/prod"
    source, base, head = make_honest_source(place)
    top = Path(shutil.copytree(source, tmp_path / "repository"))
    attempt = Checkout(top, top / place, tmp_path / "canary", base, head)
    yield attempt
    assert not attempt.canary.exists()
