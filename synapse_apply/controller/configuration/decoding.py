"""How a document that fits the schema becomes the values of `settings.py`.

By their declared types: a setting stands under the name of its field, or where AT says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path as FilePath
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints
from zoneinfo import ZoneInfo

from synapse_apply.controller.settings import (
    AT,
    DAY,
    HOUR,
    MINUTE,
    Access,
    ApprovalRule,
    BrakeHold,
    Channel,
    Controller,
    ForgeStatus,
    HttpsToken,
    Moment,
    PeopleCount,
    Place,
    Rollout,
    Seconds,
    SecretName,
    Source,
    SshKey,
)
from synapse_apply.model.cron import Cron, Window
from synapse_apply.model.diagnostic import FieldPath, Position

DEFAULT_API_URLS: Mapping[str, str] = {
    "github": "https://api.github.com",
    "gitlab": "https://gitlab.com/api/v4",
}
DEFAULT_ZONE = "UTC"
_UNITS = {"s": 1.0, "m": MINUTE, "h": HOUR, "d": DAY}


def decode_controller(
    value: Mapping[str, Any], positions: Mapping[FieldPath, Position], file: FilePath
) -> Controller:
    """The values of a document that fits the schema; relative paths begin at the file's folder."""
    given: dict[str, Any] = {"public_url": value.get("public_url", "").rstrip("/"), "file": file}
    if "listen" in value:
        given["listen_host"], given["listen_port"] = split_listen_address(value["listen"])
    decoder = _Decoder(tuple(value["sources"]), positions, file.absolute().parent)
    controller: Controller = decoder.settings(Controller, value, (), **given)
    return controller


def parse_duration(text: str) -> float:
    """The seconds of a text such as `10m`, which fits the schema."""
    return float(text[:-1]) * _UNITS[text[-1]]


def split_listen_address(text: str) -> tuple[str, int]:
    """Host and port of a text such as `127.0.0.1:8080` or `[::1]:8080`."""
    host, _, port = text.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def parse_zoned_time_or_none(text: str) -> float | None:
    """The wall-clock seconds of an RFC 3339 time with a zone; None for what is no such time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment.timestamp()


def find_time_zone_or_none(name: str) -> ZoneInfo | None:
    """The time zone of a name of the IANA database; None for an unknown one."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return None


def decode_window(settings: Mapping[str, Any]) -> Window | None:
    """The window of settings that fit the schema; None for a cron or a zone that is none."""
    zone = find_time_zone_or_none(settings.get("timezone", DEFAULT_ZONE))
    try:
        cron = Cron.parse(settings["cron"])
    except ValueError:
        return None
    duration = timedelta(seconds=parse_duration(settings["duration"]))
    return Window(cron, duration, zone) if zone is not None else None


