"""Who is let in, whose word counts for it, and that nobody sees what they may not read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest
import requests
from counting import calls_of
from unit.controller.page import page_samples as samples
from unit.controller.page import people_samples as people
from unit.controller.page.people_samples import SRE, list_proxy_headers
from unit.views import plan_samples

from synapse_apply.controller.configuration.secrets import AccessSecrets, read_usable_access_secrets
from synapse_apply.controller.page.guard import list_own_origins
from synapse_apply.controller.page.readable_store import RestrictedStore
from synapse_apply.controller.page.server import PageServer
from synapse_apply.controller.page.sessions import SESSION_SECONDS, make_session
from synapse_apply.controller.ports import AuditFilter
from synapse_apply.controller.rows import (
    ApplyLog,
    BegunApply,
    CallProgress,
    MessageRow,
    PauseRow,
    RunCause,
    RunOutcome,
    StatusRow,
    StatusState,
    StatusText,
    TargetCondition,
    TargetName,
)
from synapse_apply.controller.rules.access import Person
from synapse_apply.controller.settings import FixedPause, Mode, SecretName, TargetRule
from synapse_apply.controller.store.controller_store import SqliteControllerStore
from synapse_apply.model.command import Command, Text
from synapse_apply.model.cron import Cron, Window
from synapse_apply.model.diagnostic import error_finding, warning_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.plan import Refusal
from synapse_apply.model.values import Sensitive

from .conftest import PUBLIC_HOST, ServedPage, read_text, serve_page

BEARER = {"Authorization": f"Bearer {people.OPS_TOKEN}"}
PAGES = ["/", "/targets/acme/staging", "/sources/acme", "/runs/x", "/audit", "/icon.svg",
         f"/revisions/acme/{samples.HEAD_COMMIT}", "/badge/acme/dev.svg", "/rollouts",
         "/rollouts/fleet", "/rollouts/none"]  # fmt: skip
LISTS = ["/api/v1/targets", "/api/v1/revisions?source=acme", "/api/v1/runs?target=acme/dev",
         "/api/v1/runs/x", "/api/v1/holds", "/api/v1/pauses", "/api/v1/audit",
         "/api/v1/rollouts"]  # fmt: skip


def send_pairs(page: ServedPage, path: str, pairs: Sequence[tuple[str, str]]) -> int:
    """The status for a request with these headers, of which one may come twice."""
    from http.client import HTTPConnection

    host, _, port = page.url.removeprefix("http://").partition(":")
    with closing(HTTPConnection(host, int(port), timeout=60)) as connection:
        connection.putrequest("GET", path)
        for name, value in pairs:
            connection.putheader(name, value.encode())
        connection.endheaders()
        return connection.getresponse().status


@pytest.mark.parametrize("path", [*PAGES, *LISTS])
def test_nobody_is_let_in_without_a_name(held_page, path):
    """And is told nothing but how to get one; not even whether there is such a target."""
    answer = held_page.get(path, Accept="text/html")
    assert answer.status_code == (401 if path.startswith("/api/") else 403)
    assert "You are not logged in" in answer.text
    for word in ("staging", "vision", "yolo", "fleet"):
        assert word not in answer.text


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_probes_need_no_name(held_page, path):
    assert held_page.get(path).status_code == 200


@pytest.mark.parametrize("path", PAGES[:3] + LISTS[:3])
@pytest.mark.parametrize("secret", [None, "", "x", people.PROXY_SECRET[:-1], people.OPS_TOKEN])
def test_a_header_of_the_proxy_without_its_secret_is_refused(held_page, path, secret):
    """Whoever else is named, and with a token besides: somebody tries something."""
    for headers in ({"X-User": "ann"}, {"X-Groups": "sre"}, {"X-User": "ann", **BEARER}):
        with_secret = headers if secret is None else {**headers, "X-Proxy-Secret": secret}
        answer = held_page.get(path, **with_secret)
        assert answer.status_code == 403
        assert "The request does not come from the proxy" in answer.text
        assert "c4n4ry" not in answer.text


@pytest.mark.parametrize(
    "extra",
    [("X-User", "ann"), ("X-User", "root"), ("x-user", "root"), ("X-Groups", "sre"),
     ("X-Proxy-Secret", people.PROXY_SECRET), ("X-Proxy-Secret", "x")],
)  # fmt: skip
def test_a_header_that_comes_twice_is_refused(held_page, extra):
    """A proxy that adds to what the client sent, and does not replace it, is not believed."""
    pairs = [*SRE.items()]
    assert send_pairs(held_page, "/", pairs) == 200
    assert send_pairs(held_page, "/", [*pairs, extra]) == 403
    assert send_pairs(held_page, "/", [extra, *pairs]) == 403


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("ann@acme.example", 200), ("Ann Lee", 200), ("CN=ann", 200), ("김민아", 200),
        ("ACME\\ann", 200), ("ann, root", 403), ("ann\t", 200), ("<b>ann</b>", 403), ("ann'--", 403),
        ("a" * 201, 403), ("ann\u202e", 403), ("ann\u00a0lee", 403), ("\uff21nn", 403), ("ann  lee", 403),
        ("ann\u3164", 403), ("{{7*7}}", 403), ("", 403),
        ("ann\u00a0", 403), ("\u2003ann", 403), ("ann\u3000", 403), ("ann\x85", 403), ("ann\x1f", 403),
    ],
)  # fmt: skip
def test_a_name_is_short_harmless_and_one_spelling_of_itself(held_page, name, status):
    headers = [*list_proxy_headers(name, "sre").items()]
    assert send_pairs(held_page, "/", headers) == status


def test_pages_with_forms_cannot_be_framed_and_tell_their_address_to_us_alone(held_page):
    """Browsers name the origin of a form only where the page lets them name itself."""
    answer = held_page.get("/targets/acme/staging", **SRE)
    policy = answer.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self'" in policy
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert '<meta name="referrer" content="same-origin">' in answer.text
    assert answer.headers["Cache-Control"] == "no-store"


def test_who_may_read_nothing_is_told_whom_to_ask(held_page):
    html = held_page.get("/", **list_proxy_headers("zed")).text
    assert (
        "You (zed) have no permission to read a target. Ask the person who maintains access.may"
        in read_text(html)
    )


@pytest.mark.parametrize(
    ("public_url", "origin"),
    [
        ("https://x.example", "https://x.example"),
        ("https://X.example:443/", "https://x.example"),
        ("https://x.example:8443", "https://x.example:8443"),
        ("http://[::1]:80", "http://[::1]"),
    ],
)
def test_our_origin_is_as_browsers_write_it(public_url, origin):
    assert list_own_origins(["localhost:8080"], public_url) == {"http://localhost:8080", origin}


def test_groups_count_one_by_one(held_page):
    """A group with an odd name is no group; a list without end is refused."""
    for groups, status in (
        ("sre", 200), ("staff,sre", 200), ("odd <group>, sre", 200), ("sre2", 404), ("", 404),
        ("group:sre", 404), ("s" * 40_000, 403),
    ):  # fmt: skip
        answer = held_page.get("/targets/vision/lab", **list_proxy_headers("zed", groups))
        assert answer.status_code == status, groups


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (f"Bearer {people.OPS_TOKEN}", 200),
        (f"bearer  {people.OPS_TOKEN}", 200),
        (f"Bearer {people.OPS_TOKEN[:-1]}", 401),
        (f"Bearer {people.OPS_TOKEN} x", 401),
        (people.OPS_TOKEN, 401),
        (f"Basic {people.OPS_TOKEN}", 401),
        (f"Bearer {people.PROXY_SECRET}", 401),
        ("Bearer", 401),
        ("", 401),
    ],
)
def test_a_token_counts_in_one_header_alone(held_page, authorization, status):
    answer = held_page.get("/api/v1/targets", Authorization=authorization)
    assert answer.status_code == status
    assert (status == 401) == ("WWW-Authenticate" in answer.headers)
    if status == 401:
        assert answer.json()["kind"] == "Problem"


def test_a_token_is_taken_from_no_other_place(held_page):
    """Not of an address, which logs keep, not of a cookie, and it opens no page."""
    for path in (f"/api/v1/targets?access_token={people.OPS_TOKEN}",
                 f"/api/v1/targets?token={people.OPS_TOKEN}"):  # fmt: skip
        assert held_page.get(path).status_code == 401
    cookie = f"token={people.OPS_TOKEN}; Authorization=Bearer {people.OPS_TOKEN}"
    assert held_page.get("/api/v1/targets", Cookie=cookie).status_code == 401
    pairs = [("Authorization", BEARER["Authorization"])] * 2
    assert send_pairs(held_page, "/api/v1/targets", pairs) == 401
    for path in PAGES:
        assert held_page.get(path, **BEARER).status_code == 403


def test_everybody_sees_their_targets_and_no_others(held_page):
    """In pages, counts and lists; what they may not read is not there."""
    mina, jonas = list_proxy_headers("mina"), list_proxy_headers("jonas")
    for headers, names, count in ((mina, {"dev", "staging", "prod-eu", "prod-us"}, 4),
                                  (jonas, {"dev", "staging"}, 2)):  # fmt: skip
        html = held_page.get("/", **headers).text
        assert f"of {count} targets" in read_text(html)
        for name in ("dev", "staging", "prod-eu", "prod-us", "lab", "archive"):
            assert (f'href="/targets/acme/{name}"' in html) == (name in names), name
            path = f"/targets/{'vision' if name in {'lab', 'archive'} else 'acme'}/{name}"
            assert held_page.get(path, **headers).status_code == (200 if name in names else 404)
        for hidden in ("vision", "lab", "archive"):
            assert hidden not in read_text(html).replace("revision", "")
        assert held_page.get("/sources/vision", **headers).status_code == 404
        assert held_page.get("/sources/acme", **headers).status_code == 200
        run = held_page.store.newest_runs(samples.TargetName("vision", "lab"), 1)[0]
        assert held_page.get(f"/runs/{run.id}", **headers).status_code == 404
        assert "unknown" in held_page.get("/badge/vision/lab.svg", **headers).text


def test_what_an_apply_does_is_for_who_reads_its_target(tmp_path):
    """Only while the run that says it holds the target."""
    name, address = TargetName("acme", "prod-us"), "storage/only-of-this-apply"

    def fill(store: SqliteControllerStore) -> None:
        people.fill_held(store)
        target = store.find_target(name)
        assert target is not None
        begun = BegunApply("01JDP", samples.HEAD_COMMIT, RunCause.APPROVED, samples.NOW - 3)
        call = CallProgress(1, 2, address, "create", samples.NOW - 2)
        with store.write() as writer:
            writer.put(replace(target, begun_apply=begun))
            writer.claim(name, "one", samples.NOW + 9, samples.NOW)
            writer.replace_apply_log(name, ApplyLog(begun.run, (call,)))

    with serve_page(tmp_path, fill, people.SETTINGS) as page:
        seen = page.get(f"/targets/{name}", **list_proxy_headers("mina")).text
        assert f"{address} 1 of 2 create running" in read_text(seen)
        for person in ("lee", "jonas", "nobody"):
            for path in (f"/targets/{name}", "/", "/targets/acme/staging", "/audit"):
                assert address not in page.get(path, **list_proxy_headers(person)).text
        with page.store.write() as writer:
            writer.replace_apply_log(name, ApplyLog("an earlier one"))
        assert "1 of 2" not in page.get(f"/targets/{name}", **SRE).text


def test_who_sees_a_part_of_a_source_reads_no_words_on_the_rest(held_page):
    """What a commit status sums up names targets that they may not read."""
    path = f"/revisions/acme/{samples.HEAD_COMMIT}"
    assert "prod-eu" in held_page.get(path, **list_proxy_headers("mina")).text
    for shown in (path, "/sources/acme", "/"):
        assert "prod-eu" not in held_page.get(shown, **list_proxy_headers("jonas")).text


@pytest.mark.parametrize(
    ("patterns", "is_seen", "is_whole"),
    [
        (("*",), True, True),
        (("acme/*",), True, True),
        (("ac*",), True, True),
        (("*/*",), True, True),
        (("acme/d*",), True, False),
        (("acme/?*",), True, False),
        (("acme/[a-z]*",), True, False),
        (("a?me/*",), True, False),
        (("acme/none",), False, False),
        (("acm", "acme", "globex/*", "vision/*"), False, False),
        ((), False, False),
    ],
)
def test_a_source_is_there_where_one_of_its_targets_is(held_page, patterns, is_seen, is_whole):
    """And what speaks of all of them where all could be read, also those to come."""
    store = RestrictedStore(held_page.store, patterns)
    assert ("acme" in [row.name for row in store.list_configured_sources()]) == is_seen
    revisions = store.newest_revisions("acme", 9)
    assert bool(revisions) == is_seen
    assert all(bool(row.description) == is_whole for row in revisions)
    context = "synapse-apply/platform/acme"
    status = store.find_status("acme", samples.HEAD_COMMIT, context)
    assert (status is not None) == is_whole
    has_everything = "*" in patterns
    assert store.can_read_everything == has_everything
    assert bool([*store.iter_audit()]) == has_everything


def test_what_concerns_the_controller_is_for_who_reads_everything(tmp_path):
    """Its configuration, and what nobody takes of it, may name what is not theirs."""
    status = StatusText(StatusState.SUCCESS, "1 done", "")
    with closing(samples.open_store(tmp_path)) as store:
        samples.fill_few(store)
        with store.write() as writer:
            writer.replace_configuration_findings([warning_finding("W", "sources.vision")])
            writer.put(StatusRow("vision", "c", "x", status, refusal="403"))
            writer.put_message_if_new(MessageRow("m", "slack 1", "failed", "f", {}, 1.0))
            for scope in ("*", "vision/*", "acme/prod-*", "acme/dev"):
                writer.put_pause(PauseRow(scope, "proxy:ann", "r", 1.0, 2.0))
        for patterns, scopes, unsent in (
            (("*",), ["*", "acme/dev", "acme/prod-*", "vision/*"], (1, 1)),
            (("acme/prod-eu",), ["*", "acme/prod-*"], (0, 0)),
            (("vision/*",), ["*", "vision/*"], (1, 0)),
            (("none/*",), [], (0, 0)),
        ):
            readable = RestrictedStore(store, patterns)
            assert [row.scope for row in readable.list_pauses()] == scopes
            statuses, messages = readable.unsent()
            refused = [row for row in statuses if row.refusal]
            assert (len(refused), len(messages)) == unsent
            assert bool(readable.list_configuration_findings()) == (patterns == ("*",))


def test_lists_of_the_api_are_those_of_the_token(held_page):
    """As if nothing else were there."""
    ci = {"Authorization": f"Bearer {people.CI_TOKEN}"}
    targets = held_page.get("/api/v1/targets", **ci).json()
    assert {item["name"] for item in targets["items"]} == {"vision/lab", "vision/archive"}
    assert targets["total"] == 2
    assert held_page.get("/api/v1/targets?source=acme", **ci).json()["total"] == 0
    assert held_page.get("/api/v1/revisions?source=acme", **ci).json()["items"] == []
    assert held_page.get("/api/v1/runs?target=acme/dev", **ci).json()["items"] == []
    assert held_page.get("/api/v1/holds", **ci).json()["items"] == []
    assert held_page.get("/api/v1/holds?target=acme/staging", **ci).status_code == 404
    assert [item["scope"] for item in held_page.get("/api/v1/pauses", **ci).json()["items"]] == [
        "vision/*"
    ]
    assert [item["scope"] for item in targets["pauses"]] == ["vision/*"]
    assert held_page.get("/api/v1/audit", **ci).status_code == 403
    assert len(held_page.get("/api/v1/audit", **BEARER).json()["items"]) == 4


def test_the_audit_page_has_what_its_reader_may_read(held_page):
    everything = read_text(held_page.get("/audit", **SRE).text)
    for subject in ("acme/staging", "vision/lab", "controller:platform"):
        assert f"detail of {subject}" in everything
    text = read_text(held_page.get("/audit", **list_proxy_headers("jonas")).text)
    assert "detail of acme/staging" in text
    assert "vision" not in text
    assert "controller:platform" not in text
    text = read_text(held_page.get("/audit?who=proxy:ann&q=vision", **SRE).text)
    assert "detail of vision/*" in text
    assert "detail of acme/staging" not in text


ROLLOUT_ACTIONS = ("begin rollout", "begin waves again", "open wave", "close wave", "skip wave",
                   "approve wave", "resume rollout", "abort rollout", "rollout stopped",
                   "forget rollout")  # fmt: skip


def test_the_audit_of_a_rollout_is_no_audit_of_a_target_of_its_name(tmp_path):
    """A search does not find it either; who may read all of the source is told."""
    with serve_page(tmp_path, people.fill_held, people.SETTINGS) as page:
        with page.store.write() as writer:
            for action in ROLLOUT_ACTIONS:
                detail = f"Hooli's {action}"
                writer.append_audit(samples.NOW, "proxy:boss", action, "acme/dev", detail)
            writer.append_audit(samples.NOW, "proxy:boss", "pause", "acme/dev", "of the target")
        searches = [f"/audit?who=proxy:boss&q={quote(action)}" for action in ROLLOUT_ACTIONS]
        for path in ("/audit", *searches):
            text = read_text(page.get(path, **list_proxy_headers("jonas")).text)
            assert "Hooli" not in text
            assert ("of the target" in text) == (path == "/audit")
            assert "Hooli" in read_text(page.get(path, **list_proxy_headers("mina")).text)
        everything = read_text(page.get("/audit", **list_proxy_headers("mina")).text)
        assert all(f"Hooli's {action}" in everything for action in ROLLOUT_ACTIONS)


def test_rights_are_those_of_the_configuration_in_use(tmp_path):
    """Whoever loses a right, or a token, has lost it at the next request."""
    with closing(samples.open_store(tmp_path)) as store:
        samples.fill_few(store)
        loop = samples.StubLoop(people.SETTINGS)
        secrets = [people.SECRETS]
        with PageServer(store, loop, {}, lambda: samples.NOW, lambda: secrets[-1]) as server:

            def ask(path: str, **headers: str) -> int:
                return requests.get(server.url + path, headers=headers, timeout=60).status_code

            assert ask("/api/v1/targets", **BEARER) == 200
            assert ask("/targets/acme/dev", **SRE) == 200
            assert people.ACCESS.proxy is not None
            loop.settings = replace(people.SETTINGS, access=replace(people.ACCESS, rules=()))
            assert ask("/targets/acme/dev", **SRE) == 404
            tokens = {"ci": people.ACCESS.tokens["ci"]}
            loop.settings = replace(people.SETTINGS, access=replace(people.ACCESS, tokens=tokens))
            assert ask("/api/v1/targets", **BEARER) == 401
            loop.settings = people.SETTINGS
            secrets.append(AccessSecrets(Sensitive("another-secret-of-the-proxy")))
            assert ask("/api/v1/targets", **BEARER) == 401
            assert ask("/targets/acme/dev", **SRE) == 403


def test_without_access_headers_mean_nothing(page):
    """Everybody reads, nobody is anybody."""
    for headers in ({"X-User": "ann"}, SRE, BEARER):
        answer = page.get("/targets/acme/staging", **headers)
        assert answer.status_code == 200
        assert "ann" not in read_text(answer.text).split()
        assert page.get("/api/v1/targets", **headers).status_code == 200


@pytest.mark.parametrize(
    ("values", "summary"),
    [
        ({"P": "short", "O": "o" * 16, "C": "c" * 16}, "Invalid secret in `access`"),
        ({"P": "p p" * 9, "O": "o" * 16, "C": "c" * 16}, "Invalid secret in `access`"),
        ({"P": "p" * 16, "O": "ö" * 16, "C": "c" * 16}, "Invalid secret in `access`"),
        ({"P": "p" * 16, "O": "o" * 16, "C": "o" * 16}, "Two secrets in `access` are equal"),
    ],
)
def test_secrets_that_prove_nothing_are_refused_at_the_start(values, summary):
    """Too short, of characters that no header has, or the same for two; none is quoted."""

    def read_secret(name: SecretName) -> Sensitive:
        return Sensitive(values[name.name])

    with pytest.raises(InputError) as raised:
        read_usable_access_secrets(people.ACCESS, read_secret)
    (finding,) = raised.value.diagnostics
    assert finding.summary == summary
    assert not any(
        value in json.dumps(finding.to_json(), ensure_ascii=False) for value in values.values()
    )


NAMED = (
    "targets.prod-eu.url, targets.staging.token: the plan uses the settings of main",
    "Target staging keeps its state where target prod-us (synapse-apply.yaml:9:3) keeps its own",
    (
        "target prod-eu must have verified it first, but its state cannot be read: it was made for "
        "https://eu.acme.example, tenant cAn4ry"
    ),
    "a verification in acme/prod-old",
    "paused with acme/prod-us.",
    "targets.unruled-secret.token names it",
)

REJECTED = "first as in prod-eu: contract with Hooli ends"


@pytest.fixture
def naming_page(tmp_path: Path) -> Iterator[ServedPage]:
    """A page of acme/staging, in each of whose texts there are names of other targets."""
    with serve_page(tmp_path, people.fill_held, people.SETTINGS) as served:
        fill_with_names(served.store)
        yield served


def fill_with_names(store: SqliteControllerStore) -> None:
    refusal = Refusal("cannot-be-verified", NAMED[2], (Text(Command("apply", target="prod-eu")),))
    plan = plan_samples.PLANS["create"]
    change = replace(plan.changes[0], refusals=(refusal,), notes=(NAMED[4],))
    plan = replace(plan, changes=(change, *plan.changes[1:]))
    report = json.loads(people.REPORT)
    report["diagnostics"][0]["detail"] = NAMED[2]
    finding = error_finding(NAMED[1], NAMED[0], NAMED[2], path=("targets", "prod-eu"))
    unruled = error_finding("A variable is closed", NAMED[5], NAMED[5])
    run = samples.build_run(
        12, people.STAGING, RunOutcome.CHANGES, plan_json=samples.format_plan(plan),
        findings=(replace(finding, target="prod-us"), unruled), report_json=json.dumps(report),
        cause=RunCause.RESUMED, cause_detail=NAMED[3], stop_reason=NAMED[4],
    )  # fmt: skip
    target = store.find_target(people.STAGING)
    old = store.find_target(TargetName("acme", "prod-us"))
    assert target
    assert old
    target = replace(target, waiting_reason=NAMED[2], due_detail=NAMED[3], last_run=run.id)
    hold = people.build_holds()[0]
    row = replace(hold.held_row.row, summary=NAMED[4], refusal_reason=NAMED[2])
    # No rule matches the one that named the last of these: it has no row of its own.
    named = (("ACME_A", "staging"), ("ACME_B", "prod-eu", "unruled-secret"))
    source = replace(store.list_configured_sources()[0], credentials=named)
    assert source.name == "acme"
    with store.write() as writer:
        writer.put(source)
        writer.put(run)
        writer.put(replace(target, state=TargetCondition.FAILING))
        writer.put(replace(old, name=TargetName("acme", "prod-old"), is_gone=True))
        writer.replace_holds(
            people.STAGING,
            [
                replace(
                    hold,
                    held_row=replace(hold.held_row, row=row, detail=NAMED[4]),
                    rejected_by="proxy:ann",
                    rejected_reason=REJECTED,
                )
            ],
        )
        for scope in ("acme/*", "*"):
            writer.put_pause(PauseRow(scope, "proxy:ann", REJECTED, 1.0, samples.NOW + 9999))
        writer.append_audit(2.0, "proxy:ann", "reject", "acme/staging", f"row; {REJECTED}")
        writer.append_audit(1.0, "controller:platform", "bind", "acme/staging", NAMED[4])


NAMING_PATHS = [
    "/", "/targets/acme/staging", "/sources/acme", "/audit", "/runs/{run}",
    "/api/v1/targets", "/api/v1/runs?target=acme/staging", "/api/v1/runs/{run}",
    "/api/v1/holds", "/api/v1/pauses",
]  # fmt: skip


def test_no_text_names_a_target_that_its_reader_cannot_read(naming_page):
    """Nor says of it what stands behind its name; who reads all of the source is told both."""
    run = naming_page.store.find_target(people.STAGING).last_run
    told = ""
    for path in NAMING_PATHS:
        answer = naming_page.get(path.format(run=run), **list_proxy_headers("jonas"))
        assert answer.status_code == 200
        for name in (
            "prod-eu",
            "prod-us",
            "prod-old",
            "eu.acme.example",
            "cAn4ry",
            "Hooli",
            "unruled",
        ):
            assert name not in answer.text, path
        assert "another target of this controller" in answer.text or path == "/sources/acme"
        told += naming_page.get(path.format(run=run), **list_proxy_headers("mina")).text
    for name in (
        "targets.prod-eu.url",
        "target prod-us",
        "acme/prod-old",
        "cAn4ry",
        "unruled-secret",
    ):
        assert name in told


def test_a_search_of_the_audit_finds_only_what_its_reader_is_told(naming_page):
    """No name of a hidden target, no letter of what is left out; what is told is found."""
    jonas, mina = (list_proxy_headers(name) for name in ("jonas", "mina"))

    def is_found(text: str, headers: dict[str, str]) -> bool:
        answer = naming_page.get(f"/audit?q={quote(text)}", **headers)
        assert answer.status_code == 200
        return 'data-label="Details"' in answer.text

    for hidden in ("prod-eu", "PROD", "in p", "hooli", "ends", "h", "prod-us", "o"):
        is_told = hidden in {"h", "o"}  # letters of the words that are told
        assert is_found(hidden, jonas) == is_told, hidden
        assert is_found(hidden, mina), hidden
    for told in ("first as in", "Reject", "ACME/STAGING", "row; "):
        assert is_found(told, jonas), told
    assert not is_found("%", jonas)


def test_a_search_goes_on_behind_rows_whose_text_is_left_out(tmp_path):
    """Thousands of newer rows, of which nothing is told that is searched for, hide no older one."""
    with closing(samples.open_store(tmp_path)) as store:
        people.fill_held(store)
        with store.write() as writer:
            writer.append_audit(1.0, "token:ops", "reject", "acme/staging", "contract")
            for number in range(2500):
                detail = f"{number} as in prod-eu: contract"
                writer.append_audit(2.0, "token:ops", "reject", "acme/staging", detail)
            writer.append_audit(3.0, "token:ops", "reject", "acme/staging", "contract")
        readable = RestrictedStore(store, ("acme/staging",))
        every = [row.number for row in store.audit_rows(9999)]
        for bounds in ({}, {"after": 0}, {"before": every[0]}):
            asked = AuditFilter(text="CONTRACT", **bounds)
            found = readable.audit_rows(101, asked)
            assert {row.detail for row in found} == {"contract"}
            assert len(found) == (1 if "before" in bounds else 2)
        assert len(readable.audit_rows(2000)) == 2000


@pytest.mark.parametrize("pattern", ["acme/staging", "acme/s*"])
def test_the_work_of_a_search_tells_nothing_of_what_is_left_out(tmp_path, pattern):
    """It is the same whether thousands of hidden rows, and of hidden words, match it or none."""
    with closing(samples.open_store(tmp_path)) as store:
        people.fill_held(store)
        with store.write() as writer:
            for number in range(1000):
                detail = f"{number} as in prod-eu: contract with Hooli"
                writer.append_audit(2.0, "token:ops", "reject", "acme/staging", detail)
                writer.append_audit(2.0, "token:hooli", "reject", "acme/prod-eu", "Hooli")
        readable = RestrictedStore(store, (pattern,))

        def search(**asked: str) -> None:
            assert not readable.audit_rows(100, AuditFilter(**asked))

        search(text="hooli")
        for field, word in (("text", "{}"), ("who", "token:{}")):
            # What the store does once in a while differs by some hundred; one call for each second
            # of the 1,000 hidden rows would be more.
            hidden, none = (
                min(calls_of(partial(search, **{field: word.format(name)})) for _ in range(4))
                for name in ("hooli", "nobody")
            )
            assert abs(hidden - none) < 500


@pytest.mark.parametrize(
    ("public_url", "host"),
    [
        (f"https://{PUBLIC_HOST}", ""),
        (f"http://{PUBLIC_HOST}", PUBLIC_HOST),
        ("", ""),
    ],
)
def test_a_form_with_a_token_is_taken_over_tls_alone(tmp_path, public_url, host):
    settings = replace(people.SETTINGS, public_url=public_url)
    with (
        closing(samples.open_store(tmp_path)) as store,
        PageServer(
            store, samples.StubLoop(settings), {}, lambda: samples.NOW, lambda: people.SECRETS
        ) as server,
    ):  # fmt: skip
        page = ServedPage(server.url, samples.StubLoop(settings), store)
        headers = {"Host": host, "Origin": public_url} if host else {}
        answer = page.post_form("/login", [("token", people.OPS_TOKEN)], headers)
        assert (answer.status_code, "Set-Cookie" in answer.headers) == (403, False)
        assert "You cannot log in here" in answer.text


def test_a_session_ends_by_its_time(tmp_path):
    """A cookie of the store's own session opens the page until then, and not a second longer."""
    times = [samples.NOW]
    settings = replace(people.SETTINGS, public_url=f"https://{PUBLIC_HOST}")
    with (
        closing(samples.open_store(tmp_path)) as store,
        PageServer(
            store, samples.StubLoop(settings), {}, lambda: times[-1], lambda: people.SECRETS
        ) as server,
    ):
        page = ServedPage(server.url, samples.StubLoop(settings), store)
        value, session = make_session(
            people.ACCESS, people.SECRETS, Person("token:ops"), samples.NOW
        )
        with store.write() as writer:
            writer.put(session)
        cookie = {"Cookie": f"__Host-synapse-apply={value}", "Host": PUBLIC_HOST}
        assert page.get("/audit", **cookie).status_code == 200
        times.append(samples.NOW + SESSION_SECONDS - 1)
        assert page.get("/audit", **cookie).status_code == 200
        times.append(samples.NOW + SESSION_SECONDS)
        assert page.get("/audit", **cookie).status_code == 403


