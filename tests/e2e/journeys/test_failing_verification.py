"""A bump whose release does not prove itself: seen, held back from prod, mended forward."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e.scenarios.workplace import CONFIG, OTHER_TOKEN, PLUGIN, RELEASE, TOKEN, Server, Workplace

RUN = "POST /plugins/{lookup}/run/"
GOOD = "{quality: 0.9, emulator: {seconds: 0.05}}"
BAD = "{quality: 0.9, emulator: {seconds: 0.05}, fail: true}"


@pytest.fixture
def shop(serve: Callable[..., Server], tmp_path: Path) -> tuple[Workplace, Server, Server]:
    """Staging and prod on backends of their own; prod takes what passed on staging. 1.0.0 is out."""
    staging, prod = serve("staging"), serve("prod")
    place = Workplace(tmp_path / "project", {"STAGING": TOKEN, "PROD": TOKEN})
    place.environ["UNUSED"] = OTHER_TOKEN
    targets = {
        "staging": {"url": staging.url, "tenant": "acme", "token": {"env": "STAGING"}},
        "prod": {"url": prod.url, "tenant": "acme", "token": {"env": "PROD"},
                 "require_verified": ["staging"]},
    }  # fmt: skip
    document = {"apiVersion": "synapse-apply/v1", "kind": "Project", "targets": targets}
    place.write("synapse-apply.yaml", json.dumps(document))
    place.write("manifests/plugin.yaml", PLUGIN)
    verify = f"  verify:\n    parameters: {GOOD}\n    poll_interval: 0.02\n"
    place.write("manifests/release.yaml", RELEASE + verify)
    place.write("plugins/yolo/config.yaml", CONFIG)
    place.write("plugins/yolo/plugin/main.py", "print('yolo')\n")
    for target in ("staging", "prod"):
        place.run("state", "init", "-t", target, code=0)
        place.apply("-t", target)
    return place, staging, prod


def uploads(server: Server) -> list[str]:
    return [str(one["body"]["version"]) for one in server.objects("release")]


def runs(server: Server) -> int:
    return int(server.call("GET", "_emulator/requests/")["counts"].get(RUN, 0))


def test_a_bump_that_fails(shop: tuple[Workplace, Server, Server]) -> None:
    """Exit 3 with the log; prod refuses the release; the next version passes and goes everywhere."""
    place, staging, prod = shop
    place.edit("plugins/yolo/plugin/main.py", "yolo", "yolo, faster and broken")
    assert "next version 1.0.1" in place.plan("-t", "staging", code=0).out
    bumped = place.run("bump", "yolo", "patch", "-m", "Faster", code=0)
    assert "release/yolo@1.0.0 -> release/yolo@1.0.1" in bumped.out
    place.edit("manifests/release.yaml", GOOD, BAD)  # how this backend is told that a run fails
    failed = place.apply("-t", "staging", code=3).out
    assert "Last lines of the log of release/yolo@1.0.1 (job 2):" in failed
    assert "1.0.1 is published, and cannot be withdrawn on v1." in failed
    assert "If the code is wrong: `synapse-apply bump yolo patch -t staging`." in failed
    assert "Verified: 0 passed, 1 failed." in failed
    assert "Apply incomplete! Resources: 1 added, 1 changed, 0 destroyed" in failed

    # Prod is kept from it, whoever presses the button, and says where it did not pass.
    refused = place.apply("-t", "prod", code=5).out
    assert "! release/yolo@1.0.1 cannot be created" in refused
    assert "staging" in refused
    assert uploads(prod) == ["1.0.0"]

    # To apply again runs it again, and uploads nothing.
    again = place.apply("-t", "staging", code=3).out
    assert "# (the last run failed)" in again
    assert uploads(staging) == ["1.0.0", "1.0.1"]

    # Forward: a new version, and everywhere one release more, each verified once.
    place.edit("plugins/yolo/plugin/main.py", "faster and broken", "faster")
    place.run("bump", "yolo", "patch", "-m", "Mended", code=0)
    place.edit("manifests/release.yaml", BAD, GOOD)
    before = runs(staging)
    assert "Verified: 1 passed." in place.apply("-t", "staging").out
    assert runs(staging) == before + 1
    went = place.apply("-t", "prod").out
    assert "Apply complete! Resources: 1 added, 1 changed, 0 destroyed." in went
    for target in ("staging", "prod"):
        plan = place.plan("-t", target, "--detailed-exitcode", code=0)
        assert plan.out == "No changes. Live state matches the configuration.\n"
    assert uploads(staging) == ["1.0.0", "1.0.1", "1.0.2"]
    assert uploads(prod) == ["1.0.0", "1.0.2"]
    told = place.run("state", "history", "-t", "staging", code=0).out.splitlines()[1:]
    assert [row.split(maxsplit=3)[3].split("  ")[0] for row in told] == [
        "1 create, 1 run, 1 update", "1 run", "1 create, 1 run, 1 update", "2 create, 1 run",
    ]  # fmt: skip


def test_a_failure_that_was_only_a_warning(shop: tuple[Workplace, Server, Server]) -> None:
    """The way out that prod names is one that gets there: each command that it prints is run."""
    place, staging, prod = shop
    place.edit(
        "manifests/release.yaml", "    poll_interval", "    on_failure: warn\n    poll_interval"
    )
    place.edit("plugins/yolo/plugin/main.py", "yolo", "yolo, faster")
    place.run("bump", "yolo", "patch", "-m", "Faster", code=0)
    staging.call("POST", "_emulator/jobs/fail-next/", {"count": 1})
    place.apply("-t", "staging", code=0)
    before = runs(staging)
    place.apply("-t", "staging", code=0)
    assert runs(staging) == before  # an apply would never run it again
    refused = place.plan("-t", "prod", code=0).out
    assert "its run there has not passed: failed (job 2)" in refused
    assert "* declare a new version, then apply it to staging" in refused
    said = refused.partition("Ways out:")[2].partition("Refused:")[0]
    commands = re.findall("`synapse-apply ([^`]+)`", said)
    assert commands == ["verify release/yolo@1.0.1 -t staging"]
    for command in commands:
        place.run(*command.split(), code=0)
    assert "1 added" in place.apply("-t", "prod", code=0).out
    assert uploads(prod) == ["1.0.0", "1.0.1"]
