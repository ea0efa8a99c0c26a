"""Which renames of a project file are due on the records of a state."""

from __future__ import annotations

import pytest

from synapse_apply.model.address import Address
from synapse_apply.model.project import MovedAddress, PolicyRule, orient_moves_to_declared
from synapse_apply.model.state import Intent, Record
from synapse_apply.planning.identity import make_due_renames


def records(*names: str, series: str = "") -> dict[Address, Record]:
    made = [
        Record(
            Address.parse(name),
            str(number),
            "v1",
            series=series if "@" in name else "",
            version=name.partition("@")[2],
            depends_on=(Address.parse(series),) if "@" in name else (),
        )
        for number, name in enumerate(names)
    ]
    return {record.address: record for record in made}


def opened(name: str, series: str = "") -> Intent:
    return Intent("i", "p", Address.parse(name), "create", "v1", "", series=series)


def moves(*pairs: tuple[str, str]) -> list[MovedAddress]:
    return [MovedAddress(Address.parse(old), Address.parse(new)) for old, new in pairs]


def told(found) -> list[tuple[str, str]]:
    return [(str(move.old), str(move.new)) for move in found.renames]


def test_a_chain_leads_to_its_end_from_wherever_the_record_is() -> None:
    """A state that missed a rename or two catches up in one."""
    chain = moves(("plugin/a", "plugin/b"), ("plugin/b", "plugin/c"))
    for start in ("plugin/a", "plugin/b"):
        made = make_due_renames(records(start), chain, ())
        assert told(made) == [(start, "plugin/c")]
        assert list(made.records) == [Address("plugin", "c")]
    assert told(make_due_renames(records("plugin/c"), chain, ())) == []
    assert told(make_due_renames({}, chain, ())) == []


def test_a_plugin_takes_its_releases_along() -> None:
    """Addresses, series and what they depend on; other releases stay."""
    known = records("plugin/a", "release/a@1.0", "release/a@2.0", series="plugin/a")
    known |= records("plugin/ab", "release/ab@1.0", series="plugin/ab")
    made = make_due_renames(known, moves(("plugin/a", "plugin/b")), ())
    assert ("release/a@2.0", "release/b@2.0") in told(made)
    moved = made.records[Address("release", "b@1.0")]
    assert (moved.series, moved.depends_on) == ("plugin/b", (Address("plugin", "b"),))
    assert Address("release", "ab@1.0") in made.records
    assert len(made.records) == len(known)


def test_a_rename_that_cannot_be_is_left_out_with_a_warning() -> None:
    """Its new address is recorded, or a call of it is open; the others go."""
    known = records("plugin/a", "plugin/b", "plugin/x", "plugin/y")
    wanted = moves(("plugin/a", "plugin/b"), ("plugin/x", "plugin/z"), ("plugin/y", "plugin/w"))
    made = make_due_renames(known, wanted, [opened("plugin/x")])
    assert told(made) == [("plugin/y", "plugin/w")]
    assert [found.detail for found in made.diagnostics] == [
        "plugin/a cannot become plugin/b: plugin/b is also recorded.",
        "plugin/x cannot become plugin/z: an earlier call of plugin/x is open.",
    ]
    assert made.records.keys() >= {Address("plugin", "a"), Address("plugin", "b")}
    assert made.open_call_by_new_address == {Address("plugin", "z"): Address("plugin", "x")}


def test_what_an_open_call_may_have_made_waits() -> None:
    """Its new address is held, and those of a series of which it is the owner or a member."""
    wanted = moves(("plugin/a", "plugin/b"), ("plugin/x", "plugin/y"), ("plugin/y", "plugin/z"))
    known = records("plugin/x", "release/x@1.0", series="plugin/x")
    made = make_due_renames(
        known, wanted, [opened("plugin/a"), opened("release/x@2.0", "plugin/x")]
    )
    assert told(made) == []
    assert {str(new): str(old) for new, old in made.open_call_by_new_address.items()} == {
        "plugin/b": "plugin/a",
        "plugin/z": "release/x@2.0",
        "release/z@1.0": "release/x@2.0",
        "release/z@2.0": "release/x@2.0",
    }
    assert [found.detail for found in made.diagnostics] == [
        "plugin/a cannot become plugin/b: an earlier call of plugin/a is open.",
        "plugin/x cannot become plugin/z: an earlier call of release/x@2.0 is open.",
    ]


