"""Runs a job of a GitHub workflow: its own shell steps and those of action.yml, for real.

Of the actions of others only what they do to files is done: artifacts are folders. Expressions are
those that the workflows use; another one is an error.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from e2e.pipelines.forge import make_archive
from installed import BIN, ROOT, environment

OURS = "acme/synapse-apply@"
_NAME = re.compile(r"'[^']*'|!(?!=)|&&|\|\||[A-Za-z_][\w-]*(?:\.[\w-]+)*(?:\(\))?")
_WORDS = {"!": " not ", "&&": " and ", "||": " or "}


@dataclass
class Ran:
    """How a job or a step ended: `log` is all that its shells wrote."""

    ok: bool = True
    log: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    codes: list[int] = field(default_factory=list)
    skipped: bool = False


@dataclass
class Runner:
    """A machine with a checkout. `event` is the `github` of expressions, `temp` is emptied."""

    checkout: Path
    temp: Path
    artifacts: Path
    event: dict[str, Any]
    secrets: dict[str, str]
    given: dict[str, str]
    token: str
    run_id: str = "1"
    installed: bool = True
    python: Path = BIN / "python"
    environments: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def summary(self) -> str:
        return (self.temp / "summary").read_text(encoding="utf-8")

    def job(self, workflow: str, name: str) -> Ran:
        """Run one job; `skipped` when its condition says so."""
        path = self.checkout / ".github" / "workflows" / workflow
        job = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)["jobs"][name]
        self.clear()
        scope = self._scope()
        if not truth(job.get("if", "success()"), scope, ok=True):
            return Ran(skipped=True)
        return self._steps(job["steps"], scope, {})

    def clear(self) -> None:
        """What a runner does before a job."""
        shutil.rmtree(self.temp, ignore_errors=True)
        self.temp.mkdir(parents=True)
        (self.temp / "paths").write_text("")
        (self.temp / "summary").write_text("")

    def _scope(self) -> dict[str, Any]:
        github = {"token": self.token, "action_path": str(ROOT), **self.event}
        return {"github": github, "secrets": self.secrets, "runner": {"temp": str(self.temp)}}

    def _steps(
        self, steps: list[dict[str, Any]], scope: dict[str, Any], env: Mapping[str, str]
    ) -> Ran:
        done = Ran()
        known: dict[str, Any] = {}
        inner = {**scope, "steps": known}
        for step in steps:
            if not truth(step.get("if", "success()"), inner, ok=done.ok):
                continue
            ran = self._step(step, inner, {**env, **resolved(step.get("env", {}), inner)})
            done.ok, done.log = done.ok and ran.ok, done.log + ran.log
            done.codes += ran.codes
            outcome = "success" if ran.ok else "failure"
            known[step.get("id", "")] = {"outputs": ran.outputs, "outcome": outcome}
            done.outputs = ran.outputs or done.outputs
        done.outputs = done.outputs if "inputs" not in scope else known_outputs(known)
        return done

    def _step(self, step: dict[str, Any], scope: dict[str, Any], env: dict[str, str]) -> Ran:
        if step.get("id") == "install" and self.installed:
            return self._have_installed()
        if "run" in step:
            return self._shell(step, scope, env)
        uses, given = step["uses"], resolved(step.get("with", {}), scope)
        if uses.startswith(OURS):
            action = read_action()
            defaults = {n: i.get("default", "") for n, i in action["inputs"].items()}
            assert set(given) <= set(defaults), f"{uses} has no input {set(given) - set(defaults)}"
            inputs = {**resolved(defaults, scope), **given}
            return self._steps(action["runs"]["steps"], {**scope, "inputs": inputs}, env)
        name = uses.partition("@")[0]
        self.environments.append((name, env))
        if name == "actions/upload-artifact":
            to = self.artifacts / self.run_id / given["name"]
            shutil.rmtree(to, ignore_errors=True)
            shutil.copytree(given["path"], to)
        else:
            assert name in {"actions/checkout", "actions/setup-python"}, uses
        return Ran()

    def _have_installed(self) -> Ran:
        """What the step `Install` leaves, with the command of the tests in place of a new one."""
        folder = self.temp / "command"
        folder.mkdir(exist_ok=True)
        command = folder / "synapse-apply"
        command.write_text(f'#!/bin/sh\nexec "{self.python}" -I -m synapse_apply "$@"\n')
        command.chmod(0o755)
        with (self.temp / "paths").open("a", encoding="utf-8") as paths:
            paths.write(f"{folder}\n")
        return Ran(outputs={"python": str(self.python)})

    def _shell(self, step: dict[str, Any], scope: dict[str, Any], env: dict[str, str]) -> Ran:
        process = self.start(step, scope, env)
        log, _ = process.communicate(timeout=120)
        outputs = read_outputs((self.temp / "outputs").read_text(encoding="utf-8"))
        return Ran(process.returncode == 0, log, outputs, [process.returncode])

    def start(
        self, step: dict[str, Any], scope: dict[str, Any], env: Mapping[str, str]
    ) -> subprocess.Popen[str]:
        """The shell of a step, as a runner starts it."""
        assert step.get("shell", "bash") == "bash"
        script = self.temp / "step.sh"
        script.write_text(step["run"], encoding="utf-8")
        (self.temp / "outputs").write_text("")
        variables = environment({**self.given, **self._of_runner(), **env})
        for path in (self.temp / "paths").read_text().split():
            variables["PATH"] = f"{path}:{variables['PATH']}"
        self.environments.append((str(step.get("name", step["run"])), variables))
        folder = self.checkout / str(value(step.get("working-directory", "."), scope))
        return subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=folder, env=variables, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def _of_runner(self) -> dict[str, str]:
        return {
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_OUTPUT": str(self.temp / "outputs"),
            "GITHUB_PATH": str(self.temp / "paths"),
            "GITHUB_REF_NAME": "main",
            "GITHUB_REF_TYPE": "branch",
            "GITHUB_REPOSITORY": self.event["repository"],
            "GITHUB_SHA": self.event["sha"],
            "GITHUB_STEP_SUMMARY": str(self.temp / "summary"),
            "GITHUB_WORKSPACE": str(self.checkout),
            "RUNNER_TEMP": str(self.temp),
        }


def read_artifact(root: Path, run_id: str, name: str) -> bytes:
    """The zip of what a run kept under a name."""
    folder = root / "artifacts" / run_id / name
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return make_archive({str(path.relative_to(folder)): path.read_bytes() for path in files})


def read_action() -> dict[str, Any]:
    text = (ROOT / "action.yml").read_text(encoding="utf-8")
    action: dict[str, Any] = yaml.load(text, yaml.CSafeLoader)
    return action


def known_outputs(steps: Mapping[str, Any]) -> dict[str, str]:
    """What action.yml gives out of what its steps gave."""
    action = read_action()
    texts = {name: one["value"] for name, one in action["outputs"].items()}
    return {name: text for name, text in resolved(texts, {"steps": steps}).items() if text}


def resolved(texts: Mapping[str, Any], scope: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value(text, scope)) for name, text in texts.items()}


def value(text: Any, scope: Mapping[str, Any]) -> Any:
    """A text with its expressions replaced."""
    if not isinstance(text, str):
        return text
    return re.sub(r"\$\{\{(.*?)\}\}", lambda m: str(evaluated(m[1], scope)), text)


def truth(condition: str, scope: Mapping[str, Any], *, ok: bool) -> bool:
    """A condition, which means success() as well where it asks for no status."""
    text = str(condition)
    asked = re.search(r"\b(success|failure|always|cancelled)\(\)", text)
    return bool(evaluated(text, scope, ok=ok)) and (asked is not None or ok)


def evaluated(text: str, scope: Mapping[str, Any], *, ok: bool = True) -> Any:
    status = {"success()": ok, "failure()": not ok, "always()": True, "cancelled()": False}

    def python(found: re.Match[str]) -> str:
        word = found[0]
        if word.startswith("'"):
            return word
        if word in _WORDS:
            return _WORDS[word]
        if word.endswith("()"):
            return str(status[word])
        return repr(looked_up(word, scope))

    return eval(_NAME.sub(python, text.strip()), {"__builtins__": {}})  # words of ours, no text


def looked_up(name: str, scope: Mapping[str, Any]) -> Any:
    found: Any = scope
    first, *rest = name.split(".")
    assert first in scope, f"{name}: there is no {first} here"
    found = scope[first]
    for part in rest:
        found = found.get(part, "") if isinstance(found, Mapping) else ""
    return found


def read_outputs(text: str) -> dict[str, str]:
    """$GITHUB_OUTPUT as the runner reads it: NAME=VALUE, and NAME<<END."""
    many = re.findall(r"^(\w+)<<(\S+)\n(.*?)\n\2$", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^(\w+)<<(\S+)\n.*?\n\2$", "", text, flags=re.MULTILINE | re.DOTALL)
    return {
        **{name: found for name, _, found in many},
        **dict(re.findall(r"^(\w+)=(.*)$", rest, re.MULTILINE)),
    }
