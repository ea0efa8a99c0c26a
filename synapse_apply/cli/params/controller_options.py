"""The arguments and options that say which controller a command is about, and which targets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synapse_apply.cli import completion
from synapse_apply.cli.params.any_type import AnyParamType

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_ROW_DIGEST = re.compile(r"row1:[0-9a-f]{64}")
# SOURCE/TARGET, or a pattern of it; what a name cannot have is refused by the controller.
_TARGET_PATTERN = re.compile(r"[^/\s]+/\S+|\*")
_REVISION = re.compile(r"[0-9a-fA-F]{7,64}")
_URL_VARIABLE = "SYNAPSE_APPLY_CONTROLLER_URL"

add_file_argument = click.argument(
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("controller.yaml"),
    required=False,
)
# The default is that of controller/run.py, which is not imported for --help.
add_data_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".synapse-apply") / "controller",
    metavar="FOLDER",
    help="The controller's data folder, instead of .synapse-apply/controller.",
)
add_url_option = click.option(
    "--url",
    default="",
    envvar=_URL_VARIABLE,
    metavar="URL",
    help=f"The address of a running controller, instead of {_URL_VARIABLE}.",
)
# The default is that of controller/worker/pool.py.
add_looks_option = click.option(
    "--looks",
    type=click.IntRange(min=1, max=256),
    default=4,
    show_default=True,
    metavar="N",
    help="How many targets this process looks at or applies at a time.",
)
# What the help of each command says that asks a controller over HTTP.
API_ENVIRONMENT = (
    ("SYNAPSE_APPLY_CONTROLLER_URL", "the controller's address, where there is no --url"),
    ("SYNAPSE_APPLY_CONTROLLER_TOKEN", "a token of `access.tokens`; goes to https or loopback"),
)


class TargetPatternType(AnyParamType):
    """SOURCE/TARGET, or where `allow_patterns` is set a pattern of it such as `acme/*`."""

    name = "target"

    def __init__(self, *, allow_patterns: bool) -> None:
        self._allow_patterns = allow_patterns

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """A usage error for any other text."""
        text = str(value)
        if _TARGET_PATTERN.fullmatch(text) is None:
            self.fail(f"{value!r} is not SOURCE/TARGET.", param, ctx)
        if not self._allow_patterns and any(character in text for character in "*?["):
            self.fail(f"{value!r} is a pattern; here it is one target.", param, ctx)
        return text

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """The targets of the controller that `--url` or the environment names."""
        return completion.complete_controlled(ctx, param, incomplete)


class RowDigestType(AnyParamType):
    """`row1:` and 64 hex digits: a shorter one could be that of another row."""

    name = "digest"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """A usage error for any other text."""
        if _ROW_DIGEST.fullmatch(str(value)) is None:
            self.fail(f"{value!r} is not a whole row digest (row1: and 64 digits).", param, ctx)
        return str(value)


add_target_argument = click.argument(
    "target", type=TargetPatternType(allow_patterns=False), metavar="SOURCE/TARGET"
)
add_target_or_pattern_argument = click.argument(
    "target", type=TargetPatternType(allow_patterns=True), metavar="SOURCE/TARGET"
)
add_target_patterns_argument = click.argument(
    "patterns",
    type=TargetPatternType(allow_patterns=True),
    nargs=-1,
    required=True,
    metavar="SOURCE/TARGET...",
)
add_row_option = click.option(
    "--row",
    "row_digests",
    type=RowDigestType(),
    multiple=True,
    metavar="DIGEST",
    help="This row, as the page or this command showed it; may be repeated. Nothing is asked.",
)


class RevisionType(AnyParamType):
    """The id of a commit, or its first 7 digits at least."""

    name = "commit"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """A usage error for any other text."""
        if _REVISION.fullmatch(str(value)) is None:
            self.fail(f"{value!r} is not the id of a commit (7 digits at least).", param, ctx)
        return str(value).lower()


# What the help of each command says that decides on a rollout.
ROLLOUT_EXITS = (
    ("0", "done"),
    ("1", "the answer was not `yes`, no right, or the controller does not answer"),
    ("4", "the rollout has another revision or wave by now than what was shown"),
    ("5", "the rollout is in a state in which this cannot be asked"),
    ("7", "the answer was lost"),
)
add_rollout_argument = click.argument("name", metavar="NAME")
add_optional_rollout_argument = click.argument("name", metavar="[NAME]", default="", required=False)
add_revision_option = click.option(
    "--revision",
    type=RevisionType(),
    metavar="COMMIT",
    help="The revision that somebody has seen; nothing is asked then.",
)
add_wave_option = click.option(
    "--wave",
    type=click.IntRange(min=1),
    metavar="N",
    help="The wave that somebody has seen; goes with --revision.",
)
add_reason_option = click.option(
    "--reason", required=True, metavar="TEXT", help="Why; stands on the page."
)
