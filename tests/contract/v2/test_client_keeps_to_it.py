"""The client against a server made of the vendor's description."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from contract.v2.description import DESCRIPTION
from contract.v2.mock import Mock, example_of

from synapse_apply import BackendClient, ClientError

UUID = "0b6e57a1-0000-4000-8000-000000000001"
PLUGIN = {"code": "yolo", "name": "Yolo", "category": "neural_net"}
WHOLE_PLUGIN = {
    **PLUGIN,
    "description": "d",
    "source": "file",
    "version": "1.0.0",
    "data_type": "image",
    "tasks": ["a.b", "c.d"],
    "annotation_category": "image",
    "annotation_type": "bbox",
    "smart_tool_type": "interactive",
    "supported_data_types": ["image", "pcd"],
    "readme": "r",
    "meta": {"k": 1},
    "debug": True,
}
RELEASE = {"plugin": 1, "version": "1.0.0"}
REPORT = {"status": "RUNNING", "progress_record": {}, "metrics_record": [1], "meta": {"a": 1}}
LOG = {"event": "epoch", "data": {"n": 1}, "datetime": "2026-01-02T03:04:05Z", "level": "success"}
LISTS = ("plugin_list", "plugin_release_list", "job_list")

# The id that an example of the description has.
ID = 7
Do = Callable[[Any], Any]
CALLS: list[tuple[str, Do]] = [
    ("plugin_list", lambda v2: v2.list_plugins()),
    ("plugin_list", lambda v2: v2.list_plugins({"category": "export", "is_active": "true"})),
    ("plugin_create", lambda v2: v2.create_plugin(PLUGIN)),
    ("plugin_create", lambda v2: v2.create_plugin({**WHOLE_PLUGIN, "source": "scaffold"})),
    ("plugin_create", lambda v2: v2.create_plugin(WHOLE_PLUGIN, file=io.BytesIO(b"PK"))),
    ("plugin_create", lambda v2: v2.create_plugin(PLUGIN, dry_run=True)),
    ("plugin_list", lambda v2: list(v2.iterate_plugins({"per_page": 1}))),
    ("plugin_retrieve", lambda v2: v2.get_plugin(ID)),
    ("plugin_partial_update", lambda v2: v2.update_plugin(ID, {"name": "n", "description": ""})),
    ("plugin_partial_update", lambda v2: v2.update_plugin(ID, {"name": "n"}, dry_run=True)),
    ("plugin_partial_update", lambda v2: v2.update_plugin(ID, {}, dry_run=True)),
    ("plugin_release_list", lambda v2: v2.list_plugin_releases({"plugin": 1, "debug": "false"})),
    (
        "plugin_release_create",
        lambda v2: v2.create_plugin_release(RELEASE, file=io.BytesIO(b"PK")),
    ),
    (
        "plugin_release_create",
        lambda v2: v2.create_plugin_release(RELEASE, file=io.BytesIO(b"PK"), dry_run=True),
    ),
    ("plugin_release_retrieve", lambda v2: v2.get_plugin_release(ID)),
    ("plugin_release_destroy", lambda v2: v2.delete_plugin_release(1)),
    ("plugin_release_destroy", lambda v2: v2.delete_plugin_release(1, dry_run=True)),
    ("plugin_release_release", lambda v2: v2.lock_plugin_release(ID)),
    ("plugin_release_release", lambda v2: v2.lock_plugin_release(ID, dry_run=True)),
    ("job_list", lambda v2: list(v2.iterate_jobs({"status": "RUNNING", "action": "train"}))),
    ("job_retrieve", lambda v2: v2.get_job(UUID)),
    ("job_partial_update", lambda v2: v2.update_job(UUID, REPORT)),
    ("job_partial_update", lambda v2: v2.update_job(UUID, {"result": None}, dry_run=True)),
    ("job_stop", lambda v2: v2.stop_job(UUID)),
    ("job_stop", lambda v2: v2.stop_job(UUID, dry_run=True)),
    ("job_console_logs_v2", lambda v2: v2.list_job_console_logs(UUID)),
    ("job_console_logs_v2", lambda v2: list(v2.iterate_job_console_logs(UUID))),
    ("job_log_create", lambda v2: v2.create_job_log(UUID, LOG)),
    ("job_log_create", lambda v2: v2.create_job_log(UUID, LOG, file=io.BytesIO(b"x"))),
    ("job_log_create", lambda v2: v2.create_job_log(UUID, LOG, dry_run=True)),
    ("job_log_bulk_create", lambda v2: v2.create_job_logs(UUID, [LOG, LOG])),
    ("job_log_bulk_create", lambda v2: v2.create_job_logs(UUID, [LOG], dry_run=True)),
    ("job_tail_console_logs_v2", lambda v2: list(v2.tail_job_console_logs(UUID))),
]
OPERATIONS = DESCRIPTION.operations
REFUSALS = [
    (name, do, status)
    for name, do in CALLS
    for status in sorted(OPERATIONS[name].statuses)
    if status >= "400"
]


@pytest.fixture
def mock() -> Iterator[Mock]:
    made = Mock()
    yield made
    made.server.stop()


@pytest.fixture
def v2(mock: Mock) -> Iterator[Any]:
    with BackendClient(mock.server.url, "tok-1", tenant="acme") as client:
        yield client.v2


@pytest.mark.parametrize("is_enveloped", [True, False])
@pytest.mark.parametrize(("name", "do"), CALLS)
def test_requests_are_allowed_and_answers_understood(mock, v2, name, do, is_enveloped):
    """Path, method, query, content type, fields and security are those of the description."""
    mock.is_enveloped = is_enveloped
    told = do(v2)
    assert mock.findings == []
    assert mock.asked == [name]
    operation = OPERATIONS[name]
    if operation.answer is None:
        assert told in (None, [])
        return
    expected = example_of(operation)
    inside = expected if isinstance(expected, dict) else {}
    assert told in (expected, inside.get("results"), inside.get("logs"))


def test_every_operation_is_there():
    """The client has all the description is reduced to, and nothing that is not in it."""
    assert {name for name, _ in CALLS} == set(OPERATIONS)


@pytest.mark.parametrize(("name", "do", "status"), REFUSALS)
def test_listed_refusals_are_errors(mock, v2, name, do, status):
    """Each by its status, with what the server says and the request's id."""
    mock.status = status
    with pytest.raises(ClientError) as caught:
        do(v2)
    assert (caught.value.status_code, caught.value.code) == (int(status), "SOME_CODE")
    assert caught.value.request_id == "r-2"
    assert mock.findings == []


