"""When `plan --out` may save a plan, and what it prints about the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import click

from synapse_apply import Invocation, OpenTarget
from synapse_apply.cli.console import Console
from synapse_apply.cli.params.invocation_options import list_location_options
from synapse_apply.model.command import Command
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Plan


@frozen
class PlanDestination:
    """The file to save a plan to."""

    out: Path

    @classmethod
    def from_unused_file_option(cls, target: OpenTarget, out: Path) -> Self:
        """The destination that --out names; raises for an unusable one."""
        if str(out) == "-":
            raise click.UsageError("--out needs a file: a plan is a zip. --json is for stdout.")
        # Before planning: a plan of minutes must not fail on its file name.
        target.require_unused_file(out)
        return cls(out)

    def save_and_describe(
        self, console: Console, invocation: Invocation, target: OpenTarget, plan: Plan
    ) -> str:
        """Save a plan that has no errors; returns the text to print after the plan was shown."""
        if plan.has_errors:
            return f"\nThe plan was not saved to {self.out}: it has errors.\n"
        save_result = target.save_plan(plan, self.out)
        signature_text = "" if save_result.is_signed else ", unsigned: there is no state key"
        message = f"\nSaved the plan to {self.out}{signature_text}.\n"
        if any(one.ends_by_itself for row in plan.refused_changes for one in row.refusals):
            message += "A row that is refused in it stays so: plan again once it can be done.\n"
        is_usable = bool(plan.actionable_changes) or not plan.refused_changes
        if is_usable and "SYNAPSE_APPLY_IN_AUTOMATION" not in console.environ:
            command = Command("apply", *_iter_repeat_options(invocation), self.out)
            message += f"Apply it with {command}.\n"
        return message


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
