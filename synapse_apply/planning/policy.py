"""The rules of a policy that judge one resource: built-in checks over fields, as data.

A rule is judged of what the plan would change: there it refuses or warns. What is against a rule
that speaks of the declared resource and stays as it is, is told in one warning for the whole plan.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, Path, warning
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Action, Change, Refusal
from synapse_apply.model.policy import Rule
from synapse_apply.model.values import ABSENT, SecretWant, dig
from synapse_apply.model.versions import Order, order
from synapse_apply.planning.refusals import dotted, listing
from synapse_apply.planning.rulings import Ruling
from synapse_apply.planning.situation import Item, Published

SUMMARY = "Against the policy"
_SHORT = 60
_SENT = frozenset({Action.CREATE, Action.UPDATE, Action.RECREATE, Action.DELETE})

# By series the highest version that is there, and whose it is, in words.
Newest = Mapping[tuple[str, str], tuple[Order, str]]


def changes_object(change: Change) -> bool:
    """Whether the live object would not be what it is: adopting it as it stands changes nothing."""
    return change.action in _SENT or (change.action is Action.ADOPT and bool(change.fields))


@frozen
class Violation:
    """Why a resource is against a rule, what would mend it, and the field that shows it."""

    reason: str
    way: str = ""
    path: Path = ()


@frozen
class Bench:
    """The rules that judge resources; `newest` is by series what is published already."""

    rules: tuple[Rule, ...] = ()
    newest: Newest = field(default_factory=dict)


@frozen
class Case:
    """One resource before one rule."""

    item: Item
    rule: Rule
    newest: Newest

    def has(self, name: str) -> bool:
        """Whether a manifest declares it, and its kind has such a field on this API."""
        item = self.item
        return item.desired is not None and name in item.type.rules and name in item.binding.fields

    def declared(self, name: str) -> Any:
        """What is declared of a field, ABSENT where nothing is."""
        return dig(self.item.desired.spec if self.item.desired else {}, (name,))


Test = Callable[[Case], Violation | None]


def field_in(name: str) -> Test:
    """A declared field has one of the values that the rule lists."""

    def test(case: Case) -> Violation | None:
        value, allowed = case.declared(name), case.rule.values
        if not case.has(name) or value is ABSENT or value in allowed:
            return None
        return Violation(
            f"{name} is {_shown(value)}, and only {listing(allowed)} may be used",
            f"choose another {name}: {listing(allowed)}",
            (name,),
        )

    return test


def field_is(name: str, value: Any) -> Test:
    """A field is declared with this value."""
    text = json.dumps(value)

    def test(case: Case) -> Violation | None:
        if not case.has(name) or case.declared(name) is value:
            return None
        return Violation(f"{name} must be {text}", f"declare `{name}: {text}`", (name,))

    return test


def field_is_not(name: str, value: Any, because: str) -> Test:
    """A field is not declared with this value."""
    text = json.dumps(value)

    def test(case: Case) -> Violation | None:
        if not case.has(name) or case.declared(name) is not value:
            return None
        return Violation(
            f"{name} is {text}: {because}", f"do not declare `{name}: {text}`", (name,)
        )

    return test


def field_given(name: str) -> Test:
    """A field is declared, and is more than an empty text."""

    def test(case: Case) -> Violation | None:
        value = case.declared(name)
        empty = value is ABSENT or (isinstance(value, str) and not value.strip())
        if not case.has(name) or not empty:
            return None
        return Violation(f"it needs a {name}", f"declare `{name}:`", (name,))

    return test


def no_literal_secret(case: Case) -> Violation | None:
    """Nothing that is secret, or may be, stands in a manifest in plain text."""
    plain = [
        path
        for path, value in sorted(case.item.want.items())
        if isinstance(value, SecretWant) and value.ref.source == "literal"
    ]
    if not plain:
        return None
    return Violation(
        f"{listing(map(dotted, plain))} is secret, or may be, and is given as plain text, here or "
        "by a variable",
        "write {valueFrom: {env: NAME}} or {valueFrom: {file: PATH}}, and replace a secret that "
        "was committed",
        plain[0],
    )


def labelled(case: Case) -> Violation | None:
    """A declared resource has every label that the rule lists, with a value."""
    desired = case.item.desired
    has = desired.labels if desired else {}
    lacking = [label for label in case.rule.labels if not has.get(label, "").strip()]
    if desired is None or not lacking:
        return None
    wanted = ", ".join(f"{label}: ..." for label in lacking)
    return Violation(
        f"it has no label {listing(lacking)}", f"declare metadata.labels: {{{wanted}}}"
    )


def grows(case: Case) -> Violation | None:
    """A new member of a series is newer than all that is recorded or live of it."""
    item = case.item
    if item.desired is None or item.record is not None or item.sighting.observed is not None:
        return None
    series, version = item.type.place_in_series(item.desired.spec)
    if not series or (item.address.kind, series) not in case.newest:
        return None
    newest, whose = case.newest[item.address.kind, series]
    mine, name = order(version), item.type.version
    if mine is not None and mine > newest:
        return None
    if mine is None:
        why = f"{name} {version} is no semantic version: nothing tells that it is newer than"
    else:
        why = f"{name} {version} is not newer than"
    return Violation(f"{why} {whose}", f"declare a higher {name}", (name,))


def untouched(_case: Case) -> Violation | None:
    """Nothing is made, changed, deleted or forgotten."""
    return Violation("it is protected, and nothing may be done to it")


@frozen
class Check:
    """A built-in; one that is `of_changes` has nothing to say of what stays as it is.

    One `of_series` judges what is new by all that is live of its series.
    """

    test: Test
    of_changes: bool = False
    of_series: bool = False


CHECKS: Mapping[str, Check] = {
    "no-plaintext-secret": Check(no_literal_secret),
    "stable-release": Check(field_is("is_stable", value=True)),
    "changelog": Check(field_given("changelog")),
    "no-public-plugins": Check(
        field_is_not("is_public", value=True, because="every tenant would see it")
    ),
    "no-debug-releases": Check(
        field_is_not("debug", value=True, because="another upload would replace what is published")
    ),
    "allowed-providers": Check(field_in("provider")),
    "allowed-categories": Check(field_in("category")),
    "version-grows": Check(grows, of_changes=True, of_series=True),
    "required-labels": Check(labelled),
    "protected": Check(untouched, of_changes=True),
}


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool | int) else ""
    return text if text and len(text) <= _SHORT else "another"


def of_series(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Those rules that judge a new resource by all that is live of its series."""
    return tuple(rule for rule in rules if rule.check in CHECKS and CHECKS[rule.check].of_series)