def test_the_overview_lists_pauses_and_windows_by_when_they_end(tmp_path):
    """Those of rules for who may read the whole source: a pattern may name a target."""
    office = Window(Cron.parse("0 9 * * *"), timedelta(hours=8), ZoneInfo("UTC"))
    night = Window(Cron.parse("0 1 * * *"), timedelta(hours=8), ZoneInfo("UTC"))
    rules = (
        TargetRule("prod-*", Mode.AUTO, windows=(office,)),
        TargetRule("dev", Mode.AUTO, windows=(night,)),
        TargetRule("*", Mode.AUTO, pause=FixedPause("year end")),
    )
    acme = replace(people.SETTINGS.sources["acme"], rules=rules)
    settings = replace(people.SETTINGS, sources={**people.SETTINGS.sources, "acme": acme})
    of_person = "vision/* paused in 1 h ann waits for the data team "
    of_rules = (
        "acme/dev window open in 2 h controller.yaml "
        "acme/prod-* outside its windows in 2 h controller.yaml "
        "acme/* paused no end controller.yaml year end "
    )
    with serve_page(tmp_path, people.fill_held, settings) as served:
        for headers, shown in (
            (SRE, of_person + of_rules),
            (list_proxy_headers("mina"), of_rules),
            (list_proxy_headers("lee"), ""),
        ):
            text = read_text(served.get("/", **headers).text)
            _, _, table = text.partition("By Reason ")
            assert table.partition("synapse-apply ")[0] == shown
            assert bool(shown) == ("Pauses and windows" in text)
        assert "Pauses and windows" not in served.get("/?q=dev", **SRE).text
