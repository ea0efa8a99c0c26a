"""Whatever the clients of v2 send, in any content type, the backend understands."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest
from contract.emulator.conftest import BOUNDARY, Wire, form, zipped
from hypothesis import given
from hypothesis import strategies as st
from laws.bench import TENANT, TOKEN
from laws.effort import effort
from laws.worlds import CATEGORIES, CONFIGURATIONS, TEXTS

pytestmark = pytest.mark.deep
HEADERS = st.sampled_from(
    [
        {"SYNAPSE-ACCESS-TOKEN": TOKEN},
        {"Authorization": f"Token {TOKEN}", "SYNAPSE-Tenant": TENANT},
        {"Authorization": f"Token {TOKEN}", "SYNAPSE-Tenant": f"Token {TENANT}"},
        {"Authorization": f"Bearer {TOKEN}"},
    ]
)
JSON = "application/json"
FORMS = {
    "json": JSON,
    "texts": JSON,  # every value as a text, as the vendor's client sends it
    "urlencoded": "application/x-www-form-urlencoded",
    "multipart": f"multipart/form-data; boundary={BOUNDARY}",
}
PLUGIN = st.fixed_dictionaries(
    {"name": st.just("Law"), "category": st.sampled_from(CATEGORIES)},
    optional={
        "description": TEXTS,
        "version": st.sampled_from(["0.1.0", "1.0.0-rc.1"]),
        "data_type": st.sampled_from(["image", "pcd"]),
        "tasks": st.lists(st.sampled_from(["image.detection", "b"]), min_size=1, max_size=2),
        "supported_data_types": st.lists(st.sampled_from(["image", "text"]), min_size=1),
        "readme": TEXTS,
        "meta": CONFIGURATIONS,
        "debug": st.booleans(),
    },
)
REPORTS = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(["RUNNING", "SUCCEEDED", "FAILED", "STOPPED"]),
        "progress_record": CONFIGURATIONS,
        "metrics_record": CONFIGURATIONS,
        "meta": CONFIGURATIONS,
        "result": CONFIGURATIONS | st.none(),
        "unknown": CONFIGURATIONS,
    },
)
LOGS = st.fixed_dictionaries(
    {
        "event": st.just("epoch"),
        "data": CONFIGURATIONS,
        "datetime": st.sampled_from(["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.678+09:00"]),
    },
    optional={"level": st.sampled_from(["info", "danger"]), "step": st.just("fit")},
)


def written(fields: Mapping[str, Any], how: str) -> bytes:
    """The body as a client writes it in that way."""
    texts = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in fields.items()
    }
    if how == "multipart":
        return form(*texts.items())
    if how == "urlencoded":
        return urlencode(texts).encode()
    return json.dumps(texts if how == "texts" else fields).encode()


def trimmed(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


@dataclass(frozen=True)
class Client:
    """Sends as one client does; every answer must be a success."""

    wire: Wire
    answers: str

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = JSON) -> Any:
        reply = self.wire.send(method, f"/v2{path}", body, Content_Type=kind)
        assert reply.status in (200, 201), (method, path, body, reply.status, reply.content)
        return reply.body["data"] if self.answers == "envelope" else reply.body

    def publishes(self, code: str, plugin: Mapping[str, Any], how: str) -> None:
        """A plugin, its first release, a change, a second release, and its lock."""
        made = self.ask("POST", "/plugins/", written({**plugin, "code": code}, how), FORMS[how])
        at = f"/plugins/{made['id']}/"
        changed = self.ask("PATCH", at, written({"description": "d"}, how), FORMS[how])
        assert changed["description"] == "d"
        release = self.ask("GET", f"/plugin-releases/{made['release']['id']}/")
        for name in {"readme", "meta", "debug", "version"} & set(plugin):
            assert release[name] == trimmed(plugin[name]), name
        for name in {"tasks", "supported_data_types"} & set(plugin):
            assert release["config"][name] == plugin[name]
        package = zipped()
        digest = hashlib.sha256(package).hexdigest()
        parts = {"plugin": str(made["id"]), "version": "2.0.0", "sha256": digest, "file": package}
        newer = self.ask("POST", "/plugin-releases/", form(*parts.items()), FORMS["multipart"])
        assert self.ask("POST", f"/plugin-releases/{newer['id']}/release/")["is_released"] is True

    def reports(
        self, code: str, report: Mapping[str, Any], log: Mapping[str, Any], how: str
    ) -> None:
        """A job of the plugin, what it does and what it logs."""
        assert self.wire.post(f"/plugins/{code}/run/", {"action": code}).status == 200
        listed = self.ask("GET", f"/jobs/?action={code}")
        job = (listed if self.answers == "envelope" else listed["results"])[0]["id"]
        told = self.ask("PATCH", f"/jobs/{job}/", json.dumps(report).encode())
        known = {name: value for name, value in report.items() if name != "unknown"}
        assert {name: told[name] for name in known} == known
        made = self.ask("POST", f"/jobs/{job}/logs/", written(log, how), FORMS[how])
        assert made["data"] == log["data"]
        many = json.dumps({"logs": [log] * 2}).encode()
        assert len(self.ask("POST", f"/jobs/{job}/logs/bulk/", many)) == 2
        assert self.ask("GET", f"/jobs/{job}/console_logs/") == {"logs": []}


@pytest.mark.parametrize("how", FORMS)
def test_every_request_of_the_clients_is_understood(server, how):
    """Plugins, releases, the lock, jobs, reports and logs; answers enveloped or not."""
    numbers = itertools.count()

    @effort(few=10, many=500)
    @given(HEADERS, st.sampled_from(["envelope", "plain"]), PLUGIN, REPORTS, LOGS)
    def law(
        headers: Mapping[str, str],
        answers: str,
        plugin: Mapping[str, Any],
        report: Mapping[str, Any],
        log: Mapping[str, Any],
    ) -> None:
        server.send("PATCH", "/_emulator/switches/", {"v2_answers": answers})
        code = f"law-{how}-{next(numbers)}"
        client = Client(Wire(server.url, headers), answers)
        client.publishes(code, {**plugin, "name": code}, how)
        client.reports(code, report, log, how)

    law()
