"""A page that is served on loopback, over a store of a few targets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import requests
from unit.controller.page import page_samples as samples

from synapse_apply.controller.page.server import PageServer
from synapse_apply.controller.store.controller_store import SqliteControllerStore
from synapse_apply.model.values import Sensitive

HOOK_SECRET = "c4n4ry-hook-secret"
PUBLIC_HOST = "synapse-apply.acme.example"


class ServedPage(NamedTuple):
    url: str
    loop: samples.StubLoop
    store: SqliteControllerStore

    def get(self, path: str, **headers: str) -> requests.Response:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.get(self.url + path, headers=headers, timeout=10, allow_redirects=False)

    def post(self, path: str, body: bytes, **headers: str) -> requests.Response:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.post(self.url + path, body, headers=headers, timeout=10)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPage]:
    store = samples.open_store(tmp_path_factory.mktemp("data"))
    samples.fill_few(store)
    loop = samples.StubLoop()
    secrets = {"github": Sensitive(HOOK_SECRET), "gitlab": Sensitive(HOOK_SECRET)}
    with PageServer(store, loop, secrets, lambda: samples.NOW) as server:
        yield ServedPage(server.url, loop, store)
    store.close()


@pytest.fixture
def empty_page(tmp_path: Path) -> Iterator[ServedPage]:
    """A page without hooks and without any target."""
    store = samples.open_store(tmp_path)
    loop = samples.StubLoop()
    with PageServer(store, loop, {}, lambda: samples.NOW) as server:
        yield ServedPage(server.url, loop, store)
    store.close()
