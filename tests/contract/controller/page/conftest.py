"""A page that is served on loopback, over a store of a few targets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from html import unescape
from pathlib import Path
from typing import NamedTuple

import pytest
import requests
from unit.controller.page import page_samples as samples
from unit.controller.page import people_samples as people
from unit.controller.page import rollout_samples as rollouts

from synapse_apply.controller.page.server import PageServer
from synapse_apply.controller.settings import Controller
from synapse_apply.controller.store.controller_store import SqliteControllerStore
from synapse_apply.model.values import Sensitive

HOOK_SECRET = "c4n4ry-hook-secret"
PUBLIC_HOST = "synapse-apply.acme.example"
FORM_TYPE = "application/x-www-form-urlencoded"
# What a browser says of a request that comes from a page of ours.
OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}


class ServedPage(NamedTuple):
    url: str
    loop: samples.StubLoop
    store: SqliteControllerStore

    def get(self, path: str, **headers: str) -> requests.Response:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.get(self.url + path, headers=headers, timeout=60, allow_redirects=False)

    def post(self, path: str, body: bytes, **headers: str) -> requests.Response:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.post(
            self.url + path, body, headers=headers, timeout=60, allow_redirects=False
        )

    def post_form(
        self, path: str, fields: list[tuple[str, str]], headers: Mapping[str, str]
    ) -> requests.Response:
        """A form as a browser sends it from a page of ours."""
        sent = {"Origin": self.url, **OWN_PAGE, "Accept": "text/html", "Content-Type": FORM_TYPE}
        return requests.post(
            self.url + path, fields, headers={**sent, **headers}, timeout=60, allow_redirects=False
        )


def read_text(html: str) -> str:
    """The words of a page, without its markup, style and script."""
    shown = re.sub(r"<(style|script)>.*?</\1>", "", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", shown)))


@contextmanager
def serve_page(
    folder: Path, fill: Callable[[SqliteControllerStore], None], settings: Controller
) -> Iterator[ServedPage]:
    """The page of a controller with these settings, over a store in a folder that is filled so."""
    with closing(samples.open_store(folder)) as store:
        fill(store)
        with serve_store(store, settings) as served:
            yield served


@contextmanager
def serve_store(store: SqliteControllerStore, settings: Controller) -> Iterator[ServedPage]:
    """One process of a controller that serves its page over this store."""
    loop = samples.StubLoop(settings)
    with PageServer(store, loop, {}, lambda: samples.NOW, lambda: people.SECRETS) as server:
        yield ServedPage(server.url, loop, store)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPage]:
    store = samples.open_store(tmp_path_factory.mktemp("data"))
    samples.fill_few(store)
    loop = samples.StubLoop()
    secrets = {"github": Sensitive(HOOK_SECRET), "gitlab": Sensitive(HOOK_SECRET)}
    with PageServer(store, loop, secrets, lambda: samples.NOW) as server:
        yield ServedPage(server.url, loop, store)
    store.close()


@pytest.fixture(scope="module")
def held_page_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPage]:
    folder = tmp_path_factory.mktemp("held")
    with serve_page(folder, people.fill_held, people.SETTINGS) as served:
        yield served


@pytest.fixture
def held_page(held_page_of_module: ServedPage) -> ServedPage:
    """A page of a controller with `access`, which has been asked for nothing yet."""
    held_page_of_module.loop.people = samples.StubPeopleActions()
    held_page_of_module.loop.authors = ()
    return held_page_of_module


@pytest.fixture
def empty_page(tmp_path: Path) -> Iterator[ServedPage]:
    """A page without hooks and without any target."""
    with serve_page(tmp_path, lambda _: None, samples.SETTINGS) as served:
        yield served


@pytest.fixture(scope="module")
def rollout_page_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPage]:
    folder = tmp_path_factory.mktemp("rollouts")
    with serve_page(folder, rollouts.fill_rollouts, rollouts.SETTINGS) as served:
        yield served


@pytest.fixture
def rollout_page(rollout_page_of_module: ServedPage) -> ServedPage:
    """A page of a controller with three rollouts, which has been asked for nothing yet."""
    rollout_page_of_module.loop.people = samples.StubPeopleActions()
    with rollout_page_of_module.store.write() as writer:
        writer.put(rollouts.FLEET)
    return rollout_page_of_module
