"""What is told of a server's error body: its words, but none that may quote a secret."""

from __future__ import annotations

import pytest
from unit.applying.bench import told, widget
from unit.applying.scripted import refused

from synapse_apply.model.values import SecretRef, Sensitive

CANARY = "c4nary+/va lue"
KEY = SecretRef("env", "W_KEY")
ECHOES = [
    CANARY,
    {"detail": CANARY},
    {"message": [CANARY]},
    {"configuration": [CANARY]},
    {"configuration": {"key": [CANARY]}},
    {"configuration": {"unheard": {"of": CANARY}}},
    {CANARY: ["odd"]},
    {"name": "w", "note": "a", "configuration": {"key": CANARY, "open": 1}},
    [{"configuration": CANARY}, CANARY],
    {"errors": [{"field": "configuration.key", "value": CANARY}]},
]


@pytest.mark.parametrize("echo", ECHOES, ids=str)
def test_a_body_that_echoes_a_secret_is_not_repeated(bench, echo):
    """Wherever in an error body it stands, under known names and unknown ones."""
    bench.environ["W_KEY"] = CANARY
    bench.api.fail("create_widget", refused(400, echo))
    report = bench.apply(widget("w", note="a", configuration={"key": KEY, "open": 1}))
    assert CANARY not in told(report)
    assert CANARY not in repr(report)
    assert "answered 400" in told(report)


def test_a_literal_secret_is_not_repeated_either(bench):
    """A secret that a manifest wrote in plain is one all the same."""
    secret = SecretRef("literal", literal=Sensitive(CANARY))
    bench.api.fail("create_widget", refused(400, {"detail": CANARY}))
    report = bench.apply(widget("w", note="a", configuration={"key": secret}))
    assert CANARY not in told(report) + repr(report)


def test_words_on_open_fields_are_told_beside_secrets(bench):
    """What the server says of a field that holds no secret helps, and is shown."""
    bench.environ["W_KEY"] = CANARY
    said = {"note": ["is odd"], "configuration": {"open": ["too small"], "key": [CANARY]}}
    bench.api.fail("create_widget", refused(400, said))
    words = told(bench.apply(widget("w", note="a", configuration={"key": KEY, "open": 1})))
    assert "note: is odd" in words
    assert "configuration.open: too small" in words
    assert "hidden, because it may quote a secret" in words
    assert CANARY not in words


@pytest.mark.parametrize(
    ("detail", "words"),
    [
        ({"detail": "Not today."}, "answered 400: Not today."),
        ({"note": ["is odd", "is long"]}, "note: is odd is long"),
        ({"configuration": {"x": ["is odd"]}}, "configuration.x: is odd"),
        ("plain words", "answered 400: plain words."),
        (None, "answered 400."),
        ({"a": {"b": 3}}, "answered 400."),
    ],
)
def test_without_secrets_all_words_are_told(bench, detail, words):
    """Nothing is withheld when nothing secret was sent."""
    bench.api.fail("create_widget", refused(400, detail))
    report = bench.apply(widget("w", note="a", configuration={"x": 1}))
    assert words in told(report)
    assert report.outcomes[0].request_id == "req-9"


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("configuration.key", {"configuration": {"key": [CANARY]}}),
        ("configuration.region", {"configuration": {"region": ["unknown key"]}}),
        ("configuration.access_key_id", {"configuration": {"access_key_id": [f"no {CANARY}"]}}),
        ("configuration", {"configuration": ["wrong keys"]}),
        ("zone2", {"zone2": ["odd"]}),
        ("configuration.region", {"detail": [{"loc": ["body", "configuration", "region"]}]}),
    ],
)
def test_the_names_of_refused_fields_are_always_told(bench, path, detail):
    """Else nobody knows which key of a storage is wrong; the words on it stay back."""
    bench.environ["W_KEY"] = CANARY
    bench.api.fail("create_widget", refused(400, detail))
    words = told(bench.apply(widget("w", note="a", configuration={"key": KEY, "open": 1})))
    assert f"{path} was refused" in words
    assert CANARY not in words
    assert "unknown key" not in words


@pytest.mark.parametrize("name", [CANARY, "AKIA0123456789ABCDEF", "9f8e7d6c5b4a", "a b", "k-é", ""])
def test_a_name_that_may_be_what_was_sent_is_none(bench, name):
    """A server that answers a value as a key tells no field."""
    bench.environ["W_KEY"] = CANARY
    bench.api.fail("create_widget", refused(400, {"configuration": {name: ["odd"]}}))
    words = told(bench.apply(widget("w", note="a", configuration={"key": KEY})))
    assert "was refused" not in words
    assert "hidden, because it may quote a secret" in words
