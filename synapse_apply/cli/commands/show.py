"""The commands that only show: `show`, `get`, `mcp`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from synapse_apply import cli
from synapse_apply.cli import options, typed
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.model.errors import Exit, NameNotFound
from synapse_apply.model.job import EXPANDABLE_FIELDS

if TYPE_CHECKING:
    from synapse_apply import Invocation, OpenTarget
    from synapse_apply.cli.reports import Reports


@manual_command(
    "show",
    examples=[
        ("synapse-apply show plugin/yolo", "Declared, recorded and live, field by field."),
        ("synapse-apply show storage/raw-data --json", "The same for a script; YAML: -o yaml."),
        ("synapse-apply show next.plan", "A saved plan, and what is known to have changed since."),
        (
            "synapse-apply show next.plan --report markdown=plan.md --report html=plan.html",
            "The same plan for a comment and for a browser.",
        ),
    ],
    exits=[("0", "shown"), ("1", "no such resource, no such plan, or it could not be read")],
)
@options.use("yaml", "targets", "report", "project_from", "file", "variables")
@click.argument("what", metavar="ADDRESS|FILE", shell_complete=typed.complete_addresses)
@click.option("--show-unchanged", is_flag=True, help="Of a plan, also what stays as it is.")
def show(
    *,
    console: Console,
    invocation: Invocation,
    reports: Reports | None,
    what: str,
    show_unchanged: bool,
) -> int:
    """Show a resource as its manifest declares it, as it was last applied, and as it is now.

    Or a plan that `plan --out FILE` saved, as `plan` showed it: with --json it is the document of
    `plan --json`, and --report writes the reports that `plan` would have written. An argument that
    is the name of a saved plan's file is that plan; anything else is an address, release/PLUGIN, or
    a name that only one kind has. Secrets show as `(sensitive)`, with whether they are as declared.
    """
    file = invocation.directory / what
    is_plan = False
    if file.is_file():
        from synapse_apply.library import is_saved_plan

        is_plan = is_saved_plan(file) or not typed.has_address_form(what)
    if is_plan:
        return cli.plan.report_saved_plan(
            console, invocation, file, reports, show_unchanged=show_unchanged
        )
    if reports is not None or show_unchanged:
        option = "--show-unchanged" if reports is None else "--report"
        raise click.UsageError(f"{option} is for a saved plan; {what!r} is no file that holds one.")
    with options.open_target(invocation) as target:
        try:
            sides = target.find_resource(what)
        except NameNotFound as problem:
            findings = (
                one.with_changes(detail=f"{one.detail}, and {what} is no file here")
                for one in problem.diagnostics
            )
            raise NameNotFound(*findings) from None
    if console.as_json:
        console.write_or_keep_document(cli.objects.build_sides_document(sides))
    else:
        console.write_output(cli.objects.render_resource_sides(sides, console))
    console.write_findings(sides.findings)
    return Exit.ERROR if any(finding.is_error for finding in sides.findings) else Exit.OK


_KINDS = ("plugin", "release", "storage", "job")
_KIND_BY_WORD = {word: kind for kind in _KINDS for word in (kind, f"{kind}s")}


def _parse_expand_options(
    _ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]
) -> tuple[str, ...]:
    """`logs,result` as names, each once."""
    return tuple(dict.fromkeys(part.strip() for text in texts for part in text.split(",")))


@manual_command(
    "get",
    examples=[
        ("synapse-apply get storages", "A line for each storage."),
        ("synapse-apply get storage raw-data", "One, by its name there or in the state."),
        (
            "synapse-apply get plugin yolo --json",
            "By its code or its recorded name, for a script.",
        ),
        ("synapse-apply get plugin id=123", "By its id."),
        ("synapse-apply get storage raw-data -o yaml", "In the form of a manifest."),
        ("synapse-apply get release/yolo@1.2.0", "By its address."),
        ("synapse-apply get release yolo@1.2.0 --expand plugin", "With the plugin it belongs to."),
        ("synapse-apply get releases --plugin yolo", "The releases of a plugin, newest first."),
        ("synapse-apply get jobs --status running", "Jobs that are running."),
        ("synapse-apply get jobs --plugin yolo --created-after 7d", "A plugin's, of a week."),
        ("synapse-apply get job 789 --expand logs,result", "One, with its log and its result."),
    ],
    exits=[
        ("0", "shown; a list also where it is empty"),
        ("1", "there is no such object, or it could not be read"),
    ],
)
@options.use("yaml", "targets")
@click.argument("kind", metavar="KIND")
@click.argument("name", metavar="[NAME]", required=False)
@click.option(
    "--plugin",
    metavar="PLUGIN",
    help="With `releases` and `jobs`: those of this plugin: its code, its recorded name, or "
    "id=123.",
)
@click.option(
    "--expand",
    multiple=True,
    metavar="NAMES",
    callback=_parse_expand_options,
    help="With a release: `plugin`, secrets left out. With a job: logs, metrics, result.",
)
@click.option(
    "--status",
    type=typed.STATUS,
    metavar="WORD",
    help="With `jobs`: queued, running, completed, failed or stopped.",
)
@click.option("--created-after", type=typed.MOMENT, metavar="DATE|SPAN",
              help="With `jobs`: made since a date, a time, or a span ago: 7d, 12h.")  # fmt: skip
@click.option("--user", default="", metavar="ID", help="With `jobs`: of this user.")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="With `jobs`: at most so many."
)
def get(
    *,
    console: Console,
    invocation: Invocation,
    kind: str,
    name: str | None,
    plugin: str | None,
    expand: tuple[str, ...],
    **job_filters: Any,
) -> int:
    """Show live objects and jobs as the backend has them: one by its NAME, or a list of all.

    KIND is plugin, release, storage or job, or its plural. KIND/NAME may be written as one word.
    NAME is an id (123, id=123), a name that the state records, a code or a name of the backend; of
    a release CODE@VERSION, of a job its id. No manifest is needed. Not every backend lists plugins,
    and API v1 lists releases by plugin alone. Jobs are listed page after page, the newest first
    where the backend can order them.

    Secrets show as `(sensitive)`, as null in JSON: those that the schema of a storage's provider
    marks, all of a configuration whose provider is unknown, and what `lifecycle.sensitive` names.
    With -o yaml each object has the form of a manifest; `export` writes files to keep.
    """
    # The kind's prefix and the name; `KIND/NAME` may be one word.
    word, slash, name_in_word = kind.partition("/")
    if word.lower() not in _KIND_BY_WORD:
        raise click.UsageError(f"Unknown kind {word!r}: there are {', '.join(_KINDS)}.")
    if slash and (name is not None or not name_in_word):
        raise click.UsageError("One KIND/NAME is wanted, or KIND and NAME.")
    kind, name = _KIND_BY_WORD[word.lower()], name_in_word if slash else name
    if plugin is not None and (kind not in {"release", "job"} or name is not None):
        raise click.UsageError("--plugin lists releases or jobs: `get releases --plugin PLUGIN`.")
    if any(job_filters.values()) and (kind != "job" or name is not None):
        raise click.UsageError("--status, --created-after, --user and --limit go with `get jobs`.")
    expandable = {"release": ("plugin",), "job": EXPANDABLE_FIELDS}.get(kind if name else "", ())
    for one in expand:
        if one not in expandable:
            known = ", ".join(expandable) or "with one release or one job"
            raise click.UsageError(f"--expand does not go with {one!r} here: {known}.")
    with options.open_target(invocation) as target:
        if kind == "job":
            return _get_jobs(console, target, name, plugin or "", expand, job_filters)
        if plugin is not None:
            releases = target.live.list_releases(plugin)
            empty = "There is no release of this plugin, or no such plugin."
            return cli.objects.print_live_objects_table(console, kind, releases, empty)
        if name is None:
            return cli.objects.print_live_objects_table(
                console, kind, target.live.list_objects(kind)
            )
        live_object = target.live.find_object(kind, name)
        owner = target.live.find_plugin_of_release(live_object) if expand else None
    expanded = {"plugin": owner} if owner else {}
    return cli.objects.print_live_object(console, kind, live_object, expanded)


def _get_jobs(
    console: Console,
    target: OpenTarget,
    job_id: str | None,
    plugin: str,
    expand: tuple[str, ...],
    filters: Mapping[str, Any],
) -> int:
    if job_id is not None:
        return cli.jobs.print_job(console, target.jobs.read_job(job_id, expand=expand))
    empty = "There is no such job of this plugin, or no such plugin." if plugin else ""
    jobs = target.jobs.iter_jobs(plugin=plugin, **filters)
    return cli.jobs.print_jobs_table(console, jobs, empty or "There is no such job.")


@manual_command(
    "mcp",
    examples=[
        ("synapse-apply mcp -t staging", "What an agent starts, to read that target."),
        (
            "synapse-apply mcp -C infra --project-from git:refs/remotes/origin/main",
            "With url, token and hosts of a branch that the agent cannot write.",
        ),
    ],
    exits=[("0", "the client closed the connection")],
)
@options.use("target", "project_from", "variables")
def mcp(*, invocation: Invocation) -> int:
    """Let an AI agent read: serve plan, show, drift, explain, history and doctor by MCP.

    Speaks the Model Context Protocol on stdin and stdout, for a client that starts it. No tool
    writes: none sends what could change a backend, takes a lock, or makes a state. Without -t the
    agent names a target of the project file in each call.

    All that a tool answers is one block of JSON that is marked as data, never as an instruction,
    and holds no secret; see docs/mcp.md.
    """
    cli.mcp.serve(invocation, sys.stdin.buffer, sys.stdout)
    return 0
