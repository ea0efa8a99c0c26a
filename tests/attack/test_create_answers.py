"""A server that answers a create with another object: it is never recorded for ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from attack.bench import Bench
from attack.lying import Answered, Asked, Lie
from fault.site import Site

FIRST = "apply --auto-approve --parallelism 1"
COLLECTIONS = {"storage": "storages/", "plugin": "plugins/", "release": ("plugin_releases/")}
ADDRESSES = {
    "storage": "storage/storage-0",
    "plugin": "plugin/plugin-0",
    "release": "release/plugin-0@1.0.0",
}


def create_of(kind: str, change: Callable[[dict[str, Any]], dict[str, Any] | bytes]) -> Lie:
    """Changes what each create of a kind is answered."""

    def lie(asked: Asked, answered: Answered) -> Answered:
        last = asked.path.partition("?")[0].replace("-", "_")
        if asked.method != "POST" or not last.endswith(f"/{COLLECTIONS[kind]}"):
            return answered
        value = answered.json
        if set(value) <= {"data", "meta"}:
            return answered.with_body({**value, "data": change(value["data"])})
        return answered.with_body(change(value))

    return lie


def changed(**fields: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda value: {**value, **fields}


def without(*names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda value: {name: has for name, has in value.items() if name not in names}


# By kind, what the answer to a create says of another object.
OTHERS: list[tuple[str, str, Any]] = [
    ("v1", "storage", changed(id=9_999, name="another")),
    ("v1", "storage", changed(name="another")),
    ("v1", "storage", changed(provider="gcp")),
    ("v1", "plugin", changed(id=9_999, code="another")),
    ("v1", "plugin", changed(code="another")),
    ("v1", "release", changed(version="9.9.9")),
    ("v1", "release", changed(plugin=9_999)),
    ("v2", "plugin", changed(id=9_999, code="another")),
    ("v2", "plugin", changed(code="another")),
    ("v1", "storage", without("id")),
    ("v1", "plugin", changed(id=None)),
    ("v1", "release", changed(id=["1"])),
    ("v2", "plugin", without("id")),
    ("v1", "storage", lambda _value: b""),
    ("v1", "plugin", lambda _value: b'{"id": NaN}'),
    ("v1", "release", lambda _value: b"[]"),
]


def recorded_truly(bench: Bench, site: Site) -> None:
    """What is recorded is what is there, under that id."""
    ids = bench.server.ids()
    assert all(len(found) == 1 for found in ids.values()), ids
    assert {at: [found] for at, found in site.records().items()}.items() <= ids.items()


@pytest.mark.parametrize(("api", "kind", "change"), OTHERS)
def test_another_object_is_not_recorded(bench: Bench, api: str, kind: str, change: Any) -> None:
    """It is looked up; what is found is ours, and nothing is sent a second time."""
    site = bench.site(api)
    with bench.switched(plugin_list="list"):
        lost_and_looked_up(bench, site, kind, change)


def lost_and_looked_up(bench: Bench, site: Site, kind: str, change: Any) -> None:
    code, out = bench.does(site, FIRST, create_of(kind, change))
    posts = [asked for asked in bench.liar.asked if asked.method == "POST"]
    assert len(posts) == site.posts, out
    assert code in {0, 3, 7}, out
    recorded_truly(bench, site)
    code, out = bench.does(site, FIRST)
    assert code == 0, out
    assert not [asked for asked in bench.liar.asked if asked.path.endswith(COLLECTIONS[kind])
                and asked.method == "POST"]  # fmt: skip
    recorded_truly(bench, site)
    assert set(site.records()) == site.expected


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("storage", changed(name=" Storage-0 ")),
        ("plugin", changed(code="PLUGIN_0", name="Plugin 0")),
        ("storage", without("name", "provider", "category")),
        ("plugin", without("code", "name")),
        ("release", without("plugin", "version")),
        ("storage", changed(created="yesterday", size=3)),
    ],
)
def test_the_same_object_in_other_words_is_ours(bench: Bench, kind: str, change: Any) -> None:
    """Servers trim, change the case, and leave out what was sent."""
    site = bench.site("v1")
    code, out = bench.does(site, FIRST, create_of(kind, change))
    assert code == 0, out
    assert set(site.records()) == site.expected
    recorded_truly(bench, site)


def test_the_id_of_an_object_that_is_recorded(bench: Bench) -> None:
    """Both addresses are named, and the record of the first one stays as it is."""
    site = bench.site("v1")
    code, out = bench.does(site, FIRST)
    assert code == 0, out
    before = site.records()
    taken = before["storage/storage-0"]
    text = json.dumps(
        {
            "apiVersion": "synapse-apply/v1",
            "kind": "Storage",
            "metadata": {"name": "second"},
            "spec": {
                "name": "second",
                "provider": "file_system",
                "category": "internal",
                "configuration": {"base_path": "/x"},
            },
        }
    )
    (site.root / "manifests" / "second.yaml").write_text(text)

    def lie(asked: Asked, answered: Answered) -> Answered:
        if asked.path.startswith("/storages/?"):
            return answered.with_body({"count": 0, "next": None, "previous": None, "results": []})
        return create_of("storage", changed(id=int(taken)))(asked, answered)

    code, out = bench.does(site, FIRST, lie)
    assert code == 7, out
    assert "storage/storage-0" in out
    assert "storage/second" in out
    assert site.records() == before
    code, out = bench.does(site, FIRST)
    assert code == 0, out
    recorded_truly(bench, site)


def update_answer(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Lie:
    def lie(asked: Asked, answered: Answered) -> Answered:
        if asked.method not in {"PUT", "PATCH"}:
            return answered
        value = answered.json
        if set(value) <= {"data", "meta"}:
            return answered.with_body({**value, "data": change(value["data"])})
        return answered.with_body(change(value))

    return lie


SHOWN = "Reading the object with the id in the answer returned the values that were sent"


@pytest.mark.parametrize("api", ["v1", "v2"])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (changed(id=9_999), "looked up"),
        (changed(code="another"), SHOWN),
        (changed(id=9_999, code="another"), "looked up"),
    ],
    ids=["id", "code", "both"],
)
def test_an_update_that_answers_another_object(
    bench: Bench, api: str, change: Any, told: str
) -> None:
    """The object is read again; the record keeps its id and its code."""
    site = bench.site(api)
    code, out = bench.does(site, FIRST)
    assert code == 0, out
    before = site.records()
    manifest = site.root / "manifests" / "group-0.yaml"
    manifest.write_text(manifest.read_text().replace('"description": "a"', '"description": "b"'))
    code, out = bench.does(site, FIRST, update_answer(change))
    assert code == 0, out
    assert told in out
    assert site.records() == before
    code, out = bench.does(site, "plan")
    assert (code, "No changes." in out) == (0, True), out


@pytest.mark.parametrize("api", ["v1", "v2"])
@pytest.mark.parametrize("kind", ["storages", "plugins", "releases"])
def test_a_read_that_answers_another_object(bench: Bench, api: str, kind: str) -> None:
    """Nothing is planned for what it shows."""
    site = bench.site(api)
    code, out = bench.does(site, FIRST)
    assert code == 0, out

    def lie(asked: Asked, answered: Answered) -> Answered:
        path = asked.path.partition("?")[0].replace("-", "_")
        if asked.method != "GET" or f"{kind}/" not in path or path.endswith(f"{kind}/"):
            return answered
        text = json.dumps(answered.json).replace('"id": ', '"id": 9', 1)
        return answered.with_body(text.encode()).with_header("X-Request-ID", "req-other")

    code, out = bench.does(site, "plan", lie)
    assert code == 1, out
    assert "another object" in out
    assert "req-other" in out


def with_a_second(found: dict[str, Any], **fields: Any) -> Lie:
    """Adds to lists of releases one that is like the first, but for its id and these fields."""

    def lie(asked: Asked, answered: Answered) -> Answered:
        path = asked.path.partition("?")[0].replace("-", "_")
        if asked.method != "GET" or not path.endswith(f"/{COLLECTIONS['release']}"):
            return answered
        value = answered.json
        name = "results" if "results" in value else "data"
        for raw in list(value[name])[:1]:
            second = {**raw, "id": 9_999 if isinstance(raw["id"], int) else UUID}
            value[name].append({**second, **fields})
            found.update(second)
        if "count" in value:
            value["count"] += 1
        return answered.with_body(value)

    return lie


UUID = "7a3c2c1e-1111-4222-8333-944455566677"


@pytest.mark.parametrize("api", ["v1", "v2"])
@pytest.mark.parametrize("command", ["plan", FIRST, "drift", "doctor"])
def test_a_second_release_of_a_recorded_version_is_told(
    bench: Bench, api: str, command: str
) -> None:
    """With the address, both ids and what to do; v1 lists releases by their plugin alone."""
    site = bench.site(api)
    code, out = bench.does(site, FIRST)
    assert code == 0, out
    address = "release/plugin-0@1.0.0"
    mine = site.records()[address]
    second: dict[str, Any] = {}
    code, out = bench.does(site, command, with_a_second(second))
    assert "A second live object has the same natural key" in out
    assert f"{address} is recorded with id {mine}, and id {second['id']} also has" in out
    assert f"state rm {address}" in out
    code, out = bench.does(site, command, with_a_second({}, version="9.9.9"))
    assert "A second live object" not in out


@pytest.mark.parametrize("api", ["v1", "v2"])
@pytest.mark.parametrize("command", ["plan", FIRST, "drift", "doctor"])
def test_a_second_object_of_a_recorded_name_is_told(bench: Bench, api: str, command: str) -> None:
    """With the address, both ids and what to do."""
    site = bench.site(api)
    code, out = bench.does(site, FIRST)
    assert code == 0, out
    mine = site.records()["storage/storage-0"]
    body = {"name": "storage-0", "provider": "amazon_s3", "category": "external",
            "configuration": {"bucket_name": "other", "access_key_id": "a",
                              "secret_access_key": "b", "region": "us-west-2"}}  # fmt: skip
    made = bench.server.send("POST", "/storages/", body)
    code, out = bench.does(site, command)
    assert "A second live object has the same natural key" in out
    assert "storage/storage-0" in out
    assert f"id {mine}" in out
    assert f"id {made['id']}" in out


def test_the_key_of_a_create_is_its_intents(bench: Bench) -> None:
    """The same for each time that it is sent, another for each object."""
    site = bench.site("v1")
    code, out = bench.does(site, FIRST)
    assert code == 0, out
    keys = [
        {name.lower(): value for name, value in asked.headers.items()}.get("idempotency-key")
        for asked in bench.liar.asked
        if asked.method == "POST"
    ]
    assert len(set(keys)) == len(keys) == 3
    assert all(keys)
