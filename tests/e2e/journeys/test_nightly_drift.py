"""The nightly check of docs/drift.md, run by a shell, over some nights."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import forking
from e2e.scenarios.workplace import Server, Workplace
from in_process import run
from installed import ROOT, environment

PAGE = (ROOT / "docs" / "drift.md").read_text(encoding="utf-8")
# Stands in for GitHub's own command: it keeps what it was asked.
GH = """\
#!/bin/sh
printf '%s\\n' "$@" >> asked
cat "$6" >> asked
"""


def script() -> str:
    """The page's shell block that opens an issue."""
    return next(
        block for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if "case" in block
    )


def night(place: Workplace, tools: Path) -> subprocess.CompletedProcess[str]:
    given = environment(place.environ)
    given["PATH"] = os.pathsep.join(map(str, (tools, forking.programs(), given["PATH"])))
    return subprocess.run(
        ["bash", "-eu", "-c", script()],
        cwd=place.root, env=given, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_over_some_nights(applied: Workplace, server: Server, tmp_path: Path) -> None:
    """Quiet; then an issue, the same again, accepted in a pull request; then the token is gone."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "gh").write_text(GH)
    (tools / "gh").chmod(0o755)
    asked = applied.root / "asked"
    first = night(applied, tools)
    assert (first.returncode, asked.exists()) == (0, False), first.stderr

    server.call("PATCH", "_emulator/objects/plugin/1/", {"description": "Finds cars"})
    for _ in range(2):
        assert night(applied, tools).returncode == 0
        said = asked.read_text()
        assert said.startswith("issue\ncreate\n--title\nDrift on prod\n--body-file\ndrift.md\n")
        assert "## Drift of `prod`" in said
        assert '"Finds things" -> "Finds cars" # drift: changed outside' in said
        asked.unlink()

    # A fresh checkout of somebody else, who only has the state.
    branch = Workplace(tmp_path / "branch", applied.environ)
    shutil.copytree(applied.root, branch.root)
    run("drift --write plugin/yolo", branch.root, applied.environ)
    diff = subprocess.run(
        ["diff", "-r", "-x", ".synapse-apply", "-x", "drift.md", applied.root, branch.root],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    changed = [line for line in diff.splitlines() if line[:1] in "<>"]
    assert changed == ["<   description: Finds things", ">   description: Finds cars"]
    shutil.copy(branch.root / "manifests/plugin.yaml", applied.root / "manifests/plugin.yaml")
    run("apply --auto-approve", applied.root, applied.environ)
    assert (night(applied, tools).returncode, asked.exists()) == (0, False)

    applied.environ["PROD_TOKEN"] = "revoked"
    assert (night(applied, tools).returncode, asked.exists()) == (1, False)
