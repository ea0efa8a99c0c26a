"""Equal rows of 120 targets: one command or one click, and the loop has an audit row of each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
import requests
from at_terminal import run_at_terminal
from contract.controller.loop.stand_ins import World, plan_of, row
from installed import environment
from unit.controller.page.page_samples import format_plan
from unit.views import plan_samples

from synapse_apply.controller.configuration.secrets import AccessSecrets
from synapse_apply.controller.loop.driver import ControllerLoop
from synapse_apply.controller.page.server import PageServer
from synapse_apply.controller.planned_rows import RowAction
from synapse_apply.controller.ports import RunResult
from synapse_apply.controller.rows import HoldRow, TargetName
from synapse_apply.controller.settings import Mode, TargetRule
from synapse_apply.controller.store.store_writer import find_first_broken_audit_row
from synapse_apply.model.values import Sensitive

NAMES = [f"t{number:03}" for number in range(120)]
TOKEN, SECRET = "c4n4ry-token-of-bob-01234", "c4n4ry-of-the-proxy-0123"
REASON = "same everywhere"
PLAN = plan_samples.PLANS["create"]


def digest_of(name: str) -> str:
    return f"row1:{int(name[1:]):064x}"


def plan_for(name: str, address: str) -> RunResult:
    found = plan_of(replace(row(address, RowAction.CREATE), digest=digest_of(name)))
    return replace(found, plan_json=format_plan(PLAN))


def list_holds(world: World) -> list[HoldRow]:
    return [hold for name in NAMES for hold in world.store.list_holds(TargetName("acme", name))]


@pytest.fixture
def loop(world: World) -> ControllerLoop:
    """Every target has checked the same new resource, which waits."""
    world.set_rules(TargetRule("*", mode=Mode.APPROVE))
    world.settings = replace(world.settings, listen_port=0, public_url="")
    address = str(PLAN.changes[0].address)
    for name in NAMES:
        world.workers.results[f"acme/{name}"] = plan_for(name, address)
    world.repository.push("c2", **dict.fromkeys(NAMES, "1"))
    loop = world.begin()
    world.settle(loop, after=700)
    assert len(list_holds(world)) == len(NAMES)
    return loop


@pytest.fixture
def url(world: World, loop: ControllerLoop) -> Iterator[str]:
    secrets = AccessSecrets(Sensitive(SECRET), {"bob": Sensitive(TOKEN)})
    with PageServer(world.store, loop, {}, world.clock.read_wall, lambda: secrets) as server:
        yield server.url


def decide_by_command(folder: Path, url: str, verb: str) -> str:
    """Somebody types it once, and says yes once."""
    typed = ["controller", verb, "acme/*", "--reason", REASON, "--url", url]
    environ = environment({"SYNAPSE_APPLY_CONTROLLER_TOKEN": TOKEN, "TERM": "dumb"})
    code, said = run_at_terminal(folder, b"yes\n", environ, *typed)
    assert code == 0, said
    assert said.count("Enter a value") == 1
    assert f"1 row of each of {len(NAMES)} targets await" in said
    return "token:bob"


def decide_by_click(_folder: Path, url: str, verb: str) -> str:
    """Somebody selects the one group that the page shows, and sends it once."""
    headers = {"X-User": "ann", "X-Secret": SECRET, "Sec-Fetch-Site": "same-origin", "Origin": url}
    html = requests.get(f"{url}/approvals", headers=headers, timeout=60).text
    assert re.findall('name="group" value="([^"]*)"', html) == ["1"]
    rows = map(unescape, re.findall('name="row" value="([^"]*)"', html))
    fields = [("group", "1"), *(("row", row) for row in rows), ("reason", REASON)]
    answer = requests.post(
        f"{url}/approvals/{verb}", fields, headers=headers, timeout=60, allow_redirects=False
    )
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/approvals?done={verb}")
    return "proxy:ann"


@pytest.mark.parametrize(
    ("verb", "decide"),
    [
        ("approve", decide_by_command),
        ("approve", decide_by_click),
        ("reject", decide_by_click),
    ],
)
def test_one_decision_leaves_an_audit_row_for_each_target(world, loop, url, tmp_path, verb, decide):
    """With its own digest and the reason; each target then applies once, or never."""
    who = decide(tmp_path, url, verb)
    audit = list(world.store.iter_audit())
    assert find_first_broken_audit_row(audit) is None
    assert sorted((one.subject, one.detail) for one in audit if one.who == who) == [
        (f"acme/{name}", f"create {PLAN.changes[0].address} ({digest_of(name)}); {REASON}")
        for name in NAMES
    ]
    assert {one.action for one in audit if one.who == who} == {verb}
    world.settle(loop)
    world.settle(loop, after=700)
    applied = sorted(str(order.target) for order in world.workers.applies)
    assert applied == ([f"acme/{name}" for name in NAMES] if verb == "approve" else [])
    held = {str(hold.target) for hold in list_holds(world) if hold.rejected_by == who}
    assert held == ({f"acme/{name}" for name in NAMES} if verb == "reject" else set())
