"""What `doctor` checks of files: tool version, project file, repository, target, manifests."""

from __future__ import annotations

import platform
from collections.abc import Iterator

from synapse_apply import __version__
from synapse_apply.model.checkup import CheckResult
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, Severity, error_finding, warning_finding
from synapse_apply.model.errors import InputError, SecretUnavailable, SynapseApplyError
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.operations.checks.target_checkup import LazyTargetParts
from synapse_apply.views.paths import format_path_relative_to_cwd_if_inside


def report_tool_and_system_versions(_checkup: LazyTargetParts) -> Iterator[CheckResult]:
    """The versions of the tool and of what it runs on."""
    python = f"Python {platform.python_version()}"
    system = f"{platform.system()} {platform.machine()}"
    yield CheckResult.build_ok("tool", f"synapse-apply {__version__}, {python} on {system}")


def check_project_file(checkup: LazyTargetParts) -> Iterator[CheckResult]:
    """The project file, with each of its errors."""
    project_settings = checkup.project.get_or_raise()
    yield CheckResult.build_ok(
        "project",
        format_path_relative_to_cwd_if_inside(project_settings.file)
        if project_settings.file
        else "none here or above",
    )


def check_git_repository_of_project(checkup: LazyTargetParts) -> Iterator[CheckResult]:
    """Which Git repository resolves Git refs."""
    # Here, not above: most commands name no Git ref.
    from synapse_apply.files.commits import read_head_id
    from synapse_apply.files.repository import find_repository_or_raise_if_untrusted

    root = checkup.project.get_or_raise_unchecked_error().root
    try:
        git_repository = find_repository_or_raise_if_untrusted(root)
        head_commit = read_head_id(root)[:7] if git_repository else ""
    except InputError as problem:
        yield from (
            CheckResult.from_finding("repository", finding.with_changes(severity=Severity.WARNING))
            for finding in problem.diagnostics
        )
        return
    if git_repository is None:
        yield CheckResult.build_ok("repository", "no Git repository here or above")
        return
    project_prefix = git_repository.compute_relative_path_or_empty_for_top(root)
    parts = (
        f"{git_repository.top} at {head_commit}"
        if head_commit
        else f"{git_repository.top}, no commit yet",
        f"the project is in {project_prefix}" if project_prefix else "",
        "a shallow clone, which lacks older commits" if git_repository.is_shallow else "",
    )
    yield CheckResult.build_ok("repository", ", ".join(part for part in parts if part))


def check_target_can_be_chosen(checkup: LazyTargetParts) -> Iterator[CheckResult]:
    """Which target is chosen."""
    yield CheckResult.build_ok("target", checkup.target.get_or_raise().name)


def check_manifests_in_one_row(checkup: LazyTargetParts) -> Iterator[CheckResult]:
    """Whether the manifests are valid, in one line: `validate` shows each finding."""
    name = checkup.target.get_or_raise_unchecked_error().name
    try:
        declared_target = checkup.declared_target.get_or_raise()
    except SynapseApplyError as problem:
        yield from _iter_one_row_counting_findings(name, problem.diagnostics)
        return
    count = len(declared_target.desired)
    if declared_target.diagnostics:
        yield from _iter_one_row_counting_findings(name, declared_target.diagnostics)
    elif count:
        yield CheckResult.build_ok(
            "manifests", f"{format_count_and_noun(count, 'resource')} declared"
        )
    else:
        finding = warning_finding(
            "No manifest declares anything",
            "Apply would forget whatever the state records.",
            Text("Begin with ", Command("init"), ", or check `manifests:` in the project file."),
        )
        yield CheckResult.from_finding("manifests", finding)


def check_what_opens_each_secret_source(checkup: LazyTargetParts) -> Iterator[CheckResult]:
    """Of each source of secrets that the target sets up: what opens it, and why not others."""
    checkup.target.get_or_raise_unchecked_error()
    for source, offers in checkup.session.resolver.list_setting_offers_by_source().items():
        text = "; ".join(map(str, offers))
        if any(not offer.reason for offer in offers):
            yield CheckResult.build_ok("secrets", text, source)
            yield from _check_login_to_source(checkup, source)
            continue
        finding = warning_finding(
            f"Nothing opens {source} here",
            f"{text}.",
            "Needed only where secrets are compared or sent: by plan and apply.",
        )
        yield CheckResult.from_finding("secrets", finding, source)


def _check_login_to_source(checkup: LazyTargetParts, source: str) -> Iterator[CheckResult]:
    """A row on the login to a source's server, which is asked for no secret."""
    try:
        text = checkup.session.resolver.ask_server_for_access_phrase_or_empty(source)
    except SecretUnavailable as refusal:
        for finding in refusal.diagnostics:
            yield CheckResult.from_finding("secrets", finding, source)
        return
    if text:
        yield CheckResult.build_ok("secrets", text, source)


def _iter_one_row_counting_findings(
    target: str, findings: tuple[Diagnostic, ...]
) -> Iterator[CheckResult]:
    errors = sum(entry.is_error for entry in findings)
    first = next((entry for entry in findings if entry.is_error), findings[0])
    position_text = f" ({first.position})" if first.position else ""
    text = (
        f"{'The first' if len(findings) > 1 else 'It is'}: {first.summary}{position_text}. "
        f"{first.detail}"
    )
    hint = Text(Command("validate", target=target), " shows every one.")
    count = (
        format_count_and_noun(errors, "error")
        if errors
        else format_count_and_noun(len(findings), "warning")
    )
    finding = (error_finding if errors else warning_finding)(
        f"The manifests have {count}", text, hint
    )
    yield CheckResult.from_finding("manifests", finding, counted_findings=findings)
