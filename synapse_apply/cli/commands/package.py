"""The commands `package` and `bump`: what is printed of a package, and where its zip goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from synapse_apply import cli
from synapse_apply.cli import options, registry, typed
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import LazyGroup, manual_command
from synapse_apply.model.errors import Exit

if TYPE_CHECKING:
    from synapse_apply import Invocation


# SOURCE|RELEASE and --ref, and what finds manifests.
_add_package_options = options.combine(
    options.use("json", "target", "variables"),
    click.argument("what", metavar="SOURCE|RELEASE"),
    click.option(
        "--ref",
        default="",
        metavar="REF",
        help="Take SOURCE, a folder, as it is at this tag, branch or commit of Git.",
    ),
)


@click.group("package", cls=LazyGroup, entries=registry.PACKAGE)
def group() -> None:
    """Look at the package of a release before it is published, and at what became of it since.

    A package is named by its folder, by a zip, or by the release that declares it. None of these
    commands needs a backend.
    """


@manual_command(
    "show",
    examples=[
        ("synapse-apply package show plugins/yolo", "What goes into the zip, and what does not."),
        ("synapse-apply package show release/yolo@1.1.0 --by-size", "The largest files first."),
        ("synapse-apply package show plugins/yolo --json", "The same for a script."),
        (
            "synapse-apply package show plugins/yolo --digest",
            "What the state and plans have of it.",
        ),
    ],
    exits=[
        ("0", "shown"),
        ("1", "no such package, or it cannot be published as it is"),
    ],
)
@_add_package_options
@click.option("--by-size", is_flag=True, help="The largest files first.")
@click.option(
    "--digest",
    "only_digest",
    is_flag=True,
    help="Print only the digest; with --json also the SHA-256 of each file.",
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
    """Show what goes into a package, what is left out, and the rule that leaves it out.

    A rule is a line of an ignore file (`.synapseignore`, which goes before `.gitignore`) or
    built in. A folder that is left out stands for all below it.

    The digest is `pkg1:sha256:` and the SHA-256 over paths, bytes and executable bits: the same
    files have the same digest on any machine, in a folder, at a Git ref or in a zip.
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
    examples=[
        ("synapse-apply package build plugins/yolo", "yolo-1.1.0.zip, in the working folder."),
        ("synapse-apply package build release/yolo@1.1.0 -o dist/yolo.zip", "Of a release."),
        ("synapse-apply package build plugins/yolo --ref yolo-v1.1.0", "As it was at a tag."),
    ],
    exits=[("0", "written"), ("1", "no such package, or it cannot be written: no zip is left")],
)
@_add_package_options
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where to write it, instead of NAME-VERSION.zip here; a zip there is replaced.",
)
def build(
    *, console: Console, invocation: Invocation, what: str, ref: str, out: Path | None
) -> int:
    """Write the zip of a package, as a release uploads it.

    It is reproducible: the same files give the same bytes, with fixed times, order and modes.
    `package show` shows what is left out, and why. A zip that was built elsewhere is packed anew;
    an upload of `file:` sends that file as it is.
    """
    with options.open_target(invocation) as target:
        package_query = target.packages.find_package(what, ref=ref)
        written_zip = target.packages.write_zip(package_query, out)
    console.write_findings(written_zip.findings)
    return cli.files.print_written_zip(console, package_query, written_zip)


@manual_command(
    "diff",
    examples=[
        ("synapse-apply package diff release/yolo@1.1.0", "What changed since it was published."),
        ("synapse-apply package diff yolo --against 1.0.0", "Since an older version."),
        ("synapse-apply package diff yolo --detailed-exitcode", "In CI: 2 means it differs."),
    ],
    exits=[
        ("0", "compared"),
        ("1", "no such release, or the state does not know what was published"),
        ("2", "with --detailed-exitcode: it differs"),
    ],
)
@options.use("json", "target", "variables")
@click.argument("release")
@click.option(
    "--against",
    default="",
    metavar="RELEASE",
    help="A recorded release of the same plugin, by address or version, instead of this one.",
)
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 when there is a difference.")
def diff(
    *, console: Console, invocation: Invocation, release: str, against: str, detailed_exitcode: bool
) -> int:
    """Show which files of a declared release differ from what was published.

    The state remembers the digest of every file that was published from here. A release that is
    not published yet is compared with the newest one of its plugin that is.
    """
    with options.open_target(invocation) as target:
        difference = target.packages.compare_with_published(release, against=against)
    cli.files.print_difference(console, difference)
    return Exit.CHANGES if detailed_exitcode and difference.is_different else Exit.OK


@manual_command(
    "bump",
    examples=[
        ("synapse-apply bump yolo patch", "1.1.0 becomes 1.1.1."),
        ('synapse-apply bump yolo minor -m "Finds smaller things"', "With a changelog."),
        ("synapse-apply bump yolo --to 2.0.0-rc.1", "To a version of your choice."),
        ("synapse-apply bump yolo major --dry-run", "See what would be edited."),
    ],
    exits=[("0", "edited"), ("1", "it cannot be edited, with the reason: nothing was written")],
)
@options.use("json", "target", "file", "variables")
@click.argument("plugin", shell_complete=typed.complete_plugins)
@click.argument("part", required=False, type=click.Choice(["major", "minor", "patch"]))
@click.option("--to", default="", metavar="VERSION", help="This version, instead of a part.")
@click.option("-m", "--changelog", metavar="TEXT", help="Also set the release's changelog.")
@click.option("--dry-run", is_flag=True, help="Show the edits and write nothing.")
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
    """Raise the version of a plugin's release in the files that say it.

    PLUGIN is the plugin's name, or NAME@VERSION where several of its releases are declared. The
    version is edited where it is written: in the Release manifest, in the package's config.yaml,
    and in the Plugin manifest if it says the same version. Comments, quotes and all else stay.

    A prerelease leads up to its version: `patch` makes 1.2.0 of 1.2.0-rc.1. With -t only the
    manifests of that target are looked at, otherwise those of all.
    """
    if bool(part) == bool(to):
        raise click.UsageError("Say major, minor or patch, or --to VERSION: one of the two.")
    with options.open_target(invocation) as target:
        bump_result = target.packages.bump_version(
            plugin, part=part or "", exact_version=to, changelog=changelog, write=not dry_run
        )
    return cli.files.print_bump(console, invocation, bump_result, is_written=not dry_run)
