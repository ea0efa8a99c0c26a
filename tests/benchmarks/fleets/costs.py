"""What parts of it cost alone: a request to the backend, a head of so many targets, a page."""

from __future__ import annotations

import http.client
import os
import re
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import requests
from benchmarks.fleets.controllers import Controllers, wait_until
from benchmarks.fleets.processes import read_usages
from benchmarks.fleets.tenants import SOURCE, Tenants

from synapse_apply.controller.rows import SourceRow, TargetName, TargetRow
from synapse_apply.controller.settings import Source
from synapse_apply.controller.source.mirror import GitMirror
from synapse_apply.controller.store.controller_store import ControllerStore

_BACKEND_REQUESTS = 3_000
_PAGE_REQUESTS = 20
_STORE_LOOKS = 500
_COMPARED_SECONDS = 120.0


class Cost(NamedTuple):
    """Seconds of wall clock and of the processor."""

    wall: float
    cpu: float


def measure_backend(tenants: Tenants) -> Cost:
    """What one GET of an object costs the backend, over one connection."""
    connection = http.client.HTTPConnection(urlsplit(tenants.url).netloc, timeout=60)
    headers = {
        "Synapse-Access-Token": "Token load",
        "Synapse-Tenant": f"Token {tenants.get_name(0)}",
    }
    usage = read_usages([tenants.backend_process])[tenants.backend_process]
    begun = time.perf_counter()
    for _ in range(_BACKEND_REQUESTS):
        connection.request("GET", "/storages/1/?with_configuration=true", headers=headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
    wall = time.perf_counter() - begun
    connection.close()
    after = read_usages([tenants.backend_process])[tenants.backend_process]
    return Cost(wall / _BACKEND_REQUESTS, (after.seconds - usage.seconds) / _BACKEND_REQUESTS)


@contextmanager
def _measure(costs: dict[str, Cost], name: str) -> Iterator[None]:
    """Keep what the block costs this process and the children that it waits for."""
    begun, times = time.perf_counter(), os.times()
    yield
    spent = sum(os.times()[:4]) - sum(times[:4])
    costs[name] = Cost(time.perf_counter() - begun, spent)


def measure_git(tenants: Tenants, folder: Path) -> dict[str, Cost]:
    """The first fetch, then what it takes to compare a head: one row differs from the last one."""
    source = Source(SOURCE, str(tenants.checkout))
    mirror = GitMirror(
        source, folder, lambda _: (_ for _ in ()).throw(AssertionError("no secrets"))
    )
    costs: dict[str, Cost] = {}
    digests: list[dict[str, str]] = []
    with _measure(costs, "first fetch"):
        mirror.fetch_head()
    for number in (1, 2):
        tenants.change_row(number)
        with _measure(costs, "fetch of a commit"):
            commit = mirror.fetch_head().commit
        with _measure(costs, "compare of all targets"):
            digests.append({one.name: one.digest for one in mirror.list_targets(commit)})
    first, second = digests
    differing = [name for name in first if first[name] != second[name]]
    assert differing == [tenants.get_name(1), tenants.get_name(2)], differing
    return costs


def measure_store(store: ControllerStore, target_count: int) -> Cost:
    """What the two transactions of one look cost the store: a claim, and what was found.

    The processor time is that of this process; that of a database is its own.
    """
    store.create_or_upgrade()
    names = [TargetName(SOURCE, f"t{number:05}") for number in range(target_count)]
    with store.write() as writer:
        writer.put(SourceRow(SOURCE))
        for name in names:
            writer.put(TargetRow(name))
    looked = names[:: max(1, target_count // _STORE_LOOKS)][:_STORE_LOOKS]
    costs: dict[str, Cost] = {}
    with _measure(costs, "all"):
        for name in looked:
            now = time.time()
            with store.write() as writer:
                row = store.find_target(name)
                epoch = writer.claim(name, "measured", now + 60, now)
            with store.write() as writer:
                row = store.find_target(name)
                assert row is not None
                assert writer.is_claim_own(name, "measured", epoch)
                writer.put(replace(row, looked_at=now))
                writer.release_claim(name, "measured", epoch)
    return Cost(costs["all"].wall / len(looked), costs["all"].cpu / len(looked))


def measure_pages(controllers: Controllers, process_id: int) -> dict[str, Cost]:
    """The median of each page, and what it costs the process that serves it, on average."""
    name = controllers.tenants.get_name(1)
    paths = (
        "/", "/?state=in+sync&page=50", f"/targets/{SOURCE}/{name}", "/api/v1/targets?limit=100",
        "/metrics",
    )  # fmt: skip
    costs = {}
    for path in paths:
        walls = []
        before = read_usages([process_id])[process_id].seconds
        for _ in range(_PAGE_REQUESTS):
            begun = time.perf_counter()
            answer = requests.get(controllers.url + path, timeout=60)
            walls.append(time.perf_counter() - begun)
            assert answer.ok, (path, answer.status_code)
        spent = read_usages([process_id])[process_id].seconds - before
        costs[path.replace(name, "NAME")] = Cost(statistics.median(walls), spent / _PAGE_REQUESTS)
    return costs


def measure_push(controllers: Controllers, change: Callable[[], None]) -> float:
    """Seconds from when a running controller accepts a head until all targets are compared."""
    count = len(_list_times(controllers, "targets compared"))
    change()
    wait_until(lambda: len(_list_times(controllers, "targets compared")) > count, _COMPARED_SECONDS)
    accepted = _list_times(controllers, "head accepted")[-1]
    return _list_times(controllers, "targets compared")[-1] - accepted


def _list_times(controllers: Controllers, event: str) -> list[float]:
    """When an event was logged, in seconds since the epoch, oldest first."""
    pattern = re.compile(rf"^(\S+) \w+ {event} ", re.MULTILINE)
    texts = pattern.findall(controllers.read_log())
    return sorted(datetime.fromisoformat(text).timestamp() for text in texts)
