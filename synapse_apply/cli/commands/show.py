"""The commands that only show: `show`, `get`, `blame`, `mcp`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from synapse_apply import cli
from synapse_apply.cli import options, typed
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.options import option
from synapse_apply.model.errors import Exit, NameNotFound
from synapse_apply.model.job import EXPANDABLE_FIELDS

if TYPE_CHECKING:
    from synapse_apply import Invocation, OpenTarget
    from synapse_apply.cli.reports import Reports


@manual_command(
    "show",
    examples={
        "show plugin/yolo": "Show the declared, recorded and live value of each field.",
        "show storage/raw-data --json": "Print JSON for a script; -o yaml prints YAML.",
        "show next.plan": "Show a saved plan, and what has changed since.",
        "show next.plan --report markdown=plan.md --report html=plan.html": (
            "Also write the plan as a comment and as a page for a browser."
        ),
    },
    exits={"0": "shown", "1": "the resource or plan does not exist or could not be read"},
)
@options.use("yaml", "targets", "report", "project_from", "file", "variables")
@click.argument("what", metavar="ADDRESS|FILE", shell_complete=typed.complete_addresses)
@option("--show-unchanged", "For a plan, also show unchanged resources.")
def show(
    *,
    console: Console,
    invocation: Invocation,
    reports: Reports | None,
    what: str,
    show_unchanged: bool,
) -> int:
    """Show a resource as it is declared, as it was last applied, and as it is live.

    The argument can also be a plan file that `plan --out FILE` saved. The command then shows the
    plan as `plan` did: --json prints the document of `plan --json`, and --report writes the same
    reports. Any other argument is an address, release/PLUGIN, or a name that no other kind uses.
    Secrets show as `(sensitive)`, with a note whether they match the declared value.
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
        raise click.UsageError(
            f"{option} needs a saved plan; {what!r} is not a file with a saved plan."
        )
    with options.open_target(invocation) as target:
        try:
            sides = target.find_resource(what)
        except NameNotFound as problem:
            findings = (
                one.with_changes(detail=f"{one.detail}, and {what} is not a file in this folder")
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
    examples={
        "get storages": "List all storages.",
        "get storage raw-data": "Show one storage by its name on the backend or in the state.",
        "get plugin yolo --json": "Print a plugin, by its code or recorded name, for a script.",
        "get plugin id=123": "Show a plugin by its id.",
        "get storage raw-data -o yaml": "Print a storage in the form of a manifest.",
        "get release/yolo@1.2.0": "Show a release by its address.",
        "get release yolo@1.2.0 --expand plugin": "Show a release together with its plugin.",
        "get releases --plugin yolo": "List the releases of a plugin, newest first.",
        "get jobs --status running": "List the running jobs.",
        "get jobs --plugin yolo --created-after 7d": "List a plugin's jobs of the last week.",
        "get job 789 --expand logs,result": "Show a job with its log and its result.",
    },
    exits={
        "0": "shown, even if the list is empty",
        "1": "the object does not exist or could not be read",
    },
)
@options.use("yaml", "targets")
@click.argument("kind", metavar="KIND")
@click.argument("name", metavar="[NAME]", required=False)
@option(
    "--plugin PLUGIN",
    "With `releases` and `jobs`: only those of this plugin, specified by its code, its recorded "
    "name, or id=123.",
)
@option(
    "--expand NAMES",
    "Also show these parts. For a release: `plugin`, without secrets. For a job: logs, "
    "metrics, result.",
    multiple=True,
    callback=_parse_expand_options,
)
@option(
    "--status WORD",
    "With `jobs`: only jobs with this status: queued, running, completed, failed or stopped.",
    type=typed.STATUS,
)
@option(
    "--created-after DATE|SPAN",
    "With `jobs`: only jobs created after a date or time, or within a span such as 7d or 12h.",
    type=typed.MOMENT,
)
@option("--user ID", "With `jobs`: only jobs of this user.", default="")
@option("--limit N", "With `jobs`: list at most N jobs.", type=click.IntRange(min=1))
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
    """Show one live object or job by its NAME, or list all of a KIND.

    KIND is plugin, release, storage or job, or its plural. You can write KIND/NAME as one word.
    NAME is an id (123, id=123), a name that the state records, or a code or name on the backend.
    For a release, it is CODE@VERSION; for a job, its id. You need no manifest. Not every backend
    lists plugins, and API v1 can list releases only for one plugin at a time. Jobs are listed page
    by page, newest first if the backend can sort them.

    Secrets show as `(sensitive)`, and as null in JSON. Secret fields are the fields that the
    provider's schema marks as secret (for an unknown provider, the whole configuration) and the
    fields in `lifecycle.sensitive`. With -o yaml, each object has the form of a manifest. To write
    files, use `export`.
    """
    # The kind's prefix and the name; `KIND/NAME` may be one word.
    word, slash, name_in_word = kind.partition("/")
    if word.lower() not in _KIND_BY_WORD:
        raise click.UsageError(f"Unknown kind {word!r}. The kinds are {', '.join(_KINDS)}.")
    if slash and (name is not None or not name_in_word):
        raise click.UsageError("Give one KIND/NAME, or KIND and NAME.")
    kind, name = _KIND_BY_WORD[word.lower()], name_in_word if slash else name
    if plugin is not None and (kind not in {"release", "job"} or name is not None):
        raise click.UsageError(
            "--plugin works only with a list of releases or jobs: `get releases --plugin PLUGIN`."
        )
    if any(job_filters.values()) and (kind != "job" or name is not None):
        raise click.UsageError(
            "--status, --created-after, --user and --limit work only with `get jobs`."
        )
    expandable = {"release": ("plugin",), "job": EXPANDABLE_FIELDS}.get(kind if name else "", ())
    for one in expand:
        if one not in expandable:
            known = ", ".join(expandable) or "fields of one release or one job"
            raise click.UsageError(f"--expand cannot expand {one!r} here. It accepts: {known}.")
    with options.open_target(invocation) as target:
        if kind == "job":
            return _get_jobs(console, target, name, plugin or "", expand, job_filters)
        if plugin is not None:
            releases = target.live.list_releases(plugin.removeprefix("release/"))
            empty = "The plugin has no releases, or does not exist."
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
    empty = "The plugin has no such jobs, or does not exist." if plugin else ""
    jobs = target.jobs.iter_jobs(plugin=plugin, **filters)
    return cli.jobs.print_jobs_table(console, jobs, empty or "No job matches.")


