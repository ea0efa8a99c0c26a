"""Plain scalars: what becomes a number, a boolean or null, and what stays a text."""

from __future__ import annotations

from typing import Any

import pytest

from synapse_apply.manifests.yaml.reader import NotJsonNumber, parse_plain_scalar

TEXTS = [
    "no", "on", "yes", "off", "y", "0755", "-0755", "1_000", "12:30:45", "22:22", "2024-01-15",
    "1.2.3", "00", "08", "1e", "e5", "+", "-", ".", "..", "0x", "0b101", "0o8", "1,000", "\u0661",
    "nul", "True!", "tRUE", "0755.5", "1.0.0-rc.1", "=", "<<", "9" * 1001 + "x",
]  # fmt: skip
VALUES: list[tuple[str, Any]] = [
    ("", None), ("~", None), ("null", None), ("true", True), ("FALSE", False), ("0", 0),
    ("-7", -7), ("+12", 12), ("0o17", 15), ("0xFf", 255), ("1.10", 1.1), (".5", 0.5), ("1.", 1.0),
    ("1e3", 1000.0), ("-2.5E-1", -0.25), ("12345678901234567890123", 12345678901234567890123),
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_what_could_mean_something_else_stays_a_text(text: str) -> None:
    """YAML 1.1 habits, leading zeros and dates are texts."""
    assert parse_plain_scalar(text) == text
    assert type(parse_plain_scalar(text)) is str


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_the_core_schema_gives_json_values(text: str, value: Any) -> None:
    """Numbers, booleans and null, each of the exact type."""
    assert parse_plain_scalar(text) == value
    assert type(parse_plain_scalar(text)) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        ".inf",
        "-.INF",
        "+.inf",
        ".nan",
        "1e999",
        "-1e999",
        "9" * 1001,
        "-" + "9" * 5000,
        "0x" + "f" * 1001,
        "0." + "1" * 1001,
    ],
)
def test_a_number_json_cannot_hold_is_refused(text: str) -> None:
    """Infinities and NaN, spelt out or by overflow."""
    with pytest.raises(NotJsonNumber):
        parse_plain_scalar(text)
