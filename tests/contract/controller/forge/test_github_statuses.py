"""What GitHub shows after each status, and what is said of each of its refusals."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from forges.github import StandInGitHub
from forges.loopback_server import Failure

from synapse_apply.controller.outbox import delivery
from synapse_apply.controller.outbox.forge import GitHubStatusSender, build_status_sender
from synapse_apply.controller.ports import StatusUnreadable
from synapse_apply.controller.rows import StatusRow, StatusState, StatusText
from synapse_apply.controller.settings import ForgeStatus, SecretName
from synapse_apply.model.errors import InputError
from synapse_apply.model.values import Sensitive

TOKEN = "ghp-cAn4ry-token-5555"
COMMIT = "1a2b3c4d" * 5
CONTEXT = "synapse-apply/main/acme"
PENDING = StatusText(StatusState.PENDING, "looking at 3 targets", "http://page.example/x")
FAILURE = StatusText(StatusState.FAILURE, "prod: a manifest is broken", "http://page.example/x")


@pytest.fixture
def github():
    with StandInGitHub(TOKEN) as server:
        yield server


def build(url, repository="acme/synapse", token=TOKEN):
    forge = ForgeStatus("github", repository, SecretName("env", "T"), url)
    return build_status_sender(forge, "main", Sensitive(token))


def row(text, context=CONTEXT):
    return StatusRow("acme", COMMIT, context, text)


def test_what_is_sent_is_what_is_read_back(github):
    """State, words and link; the newest counts, and another context is none."""
    sender = build(github.url)
    assert sender.read_shown_text(row(PENDING)) is None
    for text in (PENDING, FAILURE):
        assert sender.send(row(text)).finding is None
        assert sender.read_shown_text(row(text)) == text
    assert sender.read_shown_text(row(PENDING, "synapse-apply/main/other")) is None
    assert [status.state for status in github.list_of(COMMIT, CONTEXT)] == ["pending", "failure"]


def test_our_context_is_found_behind_a_hundred_others(github):
    """As a repository with many checks has them, and whatever the case of its letters."""
    sender = build(github.url)
    for number in range(120):
        assert sender.send(row(PENDING, f"other/{number}")).finding is None
    assert sender.send(row(FAILURE, CONTEXT.upper())).finding is None
    assert sender.read_shown_text(row(PENDING)) == FAILURE


def test_texts_have_the_size_that_github_takes(github):
    """140 characters, on one line; without a page there is no link."""
    sender = build(github.url)
    long = StatusText(StatusState.PENDING, "two\nlines " + "x" * 300, "")
    assert sender.send(row(long)).finding is None
    status = github.list_of(COMMIT, CONTEXT)[-1]
    assert len(status.description) == 140
    assert status.description.startswith("two lines xx")
    assert status.target_url is None
    assert sender.read_shown_text(row(long)) == long


LATER = [
    (429, {"Retry-After": "17"}, {}, 17),
    (429, {}, {}, 60),
    (403, {"Retry-After": "30"}, {"message": "You have exceeded a secondary rate limit."}, 30),
    (403, {}, {"message": "You have exceeded a secondary rate limit."}, 60),
    (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "+600"}, {}, 600),
    (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "+999999"}, {}, 3600),
    (429, {"Retry-After": "999999"}, {}, 3600),
    (500, {}, {}, None),
    (503, {"Retry-After": "5"}, {}, 5),
    (401, {}, {}, None),
    (307, {"Location": "http://127.0.0.1:9/elsewhere"}, {}, None),
    (200, {}, {"login": "page"}, None),
    (201, {}, ["nothing"], None),
    (422, {}, {"message": f"No commit found for SHA: {COMMIT}"}, None),
]


@pytest.mark.parametrize(("status", "headers", "body", "wait"), LATER)
def test_refused_for_now(github, status, headers, body, wait):
    """It may be sent later, after as long as GitHub asks for, an hour at most."""
    if (reset := headers.get("X-RateLimit-Reset", "")).startswith("+"):
        headers = {**headers, "X-RateLimit-Reset": str(int(time.time()) + int(reset))}
    github.failures.append(Failure(status, headers, json.dumps(body).encode()))
    result = build(github.url).send(row(PENDING))
    assert result.finding is not None
    assert not result.is_final
    assert result.retry_after == (None if wait is None else pytest.approx(wait, abs=2))
    assert len(github.requests) == 1
    assert github.statuses == []


def test_a_limit_is_one_for_what_is_read_too(github):
    """It is waited for, and not taken for a right that is missing."""
    github.failures.append(Failure(403, {"Retry-After": "30"}))
    with pytest.raises(StatusUnreadable) as caught:
        build(github.url).read_shown_text(row(PENDING))
    assert (caught.value.result.retry_after, caught.value.result.is_final) == (30, False)


FINAL = [
    (403, {"message": "Resource not accessible by personal access token"}),
    (404, {"message": "Not Found"}),
    (422, {"message": "Validation Failed", "errors": [{"message": "This SHA and context has reached the maximum number of statuses."}]}),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body"), FINAL)
def test_refused_for_good(github, status, body):
    """The right is missing, the repository is not there, or the commit has its thousand statuses."""
    github.failures.append(Failure(status, {}, json.dumps(body).encode()))
    result = build(github.url).send(row(PENDING))
    assert result.is_final
    assert result.finding.hint


def test_a_lost_answer_is_read_back(github):
    """What was sent is shown, although nobody said so."""
    sender = build(github.url)
    github.failures.append(Failure(is_answer_lost=True))
    result = sender.send(row(FAILURE))
    assert result.finding is not None
    assert not result.is_final
    assert sender.read_shown_text(row(FAILURE)) == FAILURE
    assert len(github.list_of(COMMIT, CONTEXT)) == 1


def test_a_server_that_says_nothing_is_left_in_time(github, monkeypatch):
    """A status never holds the controller up."""
    monkeypatch.setattr(delivery, "_LIMITS", delivery.ExchangeLimits(total_timeout=0.2))
    github.failures.append(Failure(seconds=30))
    result = build(github.url).send(row(FAILURE))
    assert "in time" in result.finding.detail
    assert not result.is_final


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"statuses": 3}', b'{"statuses": "' + b"x" * 3_000_000]
)
def test_an_odd_answer_is_not_taken_for_no_status(github, body):
    """Else a status would be sent again and again."""
    github.failures.append(Failure(200, {}, body))
    with pytest.raises(StatusUnreadable) as caught:
        build(github.url).read_shown_text(row(PENDING))
    assert caught.value.result.finding is not None


def test_odd_statuses_beside_ours_are_passed_over(github):
    """Of other shapes, and of states that do not exist."""
    odd = [3, None, {"context": CONTEXT, "state": "blue"}, {"context": 7, "state": "success"}]
    ours = {"context": CONTEXT, "state": "success", "description": None, "target_url": 4}
    github.failures.append(Failure(200, {}, json.dumps({"statuses": [*odd, ours]}).encode()))
    assert build(github.url).read_shown_text(row(PENDING)) == StatusText(
        StatusState.SUCCESS, "", ""
    )


def test_no_token_in_any_text(github, caplog):
    """A server that repeats the token is not quoted, and nothing is logged."""
    caplog.set_level("DEBUG")
    echo = json.dumps({"message": f"Bearer {TOKEN}", "errors": [{"message": TOKEN}]}).encode()
    sender = build(github.url)
    texts = [repr(sender), repr(vars(sender))]
    for status in (400, 401, 403, 404, 422, 429, 500):
        github.failures.append(Failure(status, {"X-Echo": TOKEN, "Location": TOKEN}, echo))
        texts.append(repr(sender.send(row(PENDING))))
    assert TOKEN not in "".join([*texts, caplog.text])
    assert all(request.headers["authorization"] == f"Bearer {TOKEN}" for request in github.requests)
    assert all(TOKEN not in request.path for request in github.requests)


@pytest.mark.parametrize(
    ("repository", "url", "token"),
    [
        ("acme", "https://api.github.example", TOKEN),
        ("acme/../x", "https://api.github.example", TOKEN),
        ("acme/..", "https://api.github.example", TOKEN),
        ("acme/x?y", "https://api.github.example", TOKEN),
        ("acme/x", "http://api.github.example", TOKEN),
        ("acme/x", "https://me:pass@api.github.example", TOKEN),
        ("acme/x", "ftp://api.github.example", TOKEN),
        ("acme/x", "https://api.github.example", ""),
        ("acme/x", "https://api.github.example", f"{TOKEN}\nX-Other: 1"),
    ],
)
def test_what_cannot_be_used_is_refused_at_the_start(repository, url, token):
    """With the setting's name, and without the token."""
    with pytest.raises(InputError) as caught:
        build(url, repository, token)
    [finding] = caught.value.diagnostics
    assert TOKEN not in repr(finding)
    assert "commit_status" in finding.detail


def test_how_far_the_clock_is_away_from_that_of_the_forge(github):
    """By the date of its newest answer; not known before the first."""
    forge = ForgeStatus("github", "acme/synapse", SecretName("env", "T"), github.url)
    sender = GitHubStatusSender(forge, Sensitive(TOKEN), lambda: time.time() + 300)
    assert sender.get_clock_offset_or_none() is None
    sender.send(row(PENDING))
    assert sender.get_clock_offset_or_none() == pytest.approx(300, abs=5)


@pytest.mark.parametrize(
    "date",
    ["", "soon", "27 Nov", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "Mon, " + "9" * 5000,
     "Mon, 01 Jan 2035 00:00:00 +9999999999", "Mon, 99 Jan 2035 00:00:00 GMT"],
)  # fmt: skip
def test_a_date_that_is_none_says_nothing(date):
    """And what the forge took is sent, whatever it says of the time."""

    class Odd(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response_only(201)
            self.send_header("Date", date)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Odd) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            sender = build(f"http://127.0.0.1:{server.server_port}")
            assert sender.send(row(PENDING)).finding is None
            assert sender.get_clock_offset_or_none() is None
        finally:
            server.shutdown()
