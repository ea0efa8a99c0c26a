"""`synapse-apply plugins`."""

from __future__ import annotations

import click

from synapse_apply.cli import table
from synapse_apply.cli.manual import LazyGroup


@click.group("plugins", cls=LazyGroup, entries=table.PLUGINS)
def command() -> None:
    """Look at plugins as they are on the backend.

    No manifest is needed; the state, where there is one, knows plugins by their names.
    """
