"""What is wrong with a configuration that fits its schema."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from synapse_apply.controller.configuration.decoding import (
    DEFAULT_LISTEN,
    is_local_path,
    parse_duration,
    split_listen_address,
)
from synapse_apply.controller.settings import Controller
from synapse_apply.controller.worker.access import collect_own_secrets
from synapse_apply.model.diagnostic import (
    Diagnostic,
    FieldPath,
    Position,
    error_finding,
    find_nearest_position,
    warning_finding,
)
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.runtime.cron import Cron
from synapse_apply.model.secrets.login import is_loopback

_SCHEMES = {"https", "ssh", "file", "http"}
# Every duration of a target or of the defaults that may not be nothing.
_MIN_SECONDS = 1.0


def iter_setting_findings(
    value: Mapping[str, Any], controller: Controller, positions: Mapping[FieldPath, Position]
) -> Iterator[Diagnostic]:
    """Errors and warnings on settings that no schema can check."""
    checker = _Checker(value, positions)
    yield from checker.check_page()
    yield from checker.check_durations(value, ())
    yield from checker.check_channels()
    own_variables = collect_own_secrets(controller).variables
    for name in controller.sources:
        yield from checker.check_readable_variables(name, own_variables)
        yield from checker.check_source_url(name)
        yield from checker.check_source_path(name)
        yield from checker.check_rules(name)


class _Checker:
    def __init__(self, value: Mapping[str, Any], positions: Mapping[FieldPath, Position]) -> None:
        self._value = value
        self._positions = positions

    def check_page(self) -> Iterator[Diagnostic]:
        """The page shows what no stranger may see, and this version asks nobody who they are."""
        host, port = split_listen_address(self._value.get("listen", DEFAULT_LISTEN))
        if port > 65535:
            yield self._error(("listen",), "No such port", f"{port} is above 65535", "")
        if not is_loopback(host):
            yield self._error(
                ("listen",),
                "The page would be open to everyone",
                f"`listen` names {host}, which other machines reach, and `access` is not enforced "
                "by this version",
                "listen on 127.0.0.1, and let a proxy beside it ask people who they are",
            )

    def check_durations(self, node: Any, path: FieldPath) -> Iterator[Diagnostic]:
        """No duration is shorter than a second, and the first retry not later than the last."""
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
                    yield from self.check_durations(item, below)
        elif isinstance(node, list):
            for index, item in enumerate(node):
                yield from self.check_durations(item, (*path, index))

    def check_channels(self) -> Iterator[Diagnostic]:
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

    def check_source_url(self, name: str) -> Iterator[Diagnostic]:
        """A url that Git is given, without a password in it, and credentials that fit it."""
        path: FieldPath = ("sources", name, "url")
        settings = self._value["sources"][name]
        url = settings["url"]
        credentials = settings.get("credentials", {})
        parts = _split_url_or_none(url)
        scheme = "path" if is_local_path(url) else parts.scheme if parts else "ssh"
        if parts is not None and ("@" in parts.netloc and ":" in parts.netloc.rpartition("@")[0]):
            yield self._error(
                path,
                "A secret stands in the file",
                "the url has a password in it; it is not shown",
                "write `credentials: {token: {env: NAME}}`, and replace the secret",
            )
        elif scheme not in {*_SCHEMES, "path"}:
            yield self._error(
                path, "Unknown kind of url", f"`{scheme}` is not supported", "use https or ssh"
            )
        elif scheme == "http" and not is_loopback((parts.hostname if parts else "") or ""):
            yield self._error(
                path, "Not encrypted", "what is read over http can be changed on its way",
                "use https or ssh",
            )  # fmt: skip
        yield from self._check_credentials(name, scheme, credentials)

    def _check_credentials(
        self, name: str, scheme: str, credentials: Mapping[str, Any]
    ) -> Iterator[Diagnostic]:
        path: FieldPath = ("sources", name, "credentials")
        has_key, has_token = "ssh_key" in credentials, "token" in credentials
        if has_key and has_token:
            yield self._error(path, "Two credentials", "there are a token and a key", "keep one")
        if has_key != ("known_hosts" in credentials):
            missing = "known_hosts" if has_key else "ssh_key"
            yield self._error(
                path,
                "Incomplete credentials",
                f"`{missing}` is missing",
                "ssh needs both: without the host keys anybody could answer for the server",
            )
        expected = {"https": "token", "http": "token", "ssh": "ssh_key"}.get(scheme)
        if (has_key or has_token) and not (expected and expected in credentials):
            yield self._error(
                path,
                "Credentials that do not fit the url",
                f"the url is {'a local path' if expected is None else scheme}",
                f"name `{expected}`" if expected else "remove them",
            )
        elif scheme == "ssh" and not has_key:
            yield self._error(
                ("sources", name, "url"),
                "Incomplete credentials",
                "ssh needs `ssh_key` and `known_hosts`",
                "write credentials: {ssh_key: {file: ...}, known_hosts: {file: ...}}",
            )

    def check_readable_variables(
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

    def check_source_path(self, name: str) -> Iterator[Diagnostic]:
        """A folder inside the repository."""
        text = self._value["sources"][name].get("path", ".")
        if text.startswith("/") or ".." in text.split("/"):
            yield self._error(
                ("sources", name, "path"),
                "Outside of the repository",
                f"`{text}` is no folder in the repository",
                "write it relative to the repository's top, without `..`",
            )

    def check_rules(self, name: str) -> Iterator[Diagnostic]:
        """Rules that never hold, and windows that never begin."""
        patterns: list[str] = []
        rules = self._value["sources"][name]["targets"]
        if not rules:
            yield self._warn(
                ("sources", name, "targets"), "No target is looked at", "there is no pattern",
                'write `"*": {mode: observe}`',
            )  # fmt: skip
        for pattern, rule in rules.items():
            path: FieldPath = ("sources", name, "targets", pattern)
            # Where `*` is the only wildcard, what matches the text of a pattern matches all of it.
            simple = [other for other in patterns if not set(other) & set("?[")]
            earlier = next((other for other in simple if fnmatchcase(pattern, other)), None)
            if earlier is not None:
                yield self._warn(
                    path,
                    "A rule that never holds",
                    f"`{pattern}`: `{earlier}` stands before it and matches the same targets",
                    "put it before that one; the first that matches holds",
                )
            patterns.append(pattern)
            yield from self._check_windows(rule, path)
            until = rule.get("paused", {}).get("until")
            if until is not None and not _is_time(until):
                yield self._error(
                    (*path, "paused", "until"), "Not a time", f"`{until}` is no RFC 3339 time",
                    "write it as 2026-12-24T18:00:00Z",
                )  # fmt: skip

    def _check_windows(self, rule: Mapping[str, Any], path: FieldPath) -> Iterator[Diagnostic]:
        for index, window in enumerate(rule.get("windows", ())):
            window_path: FieldPath = (*path, "windows", index)
            try:
                Cron.parse(window["cron"])
            except ValueError as problem:
                yield self._error(
                    (*window_path, "cron"), "Not a cron", f"{problem}",
                    "five fields: minute, hour, day, month, weekday",
                )  # fmt: skip
            zone = window.get("timezone", "UTC")
            if not _is_time_zone(zone):
                yield self._error(
                    (*window_path, "timezone"), "Unknown time zone", f"there is no zone `{zone}`",
                    "write a name of the IANA database, such as Asia/Seoul",
                )  # fmt: skip

    def _error(self, path: FieldPath, summary: str, detail: str, hint: str) -> Diagnostic:
        position = find_nearest_position(self._positions, path)
        return error_finding(summary, detail, hint, position=position, path=path)

    def _warn(self, path: FieldPath, summary: str, detail: str, hint: str) -> Diagnostic:
        position = find_nearest_position(self._positions, path)
        return warning_finding(summary, detail, hint, position=position, path=path)


_DURATION_KEYS = {
    *("interval", "first", "most", "timeout", "keep", "poll", "duration"),
    *("second_look", "status_spacing", "status_check"),
}


def _split_url_or_none(url: str) -> Any:
    """The parts of a URL with a scheme; None for any other text."""
    try:
        return urlsplit(url) if "://" in url else None
    except ValueError:
        return None


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _is_time_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return False
    return True
