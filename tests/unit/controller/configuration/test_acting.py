"""Settings by which the controller acts, and people do: each thing that is wrong, at its place."""

from __future__ import annotations

import pytest
from controllers.checking import Finding, check

RULE_LINE, MAY_LINE = 8, 14
TEXT = """\
apiVersion: synapse-apply/v1
kind: Controller
metadata: {name: main}
sources:
  acme:
    url: https://git.example/a.git
    targets:
      prod: {RULE}
public_url: https://page.example
access:
  proxy: {user_header: X-User, groups_header: X-Groups, secret_header: X-Secret, secret: {env: PROXY}}
  tokens: {ops: {env: OPS}}
  may:
    - {MAY}
    - {who: ["token:ops"], do: [read]}
"""
SRE = 'who: ["group:sre"], do: [approve]'


def read(
    rule: str = "mode: auto", may: str = SRE, *, old: str = "acme", new: str = "acme"
) -> list[Finding]:
    text = TEXT.replace("RULE", rule, 1).replace("MAY", may, 1)
    assert old in text
    return check(text.replace(old, new, 1))


def describe(findings: list[Finding]) -> list[tuple[str, int, bool]]:
    return [finding[:3] for finding in findings]


@pytest.mark.parametrize(
    "rule",
    [
        "mode: auto, auto: {causes: [git, drift, secret], actions: [create, verify, recreate-missing]}",
        "mode: approve, approvals: 2, not_author: true, prune: true",
        "mode: auto, auto: {irreversible: false}, approvals: [{irreversible: true, count: 2}]",
        "mode: approve, approvals: [{kind: release, actions: [create], labels: {team: vision}}]",
        'mode: auto, windows: [{cron: "0 9 * * 1-5", duration: 24h, timezone: Asia/Seoul}]',
        'mode: auto, windows: [{cron: "* 9 * * *", duration: 1m}, {cron: "0 0 29 2 *", duration: 2d}]',
        "mode: auto, paused: {reason: x, until: 2099-12-24T18:00:00+09:00}",
        "paused: {reason: x}",
        "mode: auto, brake: hold",
        "mode: approve, brake: {hold: [{kind: plugin}, {field: configuration.base_path}]}",
    ],
)
def test_what_is_right_has_no_finding(rule):
    assert read(rule) == []


@pytest.mark.parametrize(
    ("rule", "summary", "is_error"),
    [
        ("mode: approve, auto: {causes: [git]}", "`auto` has no effect in this mode", False),
        ("auto: {causes: [git]}", "`auto` has no effect in this mode", False),
        ("brake: hold", "`brake` has no effect in this mode", False),
        (
            'mode: auto, windows: [{cron: "0 25 * * *", duration: 1h}]',
            "Invalid cron expression",
            True,
        ),
        (
            'mode: auto, windows: [{cron: "0 9 * * *", duration: 1h, timezone: Mars/Base}]',
            "Unknown time zone",
            True,
        ),
        (
            'mode: auto, windows: [{cron: "0 9 * * 1-5", duration: 72h}]',
            "The window never closes",
            True,
        ),
        (
            'mode: auto, windows: [{cron: "* * * * *", duration: 1m}]',
            "The window never closes",
            True,
        ),
        ('mode: auto, windows: [{cron: "0 0 29 2 *", duration: 400d}]', "Too long", True),
        (
            "mode: auto, paused: {reason: x, until: 2020-11-26T23:59:59Z}",
            "The pause has ended",
            False,
        ),
        ("mode: auto, paused: {reason: x, until: 2099-02-30T00:00:00Z}", "Invalid time", True),
    ],
)
def test_what_is_wrong_with_a_rule(rule, summary, is_error):
    """One finding each, in the line of the rule."""
    assert describe(read(rule)) == [(summary, RULE_LINE, is_error)]


@pytest.mark.parametrize(
    "rule",
    [
        "mode: auto, auto: {causes: [both]}",
        "mode: auto, auto: {actions: [no-op]}",
        "mode: auto, auto: {causes: []}",
        "mode: approve, approvals: 0",
        "mode: approve, approvals: []",
        "mode: approve, approvals: [{}]",
        "mode: approve, approvals: [{people: [ann]}]",
        "mode: approve, approvals: [{who: [ann]}]",
        "mode: approve, approvals: [{count: 0}]",
        "mode: auto, windows: []",
        "mode: auto, brake: held",
        "mode: auto, brake: {hold: []}",
        "mode: auto, brake: {hold: [{}]}",
        "mode: auto, brake: {hold: [{kind: plugn}]}",
        "mode: auto, brake: {hold: [{kind: plugin, fields: [name]}]}",
        "mode: auto, paused: {until: 2099-12-24T18:00:00Z}",
        "mode: auto, paused: {reason: x, until: 2099-12-24T18:00:00}",
        "mode: auto, paused: {reason: x, until: 2099-12-24}",
    ],
)
def test_what_the_schema_refuses(rule):
    """Once, and what else the file says is checked all the same."""
    (finding,) = read(rule)
    assert finding.is_error
    assert finding.line == RULE_LINE


