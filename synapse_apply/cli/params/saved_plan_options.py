"""Which options of `apply` do not go with a saved plan: what would be ignored is a usage error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

# What changes the rows of a plan is said when it is made: the file of a saved plan tells the rest.
_OPTIONS_OF_ROWS = {
    "prune": "--prune",
    "allow_locked": "--allow-locked",
    "resend_secrets": "--resend-secrets",
    "adopt": "--adopt",
    "no_verify": "--no-verify",
    "revert_drift": "--revert-drift",
    "only": "--only",
    "exclude": "--exclude",
}


def check_saved_plan_options(
    plan: Path | None, reviewed: Sequence[Path], options: Mapping[str, Any]
) -> None:
    """A usage error for what does not go with a saved plan, where one is given to `apply`."""
    if plan and reviewed:
        raise click.UsageError("Give a saved plan, or one with --reviewed, not both.")
    for name, option in _OPTIONS_OF_ROWS.items() if plan or reviewed else ():
        if options.get(name):
            raise click.UsageError(f"{option} is said when a plan is made: `plan {option} --out`.")
