"""Each operation of the API page: what goes over the wire and what comes back."""

from __future__ import annotations

import pytest
from failing import fails
from unit.client.scripted import answer

from synapse_apply import ClientError

PAGE = {"count": 7, "next": None, "previous": None}


def test_health_check_is_a_post_without_body(server, client):
    """It says JSON and length 0, as the platform's own client does."""
    server.then(answer(200, {"status": "ok"}))
    assert client.health_check_agent("agent-1") == {"status": "ok"}
    (request,) = server.received
    assert (request.method, request.path) == ("POST", "/agents/agent-1/connect/")
    assert (request.headers["content-length"], request.headers["content-type"]) == (
        "0",
        "application/json",
    )


def test_health_check_may_answer_nothing(server, client):
    """An empty success is a healthy agent."""
    server.then(answer(200, b""))
    assert client.health_check_agent("agent-1") == {}


@pytest.mark.parametrize("lookup", ["301", 301, "3f0c-uuid"])
def test_a_release_is_looked_up_by_its_id_too(server, client, lookup):
    """What is answered has to show that id, whatever its version is."""
    server.then(answer(200, {"id": lookup, "version": "1.0.0"}))
    assert client.get_plugin_release_by_lookup(lookup)["version"] == "1.0.0"
    assert server.received[0].target == f"/plugin_releases/{lookup}/?expand=plugin"
    server.then(answer(200, {"id": 7, "version": "301"}))
    with fails("UnexpectedAnswer"):
        client.get_plugin_release_by_lookup(lookup)


def test_an_at_sign_without_a_code_is_no_version(server, client):
    """It is sent as it stands; the answer is another object's."""
    server.then(answer(200, {"id": 7, "version": "1.0.0"}))
    with fails("UnexpectedAnswer"):
        client.get_plugin_release_by_lookup("@1.0.0")


@pytest.mark.parametrize(
    "body",
    [["a", "b"], {"logs": ["a", "b"]}, {**PAGE, "results": ["a", "b"]}],
)
def test_console_logs_in_every_form(server, client, body):
    """A bare list, a page and an object with logs are all a list of entries."""
    server.then(answer(200, body))
    assert client.list_job_console_logs(789) == ["a", "b"]
    assert server.received[0].path == "/jobs/789/console_logs/"


def test_a_run_with_a_direct_result(server, client):
    """Servers may answer the result itself; the documented shape is an object."""
    server.then(answer(200, [1, 2]))
    assert client.run_plugin(1, {}) == {"result": [1, 2]}


@pytest.mark.parametrize("pk", ["", " ", ".", "..", "1/run", "a\\b", "1\n", True])
def test_no_id_can_change_the_path(server, client, pk):
    """Such ids are refused here: servers decode %2F before they look at the path."""
    with pytest.raises(ClientError) as caught:
        client.get_plugin(pk)
    assert caught.value.status_code == 0
    assert server.received == []


@pytest.mark.parametrize("pk", ["a?b", "a#b", "a%2fb", "a;b", "한글"])
def test_other_ids_are_one_segment(server, client, pk):
    """What is left is percent-encoded."""
    client.get_plugin(pk)
    assert server.received[0].path.count("/") == 3
    assert server.received[0].query == {}


def test_plugin_list_is_probed(server, client):
    """200 is yes, 404 and 405 are no, anything else is an error."""
    server.then(answer(200, []), answer(404, {"detail": "x"}), answer(405, {}), answer(403, {}))
    assert [client.ask_server_if_it_lists_plugins() for _ in range(3)] == [True, False, False]
    with pytest.raises(ClientError) as caught:
        client.ask_server_if_it_lists_plugins()
    assert caught.value.status_code == 403


@pytest.mark.parametrize("body", [{"a": float("nan")}, {"a": object()}, {1: {2}}])
def test_data_that_is_no_json_is_not_sent(server, client, body):
    """The error names the trouble and not the value."""
    with pytest.raises(ClientError, match="not sent"):
        client.create_plugin(body)
    assert server.received == []
