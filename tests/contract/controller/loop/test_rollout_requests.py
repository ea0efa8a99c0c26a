"""What is asked of rollouts over HTTP, wrong, twice and at once, by a page before a real loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import requests
from contract.controller.loop.rollout_world import RolloutWorld

from synapse_apply.controller.configuration.secrets import AccessSecrets
from synapse_apply.controller.loop.driver import ControllerLoop
from synapse_apply.controller.page.server import PageServer
from synapse_apply.model.values import Sensitive

TOKEN = "token-of-bob-1234567890"
SECRETS = AccessSecrets(Sensitive("proxy-secret-1234567890"), {"bob": Sensitive(TOKEN)})
VERBS = ("approve", "skip", "resume", "abort")


class Asker:
    """Sends what one person asks of the rollout `all`; `waiting` for approval of wave 3 of c2."""

    def __init__(self, url: str) -> None:
        self.url = f"{url}/api/v1/rollouts/all"

    def ask(self, verb: str, **body: Any) -> int:
        """The status of the answer; the reason is there where one has to be."""
        if verb in {"skip", "abort"}:
            body = {"reason": "a test", **body}
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answer = requests.post(f"{self.url}/{verb}", json=body, headers=headers, timeout=60)
        assert TOKEN not in answer.text
        return answer.status_code


@pytest.fixture
def asker(rollout_world: RolloutWorld, waiting_loop: ControllerLoop) -> Iterator[Asker]:
    world = rollout_world
    settings = replace(world.settings, listen_port=0, public_url="")
    waiting_loop._parts.configured = replace(world.configure(), settings=settings)
    with PageServer(
        world.store, waiting_loop, {}, world.clock.read_wall, lambda: SECRETS
    ) as server:
        yield Asker(server.url)


def read_rows(world: RolloutWorld) -> object:
    return world.rollout, world.list_waves(), world.list_audit_of_rollouts()


def test_another_revision_or_wave_is_refused(rollout_world, asker):
    """Whatever stands in the place of the numbers that were shown; nothing is done."""
    before = read_rows(rollout_world)
    for number in (0, 1, 3, -2, 2**63, 10**30, "2", 2.0, True, None, [2]):
        for verb in VERBS:
            body = {"wave": 3} if verb in {"approve", "skip"} else {}
            assert asker.ask(verb, number=number, **body) in {400, 409}, (verb, number)
    for wave in (0, 1, 2, 4, -1, 2**70, "3", None):
        for verb in ("approve", "skip"):
            assert asker.ask(verb, number=2, wave=wave) in {400, 409}, (verb, wave)
    assert read_rows(rollout_world) == before


def test_what_everybody_asks_at_once_is_done_once(rollout_world, waiting_loop, asker):
    """One approval counts, and the wave is written once; the others are told that it is too late."""
    with ThreadPoolExecutor(8) as pool:
        statuses = Counter(pool.map(lambda _: asker.ask("approve", number=2, wave=3), range(16)))
    assert statuses == {200: 1, 409: 15}
    rollout_world.settle(waiting_loop)
    assert asker.ask("approve", number=2, wave=3) == 409
    assert rollout_world.take_writes() == ["prod-1 c2"]
    audit = rollout_world.list_audit_of_rollouts()
    assert sum(line.startswith("token:bob approve wave") for line in audit) == 1


def test_who_comes_first_decides(rollout_world, waiting_loop, asker):
    """Approvals and aborts at once: both in the audit or one of them, and the end is that of the rows."""
    with ThreadPoolExecutor(8) as pool:
        verbs = ("approve", "abort") * 6
        statuses = list(
            pool.map(
                lambda verb: asker.ask(
                    verb, number=2, **({"wave": 3} if verb == "approve" else {})
                ),
                verbs,
            )
        )
    assert statuses[1::2].count(200) == 1
    assert statuses[0::2].count(200) <= 1
    rollout_world.settle(waiting_loop)
    assert rollout_world.describe_rollout() == "c2 wave 3 aborted"
    assert rollout_world.take_writes() == []
