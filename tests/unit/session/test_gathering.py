"""What an export finds: through Bindings alone, so on every API version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from e2e.scenarios.workplace import Server

from synapse_apply import EmbeddedServer, Invocation
from synapse_apply.live.discovery import GatherQuery, NamedObject
from synapse_apply.live.live_backend import LiveBackend
from synapse_apply.model.project import Project, Target
from synapse_apply.model.values import SecretRef
from synapse_apply.operations.export import build_manifests

TOKEN = "token-of-tests"


@pytest.fixture
def reach(tmp_path: Path) -> Iterator[Callable[..., LiveBackend]]:
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

        def seen(api: str) -> LiveBackend:
            token = SecretRef("env", "TOKEN")
            target = Target("prod", url, "acme", api={"*": api}, token=token)
            environ = {"TOKEN": TOKEN}
            where = Invocation(directory=tmp_path, environ=environ, parallelism=4, target="prod")
            opened = stack.enter_context(LiveBackend(where))
            opened.project, opened.target = Project(tmp_path, targets={"prod": target}), target
            return opened

        yield seen


def addresses(found) -> list[str]:
    return [str(one.address) for one in found.objects]


def test_v2_lists_all(reach) -> None:
    """Nothing needs to be named there; releases are the newest, or all."""
    made = build_manifests(reach("v2"), GatherQuery())
    assert addresses(made) == [
        "plugin/sam",
        "plugin/yolo",
        "release/sam@1.10.0",
        "release/yolo@1.10.0",
        "storage/raw",
    ]
    assert made.missed_objects == ()
    assert "canary" not in repr(made)
    assert "release/yolo@1.9.0" in addresses(
        build_manifests(reach("v2"), GatherQuery(members="all"))
    )
    assert addresses(
        build_manifests(reach("v2"), GatherQuery(codes=("sam",)), only=["plugin"])
    ) == ["plugin/sam"]


def test_v1_and_v2_call_things_alike(reach) -> None:
    """So that a target can go from one to the other."""
    v1 = build_manifests(reach("v1"), GatherQuery(codes=("yolo", "sam"), members="all"))
    assert addresses(v1) == addresses(build_manifests(reach("v2"), GatherQuery(members="all")))


def test_an_id_named_itself_must_be_there(reach) -> None:
    """A range may have holes."""
    ids = {"plugin": [NamedObject("1"), NamedObject("8", is_required=False), NamedObject("9")]}
    made = build_manifests(reach("v1"), GatherQuery(ids=ids, members="none"), only=["plugin"])
    assert addresses(made) == ["plugin/yolo"]
    assert [(one.label, one.is_failure) for one in made.missed_objects] == [("plugin id 9", True)]
