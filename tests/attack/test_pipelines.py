"""Steps of the action and the pipelines in a checkout full of files that wait to be run."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import forking
import pytest
from attack.planted_programs import Canary
from e2e.pipelines.actions import Runner, read_action, read_artifact, read_outputs
from e2e.pipelines.conftest import SECRETS, World, _of_nobody, forge, fresh, world  # noqa: F401
from e2e.pipelines.forge import PROJECT, TOKEN, make_archive, make_pull, make_run
from e2e.pipelines.gitlab import Pipeline, document
from git_repositories import git
from installed import BIN, ROOT

DEEP = os.environ.get("SYNAPSE_APPLY_TEST_DEEP") == "1"


@pytest.fixture
def canary(tmp_path: Path) -> Canary:
    return Canary(tmp_path / "canary")


@pytest.fixture
def checkout(tmp_path: Path, canary: Canary) -> Path:
    """A project that is valid, and all of the planted files beside it."""
    folder = tmp_path / "checkout"
    shutil.copytree(
        ROOT / "examples" / "quickstart", folder, ignore=shutil.ignore_patterns(".syn*")
    )
    canary.plant(folder)
    return folder


def surroundings(checkout: Path) -> dict[str, dict[str, str]]:
    """What a job may have set for its own tools, so that a checkout's files are on Python's path."""
    return {
        "in the root": {},
        "by PYTHONPATH": {"PYTHONPATH": str(checkout)},
        "by PYTHONHOME": {"PYTHONHOME": str(checkout), "PYTHONSTARTUP": str(checkout / "json.py")},
        "by a user's site": {"PYTHONUSERBASE": str(checkout), "HOME": str(checkout)},
        "by a folder that is relative": {"PYTHONPATH": ".:./lib", "PYTHONSAFEPATH": ""},
    }


WAYS = tuple(surroundings(Path()))


@pytest.fixture
def runner(tmp_path: Path, checkout: Path) -> Runner:
    event = {"repository": PROJECT, "sha": "b" * 40, "event": {"pull_request": {"number": 7}}}
    made = Runner(
        checkout, tmp_path / "temp", tmp_path / "artifacts", event, {}, {}, TOKEN, installed=False
    )
    made.clear()
    return made


def find_step(name: str) -> dict[str, Any]:
    steps = read_action()["runs"]["steps"]
    step: dict[str, Any] = next(one for one in steps if name in (one.get("id"), one.get("name")))
    return step


def run_step(runner: Runner, name: str, env: Mapping[str, str]) -> tuple[int, str]:
    """One step of the action, with this environment: its exit code and log."""
    process = runner.start(find_step(name), {"inputs": {"working-directory": "."}}, env)
    log, _ = process.communicate(timeout=120)
    return process.returncode, log


INTERPRETER = {"INTERPRETER": str(BIN / "python")}


@pytest.fixture
def forking_interpreter() -> dict[str, str]:
    """Where the words of a command are tested, and not what its process imports."""
    return {"INTERPRETER": str(forking.programs() / "python")}


interpreter = pytest.fixture(lambda: BIN / "python")  # no fork: what it imports is what is tested


@pytest.mark.parametrize("way", WAYS)
def test_the_command_runs_no_file_of_the_checkout(way: str, runner: Runner, canary: Canary) -> None:
    """The step that has the secrets validates the project, and does nothing else."""
    reports = runner.temp / "reports"
    reports.mkdir()
    env = {**INTERPRETER, "COMMAND": "validate", "TARGET": "", "ARGS": "--strict", "SAVE": "",
           "REVIEWED": "", "REPORTS": str(reports), "SECRETS": "SYNAPSE_PROD_TOKEN=t"}  # fmt: skip
    code, log = run_step(runner, "run", {**env, **surroundings(runner.checkout)[way]})
    assert code == 0, log
    assert "Valid: " in log
    assert canary.text == ""


@pytest.mark.parametrize("way", WAYS)
def test_the_comment_runs_no_file_of_the_checkout(
    way: str,
    runner: Runner,
    canary: Canary,
    forge: Any,  # noqa: F811 - a fixture
) -> None:
    """The step that has the token of the job writes its comment."""
    file = runner.temp / "comment.md"
    file.write_text("<!-- synapse-apply: target=prod -->\ntext")
    env = {**INTERPRETER, "AUTHOR": "github-actions[bot]", "FILE": str(file), "NUMBER": "7",
           "TOKEN": TOKEN, "GITHUB_API_URL": forge.url}  # fmt: skip
    code, log = run_step(runner, "Comment", {**env, **surroundings(runner.checkout)[way]})
    assert (code, log) == (0, "")
    assert len(forge.by_bot()) == 1
    assert canary.text == ""


@pytest.mark.parametrize("way", WAYS if DEEP else WAYS[:2])
def test_the_look_up_runs_no_file_of_the_checkout(
    way: str,
    runner: Runner,
    canary: Canary,
    forge: Any,  # noqa: F811 - a fixture
) -> None:
    """The step that looks for the reviewed plan finds it."""
    forge.pulls["b" * 40] = [make_pull(7, "a" * 40, "b" * 40)]
    forge.runs = [make_run(5, "a" * 40)]
    forge.keep_artifact(5, 50, "prod-plan-7", make_archive({"saved.plan": b"the plan"}))
    env = {**INTERPRETER, "ARTIFACT": "prod-plan", "TOKEN": TOKEN, "WORKFLOW": "pull-request.yml",
           "BEFORE": "", "FOLDER": str(runner.temp / "reviewed"), "GITHUB_API_URL": forge.url}  # fmt: skip
    code, log = run_step(runner, "reviewed", {**env, **surroundings(runner.checkout)[way]})
    assert (code, log) == (0, "Plans that were reviewed, older merges first: 7\n")
    assert [file.read_bytes() for file in (runner.temp / "reviewed").iterdir()] == [b"the plan"]
    assert canary.text == ""


def make_wheel(path: Path, name: str) -> str:
    """A package that does nothing; gives the digest of its wheel."""
    path.parent.mkdir(exist_ok=True)
    facts = f"{name}-1.dist-info"
    files = {
        f"{name}/__init__.py": "",
        f"{name}/__main__.py": "print('the installed command')\n",
        f"{facts}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n",
        f"{facts}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{facts}/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


BACKEND = """\
import shutil

