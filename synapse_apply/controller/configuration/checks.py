"""What is wrong with a configuration that fits its schema."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from synapse_apply.controller.configuration.access_checks import access_findings, unapprovable_waves
from synapse_apply.controller.configuration.decoding import parse_duration
from synapse_apply.controller.configuration.literal_secrets import PLACEHOLDER_VARIABLE
from synapse_apply.controller.configuration.placed_findings import FindingBuilder
from synapse_apply.controller.configuration.rollout_checks import iter_rollout_findings
from synapse_apply.controller.configuration.rule_checks import (
    commit_rule_warnings,
    iter_rule_findings,
)
from synapse_apply.controller.settings import Controller
from synapse_apply.controller.source.faults import iter_source_faults
from synapse_apply.controller.worker.access import own_secret_locations
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, Position
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.secrets.login import is_loopback

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
