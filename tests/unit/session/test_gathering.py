"""What an export finds: through Bindings alone, so on every API version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from e2e.scenarios.workplace import Server

from synapse_apply.emulator.serve import EmbeddedServer
from synapse_apply.manifests.shapes import secret_marks
from synapse_apply.model.project import Project, Target
from synapse_apply.session.backend import client_of
from synapse_apply.session.export import export
from synapse_apply.session.gather import Named, Wanted
from synapse_apply.session.reach import Reach
from synapse_apply.session.where import Where

TOKEN = "token-of-tests"


@pytest.fixture
def reach(tmp_path: Path) -> Iterator[Callable[..., Reach]]:
    """A backend with two plugins, three releases and a storage, seen through an API version."""
    with ExitStack() as stack:
        running = EmbeddedServer(tmp_path / "data", tokens={TOKEN: "acme"}, tenant="acme")
        url = stack.enter_context(running).url
        server = Server(url, TOKEN)
        for code in ("yolo", "sam"):
            body = {"name": code, "code": code, "category": "neural_net"}
            made = server.call("POST", "plugins/", body)
            for version in ("1.10.0", "1.9.0")[: 2 if code == "yolo" else 1]:
                release = {"plugin": made["id"], "version": version}
                server.call("POST", "plugin_releases/", release)
        server.call(
            "POST",
            "storages/",
            {"name": "raw", "provider": "azure", "configuration": {"key": "canary"}},
        )

        def seen(api: str) -> Reach:
            target = Target("prod", url, "acme", api={"*": api})
            backend = stack.enter_context(client_of(url, TOKEN, target, 4))
            project = Project(tmp_path, targets={"prod": target})
            where = Where(directory=tmp_path, environ={}, parallelism=4)
            return Reach(where, project, target, backend, secret_marks)

        yield seen


def addresses(found) -> list[str]:
    return [str(one.address) for one in found.exported]


def test_v2_lists_all(reach) -> None:
    """Nothing needs to be named there; releases are the newest, or all."""
    made = export(reach("v2"), Wanted())
    assert addresses(made) == [
        "plugin/sam",
        "plugin/yolo",
        "release/sam@1.10.0",
        "release/yolo@1.10.0",
        "storage/raw",
    ]
    assert made.missed == ()
    assert "canary" not in repr(made)
    assert "release/yolo@1.9.0" in addresses(export(reach("v2"), Wanted(members="all")))
    assert addresses(export(reach("v2"), Wanted(codes=("sam",)), only=["plugin"])) == ["plugin/sam"]


def test_v1_and_v2_call_things_alike(reach) -> None:
    """So that a target can go from one to the other."""
    v1 = export(reach("v1"), Wanted(codes=("yolo", "sam"), members="all"))
    assert addresses(v1) == addresses(export(reach("v2"), Wanted(members="all")))


def test_an_id_named_itself_must_be_there(reach) -> None:
    """A range may have holes."""
    ids = {"plugin": [Named("1"), Named("8", surely=False), Named("9")]}
    made = export(reach("v1"), Wanted(ids=ids, members="none"), only=["plugin"])
    assert addresses(made) == ["plugin/yolo"]
    assert [(one.what, one.failed) for one in made.missed] == [("plugin id 9", True)]
