"""A server that quotes what it was sent, anywhere in its answers: none of it reaches people or files.

The server here is one object store with a voice: in each place that it is asked for, it speaks
every form of every secret that it was ever sent.
"""

from __future__ import annotations

import base64
import html
import http.server
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, quote_plus

import pytest
from e2e.scenarios.canaries import contents
from e2e.scenarios.workplace import Ran, Workplace, project
from echoing import echoing

TOKEN = "syn_4cc3ssT0k3nOfCanaries-9f8e7d6c"
AGENT = "agt_Ag3ntT0kenOfCanaries5b4a3c2d"
SECRETS = {
    "CANARY_KEY": "AKIACANARY7XQ2LMNOPZ",
    "CANARY_SECRET": 'cAn4ry-sec+ret/ "quoted" <&>\\é=0987',
}
CANARIES = (*SECRETS.values(), TOKEN, AGENT)


def spell_in_percents(value: str) -> str:
    """Each byte as a percent code, also of letters and digits."""
    return "".join(f"%{byte:02x}" for byte in value.encode())


def spoken(value: str) -> Iterator[str]:
    """A value in each form that a server may write it in, and cut short."""
    data = value.encode()
    yield from (value, json.dumps(value)[1:-1], html.escape(value), quote(value, safe=""))
    yield from ("".join(f"&#{ord(one)};" for one in value), spell_in_percents(value))
    yield "".join(f"\\u{ord(one):04X}" for one in value)
    yield from (quote_plus(value), re.sub("%..", lambda hexed: hexed[0].lower(), quote(value)))
    yield from (data.hex(), data.hex().upper())
    for offset in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(b"x" * offset + data + b"yz").decode().rstrip("=")
    yield "".join(f"&#{ord(one):08d};" for one in value)
    yield "".join(f"&#x{ord(one):07x};" for one in value)
    yield from ("".join(f"\\u{{{ord(one):x}}}" for one in value), value.replace("-", "&#45;"))
    yield "".join(f"%u{ord(one):04x}" for one in value)
    yield "".join(f"\\U{ord(one):08X}" for one in value)
    yield "".join(f"\\uu{ord(one):04x}" for one in value)
    yield "".join(one.upper() if at % 3 else one for at, one in enumerate(data.hex()))
    yield base64.encodebytes(b"x" * 50 + data).decode()
    for length in (8, 11, len(value) - 1):
        yield f"{value[:length]}…"
        yield f"{data[:length].hex()}..."


