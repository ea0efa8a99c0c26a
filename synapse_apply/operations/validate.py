"""What `validate` checks of project file, manifests and packages; no backend, no secret values."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import chain

from synapse_apply.manifests.decode.loading import load_all_manifests, no_manifest_findings
from synapse_apply.manifests.project.targets import select_targets_to_check
from synapse_apply.model.dated_exception import warnings_of
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.workspace import configuration
from synapse_apply.workspace.configuration import PackageSources
from synapse_apply.workspace.invocation import Invocation

_MAX_COUNTED_TARGETS = 20


@frozen
class ValidationResult:
    """The findings, and how many resources each target declares."""

    diagnostics: tuple[Diagnostic, ...]
    counts: dict[str, int]

    @property
    def summary(self) -> str:
        """One line for people: whether all is valid, and how much was checked."""
        word = "Not valid" if any(finding.is_error for finding in self.diagnostics) else "Valid"
        parts = [
            f"{format_count_and_noun(count, 'resource')} for {name}"
            for name, count in self.counts.items()
        ]
        if len(parts) > _MAX_COUNTED_TARGETS:
            parts = [f"{sum(self.counts.values()):,} resources for {len(self.counts):,} targets"]
        counts_text = ""
        if self.diagnostics:
            from synapse_apply.views.text.findings import format_finding_counts

            counts_text = format_finding_counts(self.diagnostics)
        return f"{word}: {', '.join(parts)}{counts_text}."


def validate(invocation: Invocation, *, every_target: bool = True) -> ValidationResult:
    """Check every target, or the named one; InputError where nothing at all can be checked."""
    project = configuration.load_valid_project_or_defaults(invocation)
    targets = select_targets_to_check(project, None if every_target else invocation.target)
    sources = PackageSources(project, invocation.environ, should_lint=True)
    target_manifests, findings = load_all_manifests(
        project,
        targets,
        variables=configuration.read_typed_variables(invocation, project),
        strict=invocation.strict,
        package_config_reader=sources.build_config_reader,
        paths=[str(path) for path in invocation.paths],
    )
    unique_findings = dict.fromkeys((*project.findings, *findings))
    counts = {}
    for target, entry in zip(targets, target_manifests, strict=True):
        checked_manifests = configuration.with_packages(target, entry, sources)
        known_findings = set(entry.diagnostics)
        for finding in checked_manifests.diagnostics:
            if finding not in known_findings:
                unique_findings[finding] = None
        counts[target.name] = len(entry.desired)
    for finding in (
        *no_manifest_findings(project, target_manifests, [str(path) for path in invocation.paths]),
        *sources.list_findings(target_manifests),
    ):
        unique_findings[finding.as_error() if invocation.strict else finding] = None
    today = datetime.now(UTC).date().isoformat()
    for target, entry in zip(targets, target_manifests, strict=True):
        exceptions = chain(
            target.policy.exceptions,
            *(declared.lifecycle.exceptions for declared in entry.desired.values()),
        )
        for finding in warnings_of((one for one in exceptions if one.has_ended(today)), today):
            unique_findings[finding.as_error() if invocation.strict else finding] = None
    return ValidationResult(tuple(unique_findings), counts)
