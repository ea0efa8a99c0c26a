"""How the options of `plan` and `apply`, with the target's rules, become PlanOptions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import fields
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.errors import InputError, OptionConflict
from synapse_apply.model.frozen import frozen
from synapse_apply.model.packages import RULES_BY_ID, SECRET_RULES, Level
from synapse_apply.model.phrases import suggest_words
from synapse_apply.model.project import RULE_ID_PREFIX
from synapse_apply.planning.guards import GUARD_NAMES, overridable_rule_ids
from synapse_apply.planning.plan_input import PlanOptions

if TYPE_CHECKING:
    from synapse_apply.workspace.offline_target import OfflineTarget


@frozen
class PlanArguments:
    """The options that change what is planned; `adopt` is None where it was not given."""

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
    allow_replace: bool = False
    no_package_check: Collection[str] = ()

    @property
    def has_row_options(self) -> bool:
        """Whether any option is given, `adopt` aside."""
        flags = (self.prune, self.recreate, self.resend_secrets, self.no_verify, self.revert_drift)
        names = (self.overridden, self.only, self.exclude, self.no_package_check)
        return any(flags) or self.allow_locked or any(names)

    @property
    def typed(self) -> tuple[str, ...]:
        """The options as they are typed, a word each."""
        words: list[str] = []
        for each in fields(cast("Any", self)):
            value = getattr(self, each.name)
            option = "--" + each.name.replace("overridden", "override-guard").replace("_", "-")
            words += [option] if value is True else chain(*((option, one) for one in value or ()))
        return tuple(words)

    def build_plan_options(
        self, planned_target: OfflineTarget, *, will_ask: bool = False
    ) -> PlanOptions:
        """The options under the target's rules; `will_ask` allows what an option allows elsewhere.

        InputError when a selection or an override matches nothing. OptionConflict for options that
        exclude each other: with only some manifests, nobody knows what is no longer declared.
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
        rules, findings = {rule.id: rule for rule in target.policy.rules}, []
        overridable_names = overridable_rule_ids(target.policy.rules)
        for name in self.overridden:
            if not name.startswith(RULE_ID_PREFIX) or name in overridable_names:
                continue
            reason, hint = f"{name} only warns", "leave it out"
            if name not in rules:
                rule = name.removeprefix(RULE_ID_PREFIX)
                reason = f"the policy of this target has no rule `{rule}`"
                if overridable_names:
                    hint = f"there are {', '.join(overridable_names)}"
            elif rules[name].is_denying:
                reason = f"{name} speaks of single resources"
                hint = "name a resource under its `except:` in the project file"
            findings.append(error_finding("This rule cannot be overridden", reason, hint))
        if findings:
            raise InputError(*findings)
        return PlanOptions(
            prune=self.prune,
            adopt=will_ask if self.adopt is None else self.adopt,
            recreate=self.recreate,
            resend_secrets=self.resend_secrets,
            verify=not self.no_verify,
            overridden=frozenset(self.overridden),
            selected=planned_target.names.select(self.only, self.exclude),
            revert_drift=self.revert_drift,
            allow_locked=self.allow_locked,
            allow_replace=self.allow_replace or will_ask,
            no_package_check=frozenset(map(_require_liftable_rule, self.no_package_check)),
            typed=self.typed,
        ).with_target_rules(target)


def _require_liftable_rule(name: str) -> str:
    """The id of a package's rule that may be lifted by its name; OptionConflict for any other."""
    rule = RULES_BY_ID.get(f"package:{name.removeprefix('package:')}")
    if rule is not None and rule.level is Level.REFUSED and rule.id not in SECRET_RULES:
        return rule.id
    if rule is None:
        known = [each.name for each in RULES_BY_ID.values() if each.level is Level.REFUSED]
        hint = suggest_words(name.removeprefix("package:"), known)
        reason = f"there is no such rule; {hint}"
    elif rule.id in SECRET_RULES:
        reason = (
            "no option lifts a rule about secrets. `policy.allow_package_secrets` of the project "
            "file lets one finding pass, by its file and the package's digest, with a reason"
        )
    else:
        reason = "it refuses no release: leave it out"
    raise OptionConflict.from_summary(f"--no-package-check {name}: {reason}.")


def describe_unknown_guard(name: str) -> str:
    """A sentence about a name that is no guard's, "" for a guard's or a policy rule's.

    A typo must not look like an override.
    """
    if name in GUARD_NAMES or name.startswith(RULE_ID_PREFIX):
        return ""
    return f"{name!r} is not a guard; the guards are {', '.join(GUARD_NAMES)}."