@cache
def traces(value: str) -> set[bytes]:
    """What no output may hold: the first eight characters in each form."""
    data, begin = value.encode(), value[:8]
    found = {begin, json.dumps(begin)[1:-1], quote(begin, safe=""), html.escape(begin)}
    found |= {spell_in_percents(begin), "".join(f"&#{ord(one)};" for one in begin)}
    found.add("".join(f"\\u{ord(one):04X}" for one in begin))
    found |= {"".join(f"&#{ord(one):08d};" for one in begin[:8])}
    found |= {"".join(f"&#x{ord(one):07x};" for one in begin)}
    found |= {"".join(f"\\u{{{ord(one):x}}}" for one in begin)}
    found |= {"".join(f"%u{ord(one):04x}" for one in begin)}
    found |= {"".join(f"\\U{ord(one):08X}" for one in begin)}
    found |= {"".join(f"\\uu{ord(one):04x}" for one in begin)}
    cased = enumerate(begin.encode().hex())
    found.add("".join(one.upper() if at % 3 else one for at, one in cased))
    found |= {begin.encode().hex(), begin.encode().hex().upper()}
    for offset in range(3):
        coded = base64.b64encode(b"\0" * offset + data[:8]).decode()
        coded = coded[(offset * 8 + 5) // 6 : (offset + 8) * 8 // 6]
        found |= {coded, coded.translate(str.maketrans("+/", "-_"))}
    return {one.encode() for one in found}


ALL_WORDS = " | ".join(form for value in CANARIES for form in spoken(value))
PLACES = ("errors", "keys", "fields", "ids", "headers", "pages", "lines", "plain", "escaped")


class Loud(http.server.BaseHTTPRequestHandler):
    """API v1 of a plugin, a release, a storage and a job, all of them there already or made."""

    how = "fields"
    protocol_version = "HTTP/1.0"
    storages: dict[int, dict[str, Any]]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        first, _, rest = path.partition("/")
        if self.how == "pages" and not rest:
            return self._refuse()
        if path == "storages":
            return self._page([self._loud(one) for one in self.storages.values()])
        if first == "storages":
            found = self.storages.get(int(rest)) if rest.isdecimal() else None
            return self._answer(200, self._loud(found)) if found else self._refuse(404)
        if path == "plugins":
            return self._page([self._loud(PLUGIN)])
        if path == "plugin_releases":
            return self._page([self._loud(RELEASE)])
        if first == "plugin_releases":
            return self._answer(200, self._loud({**RELEASE, "plugin": PLUGIN}))
        if first == "plugins":
            return self._answer(200, self._loud(PLUGIN))
        if path == "jobs":
            return self._page([self._loud(JOB)])
        if rest.endswith("tail_console_logs"):
            return self._events()
        if rest.endswith("console_logs"):
            lines = [{"timestamp": "t", "level": ALL_WORDS, "message": ALL_WORDS}, ALL_WORDS]
            return self._answer(200, {"logs": lines, ALL_WORDS: 1})
        return self._answer(200, self._loud(JOB))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.how in ("errors", "keys", "plain", "escaped"):
            return self._refuse()
        if "run" in self.path:
            return self._answer(200, self._loud({**JOB, "job_id": "j-1"}))
        if "agents" in self.path:
            return self._answer(200, {"status": ALL_WORDS, ALL_WORDS: ALL_WORDS})
        made = {"id": len(self.storages) + 1, **json.loads(body)}
        self.storages[made["id"]] = made
        return self._answer(201, self._loud(made))

    def do_PUT(self) -> None:
        self.do_POST()

    def _loud(self, value: dict[str, Any]) -> dict[str, Any]:
        """The object, with words in it where they are asked for."""
        made = dict(value)
        if self.how == "fields":
            made |= {"description": ALL_WORDS, "changelog": ALL_WORDS, "author": ALL_WORDS}
            made |= {"extra": [ALL_WORDS, {"deep": ALL_WORDS}], ALL_WORDS: 1, "result": ALL_WORDS}
            made |= {"created": ALL_WORDS, "category": ALL_WORDS, "status": made.get("status")}
        if self.how == "ids":
            made["id"] = SECRETS["CANARY_KEY"]
        if self.how == "lines" and "status" in made:
            made["status"] = ALL_WORDS
        return made

    def _page(self, items: list[dict[str, Any]]) -> None:
        self._answer(200, {"count": len(items), "next": None, "previous": None, "results": items})

    def _refuse(self, status: int = 400) -> None:
        error: Any = {"name": [f"Invalid request: {ALL_WORDS}"], "detail": ALL_WORDS}
        if self.how == "keys":
            error = {ALL_WORDS: ["bad"], "configuration": {ALL_WORDS: [ALL_WORDS]}}
        if self.how == "plain":
            return self._answer(status, f"<html><title>{ALL_WORDS}</title>".encode())
        return self._answer(status, error)

    def _events(self) -> None:
        event = json.dumps({"type": "log", "data": ALL_WORDS})
        end = json.dumps({"type": "complete", "status": ALL_WORDS, "message": ALL_WORDS})
        self._answer(200, f"data: {event}\n\ndata: {end}\n\n".encode(), "text/event-stream")

    def _answer(self, status: int, body: Any, kind: str = "application/json") -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        if self.how == "escaped" and not isinstance(body, bytes):
            # As many servers may: every letter of a text as an escape.
            for value in CANARIES:
                written = json.dumps(value)[1:-1].encode()
                data = data.replace(written, "".join(f"\\u{ord(c):04x}" for c in value).encode())
        self.send_response(status, self._header() if self.how == "headers" else None)
        if self.how == "headers":
            self.send_header("X-Request-ID", AGENT if "agents" in self.path else TOKEN)
            self.send_header("Retry-After", self._header())
            self.send_header("X-Words", self._header())
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _header(self) -> str:
        return ALL_WORDS.encode("ascii", "ignore").decode()

    def log_message(self, *_args: object) -> None:
        """Quiet."""


PLUGIN = {"id": 7, "name": "Yolo", "code": "yolo", "description": "Finds", "version": "1.0.0"}
RELEASE = {"id": 9, "plugin": 7, "version": "1.0.0", "changelog": "First", "config": {}}
JOB = {"id": "j-1", "status": "completed", "plugin": 7, "progress": 100}
MANIFESTS = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: yolo}
spec: {name: Yolo, code: yolo, description: Finds things, version: "1.0.0"}
---
apiVersion: synapse-apply/v1
kind: Release
spec: {plugin: yolo, version: "1.0.0", source: published, verify: {parameters: {}, timeout: 1}}
---
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: raw}
spec:
  name: Raw data
  provider: amazon_s3
  category: external
  configuration:
    bucket_name: raw
    region: us-west-2
    access_key_id: {valueFrom: {env: CANARY_KEY}}
    secret_access_key: {valueFrom: {env: CANARY_SECRET}}
