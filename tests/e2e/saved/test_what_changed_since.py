"""A saved plan after edits: what is still true goes, the rest is refused and says how it moved."""

from __future__ import annotations

from typing import Any

import pytest
from e2e.scenarios.workplace import RELEASE, Server, Workplace


def outside(server: Server, kind: str, at: int, **fields: Any) -> None:
    """Somebody else changes a live object."""
    server.call("PATCH", f"_emulator/objects/{kind}/{at}/", fields)


def descriptions(server: Server) -> list[str]:
    return [str(row["body"]["description"]) for row in server.objects("plugin")]


@pytest.fixture
def both(two: Workplace) -> Workplace:
    """New descriptions of both plugins planned in the file `next`."""
    for name in ("plugin", "sam"):
        two.edit(f"manifests/{name}.yaml", "Finds things", "Finds more")
    two.plan("--out", "next", code=0)
    return two


def test_a_manifest_was_edited(planned, server):
    """The whole plan is void: exit 4, and the words name what differs."""
    planned.edit("manifests/plugin.yaml", "Finds more", "Finds all")
    ran = planned.run("apply", "next", code=4)
    assert "Error: The manifests changed since this plan was made" in ran.err
    assert "plugin/yolo" in ran.err
    assert "plugin/sam" not in ran.err
    assert "`synapse-apply apply --reviewed" in ran.err
    assert descriptions(server) == ["Finds things"] * 2
    shown = planned.run("show", "next", code=0)
    assert "The manifests changed since this plan was made" in shown.err
    assert "Finds more" in shown.out


def test_a_manifest_looks_different_and_says_the_same(planned, server):
    """Comments, order and file names are no content."""
    text = (planned.root / "manifests/plugin.yaml").read_text()
    (planned.root / "manifests/plugin.yaml").unlink()
    planned.write("manifests/renamed.yaml", "# the best one\n" + text)
    planned.run("apply", "next", code=0)
    assert descriptions(server) == ["Finds more", "Finds things"]


def test_an_object_it_touches_moved(both, server):
    """That row is refused alone, as planned / was / is now; the other goes."""
    outside(server, "plugin", 1, description="By hand")
    ran = both.run("apply", "next", code=4)
    assert (
        "  ! plugin/yolo cannot be updated: it changed since it was planned\n"
        '        description: planned "Finds more", was "Finds things", is now "By hand"\n'
    ) in ran.out
    assert "Way out: plan again" in ran.out
    assert "Refused: 1 (see ! rows)." in ran.out
    assert descriptions(server) == ["By hand", "Finds more"]


def test_another_field_of_an_object_it_touches_moved(both, server):
    """A whole object is sent, so what the plan does not change counts as well."""
    outside(server, "plugin", 1, name="Yellow")
    ran = both.run("apply", "next", "--json", code=4)
    (refusal,) = ran.document["refusals"][0]["refusals"]
    assert refusal["rule"] == "stale"
    assert 'name: planned "Yolo", was "Yolo", is now "Yellow"' in refusal["reason"]
    assert descriptions(server) == ["Finds things", "Finds more"]


def test_all_or_nothing(both, server):
    """Then the other row does not go either."""
    outside(server, "plugin", 1, description="By hand")
    ran = both.run("apply", "next", "--all-or-nothing", code=4)
    assert "Nothing was applied: some rows are refused" in ran.err
    assert descriptions(server) == ["By hand", "Finds things"]
    both.run("apply", "next", code=4)
    assert descriptions(server) == ["By hand", "Finds more"]


def test_an_object_it_does_not_touch_moved(planned, server):
    """The plan applies, the other object is left as it is, and a row says so."""
    outside(server, "plugin", 2, description="By hand")
    outside(server, "storage", 1, configuration={"base_path": "/elsewhere"})
    ran = planned.run("apply", "next", code=0)
    assert ". plugin/sam: not in this plan (update would be needed now): left unchanged" in ran.out
    assert ". storage/raw-data: not in this plan (refused now): left unchanged" in ran.out
    assert descriptions(server) == ["Finds more", "By hand"]


def test_nothing_of_it_is_left_to_do(planned, server):
    """Somebody did by hand what was planned; another difference is not in this plan."""
    outside(server, "plugin", 1, description="Finds more")
    outside(server, "plugin", 2, description="By hand")
    ran = planned.run("apply", "next", code=0)
    assert ". plugin/yolo: update was planned, and nothing is left to do" in ran.out
    assert "No changes. This plan contains none of the current differences." in ran.out
    assert descriptions(server) == ["Finds more", "By hand"]


def test_an_object_it_touches_is_gone(planned, server):
    """Not made again: that was not planned."""
    server.call("DELETE", "_emulator/objects/plugin/1/")
    ran = planned.run("apply", "next", code=4)
    assert "! plugin/yolo cannot be updated: it changed since it was planned" in ran.out
    assert "planned update, now the object is missing" in ran.out
    assert descriptions(server) == ["Finds things"]


def test_an_object_it_makes_exists_now(ready, server):
    """Adopting it was not planned; what needs nothing of it goes."""
    ready.plan("--out", "next", code=0)
    body = {
        "name": "Raw data",
        "provider": "file_system",
        "category": "internal",
        "configuration": {"base_path": "/data/raw"},
    }
    server.call("POST", "storages/", body)
    ran = ready.run("apply", "next", code=4)
    assert "! storage/raw-data cannot be created: it changed since it was planned" in ran.out
    assert "planned create, now the object exists, but this state does not record it" in ran.out
    assert "id: was absent, is now 1" in ran.out
    assert "2 added" in ran.out
    assert server.counts == (1, 1, 1)


def test_what_needs_a_refused_row_is_refused(ready, server):
    """A file of the package changed after the plan: the release is not what was planned."""
    ready.plan("--out", "next", code=0)
    ready.write("plugins/yolo/plugin/main.py", "print('other')\n")
    ran = ready.run("apply", "next", code=4)
    assert "! release/yolo@1.0.0 cannot be created: it changed since it was planned" in ran.out
    assert "the content of its package differs" in ran.out
    assert server.counts == (1, 0, 1)


def test_dependents_of_a_stale_row(two, server):
    """A release of a plugin that moved, and the storage that has nothing to do with them."""
    two.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    two.write("manifests/new.yaml", RELEASE.replace("1.0.0", "1.1.0"))
    two.edit("manifests/plugin.yaml", 'version: "1.0.0"\n  changelog', 'version: "1.1.0"\n  changelog')  # fmt: skip
    (two.root / "manifests/new.yaml").unlink()
    two.edit("plugins/yolo/config.yaml", "1.0.0", "1.1.0")
    two.edit("manifests/plugin.yaml", 'version: "1.0.0"\n  category', 'version: "1.1.0"\n  category')  # fmt: skip
    two.plan("--out", "next", code=0)
    outside(server, "plugin", 1, description="By hand")
    ran = two.run("apply", "next", code=4)
    assert "! release/yolo@1.1.0 cannot be created: it needs plugin/yolo, which this" in ran.out
    assert server.counts == (2, 1, 1)
    assert descriptions(server)[0] == "By hand"
