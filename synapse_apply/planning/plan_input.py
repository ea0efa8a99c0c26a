"""Which data a plan is made from: declared, live and recorded resources, made comparable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import cached_property
from typing import NamedTuple

from synapse_apply.kinds.descriptor import ApiBinding, Catalogue, FieldRule, ResourceType
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, Position
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.job import OtherTargetRuns
from synapse_apply.model.json_types import Spec
from synapse_apply.model.packages import PackageFlaw
from synapse_apply.model.plan import PlanBase, Refusal
from synapse_apply.model.project import GuardSettings, MovedAddress, Policy, Target
from synapse_apply.model.remote import DryRunCounts
from synapse_apply.model.resource import (
    Capabilities,
    Desired,
    Lookup,
    LookupResult,
    Observed,
    Package,
)
from synapse_apply.model.state import Intent, Record
from synapse_apply.model.values import Fields, KnownAfterApply

_NO_RULE = FieldRule("")

# Whether a live value can be written into the files in place of a field's declared value.
CanWrite = Callable[[Desired, FieldPath], bool]


class ActingCall(NamedTuple):
    """A given-up call that may act until a time (RFC 3339, UTC).

    `beside` are the undeclared fields that it would change if it acted on the live object now;
    a text says how these cannot be compared.
    """

    call: Intent
    until: str
    beside: tuple[FieldPath, ...] | str


class PackageVerdict(NamedTuple):
    """Why a package must not be published, and notes on what was let pass."""

    flaws: tuple[PackageFlaw, ...] = ()
    notes: tuple[str, ...] = ()


class SeriesKey(NamedTuple):
    """A series of a kind, by the name that its members refer to their owner by."""

    kind: str
    series: str


# The versions that are live in a series, whether recorded or not.
PublishedVersions = Mapping[SeriesKey, Sequence[str]]


@frozen
class ResourceState:
    """One address, declared or recorded or both.

    `declared_fields` are the declared fields (references as remote ids or KnownAfterApply, secrets
    as DesiredSecret); `live_fields` the observed ones (secrets as Mac with `salt`, or
    WithheldSecret). `salt` is the record's, or a new one for an address without record.
    `natural_key` is that of the declared fields ("" for none). `acting` are the
    record's given-up calls that may still act, the longest first. `sent_beside` has by the id of a
    given-up call the fields that are live as it sent them, undeclared ones and secrets.
    `other_addresses` are those with its owner's name in the place of the owner's id, and the other
    way round.
    """

    address: Address
    type: ResourceType
    binding: ApiBinding
    lookup_result: LookupResult
    desired: Desired | None = None
    declared_fields: Fields = field(default_factory=dict)
    live_fields: Fields = field(default_factory=dict)
    record: Record | None = None
    salt: str = ""
    natural_key: str = ""
    acting: tuple[ActingCall, ...] = ()
    sent_beside: Mapping[str, frozenset[FieldPath]] = field(default_factory=dict)
    other_addresses: tuple[Address, ...] = ()
    # The live object, where one was found. A field, since it is asked for most.
    observed: Observed | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.observed = self.lookup_result.observed  # type: ignore[misc] # set nowhere else

    @property
    def spec(self) -> Spec:
        """What is declared of its fields."""
        return self.desired.spec if self.desired else {}

    @property
    def package(self) -> Package | None:
        """The declared package of a kind that carries one."""
        return self.desired.package if self.desired and self.type.carries_package else None

    @property
    def is_external(self) -> bool:
        """Whether it is declared as an object of another owner, which is never written."""
        return self.desired is not None and self.desired.is_external

    @property
    def ignored(self) -> tuple[FieldPath, ...]:
        return self.desired.lifecycle.ignore_changes if self.desired else ()

    def position(self, path: FieldPath | None = None) -> Position | None:
        """Where it is declared; with a path, the field there, or the nearest one above it."""
        if self.desired is None:
            return None
        return self.desired.position if path is None else self.desired.find_position(path)

    @property
    def remote_id(self) -> str:
        """The id of the found object, else the pinned one, else the recorded; "" for none."""
        if self.observed is not None:
            return self.observed.remote_id
        pinned = self.desired.remote_id if self.desired else None
        return pinned or (self.record.remote_id if self.record else "")

    @property
    def pins_another(self) -> bool:
        """Whether the pinned id is of another object than the recorded one."""
        pinned, record = self.desired.remote_id if self.desired else None, self.record
        is_of_api = record is not None and record.api == self.binding.api
        return bool(pinned and record and is_of_api and record.remote_id != pinned)

    @property
    def recorded(self) -> Fields:
        """What was sent of each field; of an object that was imported, what was seen then."""
        return (self.record.applied or self.record.seen) if self.record else {}

    @property
    def member(self) -> tuple[SeriesKey, str]:
        """Its series and version, as declared, else as recorded; both "" where it has none."""
        series, version = "", ""
        if self.desired is not None:
            series, version = self.type.locate_in_series(self.desired.spec)
        elif self.record is not None:
            series, version = self.record.series, self.record.version
        return SeriesKey(self.address.kind, series), version

    @property
    def identity_name(self) -> str:
        """Which field another object of the kind differs in, for people."""
        return self.type.version_field if self.type.series_field else "name"

    def rule(self, path: FieldPath) -> FieldRule:
        """The rule of the top-level field that contains a path; one without rules if unknown."""
        return self.type.rules.get(str(path[0]), _NO_RULE)

    def is_fixed(self, path: FieldPath) -> bool:
        """Whether this API can never change this field of an existing object."""
        return self.type.is_unchangeable_field(self.binding, path[0])

    @cached_property
    def needs(self) -> tuple[Address, ...]:
        """The addresses that a declared resource depends on: by depends_on, references, waits."""
        if self.desired is None:
            return ()
        waits = (
            value.address
            for value in self.declared_fields.values()
            if type(value) is KnownAfterApply
        )
        return tuple(sorted({*self.desired.needs, *waits}))

    @property
    def addresses(self) -> tuple[Address, ...]:
        """All addresses that policy rules judge it by."""
        return self.address, *self.other_addresses

    @property
    def deleted_by(self) -> str:
        """Which given-up delete may have taken a missing object away, after `is gone`; else ""."""
        calls = self.record.given_up if self.record and not self.observed else ()
        deletes = (call for call in reversed(calls) if call.verb == "delete")
        return next(
            (f": call {c.id} of apply {c.plan_id} may have deleted this object" for c in deletes),
            "",
        )

    @property
    def is_unsearchable(self) -> bool:
        """Whether nothing was looked up: the id is of another API version, and no search tells."""
        return (
            self.record is not None
            and self.record.api != self.binding.api
            and self.observed is None
            and self.lookup_result.lookup is not Lookup.COMPLETE
        )


@frozen
class PlanOptions:
    """What a plan is asked to do, by default as little as possible.

    `selected` limits the plan to these addresses (None: all). `overridden` are guard names.
    `partial` says that only some manifests were read, so that a record without one may still be
    declared. With `verify`, due runs are planned; those of `verify_now` are due in any case.
    `allow_locked` allows sealed objects to be deleted, `allow_replace` published packages to be
    replaced where the platform lets them be. `revert_drift` has precedence over `on_drift`.
    `no_package_check` are ids of rules that packages may violate, `typed` the words of the options
    that an apply needs in order to do the same and no more. Where `guards` or `on_drift` is
    not given, that of the target counts; `policy` and `owners` are always the target's.
    """

    prune: bool = False
    adopt: bool = False
    recreate: bool = False
    resend_secrets: bool = False
    partial: bool = False
    verify: bool = True
    verify_now: frozenset[Address] = frozenset()
    overridden: frozenset[str] = frozenset()
    selected: frozenset[Address] | None = None
    guards: GuardSettings | None = None
    policy: Policy = Policy()
    owners: tuple[str, ...] = ()
    on_drift: str = ""
    revert_drift: bool = False
    allow_locked: bool = False
    allow_replace: bool = False
    no_package_check: frozenset[str] = frozenset()
    typed: tuple[str, ...] = ()

    def with_target_rules(self, target: Target) -> PlanOptions:
        """A copy with the target's policy and owners; its guards and drift rule where not given."""
        return replace(
            self,
            guards=self.guards or target.guards,
            policy=target.policy,
            owners=target.owners,
            on_drift=self.on_drift or target.on_drift,
        )

    def selects(self, address: Address) -> bool:
        """Whether the plan is of this address, too."""
        return self.selected is None or address in self.selected

    @property
    def holds_drift(self) -> bool:
        """Whether a field that changed only on the live side is left as it is."""
        return self.on_drift == "hold" and not self.revert_drift


