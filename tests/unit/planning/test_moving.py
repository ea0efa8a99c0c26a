"""Which renames of a project file are due on the records of a state: tests/cases/moves.yaml."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from synapse_apply.model.address import Address
from synapse_apply.model.project import MovedAddress, PolicyRule, orient_moves_to_declared
from synapse_apply.model.state import Intent, Record
from synapse_apply.planning.identity import MovedRecords, make_due_renames

CASES = yaml.safe_load(
    (Path(__file__).parents[2] / "cases" / "moves.yaml").read_text(encoding="utf-8")
)
CHAIN = {"plugin/a": "plugin/b", "plugin/b": "plugin/c", "plugin/x": "plugin/y"}


def find_owner(name: str) -> str:
    """The plugin of a release, "" of a plugin."""
    return name.partition("@")[0].replace("release/", "plugin/") if "@" in name else ""


def records(names: Iterable[str]) -> dict[Address, Record]:
    made = [
        Record(
            Address.parse(name),
            str(number),
            "v1",
            series=find_owner(name),
            version=name.partition("@")[2],
            depends_on=(Address.parse(find_owner(name)),) if "@" in name else (),
        )
        for number, name in enumerate(names)
    ]
    return {record.address: record for record in made}


def opened(name: str) -> Intent:
    return Intent("i", "p", Address.parse(name), "create", "v1", "", series=find_owner(name))


def moves(pairs: Mapping[str, str]) -> list[MovedAddress]:
    return [MovedAddress(Address.parse(old), Address.parse(new)) for old, new in pairs.items()]


def told(found: MovedRecords) -> dict[str, str]:
    return {str(move.old): str(move.new) for move in found.renames}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_what_moves(case: dict[str, Any]) -> None:
    """A record that moved is at its new address, with its series and what it depends on."""
    known, given = records(case["records"]), case.get("rule")
    rules = ()
    if given:
        lists = {name: tuple(given[name]) for name in ("only", "excepted") if name in given}
        rules = (PolicyRule(**{**given, **lists}),)
    made = make_due_renames(
        known, moves(case["moved"]), [opened(name) for name in case.get("open", ())], rules
    )
    assert told(made) == case.get("renames", {})
    assert [found.detail for found in made.diagnostics] == case.get("warnings", [])
    waits = {str(new): str(old) for new, old in made.open_call_by_new_address.items()}
    assert waits == case.get("waits", {})
    assert sorted(map(str, made.refusals)) == case.get("refuses", [])
    assert {refusal.rule for refusal in made.refusals.values()} <= {rule.id for rule in rules}
    expected = records(told(made).get(name, name) for name in case["records"])
    assert made.records == expected


def test_a_chain_leads_to_what_earlier_manifests_declare() -> None:
    """From both sides; to its end where they declare nothing of it."""
    for declared, expected in (
        ("plugin/a", {("plugin/b", "plugin/a"), ("plugin/c", "plugin/b")}),
        ("plugin/b", {("plugin/a", "plugin/b"), ("plugin/c", "plugin/b")}),
        ("plugin/z", {("plugin/a", "plugin/b"), ("plugin/b", "plugin/c")}),
    ):
        back = orient_moves_to_declared(moves(CHAIN), {Address.parse(declared)})
        pairs = {(str(move.old), str(move.new)) for move in back}
        assert pairs == expected | {("plugin/x", "plugin/y")}
    back = orient_moves_to_declared(moves(CHAIN), {Address.parse("plugin/a")})
    made = make_due_renames(records(["plugin/c"]), back, ())
    assert told(made) == {"plugin/c": "plugin/a"}
