"""The workflows and pipelines that are shipped: their published schemas, and what keeps them safe."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from installed import ROOT

from synapse_apply.cli import registry
from synapse_apply.views import ci

GITOPS = ROOT / "examples" / "gitops"
GIT_STATE = ROOT / "examples" / "github-actions-git-state"
WORKFLOWS = [
    path
    for example in (GITOPS, GIT_STATE)
    for path in sorted((example / ".github" / "workflows").glob("*.yml"))
]
ACTION, GITLAB, HOOKS = (
    ROOT / "action.yml",
    GITOPS / ".gitlab-ci.yml",
    ROOT / ".pre-commit-hooks.yaml",
)
PINNED = re.compile(
    r"uses: (?:actions/[\w-]+|acme/synapse-apply)@[0-9a-f]{40} # v\d+\.\d+\.\d+(?:; .+)?"
)
COMPONENT = ROOT / "templates" / "synapse-apply.yml"
PAGES = [
    *ROOT.glob("*.md"),
    ROOT / "action" / "README.md",
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "examples").rglob("*.md"),
]


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
    ours = [step["run"] for _, step in steps() if "run" in step]
    long = [
        text
        for text in ours
        if re.search(r"(start\.py|synapse-apply) (\"\$@\"|plan|apply)|start\.py\"", text)
    ]
    jobs = [job["script"] for job in read(GITLAB).values() if "script" in job]
    lines = [text.replace("\\\n", " ").strip().splitlines()[-1] for text in long]
    lines += [script[-1] for script in jobs if isinstance(script, list)]
    _, component = yaml.safe_load_all(COMPONENT.read_text("utf-8"))
    lines += [job["script"][-1] for job in component.values()]
    assert len(lines) == 7
    start = re.compile(
        r"exec (?:synapse-apply|(?:env -u \w+ )?\"\$VENV/bin/python\" -I -m synapse_apply|\"\$INTERPRETER\" -I \S+start\.py\") "
    )
    assert [line for line in lines if not start.match(line.lstrip())] == []


def test_every_action_is_pinned() -> None:
    """By commit, with the version beside it, ours too: also in what pages show."""
    lines = [
        line.strip().removeprefix("- ")
        for path in (*WORKFLOWS, ACTION, *PAGES)
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.match(r"\s*(- )?uses:", line)
    ]
    assert len(lines) >= 13
    assert [line for line in lines if not PINNED.fullmatch(line)] == []


def scripts_of_pipelines() -> Iterator[tuple[str, str]]:
    """Each script that a pipeline runs, and that a page shows as one, with where it stands."""
    for name, step in steps():
        if "run" in step:
            yield name, step["run"]
    _, component = yaml.safe_load_all(COMPONENT.read_text("utf-8"))
    for job in (*read(GITLAB).values(), *component.values()):
        if isinstance(job, dict):
            for part in ("before_script", "script", "after_script"):
                yield from ((GITLAB.name, line) for line in job.get(part, ()))
    for hook in yaml.safe_load(HOOKS.read_text(encoding="utf-8")):
        yield HOOKS.name, hook["entry"]
    for page in PAGES:
        for block in re.findall(r"```ya?ml\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            yield from ((page.name, line) for line in re.findall(r"run: ([^|\n].*)", block))


def test_python_takes_no_code_from_a_checkout() -> None:
    """Each call of Python is isolated; ours without is that of the action, which starts it so."""
    scripts = list(scripts_of_pipelines())
    calls = [
        (name, call)
        for name, text in scripts
        for call in re.findall(r"""(?:\bpython3?|\$python|\$INTERPRETER)["']? -\S+""", text)
    ]
    assert len(calls) >= 16
    assert [one for one in calls if not one[1].endswith(" -I")] == []
    bare = re.compile(
        r"(?m)(?:^|[;&|(] *|exec )(?:pip3?|python3?) (?!-I )|(?:^|exec )synapse-apply "
    )
    found = {name for name, text in scripts if bare.search(text)}
    assert found == {"pull-request.yml"}


def test_libraries_are_installed_by_hash() -> None:
    """pip resolves nothing: it takes what a lock has, by hash, and one package without dependencies."""
    scripts = [text for _, text in scripts_of_pipelines() if re.search(r"pip_?\s?install", text)]
    assert len(scripts) == 5
    for text in scripts:
        assert "--no-deps" in text
        assert ("--requirement" in text) == ("--only-binary :all: --require-hashes" in text)
        assert "--requirement" in text or re.search(r"\$SYNAPSE_(APPLY|JOB_PACKAGE)\b", text)


