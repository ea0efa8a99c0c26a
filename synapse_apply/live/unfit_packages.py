"""Which flaws of a package refuse its release, and which an option or the policy lets pass."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from synapse_apply.model.packages import (
    RULES_BY_ID,
    SECRET_RULES,
    Level,
    PackageFlaw,
    iter_limited_flaws,
)
from synapse_apply.model.resource import Desired
from synapse_apply.planning.plan_input import PackageVerdict, PlanOptions
from synapse_apply.workspace.offline_target import OfflineTarget
from synapse_apply.workspace.package_sources import relate_to_working_folder


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
        root = self._declared.project.root
        flaws = [
            replace(flaw, position=relate_to_working_folder(flaw.position, root))
            for flaw in sources.list_flaws(source, target)
            if RULES_BY_ID[flaw.rule].level is Level.REFUSED
        ]
        count_by_file = Counter(flaw.file for flaw in flaws)
        notes = [
            _explain_pass_or_empty(
                flaw, package.digest, options, is_alone=count_by_file[flaw.file] == 1
            )
            for flaw in flaws
        ]
        left = [flaw for flaw, note in zip(flaws, notes, strict=True) if not note]
        left.sort(key=lambda flaw: flaw.rule not in SECRET_RULES)
        return PackageVerdict(
            tuple(iter_limited_flaws(left)), tuple(dict.fromkeys(filter(None, notes)))
        )


def _explain_pass_or_empty(
    flaw: PackageFlaw, digest: str, options: PlanOptions, *, is_alone: bool
) -> str:
    """A note on why a finding is let pass, "" where it is not; `is_alone`: in its file."""
    if flaw.rule not in SECRET_RULES:
        is_lifted = flaw.rule in options.no_package_check
        return f"findings of {flaw.rule} are ignored: --no-package-check" if is_lifted else ""
    line = flaw.position.line if flaw.position else 0
    for entry in options.policy.allow_package_secrets:
        is_meant = (entry.file, entry.digest) == (flaw.file, digest)
        if is_meant and (entry.line == line or (is_alone and not entry.line)):
            return f"the policy allows the secret in {flaw.position}: {entry.reason}"
    return ""
