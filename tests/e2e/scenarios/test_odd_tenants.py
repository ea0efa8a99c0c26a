"""Export, import, plan: `No changes.`, whatever things are called, on v1 and v2."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from e2e.scenarios.odd_tenants import CANARY, NAMES, TENANT, VALUES, fill
from e2e.scenarios.workplace import TOKEN, Server, Workplace, project
from laws.effort import DEEP

from synapse_apply import EmbeddedServer

MANY = 1000
SOME = MANY if DEEP else max(len(NAMES), len(VALUES)) + 1


def adopted(place: Workplace, api: str, count: int) -> None:
    """The whole way."""

    def step(*typed: str) -> str:
        ran = place.run(*typed)
        # What no manifest can hold is told, and makes an export incomplete.
        assert ran.code == (3 if "Left out, and therefore not managed:" in ran.out else 0), ran.text
        assert CANARY not in ran.text
        return ran.out

    asked = () if api == "v2" else ("--ids", f"plugin=1-{count}")
    assert f"Export complete! {3 * count} resources exported, 0 not." in step("export", *asked)
    assert step("validate").startswith(f"Valid: {3 * count} resources")
    step("state", "init")
    assert f"Resources: {3 * count} imported." in step("import", "-f", "inventory.yaml")
    assert "No changes." in step("plan", "--detailed-exitcode")


@pytest.fixture
def tenant(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Server, Workplace]]:
    """A backend that holds so many of each kind, and an empty project at it."""
    api, secrets, count = request.param
    switches = {"secrets": secrets, "list_items": "short"}
    tokens = {TOKEN: TENANT}
    with EmbeddedServer(
        tmp_path / "data", tokens=tokens, tenant=TENANT, switches=switches
    ) as running:
        server = Server(running.url)
        fill(server, running.backend.store, count, api)
        assert server.counts == (count, count, count)
        place = Workplace(tmp_path / "project", {"PROD_TOKEN": TOKEN})
        place.write("synapse-apply.yaml", project(server.url, api=api))
        (place.root / "manifests").mkdir()
        yield server, place


# How secrets are shown is the same in both API versions; each with each when all is asked for.
CASES = [
    (api, secrets, SOME)
    for api, secrets in product(("v1", "v2"), ("plain", "masked", "omitted"))
    if DEEP or (api == "v2") == (secrets == "omitted")
]


@pytest.mark.deep
@pytest.mark.parametrize("tenant", CASES, indirect=True, ids=lambda case: "-".join(map(str, case)))
def test_nothing_is_left_to_do(
    tenant: tuple[Server, Workplace], request: pytest.FixtureRequest
) -> None:
    """No secret in hand, in a file or in an output; not one request that changes anything."""
    server, place = tenant
    api, _, count = request.node.callspec.params["tenant"]
    sent = server.writes
    adopted(place, api, count)
    place.apply()
    assert server.writes == sent
    kept = b"".join(path.read_bytes() for path in place.root.rglob("*") if path.is_file())
    assert CANARY.encode() not in kept
