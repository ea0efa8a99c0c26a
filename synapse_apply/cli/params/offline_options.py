"""`plan --offline`: what it is compared with, and which options it does not take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from synapse_apply.cli.params.input_files import read_inventory_file
from synapse_apply.cli.params.plan_arguments import PlanArguments
from synapse_apply.model.plan import Plan
from synapse_apply.operations.offline_plan import (
    InventoryEntry,
    OfflineComparison,
    load_offline_against_git,
    load_offline_against_inventory,
    plan_offline,
)
from synapse_apply.workspace.invocation import Invocation

_NOT_APPLIED = "such a plan cannot be applied"
# What would be ignored is a usage error instead; by option, with the reason.
_CONFLICTING_OPTIONS: Mapping[str, str] = {
    "out": _NOT_APPLIED,
    "with_packages": _NOT_APPLIED,
    "server_dry_run": "nothing is asked of the backend",
    "resend_secrets": "no secret is read",
}


def make_offline_plan(
    invocation: Invocation, against: str | None, plan_arguments: dict[str, Any]
) -> Plan:
    """The plan; a usage error for what cannot be meant, InputError with every finding."""
    if invocation.as_of:
        raise click.UsageError("--offline does not go with --ref: it compares the checkout.")
    for name, reason in _CONFLICTING_OPTIONS.items():
        if plan_arguments.pop(name):
            option = "--" + name.replace("_", "-")
            raise click.UsageError(f"--offline does not go with {option}: {reason}.")
    kind, _, name = (against or "").partition(":")
    if kind not in {"git", "state"} or not name:
        raise click.UsageError(
            "--offline and --against go together: --against git:REF, or --against state:FILE "
            "with an inventory, says what to compare with."
        )
    offline_target = (
        _load_inventory_target(invocation, name)
        if kind == "state"
        else load_offline_against_git(invocation, name)
    )
    return plan_offline(
        offline_target,
        PlanArguments(resend_secrets=False, **plan_arguments).build_plan_options(offline_target),
    )


def _load_inventory_target(invocation: Invocation, name: str) -> OfflineComparison:
    path = invocation.directory / name
    rows = {
        address: InventoryEntry(row.remote_id, row.digest or None)
        for address, row in read_inventory_file(path).items()
    }
    return load_offline_against_inventory(invocation, rows, f"state:{name}")
