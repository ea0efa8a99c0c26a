"""Who may do what: by name or group, for the targets of a rule, and nobody without a rule."""

import pytest

from synapse_apply.controller.rows import TargetName
from synapse_apply.controller.rules.access import (
    Person,
    can_pause_scope,
    list_readable_patterns,
    list_rights,
)
from synapse_apply.controller.settings import Access, AccessRule, ProxyAccess, Right, SecretName

DEV, PROD = TargetName("acme", "dev"), TargetName("acme", "prod")
LAB = TargetName("lab", "dev")
ACCESS = Access(
    ProxyAccess("X-User", "X-Secret", SecretName("env", "PROXY")),
    {"ops": SecretName("env", "OPS")},
    rules=(
        AccessRule(("group:sre",), frozenset({Right.PAUSE, Right.APPROVE}), ("acme/*",)),
        AccessRule(("token:ops",), frozenset({Right.RECONCILE}), ("acme/dev", "lab/*")),
        AccessRule(("proxy:ann",), frozenset({Right.READ}), ("*",)),
        AccessRule(("proxy:dev",), frozenset({Right.PAUSE}), ("acme/dev", "acme/d?v-*")),
        AccessRule(("proxy:stars",), frozenset({Right.PAUSE}), ("*/dev*", "acme/*-dev-*")),
    ),
)
SRE = Person("proxy:bob", frozenset({"sre"}))
OPS = Person("token:ops")
ANN = Person("proxy:ann")


def test_rights_are_those_of_all_rules_that_name_somebody():
    """Of the targets that the rule has, and each right lets its targets be read."""
    assert list_rights(ACCESS, SRE, PROD) == {Right.PAUSE, Right.APPROVE, Right.READ}
    assert list_rights(ACCESS, SRE, LAB) == frozenset()
    assert list_rights(ACCESS, OPS, LAB) == {Right.RECONCILE, Right.READ}
    assert list_rights(ACCESS, OPS, PROD) == frozenset()
    both = Person("proxy:ann", frozenset({"sre"}))
    assert list_rights(ACCESS, both, LAB) == {Right.READ}
    assert Right.APPROVE in list_rights(ACCESS, both, DEV)


@pytest.mark.parametrize(
    "person",
    [
        None,
        Person("proxy:sre"),
        Person("group:sre"),
        Person("proxy:ops"),
        Person("ann"),
        Person("proxy:Ann"),
        Person("proxy:x", frozenset({"group:sre", "SRE", "", "proxy:ann", "token:ops"})),
    ],
)
def test_names_are_compared_as_they_are(person):
    """No group is a person's name, no person's name a token's."""
    for name in (DEV, PROD, LAB):
        assert list_rights(ACCESS, person, name) == frozenset()
    assert list_readable_patterns(ACCESS, person) == ()


def test_without_access_everybody_reads_and_nobody_acts():
    """Whoever reaches the page."""
    for person in (None, SRE):
        assert list_rights(None, person, DEV) == {Right.READ}
        assert not can_pause_scope(None, person, "acme/dev", [DEV])
    assert list_readable_patterns(None, None) == ("*",)


def test_what_somebody_may_read():
    """The patterns of it."""
    assert list_readable_patterns(ACCESS, OPS) == ("acme/dev", "lab/*")
    assert list_readable_patterns(ACCESS, ANN) == ("*",)


@pytest.mark.parametrize(
    ("person", "scope", "can_pause"),
    [
        (SRE, "acme/*", True),
        (SRE, "acme/p*", True),
        (SRE, "acme/prod", True),
        (SRE, "*", False),
        (SRE, "*/dev", False),
        (SRE, "acme/none", False),
        (Person("proxy:dev"), "acme/dev", True),
        (Person("proxy:dev"), "acme/d*", False),
        (Person("proxy:dev"), "acme/d[e]v", False),
        (Person("proxy:dev"), "acme/d?v-*", True),
        (Person("proxy:dev"), "acme/d*v-*", False),
        (Person("proxy:stars"), "acme/*-dev-*", True),
        (Person("proxy:stars"), "[!/dev]*", False),
        (Person("proxy:stars"), "acme/[!-dev-]*", False),
        (Person("proxy:stars"), "[]/dev]*", False),
        (Person("proxy:stars"), "a[b-c]me/dev*", True),
        (SRE, "acme/[dp]*", True),
        (ANN, "acme/dev", False),
        (None, "acme/dev", False),
    ],
)
def test_who_may_pause_a_scope(person, scope, can_pause):
    """Who may pause all that it matches, also targets to come; one that matches none is nobody's."""
    names = [DEV, PROD, LAB, TargetName("acme", "dev-1"), TargetName("acme", "a-dev-1")]
    names += [TargetName("abme", "dev")]
    assert can_pause_scope(ACCESS, person, scope, names) is can_pause
