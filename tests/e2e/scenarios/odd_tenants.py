"""A tenant of many objects whose names and values are as odd as people make them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from e2e.scenarios.workplace import Server

from synapse_apply.emulator.core.store import Kind, ObjectQuery, ObjectStore

TENANT = "acme"
CANARY = "canary-of-odd-tenants-51c0"
NAMES = (
    "no", "yes", "null", "~", "1.0", "1e3", "0x1F", "012", "2026-11-25", ".inf", "-", "--- a", "- b",
    "-n", "a: b # c", "# c", "? q", "! t", "&a", "*a", "%x", "@all", "`code`", "```", "it's", '"q"',
    "'", '"', "[x]", "{x: y}", "x\ny", "tab\there", " leading", "trailing ", "${var.x}", "$${y}",
    "저장소 하나", "데이터 호수 🌊", "👩‍🔬", "é", "e\u0301", "عربى", "\u202eevil", "\u200frtl\u200f",
    "zero\u200bwidth", "\ufeffbom", "<b>x</b>", "</details>", "::error::x", "\x1b[31mred", "a\\b",
    "C:\\x", "x" * 250, "긴" * 120, "Raw Data", "raw_data", "RAW-DATA",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    *NAMES, "", 0, -1, 1.0, 1e300, 2**60, True, False, None, [], {}, ["no", None, 1.0],
    {"a": {"b": [{"c": "no"}]}}, "two\nlines\n", "\n", "x\r\ny", "a" * 5000,
)  # fmt: skip
VERSIONS = (
    "1.0.0",
    "1.10",
    "no",
    "null",
    "1e3",
    "0x1F",
    "012",
    "-",
    "1_0",
    "1.0.0-rc.1+b",
    "v1",
    "on",
)
SECRETS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("amazon_s3", {"bucket_name": "b", "access_key_id": CANARY, "secret_access_key": CANARY}),
    ("gcp", {"bucket_name": "b", "credentials": {"private_key": CANARY}}),
    ("sftp", {"host": "1e3", "port": 22, "username": "no", "password": CANARY}),
    ("file_system", {"base_path": "/data/${var.bucket}"}),
    ("azure", {"connection_string": CANARY, "more": {"key": CANARY}}),
    ("of_a_later_day", {"a": {"b": [CANARY]}, "none": None}),
)


def odd(number: int) -> str:
    """A name that no other object has."""
    name = NAMES[number % len(NAMES)]
    turn = number // len(NAMES)
    return f"{name}{f' {turn}' if turn else ''}"


def fill(server: Server, store: ObjectStore, count: int, api: str) -> None:
    """So many plugins, releases and storages. The first of each is made by the API, the others
    are stored beside it, field by field like it, since a thousand requests take a while."""
    _by_api(server, api)
    first: dict[Kind, dict[str, Any]] = {
        kind: server.objects(kind)[0] for kind in ("plugin", "release", "storage")
    }
    created = store.select("plugin", ObjectQuery(TENANT), limit=1)[0].created
    with store.transaction():
        for number in range(1, count):
            code = f"code-{number}"
            fields = {"name": odd(number), "code": code, "description": str(VALUES[number % 60])}
            if api == "v1":
                value = VALUES[number % len(VALUES)]
                fields["configuration"] = {"odd": value, odd(number): [value]}
            plugin = store.insert(
                "plugin", TENANT, {**first["plugin"]["body"], **fields}, created=created, key=code
            )
            version = VERSIONS[number % len(VERSIONS)]
            release = {**first["release"]["body"], "version": version, "changelog": odd(number)}
            store.insert("release", TENANT, release, created=created, parent=plugin.id,
                         key=f"{plugin.id}@{version}")  # fmt: skip
            provider, configuration = SECRETS[number % len(SECRETS)]
            storage = {"name": odd(number), "provider": provider, "configuration": configuration}
            store.insert(
                "storage", TENANT, {**first["storage"]["body"], **storage}, created=created
            )


def _by_api(server: Server, api: str) -> None:
    server.call("POST", "plugins/", {"name": "First", "code": "code-0", "category": "export"})
    server.call("POST", "plugin_releases/", {"plugin": 1, "version": "1.10.0", "changelog": "no"})
    body = {"name": "First", "provider": "file_system", "configuration": {"base_path": "/"}}
    server.call("POST", "storages/", {**body, "category": "external"})
