"""A backend of each module's own; rows of the table that ends `make test-deep`."""

from __future__ import annotations

import itertools
import json
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from buckets.proxy import BucketProxy
from buckets.servers import BucketServer
from controllers.backend_proxy import BackendProxy
from fault.commands import Backend
from fault.convergence import STORES, Row
from fault.site import SEPARATOR, TENANT, TOKEN, MakeSite, Server, Site
from postgres.server import PostgresServer
from profiles import PAGE, PROFILE

from synapse_apply import EmbeddedServer

HEADS = ("tried", "boundaries", "duplicates", "losses", "unknowns", "runs to converge")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A backend that fails when it is told to."""
    data = tmp_path_factory.mktemp("backend")
    with EmbeddedServer(data, token=TOKEN, tenant=TENANT) as running:
        yield Server(running.url)


@pytest.fixture
def api(request: pytest.FixtureRequest) -> str:
    """The API version of plugins and releases: v1, or what a test chooses (`on_api`)."""
    return str(getattr(request, "param", "v1"))


@pytest.fixture
def profile(request: pytest.FixtureRequest) -> str:
    """The profile of the backend: that of all tests, or what a test chooses."""
    return str(getattr(request, "param", PROFILE))


@pytest.fixture
def make_site(server: Server, tmp_path: Path, api: str, profile: str) -> MakeSite:
    """Makes a new project against the emptied server."""
    server.behave(profile)  # before a test sets switches of its own
    numbers = itertools.count()
    return lambda *given, **named: Site.make(
        tmp_path / f"project-{next(numbers)}",
        server,
        *given,
        **{"api": api, "profile": profile, **named},
    )


@pytest.fixture(params=STORES)
def make_shared_site(request: pytest.FixtureRequest, make_site: MakeSite) -> MakeSite:
    """The same for each sort of state that processes share, or for those a test chooses."""
    if request.param == "sqlite":
        return make_site
    if request.param == "s3":
        bucket: BucketServer = request.getfixturevalue("seaweed")
        return lambda *given, **named: make_site(*given, state_url=bucket.url(), **named)
    database: PostgresServer = request.getfixturevalue("postgres")
    return lambda *given, **named: make_site(
        *given, state_url=database.url(schema=f"state_{uuid4().hex}"), **named
    )


@pytest.fixture
def proxy(seaweed: BucketServer) -> Iterator[BucketProxy]:
    """A way to a bucket that holds calls back."""
    made = BucketProxy(seaweed.port)
    yield made
    made.close()


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    """A backend that is a process, and can be killed."""
    made = Backend(tmp_path / "data")
    yield made
    made.kill()


@pytest.fixture
def verified(make_site: MakeSite, server: Server) -> Iterator[Callable[[str], Site]]:
    """Makes a project whose one release is verified; jobs tell the context of their run or not."""

    def made(context: str, seconds: float = 0.0) -> Site:
        switched.enter_context(server.switched(job_context=context))
        for job in server.objects("job"):
            server.send("DELETE", f"/_emulator/objects/job/{job['id']}/")
        site = make_site(groups=1)
        file = site.root / "manifests" / "group-0.yaml"
        documents = [json.loads(text) for text in file.read_text().split(SEPARATOR)]
        run = {"emulator": {"seconds": seconds}}
        form = {"parameters": run} if server.profile == PAGE else {"action": "test", "params": run}
        documents[1]["spec"]["verify"] = {**form, "poll_interval": 0.05}
        file.write_text(SEPARATOR.join(map(json.dumps, documents)))
        return site

    with ExitStack() as switched:
        yield made


@pytest.fixture
def with_ctrl_c() -> Iterator[None]:
    """Children heed SIGINT even where these tests run in a shell's background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def row(
    request: pytest.FixtureRequest, record_property: Callable[[str, Any], None]
) -> Iterator[Row]:
    """This test's line of the table, written also when the test fails."""
    name = request.node.name.removeprefix("test_").replace("_", " ")
    made = Row(name)
    yield made
    record_property("faults", json.dumps(made.cells))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table; workers have sent its rows with their reports."""
    rows = {
        cells
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, text in getattr(report, "user_properties", ())
        if name == "faults"
        for cells in [tuple(json.loads(text))]
    }
    if not rows:
        return
    sums = [sum(cells[at] for cells in rows) for at in range(1, 5)]
    total = ("all", *sums, max(cells[5] for cells in rows))
    table = [HEADS, *sorted(rows), total]
    width = max(len(str(cells[0])) for cells in table)
    terminalreporter.section("faults")
    for cells in table:
        numbers = "".join(
            f"{cell!s:>{len(head) + 2}}" for cell, head in zip(cells[1:], HEADS[1:], strict=True)
        )
        terminalreporter.write_line(f"{cells[0]!s:<{width}}{numbers}")


@pytest.fixture
def mask(server: Server) -> Iterator[BackendProxy]:
    """A backend that shows no token."""
    with BackendProxy(server.url) as proxy:
        proxy.alter_answer = partial(re.sub, rb'"token": ?"[^"]*"', b'"token": "********"')
        yield proxy


@pytest.fixture
def hiding(mask: BackendProxy, tmp_path: Path) -> Site:
    """A site behind the mask: `{"token": TOKEN}` is the plugin's configuration."""
    site = Site.make(tmp_path / "hiding", Server(mask.url), groups=1)
    site = replace(site, environ={**site.environ, "RAW_TOKEN": "s3cret-token"})
    path = site.root / "manifests" / "group-0.yaml"
    plugin, *others = map(json.loads, path.read_text().split("\n---\n"))
    plugin["lifecycle"] = {"sensitive": ["/configuration/token"]}
    plugin["spec"]["configuration"] = {"token": {"valueFrom": {"env": "RAW_TOKEN"}}}
    path.write_text("\n---\n".join(map(json.dumps, (plugin, *others))))
    assert site.apply().code == 0
    return site
