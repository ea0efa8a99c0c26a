"""Plugins, releases and their bytes: the client against the vendor's v1 as the facts tell it."""

from __future__ import annotations

import io
import json
import time
import urllib.error
import urllib.request

import pytest
from contract.vendor.failures import PLUGIN, error_of
from contract.vendor.packages import config_of, zip_of
from contract.vendor.world import TENANT, TOKEN
from openers import get_opener_without_proxy

PACKAGE = zip_of(config_of())
FORM = {"plugin": "yolo", "version": "1.0.0"}


@pytest.fixture
def plugin(backend):
    return backend.world.add_plugin(TENANT, "Yolo", "yolo")


def upload(client, *, package: bytes = PACKAGE, **more):
    return client.create_plugin_release({**FORM, **more}, file=io.BytesIO(package))


def fetch(url: str, **headers: str) -> bytes:
    request = urllib.request.Request(url, headers=headers)
    with get_opener_without_proxy().open(request, timeout=60) as answer:
        return bytes(answer.read())


def test_eight_fields_are_kept_and_the_others_dropped_in_silence(client):
    """What this backend does not keep is in no answer, neither of the create nor of a read."""
    fields = {"description": "d", "is_public": True, "is_active": False, "detail": {"a": [1]}}
    body = {**PLUGIN, **fields, "version": "1", "author": "A", "configuration": {"b": 2}}
    answer = client.create_plugin(body)
    assert {**PLUGIN, **fields}.items() <= answer.items()
    assert not {"version", "author", "configuration"} & answer.keys()
    assert client.get_plugin(answer["id"]) == answer


def test_a_create_may_bring_a_first_release(serve, connect):
    client = connect(serve(makes_first_release=True))
    answer = client.create_plugin(PLUGIN)
    assert answer["release"]["version"] == "0.0.0"
    assert [r["version"] for r in client.list_plugin_releases("yolo")] == ["0.0.0"]
    assert "release" not in client.get_plugin(answer["id"])


def test_a_put_needs_the_required_fields(client, plugin):
    """A part is refused with the names of what is missing; the whole set is taken."""
    failure = error_of(client.update_plugin, plugin["id"], {"description": "d"})
    assert set(failure.field_errors()) == {("name",), ("code",), ("category",)}
    assert client.update_plugin(plugin["id"], {**PLUGIN, "description": "d"})["description"] == "d"


def test_a_put_may_take_a_part(serve, connect):
    backend = serve(needs_whole_put=False)
    plugin = backend.world.add_plugin(TENANT, "Yolo", "yolo", detail={"a": 1})
    answer = connect(backend).update_plugin(plugin["id"], {"description": "d"})
    assert (answer["description"], answer["detail"]) == ("d", {"a": 1})


@pytest.mark.parametrize("behaviour", ["refuse", "ignore"])
def test_a_code_never_changes(serve, connect, behaviour):
    backend = serve(changed_code=behaviour)
    plugin = backend.world.add_plugin(TENANT, "Yolo", "yolo")
    client, body = connect(backend), {**PLUGIN, "code": "other"}
    if behaviour == "refuse":
        assert set(error_of(client.update_plugin, plugin["id"], body).field_errors()) == {("code",)}
    else:
        assert client.update_plugin(plugin["id"], body)["code"] == "yolo"


@pytest.mark.parametrize("debug", [False, True])
def test_an_upload_is_taken_by_its_code(backend, client, plugin, debug):
    """Version and config are those of the zip; changelog and the like are dropped in silence."""
    more = {"changelog": "c", "is_stable": True, "requirements": ["x"], "debug": debug}
    answer = upload(client, **more, meta={"digest": "d"})
    assert (answer["plugin"], answer["version"]) == (plugin["id"], "1.0.0")
    assert answer["config"] == config_of()
    assert answer["meta"] == {"digest": "d"}
    assert answer["debug"] is debug
    assert not {"changelog", "is_stable", "requirements"} & answer.keys()
    (request,) = backend.requests_to("POST", "/plugin_releases/")
    parts = {part.name: part for part in request.parts()}
    assert parts["plugin"].text == "yolo"
    assert json.loads(parts["meta"].text) == {"digest": "d"}
    assert parts["debug"].text == str(debug)
    assert (parts["file"].content, bool(parts["file"].filename)) == (PACKAGE, True)


@pytest.mark.parametrize(
    ("reference", "name", "is_taken"),
    [
        ("code", "code", True),
        ("code", "id", False),
        ("id", "id", True),
        ("id", "code", False),
        ("both", "id", True),
        ("both", "code", True),
    ],
)
def test_how_an_upload_names_its_plugin(serve, connect, reference, name, is_taken):
    """What is not taken is a 400 that names only `plugin`, and did nothing."""
    backend = serve(plugin_reference=reference)
    plugin = backend.world.add_plugin(TENANT, "Yolo", "yolo")
    client = connect(backend)
    if is_taken:
        assert upload(client, plugin=plugin[name])["plugin"] == plugin["id"]
        return
    failure = error_of(upload, client, plugin=plugin[name])
    assert (set(failure.field_errors()), failure.effect.value) == ({("plugin",)}, "none")
    assert backend.world.releases == []


