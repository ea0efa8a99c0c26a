"""Which policy rules refuse or warn about one resource: built-in checks over fields, as data.

Only what the plan would change is refused or warned about. Unchanged resources that violate a rule
share one warning for the whole plan.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from typing import Any, NamedTuple

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, warning_finding
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.packages import VersionSortKey, version_sort_key
from synapse_apply.model.phrases import format_field_path, format_short_list
from synapse_apply.model.plan import Action, Change, Refusal
from synapse_apply.model.project import Policy, PolicyRule, choose_named
from synapse_apply.model.values import ABSENT, DesiredSecret, get_at_or_absent
from synapse_apply.planning.decision import Decision
from synapse_apply.planning.plan_input import PlanInput, ResourceState, SeriesKey

SUMMARY = "Violates the policy"
_MAX_SHOWN = 60
_SENT_ACTIONS = frozenset({Action.CREATE, Action.UPDATE, Action.RECREATE, Action.DELETE})

# By (prefix, series): the highest existing version, and a text that says whose it is.
# The newest version, and whose it is as a phrase.
NewestVersions = Mapping[SeriesKey, tuple[VersionSortKey, str]]


def changes_live_object(change: Change) -> bool:
    """Whether the live object would be changed; adopting it as it is changes nothing."""
    return change.action in _SENT_ACTIONS or (change.action is Action.ADOPT and bool(change.fields))


@frozen
class PolicyViolation:
    """Why a resource violates a rule, the remedy, and the field that is the cause."""

    reason: str
    remedy: str = ""
    path: FieldPath = ()


@frozen
class PolicyRules:
    """The rules that judge resources; `newest` is the newest published version by series."""

    rules: tuple[PolicyRule, ...] = ()
    newest: NewestVersions = field(default_factory=dict)


class PolicyCase(NamedTuple):
    """One resource that is judged by one rule."""

    resource: ResourceState
    rule: PolicyRule
    newest: NewestVersions

    def value(self, name: str) -> Any:
        """The declared value of a field, ABSENT without one.

        None where nothing is declared, or its kind has no such field on this API version.
        """
        resource = self.resource
        if resource.desired and name in resource.type.rules and name in resource.binding.fields:
            return get_at_or_absent(resource.spec, (name,))
        return None


PolicyTest = Callable[[PolicyCase], PolicyViolation | None]


@frozen
class PolicyCheck:
    """A built-in check; with `only_changes` it does not judge unchanged resources.

    With `needs_series` it compares a new resource with all live members of its series. `field` is
    the field that it is about, "" for none.
    """

    run_test: PolicyTest
    only_changes: bool = False
    needs_series: bool = False
    field: str = ""


def is_listed(name: str) -> PolicyCheck:
    """A check that a declared field has one of the values that the rule lists."""

    def test(case: PolicyCase) -> PolicyViolation | None:
        value, allowed = case.value(name), case.rule.values
        # An undeclared field has the server's default, which the rule does not judge.
        if value is None or value is ABSENT or value in allowed:
            return None
        # A long value, or a map, would fill the message, and can be read in the manifest.
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool | int) else ""
        return PolicyViolation(
            f"{name} is {text if text and len(text) <= _MAX_SHOWN else 'another'}, but only "
            f"{format_short_list(allowed)} is allowed",
            f"choose another {name}: {format_short_list(allowed)}",
            (name,),
        )

    return PolicyCheck(test, field=name)


def field_test(
    name: str, is_violation: Callable[[Any], bool], reason: str, remedy: str
) -> PolicyCheck:
    """A check of a field's declared value, ABSENT where the manifest leaves it out."""

    def test(case: PolicyCase) -> PolicyViolation | None:
        value = case.value(name)
        if value is None or not is_violation(value):
            return None
        return PolicyViolation(reason, remedy, (name,))

    return PolicyCheck(test, field=name)


def literal_secret(case: PolicyCase) -> PolicyViolation | None:
    """The violation of a secret field, or one that may be secret, given in plain text."""
    plain_paths = [
        path
        for path, value in sorted(case.resource.declared_fields.items())
        if isinstance(value, DesiredSecret) and value.ref.source == "literal"
    ]
    if not plain_paths:
        return None
    return PolicyViolation(
        "secret (or possibly secret) fields have plain text as their value, here or in a "
        f"variable: {format_short_list(map(format_field_path, plain_paths))}",
        "use {valueFrom: {env: NAME}} or {valueFrom: {file: PATH}}. Replace every secret that "
        "was committed",
        plain_paths[0],
    )