@pytest.mark.parametrize(
    ("brake", "summaries"),
    [
        ("{after: 5, within: 12h, at_most_every: 2h}", []),
        ("{after: 3, within: 3h, at_most_every: 1h}", []),
        ("{within: 2h}", ["The brake would end by itself"]),
        ("{at_most_every: 9h}", ["The brake would end by itself"]),
        ("{at_most_every: 0.1s}", ["Too short"]),
        ("{after: 0}", ["Value out of range"]),
        ("hold", ["Wrong type"]),
    ],
)
def test_what_is_wrong_with_the_figures_of_a_brake(brake, summaries):
    """It must not end before its longest wait has come."""
    findings = read(old="public_url:", new=f"defaults: {{brake: {brake}}}\npublic_url:")
    assert [finding.summary for finding in findings] == summaries


def test_a_rule_that_does_not_fit_hides_no_other():
    """Each rule is checked by itself."""
    rules = """{
        odd: {mode: watch}, 1: {mode: auto},
        late: {mode: auto, paused: {reason: x, until: 2020-01-01T00:00:00Z}},
        wide: {mode: auto, windows: [{cron: "0 9 * * *", duration: 25h, timezone: Mars}]}}"""
    text = TEXT.partition("access:")[0].replace("\n      prod: {RULE}", f" {rules}")
    findings = check(text)
    paths = {finding.path[3:5] for finding in findings}
    assert paths >= {("odd", "mode"), ("late", "paused"), ("wide", "windows")}
    assert len(findings) >= 4


@pytest.mark.parametrize(
    ("may", "summary"),
    [
        ('who: ["token:opps"], do: [read]', "Unknown token"),
        ('who: ["group:sre"], do: [read], targets: ["acne/*"]', "The pattern matches no target"),
        ('who: ["group:sre"], do: [read], targets: [prod]', "The pattern matches no target"),
    ],
)
def test_what_is_wrong_with_who_may_what(may, summary):
    """One finding each, in the line of the rule of `may`."""
    (finding,) = read(may=may)
    assert finding.summary == summary
    assert finding.line == MAY_LINE
    if "token" in may:
        assert "ops" in finding.hint


@pytest.mark.parametrize("may", ["who: [sre], do: [read]", 'who: ["group:sre"], do: []', "who: []"])
def test_a_rule_of_may_that_does_not_fit_is_told_alone(may):
    """Not also that the page is open to everyone, or that nobody can approve."""
    findings = read("mode: approve", old="access:", new="listen: 0.0.0.0:80\naccess:")
    assert findings == []
    text = TEXT.replace("RULE", "mode: approve", 1).replace("MAY", may, 1)
    findings = check(f"{text}listen: 0.0.0.0:80\n")
    assert {finding.path[:2] for finding in findings if finding.path} == {("access", "may")}


@pytest.mark.parametrize(
    ("old", "new", "summary"),
    [
        ("X-Groups", "x-user", "Two uses of one header"),
        ("X-Secret", "X-User", "Two uses of one header"),
        ("X-User", "Authorization", "The header is reserved"),
        ("X-Secret", "Cookie", "The header is reserved"),
        ("{env: OPS}", "{env: PROXY}", "Two identities share one secret"),
        ("{env: OPS}", "{env: OPS}, other: {env: OPS}", "Two identities share one secret"),
        ("{env: OPS}", "{env: OPS}, other: {env: OTHER}", "The token has no rights"),
        ("groups_header: X-Groups, ", "", "No request can have this group"),
        ("{env: OPS}", "{env: OPS, file: ops}", "Invalid value"),
        ("{env: OPS}", "{person: ann}", "Invalid value"),
        ("{env: OPS}", '{env: OPS, person: ""}', "Invalid value"),
        ("X-User", "X User", "Invalid value"),
    ],
)
def test_what_is_wrong_with_access(old, new, summary):
    """Headers and secrets that could not tell people apart, and names that nobody has."""
    summaries = [finding.summary for finding in read(old=old, new=new)]
    assert summary in summaries or (summary == "Invalid value" and len(summaries) == 1)


