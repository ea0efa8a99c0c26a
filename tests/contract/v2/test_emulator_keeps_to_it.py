"""The embedded backend against the vendor's description: everything it answers is promised there."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import pytest
from contract.emulator.conftest import BOUNDARY, Reply, Wire, form, zipped
from contract.v2.description import DESCRIPTION, FORM, JSON, Description, Operation, example
from installed import ROOT

from synapse_apply import EmbeddedServer

TOKEN = "described-token"
OPERATIONS = DESCRIPTION.operations
URL_FORM = "application/x-www-form-urlencoded"
NUMBERS = itertools.count()
# Values as texts, which a form has, and JSON may have.
LOG = {"event": "epoch", "data": '{"n": 1}', "datetime": "2026-01-02T03:04:05Z"}


@dataclass
class Asking:
    """Sends requests and holds every answer against the description."""

    url: str
    is_enveloped: bool = True
    token: str = TOKEN
    seen: set[tuple[str, int]] = field(default_factory=set)
    findings: list[str] = field(default_factory=list)

    def send(self, name: str, at: Any = None, body: Any = None, **how: Any) -> Reply:
        """Ask an operation; `body` are fields, `kind` their content type, `query` the query."""
        operation = OPERATIONS[name]
        path = operation.path.replace("{id}", str(at))
        kind = how.get("kind", JSON)
        data = written(body, kind)
        query = f"?{urlencode(how['query'])}" if "query" in how else ""
        headers = {"SYNAPSE-ACCESS-TOKEN": self.token} if self.token else {}
        sort = {"Content-Type": f"{FORM}; boundary={BOUNDARY}" if kind == FORM else kind}
        reply = Wire(self.url, headers).send(operation.method, path + query, data, **sort)
        if not how.get("unlisted"):
            self._hold(operation, reply)
        return reply

    def _hold(self, operation: Operation, reply: Reply) -> None:
        name = operation.raw["operationId"]
        self.seen.add((name, reply.status))
        is_stream = reply.headers.get("content-type", "").startswith("text/event-stream")
        body = json.loads(reply.content) if reply.content and not is_stream else None
        if reply.status < 300 and body is not None and self.is_enveloped:
            assert set(body) == {"data", "meta"}
            pagination = body["meta"].get("pagination", {})
            assert ("next_cursor" in pagination) == operation.is_list
            links = {key: pagination.get(f"{key}_cursor") for key in ("next", "previous")}
            body = {**links, "results": body["data"]} if operation.is_list else body["data"]
        found = operation.problems_of_answer(reply.status, body)
        self.findings += [f"{name} {reply.status}: {one}" for one in found]

    def made(self, name: str, *arguments: Any, **how: Any) -> Any:
        reply = self.send(name, *arguments, **how)
        assert reply.status in (200, 201), reply.content
        return reply.body["data"] if self.is_enveloped else reply.body

    def refusal(self, name: str, *arguments: Any, **how: Any) -> tuple[int, set[str]]:
        """The status, and the fields that are named."""
        reply = self.send(name, *arguments, **how)
        details = reply.body["error"]["details"] or []
        return reply.status, {detail["field"] for detail in details}


def written(body: Any, kind: str) -> bytes | None:
    if body is None:
        return None
    if kind == JSON:
        return json.dumps(body).encode()
    if kind == URL_FORM:
        return urlencode(body, doseq=True).encode()
    pairs = [(name, value) for name, got in body.items() for value in as_list(got)]
    return form(*((name, one if isinstance(one, bytes) else str(one)) for name, one in pairs))


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def plugin(**fields: Any) -> dict[str, Any]:
    code = f"p-{next(NUMBERS)}"
    return {"code": code, "name": code, "category": "export", **fields}


def release(plugin_id: int, version: str) -> dict[str, Any]:
    package = zipped("actions: {train: {}}\n")
    digest = hashlib.sha256(package).hexdigest()
    return {"plugin": plugin_id, "version": version, "sha256": digest, "file": package}


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Iterator[Callable[..., Asking]]:
    """One server for all tests, which answers in the form asked for."""
    data = tmp_path_factory.mktemp("described")
    with EmbeddedServer(data, tokens={TOKEN: "acme"}, tenant="acme") as server:

        def started(answers: str = "envelope") -> Asking:
            server.backend.switches.update({"v2_answers": answers})
            return Asking(server.url, answers == "envelope")

        yield started


@pytest.fixture
def ask(start) -> Iterator[Asking]:
    """Its test fails when anything was answered that the description does not promise."""
    asking = start()
    yield asking
    assert asking.findings == []


def run(ask: Asking, code: str, seconds: float = 6000) -> str:
    """The UUID of a new job; started on v1, since v2 starts none."""
    body = {"parameters": {"emulator": {"seconds": seconds}}, "action": code}
    assert (
        Wire(ask.url, {"Authorization": f"Token {TOKEN}"})
        .post(f"/plugins/{code}/run/", body)
        .status
        == 200
    )
    listed = ask.send("job_list", query={"action": code}).body
    return listed["data" if ask.is_enveloped else "results"][0]["id"]


def test_the_endpoints_are_those_described():
    """Each with its method, and none besides, by the page that names what is served."""
    page = (ROOT / "docs" / "emulator.md").read_text(encoding="utf-8")
    served = set(re.findall(r"^\| `([A-Z]+) (/v2/\S+)` \|", page, re.MULTILINE))
    assert served == {(one.method, one.path) for one in OPERATIONS.values()}


@pytest.mark.parametrize("answers", ["envelope", "plain"])
def test_every_success(start, answers):
    """Every operation, with the listed status and exactly the fields that are promised."""
    ask = start(answers)
    made = ask.made("plugin_create", None, plugin(description="d"))
    whole = ask.made("plugin_create", None, plugin(source="file", file=zipped()), kind=FORM)
    assert whole["release"]["version"] == "0.0.0"
    ask.made("plugin_retrieve", made["id"])
    ask.made("plugin_partial_update", made["id"], {"name": made["code"], "description": "e"})
    new = ask.made("plugin_release_create", None, release(made["id"], "1.0.0"), kind=FORM)
    ask.made("plugin_release_retrieve", new["id"])
    ask.made("plugin_release_release", new["id"])
    for name in ("plugin_list", "plugin_release_list"):
        ask.send(name)
        ask.send(name, query={"per_page": 1})
    job = run(ask, made["code"])
    ask.made("job_retrieve", job)
    ask.made("job_partial_update", job, {"status": "RUNNING", "meta": {"a": 1}})
    ask.made("job_console_logs_v2", job)
    ask.made("job_stop", job)
    assert ask.made("job_log_create", job, LOG)["data"] == {"n": 1}
    assert len(ask.made("job_log_bulk_create", job, {"logs": [LOG, LOG]})) == 2
    assert ask.send("job_tail_console_logs_v2", job).status == 200
    ask.send("job_list")
    ask.made("job_retrieve", job)
    ask.send("plugin_release_destroy", new["id"])
    assert ask.findings == []
    assert ask.seen == {(name, int(one.success)) for name, one in OPERATIONS.items()}


def test_a_failed_job(ask):
    """Its error is of the form that is promised."""
    made = ask.made("plugin_create", None, plugin())
    job = run(ask, made["code"])
    ask.made("job_partial_update", job, {"status": "FAILED"})
    assert ask.made("job_retrieve", job)["error"]["error_type"] == "execution_error"


REQUIRED = [
    (name, kind, left_out)
    for name, one in OPERATIONS.items()
    for kind in one.content_types
    for left_out in one.body.get("required", ())
]


@pytest.mark.parametrize(("name", "kind", "left_out"), REQUIRED)
def test_required_fields(ask, name, kind, left_out):
    """Without one of them: 400 that names it, in every content type."""
    made = ask.made("plugin_create", None, plugin())
    at = run(ask, made["code"]) if name.startswith("job_") else None
    fields = {
        "plugin_create": plugin(),
        "plugin_release_create": release(made["id"], "1.0.0"),
        "job_log_create": LOG,
        "job_log_bulk_create": {"logs": [LOG]},
    }[name]
    assert set(OPERATIONS[name].body["required"]) <= set(fields)
    body = {key: value for key, value in fields.items() if key != left_out}
    assert ask.refusal(name, at, body, kind=kind) == (400, {left_out})
    assert ask.send(name, at, fields, kind=kind).status == 201


def test_only_what_is_required_is(ask):
    """Every other field may be left out, of a request that has them and of one that has none."""
    assert ask.send("plugin_create", None, plugin()).status == 201
    for name in ("plugin_partial_update", "job_partial_update"):
        assert "required" not in OPERATIONS[name].body
    made = ask.made("plugin_create", None, plugin())
    job = run(ask, made["code"])
    assert ask.send("plugin_partial_update", made["id"], {}).status == 200
    assert ask.send("job_partial_update", job, {}).status == 200


def enums() -> Iterator[tuple[str, list[Any]]]:
    for name, schema in OPERATIONS["plugin_create"].body["properties"].items():
        inner = schema.get("items", schema)
        if "enum" in inner:
            yield name, inner["enum"]


@pytest.mark.parametrize(("name", "values"), list(enums()))
def test_enums_of_a_plugin(ask, name, values):
    """Each value is taken, another one is 400."""
    is_list = "items" in OPERATIONS["plugin_create"].body["properties"][name]
    for value in values:
        more = {"file": zipped()} if value == "file" else {}
        body = plugin(**{name: [value] if is_list else value}, **more)
        kind = FORM if more else JSON
        assert ask.send("plugin_create", None, body, kind=kind).status == 201, value
    for value in ("something-else", values[0].upper()):
        body = plugin(**{name: [value] if is_list else value})
        assert ask.refusal("plugin_create", None, body) == (400, {name})


def test_enums_of_a_job(ask):
    """Its five status words, and no other."""
    made = ask.made("plugin_create", None, plugin())
    for word in OPERATIONS["job_partial_update"].body["properties"]["status"]["enum"]:
        job = run(ask, made["code"])
        assert ask.send("job_partial_update", job, {"status": word}).status == 200, word
        status, named = ask.refusal("job_partial_update", job, {"status": word.lower()})
        assert (status, named) == (400, {"status"})
        made = ask.made("plugin_create", None, plugin())


QUERIES = [
    (name, parameter, schema)
    for name, one in OPERATIONS.items()
    for parameter, schema in one.query.items()
    if one.is_list
]


@pytest.mark.parametrize(("name", "parameter", "schema"), QUERIES)
def test_queries(ask, name, parameter, schema):
    """Each parameter of a list is taken with each of its values."""
    ask.made("plugin_create", None, plugin())
    values = schema.get("enum") or {"boolean": ["true", "false"], "integer": [1]}.get(
        schema["type"]
    )
    for value in values or [""]:
        assert ask.send(name, query={parameter: value}).status == 200
    if "enum" in schema:
        assert ask.refusal(name, query={parameter: "no"}) == (400, {parameter})


def test_defaults(ask):
    """What is not sent has the value the description gives it."""
    properties = OPERATIONS["plugin_create"].body["properties"]
    made = ask.made("plugin_create", None, plugin())
    new = ask.made("plugin_release_retrieve", made["release"]["id"])
    assert (new["version"], new["debug"]) == (
        properties["version"]["default"],
        properties["debug"]["default"],
    )
    assert properties["source"]["default"] == "scaffold"


@pytest.mark.parametrize("name", [key for key, one in OPERATIONS.items() if "{id}" in one.path])
@pytest.mark.parametrize("at", ["99999999", "0b6e57a1-0000-4000-8000-000000000001", "x"])
def test_unknown_ids(ask, name, at):
    """404, whatever stands there; the tail of a job that is not there is an event that says so."""
    is_event = name == "job_tail_console_logs_v2" and at.count("-") == 4
    assert ask.send(name, at).status == (200 if is_event else 404)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize(("token", "status"), [("", 401), ("wrong", 401)])
def test_who_is_not_known(ask, name, token, status):
    """401 before anything else is looked at."""
    ask.token = token
    assert ask.send(name, "1").status == status


def test_conflicts(ask):
    """409 where the description, or its words, say so."""
    body = plugin()
    made = ask.made("plugin_create", None, body)
    assert ask.send("plugin_create", None, body).status == 409
    twice = release(made["id"], "0.0.0")
    assert ask.send("plugin_release_create", None, twice, kind=FORM).status == 409
    Wire(ask.url, {"Authorization": f"Token {TOKEN}"}).patch(
        f"/_emulator/objects/release/{made['release']['id']}/", {"in_use": True}
    )
    assert ask.send("plugin_release_destroy", made["release"]["id"]).status == 409
    job = run(ask, made["code"])
    ask.made("job_stop", job)
    assert ask.send("job_stop", job).status == 409


def test_dry_runs(ask):
    """Every operation that has the parameter answers a success and changes nothing."""
    made = ask.made("plugin_create", None, plugin())
    job = run(ask, made["code"])
    asked = {
        "plugin_create": (None, plugin()),
        "plugin_partial_update": (made["id"], {"name": "x"}),
        "plugin_release_create": (None, release(made["id"], "2")),
        "plugin_release_release": (made["release"]["id"],),
        "plugin_release_destroy": (made["release"]["id"],),
        "job_partial_update": (job, {"status": "FAILED"}),
        "job_stop": (job,),
        "job_log_create": (job, LOG),
        "job_log_bulk_create": (job, {"logs": [LOG]}),
    }
    assert set(asked) == {name for name, one in OPERATIONS.items() if "dry_run" in one.query}
    for name, arguments in asked.items():
        kind = FORM if name == "plugin_release_create" else JSON
        how = {"query": {"dry_run": "true"}, "kind": kind, "unlisted": name == "job_stop"}
        assert ask.send(name, *arguments, **how).status == int(OPERATIONS[name].success)
    assert ask.made("plugin_retrieve", made["id"])["name"] == made["name"]
    assert ask.made("plugin_release_retrieve", made["release"]["id"])["is_released"] is False
    assert ask.made("job_retrieve", job)["status"] in ("PENDING", "RUNNING")


@pytest.mark.parametrize(
    ("name", "kind"), [("plugin_release_create", JSON), ("plugin_create", "text/plain")]
)
def test_content_types_that_are_not_offered(ask, name, kind):
    """415."""
    assert kind not in OPERATIONS[name].content_types
    assert ask.send(name, None, {"plugin": 1}, kind=kind).status == 415


@pytest.mark.parametrize("path", sorted({one.path for one in OPERATIONS.values()}))
def test_methods_that_are_not_offered(ask, path):
    """405."""
    offered = {one.method for one in OPERATIONS.values() if one.path == path}
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - offered:
        wire = Wire(ask.url, {"SYNAPSE-ACCESS-TOKEN": TOKEN})
        assert wire.send(method, path.replace("{id}", "1")).status == 405, method


def changed(change: Callable[[Any], None]) -> Description:
    document = copy.deepcopy(DESCRIPTION.document)
    change(document)
    return Description(document)


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (lambda of: of["PluginV2Detail"]["required"].append("more"), "required property"),
        (lambda of: of["PluginV2Detail"]["properties"].pop("code"), "Additional properties"),
        (lambda of: of["PluginV2Detail"]["properties"]["id"].update(type="string"), "of type"),
        (lambda of: of["PluginV2Detail"]["properties"]["category"].update(enum=["x"]), "one of"),
    ],
)
def test_a_mismatch_is_found(ask, change, finding):
    """A field more or less, another type, another enum: each is a finding."""
    made = ask.made("plugin_create", None, plugin())
    body = ask.made("plugin_retrieve", made["id"])
    description = changed(lambda document: change(document["components"]["schemas"]))
    operation = description.operations["plugin_retrieve"]
    found = list(operation.problems_of_answer(200, body))
    assert any(finding in one for one in found), found
    assert list(operation.problems_of_answer(418, body)) == [
        "418 is no status of GET /v2/plugins/{id}/"
    ]


def test_the_examples_of_the_description_are_allowed_by_it():
    """What the mock answers is what the description promises."""
    for operation in OPERATIONS.values():
        if operation.answer is not None:
            body = example(operation.answer)
            assert list(operation.problems_of_answer(int(operation.success), body)) == []
