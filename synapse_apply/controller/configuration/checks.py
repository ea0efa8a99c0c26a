"""What is wrong with a configuration that fits its schema, and with the sources that it names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from fnmatch import fnmatchcase
from itertools import combinations
from pathlib import Path
from typing import Any

from synapse_apply.controller.configuration.decoding import (
    DEFAULT_ZONE,
    find_time_zone_or_none,
    parse_duration,
    parse_zoned_time_or_none,
)
from synapse_apply.controller.configuration.secrets import PLACEHOLDER_VARIABLE
from synapse_apply.controller.outbox.forge import build_status_sender
from synapse_apply.controller.rules.access import GROUP_PREFIX, TOKEN_PREFIX, get_person_key
from synapse_apply.controller.rules.judging import is_stricter
from synapse_apply.controller.rules.targets import find_rule
from synapse_apply.controller.settings import (
    DAY,
    Access,
    AccessRule,
    Controller,
    Mode,
    Right,
    Rollout,
    SecretName,
    Source,
    TargetRule,
    Wave,
)
from synapse_apply.controller.source.access import (
    build_pin_revision_or_empty,
    build_source_access,
    refs_meant_by,
    source_folders,
)
from synapse_apply.controller.worker.access import own_secret_locations
from synapse_apply.model.cron import Cron
from synapse_apply.model.diagnostic import (
    Diagnostic,
    FieldPath,
    Position,
    error_finding,
    find_nearest_position,
    warning_finding,
)
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.phrases import format_field_path, suggest_name
from synapse_apply.model.secrets.secret_rules import is_loopback
from synapse_apply.model.values import Sensitive

_GREATEST_PORT = 65535
# Every duration of a target or of the defaults that may not be nothing.
_MIN_SECONDS = 1.0


def further_findings(
    value: Mapping[str, Any],
    controller: Controller,
    positions: Mapping[FieldPath, Position],
    now: float,
    *,
    is_access_known: bool,
) -> Iterator[Diagnostic]:
    """Errors and warnings on settings that no schema can check, at a wall-clock time.

    Where `access` does not fit its schema nothing is said of what would follow from it.
    """
    checker = _Checker(value, positions)
    findings = FindingBuilder(positions)
    yield from checker.iter_listen_errors(controller, is_access_known=is_access_known)
    yield from checker.short_durations(value, ())
    yield from checker.unclear_channels()
    own_variables = own_secret_locations(controller).variables - {PLACEHOLDER_VARIABLE}
    for name in controller.sources:
        yield from checker.own_variable_patterns(name, own_variables)
        incomplete = list(checker.incomplete_credentials(name))
        yield from incomplete
        for key, fault in iter_source_faults(controller.sources[name]):
            # Without all of its credentials no url can be right.
            if key != "url" or not incomplete:
                path = ("sources", name, key)
                yield replace(fault, path=path, position=positions.get(path, fault.position))
        rules = value["sources"][name]["targets"]
        yield from iter_rule_findings(name, rules, findings, now)
        yield from commit_rule_warnings(controller, controller.sources[name], findings)
    yield from iter_rollout_findings(controller, findings)
    if is_access_known:
        yield from unapprovable_waves(controller, findings)
        yield from access_findings(value.get("access", {}), controller, findings)


class _Checker:
    def __init__(self, value: Mapping[str, Any], positions: Mapping[FieldPath, Position]) -> None:
        self._value = value
        findings = FindingBuilder(positions)
        self._error, self._warn = findings.build_error, findings.build_warning

    def iter_listen_errors(
        self, controller: Controller, *, is_access_known: bool
    ) -> Iterator[Diagnostic]:
        """The page shows what no stranger may see: who can reach it is asked who they are."""
        path: FieldPath = ("listen",)
        host, port = controller.listen_host, controller.listen_port
        if port > _GREATEST_PORT:
            yield self._error(
                path, "No such port", f"{port} is above {_GREATEST_PORT}", "such as 127.0.0.1:8080"
            )
        elif (
            is_access_known
            and not is_loopback(host)
            and not (
                controller.access is not None
                and (controller.access.proxy is not None or bool(controller.access.tokens))
            )
        ):
            yield self._error(
                path,
                "The page would be open to everyone",
                f"`listen` names {host}, which other machines reach, and `access` names neither a "
                "proxy nor tokens",
                "write `access`, or listen on 127.0.0.1",
            )

    def short_durations(self, node: Any, path: FieldPath) -> Iterator[Diagnostic]:
        """An error for each duration that is shorter than a second."""
        if isinstance(node, Mapping):
            for key, item in node.items():
                below: FieldPath = (*path, key)
                if key in _DURATION_KEYS and isinstance(item, str):
                    if parse_duration(item) < _MIN_SECONDS:
                        yield self._error(
                            below, "Too short", f"`{format_field_path(below)}` is {item}",
                            "at least 1s",
                        )  # fmt: skip
                else:
                    yield from self.short_durations(item, below)
        elif isinstance(node, list):
            for index, item in enumerate(node):
                yield from self.short_durations(item, (*path, index))

    def unclear_channels(self) -> Iterator[Diagnostic]:
        """Each channel is one thing."""
        for index, channel in enumerate(self._value.get("notify", ())):
            kinds = [kind for kind in ("webhook", "slack") if kind in channel]
            if len(kinds) != 1:
                yield self._error(
                    ("notify", index),
                    "Unclear channel",
                    f"it names {' and '.join(kinds) or 'neither webhook nor slack'}",
                    "write one channel an item, either `webhook` or `slack`",
                )

    def incomplete_credentials(self, name: str) -> Iterator[Diagnostic]:
        """One credential, and of ssh both parts."""
        path: FieldPath = ("sources", name, "credentials")
        credentials = self._value["sources"][name].get("credentials", {})
        has_key = "ssh_key" in credentials
        if has_key and "token" in credentials:
            yield self._error(path, "Two credentials", "there are a token and a key", "keep one")
        if has_key != ("known_hosts" in credentials):
            missing = "known_hosts" if has_key else "ssh_key"
            yield self._error(
                path,
                "Incomplete credentials",
                f"`{missing}` is missing",
                "ssh needs both: without the host keys anybody could answer for the server",
            )

    def own_variable_patterns(
        self, name: str, own_variables: Collection[str]
    ) -> Iterator[Diagnostic]:
        """Patterns that fit a variable of the controller's own, which no worker ever gets."""
        path: FieldPath = ("sources", name, "may_read", "env")
        patterns = self._value["sources"][name].get("may_read", {}).get("env", ())
        for index, pattern in enumerate(patterns):
            matching = sorted(own for own in own_variables if fnmatchcase(own, pattern.upper()))
            if matching:
                yield self._warn(
                    (*path, index),
                    "A secret of the controller is never readable",
                    f"`{pattern}` fits {', '.join(matching)}, which this file names itself; no "
                    "target of the source gets it",
                    "give the targets a variable of their own",
                )


