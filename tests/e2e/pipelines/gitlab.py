"""Runs a job of examples/gitops/.gitlab-ci.yml: its script in one shell, after_script in another."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from e2e.pipelines.conftest import SECRETS, World
from e2e.pipelines.forge import TOKEN
from installed import environment

_INSTALLS = ("pip install", "-m venv")
SETTINGS = {"stages", "workflow", "variables", "default"}


def document(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / ".gitlab-ci.yml").read_text(encoding="utf-8"))
    return found


@dataclass
class Ran:
    """`code` is that of the script, `log` all that both shells wrote."""

    code: int
    log: str
    kept: list[str] = field(default_factory=list)


@dataclass
class Pipeline:
    """A pipeline for a commit; `more` are predefined variables of its kind."""

    world: World
    sha: str
    more: dict[str, str] = field(default_factory=dict)

    def merge_request(self, base: str, project: str = "42", number: int = 7) -> Pipeline:
        predefined = {
            "CI_PIPELINE_SOURCE": "merge_request_event",
            "CI_MERGE_REQUEST_IID": str(number),
            "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": project,
            "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "chosen-by-its-author",
            "CI_MERGE_REQUEST_DIFF_BASE_SHA": base,
        }
        return Pipeline(self.world, self.sha, predefined)

    def push(self, before: str) -> Pipeline:
        """The same commit as a push to main brings it, which was at another one before."""
        return Pipeline(self.world, self.sha, {"CI_COMMIT_BEFORE_SHA": before})

    def jobs(self) -> list[str]:
        """The jobs that this pipeline has, by their rules."""
        found = document(self.world.checkout)
        jobs = {name: job for name, job in found.items() if name not in SETTINGS}
        if not any(self._holds(rule["if"]) for rule in found["workflow"]["rules"]):
            return []
        return [n for n, job in jobs.items() if any(self._holds(r["if"]) for r in job["rules"])]

    def _holds(self, rule: str) -> bool:
        known = self._predefined()
        python = re.sub(r"\$(\w+)", lambda m: repr(known.get(m[1], "")), rule)
        return bool(eval(python.replace("&&", "and"), {"__builtins__": {}}))

    def job(self, name: str, secrets: dict[str, str] | None = None) -> Ran:
        """Run one job, without what pip does; gives what it keeps among its artifacts."""
        found = document(self.world.checkout)
        job = found[name]
        before = self.before()
        given = SECRETS if secrets is None else secrets
        process = self.start([*before, *job["script"]], given)
        log, _ = process.communicate(timeout=120)
        if after := job.get("after_script"):
            last = self.start(after, given)
            log += last.communicate(timeout=60)[0]
            assert last.returncode == 0, log
        artifacts = job["artifacts"]
        paths = [*artifacts["paths"], *artifacts.get("reports", {}).values()]
        return Ran(process.returncode, log, [p for p in paths if self._path(p).is_file()])

    def before(self) -> list[str]:
        """The lines of before_script without what installs; beside the checkout is its outcome."""
        python = Path(f"{self.world.checkout}.venv", "bin", "python")
        python.parent.mkdir(parents=True, exist_ok=True)
        python.write_text(f'#!/bin/sh\nexec {self.world.python} "$@"\n', encoding="utf-8")
        python.chmod(0o755)
        lines: list[str] = document(self.world.checkout)["default"]["before_script"]
        return [line for line in lines if not any(word in line for word in _INSTALLS)]

    def _path(self, name: str) -> Path:
        return self.world.checkout / name

    def start(self, lines: list[str], secrets: dict[str, str]) -> subprocess.Popen[str]:
        """One shell for all lines, as a runner starts it."""
        variables = document(self.world.checkout)["variables"]
        env = environment({**variables, **self._predefined(), **secrets})
        return subprocess.Popen(
            ["bash", "-eo", "pipefail", "-c", "\n".join(lines)],
            cwd=self.world.checkout, env={**env, "GIT_CONFIG_GLOBAL": os.devnull}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def _predefined(self) -> dict[str, str]:
        return {
            "GITLAB_CI": "true",
            "CI": "true",
            "CI_PIPELINE_SOURCE": "push",
            "CI_COMMIT_BRANCH": "" if self.more.get("CI_MERGE_REQUEST_IID") else "main",
            "CI_DEFAULT_BRANCH": "main",
            "CI_COMMIT_SHA": self.sha,
            "CI_COMMIT_BEFORE_SHA": "0" * 40,
            "CI_PROJECT_ID": "42",
            "CI_PROJECT_DIR": str(self.world.checkout),
            "CI_API_V4_URL": self.world.forge.url,
            "GITLAB_API_TOKEN": TOKEN,
            **self.more,
        }
