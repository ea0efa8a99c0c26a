"""`plan --offline`: what it is compared with, and what does not go with it."""

from __future__ import annotations

from typing import Any

import click

from synapse_apply.cli.choices import Asked
from synapse_apply.cli.inventories import wanted_from
from synapse_apply.model.plan import Plan
from synapse_apply.session.offline import Offline, Row, against_git, against_inventory, plan
from synapse_apply.session.where import Where

# What needs a state, a backend or a plan that can be applied.
_NOT_WITH = {
    "out": "--out: such a plan cannot be applied",
    "with_packages": "--with-packages: such a plan cannot be applied",
    "preflight": "--preflight: nothing is asked",
    "server_dry_run": "--server-dry-run: nothing is asked",
    "resend_secrets": "--resend-secrets: no secret is read",
}


def offline_plan(where: Where, against: str | None, said: dict[str, Any]) -> Plan:
    """The plan; a usage error for what cannot be meant, InputError with every finding."""
    for name, why in _NOT_WITH.items():
        if said.pop(name, None):
            raise click.UsageError(f"--offline does not go with {why}.")
    if where.as_of:
        raise click.UsageError("--offline compares the checkout: it does not go with --ref.")
    kind, _, name = (against or "").partition(":")
    if kind not in {"git", "state"} or not name:
        raise click.UsageError(
            "--offline and --against go together: --against git:REF, or --against state:FILE "
            "with an inventory, says what to compare with."
        )
    compared = _against_file(where, name) if kind == "state" else against_git(where, name)
    return plan(compared, Asked(resend_secrets=False, **said).choices(compared))


def _against_file(where: Where, name: str) -> Offline:
    path = where.directory / name
    rows = {at: Row(row.remote_id, row.digest or None) for at, row in wanted_from(path).items()}
    return against_inventory(where, rows, f"state:{name}")