def test_a_proxy_needs_the_address_of_the_page():
    """Else all that comes by it would be refused, by its Host."""
    findings = read(old="public_url: https://page.example", new="# none")
    assert describe(findings) == [("The public address of the page is missing", 11, False)]


def test_people_need_a_proxy():
    """A group or a person that nobody can log in as is an error."""
    proxy_line = next(line for line in TEXT.splitlines() if "proxy:" in line)
    findings = read(old=proxy_line, new="  # none")
    assert describe(findings) == [("No request can have this identity", MAY_LINE, True)]


OIDC = "issuer: https://login.example, client_id: us, client_secret: {env: OIDC}"


@pytest.mark.parametrize(
    ("oidc", "url", "summary"),
    [
        (OIDC, "https://page.example", ""),
        (OIDC, "http://page.example", "Nobody can log in through the provider"),
        (OIDC.replace("https", "http"), "https://page.example", "Invalid URL"),
        (OIDC.replace("https://", ""), "https://page.example", "Malformed value"),
        (
            OIDC.replace("{env: OIDC}", "s3cr3t"),
            "https://page.example",
            "The file contains a secret",
        ),
        (OIDC.replace("OIDC", "OPS"), "https://page.example", "Two identities share one secret"),
        ("issuer: https://login.example", "https://page.example", "Missing field"),
    ],
)
def test_people_may_come_from_a_provider(oidc, url, summary):
    """Its groups and its people can be named without a proxy; what cannot work is an error."""
    old = TEXT[TEXT.index("public_url") : TEXT.index("  tokens")]
    new = f"public_url: {url}\naccess:\n  oidc: {{{oidc}}}\n"
    may = 'who: ["group:sre", "oidc:ann@acme.example"], do: [read]'
    findings = read(may=may, old=old, new=new)
    assert {finding.summary for finding in findings} == ({summary} if summary else set())
    assert "s3cr3t" not in str(findings)


def test_a_person_of_a_provider_needs_one():
    findings = read(may='who: ["oidc:ann@acme.example"], do: [read]')
    assert describe(findings) == [("No request can have this identity", MAY_LINE, True)]


@pytest.mark.parametrize(
    ("rule", "may", "is_enough"),
    [
        ("mode: approve", SRE, True),
        ("mode: approve, approvals: 2", SRE, True),
        ("mode: approve", 'who: ["proxy:ann"], do: [approve]', True),
        ("mode: approve, approvals: 2", 'who: ["proxy:ann"], do: [approve]', False),
        ("mode: approve, approvals: 2", 'who: ["proxy:ann", "token:ops"], do: [approve]', True),
        ("mode: approve, approvals: 2", 'who: ["proxy:ops", "token:ops"], do: [approve]', False),
        ("mode: auto, approvals: 2", 'who: ["proxy:ann"], do: [approve]', False),
        ("mode: approve", 'who: ["group:sre"], do: [read, pause]', False),
        ("mode: approve", 'who: ["group:sre"], do: [approve], targets: ["acme/dev*"]', False),
        ("mode: approve", 'who: ["group:sre"], do: [approve], targets: ["acme/pr?d"]', True),
        ("mode: approve", 'who: ["group:sre"], do: [approve], targets: ["*-eu", "*/prod"]', True),
        ("mode: auto", 'who: ["group:sre"], do: [read]', True),
        ("mode: observe, approvals: 2", 'who: ["group:sre"], do: [read]', True),
    ],
)
def test_rules_that_too_few_can_approve(rule, may, is_enough):
    """A warning, as far as it can be told: a group may be of any size."""
    findings = read(rule, may)
    expected = [] if is_enough else [("Too few people can approve", RULE_LINE, False)]
    assert describe(findings) == expected


TOO_FEW, NEVER = "Too few people can approve", "The entry never matches"


