"""A commit that describes a storage's provider otherwise: no view shows what is live as a secret.

Which keys of a provider of one's own are secret stands in the project file, which a commit changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.scenarios.canaries import contents, forms
from e2e.scenarios.workplace import TOKEN, Ran, Server, Workplace, project
from git_repositories import git, make_repository

from synapse_apply import EmbeddedServer

LIVE = 'cAn4ry-live/+ "quoted"\\é-7777'
SECRET = {"valueFrom": {"env": "CANARY"}}
OPEN = {"host": {}, "pw": {}, "door": {}, "keys": {}}
CLOSED = OPEN | {"pw": {"secret": True}, "door": {"secret": True}, "keys": {"secret": True}}


def describe(place: Workplace, server: Server, keys: dict[str, Any] | None, **more: Any) -> None:
    """The project file; `keys` are those of provider `my`, None for no description."""
    document = json.loads(project(server.url, settle_after=0.2)) | more
    if keys is not None:
        document["providers"] = {"my": {"keys": keys}}
    place.write("synapse-apply.yaml", json.dumps(document))


def declare(
    place: Workplace, configuration: dict[str, Any], name: str = "nas", **more: Any
) -> None:
    spec = {"name": "Nas", "provider": "my", "category": "external", "configuration": configuration}
    document = {"apiVersion": "synapse-apply/v1", "kind": "Storage", "metadata": {"name": name}}
    place.write("manifests/nas.yaml", json.dumps({**document, "spec": spec, **more}))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    tokens = {TOKEN: "acme"}
    with EmbeddedServer(tmp_path / "backend", tokens=tokens, tenant="acme", profile="page") as run:
        yield Server(run.url)


@pytest.fixture
def place(tmp_path: Path, server: Server) -> Workplace:
    """A storage with three secrets is made; then their variables are gone, as in a job of a fork."""
    made = Workplace(tmp_path / "project", {"PROD_TOKEN": TOKEN, "CANARY": LIVE})
    describe(made, server, CLOSED)
    declare(made, {"host": "h", "pw": SECRET, "door": SECRET, "keys": SECRET})
    made.run("state", "init", code=0)
    made.apply()
    live = server.call("GET", "_emulator/objects/storage/1/")["body"]["configuration"]
    assert live["pw"] == live["door"] == LIVE
    del made.environ["CANARY"]
    return made


def views(place: Workplace) -> list[Ran]:
    """Every view of the storage, and of what a plan of it would do."""
    exporting = ("--out", "exported", "--inventory", "rows.yaml", "--force")
    return [
        place.run("validate"),
        place.plan(),
        place.plan("--json"),
        place.plan(
            *("--show-unchanged", "--html", "plan.html", "--markdown", "plan.md"),
            *("--report", "json=plan.json", "--out", "saved.plan"),
        ),
        place.run("drift"),
        place.run("drift", "--json"),
        place.run("drift", "--write", "--auto-approve"),
        place.run("show", "storage/nas"),
        place.run("show", "storage/nas", "--json"),
        place.run("state", "show", "storage/nas", "--json"),
        place.run("get", "storages"),
        place.run("get", "storage", "id=1", code=0),
        place.run("get", "storage", "id=1", "--json", code=0),
        place.run("get", "storage", "Nas", code=0),
        place.run("export", *exporting),
        place.run("export", *exporting, "--json"),
        place.run("doctor"),
        place.run("state", "history", "--json"),
    ]


def assert_hidden(place: Workplace, *ran: Ran) -> None:
    """No output and no file of the project, its state and saved plan among them, has the value."""
    wanted = forms(LIVE)
    for one in ran:
        assert not [form for form in wanted if form in one.text.encode()], one.text
    for path in place.root.rglob("*"):
        for data in contents(path) if path.is_file() else ():
            assert not [form for form in wanted if form in data], path


TEXT = {"host": "h", "pw": "mine", "door": "mine", "keys": "mine"}
DECLARED: dict[str, dict[str, Any]] = {
    "a map": {"host": "h", "pw": {"a": "b"}, "door": {"a": {"b": "c"}}, "keys": {}},
    "plain": TEXT,
    "a list": {"host": "h", "pw": ["a"], "door": [], "keys": [{"a": "b"}]},
    "left out": {"host": "other"},
    "another case": {"host": "h", "PW": "mine", "Door": "mine"},
}


@pytest.mark.parametrize("described", ["open", "not"])
@pytest.mark.parametrize("configuration", DECLARED.values(), ids=DECLARED.keys())
def test_what_is_recorded_as_a_secret_stays_one(
    place: Workplace, server: Server, configuration: dict[str, Any], described: str
) -> None:
    """Whatever the commit calls the key, and whatever it declares there."""
    describe(place, server, OPEN if described == "open" else None)
    declare(place, configuration)
    ran = views(place)
    assert "storage/nas" in ran[1].text
    assert_hidden(place, *ran)


@pytest.mark.parametrize("how", ["moved", "pinned", "undeclared", "own", "another provider"])
def test_no_other_way_to_the_object_shows_it(place: Workplace, server: Server, how: str) -> None:
    """By another address, no manifest, all of it called ours, or a second description."""
    describe(place, server, OPEN)
    if how == "moved":
        describe(place, server, OPEN, moved=[{"from": "storage/nas", "to": "storage/other"}])
        declare(place, TEXT, "other")
    elif how == "pinned":
        declare(place, TEXT, "other", metadata={"name": "other", "id": 1})
    elif how == "undeclared":
        (place.root / "manifests/nas.yaml").unlink()
    elif how == "own":
        declare(place, {"host": "h"}, lifecycle={"own": ["/configuration"]})
    else:
        spec = {"name": "Nas", "provider": "file_system", "category": "external"}
        declare(place, {}, spec={**spec, "configuration": {"location": "/data"}})
    more = [place.run("show", "storage/other"), place.plan("--prune")]
    assert_hidden(place, *views(place), *more, place.run("import", "storage/other", "1"))


def test_a_value_above_or_below_it_in_the_answer(place: Workplace, server: Server) -> None:
    """The server keeps the secret as a map or in a list by now, or all of it as one text."""
    describe(place, server, OPEN)
    declare(place, {"host": "h"})
    for configuration in (
        {"host": "h", "pw": {"a": LIVE}, "door": [LIVE], "keys": {"a": [{"b": LIVE}]}},
        f"pw={LIVE}",
        [LIVE],
    ):
        server.call("PATCH", "_emulator/objects/storage/1/", {"configuration": configuration})
        assert_hidden(place, *views(place))


def test_a_plain_value_in_its_place_is_compared_as_a_secret(
    place: Workplace, server: Server
) -> None:
    """With a warning that says how to name it again; what is declared is not shown either."""
    describe(place, server, OPEN)
    declare(place, {"host": "h", "pw": LIVE, "door": LIVE, "keys": LIVE})
    same = place.plan(code=0)
    assert "No changes." in same.out
    assert "A recorded secret is no longer marked as secret" in same.text
    assert "`secret: true`" in same.text
    declare(place, {"host": "h", "pw": LIVE, "door": "plain-door-of-ours", "keys": LIVE})
    other = place.plan(code=0)
    assert "door = (sensitive, changed)" in other.out
    assert "plain-door-of-ours" not in other.text
    (place.root / "manifests/nas.yaml").unlink()
    assert_hidden(place, same, other)


def test_what_no_record_keeps_is_hidden_by_its_name(place: Workplace, server: Server) -> None:
    """Before it is adopted, a key named as a secret is one, unless the base branch says otherwise."""
    place.run("state", "rm", "storage/nas", code=0)
    keys = {
        "host": {},
        "pw": {},
        "door_token": {},
        "DB-Password": {},
        "api_key": {},
        "keyspace": {},
    }
    body = dict.fromkeys(keys, LIVE) | {"host": "h", "keyspace": "spaces"}
    server.call("PATCH", "_emulator/objects/storage/1/", {"configuration": body})
    describe(place, server, keys)
    for configuration in (dict.fromkeys(keys, "mine"), {"host": "other"}, {"pw": {"a": "b"}}):
        declare(place, configuration)
        ran = views(place)
        assert "storage/nas" in ran[1].text
        assert_hidden(place, *ran)
    assert 'keyspace    = "spaces"' in place.run("get", "storage", "id=1", code=0).out
    make_repository(place.root)
    place.write(".gitignore", ".synapse-apply/\n")
    git(place.root, "add", "-A")
    git(place.root, "commit", "-qm", "open")
    declare(place, dict.fromkeys(keys, "mine"))
    shown = place.plan("--project-from", "git:main", code=0)
    assert "cAn4ry-live" in shown.out


def test_by_hand_without_a_state(place: Workplace, server: Server) -> None:
    """The state is of another tenant: all that a storage of an own provider has is secret."""
    document = json.loads(project(server.url)) | {"providers": {"my": {"keys": OPEN}}}
    document["targets"]["prod"]["tenant"] = ""
    place.write("synapse-apply.yaml", json.dumps(document))
    shown = place.run("get", "storage", "id=1", code=0)
    assert "host = (sensitive)" in shown.out
    assert_hidden(place, shown)
