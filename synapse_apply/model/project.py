"""What the project file declares: targets, variables, providers, and reserved sources."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator, Mapping
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import Any

from synapse_apply.model.diagnostic import Diagnostic, Position
from synapse_apply.model.frozen import frozen
from synapse_apply.model.policy import Policy
from synapse_apply.model.refactoring import MovedAddress, RemovedAddress
from synapse_apply.model.secrets.login import SettingOffer
from synapse_apply.model.secrets.secret_rules import (
    CREDENTIAL_FAMILIES,
    NO_RESERVED_SOURCES,
    STATE_SCHEMES,
    ReservedVariables,
)
from synapse_apply.model.values import SecretRef

EMBEDDED = "embedded"
# Where manifests are read from if nothing is listed and there is such a folder.
DEFAULT_MANIFESTS = "manifests"


@frozen
class GuardSettings:
    """The limits above which missing, deleted or forgotten resources stop an apply."""

    max_share: float = 0.3
    min_objects: int = 10


@frozen
class StateSettings:
    """Where a target's state is stored; an empty URL is the local default file.

    `key` is where the project file says that the state key is; `key_file` is its path, "" where
    it is no file.
    """

    url: str | SecretRef = ""
    lineage: str = ""
    key: SecretRef | None = None
    key_file: str = ""


@frozen
class Target:
    """One backend as the project file or the environment describes it.

    `api` maps a kind's prefix, or `*`, to the newest API version to use; `agents` the names of
    agents to their tokens. `require_verified` are the targets in which a release must have been
    verified before it is created here. `source_settings` are the target's blocks of sources of
    secrets, by the source's name, as the project file has them. `unsupported_fields` is error or
    warning: how fields that an API version does not have are reported. `looked_at` are the sources
    in which url, tenant and token were searched. `row` are the values of the row of a list that the
    target was made from, None where it is written out. `opened` is as in ReservedVariables: the
    allow-lists of a pinned revision.
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
    source_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    on_drift: str = "revert"
    require_verified: tuple[str, ...] = ()
    settle_after: float = 30.0
    guards: GuardSettings = GuardSettings()
    policy: Policy = Policy()
    unsupported_fields: str = "error"
    position: Position | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    row: Mapping[str, str | int | float | bool] | None = None
    looked_at: Mapping[str, tuple[SettingOffer, ...]] = field(default_factory=dict)
    opened: tuple[str, ...] = ()

    @property
    def is_embedded(self) -> bool:
        return self.name == EMBEDDED

    def describe_setting_sources(self, setting: str) -> str:
        """A text that lists each source that was searched for a setting, with the result."""
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
    """A provider that the project file describes; a pin lifts `doubted`, secret by their names."""

    keys: Collection[str]
    secrets: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()
    doubted: frozenset[str] = frozenset()


@frozen
class Project:
    """The project file, or the default project where there is none (`file` is None then).

    `id` is what shared states are bound to, "" without one. `findings` are reported by whichever
    command uses it. `reserved` are the variables and files of its targets' own credentials, in
    every revision that it was made from. `list_files` are the files that `targets_from` names,
    relative to `root`.
    """

    root: Path
    file: Path | None = None
    id: str = ""
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
    list_files: Collection[str] = frozenset()

    @cached_property
    def manifest_folders(self) -> frozenset[str]:
        """The folders (or files) of manifests of all targets, normalized."""
        return frozenset(
            folder
            for target in self.targets.values()
            for folder in self.list_manifest_folders(target)
        )

    def list_manifest_folders(self, target: Target) -> tuple[str, ...]:
        """The folders (or files) of manifests of one target, normalized."""
        listed = (*self.manifests, *target.manifests) or (DEFAULT_MANIFESTS,)
        return tuple(map(posixpath.normpath, listed))


STATE_KEY = "state.key"


def may_name_several_targets(selector: str) -> bool:
    """Whether a text is a pattern or a label, which no target's name can be."""
    return not {"*", "=", ","}.isdisjoint(selector)


def list_credentials(target: Target) -> dict[str, SecretRef | str | None]:
    """What a target names for its own credentials, by the setting below it."""
    return {
        "token": target.token,
        "state.url": target.state.url,
        STATE_KEY: target.state.key,
        **{f"agents.{agent}": token for agent, token in target.agents.items()},
        **dict(iter_references(target.source_settings)),
    }


def collect_credentials(targets: Mapping[str, Target]) -> ReservedVariables:
    """The variables and files that these targets name for their own credentials.

    These are token, agents, state, and what opens a source of secrets.
    """
    variables: dict[str, str] = {}
    files: dict[str, str] = {}
    references: list[tuple[SecretRef, str]] = []
    families: dict[str, str] = {}
    names_by_source = {"env": variables, "file": files}
    for name, target in targets.items():
        for reader, setting in _fixed_names(target):
            for family, (readers, _) in CREDENTIAL_FAMILIES.items():
                if reader in readers:
                    families.setdefault(family, f"targets.{name}.{setting}")
        for setting, value in list_credentials(target).items():
            setting_path = f"targets.{name}.{setting}"
            if isinstance(value, SecretRef) and value.arguments:
                references.append((value, setting_path))
            elif isinstance(value, SecretRef):
                names = names_by_source.get(value.source, {})
                named = value.name.upper() if names is variables else value.name
                # A state key is one, whatever else names it.
                if setting == STATE_KEY or named not in names:
                    names[named] = setting_path
            elif isinstance(value, str) and (path := _local_path(value)):
                files.setdefault(path, setting_path)
    return ReservedVariables(variables, files, tuple(references), families)


def _fixed_names(target: Target) -> Iterator[tuple[str, str]]:
    """What of a target reads variables that it does not name, and the setting that says so."""
    url = target.state.url
    # Where a variable has the url, any store may be meant.
    schemes = STATE_SCHEMES
    if isinstance(url, str):
        # Git gives AWS_* to the credential helper of CodeCommit.
        schemes = (url.partition(":")[0].strip().lower(), "s3" * ("codecommit" in url))
    yield from ((scheme, "state.url") for scheme in schemes)
    for source, settings in target.source_settings.items():
        yield from ((reader, source) for reader in (source, *settings))


def iter_references(
    settings: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, SecretRef]]:
    """The path and the reference of each `{env: NAME}` or `{file: PATH}`, at any depth."""
    for key, value in settings.items():
        if not isinstance(value, Mapping):
            continue
        source, name = next(iter(value.items()), ("", None))
        if len(value) == 1 and source in {"env", "file"} and isinstance(name, str):
            yield f"{prefix}{key}", SecretRef(source, name)
        else:
            yield from iter_references(value, f"{prefix}{key}.")


def _local_path(url: str) -> str:
    """The file path in a state's URL; "" for a URL of something else."""
    path = url.removeprefix("sqlite:///").removeprefix("file://")
    return "" if "://" in path else path
