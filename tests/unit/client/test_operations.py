"""Each operation of the API page: what goes over the wire and what comes back."""

from __future__ import annotations

import io
from typing import Any

import pytest
from unit.client.scripted import answer

from synapse_apply.client import ClientError
from synapse_apply.client.errors import UnexpectedAnswerError

PAGE = {"count": 7, "next": None, "previous": None}

OBJECT_CALLS: list[Any] = [
    ("get_plugin", (123,), "GET", "/plugins/123/", None),
    ("create_plugin", ({"name": "P"},), "POST", "/plugins/", {"name": "P"}),
    ("update_plugin", (123, {"name": "Q"}), "PUT", "/plugins/123/", {"name": "Q"}),
    (
        "run_plugin",
        (123, {"parameters": {"a": 1}}),
        "POST",
        "/plugins/123/run/",
        {"parameters": {"a": 1}},
    ),
    ("run_plugin", ("yolo", {}), "POST", "/plugins/yolo/run/", {}),
    ("get_plugin_release", (456,), "GET", "/plugin_releases/456/", None),
    (
        "create_plugin_release",
        ({"plugin": 1, "version": "1"},),
        "POST",
        "/plugin_releases/",
        {"plugin": 1, "version": "1"},
    ),
    ("get_job", ("0b6e-uuid",), "GET", "/jobs/0b6e-uuid/", None),
    ("update_job", (789, {"progress": 75}), "PATCH", "/jobs/789/", {"progress": 75}),
    ("create_storage", ({"name": "S"},), "POST", "/storages/", {"name": "S"}),
]


@pytest.mark.parametrize(("name", "arguments", "method", "path", "body"), OBJECT_CALLS)
def test_calls_that_answer_an_object(server, client, name, arguments, method, path, body):
    """Method, path and JSON body are those of the API; the answer is the server's object."""
    asked = arguments[0] if method != "POST" else 5
    server.then(answer(200, {"id": asked, "job_id": 9}))
    assert getattr(client, name)(*arguments) == {"id": asked, "job_id": 9}
    (request,) = server.received
    assert (request.method, request.path) == (method, path)
    assert (request.json if request.body else None) == body
    if body is not None:
        assert request.headers["content-type"] == "application/json"


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


def test_storage_is_read_with_its_configuration(server, client):
    """The server is asked for the configuration it leaves out otherwise."""
    client.get_storage(3)
    assert server.received[0].target == "/storages/3/?with_configuration=true"


def test_params_become_the_query(server, client):
    """`expand` and filters go as they are given."""
    client.get_job(1, params={"expand": "logs,metrics"})
    client.get_plugin_release(1, {"expand": "plugin"})
    assert [r.query for r in server.received] == [{"expand": "logs,metrics"}, {"expand": "plugin"}]


def test_release_lookup_keeps_the_at_sign(server, client):
    """`@` stays, whatever else could end the segment does not."""
    client.get_plugin_release_by_lookup("yolo@1.0+b?x#y")
    assert server.received[0].target == "/plugin_releases/yolo@1.0%2Bb%3Fx%23y/?expand=plugin"


@pytest.mark.parametrize("lookup", ["301", 301, "3f0c-uuid"])
def test_a_release_is_looked_up_by_its_id_too(server, client, lookup):
    """What is answered has to show that id, whatever its version is."""
    server.then(answer(200, {"id": lookup, "version": "1.0.0"}))
    assert client.get_plugin_release_by_lookup(lookup)["version"] == "1.0.0"
    assert server.received[0].target == f"/plugin_releases/{lookup}/?expand=plugin"
    server.then(answer(200, {"id": 7, "version": "301"}))
    with pytest.raises(UnexpectedAnswerError):
        client.get_plugin_release_by_lookup(lookup)


def test_an_at_sign_without_a_code_is_no_version(server, client):
    """It is sent as it stands; the answer is another object's."""
    server.then(answer(200, {"id": 7, "version": "1.0.0"}))
    with pytest.raises(UnexpectedAnswerError):
        client.get_plugin_release_by_lookup("@1.0.0")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({**PAGE, "results": [{"id": 1}]}, ([{"id": 1}], 7)),
        ([{"id": 1}, {"id": 2}], ([{"id": 1}, {"id": 2}], 2)),
        ({"results": []}, ([], 0)),
    ],
)
def test_list_jobs_answers_the_page_and_the_count(server, client, body, expected):
    """One request, one page; the total is the server's when it counts."""
    server.then(answer(200, body))
    assert client.list_jobs(params={"status": "running"}) == expected
    assert [r.query for r in server.received] == [{"status": "running"}]


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


def test_release_file_as_keyword(server, client):
    """The platform's own form of the call works too."""
    client.create_plugin_release({"plugin": "yolo", "version": "1"}, file=io.BytesIO(b"zip"))
    assert b"zip" in server.received[0].body
