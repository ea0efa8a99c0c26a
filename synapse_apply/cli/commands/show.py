"""The commands that only show: `show`, `get`, `graph`, `mcp`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from synapse_apply import cli
from synapse_apply.cli import options, typed
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.model.errors import Exit, NameNotFound

if TYPE_CHECKING:
    from synapse_apply import Invocation
    from synapse_apply.cli.reports import Reports
    from synapse_apply.model.diagnostic import Diagnostic


@manual_command(
    "show",
    examples=[
        ("synapse-apply show plugin/yolo", "Declared, recorded and live, field by field."),
        ("synapse-apply show storage/raw-data --json", "The same for a script."),
        ("synapse-apply show next.plan", "A saved plan, and what is known to have changed since."),
        (
            "synapse-apply show next.plan --report markdown=plan.md --report html=plan.html",
            "The same plan for a comment and for a browser.",
        ),
    ],
    exits=[("0", "shown"), ("1", "no such resource, no such plan, or it could not be read")],
)
@options.use("json", "targets", "report", "project_from", "file", "variables")
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


_KINDS = ("plugin", "release", "storage")
_KIND_BY_WORD = {word: kind for kind in _KINDS for word in (kind, f"{kind}s")}


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
        ("synapse-apply get release/yolo@1.2.0", "By its address."),
        ("synapse-apply get release yolo@1.2.0 --expand plugin", "With the plugin it belongs to."),
        ("synapse-apply get releases --plugin yolo", "The releases of a plugin, newest first."),
    ],
    exits=[
        ("0", "shown; a list also where it is empty"),
        ("1", "there is no such object, or it could not be read"),
    ],
)
@options.use("json", "targets")
@click.argument("kind", metavar="KIND")
@click.argument("name", metavar="[NAME]", required=False)
@click.option(
    "--plugin",
    metavar="PLUGIN",
    help="With `releases`: those of this plugin: its code, its recorded name, or id=123.",
)
@click.option(
    "--expand", type=click.Choice(["plugin"]), multiple=True,
    help="With a release: show what it belongs to as well, secrets left out."
)  # fmt: skip
def get(
    *,
    console: Console,
    invocation: Invocation,
    kind: str,
    name: str | None,
    plugin: str | None,
    expand: tuple[str, ...],
) -> int:
    """Show live objects as the backend has them: one by its NAME, or a list of all.

    KIND is plugin, release or storage, or its plural. KIND/NAME may be written as one word. NAME is
    an id (123, id=123), a name that the state records, a code or a name of the backend; of a
    release CODE@VERSION. No manifest is needed. Not every backend lists plugins, and API v1 lists
    releases by plugin alone.

    Secrets show as `(sensitive)`, as null in JSON: those that the schema of a storage's provider
    marks, all of a configuration whose provider is unknown, and what `lifecycle.sensitive` names.
    """
    # The kind's prefix and the name; `KIND/NAME` may be one word.
    word, slash, name_in_word = kind.partition("/")
    if word.lower() not in _KIND_BY_WORD:
        raise click.UsageError(f"Unknown kind {word!r}: there are {', '.join(_KINDS)}.")
    if slash and (name is not None or not name_in_word):
        raise click.UsageError("One KIND/NAME is wanted, or KIND and NAME.")
    kind, name = _KIND_BY_WORD[word.lower()], name_in_word if slash else name
    if plugin is not None and (kind != "release" or name is not None):
        raise click.UsageError("--plugin lists releases: `get releases --plugin PLUGIN`.")
    if expand and (kind != "release" or name is None):
        raise click.UsageError(
            "--expand goes with one release: `get release NAME --expand plugin`."
        )
    if plugin is not None:
        return print_releases_of_plugin(console, invocation, plugin)
    with options.open_target(invocation) as target:
        if name is None:
            return cli.objects.print_live_objects_table(
                console, kind, target.live.list_objects(kind)
            )
        live_object = target.live.find_object(kind, name)
        owner = target.live.find_plugin_of_release(live_object) if expand else None
    expanded = {"plugin": owner} if owner else {}
    return cli.objects.print_live_object(console, kind, live_object, expanded)


def print_releases_of_plugin(console: Console, invocation: Invocation, plugin: str) -> int:
    """Print the releases of a plugin: its code, a recorded name, or id=123."""
    with options.open_target(invocation) as target:
        releases = target.live.list_releases(plugin)
    empty = "There is no release of this plugin, or no such plugin."
    return cli.objects.print_live_objects_table(console, "release", releases, empty)


@manual_command(
    "graph",
    examples=[
        ("synapse-apply graph", "For a ```mermaid block of a page or a comment."),
        ("synapse-apply graph -t prod --plan", "Coloured by what apply would do."),
    ],
    exits=[("0", "printed"), ("1", "error; with --plan also a plan that is incomplete")],
)
@options.use("color", "target", "project_from", "file", "variables")
@click.option("--plan", "planned", is_flag=True, help="Make a plan, and colour by its actions.")
@options.use("parallelism")
def graph(*, console: Console, invocation: Invocation, planned: bool) -> int:
    """Print which resource needs which, as a Mermaid flowchart; an arrow leads to what is needed.

    Without --plan it is what the manifests say, and needs no backend, no state and no secret.
    With --plan what is recorded and no longer declared is shown, too. The same manifests give
    the same text.
    """
    findings: tuple[Diagnostic, ...] = ()
    with options.open_target(invocation) as target:
        if planned:
            # The resources of a plan as far as it could be made, and its findings.
            plan = target.plan()
            nodes, findings = cli.graph.build_plan_nodes(plan), plan.diagnostics
        else:
            declared = target.read_manifests().items()
            nodes = [cli.graph.GraphNode(name, one.depends_on) for name, one in declared]
    console.write_output(cli.graph.format_mermaid(nodes))
    console.write_findings(findings)
    return Exit.ERROR if any(finding.is_error for finding in findings) else Exit.OK


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
