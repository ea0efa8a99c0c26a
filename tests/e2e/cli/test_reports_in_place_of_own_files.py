"""A report takes the place of no file that is the project's own: that ends before any work."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from .conftest import Run


@pytest.fixture
def state(cli: Run, project: Path) -> Path:
    """The state of one apply, and links that lead to it and its folder."""
    assert cli("apply", "--auto-approve").returncode == 0
    (project / "link").symlink_to(".synapse-apply/state/embedded.db")
    (project / "way").symlink_to(".synapse-apply")
    return project / ".synapse-apply" / "state" / "embedded.db"


OWN = {
    ".synapse-apply/state/embedded.db": "lies in .synapse-apply",
    "out/../.synapse-apply/new.json": "lies in .synapse-apply",
    "link": "lies in .synapse-apply",
    "way/state/embedded.key": "lies in .synapse-apply",
    "synapse-apply.yaml": "is the project file",
    "manifests/raw.yaml": "is a manifest of this project",
    "manifests/new.yaml": "would be read as a manifest",
    "manifests/more/new.yml": "would be read as a manifest",
    "plugins/yolo/config.yaml": "is a file of a package",
    "plugins/yolo/main.py": "is a file of a package",
}
COMMANDS = (["plan"], ["validate"], ["apply", "--auto-approve"])


@pytest.mark.usefixtures("state")
def test_nothing_is_done(cli: Run, project: Path) -> None:
    """Neither the report nor the apply; another report tells why."""
    (project / "manifests" / "other.yaml").write_text(
        "apiVersion: synapse-apply/v1\nkind: Plugin\nmetadata: {name: other}\n"
        "spec: {name: Other, code: other}\n"
    )
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    for (file, why), command in zip(OWN.items(), itertools.cycle(COMMANDS), strict=False):
        done = cli(*command, "--report", f"json={file}", "--report", "markdown=other.md")
        assert done.returncode == 1, done.stdout
        assert "The json report cannot be written" in done.stderr
        assert f"{file} {why}" in done.stderr
        assert "Choose a different file for --report." in done.stderr
        assert "The json report cannot be written" in (project / "other.md").read_text()
        (project / "other.md").unlink()
        now = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
        assert now == before, (file, command)
    assert cli("plan", "--detailed-exitcode").returncode == 2


def test_a_broken_project_file_is_not_replaced_either(cli: Run, project: Path) -> None:
    (project / "synapse-apply.yaml").write_text("kind: [\n")
    done = cli("validate", "--report", "json=synapse-apply.yaml")
    assert done.returncode == 1
    assert "is the project file" in done.stderr
    assert (project / "synapse-apply.yaml").read_text() == "kind: [\n"


def test_a_state_elsewhere_is_as_safe(cli: Run, project: Path) -> None:
    text = (project / "synapse-apply.yaml").read_text()
    (project / "synapse-apply.yaml").write_text(
        text + "targets:\n  far:\n    url: https://far.invalid\n    token: {env: T}\n"
        "    state: {url: sqlite:///kept/far.db}\n"
    )
    (project / "kept").mkdir()
    (project / "kept" / "far.db").write_text("kept")
    done = cli("validate", "--report", "json=kept/far.db")
    assert done.returncode == 1
    assert "is the state of a target" in done.stderr
    assert (project / "kept" / "far.db").read_text() == "kept"


def test_a_key_elsewhere_is_as_safe(cli: Run, project: Path, tmp_path_factory) -> None:
    """Of a state outside of the project, and where the folder of states is a link."""
    far = tmp_path_factory.mktemp("far")
    assert cli("apply", "--auto-approve").returncode == 0
    state = project / ".synapse-apply" / "state"
    state.rename(far / "state")
    state.symlink_to(far / "state")
    text = (project / "synapse-apply.yaml").read_text()
    (project / "synapse-apply.yaml").write_text(
        text + "targets:\n  far:\n    url: https://far.invalid\n    token: {env: T}\n"
        f"    state: {{url: {far}/rv.db}}\n"
    )
    for name in ("rv.key", "rv.db.lock", "state/far.key", "state/far.key.previous"):
        (far / name).write_text("kept")
        done = cli("plan", "-t", "embedded", "--report", f"json={far / name}")
        assert done.returncode == 1, done.stdout
        assert "is the state of a target, or belongs to it" in done.stderr
        assert (far / name).read_text() == "kept"


def test_what_is_read_is_not_replaced(cli: Run, project: Path) -> None:
    """The inventory that is compared with, and a file of variables."""
    (project / "inventory.yaml").write_text("inventory: []\n")
    (project / "values.yaml").write_text("{}\n")
    compared = ("--offline", "--against", "state:inventory.yaml")
    done = cli("plan", *compared, "--report", "html=./inventory.yaml")
    assert done.returncode == 1
    assert "./inventory.yaml is the inventory to compare with. Nothing was done." in done.stderr
    done = cli("plan", "--var", "@values.yaml", "--report", "html=values.yaml")
    assert "values.yaml is a file of variables. Nothing was done." in done.stderr
    assert (project / "inventory.yaml").read_text() == "inventory: []\n"
    assert (project / "values.yaml").read_text() == "{}\n"


def test_a_saved_plan_is_not_replaced(cli: Run, project: Path) -> None:
    """Neither one that is there nor the one that the same command saves; it can be applied."""
    assert cli("plan", "--out", "p.plan").returncode == 0
    done = cli("plan", "--report", "json=p.plan")
    assert done.returncode == 1
    assert "p.plan is a saved plan. Nothing was done." in done.stderr
    done = cli("plan", "--out", "q.plan", "--report", "html=./q.plan")
    assert done.returncode == 1
    assert "./q.plan is the file of the plan. Nothing was done." in done.stderr
    assert not (project / "q.plan").exists()
    assert cli("apply", "p.plan").returncode == 0


def test_two_reports_do_not_take_each_others_place(cli: Run, project: Path) -> None:
    """By whatever name; a device takes both."""
    done = cli("plan", "--report", "json=r.out", "--report", "html=./r.out")
    assert done.returncode == 1
    assert "./r.out is already the file of the json report. Nothing was done." in done.stderr
    done = cli("plan", "--report", "json=/dev/null", "--report", "html=/dev/../dev/null")
    assert done.returncode == 0, done.stderr


def test_other_files_are_replaced_as_ever(cli: Run, project: Path) -> None:
    """Also among the manifests, and YAML that is nobody's manifest."""
    for file in ("manifests/r.json", "other.yaml", "r.yaml"):
        (project / file).write_text("a: old one\n")
        done = cli("plan", "--report", f"json={file}")
        assert done.returncode == 0, done.stderr
        assert json.loads((project / file).read_text())["summary"]["add"] == 3
