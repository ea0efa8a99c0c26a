"""Patterns of SOURCE/TARGET mean in PostgreSQL what they mean in Python."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synapse_apply.controller.store.row_table import postgres_regex_of

# Few letters, so that patterns match, and all that means something in either language.
CHARACTERS = st.sampled_from("ab-]![^*?\\$|(){}.+/&~:\n\U0001f600")
TEXTS = st.text(CHARACTERS, max_size=6)


def matches(patterns: list[str], text: str) -> bool:
    """As PostgreSQL has it: `.` is any character, and `$` the end alone."""
    expression = postgres_regex_of(patterns).replace("$", r"\Z")
    return re.search(expression, text, re.DOTALL) is not None


@given(st.lists(TEXTS, max_size=3), TEXTS)
def test_a_translated_pattern_matches_what_fnmatch_matches(patterns, text):
    expected = any(fnmatchcase(text, pattern) for pattern in patterns)
    assert matches(patterns, text) == expected


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("[]", "[]"),
        ("[!]", "[!]"),
        ("[]a]", "]"),
        ("[!]a]", "b"),
        ("[a-]", "-"),
        ("[--b]", "a"),
        ("[a-c-e]", "-"),
        ("[^a]", "^"),
        ("[!b-a]", "x"),
    ],
)
def test_brackets_are_those_of_fnmatch(pattern, text):
    assert fnmatchcase(text, pattern)
    assert matches([pattern], text)
