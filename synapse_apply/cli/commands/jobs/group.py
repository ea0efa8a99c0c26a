"""The group `jobs`: its help, and the table of its commands."""

from __future__ import annotations

import click

from synapse_apply.cli import registry
from synapse_apply.cli.help_pages import LazyGroup


@click.group("jobs", cls=LazyGroup, entries=registry.JOBS)
def command() -> None:
    """Look at jobs, follow their logs, report on them.

    A job is one run of a plugin. Status words of both kinds of servers are understood (queued or
    PENDING, running, completed or SUCCEEDED, failed, stopped) and shown in one.
    """
