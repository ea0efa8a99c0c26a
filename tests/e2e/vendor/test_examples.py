"""The examples and the README's first manifests on the vendor's v1."""

from __future__ import annotations

import re
import shutil

import pytest
from contract.vendor.world import TENANT, TOKEN
from e2e.scenarios.workplace import Workplace, project
from installed import NOT_COPIED, ROOT, variables

TARGET = "targets:\n  prod: {url: '%s', tenant: %s, token: {env: PROD_TOKEN}}\n"
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def copy(tmp_path):
    """Copies an example, with what its example.env says."""

    def copy_example(name: str) -> Workplace:
        folder = ROOT / "examples" / name
        root = shutil.copytree(folder, tmp_path / name, ignore=NOT_COPIED)
        environ = {**variables(root / "example.env"), "PROD_TOKEN": TOKEN}
        return Workplace(root, environ)

    return copy_example


def test_quickstart(backend, copy):
    place = copy("quickstart")
    path = place.root / "synapse-apply.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text + TARGET % (backend.url, TENANT), encoding="utf-8")
    place.run("state", "init", "-t", "prod", code=0)
    place.apply("-t", "prod")
    assert backend.counts == (1, 1, 2)
    assert "No changes." in place.plan("-t", "prod", code=0).out


def test_verified_release(serve, copy):
    backend = serve(run_needs=("action",))
    place = copy("verified-release")
    place.edit("synapse-apply.yaml", "https://staging.synapse.example", backend.url)
    place.edit("synapse-apply.yaml", "tenant: acme-staging", f"tenant: {TENANT}")
    place.environ["SYNAPSE_STAGING_TOKEN"] = TOKEN
    place.run("state", "init", "-t", "staging", code=0)
    place.apply("-t", "staging")
    assert backend.counts == (1, 1, 0)
    assert len(backend.world.jobs) == 1
    assert "No changes." in place.plan("-t", "staging", code=0).out


def test_the_thirty_seconds_of_the_readme(backend, tmp_path):
    block = re.search(
        r"^```yaml\n(# manifests/vision.yaml\n.*?)^```$", README, re.MULTILINE | re.DOTALL
    )
    assert block is not None
    place = Workplace(tmp_path / "readme", {"PROD_TOKEN": TOKEN})
    place.environ.update(RAW_DATA_KEY_ID="AKIAEXAMPLE", RAW_DATA_SECRET="made-up")
    place.write("synapse-apply.yaml", project(backend.url))
    place.write("manifests/vision.yaml", block[1])
    place.run("state", "init", code=0)
    place.apply()
    assert backend.counts == (1, 0, 1)
    place.unchanged()
    place.edit("manifests/vision.yaml", "name: YOLO", "name: YOLO 2")
    place.apply()
    assert backend.world.plugins[0]["name"] == "YOLO 2"
    place.unchanged()


def test_doctor_finds_nothing_wrong(backend, applied):
    """A backend that is as the vendor's tools see it is no finding, and nothing is written to it."""
    writes = list(backend.writes)
    ran = applied.run("doctor", code=0)
    assert TOKEN not in ran.text
    assert [one for one in backend.writes[len(writes) :] if not one.endswith("/connect/")] == []
