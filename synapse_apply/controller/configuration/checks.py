"""What is wrong with a configuration that fits its schema, and with the sources that it names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from fnmatch import fnmatchcase
from itertools import combinations
from pathlib import Path
from typing import Any

from synapse_apply.controller.configuration import decoding
from synapse_apply.controller.configuration.secrets import PLACEHOLDER_VARIABLE
from synapse_apply.controller.oidc import Provider
from synapse_apply.controller.outbox.forge import build_status_sender
from synapse_apply.controller.planned_rows import RowAction
from synapse_apply.controller.rules.access import (
    GROUP_PREFIX,
    OIDC_PREFIX,
    PROXY_PREFIX,
    TOKEN_PREFIX,
    get_person_key,
)
from synapse_apply.controller.rules.judging import is_stricter
from synapse_apply.controller.rules.targets import find_rule
from synapse_apply.controller.settings import (
    DAY,
    Access,
    ApprovalRule,
    Controller,
    Mode,
    OidcAccess,
    Right,
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
from synapse_apply.model.frozen import replace
from synapse_apply.model.phrases import format_field_path, suggest_name
from synapse_apply.model.secrets.secret_rules import is_loopback
from synapse_apply.model.values import Sensitive

_GREATEST_PORT = 65535
# Every duration of a target or of the defaults that may not be nothing.
_MIN_SECONDS = 1.0
_DURATION_KEYS = {
    *("interval", "first", "most", "timeout", "keep", "poll", "duration"),
    *("second_look", "status_spacing", "status_check", "soak", "within", "at_most_every"),
}
_LONGEST_WINDOW = 366 * DAY
# Browsers or servers set these by themselves, or they carry other credentials.
_RESERVED_HEADERS = frozenset(
    {
        *("accept", "authorization", "connection", "content-length", "content-type", "cookie"),
        *("forwarded", "host", "origin", "referer", "transfer-encoding", "user-agent"),
    }
)
_WILDCARDS = "*?["
_WRITE_APPROVER = "add a rule: may: [{who: [...], do: [approve], targets: [...]}]"
_OBSERVED = "A rollout includes a target in mode observe"
_NO_OBSERVED = "set its mode to auto or approve, or exclude it from the waves"


def further_findings(
    value: Mapping[str, Any],
    controller: Controller,
    positions: Mapping[FieldPath, Position],
    now: float,
    *,
    is_access_known: bool,
) -> list[Diagnostic]:
    """Errors and warnings on settings that no schema can check, at a wall-clock time.

    Where `access` does not fit its schema nothing is said of what would follow from it.
    """
    checks = _Checks(value, controller, positions, now)
    checks.check_listen(is_access_known=is_access_known)
    checks.check_durations(value, ())
    checks.check_brake()
    checks.check_channels()
    for source in controller.sources.values():
        checks.check_source(source)
    checks.check_rollouts()
    if is_access_known:
        checks.check_approvers_of_waves()
        checks.check_access()
    return checks.findings


class _Checks:
    """One look at a configuration: each method adds what it finds to `findings`."""

    def __init__(
        self,
        value: Mapping[str, Any],
        controller: Controller,
        positions: Mapping[FieldPath, Position],
        now: float,
    ) -> None:
        self._value = value
        self._controller = controller
        self._positions = positions
        self._now = now
        self.findings: list[Diagnostic] = []

    def _error(self, path: FieldPath, summary: str, detail: str, hint: str) -> None:
        """An error at the setting, or at what encloses it where it is not written."""
        position = find_nearest_position(self._positions, path)
        self.findings.append(error_finding(summary, detail, hint, position=position, path=path))

    def _warn(self, path: FieldPath, summary: str, detail: str, hint: str) -> None:
        position = find_nearest_position(self._positions, path)
        self.findings.append(warning_finding(summary, detail, hint, position=position, path=path))

    def check_listen(self, *, is_access_known: bool) -> None:
        """The page shows what no stranger may see: who can reach it is asked who they are."""
        host, port = self._controller.listen_host, self._controller.listen_port
        access, path = self._controller.access, ("listen",)
        is_closed = access is not None and bool(access.proxy or access.oidc or access.tokens)
        if port > _GREATEST_PORT:
            detail = f"port {port} is greater than {_GREATEST_PORT}"
            self._error(path, "Invalid port", detail, "write an address such as 127.0.0.1:8080")
        elif is_access_known and not is_loopback(host) and not is_closed:
            self._error(
                path,
                "The page would be open to everyone",
                f"`listen` is {host}, which other machines can reach, and `access` has no "
                "proxy, no provider of OpenID Connect and no tokens",
                "configure `access`, or listen on 127.0.0.1",
            )

    def check_durations(self, node: Any, path: FieldPath) -> None:
        """An error for each duration that is shorter than a second."""
        items = node.items() if isinstance(node, Mapping) else ()
        for key, item in enumerate(node) if isinstance(node, list) else items:
            below: FieldPath = (*path, key)
            if not (key in _DURATION_KEYS and isinstance(item, str)):
                self.check_durations(item, below)
            elif decoding.parse_duration(item) < _MIN_SECONDS:
                detail = f"`{format_field_path(below)}` is {item}"
                self._error(below, "Too short", detail, "use at least 1s")

    def check_brake(self) -> None:
        """A brake that lets go before its longest wait has come would brake nothing."""
        brake, path = self._controller.defaults.brake, ("defaults", "brake", "within")
        if brake.within < brake.after * brake.at_most_every:
            self._error(
                path,
                "The brake would end by itself",
                f"{brake.after} times in {brake.within:g} s is more often than once in "
                f"{brake.at_most_every:g} s",
                "set `within` to at least `after` times `at_most_every`",
            )

    def check_channels(self) -> None:
        """Each channel is one thing."""
        for index, channel in enumerate(self._value.get("notify", ())):
            kinds = [kind for kind in ("webhook", "slack") if kind in channel]
            if len(kinds) != 1:
                self._error(
                    ("notify", index),
                    "Ambiguous channel",
                    f"it has {' and '.join(kinds) or 'neither webhook nor slack'}",
                    "set exactly one of `webhook` and `slack` for each channel",
                )

    def check_source(self, source: Source) -> None:
        """Patterns, credentials and places of a source, and the rules of its targets."""
        top: FieldPath = ("sources", source.name)
        settings = self._value["sources"][source.name]
        own_variables = own_secret_locations(self._controller).variables - {PLACEHOLDER_VARIABLE}
        for index, pattern in enumerate(settings.get("may_read", {}).get("env", ())):
            matching = sorted(own for own in own_variables if fnmatchcase(own, pattern.upper()))
            if matching:
                # No worker ever gets it.
                self._warn(
                    (*top, "may_read", "env", index),
                    "Targets can never read a secret of the controller",
                    f"`{pattern}` matches {', '.join(matching)}, which controller.yaml itself "
                    "uses; the controller passes it to no target of the source",
                    "give the targets their own variable",
                )
        # One credential, and of ssh both parts.
        credentials, known_count = settings.get("credentials", {}), len(self.findings)
        has_key = "ssh_key" in credentials
        path = (*top, "credentials")
        if has_key and "token" in credentials:
            self._error(
                path, "Two credentials", "the source has a token and a key", "remove one of them"
            )
        if has_key != ("known_hosts" in credentials):
            missing = "known_hosts" if has_key else "ssh_key"
            self._error(
                path,
                "Incomplete credentials",
                f"`{missing}` is missing",
                "set `ssh_key` and `known_hosts`: without host keys, the controller cannot "
                "verify the server",
            )
        is_complete = len(self.findings) == known_count
        for key, fault in iter_source_faults(source):
            # Without all of its credentials no url can be right.
            if key != "url" or is_complete:
                at = (*top, key)
                position = self._positions.get(at, fault.position)
                self.findings.append(replace(fault, path=at, position=position))
        self._check_rules(source, settings["targets"])

    def _check_rules(self, source: Source, rules: Mapping[str, Mapping[str, Any]]) -> None:
        """The rules of a source's targets, and what a commit decides of them."""
        top: FieldPath = ("sources", source.name, "targets")
        if not rules:
            hint = 'add `"*": {mode: observe}`'
            self._warn(top, "The controller checks no target", "`targets` has no pattern", hint)
        earlier_patterns: list[str] = []
        for pattern, rule in rules.items():
            path = (*top, pattern)
            # Where `*` is the only wildcard, what matches the text of a pattern matches all of it.
            simple = [other for other in earlier_patterns if not set(other) & set("?[")]
            earlier = next((other for other in simple if fnmatchcase(pattern, other)), None)
            if earlier is not None:
                self._warn(
                    path,
                    "The rule never applies",
                    f"`{pattern}`: the earlier pattern `{earlier}` matches the same targets",
                    "move it before that pattern; the first match applies",
                )
            earlier_patterns.append(pattern)
            mode = rule.get("mode", Mode.OBSERVE.value)
            if "auto" in rule and mode != Mode.AUTO.value:
                self._warn(
                    (*path, "auto"),
                    "`auto` has no effect in this mode",
                    f"`auto` sets what mode auto applies, but the mode is {mode}",
                    "set `mode: auto`, or remove `auto`",
                )
            if rule.get("create_state") and mode == Mode.OBSERVE.value:
                self._warn(
                    (*path, "create_state"),
                    "`create_state` has no effect in this mode",
                    "the mode is observe, which creates nothing",
                    "set `mode: approve` or `mode: auto`, or remove `create_state`",
                )
            if "brake" in rule and mode == Mode.OBSERVE.value:
                self._warn(
                    (*path, "brake"),
                    "`brake` has no effect in this mode",
                    "the controller restores nothing in mode observe",
                    "set `mode: auto`, or remove `brake`",
                )
            for index, window in enumerate(rule.get("windows", ())):
                self._check_window(window, (*path, "windows", index))
            until = rule.get("paused", {}).get("until")
            moment = None if until is None else decoding.parse_zoned_time_or_none(until)
            end = (*path, "paused", "until")
            if until is not None and moment is None:
                hint = "write a time such as 2026-12-24T18:00:00Z"
                self._error(end, "Invalid time", f"`{until}` is not a time", hint)
            elif moment is not None and moment <= self._now:
                self._warn(
                    end,
                    "The pause has ended",
                    f"`until` was {until}, so `paused` has no effect",
                    "remove `paused`, or set a later time",
                )
        if source.project_from:
            return
        for rollout in self._controller.rollouts.values():
            has_labels = any(wave.labels for wave in rollout.waves)
            has_approval = any(wave.approve for wave in rollout.waves)
            if rollout.source == source.name and has_labels and has_approval:
                self._warn(
                    ("rollouts", rollout.name, "waves"),
                    "A commit can change the wave of a target",
                    "a wave needs approval, but the waves select targets by labels, which any "
                    "commit can change",
                    "set `pin: git:REF` for the source, or select targets by name",
                )
        for one in source.rules:
            if not one.hosts and any(is_stricter(other, one) for other in source.rules):
                self._warn(
                    (*top, one.pattern),
                    "A commit can choose the rule",
                    f"`{one.pattern}` allows what another rule does not, and without `pin` any "
                    "commit can add a target with that name and any backend",
                    "set `pin: git:REF` for the source, or `hosts` for this rule",
                )

    def _check_window(self, window: Mapping[str, Any], path: FieldPath) -> None:
        gap = timedelta.max
        try:
            gap = Cron.parse(window["cron"]).compute_longest_gap()
        except ValueError as problem:
            hint = "write five fields: minute, hour, day, month, weekday"
            self._error((*path, "cron"), "Invalid cron expression", f"{problem}", hint)
        zone = window.get("timezone", decoding.DEFAULT_ZONE)
        if decoding.find_time_zone_or_none(zone) is None:
            hint = "use a name of the IANA database, such as Asia/Seoul"
            detail = f"`{zone}` is not a time zone"
            self._error((*path, "timezone"), "Unknown time zone", detail, hint)
        duration, seconds = window["duration"], decoding.parse_duration(window["duration"])
        if seconds >= gap.total_seconds():
            self._error(
                (*path, "duration"),
                "The window never closes",
                f"it lasts {duration}, and the next window opens before it closes",
                "shorten it; to apply a target at any time, remove `windows`",
            )
        elif seconds > _LONGEST_WINDOW:
            self._error((*path, "duration"), "Too long", f"it lasts {duration}", "use at most 366d")

    # Access

    def check_access(self) -> None:
        """Errors and warnings on `access`, and on who could approve."""
        access = self._controller.access
        if access is not None:
            self._check_proxy(access)
            self._check_oidc(access.oidc)
            self._check_tokens(access)
            self._check_names(access)
        for name, source in self._controller.sources.items():
            for rule in source.rules:
                self._check_approvers(rule, name)

    def _check_proxy(self, access: Access) -> None:
        keys_by_header: dict[str, str] = {}
        for key in ("user_header", "groups_header", "secret_header"):
            header = str(self._value.get("access", {}).get("proxy", {}).get(key, ""))
            path: FieldPath = ("access", "proxy", key)
            other_key = keys_by_header.setdefault(header.lower(), key)
            if header and other_key != key:
                self._error(
                    path,
                    "Two uses of one header",
                    f"`{other_key}` also uses {header}",
                    "use another header, which the proxy sets",
                )
            if header.lower() in _RESERVED_HEADERS:
                self._error(
                    path,
                    "The header is reserved",
                    f"clients, or servers on the way, set {header}",
                    "use a header that only the proxy sets, such as X-User",
                )
        if access.proxy is not None and not self._controller.public_url:
            self._warn(
                ("access", "proxy"),
                "The public address of the page is missing",
                "without `public_url`, the controller refuses all requests that do not name the "
                "host of `listen`, also those of the proxy",
                "set `public_url` to the address at which people reach the proxy",
            )

    def _check_oidc(self, oidc: OidcAccess | None) -> None:
        if oidc is None:
            return
        path: FieldPath = ("access", "oidc")
        if not self._controller.public_url.startswith("https://"):
            self._error(
                path,
                "Nobody can log in through the provider",
                "the provider sends people back to `public_url`, and a session needs https there",
                "set `public_url` to the https address at which people reach the page",
            )
        findings: list[Diagnostic] = []
        with collect_findings(findings):
            Provider(oidc)
        for finding in findings:
            self._error((*path, "issuer"), finding.summary, finding.detail, finding.hint)

    def _check_tokens(self, access: Access) -> None:
        """One secret under two names would be two people; a token without a right is none."""
        places: dict[SecretName, str] = {}
        if access.proxy is not None:
            places[access.proxy.secret] = "the proxy"
        if access.oidc is not None:
            places[access.oidc.client_secret] = "the provider"
        for name, secret in access.tokens.items():
            other = places.setdefault(secret, f"token {name}")
            if other != f"token {name}":
                self._error(
                    ("access", "tokens", name),
                    "Two identities share one secret",
                    f"token {name} and {other} read the same secret",
                    "give each its own secret, so that an approval shows who gave it",
                )
        named = {who for rule in access.rules for who in rule.who}
        for name in access.tokens:
            if f"{TOKEN_PREFIX}{name}" not in named:
                self._warn(
                    ("access", "tokens", name),
                    "The token has no rights",
                    f"no rule in `may` names token:{name}",
                    f"add it to `may`, such as {{who: [token:{name}], do: [read]}}, or remove it",
                )

    def _check_names(self, access: Access) -> None:
        """Names of `may` that nobody ever has, and patterns of targets that fit no source."""
        for index, rule in enumerate(access.rules):
            for number, who in enumerate(rule.who):
                path: FieldPath = ("access", "may", index, "who", number)
                name = who.removeprefix(TOKEN_PREFIX)
                if who.startswith(TOKEN_PREFIX):
                    if name not in access.tokens:
                        hint = f"declare it: tokens: {{{name}: {{env: NAME}}}}"
                        self._error(
                            path,
                            "Unknown token",
                            f"`access.tokens` has no `{name}`",
                            suggest_name(name, access.tokens, hint),
                        )
                elif who.startswith(OIDC_PREFIX) and access.oidc is None:
                    self._error(
                        path,
                        "No request can have this identity",
                        f"`{who}` is a person whom a provider logs in, but `access` has no `oidc`",
                        "configure access.oidc, or name a token",
                    )
                elif access.oidc is not None and not who.startswith(PROXY_PREFIX):
                    pass
                elif access.proxy is None:
                    self._error(
                        path,
                        "No request can have this identity",
                        f"`{who}` is a person whom a proxy logs in, but `access` has no `proxy`",
                        "configure access.proxy, or name a token",
                    )
                elif who.startswith(GROUP_PREFIX) and not access.proxy.groups_header:
                    self._error(
                        path,
                        "No request can have this group",
                        f"`{who}` needs the header in which the proxy sends groups",
                        "set access.proxy.groups_header",
                    )
            sources = self._controller.sources
            for number, pattern in enumerate(rule.targets):
                if not any(_may_overlap(pattern, f"{name}/*") for name in sources):
                    self._warn(
                        ("access", "may", index, "targets", number),
                        "The pattern matches no target",
                        f"`{pattern}` is compared with SOURCE/TARGET, and the sources are "
                        f"{', '.join(sources)}",
                        "write it as SOURCE/TARGET, such as acme/*",
                    )

    def _check_approvers(self, rule: TargetRule, source: str) -> None:
        """Rules of which too few people can approve anything, as far as can be told.

        Of a list also entries for whose rows there are too few, or that match no row.
        """
        listed = rule.approval_lists[0] if rule.approval_lists else ()
        needs_people = rule.mode is Mode.APPROVE or rule.approvals > 1 or bool(listed)
        if not needs_people or rule.mode is Mode.OBSERVE:
            return
        access, scope = self._controller.access, f"{source}/{rule.pattern}"
        for index, entry in enumerate(listed):
            path: FieldPath = ("sources", source, "targets", rule.pattern, "approvals", index)
            earlier = next((n for n, one in enumerate(listed[:index], 1) if _hides(one, entry)), 0)
            if earlier or not _can_match(entry):
                reason = f"entry {earlier} matches all its rows" if earlier else "no row is like it"
                self._warn(
                    path,
                    "The entry never matches",
                    f"entry {index + 1} of `approvals` holds for no row: {reason}",
                    "the first entry that matches holds: move, change or remove it",
                )
            possible = _count_approvers(access, scope, entry.who)
            if entry.who and possible is not None and possible < entry.count:
                self._warn(
                    path,
                    "Too few people can approve",
                    f"{_people(entry.count)} of {', '.join(entry.who)} must approve these rows, "
                    f"but `access.may` lets {_people(possible)} of them do that",
                    _WRITE_APPROVER,
                )
        count = _count_approvers(access, scope)
        needed = max((one.count for one in listed if not one.who), default=rule.approvals)
        if count is None or count >= needed:
            return
        people = f"{_people(needed)} {'has' if needed == 1 else 'have'}"
        reason = f"`access.may` lets {_people(count)} do that"
        hint = _WRITE_APPROVER
        if access is None:
            reason = "`access` is missing"
            hint = "add `access` with a rule that has `approve`, or use another mode"
        self._warn(
            ("sources", source, "targets", rule.pattern),
            "Too few people can approve",
            f"{people} to approve the rows of `{scope}`, but {reason}",
            hint,
        )

    def check_approvers_of_waves(self) -> None:
        """Warnings on waves of rollouts that nobody could let begin."""
        for rollout in self._controller.rollouts.values():
            for index, wave in enumerate(rollout.waves):
                scopes = [f"{rollout.source}/{pattern}" for pattern in _patterns(wave)]
                counts = [_count_approvers(self._controller.access, scope) for scope in scopes]
                if wave.approve and 0 in counts:
                    self._warn(
                        ("rollouts", rollout.name, "waves", index, "approve"),
                        "Nobody can approve the wave",
                        f"approving wave {index + 1} needs the right `approve` for all its "
                        "targets, and `access` gives it to nobody",
                        _WRITE_APPROVER,
                    )

    # Rollouts

    def check_rollouts(self) -> None:
        """Errors and warnings on rollouts, as far as the file itself shows them.

        Which targets there are a commit says: what is wrong with those is found at each head.
        """
        sources = self._controller.sources
        for rollout in self._controller.rollouts.values():
            path: FieldPath = ("rollouts", rollout.name)
            source, names = sources.get(rollout.source), ", ".join(sources)
            if not rollout.source:
                self._error(
                    path,
                    "The rollout needs a source",
                    f"the targets of a rollout are in one source, and there are several: {names}",
                    "set `source: NAME`",
                )
            elif source is None:
                self._error(
                    (*path, "source"),
                    "Unknown source",
                    f"`sources` has no `{rollout.source}`",
                    suggest_name(rollout.source, sources, f"use one of: {names}"),
                )
            for index, wave in enumerate(rollout.waves):
                at = (*path, "waves", index)
                if wave.max_parallel is not None and wave.max_failures >= wave.max_parallel:
                    self._warn(
                        (*at, "max_failures"),
                        "`max_failures` can never be exceeded",
                        f"{wave.max_parallel} targets change at a time, and no target follows a "
                        f"failed one: so at most {wave.max_parallel} fail, and the wave waits "
                        "for them",
                        "set `max_failures` lower than `max_parallel`",
                    )
                self._check_targets(wave, at, source)
                self._check_earlier(wave, rollout.waves[:index], at)
        for first, second in combinations(self._controller.rollouts.values(), 2):
            for index, wave in enumerate(second.waves):
                # Targets that are surely in two rollouts.
                if first.source == second.source and any(
                    _surely_covers(*pair, pattern)
                    for other in first.waves
                    for pair in ((wave, other), (other, wave))
                    for pattern in _patterns(pair[1])
                ):
                    self._error(
                        ("rollouts", second.name, "waves", index),
                        "A target is in two rollouts",
                        f"rollout `{first.name}` has a wave that matches the same targets",
                        "narrow `targets` or `labels` in one of them",
                    )

    def _check_targets(self, wave: Wave, path: FieldPath, source: Source | None) -> None:
        """Patterns that never match, or that match what is only observed."""
        observed = "observes, so the wave could never change the target"
        for index, pattern in enumerate(wave.targets):
            at = (*path, "targets", index)
            if "/" in pattern:
                self._error(
                    at,
                    "Invalid target name",
                    f"`{pattern}`: target names have no `/`, and the rollout already has the "
                    "source",
                    "remove SOURCE/",
                )
            elif source is not None and set(_WILDCARDS).isdisjoint(pattern):
                rule = find_rule(source, pattern)
                if rule is None:
                    self._warn(
                        at,
                        "No rule matches the target",
                        f"source {source.name} has no rule that matches `{pattern}`",
                        f"add a rule to sources.{source.name}.targets",
                    )
                elif rule.mode is Mode.OBSERVE:
                    detail = f"`{pattern}`: rule `{rule.pattern}` only {observed}"
                    self._error(at, _OBSERVED, detail, _NO_OBSERVED)
        if source is not None and all(rule.mode is Mode.OBSERVE for rule in source.rules):
            detail = f"{source.name}: each rule only {observed}"
            self._error(path, _OBSERVED, detail, _NO_OBSERVED)

    def _check_earlier(self, wave: Wave, earlier: tuple[Wave, ...], path: FieldPath) -> None:
        """Waves, and patterns of them, whose targets all belong to an earlier wave."""
        hint = "move it before that wave; a target belongs to the first wave that matches it"
        owners = [
            next((i for i, other in enumerate(earlier, 1) if _surely_covers(other, wave, it)), 0)
            for it in _patterns(wave)
        ]
        if 0 not in owners:
            names = " and ".join(f"wave {owner}" for owner in sorted(set(owners)))
            detail = f"its targets already belong to {names}"
            self._error(path, "No target can be in this wave", detail, hint)
            return
        for index, owner in enumerate(owners):
            if owner:
                self._warn(
                    (*path, "targets", index),
                    "The pattern never matches",
                    f"`{wave.targets[index]}`: the earlier wave {owner} matches these targets",
                    hint,
                )


