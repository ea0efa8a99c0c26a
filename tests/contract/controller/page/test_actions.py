"""What people ask for is done for whom may ask for it, from a page of ours, as it was shown."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import pytest
import requests
from installed import ROOT
from jsonschema import Draft202012Validator
from unit.controller.page import page_samples as samples
from unit.controller.page import people_samples as people
from unit.controller.page.people_samples import DIGESTS, SRE, list_proxy_headers

from .conftest import FORM_TYPE, OWN_PAGE, ServedPage, read_text, serve_store

STAGING, FLEET = "/targets/acme/staging", "/rollouts/fleet"
REVISION = "1a2b3c4"
BEARER = {"Authorization": f"Bearer {people.OPS_TOKEN}", "Content-Type": "application/json"}
SCHEMA = json.loads((ROOT / "schemas/v1/controller-api.schema.json").read_text("utf-8"))


class Asking(NamedTuple):
    """A verb as a form of a page and a document ask for it, and what the loop is asked for then."""

    page: str
    fields: list[tuple[str, str]]
    document: dict[str, Any]
    call: tuple[Any, ...]

    @property
    def verb(self) -> str:
        return str(self.call[0])

    @property
    def form(self) -> str:
        return f"{self.page}/{self.verb}"

    @property
    def api(self) -> str:
        return f"/api/v1{FLEET if self.page == FLEET else ''}/{self.verb}"

    def call_of(self, who: str) -> tuple[Any, ...]:
        return (self.verb, who, *self.call[1:])


ASKED = {
    "reconcile": Asking(STAGING, [], {"target": "acme/staging"}, ("reconcile", "acme/staging")),
    "pause": Asking(
        STAGING, [("reason", "waits for Mina"), ("seconds", "3600")],
        {"scope": "acme/staging", "reason": "waits for Mina", "seconds": 3600},
        ("pause", "acme/staging", "waits for Mina", samples.NOW + 3600),
    ),
    "resume": Asking(STAGING, [], {"scope": "acme/staging"}, ("resume", "acme/staging")),
    "approve with a reason": Asking(
        STAGING, [("row", DIGESTS[0]), ("reason", "tested  in dev")],
        {"target": "acme/staging", "rows": [DIGESTS[0]], "reason": "tested in dev"},
        ("approve", "acme/staging", DIGESTS[0], "tested in dev"),
    ),
    "approve": Asking(
        STAGING, [("row", DIGESTS[0]), ("row", DIGESTS[1])],
        {"target": "acme/staging", "rows": list(DIGESTS[:2])},
        ("approve", "acme/staging", *DIGESTS[:2]),
    ),
    "reject": Asking(
        STAGING, [("row", DIGESTS[0]), ("reason", "not on Friday")],
        {"target": "acme/staging", "rows": [DIGESTS[0]], "reason": "not on Friday"},
        ("reject", "acme/staging", DIGESTS[0], "not on Friday"),
    ),
    "rollback": Asking(
        STAGING, [("revision", REVISION), ("plan", "d" * 64), ("reason", "it  is slow")],
        {"target": "acme/staging", "revision": REVISION.upper(), "plan": "d" * 64, "reason": "it is slow"},
        ("rollback", "acme/staging", REVISION, "d" * 64, "it is slow"),
    ),
    "approve wave": Asking(
        FLEET, [("number", "3"), ("wave", "2")], {"number": 3, "wave": 2}, ("approve", "fleet", 3, 2)
    ),
    "resume rollout": Asking(FLEET, [("number", "3")], {"number": 3}, ("resume", "fleet", 3)),
    "skip wave": Asking(
        FLEET, [("number", "3"), ("wave", "2"), ("reason", "it is  rebuilt")],
        {"number": 3, "wave": 2, "reason": "it is  rebuilt"}, ("skip", "fleet", 3, 2, "it is rebuilt"),
    ),
    "abort rollout": Asking(
        FLEET, [("number", "3"), ("reason", "it is wrong")],
        {"number": 3, "reason": "it is wrong"}, ("abort", "fleet", 3, "it is wrong"),
    ),
}  # fmt: skip
OF_TARGET = {asking.verb: asking for asking in ASKED.values() if asking.page == STAGING}
each_asking = pytest.mark.parametrize("asking", ASKED.values(), ids=ASKED)
RIGHTS = {
    "jonas": {"reconcile"},
    "kim": {"pause", "resume"},
    "lee": {"approve", "reject", "rollback"},
    "mina": set[str](),
}


def post_json(page: ServedPage, path: str, document: Any, **headers: str) -> requests.Response:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return page.post(path if "/" in path else f"/api/v1/{path}", body, **{**BEARER, **headers})


@each_asking
def test_a_form_is_done_and_leads_back(rollout_page, asking):
    """The page says what was done where its own form leads there; a link from elsewhere not."""
    answer = rollout_page.post_form(asking.form, asking.fields, SRE)
    assert answer.status_code == 303
    assert rollout_page.loop.people.calls == [asking.call_of("proxy:ann")]
    location = answer.headers["Location"]
    assert location == f"{asking.page}?done={asking.verb}"
    notice = 'class="notice done"'
    assert notice in rollout_page.get(location, **SRE, **OWN_PAGE).text
    assert notice not in rollout_page.get(f"{location}0", **SRE, **OWN_PAGE).text
    assert notice not in rollout_page.get(location, **SRE).text
    for site in ("none", "same-site", "cross-site", ""):
        assert notice not in rollout_page.get(location, **SRE, Sec_Fetch_Site=site).text


@pytest.mark.parametrize("user", RIGHTS)
def test_each_right_is_for_itself(held_page, user):
    """Who has none of them has no form, and what is sent all the same is not done."""
    headers = list_proxy_headers(user)
    html = held_page.get(STAGING, **headers).text
    assert ('method="post"' in html) == bool(RIGHTS[user])
    for verb, asking in OF_TARGET.items():
        is_offered = f'action="{STAGING}/{verb}"' in html or f'"{STAGING}/{verb}"' in html
        assert is_offered == (verb in RIGHTS[user] - {"resume", "rollback"}), verb
        answer = held_page.post_form(asking.form, asking.fields, headers)
        assert answer.status_code == (303 if verb in RIGHTS[user] else 403)
    done = {call[0] for call in held_page.loop.people.calls}
    assert done == RIGHTS[user]
    held_page.loop.people.calls.clear()
    # A right is for its own targets; one that they may not see is not there.
    for verb, asking in OF_TARGET.items():
        answer = held_page.post_form(f"/targets/vision/lab/{verb}", asking.fields, headers)
        assert answer.status_code == 404
    assert held_page.loop.people.calls == []


def test_a_page_without_rights_has_no_action_at_all(page, held_page):
    """Without `access`, and for who may only read: no form that posts, no button of it."""
    mina = list_proxy_headers("mina")
    for path in (STAGING, "/targets/acme/dev", "/", "/audit", "/sources/acme"):
        for html in (page.get(path).text, held_page.get(path, **mina).text):
            assert not re.search(r'method="post"|formaction|name="row"', html)
    for asking in OF_TARGET.values():
        answer = page.post_form(asking.form, asking.fields, {})
        assert answer.status_code == 403
        assert "This controller accepts no actions" in answer.text
        assert post_json(page, asking.api, asking.document).status_code == 403
    assert page.loop.people.calls == []


def post_from(page: ServedPage, asking: Asking, headers: dict[str, str]) -> requests.Response:
    """Send a form with nothing but these headers; URL is where the page is served, PUBLIC its name."""
    headers = {
        name: value.replace("URL", page.url).replace("PUBLIC", "synapse-apply.acme.example")
        for name, value in headers.items()
    }
    return requests.post(
        page.url + asking.form, asking.fields, headers={**SRE, "Content-Type": FORM_TYPE, **headers},
        timeout=60, allow_redirects=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "URL.evil.example"},
        {"Origin": "https://PUBLIC", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://PUBLIC"},
        {"Origin": "URL", "Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": ""},
        {"Sec-Fetch-Site": "same-origin, cross-site"},
        {"Origin": "null", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "URL", "Sec-Fetch-Site": ""},
        {"Origin": "URL", "Sec-Fetch-Site": "none"},
        {"Origin": ""},
        {"Origin": "URL, https://evil.example"},
        {"Referer": "URL/targets/acme/staging"},
    ],
)
def test_a_form_of_another_site_is_refused(rollout_page, headers):
    """And one of which the browser does not say where it is from."""
    for name, asking in ASKED.items():
        answer = post_from(rollout_page, asking, headers)
        assert answer.status_code == 403, name
        assert "The request does not come from a page of this controller" in answer.text
    assert rollout_page.loop.people.calls == []


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "URL"}, {"Origin": "https://PUBLIC"}, {"Origin": "URL", **OWN_PAGE}, OWN_PAGE],
)
def test_a_form_of_our_own_page_is_taken(held_page, headers):
    """Whichever process of the controller made it."""
    assert post_from(held_page, ASKED["reconcile"], headers).status_code == 303


def test_a_form_of_one_replica_is_taken_by_another(held_page):
    """Behind one address people come to any of them, and no session has to stick."""
    origin = {"Origin": people.SETTINGS.public_url, "Content-Type": FORM_TYPE, **OWN_PAGE}
    with serve_store(held_page.store, people.SETTINGS) as other:
        html = requests.get(f"{other.url}{STAGING}", headers=SRE, timeout=60).text
        for verb, asking in OF_TARGET.items():
            assert f'"{asking.form}"' in html or verb in {"resume", "rollback"}
            answer = held_page.post_form(asking.form, asking.fields, {**SRE, **origin})
            assert answer.status_code == 303
            notice = requests.get(
                f"{other.url}{answer.headers['Location']}", headers={**SRE, **OWN_PAGE}, timeout=60
            ).text
            assert 'class="notice done"' in notice
    assert other.loop.people.calls == []
    assert [call[0] for call in held_page.loop.people.calls] == [*OF_TARGET]


@pytest.mark.parametrize(
    ("name", "fields", "summary"),
    [
        ("approve", [], "No row"),
        ("approve", [("row", "row1:xyz")], "Invalid row digest"),
        ("approve", [("row", DIGESTS[0] + "\n")], "Invalid row digest"),
        ("approve", [("row", f"row1:{n:064x}") for n in range(2001)], "Invalid row digest"),
        ("approve", [("row", DIGESTS[0]), ("reason", "x" * 501)], "Invalid reason"),
        ("reject", [("row", DIGESTS[0])], "The reason is missing"),
        ("reject", [("row", DIGESTS[0]), ("reason", "x" * 501)], "Invalid reason"),
        ("rollback", [("revision", REVISION)], "The reason is missing"),
        ("rollback", [("revision", "main"), ("reason", "x")], "Invalid revision or plan"),
        ("rollback", [("revision", "1a2b3c"), ("reason", "x")], "Invalid revision or plan"),
        ("pause", [("reason", " \t ")], "The reason is missing"),
        ("pause", [("reason", "a\u202eb")], "Invalid reason"),
        ("pause", [("reason", "x"), ("seconds", "-1")], "Invalid duration"),
        ("pause", [("reason", "x"), ("seconds", "1e99")], "Invalid duration"),
        ("pause", [("reason", "x"), ("seconds", "99999999")], "Invalid duration"),
        ("pause", [("reason", "x"), ("reason", "y")], "The form cannot be read"),
        ("pause", [("reason", "x"), ("scope", "a" * 201)], "The scope is missing"),
        ("skip wave", [("number", "3"), ("wave", "2")], "The reason is missing"),
        ("abort rollout", [("number", "3"), ("reason", "a\u202eb")], "Invalid reason"),
        ("approve wave", [("number", "3")], "Invalid number"),
        ("approve wave", [("number", "3"), ("wave", "-1")], "Invalid number"),
        ("resume rollout", [("number", "9" * 20)], "Invalid number"),
        ("resume rollout", [("number", "3"), ("number", "4")], "The form cannot be read"),
        ("resume rollout", [], "Invalid number"),
    ],
)
def test_what_makes_no_sense_is_not_done(rollout_page, name, fields, summary):
    """The answer says what is wrong, and leads back."""
    asking = ASKED[name]
    answer = rollout_page.post_form(asking.form, fields, SRE)
    assert answer.status_code == 400
    assert summary in read_text(answer.text)
    assert f'href="{asking.page}"' in answer.text
    assert ("Back to the rollout" in read_text(answer.text)) == (asking.page == FLEET)
    assert rollout_page.loop.people.calls == []


@pytest.mark.parametrize("name", ["approve", "abort rollout"])
def test_what_the_loop_refuses_is_said_with_what_to_do(rollout_page, name):
    """Such as rows that do not wait any more as they were shown; the way back is there."""
    rollout_page.loop.people.refuse(
        "The row does not wait any more", "plugin/yolo differs from what was shown.", "Look again."
    )
    asking = ASKED[name]
    answer = rollout_page.post_form(asking.form, asking.fields, SRE)
    assert answer.status_code == 409
    for words in ("does not wait any more", "differs from what was shown. Look again."):
        assert words in read_text(answer.text)
    assert f'href="{asking.page}"' in answer.text
    answer = post_json(rollout_page, asking.api, asking.document)
    assert answer.status_code == 409
    assert answer.json()["diagnostics"][0]["hint"] == "Look again."


@each_asking
def test_a_token_asks_over_the_api(rollout_page, asking):
    """No page and no origin is needed: no browser sends a token by itself."""
    answer = post_json(rollout_page, asking.api, asking.document)
    assert answer.status_code == 200
    assert rollout_page.loop.people.calls == [asking.call_of("token:ops")]
    document = answer.json()
    Draft202012Validator(SCHEMA).validate(document)
    assert (document["action"], document["who"]) == (asking.verb, "token:ops")
    if asking.page == STAGING:
        assert document["kind"] == "ActionResult"
        assert (document["target"] or document["scope"]) == "acme/staging"
        assert document["until"] == ("2026-11-27T08:00:00Z" if asking.verb == "pause" else None)


@each_asking
def test_the_api_acts_for_tokens_with_the_right_alone(rollout_page, asking):
    """Not for one that may only read, not for nobody, and not for a browser's login."""
    ci = {"Authorization": f"Bearer {people.CI_TOKEN}"}
    # It reads nothing of this one, and is not even told that it is there.
    assert post_json(rollout_page, asking.api, asking.document, **ci).status_code == 404
    readable = json.loads(json.dumps(asking.document).replace("acme/staging", "vision/lab"))
    path = asking.api.replace("/fleet/", "/lab/")
    answer = post_json(rollout_page, path, readable, **ci)
    assert (answer.status_code, answer.json()["kind"]) == (403, "Problem")
    # The proxy says who it is, whatever token comes along.
    for who, status in (
        ({}, 401),
        ({**SRE, "Origin": rollout_page.url}, 403),
        ({**SRE, **BEARER}, 403),
    ):
        headers = {"Content-Type": "application/json", **who}
        body = json.dumps(asking.document).encode()
        assert rollout_page.post(asking.api, body, **headers).status_code == status
    assert rollout_page.loop.people.calls == []


