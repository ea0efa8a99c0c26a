"""`synapse-apply apply`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synapse_apply.cli import options, revisions
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

if TYPE_CHECKING:
    from synapse_apply.cli.reports import Reports
    from synapse_apply.session.where import Where


def _no_refresh(_ctx: click.Context, _param: click.Parameter, given: bool) -> None:
    """A refusal in words: live values that were recorded as seen would be no drift any more."""
    if given:
        raise click.UsageError(
            "apply has no --refresh-only: drift that is recorded would never be shown again. "
            "`drift` shows it, `drift --accept ADDRESS` takes it into the "
            "manifests, `state accept ADDRESS` settles it."
        )


@manual(
    "apply",
    examples=[
        ("synapse-apply apply", "Show the plan, ask, and do it."),
        ("synapse-apply apply -t prod --auto-approve", "In a deploy pipeline: nobody is asked."),
        ("synapse-apply apply --auto-approve --adopt", "Also take over objects that exist."),
        ("synapse-apply apply --auto-approve --wait", "After a kill: once it is certain what was."),
        ("synapse-apply apply --auto-approve --json > report.json", "One report document."),
        ("synapse-apply apply --auto-approve --json-lines", "What is done, line by line."),
        ("synapse-apply apply next.plan", "Do what `plan --out next.plan` showed; ask nobody."),
        ("synapse-apply apply --reviewed pr.plan", "Plan anew, and do only what was reviewed."),
        ("synapse-apply apply --reviewed 7.plan --reviewed 8.plan", "Two merges, older first."),
        ("synapse-apply apply --ref v1.2.0", "Go back: the manifests as that tag has them."),
        ("synapse-apply apply --auto-approve --report github", "On a runner of GitHub Actions."),
    ],
    exits=[
        ("0", "all was done"),
        ("1", "error before the first call; not `yes`; or stdout took no report: see stderr"),
        ("3", "something failed or was skipped; the report says what"),
        ("4", "stale: the plan, or rows of it, are not true any more; or rows nobody reviewed"),
        ("5", "refused: a guard stopped all, or rows marked ! were left out"),
        ("6", "the state is locked by another run"),
        ("7", "the outcome of a call is unknown; the next run looks it up"),
        ("130, 143", "stopped by a signal; what had begun was finished and recorded"),
    ],
)
@options.event_output
@options.place
@options.reports
@revisions.rules
@revisions.as_of
@options.files
@options.variables
@options.choices
@click.argument("plan", required=False, type=click.Path(path_type=Path))
@click.option(
    "--reviewed",
    type=click.Path(path_type=Path),
    metavar="FILE",
    multiple=True,
    help="Do the rows that this saved plan has, refuse the others; ask nobody. May be repeated, "
    "older plans first.",
)
@click.option(
    "--allow-unsigned",
    is_flag=True,
    help="Take a saved plan whose signature is missing or cannot be checked.",
)
@click.option("--auto-approve", is_flag=True, help="Do not ask.")
@click.option("--all-or-nothing", is_flag=True, help="Do nothing while any row is refused.")
@click.option(
    "--adopt/--no-adopt",
    default=None,
    help="Adopt objects that exist but are not recorded, also one that turns up as declared while "
    "it is made; without it a plan on a terminal shows and asks.",
)
@click.option("--refresh-only", is_flag=True, hidden=True, expose_value=False, callback=_no_refresh)
@options.parallelism
@options.wait
@options.patience
def command(
    *,
    face: Face,
    where: Where,
    reports: Reports | None,
    show_unchanged: bool,
    plan: Path | None,
    reviewed: tuple[Path, ...],
    allow_unsigned: bool,
    auto_approve: bool,
    all_or_nothing: bool,
    adopt: bool | None,
    wait: bool,
    **asked: Any,
) -> int:
    """Make the backend what the manifests say, and nothing else.

    Plans first, shows the plan and asks; everything is checked before the first call. A failure
    skips what depends on it and the rest goes on. The first Ctrl-C lets what has begun end (off a
    terminal for 6 s at most) and reports truthfully; the second stops at once. Open calls of a
    killed run are looked up first: too early to tell is exit 7, or --wait waits.

    With a saved PLAN (`plan --out`) only what it says is done, once, and nobody is asked; it knows
    its target. Objects that changed since are refused alone. Where the plan carries packages (`plan
    --out FILE --with-packages`), those are checked and uploaded, and package sources are not looked
    at.

    With --reviewed the manifests may have moved on: all is planned anew from this checkout, its
    packages too; rows that equal a reviewed row go, all others are refused. Several reviewed plans,
    older first, are one apply; of two rows for one address the later plan's counts.
    """
    from dataclasses import replace

    from synapse_apply.cli.applying import Run
    from synapse_apply.cli.approval import need_approval
    from synapse_apply.cli.choices import Asked
    from synapse_apply.cli.saved_plan import SavedRun, context_of, of_its_target, read_given
    from synapse_apply.cli.waiting import wait_if_asked

    given = read_given(where, plan, reviewed, {**asked, "adopt": adopt})
    if given is not None:
        where = of_its_target(where, given)
        reports = replace(reports, where=where) if reports is not None else None
    need_approval(face, given=auto_approve or given is not None)
    with context_of(where, given) as context:
        wait_if_asked(face, context, asked=wait)
        wanted = Asked(adopt=adopt, **asked).choices(context, asks=face.on_terminal)
        run = Run(
            face,
            context,
            given.union.choices_for(wanted) if given is not None else wanted,
            auto_approve=auto_approve,
            all_or_nothing=all_or_nothing,
            adopts=adopt is True,
            show_unchanged=show_unchanged,
            reports=reports,
        )
        if given is None:
            return run.run()
        return SavedRun(run, given, allow_unsigned or face.on_terminal).run()
