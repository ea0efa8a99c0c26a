"""A real browser. `make browser` finds or installs it and names it in CHROMIUM."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, Page, sync_playwright
from unit.controller.page.people_samples import list_proxy_headers

Shown = Callable[..., Page]
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=os.environ["CHROMIUM"], headless=True, args=ARGUMENTS
        )
        yield started
        started.close()


@pytest.fixture
def shown(browser: Browser, tmp_path: Path) -> Iterator[Shown]:
    """Opens a page's text from a file. Nothing may be fetched, and nothing complained about."""
    said: list[str] = []
    asked: list[str] = []
    contexts = []

    def show(html: str, *, scheme: str = "light", scripts: bool = True) -> Page:
        file = tmp_path / f"{len(contexts)}.html"
        file.write_text(html, encoding="utf-8")
        contexts.append(
            browser.new_context(
                color_scheme=scheme,
                java_script_enabled=scripts,
                viewport={"width": 1200, "height": 900},
            )
        )
        page = contexts[-1].new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda problem: said.append(str(problem)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        return page

    yield show
    for context in contexts:
        context.close()
    assert said == []
    assert all(url.startswith("file://") and url.endswith(".html") for url in asked), asked


@pytest.fixture
def opens(browser: Browser) -> Iterator[Shown]:
    """Opens an address. Nothing may be fetched from elsewhere, and nothing complained about."""
    said: list[str] = []
    asked: list[str] = []
    contexts = []

    def open_address(
        address: str,
        *,
        headers: Mapping[str, str] | None = None,
        scheme: str = "light",
        scripts: bool = True,
        width: int = 1280,
        may_be_refused: bool = False,
    ) -> Page:
        contexts.append(
            browser.new_context(
                color_scheme=scheme,
                java_script_enabled=scripts,
                extra_http_headers=dict(headers or {}),
                viewport={"width": width, "height": 900},
            )
        )
        page = contexts[-1].new_page()
        page.set_default_timeout(10_000)
        # Of a refusal the browser itself complains.
        allowed = "status of 4" if may_be_refused else "\0"
        page.on("console", lambda one: said.append(one.text) if allowed not in one.text else None)
        page.on("pageerror", lambda problem: said.append(str(problem)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        return page

    yield open_address
    for context in contexts:
        context.close()
    assert said == []
    assert all(one.startswith(("http://127.0.0.1:", "data:")) for one in asked), asked


def list_person_headers(user: str) -> dict[str, str]:
    """What the proxy sends for somebody; ann may do everything."""
    return list_proxy_headers(user, "sre" if user == "ann" else "")


def calls_of_answer(
    address: str, counted: list[int], headers: Mapping[str, str] | None = None
) -> int:
    """How many functions a server of `calls_of_threads` calls, the second time that it is asked."""
    calls = 0
    for _ in range(2):
        before = counted[0]
        requests.get(address, headers=headers, timeout=60).raise_for_status()
        calls = counted[0] - before
    return calls
