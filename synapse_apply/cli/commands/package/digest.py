"""The command `package digest`: which package to hash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapse_apply.cli.commands.package import options
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command

if TYPE_CHECKING:
    from synapse_apply import Invocation


@manual_command(
    "digest",
    examples=[
        ("synapse-apply package digest plugins/yolo", "Of a folder, as it is now."),
        ("synapse-apply package digest plugins/yolo --ref yolo-v1.1.0", "As it was at a tag."),
        (
            "synapse-apply package digest release/yolo@1.1.0 --json",
            "With the SHA-256 of each file.",
        ),
    ],
    exits=[("0", "printed"), ("1", "no such package, or it cannot be published as it is")],
)
@options.add_package_options
def command(*, console: Console, invocation: Invocation, what: str, ref: str) -> int:
    """Print the digest of a package: `pkg1:sha256:` and the SHA-256 over its content.

    It counts paths, bytes and executable bits, and nothing else: the same files have the same
    digest on any machine, in a folder, at a Git ref or in a zip.
    """
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.cli.texts import packages

    with open_command_target(invocation) as target:
        package_query = target.packages.find_package(what, ref=ref)
        package_content = target.packages.read_package(package_query)
    console.write_findings(package_content.findings)
    if console.as_json:
        console.write_or_keep_document(
            packages.build_package_document(package_query, package_content)
        )
    else:
        console.write_output(package_content.package.digest + "\n")
    return 0
