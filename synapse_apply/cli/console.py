"""Which stream a command writes to, in colour or not, as text or as JSON; how it asks."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TextIO, TypeVar

import click

from synapse_apply.model.frozen import frozen

if TYPE_CHECKING:
    from synapse_apply.cli.reports import Reports, ReportSource
    from synapse_apply.model.diagnostic import Diagnostic


_Texts = TypeVar("_Texts")
_DOCUMENT_WRITTEN_KEY = f"{__name__}.documented"
_FINDINGS_KEY = f"{__name__}.findings"


@dataclass
class TargetSection:
    """What a command gave for one of several targets: exit code, document, source of reports.

    `was_stopped`: a signal asked it to end, whatever its exit code says. `told` is what the
    sections of a command wrote for all of them.
    """

    target: str
    exit_code: int = 0
    was_stopped: bool = False
    document: Mapping[str, Any] | None = None
    report_source: ReportSource | None = None
    told: set[str] = field(default_factory=set)


class OutputFailedError(OSError):
    """Output of the command cannot be written to stdout, as on a full disk."""


@frozen
class Console:
    """Data goes to stdout, everything else to stderr; `color` is auto, always or never.

    `as_lines`: JSON is one object per line, each its own document.
    `as_events`: JSON is one event per line, and the document is the last one.
    `as_yaml`: each document is written as YAML.
    `is_stdout_taken`: a report goes to stdout, so that text goes to stderr.
    `typed_target` is the typed target: commands in messages name it as well.
    `section` takes the document of one of several targets, and its reports.
    """

    as_json: bool = False
    color: str = "auto"
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    as_lines: bool = False
    is_stdout_taken: bool = False
    typed_target: str = ""
    as_events: bool = False
    section: TargetSection | None = field(default=None, compare=False, repr=False)
    as_yaml: bool = False

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """The console that a command's parsed options ask for."""
        as_lines, as_events = bool(options.get("as_lines")), bool(options.get("as_events"))
        output = options.get("output")
        return cls(
            as_lines or as_events or bool(options.get("as_json") or output),
            options.get("color") or "auto",
            as_lines=as_lines,
            typed_target=single_target(options),
            as_events=as_events,
            as_yaml=output == "yaml",
        )  # fmt: skip

    @property
    def is_interactive(self) -> bool:
        """Whether somebody can be asked: stdin and stdout are terminals, and input is allowed."""
        if self.environ.get("SYNAPSE_APPLY_INPUT", "").lower() in {"0", "false", "no"}:
            return False
        return not self.as_json and _is_terminal(sys.stdin) and _is_terminal(sys.stdout)

    @property
    def shows_hints(self) -> bool:
        """Whether what to do next is said: to people, and not in automation."""
        return "SYNAPSE_APPLY_IN_AUTOMATION" not in self.environ

    @property
    def is_stderr_terminal(self) -> bool:
        """Whether stderr is a terminal."""
        return _is_terminal(sys.stderr)

    @property
    def can_redraw_stderr(self) -> bool:
        """Whether a line on stderr can be overwritten."""
        return _is_terminal(sys.stderr) and self.environ.get("TERM") != "dumb"

    @property
    def terminal_width(self) -> int | None:
        """The width of the terminal in cells; None where stdout is no terminal."""
        if not _is_terminal(sys.stdout):
            return None
        from shutil import get_terminal_size

        return get_terminal_size().columns

    @property
    def layout(self) -> dict[str, Any]:
        """Colour and width of the output, as renderers of `views.text` take them."""
        return {"color": self.is_output_colored, "width": self.terminal_width}

    def should_color(self, stream: TextIO) -> bool:
        """In order of precedence: the option, NO_COLOR, FORCE_COLOR, the terminal."""
        if self.color != "auto":
            return self.color == "always"
        if self.environ.get("NO_COLOR"):
            return False
        forced = (self.environ.get(name, "") for name in ("FORCE_COLOR", "CLICOLOR_FORCE"))
        if any(value not in {"", "0"} for value in forced):
            return True
        return self.environ.get("TERM") != "dumb" and _is_terminal(stream)

    @property
    def is_output_colored(self) -> bool:
        return self.should_color(sys.stderr if self.is_stdout_taken else sys.stdout)

    @property
    def is_stderr_colored(self) -> bool:
        return self.should_color(sys.stderr)

    def write_once(self, text: str) -> None:
        """Write output, unless a section of an earlier target has the same."""
        told = self.section.told if self.section is not None else set()
        if text not in told:
            self.write_output(text)
        told.add(text)

    def write_output(self, text: str) -> None:
        """Write the requested output; OutputFailedError when it cannot be written."""
        if self.is_stdout_taken:
            self.write_stderr(text)
        else:
            self.write_stdout(text)

    def write_stdout(self, text: str) -> None:
        """Write to stdout, also where a report goes there; OutputFailedError when that fails."""
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        # The reader closed the pipe on purpose (`| head`): that is no failure to report.
        except BrokenPipeError:
            raise
        except OSError as problem:
            raise OutputFailedError(problem.errno, problem.strerror) from None

    def write_stderr(self, text: str) -> None:
        """Write what a program that reads stdout must not get; a failure is ignored."""
        with suppress(OSError):  # nowhere is left to say it, and the exit code still tells
            sys.stderr.write(text)
            sys.stderr.flush()

    def write_note(self, text: str) -> None:
        """Write a line for people: to stdout, or to stderr where stdout gets JSON."""
        (self.write_stderr if self.as_json else self.write_output)(f"{text}\n")

    def write_or_keep_document(self, document: Mapping[str, Any]) -> None:
        """Write one JSON document to stdout; with --json-lines, as the last event.

        That of one of several targets becomes a part of the document of all.
        """
        from synapse_apply.views.json.documents import (
            format_redacted_json_document,
            format_redacted_json_line,
        )

        if self.section is not None:
            self.section.document = document
            return
        if self.as_events:
            from synapse_apply.views.json.events import iter_last_events

            self.write_events(iter_last_events(document, self._meta.get(_FINDINGS_KEY, ())))
        elif self.as_yaml:
            self.write_yaml(document)
        else:
            form = format_redacted_json_line if self.as_lines else format_redacted_json_document
            self.write_output(form(document))
        self._meta[_DOCUMENT_WRITTEN_KEY] = True

    def write_yaml(self, *documents: Mapping[str, Any]) -> None:
        """Write documents as YAML, with `---` between them; secrets are null."""
        from synapse_apply.manifests.yaml.writing import format_block_lines
        from synapse_apply.views.redaction import plain_json
        from synapse_apply.views.sanitize import escape_ci_commands

        texts = [format_block_lines(plain_json(one), "", literals=True) for one in documents]
        text = "---\n".join("".join(f"{line}\n" for line in lines) for lines in texts)
        self.write_output(escape_ci_commands(text))

    def show(self, document: Mapping[str, Any], text: str) -> None:
        """Write a document where JSON is wanted, else a text."""
        if self.as_json:
            self.write_or_keep_document(document)
        else:
            self.write_output(text)

    def write_events(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Write events to stdout, one per line, after the line with the version.

        Their findings are left out of the document at the end.
        """
        from synapse_apply.views.json.documents import format_redacted_json_line
        from synapse_apply.views.json.events import serialize_finding

        self.write_version_line_once()
        for event in events:
            self.write_stdout(format_redacted_json_line(event))
            if "diagnostic" in event:
                key = serialize_finding(event["diagnostic"])
                self._meta.setdefault(_FINDINGS_KEY, set()).add(key)

    def write_version_line_once(self) -> None:
        """Write the line with the version, unless this command wrote it before."""
        from synapse_apply import __version__
        from synapse_apply.views.json.documents import format_redacted_json_line
        from synapse_apply.views.json.events import build_version_event

        if _FINDINGS_KEY not in self._meta:
            self.write_stdout(format_redacted_json_line(build_version_event(__version__)))
            self._meta[_FINDINGS_KEY] = set()

    @property
    def _meta(self) -> dict[str, Any]:
        """What was written of a command, as its context has it: copies of a Console serve one.

        It has the keys of the findings that were written as events, from the first event on.
        """
        click_context = click.get_current_context(silent=True)
        return click_context.meta if click_context is not None else {}

    @property
    def has_written_document(self) -> bool:
        """Whether this command's document is written already: a second one would break the JSON."""
        if self.section is not None:
            return self.section.document is not None
        return not self.as_lines and _DOCUMENT_WRITTEN_KEY in self._meta

    def show_checked(
        self,
        command: str,
        findings: Sequence[Diagnostic],
        text: str,
        reports: Reports | None = None,
    ) -> int:
        """Print what a command has found, as its document or with `text` below; the exit code.

        `reports` are written as well.
        """
        from synapse_apply.model.errors import Exit

        code = Exit.ERROR if any(finding.is_error for finding in findings) else Exit.OK
        if self.as_json:
            from synapse_apply import __version__
            from synapse_apply.views.json.documents import failure_document

            named = self.name_target(tuple(findings))
            self.write_or_keep_document(
                failure_document(command, named, code, tool_version=__version__)
            )
        else:
            self.write_findings(findings)
            self.write_output(text)
        return reports.write_findings(findings, code) if reports else code

    def name_target(self, texts: _Texts) -> _Texts:
        """Texts or findings whose commands name the target that was typed."""
        from synapse_apply.model.command import name_target_in_commands

        return name_target_in_commands(texts, self.typed_target)

    def write_findings(self, findings: Iterable[Diagnostic]) -> None:
        """Write findings that do not end the command to stderr."""
        if not (findings := tuple(findings)):
            return
        from synapse_apply.views.text.findings import render_diagnostics

        if text := render_diagnostics(self.name_target(findings), color=self.is_stderr_colored):
            self.write_stderr(text + "\n")


def single_target(options: Mapping[str, Any]) -> str:
    """The one target that -t names; "" without it, and where it names several."""
    names: Sequence[str] = options.get("target") or ()
    if len(names) != 1:
        return ""
    from synapse_apply.model.project import may_name_several_targets

    return "" if may_name_several_targets(names[0]) else names[0]


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except (OSError, ValueError):
        return False


def require_approval_way(
    console: Console, *, is_approved: bool, verb: str = "apply", flag: str = "--auto-approve"
) -> None:
    """InputError where nobody can be asked and the flag is missing; called before anything else."""
    if is_approved or console.is_interactive:
        return
    from synapse_apply.model.command import Command, Text
    from synapse_apply.model.errors import InputError

    review = Text("If you intend this, add")
    if verb == "apply":
        review = Text("Review with ", Command("plan"), ", then add")
    if console.as_events:
        summary = f"--json-lines needs {flag}"
        detail = "With --json-lines, the command prints only JSON and cannot ask for approval."
    elif console.as_json:
        summary = f"--json needs {flag}"
        detail = "With --json, the command prints one document and cannot ask for approval."
    else:
        summary = "Approval is required, but there is no terminal"
        detail = f"`{verb}` needs approval, and there is no terminal to ask on."
    raise InputError.from_summary(summary, detail, Text(review, f" {flag}."))


def is_approved(
    console: Console,
    question: str,
    detail: str,
    *,
    given: bool,
    verb: str,
    flag: str = "--auto-approve",
) -> bool:
    """Ask unless the approval is given by the flag; InputError where nobody can be asked."""
    require_approval_way(console, is_approved=given, verb=verb, flag=flag)
    return given or ask_approval(console, question, detail)


def ask_approval(console: Console, question: str, detail: str) -> bool:
    """Ask; True if the answer is `yes`. The end of input counts as no."""
    console.write_output(
        f"\n{question}\n  {detail}\n  Only 'yes' will be accepted to approve.\n\n  Enter a value: "
    )
    answer = read_answer_line()
    console.write_output("\n" if answer.endswith("\n") else "\n\n")
    return answer.strip() == "yes"


def read_answer_line() -> str:
    """The next line of stdin, "" at its end; a signal's handler may end the wait by raising.

    `input` would miss a Ctrl-C between the question and the read: the signal is only noted, and
    its handler runs after the read, that is after a line that may never come. With the wakeup
    descriptor a signal makes `select` return.
    """
    import select

    stdin = sys.stdin.fileno()
    wakeup_reader, wakeup_writer = os.pipe()
    try:
        # `signal.set_wakeup_fd` requires a non-blocking descriptor.
        os.set_blocking(wakeup_writer, False)
        old_wakeup_fd = signal.set_wakeup_fd(wakeup_writer)
        try:
            ready: list[int] = []
            while stdin not in ready:
                ready, _, _ = select.select([stdin, wakeup_reader], [], [])
                if wakeup_reader in ready:  # a handler that did not raise: the question stands
                    os.read(wakeup_reader, 64)
        finally:
            signal.set_wakeup_fd(old_wakeup_fd)
    finally:
        for descriptor in (wakeup_reader, wakeup_writer):
            os.close(descriptor)
    return sys.stdin.readline()
