"""How `--help` pages are laid out, and how groups import a command only when it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from synapse_apply.model.frozen import frozen

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

TextPairs = Sequence[tuple[str, str]]
USAGE = 64
# Options that most commands have: `synapse-apply --help` explains them, and the page
# of a command only names them.
_COMMON_OPTIONS = frozenset(
    {"--chdir", "--project", "--color", "--parallelism", "--help", "--help-all"}
)
# Headings of a page that would have too many options below one, and the parameters below each.
_MAX_UNGROUPED_OPTIONS = 15
_OPTION_GROUPS: Mapping[str, frozenset[str]] = {
    "Manifests and settings": frozenset({"project_from", "as_of", "paths", "variables", "strict"}),
    "Without a backend": frozenset({"offline", "against"}),
    "Select resources": frozenset({"only", "exclude", "unmanaged"}),
    "Plan options": frozenset(
        {
            *("prune", "allow_locked", "recreate", "verify"),
            *("revert_drift", "resend_secrets", "override_guards", "adopt", "allow_replace"),
            "no_package_check",
        }
    ),
}
_SHOWS_ALL_KEY = f"{__name__}.shows_all"
_CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@frozen
class CommandEntry:
    """A command in its group's list: its place as MODULE:NAME, its summary, its heading."""

    module: str
    summary: str
    section: str = "Commands"
    is_listed: bool = True


# Stands for a hyphen while click wraps text, since click breaks a line at one: `--auto-` `approve`.
_UNBROKEN_HYPHEN = "\ue000"


class _Formatter(click.HelpFormatter):
    """Breaks lines at spaces alone."""

    def write_text(self, text: str) -> None:
        super().write_text(text.replace("-", _UNBROKEN_HYPHEN))

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        unbroken = [(term, text.replace("-", _UNBROKEN_HYPHEN)) for term, text in rows]
        super().write_dl(unbroken, col_max, col_spacing)

    def getvalue(self) -> str:
        return super().getvalue().replace(_UNBROKEN_HYPHEN, "-")


class _Context(click.Context):
    formatter_class = _Formatter


