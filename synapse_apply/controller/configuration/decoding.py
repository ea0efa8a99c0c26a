"""How a document that fits the schema becomes the values of `settings.py`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path as FilePath
from typing import Any, Literal, TypeVar
from zoneinfo import ZoneInfo

from synapse_apply.controller.planned_rows import RowAction, RowCause
from synapse_apply.controller.settings import (
    DAY,
    HOUR,
    MINUTE,
    Access,
    AccessRule,
    AutoRule,
    Channel,
    Controller,
    Defaults,
    Event,
    FixedPause,
    ForgeStatus,
    HookSecrets,
    HttpsToken,
    MayRead,
    Mode,
    ProxyAccess,
    Right,
    Rollout,
    SecretName,
    Signatures,
    Source,
    SshKey,
    TargetRule,
    Wave,
)
from synapse_apply.model.cron import Cron, Window
from synapse_apply.model.diagnostic import FieldPath, Position

T = TypeVar("T")

DEFAULT_API_URLS: Mapping[str, str] = {
    "github": "https://api.github.com",
    "gitlab": "https://gitlab.com/api/v4",
}
DEFAULT_USER = "x-access-token"
DEFAULT_LISTEN = "127.0.0.1:8080"
DEFAULT_ZONE = "UTC"
_UNITS = {"s": 1.0, "m": MINUTE, "h": HOUR, "d": DAY}


def decode_controller(
    value: Mapping[str, Any], positions: Mapping[FieldPath, Position], file: FilePath
) -> Controller:
    """The values of a document that fits the schema; relative paths begin at the file's folder."""
    return _Decoder(value, positions, file).decode_controller()


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
    def __init__(
        self, value: Mapping[str, Any], positions: Mapping[FieldPath, Position], file: FilePath
    ) -> None:
        self._value = value
        self._positions = positions
        self._file = file
        self._folder = file.absolute().parent

    def decode_controller(self) -> Controller:
        value = self._value
        host, port = split_listen_address(value.get("listen", DEFAULT_LISTEN))
        hooks = value.get("hooks", {})
        settings = value.get("defaults", {})
        standard = Defaults()
        retry = settings.get("retry", {})
        return Controller(
            name=value["metadata"]["name"],
            sources={name: self._decode_source(name) for name in value["sources"]},
            defaults=Defaults(
                interval=_seconds(settings, "interval", standard.interval),
                jitter=float(settings.get("jitter", standard.jitter)),
                retry_first=_seconds(retry, "first", standard.retry_first),
                retry_most=_seconds(retry, "most", standard.retry_most),
                timeout=_seconds(settings, "timeout", standard.timeout),
                keep=_seconds(settings, "keep", standard.keep),
                second_look=_seconds(settings, "second_look", standard.second_look),
                status_spacing=_seconds(settings, "status_spacing", standard.status_spacing),
                status_check=_seconds(settings, "status_check", standard.status_check),
                prune=settings.get("prune", standard.prune),
            ),
            channels=tuple(
                self._decode_channel(index) for index in range(len(value.get("notify", ())))
            ),
            listen_host=host,
            listen_port=port,
            public_url=value.get("public_url", "").rstrip("/"),
            open_metrics=value.get("open_metrics", False),
            hooks=HookSecrets(
                self._secret_name(hooks, ("hooks",), "github", "secret"),
                self._secret_name(hooks, ("hooks",), "gitlab", "secret"),
            ),
            access=self._decode_access_or_none(),
            rollouts={name: self._decode_rollout(name) for name in value.get("rollouts", {})},
            store_url=self._secret_name(value, (), "store", "url"),
            file=self._file,
        )

    def _decode_source(self, name: str) -> Source:
        path: FieldPath = ("sources", name)
        settings = self._value["sources"][name]
        may_read = settings.get("may_read", {})
        url = settings["url"]
        return Source(
            name=name,
            url=str(self._folder / url)
            if ("://" not in url and (url.startswith(("/", ".")) or ":" not in url))
            else url,
            ref=settings.get("ref", "main"),
            path=settings.get("path", "."),
            credentials=self._decode_credentials(settings.get("credentials", {}), path),
            poll=_seconds(settings, "poll", MINUTE),
            rewinds=settings.get("rewinds", "hold"),
            signed=self._decode_signed(settings["signed"]) if "signed" in settings else None,
            status=self._decode_status(settings.get("commit_status", {}), path),
            may_read=MayRead(
                tuple(may_read.get("env", ())),
                tuple(str(self._folder / file) for file in may_read.get("files", ())),
                tuple(may_read.get("allow_env", ())),
            ),
            hosts=tuple(settings.get("hosts", ())),
            project_from=settings.get("pin", "").removeprefix("git:"),
            rules=tuple(
                _decode_rule(pattern, rule, self._positions.get((*path, "targets", pattern)))
                for pattern, rule in settings["targets"].items()
            ),
            position=self._positions.get(path),
        )

    def _decode_credentials(
        self, settings: Mapping[str, Any], path: FieldPath
    ) -> HttpsToken | SshKey | None:
        path = (*path, "credentials")
        token = self._secret_name(settings, path, "token")
        key = self._secret_name(settings, path, "ssh_key")
        known_hosts = self._secret_name(settings, path, "known_hosts")
        if token is not None:
            return HttpsToken(token, settings.get("user", DEFAULT_USER))
        return SshKey(key, known_hosts) if key is not None and known_hosts is not None else None

    def _decode_signed(self, settings: Mapping[str, Any]) -> Signatures:
        files = {
            key: str(self._folder / settings[key])
            for key in ("allowed_signers", "keys")
            if key in settings
        }
        return Signatures(**files, mode=settings.get("mode", "head"))

    def _decode_status(self, settings: Mapping[str, Any], path: FieldPath) -> ForgeStatus | None:
        forges: tuple[Literal["github", "gitlab"], ...] = ("github", "gitlab")
        for forge in forges:
            token = self._secret_name(settings, (*path, "commit_status"), forge, "token")
            if token is not None:
                api_url = settings[forge].get("api_url", DEFAULT_API_URLS[forge])
                repository = str(settings[forge]["repository"])
                return ForgeStatus(
                    forge,
                    repository,
                    token,
                    api_url.rstrip("/"),
                    settings[forge].get("context_per_target", False),
                )
        return None

    def _decode_channel(self, index: int) -> Channel:
        settings = self._value["notify"][index]
        kind: Literal["webhook", "slack"] = "webhook" if "webhook" in settings else "slack"
        path: FieldPath = ("notify", index)
        url = self._secret_name(settings, path, kind, "url")
        return Channel(
            name=f"{kind} {index + 1}",
            kind=kind,
            url=url or SecretName("env", ""),
            events=frozenset(Event(event) for event in settings["on"]),
            secret=self._secret_name(settings, path, kind, "secret"),
        )

    def _decode_access_or_none(self) -> Access | None:
        if "access" not in self._value:
            return None
        settings, path = self._value["access"], ("access",)
        secret = self._secret_name(settings, path, "proxy", "secret")
        proxy = settings.get("proxy", {})
        tokens = {
            name: self._secret_name(settings, path, "tokens", name)
            for name in settings.get("tokens", {})
        }
        return Access(
            proxy=None
            if secret is None
            else ProxyAccess(
                proxy["user_header"], proxy["secret_header"], secret, proxy.get("groups_header", "")
            ),
            tokens={name: token for name, token in tokens.items() if token is not None},
            rules=tuple(
                AccessRule(
                    tuple(rule["who"]),
                    frozenset(Right(right) for right in rule["do"]),
                    tuple(rule.get("targets", ("*",))),
                    self._positions.get(("access", "may", index)),
                )
                for index, rule in enumerate(settings.get("may", ()))
            ),
            persons={
                name: token["person"]
                for name, token in settings.get("tokens", {}).items()
                if "person" in token
            },
        )

    def _decode_rollout(self, name: str) -> Rollout:
        """A rollout; its source is "" where that is left out, and there is not just one."""
        path: FieldPath = ("rollouts", name)
        settings = self._value["rollouts"][name]
        sources = list(self._value["sources"])
        return Rollout(
            name=name,
            source=settings.get("source", sources[0] if len(sources) == 1 else ""),
            waves=tuple(
                Wave(
                    targets=tuple(wave.get("targets", ())),
                    labels=dict(wave.get("labels", {})),
                    soak=_seconds(wave, "soak", 0.0),
                    max_parallel=wave.get("max_parallel"),
                    max_failures=wave.get("max_failures", 0),
                    approve=wave.get("approve", False),
                    position=self._positions.get((*path, "waves", index)),
                )
                for index, wave in enumerate(settings["waves"])
            ),
            new_head=settings.get("new_head", "replace"),
            position=self._positions.get(path),
        )

    def _secret_name(
        self, settings: Mapping[str, Any], path: FieldPath, *keys: str
    ) -> SecretName | None:
        """Where the secret at these keys is found; None where there is none."""
        named: Any = settings
        for key in keys:
            named = named.get(key, {})
        position = self._positions.get((*path, *keys))
        if "env" in named:
            return SecretName("env", named["env"], position)
        if "file" in named:
            return SecretName("file", str(self._folder / named["file"]), position)
        return None


