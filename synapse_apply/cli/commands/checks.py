"""The commands `validate` and `doctor`: what is checked, and the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply import __version__, cli
from synapse_apply.cli import options
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.options import option

if TYPE_CHECKING:
    from synapse_apply import Invocation
    from synapse_apply.cli.reports import Reports


@manual_command(
    "validate",
    examples={
        "validate": "Check everything, for every target.",
        "validate -t prod --strict": "Check one target and treat warnings as errors.",
        "validate --json": "Print the findings for an editor or a bot.",
        "validate --report github": "Show each finding at its line in the pull request.",
        "validate plugins/yolo": "Check one package before you merge it.",
        "validate plugins/yolo --ref yolo-v1.1.0": "Check the files at this tag.",
        "validate --graph": "Print the dependencies as a Mermaid chart, for a Markdown file.",
    },
    exits={"0": "valid, possibly with warnings", "1": "not valid; every error is shown"},
)
@options.use("json", "targets", "report", "project_from", "file", "variables", "strict")
@click.argument("package", metavar="[PACKAGE]", required=False)
@option(
    "--ref REF", "With a folder as PACKAGE: read it at this Git tag, branch or commit.", default=""
)
@option("--graph", "Print the dependencies as a Mermaid flowchart instead.")
def validate(
    *,
    console: Console,
    invocation: Invocation,
    reports: Reports | None,
    package: str | None,
    ref: str,
    graph: bool,
) -> int:
    """Check the project file, the manifests and their packages.

    The command needs no backend, no credentials and no secret values, so it can check any pull
    request. It shows every finding with file, line and column. It fails if the folder has neither a
    project file nor a manifest, and warns about a listed folder that contains no manifest.

    With a PACKAGE (a folder, a zip, or the release that declares it), the command checks only that
    package, as the platform will read it: its config.yaml, its entrypoints, code that is left out,
    and secrets. No finding shows a secret value. docs/packages.md lists the rules.
    """
    if ref and not package:
        raise click.UsageError("--ref needs a PACKAGE.")
    if package and graph:
        raise click.UsageError("--graph shows all manifests and takes no PACKAGE.")
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
        raise click.UsageError(
            "--graph prints Mermaid and cannot be combined with --json and --report."
        )
    with options.open_target(invocation) as target:
        declared = target.read_manifests().items()
    nodes = [cli.graph.GraphNode(address, resource.depends_on) for address, resource in declared]
    console.write_output(cli.graph.format_mermaid(nodes))
    return 0


@manual_command(
    "doctor",
    examples={
        "doctor": "Check the project's only target.",
        "doctor -t prod": "Check a target before the first apply, or if something is wrong.",
        "doctor -t prod --json": "Print JSON for a script or a bug report.",
    },
    exits={
        "0": "no problems, possibly with warnings",
        "1": "problems found; every problem is shown",
    },
)
@options.use("json", "targets", "project_from", "variables")
def doctor(*, console: Console, invocation: Invocation) -> int:
    """Check a target and list every problem at once.

    The command checks the project file, the manifests, the url, the allowed hosts and the
    credentials. It checks whether the backend answers and accepts the token and tenant, the
    backend's features and clock, and the health of the target's agents. It also checks the state:
    its binding, lineage, key and lock, and calls whose outcome is unknown.

    The command changes and creates nothing. It continues after a problem, and reports what it could
    not check. It shows where a secret comes from, never its value.
    """
    with options.open_target(invocation) as target:
        checkup = target.diagnose()
    console.show(
        cli.documents.checkup_document(checkup, tool_version=__version__),
        cli.checkup.render_checkup(checkup, color=console.is_output_colored),
    )
    return checkup.exit_code
