"""`synapse-apply storages`."""

from __future__ import annotations

import click

from synapse_apply.cli import table
from synapse_apply.cli.manual import LazyGroup


@click.group("storages", cls=LazyGroup, entries=table.STORAGES)
def command() -> None:
    """Look at storages as they are on the backend.

    No manifest is needed. Secrets show as `(sensitive)`, as null in JSON.
    """