"""
REPORTS = [f"{kind}={kind}.report" for kind in ("markdown", "json", "html")]
COMMANDS: dict[str, list[list[str]]] = {
    "apply": [
        ["apply", "--auto-approve", *(f"--report={one}" for one in REPORTS)],
        ["apply", "--auto-approve", "--json", "--adopt"],
    ],
    "plan": [
        ["plan", "--out", "saved.plan", *(f"--report={one}" for one in REPORTS)],
        ["plan", "--json", "--show-unchanged"],
        ["apply", "saved.plan", "--auto-approve"],
        ["show", "storage/raw"],
    ],
    "import": [
        ["import", "storage/raw", "1", "--json"],
        ["import", "plugin/yolo", "7"],
        ["drift", "--unmanaged", *(f"--report={one}" for one in REPORTS)],
        ["drift", "--json"],
        ["plan", "--json"],
        ["state", "show", "storage/raw"],
        ["state", "backup", "copy.db"],
        ["state", "history", "--json"],
    ],
    "export": [["export", "--out", "exported"], ["export", "--out", "others", "--json"]],
    "doctor": [["doctor"], ["doctor", "--json"]],
    "verify": [
        ["apply", "--auto-approve", "--adopt"],
        ["verify", "--json", "--timeout=0.3"],
        ["verify", "--timeout=0.3"],
    ],
}
# These read no manifests, so that they know no secrets but those that they send themselves.
BY_HAND: list[list[str]] = [
    ["run", "yolo", "--follow", "--timeout=0.3", "--json"],
    ["run", "yolo", "--follow", "--timeout=0.3"],
    ["get", "jobs"],
    ["get", "jobs", "--json"],
    ["get", "job", "j-1", "--json"],
    ["jobs", "logs", "j-1"],
    ["jobs", "logs", "j-1", "--follow", "--timeout=0.3"],
    ["get", "storages"],
    ["get", "storages", "--json"],
    ["get", "plugin", "yolo", "--json"],
]


def furnished(root: Path, url: str) -> Workplace:
    """A project with a plugin, a verified release and a storage with two secrets."""
    variables = {"PROD_TOKEN": TOKEN, "AGENT_TOKEN": AGENT, "SYNAPSE_APPLY_LOG": "trace"}
    place = Workplace(root, {**variables, **SECRETS})
    agents = {"gpu": {"env": "AGENT_TOKEN"}}
    lists = {"allow_env": ["CANARY_*"], "settle_after": 0.2, "agents": agents}
    place.write("synapse-apply.yaml", project(url, **lists))
    place.write("manifests/all.yaml", MANIFESTS)
    place.run("state", "init", code=0)
    return place


def found_in(place: Workplace, ran: list[Ran], *known: str) -> list[str]:
    """Where a trace of a secret stands: outputs by number, files by name."""
    outputs = {f"output {n}": [one.text.encode()] for n, one in enumerate(ran)}
    for path in place.root.rglob("*"):
        if path.is_file():
            outputs[str(path.relative_to(place.root))] = list(contents(path))
    return [
        f"{where}: {trace.decode()}"
        for where, pieces in outputs.items()
        for value in known
        for trace in traces(value)
        if any(trace in piece for piece in pieces)
    ]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("how", PLACES)
def test_words_of_a_server_that_was_sent_secrets(tmp_path, how, command):
    """Outputs, logs, reports, saved plans, states and their copies hold no part of a secret."""
    storages = {1: {"id": 1, "name": "Raw data", "provider": "amazon_s3", "category": "external"}}
    storages[1]["configuration"] = {
        "bucket_name": "raw",
        "region": "us-west-2",
        "access_key_id": SECRETS["CANARY_KEY"],
        "secret_access_key": SECRETS["CANARY_SECRET"],
    }
    handler = type("Handler", (Loud,), {"storages": {} if command == "apply" else storages})
    with echoing(handler, how) as url:
        place = furnished(tmp_path / "project", url)
        ran = [place.run(*typed) for typed in COMMANDS[command]]
    # Commands that read no manifests know no other secrets than the tokens they send.
    known = (TOKEN, AGENT) if command == "agents" else CANARIES
    assert found_in(place, ran, *known) == []


@pytest.mark.parametrize("how", PLACES)
def test_words_of_a_server_that_was_sent_a_token(tmp_path, how):
    """Commands by hand: outputs and logs hold no part of a token."""
    storages = {1: {"id": 1, "name": "Raw data", "provider": "file_system", "category": "a"}}
    storages[1]["configuration"] = {"base_path": "/data"}
    handler = type("Handler", (Loud,), {"storages": storages})
    with echoing(handler, how) as url:
        place = furnished(tmp_path / "project", url)
        ran = [place.run(*typed) for typed in BY_HAND]
    assert found_in(place, ran, TOKEN, AGENT) == []


def test_what_is_masked_goes_back_as_it_was(tmp_path):
    """An update sends what nobody declared as the server has it, not as people see it."""
    words = {"about": f"for {SECRETS['CANARY_KEY']}", SECRETS["CANARY_KEY"]: [TOKEN]}
    plugin = {
        **PLUGIN,
        "author": "Bob",
        "description": f"Key {SECRETS['CANARY_KEY']}!",
        "configuration": words,
    }
    sent: list[dict[str, Any]] = []

    class Keeper(Loud):
        storages: ClassVar[dict[int, dict[str, Any]]] = {}

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            found = {"/plugins/": [plugin], "/storages/": []}.get(path)
            return self._answer(200, plugin) if found is None else self._page(found)

        def do_PUT(self) -> None:
            sent.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._answer(200, {**plugin, **sent[-1]})

    with echoing(Keeper, "") as url:
        place = furnished(tmp_path / "project", url)
        named = {"name": "Yolo", "code": "yolo", "author": "Ada"}
        head = {"apiVersion": "synapse-apply/v1", "kind": "Plugin", "metadata": {"name": "yolo"}}
        place.write(
            "manifests/all.yaml",
            json.dumps({**head, "spec": named}) + "\n",
            MANIFESTS.split("---\n")[2],
        )
        ran = [place.plan(), place.apply("--only", "plugin/yolo", "--adopt")]
        assert [body["author"] for body in sent] == ["Ada"]
        assert sent[0]["description"] == plugin["description"]
        assert sent[0]["configuration"] == words
        ran.append(place.plan("--json"))
    assert found_in(place, ran, *CANARIES) == []
