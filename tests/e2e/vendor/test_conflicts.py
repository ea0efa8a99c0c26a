"""A code or a version that is taken already: looked up, told plainly, never sent twice."""

from __future__ import annotations

import pytest
from contract.vendor.packages import config_of, zip_of
from contract.vendor.world import OTHER_TENANT, TENANT
from e2e.vendor.depth import choose

MODES = [(), ("--adopt",)]
KEYS = ("version", "non_field_errors", "detail")
CONFLICTS = choose(
    {f"{status} {key}": (status, key) for status in (400, 409) for key in KEYS},
    "400 version", "400 non_field_errors", "400 detail", "409 detail",
)  # fmt: skip


def add_same(backend):
    """The declared plugin, made by somebody else of our tenant."""
    fields = {"description": "Finds things", "category": "upload"}
    return backend.world.add_plugin(TENANT, "Yolo", "yolo", **fields)


@pytest.mark.parametrize("options", MODES, ids=["plain", "adopt"])
def test_a_code_of_another_tenant(backend, place, options):
    """In no list: said to be another tenant's; a second apply does no harm."""
    backend.world.add_plugin(OTHER_TENANT, "Hidden", "yolo")
    ran = place.apply(*options, code=3)
    assert "another tenant" in ran.text
    assert "plugin/yolo" in ran.text
    assert len(backend.requests_to("POST", "/plugins/")) == 1
    place.apply(*options, code=3)
    assert backend.counts == (1, 0, 1)
    assert not [one for one in backend.writes if one.startswith("PUT")]


@pytest.mark.parametrize("options", MODES, ids=["plain", "adopt"])
@pytest.mark.parametrize("tenant", [OTHER_TENANT, None], ids=["public", "system"])
@pytest.mark.parametrize("shows_tenant", [True, False], ids=["tenant shown", "not shown"])
def test_a_plugin_of_others_that_is_listed(serve, create_project, options, tenant, shows_tenant):
    """Nothing is ever sent to it that it takes, and no release of ours is put below it."""
    backend = serve(shows_tenant=shows_tenant)
    fields = {"is_public": True, "system_only": tenant is None, "description": "theirs"}
    theirs = backend.world.add_plugin(tenant, "Theirs", "yolo", **fields)
    place = create_project(backend)
    ran = place.apply(*options, code=None)
    assert ran.code in {3, 5}
    assert "plugin/yolo" in ran.text
    assert backend.counts[:2] == (1, 0)
    assert (theirs["name"], theirs["description"]) == ("Theirs", "theirs")
    if shows_tenant or tenant is None:
        assert not [one for one in backend.writes if one.startswith("PUT")]


def test_a_code_taken_in_a_race(backend, place):
    """Made by a colleague between plan and apply: told with the way on, then adopted."""
    backend.forestall("POST", "/plugins/", lambda: add_same(backend))
    ran = place.apply(code=3)
    assert "Correct the manifest" not in ran.text
    assert "--adopt" in ran.text or "import plugin/yolo" in ran.text
    assert backend.counts == (1, 0, 1)
    place.apply("--adopt")
    assert backend.counts == (1, 1, 1)
    assert len(backend.requests_to("POST", "/plugins/")) == 1
    place.unchanged()


def test_a_code_taken_in_a_race_is_adopted_where_that_was_asked_for(backend, place):
    backend.forestall("POST", "/plugins/", lambda: add_same(backend))
    place.apply("--adopt")
    assert backend.counts == (1, 1, 1)
    place.unchanged()


@pytest.mark.parametrize(("status", "key"), CONFLICTS.values(), ids=CONFLICTS)
@pytest.mark.parametrize("options", MODES, ids=["plain", "adopt"])
def test_a_version_taken_in_a_race(serve, create_project, options, status, key):
    """Whatever status and key: looked up, never sent twice, never said to be our bytes."""
    backend = serve(taken_version_status=status, taken_version_key=key)
    place = create_project(backend)

    def publish() -> None:
        content = zip_of(config_of(), other="bytes")
        (plugin,) = backend.world.plugins
        backend.world.add_release(plugin, "1.0.0", content, config=config_of())

    backend.forestall("POST", "/plugin_releases/", publish)
    ran = place.apply(*options, code=0 if options else 3)
    assert "Correct the manifest" not in ran.text
    assert len(backend.requests_to("POST", "/plugin_releases/")) == 1
    assert "unverified" in ran.text or "--adopt" in ran.text
    place.apply("--adopt")
    assert len(backend.requests_to("POST", "/plugin_releases/")) == 1
    assert backend.counts == (1, 1, 1)
    place.unchanged()


def test_a_refusal_of_another_field_keeps_the_servers_words(backend, place):
    """A category outside the list is no conflict, although the create names the code as well."""
    place.edit("manifests/plugin.yaml", "category: upload", "category: detection")
    config = config_of(category="detection")
    place.write("plugins/yolo/config.yaml", "".join(f"{k}: {v!r}\n" for k, v in config.items()))
    ran = place.apply(code=3)
    assert "category" in ran.text
    assert "not a valid choice" in ran.text
    assert "another tenant" not in ran.text
    assert backend.counts == (0, 0, 1)


def test_an_upload_refused_for_its_plugin_alone_is_sent_once_more(serve, create_project):
    """With the id, and not a third time; a refusal did nothing."""
    backend = serve(plugin_reference="id")
    place = create_project(backend)
    refusal = {"plugin": ["no"]}
    for _ in range(2):
        backend.answer_once("POST", "/plugin_releases/", 400, refusal)
    place.apply(code=3)
    assert len(backend.requests_to("POST", "/plugin_releases/")) == 2
    place.apply()
    assert backend.counts == (1, 1, 1)


def test_an_upload_refused_for_more_is_not_sent_again(backend, place):
    refusal = {"plugin": ["no"], "file": ["no"]}
    backend.answer_once("POST", "/plugin_releases/", 400, refusal)
    place.apply(code=3)
    assert len(backend.requests_to("POST", "/plugin_releases/")) == 1
