"""Which options of `plan` conflict with --offline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

# By option, with the reason.
_CONFLICTING_OPTIONS: Mapping[str, str] = {
    "out": "such a plan cannot be applied",
    "server_dry_run": "nothing is asked of the backend",
    "resend_secrets": "no secret is read",
}


def drop_online_options(plan_arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The options for an offline plan; a usage error where a conflicting one is given."""
    for name, reason in _CONFLICTING_OPTIONS.items():
        if plan_arguments[name]:
            option = "--" + name.replace("_", "-")
            raise click.UsageError(f"--offline does not go with {option}: {reason}.")
    return {
        name: value for name, value in plan_arguments.items() if name not in _CONFLICTING_OPTIONS
    }
