"""`show FILE`: the plan as `plan` told it, in every view, made once and rendered later."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from e2e.scenarios.workplace import Workplace, project
from in_process import read_schema
from jsonschema import Draft202012Validator

KINDS = ("json", "markdown", "html", "github", "gitlab", "codequality")
LIMITED = {"policy": {"rules": [{"name": "few", "rule": "max-changes", "limit": 0}]}}


def reports(folder: str, kinds: tuple[str, ...] = KINDS) -> list[str]:
    return [word for kind in kinds for word in ("--report", f"{kind}={folder}/{kind}")]


def written(place: Workplace, folder: str) -> dict[str, str]:
    return {path.name: path.read_text() for path in Path(place.root / folder).iterdir()}


@pytest.fixture
def refused(two: Workplace) -> Workplace:
    """A change of a description, and one of a storage that the API cannot make."""
    two.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    two.edit("manifests/storage.yaml", "/data/raw", "/data/other")
    return two


def test_every_report_is_the_one_that_plan_wrote(refused: Workplace, tmp_path: Path) -> None:
    """Byte for byte, with refusals, annotations, outputs and all; in another place, too."""
    runner = {"GITHUB_OUTPUT": str(tmp_path / "outputs")}
    refused.environ.update(runner)
    planned = refused.plan("--out", "next", *reports("first"), code=0)
    given = (tmp_path / "outputs").read_text().split("\n")[1::3]
    (tmp_path / "outputs").unlink()
    shown = refused.run("show", "next", *reports("second"), code=0)
    assert written(refused, "second") == written(refused, "first")
    assert shown.out == planned.out
    assert (tmp_path / "outputs").read_text().split("\n")[1::3] == given
    annotations = [line for line in shown.err.splitlines() if line.startswith("::")]
    assert annotations == [line for line in planned.err.splitlines() if line.startswith("::")]
    assert any("storage/raw-data cannot be updated" in line for line in annotations)
    alone = Workplace(tmp_path / "alone")
    alone.root.mkdir()
    (alone.root / "next").write_bytes((refused.root / "next").read_bytes())
    assert alone.run("show", "next", *reports("third"), code=0).out == planned.out
    assert written(alone, "third") == written(refused, "first")


def test_guards_and_the_policy_of_the_target_are_told(refused: Workplace, server) -> None:
    """What would stop the apply stands in what is shown, as it stood in the plan."""
    refused.write("synapse-apply.yaml", project(server.url, **LIMITED))
    planned = refused.plan("--out", "next", "--show-unchanged", code=0)
    assert "policy:few" in planned.out
    shown = refused.run("show", "next", "--show-unchanged", code=0)
    assert shown.out == planned.out
    assert "plugin/sam" in shown.out
    assert "plugin/sam" not in refused.run("show", "next", code=0).out


def test_the_json_report(refused: Workplace) -> None:
    """The report `json` is the document of --json, also for a plan that uploads a package."""
    refused.edit("manifests/plugin.yaml", '"1.0.0"', '"1.1.0"')
    refused.edit("plugins/yolo/config.yaml", '"1.0.0"', '"1.1.0"')
    refused.plan("--out", "next", code=0)
    shown = refused.run("show", "next", "--json", *reports("out", ("json",)), code=0)
    document = json.loads((refused.root / "out/json").read_text())
    assert document == shown.document
    assert "release/yolo@1.1.0" in json.dumps(document)
    Draft202012Validator(read_schema("plan")).validate(document)


@pytest.mark.parametrize("option", [("--report", "json=x"), ("--show-unchanged",)])
def test_a_resource_is_not_reported(planned: Workplace, option: tuple[str, ...]) -> None:
    """A usage error that says what the option is for, and nothing is written."""
    ran = planned.run("show", "plugin/yolo", *option, code=64)
    assert f"{option[0]} needs a saved plan" in ran.err
    assert not (planned.root / "x").exists()


def test_what_is_neither_file_nor_address(planned: Workplace) -> None:
    """A plan's name with a slip in it is not taken for an address alone."""
    ran = planned.run("show", "absent.plan", code=1)
    assert "`absent.plan` is not an address, name, kind or label" in ran.err
    assert "and absent.plan is not a file in this folder" in ran.err


def test_a_file_that_is_no_plan_is_reported(planned: Workplace) -> None:
    """The reports say why there is nothing to show; the plan's own comment is left alone."""
    planned.write("broken", "no plan")
    planned.run("show", "broken", *reports("out", ("markdown", "gitlab")), code=1)
    found = written(planned, "out")
    assert found["markdown"].startswith("<!-- synapse-apply: target=prod show -->\n")
    assert found["gitlab"].strip() == "{}"
