"""What a plan is asked for: the options of the command line, and the target's own rules."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.errors import InputError, OptionConflict
from synapse_apply.model.frozen import frozen
from synapse_apply.model.policy import RULE_ID_PREFIX, Policy
from synapse_apply.model.project import Target
from synapse_apply.planning.plan_input import PlanOptions
from synapse_apply.planning.policy.plan_rules import list_overridable_rules
from synapse_apply.workspace.selection import Selectable, select_addresses


class PlannedTarget(Selectable, Protocol):
    """What a plan is made of."""

    @property
    def target(self) -> Target: ...
    @property
    def partial(self) -> bool: ...


@frozen
class PlanArguments:
    """The options of `plan` and `apply` that change what is planned; None where `adopt` is open."""

    prune: bool = False
    recreate: bool = False
    resend_secrets: bool = False
    overridden: Collection[str] = ()
    adopt: bool | None = None
    no_verify: bool = False
    only: Sequence[str] = ()
    exclude: Sequence[str] = ()
    revert_drift: bool = False
    allow_locked: bool = False

    @property
    def changes_rows(self) -> bool:
        """Whether any of them is given, `adopt` aside."""
        flags = (self.prune, self.recreate, self.resend_secrets, self.no_verify, self.revert_drift)
        return any(flags) or any((self.allow_locked, self.overridden, self.only, self.exclude))

    def build_plan_options(
        self, planned_target: PlannedTarget, *, will_ask: bool = False
    ) -> PlanOptions:
        """With the rules of the target; what is to be adopted is shown where somebody is asked.

        InputError when a selection or an override fits nothing. OptionConflict for what cannot be
        meant: of a part of the manifests nobody can tell what is declared no more.
        """
        if self.prune and planned_target.partial:
            raise OptionConflict.from_summary(
                "--prune needs all manifests: with -f, what other files declare would be deleted."
            )
        if self.allow_locked and not self.prune:
            raise OptionConflict.from_summary(
                "--allow-locked is for what --prune deletes: give both."
            )
        target = planned_target.target
        _check_overridden_guards(self.overridden, target.policy)
        return PlanOptions(
            prune=self.prune,
            adopt=will_ask if self.adopt is None else self.adopt,
            recreate=self.recreate,
            resend_secrets=self.resend_secrets,
            verify=not self.no_verify,
            overridden=frozenset(self.overridden),
            selected=select_addresses(planned_target, self.only, self.exclude),
            revert_drift=self.revert_drift,
            allow_locked=self.allow_locked,
        ).with_target_rules(target)


def _check_overridden_guards(overridden: Collection[str], policy: Policy) -> None:
    """What is mistyped, or cannot be overridden, must not look as if it were."""
    overridable_names = list_overridable_rules(policy.rules)
    rules = {rule.id: rule for rule in policy.rules}
    findings = []
    for name in overridden:
        if not name.startswith(RULE_ID_PREFIX) or name in overridable_names:
            continue
        if name not in rules:
            reason = f"the policy of this target has no rule `{name.removeprefix(RULE_ID_PREFIX)}`"
            hint = (
                f"there are {', '.join(overridable_names)}" if overridable_names else "leave it out"
            )
        elif rules[name].is_denying:
            reason = f"{name} speaks of single resources"
            hint = "name a resource under its `except:` in the project file"
        else:
            reason, hint = f"{name} only warns", "leave it out"
        findings.append(error_finding("This rule cannot be overridden", reason, hint))
    if findings:
        raise InputError(*findings)
