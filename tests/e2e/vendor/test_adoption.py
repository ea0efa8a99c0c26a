"""Export, import and adoption where the vendor's v1 lists plugins, those of others among them."""

from __future__ import annotations

import shutil

import pytest
from contract.vendor.packages import config_of, zip_of
from contract.vendor.world import OTHER_TENANT, TENANT
from e2e.vendor.manifests import PLUGIN, RELEASE


@pytest.fixture
def live(backend):
    """A backend that people filled by hand, beside what others share."""
    world = backend.world
    plugin = world.add_plugin(TENANT, "Yolo", "yolo", category="upload", detail={"a": 1})
    for version in ("0.9.0", "1.0.0"):
        config = config_of(version=version)
        world.add_release(plugin, version, zip_of(config), config=config)
    world.add_storage("Raw data", provider="file_system", configuration={"location": "/data/raw"})
    theirs = world.add_plugin(OTHER_TENANT, "Theirs", "theirs", is_public=True)
    world.add_release(theirs, "1.0.0", b"")
    world.add_plugin(None, "System", "system", is_public=True, system_only=True)
    return backend


@pytest.fixture
def bare(live, create_project):
    """A project without manifests."""
    place = create_project(live)
    shutil.rmtree(place.root / "manifests")
    (place.root / "manifests").mkdir()
    return place


def test_what_is_exported_and_imported_has_no_changes(live, bare):
    """Without a list of codes or ids; no `config` of a release, no signature of its file."""
    bare.run("export", code=0)
    text = "".join(
        path.read_text(encoding="utf-8")
        for path in (bare.root / "manifests").rglob("*.yaml")
        if ".schema" not in path.parts
    )
    assert "code: yolo" in text
    assert "config:" not in text
    assert "X-Amz" not in text
    assert "code: system" not in text
    bare.run("import", "-f", "inventory.yaml", code=0)
    bare.unchanged()
    assert live.writes == []


def test_public_plugins_of_others_are_not_exported_where_their_tenant_is_shown(
    serve, create_project
):
    backend = serve(shows_tenant=True)
    backend.world.add_plugin(OTHER_TENANT, "Theirs", "theirs", is_public=True)
    backend.world.add_plugin(TENANT, "Ours", "ours", is_public=True)
    place = create_project(backend)
    shutil.rmtree(place.root / "manifests")
    place.run("export", code=0)
    names = {path.name for path in (place.root / "manifests" / "plugins").iterdir()}
    assert names == {"ours.yaml"}


def test_a_plugin_is_found_by_its_code_alone(backend, place):
    """With an empty state; there is no release yet by which it could be found."""
    fields = {"category": "upload", "description": "Finds things"}
    backend.world.add_plugin(TENANT, "Yolo", "yolo", **fields)
    place.apply("--adopt")
    assert backend.counts == (1, 1, 1)
    assert backend.requests_to("POST", "/plugins/") == []
    place.unchanged()


def test_an_adopted_release_differs_in_nothing(live, create_project):
    """Its config is that of its package; the bytes are unverified, and it is refused for nothing."""
    place = create_project(live)
    place.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    ran = place.apply("--adopt")
    assert "unverified" in ran.text
    assert live.counts == (3, 3, 1)
    place.unchanged()


def test_import_by_id(live, place):
    plugin, release = live.world.plugins[0], live.world.releases[1]
    place.run("import", "plugin/yolo", str(plugin["id"]), code=0)
    place.run("import", "release/yolo@1.0.0", str(release["id"]), code=0)
    place.apply("--adopt")
    assert live.counts == (3, 3, 1)
    assert live.requests_to("POST", "/plugin_releases/") == []
    place.unchanged()


def test_an_update_of_a_plugin_of_others_says_whose_it_is(live, bare):
    """Imported by hand, since nothing showed whose it is: 403, and the way out is to let it go."""
    theirs = next(one for one in live.world.plugins if one["code"] == "theirs")
    bare.write("manifests/plugin.yaml", PLUGIN.replace("yolo", "theirs"))
    bare.run("import", "plugin/theirs", str(theirs["id"]), code=None)
    ran = bare.apply("--adopt", code=None)
    assert ran.code in {3, 5}
    assert "If the object belongs to another tenant or to the platform" in ran.text
    assert "`synapse-apply state rm plugin/theirs`" in ran.text
    assert theirs["description"] == ""


def test_the_texts_say_what_was_found_here(live, create_project):
    """This backend lists plugins: nobody is told that they cannot be found."""
    place = create_project(live, name="second")
    for path in (place.root / ".synapse-apply" / "state").iterdir():
        path.unlink()
    ran = place.run("state", "init", code=0)
    assert "This backend lists plugins, so `plan` finds existing objects" in ran.text
    assert "creates them a second time" not in ran.text


def test_what_others_share_is_not_unmanaged(live, bare):
    bare.write("manifests/plugin.yaml", PLUGIN, RELEASE)
    bare.run("export", "--unmanaged", "--out", "new", "--inventory", "new/inventory.yaml", code=0)
    text = (bare.root / "new" / "inventory.yaml").read_text(encoding="utf-8")
    assert "plugin/system" not in text
