"""A person logs in on the page with a token, acts there, logs out; and whoever is not that person."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from typing import Any

import pytest
import requests
from forges.loopback_server import wait_until

from .test_controller_commands import CONFIGURATION, TOKENS, Site, find, run_controller, site

__all__ = ["site"]  # the fixture

COOKIE = "synapse-apply"
ANN = TOKENS["TOKEN_OF_ANN"]
ACCESS = """\
access:
  tokens: {ann: {file: ann-token}, eve: {env: TOKEN_OF_EVE}}
  may:
    - {who: ["token:ann"], do: [read, approve], targets: ["*"]}
    - {who: ["token:eve"], do: [read], targets: ["other/*"]}
"""


class Browser:
    """Sends what a browser sends from a page of the controller, and keeps its cookie."""

    def __init__(self, url: str) -> None:
        self.url, self.value = url, ""

    def ask(
        self, path: str, fields: Mapping[str, str] | None = None, **headers: str
    ) -> requests.Response:
        sent = {"Accept": "text/html", "Cookie": f"{COOKIE}={self.value}" if self.value else ""}
        sent |= {"Origin": self.url, "Sec-Fetch-Site": "same-origin"} | headers
        sent |= {"Content-Type": "application/x-www-form-urlencoded"} if fields is not None else {}
        answer = requests.request(
            "GET" if fields is None else "POST",
            self.url + path,
            data=fields,
            headers={name.replace("_", "-"): value for name, value in sent.items() if value},
            timeout=60,
            allow_redirects=False,
        )
        if (given := answer.cookies.get(COOKIE)) is not None:
            self.value = given
        return answer

    def log_in(self, token: str = ANN, page: str = "/") -> requests.Response:
        return self.ask("/login", {"token": token, "page": page})

    @property
    def is_logged_in(self) -> bool:
        answer = self.ask("/")
        assert answer.status_code == 200 or answer.headers["Location"] == "/login?page=%2F"
        return answer.status_code == 200 and "token:ann" in answer.text


@pytest.fixture
def running(site: Site) -> Iterator[tuple[Site, str, subprocess.Popen[Any]]]:
    site.make_state()
    site.upstream.commit({"README": "x"}, message="Rename <b>")
    (site.folder / "ann-token").write_text(ANN, encoding="utf-8")
    text = CONFIGURATION.replace("mode: observe", "mode: approve") + ACCESS
    (site.folder / "controller.yaml").write_text(text, encoding="utf-8")
    with run_controller(site) as (process, log):
        url = find(log, r"started url=(http://127\.0\.0\.1:\d+)")
        find(log, r"(look) target=acme/prod .* state=held")
        yield site, url, process


def test_a_person_approves_on_the_page_and_logs_out(running):
    """By a token alone, without a proxy; the audit names the person, and a copy of the cookie ends."""
    site, url, _process = running
    browser, held = Browser(url), "/targets/acme/prod"
    asked = browser.ask(held)
    assert (asked.status_code, asked.headers["Location"]) == (
        303,
        "/login?page=%2Ftargets%2Facme%2Fprod",
    )
    form = browser.ask(asked.headers["Location"]).text
    assert '<input type="hidden" name="page" value="/targets/acme/prod">' in form
    answer = browser.log_in(page=held)
    assert (answer.status_code, answer.headers["Location"]) == (303, held)
    assert set(answer.headers["Set-Cookie"].split("; ")[1:]) == {
        "HttpOnly",
        "Max-Age=43200",
        "Path=/",
        "SameSite=lax",
    }
    page = browser.ask(held).text
    (row,) = set(re.findall(r'name="row" value="(row1:[0-9a-f]{64})"', page))
    assert ANN not in page
    assert re.search(r"Commits to apply</h2>\s*<ul[^>]*>\s*<li>.*Rename &lt;b&gt;", page)
    assert browser.ask(f"{held}/approve", {"row": row}).status_code == 303
    wait_until(
        lambda: "in sync    acme/prod" in site.type("controller status"), 60, "in sync", pause=0.2
    )
    stolen = Browser(url)
    stolen.value = browser.value
    assert stolen.is_logged_in
    left = browser.ask("/logout", {})
    assert (left.status_code, left.headers["Location"]) == (303, "/login")
    assert left.headers["Set-Cookie"].startswith(f'{COOKIE}=""; HttpOnly; Max-Age=0;')
    assert not stolen.is_logged_in
    shown = site.type("controller audit")
    assert re.findall(r"token:ann +(log in|approve|log out)", shown) == [
        "log out",
        "approve",
        "log in",
    ]
    stored = (site.folder / ".synapse-apply" / "controller" / "controller.db").read_bytes()
    assert ANN.encode() not in stored
    assert stolen.value.encode() not in stored


def test_a_session_ends_with_its_token(running):
    """Replaced in its file, or taken out of controller.yaml."""
    site, url, process = running
    browser = Browser(url)
    browser.log_in()
    assert browser.is_logged_in
    (site.folder / "ann-token").write_text("another-token-of-ann", encoding="utf-8")
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: not browser.is_logged_in, 60, "the session ended", pause=0.1)
    assert browser.log_in().status_code == 403
    browser.log_in("another-token-of-ann")
    assert browser.is_logged_in
    text = (site.folder / "controller.yaml").read_text(encoding="utf-8")
    text = text.replace("ann: {file: ann-token}, ", "").replace("token:ann", "token:eve")
    (site.folder / "controller.yaml").write_text(text, encoding="utf-8")
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: not browser.is_logged_in, 60, "the session ended", pause=0.1)


def test_nobody_else_gets_a_session(running):
    """Chosen ids, wrong tokens, forms of other sites, other addresses, and the API."""
    _site, url, _process = running
    browser = Browser(url)
    browser.value = fixed = "A" * 43
    assert not browser.is_logged_in
    wrong = browser.log_in("a-wrong-token-<b>1234")
    assert (wrong.status_code, browser.value) == (403, fixed)
    assert "does not have this token" in unescape(wrong.text)
    assert "a-wrong-token" not in wrong.text
    browser.log_in()
    assert browser.value != fixed
    assert browser.is_logged_in
    first = Browser(url)
    first.value = browser.value
    browser.log_in()
    assert browser.is_logged_in
    assert not first.is_logged_in
    other = {"Origin": "http://evil.example", "Sec_Fetch_Site": "cross-site"}
    for path, fields in (
        ("/login", {"token": ANN}),
        ("/logout", {}),
        ("/targets/acme/prod/approve", {"row": f"row1:{'0' * 64}"}),
    ):
        refused = browser.ask(path, fields, **other)
        assert refused.status_code == 403, path
        assert "Set-Cookie" not in refused.headers
    assert browser.is_logged_in
    assert browser.ask("/logout").status_code == 405
    assert browser.ask("/api/v1/targets").status_code == 401
    for page in ("//evil.example", "/\\evil.example", "https://evil.example", "/\t/evil.example"):
        assert browser.log_in(page=page).headers["Location"] == "/"
    eve = Browser(url)
    eve.log_in(TOKENS["TOKEN_OF_EVE"])
    assert eve.ask("/targets/acme/prod").status_code == 404


def test_guesses_are_few_and_never_keep_a_person_out(running):
    """More than 20 at once are refused; meanwhile the right token is let in."""
    _site, url, _process = running
    with ThreadPoolExecutor(40) as pool:
        guesses = [pool.submit(Browser(url).log_in, f"guess-{n}-0123456789") for n in range(40)]
        browser = Browser(url)
        browser.log_in()
        assert browser.is_logged_in
        statuses = [guess.result().status_code for guess in guesses]
    assert set(statuses) <= {403, 429}
    assert statuses.count(403) >= 20
