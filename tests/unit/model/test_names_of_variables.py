"""Forms of names, which are compared without a regular expression."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import product

import pytest

from synapse_apply.model.secrets import secret_rules

PATTERNS = ("AB", "AB*", "*AB", "A*B", "A*B*", "*A*B", "A*B*A", "AB*BA", "AB*AB", "*", "A**B", "")


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_name_fits_as_fnmatch_says(pattern: str) -> None:
    for length in range(6):
        for name in map("".join, product("ABC", repeat=length)):
            assert secret_rules._fits_any(name, [pattern]) is fnmatchcase(name, pattern), name


def test_no_pattern_has_another_wildcard() -> None:
    for pattern in (*secret_rules.FORBIDDEN_ENV, *secret_rules.TEXTS_OF_AUTHORS):
        assert not set("?[]") & set(pattern)
