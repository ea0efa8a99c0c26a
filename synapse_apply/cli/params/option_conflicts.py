"""Which options of `plan` do not go together, and why: what would be ignored is a usage error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

_NO_PLAN = "it shows drift, and there is no plan"
_NO_REQUEST = "nothing is asked of the backend"
_NOT_APPLIED = "such a plan cannot be applied"

# By the option that says what kind of plan it is: what does not go with it, and why.
_CONFLICTING_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "offline": {
        "refresh_only": "drift is seen on what is live, and nothing is asked",
        "out": _NOT_APPLIED,
        "with_packages": _NOT_APPLIED,
        "preflight": _NO_REQUEST,
        "server_dry_run": _NO_REQUEST,
        "resend_secrets": "no secret is read",
        "as_of": "it compares the checkout",
    },
    "refresh_only": {
        "against": "drift is seen on what is live",
        "out": f"{_NO_PLAN} to save",
        "with_packages": f"{_NO_PLAN} to save",
        "preflight": f"{_NO_PLAN} to check before",
        "server_dry_run": f"{_NO_PLAN}, so no call to be tried",
        "prune": _NO_PLAN,
        "allow_locked": _NO_PLAN,
        "recreate": _NO_PLAN,
        "resend_secrets": _NO_PLAN,
        "revert_drift": _NO_PLAN,
        "overridden": _NO_PLAN,
    },
}
_OPTION_SPELLINGS = {"as_of": "--ref", "overridden": "--override-guard"}


def check_option_conflicts(options: Mapping[str, Any]) -> None:
    """A usage error for the first of the given options that does not go with another."""
    for mode, conflicts in _CONFLICTING_OPTIONS.items():
        for name, reason in conflicts.items() if options.get(mode) else ():
            if options.get(name):
                raise click.UsageError(
                    f"{_format_option(mode)} does not go with {_format_option(name)}: {reason}."
                )


def _format_option(name: str) -> str:
    return _OPTION_SPELLINGS.get(name, "--" + name.replace("_", "-"))
