"""The commands `package` and `bump`: what is printed of a package, and where its zip goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from synapse_apply import cli
from synapse_apply.cli import options, registry, typed
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import LazyGroup, manual_command
from synapse_apply.cli.options import option
from synapse_apply.model.errors import Exit

if TYPE_CHECKING:
    from synapse_apply import Invocation


# SOURCE|RELEASE and --ref, and what finds manifests.
_add_package_options = options.combine(
    options.use("json", "target", "variables"),
    click.argument("what", metavar="SOURCE|RELEASE"),
    option("--ref REF", "Read the folder SOURCE at this Git tag, branch or commit.", default=""),
)


@click.group("package", cls=LazyGroup, entries=registry.PACKAGE)
def group() -> None:
    """Inspect the package of a release before you publish it, and compare it afterwards.

    Specify a package by its folder, its zip, or the release that declares it. These commands need
    no backend.
    """


@manual_command(
    "show",
    examples={
        "package show plugins/yolo": "Show which files go into the zip, and which do not.",
        "package show release/yolo@1.1.0 --by-size": "List the largest files first.",
        "package show plugins/yolo --json": "Print JSON for a script.",
        "package show plugins/yolo --digest": "Print the digest that the state and plans contain.",
    },
    exits={"0": "shown", "1": "the package does not exist or cannot be published"},
)
@_add_package_options
@option("--by-size", "List the largest files first.")
@option(
    "--digest",
    "Print only the digest. With --json, also print the SHA-256 of each file.",
    name="only_digest",
)
def show(
    *,
    console: Console,
    invocation: Invocation,
    what: str,
    ref: str,
    by_size: bool,
    only_digest: bool,
) -> int:
    """Show which files go into a package, which are left out, and by which rule.

    A rule is built in, or a line in an ignore file (`.synapseignore`, otherwise `.gitignore`). If
    a folder is left out, so is everything below it.

    The digest is `pkg1:sha256:` and the SHA-256 of paths, bytes and executable bits. The same files
    have the same digest on any machine, in a folder, at a Git ref or in a zip.
    """
    with options.open_target(invocation) as target:
        package_query = target.packages.find_package(what, ref=ref)
        if only_digest:
            package_content = target.packages.read_package(package_query)
            console.write_findings(package_content.findings)
            console.show(
                cli.files.build_package_document(package_query, package_content),
                f"{package_content.package.digest}\n",
            )
            return 0
        listing = target.packages.list_contents(package_query)
    return cli.files.print_contents(console, package_query, listing, by_size=by_size)


@manual_command(
    "build",
    examples={
        "package build plugins/yolo": "Write yolo-1.1.0.zip to the working folder.",
        "package build release/yolo@1.1.0 -o dist/yolo.zip": (
            "Build the package of a declared release."
        ),
        "package build plugins/yolo --ref yolo-v1.1.0": "Build the package from this tag.",
    },
    exits={
        "0": "written",
        "1": "the package does not exist or the zip cannot be written; no partial zip is left",
    },
)
@_add_package_options
@option(
    "-o, --out FILE",
    "Write the zip to this file (default: NAME-VERSION.zip in the working folder). An existing "
    "zip is replaced.",
    type=click.Path(path_type=Path),
)
def build(
    *, console: Console, invocation: Invocation, what: str, ref: str, out: Path | None
) -> int:
    """Write a package as the zip that a release uploads.

    The zip is reproducible: the same files produce the same bytes, because times, order and modes
    are fixed. `package show` shows which files are left out, and why. The command repacks a zip
    that another tool built, while a release with `file:` uploads that zip unchanged.
    """
    with options.open_target(invocation) as target:
        package_query = target.packages.find_package(what, ref=ref)
        written_zip = target.packages.write_zip(package_query, out)
    console.write_findings(written_zip.findings)
    return cli.files.print_written_zip(console, package_query, written_zip)


@manual_command(
    "diff",
    examples={
        "package diff release/yolo@1.1.0": "Show what changed since the release was published.",
        "package diff yolo --against 1.0.0": "Compare with an older version.",
        "package diff yolo --detailed-exitcode": "In CI: exit code 2 means that files differ.",
    },
    exits={
        "0": "compared",
        "1": "the release does not exist, or the state does not record what was published",
        "2": "with --detailed-exitcode: files differ",
    },
)
@options.use("json", "target", "variables")
@click.argument("release")
@option(
    "--against RELEASE",
    "Compare with this recorded release of the same plugin, by address or version.",
    default="",
)
@option("--detailed-exitcode", "Exit with code 2 if files differ.")
def diff(
    *, console: Console, invocation: Invocation, release: str, against: str, detailed_exitcode: bool
) -> int:
    """Show which files of a declared release differ from the published files.

    The state records the digest of each file that this tool published. A release that is not
    published yet is compared with the newest published release of its plugin.
    """
    with options.open_target(invocation) as target:
        difference = target.packages.compare_with_published(release, against=against)
    cli.files.print_difference(console, difference)
    return Exit.CHANGES if detailed_exitcode and difference.is_different else Exit.OK


@manual_command(
    "bump",
    examples={
        "bump yolo patch": "Raise 1.1.0 to 1.1.1.",
        'bump yolo minor -m "Finds smaller things"': "Also set the changelog.",
        "bump yolo --to 2.0.0-rc.1": "Set a version of your choice.",
        "bump yolo major --dry-run": "Show the edits without writing them.",
    },
    exits={"0": "edited", "1": "the version cannot be edited; nothing was written"},
)
@options.use("json", "target", "file", "variables")
@click.argument("plugin", shell_complete=typed.complete_plugins)
@click.argument("part", required=False, type=click.Choice(["major", "minor", "patch"]))
@option("--to VERSION", "Set this version instead of raising a part.", default="")
@option("-m, --changelog TEXT", "Also set the release's changelog.")
@option("--dry-run", "Show the edits without writing them.")
def bump(
    *,
    console: Console,
    invocation: Invocation,
    plugin: str,
    part: str | None,
    to: str,
    changelog: str | None,
    dry_run: bool,
) -> int:
    """Raise the version of a plugin's release in the files that contain it.

    PLUGIN is the plugin's name, or NAME@VERSION if several of its releases are declared. The
    command edits the version in the Release manifest, in the package's config.yaml, and in the
    Plugin manifest if that has the same version. Comments, quotes and everything else are
    unchanged.

    A prerelease becomes the final version: `patch` changes 1.2.0-rc.1 to 1.2.0. With -t, the
    command reads only the manifests of that target; without -t, it reads those of all targets.
    """
    if bool(part) == bool(to):
        raise click.UsageError("Give either major, minor or patch, or --to VERSION.")
    with options.open_target(invocation) as target:
        bump_result = target.packages.bump_version(
            plugin, part=part or "", exact_version=to, changelog=changelog, write=not dry_run
        )
    return cli.files.print_bump(console, invocation, bump_result, is_written=not dry_run)