@pytest.mark.parametrize("left_out", ["plugin", "version"])
def test_the_mock_refuses_what_lacks_a_field(mock, v2, left_out):
    """A required field that the caller forgets is not made up by the client."""
    data = {name: value for name, value in RELEASE.items() if name != left_out}
    with pytest.raises(ClientError):
        v2.create_plugin_release(data, file=io.BytesIO(b"PK"))
    assert f"'{left_out}' is a required property" in mock.findings[0]


@pytest.mark.parametrize(
    ("do", "word"),
    [
        (lambda v2: v2.create_plugin({**PLUGIN, "category": "custom"}), "custom"),
        (lambda v2: v2.create_plugin({**PLUGIN, "code": "no_good"}), "no_good"),
        (lambda v2: v2.create_plugin({**PLUGIN, "author": "x"}), "author"),
        (lambda v2: v2.update_plugin(ID, {"code": "x"}), "code"),
        (lambda v2: v2.list_plugins({"code": "x"}), "no query parameter code"),
        (lambda v2: v2.update_job(UUID, {"status": "running"}), "running"),
    ],
)
def test_the_mock_refuses_what_is_not_allowed(mock, v2, do, word):
    """Enums, patterns, unknown fields and parameters: a mismatch is found."""
    with pytest.raises(ClientError):
        do(v2)
    assert word in mock.findings[0]
