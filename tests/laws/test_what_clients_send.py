"""Whatever the clients of v1 send, old or new, in either vocabulary, the backend understands."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

import pytest
from contract.emulator.conftest import BOUNDARY, Wire, form
from hypothesis import given
from hypothesis import strategies as st
from laws.bench import TENANT, TOKEN
from laws.effort import effort
from laws.worlds import CONFIGURATIONS, TEXTS

pytestmark = pytest.mark.deep
HEADERS = st.sampled_from(
    [
        {"Synapse-Access-Token": f"Token {TOKEN}"},
        {"SYNAPSE-ACCESS-TOKEN": TOKEN},
        {"Authorization": f"Token {TOKEN}", "Synapse-Tenant": f"Token {TENANT}"},
        {"Authorization": f"Token {TOKEN}", "SYNAPSE-Tenant": TENANT, "SYNAPSE-Agent": "Token a"},
        {"Authorization": f"Bearer {TOKEN}"},
    ]
)
SWITCHES = st.fixed_dictionaries(
    {
        "status_words": st.sampled_from(["page", "platform"]),
        "console_logs": st.sampled_from(["entries", "lines"]),
        "job_context": st.sampled_from(["returned", "none"]),
        "put": st.sampled_from(["partial", "full"]),
    }
)
OBJECTS = CONFIGURATIONS
PLUGIN = st.fixed_dictionaries(
    {"name": st.just("Law")},
    optional={
        **dict.fromkeys(("description", "version", "author", "category"), TEXTS),
        "configuration": OBJECTS,
        "data_type": st.just("image"),
        "unknown": OBJECTS,
    },
)
RUNS = st.one_of(
    st.fixed_dictionaries(
        {"language": st.sampled_from(["ko", "en"])},
        optional={
            "agent": st.just(1),
            "action": st.sampled_from(["train", "deployment"]),
            "params": OBJECTS,
            "storage_id": st.just(7),
            "job_id": st.just(3),
            "debug": st.booleans(),
            "version": st.just("1.0.0"),
        },
    ),
    st.fixed_dictionaries({}, optional={"parameters": OBJECTS, "context": OBJECTS}),
    st.none(),
)
RECORDS = OBJECTS | st.lists(OBJECTS, max_size=2)
UPDATES = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "status": st.sampled_from(["RUNNING", "SUCCEEDED", "FAILED", "STOPPED"]),
            "progress_record": OBJECTS,
            "metrics_record": OBJECTS,
            "console_logs": RECORDS,
            "result": RECORDS,
            "meta": OBJECTS,
        },
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "status": st.sampled_from(["running", "completed", "failed"]),
            "progress": st.integers(0, 100),
            "result": OBJECTS,
            "metadata": OBJECTS,
        },
    ),
)
RELEASES = st.fixed_dictionaries(
    {},
    optional={
        "changelog": TEXTS,
        "is_stable": st.booleans(),
        "config": OBJECTS,
        "requirements": st.lists(st.sampled_from(["numpy", "torch>=2"]), max_size=2),
        "debug": st.booleans(),
    },
)
READS = ["", "?expand=logs", "?expand=logs,metrics,result"]


def multipart(fields: Mapping[str, Any]) -> bytes:
    """As the vendor's client writes a form: JSON texts, repeated parts, Python's booleans."""
    parts: list[tuple[str, Any]] = []
    for name, value in fields.items():
        if isinstance(value, list):
            parts += [(name, item) for item in value]
        else:
            text = json.dumps(value) if isinstance(value, dict) else str(value)
            parts.append((name, text))
    return form(*parts, ("file", b"PK\x05\x06" + b"\0" * 18))


def test_every_request_of_the_clients_is_understood(server):
    """Plugins, releases with and without a file, runs, updates of jobs, reads and lists."""
    numbers = itertools.count()

    @effort(few=60, many=2000)
    @given(HEADERS, SWITCHES, PLUGIN, RELEASES, st.booleans(), RUNS, UPDATES, st.booleans())
    def law(
        headers: Mapping[str, str],
        switches: Mapping[str, str],
        plugin: Mapping[str, Any],
        release: Mapping[str, Any],
        with_file: bool,
        run: Mapping[str, Any] | None,
        update: Mapping[str, Any],
        by_code: bool,
    ) -> None:
        server.send("PATCH", "/_emulator/switches/", dict(switches))
        wire, code = Wire(server.url, headers), f"law-{next(numbers)}"

        def ask(method: str, path: str, body: Any = None, **more: str) -> Any:
            reply = wire.send(method, path, body, **more)
            assert reply.status in (200, 201), (method, path, body, reply.status, reply.content)
            return reply.body

        made = ask("POST", "/plugins/", {**plugin, "code": code})
        ask("PUT", f"/plugins/{made['id']}/", plugin)
        whole = {"plugin": code if by_code else made["id"], "version": "1.0.0", **release}
        if with_file:
            sort = f"multipart/form-data; boundary={BOUNDARY}"
            ask("POST", "/plugin_releases/", multipart(whole), Content_Type=sort)
        else:
            ask("POST", "/plugin_releases/", whole)
        found = ask("GET", f"/plugin_releases/{code}@1.0.0/?expand=plugin")
        assert found["plugin"]["id"] == made["id"]
        assert {name: found[name] for name in release} == {
            name: value.strip() if isinstance(value, str) else value
            for name, value in release.items()
        }
        assert ask("GET", f"/plugin_releases/?plugin={code}")["count"] == 1
        path = f"/plugins/{code if by_code else made['id']}/run/"
        job = ask("POST", path, run, Content_Type="application/json")["job_id"]
        ask("PATCH", f"/jobs/{job}/", update)
        for query in READS:
            ask("GET", f"/jobs/{job}/{query}")
        ask("GET", f"/jobs/{job}/console_logs/")
        ask("GET", "/jobs/?page=1&page_size=100")
        ask("GET", "/agents/")

    law()
