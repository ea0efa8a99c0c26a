"""Runs, jobs and published bytes as a user meets them on the backend the facts tell of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from contract.vendor.packages import config_of, zip_of
from contract.vendor.world import TENANT, TOKEN
from e2e.scenarios.workplace import Workplace, project


@pytest.fixture
def start(serve: Any, tmp_path: Path) -> Any:
    """Starts a backend with two plugins and a release of each, and a project that points at it."""

    def started(**guesses: Any) -> tuple[Any, Workplace, Any]:
        backend = serve(**guesses)
        made = []
        for tenant, name, code in ((TENANT, "Yolo", "yolo"), (TENANT, "Sam", "sam")):
            plugin = backend.world.add_plugin(tenant, name, code)
            config = config_of(code=code)
            release = backend.world.add_release(plugin, "1.0.0", zip_of(config), config=config)
            made.append(release)
        text = project(backend.url, tenant=TENANT)
        (tmp_path / "manifests").mkdir()
        (tmp_path / "synapse-apply.yaml").write_text(text, encoding="utf-8")
        place = Workplace(tmp_path, {"PROD_TOKEN": TOKEN})
        place.run("state", "init", code=0)
        return backend, place, made

    return started


@pytest.mark.parametrize("job_release", ["int", "object"])
@pytest.mark.parametrize("answers", ["id", "job_id"])
def test_a_run_and_its_job(start: Any, job_release: str, answers: str) -> None:
    """The action by itself, the want of an agent in words, the plugin of each job in the list."""
    _, place, _ = start(job_release=job_release, run_answer=answers)
    ran = place.run("run", "yolo", "-p", "quality=1", code=1)
    assert "Error: This backend requires an agent" in ran.err
    place.run("run", "yolo", "--agent", "101", "-p", "quality=1", code=0)
    place.run("run", "sam", "--agent", "101", code=0)
    for plugin in ("yolo", "sam"):
        listed = place.run("get", "jobs", "--plugin", plugin, "--json", code=0).document["jobs"]
        assert [(one["plugin_code"] or one["plugin"], one["version"]) for one in listed] in (
            [(plugin, "1.0.0")],
            [({"yolo": "1", "sam": "2"}[plugin], "1.0.0")],
        )
    rows = place.run("get", "jobs", "--created-after", "1h", code=0).out.splitlines()[1:]
    assert len(rows) == 2
    assert all("1.0.0" in row for row in rows)


@pytest.mark.parametrize("answers", ["result", "text result"])
def test_a_run_that_answers_its_result(start: Any, answers: str) -> None:
    """It is shown."""
    _, place, _ = start(run_answer=answers)
    ran = place.run("run", "yolo", "--agent", "101", code=0)
    assert "ran, and answered at once" in ran.out


def test_the_bytes_of_a_release(start: Any) -> None:
    """Import reads them, verify --bytes compares them; the signature of the URL is nowhere."""
    _, place, (release, _) = start()
    ran = place.run("import", "release/yolo@1.0.0", str(release["id"]), code=0)
    assert ran.err == ""
    shown = place.run("state", "show", "release/yolo@1.0.0", "--json", code=0).document
    assert shown["proven"]["digest"] == shown["digest"]
    assert place.run("verify", "release/yolo@1.0.0", "--bytes", code=0).err == ""
    texts = [file.read_bytes() for file in place.root.rglob("*") if file.is_file()]
    assert not any(b"ignature" in text and b"http" in text for text in texts)
    assert json.dumps(shown).count("http") == 0
