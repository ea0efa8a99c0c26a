"""A server that answers anything: a command ends in words and a code, and loses nothing."""

from __future__ import annotations

import os
import random

import pytest
from attack.bench import Bench
from attack.lying import HEADERS, REQUEST_ID, Answered, Asked, at_request, some_lie
from fault.site import Site

DEEP = os.environ.get("SYNAPSE_APPLY_TEST_DEEP") == "1"
LIES = 150 if DEEP else 2
SEED = os.environ.get("SYNAPSE_APPLY_TEST_SEED", "0")
CODES = {0, 1, 2, 3, 4, 5, 6, 7}
FIRST = "apply --auto-approve --parallelism 1"
# Each on a project that was applied, but the first apply itself.
CHANGED = f"{FIRST} "  # of a plugin whose manifest says something new
COMMANDS = (
    FIRST,
    CHANGED,
    "plan --parallelism 1",
    "plan --json --parallelism 1",
    "drift --unmanaged --parallelism 1",
    "export --out {out}",
    "import storage/storage-0 {storage}",
    "verify release/plugin-0@1.0.0",
    "run plugin-0 --param a=1",
    "get jobs",
    "get job {job}",
    "jobs logs {job}",
    "jobs logs {job} --follow",
    "doctor",
    "get plugin plugin-0",
    "get releases --plugin plugin-0",
    "get release plugin-0@1.0.0",
    "get storages",
    "get storage storage-0",
)
# These leave the project and the backend as they are: they share one that was applied.
READING = ("plan", "drift", "export", "doctor", "get", "get jobs", "get job", "jobs logs")


def prepared(bench: Bench, api: str, command: str) -> tuple[Site, str]:
    """A project as the command wants it, and the command with its ids."""
    if command == FIRST:
        return bench.site(api), command
    shares, needs = command.startswith(READING), "job" if "{job}" in command else ""
    shared = bench.projects.shared
    site, job = (shares and shared.get((api, needs))) or applied(bench, api, needs)
    if shares:
        shared[api, needs] = site, job
    if command == CHANGED:
        edit(site, '"description": "a"', '"description": "b"')
    elif command.startswith("verify"):
        edit(site, '"source"', '"verify": {"poll_interval": 0.05}, "source"')
    storage = bench.server.ids()["storage/storage-0"][0]
    number = next(bench.projects.numbers)
    return site, command.format(out=f"out-{number}", storage=storage, job=job)


def applied(bench: Bench, api: str, needs: str) -> tuple[Site, str]:
    """A new project that is applied, and the id of a job where one is needed."""
    site = bench.site(api)
    code, out = bench.does(site, FIRST)
    assert code == 0, out
    if needs != "job":
        return site, ""
    code, out = bench.does(site, "run plugin-0 --param a=1 --json")
    assert code == 0, out
    return site, out.partition('"id": "')[2].partition('"')[0]


def edit(site: Site, before: str, after: str) -> None:
    """Another text in the project's one manifest."""
    manifest = site.root / "manifests" / "group-0.yaml"
    text = manifest.read_text()
    assert before in text
    manifest.write_text(text.replace(before, after))


def check_end(code: int, out: str, said: str) -> None:
    """A documented code, and words instead of a traceback."""
    assert code in CODES, (said, code, out)
    assert "nternal error" not in out, (said, out)
    assert "Traceback" not in out, (said, out)
    assert "This is a bug" not in out, (said, out)


@pytest.mark.parametrize("api", ["v1", "v2"])
@pytest.mark.parametrize("command", COMMANDS)
def test_any_answer_ends_a_command_in_words(bench: Bench, api: str, command: str) -> None:
    """One answer of a command is something else; after a create all is there once."""
    site, typed = prepared(bench, api, command)
    code, out = bench.does(site, typed)
    assert code == 0, out
    count = len(bench.liar.asked)
    for number in range(LIES):
        seed = f"{command} {api} {number} {SEED}"
        chance = random.Random(seed)
        lie = at_request(chance.randrange(count), some_lie(chance))
        if command in {FIRST, CHANGED}:
            site, typed = prepared(bench, api, command)
        typed = typed.replace("out-", "out-x")
        code, out = bench.does(site, typed, lie)
        check_end(code, out, seed)
        if command in {FIRST, CHANGED}:
            ends_once(bench, site, seed)


