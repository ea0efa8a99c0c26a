"""Fields that the vendor's v1 has and those that it does not keep."""

from __future__ import annotations

import pytest

PLUGIN_EXTRAS = 'version: "1.0.0"\n  author: Vision\n  configuration: {quality: 1}\n'
RELEASE_EXTRAS = (
    "changelog: First\n  is_stable: true\n  requirements: [numpy]\n  config: {threads: 2}\n"
)
EXTRAS = {
    "plugin": ("category: upload\n", PLUGIN_EXTRAS, ("version", "author", "configuration")),
    "release": (
        "source: ./plugins/yolo\n",
        RELEASE_EXTRAS,
        ("changelog", "is_stable", "requirements", "config"),
    ),
}


@pytest.fixture(params=EXTRAS)
def with_extras(request, serve, create_project):
    """A project that declares fields the backend drops, and their names."""
    after, extras, names = EXTRAS[request.param]
    backend = serve(refuses_disagreement=False)
    place = create_project(backend)
    place.edit("manifests/plugin.yaml", after, f"{after}  {extras}")
    return backend, place, names


def test_a_field_that_is_not_kept_is_said_once_and_is_no_difference(with_extras):
    """Said by the apply that sends it; then plan, apply and drift are quiet."""
    backend, place, names = with_extras
    ran = place.apply()
    assert "does not store" in ran.text
    for name in names:
        assert f"`{name}`" in ran.text, ran.text
    place.unchanged()
    writes = list(backend.writes)
    again = place.apply()
    assert "does not store" not in again.text
    assert backend.writes == writes
    place.run("drift", "--detailed-exitcode", code=0)


def test_a_fresh_state_takes_it_over_without_a_difference(with_extras):
    """A lost state: all is adopted, nothing sent, nothing refused."""
    backend, place, _ = with_extras
    place.apply()
    writes = list(backend.writes)
    for path in (place.root / ".synapse-apply" / "state").iterdir():
        path.unlink()
    place.run("state", "init", code=0)
    place.apply("--adopt")
    assert backend.writes == writes
    place.unchanged()


@pytest.mark.parametrize("with_extras", ["plugin"], indirect=True)
def test_a_change_of_a_field_that_is_not_kept_is_no_difference(with_extras):
    _, place, _ = with_extras
    place.apply()
    place.edit("manifests/plugin.yaml", "author: Vision", "author: Platform")
    place.unchanged()


@pytest.mark.parametrize("with_extras", ["plugin"], indirect=True)
def test_a_backend_that_grows_the_field_compares_it_again(with_extras, monkeypatch):
    """An upgrade of the backend: from then on the field is a difference like any other."""
    backend, place, _ = with_extras
    place.apply()
    from contract.vendor import plugins

    monkeypatch.setattr(plugins, "FIELDS", (*plugins.FIELDS, "author"))
    backend.world.plugins[0]["author"] = "somebody"
    assert "author" in place.plan("--detailed-exitcode", code=2).out
    place.apply()
    assert backend.world.plugins[0]["author"] == "Vision"
    place.unchanged()


FLAGS = "is_public: true\n  is_active: false\n  detail: {team: vision}\n"


def test_the_vendors_own_fields_are_declared_compared_and_sent(backend, place):
    place.edit("manifests/plugin.yaml", "category: upload\n", f"category: upload\n  {FLAGS}")
    place.apply()
    (plugin,) = backend.world.plugins
    assert (plugin["is_public"], plugin["is_active"]) == (True, False)
    assert plugin["detail"] == {"team": "vision"}
    place.unchanged()
    plugin["is_public"] = False
    assert "is_public" in place.run("drift", "--detailed-exitcode", code=2).out
    place.apply()
    assert plugin["is_public"] is True


def test_they_are_never_sent_in_a_create_that_does_not_declare_them(backend, applied):
    (request,) = backend.requests_to("POST", "/plugins/")
    assert set(request.json()) == {"name", "code", "description", "category"}