def build_wheel(folder, config_settings=None, metadata_directory=None):
    return shutil.copy({wheel!r}, folder).rpartition("/")[2]
"""


@pytest.fixture
def action(tmp_path: Path) -> Path:
    """The action's folder with a lock of one library, and a package that builds itself."""
    folder = tmp_path / "action"
    (folder / "action").mkdir(parents=True)
    digest = make_wheel(tmp_path / "wheels" / "library-1-py3-none-any.whl", "library")
    (folder / "action" / "requirements.txt").write_text(f"library==1 --hash=sha256:{digest}\n")
    wheel = tmp_path / "wheels" / "synapse_apply-1-py3-none-any.whl"
    make_wheel(wheel, "synapse_apply")
    (folder / "backend.py").write_text(BACKEND.format(wheel=str(wheel)))
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    return folder


QUICK = """\
#!/bin/sh
test "$1 $2 $3 $#" = "-I -m venv 4" || exit 99
{python} -I -m venv --without-pip "$4" && ln -s {pip} "$4"/lib/python*/site-packages/
"""


@pytest.fixture
def quick_environments(runner: Runner, tmp_path: Path) -> None:
    """A `python3` that makes environments with the pip there is; to copy one takes two seconds."""
    script = tmp_path / "quick" / "python3"
    script.parent.mkdir()
    pip = Path(str(distribution("pip").locate_file("pip")))
    script.write_text(QUICK.format(python=BIN / "python", pip=pip))
    script.chmod(0o755)
    (runner.temp / "paths").write_text(f"{script.parent}\n")


