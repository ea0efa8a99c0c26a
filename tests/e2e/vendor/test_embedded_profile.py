"""The examples and the README's first manifests on the embedded backend's profile `vendor`."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from e2e.scenarios.workplace import Workplace, project
from installed import NOT_COPIED, ROOT, variables

from synapse_apply import EmbeddedServer

KEPT_OUT = ("version", "author", "configuration")
EMBEDDED = ("-t", "embedded")


def copy_example(name: str, to: Path) -> Workplace:
    """A copy of an example, with what its example.env says."""
    root = shutil.copytree(ROOT / "examples" / name, to / name, ignore=NOT_COPIED)
    return Workplace(root, variables(root / "example.env"))


def as_vendor(place: Workplace) -> Workplace:
    """The project's embedded backend is as the vendor's from now on."""
    ran = place.run("emulator", "--reset", "--profile", "vendor", "--auto-approve", code=0)
    assert "profile vendor" in ran.text
    return place


@pytest.mark.parametrize("name", ["quickstart", "verified-release"])
def test_an_example_applies_once(name, tmp_path):
    """As README and demo.sh say; the fields that the platform lacks are told once each."""
    place = as_vendor(copy_example(name, tmp_path))
    ran = place.apply(*EMBEDDED)
    for field in KEPT_OUT:
        assert ran.out.count(f"does not store `{field}` of a plugin") == 1, ran.out
    assert "No changes." in place.plan(*EMBEDDED, "--detailed-exitcode", code=0).out
    again = place.apply(*EMBEDDED)
    assert "does not store" not in again.text
    place.run("drift", *EMBEDDED, "--detailed-exitcode", code=0)


def test_the_thirty_seconds_of_the_readme(tmp_path):
    """Also the change of one number, which the platform has no place for: no difference."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(
        r"^```yaml\n(# manifests/vision.yaml\n.*?)^```$", readme, re.MULTILINE | re.DOTALL
    )
    assert block is not None
    place = Workplace(tmp_path, {"RAW_DATA_KEY_ID": "AKIAEXAMPLE", "RAW_DATA_SECRET": "made-up"})
    place.write("manifests/vision.yaml", block[1])
    as_vendor(place)
    ran = place.apply(*EMBEDDED)
    assert "Resources: 2 added" in ran.out
    assert "does not store `configuration` of a plugin" in ran.out
    assert "No changes." in place.plan(*EMBEDDED, "--detailed-exitcode", code=0).out
    place.edit("manifests/vision.yaml", "default: 0.8", "default: 0.9")
    assert "No changes." in place.plan(*EMBEDDED, "--detailed-exitcode", code=0).out


@pytest.fixture
def gitops(tmp_path):
    """The gitops example with a backend of the vendor's for its target dev."""
    with EmbeddedServer(tmp_path / "backend", any_token=True, profile="vendor") as server:
        place = copy_example("gitops", tmp_path)
        place.environ |= {"SYNAPSE_HOST": server.url, "SYNAPSE_ACCESS_TOKEN": "any"}
        place.run("state", "init", "-t", "dev", code=0)
        yield place


def test_gitops(gitops):
    gitops.apply("-t", "dev")
    assert "No changes." in gitops.plan("-t", "dev", "--detailed-exitcode", code=0).out
    gitops.run("drift", "-t", "dev", "--detailed-exitcode", code=0)


def test_what_is_exported_and_imported_has_no_changes(gitops, tmp_path):
    """Without codes or ids: the backend lists its plugins."""
    gitops.apply("-t", "dev")
    place = Workplace(tmp_path / "adopted", {"PROD_TOKEN": "any"})
    place.write("synapse-apply.yaml", project(gitops.environ["SYNAPSE_HOST"], tenant=""))
    ran = place.run("export", code=0)
    assert "3 resources exported" in ran.out
    files = (place.root / "manifests").rglob("*.yaml")
    texts = [path.read_text(encoding="utf-8") for path in files]
    assert any("code: defect-detection" in text for text in texts)
    assert not any("config:" in text or "X-Amz" in text for text in texts)
    place.run("state", "init", code=0)
    place.run("import", "-f", "inventory.yaml", code=0)
    place.unchanged()


def test_a_lost_state_takes_over_and_sends_nothing(tmp_path):
    """Nothing of a plugin is sent again for the fields that the platform lacks."""
    place = as_vendor(copy_example("quickstart", tmp_path))
    place.apply(*EMBEDDED)
    for path in (place.root / ".synapse-apply" / "state").iterdir():
        path.unlink()
    plan = json.loads(place.plan(*EMBEDDED, "--json").out)
    changes = {row["address"]: row["change"]["actions"] for row in plan["resource_changes"]}
    assert plan["summary"]["add"] == plan["summary"]["change"] == 0, changes
