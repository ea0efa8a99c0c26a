"""The health of agents, as the library tells it: who is healthy, who is not, who is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from e2e.doctor.conftest import Site

from synapse_apply import SynapseApplyError, open_target

CONNECT = "POST /agents/{token}/connect/"


def check(
    folder: Path, environ: Mapping[str, str], *names: str, more: Sequence[str] = (), at: str = ""
) -> Any:
    with open_target(at or None, folder=folder, environ=environ) as target:
        return target.live.check_agents(names, token_variables=more)


def health(site: Site, *names: str, more: Sequence[str] = ()) -> dict[str, bool]:
    """Name and health of each agent."""
    checkup = check(site.root, site.environ, *names, more=more)
    found = {row.subject: row.status.value == "ok" for row in checkup.results}
    assert checkup.is_healthy is all(found.values())
    return found


def refusal(site: Site, *names: str) -> str:
    with pytest.raises(SynapseApplyError) as raised:
        check(site.root, site.environ, *names)
    return "\n".join(f"{one.detail} {one.hint}" for one in raised.value.diagnostics)


def test_all_agents_of_the_target(applied: Site) -> None:
    """A row each, in the order of the project file; each is asked once, nothing else is."""
    assert list(health(applied).items()) == [("gpu-1", True), ("gpu-2", True)]
    assert applied.requests() == {CONNECT: 2}


def test_those_named_and_one_from_a_variable(applied: Site) -> None:
    """Names choose, a variable adds; without names it stands alone."""
    applied.environ["OTHER_TOKEN"] = "my-agent-token"
    more = ["OTHER_TOKEN"]
    assert health(applied, "gpu-2") == {"gpu-2": True}
    assert health(applied, more=more) == {"OTHER_TOKEN": True}
    assert health(applied, "gpu-1", more=more) == {"gpu-1": True, "OTHER_TOKEN": True}


def test_names_that_there_are_not(applied: Site) -> None:
    """All of them are told, with near ones; nobody is asked."""
    told = refusal(applied, "gpu-3", "nobody", "gpu-1")
    assert "declares no agent gpu-3." in told
    assert "Did you mean gpu-" in told
    assert "Known: gpu-1, gpu-2." in told
    assert applied.requests() == {}
    applied.write_project(agents={})
    assert "token_variables" in refusal(applied)


def test_one_that_fails_hides_no_other(applied: Site) -> None:
    """An unknown token, a variable that is not set, and a healthy one: three answers."""
    applied.environ.update(GPU_TOKEN="token-that-nobody-has", OTHER_TOKEN="my-agent-token")
    del applied.environ["GPU2_TOKEN"]
    checkup = check(applied.root, applied.environ, "gpu-1", "gpu-2", more=["OTHER_TOKEN"])
    told = [f"{row.summary} {row.detail} {row.hint}" for row in checkup.results]
    assert "No agent has this token" in told[0]
    assert "GPU2_TOKEN is not set" in told[1]
    assert "token-that-nobody-has" not in "".join(told)
    assert [row.status.value == "ok" for row in checkup.results] == [False, False, True]


@pytest.mark.parametrize(
    "deed",
    [{"status": 503}, {"status": 429, "retry_after": 1}, {"reset": "before"}, {"truncate": 5}],
    ids=str,
)
def test_a_failure_is_not_sent_again(applied: Site, deed: dict[str, object]) -> None:
    """Whatever happens on the way, an agent is asked once, and is not taken for healthy."""
    rule = {"match": {"path": "/agents/*", "method": "POST"}, "do": deed}
    applied.server.backend.fault_schedule.replace_rules({"rules": [rule]})
    assert health(applied, "gpu-1") == {"gpu-1": False}
    assert applied.server.backend.fault_schedule.as_dict()["counts"][0]["seen"] == 1


def test_a_wrong_access_token(applied: Site) -> None:
    """It is not the agents that are at fault, and that is said."""
    applied.environ["PROD_TOKEN"] = "a-token-that-is-wrong"
    (row,) = check(applied.root, applied.environ, "gpu-1").results
    assert "does not accept the access token" in row.summary


def test_the_embedded_backend_leaves_nothing_behind(tmp_path: Path) -> None:
    """Its agents are those of the API page's examples; no data set is made by asking."""
    tokens = {"ONE": "agent-token-123"}
    (row,) = check(tmp_path, tokens, more=["ONE"], at="embedded").results
    assert row.status.value == "ok"
    assert list(tmp_path.iterdir()) == []