def bench_of(items: Iterable[Item], rules: Iterable[Rule], published: Published) -> Bench:
    """The rules that judge resources, with what they must know of all of them."""
    found = tuple(rule for rule in rules if rule.check in CHECKS)
    return Bench(found, _newest(items, published) if found else {})


def _newest(items: Iterable[Item], published: Published) -> Newest:
    newest: dict[tuple[str, str], tuple[Order, str]] = {}

    def there(at: tuple[str, str], version: str, whose: str) -> None:
        mine = order(version)
        if mine is not None and (at not in newest or newest[at][0] < mine):
            newest[at] = (mine, whose)

    for item in items:
        if not item.type.series or (item.record is None and item.sighting.observed is None):
            continue
        if item.desired is not None:
            series, version = item.type.place_in_series(item.desired.spec)
        elif item.record is not None:
            series, version = item.record.series, item.record.version
        there((item.address.kind, series), version, f"that of {item.address}, which is there")
    for at, versions in published.items():
        for version in versions:
            there(at, version, f"{version}, which is live and not recorded")
    return newest


def judged(item: Item, ruling: Ruling, bench: Bench) -> Ruling:
    """The ruling with what the policy says of it."""
    if any(finding.is_error for finding in ruling.diagnostics):
        return ruling
    changes = changes_object(ruling.change) or ruling.change.action is Action.FORGET
    for rule in bench.rules:
        check = CHECKS[rule.check]
        if not rule.concerns(item.address) or (check.of_changes and not changes):
            continue
        found = check.test(Case(item, rule, bench.newest))
        if found is None:
            continue
        if not changes:
            ruling = replace(ruling, tolerated=(*ruling.tolerated, rule.name))
        elif rule.denies:
            ruling = ruling.refuse(_refusal(item, rule, found))
        else:
            told = (*ruling.diagnostics, _warning(item, rule, found))
            ruling = replace(ruling, diagnostics=told)
    return ruling


def _exception(item: Item, rule: Rule) -> str:
    if rule.is_default:
        return (
            f"allow it in the project file: `policy: {{rules: [{{rule: {rule.name}, severity: "
            f"off}}]}}`, or `except: [{item.address}]` in the place of the severity"
        )
    where = f" ({rule.position.file}:{rule.position.line})" if rule.position else ""
    return f"add `except: [{item.address}]` to rule {rule.name} of the policy{where}"


def _refusal(item: Item, rule: Rule, found: Violation) -> Refusal:
    ways = [way for way in (found.way, _exception(item, rule)) if way]
    place = item.desired.place(found.path) if item.desired else None
    return Refusal(rule.id, f"{found.reason} (policy: {rule.name})", tuple(ways), place)


def _warning(item: Item, rule: Rule, found: Violation) -> Diagnostic:
    ways = "; or ".join(way for way in (found.way, _exception(item, rule)) if way)
    return warning(
        SUMMARY,
        f"{item.address}: {found.reason} (policy: {rule.name}).",
        f"{ways[0].upper()}{ways[1:]}.",
        position=item.desired.place(found.path) if item.desired else None,
        address=str(item.address),
        path=("spec", *found.path) if found.path else None,
    )


def tolerated(rulings: Mapping[Address, Ruling], bench: Bench) -> tuple[Diagnostic, ...]:
    """One warning a plan for all that is against the policy and stays as it is."""
    found: dict[str, list[Address]] = {rule.name: [] for rule in bench.rules}
    for address in sorted(at for at, ruling in rulings.items() if ruling.tolerated):
        for name in rulings[address].tolerated:
            found[name].append(address)
    told = "; ".join(f"{name}: {listing(lets)}" for name, lets in found.items() if lets)
    if not told:
        return ()
    return (
        warning(
            "Unchanged resources are against the policy",
            f"{told}.",
            "They are let be until they change; mend them, or name them under `except:`.",
        ),
    )