@pytest.mark.parametrize(
    ("entries", "may", "summary"),
    [
        ('[{irreversible: true, who: ["group:leads"], count: 2}, {count: 1}]', SRE, ""),
        ('[{who: ["proxy:ann"], count: 2}]', SRE, TOO_FEW),
        ('[{who: ["proxy:ann", "proxy:bob"], count: 2}]', SRE, ""),
        ('[{who: ["oidc:ann@acme.example"]}]', SRE, ""),
        ('[{who: ["oidc:ann@acme.example"], count: 2}]', SRE, TOO_FEW),
        ('[{who: ["token:ops"]}]', SRE, TOO_FEW),
        ('[{who: ["group:leads"]}]', 'who: ["token:ops"], do: [approve]', TOO_FEW),
        ('[{who: ["group:leads"]}]', 'who: ["proxy:ann"], do: [approve]', ""),
        ('[{who: ["proxy:bob"]}]', 'who: ["proxy:ann"], do: [approve]', TOO_FEW),
        ("[{count: 2}]", 'who: ["proxy:ann"], do: [approve]', TOO_FEW),
        ("[{count: 1}, {kind: plugin}]", SRE, NEVER),
        ("[{kind: plugin}, {kind: plugin, actions: [update]}]", SRE, NEVER),
        ("[{kind: plugin, actions: [update]}, {kind: plugin}]", SRE, ""),
        ("[{irreversible: true}, {irreversible: false}, {count: 1}]", SRE, ""),
        ("[{labels: {team: a}}, {labels: {team: a, tier: b}}]", SRE, NEVER),
        ("[{labels: {team: a}}, {labels: {team: b}}]", SRE, ""),
        ("[{kind: plugin, actions: [guard]}]", SRE, NEVER),
        ("[{irreversible: false, actions: [delete]}]", SRE, NEVER),
        ("[{labels: {team: a}, actions: [delete, forget]}]", SRE, NEVER),
    ],
)
def test_entries_that_hold_for_nothing_or_that_nobody_can_satisfy(entries, may, summary):
    """A warning at the list."""
    findings = read(f"mode: approve, approvals: {entries}", may)
    assert describe(findings) == ([(summary, RULE_LINE, False)] if summary else [])


def test_a_token_and_the_person_whose_it_is_are_one():
    """They are too few to approve what two have to, also where the proxy knows an address."""
    rule, may = (
        "mode: approve, approvals: 2",
        'who: ["proxy:ann@acme.example", "token:ops"], do: [approve]',
    )
    assert read(rule, may) == []
    findings = read(rule, may, old="{env: OPS}", new="{env: OPS, person: Ann}")
    assert describe(findings) == [("Too few people can approve", RULE_LINE, False)]


def test_mode_approve_without_access():
    """Nobody can approve: it says what to write."""
    text = TEXT.replace("RULE", "mode: approve", 1).partition("access:")[0]
    findings = check(text)
    (finding,) = findings
    assert not finding.is_error
    assert finding.summary == "Too few people can approve"
    assert "`access` is missing" in finding.detail


@pytest.mark.parametrize("listen", ["0.0.0.0:99999", "0.0.0.0:80", "nonsense"])
def test_a_wrong_address_is_one_error(listen):
    """Whatever is wrong with it, and only without somebody to tell from a stranger."""
    text = TEXT.replace("RULE", "mode: auto", 1).replace("MAY", SRE, 1)
    without = text.partition("access:")[0]
    findings = check(f"{without}listen: {listen}\n")
    assert [finding.path for finding in findings] == [("listen",)]
    findings = check(f"{text}listen: {listen}\n")
    assert len(findings) == (0 if listen == "0.0.0.0:80" else 1)


@pytest.mark.parametrize(
    ("rules", "patterns"),
    [
        ('{dev: {mode: auto}, "*": {mode: observe}}', ["dev"]),
        ("{dev: {mode: auto}, prod: {mode: approve}, lab: {mode: observe}}", ["dev", "prod"]),
        ('{dev: {mode: auto, hosts: [dev.example]}, "*": {mode: observe}}', []),
        ('{dev: {mode: auto}, "*": {mode: auto, interval: 1h}}', []),
        ("{dev: {mode: approve}, prod: {mode: approve, approvals: 2}}", ["dev"]),
    ],
)
def test_rules_of_unequal_strictness_without_a_pin(rules, patterns):
    """A commit chooses between them for a target that it adds; not where `pin` says what targets mean."""
    text = TEXT.replace("MAY", SRE).replace("{RULE}", "{}")
    head, tail = text.split("    targets:\n      prod: {}\n")
    for pin, expected in (("", patterns), ("    pin: git:main\n", [])):
        content = f"{head}{pin}    targets: {rules}\n{tail}"
        findings = check(content)
        told = [f for f in findings if f.summary == "A commit can choose the rule"]
        assert [f.detail.split("`")[1] for f in told] == expected
        assert not any(f.is_error for f in told)
