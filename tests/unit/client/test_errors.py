"""ClientError: its classes, its attributes, its words; and no exception that is not one."""

from __future__ import annotations

import inspect
from typing import NoReturn

import pytest
import requests
import urllib3.exceptions
from unit.client.scripted import answer

from synapse_apply import BackendClient, ClientError
from synapse_apply.client import failures
from synapse_apply.model import errors as model
from synapse_apply.model.errors import Effect
from synapse_apply.model.remote import parse_field_errors

STATUSES = [
    (400, model.Invalid),
    (401, model.Unauthorized),
    (403, model.Forbidden),
    (404, model.NotFound),
    (405, model.Invalid),
    (408, model.RemoteTimeout),
    (409, model.Conflict),
    (413, model.Invalid),
    (415, model.Invalid),
    (418, model.Invalid),
    (422, model.Invalid),
    (500, model.ServerFault),
    (501, model.ServerFault),
    (599, model.ServerFault),
]


@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_a_status_has_its_class_and_effect(server, client, status, kind):
    """Each is a ClientError and the model's class; a 5xx and a 408 leave a write's effect unknown."""
    server.then(answer(status, {"detail": "words"}, X_Request_ID="req-1"))
    with pytest.raises(ClientError) as caught:
        client.create_plugin({"name": "x"})
    error = caught.value
    assert isinstance(error, kind)
    assert (error.status_code, error.request_id) == (status, "req-1")
    assert error.detail == error.response == {"detail": "words"}
    assert error.effect is (Effect.UNKNOWN if status >= 500 or status == 408 else Effect.NONE)
    assert str(error).startswith(f"POST plugins/: {status} ")
    assert "words" in str(error)
    assert "(request id req-1)" in str(error)


@pytest.mark.parametrize(
    ("status", "body"),
    [(408, b""), *((status, b"<html>edge</html>") for status in (400, 403, 404, 408, 409, 499))],
)
def test_a_refusal_that_is_not_of_the_api_leaves_a_write_unknown(server, client, status, body):
    """An edge answered: it may have passed the request on before."""
    server.then(answer(status, body, Content_Type="text/html"))
    with pytest.raises(ClientError) as caught:
        client.create_plugin({"name": "x"})
    assert caught.value.effect is Effect.UNKNOWN
    assert failures.MAY_HAVE_ACTED_TEXT in str(caught.value)


@pytest.mark.parametrize("status", [401, 407, 413, 429])
def test_what_an_edge_does_not_pass_on_has_no_effect(server, connect, status):
    """It knows so before the server sees anything of it."""
    server.then(answer(status, b"<html>", Content_Type="text/html", close=True))
    with pytest.raises(ClientError) as caught:
        connect(server.url, retries=0).create_plugin({"name": "x"})
    assert caught.value.effect is Effect.NONE


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (
            200,
            b"<!DOCTYPE html><title>Sign  in</title>",
            'answer is not JSON but an HTML page "Sign in"',
        ),
        (
            404,
            b"<html><title>nginx</title></html>",
            "the API itself did not send this 404: check the URL",
        ),
        (200, b"", "answer is empty"),
        (200, b"[1]", "expected an object"),
        (200, b"null", "not JSON"),
        (200, b"[" * 100_000, "not JSON"),
        (200, b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_what_is_not_the_api(server, client, status, body, words):
    """A login page, a proxy's page or a foreign shape is an error that says what came."""
    server.then(answer(status, body, Content_Type="text/html"))
    with pytest.raises(ClientError) as caught:
        client.get_plugin(1)
    assert words in str(caught.value)
    assert caught.value.status_code == status
    assert not isinstance(caught.value, model.NotFound)


@pytest.mark.parametrize("body", [b"<html>", b"", b"[]", b'{"id": 1'])
def test_a_success_that_cannot_be_read_leaves_a_write_unknown(server, client, body):
    """The server said 201, so it may well be there."""
    server.then(answer(201, body))
    with pytest.raises(ClientError, match="may have acted") as caught:
        client.create_storage({"name": "s"})
    assert caught.value.effect is Effect.UNKNOWN


def test_words_are_one_short_printable_line(server, client):
    """Nothing a server says reaches the terminal's control."""
    server.then(answer(400, {"detail": "a\x1b[31m\nb " + "x" * 5000}))
    with pytest.raises(ClientError) as caught:
        client.get_plugin(1)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"name": ["a", "b"]}, {("name",): ("a", "b")}),
        ({"configuration": {"bucket": ["a"]}}, {("configuration", "bucket"): ("a",)}),
        ({"configuration": {"non_field_errors": ["a"]}}, {("configuration",): ("a",)}),
        ({"items": [{}, {"x": ["a"]}]}, {("items", 1, "x"): ("a",)}),
        ({"detail": "a"}, {(): ("a",)}),
        ({"non_field_errors": ["a", "a"]}, {(): ("a",)}),
        ({"detail": [{"loc": ["body", "v", 0], "msg": "a", "type": "t"}]}, {("v", 0): ("a",)}),
        ({"detail": [{"msg": "a"}, "b"]}, {(): ("a",)}),
        (
            {"error": {"code": "C", "message": "a", "details": [{"field": "x.y", "message": "b"}]}},
            {(): ("a",), ("x", "y"): ("b",)},
        ),
        (["a"], {(): ("a",)}),
        ("a", {(): ("a",)}),
        (None, {}),
    ],
)
def test_field_errors(body, expected):
    """Texts by path, whatever form the server's errors have."""
    assert parse_field_errors(body) == expected


def exception_classes() -> list[type[Exception]]:
    found: set[type[Exception]] = set()
    for module in (requests.exceptions, urllib3.exceptions):
        for _, kind in inspect.getmembers(module, inspect.isclass):
            known = issubclass(kind, Exception) and not issubclass(kind, Warning)
            if known and kind.__module__ in {module.__name__, "builtins"}:
                found.add(kind)
    return sorted(found, key=lambda kind: f"{kind.__module__}.{kind.__name__}")


class RaisingAdapter:
    """Fails as the libraries below do; its exception is made without their constructors."""

    def __init__(self, kind: type[Exception]) -> None:
        self.kind = kind

    def open(self, *arguments: object, **options: object) -> NoReturn:
        failure = self.kind.__new__(self.kind, "/agents/tok-agent/connect/ and tok-1")
        failure.args = ("/agents/tok-agent/connect/ and tok-1",)
        raise failure

    def close(self) -> None: ...


@pytest.mark.parametrize("kind", exception_classes())
def test_every_exception_of_the_libraries_is_mapped(connect, kind):
    """Each becomes a ClientError with no word of the library's own, which quotes URLs."""
    client: BackendClient = connect("http://127.0.0.1:9", retries=0)
    client._transport._adapter = RaisingAdapter(kind)
    with pytest.raises(ClientError) as caught:
        client.health_check_agent("tok-agent")
    assert "tok-" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert caught.value.status_code == 0


def test_every_mapped_class_says_something():
    """No exception leads to an empty reason."""
    for kind in exception_classes():
        failure = kind.__new__(kind)
        assert failures.Breakage(failure).reason