@manual_command(
    "blame",
    examples={
        "blame storage/raw-data": "Show commit, author, call and apply of each live value.",
        "blame storage/raw-data configuration.region --json": (
            "Print everything that is known about one field, for a script."
        ),
    },
    exits={"0": "shown", "1": "the object is not live or could not be read"},
)
@options.use("json", "targets", "project_from", "file", "variables")
@click.argument("address", shell_complete=typed.complete_addresses)
@click.argument("field", metavar="[FIELD]", required=False, default="")
def blame(*, console: Console, invocation: Invocation, address: str, field: str) -> int:
    """Show where each live value of an object comes from.

    For a value that an apply sent, the command shows the commit that declares it and its author,
    the call and its request, the plan, and the people who applied and approved it. For a change
    outside Git, it shows the period in which the change happened, and how often the value was
    restored this week. It cannot show who made such a change. FIELD limits the output to one field,
    or to the fields of a map. Secrets show as `(sensitive)`.
    """
    with options.open_target(invocation) as target:
        result = target.blame(address, field)
    return cli.objects.print_blame(console, result)


@manual_command(
    "mcp",
    examples={
        "mcp -t staging": "Let an agent read target staging.",
        "mcp -C infra --project-from git:refs/remotes/origin/main": (
            "Use the url, token and hosts from a branch that the agent cannot change."
        ),
    },
    exits={"0": "the client closed the connection"},
)
@options.use("target", "project_from", "variables")
def mcp(*, invocation: Invocation) -> int:
    """Let an AI agent read a target: serve plan, show, drift, explain, history and doctor over MCP.

    The command speaks the Model Context Protocol on stdin and stdout, for a client that starts it.
    The tools only read: no tool changes a backend, takes a lock, or creates a state. Without -t,
    the agent specifies a target from the project file in each call.

    Each answer is one block of JSON, marked as data and not as an instruction. It contains no
    secrets; see docs/mcp.md.
    """
    cli.mcp.serve(invocation, sys.stdin.buffer, sys.stdout)
    return 0
