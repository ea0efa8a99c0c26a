"""One apply of a saved or reviewed plan: the file is the approval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from synapse_apply.cli.applying import Run
from synapse_apply.model.errors import Exit
from synapse_apply.session.plan import plan as make_plan
from synapse_apply.session.saved import Saved, check, fit, read
from synapse_apply.session.where import Where

# What changes the rows of a plan is said when it is made: the file tells the rest.
_OF_THE_PLAN = {
    "prune": "--prune",
    "resend_secrets": "--resend-secrets",
    "adopt": "--adopt",
    "no_verify": "--no-verify",
    "only": "--only",
    "exclude": "--exclude",
}


def read_given(
    where: Where, plan: Path | None, reviewed: Path | None, asked: Mapping[str, Any]
) -> Saved | None:
    """The plan that was given, if one was; a usage error for what does not go with it."""
    path = plan or reviewed
    if path is None:
        return None
    if plan and reviewed:
        raise click.UsageError("Give a saved plan, or one with --reviewed, not both.")
    for name, option in _OF_THE_PLAN.items():
        if asked.get(name):
            raise click.UsageError(f"{option} is said when a plan is made: `plan {option} --out`.")
    return read(where.directory / path)


@dataclass(frozen=True, slots=True)
class SavedRun:
    """An apply of a saved plan; `run` gives its exit code."""

    of: Run
    saved: Saved
    reviewed: bool
    allow_unsigned: bool

    def run(self) -> int:
        """Check, plan anew, cut down, apply. Raises what stops it before its first call."""
        run, context = self.of, self.of.context
        with context.lock("apply"):
            warnings = check(
                context, self.saved, reviewed=self.reviewed, allow_unsigned=self.allow_unsigned
            )
            fresh = make_plan(context, run.choices)
            if not fresh.plan.errored:
                fresh = fit(self.saved, fresh, reviewed=self.reviewed)
            run.show(fresh.plan)
            run.face.warn(warnings)
            if not run.may_go(fresh.plan):
                return Exit.ERROR
            return run.carry_out(fresh, once=not self.reviewed)
