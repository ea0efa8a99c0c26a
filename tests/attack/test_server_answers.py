"""A server that answers anything: a command ends in words and a code, and loses nothing."""

from __future__ import annotations

import os
import random

import pytest
from attack.bench import Bench
from attack.lying import at_request, some_lie
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
    "jobs list",
    "jobs get {job}",
    "jobs logs {job}",
    "jobs logs {job} --follow",
    "jobs update {job} --progress 5",
    "doctor",
    "plugins get plugin-0",
    "releases list plugin-0",
    "releases get plugin-0@1.0.0",
    "storages list",
    "storages get storage-0",
)


def prepared(bench: Bench, api: str, command: str) -> tuple[Site, str]:
    """A project as the command wants it, and the command with its ids."""
    site = bench.site(api)
    if command == FIRST:
        return site, command
    code, out = bench.does(site, FIRST)
    assert code == 0, out
    if "{job}" in command:
        code, out = bench.does(site, "run plugin-0 --param a=1 --json")
        assert code == 0, out
        command = command.replace("{job}", out.partition('"id": "')[2].partition('"')[0])
    elif command == CHANGED:
        edit(site, '"description": "a"', '"description": "b"')
    elif command.startswith("verify"):
        edit(site, '"source"', '"verify": {"poll_interval": 0.05}, "source"')
    storage = bench.server.ids()["storage/storage-0"][0]
    return site, command.format(out=f"out-{next(bench.numbers)}", storage=storage)


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
    assert "our defect" not in out, (said, out)


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
