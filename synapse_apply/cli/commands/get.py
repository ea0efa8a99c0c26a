"""The command `get`: which live objects to print, as a list or one by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command, renamed_command_of
from synapse_apply.cli.params import options

if TYPE_CHECKING:
    from synapse_apply import Invocation

_KINDS = ("plugin", "release", "storage")
_KIND_BY_WORD = {word: kind for kind in _KINDS for word in (kind, f"{kind}s")}


@manual_command(
    "get",
    examples=[
        ("synapse-apply get storages", "A line for each storage."),
        ("synapse-apply get storage raw-data", "One, by its name there or in the state."),
        (
            "synapse-apply get plugin yolo -o json",
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
@options.add_json_options
@options.add_targets_option
@options.add_output_format_option
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
def command(
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
    if not (slash or name) and (old_name := renamed_command_of()):
        raise click.UsageError(f"`{old_name}` takes the NAME of one object.")
    kind, name = _KIND_BY_WORD[word.lower()], name_in_word if slash else name
    if plugin is not None and (kind != "release" or name is not None):
        raise click.UsageError("--plugin lists releases: `get releases --plugin PLUGIN`.")
    if expand and (kind != "release" or name is None):
        raise click.UsageError(
            "--expand goes with one release: `get release NAME --expand plugin`."
        )
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.cli.texts.objects import print_live_object, print_live_objects_table

    if plugin is not None:
        return print_releases_of_plugin(console, invocation, plugin)
    with open_command_target(invocation) as target:
        if name is None:
            return print_live_objects_table(console, kind, target.live.list_objects(kind))
        live_object = target.live.find_object(kind, name)
        owner = target.live.find_plugin_of_release(live_object) if expand else None
    return print_live_object(
        console, kind, live_object, expanded_objects={"plugin": owner} if owner else {}
    )


def print_releases_of_plugin(console: Console, invocation: Invocation, plugin: str) -> int:
    """Print the releases of a plugin: its code, a recorded name, or id=123."""
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.cli.texts.objects import print_live_objects_table

    with open_command_target(invocation) as target:
        return print_live_objects_table(
            console,
            "release",
            target.live.list_releases(plugin),
            "There is no release of this plugin, or no such plugin.",
        )