def missing_labels(case: PolicyCase) -> PolicyViolation | None:
    """The violation of a resource that lacks labels which the rule lists."""
    desired = case.resource.desired
    labels = desired.labels if desired else {}
    lacking = [label for label in case.rule.labels if not labels.get(label, "").strip()]
    if desired is None or not lacking:
        return None
    example = ", ".join(f"{label}: ..." for label in lacking)
    return PolicyViolation(
        f"it has no label {format_short_list(lacking)}", f"declare metadata.labels: {{{example}}}"
    )


def not_newer_version(case: PolicyCase) -> PolicyViolation | None:
    """The violation of a new series member that is not newer than all recorded and live ones."""
    resource = case.resource
    key, version = resource.member
    if resource.desired is None or resource.record is not None or resource.observed is not None:
        return None
    if not key.series or key not in case.newest:
        return None
    newest, owner_text = case.newest[key]
    parsed_version, name = version_sort_key(version), resource.type.version_field
    if parsed_version is not None and parsed_version > newest:
        return None
    problem = "is not newer than"
    if parsed_version is None:
        problem = "is not a semantic version, so it cannot be compared with"
    reason = f"{name} {version} {problem} {owner_text}"
    return PolicyViolation(reason, f"declare a higher {name}", (name,))


# Rows over generic tests: `allowed-providers` is `is_listed("provider")` for every kind that has
# the field, so that the engine names no kind. Changes are judged; what stays as it is gets one
# warning, so that a new rule stops nobody's unrelated change. Labels make no exception: a manifest
# could write itself one.
CHECKS: Mapping[str, PolicyCheck] = {
    "no-plaintext-secret": PolicyCheck(literal_secret),
    "stable-release": field_test(
        "is_stable",
        lambda value: value is not True,
        "is_stable must be true",
        "declare `is_stable: true`",
    ),
    "changelog": field_test(
        "changelog",
        lambda value: value is ABSENT or (isinstance(value, str) and not value.strip()),
        "it needs a changelog",
        "declare `changelog:`",
    ),
    "no-public-plugins": field_test(
        "is_public",
        lambda value: value is True,
        "is_public is true: every tenant would see this object",
        "do not declare `is_public: true`",
    ),
    "no-debug-releases": field_test(
        "debug",
        lambda value: value is True,
        "debug is true: another upload would replace the published package",
        "do not declare `debug: true`",
    ),
    "allowed-providers": is_listed("provider"),
    "allowed-categories": is_listed("category"),
    "version-grows": PolicyCheck(not_newer_version, only_changes=True, needs_series=True),
    "required-labels": PolicyCheck(missing_labels),
    # Nothing may be created, changed, deleted or forgotten.
    "protected": PolicyCheck(
        lambda _case: PolicyViolation("it is protected, so no change is allowed"),
        only_changes=True,
    ),
}


def series_rules(rules: Iterable[PolicyRule]) -> tuple[PolicyRule, ...]:
    """The rules that compare a new resource with all live members of its series."""
    return tuple(rule for rule in rules if rule.check in CHECKS and CHECKS[rule.check].needs_series)


def policy_rules(plan_input: PlanInput, resources: Iterable[ResourceState]) -> PolicyRules:
    """The rules that judge resources, with the newest versions that they compare with."""
    rules = tuple(rule for rule in plan_input.options.policy.rules if rule.check in CHECKS)
    newest: dict[SeriesKey, tuple[VersionSortKey, str]] = {}
    if not rules:
        return PolicyRules()
    existing = [
        (*one.member, f"that of {one.address}, which exists")
        for one in resources
        if one.type.series_field and (one.record is not None or one.observed is not None)
    ]
    existing += [
        (key, version, f"{version}, which is live but not recorded")
        for key, versions in plan_input.published_versions.items()
        for version in versions
    ]
    for key, version, owner_text in existing:
        parsed_version = version_sort_key(version)
        if parsed_version is not None and (key not in newest or newest[key][0] < parsed_version):
            newest[key] = (parsed_version, owner_text)
    return PolicyRules(rules, newest)


