"""Commands whose `--help` reads like a page of a manual, and groups that import nothing early."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from synapse_apply.model.frozen import frozen

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Pairs = Sequence[tuple[str, str]]
USAGE = 64
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@frozen
class Entry:
    """A command as its group lists it: where it is, what it is for, under which heading."""

    module: str
    summary: str
    section: str = "Commands"


class Terminated(BaseException):
    """SIGTERM or SIGHUP: unwinds as Ctrl-C does, so that locks and servers are given back."""


class ManualCommand(click.Command):
    """A command with examples, exit codes and environment below its options."""

    def __init__(
        self, *args: Any, examples: Pairs, exits: Pairs = (), environment: Pairs = (), **rest: Any
    ) -> None:
        """`examples` pair a command line with what it is for."""
        rest["context_settings"] = _SETTINGS
        super().__init__(*args, **rest)
        # How it is printed comes last in help, whatever the order of the decorators.
        self.params.sort(
            key=lambda param: param.name in {"as_json", "as_lines", "as_events", "color"}
        )
        self.examples = examples
        self._sections = {"Exit codes": exits, "Environment": environment}

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What a manual page has after its options."""
        with formatter.section("Examples"):
            for line, meaning in self.examples:
                formatter.write(f"{'':{formatter.current_indent}}$ {line}\n")
                formatter.indent()
                formatter.write_text(meaning)
                formatter.dedent()
        for title, pairs in self._sections.items():
            if pairs:
                with formatter.section(title):
                    formatter.write_dl(list(pairs))
        super().format_epilog(ctx, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what goes wrong inside becomes its message and its exit code."""
        from synapse_apply.cli.face import Face, OutputFailed

        face = Face.of(ctx.params)
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except (BrokenPipeError, OutputFailed):  # nothing more can be said on stdout
            raise
        except (KeyboardInterrupt, Terminated) as end:
            if face.as_json and not face.in_lines:  # a program waits for its document
                from synapse_apply.cli.endings import tell

                tell(end, face, spoken(ctx))
            raise
        except Exception as problem:  # noqa: BLE001 - the one place that words every failure
            from synapse_apply.cli.endings import tell

            return tell(problem, face, spoken(ctx))


def spoken(ctx: click.Context) -> str:
    """The command behind the program's name, or the one that shows the same."""
    name = ctx.command_path.partition(" ")[2]
    return "drift" if ctx.params.get("refresh_only") else name


def manual(
    name: str, *, examples: Pairs, exits: Pairs = (), environment: Pairs = ()
) -> Callable[[Callable[..., int]], ManualCommand]:
    """Make a function that returns an exit code a command; its docstring is the manual's text."""
    return click.command(
        name, cls=ManualCommand, examples=examples, exits=exits, environment=environment
    )


class LazyGroup(click.Group):
    """A group whose commands are imported when they run: help and start-up need none of them."""

    def __init__(
        self,
        *args: Any,
        entries: Mapping[str, Entry],
        sections: Mapping[str, Pairs] | None = None,
        **rest: Any,
    ) -> None:
        """`sections` are further headings of the help page."""
        rest["context_settings"] = _SETTINGS
        super().__init__(*args, **rest)
        self.entries = entries
        self._sections = sections or {}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click has it
        """Names in the table's order: the order in which one needs them."""
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the command that was asked for."""
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        found: click.Command = import_module(entry.module).command
        return found

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Commands by the table, and options, without importing what is not meant."""
        from click.shell_completion import CompletionItem

        named = [
            CompletionItem(name, help=entry.summary)
            for name, entry in self.entries.items()
            if name.startswith(incomplete)
        ]
        return [*named, *click.Command.shell_complete(self, ctx, incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a near name where there is one."""
        if args and args[0] not in self.entries and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], self.entries, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"There is no command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        """The table, by section, without importing what it lists."""
        for section in dict.fromkeys(entry.section for entry in self.entries.values()):
            with formatter.section(section):
                formatter.write_dl(
                    [(n, e.summary) for n, e in self.entries.items() if e.section == section]
                )

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What a manual page has after its commands."""
        for title, pairs in self._sections.items():
            with formatter.section(title):
                formatter.write_dl(list(pairs))
        super().format_epilog(ctx, formatter)
