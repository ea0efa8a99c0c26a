"""Token and tenant headers, tenants apart from each other, agents."""

from __future__ import annotations

from dataclasses import replace

import pytest
from contract.emulator.conftest import OTHER_TOKEN, TOKEN

from synapse_apply import EmbeddedServer

BAD = [
    ({}, 401),
    ({"Synapse-Access-Token": ""}, 401),
    ({"Synapse-Access-Token": "wrong"}, 401),
    ({"Authorization": "Bearer wrong"}, 401),
    ({"Synapse-Access-Token": "wrong", "Authorization": f"Token {TOKEN}"}, 401),
    ({"SYNAPSE-Agent": "Token whoever"}, 401),
    ({"Synapse-Access-Token": TOKEN, "Synapse-Tenant": "other"}, 403),
    ({"SYNAPSE-Agent": "Token agent-token-123"}, 401),
    ({"SYNAPSE-Agent": "agent-token-123", "Synapse-Tenant": "nobody"}, 401),
]


@pytest.mark.parametrize(("headers", "status"), BAD)
def test_who_may_not_ask(wire, headers, status):
    """401 or 403 with a detail that repeats no token; asked before anything else."""
    asking = replace(wire, headers=headers)
    for method, path in (("GET", "/storages/"), ("DELETE", "/plugins/"), ("GET", "/jobs/9/")):
        reply = asking.send(method, path)
        assert reply.status == status
        assert list(reply.body) == ["detail"]
        assert "wrong" not in reply.body["detail"]
        assert ("www-authenticate" in reply.headers) == (status == 401)


def test_a_tenant_sees_its_own_alone(wire, other):
    """Another tenant's token gets 404 for everything there is, and empty lists."""
    wire.plugin(code="yolo")
    wire.post("/plugin_releases/", {"plugin": "yolo", "version": "1"})
    wire.storage()
    wire.run("yolo")
    for path in (
        "/plugins/1/", "/plugin_releases/1/", "/plugin_releases/yolo@1/", "/storages/1/",
        "/jobs/1/", "/jobs/1/console_logs/",
    ):  # fmt: skip
        assert wire.get(path).status == 200, path
        assert other.get(path).status == 404, path
    for path in ("/plugin_releases/", "/plugin_releases/?plugin=yolo", "/storages/", "/jobs/"):
        assert other.get(path).body["count"] == 0, path
    assert other.put("/plugins/1/", {"name": "x"}).status == 404
    assert other.post("/plugins/yolo/run/").status == 404
    assert other.patch("/jobs/1/", {"status": "failed"}).status == 404
    assert other.post("/storages/1/session/").status == 404
    release = other.post("/plugin_releases/", {"plugin": "yolo", "version": "2"})
    assert (release.status, set(release.body)) == (400, {"plugin"})


def test_an_agent_that_is_not_of_the_page_needs_no_other_token(wire, tmp_path):
    """A token that nobody else knows is enough by itself, for a tenant there is."""
    with EmbeddedServer(tmp_path / "agents", token="t", tenant="acme") as server:
        server.backend.store.insert("agent", "*", {"name": "a"}, created=0.0, key="own")
        asking = replace(wire, url=server.url, headers={"SYNAPSE-Agent": "Token own"})
        assert asking.send("GET", "/storages/", Synapse_Tenant="acme").status == 200
        assert asking.send("GET", "/storages/", Synapse_Tenant="nobody").status == 403


def test_without_tokens_a_random_one_is_asked_for(wire, tmp_path):
    """It is another one at each start, no guess is taken, and the tenant header decides."""
    with EmbeddedServer(tmp_path / "first") as first, EmbeddedServer(tmp_path / "open") as server:
        assert first.token != server.token
        assert len(server.token) >= 40
        asking = replace(wire, url=server.url, headers={"Synapse-Access-Token": server.token})
        assert asking.plugin()["tenant"] == "default"
        assert asking.send("GET", "/plugins/1/", Synapse_Tenant="elsewhere").status == 404
        for guess in ("", "embedded", "anything", first.token, server.token[:-1], "\u00fc"):
            guessing = replace(asking, headers={"Synapse-Access-Token": guess})
            assert guessing.get("/plugins/1/").status == 401
        for agent in ("agent-token-123", "my-agent-token"):
            assert replace(asking, headers={"SYNAPSE-Agent": agent}).get("/agents/").status == 401


def test_with_any_token_the_tenant_header_decides(wire, tmp_path):
    """Any token is taken then, but one must be there; an agent's is one."""
    with EmbeddedServer(tmp_path / "open", any_token=True) as server:
        asking = replace(wire, url=server.url, headers={"Synapse-Access-Token": "anything"})
        plugin = asking.plugin()
        assert plugin["tenant"] == "default"
        path = f"/plugins/{plugin['id']}/"
        assert asking.send("GET", path, Synapse_Tenant="elsewhere").status == 404
        assert replace(asking, headers={}).get(path).status == 401
        agent = replace(asking, headers={"SYNAPSE-Agent": "agent-token-123"})
        assert agent.get(path).status == 200


@pytest.mark.parametrize(("switch", "status"), [("told", 200), ("refused", 503)])
def test_an_agent_that_is_not_healthy(start, switch, status):
    """Its answer says so, or refuses; it is made so by an edit from outside."""
    wire = start(switches={"unhealthy_agent": switch})
    assert wire.patch("/_emulator/objects/agent/1", {"status": "disconnected"}).status == 200
    reply = wire.post("/agents/agent-token-123/connect/")
    assert reply.status == status
    if status == 200:
        assert (reply.body["status"], reply.body["connected_at"]) == ("disconnected", None)
    assert wire.post("/agents/my-agent-token/connect/").status == 200


def test_agents_are_listed(wire, other):
    """With what the vendor's client reads; an agent of one tenant is not another's."""
    body = {"tenant": "acme", "key": "third-token", "body": {"name": "third"}}
    assert wire.post("/_emulator/objects/agent", body).status == 201
    page = wire.get("/agents/").body
    assert [agent["token"] for agent in page["results"]][-1] == "third-token"
    assert set(page["results"][0]) == {
        "id", "name", "url", "status", "token", "node_install_script",
    }  # fmt: skip
    assert other.get("/agents/").body["count"] == 2
    assert wire.post("/agents/third-token/connect/").status == 200
    assert other.post("/agents/third-token/connect/").status == 404


def test_a_name_that_resolves_to_loopback_is_refused(wire):
    """A page in a browser cannot reach the server under a host name of its own."""
    assert wire.send("GET", "/storages/", Host="evil.example").status == 400
    assert (
        wire.send("GET", "/storages/", Host=f"localhost:{wire.url.rsplit(':')[-1]}").status == 200
    )


def test_own_endpoints_need_a_token_except_health(wire):
    """Health tells data set and version to anyone."""
    nobody = replace(wire, headers={})
    health = nobody.get("/_emulator/health").body
    assert health["data_set"] == wire.get("/_emulator/state/").body["data_set"]
    assert set(health) == {"status", "data_set", "version", "api_versions"}
    assert nobody.get("/_emulator/state/").status == 401
    assert (
        replace(wire, headers={"Authorization": OTHER_TOKEN}).get("/_emulator/state").status == 200
    )
