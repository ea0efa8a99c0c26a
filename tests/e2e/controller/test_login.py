"""A person logs in on the page with a token, acts there, logs out; and whoever is not that person."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from html import unescape
from typing import Any

import pytest
import requests
from forges.loopback_server import wait_until

from .test_controller_commands import CONFIGURATION, TOKENS, Site, find, run_controller, site

__all__ = ["site"]  # the fixture

COOKIE, PUBLIC = "__Host-synapse-apply", "synapse-apply.acme.example"
ANN = TOKENS["TOKEN_OF_ANN"]
ACCESS = """\
access:
  tokens: {ann: {file: ann-token}, eve: {env: TOKEN_OF_EVE}}
  may:
    - {who: ["token:ann"], do: [read, approve], targets: ["*"]}
    - {who: ["token:eve"], do: [read], targets: ["other/*"]}
"""


class Browser:
    """Sends what a browser sends from a page of the controller by its public url, with its cookie."""

    def __init__(self, url: str) -> None:
        self.url, self.value = url, ""

    def ask(
        self, path: str, fields: Mapping[str, str] | None = None, **headers: str
    ) -> requests.Response:
        sent = {"Accept": "text/html", "Cookie": f"{COOKIE}={self.value}" if self.value else ""}
        sent |= {"Host": PUBLIC, "Origin": f"https://{PUBLIC}"}
        sent |= {"Sec-Fetch-Site": "same-origin"} | headers
        sent |= {"Content-Type": "application/x-www-form-urlencoded"} if fields is not None else {}
        answer = requests.request(
            "GET" if fields is None else "POST",
            self.url + path,
            data=fields,
            headers={name.replace("_", "-"): value for name, value in sent.items() if value},
            timeout=60,
            allow_redirects=False,
        )
        if match := re.match(rf"{COOKIE}=([^;\"]+);", answer.headers.get("Set-Cookie", "")):
            self.value = match[1]
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
    text += f"public_url: https://{PUBLIC}\n"
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
        "Secure",
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
    (site.folder / "ann-token").write_text(ANN, encoding="utf-8")
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: Browser(url).log_in().status_code == 303, 60, "a log-in", pause=0.1)
    assert not browser.is_logged_in
    (site.folder / "ann-token").write_text("another-token-of-ann", encoding="utf-8")
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: browser.log_in().status_code == 403, 60, "a refusal", pause=0.1)
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
    acted = browser.log_in(page="/targets/acme/prod?done=pause")
    assert acted.headers["Location"] == "/targets/acme/prod"
    for page in ("//evil.example", "/\\evil.example", "https://evil.example", "/\t/evil.example"):
        assert browser.log_in(page=page).headers["Location"] == "/"
    eve = Browser(url)
    eve.log_in(TOKENS["TOKEN_OF_EVE"])
    assert eve.ask("/targets/acme/prod").status_code == 404


def test_guesses_keep_nobody_out(running):
    """Meanwhile the right token is let in."""
    _site, url, _process = running
    with ThreadPoolExecutor(40) as pool:
        guesses = [pool.submit(Browser(url).log_in, f"guess-{n}-0123456789") for n in range(40)]
        browser = Browser(url)
        browser.log_in()
        assert browser.is_logged_in
        statuses = [guess.result().status_code for guess in guesses]
    assert set(statuses) <= {403, 429}
    assert statuses.count(403) >= 20


def test_of_a_token_only_some_sessions_are_kept(running):
    """The oldest ends: who may only read fills no store."""
    site, url, _process = running
    browsers = [Browser(url) for _ in range(21)]
    for browser in browsers:
        browser.log_in()
    assert [one.is_logged_in for one in browsers] == [False] + [True] * 20
    with closing(sqlite3.connect(site.folder / ".synapse-apply/controller/controller.db")) as store:
        assert store.execute("SELECT COUNT(*) FROM sessions").fetchone() == (20,)


def test_on_loopback_the_browser_asks_for_the_token(running):
    """By HTTP's own log-in, which no other port of the machine is sent; there is no cookie."""
    _site, url, _process = running
    held, origin = f"{url}/targets/acme/prod", {"Origin": url, "Sec-Fetch-Site": "same-origin"}
    ask = partial(requests.get, held, timeout=60, allow_redirects=False)
    refused = ask(headers={"Accept": "text/html"})
    assert (refused.status_code, refused.headers["WWW-Authenticate"][:6]) == (401, "Basic ")
    assert "acme" not in refused.text
    assert (
        ask(headers={"Accept": "text/html"}, auth=("ann", "a-wrong-token-12345")).status_code == 401
    )
    odd = {"Accept": "text/html", "Authorization": b"Basic \xe4"}
    assert ask(headers=odd).status_code == 401
    page = ask(headers={"Accept": "text/html"}, auth=("ann", ANN))
    assert (page.status_code, "token:ann" in page.text) == (200, True)
    assert "Log out" not in page.text
    assert "Set-Cookie" not in page.headers
    assert ANN not in page.text
    (row,) = set(re.findall(r'name="row" value="(row1:[0-9a-f]{64})"', page.text))
    act = partial(requests.post, f"{held}/approve", {"row": row}, timeout=60, allow_redirects=False)
    other = {"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site"}
    assert act(headers=other, auth=("x", ANN)).status_code == 403
    assert act(headers=origin, auth=("x", TOKENS["TOKEN_OF_EVE"])).status_code == 404
    form = {"token": ANN, "page": "/"}
    assert requests.post(f"{url}/login", form, headers=origin, timeout=60).status_code == 403
    assert requests.get(f"{url}/api/v1/targets", auth=("x", ANN), timeout=60).status_code == 401
    assert act(headers=origin, auth=("x", ANN)).status_code == 303
    asked = act(headers=origin | {"Accept": "text/html"})
    assert (asked.status_code, asked.headers["WWW-Authenticate"][:6]) == (401, "Basic ")
    # By the public address a password is no log-in: there are sessions.
    public = {"Accept": "text/html", "Host": PUBLIC}
    assert ask(headers=public, auth=("x", ANN)).status_code == 303
