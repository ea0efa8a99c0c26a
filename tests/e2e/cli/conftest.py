"""The command in a project of its own, against the embedded backend."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pytest
from forking import run_to_end
from in_process import run_in_process
from installed import HOME

COMMAND = Path(sys.executable).with_name("synapse-apply")
Run = Callable[..., "subprocess.CompletedProcess[str]"]
STORAGE = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {{name: {name}}}
spec:
  name: {name}
  provider: amazon_s3
  category: external
  configuration:
    bucket_name: {name}
    access_key_id: {{valueFrom: {{env: RAW_ID}}}}
    secret_access_key: {{valueFrom: {{env: RAW_KEY}}}}
"""
SECRETS = {"RAW_ID": "canary-id-0123", "RAW_KEY": "canary-key-0123"}


def environment(**more: str) -> dict[str, str]:
    """This process's, without what would steer the command."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SYNAPSE", "CI", "GITHUB"))}
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "COLUMNS"):
        kept.pop(name, None)
    return {**kept, "HOME": HOME, "TERM": "xterm", **more}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A plugin, its release and a storage with two secrets."""
    shutil.copytree(_make_project_once(), tmp_path, dirs_exist_ok=True)
    return tmp_path


@cache
def _make_project_once() -> Path:
    folder = Path(tempfile.mkdtemp(dir=os.environ["XDG_CACHE_HOME"]))
    plugin = folder / "plugins" / "yolo"
    plugin.mkdir(parents=True)
    (plugin / "config.yaml").write_text(
        "name: Yolo\ncode: yolo\ndescription: Detects\ncategory: export\nversion: 1.0.0\n"
    )
    (plugin / "main.py").write_text("print('yolo')\n")
    done = run_in(folder, "init", "--from", "plugins/yolo")
    assert done.returncode == 0, done.stderr
    (folder / "manifests" / "raw.yaml").write_text(STORAGE.format(name="raw"))
    return folder


@pytest.fixture
def cli(project: Path) -> Run:
    """Runs the command in the project, without a terminal."""
    return partial(_run_with_secrets, run_in, project)


@pytest.fixture
def forked_cli(project: Path) -> Run:
    """As `cli`, each command a fork (forking.py)."""
    return partial(_run_with_secrets, run_forked, project)


@pytest.fixture
def installed_cli(project: Path) -> Run:
    """As `cli`, each command a process of its own."""
    return partial(_run_with_secrets, run_installed, project)


def _run_with_secrets(
    run: Run, folder: Path, *typed: str, **environ: str | None
) -> subprocess.CompletedProcess[str]:
    """Without those that are None."""
    merged = {**SECRETS, **environ}
    return run(folder, *typed, **{k: v for k, v in merged.items() if v is not None})


def run_in(folder: Path, *typed: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The command in a folder, in this process."""
    return run_in_process(list(typed), folder, environment(**environ))


def run_forked(folder: Path, *typed: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The same, as a fork: its streams are those of a process."""
    return run_to_end([COMMAND, *typed], folder, environment(**environ))


def run_installed(folder: Path, *typed: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The same, as a process of the installed command."""
    return subprocess.run(
        [COMMAND, *typed],
        cwd=folder,
        env=environment(**environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
