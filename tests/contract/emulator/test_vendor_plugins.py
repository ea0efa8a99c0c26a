"""Plugins, storages and agents as the vendor's own tools find them (profile `vendor`)."""

from __future__ import annotations

import pytest
from contract.emulator.conftest import OTHER_TOKEN

WHOLE = {
    "name": "Yolo",
    "code": "yolo",
    "category": "neural_net",
    "description": "Finds things",
    "is_public": False,
    "is_active": True,
    "system_only": False,
    "detail": {"icon": "eye"},
}


def system_plugin(wire, code="builtin"):
    body = {**WHOLE, "code": code, "system_only": True, "is_public": True}
    made = wire.post("/_emulator/objects/plugin/", {"tenant": "*", "key": code, "body": body})
    assert made.status == 201
    return made.body["id"]


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({}, {"name", "code", "category"}),
        ({"name": "n", "code": "c"}, {"category"}),
        ({"name": "n", "category": "export"}, {"code"}),
        ({"name": "n", "code": "c", "category": "image_processing"}, {"category"}),
        ({"name": "n", "code": "c", "category": "custom"}, {"category"}),
        ({"name": "n", "code": "", "category": "export"}, {"code"}),
        ({"name": "n", "code": "c", "category": "export", "detail": []}, {"detail"}),
        ({**WHOLE, "system_only": True}, {"system_only"}),
    ],
)
def test_what_a_create_needs(vendor, fields, wrong):
    """Every wrong field is named at once."""
    reply = vendor.post("/plugins/", fields)
    assert (reply.status, set(reply.body)) == (400, wrong)


def test_a_put_changes_any_part(vendor):
    """And so it does not reset what it does not send."""
    path = f"/plugins/{vendor.plugin(**WHOLE)['id']}/"
    changed = vendor.put(path, {"is_public": True, "detail": {}}).body
    assert changed.items() >= {**WHOLE, "is_public": True, "detail": {}}.items()
    assert set(vendor.put(path, {"code": "other"}).body) == {"code"}
    assert set(vendor.put(path, {"category": "odd"}).body) == {"category"}
    assert set(vendor.put(path, {"system_only": True}).body) == {"system_only"}


def test_another_code_can_be_passed_over(start):
    """With `code_change=ignored` the code stays and the rest is taken."""
    wire = start(profile="vendor", switches={"code_change": "ignored"})
    path = f"/plugins/{wire.plugin(**WHOLE)['id']}/"
    changed = wire.put(path, {"code": "other", "name": "New"})
    assert (changed.status, changed.body["code"], changed.body["name"]) == (200, "yolo", "New")


def test_a_full_put_needs_what_a_create_needs(start):
    """With `put=full` a part alone is 400."""
    wire = start(profile="vendor", switches={"put": "full"})
    path = f"/plugins/{wire.plugin(**WHOLE)['id']}/"
    assert set(wire.put(path, {"description": "d"}).body) == {"name", "code", "category"}
    whole = {key: WHOLE[key] for key in ("name", "code", "category")}
    assert wire.put(path, whole).body["detail"] == {}


@pytest.mark.parametrize("token", [None, OTHER_TOKEN])
def test_a_taken_code_is_400_on_code(vendor, token):
    """Also where the plugin that has it is another tenant's and cannot be seen."""
    vendor.plugin_of_platform()
    asking = vendor.as_tenant(token) if token else vendor
    reply = asking.post("/plugins/", {**WHOLE, "name": "Mine"})
    assert (reply.status, list(reply.body)) == (400, ["code"])
    assert reply.body["code"][0].endswith("이미 존재합니다.")
    english = asking.in_english().post("/plugins/", WHOLE).body["code"][0]
    assert "already exists" in english


def test_the_list_is_newest_first_in_pages_of_at_most_100(vendor):
    """More than 100 is cut to that; an unknown filter is passed over."""
    ids = [vendor.plugin_of_platform(f"p{number}")["id"] for number in range(101)]
    page = vendor.get("/plugins/?page_size=1000&code=p3&name=p3&nonsense=1").body
    assert [one["id"] for one in page["results"]] == ids[:0:-1]
    assert page["count"] == 101
    turned = vendor.get("/plugins/?ordering=created&page_size=2").body["results"]
    assert [one["id"] for one in turned] == ids[:2]


def test_times_narrow_only_in_their_second_form(vendor):
    """`created_after` is declared and does nothing; `created__gte` and `created__lt` work."""
    old = vendor.plugin_of_platform("old")
    vendor.move_clock(100)
    new = vendor.plugin_of_platform("new")
    for query, codes in {
        f"created_after={new['created']}": ["new", "old"],
        f"created_before={old['created']}": ["new", "old"],
        f"created__gte={new['created']}": ["new"],
        f"created__lt={new['created']}": ["old"],
        f"created__gte={old['created']}&created__lt={new['created']}": ["old"],
    }.items():
        page = vendor.get(f"/plugins/?{query}").body
        assert [one["code"] for one in page["results"]] == codes, query
        assert page["count"] == len(codes)
    assert set(vendor.get("/plugins/?created__gte=soon").body) == {"created__gte"}


