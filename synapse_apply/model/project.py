"""What the project file declares: targets, variables, providers, moves, the policy."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synapse_apply.model.address import Address
from synapse_apply.model.dated_exception import DatedException, subjects_that_hold
from synapse_apply.model.diagnostic import Diagnostic, Position
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.secrets.secret_rules import (
    CREDENTIAL_FAMILIES,
    NO_RESERVED_SOURCES,
    STATE_SCHEMES,
    ReservedVariables,
    SettingOffer,
    find_paths_in_url,
)
from synapse_apply.model.values import SecretRef

if TYPE_CHECKING:
    from synapse_apply.model.cron import Window
    from synapse_apply.model.state import Intent, Record


DENY, WARN, OFF = "deny", "warn", "off"
RULE_ID_PREFIX = "policy:"


@frozen
class PolicyRule:
    """One rule; `check` is the built-in check that it uses, the rest are that check's parameters.

    `only` and `excepted` are addresses, patterns of addresses, or prefixes of kinds; an empty
    `only` means all. `exceptions` are those that end; `excepted` has them after `Policy.at`.
    `severity` is deny or warn. `position` is in the project file; `is_default`: it is not written
    there.
    """

    check: str
    name: str
    severity: str = DENY
    only: tuple[str, ...] = ()
    excepted: tuple[str, ...] = ()
    exceptions: tuple[DatedException, ...] = ()
    values: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    limit: int = 0
    window: Window | None = None
    is_default: bool = False
    # Not compared: two files may hold the same rule at different positions.
    position: Position | None = field(default=None, compare=False)

    @property
    def id(self) -> str:
        """The rule's id in refusals, guards and findings."""
        return f"{RULE_ID_PREFIX}{self.name}"

    @property
    def is_denying(self) -> bool:
        return self.severity == DENY

    def applies_to(self, *addresses: Address) -> bool:
        """Whether the rule applies to a resource, by the addresses that it has.

        Labels never count, since a manifest could exempt itself by one. So is it with an id in
        the place of a name, where the resource has an address by name.
        """
        is_included = not self.only or any(
            _matches_any_pattern(address, self.only) for address in addresses
        )
        return is_included and not _matches_any_pattern(choose_named(addresses), self.excepted)


def choose_named(addresses: Sequence[Address]) -> Address:
    """The first address that has no id in the place of a name; else the first one."""
    return next((one for one in addresses if not one.name.startswith("id=")), addresses[0])


def _matches_any_pattern(address: Address, patterns: tuple[str, ...]) -> bool:
    return any(
        address.kind == pattern or fnmatchcase(str(address), pattern) for pattern in patterns
    )


# Rules of every target that is not embedded, unless its project replaces them: the platform
# lets a debug release be uploaded again under the same version, so its content is not fixed.
DEFAULT_RULES = (PolicyRule("no-debug-releases", "no-debug-releases", is_default=True),)


@frozen
class AllowedSecret:
    """A finding that may be published; `line` may be 0 where its file has no other one."""

    file: str
    digest: str
    reason: str
    line: int = 0
    exception: DatedException | None = None


@frozen
class Policy:
    """The rules of a target, and findings they let pass; `unreleased_source` is note or refuse.

    `brake` are figures by name for a controller that restores what was changed outside of Git.
    """

    unreleased_source: str = "note"
    rules: tuple[PolicyRule, ...] = ()
    allow_package_secrets: tuple[AllowedSecret, ...] = ()
    brake: Mapping[str, float] = field(default_factory=dict)

    @property
    def exceptions(self) -> tuple[DatedException, ...]:
        """All that it lets pass until a day."""
        allowed = (one.exception for one in self.allow_package_secrets)
        of_rules = (one for rule in self.rules for one in rule.exceptions)
        return (*of_rules, *(one for one in allowed if one is not None))

    def at(self, today: str) -> Policy:
        """The policy as it is on a day: without exceptions that have ended."""
        if not self.exceptions:
            return self
        return replace(
            self,
            rules=tuple(
                replace(
                    rule,
                    excepted=(*rule.excepted, *subjects_that_hold(rule.exceptions, today)),
                    exceptions=(),
                )
                for rule in self.rules
            ),
            allow_package_secrets=tuple(
                one
                for one in self.allow_package_secrets
                if one.exception is None or not one.exception.has_ended(today)
            ),
        )


@frozen
class MovedAddress:
    """An object's old and new address, both of one kind."""

    old: Address
    new: Address
    position: Position | None = None


