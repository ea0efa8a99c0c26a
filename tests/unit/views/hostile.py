"""Text that tries to be something else wherever it is shown, and plans full of it."""

from __future__ import annotations

import re

from hypothesis import strategies as st
from laws.effort import DEEP
from unit.views import plan_samples as samples

from synapse_apply import Report
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, Position, Severity
from synapse_apply.model.plan import Action, Cause, Change, FieldChange, GuardViolation, Refusal
from synapse_apply.model.report import Outcome, Result
from synapse_apply.model.values import ABSENT, SecretRef, Sensitive

CANARY = "c4n4ry-value"
STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
COMMAND = re.compile(r"(?m)^\s*::|##\[|##vso\[|##teamcity\[")
PIECES = [
    "`", "```", "~~~", "``````", "\n```\n", "</details>", "<details>", "</summary>", "<img src=x>",
    "<script>", "<!-- ", " -->", "@acme/all", "@x", "#1", "GH-1", "acme/vision#1", "!7", "$x$",
    "https://evil.example/", "www.evil.example", "a@b.example", "[x](https://evil.example)",
    "![x](y)", "**", "__", "|", "\\", "\n", "\r", "\n\n", "\n# Title\n", "\n- ", "\n> ", "1. ",
    "\n::set-output name=x::y", "\n::error::x", "##[error]x", "%0A::error::", "::", ":smile:",
    "\x1b[31m", "\x1b]0;t\x07", "\u202e", "\u2066", "\u200f", "\u200b", "\ud800", "\0",
    "한국어 이름", "데이터", "🙂", "&lt;", "&#64;x", "{+ x +}", "~label", "%1", "&1", "\n/close\n",
    "\u00a0::error::x", "\n\u2003::stop-commands::t", "\n\u3000::add-mask::x", "##teamcity[x]",
    '"', "'", ";", "#quot;", "%%{init: {}}%%", "-->", "]", "end", ",file=x", " ", "name", "=",
]  # fmt: skip
# Shrinking texts of this length would take longer than all other tests: they have tests of their own.
_REPEATED = ("`", "<b>", "x\n", *(("x", "한", "@x ", "</details>") if DEEP else ()))
LONG = [piece * (100_000 // len(piece)) for piece in _REPEATED]
SHORT = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join)
TEXT = SHORT
SECRETS = st.sampled_from([Sensitive(CANARY), SecretRef("literal", literal=Sensitive(CANARY))])
VALUES = st.recursive(
    st.one_of(TEXT, SECRETS, st.integers(), st.none()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SHORT, inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.builds(
    FieldChange,
    st.lists(TEXT, min_size=1, max_size=2).map(tuple),
    VALUES | st.just(ABSENT),
    VALUES | st.just(ABSENT),
    st.sampled_from(Cause),
    note=TEXT,
)
HIDDEN = st.builds(
    FieldChange,
    st.just(("token",)),
    st.just(CANARY),
    st.just(CANARY),
    st.sampled_from(Cause),
    st.just(True),
    SHORT,
)
PLACES = st.builds(Position, SHORT, st.integers(1, 99), st.integers(1, 9))
ADDRESSES = st.builds(Address, SHORT.map(lambda text: "k" + text.replace("/", "")), TEXT)
CHANGES = st.builds(
    Change,
    address=ADDRESSES,
    action=st.sampled_from(Action),
    fields=st.tuples(FIELDS, FIELDS, HIDDEN),
    refusals=st.lists(
        st.builds(Refusal, SHORT, TEXT, st.tuples(TEXT, SHORT), st.none() | PLACES), max_size=1
    ).map(tuple),
    notes=st.lists(TEXT, max_size=2).map(tuple),
    depends_on=st.lists(ADDRESSES, max_size=2).map(tuple),
    remote_id=TEXT,
    reason=TEXT,
    before=st.just({"token": CANARY, "name": "x"}),
    after=st.just({"token": CANARY, "name": "x"}),
    before_sensitive=st.just((("token",),)),
    after_sensitive=st.just((("token",),)),
    position=st.none() | PLACES,
)
FOUND = st.builds(
    Diagnostic,
    st.sampled_from(Severity),
    TEXT,
    TEXT,
    TEXT,
    position=st.none() | PLACES,
    address=st.none() | TEXT,
    path=st.none() | st.tuples(SHORT),
    target=st.none() | SHORT,
    request_id=st.none() | SHORT,
)
PLANS = st.builds(
    lambda changes, guards, found: samples.plan(*changes, guards=guards, diagnostics=found),
    st.lists(CHANGES, min_size=1, max_size=3),
    st.lists(st.builds(GuardViolation, SHORT, TEXT, TEXT), max_size=1).map(tuple),
    st.lists(FOUND, max_size=2).map(tuple),
)


def report_on(plan, result):
    """A report on a plan, with one result for all, and findings of their own."""
    return Report(
        plan,
        tuple(
            Outcome(
                c.address,
                c.action,
                result,
                c.remote_id,
                c.reason,
                1.0,
                plan.diagnostics,
                c.reason if result is Result.UNKNOWN else None,
            )
            for c in plan.changes
        ),
    )


def stuffed(text):
    """A plan with one text wherever text may stand."""
    changes = [
        Change(
            Address("kind", text),
            action,
            fields=(
                FieldChange((text,), text, {text: [text]}, Cause.DRIFT, note=text),
                FieldChange(("b", text), [text], ABSENT, Cause.GIT, note=text),
                FieldChange(("token",), CANARY, CANARY, Cause.SECRET, sensitive=True, note=text),
            ),
            refusals=refusals,
            notes=(text,),
            remote_id=text,
            reason=text,
            position=Position(text, 1, 1),
        )
        for action in (Action.CREATE, Action.UPDATE, Action.NO_OP)
        for refusals in ((), (Refusal(text, text, (text, text)),))
    ]
    found = [
        Diagnostic(severity, text, text, text, Position(text, 1, 1), text, (text,), text, text)
        for severity in Severity
    ]
    return samples.plan(
        *changes, guards=(GuardViolation(text, text, text),), diagnostics=tuple(found)
    )
