"""Releases that are marked with their owner: another project never adopts or imports them."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from e2e.scenarios.workplace import CONFIG, PLUGIN, Server, Workplace

MARK, DIGEST = "x-synapse-apply-owner", "x-synapse-apply-digest"
RELEASE = "release/yolo@1.0.0"
RELEASE_OF_OTHERS = """\
apiVersion: synapse-apply/v1
kind: Release
lifecycle: {external: true}
spec: {plugin: yolo, version: "1.0.0", source: published}
"""
FIRST_LOOK = {"method": "GET", "path": "/plugin_releases/yolo@1.0.0/", "nth": 1}
UPLOAD = {"method": "POST", "path": "/plugin_releases/"}


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    """A backend that stores what a release is published with."""
    return serve(release_meta="kept")


def own(place: Workplace, *owners: str) -> None:
    """Declare who manages the targets of a project."""
    path = place.root / "synapse-apply.yaml"
    settings = json.loads(path.read_text(encoding="utf-8"))
    place.write(path.name, json.dumps(settings | {"owners": owners}))


@pytest.fixture
def vision(server: Server, make: Callable[..., Workplace]) -> Workplace:
    """The project whose release is marked."""
    place = make(server, "vision")
    own(place, "vision")
    place.run("state", "init", code=0)
    place.apply()
    return place


@pytest.fixture
def research(server: Server, make: Callable[..., Workplace], vision: Workplace) -> Workplace:
    """Another project that declares the same objects, and does not record the release."""
    place = make(server, "research", settle_after=0)
    own(place, "research")
    place.run("state", "init", code=0)
    place.run("import", "plugin/yolo", "1", code=0)
    place.run("import", "storage/raw-data", "1", code=0)
    return place


def recorded(place: Workplace) -> bool:
    return RELEASE in place.run("state", "show", code=0).out


def test_only_its_meta_is_marked(vision, server, make, serve):
    """What the plugin gets is the same without an owner, and nothing is ever left to do."""
    vision.unchanged()
    backend = serve("unmarked", release_meta="kept")
    plain = make(backend, "plain")
    plain.run("state", "init", code=0)
    plain.apply()
    ((marked,), (unmarked,)) = (each.objects("release") for each in (server, backend))
    assert marked["body"]["meta"].pop(MARK) == "vision"
    for body in (marked["body"], unmarked["body"]):
        assert body["meta"].keys() == {DIGEST}
        assert CONFIG not in str(body.get("config"))
    assert marked["body"] == unmarked["body"]


@pytest.mark.parametrize("owners", [("research", "labs"), ()])
def test_another_project_never_adopts_it(research, server, owners):
    """Both are named, with the ways out; nothing is sent or recorded."""
    if owners:
        own(research, *owners)
        us = "this project belongs to research, labs"
    else:
        research.edit("synapse-apply.yaml", ', "owners": ["research"]', "")
        us = "this project has no `owners`"
    before = server.objects("release"), server.writes
    ran = research.apply("--adopt", code=5)
    assert (
        f"! {RELEASE} cannot be imported: id 1 is marked as managed by vision, and {us}" in ran.out
    )
    assert f"let vision hand it over: `state mv {RELEASE} --to TARGET` in its project" in ran.out
    assert "leave it to vision: declare it here with lifecycle: {external: true}" in ran.out
    assert "if vision was a name of this project: add it to `owners`" in ran.out
    assert (server.objects("release"), server.writes) == before
    assert not recorded(research)


def test_nor_imports_it(research):
    refused = research.run("import", RELEASE, "1", code=1).err
    assert f"{RELEASE}: id 1 is marked as managed by vision, and this project belongs to" in refused
    assert f"`state mv {RELEASE} --to TARGET` in its project" in refused
    assert not recorded(research)


def test_nor_takes_what_its_own_create_meets(research, server):
    """The other project published the same package after the plan."""
    late = {"rules": [{"match": FIRST_LOOK, "do": {"status": 404}}]}
    server.call("PUT", "_emulator/faults/", late)
    ran = research.apply("--adopt", code=3)
    assert "Id 1 is marked as managed by vision, and this project belongs to research" in ran.text
    assert not recorded(research)


def test_nor_what_it_finds_after_a_lost_answer(research, server):
    """The call did nothing, and the package of the other project is the same."""
    lost = [
        {"match": FIRST_LOOK, "do": {"status": 404}},
        {"match": UPLOAD, "do": {"reset": "before"}},
    ]
    server.call("PUT", "_emulator/faults/", {"rules": lost})
    assert research.apply("--adopt", code=None).code in {3, 7}
    server.call("PUT", "_emulator/faults/", {"rules": []})
    assert not recorded(research)
    ran = research.apply("--wait", "--adopt", code=5)
    assert "is marked as managed by vision" in ran.out
    assert not recorded(research)


def test_a_former_name_takes_it(research, server):
    """As does the same project without its state."""
    own(research, "research", "vision")
    research.apply("--adopt")
    assert recorded(research)
    research.unchanged()
    assert server.counts == (1, 1, 1)


def test_its_owner_hands_it_over(research, vision, server):
    """The mark stays: a published release never changes."""
    vision.write("manifests/plugin.yaml", PLUGIN, RELEASE_OF_OTHERS)
    file = str(research.root / "synapse-apply.yaml")
    vision.run("state", "mv", RELEASE, "--to", "prod", "--to-project", file, code=0)
    assert recorded(research)
    assert not recorded(vision)
    research.unchanged()
    vision.unchanged()
    assert server.objects("release")[0]["body"]["meta"][MARK] == "vision"


@pytest.mark.parametrize("meta", [None, "vision", {MARK: 1}, {MARK: "No\x1b[31m name"}])
def test_what_is_no_name_marks_nothing(research, server, meta):
    """Others may write `meta`; their words are not shown."""
    server.call("PATCH", "_emulator/objects/release/1/", {"meta": meta})
    research.apply("--adopt")
    assert recorded(research)


def test_an_owner_has_the_form_of_a_name(research):
    own(research, "Vision Team")
    refused = research.plan(code=1).err
    assert "owners" in refused
    assert "small letters, digits" in refused