@pytest.mark.parametrize(
    ("name", "document", "status"),
    [
        ("approve", {"target": "acme/staging", "rows": []}, 400),
        ("approve", {"target": "acme/staging", "rows": "row1:"}, 400),
        ("approve", {"target": "acme/staging", "rows": [1]}, 400),
        ("approve", {"target": "acme/staging", "rows": [DIGESTS[0]], "seconds": 1}, 400),
        ("approve", {"target": "acme", "rows": [DIGESTS[0]]}, 400),
        ("reconcile", {"target": 1}, 400),
        ("reconcile", {}, 400),
        ("reconcile", [], 400),
        ("reconcile", b"", 400),
        ("reconcile", b"[" * 100_000, 400),
        ("reconcile", b'{"target": "\xff"}', 400),
        ("reconcile", b'{"target": "acme/a", "target": "acme/staging"}', 400),
        ("reconcile", b'{"target": "acme/\\ud800"}', 400),
        ("approve", {"target": "acme/\ud800", "rows": [DIGESTS[0]]}, 400),
        ("approve", {"target": "acme/staging", "rows": ["\udfff"]}, 400),
        ("approve", {"target": "acme/staging", "rows": [DIGESTS[0]], "\udc00": 1}, 400),
        ("reject", {"target": "\udbff/a", "rows": [DIGESTS[0]], "reason": "x"}, 400),
        ("reject", {"target": "acme/staging", "rows": [DIGESTS[0]], "reason": "\ud800"}, 400),
        ("pause", {"scope": "\ud800/*", "reason": "x"}, 400),
        ("pause", {"scope": "acme/*", "reason": "\ud800"}, 400),
        ("pause", {"scope": "acme/*", "reason": "x", "until": "\ud800"}, 400),
        ("resume", {"scope": "acme/\udc00"}, 400),
        ("reconcile", {"target": "acme/none"}, 404),
        ("pause", {"scope": "acme/*"}, 400),
        ("pause", {"scope": "acme/*", "reason": "x", "until": "tomorrow"}, 400),
        ("pause", {"scope": "acme/*", "reason": "x", "until": "2026-11-27T09:00:00"}, 400),
        ("pause", {"scope": "acme/*", "reason": "x", "until": "2026-11-27T06:00:00Z"}, 400),
        ("pause", {"scope": "acme/*", "reason": "x", "until": "2029-01-01T00:00:00Z"}, 400),
        ("pause", {"scope": "acme/*", "reason": "x", "seconds": "9"}, 400),
        ("pause", {"scope": "acme/*", "reason": "x", "seconds": True}, 400),
        ("pause", b'{"scope": "acme/*", "reason": "x", "seconds": NaN}', 400),
        ("pause", {"scope": "acme/*", "reason": "x", "seconds": 1e308}, 400),
        ("pause", {"scope": "acme/*", "reason": "x", "seconds": 10**400}, 400),
        ("pause", {"scope": "acme/*", "reason": "x", "untill": "2026-11-27T09:00:00Z"}, 400),
        ("pause", {"scope": "", "reason": "x"}, 400),
        ("resume", {"scope": "a\u0000b"}, 400),
        ("abort rollout", {"number": 3}, 400),
        ("abort rollout", {"number": "3", "reason": "x"}, 400),
        ("abort rollout", {"number": True, "reason": "x"}, 400),
        ("abort rollout", {"number": 3, "reason": "x", "wave": 1}, 400),
        ("resume rollout", {"number": 3, "reason": "x"}, 400),
        ("approve wave", {"number": 3, "wave": 0}, 400),
        ("approve wave", b"[", 400),
        ("approve wave", {"number": 3, "wave": 9}, 409),
    ],
)
def test_a_document_that_makes_no_sense_is_not_done(rollout_page, name, document, status):
    answer = post_json(rollout_page, ASKED[name].api, document)
    assert (answer.status_code, answer.json()["kind"]) == (status, "Problem")
    assert rollout_page.loop.people.calls == []


