"""A real browser. `make browser` finds or installs it and names it in CHROMIUM."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, Page, sync_playwright

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
                color_scheme=scheme,  # type: ignore[arg-type]
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
