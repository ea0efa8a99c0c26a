"""What is wrong is told before an apply sends anything."""

from __future__ import annotations

import json
from pathlib import Path

from e2e.doctor.conftest import TOKEN, Site
from e2e.scenarios.workplace import Server

CONNECT = "POST /agents/{token}/connect/"


def make_ill(site: Site) -> None:
    """The first agent is not connected any more."""
    backend = site.server.backend
    row = backend.store.find_by_key_of_any_tenant("agent", "agent-token-123")
    assert row is not None
    backend.store.replace("agent", row, {**row.body, "status": "disconnected"}, key=row.key)


def test_an_apply_asks_the_agents_of_its_target(site: Site) -> None:
    """Once each, however often it plans; a target without agents costs nothing."""
    site.requests()
    site.run("apply --auto-approve")
    assert site.requests().pop(CONNECT) == 2
    site.write_project(agents={})
    site.run("apply --auto-approve")
    with_agents = site.requests()
    assert CONNECT not in with_agents
    assert "GET /jobs/" not in with_agents


def test_an_apply_stops_before_its_first_call(site: Site, tmp_path: Path) -> None:
    """The plan is shown with every reason: agents, clock, and what the reads themselves found."""
    make_ill(site)
    site.environ["GPU2_TOKEN"] = ""
    site.server.backend.clock.ahead = 900
    done = site.run("apply --auto-approve", 1)
    assert "# storage/raw will be created" in done.stdout
    assert "Plan incomplete: 3 errors. It cannot be applied." in done.stdout
    assert "agent gpu-1 is disconnected" in done.stdout
    assert "GPU2_TOKEN" in done.stdout
    assert "The clocks are too far apart" in done.stdout
    assert "POST /storages/" not in site.requests()
    document = json.loads(site.run("apply --auto-approve --json", 1).stdout)
    assert len(document["diagnostics"]) == 3
    assert Server(site.server.url, TOKEN).objects("storage") == []


def test_a_saved_plan_is_checked_as_well(site: Site) -> None:
    """It is used up by no check; once the agent is well again it is applied."""
    site.run("plan --out next.plan")
    backend = site.server.backend
    make_ill(site)
    assert "An agent is not healthy" in site.run("apply next.plan", 1).stdout
    row = backend.store.find_by_key_of_any_tenant("agent", "agent-token-123")
    assert row is not None
    backend.store.replace("agent", row, {**row.body, "status": "connected"}, key=row.key)
    assert "Resources: 1 added" in site.run("apply next.plan").stdout


def test_a_warning_of_an_apply_is_in_its_report(site: Site) -> None:
    """A clock that is somewhat off stops nothing, and is on record."""
    site.server.backend.clock.ahead = -12
    report = json.loads(site.run("apply --auto-approve --json").stdout)
    assert [found["summary"] for found in report["diagnostics"]] == ["The clocks do not agree"]
    assert report["complete"]


def test_a_plan_alone_asks_nobody(applied: Site) -> None:
    """A pull request without the agents' tokens can be planned."""
    for variable in ("GPU_TOKEN", "GPU2_TOKEN"):
        del applied.environ[variable]
    assert "No changes." in applied.run("plan").stdout
    assert CONNECT not in applied.requests()