_DURATION_KEYS = {
    *("interval", "first", "most", "timeout", "keep", "poll", "duration"),
    *("second_look", "status_spacing", "status_check", "soak"),
}


# Browsers or servers set these by themselves, or they carry other credentials.
_RESERVED_HEADERS = frozenset(
    {
        *("accept", "authorization", "connection", "content-length", "content-type", "cookie"),
        *("forwarded", "host", "origin", "referer", "transfer-encoding", "user-agent"),
    }
)
_WILDCARDS = "*?["


def access_findings(
    settings: Mapping[str, Any], controller: Controller, findings: FindingBuilder
) -> Iterator[Diagnostic]:
    """Errors and warnings on `access`, whose settings these are, and on who could approve."""
    access = controller.access
    if access is not None:
        yield from _proxy_headers(settings.get("proxy", {}), findings)
        if access.proxy is not None and not controller.public_url:
            yield findings.build_warning(
                ("access", "proxy"),
                "The page does not know its address",
                "requests by another name than that of `listen` are refused, also those of the "
                "proxy, and there is no `public_url`",
                "write `public_url`, the address under which people reach the proxy",
            )
        yield from _shared_secrets(access, findings)
        yield from _useless_tokens(access, findings)
        for index, rule in enumerate(access.rules):
            yield from _unknown_names(access, rule, index, findings)
            yield from _unmatched_patterns(controller, rule, index, findings)
    for name, source in controller.sources.items():
        for target_rule in source.rules:
            path: FieldPath = ("sources", name, "targets", target_rule.pattern)
            scope = f"{name}/{target_rule.pattern}"
            yield from _too_few_approvers(access, target_rule, scope, path, findings)