def _people(count: int) -> str:
    return {0: "nobody", 1: "one person"}.get(count, f"{count} people")


def _hides(rule: ApprovalRule, other: ApprovalRule) -> bool:
    """Whether an entry surely matches each row that another one matches."""
    return (
        rule.kind in {"", other.kind}
        and rule.irreversible in {None, other.irreversible}
        and (not rule.actions or (bool(other.actions) and other.actions <= rule.actions))
        and rule.labels.items() <= other.labels.items()
    )


def _can_match(rule: ApprovalRule) -> bool:
    """Whether there may be a row for an entry."""
    never = set[RowAction]()
    if rule.kind or rule.labels or rule.irreversible is not None:
        never.add(RowAction.GUARD)
    if rule.labels:  # what Git no longer declares has none
        never |= {RowAction.DELETE, RowAction.FORGET}
    if rule.irreversible is not None:
        always = {RowAction.DELETE, RowAction.REPLACE}
        never |= {RowAction.FORGET, RowAction.VERIFY} if rule.irreversible else always
    return bool((rule.actions or set(RowAction)) - never)


def _count_approvers(access: Access | None, scope: str, among: Collection[str] = ()) -> int | None:
    """How many people may approve a target that a scope may match; None where a group may.

    With `among` only those of these names that may be among them. The identities of one person
    count once, as their approvals do.
    """
    who = {
        name
        for rule in (access.rules if access is not None else ())
        if Right.APPROVE in rule.rights
        and any(_may_overlap(pattern, scope) for pattern in rule.targets)
        for name in rule.who
    }
    given = [who, set(among)] if among else [who]
    has_group = [any(name.startswith(GROUP_PREFIX) for name in names) for names in given]
    if all(has_group):
        return None
    # Whom a proxy logs in may be in a group; a token is in none.
    people = {
        name
        for name in set().union(*given)
        if not name.startswith(GROUP_PREFIX)
        and all(
            name in names or (is_open and not name.startswith(TOKEN_PREFIX))
            for names, is_open in zip(given, has_group, strict=True)
        )
    }
    return len({get_person_key(access, name) for name in people})


