"""docs/emulator.md is the page of behaviours, and names what the code serves and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from synapse_apply.emulator.__main__ import main
from synapse_apply.emulator.api import VERSIONS
from synapse_apply.emulator.core.switches import PROFILES, SWITCHES

PAGE = Path(__file__).resolve().parents[3] / "docs" / "emulator.md"
SOURCES = r"documented|procedure|measured|observed|described|derived|guessed"


def rows_below(title: str) -> list[list[str]]:
    """The cells of each row of a table."""
    text = PAGE.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [re.split(r" (?<!\\)\| ", line[2:-2]) for line in lines if "---" not in line]


def test_the_page_is_current(capsys):
    """Else: `python -m synapse_apply.emulator table > docs/emulator.md`."""
    assert main(["table"]) == 0
    assert PAGE.read_text(encoding="utf-8") == capsys.readouterr().out


def test_the_page_names_the_endpoints():
    """Each that is served, with the switch that it needs, and no other."""
    titles = ("Endpoints (API v1)", "Endpoints (API v2)", "Its own endpoints")
    for version, title in zip(VERSIONS, titles, strict=True):
        told = {row[0]: row[1] for row in rows_below(title)[1:]}
        served = {f"`{one.method} {version.prefix}{one.path}`": one for one in version.endpoints}
        assert list(told) == list(served)
        for request, endpoint in served.items():
            needs = re.findall(r" Only with `(\w+)=(\w+)`, else 405\.", told[request])
            assert needs == ([endpoint.switch] if endpoint.switch else []), request


def test_the_page_marks_each_behaviour_and_its_switches_are_read():
    """How sure each is, in the words that the page explains; no row of a table is passed over."""
    behaviours = [row for row in rows_below("Behaviours") if row != ["Behaviour", "How sure"]]
    assert len(behaviours) > 100
    assert all(re.fullmatch(SOURCES, row[-1]) for row in behaviours)
    for row, switch in zip(rows_below("Switches")[1:], SWITCHES, strict=True):
        values = ", ".join(f"`{value}` ({mark})" for value, mark in switch.values.items())
        assert row[:2] == [f"`{switch.name}`", values]
    assert [row[0] for row in rows_below("Profiles")[1:]] == [f"`{one.name}`" for one in PROFILES]