def with_other_addresses(
    resources: Mapping[Address, ResourceState],
) -> dict[Address, ResourceState]:
    """The resources, each of a series with the addresses by its owner's name and by its id.

    A manifest may write either, so that no rule is passed by the other.
    """
    by_id: dict[tuple[str, str], list[str]] = defaultdict(list)
    for address, resource in resources.items():
        if resource.remote_id:
            by_id[address.kind, resource.remote_id].append(address.name)
    named = dict(resources)
    for address, resource in resources.items():
        if not (name := resource.type.series_field):
            continue
        fields = resource.declared_fields or (resource.record.applied if resource.record else {})
        owner, version = fields.get((name,)), address.name.rpartition("@")[2]
        if not isinstance(owner, str | int):
            continue
        owners = (*by_id[resource.type.rules[name].references, str(owner)], f"id={owner}")
        others = (Address(address.kind, f"{one}@{version}") for one in owners)
        addresses = tuple(other for other in others if other != address)
        named[address] = replace(resource, other_addresses=addresses)
    return named


def add_policy_findings(
    resource: ResourceState, decision: Decision, policy_rules: PolicyRules
) -> Decision:
    """The decision with the refusals, warnings and tolerated rules of the policy."""
    # Nothing will be done with a resource in error, and its fields may be wrong.
    if decision.is_in_error:
        return decision
    is_change = changes_live_object(decision.change) or decision.change.action is Action.FORGET
    for rule in policy_rules.rules:
        check = CHECKS[rule.check]
        if not rule.applies_to(*resource.addresses) or (check.only_changes and not is_change):
            continue
        violation = check.run_test(PolicyCase(resource, rule, policy_rules.newest))
        if violation is None:
            continue
        # A new rule must not stop a change of another resource.
        if not is_change:
            decision = replace(decision, tolerated_rules=(*decision.tolerated_rules, rule.name))
            continue
        reason = f"{violation.reason} (policy: {rule.name})"
        ways_out = tuple(filter(None, (violation.remedy, _exception_hint(resource, rule))))
        position = resource.position(violation.path)
        if rule.is_denying:
            decision = decision.refused(Refusal(rule.id, reason, ways_out, position))
            continue
        hint = "; or ".join(ways_out)
        warning = warning_finding(
            SUMMARY,
            f"{resource.address}: {reason}.",
            f"{hint[0].upper()}{hint[1:]}.",
            position=position,
            address=str(resource.address),
            path=("spec", *violation.path) if violation.path else None,
        )
        decision = replace(decision, diagnostics=(*decision.diagnostics, warning))
    return decision


def list_named_fields(policy: Policy, address: Address) -> set[str]:
    """The fields of a resource that rules are about which refuse other values."""
    rules = (one for one in policy.rules if one.check in CHECKS and one.is_denying)
    return {CHECKS[one.check].field for one in rules if one.applies_to(address)} - {""}


def forbids_replaceable(resource: ResourceState, policy: Policy) -> bool:
    """Whether a rule that denies forbids what makes the resource's package replaceable."""
    return any(
        rule.check in CHECKS
        and rule.is_denying
        and rule.applies_to(*resource.addresses)
        and (violation := CHECKS[rule.check].run_test(PolicyCase(resource, rule, {}))) is not None
        and violation.path == (resource.type.replaceable_if,)
        for rule in policy.rules
    )


def _exception_hint(resource: ResourceState, rule: PolicyRule) -> str:
    address = choose_named(resource.addresses)
    if rule.is_default:
        return (
            f"allow it in the project file: `policy: {{rules: [{{rule: {rule.name}, severity: "
            f"off}}]}}`, or `except: [{address}]` instead of the severity"
        )
    position_text = f" ({rule.position.file}:{rule.position.line})" if rule.position else ""
    return f"add `except: [{address}]` to rule {rule.name} of the policy{position_text}"


def unchanged_violators(
    decisions: Mapping[Address, Decision], policy_rules: PolicyRules
) -> tuple[Diagnostic, ...]:
    """One warning per plan for all unchanged resources that violate the policy."""
    addresses_by_rule: dict[str, list[Address]] = {rule.name: [] for rule in policy_rules.rules}
    for address in sorted(
        address_key for address_key, decision in decisions.items() if decision.tolerated_rules
    ):
        for name in decisions[address].tolerated_rules:
            addresses_by_rule[name].append(address)
    summary = "; ".join(
        f"{name}: {format_short_list(addresses)}"
        for name, addresses in addresses_by_rule.items()
        if addresses
    )
    if not summary:
        return ()
    return (
        warning_finding(
            "Unchanged resources violate the policy",
            f"{summary}.",
            "The plan does not refuse them until they change. Fix them, or list them under "
            "`except:`.",
        ),
    )