def ends_once(bench: Bench, site: Site, said: str) -> None:
    """After another apply, this time answered honestly, nothing is there twice or misrecorded."""
    code, out = bench.does(site, FIRST)
    check_end(code, out, said)
    ids = bench.server.ids()
    assert all(len(found) == 1 for found in ids.values()), (said, ids, out)
    recorded = {address: [found] for address, found in site.records().items()}
    assert recorded.items() <= ids.items(), (said, recorded, ids)


UNREADABLE = {
    "empty": b"",
    "html": b"<html>",
    "a list": b'["x"]',
    "null": b"null",
    "NaN": b'{"id": 1, "name": NaN}',
    "endless": b'{"id": 1e400}',
    "long": b'{"id": ' + b"9" * 5000 + b"}",
    "half a pair": b'{"id": 1, "name": "\\ud800"}',
    "deep": b"[" * 200 + b"]" * 200,
    "deeper": b"[" * 100_000,
    "two ids": b'{"id": 1, "id": 2}',
    "no id": b'{"name": "x"}',
    "id a list": b'{"id": [1]}',
    "id a truth": b'{"id": true}',
    "id a fraction": b'{"id": 1.0}',
    "id a path": b'{"id": "../1"}',
    "id of two lines": b'{"id": "1\\n"}',
    "UTF-16": '{"id": 1}'.encode("utf-16"),
}


@pytest.mark.parametrize("command", ["plan --parallelism 1", "get storage storage-0"])
@pytest.mark.parametrize("body", UNREADABLE)
def test_what_cannot_be_read_is_told_with_the_request_id(
    bench: Bench, command: str, body: str
) -> None:
    """Of the first read of a command; nothing else is said of the object."""
    site, typed = prepared(bench, "v1", command)
    lie = at_request(0, lambda _asked, answered: answered.with_body(UNREADABLE[body]))
    code, out = bench.does(site, typed, lie)
    check_end(code, out, body)
    assert code == 1, out
    assert REQUEST_ID in out


@pytest.mark.parametrize("command", ["get storages", "get jobs"])
@pytest.mark.parametrize("body", [b'["x"]', b"<html>", b'{"name": "x"}'])
def test_a_success_that_is_of_another_shape_is_called_so(
    bench: Bench, command: str, body: bytes
) -> None:
    """`The backend answered 200` alone would not tell what is wrong."""
    site, typed = prepared(bench, "v1", command)
    code, out = bench.does(
        site, typed, at_request(0, lambda _asked, answered: answered.with_body(body))
    )
    assert code == 1, out
    assert "The backend answered 200, but the answer does not match the API." in out
    assert "Check the target's url" in out


@pytest.mark.parametrize("body", UNREADABLE)
def test_a_create_that_was_answered_so_is_looked_up(bench: Bench, body: str) -> None:
    """It is neither lost nor made a second time, in the run itself where the list tells."""
    site = bench.site("v1")
    lie = at_request(3, lambda _asked, answered: answered.with_body(UNREADABLE[body]))
    code, out = bench.does(site, FIRST, lie)
    assert bench.liar.asked[3].method == "POST"
    assert (code, "looked up" in out) == (0, True), out
    assert sum(asked.path == "/storages/" for asked in bench.liar.asked) == 1
    ends_once(bench, site, body)


ODD_DATES = [value for name, value in HEADERS if name in {"Date", "Retry-After", "Age"}]


@pytest.mark.parametrize("value", ODD_DATES, ids=range(len(ODD_DATES)))
@pytest.mark.parametrize("name", ["Date", "Retry-After", "Age"])
def test_no_header_loses_a_create(bench: Bench, name: str, value: str) -> None:
    """A 201 is done, whatever stands beside it."""
    site = bench.site("v1")

    def lie(asked: Asked, answered: Answered) -> Answered:
        return answered.with_header(name, value) if asked.method == "POST" else answered

    code, out = bench.does(site, FIRST, lie)
    assert code == 0, out
    assert "3 added" in out
    assert "looked up" not in out
    assert set(site.records()) == site.expected