def test_permissions_are_the_least() -> None:
    """None by default, each job says its own; only where a comment is written may anything be."""
    allowed = {
        "pull-request.yml/check": {"contents": "read"},
        "pull-request.yml/plan": {"contents": "read", "pull-requests": "write"},
        "deploy.yml/apply": {"contents": "read", "actions": "read", "pull-requests": "write"},
        "drift.yml/drift": {"contents": "read"},
        "plan.yml/check": {"contents": "read"},
        "plan.yml/plan": {"contents": "read", "pull-requests": "write"},
        # The state is pushed.
        "apply.yml/apply": {"contents": "write", "actions": "read", "pull-requests": "write"},
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
    assert read(ACTION)["inputs"]["secrets"]["default"] == ""
    # Credentials stay in a checkout only where a state is read or written with them.
    assert {
        f"{path.name}/{name}"
        for path in WORKFLOWS
        for name, job in read(path)["jobs"].items()
        for step in job["steps"]
        if "actions/checkout@" in step.get("uses", "")
        and step["with"]["persist-credentials"] is not False
    } == {"plan.yml/plan", "apply.yml/apply"}


def test_secrets_are_for_jobs_that_no_fork_gets() -> None:
    """The job that runs for forks names no secret, environment or machine of ours."""
    for path in WORKFLOWS:
        check = read(path)["jobs"].get("check", {"runs-on": "ubuntu-latest"})
        assert "secrets." not in yaml.safe_dump(check)
        assert check["runs-on"] == "ubuntu-latest"
        assert "environment" not in check
    assert "tags" not in read(GITLAB)["check"]


def test_secrets_are_for_the_step_that_needs_them() -> None:
    """No workflow puts one into the environment of steps, jobs or itself; drift needs no storage's."""
    for path in WORKFLOWS:
        workflow = read(path)
        jobs = workflow["jobs"].values()
        each = [step for job in jobs for step in job["steps"]]
        assert "secrets." not in str([part.get("env", {}) for part in (workflow, *jobs, *each)])
    drift = (GITOPS / ".github" / "workflows" / "drift.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"secrets\.(\w+)", drift)) == {
        "SYNAPSE_APPLY_STATE_KEY",
        "SYNAPSE_PROD_TOKEN",
    }
    given = [step["env"] for step in read(ACTION)["runs"]["steps"] if "env" in step]
    assert len([env for env in given if "SECRETS" in env]) == 1
    assert not [env for env in given if {"SECRETS", "TOKEN"} <= set(env)]


def test_an_apply_is_never_cancelled_for_a_newer_one() -> None:
    """Plans of old commits are; applies wait for each other, and none that waits is dropped."""
    groups = {path.name: read(path)["concurrency"] for path in WORKFLOWS}
    for plan, apply in (("pull-request.yml", "deploy.yml"), ("plan.yml", "apply.yml")):
        assert groups[plan]["cancel-in-progress"] is True
        assert groups[apply]["cancel-in-progress"] is False
        assert "github.sha" in groups[apply]["group"]
    apply = read(GITLAB)["apply"]
    assert (apply["interruptible"], apply["resource_group"]) == (False, "prod")
    assert read(GITLAB)["plan"]["interruptible"] is True


def test_the_action_gives_every_output_there_is() -> None:
    """What `--report github` writes, by the same names, and where the reports are."""
    builders = (ci.build_plan_outputs, ci.build_drift_outputs, ci.build_report_outputs)
    source = "".join(map(inspect.getsource, builders))
    written = set(re.findall(r'^ {8}"(\w+)": ', source, re.MULTILINE))
    outputs = read(ACTION)["outputs"]
    assert set(outputs) == {*written, "reports"}
    for name in written:
        assert outputs[name]["value"] == f"${{{{ steps.run.outputs.{name} }}}}"


def test_every_input_is_described() -> None:
    """docs/ci.md has a row for each, with its default where that is a word."""
    section = (ROOT / "docs" / "ci.md").read_text("utf-8").partition("\n## The action\n")[2]
    section = section.partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `([\w-]+)` \|\s*`?([^|`]*?)`?\s*\|", section, re.MULTILINE))
    inputs = read(ACTION)["inputs"]
    assert set(rows) == set(inputs)
    for name, one in inputs.items():
        if "${{" not in one["default"]:
            assert rows[name].strip() == one["default"], name


def test_a_hook_runs_a_command_there_is() -> None:
    """Of a Python package, on all files at once, for files of ours."""
    for hook in yaml.safe_load(HOOKS.read_text(encoding="utf-8")):
        *start, command = hook["entry"].split()[:5]
        assert start == ["python", "-I", "-m", "synapse_apply"]
        assert (hook["language"], hook["pass_filenames"]) == ("python", False)
        assert command in registry.COMMANDS
        assert re.search(hook["files"], "manifests/plugin.yaml")


def test_the_base_branch_is_named_in_full() -> None:
    """Else a tag of that name, which a clone brings along, has a say in it."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *WORKFLOWS, ACTION, GITLAB, HOOKS]
    short = [path.name for path in pages if "git:origin/" in path.read_text(encoding="utf-8")]
    assert short == []
    full = [path.name for path in pages if "git:refs/remotes/origin/" in path.read_text("utf-8")]
    assert {"pull-requests.md", "pull-request.yml", ".gitlab-ci.yml", "ci.md"} <= set(full)