def _decode_rule(
    pattern: str, settings: Mapping[str, Any], position: Position | None
) -> TargetRule:
    """The rule of a pattern; without windows and times that are none, which are errors."""
    windows = [decode_window(window) for window in settings.get("windows", ())]
    paused = settings.get("paused")
    return TargetRule(
        pattern=pattern,
        mode=Mode(settings.get("mode", Mode.OBSERVE.value)),
        interval=_seconds(settings, "interval", None),
        auto=_decode_auto(settings.get("auto", {})),
        approvals=settings.get("approvals", 1),
        not_author=settings.get("not_author", False),
        windows=tuple(window for window in windows if window is not None),
        pause=FixedPause(paused["reason"], parse_zoned_time_or_none(paused.get("until", "")))
        if paused
        else None,
        prune=settings.get("prune"),
        hosts=tuple(settings.get("hosts", ())),
        position=position,
    )


def _decode_auto(settings: Mapping[str, Any]) -> AutoRule:
    standard = AutoRule()
    causes = frozenset(RowCause(cause) for cause in settings.get("causes", ()))
    actions = frozenset(RowAction(action) for action in settings.get("actions", ()))
    return AutoRule(causes or standard.causes, actions or standard.actions)


def _seconds(settings: Mapping[str, Any], key: str, default: T) -> float | T:
    return parse_duration(settings[key]) if key in settings else default
