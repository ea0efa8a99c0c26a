"""The exit codes of the help, of the page and of the model are the same."""

from __future__ import annotations

import re

from installed import ROOT

from synapse_apply.cli.registry import EXITS
from synapse_apply.model.errors import Exit


def test_the_exit_codes_are_those_of_the_help() -> None:
    """The table of docs/exit-codes.md has the codes of `--help`, and the model's precedence."""
    section = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d, ]+) \|", section, re.MULTILINE)
    assert rows == [codes for codes, _ in EXITS]
    order = re.search(r"the first of ([\d, ]+) wins", section)
    assert order
    assert [int(code) for code in order[1].split(", ")] == list(Exit.PRECEDENCE[:-1])