def unapprovable_waves(controller: Controller, findings: FindingBuilder) -> Iterator[Diagnostic]:
    """Warnings on waves of rollouts that nobody could let begin."""
    for rollout in controller.rollouts.values():
        for index, wave in enumerate(rollout.waves):
            scopes = [f"{rollout.source}/{pattern}" for pattern in wave.targets or ("*",)]
            counts = [_count_approvers(controller.access, scope) for scope in scopes]
            if wave.approve and 0 in counts:
                yield findings.build_warning(
                    ("rollouts", rollout.name, "waves", index, "approve"),
                    "Nobody can approve",
                    f"who lets wave {index + 1} begin needs the right to approve all of its "
                    "targets, and `access` gives that to nobody",
                    "write a rule: may: [{who: [...], do: [approve], targets: [...]}]",
                )


def _proxy_headers(proxy: Mapping[str, Any], findings: FindingBuilder) -> Iterator[Diagnostic]:
    keys_by_header: dict[str, str] = {}
    for key in ("user_header", "groups_header", "secret_header"):
        header = str(proxy.get(key, ""))
        path: FieldPath = ("access", "proxy", key)
        other_key = keys_by_header.setdefault(header.lower(), key)
        if header and other_key != key:
            yield findings.build_error(
                path,
                "Two meanings of a header",
                f"{header} is also `{other_key}`",
                "name another header, which the proxy sets",
            )
        if header.lower() in _RESERVED_HEADERS:
            yield findings.build_error(
                path,
                "A header with another meaning",
                f"{header} is set by who asks, or by servers on the way",
                "name a header that the proxy alone sets, such as X-User",
            )


def _shared_secrets(access: Access, findings: FindingBuilder) -> Iterator[Diagnostic]:
    """One secret under two names would be two people."""
    places: dict[SecretName, str] = {}
    if access.proxy is not None:
        places[access.proxy.secret] = "the proxy"
    for name, secret in access.tokens.items():
        other = places.setdefault(secret, f"token {name}")
        if other != f"token {name}":
            yield findings.build_error(
                ("access", "tokens", name),
                "One secret for two",
                f"token {name} is read from where that of {other} is",
                "give each a secret of its own: an approval counts who gave it",
            )


def _useless_tokens(access: Access, findings: FindingBuilder) -> Iterator[Diagnostic]:
    named = {who for rule in access.rules for who in rule.who}
    for name in access.tokens:
        if f"{TOKEN_PREFIX}{name}" not in named:
            yield findings.build_warning(
                ("access", "tokens", name),
                "A token without a right",
                f"no rule of `may` names token:{name}",
                f"name it in `may`, such as {{who: [token:{name}], do: [read]}}, or remove it",
            )