def test_a_pause_of_a_scope_is_for_whom_may_pause_all_of_it(held_page):
    """A pattern in a form gives no right that its sender has not."""
    fields = [("reason", "x"), ("scope", "acme/*")]
    kim = list_proxy_headers("kim")
    assert held_page.post_form(f"{STAGING}/pause", fields, kim).status_code == 303
    statuses = {
        "*": 403,
        "*/staging": 403,
        "acme*": 403,
        "vision/*": 404,
        "vision/lab": 404,
        "none/*": 404,
    }
    for scope, status in statuses.items():
        for verb in ("pause", "resume"):
            sent = [("reason", "x"), ("scope", scope)]
            answer = held_page.post_form(f"{STAGING}/{verb}", sent, kim)
            assert answer.status_code == status, scope
    assert [call[2] for call in held_page.loop.people.calls] == ["acme/*"]


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_pattern_without_targets_is_no_matter_of_rights(held_page, verb):
    """Who may pause everything has mistyped it, and is not sent to ask for rights."""
    document = {"scope": "acme/stagng"} | ({"reason": "x"} if verb == "pause" else {})
    answer = post_json(held_page, verb, document)
    assert answer.status_code == 404
    assert "matches acme/stagng" in answer.json()["diagnostics"][0]["detail"]


