"""The main job on the vendor's v1: made once, then nothing is left to do, whatever is guessed."""

from __future__ import annotations

import pytest
from contract.vendor.packages import config_of, write_package
from contract.vendor.world import TENANT

GUESSES = {
    "likeliest": {},
    "release by id": {"plugin_reference": "id"},
    "release by either": {"plugin_reference": "both"},
    "first release": {"makes_first_release": True},
    "status 200": {"created_status": 200},
    "form unchecked": {"refuses_disagreement": False},
    "no meta": {"keeps_meta": False},
    "bare list": {"storages_in_pages": False},
    "own alone": {"lists_others": False},
    "with tenants": {"shows_tenant": True},
    "put of a part": {"needs_whole_put": False},
    "read by code": {"reads_by_code": True},
    "base path": {"base_path": "/api"},
    "unknown owner 404": {"unknown_owner_filter": "404"},
    "unknown owner 400": {"unknown_owner_filter": "400"},
}


@pytest.mark.parametrize("guesses", GUESSES.values(), ids=GUESSES)
def test_applied_once_then_no_changes(serve, create_project, guesses):
    """A plugin, its release and a storage, each once; the release names its plugin by the code."""
    backend = serve(**guesses)
    place = create_project(backend)
    place.apply()
    extra = int(backend.world.guesses.makes_first_release)
    assert backend.counts == (1, 1 + extra, 1)
    assert len(backend.requests_to("POST", "/plugins/")) == 1
    assert len(backend.requests_to("POST", "/storages/")) == 1
    uploads = backend.requests_to("POST", "/plugin_releases/")
    references = [part.text for one in uploads for part in one.parts() if part.name == "plugin"]
    plugin = str(backend.world.plugins[0]["id"])
    by_id = backend.world.guesses.plugin_reference == "id"
    assert references == (["yolo", plugin] if by_id else ["yolo"])
    place.unchanged()
    writes = list(backend.writes)
    place.apply()
    assert backend.writes == writes


def test_an_update_keeps_what_is_not_declared(backend, applied):
    """PUT of the whole set; `detail` and the rest stay as somebody set them in Synapse."""
    plugin = backend.world.plugins[0]
    plugin |= {"detail": {"owner": "vision"}, "is_public": True, "is_active": False}
    applied.unchanged()
    applied.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    applied.apply()
    assert plugin["description"] == "Finds more"
    assert (plugin["detail"], plugin["is_public"]) == ({"owner": "vision"}, True)
    assert plugin["is_active"] is False
    applied.unchanged()


def test_a_second_version(backend, applied):
    write_package(applied.root / "plugins" / "yolo", config_of(version="1.1.0"))
    applied.edit("manifests/plugin.yaml", '"1.0.0"', '"1.1.0"')
    applied.apply()
    assert [one["version"] for one in backend.world.releases] == ["1.0.0", "1.1.0"]
    applied.unchanged()


def test_a_code_of_digits_is_never_taken_for_an_id(serve, create_project):
    """Another plugin has that id; the release goes to the one it belongs to."""
    backend = serve(plugin_reference="both")
    other = backend.world.add_plugin(TENANT, "Other", "other")
    place = create_project(backend)
    code = str(other["id"])
    place.edit("manifests/plugin.yaml", "code: yolo", f'code: "{code}"')
    write_package(place.root / "plugins" / "yolo", config_of(code))
    place.apply()
    (release,) = backend.world.releases
    assert release["plugin"] != other["id"]
    place.unchanged()


def test_drift_is_seen_and_reverted(backend, applied):
    assert "No drift" in applied.run("drift", "--detailed-exitcode", code=0).out
    backend.world.plugins[0]["description"] = "changed by hand"
    assert "changed by hand" in applied.run("drift", "--detailed-exitcode", code=2).out
    applied.apply()
    assert backend.world.plugins[0]["description"] == "Finds things"
    applied.unchanged()


def test_a_release_that_is_gone_is_made_again(backend, applied):
    """Somebody deleted it by other means: the lookup says so, and apply publishes it anew."""
    backend.world.releases.clear()
    applied.apply()
    assert backend.counts == (1, 1, 1)
    applied.unchanged()