def _unknown_names(
    access: Access, rule: AccessRule, index: int, findings: FindingBuilder
) -> Iterator[Diagnostic]:
    """Names of `may` that nobody ever has."""
    for number, who in enumerate(rule.who):
        path: FieldPath = ("access", "may", index, "who", number)
        name = who.removeprefix(TOKEN_PREFIX)
        if who.startswith(TOKEN_PREFIX):
            if name not in access.tokens:
                yield findings.build_error(
                    path,
                    "Unknown token",
                    f"`access.tokens` has no `{name}`",
                    suggest_name(
                        name, access.tokens, f"declare it: tokens: {{{name}: {{env: NAME}}}}"
                    ),
                )
        elif access.proxy is None:
            yield findings.build_error(
                path,
                "Nobody is ever known by this name",
                f"`{who}` is somebody whom a proxy logs in, and there is no `proxy`",
                "write access.proxy, or name a token",
            )
        elif who.startswith(GROUP_PREFIX) and not access.proxy.groups_header:
            yield findings.build_error(
                path,
                "Nobody is ever in this group",
                f"`{who}` needs the header in which the proxy names groups",
                "write access.proxy.groups_header",
            )


def _unmatched_patterns(
    controller: Controller, rule: AccessRule, index: int, findings: FindingBuilder
) -> Iterator[Diagnostic]:
    """Patterns of targets that fit no source."""
    for number, pattern in enumerate(rule.targets):
        if not any(_may_overlap(pattern, f"{name}/*") for name in controller.sources):
            sources = ", ".join(controller.sources)
            yield findings.build_warning(
                ("access", "may", index, "targets", number),
                "A pattern that matches no target",
                f"`{pattern}` is compared with SOURCE/TARGET, and the sources are {sources}",
                "write it as SOURCE/TARGET, such as acme/*",
            )


def _too_few_approvers(
    access: Access | None, rule: TargetRule, scope: str, path: FieldPath, findings: FindingBuilder
) -> Iterator[Diagnostic]:
    """Rules of which too few people can approve anything, as far as can be told."""
    needs_people = rule.mode is Mode.APPROVE or rule.approvals > 1
    if not needs_people or rule.mode is Mode.OBSERVE:
        return
    count = _count_approvers(access, scope)
    if count is None or count >= rule.approvals:
        return
    people = f"{_format_people_count(rule.approvals)} {'has' if rule.approvals == 1 else 'have'}"
    if access is None:
        reason = "there is no `access`"
        hint = "write `access` with a rule that has `approve`, or another mode"
    else:
        reason = f"`access.may` lets {_format_people_count(count)} approve it"
        hint = "write a rule: may: [{who: [...], do: [approve], targets: [...]}]"
    yield findings.build_warning(
        path,
        "Too few people can approve",
        f"{people} to approve what is held of `{scope}`, and {reason}",
        hint,
    )


def _format_people_count(count: int) -> str:
    return {0: "nobody", 1: "one person"}.get(count, f"{count} people")


def _count_approvers(access: Access | None, scope: str) -> int | None:
    """How many people may approve a target that a scope may match; None where a group may.

    The identities of one person count once, as their approvals do.
    """
    who = {
        name
        for rule in (access.rules if access is not None else ())
        if Right.APPROVE in rule.rights
        and any(_may_overlap(pattern, scope) for pattern in rule.targets)
        for name in rule.who
    }
    if any(name.startswith(GROUP_PREFIX) for name in who):
        return None
    return len({get_person_key(access, name) for name in who})


def _may_overlap(pattern: str, other: str) -> bool:
    """Whether two patterns (fnmatch) may match one name; False only where they surely do not."""
    start, other_start = _get_literal_start(pattern), _get_literal_start(other)
    if start == pattern:
        return fnmatchcase(pattern, other)
    if other_start == other:
        return fnmatchcase(other, pattern)
    end, other_end = (_literal_end(pattern), _literal_end(other))
    return _are_nested(start, other_start) and _are_nested(end[::-1], other_end[::-1])


def _are_nested(start: str, other: str) -> bool:
    return start.startswith(other) or other.startswith(start)


def _get_literal_start(pattern: str) -> str:
    """What stands before the first wildcard."""
    return pattern[: min(pattern.find(sign) % (len(pattern) + 1) for sign in _WILDCARDS)]


def _literal_end(pattern: str) -> str:
    """What stands after the last wildcard; "" where that is a set of characters."""
    if "[" in pattern:
        return ""
    return pattern[max(pattern.rfind(sign) for sign in _WILDCARDS) + 1 :]


