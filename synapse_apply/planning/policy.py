"""Which policy rules refuse or warn about one resource: built-in checks over fields, as data.

Only what the plan would change is refused or warned about. Unchanged resources that violate a rule
share one warning for the whole plan.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, warning_finding
from synapse_apply.model.frozen import frozen
from synapse_apply.model.packages import VersionSortKey, version_sort_key
from synapse_apply.model.phrases import format_field_path, format_short_list
from synapse_apply.model.plan import Action, Change, Refusal
from synapse_apply.model.project import Policy, PolicyRule, choose_named
from synapse_apply.model.values import ABSENT, DesiredSecret, get_at_or_absent
from synapse_apply.planning.decision import Decision
from synapse_apply.planning.identity import known_remote_id
from synapse_apply.planning.plan_input import PublishedVersions, ResourceState, SeriesKey

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


@frozen
class PolicyCase:
    """One resource that is judged by one rule."""

    resource: ResourceState
    rule: PolicyRule
    newest: NewestVersions

    def is_declared_field(self, name: str) -> bool:
        """Whether the resource is declared, and its kind has this field on this API version."""
        resource = self.resource
        return (
            resource.desired is not None
            and name in resource.type.rules
            and name in resource.binding.fields
        )

    def declared_value_of(self, name: str) -> Any:
        """The declared value of a field; ABSENT where it is not declared."""
        return get_at_or_absent(
            self.resource.desired.spec if self.resource.desired else {}, (name,)
        )


PolicyTest = Callable[[PolicyCase], PolicyViolation | None]


def make_listed_value_test(name: str) -> PolicyTest:
    """A test that a declared field has one of the values that the rule lists."""

    def unlisted_value(case: PolicyCase) -> PolicyViolation | None:
        value, allowed = case.declared_value_of(name), case.rule.values
        # An undeclared field has the server's default, which the rule does not judge.
        if not case.is_declared_field(name) or value is ABSENT or value in allowed:
            return None
        # A long value, or a map, would fill the message, and can be read in the manifest.
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool | int) else ""
        return PolicyViolation(
            f"{name} is {(text if text and len(text) <= _MAX_SHOWN else 'another')}, and only "
            f"{format_short_list(allowed)} may be used",
            f"choose another {name}: {format_short_list(allowed)}",
            (name,),
        )

    return unlisted_value


def make_field_value_test(name: str, value: Any) -> PolicyTest:
    """A test that a field is declared with this value."""
    text = json.dumps(value)

    def field_value_violation(case: PolicyCase) -> PolicyViolation | None:
        if not case.is_declared_field(name) or case.declared_value_of(name) is value:
            return None
        return PolicyViolation(f"{name} must be {text}", f"declare `{name}: {text}`", (name,))

    return field_value_violation


def forbidden_value_test(name: str, value: Any, reason: str) -> PolicyTest:
    """A test that a field is not declared with this value."""
    text = json.dumps(value)

    def forbidden_value(case: PolicyCase) -> PolicyViolation | None:
        if not case.is_declared_field(name) or case.declared_value_of(name) is not value:
            return None
        return PolicyViolation(
            f"{name} is {text}: {reason}", f"do not declare `{name}: {text}`", (name,)
        )

    return forbidden_value


def make_nonempty_field_test(name: str) -> PolicyTest:
    """A test that a field is declared and not an empty text."""

    def empty_field(case: PolicyCase) -> PolicyViolation | None:
        value = case.declared_value_of(name)
        is_empty = value is ABSENT or (isinstance(value, str) and not value.strip())
        if not case.is_declared_field(name) or not is_empty:
            return None
        return PolicyViolation(f"it needs a {name}", f"declare `{name}:`", (name,))

    return empty_field


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
        f"{format_short_list(map(format_field_path, plain_paths))} is secret, or may be, and is "
        f"given as plain text, here or by a variable",
        "write {valueFrom: {env: NAME}} or {valueFrom: {file: PATH}}, and replace a secret that "
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
    if (
        resource.desired is None
        or resource.record is not None
        or resource.lookup_result.observed is not None
    ):
        return None
    series, version = resource.type.locate_in_series(resource.desired.spec)
    if not series or SeriesKey(resource.address.kind, series) not in case.newest:
        return None
    newest, owner_text = case.newest[SeriesKey(resource.address.kind, series)]
    parsed_version, name = version_sort_key(version), resource.type.version_field
    if parsed_version is not None and parsed_version > newest:
        return None
    if parsed_version is None:
        problem = f"{name} {version} is not a semantic version: nothing tells that it is newer than"
    else:
        problem = f"{name} {version} is not newer than"
    return PolicyViolation(f"{problem} {owner_text}", f"declare a higher {name}", (name,))


def any_change(_case: PolicyCase) -> PolicyViolation:
    """The violation of any change: nothing may be created, changed, deleted or forgotten."""
    return PolicyViolation("it is protected, and nothing may be done to it")


@frozen
class PolicyCheck:
    """A built-in check; with `only_changes` it does not judge unchanged resources.

    With `needs_series` it compares a new resource with all live members of its series.
    """

    run_test: PolicyTest
    only_changes: bool = False
    needs_series: bool = False


# Rows over generic tests: `allowed-providers` is `make_listed_value_test("provider")` for every
# kind that has the field, so that the engine names no kind. Changes are judged; what stays as it is
# gets one warning, so that a new rule stops nobody's unrelated change. Labels make no exception: a
# manifest could write itself one.
CHECKS: Mapping[str, PolicyCheck] = {
    "no-plaintext-secret": PolicyCheck(literal_secret),
    "stable-release": PolicyCheck(make_field_value_test("is_stable", value=True)),
    "changelog": PolicyCheck(make_nonempty_field_test("changelog")),
    "no-public-plugins": PolicyCheck(
        forbidden_value_test("is_public", value=True, reason="every tenant would see it")
    ),
    "no-debug-releases": PolicyCheck(
        forbidden_value_test(
            "debug", value=True, reason="another upload would replace what is published"
        )
    ),
    "allowed-providers": PolicyCheck(make_listed_value_test("provider")),
    "allowed-categories": PolicyCheck(make_listed_value_test("category")),
    "version-grows": PolicyCheck(not_newer_version, only_changes=True, needs_series=True),
    "required-labels": PolicyCheck(missing_labels),
    "protected": PolicyCheck(any_change, only_changes=True),
}


def series_rules(rules: Iterable[PolicyRule]) -> tuple[PolicyRule, ...]:
    """The rules that compare a new resource with all live members of its series."""
    return tuple(rule for rule in rules if rule.check in CHECKS and CHECKS[rule.check].needs_series)


def resource_policy_rules(
    resources: Iterable[ResourceState],
    rules: Iterable[PolicyRule],
    published_versions: PublishedVersions,
) -> PolicyRules:
    """The rules that judge resources, with the newest versions that they compare with."""
    checked_rules = tuple(rule for rule in rules if rule.check in CHECKS)
    return PolicyRules(
        checked_rules, _newest_versions(resources, published_versions) if checked_rules else {}
    )


def with_other_addresses(
    resources: Mapping[Address, ResourceState],
) -> dict[Address, ResourceState]:
    """The resources, each of a series with the addresses by its owner's name and by its id.

    A manifest may write either, so that no rule is passed by the other.
    """
    by_id: dict[tuple[str, str], list[str]] = defaultdict(list)
    for address, resource in resources.items():
        if remote_id := known_remote_id(resource):
            by_id[address.kind, remote_id].append(address.name)
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


def _newest_versions(
    resources: Iterable[ResourceState], published_versions: PublishedVersions
) -> NewestVersions:
    newest: dict[SeriesKey, tuple[VersionSortKey, str]] = {}

    def add_version_if_newer(series_key: SeriesKey, version: str, owner_text: str) -> None:
        parsed_version = version_sort_key(version)
        if parsed_version is not None and (
            series_key not in newest or newest[series_key][0] < parsed_version
        ):
            newest[series_key] = (parsed_version, owner_text)

    for resource in resources:
        if not resource.type.series_field or (
            resource.record is None and resource.lookup_result.observed is None
        ):
            continue
        # The declared version is read from the manifest, since an adopted object has no record yet.
        if resource.desired is not None:
            series, version = resource.type.locate_in_series(resource.desired.spec)
        elif resource.record is not None:
            series, version = resource.record.series, resource.record.version
        add_version_if_newer(
            SeriesKey(resource.address.kind, series),
            version,
            f"that of {resource.address}, which is there",
        )
    for series_key, versions in published_versions.items():
        for version in versions:
            add_version_if_newer(series_key, version, f"{version}, which is live and not recorded")
    return newest


def add_policy_findings(
    resource: ResourceState, decision: Decision, policy_rules: PolicyRules
) -> Decision:
    """The decision with the refusals, warnings and tolerated rules of the policy."""
    # Nothing will be done with a resource in error, and its fields may be wrong.
    if decision.diagnostics and any(finding.is_error for finding in decision.diagnostics):
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
        elif rule.is_denying:
            ways_out = [
                way_out
                for way_out in (violation.remedy, _build_exception_hint(resource, rule))
                if way_out
            ]
            position = resource.desired.find_position(violation.path) if resource.desired else None
            decision = decision.refused(
                Refusal(
                    rule.id, f"{violation.reason} (policy: {rule.name})", tuple(ways_out), position
                )
            )
        else:
            diagnostics = (*decision.diagnostics, _build_policy_warning(resource, rule, violation))
            decision = replace(decision, diagnostics=diagnostics)
    return decision


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


def _build_exception_hint(resource: ResourceState, rule: PolicyRule) -> str:
    address = choose_named(resource.addresses)
    if rule.is_default:
        return (
            f"allow it in the project file: `policy: {{rules: [{{rule: {rule.name}, severity: "
            f"off}}]}}`, or `except: [{address}]` in the place of the severity"
        )
    position_text = f" ({rule.position.file}:{rule.position.line})" if rule.position else ""
    return f"add `except: [{address}]` to rule {rule.name} of the policy{position_text}"


def _build_policy_warning(
    resource: ResourceState, rule: PolicyRule, violation: PolicyViolation
) -> Diagnostic:
    ways_out = "; or ".join(
        way_out for way_out in (violation.remedy, _build_exception_hint(resource, rule)) if way_out
    )
    return warning_finding(
        SUMMARY,
        f"{resource.address}: {violation.reason} (policy: {rule.name}).",
        f"{ways_out[0].upper()}{ways_out[1:]}.",
        position=resource.desired.find_position(violation.path) if resource.desired else None,
        address=str(resource.address),
        path=("spec", *violation.path) if violation.path else None,
    )


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
            "They are left alone until they change; fix them, or name them under `except:`.",
        ),
    )
