"""The pages that people write become shorter and plainer: no total of tests/house/prose.toml rises."""

from __future__ import annotations

import tomllib

import pytest
from house.prose import FILE, count, find_places

pytestmark = pytest.mark.one_process("texts")


def test_no_page_gets_longer_or_less_plain() -> None:
    """`python -m house.prose` lists the phrasings, `--write` takes over what has fallen."""
    most = tomllib.loads(FILE.read_text("utf-8"))["at_most"]
    now = count()
    risen = {name: number for name, number in now.items() if number > most[name]}
    assert not risen, f"at most {most}; {[*find_places()][:5]} ..."
