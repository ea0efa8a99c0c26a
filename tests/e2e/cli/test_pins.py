"""The version of the tool and the lineage of a state are pinned in the project file by a command."""

from __future__ import annotations

import re
from pathlib import Path

from synapse_apply import __version__

from .conftest import Run

OTHER = "99.0.0"


def test_a_new_project_begins_with_its_version(cli: Run, project: Path) -> None:
    """And an existing one gets it, with all else as it was."""
    (project / "new").mkdir()
    (project / "synapse-apply.yaml").rename(project / "kept.yaml")
    made = cli("init", "--pin", "-C", "new")
    assert made.returncode == 0, made.stderr
    assert f"Pinned version {__version__} in new/synapse-apply.yaml\n" in made.stdout
    assert f"\nrequired_version: {__version__}\n" in (
        (project / "new" / "synapse-apply.yaml").read_text()
    )
    file = (project / "kept.yaml").rename(project / "synapse-apply.yaml")
    before = file.read_text().splitlines()
    assert cli("init", "--pin").stdout.startswith("Pinned version")
    after = file.read_text().splitlines()
    assert [line for line in after if line not in before] == [f"required_version: {__version__}"]
    assert cli("init", "--pin").returncode == 0
    assert file.read_text().splitlines() == after
    assert cli("validate").returncode == 0


def test_another_version_ends_with_an_error(cli: Run, project: Path) -> None:
    """Which names both, until this one is pinned."""
    assert cli("init", "--pin").returncode == 0
    file = project / "synapse-apply.yaml"
    file.write_text(file.read_text().replace(__version__, OTHER))
    for command in ("validate", "plan", "apply", "doctor"):
        refused = cli(command, *(["--auto-approve"] if command == "apply" else []))
        told = refused.stdout + refused.stderr
        assert refused.returncode == 1
        assert "Another version of synapse-apply is required" in told
        assert f"this is synapse-apply {__version__}, and the project requires {OTHER}" in told
    assert cli("init", "--pin").returncode == 0
    assert cli("plan").returncode == 0


def test_a_manifest_has_no_pin(cli: Run) -> None:
    """The option would be ignored."""
    assert cli("init", "storage", "other", "--pin").returncode == 64


def test_the_lineage_of_a_new_state_is_pinned(cli: Run, project: Path) -> None:
    """In the settings of its target, whose comments stay; nothing is made where it cannot be."""
    refused = cli("state", "init", "-t", "embedded", "--pin")
    assert refused.returncode == 1
    assert "`targets.embedded.state`" in refused.stderr
    assert not (project / ".synapse-apply" / "state" / "embedded.db").exists()

    file = project / "synapse-apply.yaml"
    target = '  prod: {url: "http://127.0.0.1:9", tenant: acme, token: {env: TOKEN}} # ours\n'
    file.write_text(f"{file.read_text()}\ntargets:\n{target}")
    made = cli("state", "init", "-t", "prod", "--pin", TOKEN="t")
    assert made.returncode == 0, made.stderr
    (lineage,) = re.findall(r"lineage ([0-9a-f-]{36})\.", made.stdout)
    assert "Pinned the lineage in synapse-apply.yaml: commit it.\n" in made.stdout
    assert "Pin the lineage" not in made.stdout
    assert f"token: {{env: TOKEN}}, state: {{lineage: {lineage}}}}} # ours\n" in file.read_text()
    (project / ".synapse-apply" / "state" / "prod.db").unlink()
    again = cli("state", "init", "-t", "prod", TOKEN="t")
    assert "The project file pins the lineage of this state" in again.stderr
