"""`plan --offline`: what it is compared with."""

from __future__ import annotations

from typing import Any

import click

from synapse_apply.cli.choices import Asked
from synapse_apply.cli.inventories import wanted_from
from synapse_apply.model.plan import Plan
from synapse_apply.session.offline import Offline, Row, against_git, against_inventory, plan
from synapse_apply.session.where import Where


def offline_plan(where: Where, against: str | None, said: dict[str, Any]) -> Plan:
    """The plan; a usage error for what cannot be meant, InputError with every finding."""
    for name in ("out", "with_packages", "preflight", "server_dry_run", "resend_secrets"):
        del said[name]
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