@frozen
class PlanInput:
    """Everything that a plan is made from; `plan_id` and `created` are given, so planning is pure.

    `looked_up` are calls whose outcome was found now, and is in no state yet; `forgotten` has the
    ids of the objects, by address, of those whose record is gone. By the id of an open call,
    `seconds_until_resolvable` says for too recent ones in how many seconds a look-up will be
    conclusive, `call_ends` until when it may act, `recovery_hints` how to record one that a
    recovery file shows as done. `open_call_by_new_address` has the address of the open call by each
    new address whose object that call may have made. `other_targets` are, by name, the targets in
    which a release must have been verified before it is created here. `moved` are the renames that
    were made in the records, `move_refusals` say by address why others were not, `unmoved` are
    recorded addresses that wait for theirs, `removed_addresses` those that `removed:` names.
    `dry_run_refusals` are the backend's refusals of dry runs of an earlier plan, `trial` the number
    of those dry runs. `published_versions` are the live versions of a series, by (prefix, series),
    if a policy rule needs them. `can_write` says for hints in refusals whether a live value can be
    written into the files, `judge_package` what is wrong with a package that would be published.
    `declared_in_other_targets` are addresses that are declared in other targets with the same
    rules. `has_concurrent_run` says that another run was active while state and backend were read,
    so that an object without record may be that run's.
    """

    plan_id: str
    created: str
    tool_version: str
    base: PlanBase
    catalogue: Catalogue
    resources: Mapping[Address, ResourceState] = field(default_factory=dict)
    open_intents: tuple[Intent, ...] = ()
    looked_up: tuple[Intent, ...] = ()
    forgotten: Mapping[Address, str] = field(default_factory=dict)
    seconds_until_resolvable: Mapping[str, float] = field(default_factory=dict)
    call_ends: Mapping[str, str] = field(default_factory=dict)
    recovery_hints: Mapping[str, str] = field(default_factory=dict)
    open_call_by_new_address: Mapping[Address, Address] = field(default_factory=dict)
    options: PlanOptions = PlanOptions()
    capabilities: Capabilities = Capabilities()
    diagnostics: tuple[Diagnostic, ...] = ()
    other_targets: Mapping[str, OtherTargetRuns] = field(default_factory=dict)
    moved: tuple[MovedAddress, ...] = ()
    move_refusals: Mapping[Address, Refusal] = field(default_factory=dict)
    unmoved: frozenset[Address] = frozenset()
    dry_run_refusals: Mapping[Address, Refusal] = field(default_factory=dict)
    trial: DryRunCounts | None = None
    removed_addresses: frozenset[Address] = frozenset()
    published_versions: PublishedVersions = field(default_factory=dict)
    can_write: CanWrite = lambda *_: True
    judge_package: Callable[[Desired, PlanOptions], PackageVerdict] = lambda *_: PackageVerdict()
    declared_in_other_targets: frozenset[str] = frozenset()
    has_concurrent_run: bool = False
