"""What counts as one backend, and which of two rules is stricter."""

from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from synapse_apply.controller.planned_rows import ApplyTerms, Binding, RowAction, RowCause
from synapse_apply.controller.rules.judging import (
    build_moved_row,
    format_backend,
    is_moved_row,
    is_stricter,
    judge_rows,
    merge_rules,
)
from synapse_apply.controller.settings import AutoRule, FixedPause, Mode, TargetRule
from synapse_apply.model.cron import Cron, Window
from synapse_apply.model.state import BackendIdentity

AUTO, APPROVE = TargetRule("*", mode=Mode.AUTO), TargetRule("*", mode=Mode.APPROVE)
OBSERVE = TargetRule("*")
WINDOW, OTHER_WINDOW = (
    Window(Cron.parse(text), timedelta(hours=1), ZoneInfo("UTC"))
    for text in ("0 9 * * *", "0 12 * * *")
)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example/v1",
        "HTTPS://API.Example:443/v1/",
        "https://api.example./v1",
        "https://api.example:0443//v1//",
        "https://api.example/%761",
    ],
)
def test_a_url_has_one_spelling(url):
    assert format_backend(BackendIdentity(url)) == "https://api.example:443/v1"
    for tenant in ("acme", " acme ", "Token acme", "Token  acme"):
        assert format_backend(BackendIdentity(url, tenant)) == "https://api.example:443/v1 acme"


@pytest.mark.parametrize(
    ("address", "hosts"),
    [
        ("127.0.0.1", ["127.0.0.1", "127.1", "0x7f.0.0.1", "0x7F.1", "2130706433", "017700000001"]),
        ("127.0.0.1", ["[::ffff:127.0.0.1]", "[::FFFF:7F00:1]", "127.0.0.1."]),
        ("::1", ["[::1]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "[::0.0.0.1]"]),
        ("2001:db8::a", ["[2001:DB8::A]", "[2001:0db8:0::000a]", "[2001:db8:0:0:0::a]"]),
        ("xn--e1afmkfd", ["xn--e1afmkfd", "XN--E1AFMKFD", "xn--e1afmkfd."]),
    ],
)
def test_an_address_has_one_spelling(address, hosts):
    """All that one connection reaches; the first is as an earlier version stored it."""
    spelled = {format_backend(BackendIdentity(f"http://{host}")) for host in hosts}
    assert spelled == {f"http://{address}:80"}


@pytest.mark.parametrize(
    "identity",
    [
        BackendIdentity("https://api.example"),
        BackendIdentity("https://api.example/V1"),
        BackendIdentity("https://api.example:8443/v1"),
        BackendIdentity("http://api.example/v1"),
        BackendIdentity("https://api.example/v1", "acme"),
        BackendIdentity("embedded:", "", "d-1"),
        BackendIdentity("https://api.example:x/v1"),
        BackendIdentity("https://api.example/v1%20acme"),
    ],
)
def test_what_is_another_backend(identity):
    assert format_backend(identity) != "https://api.example:443/v1"


def test_the_row_of_a_move_is_of_both_ends():
    """So that whoever accepts one has accepted no other, nor another token."""
    ends = [
        Binding("https://a:443", "l-1"),
        Binding("https://b:443", "l-1"),
        Binding("https://b:443", "l-2"),
    ]
    rows = [build_moved_row(one, other) for one in (None, *ends) for other in ends]
    assert len({row.digest for row in rows}) == len(rows)
    assert all(map(is_moved_row, rows))
    token = replace(ends[1], token="env OTHER")
    assert build_moved_row(ends[0], token).digest != build_moved_row(ends[0], ends[1]).digest


def test_no_terms_override_a_move():
    """Not even an approval: that binds the target before rows are judged, or it counts for nothing."""
    move = build_moved_row(None, Binding("https://b:443", "l-1"))
    approvals = {move.digest: ("a1",)}
    terms = ApplyTerms(frozenset(RowCause), frozenset(RowAction), approvals)
    judgement = judge_rows([move], terms)
    assert [held.row for held in judgement.held_rows] == [move]
    assert judgement.held_rows[0].can_be_approved


@pytest.mark.parametrize(
    ("rule", "other", "merged"),
    [
        (AUTO, APPROVE, APPROVE),
        (APPROVE, AUTO, APPROVE),
        (AUTO, OBSERVE, OBSERVE),
        (
            AUTO,
            replace(AUTO, approvals=2, not_author=True),
            replace(AUTO, approvals=2, not_author=True),
        ),
        (
            replace(AUTO, auto=AutoRule(frozenset({RowCause.GIT, RowCause.DRIFT}))),
            replace(AUTO, auto=AutoRule(frozenset({RowCause.GIT, RowCause.SECRET}))),
            replace(AUTO, auto=AutoRule(frozenset({RowCause.GIT}))),
        ),
        (AUTO, replace(AUTO, windows=(WINDOW,)), replace(AUTO, windows=(WINDOW,))),
        (
            replace(AUTO, windows=(WINDOW,)),
            replace(AUTO, windows=(OTHER_WINDOW,)),
            replace(OBSERVE, windows=(WINDOW,)),
        ),
        (
            replace(AUTO, pause=FixedPause("short", 5.0)),
            replace(AUTO, pause=FixedPause("for good")),
            replace(AUTO, pause=FixedPause("for good")),
        ),
        (replace(AUTO, prune=True), AUTO, AUTO),
        (replace(AUTO, prune=True), replace(AUTO, prune=False), replace(AUTO, prune=False)),
    ],
)
def test_the_strictest_of_two_rules(rule, other, merged):
    """Nothing happens that one of them forbids."""
    assert merge_rules(rule, other) == merged


@pytest.mark.parametrize(
    ("other", "rule", "expected"),
    [
        (APPROVE, AUTO, True),
        (AUTO, APPROVE, False),
        (OBSERVE, APPROVE, True),
        (replace(APPROVE, approvals=2), APPROVE, True),
        (replace(APPROVE, approvals=2), OBSERVE, False),
        (AUTO, AUTO, False),
        (replace(AUTO, auto=AutoRule(frozenset({RowCause.GIT}))), APPROVE, False),
    ],
)
def test_which_rule_is_stricter(other, rule, expected):
    assert is_stricter(other, rule) is expected
