"""The group `controller rollout`: its help, and the table of its commands."""

from __future__ import annotations

import click

from synapse_apply.cli import registry
from synapse_apply.cli.help_pages import LazyGroup


@click.group("rollout", cls=LazyGroup, entries=registry.CONTROLLER_ROLLOUT)
def command() -> None:
    """See how far rollouts are, and decide on them.

    A rollout brings a new head to targets wave by wave. A wave is closed once each of its targets
    has shown that it looks good; too many failures stop the rollout, and a person decides.
    """
