"""`drift --write` where live has another shape: no value of it is lost, and the plan is clean."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from e2e.scenarios.canaries import CANARIES, leaks, leaks_in_files
from e2e.scenarios.workplace import STAGING, Server, Workplace

PLUGIN = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {{name: p1}}
spec:
  name: P1
  code: p1
  configuration: {declared}
"""
BLOCK = """\
    # What lies deep.
    deep:
      x:
        y: z
    a:  # a map
      b: 1
    o:
      x: 1
    m: {k: v}
    l: 1  # the last
"""
BLOCK_AFTER = """\
    # What lies deep.
    deep:
      x: PRECIOUS
    a:  # a map
      - one
      - {two: 2}
    m: null
    l: 2  # the last
"""
STORAGE = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: s3}
spec:
  name: S3
  provider: amazon_s3
  configuration: {bucket_name: b, access_key_id: id, secret_access_key: {valueFrom: {env: RAW_KEY}}}
"""
PROJECT = """\
apiVersion: synapse-apply/v1
kind: Project
manifests: [manifests/]
default_target: prod
targets:
  prod:
    url: URL
    tenant: acme
    token: {env: PROD_TOKEN}
    allow_env: ["RAW_*"]
"""

# What is declared, what is live, what is declared once that was accepted, what was said of it.
SHAPES: dict[str, tuple[Any, Any, Any, list[str]]] = {
    "a text, and a list, where a map was": (
        {"deep": {"x": {"y": "z"}}, "a": {"b": {"c": 1}}, "l": {"m": 1}},
        {"deep": {"x": "PRECIOUS"}, "a": ["PRECIOUS", {"k": None}], "l": {"m": 1}},
        {"deep": {"x": "PRECIOUS"}, "a": ["PRECIOUS", {"k": None}], "l": {"m": 1}},
        ['deep.x: { y = "z" } -> "PRECIOUS"', "a: { b = { c = 1 } } -> ["],
    ),
    "a number, false, an empty list and an empty text": (
        {"n": {"k": 1}, "f": {"k": {"j": 1}}, "l": {"k": 1}, "t": {"k": 1, "j": 2}},
        {"n": 0, "f": False, "l": [], "t": ""},
        {"n": 0, "f": False, "l": [], "t": ""},
        ["n: { k = 1 } -> 0", "f: { k = { j = 1 } } -> false", 't: { j = 2, k = 1 } -> ""'],
    ),
    "nothing, and null, where a map was": (
        {"n": 1, "m": {"k": "v"}, "only": {"x": {"y": 1}, "z": 2}},
        {"n": 1, "m": None},
        {"n": 1, "m": None},
        ['m: { k = "v" } -> null', "only: { x = { y = 1 }, z = 2 } -> (not set)"],
    ),
    "a map that is empty live stays one": (
        {"n": 1, "a": {"b": {"c": 1}}, "d": {"e": {"f": 1}}},
        {"n": 1, "a": {"b": {}}, "d": {}},
        {"n": 1, "a": {"b": {}}, "d": {}},
        ["a.b.c: 1 -> (not set)", "d.e: { f = 1 } -> (not set)"],
    ),
    "a map with keys of others stays one": (
        {"n": 1, "a": {"b": {"c": 1}}},
        {"n": 1, "a": {"other": 5}},
        {"n": 1, "a": {}},
        ["a.b: { c = 1 } -> (not set)"],
    ),
    "a map that has nothing but nulls is an empty one": (
        {"n": 1, "a": {"b": 1}},
        {"n": 1, "a": {"b": None}},
        {"n": 1, "a": {}},
        ["a.b: 1 -> (not set)"],
    ),
    "some keys of a map": (
        {"a": {"b": 1, "c": 2, "d": {"e": 3}}},
        {"a": {"c": 5}},
        {"a": {"c": 5}},
        ["a.b: 1 -> (not set)", "a.c: 2 -> 5", "a.d: { e = 3 } -> (not set)"],
    ),
    "lists and scalars that became something else": (
        {"l": [1, 2], "s": 1, "e": {}, "m": [1], "t": [True]},
        {"l": {"k": [1]}, "s": {"k": {"j": 2}}, "e": "text", "t": [1]},
        {"l": {"k": [1]}, "s": {"k": {"j": 2}}, "e": "text", "t": [1]},
        ["e: {} -> ", "l: [1, 2] -> { k = [1] }", "m: [1] -> (not set)", "t: [true] -> [1]"],
    ),
    "all of it": ({"a": {"b": 1}}, None, None, ["configuration: { a = { b = 1 } } -> (not set)"]),
}


def declared(value: Any) -> str:
    return PLUGIN.format(declared=yaml.safe_dump(value, default_flow_style=True, width=999).strip())


@pytest.fixture
def site(ready: Workplace, server: Server) -> Workplace:
    """A project without a plugin yet, on one target."""
    for name in ("manifests/plugin.yaml", "manifests/storage.yaml"):
        (ready.root / name).unlink()
    ready.write("synapse-apply.yaml", PROJECT.replace("URL", server.url))
    return ready


def drifted(place: Workplace, server: Server, before: Any, live: Any) -> None:
    """Declared and applied, then edited by hand."""
    place.write("manifests/all.yaml", declared(before))
    place.apply()
    edit(server, live)


def edit(server: Server, live: Any) -> None:
    server.call("PATCH", "_emulator/objects/plugin/1/", {"configuration": live})


def live_now(server: Server) -> Any:
    return server.objects("plugin")[0]["body"].get("configuration")


def text(place: Workplace, name: str = "manifests/all.yaml") -> str:
    return (place.root / name).read_text(encoding="utf-8")


def files(place: Workplace) -> dict[str, str]:
    return {str(path): path.read_text(encoding="utf-8") for path in place.root.glob("**/*.yaml")}


def refused(place: Workplace, address: str = "plugin/p1") -> str:
    before = files(place)
    ran = place.run("drift", "-t", "prod", "--write", address, code=1)
    assert files(place) == before, "a file was written"
    assert "This drift cannot be written" in ran.err
    return ran.err


@pytest.mark.parametrize("name", SHAPES)
def test_live_takes_the_place_of_what_is_declared(
    site: Workplace, server: Server, name: str
) -> None:
    """The file says what is live, the words say what was edited, and an apply changes nothing."""
    before, live, after, said = SHAPES[name]
    drifted(site, server, before, live)
    ran = site.run("drift", "--write", "plugin/p1", code=0)
    assert yaml.safe_load(text(site))["spec"].get("configuration") == after
    for words in said:
        assert f"spec.{'' if live is None else 'configuration.'}{words}" in ran.out
    assert len(ran.out.splitlines()) >= len(said) + 3
    assert "No changes." in site.apply().out
    assert live_now(server) == live
    site.unchanged()
    assert "No drift." in site.run("drift", code=0).out


def test_drift_and_plan_show_what_stands_there(site: Workplace, server: Server) -> None:
    """Before anything is accepted or undone: what an apply would take away."""
    drifted(site, server, {"x": {"y": "z"}, "l": {"k": 1}}, {"x": "PRECIOUS", "l": ["TREASURE"]})
    shown = site.run("drift", "--report", "html=d.html", "--report", "markdown=d.md", code=0)
    document = site.run("drift", "--json", code=0).document
    (one,) = document["resource_drift"]
    live = {field["path"]: field["live"] for field in one["fields"] if field["live"]}
    assert live == {"/configuration/l": ["TREASURE"], "/configuration/x": "PRECIOUS"}
    planned = site.run("plan", "--report", "html=p.html", "--report", "markdown=p.md", code=0)
    told = [(site.root / name).read_text() for name in ("d.html", "d.md", "p.html", "p.md")]
    for text in (shown.out, planned.out, *told):
        assert "PRECIOUS" in text
        assert "TREASURE" in text


@pytest.mark.parametrize("name", [name for name in SHAPES if name != "all of it"])
def test_so_does_the_overlay_of_a_target(site: Workplace, server: Server, name: str) -> None:
    """Other targets read the manifest: it stays, and the overlay says what is live here."""
    before, live, _, said = SHAPES[name]
    drifted(site, server, before, live)
    site.write("synapse-apply.yaml", PROJECT.replace("URL", server.url) + STAGING)
    ran = site.run("drift", "-t", "prod", "--write", "plugin/p1", code=0)
    assert text(site) == declared(before)
    for words in said:
        assert f"spec.configuration.{words}" in ran.out
    assert "No changes." in site.apply().out
    assert live_now(server) == live
    site.unchanged()


def test_lines_and_their_comments(site: Workplace, server: Server) -> None:
    """Where maps are written on lines of their own, all other lines stay as they are."""
    site.write("manifests/all.yaml", PLUGIN.format(declared="# all of it") + BLOCK)
    site.apply()
    body = {"name": "P1", "code": "p1"}
    live = {"deep": {"x": "PRECIOUS"}, "a": ["one", {"two": 2}], "m": None, "l": 2}
    server.call("PUT", "plugins/1/", {**body, "configuration": live})
    ran = site.run("drift", "--write", "plugin/p1", code=0)
    assert 'manifests/all.yaml:10  spec.configuration.deep.x: { y = "z" } -> "PRECIOUS"' in ran.out
    assert text(site) == PLUGIN.format(declared="# all of it") + BLOCK_AFTER
    assert "No changes." in site.apply().out
    assert live_now(server) == live


def test_an_overlay_that_is_there(site: Workplace, server: Server) -> None:
    """What it sets below a place gives way to what is live at that place."""
    overlay = "    overlays: {plugin/p1: {spec: {configuration: {a: {b: {c: 2}}, n: {m: 1}}}}}\n"
    ours = PROJECT.replace("URL", server.url)
    site.write("synapse-apply.yaml", ours + overlay + STAGING)
    drifted(site, server, {"a": {"b": {"c": 1, "d": 1}}}, {"a": {"b": "PRECIOUS"}})
    ran = site.run("drift", "-t", "prod", "--write", "plugin/p1", code=0)
    assert 'spec.configuration.a.b: { c = 2, d = 1 } -> "PRECIOUS"' in ran.out
    assert "spec.configuration.n: { m = 1 } -> (not set)" in ran.out
    made = yaml.safe_load(text(site, "synapse-apply.yaml"))["targets"]["prod"]["overlays"]
    patch = {"a": {"b": "PRECIOUS"}, "n": None}
    assert made == {"plugin/p1": {"spec": {"configuration": patch}}}
    assert text(site) == declared({"a": {"b": {"c": 1, "d": 1}}})
    site.unchanged()


def test_what_only_git_has_stays_where_it_can(site: Workplace, server: Server) -> None:
    """A key that waits to be applied is no drift: its map is not taken out with what is gone."""
    drifted(site, server, {"only": {"x": 1}, "n": 1}, {"n": 1})
    site.write("manifests/all.yaml", declared({"only": {"x": 1, "new": 2}, "n": 1}))
    ran = site.run("drift", "--write", "plugin/p1", code=0)
    assert "spec.configuration.only.x: 1 -> (not set)" in ran.out
    assert yaml.safe_load(text(site))["spec"]["configuration"] == {"only": {"new": 2}, "n": 1}
    assert "1 to change" in site.plan().out
    site.apply()
    assert live_now(server) == {"only": {"new": 2}, "n": 1}


def test_the_document_has_the_edits(site: Workplace, server: Server) -> None:
    """--json --dry-run: one edit a place, whatever was declared below it; nothing is written."""
    drifted(site, server, {"a": {"b": 1, "c": {"d": 2}}}, {"a": ["x"]})
    before = files(site)
    ran = site.run("drift", "--write", "plugin/p1", "--dry-run", "--json", code=0)
    (one,) = ran.document["accepted"]
    assert (one["path"], one["before"], one["after"]) == (
        "/configuration/a",
        {"b": 1, "c": {"d": 2}},
        ["x"],
    )
    assert files(site) == before


def test_a_secret_in_the_way(site: Workplace, server: Server) -> None:
    """A server that writes all settings as one text hides the secret in there: it is refused."""
    site.environ["RAW_KEY"] = CANARIES["env"]
    site.write("manifests/storage.yaml", STORAGE)
    drifted(site, server, {"n": 1}, {"n": 1})
    packed = {"configuration": f"bucket_name=b;secret={CANARIES['file']}"}
    server.call("PATCH", "_emulator/objects/storage/1/", packed)
    said = refused(site, "storage/s3")
    assert "spec.configuration holds a secret: its value never goes into a file." in said
    assert "change it back in Synapse: apply cannot undo it (" in said
    assert not leaks(said.encode())
    assert not leaks_in_files(site.root, [])


def test_a_live_shape_that_no_manifest_may_have(site: Workplace, server: Server) -> None:
    """The schema is asked before a file is written."""
    drifted(site, server, {"a": {"b": 1}}, "PRECIOUS")
    assert "With the live values, the manifests would have the errors below." in refused(site)


def test_a_variable_below_is_told(site: Workplace, server: Server) -> None:
    """A declared map that a variable is in is not replaced in silence."""
    variables = "variables: {v: {default: z}}\n"
    site.write("synapse-apply.yaml", PROJECT.replace("URL", server.url) + variables)
    drifted(site, server, {"a": {"b": "${var.v}"}}, {"a": "PRECIOUS"})
    assert "spec.configuration.a comes from variable v." in refused(site)
