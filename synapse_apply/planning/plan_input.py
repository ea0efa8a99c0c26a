"""What the planner is given: everything that is declared, live and recorded, made comparable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace

from synapse_apply.kinds.descriptor import ApiBinding, Catalogue, ResourceType
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, Path
from synapse_apply.model.frozen import frozen
from synapse_apply.model.observed import Capabilities, LookupResult
from synapse_apply.model.plan import PlanBase, Refusal
from synapse_apply.model.policy import Policy
from synapse_apply.model.project import GuardSettings, Target
from synapse_apply.model.refactoring import MovedAddress
from synapse_apply.model.remote.dry_run_counts import DryRunCounts
from synapse_apply.model.resource import Desired
from synapse_apply.model.state import Intent, Record
from synapse_apply.model.values import Fields
from synapse_apply.model.verification import OtherTargetRuns

# Whether a live value can be written where the declared one of a field stands.
CanWrite = Callable[[Desired, Path], bool]


def can_always_write(_desired: Desired, _path: Path) -> bool:
    """Every field stands in a manifest of its own."""
    return True


PublishedVersions = Mapping[tuple[str, str], Sequence[str]]


@frozen
class ResourceState:
    """One address, declared or recorded or both.

    `declared_fields` holds the declared fields (references resolved to remote ids as text or
    KnownAfterApply, secrets as SecretWant); `live_fields` the observed ones (secrets as Mac under
    `salt`, or Withheld). `salt` is the record's, or a fresh one for an address without record.
    `natural_key` is what the declared fields give ("" where they give none).
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


@frozen
class PlanOptions:
    """What is asked for, by default as little as can be.

    `selected` limits the plan to these addresses (None: all). `overridden` are guard names.
    `partial`: only some of the manifests were read, so that what has none may still be declared.
    `verify`: runs that are due are planned; those of `verify_now` are due in any case.
    `allow_locked`: what was sealed for good may be deleted, too. `revert_drift` goes before the
    rule `on_drift`. Where `guards` or `on_drift` is not given, the target's count; `policy` is
    always the target's.
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
    on_drift: str = ""
    revert_drift: bool = False
    allow_locked: bool = False

    def with_target_rules(self, target: Target) -> PlanOptions:
        """The same, with the target's rules where none were given."""
        return replace(
            self,
            guards=self.guards or target.guards,
            policy=target.policy,
            on_drift=self.on_drift or target.on_drift,
        )

    @property
    def holds_drift(self) -> bool:
        """Whether what only the live side moved is left as it is."""
        return self.on_drift == "hold" and not self.revert_drift


@frozen
class PlanInput:
    """Everything a plan is made from; `plan_id` and `created` are given, so planning is pure.

    `seconds_until_resolvable` tells for open intents that are only too young to be settled in how
    many seconds a look-up will be conclusive, `recovery_hints` how to record those of which a file
    tells that they were done. `open_call_by_new_address` are new addresses of what an open call may
    have made, each with that call's address. `other_targets` are the targets in which a release
    must have been verified before it is made here, by name. `moved` are the records that were
    renamed for it, `removed_addresses` the recorded addresses that the project file lets go.
    `dry_run_refusals` is what the backend refused when the calls of an earlier plan were tried,
    `trial` how many were. `published_versions` are the versions that are live of a series, by
    (prefix, series), where a rule of the policy asks. `can_write` is asked, for the words of a
    refusal, whether a live value can go into the files. `declared_in_other_targets` are addresses
    that other targets declare which the same rules hold for. `has_concurrent_run`: another run was
    at work while state and backend were read, so that what has no record may be that run's.
    """

    plan_id: str
    created: str
    tool_version: str
    base: PlanBase
    catalogue: Catalogue
    resources: Mapping[Address, ResourceState] = field(default_factory=dict)
    open_intents: tuple[Intent, ...] = ()
    seconds_until_resolvable: Mapping[Address, float] = field(default_factory=dict)
    recovery_hints: Mapping[Address, str] = field(default_factory=dict)
    open_call_by_new_address: Mapping[Address, Address] = field(default_factory=dict)
    options: PlanOptions = PlanOptions()
    capabilities: Capabilities = Capabilities()
    diagnostics: tuple[Diagnostic, ...] = ()
    other_targets: Mapping[str, OtherTargetRuns] = field(default_factory=dict)
    moved: tuple[MovedAddress, ...] = ()
    dry_run_refusals: Mapping[Address, Refusal] = field(default_factory=dict)
    trial: DryRunCounts | None = None
    removed_addresses: frozenset[Address] = frozenset()
    published_versions: PublishedVersions = field(default_factory=dict)
    can_write: CanWrite = can_always_write
    declared_in_other_targets: frozenset[str] = frozenset()
    has_concurrent_run: bool = False