_CHARACTERS_OF_PATTERNS = frozenset("*?[")


def iter_rollout_findings(controller: Controller, findings: FindingBuilder) -> Iterator[Diagnostic]:
    """Errors and warnings on rollouts, as far as the file itself shows them.

    Which targets there are a commit says: what is wrong with those is found at each head.
    """
    for rollout in controller.rollouts.values():
        source = controller.sources.get(rollout.source)
        if source is None:
            yield _no_source(controller, rollout, findings)
        for index, wave in enumerate(rollout.waves):
            path: FieldPath = ("rollouts", rollout.name, "waves", index)
            if wave.max_parallel is not None and wave.max_failures >= wave.max_parallel:
                yield findings.build_warning(
                    (*path, "max_failures"),
                    "Failures that are never reached",
                    f"{wave.max_parallel} at a time are changed, and none follows one that fails: "
                    "no more "
                    "than these ever fail, and the wave waits for them",
                    "let `max_failures` be less than `max_parallel`",
                )
            yield from _unfit_targets(wave, path, source, findings)
            yield from _repeated_targets(wave, rollout.waves[:index], path, findings)
    for first, second in combinations(controller.rollouts.values(), 2):
        if first.source == second.source:
            yield from _shared_targets(first, second, findings)


def _no_source(controller: Controller, rollout: Rollout, findings: FindingBuilder) -> Diagnostic:
    path: FieldPath = ("rollouts", rollout.name)
    names = ", ".join(controller.sources)
    if not rollout.source:
        return findings.build_error(
            path,
            "Which source?",
            f"the targets of a rollout are those of one source, and there are several: {names}",
            "write `source: NAME`",
        )
    return findings.build_error(
        (*path, "source"),
        "Unknown source",
        f"there is no source `{rollout.source}`",
        suggest_name(rollout.source, controller.sources, f"write one of sources: {names}"),
    )


def _unfit_targets(
    wave: Wave, path: FieldPath, source: Source | None, findings: FindingBuilder
) -> Iterator[Diagnostic]:
    """Patterns that never match, or that match what is only observed."""
    for index, pattern in enumerate(wave.targets):
        pattern_path: FieldPath = (*path, "targets", index)
        if "/" in pattern:
            yield findings.build_error(
                pattern_path,
                "Not the name of a target",
                f"`{pattern}`: names of targets have no `/`, and the source is that of the rollout",
                "write it without SOURCE/",
            )
        elif source is not None and _CHARACTERS_OF_PATTERNS.isdisjoint(pattern):
            rule = find_rule(source, pattern)
            if rule is None:
                yield findings.build_warning(
                    pattern_path,
                    "A target that is left alone",
                    f"no rule of source {source.name} matches `{pattern}`",
                    f"write one: sources.{source.name}.targets",
                )
            elif rule.mode is Mode.OBSERVE:
                yield findings.build_error(
                    pattern_path, *_observed_texts(f"`{pattern}`", f"rule `{rule.pattern}` only")
                )
    if source is not None and all(rule.mode is Mode.OBSERVE for rule in source.rules):
        yield findings.build_error(
            path, *_observed_texts(f"each target of {source.name}", "its rules only")
        )


def _observed_texts(subject: str, rules: str) -> tuple[str, str, str]:
    """Summary, detail and hint for what is in a wave and never applied."""
    return (
        "A target in mode observe is in a rollout",
        f"{subject}: {rules} observe it, and it would never have what the wave brings",
        "give it mode auto or approve, or leave it out of the waves",
    )


