"""The project file decoded: targets, variables, policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path as FilePath
from typing import Any

from synapse_apply.model.diagnostic import Diagnostic, Position
from synapse_apply.model.frozen import frozen
from synapse_apply.model.policy import Policy
from synapse_apply.model.refactoring import MovedAddress, RemovedAddress
from synapse_apply.model.secrets.login import SettingOffer
from synapse_apply.model.secrets.secret_rules import NO_RESERVED_SOURCES, ReservedVariables
from synapse_apply.model.values import SecretRef

EMBEDDED = "embedded"


@frozen
class GuardSettings:
    """How much may go missing, be deleted or forgotten before an apply stops."""

    max_share: float = 0.3
    min_objects: int = 10


@frozen
class StateSettings:
    """Where a target's state is kept; empty means the local default file."""

    url: str | SecretRef = ""
    lineage: str = ""


@frozen
class Target:
    """One backend as the project file (or the environment) names it.

    `api` maps a kind's prefix, or `*`, to the newest API version to use; `agents` the names of
    agents to their tokens. `require_verified` are the targets in which a release must have been
    verified before it is made here. `unsupported_fields` is error or warning: what becomes of
    fields that an API version cannot carry. `looked_at` are the places where url, tenant and
    token were looked for, once holes are filled.
    """

    name: str
    url: str = ""
    tenant: str = ""
    api: Mapping[str, str] = field(default_factory=lambda: {"*": "v1"})
    token: SecretRef | None = None
    agents: Mapping[str, SecretRef] = field(default_factory=dict)
    state: StateSettings = StateSettings()
    variables: Mapping[str, Any] = field(default_factory=dict)
    variable_places: Mapping[str, Position] = field(default_factory=dict)
    manifests: tuple[str, ...] = ()
    overlays: Mapping[str, Any] = field(default_factory=dict)
    allow_env: tuple[str, ...] = ()
    allow_files: tuple[str, ...] = ()
    on_drift: str = "revert"
    require_verified: tuple[str, ...] = ()
    settle_after: float = 30.0
    guards: GuardSettings = GuardSettings()
    policy: Policy = Policy()
    unsupported_fields: str = "error"
    position: Position | None = None
    looked_at: Mapping[str, tuple[SettingOffer, ...]] = field(default_factory=dict)

    @property
    def is_embedded(self) -> bool:
        return self.name == EMBEDDED

    def describe_setting_sources(self, setting: str) -> str:
        """Every place where a setting was looked for, and what was there."""
        return "; ".join(map(str, self.looked_at.get(setting, ())))


@frozen
class Variable:
    """A declared variable; `type` is string, number, integer, boolean, list or map."""

    name: str
    type: str = "string"
    default: Any = None
    has_default: bool = False
    description: str = ""
    position: Position | None = None


@frozen
class Provider:
    """A storage provider that the project file describes: the names of its keys."""

    keys: frozenset[str]
    secrets: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()


@frozen
class Project:
    """The project file, or what stands in for it where there is none (`file` is None then).

    `findings` are to be told with whatever is made of it. `reserved` is what its targets take
    their own credentials from, those of every revision that it was made of.
    """

    root: FilePath
    file: FilePath | None = None
    manifests: tuple[str, ...] = ()
    variables: Mapping[str, Variable] = field(default_factory=dict)
    targets: Mapping[str, Target] = field(default_factory=dict)
    default_target: str = ""
    moved: tuple[MovedAddress, ...] = ()
    removed: tuple[RemovedAddress, ...] = ()
    max_package_size: int = 4 * 1024**3
    findings: tuple[Diagnostic, ...] = ()
    reserved: ReservedVariables = NO_RESERVED_SOURCES
    providers: Mapping[str, Provider] = field(default_factory=dict)


def collect_reserved_sources(targets: Mapping[str, Target]) -> ReservedVariables:
    """What these targets name for their token, their agents and their state."""
    variables: dict[str, str] = {}
    files: dict[str, str] = {}
    for name, target in targets.items():
        settings: dict[str, SecretRef | str | None] = {
            "token": target.token,
            "state.url": target.state.url,
            **{f"agents.{agent}": token for agent, token in target.agents.items()},
        }
        for setting, value in settings.items():
            setting_path = f"targets.{name}.{setting}"
            if isinstance(value, SecretRef) and value.source == "env":
                variables.setdefault(value.name.upper(), setting_path)
            elif isinstance(value, SecretRef) and value.source == "file":
                files.setdefault(value.name, setting_path)
            elif isinstance(value, str) and (path := _parse_local_path(value)):
                files.setdefault(path, setting_path)
    return ReservedVariables(variables, files)


def _parse_local_path(url: str) -> str:
    """The file that the url of a state names; "" where it is none."""
    path = url.removeprefix("sqlite:///").removeprefix("file://")
    return "" if "://" in path else path
