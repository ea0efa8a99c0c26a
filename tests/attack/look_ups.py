"""The scripts of the pipelines that look reviewed plans up, asked in this process."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from e2e.pipelines.forge import (
    PROJECT,
    TOKEN,
    Forge,
    make_archive,
    make_merge_request,
    make_pipeline,
    make_run,
)
from installed import ROOT

GITHUB = ROOT / "action" / "github.py"
GITLAB = ROOT / "examples" / "gitops" / ".gitlab" / "merge_request.py"
HEAD, MERGED = "a" * 40, "b" * 40
REPORTS = "synapse-apply-reports"


@dataclass
class LookUp:
    """How a look-up ended: `plans` are the texts of the files it fetched, by their names."""

    code: int
    log: str
    plans: dict[str, str]
    outputs: dict[str, str]


def keep(forge: Forge, run: int, *numbers: int, head: str = HEAD, **more: Any) -> None:
    """A run that kept a plan for each of these pull requests."""
    forge.runs.insert(0, make_run(run, **{"head": head, **more}))
    for number in numbers:
        data = make_archive({"saved.plan": f"plan {number} of {run}".encode()})
        forge.keep_artifact(run, run * 100 + number, f"prod-plan-{number}", data)


def ask_github(forge: Forge, folder: Path, *, before: str = "", sha: str = MERGED) -> LookUp:
    """Run the action's `reviewed` for a push, or without `before` for another event."""
    outputs, fetched = folder / "outputs", folder / "fetched"
    outputs.write_text("")
    given = {
        "ARTIFACT": "prod-plan", "BEFORE": before, "FOLDER": str(fetched), "TOKEN": TOKEN,
        "WORKFLOW": "pull-request.yml", "GITHUB_API_URL": forge.url, "GITHUB_OUTPUT": str(outputs),
        "GITHUB_REF_NAME": "main", "GITHUB_REF_TYPE": "branch", "GITHUB_REPOSITORY": PROJECT,
        "GITHUB_SHA": sha,
    }  # fmt: skip
    code, log = run_script(GITHUB, "reviewed", folder, given)
    pairs = (line.partition("=") for line in outputs.read_text().splitlines())
    return LookUp(code, log, take_files(fetched), {name: value for name, _, value in pairs})


def ask_gitlab(forge: Forge, folder: Path, *, before: str = "0" * 40, sha: str = MERGED) -> LookUp:
    """Run the example's `reviewed`, by default for the first push of a branch."""
    (folder / REPORTS).mkdir(exist_ok=True)
    given = {
        "CI_API_V4_URL": forge.url, "CI_COMMIT_BEFORE_SHA": before, "CI_COMMIT_BRANCH": "main",
        "CI_COMMIT_SHA": sha, "CI_PROJECT_ID": "42", "GITLAB_API_TOKEN": TOKEN, "REPORTS": REPORTS,
    }  # fmt: skip
    code, log = run_script(GITLAB, "reviewed", folder, given)
    return LookUp(code, log, take_files(folder / REPORTS / "reviewed"), {})


def take_files(folder: Path) -> dict[str, str]:
    """The texts of the files in a folder, which is gone then, as before the next job."""
    if not folder.is_dir():
        return {}
    texts = {path.name: path.read_text() for path in sorted(folder.iterdir())}
    for name in texts:
        (folder / name).unlink()
    folder.rmdir()
    return texts


def run_script(script: Path, what: str, folder: Path, given: dict[str, str]) -> tuple[int, str]:
    """The script's exit code and what it wrote; what it raises is raised."""
    spec = importlib.util.spec_from_file_location(script.stem, script)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    log = io.StringIO()
    with (
        patch.dict(os.environ, given),
        contextlib.chdir(folder),
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        return module.main(what), log.getvalue()


def prepare_gitlab(forge: Forge, *pipelines: dict[str, Any], **more: Any) -> None:
    """Merge request 7 was merged; its pipelines are these, and each job `plan` kept its plan."""
    forge.pulls[MERGED] = [make_merge_request(7, HEAD, **{"merge_commit_sha": MERGED, **more})]
    keep_pipelines(forge, 7, *pipelines)


def keep_pipelines(forge: Forge, number: int, *pipelines: dict[str, Any]) -> None:
    """The pipelines of a merge request, the job `plan` of each with its plan."""
    forge.pipelines[number] = list(pipelines)
    for row in pipelines:
        which = row["id"]
        forge.files[f"{which * 10}/{REPORTS}/saved.plan"] = f"plan {which}".encode()


def merge_on_gitlab(forge: Forge, number: int, head: str, merged: str, /, **more: Any) -> None:
    """A merge request with a plan, merged as this commit."""
    row = make_merge_request(number, head, **{"merge_commit_sha": merged, **more})
    forge.pulls.setdefault(merged, []).append(row)
    keep_pipelines(forge, number, make_pipeline(number * 10, number, head))
