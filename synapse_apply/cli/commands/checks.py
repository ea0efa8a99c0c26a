"""The commands `validate` and `doctor`: what is checked, and the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply import __version__, cli
from synapse_apply.cli import options
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command

if TYPE_CHECKING:
    from synapse_apply import Invocation
    from synapse_apply.cli.reports import Reports


@manual_command(
    "validate",
    examples=[
        ("synapse-apply validate", "Check everything, for every target."),
        ("synapse-apply validate -t prod --strict", "One target; warnings are errors."),
        ("synapse-apply validate --json", "Findings for an editor or a bot."),
        ("synapse-apply validate --report github", "Each finding at its line in the pull request."),
        ("synapse-apply validate plugins/yolo", "One package, before it is merged."),
        ("synapse-apply validate plugins/yolo --ref yolo-v1.1.0", "As it was at a tag."),
        ("synapse-apply validate --graph", "What needs what, for a ```mermaid block."),
    ],
    exits=[("0", "valid, warnings aside"), ("1", "there are errors; every one is shown")],
)
@options.use("json", "targets", "report", "project_from", "file", "variables", "strict")
@click.argument("package", metavar="[PACKAGE]", required=False)
@click.option(
    "--ref",
    default="",
    metavar="REF",
    help="With a PACKAGE that is a folder: as it is at this tag, branch or commit of Git.",
)
@click.option(
    "--graph",
    is_flag=True,
    help="Instead print which resource needs which, as a Mermaid flowchart.",
)
def validate(
    *,
    console: Console,
    invocation: Invocation,
    reports: Reports | None,
    package: str | None,
    ref: str,
    graph: bool,
) -> int:
    """Check the project file, the manifests and the packages they name.

    Needs no backend, no credentials and no value of a secret, so it can run for a pull request
    from anywhere. Every finding is shown with file, line and column. No project file and no
    manifest is an error, since the folder is the wrong one; an empty folder is a warning.

    With a PACKAGE (a folder, a zip, or the release that declares it) only that package is read, as
    the platform will read it: its config.yaml, its entrypoints, code that is left out, and secrets,
    which no finding shows. docs/packages.md lists the rules.
    """
    if ref and not package:
        raise click.UsageError("--ref goes with a PACKAGE.")
    if package and graph:
        raise click.UsageError("--graph is of all manifests: leave out the PACKAGE.")
    if graph:
        return _print_graph(console, invocation, reports)
    with options.open_target(invocation) as target:
        if package:
            package_query = target.packages.find_package(package, ref=ref)
            findings = target.packages.check_package(package_query)
            verdict = cli.files.format_verdict(package_query, findings)
            return console.show_checked("validate", findings, verdict, reports)
        validation = target.validate()
    errors = any(finding.is_error for finding in validation.diagnostics)
    text = "" if errors else f"{validation.summary}\n"
    return console.show_checked("validate", validation.diagnostics, text, reports)


def _print_graph(console: Console, invocation: Invocation, reports: Reports | None) -> int:
    """Print the graph of what the manifests of one target declare."""
    if console.as_json or reports is not None:
        raise click.UsageError("--graph prints Mermaid: leave out --json and --report.")
    with options.open_target(invocation) as target:
        declared = target.read_manifests().items()
    nodes = [cli.graph.GraphNode(address, resource.depends_on) for address, resource in declared]
    console.write_output(cli.graph.format_mermaid(nodes))
    return 0


@manual_command(
    "doctor",
    examples=[
        ("synapse-apply doctor", "Check the only target."),
        ("synapse-apply doctor -t prod", "Before the first apply, and when something is wrong."),
        ("synapse-apply doctor -t prod --json", "The same for a script, or to attach to a report."),
    ],
    exits=[("0", "nothing is wrong, warnings aside"), ("1", "something is wrong; all is shown")],
)
@options.use("json", "targets", "project_from", "variables")
def doctor(*, console: Console, invocation: Invocation) -> int:
    """Check a target and list every problem at once.

    Looks at the project file, the manifests, url, allowed hosts and credentials, whether the
    backend answers and takes token and tenant, what it can do, its clock, the health of the
    target's agents, and the state: its binding, lineage, key, lock and calls of unknown outcome.

    Changes nothing and makes nothing. What is broken hides nothing else, and what could not be
    checked is said. No value of a secret is shown, only where it comes from.
    """
    with options.open_target(invocation) as target:
        checkup = target.diagnose()
    console.show(
        cli.documents.checkup_document(checkup, tool_version=__version__),
        cli.checkup.render_checkup(checkup, color=console.is_output_colored),
    )
    return checkup.exit_code
