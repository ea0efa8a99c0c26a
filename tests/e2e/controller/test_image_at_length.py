"""What the recipe of the image makes can run a fleet with states in a bucket and in PostgreSQL."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from buckets.servers import BucketServer
from contract.controller.upstream import PROJECT, Upstream
from installed import ROOT, environment
from postgres.server import PostgresServer

RECIPE = ROOT / "examples" / "controller" / "Containerfile"
CONFIGURATION = """
apiVersion: synapse-apply/v1
kind: Controller
metadata: {name: main}
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
pytestmark = pytest.mark.deep


def build_image(tmp_path: Path) -> list[str]:
    """The words that start the command in the image, or where nothing builds one, out of a venv.

    That has what the recipe's own lines install, of the files that it copies.
    """
    for builder in ("podman", "docker"):
        if shutil.which(builder):
            image = ["--file", str(RECIPE), "--tag", "synapse-apply-tested"]
            subprocess.run([builder, "build", *image, str(ROOT)], check=True)
            mount = ["--network", "host", "--volume", f"{tmp_path}:{tmp_path}", "--user", "0"]
            names = (
                "STORE",
                "STATE",
                "BUCKET",
                "ACME_TOKEN",
                "SYNAPSE_APPLY_STATE_KEY",
                "AWS_ACCESS_KEY_ID",
                "AWS_SECRET_ACCESS_KEY",
                "AWS_REGION",
            )
            variables = [word for name in names for word in ("--env", name)]
            return [builder, "run", "--rm", *mount, *variables, "--workdir", str(tmp_path), "synapse-apply-tested"]  # fmt: skip
    folder, venv = tmp_path / "build", tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    folder.mkdir()
    for line in RECIPE.read_text("utf-8").splitlines():
        verb, *words = line.split() or [""]
        if verb == "COPY":
            *sources, target = words
            for source in sources:
                place = folder / target / (Path(source).name if target == "./" else "")
                place.parent.mkdir(parents=True, exist_ok=True)
                copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copyfile
                copy(ROOT / source, place)
        elif words[:3] == ["python", "-m", "pip"]:
            command = [str(venv / "bin" / "python"), *words[1:]]
            subprocess.run(command, cwd=folder, env=environment({}), check=True)
    return [str(venv / "bin" / "synapse-apply")]


def test_the_image_runs_the_documented_cluster(
    tmp_path: Path, postgres: PostgresServer, moto: BucketServer
) -> None:
    """Its fleet check passes, and states in a bucket and a database are made from it."""
    start = build_image(tmp_path)
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
    }

    def run(*words: str) -> str:
        done = subprocess.run(
            [*start, *words], cwd=tmp_path, env=environment(given), capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert run("controller", "check", "--online") == "controller.yaml is valid.\n"
    for target in ("bucket", "database"):
        run("state", "init", "-t", target)
        run("state", "list", "-t", target)