def _repeated_targets(
    wave: Wave, earlier: Sequence[Wave], path: FieldPath, findings: FindingBuilder
) -> Iterator[Diagnostic]:
    """Waves, and patterns of them, whose targets all belong to an earlier wave."""
    hint = "put it before that one; a target belongs to the first that matches it"
    owners = [
        next(
            (i for i, other in enumerate(earlier, start=1) if _surely_covers(other, wave, pattern)),
            None,
        )
        for pattern in _list_patterns_or_star(wave)
    ]
    if None not in owners:
        names = " and ".join(f"wave {owner}" for owner in sorted(set(filter(None, owners))))
        yield findings.build_error(
            path,
            "A wave that no target comes to",
            f"its targets belong to {names}, which stands before it",
            hint,
        )
        return
    for index, owner in enumerate(owners):
        if owner is not None:
            yield findings.build_warning(
                (*path, "targets", index),
                "A pattern that never matches",
                f"`{wave.targets[index]}`: wave {owner} stands before it and matches these targets",
                hint,
            )


def _shared_targets(
    first: Rollout, second: Rollout, findings: FindingBuilder
) -> Iterator[Diagnostic]:
    """Targets that are surely in two rollouts, if there are any."""
    for index, wave in enumerate(second.waves):
        if any(
            (
                any(
                    _surely_covers(wave, other, pattern)
                    for pattern in _list_patterns_or_star(other)
                )
                or any(
                    _surely_covers(other, wave, pattern) for pattern in _list_patterns_or_star(wave)
                )
            )
            for other in first.waves
        ):
            yield findings.build_error(
                ("rollouts", second.name, "waves", index),
                "A target in two rollouts",
                f"rollout `{first.name}` has a wave that matches the same targets",
                "narrow `targets` or `labels` of one of them",
            )


def _surely_covers(wave: Wave, other: Wave, pattern: str) -> bool:
    """Whether a wave surely matches each target that another one has by one of its patterns."""
    has_labels = all(other.labels.get(name) == text for name, text in wave.labels.items())
    # Where `*` is the only wildcard, what matches the text of a pattern matches all of it.
    simple = [text for text in _list_patterns_or_star(wave) if not set(text) & set("?[")]
    return has_labels and any(fnmatchcase(pattern, text) for text in simple)


def _list_patterns_or_star(wave: Wave) -> tuple[str, ...]:
    return wave.targets or ("*",)


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


class FindingBuilder:
    """Builds findings on settings of one document, by their paths in it."""

    def __init__(self, positions: Mapping[FieldPath, Position]) -> None:
        self._positions = positions

    def build_error(self, path: FieldPath, summary: str, detail: str, hint: str) -> Diagnostic:
        """An error at the setting, or at what encloses it where it is not written."""
        position = find_nearest_position(self._positions, path)
        return error_finding(summary, detail, hint, position=position, path=path)

    def build_warning(self, path: FieldPath, summary: str, detail: str, hint: str) -> Diagnostic:
        """A warning, placed as an error is."""
        position = find_nearest_position(self._positions, path)
        return warning_finding(summary, detail, hint, position=position, path=path)


def iter_source_faults(source: Source) -> Iterator[tuple[str, Diagnostic]]:
    """What a start would refuse of a source's settings, each behind the key that it is about."""
    for key, require_usable in _REQUIREMENTS.items():
        findings: list[Diagnostic] = []
        with collect_findings(findings):
            require_usable(source)
        yield from ((key, finding) for finding in findings)


@contextmanager
def collect_findings(findings: list[Diagnostic]) -> Iterator[None]:
    """Add what the block raises for people to `findings`."""
    try:
        yield
    except SynapseApplyError as problem:
        findings.extend(problem.diagnostics)


def _require_usable_pin(source: Source) -> object:
    pin = build_pin_revision_or_empty(source)
    # Of a commit there is no name to look up.
    return refs_meant_by(source, source.project_from) if pin != source.project_from else ()


# Any that a header can carry: what is read is another one.
_TOKEN = Sensitive("token")
_REQUIREMENTS: dict[str, Callable[[Source], object]] = {
    "url": build_source_access,
    "path": lambda source: source_folders(Path(), source),
    "ref": lambda source: refs_meant_by(source, source.ref),
    "pin": _require_usable_pin,
    "commit_status": lambda source: (
        source.status and build_status_sender(source.status, source.ref, _TOKEN)
    ),
}
