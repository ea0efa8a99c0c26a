"""A pull request that drops, moves or renames the name of a secret: no view shows the live value.

The secrets stand in a plugin's free-form configuration, named by `lifecycle.sensitive`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import git_repositories
import pytest
from e2e.scenarios.canaries import contents, forms
from e2e.scenarios.test_canaries import WAYS, Echo
from e2e.scenarios.workplace import TOKEN, Ran, Server, Workplace, project
from echoing import echoing

from synapse_apply import EmbeddedServer

DEEP = bool(os.environ.get("SYNAPSE_APPLY_TEST_DEEP"))
LIVE = 'cAn4ry-live/+ "quoted"\\é-7777'
OUTSIDE = "cAn4ry-outside+8888/="
CONFIGURATION = {
    "auth": {"token": {"valueFrom": {"env": "CANARY"}}, "user": "reader"},
    "keys": {"valueFrom": {"env": "CANARY_KEYS", "format": "json"}},
    "quality": 0.8,
}
SENSITIVE = ["/configuration/auth/token", "/configuration/keys"]


def plugin(name: str = "yolo", code: str = "yolo", **more: Any) -> dict[str, Any]:
    """A manifest; `more` takes the place of what it would have, None takes it out."""
    spec: dict[str, Any] = {"name": code.title(), "code": code, "configuration": CONFIGURATION}
    document: dict[str, Any] = {
        "apiVersion": "synapse-apply/v1",
        "kind": "Plugin",
        "metadata": {"name": name},
        "lifecycle": {"sensitive": SENSITIVE},
        "spec": spec,
    }
    if "configuration" in more:
        document["spec"] = spec | {"configuration": more.pop("configuration")}
        document["spec"] = {key: v for key, v in document["spec"].items() if v is not None}
    return {key: value for key, value in {**document, **more}.items() if value is not None}


def write(place: Workplace, *documents: dict[str, Any]) -> None:
    place.write("manifests/plugins.yaml", *(json.dumps(one) + "\n" for one in documents))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    tokens = {TOKEN: "acme"}
    with EmbeddedServer(tmp_path / "backend", tokens=tokens, tenant="acme", profile="page") as run:
        yield Server(run.url)


@pytest.fixture
def place(tmp_path: Path, server: Server) -> Workplace:
    """A project with the plugin made; the value is in the backend, and in no file."""
    environ = {
        "PROD_TOKEN": TOKEN,
        "CANARY": LIVE,
        "CANARY_KEYS": json.dumps([LIVE, "b"]),
        "SYNAPSE_APPLY_LOG": "trace",
    }
    made = Workplace(tmp_path / "project", environ)
    made.write("synapse-apply.yaml", project(server.url, settle_after=0.2))
    write(made, plugin())
    made.run("state", "init", code=0)
    made.apply()
    return made


def hide_variables(place: Workplace) -> None:
    """As in the job of a pull request, which has no secret: no value is known to be masked."""
    for name in ("CANARY", "CANARY_KEYS"):
        place.environ.pop(name, None)


def views(place: Workplace) -> list[Ran]:
    """Every view of the plugin, and of what a plan of it would do."""
    exporting = ("--ids", "plugin=1", "--out", "exported", "--inventory", "rows.yaml", "--force")
    return [
        place.run("validate"),
        place.plan(),
        place.plan("--json"),
        place.plan(
            *("--show-unchanged", "--report", "html=plan.html", "--report", "markdown=plan.md"),
            *("--out", "saved.plan"),
        ),
        place.run("drift"),
        place.run("drift", "--json"),
        place.run("drift", "--write", "--auto-approve"),
        place.run("show", "plugin/yolo"),
        place.run("show", "plugin/yolo", "--json"),
        place.run("state", "show", "plugin/yolo"),
        place.run("state", "show", "plugin/yolo", "--json"),
        place.run("export", *exporting),
        place.run("export", *exporting, "--json"),
        place.run("doctor"),
        place.run("state", "history", "--json"),
        place.run("validate", "--graph"),
    ]


def views_by_hand(place: Workplace) -> list[Ran]:
    """What is live, asked for without a look at what is declared."""
    return [
        place.run("get", "plugin", "id=1", code=0),
        place.run("get", "plugin", "id=1", "--json", code=0),
    ]


def assert_hidden(place: Workplace, *ran: Ran) -> None:
    """No output and no file of the project has a form of a value."""
    wanted = {form for value in (LIVE, OUTSIDE) for form in forms(value)}
    for one in ran:
        assert not [form for form in wanted if form in one.text.encode()], one.text
    for path in place.root.rglob("*"):
        for data in contents(path) if path.is_file() else ():
            assert not [form for form in wanted if form in data], path


def rotated_outside(server: Server) -> None:
    """Somebody changes the secrets in Synapse."""
    body = server.call("GET", "_emulator/objects/plugin/1/")["body"]
    configuration = {**body["configuration"], "keys": [OUTSIDE]}
    configuration["auth"] = {**configuration["auth"], "token": OUTSIDE}
    server.call("PATCH", "_emulator/objects/plugin/1/", {"configuration": configuration})


def test_the_value_is_where_it_belongs_and_nowhere_else(place: Workplace, server: Server) -> None:
    """The backend has it; a plan says that nothing is to do; no view and no file shows it."""
    live = server.call("GET", "_emulator/objects/plugin/1/")["body"]["configuration"]
    assert live["auth"]["token"] == LIVE
    assert live["keys"] == [LIVE, "b"]
    place.unchanged()
    shown = place.run("show", "plugin/yolo", code=0)
    assert "(sensitive" in shown.out
    assert_hidden(place, shown, *views(place), *views_by_hand(place))


@pytest.mark.parametrize("is_rotated", [False, True], ids=["same", "rotated"])
def test_named_secrets_without_their_variables(
    place: Workplace, server: Server, is_rotated: bool
) -> None:
    """A job that has no secret sees none, also where the live values are of somebody else."""
    hide_variables(place)
    if is_rotated:
        rotated_outside(server)
    assert_hidden(place, *views(place), *views_by_hand(place))


DROPPED: dict[str, dict[str, Any]] = {
    "the name and the fields": plugin(lifecycle=None, configuration={"quality": 0.9}),
    "the name, a literal": plugin(
        lifecycle=None, configuration={"auth": {"token": "mine", "user": "x"}, "keys": ["k"]}
    ),
    "the name, a text for the map": plugin(lifecycle=None, configuration={"auth": "text"}),
    "the name, a list for the map": plugin(lifecycle=None, configuration={"auth": ["text"]}),
    "the name, a map for the list": plugin(lifecycle=None, configuration={"keys": {"a": "b"}}),
    "the name, all of it is ours": plugin(
        lifecycle={"own": ["/configuration"]}, configuration={"quality": 0.9}
    ),
    "the name, changes ignored": plugin(
        lifecycle={"ignore_changes": ["/configuration/auth"]},
        configuration={"auth": {"token": "mine"}},
    ),
    "another field is named": plugin(
        lifecycle={"sensitive": ["/configuration/auth/user"]},
        configuration={"auth": {"token": "mine", "user": "x"}},
    ),
    "the field is renamed": plugin(
        lifecycle={"sensitive": ["/configuration/auth/key"]},
        configuration={"auth": {"key": {"valueFrom": {"env": "OTHER"}}}},
    ),
    "only the map around it is named": plugin(
        lifecycle={"sensitive": ["/configuration"]}, configuration={"quality": 0.9}
    ),
    "the configuration": plugin(lifecycle=None, configuration=None),
    "an empty configuration": plugin(lifecycle=None, configuration={}),
    "valueFrom without a name": plugin(lifecycle=None),
}


@pytest.mark.parametrize("is_rotated", [False, True] if DEEP else [True])
@pytest.mark.parametrize("document", DROPPED.values(), ids=DROPPED.keys())
def test_a_manifest_that_no_longer_names_it(
    place: Workplace, server: Server, document: dict[str, Any], is_rotated: bool
) -> None:
    """What is recorded as a secret stays one."""
    hide_variables(place)
    if is_rotated:
        rotated_outside(server)
    write(place, document)
    ran = views(place)
    assert "plugin/yolo" in ran[1].text
    assert_hidden(place, *ran, *views_by_hand(place))


@pytest.mark.parametrize("manifest", ["gone", "broken", "no state"])
def test_objects_by_hand_where_little_is_known(place: Workplace, manifest: str) -> None:
    """`get plugin` goes by the record, by the manifest, or by what either of them still tells."""
    hide_variables(place)
    if manifest == "gone":
        (place.root / "manifests/plugins.yaml").unlink()
    elif manifest == "broken":
        place.write("manifests/plugins.yaml", "kind: [Plugin\n")
    else:
        place.run("state", "rm", "plugin/yolo", code=0)
    assert_hidden(place, *views_by_hand(place))


def test_objects_by_hand_where_the_state_is_of_another_backend(place: Workplace) -> None:
    """Nothing tells what is secret: no free-form field is shown."""
    hide_variables(place)
    (place.root / "manifests/plugins.yaml").unlink()
    rules = json.loads((place.root / "synapse-apply.yaml").read_text(encoding="utf-8"))
    rules["targets"]["prod"]["tenant"] = ""
    place.write("synapse-apply.yaml", json.dumps(rules))
    shown = place.run("get", "plugin", "id=1", code=0)
    assert "quality = (sensitive)" in shown.out
    assert_hidden(place, shown)


@pytest.mark.parametrize("how", ["moved", "new name", "pinned", "another's code", "forgotten"])
def test_another_address_for_the_same_object(place: Workplace, server: Server, how: str) -> None:
    """Neither `moved:` nor a pin nor a natural key leads to a view without the recorded name."""
    hide_variables(place)
    rotated_outside(server)
    plain = {"configuration": {"auth": {"token": "mine"}}, "lifecycle": None}
    if how == "moved":
        rules = json.loads((place.root / "synapse-apply.yaml").read_text(encoding="utf-8"))
        rules["moved"] = [{"from": "plugin/yolo", "to": "plugin/other"}]
        place.write("synapse-apply.yaml", json.dumps(rules))
        write(place, plugin("other", **plain))
    elif how == "new name":
        write(place, plugin("other", **plain))
    elif how == "pinned":
        pinned = plugin("other", "other", **plain)
        write(place, plugin(), {**pinned, "metadata": {"name": "other", "id": 1}})
    elif how == "another's code":
        write(place, plugin(), plugin("other", **plain))
    else:
        write(place, plugin("other", "something-else", **plain))
    assert_hidden(
        place,
        *views(place),
        place.plan("--prune"),
        place.run("show", "plugin/other"),
        place.run("import", "plugin/other", "1"),
        place.apply("--adopt", code=None),
    )


@pytest.mark.parametrize("name", ["yolo", "other"])
def test_an_object_that_was_made_anew_outside(place: Workplace, server: Server, name: str) -> None:
    """Its id is a new one, and it is found by its code: under the recorded address or a moved one."""
    hide_variables(place)
    body = server.call("GET", "_emulator/objects/plugin/1/")["body"]
    server.call("DELETE", "_emulator/objects/plugin/1/")
    anew = {"auth": {"token": OUTSIDE, "user": "x"}, "keys": [OUTSIDE], "quality": 0.1}
    server.call("POST", "plugins/", {**body, "configuration": anew})
    server.switch(plugin_list="list")
    rules = json.loads((place.root / "synapse-apply.yaml").read_text(encoding="utf-8"))
    if name != "yolo":
        rules["moved"] = [{"from": "plugin/yolo", "to": f"plugin/{name}"}]
    place.write("synapse-apply.yaml", json.dumps(rules))
    write(place, plugin(name, configuration={"auth": {"token": "mine"}}, lifecycle=None))
    ran = [*views(place), place.run("show", f"plugin/{name}", code=0)]
    assert "live as id 2" in ran[-1].out
    assert_hidden(place, *ran)


def test_a_pull_request_that_asks_no_backend(place: Workplace, git: Callable[..., None]) -> None:
    """Offline, a literal in the place of what a commit names as a secret is not shown either."""
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "first")
    write(place, plugin(lifecycle=None, configuration={"auth": {"token": LIVE}}))
    offline = ("--offline", "--against", "git:HEAD")
    ran = [place.plan(*offline), place.plan(*offline, "--json")]
    (place.root / "manifests/plugins.yaml").unlink()
    assert "(sensitive" in ran[0].text
    assert_hidden(place, *ran)


@pytest.fixture
def git(place: Workplace) -> Callable[..., None]:
    return partial(git_repositories.git, place.root)


def test_what_was_dropped_is_said_and_sent_as_a_secret(place: Workplace, server: Server) -> None:
    """A literal in its place is a warning; it is sent, recorded as a digest, and can be named again."""
    hide_variables(place)
    configuration = {"auth": {"token": OUTSIDE, "user": "reader"}, "keys": ["k"]}
    write(place, plugin(lifecycle=None, configuration=configuration))
    planned = place.plan(code=0)
    assert "A recorded secret is no longer marked as secret" in planned.text
    assert "lifecycle: {sensitive: [/configuration/auth/token]}" in planned.text
    applied = place.apply()
    live = server.call("GET", "_emulator/objects/plugin/1/")["body"]["configuration"]
    assert live["auth"]["token"] == OUTSIDE
    place.unchanged()
    (place.root / "manifests/plugins.yaml").unlink()
    assert_hidden(place, planned, applied, place.run("state", "show", "plugin/yolo"))


def test_a_way_back_to_a_plain_field(place: Workplace, server: Server) -> None:
    """Taken out, applied and declared anew it is a plain field, as the warning says."""
    write(place, plugin(lifecycle=None, configuration={"quality": 0.8}))
    place.apply()
    assert "auth" not in server.call("GET", "_emulator/objects/plugin/1/")["body"]["configuration"]
    write(place, plugin(lifecycle=None, configuration={"auth": {"token": "for-all"}}))
    planned = place.plan(code=0)
    assert "for-all" in planned.out
    assert "recorded secret" not in planned.text
    place.apply()
    place.unchanged()


def test_a_server_that_repeats_it_elsewhere(place: Workplace, server: Server) -> None:
    """The value in another field of the answer is masked as that of a storage is."""
    body = server.call("GET", "_emulator/objects/plugin/1/")["body"]
    repeated = {**body["configuration"], "note": f"token {LIVE}", LIVE: 1}
    server.call(
        "PATCH",
        "_emulator/objects/plugin/1/",
        {"configuration": repeated, "description": f"was {LIVE}"},
    )
    assert_hidden(place, *views(place))


def test_a_plain_field_that_becomes_a_secret(place: Workplace, server: Server) -> None:
    """Named after it was applied as plain text: hidden at once, out of the state with the next apply."""
    configuration = {"token": OUTSIDE, "quality": 0.8}
    write(place, plugin(), plugin("seg", "seg", lifecycle=None, configuration=configuration))
    place.apply()
    named = {"token": {"valueFrom": {"env": "SEG"}}, "quality": 0.8}
    sensitive = {"sensitive": ["/configuration/token"]}
    write(place, plugin(), plugin("seg", "seg", lifecycle=sensitive, configuration=named))
    ran = [place.plan(), place.plan("--json"), place.run("drift"), place.run("show", "plugin/seg")]
    place.environ["SEG"] = OUTSIDE
    ran += [place.plan(code=0), place.plan("--json"), place.apply()]
    assert "No changes." in ran[4].out
    place.unchanged()
    assert_hidden(place, *ran, place.run("state", "show", "plugin/seg", code=0), *views(place))


def test_a_whole_life(place: Workplace, server: Server) -> None:
    """Changed, saved, applied, accepted, undone, digested anew, backed up: no byte shows a value."""
    place.environ["CANARY"] = OUTSIDE
    ran = [
        place.plan("--detailed-exitcode", code=2),
        place.plan("--out", "new.plan", code=0),
        place.run("show", "new.plan"),
        place.run("apply", "new.plan", "--json", code=0),
        place.plan("--detailed-exitcode", code=0),
    ]
    live = server.call("GET", "_emulator/objects/plugin/1/")["body"]["configuration"]
    assert live["auth"]["token"] == OUTSIDE
    rotated_outside(server)
    place.environ["CANARY"] = LIVE
    ran += [
        place.run("state", "accept", "plugin/yolo", "--auto-approve", code=0),
        place.plan(),
        place.run("state", "accept", "plugin/yolo", "--undo", code=0),
        place.run("state", "rekey", code=0),
        place.run("state", "backup", "saved.db", code=0),
        place.run("state", "show", "--inventory", code=0),
        place.plan("--resend-secrets", "--json"),
        place.apply("--resend-secrets"),
        place.run("state", "history", code=0),
    ]
    assert_hidden(place, *ran, *views(place))


@pytest.mark.parametrize("how", WAYS if DEEP else ["json", "field", "fields", "success"])
def test_a_server_that_echoes_what_it_was_sent(tmp_path: Path, how: str) -> None:
    """In its words on a create, on the field, beside it, or as the object itself."""
    environ = {"PROD_TOKEN": TOKEN, "CANARY": LIVE, "CANARY_KEYS": json.dumps([OUTSIDE])}
    place = Workplace(tmp_path / "project", environ)
    with echoing(Echo, how) as url:
        place.write("synapse-apply.yaml", project(url, settle_after=0.2))
        write(place, plugin())
        place.run("state", "init", code=0)
        ran = [place.apply(code=None), place.apply("--json", code=None)]
    assert ran[0].code in (3, 7)
    assert_hidden(place, *ran)


@pytest.mark.parametrize("end", ["x", ""], ids=["paths that are wrong", "paths that are right"])
def test_thousands_of_them_take_no_time(tmp_path: Path, end: str) -> None:
    keys = [f"key-{number:05}" for number in range(3000)]
    begin = time.process_time()
    sensitive = {"sensitive": [f"/configuration/{key}{end}" for key in keys]}
    place = Workplace(tmp_path)
    write(place, plugin(lifecycle=sensitive, configuration=dict.fromkeys(keys, "v")))
    assert "3,000 warnings" in place.run("validate", "-t", "embedded").out
    assert time.process_time() - begin < 60
