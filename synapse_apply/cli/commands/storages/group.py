"""`synapse-apply storages`."""

from __future__ import annotations

import click

from synapse_apply.cli import registry
from synapse_apply.cli.help_pages import LazyGroup


@click.group("storages", cls=LazyGroup, entries=registry.STORAGES)
def command() -> None:
    """Look at storages as they are on the backend.

    No manifest is needed. Secrets show as `(sensitive)`, as null in JSON.
    """