@pytest.mark.parametrize("status", [400, 409])
@pytest.mark.parametrize("key", ["version", "non_field_errors", "detail"])
def test_a_taken_version(serve, connect, status, key):
    """Its status and its key are not known for sure; the effect is none in any case."""
    backend = serve(taken_version_status=status, taken_version_key=key)
    plugin = backend.world.add_plugin(TENANT, "Yolo", "yolo")
    backend.world.add_release(plugin, "1.0.0", b"theirs")
    failure = error_of(upload, connect(backend))
    assert failure.status_code == status
    assert failure.effect.value == "none"
    assert [release["content"] for release in backend.world.releases] == [b"theirs"]


def test_a_debug_upload_replaces_the_bytes_of_its_version(backend, client, plugin):
    first = upload(client, debug=True)
    again = upload(client, package=zip_of(config_of(), more="x"), debug=True)
    assert again["id"] == first["id"]
    assert len(backend.world.releases) == 1
    assert fetch(client.get_plugin_release(first["id"])["file"]) != PACKAGE


def test_form_and_package_that_disagree(serve, connect):
    """Refused with the part's name, or the package decides."""
    for refuses in (True, False):
        backend = serve(refuses_disagreement=refuses)
        backend.world.add_plugin(TENANT, "Yolo", "yolo")
        client = connect(backend)
        if refuses:
            failure = error_of(upload, client, version="2.0.0", config={"x": 1})
            assert set(failure.field_errors()) == {("version",), ("config",)}
        else:
            assert upload(client, version="2.0.0")["version"] == "1.0.0"


def test_a_release_needs_its_package(client, plugin):
    assert set(error_of(client.create_plugin_release, FORM).field_errors()) == {("file",)}
    assert set(error_of(upload, client, package=b"no zip").field_errors()) == {("file",)}


def test_releases_are_found_by_id_lookup_and_list(backend, client, plugin):
    answer = upload(client)
    other = backend.world.add_plugin(TENANT, "Other", "other")
    backend.world.add_release(other, "1.0.0", b"")
    by_lookup = client.get_plugin_release_by_lookup("yolo@1.0.0")
    by_id = client.get_plugin_release(answer["id"], {"expand": "plugin"})
    for release in (by_lookup, by_id):
        assert (release["id"], release["plugin"]["code"]) == (answer["id"], "yolo")
    assert client.get_plugin_release_by_lookup("yolo@1.0.0", expand=None)["plugin"] == plugin["id"]
    for owner in ("yolo", plugin["id"]):
        assert [r["id"] for r in client.list_plugin_releases(owner)] == [answer["id"]]
    assert error_of(client.get_plugin_release_by_lookup, "yolo@9").status_code == 404


@pytest.mark.parametrize("answer", ["empty", "404", "400"])
def test_releases_of_a_code_that_is_not_there(serve, connect, answer):
    client = connect(serve(unknown_owner_filter=answer))
    if answer == "empty":
        assert client.list_plugin_releases("nobody") == []
    else:
        assert error_of(client.list_plugin_releases, "nobody").status_code == int(answer)


def test_a_lost_answer_of_an_upload(backend, client, plugin):
    """Sent once, unknown, and found again by code and version."""
    backend.lose_answer("POST", "/plugin_releases/")
    assert error_of(upload, client).effect.value == "unknown"
    assert backend.writes == ["POST /plugin_releases/"]
    assert client.get_plugin_release_by_lookup("yolo@1.0.0")["version"] == "1.0.0"


def test_a_large_package_arrives_whole(client, plugin):
    package = zip_of(config_of(), blob="0123456789abcdef" * 65536)
    answer = upload(client, package=package)
    assert fetch(answer["file"]) == package


def test_the_bytes_of_a_release_need_no_token_and_take_none(serve, connect):
    """A new signature each time; with a token, and once it has expired, the URL is refused."""
    backend = serve(file_seconds=60)
    backend.world.add_plugin(TENANT, "Yolo", "yolo")
    client = connect(backend)
    first = upload(client)["file"]
    second = client.get_plugin_release_by_lookup("yolo@1.0.0")["file"]
    assert first != second
    with pytest.raises(urllib.error.HTTPError, match="400"):
        fetch(second, **{"Synapse-Access-Token": f"Token {TOKEN}"})
    assert fetch(second) == PACKAGE
    backend.world.clock = lambda: time.time() + 61
    with pytest.raises(urllib.error.HTTPError, match="403"):
        fetch(second)
