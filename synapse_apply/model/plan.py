"""What a plan holds, when it can be applied, and which of its changes count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, field
from enum import Enum
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.command import WithCommands
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, Position
from synapse_apply.model.frozen import frozen
from synapse_apply.model.job import Verification
from synapse_apply.model.json_values import OMITTED_BY_DEFAULT
from synapse_apply.model.project import RULE_ID_PREFIX, MovedAddress
from synapse_apply.model.remote import DryRunCounts
from synapse_apply.model.resource import Capabilities
from synapse_apply.model.state import BackendIdentity

# The summary of the warning by which a plan tells that it may be old already.
CONCURRENT_RUN_SUMMARY = "Another run is changing this target"
# That of the warning of a release that a lost create or somebody else may have published.
UNTOLD_PACKAGE_SUMMARY = "It is unknown whose package is published"
# In `extras` of a change: somebody else manages the object, which is never written.
EXTERNAL: Mapping[str, Any] = {"external": True}
# How the summary of a freeze begins that has an end.
FROZEN_UNTIL_SUMMARY = "Changes are frozen until"
# Rules of refusals that a later plan may be without, although nobody changed anything here: another
# run ends, a call is old enough to be looked up, another target verifies what is released.
OTHER_RUN_RULE = "other-run"
OUTCOME_NOT_KNOWN_YET_RULE = "outcome-not-known-yet"
NOT_VERIFIED_YET_RULE = "require-verified"
# Before the rule by which a dependency is refused that the plan does not show.
OF_DEPENDENCY = "dependency: "
_RULES_THAT_END = frozenset({OTHER_RUN_RULE, OUTCOME_NOT_KNOWN_YET_RULE, NOT_VERIFIED_YET_RULE})


class Action(Enum):
    """What a plan does with one address; the value is the word in plans and JSON."""

    CREATE = "create"
    ADOPT = "adopt"
    UPDATE = "update"
    RECREATE = "recreate-missing"
    DELETE = "delete"
    FORGET = "forget"
    NO_OP = "no-op"

    # Enum's __hash__ is Python code, and would run for each lookup in a set of actions.
    __hash__ = object.__hash__


class Cause(Enum):
    """Why a field differs; NONE for create and adopt."""

    GIT = "git"
    DRIFT = "drift"
    BOTH = "both"
    SECRET = "secret"  # noqa: S105 - a cause, not a password
    NONE = "none"


@frozen
class FieldChange:
    """One field that differs; `path` is relative to spec.

    `before` and `after` are JSON, ABSENT, or KnownAfterApply, and ABSENT whenever `sensitive`:
    a plan holds no secret. `note` is the text shown for a secret: "changed", "unchanged",
    "not checked: RAW_KEY is not set". `inside` are the paths within a changed list that differ.
    `stable_after` is the address whose id is sent, also where `after` is that id already, and the
    keyed digest of a secret ("" where there is no state key).
    `origin` says of a live value that equals what a given-up call sent whose it is or may be.
    `reference` is a digest of where the secret that is sent comes from ("" for a value of the
    manifest, and in plans of earlier versions).
    """

    path: FieldPath
    before: Any
    after: Any
    cause: Cause
    sensitive: bool = False
    note: str = ""
    inside: tuple[FieldPath, ...] = ()
    stable_after: str = field(default="", metadata={OMITTED_BY_DEFAULT: True})
    origin: str = field(default="", metadata={OMITTED_BY_DEFAULT: True})
    reference: str = field(default="", metadata={OMITTED_BY_DEFAULT: True})


@frozen
class Refusal(WithCommands):
    """Something that cannot be done: why, and the ways out. `rule` names what refused.

    `outcome_unknown` marks an earlier call of which it is unknown whether it had an effect (exit
    7).
    """

    TEXT_FIELDS = ("reason", "ways_out")

    rule: str
    reason: str
    ways_out: tuple[str, ...] = ()
    position: Position | None = None
    outcome_unknown: bool = False

    @property
    def ends_by_itself(self) -> bool:
        """Whether a later plan may be without it, although nobody changed anything here."""
        return self.rule.removeprefix(OF_DEPENDENCY) in _RULES_THAT_END

    @property
    def hides_drift(self) -> bool:
        """Whether a difference of this very object may be the effect of an earlier call."""
        return self.outcome_unknown and not self.rule.startswith(OF_DEPENDENCY)


@frozen
class Change(WithCommands):
    """What a plan says of one address.

    `fields` are the differing fields (for a create all of them). `before` and `after` are whole
    objects with None at every sensitive path; `before_sensitive`/`after_sensitive` list those
    paths. `rebase` asks apply to record desired as applied and live as seen without a call.
    `fingerprint` covers the compared values, so that a saved plan notices a changed object.
    `extras` is what steps need beside fields (such as a package's digest), JSON only.
    `verification` is the run that follows, a step of its own: it is no drift, and not counted.
    `held` are fields whose drift is kept (`on_drift: hold`): from
    the live value to the declared one. `accepted` are fields whose difference
    `state accept` has accepted. `of_git`: a recreation, or an update of what drifted, also does
    what the record does not have (another value, package or run, a secret of another place), or is
    there for a commit alone, which ignores or keeps less. `blame` has names of fields, with where
    their live values come from, and `labels` those of its manifest, as KEY=VALUE; only a
    controller asks for both.
    """

    TEXT_FIELDS = ("refusals", "notes")

    address: Address
    action: Action
    fields: tuple[FieldChange, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()
    depends_on: tuple[Address, ...] = ()
    remote_id: str = ""
    api: str = ""
    reason: str = ""
    rebase: bool = False
    superseded: bool = False
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    before_sensitive: tuple[FieldPath, ...] = ()
    after_sensitive: tuple[FieldPath, ...] = ()
    after_unknown: tuple[FieldPath, ...] = ()
    fingerprint: str = ""
    extras: Mapping[str, Any] = field(default_factory=dict)
    position: Position | None = None
    verification: Verification | None = None
    held: tuple[FieldChange, ...] = ()
    accepted: tuple[FieldChange, ...] = ()
    of_git: bool = field(default=False, metadata={OMITTED_BY_DEFAULT: True})
    blame: tuple[tuple[str, str], ...] = field(default=(), metadata={OMITTED_BY_DEFAULT: True})
    labels: tuple[str, ...] = field(default=(), metadata={OMITTED_BY_DEFAULT: True})

    @property
    def is_refused(self) -> bool:
        return bool(self.refusals)

    @property
    def is_due(self) -> bool:
        """Whether a reader of the plan sees that something will be done about this address."""
        due = self.action is not Action.NO_OP or self.verification is not None
        return due and not self.superseded and not self.is_refused

    @property
    def replaces_package(self) -> bool:
        """Whether it uploads another package in the place of the published one."""
        return self.action is Action.UPDATE and "package" in self.extras

    @property
    def field_causes(self) -> frozenset[Cause]:
        """Why its fields differ; a package, which is no field, differs because of Git."""
        causes = frozenset(change.cause for change in self.fields)
        return causes | {Cause.GIT} if self.replaces_package else causes

    @property
    def has_unrefused_call_or_run(self) -> bool:
        """Whether apply would send a mutating call for this change, or start or follow its run."""
        if self.is_refused:
            return False
        if self.verification is not None:
            return True
        # Adopting an object as it is only writes a record.
        if self.action is Action.ADOPT:
            return bool(self.fields)
        return self.action in SERVER_CHANGING_ACTIONS


SERVER_CHANGING_ACTIONS = frozenset({Action.CREATE, Action.UPDATE, Action.RECREATE, Action.DELETE})


@frozen
class GuardViolation(WithCommands):
    """A guard that stops the whole apply; `name` is its value of `--override-guard`.

    A guard that counts has the counted `rows`, of which at most `limit` may be removed.
    """

    TEXT_FIELDS = ("detail",)

    name: str
    summary: str
    detail: str = ""
    rows: tuple[Address, ...] = ()
    limit: int = 0

    @property
    def untold_option(self) -> str:
        """The option that overrides it; "" where the detail names it."""
        option = f"--override-guard {self.name}"
        return "" if option in self.detail else option

    @property
    def ends_by_itself(self) -> bool:
        """Whether only time has to pass: a freeze of the policy that has an end."""
        is_of_policy = self.name.startswith(RULE_ID_PREFIX)
        return is_of_policy and self.summary.startswith(FROZEN_UNTIL_SUMMARY)


@frozen
class PlanBase:
    """What a plan was made from.

    `revision` names the commit of the manifests, if they are not the checkout's. `against`
    names what an offline plan uses in place of state and backend; such a plan is never applied.
    `compared` is False where there is not even that, so that everything counts as new.
    `dirty` are the files of the checkout that differ from `commit`.
    """

    target: str
    binding: BackendIdentity
    lineage: str
    serial: int
    manifests_digest: str = ""
    commit: str = ""
    revision: str = ""
    against: str = ""
    compared: bool = True
    dirty: tuple[str, ...] = ()

    @property
    def is_offline(self) -> bool:
        """Whether the plan was made without state and backend."""
        return bool(self.against)


@frozen
class PlanSummary:
    """The counts of the `Plan:` line; `blocked` counts refused changes."""

    add: int = 0
    change: int = 0
    destroy: int = 0
    import_: int = 0
    forget: int = 0
    blocked: int = 0


@frozen
class Plan(WithCommands):
    """The changes in the order in which they are applied, with guards and findings.

    `changes` has one entry per address, no-ops included. `moved` are the records that apply
    renames first, whatever is selected. `trial` is set where the calls were tried by a dry run.
    A plan with errors is shown and never applied.
    """

    TEXT_FIELDS = ("changes", "guards", "diagnostics")

    id: str
    created: str
    tool_version: str
    base: PlanBase
    changes: tuple[Change, ...] = ()
    guards: tuple[GuardViolation, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    capabilities: Capabilities = Capabilities()
    moved: tuple[MovedAddress, ...] = ()
    trial: DryRunCounts | None = None

    # A script holds a plan between its approval and its apply. There is one in a run, so that this
    # costs nothing; each of its rows, of which there may be thousands, would take 50 us longer.
    def __setattr__(self, name: str, value: object) -> None:
        """FrozenInstanceError for a field that has a value."""
        if hasattr(self, name):
            raise FrozenInstanceError(f"a plan is not changed: {name} stays as it is")
        object.__setattr__(self, name, value)

    @property
    def has_errors(self) -> bool:
        return any(diagnostic.is_error for diagnostic in self.diagnostics)

    @property
    def refused_changes(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.refusals)

    @property
    def changes_with_accepted(self) -> tuple[Change, ...]:
        """The changes that have an accepted difference."""
        return tuple(change for change in self.changes if change.accepted)

    @property
    def actionable_changes(self) -> tuple[Change, ...]:
        """The changes for which apply does something, even if only in the state."""
        return tuple(
            change
            for change in self.changes
            if not change.refusals
            and (change.action is not Action.NO_OP or change.rebase or change.verification)
            and not change.superseded
        )

    @property
    def is_applyable(self) -> bool:
        """Whether apply would do anything: a refused change does not prevent the others.

        An error, an open guard or an offline plan prevents all.
        """
        # Renames of records alone are worth an apply as well.
        is_unblocked = not (self.has_errors or self.guards or self.base.is_offline)
        return is_unblocked and bool(self.actionable_changes or self.moved)

    @property
    def has_changes(self) -> bool:
        """Whether the plan shows anything to do; an update of a record alone does not count.

        A plan that was compared with nothing always has changes, as everything counts as new.
        """
        is_due = any(change.is_due for change in self.changes)
        return not self.base.compared or bool(self.moved) or is_due

    @property
    def changes_to_verify(self) -> tuple[Change, ...]:
        """The changes that are followed by a verification run."""
        return tuple(c for c in self.changes if c.verification is not None and not c.refusals)

    @property
    def summary(self) -> PlanSummary:
        counted_changes = [
            c
            for c in self.changes
            if c.action is not Action.NO_OP and not c.refusals and not c.superseded
        ]
        count = Counter(c.action for c in counted_changes)
        # An adoption with fields is an import and a change, as in Terraform.
        adopted_changes = sum(c.action is Action.ADOPT and bool(c.fields) for c in counted_changes)
        return PlanSummary(
            add=count[Action.CREATE] + count[Action.RECREATE],
            change=count[Action.UPDATE] + adopted_changes,
            destroy=count[Action.DELETE],
            import_=count[Action.ADOPT],
            forget=count[Action.FORGET],
            blocked=len(self.refused_changes),
        )