def test_the_refusal_of_a_pause_without_end_names_the_key_that_has_one(held_page):
    """`paused`, which the configuration knows."""
    document = {"scope": "acme/*", "reason": "x", "until": "2029-01-01T00:00:00Z"}
    hint = post_json(held_page, "pause", document).json()["diagnostics"][0]["hint"]
    assert "`paused: {reason: ...}`" in hint


@pytest.mark.parametrize("content_type", [None, "application/json", "text/plain",
                                          "multipart/form-data; boundary=x"])  # fmt: skip
def test_a_form_is_of_one_type(held_page, content_type):
    headers = {**SRE, "Origin": held_page.url}
    if content_type is not None:
        headers["Content-Type"] = content_type
    answer = held_page.post(f"{STAGING}/reconcile", b"reason=x", **headers)
    assert answer.status_code == 415
    assert held_page.loop.people.calls == []


def test_no_body_is_too_large(held_page):
    """Of who is let in; of others none is read."""
    headers = {**SRE, "Origin": held_page.url, "Content-Type": "application/x-www-form-urlencoded"}
    body = b"reason=" + b"x" * 300_000
    assert held_page.post(f"{STAGING}/pause", body, **headers).status_code == 413
    assert post_json(held_page, "pause", body).status_code == 413


def test_a_pause_lasts_a_day_unless_said(held_page):
    """Or to a time in any zone."""
    post_json(held_page, "pause", {"scope": "acme/*", "reason": "x"})
    until = "2026-11-27T18:00:00+09:00"
    post_json(held_page, "pause", {"scope": "acme/*", "reason": "x", "until": until})
    ends = [call[-1] for call in held_page.loop.people.calls]
    assert ends == [samples.NOW + samples.DAY, samples.NOW + 2 * samples.HOUR]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", [f"{STAGING}/approve", "/api/v1/approve"])