class _Decoder:
    """Decodes by declared types, and as methods say where the file has another shape."""

    def __init__(
        self, sources: tuple[str, ...], positions: Mapping[FieldPath, Position], folder: FilePath
    ) -> None:
        self._sources = sources
        self._positions = positions
        self._folder = folder
        self._by_type: Mapping[Any, Callable[[Any, FieldPath], Any]] = {
            float: lambda data, _path: float(data),
            Seconds: lambda data, _path: parse_duration(data),
            Moment: lambda data, _path: parse_zoned_time_or_none(data),
            Place: lambda data, _path: str(folder / data),
            PeopleCount: lambda data, _path: (
                min(entry.get("count", 1) for entry in data) if isinstance(data, list) else data
            ),
            Window: lambda data, _path: decode_window(data),
            SecretName: self._secret_name,
            HttpsToken | SshKey | None: self._credentials,
            Source: self._source,
            ForgeStatus: self._status,
            Channel: self._channel,
            Access: self._access,
            Rollout: self._rollout,
            tuple[BrakeHold, ...]: self._brake_holds,
            tuple[tuple[ApprovalRule, ...], ...]: self._approval_lists,
        }

    def settings(
        self, kind: Any, data: Mapping[str, Any], path: FieldPath, /, **values: Any
    ) -> Any:
        """A value of a class of settings; `values` are fields that are known already."""
        hints = get_type_hints(kind, include_extras=True)
        for field in fields(kind):
            keys = field.metadata.get(AT, field.name).split(".")
            if field.name in values:
                continue
            if keys == [""]:
                values[field.name] = path[-1]
            elif field.name == "position":
                values[field.name] = self._positions.get(path)
            else:
                found: Any = data
                for key in keys:
                    found = found.get(key) if isinstance(found, Mapping) else None
                if found is not None:
                    values[field.name] = self._value(hints[field.name], found, (*path, *keys))
        return kind(**values)

    def _value(self, hint: Any, data: Any, path: FieldPath) -> Any:
        origin, arguments = get_origin(hint), get_args(hint)
        if hint in self._by_type:
            return self._by_type[hint](data, path)
        if NoneType in arguments:
            return self._value(arguments[0], data, path)
        if origin in (Mapping, tuple, frozenset):
            item_hint = arguments[origin is Mapping]
            items = data.items() if isinstance(data, Mapping) else enumerate(data)
            decoded = {key: self._value(item_hint, item, (*path, key)) for key, item in items}
            # A window that is none is an error of the checks.
            known = (item for item in decoded.values() if item is not None)
            return decoded if origin is Mapping else origin(known)
        if isinstance(hint, type) and issubclass(hint, Enum):
            return hint(data)
        return self.settings(hint, data, path) if isinstance(data, Mapping) else data

    def _secret_name(self, data: Mapping[str, Any], path: FieldPath) -> SecretName:
        position = self._positions.get(path)
        if "env" in data:
            return SecretName("env", data["env"], position)
        return SecretName("file", str(self._folder / data["file"]), position)

    def _credentials(self, data: Mapping[str, Any], path: FieldPath) -> HttpsToken | SshKey | None:
        is_ssh = {"ssh_key", "known_hosts"} <= data.keys()
        kind = HttpsToken if "token" in data else SshKey if is_ssh else None
        credentials: HttpsToken | SshKey | None = kind and self.settings(kind, data, path)
        return credentials

    def _source(self, data: Mapping[str, Any], path: FieldPath) -> Any:
        url = data["url"]
        if "://" not in url and (url.startswith(("/", ".")) or ":" not in url):
            url = str(self._folder / url)
        pinned = data.get("pin", "").removeprefix("git:")
        return self.settings(Source, data, path, url=url, project_from=pinned)

    def _status(self, data: Mapping[str, Any], path: FieldPath) -> Any:
        ((forge, settings),) = data.items()
        return self.settings(
            ForgeStatus,
            settings,
            (*path, forge),
            forge=forge,
            repository=str(settings["repository"]),
            api_url=settings.get("api_url", DEFAULT_API_URLS[forge]).rstrip("/"),
        )

    def _brake_holds(self, data: Any, path: FieldPath) -> tuple[BrakeHold, ...]:
        """`hold`, for all fields, or a list of those."""
        listed = [{}] if data == "hold" else data["hold"]
        return tuple(self.settings(BrakeHold, one, path) for one in listed)

    def _approval_lists(self, data: Any, path: FieldPath) -> tuple[tuple[ApprovalRule, ...], ...]:
        """The list, if it is one and not a number of people."""
        listed = data if isinstance(data, list) else ()
        rules = tuple(
            self.settings(ApprovalRule, one, (*path, index)) for index, one in enumerate(listed)
        )
        return (rules,) if rules else ()

    def _channel(self, data: Mapping[str, Any], path: FieldPath) -> Any:
        kind, index = "webhook" if "webhook" in data else "slack", path[-1]
        return self.settings(
            Channel,
            # One without an url is an error of the checks.
            {"url": {"env": ""}, **data.get(kind, {}), "on": data["on"]},
            (*path, kind),
            name=f"{kind} {int(index) + 1}",
            kind=kind,
        )

    def _access(self, data: Mapping[str, Any], path: FieldPath) -> Any:
        tokens = data.get("tokens", {}).items()
        persons = {name: token["person"] for name, token in tokens if "person" in token}
        return self.settings(Access, data, path, persons=persons)

    def _rollout(self, data: Mapping[str, Any], path: FieldPath) -> Any:
        """A rollout; its source is "" where that is left out, and there is not just one."""
        only = self._sources[0] if len(self._sources) == 1 else ""
        return self.settings(Rollout, data, path, source=data.get("source", only))
