"""What a row of a plan is to who decides about it, and what is decided, as values.

A worker makes them of its plan; the loop and the worker judge them by the same rules
(`rules/judging.py`), the loop to know what is to be done, the worker under the lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum

from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_values import OMITTED_BY_DEFAULT


class RowCause(Enum):
    """Why a row is there: Git says something new, the live object moved, or a secret changed."""

    GIT = "git"
    DRIFT = "drift"
    SECRET = "secret"  # noqa: S105 - a cause, not a password


class RowAction(Enum):
    """What a row does; GUARD stops the whole plan, REPLACE is an update of a published package."""

    CREATE = "create"
    ADOPT = "adopt"
    UPDATE = "update"
    REPLACE = "replace"
    RECREATE = "recreate-missing"
    DELETE = "delete"
    FORGET = "forget"
    VERIFY = "verify"
    GUARD = "guard"


@frozen
class Binding:
    """What a rule is given for: a backend with its tenant (`rules/bindings.py`), and a state.

    `token` says where the token is read from, such as `env ACME_TOKEN`; "" where an older version
    did not say.
    """

    backend: str
    lineage: str
    token: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.backend}, state {self.lineage}"

    def means(self, other: Binding) -> bool:
        """Whether another one is this: with the same token, where that alone tells the tenant."""
        return self == other and (" " in self.backend or self.token in {"", other.token})


@frozen
class PlannedRow:
    """One row of a plan that asks for something, or a guard.

    `digest` is `row1:` and 64 hex digits over all that the row does, on which object of which
    target: equal digests mean the same effect. `address` is that of the resource, or the name of
    the guard. `needs` are the addresses without which it cannot be done: what it depends on, what
    is made by the same call; of a guard the rows that it counts (none: it judges all), of which
    `limit` may be done. `refusal` is the rule that refuses it and `refusal_reason` its words, ""
    for a row that can be done. `is_waiting` is a refusal that ends by itself, such as a
    verification that is not there yet; `is_outcome_unknown` one for an open call of which nobody
    knows whether it had an effect; with `is_waiting`, too, it is only too early to tell. `summary`
    is one line for people. `also` is what it does beside `action`: what is adopted is updated with
    it, a release is verified after it. `fields` are the fields that an update changes, "" for an
    object that is created or deleted; none where a late call of ours set one. `is_always_restored`:
    one of them is a lock, or a rule of the policy names it. `changed_by` is who else made the last
    call of its object, "" where that is not known. `is_irreversible`: no later call undoes it, as
    its kind says. `labels` are those of its manifest, as KEY=VALUE.
    """

    digest: str
    address: str
    action: RowAction
    causes: tuple[RowCause, ...] = ()
    needs: tuple[str, ...] = ()
    limit: int = 0
    refusal: str = ""
    refusal_reason: str = ""
    is_waiting: bool = False
    is_outcome_unknown: bool = False
    summary: str = ""
    also: tuple[RowAction, ...] = field(default=(), metadata={OMITTED_BY_DEFAULT: True})
    fields: tuple[str, ...] = field(default=(), metadata={OMITTED_BY_DEFAULT: True})
    is_always_restored: bool = field(default=False, metadata={OMITTED_BY_DEFAULT: True})
    changed_by: str = field(default="", metadata={OMITTED_BY_DEFAULT: True})
    is_irreversible: bool = field(default=False, metadata={OMITTED_BY_DEFAULT: True})
    labels: tuple[str, ...] = field(default=(), metadata={OMITTED_BY_DEFAULT: True})

    @property
    def actions(self) -> tuple[RowAction, ...]:
        """All that it does, in that order."""
        return (self.action, *self.also)

    def __str__(self) -> str:
        return f"{'+'.join(action.value for action in self.actions)} {self.address}"


@frozen
class Claim:
    """An object that a target's state records, or that its plan takes or creates.

    `thing` names it within a tenant: kind, API version and id, or kind and natural key. `remote_id`
    is its id behind the API version, "" for one that does not exist yet; `is_recorded` says that
    the state has it.
    """

    address: str
    thing: str
    remote_id: str = ""
    is_recorded: bool = True


# In place of the fields of a row that are too many to be named.
MANY_FIELDS = "*"


@frozen
class FieldBrake:
    """A field of an object that is not restored now.

    `until` is the wall-clock time at which it may be, None where a person decides. `reason` is a
    phrase.
    """

    address: str
    field: str
    until: float | None
    reason: str


@frozen
class ApplyTerms:
    """What of a target's plan may be done without asking again.

    `causes` and `actions` are those of rows that need no approval: none in mode approve; without
    `irreversible` none of those that cannot be undone.
    `approvals` has, for each row digest that enough people have approved, the ids of these
    approvals; they are used up where the row is done. `rejected` are the digests of rows that a
    person has said are not to be done: none of them is, whatever else permits it. `owners` has the
    target that manages the object, by each address whose object another one manages. `brakes` are
    fields that were restored often. `is_live`: all that Git asks for was live since its inputs
    changed, so that what is to be done again was undone by somebody else.
    """

    causes: frozenset[RowCause] = frozenset()
    actions: frozenset[RowAction] = frozenset()
    approvals: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rejected: frozenset[str] = frozenset()
    owners: Mapping[str, str] = field(default_factory=dict)
    brakes: tuple[FieldBrake, ...] = ()
    is_live: bool = False
    irreversible: bool = True


class HoldReason(Enum):
    """Why a row waits for a person."""

    APPROVAL = "approval"
    """The mode is approve, or a person has rejected the row."""
    CAUSE = "cause"
    """`auto.causes` does not have all of its causes."""
    ACTION = "action"
    """`auto.actions` does not have all of its actions, or it cannot be undone."""
    GUARD = "guard"
    """A guard stops the plan, or it is that guard."""
    DEPENDENCY = "dependency"
    """It needs a row that is not done."""
    BRAKE = "brake"
    """It was restored often, and `brake: hold` is set for a field of it."""
    APPROVED = "approved"
    """It has approvals, and is not done yet: a pause, a window, a verification. Never stored."""
    APPLYING = "applying"
    """An apply that is under way does it by its approvals. Never stored."""


@frozen
class HeldRow:
    """A row that is not done, and why. `detail` is a phrase: which guard, or which row it needs."""

    row: PlannedRow
    reason: HoldReason
    detail: str = ""

    @property
    def can_be_approved(self) -> bool:
        """Whether its own approval lets it be done; of a row that a guard stops the guard's does.

        What a policy stops is not for the controller's people to approve.
        """
        is_guard = self.row.action is RowAction.GUARD
        if self.reason is HoldReason.GUARD:
            return is_guard and not self.row.address.startswith("policy:")
        return self.reason not in {HoldReason.DEPENDENCY, HoldReason.APPLYING}


@frozen
class Judgement:
    """What becomes of the rows of a plan, by their order in it.

    `permitted_rows` are done; `used_approvals` are the approvals that they use up, by row digest,
    and `overridden_guards` the guards that are approved. `held_rows` wait for a person.
    `refused_rows` cannot be done, and nobody can approve them; those that only wait for something
    are in `waiting_rows` instead, with what needs them, and with a guard that ends by itself. The
    first row that waits for a brake is done at `braked_until`, None where none waits for one.
    """

    permitted_rows: tuple[PlannedRow, ...] = ()
    used_approvals: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    overridden_guards: tuple[str, ...] = ()
    held_rows: tuple[HeldRow, ...] = ()
    refused_rows: tuple[PlannedRow, ...] = ()
    waiting_rows: tuple[PlannedRow, ...] = ()
    braked_until: float | None = None

    @property
    def rows(self) -> tuple[PlannedRow, ...]:
        """All of these rows."""
        held_rows = (held.row for held in self.held_rows)
        return (*self.permitted_rows, *held_rows, *self.refused_rows, *self.waiting_rows)
