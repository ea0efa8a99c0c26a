"""Which options of `apply` conflict with a saved plan."""

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
    "no_package_check": "--no-package-check",
    "only": "--only",
    "exclude": "--exclude",
}


def reject_beside_saved_plan(
    plan: Path | None, reviewed: Sequence[Path], options: Mapping[str, Any]
) -> None:
    """A usage error for options that `apply` would ignore with a saved or reviewed plan."""
    if plan and reviewed:
        raise click.UsageError("Give a saved plan, or one with --reviewed, not both.")
    for name, option in _OPTIONS_OF_ROWS.items() if plan or reviewed else ():
        if options.get(name):
            raise click.UsageError(f"{option} is said when a plan is made: `plan {option} --out`.")
