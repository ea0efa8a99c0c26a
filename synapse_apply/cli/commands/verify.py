"""`synapse-apply verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli import offers, options, parsing, revisions
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

if TYPE_CHECKING:
    from synapse_apply.session.where import Where


@manual(
    "verify",
    examples=[
        ("synapse-apply verify release/yolo", "Run the declared release of plugin yolo."),
        ("synapse-apply verify release/yolo@1.1.0 --timeout 900", "With more time than it says."),
        ("synapse-apply verify release -t staging", "Every declared release that can be run."),
        ("synapse-apply verify release --bytes", "Compare published bytes; run nothing."),
    ],
    exits=[
        ("0", "all passed, or on_failure is warn"),
        ("1", "error before the first call: not published yet, or nothing to run"),
        ("3", "a run failed, or did not end in time; --bytes: other bytes, or they were not read"),
        ("5", "refused: see the row"),
        ("6", "the state is locked by another run"),
        ("7", "nobody can tell whether a run was started; the next run looks it up"),
        ("130, 143", "stopped by a signal; the job goes on, and the next run follows it"),
    ],
)
@options.event_output
@options.place
@revisions.rules
@options.files
@options.variables
@click.argument(
    "releases", nargs=-1, required=True, metavar="RELEASE...", shell_complete=offers.addresses
)
@click.option(
    "--timeout",
    type=parsing.Number(min=0, min_open=True),
    metavar="SECONDS",
    help="How long a run may take, instead of spec.verify.timeout.",
)
@click.option(
    "--bytes",
    "only_bytes",
    is_flag=True,
    help="Run nothing: read what is published, compare it with the state, and record that.",
)
@options.parallelism
@options.patience
def command(
    *,
    face: Face,
    where: Where,
    releases: tuple[str, ...],
    timeout: float | None,
    only_bytes: bool,
) -> int:
    """Run releases as their spec.verify says, now, also those that passed before.

    A RELEASE is an address, release/PLUGIN or PLUGIN for the declared one, a kind, KEY=VALUE of a
    label, or any of these with `*`.
    Nothing else is sent and nobody is asked. The result is recorded: `apply` verifies only what
    has not passed. A job that is still running from before is followed, and no other started.
    """
    from synapse_apply.cli.applying import Run
    from synapse_apply.session.context import open_context
    from synapse_apply.session.plan import plan
    from synapse_apply.session.select import selection
    from synapse_apply.session.verify import choices_of, only_runs

    with open_context(where) as context:
        proved = {prefix for prefix, kind in context.catalogue.items() if kind.proof is not None}
        selected = selection(context, releases, (), proved) or frozenset()
        if only_bytes:
            from synapse_apply.cli.proving import show_compared
            from synapse_apply.session.prove import compare_bytes

            return show_compared(face, compare_bytes(context, selected))
        run = Run(face, context, choices_of(context, selected), operation="verify")
        with context.lock("verify"):
            planned = only_runs(plan(context, run.choices), timeout)
            face.warn(planned.plan.diagnostics)
            return run.carry_out(planned)
