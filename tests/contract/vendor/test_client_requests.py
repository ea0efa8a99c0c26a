"""Who asks, pages, filters and errors: the client against the vendor's v1 as the facts tell it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from contract.vendor.failures import PLUGIN, error_of
from contract.vendor.world import OTHER_TENANT, OTHER_TOKEN, SESSION_TOKEN, TENANT, TOKEN

from synapse_apply import BackendClient


@pytest.mark.parametrize("text", [TOKEN, f"Token {TOKEN}"], ids=["bare", "with Token"])
def test_the_token_goes_out_in_the_form_of_v1(backend, connect, text):
    """However it was written, the header says `Token ...`."""
    client = connect(backend, text)
    assert client.list_plugins() == []
    assert backend.requests[-1].headers["Synapse-Access-Token"] == f"Token {TOKEN}"
    assert backend.requests[-1].headers["Synapse-Tenant"] == f"Token {TENANT}"


def test_the_token_goes_out_bare_on_v2(backend, client):
    assert client.v2.list_plugins() == []
    assert backend.requests[-1].headers["Synapse-Access-Token"] == TOKEN


@pytest.mark.parametrize("token", [None, "syn_wrong-token", SESSION_TOKEN])
def test_a_token_that_is_none_is_refused_and_not_quoted(backend, connect, token):
    failure = error_of(connect(backend, token).list_plugins)
    assert failure.status_code == 401
    assert not token or token not in f"{failure} {failure!r}"


def test_a_base_url_may_have_a_path(serve, connect):
    """Also the links of pages and the URL of a package lie below it."""
    backend = serve(base_path="/api")
    for number in range(3):
        backend.world.add_plugin(TENANT, f"p{number}", f"p-{number}")
    client = connect(backend)
    assert [p["code"] for p in client.iterate("plugins", {"page_size": 1})] == ["p-2", "p-1", "p-0"]
    elsewhere = BackendClient(backend.url.removesuffix("/api"), TOKEN)
    assert "an HTML page; the API itself did not send this 404" in str(
        error_of(elsewhere.get_plugin, 1)
    )


@pytest.mark.parametrize("count", [0, 1, 100, 101, 230])
def test_a_list_is_read_whole_and_each_item_once(backend, client, count):
    """In pages of a hundred, the most there is."""
    for number in range(count):
        backend.world.add_plugin(TENANT, f"p{number}", f"p-{number}")
    plugins = client.list_plugins()
    assert sorted(p["code"] for p in plugins) == sorted(f"p-{n}" for n in range(count))
    assert {one.parameter("page_size") for one in backend.requests} == {"100"}


def test_a_list_that_grows_while_it_is_read_lacks_nothing(backend, client):
    """The newest comes first, so that each new item moves one over the seam of two pages."""
    for number in range(230):
        backend.world.add_plugin(TENANT, f"p{number}", f"p-{number}")
    for number in range(3):
        later = f"later-{number}"
        backend.forestall(
            "GET", "/plugins/", lambda code=later: backend.world.add_plugin(TENANT, code, code)
        )
    codes = {p["code"] for p in client.list_plugins()}
    assert {f"p-{n}" for n in range(230)} <= codes


def test_a_list_shows_what_belongs_to_others(backend, client):
    """Public and system plugins; a private one of another tenant is in no list and no answer."""
    backend.world.add_plugin(TENANT, "Ours", "ours")
    backend.world.add_plugin(OTHER_TENANT, "Theirs", "theirs", is_public=True)
    backend.world.add_plugin(None, "System", "system", is_public=True, system_only=True)
    hidden = backend.world.add_plugin(OTHER_TENANT, "Hidden", "hidden")
    assert {p["code"] for p in client.list_plugins()} == {"ours", "theirs", "system"}
    assert error_of(client.get_plugin, hidden["id"]).status_code == 404


def test_filters_are_hints(backend, client):
    """An unknown one gives everything, `created_after` does not narrow, `created__gte` does."""
    for number in range(3):
        backend.world.add_plugin(TENANT, f"p{number}", f"p-{number}")
    now = datetime.now(UTC)
    backend.world.plugins[0]["created"] = now - timedelta(days=2)
    since = (now - timedelta(days=1)).isoformat()

    def codes(**params: str) -> list[str]:
        return [p["code"] for p in client.iterate("plugins", params)]

    assert codes(code="p-1") == ["p-2", "p-1", "p-0"]
    assert codes(created_after=since) == ["p-2", "p-1", "p-0"]
    assert codes(created__gte=since) == ["p-2", "p-1"]
    assert codes(created__lt=since) == ["p-0"]
    assert codes(ordering="created") == ["p-0", "p-1", "p-2"]


def test_all_refused_fields_are_in_the_error(client):
    """Name, code and category are needed, and the category is one of a closed list."""
    failure = error_of(client.create_plugin, {})
    assert set(failure.field_errors()) == {("name",), ("code",), ("category",)}
    assert failure.effect.value == "none"
    failure = error_of(
        client.create_plugin, {**PLUGIN, "code": "two words", "category": "detection"}
    )
    assert set(failure.field_errors()) == {("code",), ("category",)}
    assert failure.status_code == 400


@pytest.mark.parametrize("tenant", [TENANT, OTHER_TENANT], ids=["ours", "of another tenant"])
def test_a_taken_code_is_a_400_that_names_it(backend, client, tenant):
    """Also the code of a plugin that no list shows; nothing was done, nothing is sent again."""
    backend.world.add_plugin(tenant, "First", "yolo")
    failure = error_of(client.create_plugin, PLUGIN)
    assert (failure.status_code, failure.effect.value) == (400, "none")
    ((path, texts),) = failure.field_errors().items()
    assert path == ("code",)
    assert texts[0].endswith(("이미 존재합니다.", "already exists."))
    assert backend.writes == ["POST /plugins/"]
    assert {p["code"] for p in client.list_plugins()} == ({"yolo"} if tenant == TENANT else set())


def test_what_is_not_there_and_what_may_not_be_done(backend, client):
    theirs = backend.world.add_plugin(OTHER_TENANT, "Theirs", "theirs", is_public=True)
    assert error_of(client.update_plugin, theirs["id"], PLUGIN).status_code == 403
    for call in (client.get_plugin, client.get_job, client.get_storage, client.get_plugin_release):
        assert error_of(call, 999).status_code == 404
    assert error_of(client.get_plugin, "yolo").status_code == 404


def test_another_tenant_sees_nothing_of_ours(backend, connect):
    backend.world.add_plugin(TENANT, "Ours", "ours")
    backend.world.add_storage("raw")
    other = connect(backend, OTHER_TOKEN, tenant=OTHER_TENANT)
    assert other.list_plugins() == []
    assert other.list_storages() == []


@pytest.mark.parametrize("status", [200, 201])
def test_a_create_may_answer_either_status(serve, connect, status):
    client = connect(serve(created_status=status))
    assert client.create_plugin(PLUGIN)["code"] == "yolo"
    assert client.create_storage({"name": "raw", "provider": "x", "configuration": {}})["id"]
