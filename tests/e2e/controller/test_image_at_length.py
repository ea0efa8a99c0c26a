"""What the recipe of the image makes can run a fleet with states in a bucket and in PostgreSQL."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from contract.controller.upstream import PROJECT, Upstream
from installed import ROOT, environment

RECIPE = ROOT / "examples" / "controller" / "Containerfile"
# Continued lines are one, as for a builder.
LINES = RECIPE.read_text("utf-8").replace("\\\n", " ").splitlines()
CONFIGURATION = """
apiVersion: synapse-apply/v1
kind: Controller
metadata: {name: main}
listen: 127.0.0.1:0
sources: {acme: {url: ./upstream.git, targets: {"*": {mode: auto}}}}
store: {url: {env: STORE}}
"""
STATES = """
apiVersion: synapse-apply/v1
kind: Project
targets:
  bucket: {url: "http://127.0.0.1:9", token: {env: ACME_TOKEN}, state: {url: {env: BUCKET}}}
  database: {url: "http://127.0.0.1:9", token: {env: ACME_TOKEN}, state: {url: {env: STATE}}}
"""
# Ended from within, since not every builder hands on a signal.
UNTIL_A_LINE = 'synapse-apply controller "$@" & read -r line; kill -TERM $!; wait $!'
pytestmark = pytest.mark.deep


def make_context(folder: Path) -> Path:
    """What a build is given: the lock, and a wheel of this commit."""
    (folder / "action").mkdir(parents=True)
    shutil.copy(ROOT / "action" / "requirements.txt", folder / "action")
    build = [sys.executable, "-I", "-m", "hatchling", "build", "-t", "wheel", "-d"]
    subprocess.run([*build, str(folder / "dist")], cwd=ROOT, check=True)
    return folder


def build_image(tmp_path: Path, names: list[str]) -> tuple[list[str], list[str]]:
    """The words before a program in the image, as the user of the tests and as the image's own.

    Where nothing builds an image, or none can have its base, they are of a virtual environment that
    has what the recipe's own lines make of it. `SYNAPSE_APPLY_TEST_BASE_IMAGE` names another base.
    """
    context = make_context(tmp_path / "context")
    base = os.environ.get("SYNAPSE_APPLY_TEST_BASE_IMAGE", "")
    [pinned] = [line.partition("=")[2] for line in LINES if line.startswith("ARG BASE=")]
    for builder in filter(shutil.which, ("podman", "docker", "buildah")):
        if not base and subprocess.run([builder, "pull", pinned], check=False).returncode:
            continue
        words = ["--build-arg", f"BASE={base or pinned}", "--file", str(RECIPE)]
        subprocess.run(
            [builder, "build", *words, "--tag", "synapse-apply-tested", str(context)], check=True
        )
        given = ["--volume", f"{tmp_path}:{tmp_path}"]
        given += [word for name in names for word in ("--env", name)]
        if builder == "buildah":
            made = subprocess.run(
                ["buildah", "from", "synapse-apply-tested"], text=True, stdout=subprocess.PIPE,
                check=True,
            ).stdout.strip()  # fmt: skip
            own = ["buildah", "run", made, "--"]
            return ["buildah", "run", *given, "--user", "0", "--workingdir", str(tmp_path), made, "--"], own  # fmt: skip
        start = [builder, "run", "--rm", "--init", "--interactive", "--network", "host"]
        image = ["--entrypoint", "/usr/bin/env", "synapse-apply-tested"]
        own = [*start, "--read-only", "--tmpfs", "/tmp", *image]
        return [*start, *given, "--user", "0", "--workdir", str(tmp_path), *image], own
    folder, venv = tmp_path / "build", tmp_path / "venv"
    folder.mkdir()
    stages = [number for number, line in enumerate(LINES) if line.startswith("FROM ")]
    for verb, _, rest in (line.partition(" ") for line in LINES[stages[0] : stages[1]]):
        if verb == "COPY":
            [source] = context.glob(rest.split()[0])
            shutil.copy(source, folder)
        elif verb == "RUN":
            command = rest.replace("/opt/synapse-apply", str(venv))
            python = f"PATH={Path(sys.executable).parent}:$PATH"
            subprocess.run(["bash", "-ec", f"{python}; {command}"], cwd=folder, env=environment({}), check=True)  # fmt: skip
    start = ["env", f"PATH={venv / 'bin'}:{os.environ['PATH']}"]
    return start, start


def test_the_image_runs_the_documented_cluster(tmp_path, postgres, moto):
    """Controller and worker start, answer and end; states in a bucket and a database are made from it."""
    upstream = Upstream(tmp_path)
    upstream.commit({"synapse-apply.yaml": PROJECT})
    (tmp_path / "controller.yaml").write_text(CONFIGURATION, "utf-8")
    (tmp_path / "synapse-apply.yaml").write_text(STATES, "utf-8")
    given = {
        **moto.environ,
        "STORE": postgres.url(schema="image_store"),
        "STATE": postgres.url(schema="image_state"),
        "BUCKET": moto.url("image"),
        "ACME_TOKEN": "x" * 20,
        "SYNAPSE_APPLY_STATE_KEY": "A" * 43 + "=",
        "HEALTH_URL": "",
    }
    start, own = build_image(tmp_path, list(given))

    def run(*words: str, of: list[str] = start) -> str:
        done = subprocess.run(
            [*of, *words], cwd=tmp_path, env=environment(given), capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    told = json.loads(run("synapse-apply", "version", "--json", of=own))
    assert told["extras"] == ["bucket", "controller", "fleet", "postgres"]
    assert (
        run("synapse-apply", "controller", "check", "--online")
        == "controller.yaml is valid, and all that it names can be reached.\n"
    )
    for target in ("bucket", "database"):
        run("synapse-apply", "state", "init", "-t", target)
        run("synapse-apply", "state", "show", "-t", target)

    [check] = [line.strip() for line in LINES if line.strip().startswith("HEALTHCHECK")]
    health = json.loads(check.partition(" CMD ")[2])
    run(*health)  # of a worker
    for role in ("run", "worker"):
        log = tmp_path / f"{role}.log"
        with log.open("w") as file:
            process = subprocess.Popen(
                [*start, "sh", "-c", UNTIL_A_LINE, "sh", "run", "controller.yaml", "--data", role,
                 *["--worker"] * (role == "worker")],
                cwd=tmp_path, env=environment(given), text=True,
                stdin=subprocess.PIPE, stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            deadline = time.monotonic() + 120
            ready = r"http://127\.0\.0\.1:\d+" if role == "run" else r"\S"
            while not (said := re.search(ready, log.read_text())) and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.2)
            assert said, log.read_text()
            if role == "run":
                given["HEALTH_URL"] = f"{said[0]}/healthz"
                run(*health)
            process.communicate("end\n", timeout=60)
            assert process.returncode == 0, log.read_text()
        finally:
            process.kill()
