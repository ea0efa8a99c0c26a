"""What a command talks to: two streams, in colour or not, for people or for programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import field
from typing import TYPE_CHECKING, Any, Self, TextIO

import click

from synapse_apply.model.frozen import frozen

if TYPE_CHECKING:
    from synapse_apply.model.diagnostic import Diagnostic


_DOCUMENTED = f"{__name__}.documented"
_FINDINGS = f"{__name__}.findings"


class OutputFailed(OSError):
    """What was asked for cannot be written to stdout: a full disk, for one."""


@frozen
class Face:
    """Data goes to stdout, everything else to stderr; `color` is auto, always or never.

    `in_lines`: JSON is one object a line, each a document of its own.
    `in_events`: JSON is one event a line, and the document is the last.
    `taken`: a report goes to stdout, and what people read to stderr.
    `aim` is the target that was typed: commands in messages name it, too.
    """

    as_json: bool = False
    color: str = "auto"
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    in_lines: bool = False
    taken: bool = False
    aim: str = ""
    in_events: bool = False

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """The face that a command's options ask for."""
        in_lines, in_events = bool(given.get("as_lines")), bool(given.get("as_events"))
        as_json = in_lines or in_events or bool(given.get("as_json"))
        color, aim = given.get("color") or "auto", given.get("target") or ""
        return cls(as_json, color, in_lines=in_lines, aim=aim, in_events=in_events)

    @property
    def on_terminal(self) -> bool:
        """Whether somebody is there to be asked."""
        asked = self.environ.get("SYNAPSE_APPLY_INPUT", "").lower() not in {"0", "false", "no"}
        return asked and not self.as_json and _is_terminal(sys.stdin) and _is_terminal(sys.stdout)

    @property
    def is_watched(self) -> bool:
        """Whether somebody sees stderr while it is written."""
        return _is_terminal(sys.stderr)

    @property
    def draws_on_stderr(self) -> bool:
        """Whether a line of stderr can be written over."""
        return _is_terminal(sys.stderr) and self.environ.get("TERM") != "dumb"

    @property
    def width(self) -> int | None:
        """The terminal's width in cells; None off a terminal."""
        if not _is_terminal(sys.stdout):
            return None
        from shutil import get_terminal_size

        return get_terminal_size().columns

    def colors(self, stream: TextIO) -> bool:
        """Flag before NO_COLOR before FORCE_COLOR before the terminal."""
        if self.color != "auto":
            return self.color == "always"
        if self.environ.get("NO_COLOR"):
            return False
        if any(_is_on(self.environ.get(name, "")) for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
            return True
        return self.environ.get("TERM") != "dumb" and _is_terminal(stream)

    @property
    def color_out(self) -> bool:
        return self.colors(sys.stderr if self.taken else sys.stdout)

    @property
    def color_err(self) -> bool:
        return self.colors(sys.stderr)

    def out(self, text: str) -> None:
        """What the command was asked for; OutputFailed when it cannot be written."""
        if self.taken:
            self.err(text)
        else:
            self.data(text)

    def data(self, text: str) -> None:
        """To stdout, whatever else goes there; OutputFailed when it cannot be written."""
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as problem:
            raise OutputFailed(problem.errno, problem.strerror) from None

    def err(self, text: str) -> None:
        """Everything a program that reads stdout must not meet."""
        with suppress(OSError):  # nowhere is left to say it, and the exit code still tells
            sys.stderr.write(text)
            sys.stderr.flush()

    def say(self, text: str) -> None:
        """A line for people: to stdout, unless a JSON document goes there."""
        (self.err if self.as_json else self.out)(f"{text}\n")

    def document(self, document: Mapping[str, Any]) -> None:
        """One JSON document on stdout; as the last event where events were asked for."""
        from synapse_apply.views.json import json_line, json_text

        if self.in_events:
            from synapse_apply.views.events import closing_events

            self.events(closing_events(document, self._findings or ()))
        else:
            self.out((json_line if self.in_lines else json_text)(document))
        if context := click.get_current_context(silent=True):
            context.meta[_DOCUMENTED] = True

    def events(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Events on stdout, a line each, behind the line that says the version."""
        from synapse_apply import __version__
        from synapse_apply.views.events import finding_key, version_event
        from synapse_apply.views.json import json_line

        findings = self._findings
        if findings is None:
            findings = set()
            self.data(json_line(version_event(__version__)))
            if context := click.get_current_context(silent=True):
                context.meta[_FINDINGS] = findings
        for event in events:
            self.data(json_line(event))
            if "diagnostic" in event:
                findings.add(finding_key(event["diagnostic"]))

    @property
    def _findings(self) -> set[str] | None:
        """The findings that events have said; None before the first event."""
        context = click.get_current_context(silent=True)
        found: set[str] | None = context.meta.get(_FINDINGS) if context is not None else None
        return found

    @property
    def has_documented(self) -> bool:
        """Whether this command's document is out: a second one would spoil both."""
        context = click.get_current_context(silent=True)
        return not self.in_lines and context is not None and _DOCUMENTED in context.meta

    def warn(self, findings: Iterable[Diagnostic]) -> None:
        """Findings that do not end the command."""
        if not (findings := tuple(findings)):
            return
        from synapse_apply.model.aim import aimed_findings
        from synapse_apply.views.findings import render_diagnostics

        if text := render_diagnostics(aimed_findings(findings, self.aim), color=self.color_err):
            self.err(text + "\n")


def _is_on(value: str) -> bool:
    return value not in {"", "0"}


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except (OSError, ValueError):
        return False