def _may_overlap(pattern: str, other: str) -> bool:
    """Whether two patterns (fnmatch) may match one name; False only where they surely do not."""
    (start, end), (other_start, other_end) = _literal_ends(pattern), _literal_ends(other)
    if start == pattern:
        return fnmatchcase(pattern, other)
    if other_start == other:
        return fnmatchcase(other, pattern)
    return _are_nested(start, other_start) and _are_nested(end[::-1], other_end[::-1])


def _are_nested(start: str, other: str) -> bool:
    return start.startswith(other) or other.startswith(start)


def _literal_ends(pattern: str) -> tuple[str, str]:
    """What stands before the first and after the last wildcard; "" behind a set of characters."""
    start = pattern[: min(pattern.find(sign) % (len(pattern) + 1) for sign in _WILDCARDS)]
    end = pattern[max(pattern.rfind(sign) for sign in _WILDCARDS) + 1 :]
    return start, "" if "[" in pattern else end


def _surely_covers(wave: Wave, other: Wave, pattern: str) -> bool:
    """Whether a wave surely matches each target that another one has by one of its patterns."""
    has_labels = all(other.labels.get(name) == text for name, text in wave.labels.items())
    # Where `*` is the only wildcard, what matches the text of a pattern matches all of it.
    simple = [text for text in _patterns(wave) if not set(text) & set("?[")]
    return has_labels and any(fnmatchcase(pattern, text) for text in simple)


def _patterns(wave: Wave) -> tuple[str, ...]:
    return wave.targets or ("*",)


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
