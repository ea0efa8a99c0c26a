"""The rules under `policy:` decoded: the project's, with those of a target beside or over them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, timedelta, tzinfo
from typing import Any

from synapse_apply.manifests.wording import closest, did_you_mean
from synapse_apply.model.cron import Cron, Window
from synapse_apply.model.diagnostic import Path, Position
from synapse_apply.model.policy import DEFAULT_RULES, DENY, OFF, Rule

# What takes the place, summary, detail and hint of a finding.
Find = Callable[[Path, str, str, str], None]
_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60}
_LONGEST = timedelta(days=366)
_IANA = "write an IANA name such as Europe/Berlin; systems without any need the package tzdata"


def rules_of(
    settings: Mapping[str, Any], at: Path, positions: Mapping[Path, Position], find: Find
) -> tuple[Rule, ...]:
    """The rules of one `policy:` block that fits its schema; `at` is where the block's owner is."""
    found: dict[str, Rule] = {}
    for index, written in enumerate(settings.get("policy", {}).get("rules", ())):
        here = (*at, "policy", "rules", index)
        rule = _rule(written, here, positions.get(here), find)
        if rule.name in found:
            find(
                here,
                "Two rules of one name",
                f"a rule `{rule.name}` stands before it",
                "give one of them a `name:` of its own",
            )
        found[rule.name] = rule
    return tuple(found.values())


def with_defaults(common: Sequence[Rule]) -> tuple[Rule, ...]:
    """The common rules, and those that hold where none of the same name is written."""
    names = {rule.name for rule in common}
    return (*common, *(rule for rule in DEFAULT_RULES if rule.name not in names))


def merged(common: Sequence[Rule], own: Sequence[Rule], at: Path, find: Find) -> tuple[Rule, ...]:
    """The rules that hold for a target: one of its own takes the place of a common namesake."""
    names = [rule.name for rule in common]
    for index, rule in enumerate(own):
        if rule.severity == OFF and rule.name not in names:
            here, detail = (*at, "policy", "rules", index), f"no common rule is `{rule.name}`"
            find(here, "Nothing to take away", detail, did_you_mean(rule.name, names))
    mine = {rule.name: rule for rule in own}
    rules = [mine.pop(rule.name, rule) for rule in common]
    return tuple(rule for rule in (*rules, *mine.values()) if rule.severity != OFF)


def _rule(written: Mapping[str, Any], at: Path, place: Position | None, find: Find) -> Rule:
    check, severity = written["rule"], written.get("severity", DENY)
    opens = "cron" in written and severity != OFF
    return Rule(
        check,
        name=written.get("name", check),
        severity=severity,
        only=_texts(written.get("addresses", written.get("only", ()))),
        excepted=_texts(written.get("except", ())),
        values=_texts(written.get("values", ())),
        labels=_texts(written.get("labels", ())),
        limit=written.get("limit", 0),
        window=_window(written, at, find) if opens else None,
        position=place,
    )


def _texts(listed: Iterable[Any]) -> tuple[str, ...]:
    return tuple(map(str, listed))


def _window(written: Mapping[str, Any], at: Path, find: Find) -> Window | None:
    cron, text = None, written["cron"]
    try:
        cron = Cron.parse(text)
    except ValueError as problem:
        hint = 'write minute, hour, day, month and day of the week, such as "0 17 * * 5"'
        find((*at, "cron"), "Malformed cron", f"`{text}`: {problem}", hint)
    length = _length(written["duration"])
    if length is None:
        detail = f"{written['duration']} is no length of a window"
        hint = "write more than nothing and at most 366d"
        find((*at, "duration"), "Value out of range", detail, hint)
    zone = _zone(written.get("timezone", "UTC"), (*at, "timezone"), find)
    if cron is None or length is None or zone is None:
        return None
    return Window(cron, length, zone)


def _length(text: str) -> timedelta | None:
    """The length that `2d12h` says; None for none, and for more than a year."""
    parts = re.findall(r"([0-9]+)([wdhm])", text)
    seconds = sum(int(number) * _SECONDS[unit] for number, unit in parts)
    return timedelta(seconds=seconds) if 0 < seconds <= _LONGEST.total_seconds() else None


def _zone(name: str, at: Path, find: Find) -> tzinfo | None:
    """The time zone of a name; without a file of the system's for UTC."""
    if name == "UTC":
        return UTC
    import zoneinfo  # noqa: PLC0415 - only a project with a window pays

    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        near = closest(name, zoneinfo.available_timezones())
        hint = f"did you mean `{near}`?" if near else _IANA
        find(at, "Unknown time zone", f"there is no time zone `{name}` here", hint)
    return None
