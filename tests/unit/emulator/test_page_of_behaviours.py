"""docs/emulator.md is written from the code and is current."""

from __future__ import annotations

from pathlib import Path

from synapse_apply.emulator.api import FACTS, VERSIONS
from synapse_apply.emulator.core.switches import SWITCHES
from synapse_apply.emulator.table import render_emulator_page

PAGE = Path(__file__).resolve().parents[3] / "docs" / "emulator.md"


def test_the_page_is_current():
    """Else: `python -m synapse_apply.emulator table > docs/emulator.md`."""
    assert PAGE.read_text(encoding="utf-8") == render_emulator_page()


def test_the_page_names_everything():
    """Every endpoint, behaviour and switch value stands on it."""
    text = render_emulator_page()
    for version in VERSIONS:
        for endpoint in version.endpoints:
            assert f"`{endpoint.method} {version.prefix}{endpoint.path}`" in text
    for facts in FACTS.values():
        for fact in facts:
            assert f"| {fact.text} | {fact.source} |" in text
    for switch in SWITCHES:
        for value, mark in switch.values.items():
            assert f"`{value}` ({mark})" in text
