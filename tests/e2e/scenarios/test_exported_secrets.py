"""`export` of secrets in a plugin's free-form configuration, and the plans that follow."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from e2e.scenarios.canaries import CANARIES, leaks, leaks_in_files
from e2e.scenarios.workplace import Ran, Server, Workplace

TOKEN = "ghp_" + "a1B2c3D4e5" * 4  # the form of a well-known one
PASSWORD = CANARIES["literal"]
CONFIGURATION = {
    "auth": {"password": PASSWORD, "user": "reader"},
    "hosts": ["a.example.org", "b.example.org"],
    "note": f"uses {TOKEN}",
    "api-keys": [{"token": TOKEN}],
    "secret_name": "team/reader",
    "quality": 0.8,
}
VARIABLES = {
    "PLUGIN_YOLO_AUTH_PASSWORD": PASSWORD,
    "PLUGIN_YOLO_NOTE": f"uses {TOKEN}",
    "PLUGIN_YOLO_API_KEYS": json.dumps([{"token": TOKEN}]),
}


def place_beside(make: Callable[..., Workplace], server: Server, **settings: Any) -> Workplace:
    """An empty project, and a plugin that somebody made with secrets in it."""
    body = {"name": "Yolo", "code": "yolo", "configuration": CONFIGURATION}
    server.call("POST", "plugins/", body)
    place = make(server, **settings)
    for path in (place.root / "manifests").glob("*.yaml"):
        path.unlink()
    return place


@pytest.fixture
def exported(serve: Callable[..., Server], make: Callable[..., Workplace]) -> tuple[Ran, Workplace]:
    """The plugin exported and imported."""
    place = place_beside(make, serve(plugin_list="list", profile="page"))
    ran = place.run("export", code=0)
    place.run("state", "init", code=0)
    place.run("import", "-f", "inventory.yaml", code=0)
    return ran, place


def assert_hidden(place: Workplace, *ran: Ran) -> None:
    for one in ran:
        assert leaks(one.text.encode()) == []
        assert TOKEN not in one.text
    assert leaks_in_files(place.root, ()) == []
    files = [path for path in place.root.rglob("*") if path.is_file()]
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]


def test_what_looks_like_a_secret_is_taken_out(exported: tuple[Ran, Workplace]) -> None:
    """It comes from a variable, is named, and told; what is none stays as it is."""
    ran, place = exported
    text = (place.root / "manifests/plugins/yolo.yaml").read_text(encoding="utf-8")
    for pointer in (
        "/configuration/api-keys",
        "/configuration/auth/password",
        "/configuration/note",
    ):
        assert f"    - {pointer}\n" in text
        assert f"plugin/yolo: {pointer} is a secret, or looks like one: set PLUGIN_YOLO_" in ran.out
    assert "password: {valueFrom: {env: PLUGIN_YOLO_AUTH_PASSWORD}}" in text
    assert "api-keys: {valueFrom: {env: PLUGIN_YOLO_API_KEYS, format: json}}" in text
    assert "secret_name: team/reader" in text
    assert "- a.example.org" in text
    assert_hidden(place, ran)


def test_a_plan_with_the_variables_and_one_without(exported: tuple[Ran, Workplace]) -> None:
    """With them nothing is to do; without them nothing is known, and nothing is done."""
    _, place = exported
    without = place.plan(code=0)
    assert (
        "configuration.note: (sensitive, not checked: PLUGIN_YOLO_NOTE is not set)" in without.out
    )
    assert "No changes." in without.out
    place.edit("manifests/plugins/yolo.yaml", "quality: 0.8", "quality: 0.9")
    stopped = place.apply(code=1)
    assert "Set the environment variable PLUGIN_YOLO_AUTH_PASSWORD" in stopped.err
    place.edit("manifests/plugins/yolo.yaml", "quality: 0.9", "quality: 0.8")
    place.environ.update(VARIABLES)
    place.unchanged()
    place.apply()
    place.unchanged()
    assert_hidden(place, without, stopped, place.run("state", "show", "plugin/yolo", code=0))


def test_the_document_lists_them_without_values(exported: tuple[Ran, Workplace]) -> None:
    """For programs: the path and the variable of each."""
    _, place = exported
    ran = place.run("export", "--out", "again", "--inventory", "rows.yaml", "--json", code=0)
    secrets: list[dict[str, Any]] = ran.document["exported"][0]["secrets"]
    assert {one["env"] for one in secrets} == set(VARIABLES)
    assert_hidden(place, ran)


def test_one_that_an_allow_list_forbids_is_left_out(
    serve: Callable[..., Server], make: Callable[..., Workplace]
) -> None:
    """Its name matches no pattern of allow_env: the field is not written, with the reason."""
    place = place_beside(make, serve(plugin_list="list", profile="page"), allow_env=["RAW_*"])
    ran = place.run("export", code=3)
    assert "PLUGIN_YOLO_NOTE matches no pattern of allow_env" in ran.out
    text = (place.root / "manifests/plugins/yolo.yaml").read_text(encoding="utf-8")
    assert "sensitive" not in text
    assert "note" not in text
    assert_hidden(place, ran)
