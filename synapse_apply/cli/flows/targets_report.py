"""How the reports of several targets become one of each kind; of HTML, one page a target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from synapse_apply import Invocation
from synapse_apply.cli.console import Console, TargetSection
from synapse_apply.cli.reports import Reports, ReportSource, raise_findings_if_any
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import Exit
from synapse_apply.views.ci import gitlab
from synapse_apply.views.markdown.targets import MarkdownPart, render_targets_markdown


@dataclass
class TargetsReports:
    """The requested reports of a command that works on several targets."""

    reports: Reports
    html_files: Sequence[str]
    selectors: Sequence[str]
    misplaced_findings: Sequence[Diagnostic]

    @classmethod
    def from_parameters(
        cls,
        parameters: Mapping[str, Any],
        invocation: Invocation,
        command: str,
        selectors: Sequence[str],
    ) -> TargetsReports | None:
        """The reports that the parsed options ask for, None for none; usage errors."""
        requests: Sequence[tuple[str, str]] = parameters.get("report_requests") or ()
        if not requests:
            return None
        console: Console = parameters["console"]
        if any(file == "-" for _, file in requests):
            if console.as_json:
                raise click.UsageError("--json and a report to stdout do not go together.")
            console = replace(console, is_stdout_taken=True)
        if ("html", "-") in requests:
            raise click.UsageError("the HTML of several targets is a page each: name a file.")
        against = parameters.get("against") or ""
        reports, misplaced = Reports(
            requests, console, invocation, command, against=against
        ).split_off_misplaced()
        html_files = [file for kind, file in reports.requests if kind == "html"]
        others = [request for request in reports.requests if request[0] != "html"]
        return cls(replace(reports, requests=others), html_files, selectors, misplaced)

    @property
    def console(self) -> Console:
        return self.reports.console

    def raise_misplaced(self) -> None:
        """InputError for reports that would overwrite a file of the project."""
        raise_findings_if_any(self.misplaced_findings)

    def write_all(
        self,
        sections: Sequence[TargetSection],
        not_begun: Sequence[str],
        document: Mapping[str, Any],
        exit_code: int,
    ) -> int:
        """Write every report; returns the exit code, or that of an error where one failed.

        `document` is the JSON of the command, which has no parts where text was printed.
        """
        sources = [s.report_source for s in sections if s.report_source is not None]
        # The sums of the step outputs, "" where one is not known; the worst exit code.
        outputs = [source.outputs for source in sources]
        names = dict.fromkeys(name for target_outputs in outputs for name in target_outputs)
        summed: dict[str, str] = {}
        for name in names:
            texts = [target_outputs[name] for target_outputs in outputs if name in target_outputs]
            are_numbers = all(text.isdigit() for text in texts)
            summed[name] = str(sum(map(int, texts))) if are_numbers else ""
        has_changes = any(target_outputs.get("has_changes") == "true" for target_outputs in outputs)
        joined_source = ReportSource(
            lambda: _fill_in_missing(document, sections),
            lambda budget: render_targets_markdown(
                list(_iter_markdown_parts(sections)),
                not_begun,
                self.reports.command,
                " ".join(self.selectors),
                budget=budget,
            ),
            lambda: "",
            lambda: [remark for source in sources for remark in source.annotations()],
            lambda: _sum_counts([source.counts() for source in sources]),
            {
                **summed,
                "exit_code": str(exit_code),
                "has_changes": "true" if has_changes else "false",
            },
            lambda: [
                remark
                for source in sources
                for remark in (source.touched_annotations or source.annotations)()
            ],
        )
        code = self.reports.write_reports_of_source(joined_source, exit_code)
        for file in self.html_files:
            for section in sections:
                if section.report_source is not None:
                    path = Path(file)
                    page = replace(
                        self.reports,
                        requests=[
                            (
                                "html",
                                str(path.with_name(f"{path.stem}.{section.target}{path.suffix}")),
                            )
                        ],
                    )
                    if page.write_reports_of_source(section.report_source, Exit.OK) != Exit.OK:
                        code = Exit.ERROR
        return code


def _fill_in_missing(
    document: Mapping[str, Any], sections: Sequence[TargetSection]
) -> dict[str, Any]:
    """The document of all, with what each target's report has in place of what was not printed."""
    parts = [
        {
            **part,
            "document": part["document"]
            or (section.report_source.document() if section.report_source else None),
        }
        for part, section in zip(document["targets"], sections, strict=True)
    ]
    return {**document, "targets": parts}


def _iter_markdown_parts(sections: Sequence[TargetSection]) -> Iterator[MarkdownPart]:
    for section in sections:
        source = section.report_source
        outputs = source.outputs if source is not None else {}
        yield MarkdownPart(
            section.target, section.exit_code, outputs, source.markdown if source else None
        )


def _sum_counts(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """The sums; no counts where a target has none, since a sum without it would be wrong."""
    if not counts or gitlab.NO_COUNTS in counts:
        return gitlab.NO_COUNTS
    total: Counter[str] = Counter()
    for target_counts in counts:
        total.update(target_counts)
    return {name: total[name] for name in counts[0]}
