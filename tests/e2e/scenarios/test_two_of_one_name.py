"""Two live objects of one name are both managed, each by its id; nothing is guessed by the name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from e2e.scenarios.workplace import Server, Workplace

BODY = {"name": "Raw", "provider": "file_system", "category": "internal",
        "configuration": {"base_path": "/"}}  # fmt: skip
MANIFEST = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {{name: {name}{pin}}}
spec:
  name: Raw
  provider: file_system
  category: internal
  configuration: {{base_path: /}}
"""


def declare(place: Workplace, **ids: str) -> None:
    """A storage Raw by each name, pinned to its id; "" pins none."""
    for name, number in ids.items():
        pin = f', id: "{number}"' if number else ""
        place.write(f"manifests/{name}.yaml", MANIFEST.format(name=name, pin=pin))


@pytest.fixture
def twins(bare: Callable[[Server], Workplace], server: Server) -> Workplace:
    """A project without manifests, and two live storages of one name."""
    for _ in range(2):
        server.call("POST", "storages/", BODY)
    return bare(server)


def live_ids(server: Server) -> list[str]:
    return sorted(str(one["id"]) for one in server.objects("storage"))


def test_each_is_taken_by_its_id(twins: Workplace, server: Server) -> None:
    """Both pins: adopted, unchanged, and neither is a twin that nobody knows."""
    twins.run("state", "init", code=0)
    declare(twins, one="1", two="2")
    twins.run("validate", code=0)
    twins.apply("--adopt")
    twins.unchanged()
    assert "A second live object" not in twins.plan(code=0).text
    assert "the lists show no second live object with a recorded name" in twins.run("doctor").text
    listed = twins.run("state", "show", "--json", code=0).document["records"]
    assert {row["address"]: row["id"] for row in listed} == {"storage/one": "1", "storage/two": "2"}
    assert live_ids(server) == ["1", "2"]


def test_one_may_be_imported_by_its_id(twins: Workplace, server: Server) -> None:
    """Before that its name is told to be of both, and after it is gone no other is taken for it."""
    twins.run("state", "init", code=0)
    declare(twins, one="1", two="")
    refused = twins.plan(code=1).text
    assert "Several live objects have one natural key" in refused
    assert "belongs to ids 1, 2" in refused
    twins.run("import", "storage/two", "2", code=0)
    twins.apply("--adopt")
    twins.unchanged()
    server.call("DELETE", "_emulator/objects/storage/2/")
    gone = twins.plan(code=1).text
    assert "One object under two addresses" in gone
    assert twins.apply("--adopt", code=1).code == 1
    assert live_ids(server) == ["1"]


def test_without_an_id_two_documents_are_an_error(twins: Workplace) -> None:
    """Which names both, and what to write."""
    twins.run("state", "init", code=0)
    declare(twins, one="", two="")
    for words in (("validate",), ("plan",)):
        told = twins.run(*words, code=1).text
        assert "Two resources declare one object" in told
        assert "set `metadata.id` in each document" in " ".join(told.split())


def test_one_id_is_one_resource(twins: Workplace) -> None:
    """Two documents that pin one object are refused."""
    twins.run("state", "init", code=0)
    declare(twins, one="1", two="1")
    assert "One object under two addresses" in twins.plan(code=1).text


def test_a_pinned_one_is_no_rename_of_the_other(twins: Workplace, server: Server) -> None:
    """The manifest of one goes and that of the other comes: forgotten and adopted, by id."""
    twins.run("state", "init", code=0)
    declare(twins, one="1")
    twins.apply("--adopt")
    (twins.root / "manifests" / "one.yaml").unlink()
    declare(twins, two="2", three="")
    (twins.root / "manifests" / "three.yaml").write_text(
        MANIFEST.format(name="three", pin="").replace("name: Raw", "name: Third")
    )
    twins.apply("--adopt")
    listed = twins.run("state", "show", "--json", code=0).document["records"]
    assert {row["address"]: row["id"] for row in listed} == {
        "storage/three": "3",
        "storage/two": "2",
    }
    assert live_ids(server) == ["1", "2", "3"]


def test_an_export_pins_both(twins: Workplace) -> None:
    """Its manifests and its inventory lead to a plan without changes."""
    ran = twins.run("export", code=0)
    assert "2 resources exported" in ran.out
    texts = [path.read_text() for path in (twins.root / "manifests/storages").glob("*.yaml")]
    assert sorted('id: "1"' in text for text in texts) == [False, True]
    assert sorted('id: "2"' in text for text in texts) == [False, True]
    twins.run("validate", code=0)
    twins.run("state", "init", code=0)
    twins.run("import", "-f", "inventory.yaml", code=0)
    twins.unchanged()
