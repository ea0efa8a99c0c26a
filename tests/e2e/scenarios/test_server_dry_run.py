"""`plan --server-dry-run`: the backend is asked about every call, and nothing is done."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from e2e.scenarios.test_api_v2 import NEWER, PLUGIN, RELEASE, VERIFIED, declare
from e2e.scenarios.workplace import OTHER_TOKEN, Server, Workplace, project
from installed import ROOT
from jsonschema import Draft202012Validator

VALIDATOR = Draft202012Validator(
    json.loads((ROOT / "schemas" / "v1" / "plan.schema.json").read_text(encoding="utf-8"))
)
SECOND = PLUGIN.replace("yolo", "second").replace("Yolo", "Second")
SECOND_RELEASE = RELEASE.replace("yolo", "second")
NOT_SHOWN = "the backend has not shown that it knows dry runs"


def rows(data: Path) -> dict[str, Any]:
    """Everything a backend keeps: each row of each table, and the bytes of each file."""
    connection = sqlite3.connect(data / "data.sqlite3")
    try:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall()
        kept: dict[str, Any] = {
            name: connection.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall()
            for (name,) in tables
        }
    finally:
        connection.close()
    files = (path for path in data.rglob("*") if path.is_file() and "sqlite3" not in path.name)
    return kept | {str(path): path.read_bytes() for path in files}


def declare_both(there: Workplace, plugin: str) -> None:
    """The plugin that is there, and a second one with its release."""
    declare(there, plugin, RELEASE, SECOND, SECOND_RELEASE)
    there.write("plugins/second/config.yaml", "name: Second\ncode: second\nversion: 1.0.0\n")


def files(there: Workplace) -> dict[Path, bytes]:
    """All but what is remembered of how far the state was, which every plan notes."""
    found = (path for path in there.root.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in found if path.parent.name != "seen"}


@pytest.fixture
def there(ready: Workplace, server: Server) -> Workplace:
    """A plugin, its release and a storage on a target that says `api: v2`; nothing is applied."""
    ready.write("synapse-apply.yaml", project(server.url, api="v2"))
    declare(ready, PLUGIN, RELEASE)
    return ready


@pytest.fixture
def applied_v2(there: Workplace) -> Workplace:
    there.apply()
    return there


def tried(there: Workplace, server: Server, *more: str, code: int = 0) -> tuple[str, list[str]]:
    """What such a plan says, and the mutations it sent, all of them dry runs."""
    server.call("DELETE", "_emulator/requests/")
    said = there.plan("--server-dry-run", *more, code=code)
    asked = server.call("GET", "_emulator/requests/")["last"]
    sent = [one for one in asked if one["method"] not in ("GET", "HEAD")]
    sent = [one for one in sent if not one["path"].startswith("/_emulator")]
    assert {one["query"] for one in sent} <= {"dry_run=true"}
    return said.text, [f"{one['method']} {one['path']}" for one in sent]


def test_a_first_plan_is_tried_and_nothing_is_made(
    there: Workplace, server: Server, tmp_path: Path
) -> None:
    """One call for the plugin and its release, package included; what v1 has is told.

    The tenant has a plugin of which a change of nothing can be asked.
    """
    server.call("POST", "plugins/", {"name": "Other", "code": "other"})
    before = rows(tmp_path / "backend"), files(there)
    said, sent = tried(there, server)
    assert sent == ["PATCH /v2/plugins/1/", "POST /v2/plugins/"]
    asked = server.call("GET", "_emulator/requests/")["last"]
    assert "file" in next(one["fields"] for one in asked if one["method"] == "POST")
    assert ", 1 of 2 calls checked by a server dry run\n" in said
    assert "1 of 2 calls not tried: API v1 has no dry run (storage/raw-data)." in said
    assert "Plan: 3 to add, 0 to change, 0 to destroy." in said
    assert (rows(tmp_path / "backend"), files(there)) == before
    tried(there, server, "--detailed-exitcode", code=2)
    there.apply()
    there.unchanged()


def test_every_verb_is_tried_and_the_data_set_is_as_it_was(
    applied_v2: Workplace, server: Server, tmp_path: Path
) -> None:
    """An update, a release, a lock and a delete; a change of nothing shows that it is safe."""
    declare(applied_v2, PLUGIN, RELEASE, NEWER)
    applied_v2.apply()
    locked = RELEASE.replace("yolo}", "yolo, locked: true}")
    newest = RELEASE.replace("1.0.0", "2.0.0")
    changed = PLUGIN.replace("Finds", "Sees").replace("name: Yolo,", "name: Yolo, retain: 1,")
    declare(applied_v2, changed, locked, newest)
    before = rows(tmp_path / "backend"), files(applied_v2)
    said, sent = tried(applied_v2, server, "--prune")
    assert sent[0] == "PATCH /v2/plugins/1/"
    assert sorted(sent[1:3]) == ["PATCH /v2/plugins/1/", "POST /v2/plugin-releases/"]
    assert sent[3:] == ["DELETE /v2/plugin-releases/2/", "POST /v2/plugin-releases/1/release/"]
    assert ", 4 of 4 calls checked by a server dry run\n" in said
    assert "not tried" not in said
    assert (rows(tmp_path / "backend"), files(applied_v2)) == before


def test_what_the_backend_refuses_is_a_refused_row(applied_v2: Workplace, server: Server) -> None:
    """In its words, with a way out; what needs it is refused with it, the rest is not."""
    Server(server.url, OTHER_TOKEN).call("POST", "plugins/", {"name": "T", "code": "second"})
    declare_both(applied_v2, PLUGIN.replace("Finds", "Sees"))
    said, _sent = tried(applied_v2, server, "--detailed-exitcode", code=2)
    row = "! plugin/second cannot be created: the backend answered 409 to a dry run: "
    assert row in said
    assert "(request id " in said
    assert "on manifests/plugin.yaml:" in said
    assert "* declare the resource under another name or code" in said
    assert "* if it exists and you know its id: `synapse-apply import plugin/second ID" in said
    assert "! release/second@1.0.0 cannot be created: it depends on plugin/second, " in said
    assert "Refused: 2 (see ! rows).\nPlan: 0 to add, 1 to change, 0 to destroy." in said
    document = json.loads(tried(applied_v2, server, "--json")[0])
    VALIDATOR.validate(document)
    assert document["server_dry_run"] == {"tried": 2, "refused": 1, "untried": 0}
    assert (document["complete"], document["applyable"]) == (False, True)
    refused = [one for one in document["resource_changes"] if one["refusals"]]
    assert [one["refusals"][0]["rule"] for one in refused] == ["server", "dependency"]
    tried(applied_v2, server, "--report", "markdown=plan.md")
    comment = (applied_v2.root / "plan.md").read_text(encoding="utf-8")
    assert "### Refused (2)" in comment
    assert "2 of 2 calls checked by a server dry run" in comment


def test_the_words_of_a_refusal(applied_v2: Workplace, server: Server) -> None:
    """A name that is taken, by its field; a version that was locked for good."""
    server.call("POST", "plugins/", {"name": "Taken", "code": "taken"})
    declare(applied_v2, PLUGIN.replace("name: Yolo", "name: Taken"), RELEASE)
    said, _sent = tried(applied_v2, server)
    assert "plugin/yolo cannot be updated: the backend answered 400 to a dry run: " in said
    assert "name: A plugin with this name already exists in this workspace." in said
    assert "Way out: correct the manifest, then plan again" in said
    declare(applied_v2, PLUGIN, RELEASE, NEWER)
    applied_v2.apply()
    server.call("POST", "v2/plugin-releases/2/release/")
    server.call("DELETE", "v2/plugin-releases/2/")
    said, _sent = tried(applied_v2, server)
    assert "Version 1.1.0 is released and cannot be deployed again." in said
    assert "* declare the resource under a new version" in said


def test_a_release_in_use_is_not_to_be_deleted(applied_v2: Workplace, server: Server) -> None:
    """The refusal of a delete, which only --prune asks for."""
    server.call("PATCH", "_emulator/objects/release/1/", {"in_use": True})
    declare(applied_v2, PLUGIN)
    said, sent = tried(applied_v2, server, "--prune")
    assert sent[-1] == "DELETE /v2/plugin-releases/1/"
    assert "release/yolo@1.0.0 cannot be destroyed: the backend answered 409 to a dry run: " in said
    assert "The release is used by an active serve application" in said
    assert (
        "Way out: the object already exists, or its state forbids the call: check the object in "
        "Synapse first" in said
    )


def test_a_saved_plan_keeps_what_was_refused(applied_v2: Workplace, server: Server) -> None:
    """Its refused rows are not carried out, the others are; `show` tells of both."""
    foreign = Server(server.url, OTHER_TOKEN)
    foreign.call("POST", "plugins/", {"name": "T", "code": "second"})
    declare_both(applied_v2, PLUGIN.replace("Finds", "Sees"))
    tried(applied_v2, server, "--out", "next.plan")
    shown = applied_v2.run("show", "next.plan", code=0).out
    assert "2 of 2 calls checked by a server dry run" in shown
    assert "plugin/second cannot be created: the backend answered 409" in shown
    applied_v2.run("apply", "next.plan", code=4)
    own = [row["body"]["description"] for row in server.objects("plugin") if row["id"] == 1]
    assert own == ["Sees things"]
    assert server.counts == (2, 1, 1)


def test_what_waits_for_another_is_told(there: Workplace, server: Server) -> None:
    """A second release of a plugin that is not there, a run, and the lock of what is to come."""
    locked = RELEASE.replace("yolo}", "yolo, locked: true}")
    newer = VERIFIED.replace("1.0.0", "1.1.0").replace("plugins/yolo", "plugins/newer")
    declare(there, PLUGIN, locked, newer)
    server.call("POST", "plugins/", {"name": "Other", "code": "other"})
    said, sent = tried(there, server)
    assert sent == ["PATCH /v2/plugins/1/", "POST /v2/plugins/"]
    assert "4 of 5 calls not tried: " in said
    for why in (
        "it needs plugin/yolo, which does not exist yet (release/yolo@1.1.0)",
        "it does not exist yet (release/yolo@1.0.0)",
        "a run cannot be tried (release/yolo@1.1.0)",
        "API v1 has no dry run (storage/raw-data)",
    ):
        assert why in said


def test_a_target_on_v1_is_told_that_nothing_was_tried(
    server: Server, make: Callable[..., Workplace]
) -> None:
    """All of it is in one warning, and no mutation leaves."""
    there = make(server)
    there.run("state", "init", code=0)
    said, sent = tried(there, server)
    assert sent == []
    assert ", 0 of 3 calls checked by a server dry run\n" in said
    assert "3 of 3 calls not tried: API v1 has no dry run (" in said


def test_nothing_to_do_is_nothing_to_try(applied_v2: Workplace, server: Server) -> None:
    """Not even the change of nothing is sent."""
    said, sent = tried(applied_v2, server, "--detailed-exitcode")
    assert (sent, said.splitlines()[0]) == ([], "No changes. Live state matches the configuration.")


def test_what_it_does_not_go_with(there: Workplace) -> None:
    """A usage error."""
    ran = there.plan("--server-dry-run", "--offline", "--against", "git:HEAD", code=64)
    assert "--offline cannot be combined with --server-dry-run" in ran.err


def test_a_backend_that_says_nothing_of_dry_runs_is_asked_for_no_other(
    applied_v2: Workplace, server: Server, tmp_path: Path
) -> None:
    """Neither one that would act, nor one whose answers have no place for it."""
    declare(applied_v2, PLUGIN.replace("Finds", "Sees"), RELEASE, NEWER)
    server.switch(v2_answers="plain")
    before = rows(tmp_path / "backend")
    said, sent = tried(applied_v2, server)
    assert sent == ["PATCH /v2/plugins/1/"]
    assert "Warning: The backend does not confirm that it supports dry runs" in said
    assert f"2 of 2 calls not tried: {NOT_SHOWN} (plugin/yolo, release/yolo@1.1.0)." in said
    assert rows(tmp_path / "backend") == before
    server.switch(v2_answers="envelope", v2_dry_run="unknown")
    _said, sent = tried(applied_v2, server)
    assert sent == ["PATCH /v2/plugins/1/"]
    assert server.objects("plugin")[0]["body"]["description"] == "Finds things"
    assert server.counts == (1, 1, 1)


def test_without_a_plugin_nothing_is_tried(there: Workplace, server: Server) -> None:
    """Nothing harmless can be asked there, and whoever acts on a dry run would show it too late."""
    server.switch(v2_dry_run="unknown")
    declare_both(there, PLUGIN)
    said, sent = tried(there, server, code=0)
    assert sent == []
    assert f"{NOT_SHOWN} (plugin/second, plugin/yolo)" in said
    assert server.counts == (0, 0, 0)


def test_an_answer_that_fails_is_no_refusal(applied_v2: Workplace, server: Server) -> None:
    """The row stays as it is, and it is told that it was not tried."""
    declare(applied_v2, PLUGIN, RELEASE, NEWER)
    rule = {"match": {"path": "/v2/plugin-releases/", "method": "POST"}, "do": {"status": 503}}
    server.call("PUT", "_emulator/faults/", {"rules": [rule]})
    said, sent = tried(applied_v2, server)
    assert sent == ["PATCH /v2/plugins/1/"]  # a fault is in no log
    assert "1 of 1 call not tried: the backend answered 503" in said
    assert "Plan: 1 to add, 0 to change, 0 to destroy." in said
    assert "may have" not in said
