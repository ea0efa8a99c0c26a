"""How `policy:` rules are decoded, and which of the project's a target keeps or replaces."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, timedelta, tzinfo
from functools import partial
from typing import TYPE_CHECKING, Any

from synapse_apply.model.coding.json_types import SettingsBlock
from synapse_apply.model.diagnostic import FieldPath, Position
from synapse_apply.model.phrases import (
    find_word_with_same_prefix_or_closest_or_empty,
    suggest_closest_or_list_known_words_or_empty,
)
from synapse_apply.model.policy import DEFAULT_RULES, DENY, OFF, PolicyRule

if TYPE_CHECKING:
    from synapse_apply.model.runtime.cron import Window

# Called with the path in the project file, and summary, detail and hint of a finding; a hint that
# is searched for is called only if it is wanted.
ReportFinding = Callable[[FieldPath, str, str, str | Callable[[], str]], None]
_SECONDS_BY_UNIT = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60}
_MAX_DURATION = timedelta(days=366)
_IANA_HINT = "write an IANA name such as Europe/Berlin; systems without any need the package tzdata"


def decode_rules(
    settings: SettingsBlock,
    owner_path: FieldPath,
    positions: Mapping[FieldPath, Position],
    report_finding: ReportFinding,
) -> tuple[PolicyRule, ...]:
    """The rules of the `policy:` block in `settings`, which fits its schema.

    `owner_path` is the path of `settings` in the project file. Two rules of one name are reported.
    """
    rules: dict[str, PolicyRule] = {}
    for index, block in enumerate(settings.get("policy", {}).get("rules", ())):
        rule_path = (*owner_path, "policy", "rules", index)
        rule = _decode_rule(block, rule_path, positions.get(rule_path), report_finding)
        if rule.name in rules:
            report_finding(
                rule_path,
                "Two rules of one name",
                f"a rule `{rule.name}` stands before it",
                "give one of them a `name:` of its own",
            )
        rules[rule.name] = rule
    return tuple(rules.values())


def add_default_rules_not_named(common: Sequence[PolicyRule]) -> tuple[PolicyRule, ...]:
    """The common rules, and each default rule whose name none of them has."""
    names = {rule.name for rule in common}
    return (*common, *(rule for rule in DEFAULT_RULES if rule.name not in names))


def merge_rules_for_target(
    common: Sequence[PolicyRule],
    own: Sequence[PolicyRule],
    target_path: FieldPath,
    report_finding: ReportFinding,
) -> tuple[PolicyRule, ...]:
    """The rules of a target: its own replace common ones of the same name; `off` removes them.

    `off` for a name that no common rule has is reported.
    """
    names = {rule.name for rule in common}
    for index, rule in enumerate(own):
        if rule.severity == OFF and rule.name not in names:
            rule_path, detail = (
                (*target_path, "policy", "rules", index),
                f"no common rule is `{rule.name}`",
            )
            report_finding(
                rule_path,
                "No rule to remove",
                detail,
                partial(suggest_closest_or_list_known_words_or_empty, rule.name, names),
            )
    own_by_name = {rule.name: rule for rule in own}
    # A target's rule takes the place of the common one, so that the order stays.
    rules = [own_by_name[rule.name] if rule.name in own_by_name else rule for rule in common]  # noqa: SIM401 - without a call for each
    rules += [rule for rule in own_by_name.values() if rule.name not in names]
    return tuple([rule for rule in rules if rule.severity != OFF])


def _decode_rule(
    block: SettingsBlock,
    rule_path: FieldPath,
    position: Position | None,
    report_finding: ReportFinding,
) -> PolicyRule:
    check_name, severity = block["rule"], block.get("severity", DENY)
    has_window = "cron" in block and severity != OFF
    return PolicyRule(
        check_name,
        name=block.get("name", check_name),
        severity=severity,
        only=_to_texts(block.get("addresses", block.get("only", ()))),
        excepted=_to_texts(block.get("except", ())),
        values=_to_texts(block.get("values", ())),
        labels=_to_texts(block.get("labels", ())),
        limit=block.get("limit", 0),
        window=_decode_window_or_report(block, rule_path, report_finding) if has_window else None,
        position=position,
    )


def _to_texts(items: Iterable[Any]) -> tuple[str, ...]:
    return tuple(map(str, items))


def _decode_window_or_report(
    block: SettingsBlock, rule_path: FieldPath, report_finding: ReportFinding
) -> Window | None:
    from synapse_apply.model.runtime.cron import Cron, Window  # noqa: PLC0415 - few have windows

    cron, text = None, block["cron"]
    try:
        cron = Cron.parse(text)
    except ValueError as problem:
        hint = 'write minute, hour, day, month and day of the week, such as "0 17 * * 5"'
        report_finding((*rule_path, "cron"), "Malformed cron", f"`{text}`: {problem}", hint)
    duration = _parse_duration_or_none(block["duration"])
    if duration is None:
        detail = f"{block['duration']} is no length of a window"
        hint = "write more than nothing and at most 366d"
        report_finding((*rule_path, "duration"), "Value out of range", detail, hint)
    time_zone = _load_time_zone_or_report(
        block.get("timezone", "UTC"), (*rule_path, "timezone"), report_finding
    )
    if cron is None or duration is None or time_zone is None:
        return None
    return Window(cron, duration, time_zone)


def _parse_duration_or_none(text: str) -> timedelta | None:
    """The length of a duration such as `2d12h`; None for zero, and for more than 366 days."""
    parts = re.findall(r"([0-9]+)([wdhm])", text)
    seconds = sum(int(number) * _SECONDS_BY_UNIT[unit] for number, unit in parts)
    return timedelta(seconds=seconds) if 0 < seconds <= _MAX_DURATION.total_seconds() else None


def _load_time_zone_or_report(
    name: str, zone_path: FieldPath, report_finding: ReportFinding
) -> tzinfo | None:
    """The time zone of an IANA name; None (reported) for an unknown one."""
    # UTC needs no time zone database, which minimal containers lack.
    if name == "UTC":
        return UTC
    import zoneinfo  # noqa: PLC0415 - only a project with a window pays

    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        detail = f"there is no time zone `{name}` here"
        report_finding(zone_path, "Unknown time zone", detail, partial(_suggest_time_zone, name))
    return None


def _suggest_time_zone(name: str) -> str:
    from zoneinfo import available_timezones  # noqa: PLC0415 - as above

    closest_name = find_word_with_same_prefix_or_closest_or_empty(name, available_timezones())
    return f"did you mean `{closest_name}`?" if closest_name else _IANA_HINT