def install(runner: Runner, action: Path, env: Mapping[str, str], version: str) -> tuple[int, str]:
    wheels = action.parent / "wheels"
    given = {"GITHUB_ACTION_PATH": str(action), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    return run_step(runner, "install", {**given, "VERSION": version, **env})


# `venv` itself is isolated by `-I`, and starts pip's copy without PYTHONPATH: it is quick but for the
# ways that only the deep tests try.
@pytest.mark.usefixtures("canary", *(() if DEEP else ("quick_environments",)))
@pytest.mark.parametrize("version", ["", "synapse_apply==1"] if DEEP else [""])
@pytest.mark.parametrize("way", WAYS if DEEP else WAYS[1:2])
def test_the_installation_runs_no_file_of_the_checkout(
    way: str, version: str, runner: Runner, canary: Canary, action: Path
) -> None:
    """What was prepared in the runner's folder is not taken for an installation, either."""
    early = runner.temp / "synapse-apply"
    (early / "bin").mkdir(parents=True)
    (early / "installed").write_text(version or str(action))
    (early / "bin" / "python").symlink_to(runner.checkout / "python3")
    env = surroundings(runner.checkout)[way]
    code, log = install(runner, action, env, version)
    assert code == 0, log
    command = Path((runner.temp / "paths").read_text().splitlines()[-1], "synapse-apply")
    assert not command.is_relative_to(early)
    process = runner.start({"run": f"{command} plan"}, {}, env)
    assert process.communicate(timeout=60)[0] == "the installed command\n"
    assert canary.text == ""


LOCKS = {
    "another file of the version": lambda line: line[:-4] + "0000",
    "no hash": lambda line: line.partition(" ")[0],
}


@pytest.mark.usefixtures("quick_environments")
@pytest.mark.parametrize("which", LOCKS)
def test_a_library_that_is_not_the_locked_one(which: str, runner: Runner, action: Path) -> None:
    """An index that gives another file than the lock has gets nothing installed."""
    lock = action / "action" / "requirements.txt"
    lock.write_text(LOCKS[which](lock.read_text().strip()) + "\n")
    code, log = install(runner, action, {}, "synapse_apply==1")
    assert code != 0
    assert "hash" in log.lower()
    assert "python" not in read_outputs((runner.temp / "outputs").read_text())


VERSIONS = (
    "--index-url=http://127.0.0.1:9/",
    "-rrequirements.txt",
    "$(touch {canary})",
    "; touch {canary}",
)


@pytest.mark.usefixtures("quick_environments")
@pytest.mark.parametrize("version", VERSIONS if DEEP else VERSIONS[:2])
def test_a_version_that_is_no_package(
    version: str, runner: Runner, canary: Canary, action: Path
) -> None:
    """An option or a command in the input is an error of pip, and nothing is run."""
    code, log = install(runner, action, {}, version.format(canary=canary.path))
    assert code != 0
    assert "Invalid requirement" in log or "parse error at" in log
    assert canary.text == ""


TEXTS = (
    "$(touch {canary})",
    "`touch {canary}`",
    "; touch {canary} #",
    "\ntouch {canary}\n",
    "' ; touch {canary} '",
)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", ["ARGS", "TARGET", "COMMAND"])
def test_an_input_that_is_a_command(
    name: str, text: str, runner: Runner, canary: Canary, forking_interpreter: dict[str, str]
) -> None:
    """Inputs are words of the command line, never of a script."""
    reports = runner.temp / "reports"
    reports.mkdir()
    given = {"COMMAND": "validate", "TARGET": "", "ARGS": "", "SAVE": "", "ARTIFACT": ""}
    given[name] = text.format(canary=canary.path)
    more = {**forking_interpreter, "REVIEWED": "", "REPORTS": str(reports), "SECRETS": ""}
    run_step(runner, "prepare", given)
    code, _ = run_step(runner, "run", {**given, **more})
    assert code != 0
    assert not canary.path.exists()


ARGUMENTS = {
    "one more target": ("--target nowhere", {"TARGET": "embedded", "COMMAND": "validate"}, 64),
    "one more target, in short": ("-tx", {"TARGET": "embedded", "COMMAND": "plan"}, 64),
    "another plan": ("--reviewed {evil}", {"COMMAND": "apply", "REVIEWED": "prod-plan"}, 64),
    "another plan, in one word": ("--reviewed={evil}", {"COMMAND": "apply", "REVIEWED": "x"}, 64),
    "an open quote": ("--var 'x", {"TARGET": "embedded", "COMMAND": "validate"}, 64),
    "an end of options": ("--", {"TARGET": "embedded", "COMMAND": "validate"}, 64),
    "a file beside the reviewed plan": ("{evil}", {"COMMAND": "apply", "REVIEWED": "x"}, 64),
}


@pytest.mark.parametrize("which", ARGUMENTS)
def test_arguments_that_take_the_place_of_inputs(
    which: str, runner: Runner, tmp_path: Path, forking_interpreter: dict[str, str]
) -> None:
    """What an input says is said last, so it holds; what makes no sense beside it is refused."""
    args, given, expected = ARGUMENTS[which]
    evil = tmp_path / "evil.plan"
    evil.write_text("no plan")
    reports = runner.temp / "reports"
    reports.mkdir()
    env = {**forking_interpreter, "TARGET": "embedded", "SAVE": "", "REVIEWED": "", "SECRETS": "",
           "REPORTS": str(reports), **given, "ARGS": args.format(evil=evil)}  # fmt: skip
    code, log = run_step(runner, "run", env)
    assert code == expected, log
    assert "evil.plan" not in log or code == 64


@pytest.mark.parametrize("name", ["x\npython=/evil", "x\r\nreports=/evil", "../../x"])
def test_a_name_that_adds_an_output(name: str, runner: Runner) -> None:
    """The names of target and artifact stay in their lines and folders."""
    given = {
        "COMMAND": "plan",
        "TARGET": name,
        "SAVE": "true",
        "ARTIFACT": name,
        "PULL_REQUEST": "7",
    }
    assert run_step(runner, "prepare", given)[0] == 0
    outputs = read_outputs((runner.temp / "outputs").read_text())
    assert set(outputs) == {"reports", "artifact"}
    assert Path(outputs["reports"]).parent == runner.temp
    assert outputs["artifact"].endswith("-7")


UNREADABLE = ("no pair of-{secret}", "KEY<<END\n{secret}", "A=b\n{secret}\n")


@pytest.mark.parametrize("text", UNREADABLE)
def test_secrets_that_cannot_be_read_are_not_shown(
    text: str, runner: Runner, forking_interpreter: dict[str, str]
) -> None:
    """The error tells the line's number, and no part of it."""
    env = {**forking_interpreter, "COMMAND": "validate", "TARGET": "", "ARGS": "", "SAVE": "",
           "REVIEWED": "", "REPORTS": str(runner.temp), "SECRETS": text.format(secret="s3cr3t-s3cr3t")}  # fmt: skip
    code, log = run_step(runner, "run", env)
    assert code == 64
    assert "::error title=The input secrets cannot be read::" in log
    assert "s3cr3t" not in log


# Jobs as a whole, their files committed on the branch that is planned. One job of each system starts
# the interpreter itself; in the others a fork does what it would, but for what they start without
# `-I`: that is the interpreter itself, to which the planted files are open.


def commit_planted(one: World, canary: Canary) -> str:
    one.change()
    canary.plant(one.checkout)
    git(one.checkout, "add", "-A", "-f")
    return one.commit("change")


def seen_in(values: Mapping[str, str], env: Mapping[str, str]) -> list[str]:
    """The names of the values that stand somewhere in an environment."""
    return [name for name, value in values.items() if any(value in text for text in env.values())]


def test_the_jobs_of_github_on_such_a_branch(world: World, canary: Canary) -> None:  # noqa: F811
    """Nothing planted runs; secrets are in the command's step alone, the token where GitHub is asked.

    The nightly job has the backend's token and the state's key, and no secret of a storage.
    """
    head = commit_planted(world, canary)
    planning = world.runner(head, run_id="5")
    planning.given["PYTHONPATH"] = str(world.checkout)
    done = planning.job("pull-request.yml", "plan")
    assert done.ok, done.log
    sha = world.merge()
    world.python = forking.programs() / "python"
    world.forge.pulls[sha] = [make_pull(7, head, sha)]
    world.forge.runs = [make_run(5, head)]
    world.forge.keep_artifact(5, 500, "prod-plan-7", read_artifact(world.root, "5", "prod-plan-7"))
    applying = world.runner(sha, run_id="6")
    applying.given["PYTHONPATH"] = str(world.checkout)
    done = applying.job("deploy.yml", "apply")
    assert done.ok, done.log
    assert world.types() == ["number"]
    looking = world.runner(sha, run_id="7")
    looking.given["PYTHONPATH"] = str(world.checkout)
    assert looking.job("drift.yml", "drift").ok
    assert canary.text == ""
    found = {name for _, env in looking.environments for name in seen_in(SECRETS, env)}
    assert found == {"SYNAPSE_PROD_TOKEN", "SYNAPSE_APPLY_STATE_KEY"}
    for name, env in (*planning.environments, *applying.environments):
        secrets = seen_in(SECRETS, env)
        assert (len(secrets) == len(SECRETS)) if name == "Run" else secrets == [], name
        asking = name in {"Comment", "Fetch the plans that were reviewed"}
        assert (seen_in({"token": TOKEN}, env) != []) == asking, name


def test_a_check_of_such_a_fork(fresh: World, canary: Canary) -> None:  # noqa: F811
    """The rehearsal, which is a shell step of the workflow, starts the installed command."""
    sha = commit_planted(fresh, canary)
    fresh.python = forking.programs() / "python"
    runner = fresh.runner(sha, head="stranger/vision")
    runner.secrets = {}
    runner.given["PYTHONPATH"] = str(fresh.checkout)
    done = runner.job("pull-request.yml", "check")
    assert done.ok, done.log
    assert canary.text == ""


# One job is proof of what pip does in all: what is before a script is the same, and so are its words.
RECORD = """\
#!/bin/bash
{{ printf '%s\\0' "$*"; /usr/bin/env; }} > "{folder}/$$.$RANDOM"
if [ "$3" = venv ]; then mkdir -p "$5/bin" && cp "$0" "$5/bin/python" && exit; fi
if [ "$3" = pip ] && [ {job} != plan ]; then exit; fi
exec {python} "$@"
"""


def test_the_jobs_of_gitlab_on_such_a_branch(
    world: World,  # noqa: F811 - a fixture
    canary: Canary,
    tmp_path: Path,
) -> None:
    """Nothing planted runs; pip sees no secret, the command no token of GitLab, the note no other."""
    sha = commit_planted(world, canary)
    base = git(world.checkout, "merge-base", "origin/main", "HEAD")
    programs = tmp_path / "programs"
    programs.mkdir()
    found = document(world.checkout)
    pipeline = Pipeline(world, sha).merge_request(base)
    for job, count in {"check": 6, "plan": 5, "drift": 4}.items():
        calls = tmp_path / job
        calls.mkdir()
        python = programs / "python3"
        interpreter = (forking.programs() if job == "drift" else BIN) / "python"
        python.write_text(RECORD.format(folder=calls, job=job, python=interpreter))
        python.chmod(0o755)
        given = {
            **({} if job == "check" else SECRETS),
            "PYTHONPATH": str(world.checkout),
            "PATH": f"{programs}:{os.environ['PATH']}",
        }
        process = pipeline.start([*found["default"]["before_script"], *found[job]["script"]], given)
        log, _ = process.communicate(timeout=120)
        assert process.returncode == 0, log
        after = pipeline.start(found[job].get("after_script", []), given)
        assert after.communicate(timeout=60)[0] == ""
        assert canary.text == ""
        assert len(list(calls.iterdir())) == count
        for call in calls.iterdir():
            check_call(*call.read_text().split("\0", 1), rehearsed=job == "check")


def check_call(words: str, env: str, *, rehearsed: bool) -> None:
    """A call of Python is isolated, and has of the secrets only those that it is for."""
    known = set(seen_in({**SECRETS, "GITLAB_API_TOKEN": TOKEN}, {"all": env}))
    assert words.startswith("-I ")
    if "-m pip" in words or "-m venv" in words:
        assert known == set()
    elif "merge_request.py" in words:
        assert known == {"GITLAB_API_TOKEN"}
    elif not rehearsed:
        assert known == set(SECRETS)