def _build_help_all_option() -> click.Option:
    """--help-all: the whole page, where --help shows the most used part of it."""

    def show(ctx: click.Context, _param: click.Parameter, is_given: bool) -> None:
        if is_given and not ctx.resilient_parsing:
            click.echo(render_whole_page(ctx), color=ctx.color)
            ctx.exit()

    return click.Option(
        ["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=show,
        help="Show the complete help.",
    )  # fmt: skip


def render_whole_page(ctx: click.Context) -> str:
    """What --help-all prints."""
    ctx.meta[_SHOWS_ALL_KEY] = True
    return ctx.get_help()


class Terminated(BaseException):
    """SIGTERM or SIGHUP: unwinds as Ctrl-C does, so that locks and servers are released."""


def interruption_advice(interruption: BaseException) -> str:
    """What the interrupted operation says of its state, and what to do next; "" for nothing.

    It is kept in the notes of the exception (PEP 678).
    """
    return " ".join(getattr(interruption, "__notes__", ()))


class ManualCommand(click.Command):
    """A command whose help has examples, exit codes and environment below its options."""

    context_class = _Context

    def __init__(
        self,
        *args: Any,
        examples: Mapping[str, str],
        exits: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        first_options: Sequence[str] = (),
        foreign_options: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        """`examples` are the purposes of command lines, `exits` the meanings of exit codes.

        A line without the program's name begins with it.

        `first_options` are the parameters that --help shows, where only --help-all shows all.
        `foreign_options` say what to do instead of options that people expect.
        """
        settings["context_settings"] = _CONTEXT_SETTINGS
        super().__init__(*args, **settings)
        # How it is printed comes last in help, whatever the order of the decorators.
        self.params.sort(
            key=lambda param: param.name in {"output", "as_json", "as_lines", "as_events", "color"}
        )
        self.first_options = first_options
        self._foreign_options = foreign_options or {}
        self.params.append(_build_help_all_option())
        self.examples = [
            (line if "synapse-apply " in line else f"synapse-apply {line}", meaning)
            for line, meaning in examples.items()
        ]
        self._sections = {"Exit codes": exits or {}, "Environment": environment or {}}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List many options under headings, and the options of most commands by name alone.

        Without --help-all only the first options of a command that names some.
        """
        rows: dict[str, list[tuple[str, str]]] = {}
        common_names: list[str] = []
        params = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        is_short = bool(self.first_options) and not ctx.meta.get(_SHOWS_ALL_KEY)
        is_grouped = len(params) > _MAX_UNGROUPED_OPTIONS and not is_short
        further_count = 0
        for param in params:
            row = param.get_help_record(ctx)
            if row is None:
                continue
            if param.opts[-1] in _COMMON_OPTIONS:
                common_names.append("/".join(param.opts))
            elif is_short and param.name not in self.first_options:
                further_count += 1
            else:
                headings = [h for h, names in _OPTION_GROUPS.items() if param.name in names]
                heading = headings[0] if is_grouped and headings else "Options"
                rows.setdefault(heading, []).append(row)
        for heading in ("Options", *_OPTION_GROUPS):
            if heading in rows:
                with formatter.section(heading):
                    formatter.write_dl(rows[heading])
        formatter.write_paragraph()
        if further_count:
            formatter.write(f"{further_count} more options: `{ctx.command_path} --help-all`.\n\n")
        formatter.write("Options of most commands (see `synapse-apply --help-all`):\n")
        formatter.write(f"  {', '.join(common_names)}\n")

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write examples, exit codes and environment."""
        with formatter.section("Examples"):
            for line, meaning in self.examples:
                formatter.write(f"{'':{formatter.current_indent}}$ {line}\n")
                formatter.indent()
                formatter.write_text(meaning)
                formatter.dedent()
        for title, meanings in self._sections.items():
            if meanings:
                with formatter.section(title):
                    formatter.write_dl([*meanings.items()])
        super().format_epilog(ctx, formatter)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click, but do not suggest a hidden option for an unknown one."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as problem:
            hidden_names = {
                name
                for param in self.params
                if isinstance(param, click.Option) and param.hidden
                for name in param.opts
            }
            suggestions = [name for name in problem.possibilities or () if name not in hidden_names]
            advice = self._foreign_options.get(problem.option_name)
            message = f"{problem.message} {advice}" if advice else problem.message
            raise click.NoSuchOption(
                problem.option_name, message, [] if advice else suggestions, problem.ctx
            ) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a failure becomes its message and exit code."""
        from synapse_apply.cli.console import Console, OutputFailedError

        console = Console.from_options(ctx.params)
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except (BrokenPipeError, OutputFailedError):  # nothing more can be said on stdout
            raise
        except (KeyboardInterrupt, Terminated) as end:
            if console.as_json and not console.as_lines:  # a program waits for its document
                from synapse_apply.cli.errors import print_failure

                print_failure(end, console, format_command_name(ctx))
            raise
        except Exception as problem:  # noqa: BLE001 - the one place that words every failure
            from synapse_apply.cli.errors import print_failure

            return print_failure(problem, console, format_command_name(ctx))


def format_command_name(ctx: click.Context) -> str:
    """The command's words after the program's name: `state show`."""
    return ctx.command_path.partition(" ")[2]


def manual_command(
    name: str, *, examples: Mapping[str, str], **settings: Any
) -> Callable[[Callable[..., int]], ManualCommand]:
    """A decorator for a function that returns an exit code; its docstring is the help text.

    The rest is as ManualCommand has it.
    """
    return click.command(name, cls=ManualCommand, examples=examples, **settings)


def import_command(place: str) -> click.Command:
    """The command at MODULE:NAME."""
    module, _, name = place.partition(":")
    command: click.Command = getattr(import_module(module), name)
    return command


class LazyGroup(click.Group):
    """A group that imports a command only when it runs; help and start-up import none."""

    context_class = _Context

    def __init__(
        self,
        *args: Any,
        entries: Mapping[str, CommandEntry],
        sections: Mapping[str, TextPairs] | None = None,
        first_section: str = "",
        **settings: Any,
    ) -> None:
        """`sections` are further headings of the help page.

        With `first_section` --help shows the commands of that section alone, and --help-all all.
        """
        settings["context_settings"] = _CONTEXT_SETTINGS
        super().__init__(*args, **settings)
        self.entries = entries
        self._sections = sections or {}
        self._first_section = first_section
        self.params.append(_build_help_all_option())

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click has it
        """The names in the table's order, which is the order of first use."""
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command; None for an unknown name."""
        entry = self.entries.get(cmd_name)
        return import_command(entry.module) if entry else None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Complete commands from the table, and options, importing only the matching command."""
        from click.shell_completion import CompletionItem

        matching_commands = [
            CompletionItem(name, help=entry.summary)
            for name, entry in self.entries.items()
            if entry.is_listed and name.startswith(incomplete)
        ]
        return [*matching_commands, *click.Command.shell_complete(self, ctx, incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click, but suggest a similar name for an unknown command."""
        if args and args[0] not in self.entries and not args[0].startswith("-"):
            from synapse_apply.model.phrases import find_similar_word

            match = find_similar_word(args[0], self.entries)
            end = f". Did you mean {match!r}?" if match else "."
            raise click.UsageError(f"Unknown command {args[0]!r}{end}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(
        self,
        ctx: click.Context,
        formatter: click.HelpFormatter,
    ) -> None:
        """List the commands by section from the table, without importing them."""
        sections = dict.fromkeys(entry.section for entry in self.entries.values())
        for section in [self._first_section] if self._is_short(ctx) else sections:
            with formatter.section(section):
                formatter.write_dl(
                    [
                        (name, command_entry.summary)
                        for name, command_entry in self.entries.items()
                        if command_entry.section == section and command_entry.is_listed
                    ]
                )

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the further sections, or where they are."""
        if self._is_short(ctx):
            formatter.write_paragraph()
            formatter.write_text(
                f"`{ctx.command_path} --help-all` lists all commands, the exit codes and the "
                "environment."
            )
        for title, pairs in self._sections.items() if not self._is_short(ctx) else ():
            with formatter.section(title):
                formatter.write_dl(list(pairs))
        super().format_epilog(ctx, formatter)

    def _is_short(self, ctx: click.Context) -> bool:
        return bool(self._first_section) and not ctx.meta.get(_SHOWS_ALL_KEY)
