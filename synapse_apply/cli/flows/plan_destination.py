"""When `plan --out` may save a plan, and what it prints about the file."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Self

import click

from synapse_apply import Invocation, OpenTarget
from synapse_apply.cli.console import Console
from synapse_apply.cli.params.invocation_options import list_location_options
from synapse_apply.model.command import Command
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Plan
from synapse_apply.views.grammar import format_byte_size, pluralize
from synapse_apply.views.text.findings import render_diagnostics

_LARGE = 1024**3


@frozen
class PlanDestination:
    """The file to save a plan to, and whether to include its packages."""

    out: Path
    with_packages: bool

    @classmethod
    def from_options(
        cls, target: OpenTarget, out: Path | None, *, with_packages: bool
    ) -> Self | None:
        """The destination that the options name, None without --out; raises for an unusable one."""
        if out is None:
            if with_packages:
                raise click.UsageError("--with-packages goes with --out FILE, which carries them.")
            return None
        if str(out) == "-":
            raise click.UsageError("--out needs a file: a plan is a zip. --json is for stdout.")
        # Before planning: a plan of minutes must not fail on its file name.
        target.require_unused_file(out)
        return cls(out, with_packages)

    def save_and_describe(
        self,
        console: Console,
        invocation: Invocation,
        target: OpenTarget,
        plan: Plan,
    ) -> str:
        """Save a plan; returns the text to print after the plan has been shown."""
        if plan.has_errors:
            return f"\nThe plan was not saved to {self.out}: it has errors.\n"
        save_result = target.save_plan(plan, self.out, with_packages=self.with_packages)
        packages_text = (
            f" with {_format_packages_size(save_result.package_sizes.values())}"
            if self.with_packages
            else ""
        )
        signature_text = "" if save_result.is_signed else ", unsigned: there is no state key"
        message = f"\nSaved the plan to {self.out}{packages_text}{signature_text}.\n"
        if "SYNAPSE_APPLY_IN_AUTOMATION" not in console.environ:
            command = Command("apply", *_iter_repeat_options(invocation), self.out)
            message += f"Apply it with {command}.\n"
        size = sum(save_result.package_sizes.values())
        if size >= _LARGE:
            message += "\n" + render_diagnostics(
                [self._build_large_file_warning(size)], color=console.is_stderr_colored
            )
        return message

    def _build_large_file_warning(self, size: int) -> Diagnostic:
        return warning_finding(
            "This plan's file is large",
            f"{self.out} has {format_byte_size(size)} of packages: not every store of CI "
            f"artefacts takes "
            "so much.",
            "Without --with-packages the file is small, and apply reads their sources.",
        )


def _iter_repeat_options(invocation: Invocation) -> Iterator[str]:
    """The options that `apply` needs in order to use the same target and manifests."""
    yield from list_location_options(invocation)
    option_values = {
        "-t": invocation.target,
        "--project-from": f"git:{invocation.project_from}" if invocation.project_from else "",
        "--ref": invocation.as_of,
    }
    for option, value in option_values.items():
        if value:
            yield from (option, value)


def _format_packages_size(sizes: Collection[int]) -> str:
    return (
        f"{pluralize(len(sizes), 'package')} ({format_byte_size(sum(sizes))})"
        if sizes
        else "no packages"
    )
