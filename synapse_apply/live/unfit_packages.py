"""Which flaws of a package refuse its release, and which an option or the policy lets pass."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from synapse_apply.model.packages.rules import RULES_BY_ID, SECRET_RULES, Level, PackageFlaw
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.model.policy import Policy
from synapse_apply.model.resource import Desired
from synapse_apply.planning.plan_input import PackageVerdict, PlanOptions
from synapse_apply.views.paths import format_path_relative_to_cwd_if_inside
from synapse_apply.workspace.offline_target import OfflineTarget


class PackageJudge:
    """Says what plans of one target refuse in a package; looks into it at the first question."""

    def __init__(self, declared: OfflineTarget) -> None:
        self._declared = declared

    def __call__(self, desired: Desired, options: PlanOptions) -> PackageVerdict:
        """What no option and no policy lets pass, secrets first.

        InputError where the package is no longer what was hashed.
        """
        source, package, target = desired.source, desired.package, self._declared.target
        sources = self._declared.declared_target.sources
        # The embedded backend takes what the platform's own tools refuse.
        if sources is None or source is None or package is None or target.is_embedded:
            return PackageVerdict()
        flaws = [
            flaw
            for flaw in sources.list_flaws(source, target)
            if RULES_BY_ID[flaw.rule].level is Level.REFUSED
        ]
        secrets = Counter(flaw.file for flaw in flaws if flaw.rule in SECRET_RULES)
        left, notes, unchecked = [], [], Counter[str]()
        for flaw in flaws:
            position = flaw.position
            if position is not None:
                file = self._declared.project.root / position.file
                position = replace(position, file=format_path_relative_to_cwd_if_inside(file))
            if flaw.rule in options.no_package_check:
                unchecked[flaw.rule] += 1
            elif reason := _find_reason_to_allow(
                flaw, package.digest, options.policy, is_alone=secrets[flaw.file] == 1
            ):
                notes.append(f"the policy allows the secret in {position}: {reason}")
            else:
                left.append(replace(flaw, position=position))
        notes += [
            f"--no-package-check {rule}: {format_count_and_noun(count, 'finding')} ignored"
            for rule, count in unchecked.items()
        ]
        if not left:
            return PackageVerdict(notes=tuple(notes))
        from synapse_apply.packages.lint import iter_flaws_counting_beyond_limit

        left.sort(key=lambda flaw: flaw.rule not in SECRET_RULES)
        return PackageVerdict(tuple(iter_flaws_counting_beyond_limit(left)), tuple(notes))


def _find_reason_to_allow(flaw: PackageFlaw, digest: str, policy: Policy, *, is_alone: bool) -> str:
    """Why the policy lets a finding of a secret pass, "" where it does not."""
    if flaw.rule not in SECRET_RULES:
        return ""
    line = flaw.position.line if flaw.position else 0
    lines = {line, 0} if is_alone else {line}
    entries = (
        entry.reason
        for entry in policy.allow_package_secrets
        if (entry.file, entry.digest) == (flaw.file, digest) and entry.line in lines
    )
    return next(entries, "")
