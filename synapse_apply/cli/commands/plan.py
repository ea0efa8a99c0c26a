"""`synapse-apply plan`."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synapse_apply.cli import options, revisions, together
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual
from synapse_apply.model.errors import Exit

if TYPE_CHECKING:
    from synapse_apply.cli.keeping import Keeping
    from synapse_apply.cli.reports import Reports
    from synapse_apply.model.diagnostic import Diagnostic
    from synapse_apply.model.plan import Plan
    from synapse_apply.session.where import Where
    from synapse_apply.views.progress import Display


@manual(
    "plan",
    examples=[
        ("synapse-apply plan", "What apply would do on the only target."),
        ("synapse-apply plan -t prod --detailed-exitcode", "In CI: exit code 2 means changes."),
        ("synapse-apply plan --only storage --exclude team=vision", "Only a part of it."),
        ("synapse-apply plan --json > plan.json", "The plan for a program, complete on any exit."),
        ("synapse-apply plan --out next.plan", "Save it: `apply next.plan` does just that."),
        (
            "synapse-apply plan --out next.plan --with-packages",
            "The same for a job that has the manifests and not the packages.",
        ),
        (
            "synapse-apply plan -t prod --server-dry-run",
            "What the backend would refuse, before anything is done.",
        ),
        ("synapse-apply plan --report markdown=plan.md", "Also as a comment for a pull request."),
        (
            "synapse-apply plan --offline --against git:refs/remotes/origin/main",
            "For a pull request from a fork: no credentials, no backend.",
        ),
        ("synapse-apply plan --ref v1.2.0", "What going back to that tag would do."),
    ],
    exits=[
        ("0", "planned"),
        ("1", "error; what could be planned is shown"),
        ("2", "with --detailed-exitcode: there are changes or refusals"),
    ],
)
@options.output
@options.place
@options.reports
@revisions.rules
@revisions.as_of
@revisions.offline
@revisions.against
@options.files
@options.variables
@options.choices
@click.option(
    "--adopt/--no-adopt",
    default=True,
    help="Adopt objects that exist but are not recorded, or refuse them.",
)
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 when there is a change.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Save the plan in a new file, for `apply FILE` or `apply --reviewed FILE`.",
)
@click.option(
    "--with-packages",
    is_flag=True,
    help="With --out: put the packages that it uploads in the file, so that `apply FILE` needs "
    "no package sources.",
)
@click.option(
    "--preflight",
    is_flag=True,
    help="First check what `doctor` checks, and stop with all that is wrong.",
)
@click.option(
    "--server-dry-run",
    is_flag=True,
    help="Also send each call to the backend to be checked and not acted on, where its API can.",
)
@click.option(
    "--refresh-only",
    is_flag=True,
    help="Show only what was changed outside: the same as `drift`.",
)
@options.parallelism
def command(
    *,
    face: Face,
    where: Where,
    reports: Reports | None,
    show_unchanged: bool,
    detailed_exitcode: bool,
    offline: bool,
    against: str | None,
    refresh_only: bool,
    **said: Any,
) -> int:
    """Show what `apply` would do, and do nothing.

    Reads the manifests, the state and the live backend; sends nothing that could change anything.
    Rows marked `!` are refused: each says why, and the ways out. Guards that would stop the apply
    are told, too.

    A saved plan holds no secret value. It is signed with the state key, where there is one, and
    used once. A plan with errors is not saved.

    With --with-packages it also carries the package of each release that it makes, as it would be
    sent: then `apply FILE` uploads those, also in another checkout, where the folder, the zip or
    the Git ref is gone or has changed. Whoever can read the file can read the packages.

    With --server-dry-run every call that the API can check is sent as a dry run, packages included:
    what the backend refuses is refused in the plan, in its own words. Calls of API v1 cannot be
    tried; how many they are is told. Nothing is sent that the backend could act on before it has
    shown that it knows dry runs; see docs/api-v2.md.

    With --offline it needs no credentials: what was declared at a Git ref, or what an inventory
    lists, stands in for what is live. For pull requests from forks; see docs/pull-requests.md.
    """
    modes = {"offline": offline, "against": against, "refresh_only": refresh_only}
    together.check({**said, **modes, "as_of": where.as_of})
    if refresh_only:
        return _refresh_only(face, where, reports, said, detailed=detailed_exitcode)
    if offline or against is not None:
        from synapse_apply.cli.offline import offline_plan

        plan = offline_plan(where, against if offline else None, said)
        _show(face, plan, show_unchanged=show_unchanged)
    else:
        plan = _online(face, where, show_unchanged=show_unchanged, **said)
    code = _exit_code(plan, detailed=detailed_exitcode)
    return reports.of_plan(plan, code) if reports else code


def _online(
    face: Face,
    where: Where,
    *,
    show_unchanged: bool,
    out: Path | None,
    with_packages: bool,
    preflight: bool,
    server_dry_run: bool,
    **asked: Any,
) -> Plan:
    """A plan of what is live, shown and saved as it was asked for."""
    from synapse_apply.cli.choices import Asked
    from synapse_apply.session.context import open_context
    from synapse_apply.session.plan import plan as make_plan

    keeping = _keeping(where, out, with_packages=with_packages)
    found = _examined(where) if preflight else ()
    with open_context(where) as context:
        choices = Asked(**asked).choices(context)
        with _trying(face) if server_dry_run else nullcontext() as trying:
            plan = make_plan(context, choices, trying=trying).plan
        said = keeping.keep(face, where, context, plan, choices) if keeping is not None else ""
    _show(face, plan, show_unchanged=show_unchanged)
    if plan.summary.import_ and out is None and not face.on_terminal:
        said += "\nWhat is to be imported needs `--adopt` when `apply` runs off a terminal.\n"
    face.warn(finding for finding in found if finding not in plan.diagnostics)
    face.err(said)
    return plan


def _trying(face: Face) -> Display:
    """What tells of dry runs while they go on: packages may take long."""
    from synapse_apply.views.progress import open_progress

    return open_progress(sys.stderr, color=face.color_err, quiet=not face.on_terminal)


def _keeping(where: Where, out: Path | None, *, with_packages: bool) -> Keeping | None:
    if out is None and not with_packages:
        return None
    from synapse_apply.cli.keeping import Keeping

    return Keeping.asked(where, out, with_packages=with_packages)


def _examined(where: Where) -> tuple[Diagnostic, ...]:
    from synapse_apply.cli.preflight import examine

    return examine(where)


def _refresh_only(
    face: Face,
    where: Where,
    reports: Reports | None,
    said: dict[str, Any],
    *,
    detailed: bool,
) -> int:
    from synapse_apply.cli import drifting

    looking = drifting.Looking(said["only"], said["exclude"])
    return drifting.look(face, where, reports, looking, detailed=detailed)


def _show(face: Face, plan: Plan, *, show_unchanged: bool) -> None:
    if face.as_json:
        from synapse_apply.views.json import plan_document

        face.document(plan_document(plan))
    else:
        from synapse_apply.views.text import render_plan

        color, width = face.color_out, face.width
        face.out(render_plan(plan, color=color, width=width, show_unchanged=show_unchanged))


def _exit_code(plan: Plan, *, detailed: bool) -> int:
    if plan.errored:
        return Exit.ERROR
    differs = plan.has_changes or bool(plan.refused)
    return Exit.CHANGES if detailed and differs else Exit.OK
