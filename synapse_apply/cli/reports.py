"""`--report KIND=FILE`: the same outcome once more, for a comment, a CI runner or a program."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from synapse_apply import __version__
from synapse_apply.cli.endings import stopped_plan, worded
from synapse_apply.cli.face import Face
from synapse_apply.cli.report_files import append, size, write
from synapse_apply.model.aim import aimed_findings
from synapse_apply.model.diagnostic import Diagnostic, error, warning
from synapse_apply.model.drift import Drift
from synapse_apply.model.errors import Exit, InputError, SynapseApplyError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Plan
from synapse_apply.model.report import Report
from synapse_apply.session.declare import target_of
from synapse_apply.session.own_files import own
from synapse_apply.session.surroundings import commit_of, repository_url, run_url, workspace_of
from synapse_apply.session.where import Where
from synapse_apply.views import github, gitlab, markdown, remarks
from synapse_apply.views.budget import COMMENT, SMALLEST, STEP_SUMMARY, Budget
from synapse_apply.views.drift import drift_document
from synapse_apply.views.failure import failure_document
from synapse_apply.views.html import reports as html
from synapse_apply.views.html.links import Links
from synapse_apply.views.json import json_text, plan_document, report_document
from synapse_apply.views.remarks import Remark


@frozen
class Told:
    """One outcome in the shapes that the kinds of report need, each made when it is asked for.

    `annotated` are the remarks that are shown at lines of a change, where these are not all.
    """

    document: Callable[[], dict[str, Any]]
    markdown: Callable[[Budget], str]
    html: Callable[[], str]
    remarks: Callable[[], list[Remark]]
    counts: Callable[[], dict[str, int]]
    outputs: dict[str, str]
    annotated: Callable[[], list[Remark]] | None = None


@frozen
class Reports:
    """The reports that were asked for: pairs of a kind and a file, "" or "-" among the files.

    `out` is the file that the command itself makes, where it makes one; `against` is what it
    compares with, as KIND:NAME.
    """

    asked: Sequence[tuple[str, str]]
    face: Face
    where: Where
    command: str
    out: Path | None = None
    against: str = ""

    def apart(self) -> tuple[Reports, list[Diagnostic]]:
        """Those that can be written, and a finding for each that would replace what is kept.

        That is a file of the project's own, or one that this command writes. They are told apart
        before a command does anything; `refuse` ends it then.
        """
        taken = {self._real(self.out): "is where the plan goes"} if self.out else {}
        kind, _, name = self.against.partition(":")
        if kind == "state":
            taken[self._real(name)] = "is the inventory to compare with"
        kept, lost = [], []
        for kind, file in self.asked:
            if file in {"", "-"}:
                kept.append((kind, file))
                continue
            path = self._real(file)
            if why := taken.get(path) or own(path, self.where):
                lost.append(_misplaced(kind, file, why))
                continue
            kept.append((kind, file))
            if path.is_file() or not path.exists():  # a device or a pipe takes both
                taken[path] = f"is where the {kind} report goes"
        return replace(self, asked=kept), lost

    def _real(self, file: Path | str) -> Path:
        return Path(os.path.realpath(self.where.directory / file))

    def of_plan(self, plan: Plan, code: int, more: Mapping[str, Any] = MappingProxyType({})) -> int:
        """Write what the plan is; gives the code to end with, an error's where that failed.

        `more` is what its JSON document has besides.
        """
        return self._must_write(self._plan(plan, code, more), code)

    def of_stopped(self, plan: Plan, code: int) -> None:
        """Write a plan that apply cannot carry out; its JSON document is the report of that."""
        self._try_to_write(
            replace(self._plan(plan, code, {}), document=lambda: self._failed((), code, plan))
        )

    def of_drift(self, drift: Drift, code: int) -> int:
        """Write what drifted; gives the code to end with, as for a plan."""
        return self._must_write(self._drift(drift, code), code)

    def of_apply(self, report: Report) -> None:
        """Write what was done. What cannot be written is told, and hides nothing of it."""
        self._try_to_write(self._report(report))

    def of_failure(self, problem: BaseException) -> None:
        """Write why there is nothing else to tell; the failure itself is told elsewhere."""
        findings, code = worded(problem)
        told = self._findings(findings, code)
        if (plan := stopped_plan(problem)) is not None:
            found = aimed_findings(findings, self.face.aim)
            told = replace(told, document=lambda: self._failed(found, code, plan))
        self._try_to_write(told)

    def of_findings(self, findings: Sequence[Diagnostic], code: int) -> int:
        """Write what was found; gives the code to end with, as for a plan."""
        return self._must_write(self._findings(findings, code), code)

    def _must_write(self, told: Told, code: int) -> int:
        problems = list(self._write(told))
        self.face.warn(problems)
        return Exit.ERROR if problems else code

    def _try_to_write(self, told: Told) -> None:
        self.face.warn(
            warning(problem.summary, problem.detail, problem.hint) for problem in self._write(told)
        )

    def _plan(self, plan: Plan, code: int, more: Mapping[str, Any]) -> Told:
        url = run_url(self.where.environ)
        return Told(
            lambda: {**plan_document(plan), **more},
            lambda budget: markdown.plan_markdown(
                plan, budget=budget, run_url=url, command=self.command
            ),
            lambda: html.plan_html(plan, run_url=url, command=self.command, links=self._links()),
            lambda: remarks.plan_remarks(plan),
            lambda: gitlab.plan_counts(plan),
            github.plan_outputs(plan, code),
            lambda: remarks.touched_remarks(plan),
        )

    def _drift(self, drift: Drift, code: int) -> Told:
        url = run_url(self.where.environ)
        return Told(
            lambda: drift_document(drift),
            lambda budget: markdown.drift_markdown(drift, budget=budget, run_url=url),
            lambda: html.drift_html(drift, run_url=url, links=self._links()),
            lambda: remarks.drift_remarks(drift),
            lambda: gitlab.drift_counts(drift),
            github.drift_outputs(drift, code),
        )

    def _report(self, report: Report) -> Told:
        url = run_url(self.where.environ)
        return Told(
            lambda: report_document(report),
            lambda budget: markdown.report_markdown(report, budget=budget, run_url=url),
            lambda: html.report_html(report, run_url=url, links=self._links()),
            lambda: remarks.report_remarks(report),
            lambda: gitlab.report_counts(report),
            github.report_outputs(report),
        )

    def _findings(self, findings: Sequence[Diagnostic], code: int) -> Told:
        found = list(aimed_findings(findings, self.face.aim))
        url, target = run_url(self.where.environ), self._target()
        return Told(
            lambda: self._failed(found, code),
            lambda budget: markdown.findings_markdown(
                found, self.command, target=target, budget=budget, run_url=url
            ),
            lambda: html.findings_html(
                found,
                self.command,
                target=target,
                tool_version=__version__,
                run_url=url,
                links=self._links(commit_of(self.where.directory)),
            ),
            lambda: remarks.finding_remarks(found),
            lambda: gitlab.NO_COUNTS,
            github.failure_outputs(code),
        )

    def _failed(
        self, found: Sequence[Diagnostic], code: int, plan: Plan | None = None
    ) -> dict[str, Any]:
        return failure_document(self.command, found, code, tool_version=__version__, plan=plan)

    def _target(self) -> str:
        """The target that is meant, also where something else went wrong; "" for all of them."""
        if self.where.target or self.command == "validate":
            return self.where.target or ""
        try:
            return target_of(self.where)[1].name
        except (SynapseApplyError, OSError):
            return ""

    def _write(self, told: Told) -> Iterator[Diagnostic]:
        """Write every report; a finding for each that could not be."""
        for kind, file in self.asked:
            try:
                if text := _MAKE[kind](self, told) if file else "":
                    self._put(file, text)
                if kind == "github":
                    yield from self._to_runner(told)
            except OSError as problem:
                yield _unwritten(kind, problem.filename or file, problem)

    def _put(self, file: str, text: str) -> None:
        if file == "-":
            self.face.data(text)
        else:
            write(self.where.directory / file, text)

    def _to_runner(self, told: Told) -> Iterator[Diagnostic]:
        """Annotations to stderr, and the files that a runner of GitHub Actions names."""
        found = (told.annotated or told.remarks)()
        self.face.err(github.annotation_lines(self._with_repository_paths(found)))
        environ = self.where.environ
        if summary := environ.get("GITHUB_STEP_SUMMARY"):
            room = STEP_SUMMARY.limit - size(Path(summary))
            if room < SMALLEST:
                yield _no_room(summary)
            else:
                budget = replace(STEP_SUMMARY, limit=room)
                append(Path(summary), told.markdown(budget))
        if outputs := environ.get("GITHUB_OUTPUT"):
            delimiter = f"synapse_apply_{secrets.token_hex(16)}"
            append(Path(outputs), github.outputs_text(told.outputs, delimiter))

    def placed(self, told: Told) -> list[Remark]:
        """What is said of files, by the names they have in the repository."""
        return self._with_repository_paths(told.remarks())

    def _with_repository_paths(self, found: list[Remark]) -> list[Remark]:
        names = {remark.position.file for remark in found if remark.position is not None}
        root = workspace_of(self.where.environ)
        return remarks.seen_from(found, {n: _inside(n, root) or n for n in names} if root else {})

    def _links(self, commit: str = "") -> Links:
        """Where a page leads: to the forge that the pipeline runs for, if any."""
        repository, separator = repository_url(self.where.environ)
        root = workspace_of(self.where.environ)
        return Links(
            repository, separator, lambda file: _inside(file, root) if root else None, commit
        )


def refuse(misplaced: Sequence[Diagnostic]) -> None:
    """InputError where there are such findings."""
    if misplaced:
        raise InputError(*misplaced)


def _inside(file: str, root: str) -> str | None:
    """A file's name from a folder, None where it lies elsewhere."""
    try:
        return Path(os.path.realpath(file)).relative_to(os.path.realpath(root)).as_posix()
    except (ValueError, OSError):
        return None


def _unwritten(kind: str, file: str | bytes, problem: OSError) -> Diagnostic:
    return error(
        f"The {kind} report cannot be written",
        f"{os.fsdecode(file)}: {problem.strerror or 'it cannot be written'}.",
        "Choose another place for --report.",
    )


def _misplaced(kind: str, file: str, why: str) -> Diagnostic:
    return error(
        f"The {kind} report cannot be written",
        f"{file} {why}; nothing was done.",
        "Choose another place for --report.",
    )


def _no_room(summary: str) -> Diagnostic:
    return error(
        "The summary of this step is full",
        f"{summary} has nearly the 1 MiB that GitHub takes; with more it would show nothing.",
        "Write less to it in this step, or report from a step of its own.",
    )


_MAKE: dict[str, Callable[[Reports, Told], str]] = {
    "json": lambda _, told: json_text(told.document()),
    "markdown": lambda _, told: told.markdown(COMMENT),
    "html": lambda _, told: told.html(),
    "github": lambda _, told: told.markdown(STEP_SUMMARY),
    "gitlab": lambda _, told: json_text(told.counts()),
    "codequality": lambda asked, told: json_text(gitlab.code_quality(asked.placed(told))),
}