def test_nothing_is_done_by_another_method(held_page, path, method):
    headers = {**SRE, **BEARER} if method != "GET" else SRE
    answer = requests.request(method, held_page.url + path, headers=headers, timeout=60)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


def test_an_action_is_taken_at_our_own_host_alone(held_page):
    """Else a site could send one by a name of its own that leads here."""
    answer = post_json(held_page, "reconcile", ASKED["reconcile"].document, Host="evil.example")
    assert answer.status_code == 421
    answer = held_page.post_form(f"{STAGING}/reconcile", [], {**SRE, "Host": "evil.example"})
    assert answer.status_code == 421
    assert held_page.loop.people.calls == []


def test_held_rows_say_why_they_wait_and_what_is_missing(held_page):
    """With a box where an approval would let it be done, and only for whom may approve."""
    held_page.loop.authors = ("Mina Park", "mina@acme.example")
    html = held_page.get(STAGING, **SRE).text
    text = read_text(html)
    for words in ("in mode approve, every row needs approval", "1 of 2 approvals", "Approved by lee",
                  "approval by mina does not count", "it is older than 7 days",
                  "the guard stops the plan", "it depends on plugin/yolo, which is not applied",
                  "a policy stops the plan, and nobody can approve it here"):  # fmt: skip
        assert words in text, words
    assert re.findall(r'name="row" value="([^"]+)"', html) == list(DIGESTS[:3])
    own = held_page.get(STAGING, **list_proxy_headers("lee")).text
    assert "You approved it." in own
    # Also to take that back.
    [box] = re.findall(rf'value="{DIGESTS[0]}"([^>]*)>', own)
    assert "disabled" not in box
    held_page.loop.authors = ("Lee Min", "lee@acme.example")
    assert "You are an author" in held_page.get(STAGING, **list_proxy_headers("lee")).text
    held_page.loop.authors = None
    assert "does not know the authors of the commits" in held_page.get(STAGING, **SRE).text