def test_nothing_moves_to_where_a_call_is_open() -> None:
    """What it makes would be a second object of that address."""
    made = make_due_renames(
        records("plugin/a"), moves(("plugin/a", "plugin/b")), [opened("plugin/b")]
    )
    assert told(made) == []
    assert list(made.open_call_by_new_address.values()) == [Address("plugin", "b")]


def test_of_a_chain_that_is_recorded_twice_only_the_last_goes() -> None:
    """Two objects cannot come to one address."""
    chain = moves(("plugin/a", "plugin/b"), ("plugin/b", "plugin/c"))
    made = make_due_renames(records("plugin/a", "plugin/b"), chain, ())
    assert told(made) == [("plugin/b", "plugin/c")]
    assert len(made.records) == 2


def test_a_chain_leads_to_what_earlier_manifests_declare() -> None:
    """From both sides; to its end where they declare nothing of it."""
    chain = moves(("plugin/a", "plugin/b"), ("plugin/b", "plugin/c"), ("plugin/x", "plugin/y"))
    for declared, expected in (
        ("plugin/a", {("plugin/b", "plugin/a"), ("plugin/c", "plugin/b")}),
        ("plugin/b", {("plugin/a", "plugin/b"), ("plugin/c", "plugin/b")}),
        ("plugin/z", {("plugin/a", "plugin/b"), ("plugin/b", "plugin/c")}),
    ):
        back = orient_moves_to_declared(chain, {Address.parse(declared)})
        pairs = {(str(move.old), str(move.new)) for move in back}
        assert pairs == expected | {("plugin/x", "plugin/y")}
    back = orient_moves_to_declared(chain, {Address.parse("plugin/a")})
    assert told(make_due_renames(records("plugin/c"), back, ())) == [("plugin/c", "plugin/a")]


@pytest.mark.parametrize(
    ("rule", "is_made"),
    [
        (PolicyRule("protected", "protected", only=("plugin/a",)), False),
        (PolicyRule("protected", "protected", only=("release/a@*",)), False),
        (PolicyRule("freeze", "freeze", only=("plugin/a*",)), False),
        (PolicyRule("stable-release", "s", excepted=("release/c@*",)), False),
        (PolicyRule("changelog", "changelog", excepted=("plugin/c",)), False),
        (PolicyRule("protected", "protected", only=("plugin/a", "plugin/c")), True),
        (PolicyRule("protected", "protected", only=("plugin/c",)), True),
        (PolicyRule("changelog", "changelog", excepted=("plugin/a",)), True),
        (PolicyRule("changelog", "changelog", excepted=("plugin/a", "plugin/c")), True),
        (PolicyRule("protected", "protected", only=("plugin/b",)), True),
        (PolicyRule("changelog", "changelog"), True),
        (PolicyRule("protected", "protected", severity="warn", only=("plugin/a",)), True),
    ],
)
def test_no_move_leaves_a_rule_that_denies(rule: PolicyRule, is_made: bool) -> None:
    """By its own address or that of a release, in a chain as well; all or nothing moves."""
    known = records("plugin/a", "release/a@1.0", series="plugin/a")
    chain = moves(("plugin/a", "plugin/b"), ("plugin/b", "plugin/c"))
    made = make_due_renames(known, chain, (), (rule,))
    assert bool(made.renames) == is_made
    names = [] if is_made else ["plugin/a", "plugin/c", "release/a@1.0", "release/c@1.0"]
    assert sorted(map(str, made.refusals)) == names
    assert made.records == known or is_made
    assert {refusal.rule for refusal in made.refusals.values()} <= {rule.id}
