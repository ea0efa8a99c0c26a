"""What a plan of many plugins asks of API v2, whose lists leave the descriptions out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from e2e.scenarios.workplace import Server, Workplace

COUNT = 30
PLUGIN = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {{name: plugin-{n}}}
spec: {{name: Plugin {n}, code: plugin-{n}, category: smart_tool{more}}}
"""
DESCRIBED = ", description: Finds things"


@pytest.fixture
def there(server: Server, make: Callable[..., Workplace]) -> Workplace:
    """So many plugins, live on a target that says `api: v2`."""
    made = make(server, api="v2")
    made.write("manifests/storage.yaml", "")
    for n in range(COUNT):
        body = {"code": f"plugin-{n}", "name": f"Plugin {n}", "category": "smart_tool"}
        server.call("POST", "v2/plugins/", {**body, "description": "Finds things"})
    made.run("state", "init", code=0)
    return made


def adopted(there: Workplace, server: Server, more: str = "") -> None:
    """All of them are recorded; requests are counted from here on."""
    there.write("manifests/plugin.yaml", *(PLUGIN.format(n=n, more=more) for n in range(COUNT)))
    there.apply("--adopt")
    server.call("DELETE", "_emulator/requests/")


def asked(server: Server) -> dict[str, int]:
    counts: dict[str, int] = server.call("GET", "_emulator/requests/")["counts"]
    return {at: count for at, count in counts.items() if "_emulator" not in at}


def test_what_is_compared_stands_in_the_list(there: Workplace, server: Server) -> None:
    """One page and one object that shows how far the list is to be believed."""
    adopted(there, server)
    there.unchanged()
    assert asked(server) == {"GET /v2/plugins/": 1, "GET /v2/plugins/{id}/": 1}


def test_an_edit_costs_a_read_and_a_write(there: Workplace, server: Server) -> None:
    """Whatever else is declared; what the list shows of an edit from outside is drift."""
    adopted(there, server)
    there.edit("manifests/plugin.yaml", "name: Plugin 7,", "name: Plugin seven,")
    server.call("PATCH", "v2/plugins/3/", {"name": "Another"})
    server.call("DELETE", "_emulator/requests/")
    assert "Plan: 0 to add, 2 to change" in there.apply().out
    assert asked(server) == {
        "GET /v2/plugins/": 1,
        "GET /v2/plugins/{id}/": 1 + 2,
        "PATCH /v2/plugins/{id}/": 2,
    }
    there.unchanged()


def test_what_the_list_does_not_tell_is_read(there: Workplace, server: Server) -> None:
    """An edited description is seen, at the cost of a read of each plugin that declares one."""
    adopted(there, server, DESCRIBED)
    server.call("PATCH", "v2/plugins/3/", {"description": "Finds nothing"})
    server.call("DELETE", "_emulator/requests/")
    told = there.plan(code=0).out
    assert "Plan: 0 to add, 1 to change" in told
    assert "drift: changed outside" in told
    assert asked(server) == {"GET /v2/plugins/": 1, "GET /v2/plugins/{id}/": 1 + COUNT}


def test_a_field_that_is_new_in_git_is_read(there: Workplace, server: Server) -> None:
    """A description nobody has recorded yet is no change where the server has it already."""
    adopted(there, server)
    there.edit(
        "manifests/plugin.yaml", "code: plugin-4,", "code: plugin-4, description: Finds things,"
    )
    there.unchanged()
    assert asked(server)["GET /v2/plugins/{id}/"] == 1 + 1