def test_a_pause_says_who_set_it_and_ends_for_whom_may_end_it(held_page):
    text = read_text(held_page.get("/targets/vision/lab", **SRE).text)
    assert "Paused by ann 1 min ago , ends in 1 h : waits for the data team" in text
    assert "Resume" in text
    fields = [("scope", "vision/*")]
    answer = held_page.post_form("/targets/vision/lab/resume", fields, SRE)
    assert answer.status_code == 303
    assert held_page.loop.people.calls == [("resume", "proxy:ann", "vision/*")]


def test_an_apply_says_what_became_of_each_row(held_page):
    """With the request ids, what is not done first, and whose approvals it used."""
    run = held_page.store.newest_runs(people.STAGING, 2)[1]
    text = read_text(held_page.get(f"/runs/{run.id}", **SRE).text)
    for words in ("Apply of acme/staging", "1 done, 1 failed, 3 skipped", "ann, ops (token)",
                  "Stopped: paused by proxy:ann", "req-failed-2", "409 of the server"):  # fmt: skip
        assert words in text, words
    assert text.index("req-failed-2") < text.index("req-done-1")


def test_no_secret_stands_in_any_answer(held_page):
    """Of the proxy or of a token, also where it was just sent, or sent wrongly."""
    paths = ["/", STAGING, "/audit", "/none", "/api/v1/targets", "/api/v1/none"]
    for path in paths:
        for headers in (SRE, BEARER, {**SRE, "X-Proxy-Secret": people.PROXY_SECRET + "x"},
                        {"Authorization": f"Bearer {people.OPS_TOKEN}x"}):  # fmt: skip
            answer = held_page.get(path, Accept="text/html", **headers)
            assert "c4n4ry" not in answer.text + str(answer.headers)
