"""What was changed outside is shown, and looking changes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from e2e.scenarios.canaries import CANARIES, leaks
from e2e.scenarios.workplace import STORAGE, TOKEN, Server, Workplace, held, project
from installed import ROOT
from jsonschema import Draft202012Validator

VALIDATOR = Draft202012Validator(
    json.loads(
        (Path(__file__).parents[3] / "schemas/v1/drift.schema.json").read_text(encoding="utf-8")
    )
)
PLUGIN = {"name": "Yolo", "code": "yolo", "description": "Finds things", "version": "1.0.0",
          "category": "pre_annotation"}  # fmt: skip
SECRET = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: s3}
spec:
  name: S3
  provider: amazon_s3
  category: external
  configuration:
    bucket_name: b
    access_key_id: id
    secret_access_key: {valueFrom: {env: RAW_KEY}}
"""


def outside(server: Server, **changes: Any) -> None:
    """Somebody edits the plugin in Synapse."""
    parameters = {"quality": {"type": "float", "default": changes.pop("quality", 0.8)}}
    body = {**PLUGIN, "configuration": {"parameters": parameters}, **changes}
    server.call("PUT", "plugins/1/", body)


def document(place: Workplace, *more: str, code: int = 0) -> Any:
    made = place.run("drift", "--json", *more, code=code).document
    VALIDATOR.validate(made)
    return made


def test_nothing_has_drifted(applied: Workplace) -> None:
    """Right after an apply: exit code 0 with any option."""
    ran = applied.run("drift", "--detailed-exitcode", code=0)
    assert "No drift. Live objects match the state.\n" in ran.out
    assert document(applied)["drifted"] is False


def test_live_as_declared_and_not_as_recorded(applied: Workplace, server: Server) -> None:
    """Nothing has drifted, and nobody says that it is as it was recorded; an apply records it."""
    outside(server, description="Finds cars")
    applied.edit("manifests/plugin.yaml", "Finds things", "Finds cars")
    ran = applied.run("drift", "--detailed-exitcode", code=0)
    assert "match the state or the manifests.\n" in ran.out
    applied.apply(code=0)
    assert "Live objects match the state.\n" in applied.run("drift", code=0).out


