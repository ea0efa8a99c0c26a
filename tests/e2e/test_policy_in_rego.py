"""The example's policy in Rego, run by an engine on what `plan --json` prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from in_process import run
from installed import ROOT, copied, variables
from regopy import Interpreter

EXAMPLE = ROOT / "examples" / "policy"


def asked(folder: Path, question: str) -> list[Any]:
    """What the policy answers to a plan of this folder."""
    given = variables(folder / "example.env")
    engine = Interpreter()
    engine.add_module("buckets", (folder / "rego" / "buckets.rego").read_text("utf-8"))
    engine.set_input(json.loads(run("plan -t embedded --json", folder, given).stdout))
    answer = engine.query(f"data.main.{question}")
    assert answer.ok()
    # Its nodes do not outlive the answer; its text does.
    found: list[Any] = json.loads(str(answer))["expressions"][0]
    return found


def test_the_example_is_within_its_policy(tmp_path: Path) -> None:
    """Nothing is denied and nothing warned about."""
    folder = copied(EXAMPLE, tmp_path)
    assert asked(folder, "deny") == asked(folder, "warn") == []


def test_what_the_policy_denies_and_warns_about(tmp_path: Path) -> None:
    """A bucket of another name; a row that a built-in rule refuses."""
    folder = copied(EXAMPLE, tmp_path)
    manifest, project = folder / "manifests" / "storages.yaml", folder / "synapse-apply.yaml"
    manifest.write_text(manifest.read_text().replace("acme-raw-images", "raw-images"))
    project.write_text(project.read_text().replace("except: [storage/scratch]", ""))
    assert asked(folder, "deny") == [
        "storage/raw-data: bucket raw-images does not begin with acme-"
    ]
    assert asked(folder, "warn") == ["storage/scratch is refused by policy:allowed-providers"]
