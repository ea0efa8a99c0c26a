"""`agents check`: who is healthy, who is not, who is asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from e2e.doctor.conftest import Site
from in_process import run
from installed import ROOT
from jsonschema import Draft202012Validator

VALIDATOR = Draft202012Validator(
    json.loads((ROOT / "schemas" / "v1" / "agents.schema.json").read_text(encoding="utf-8"))
)
CONNECT = "POST /agents/{token}/connect/"


def health(site: Site, arguments: str = "", code: int = 0) -> dict[str, bool]:
    """Name and health of each agent, as a program reads it."""
    document = json.loads(site.run(f"agents check --json {arguments}", code).stdout)
    VALIDATOR.validate(document)
    assert document["healthy"] is (code == 0)
    return {agent["name"]: agent["healthy"] for agent in document["agents"]}


def test_all_agents_of_the_target(applied: Site) -> None:
    """A line each, in the order of the project file; each is asked once, nothing else is."""
    done = applied.run("agents check -t prod", installed=True)
    assert done.stdout.split() == [
        *("NAME", "HEALTH", "DETAIL"),
        *("gpu-1", "healthy", "connected"),
        *("gpu-2", "healthy", "connected"),
    ]
    assert done.stderr == ""
    assert applied.requests() == {CONNECT: 2}


def test_those_named_and_one_from_a_variable(applied: Site) -> None:
    """Names choose, a variable adds; without names it stands alone."""
    applied.environ["OTHER_TOKEN"] = "my-agent-token"
    assert health(applied, "gpu-2") == {"gpu-2": True}
    assert health(applied, "--token-env OTHER_TOKEN") == {"OTHER_TOKEN": True}
    assert health(applied, "gpu-1 --token-env OTHER_TOKEN") == {"gpu-1": True, "OTHER_TOKEN": True}


def test_names_that_there_are_not(applied: Site) -> None:
    """All of them are told, with near ones; nobody is asked."""
    done = applied.run("agents check gpu-3 nobody gpu-1", 1)
    assert "names no agent gpu-3." in done.stderr
    assert "Did you mean gpu-" in done.stderr
    assert "There are gpu-1, gpu-2." in done.stderr
    assert applied.requests() == {}
    applied.write_project(agents={})
    assert "--token-env VARIABLE" in applied.run("agents check", 1).stderr


def test_one_that_fails_hides_no_other(applied: Site) -> None:
    """An unknown token, a variable that is not set, and a healthy one: three answers, exit 1."""
    applied.environ.update(GPU_TOKEN="token-that-nobody-has")
    del applied.environ["GPU2_TOKEN"]
    applied.environ["OTHER_TOKEN"] = "my-agent-token"
    done = applied.run("agents check gpu-1 gpu-2 --token-env OTHER_TOKEN", 1)
    assert "No agent has this token" in done.stderr
    assert "GPU2_TOKEN is not set" in done.stderr
    assert "token-that-nobody-has" not in done.stdout + done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()[1:]] == ["not", "not", "healthy"]


@pytest.mark.parametrize(
    "deed",
    [{"status": 503}, {"status": 429, "retry_after": 1}, {"reset": "before"}, {"truncate": 5}],
    ids=str,
)
def test_a_failure_is_not_sent_again(applied: Site, deed: dict[str, object]) -> None:
    """Whatever happens on the way, an agent is asked once, and is not taken for healthy."""
    rule = {"match": {"path": "/agents/*", "method": "POST"}, "do": deed}
    applied.server.backend.fault_schedule.replace_rules({"rules": [rule]})
    assert health(applied, "gpu-1", 1) == {"gpu-1": False}
    assert applied.server.backend.fault_schedule.as_dict()["counts"][0]["seen"] == 1


def test_a_wrong_access_token(applied: Site) -> None:
    """It is not the agents that are at fault, and that is said."""
    applied.environ["PROD_TOKEN"] = "a-token-that-is-wrong"
    done = applied.run("agents check gpu-1", 1)
    assert "does not accept the access token" in done.stderr


def test_the_embedded_backend_leaves_nothing_behind(tmp_path: Path) -> None:
    """Its agents are those of the API page's examples; no data set is made by asking."""
    tokens = {"ONE": "agent-token-123"}
    done = run("agents check -t embedded --token-env ONE", tmp_path, tokens)
    assert "connected" in done.stdout
    assert list(tmp_path.iterdir()) == []
