"""The workflows and pipelines that are shipped: their published schemas, and what keeps them safe."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from installed import ROOT

from synapse_apply.cli import table
from synapse_apply.views import github

GITOPS = ROOT / "examples" / "gitops"
WORKFLOWS = sorted((GITOPS / ".github" / "workflows").glob("*.yml"))
ACTION, GITLAB, HOOKS = (
    ROOT / "action.yml",
    GITOPS / ".gitlab-ci.yml",
    ROOT / ".pre-commit-hooks.yaml",
)
SCHEMAS = {
    "vendor.github-workflows": WORKFLOWS,
    "custom.github-workflows-require-timeout": WORKFLOWS,
    "vendor.github-actions": [ACTION],
    "vendor.gitlab-ci": [GITLAB],
}
PINNED = re.compile(
    r"uses: (?:actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+|acme/synapse-apply@v\d.*)$"
)


def read(path: Path) -> Any:
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {("on" if key is True else key): each for key, each in found.items()}  # YAML 1.1


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every step of GitHub's files, with the file's name."""
    for step in read(ACTION)["runs"]["steps"]:
        yield ACTION.name, step
    for path in WORKFLOWS:
        for job in read(path)["jobs"].values():
            for step in job["steps"]:
                yield path.name, step


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_file_fits_its_published_schema(name: str) -> None:
    """As the forges' own editors check it, without network."""
    words = ["--builtin-schema", name, "--data-transform", "gitlab-ci", "--no-cache"]
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *words, *map(str, SCHEMAS[name])],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_text_of_others_becomes_part_of_a_script() -> None:
    """A script holds no expression at all: a branch or an input that is a command is a value."""
    scripts = {
        f"{name}: {step.get('name')}": step["run"] for name, step in steps() if "run" in step
    }
    assert len(scripts) >= 6
    assert [name for name, text in scripts.items() if "${{" in text] == []
    assert all(step.get("shell") == "bash" for name, step in steps() if name == "action.yml" and "run" in step)  # fmt: skip


def test_what_a_runner_stops_is_our_process() -> None:
    """The last command of each script that calls us for long replaces its shell."""
    ours = [step["run"] for _, step in steps() if "synapse-apply" in step.get("run", "")]
    long = [text for text in ours if re.search(r"synapse-apply (\"\$@\"|plan|apply|drift)", text)]
    jobs = [job["script"] for job in read(GITLAB).values() if "script" in job]
    lines = [text.replace("\\\n", " ").strip().splitlines()[-1] for text in long]
    lines += [script[-1] for script in jobs if isinstance(script, list)]
    assert len(lines) == 6
    assert [line for line in lines if not line.lstrip().startswith("exec synapse-apply ")] == []


def test_every_action_is_pinned() -> None:
    """By commit, with the version beside it; ours by the version that the user chooses."""
    lines = [
        line.strip().removeprefix("- ")
        for path in (*WORKFLOWS, ACTION)
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.match(r"\s*(- )?uses:", line)
    ]
    assert len(lines) >= 12
    assert [line for line in lines if not PINNED.fullmatch(line)] == []


def test_permissions_are_the_least() -> None:
    """None by default, each job says its own; only where a comment is written may anything be."""
    allowed = {
        "pull-request.yml/check": {"contents": "read"},
        "pull-request.yml/plan": {"contents": "read", "pull-requests": "write"},
        "deploy.yml/apply": {"contents": "read", "actions": "read", "pull-requests": "write"},
        "drift.yml/drift": {"contents": "read"},
    }
    found = {}
    for path in WORKFLOWS:
        workflow = read(path)
        assert workflow["permissions"] == {}
        for name, job in workflow["jobs"].items():
            found[f"{path.name}/{name}"] = job["permissions"]
    assert found == allowed
    triggers = {name for path in WORKFLOWS for name in read(path)["on"]}
    assert triggers == {"pull_request", "push", "schedule", "workflow_dispatch"}
    checkouts = [step for _, step in steps() if "actions/checkout@" in step.get("uses", "")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_secrets_are_for_jobs_that_no_fork_gets() -> None:
    """The job that runs for forks names no secret, environment or machine of ours."""
    check = read(GITOPS / ".github" / "workflows" / "pull-request.yml")["jobs"]["check"]
    assert "secrets." not in yaml.safe_dump(check)
    assert check["runs-on"] == "ubuntu-latest"
    assert "environment" not in check
    assert "tags" not in read(GITLAB)["check"]


def test_an_apply_is_never_cancelled_for_a_newer_one() -> None:
    """Plans of old commits are; applies wait for each other, and none that waits is dropped."""
    groups = {path.name: read(path)["concurrency"] for path in WORKFLOWS}
    assert groups["pull-request.yml"]["cancel-in-progress"] is True
    assert groups["deploy.yml"]["cancel-in-progress"] is False
    assert "github.sha" in groups["deploy.yml"]["group"]
    apply = read(GITLAB)["apply"]
    assert (apply["interruptible"], apply["resource_group"]) == (False, "prod")
    assert read(GITLAB)["plan"]["interruptible"] is True


def test_the_action_gives_every_output_there_is() -> None:
    """What `--report github` writes, by the same names, and where the reports are."""
    written = set(re.findall(r'^ {8}"(\w+)": ', Path(github.__file__).read_text(), re.MULTILINE))
    outputs = read(ACTION)["outputs"]
    assert set(outputs) == {*written, "reports"}
    for name in written:
        assert outputs[name]["value"] == f"${{{{ steps.run.outputs.{name} }}}}"


def test_every_input_is_described() -> None:
    """docs/ci.md has a row for each, with its default where that is a word."""
    section = (ROOT / "docs" / "ci.md").read_text("utf-8").partition("\n## The action\n")[2]
    rows = dict(re.findall(r"^\| `([\w-]+)` \|\s*`?([^|`]*?)`?\s*\|", section, re.MULTILINE))
    inputs = read(ACTION)["inputs"]
    assert set(rows) == set(inputs)
    for name, one in inputs.items():
        if "${{" not in one["default"]:
            assert rows[name].strip() == one["default"], name


def test_a_hook_runs_a_command_there_is() -> None:
    """Of a Python package, on all files at once, for files of ours."""
    for hook in yaml.safe_load(HOOKS.read_text(encoding="utf-8")):
        name, command, *_ = hook["entry"].split()
        assert (name, hook["language"], hook["pass_filenames"]) == (
            "synapse-apply",
            "python",
            False,
        )
        assert command in table.COMMANDS
        assert re.search(hook["files"], "manifests/plugin.yaml")


def test_the_base_branch_is_named_in_full() -> None:
    """Else a tag of that name, which a clone brings along, has a say in it."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *WORKFLOWS, ACTION, GITLAB, HOOKS]
    short = [path.name for path in pages if "git:origin/" in path.read_text(encoding="utf-8")]
    assert short == []
    full = [path.name for path in pages if "git:refs/remotes/origin/" in path.read_text("utf-8")]
    assert {"README.md", "pull-request.yml", ".gitlab-ci.yml", "ci.md"} <= set(full)
