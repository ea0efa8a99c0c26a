"""What is wrong with the rules of targets: that never hold, windows that are none, past pauses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any

from synapse_apply.controller.configuration.decoding import (
    DEFAULT_ZONE,
    find_time_zone_or_none,
    parse_duration,
    parse_zoned_time_or_none,
)
from synapse_apply.controller.configuration.placed_findings import FindingBuilder
from synapse_apply.controller.rules.bindings import is_stricter
from synapse_apply.controller.settings import DAY, Controller, Mode, Source
from synapse_apply.model.diagnostic import Diagnostic, FieldPath
from synapse_apply.model.runtime.cron import Cron

_LONGEST_WINDOW = 366 * DAY


def iter_rule_findings(
    source: str, rules: Mapping[str, Mapping[str, Any]], findings: FindingBuilder, now: float
) -> Iterator[Diagnostic]:
    """Errors and warnings on the rules of a source's targets at a wall-clock time."""
    top: FieldPath = ("sources", source, "targets")
    if not rules:
        yield findings.build_warning(
            top, "No target is looked at", "there is no pattern", 'write `"*": {mode: observe}`'
        )
    earlier_patterns: list[str] = []
    for pattern, rule in rules.items():
        path = (*top, pattern)
        # Where `*` is the only wildcard, what matches the text of a pattern matches all of it.
        simple = [other for other in earlier_patterns if not set(other) & set("?[")]
        earlier = next((other for other in simple if fnmatchcase(pattern, other)), None)
        if earlier is not None:
            yield findings.build_warning(
                path,
                "A rule that never holds",
                f"`{pattern}`: `{earlier}` stands before it and matches the same targets",
                "put it before that one; the first that matches holds",
            )
        earlier_patterns.append(pattern)
        # Settings that the mode of their rule has no use for.
        mode = rule.get("mode", Mode.OBSERVE.value)
        if "auto" in rule and mode != Mode.AUTO.value:
            yield findings.build_warning(
                (*path, "auto"),
                "No effect in this mode",
                f"`auto` says what mode auto applies, and the mode is {mode}",
                "write `mode: auto`, or remove `auto`",
            )
        for index, window in enumerate(rule.get("windows", ())):
            yield from _iter_window_errors(window, (*path, "windows", index), findings)
        until = rule.get("paused", {}).get("until")
        if until is not None:
            yield from _pause_end(until, (*path, "paused", "until"), findings, now)


def commit_rule_warnings(
    controller: Controller, source: Source, findings: FindingBuilder
) -> Iterator[Diagnostic]:
    """Where a commit decides which rule a target has that it adds, or in which wave it is."""
    if source.project_from:
        return
    for rollout in controller.rollouts.values():
        has_labels = any(wave.labels for wave in rollout.waves)
        if rollout.source == source.name and has_labels and any(w.approve for w in rollout.waves):
            yield findings.build_warning(
                ("rollouts", rollout.name, "waves"),
                "A commit chooses the wave",
                "a wave waits for a person, and labels, which any commit can change, choose waves",
                "write `pin: git:REF` for the source, or choose targets by name",
            )
    for rule in source.rules:
        if not rule.hosts and any(is_stricter(other, rule) for other in source.rules):
            yield findings.build_warning(
                ("sources", source.name, "targets", rule.pattern),
                "A commit chooses the rule",
                f"`{rule.pattern}` lets happen what another rule does not, and without `pin` any "
                "commit can give a new target that name, and a backend",
                "write `pin: git:REF` for the source, or `hosts` for this rule",
            )


def _iter_window_errors(
    window: Mapping[str, Any], path: FieldPath, findings: FindingBuilder
) -> Iterator[Diagnostic]:
    gap = timedelta.max
    try:
        gap = Cron.parse(window["cron"]).compute_longest_gap()
    except ValueError as problem:
        yield findings.build_error(
            (*path, "cron"), "Not a cron", f"{problem}",
            "five fields: minute, hour, day, month, weekday",
        )  # fmt: skip
    zone = window.get("timezone", DEFAULT_ZONE)
    if find_time_zone_or_none(zone) is None:
        yield findings.build_error(
            (*path, "timezone"), "Unknown time zone", f"there is no zone `{zone}`",
            "write a name of the IANA database, such as Asia/Seoul",
        )  # fmt: skip
    seconds = parse_duration(window["duration"])
    if seconds >= gap.total_seconds():
        yield findings.build_error(
            (*path, "duration"),
            "A window that never closes",
            f"it lasts {window['duration']}, and a new one begins before it ends",
            "shorten it; for a target that is applied at any time write no `windows`",
        )
    elif seconds > _LONGEST_WINDOW:
        yield findings.build_error(
            (*path, "duration"), "Too long", f"it lasts {window['duration']}", "at most 366d"
        )


def _pause_end(
    until: str, path: FieldPath, findings: FindingBuilder, now: float
) -> Iterator[Diagnostic]:
    moment = parse_zoned_time_or_none(until)
    if moment is None:
        yield findings.build_error(
            path, "Not a time", f"there is no time `{until}`", "write it as 2026-12-24T18:00:00Z"
        )
    elif moment <= now:
        yield findings.build_warning(
            path,
            "A pause that has ended",
            f"`until` was {until}: it pauses nothing any more",
            "remove `paused`, or write a later time",
        )