def test_the_page_shows_what_is_printed(applied: Workplace, server: Server) -> None:
    """The sample of docs/drift.md, but for the url and the id of this backend."""
    page = (ROOT / "docs" / "drift.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    outside(server, description="Finds cars")
    for name in ("one", "two"):
        text = STORAGE.replace("raw-data", name).replace("Raw data", name)
        applied.write(f"manifests/{name}.yaml", text)
    printed = applied.run("drift", "-t", "prod", code=0).out
    printed = printed.replace(server.url, "https://api.synapse.sh")
    assert printed.replace('= "1"', '= "12"').strip() == shown.strip()


def test_a_field_changed_outside(applied: Workplace, server: Server) -> None:
    """Each field with what was recorded, what is live and why; exit code 2 where it is asked for."""
    outside(server, description="Changed by hand", quality=0.5)
    ran = applied.run("drift", "--detailed-exitcode", code=2)
    assert (
        '~ description   = "Finds things" -> "Changed by hand" # drift: changed outside' in ran.out
    )
    assert "~ default = 0.8 -> 0.5 # drift: changed outside" in ran.out
    assert "Drift: 1 changed, 0 gone.\n" in ran.out
    applied.run("drift", code=0)
    told = document(applied, "--detailed-exitcode", code=2)
    fields = {one["path"]: one for one in told["resource_drift"][0]["fields"]}
    assert fields["/description"] == {
        "path": "/description", "cause": "drift", "sensitive": False, "recorded": "Finds things",
        "live": "Changed by hand", "note": "", "inside": [],
    }  # fmt: skip
    assert "/configuration/parameters/quality/default" in fields


def test_what_git_has_is_no_drift(applied: Workplace, server: Server) -> None:
    """Declared changes are counted and not shown; where both moved, the cause says so."""
    applied.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    ran = applied.run("drift", "--detailed-exitcode", code=0)
    assert "1 change in the manifests waits for an apply: see `synapse-apply plan`." in ran.out
    assert "Finds more" not in ran.out
    outside(server, description="Changed by hand")
    told = document(applied)
    assert told["resource_drift"][0]["fields"][0]["cause"] == "both"
    assert told["waiting"] == ["plugin/yolo"]
    applied.edit("manifests/plugin.yaml", "Finds more", "Changed by hand")
    assert document(applied)["drifted"] is False


def test_a_missing_object(applied: Workplace, server: Server) -> None:
    """It is gone, and a read that failed is an error instead."""
    server.call("DELETE", "_emulator/objects/storage/1/")
    ran = applied.run("drift", "--detailed-exitcode", code=2)
    assert "# storage/raw-data is gone" in ran.out
    assert "Drift: 0 changed, 1 gone." in ran.out
    server.call("POST", "storages/", {"name": "Raw data", "provider": "file_system",
                                      "category": "internal", "configuration": {}})  # fmt: skip
    ran = applied.run("drift", code=0)
    assert (
        "# storage/raw-data was created again outside Git\n  # (recorded as id 1, now 2)" in ran.out
    )
    rule = {"match": {"path": "/plugins/1/"}, "do": {"status": 403}}
    server.call("PUT", "_emulator/faults/", {"rules": [rule]})
    ran = applied.run("drift", "--detailed-exitcode", code=1)
    assert "Drift incomplete: 1 error. The output covers only what could be read." in ran.out


def test_an_object_that_was_made_anew(applied: Workplace, server: Server) -> None:
    """What the report names puts it right; an apply without that option stops at it."""
    made = server.call("GET", "storages/1/")
    server.call("DELETE", "_emulator/objects/storage/1/")
    server.call("POST", "storages/", {name: made[name] for name in made if name != "id"})
    ran = applied.run("drift", code=0)
    assert "created again outside Git" in ran.out
    assert "`synapse-apply apply --adopt` restores the declared values." in ran.out
    applied.run("apply", "--auto-approve", code=5)
    applied.run("apply", "--auto-approve", "--adopt", code=0)
    assert "No drift." in applied.run("drift", code=0).out


def test_what_nobody_looks_after(applied: Workplace, server: Server) -> None:
    """Live objects without manifest and record, of the kinds that are listed here."""
    server.call("POST", "storages/", {"name": "stranger", "provider": "minio"})
    server.switch(plugin_list="list")
    server.call("POST", "plugins/", {"name": "Hand made", "code": "hand"})
    ran = applied.run("drift", "--unmanaged", "--detailed-exitcode", code=0)
    assert "Unmanaged: 2 live objects neither declared nor recorded.\n" in ran.out
    assert "  ? storage  id 2  name=stranger\n" in ran.out
    told = document(applied, "--unmanaged")
    assert [(one["type"], one["id"]) for one in told["unmanaged"]] == [
        ("plugin", "2"),
        ("storage", "2"),
    ]
    server.switch(plugin_list="none")
    told = document(applied, "--unmanaged")
    assert set(told["not_listed"]) == {"plugin", "release"}
    assert document(applied)["unmanaged"] is None


def test_a_list_that_cannot_be_read_is_no_zero(applied: Workplace, server: Server) -> None:
    """Nobody knows how many there are: no view, document or output says 0."""
    server.call("POST", "storages/", {"name": "stranger", "provider": "minio"})
    rule = {"match": {"method": "GET", "path": "/storages/"}, "do": {"status": 403}}
    server.call("PUT", "_emulator/faults/", {"rules": [rule]})
    outputs = applied.root / "outputs"
    applied.environ["GITHUB_OUTPUT"] = str(outputs)
    typed = ("--report=markdown=d.md", "--report=html=d.html", "--report=github")
    ran = applied.run("drift", "--unmanaged", *typed, code=1)
    pages = [(applied.root / f"d.{kind}").read_text(encoding="utf-8") for kind in ("md", "html")]
    for said in (ran.out, *pages):
        assert "Unmanaged: none in the lists that could be read." in said
        assert "not known: storage (the list could not be read)" in said
        assert "0 live objects" not in said
        assert "Listing live objects failed" in said
    written = outputs.read_text(encoding="utf-8")
    assert re.search(r"^unmanaged<<(.+)\n\n\1$", written, re.MULTILINE), written
    told = document(applied, "--unmanaged", code=1)
    assert (told["unmanaged"], told["summary"]["unmanaged"]) == ([], None)
    assert "storage" in told["not_listed"]


def test_looking_changes_nothing(applied: Workplace, server: Server) -> None:
    """Not one byte of the state, no call that could change anything, and no lock is taken."""
    outside(server, description="Changed by hand")
    files = {
        path: path.read_bytes()
        for path in (applied.root / ".synapse-apply").rglob("*")
        if path.is_file()
    }
    calls = server.call("GET", "_emulator/requests/")["counts"]
    writes = {at: n for at, n in calls.items() if not at.startswith(("GET", "HEAD"))}
    with held(applied):
        locked = {path: path.read_bytes() for path in files}
        applied.run("drift", "--unmanaged", code=0)
        assert {path: path.read_bytes() for path in files} == locked
    before = {path: path.read_bytes() for path in files}
    applied.run("drift", "--unmanaged", "--json", code=0)
    applied.run("drift", "--write", "plugin/yolo", code=0)
    assert {path: path.read_bytes() for path in files} == before
    calls = server.call("GET", "_emulator/requests/")["counts"]
    assert {at: n for at, n in calls.items() if not at.startswith(("GET", "HEAD"))} == writes


def test_a_target_without_state_gets_none(place: Workplace) -> None:
    """There is nothing to compare with, and nothing is made."""
    for target in ("prod", "embedded"):
        ran = place.run("drift", "-t", target, code=1)
        assert "There is no state for this target" in ran.err
    assert not (place.root / ".synapse-apply").exists()


def test_a_part_of_it(applied: Workplace, server: Server) -> None:
    """As plan selects."""
    outside(server, description="Changed by hand")
    told = document(applied, "--only", "storage")
    assert told["drifted"] is False
    told = document(applied, "--exclude", "storage", "--detailed-exitcode", code=2)
    assert [one["address"] for one in told["resource_drift"]] == ["plugin/yolo"]


def test_a_secret_that_was_changed_outside(make: Callable[..., Workplace], server: Server) -> None:
    """It is seen where answers show it, also by a run that has no value; and it is never shown."""
    place = make(server, allow_env=["RAW_*"])
    place.environ["RAW_KEY"] = CANARIES["env"]
    place.run("state", "init", code=0)
    place.apply()  # by itself, so that the other storage is the second one
    place.write("manifests/s3.yaml", SECRET)
    place.apply()
    server.call(
        "PATCH",
        "_emulator/objects/storage/2/",
        {"configuration": {"bucket_name": "b", "access_key_id": "id",
                           "secret_access_key": CANARIES["file"]}},
    )  # fmt: skip
    for environ in ({**place.environ}, {"PROD_TOKEN": TOKEN}):
        there = Workplace(place.root, environ)
        ran = there.run("drift", "--detailed-exitcode", code=2)
        assert "secret_access_key = (sensitive, changed)" in ran.out
        assert not leaks((ran.text + there.run("drift", "--json").out).encode())


def test_reports(applied: Workplace, server: Server, tmp_path: Path) -> None:
    """The same once more for a nightly job: a summary, a comment, counts, findings at lines."""
    outside(server, description="Changed by `hand` @all")
    summary, outputs = tmp_path / "summary.md", tmp_path / "outputs"
    applied.environ |= {"GITHUB_STEP_SUMMARY": str(summary), "GITHUB_OUTPUT": str(outputs)}
    kinds = ["json=d.json", "markdown=d.md", "github", "gitlab=g.json", "codequality=q.json"]
    typed = [part for kind in kinds for part in ("--report", kind)]
    ran = applied.run("drift", "--detailed-exitcode", *typed, code=2)
    text = (applied.root / "d.md").read_text(encoding="utf-8")
    assert text.startswith("<!-- synapse-apply: target=prod drift -->\n\n## Drift of `prod`\n\n**")
    assert summary.read_text(encoding="utf-8") == text
    assert (
        "::warning file=manifests/plugin.yaml,line=1,col=1,title=plugin/yolo has changed" in ran.err
    )
    VALIDATOR.validate(json.loads((applied.root / "d.json").read_text()))
    assert json.loads((applied.root / "g.json").read_text())["update"] == 1
    assert json.loads((applied.root / "q.json").read_text())[0]["check_name"] == "drift"
    told = outputs.read_text()
    assert "\n1\n" in told.split("drifted<<", 1)[1][:60]
    assert "has_changes<<" in told


@pytest.mark.parametrize(
    "typed",
    ["--dry-run", "--write plugin/yolo --unmanaged", "--write plugin/yolo --report json=a",
     "--write plugin/yolo --only plugin"],
)  # fmt: skip
def test_what_does_not_go_together(applied: Workplace, typed: str) -> None:
    """Usage errors."""
    applied.run("drift", *typed.split(), code=64)


def test_what_nothing_is_called_cannot_be_accepted(applied: Workplace) -> None:
    """The error says what there is."""
    ran = applied.run("drift", "--write", "nothing", code=1)
    assert "`nothing` is not an address" in ran.text


def test_a_project_with_hold_says_so(applied: Workplace, server: Server) -> None:
    """The ways out are those of the target."""
    applied.write("synapse-apply.yaml", project(server.url, on_drift="hold"))
    outside(server, description="Changed by hand")
    ran = applied.run("drift", code=0)
    assert "`synapse-apply apply` keeps the drift (on_drift: hold). `--revert-drift`" in ran.out
    assert document(applied)["on_drift"] == "hold"
    outside(server, description="Changed by hand", name="Eve")
    applied.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    ran = applied.run("drift", code=0)
    assert (
        "`synapse-apply apply` keeps the drift (on_drift: hold), except for fields of plugin/yolo "
        "that Git changed, too." in ran.out
    )
    applied.run("apply", "--auto-approve", code=0)
    live = server.call("GET", "plugins/1/")
    assert (live["description"], live["name"]) == ("Finds more", "Eve")
