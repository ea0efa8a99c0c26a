"""Which reports `--report KIND=FILE` writes, and what becomes of one that cannot be written."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from synapse_apply import __version__
from synapse_apply.cli.console import Console
from synapse_apply.cli.errors import build_failure_findings, get_stopped_plan_or_none
from synapse_apply.model.diagnostic import Diagnostic, error_finding, warning_finding
from synapse_apply.model.errors import Exit, InputError, SynapseApplyError
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.json_types import JsonDocument
from synapse_apply.model.plan import Plan
from synapse_apply.model.report import Drift, Report
from synapse_apply.operations.protected_files import explain_protection
from synapse_apply.views import ci
from synapse_apply.views.ci import Annotation
from synapse_apply.views.html import reports as html
from synapse_apply.views.html.parts import ForgeLinks
from synapse_apply.views.json.documents import (
    drift_document,
    failure_document,
    format_redacted_json_document,
    plan_document,
    report_document,
)
from synapse_apply.views.markdown import report as markdown
from synapse_apply.views.markdown.budget import (
    COMMENT_BUDGET,
    MIN_BUDGET,
    STEP_SUMMARY_BUDGET,
    SizeBudget,
)
from synapse_apply.workspace.environment import (
    ci_checkout_folder,
    ci_repository,
    ci_run_url,
    read_head_commit_id_or_empty,
)
from synapse_apply.workspace.invocation import Invocation

_OTHER_PLACE = "Choose a different file for --report."


def write_report_file(path: Path, text: str) -> None:
    """Write a file and the folders above it; an OSError leaves the old file as it was.

    A device or a pipe, such as /dev/stderr, is written to directly.
    """
    # A link stays a link: the file that it leads to is replaced.
    path = Path(os.path.realpath(path))
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        with path.open("w", encoding="utf-8", newline="\n") as device:
            device.write(text)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part_file = path.with_name(f".{path.name[:200]}.{os.getpid()}.part")
    try:
        with part_file.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            # The new file keeps the permissions of the one it replaces.
            part_file.chmod(stat.S_IMODE(path.stat().st_mode))
        part_file.replace(path)
    finally:
        with suppress(OSError):
            part_file.unlink(missing_ok=True)


def append_text(path: Path, text: str) -> None:
    """Append to a file that a CI runner reads after the step."""
    with path.open("a", encoding="utf-8", newline="\n") as file:
        file.write(text)


@frozen
class ReportSource:
    """One outcome in the shapes that reports need, each built when it is used.

    `touched_annotations` are those at changed lines, where a report shows only these.
    """

    document: Callable[[], dict[str, Any]]
    markdown: Callable[[SizeBudget], str]
    html: Callable[[], str]
    annotations: Callable[[], list[Annotation]]
    counts: Callable[[], dict[str, int]]
    outputs: dict[str, str]
    touched_annotations: Callable[[], list[Annotation]] | None = None


@frozen
class _Renderings:
    """The functions that make a ReportSource of an outcome of one type."""

    document: Callable[[Any], dict[str, Any]]
    markdown: Callable[..., str]
    html: Callable[..., str]
    annotations: Callable[[Any], list[Annotation]]
    counts: Callable[[Any], dict[str, int]]
    outputs: Callable[[Any, int], dict[str, str]]
    touched_annotations: Callable[[Any], list[Annotation]] | None = None


_PLAN = _Renderings(
    plan_document, markdown.render_plan_markdown, html.render_plan_html, ci.plan_annotations,
    ci.count_plan_changes, ci.build_plan_outputs, ci.changed_plan_annotations,
)  # fmt: skip
_DRIFT = _Renderings(
    drift_document, markdown.render_drift_markdown, html.render_drift_html, ci.annotate_drift,
    ci.count_drift_changes, ci.build_drift_outputs,
)  # fmt: skip
_REPORT = _Renderings(
    report_document, markdown.render_report_markdown, html.render_report_html,
    ci.report_annotations, ci.count_done_changes, lambda report, _: ci.build_report_outputs(report),
)  # fmt: skip
_FINDINGS = _Renderings(
    dict, markdown.render_findings_markdown, html.render_findings_html, ci.finding_annotations,
    lambda _: ci.NO_COUNTS, lambda _, code: ci.planless_outputs(code),
)  # fmt: skip


@frozen
class Reports:
    """The requested reports: (kind, file) pairs, where a file may be "" or "-".

    `out` is the file that the command itself writes, None without one; `against` is what it
    compares with, as KIND:NAME.
    """

    requests: Sequence[tuple[str, str]]
    console: Console
    invocation: Invocation
    command: str
    out: Path | None = None
    against: str = ""

    def split_off_misplaced(self) -> tuple[Reports, list[Diagnostic]]:
        """The writable reports, and a finding for each that would overwrite a protected file.

        Protected are the project's own files and those that this command writes. Called before the
        command does anything; `raise_findings_if_any` ends it then.
        """
        reserved_files = (
            {self._resolve_path(self.out): "is the file of the plan"} if self.out else {}
        )
        kind, _, name = self.against.partition(":")
        if kind == "state":
            reserved_files[self._resolve_path(name)] = "is the inventory to compare with"
        writable_requests, misplaced_findings = [], []
        for kind, file in self.requests:
            if file in {"", "-"}:
                writable_requests.append((kind, file))
                continue
            path = self._resolve_path(file)
            if reason := reserved_files.get(path) or explain_protection(
                self.invocation.directory / file, self.invocation
            ):
                misplaced_findings.append(
                    error_finding(
                        f"The {kind} report cannot be written",
                        f"{file} {reason}. Nothing was done.",
                        _OTHER_PLACE,
                    )
                )
                continue
            writable_requests.append((kind, file))
            if path.is_file() or not path.exists():  # a device or a pipe takes both
                reserved_files[path] = f"is already the file of the {kind} report"
        return replace(self, requests=writable_requests), misplaced_findings

    def with_target(self, name: str) -> Reports:
        """The same reports for a target that was not typed."""
        return replace(self, invocation=replace(self.invocation, target=name))

    def _resolve_path(self, file: Path | str) -> Path:
        return Path(os.path.realpath(self.invocation.directory / file))

    def write_plan(self, plan: Plan, code: int) -> int:
        """Write reports of a plan; returns `code`, or an error's code where one failed."""
        return self._write_reports(self._source(plan, _PLAN, code, command=self.command), code)

    def report_stopped_plan(self, plan: Plan, code: int) -> None:
        """Write reports of a plan that cannot be applied; the JSON is that of the failure."""
        source = self._source(plan, _PLAN, code, command=self.command)
        document = partial(self._findings_document, (), code, plan)
        self._write_reports_or_warn(replace(source, document=document))

    def write_drift(self, drift: Drift, code: int) -> int:
        """Write reports of a drift; returns the exit code as `write_plan`."""
        return self._write_reports(self._source(drift, _DRIFT, code), code)

    # A report never changes the exit code of an apply.
    def report_apply(self, report: Report) -> None:
        """Write reports of an apply. One that cannot be written is only a warning."""
        self._write_reports_or_warn(self._source(report, _REPORT, report.exit_code))

    def write_failure(self, failure: BaseException) -> None:
        """Write reports of a failure, which the caller prints."""
        findings, code = build_failure_findings(failure)
        source = self._findings_source(findings, code, get_stopped_plan_or_none(failure))
        self._write_reports_or_warn(source)

    def write_findings(self, findings: Sequence[Diagnostic], code: int) -> int:
        """Write reports of findings; returns the exit code as `write_plan`."""
        return self._write_reports(self._findings_source(findings, code), code)

    def write_reports_of_source(self, source: ReportSource, code: int) -> int:
        """Write reports of any outcome; returns the exit code, which those of an apply keep."""
        if self.command == "apply":
            self._write_reports_or_warn(source)
            return code
        return self._write_reports(source, code)

    def _write_reports(self, source: ReportSource, code: int) -> int:
        """Write every report; returns the code, or an error's where one cannot be written."""
        problems = list(self._iter_errors(source))
        self.console.write_findings(problems)
        return Exit.ERROR if problems else code

    def _write_reports_or_warn(self, source: ReportSource) -> None:
        self.console.write_findings(
            warning_finding(problem.summary, problem.detail, problem.hint)
            for problem in self._iter_errors(source)
        )

    def _source(
        self, outcome: Any, renderings: _Renderings, code: int, **named: Any
    ) -> ReportSource:
        """An outcome in all shapes; `named` is told in those for people."""
        named["run_url"] = ci_run_url(self.invocation.environ)
        touched = renderings.touched_annotations
        return ReportSource(
            partial(renderings.document, outcome),
            lambda budget: renderings.markdown(outcome, budget=budget, **named),
            lambda: renderings.html(outcome, links=self._build_forge_links(), **named),
            partial(renderings.annotations, outcome),
            partial(renderings.counts, outcome),
            renderings.outputs(outcome, code),
            touched and partial(touched, outcome),
        )

    def _findings_source(
        self, findings: Sequence[Diagnostic], code: int, plan: Plan | None = None
    ) -> ReportSource:
        """Findings in all shapes; the JSON has the `plan` that they stopped, too."""
        named_findings = list(self.console.name_target(findings))
        naming = {"command": self.command, "target": self._target_name()}
        source = self._source(named_findings, _FINDINGS, code, **naming)
        document = partial(self._findings_document, named_findings, code, plan)

        def render_page() -> str:
            links = self._build_forge_links(read_head_commit_id_or_empty(self.invocation.directory))
            url = ci_run_url(self.invocation.environ)
            return html.render_findings_html(
                named_findings, **naming, tool_version=__version__, run_url=url, links=links
            )

        return replace(source, document=document, html=render_page)

    def _findings_document(
        self, findings: Sequence[Diagnostic], code: int, plan: Plan | None = None
    ) -> JsonDocument:
        return failure_document(self.command, findings, code, tool_version=__version__, plan=plan)

    def _target_name(self) -> str:
        """The chosen target, also after a failure; "" for all targets and where there is none."""
        if self.invocation.target or self.command == "validate":
            return self.invocation.target or ""
        # Here, not above: what went well knows its target.
        from synapse_apply.library import OpenTarget

        try:
            return OpenTarget(self.invocation).name
        except (SynapseApplyError, OSError):
            return ""

    def _iter_errors(self, source: ReportSource) -> Iterator[Diagnostic]:
        """Write every report; yields an error for each that cannot be written.

        Those of one of several targets are kept for the reports of all.
        """
        if self.console.section is not None:
            self.console.section.report_source = source
        for kind, file in self.requests:
            try:
                if text := _RENDERERS[kind](self, source) if file else "":
                    if file == "-":
                        self.console.write_stdout(text)
                    else:
                        write_report_file(self.invocation.directory / file, text)
                if kind == "github":
                    yield from self._write_github(source)
            except OSError as problem:
                yield error_finding(
                    f"The {kind} report cannot be written",
                    f"{os.fsdecode(problem.filename or file)}: "
                    f"{problem.strerror or 'it cannot be written'}.",
                    _OTHER_PLACE,
                )

    def _write_github(self, source: ReportSource) -> Iterator[Diagnostic]:
        """Write annotations to stderr, and the summary and output files of GitHub Actions."""
        placed_annotations = (source.touched_annotations or source.annotations)()
        self.console.write_stderr(
            ci.format_annotation_commands(self.in_repository(placed_annotations))
        )
        environ = self.invocation.environ
        if summary_file := environ.get("GITHUB_STEP_SUMMARY"):
            remaining_size = STEP_SUMMARY_BUDGET.limit
            with suppress(OSError):  # there may be no file yet
                remaining_size -= Path(summary_file).stat().st_size
            if remaining_size < MIN_BUDGET:
                yield error_finding(
                    "The summary of this step is full",
                    f"{summary_file} has almost 1 MiB. GitHub shows no larger summary.",
                    "Write less to the summary in this step, or write the report in a separate "
                    "step.",
                )
            else:
                budget = replace(STEP_SUMMARY_BUDGET, limit=remaining_size)
                append_text(Path(summary_file), source.markdown(budget))
        if outputs_file := environ.get("GITHUB_OUTPUT"):
            # Random, so that no value can end its block in $GITHUB_OUTPUT and add outputs.
            delimiter = f"synapse_apply_{secrets.token_hex(16)}"
            append_text(Path(outputs_file), ci.format_outputs_file(source.outputs, delimiter))

    def in_repository(self, plain_annotations: list[Annotation]) -> list[Annotation]:
        """The annotations, with file names relative to the repository."""
        names = {
            annotation.position.file
            for annotation in plain_annotations
            if annotation.position is not None
        }
        root = ci_checkout_folder(self.invocation.environ)
        return ci.with_file_names(
            plain_annotations,
            {name: _path_inside(name, root) or name for name in names} if root else {},
        )

    def _build_forge_links(self, commit: str | None = None) -> ForgeLinks:
        """How an HTML page links to files: to the forge that the pipeline runs on, if any."""
        repository, separator = ci_repository(self.invocation.environ)
        root = ci_checkout_folder(self.invocation.environ)
        return ForgeLinks(
            repository,
            separator,
            lambda file: _path_inside(file, root) if root else None,
            commit or "",
        )


def raise_findings_if_any(misplaced: Sequence[Diagnostic]) -> None:
    """InputError with these findings, if there are any."""
    if misplaced:
        raise InputError(*misplaced)


def _path_inside(file: str, root: str) -> str | None:
    """A file's path relative to `root`, None where it lies elsewhere."""
    try:
        return Path(os.path.realpath(file)).relative_to(os.path.realpath(root)).as_posix()
    except (ValueError, OSError):
        return None


_RENDERERS: dict[str, Callable[[Reports, ReportSource], str]] = {
    "json": lambda _, source: format_redacted_json_document(source.document()),
    "markdown": lambda _, source: source.markdown(COMMENT_BUDGET),
    "html": lambda _, source: source.html(),
    "github": lambda _, source: source.markdown(STEP_SUMMARY_BUDGET),
    "gitlab": lambda _, source: format_redacted_json_document(source.counts()),
    "codequality": lambda reports, source: format_redacted_json_document(
        ci.build_issues(reports.in_repository(source.annotations()))
    ),
}