def test_plugins_of_others_that_are_public_are_listed_and_not_changed(vendor):
    """Also those of no tenant; what is not public is not there."""
    other = vendor.as_tenant(OTHER_TOKEN)
    public = other.plugin_of_platform("public", is_public=True)["id"]
    hidden = other.plugin_of_platform("hidden")["id"]
    system = system_plugin(vendor)
    mine = vendor.plugin_of_platform("mine")["id"]
    page = vendor.get("/plugins/").body
    assert [one["id"] for one in page["results"]] == [mine, system, public]
    assert page["count"] == 3
    for identity in (public, system):
        assert vendor.get(f"/plugins/{identity}/").status == 200
        reply = vendor.put(f"/plugins/{identity}/", {"description": "mine now"})
        assert (reply.status, list(reply.body)) == (403, ["detail"])
    assert vendor.get(f"/plugins/{public}/").body["description"] == ""
    assert vendor.put(f"/plugins/{hidden}/", {"name": "x"}).status == 404
    assert vendor.upload("public", "version: 1.0.0\n").status == 403
    assert vendor.upload("hidden", "version: 1.0.0\n").status == 400
    assert len(vendor.get("/plugin_releases/?plugin=public").body["results"]) == 1
    assert vendor.get("/plugin_releases/public@0.0.0/").status == 200
    assert vendor.get("/plugin_releases/hidden@0.0.0/").status == 404
    assert vendor.get("/plugin_releases/?plugin=hidden").body["results"] == []


def test_where_the_tenant_is_shown_by_number(start):
    """A system plugin has none."""
    wire = start(profile="vendor", switches={"plugin_tenant": "number"})
    mine = wire.plugin_of_platform()["id"]
    other = wire.as_tenant(OTHER_TOKEN).plugin_of_platform("public", is_public=True)["id"]
    system = system_plugin(wire)
    tenants = {one["id"]: one["tenant"] for one in wire.get("/plugins/").body["results"]}
    assert isinstance(tenants[mine], int)
    assert tenants[other] not in (None, tenants[mine])
    assert tenants[system] is None


@pytest.mark.parametrize(
    ("asked", "is_english"),
    [
        ("en", True), ("en-US,en;q=0.9", True), ("EN", True), ("en;q=0.9, ko;q=0.5", True),
        ("ko", False), ("ko-KR,ko;q=0.9,en;q=0.8", False), ("de", False), ("*", False),
        ("", False), ("en;q=0", False), ("en;q=x", False),
    ],
)  # fmt: skip
def test_in_which_language_a_refusal_is_worded(vendor, asked, is_english):
    """Korean unless English is asked for; keys and status are the same."""
    missing = vendor.send("GET", "/plugins/77/", Accept_Language=asked)
    assert missing.status == 404
    assert (missing.body == {"detail": "Not found."}) is is_english
    wrong = vendor.send("POST", "/v2/plugins/", {}, Accept_Language=asked)
    assert wrong.body["error"]["code"] == "VALIDATION_ERROR"
    texts = {detail["message"] for detail in wrong.body["error"]["details"]}
    assert (texts == {"This field is required."}) is is_english
    nowhere = vendor.send("GET", "/nowhere/", Accept_Language=asked)
    assert (nowhere.body == {"detail": "Not found."}) is is_english


def test_a_storage_whose_secrets_only_a_session_shows(start):
    """With `credential_regime=session` answers lack them, whatever is asked."""
    wire = start(profile="vendor", switches={"credential_regime": "session", "secrets": "plain"})
    configuration = {"bucket_name": "b", "access_key": "a", "secret_key": "s"}
    path = f"/storages/{wire.storage(configuration=configuration)['id']}/"
    assert wire.get(path + "?with_configuration=true").body["configuration"] == {"bucket_name": "b"}
    assert wire.post(path + "session/", {"purpose": "read"}).body["configuration"] == configuration


def test_storages_in_a_bare_list(start):
    """With `storage_pages=bare` there is no page around them."""
    wire = start(profile="vendor", switches={"storage_pages": "bare"})
    ids = [wire.storage(category=category)["id"] for category in ("internal", "external")]
    assert [one["id"] for one in wire.get("/storages/").body] == ids[::-1]
    assert [one["id"] for one in wire.get("/storages/?category=internal").body] == ids[:1]


def test_a_storage_without_the_keys_that_its_provider_needs(start):
    """With `storage_keys=checked` each missing key is named below `configuration`."""
    wire = start(profile="vendor", switches={"storage_keys": "checked"})
    body = {"name": "raw", "provider": "amazon_s3", "configuration": {"bucket_name": "b"}}
    reply = wire.post("/storages/", body)
    assert (reply.status, list(reply.body)) == (400, ["configuration"])
    assert set(reply.body["configuration"]) == {"access_key", "secret_key"}
    assert wire.post("/storages/", {"name": "x", "provider": "azure"}).status == 201


def test_an_agent_shows_its_token_in_a_script_alone(vendor):
    """There is no field of it."""
    agent = vendor.get("/agents/").body["results"][0]
    assert set(agent) == {"id", "name", "url", "status", "node_install_script"}
    assert "agent-token-123" in agent["node_install_script"]