@frozen
class RemovedAddress:
    """An address that is deliberately no longer managed; its object stays."""

    address: Address
    position: Position | None = None


Renames = Mapping[Address, Address]
# Called with a record before and after a rename; returns the record to write.
RecordFinisher = Callable[["Record", "Record"], "Record"]


def iter_move_chains(
    moves: Iterable[MovedAddress],
) -> Iterator[tuple[list[MovedAddress], list[Address]]]:
    """Each chain of consecutive moves, and its addresses from first to last.

    Cycles are left out.
    """
    by_old = {move.old: move for move in moves}
    # A chain starts at an address that no move leads to; a cycle has none.
    new_addresses = {move.new for move in by_old.values()}
    for start in (old for old in by_old if old not in new_addresses):
        chain = [by_old[start]]
        while chain[-1].new in by_old:
            chain.append(by_old[chain[-1].new])
        yield chain, [start, *(move.new for move in chain)]


def orient_moves_to_declared(
    moves: Sequence[MovedAddress], declared: Collection[Address]
) -> tuple[MovedAddress, ...]:
    """The moves, reversed where needed so that each chain ends at its declared address.

    For manifests of an older commit, which may declare an address from before a move.
    """
    oriented_moves: list[MovedAddress] = []
    for chain, addresses in iter_move_chains(moves):
        ends = [index for index, address in enumerate(addresses) if address in declared]
        # With several declared addresses, or none, nothing shows which way is meant, so moves stay.
        end = ends[0] if len(ends) == 1 else len(chain)
        oriented_moves += chain[:end]
        oriented_moves += (MovedAddress(move.new, move.old, move.position) for move in chain[end:])
    return tuple(oriented_moves)


def return_renamed_record_unchanged(_before: Record, after: Record) -> Record:
    """A RecordFinisher that writes the renamed record as it is."""
    return after


def iter_records_changed_by_renames(
    records: Iterable[Record],
    renames: Renames,
    finish: RecordFinisher = return_renamed_record_unchanged,
) -> Iterator[Record]:
    """The records that renames change: those that are renamed, and those that refer to them.

    `finish` is called with each record before and after, and returns the one to write.
    """
    series = {str(old): str(new) for old, new in renames.items()}
    for record in records:
        renamed_record = replace(
            record,
            address=renames.get(record.address, record.address),
            depends_on=tuple(
                renames.get(dependency, dependency) for dependency in record.depends_on
            ),
            series=series.get(record.series, record.series),
        )
        # Unchanged records are not written, so that they keep their time of update.
        if renamed_record != record:
            yield finish(record, renamed_record)


def with_member_renames(
    entries: Iterable[Record | Intent], renames: Renames
) -> dict[Address, Address]:
    """The renames, with those of members of a renamed series, whose names contain its name."""
    all_renames = dict(renames)
    owners = {str(old): (old, new) for old, new in renames.items()}
    for entry in entries:
        if entry.series in owners and entry.address not in renames:
            old, new = owners[entry.series]
            # The name of a member is OWNER@VERSION; the version itself may have no `@`.
            owner, separator, version = entry.address.name.rpartition("@")
            if separator and owner == old.name:
                all_renames[entry.address] = entry.address._replace(name=f"{new.name}@{version}")
    return all_renames


def list_member_addresses(records: Iterable[Record], addresses: Iterable[Address]) -> set[Address]:
    """The addresses of recorded members of the series of these addresses."""
    owners = set(map(str, addresses))
    return {record.address for record in records if record.series in owners} if owners else set()


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
    verified before it is created here. `owners` are the names of who manages it: the first marks
    what is published, the others were its names before. `source_settings` are the target's blocks
    of sources of secrets, by the source's name, as the project file has them. `unsupported_fields`
    is error or warning: how fields that an API version does not have are reported. `looked_at` are
    the sources in which url, tenant and token were searched. `row` are the values of the row of a
    list that the target was made from, None where it is written out. `opened` is as in
    ReservedVariables: the allow-lists of a pinned revision.
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
    owners: tuple[str, ...] = ()
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
            elif isinstance(value, str):
                local = path_in_state_url(value)
                paths = (local if "://" not in local else "", *find_paths_in_url(value))
                for path in filter(None, paths):
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
    # Whatever a target is, its servers may be reached through one.
    yield "proxy", "url"
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


def path_in_state_url(url: str) -> str:
    """A state's URL without the scheme of a file; one of something else as it is."""
    return url.removeprefix("sqlite:///").removeprefix("file://")
