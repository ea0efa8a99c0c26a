"""How typed text becomes a value, which text is a usage error, and what a shell completes."""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import click

from synapse_apply.cli.console import single_target

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from synapse_apply.model.address import Address
    from synapse_apply.model.job import JobStatus
    from synapse_apply.model.json_types import JsonValue
    from synapse_apply.model.values import SecretRef
    from synapse_apply.workspace.invocation import Invocation


Completer = Callable[[click.Context, click.Parameter, str], "list[CompletionItem[str]]"]
_MOST_CONTROLLER_TARGETS, _CONTROLLER_SECONDS = 200, 1.0
# What a shell takes as it is: a label may hold anything, and must not become part of a command.
_PLAIN_WORD = r"[\w./@:=+,-]+"


def _complete_from_files(*listings: str) -> Completer:
    """A completer of what these functions of `operations.complete` list, one after the other."""

    def complete_words(
        ctx: click.Context, _param: click.Parameter, prefix: str
    ) -> list[CompletionItem[str]]:
        from synapse_apply.operations import complete

        invocation = _partial_invocation(ctx)
        return _plain_words(
            [word for listing in listings for word in getattr(complete, listing)(invocation)],
            prefix,
        )

    return complete_words


complete_targets = _complete_from_files("list_target_names", "list_labels_of_targets")
complete_declared = _complete_from_files("list_declared_addresses")
complete_recorded = _complete_from_files("list_local_addresses")
complete_plugins = _complete_from_files("list_plugin_names")
_complete_selected = _complete_from_files("list_declared_addresses", "list_resource_labels")


def complete_addresses(
    ctx: click.Context, param: click.Parameter, prefix: str
) -> list[CompletionItem[str]]:
    """Declared and recorded addresses, or files where none starts with the prefix."""
    items = [*complete_declared(ctx, param, prefix), *complete_recorded(ctx, param, prefix)]
    names = sorted({item.value for item in items})
    return _plain_words(names, prefix) or complete_by_shell(ctx, param, prefix)


def complete_by_shell(
    _ctx: click.Context, _param: click.Parameter, prefix: str
) -> list[CompletionItem[str]]:
    """The shell's own completion of files."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(prefix, type="file")]


def complete_selections(
    ctx: click.Context, param: click.Parameter, prefix: str
) -> list[CompletionItem[str]]:
    """What --only takes: kinds, addresses, labels."""
    return [*_plain_words(list_kinds(), prefix), *_complete_selected(ctx, param, prefix)]


def complete_guards(
    _ctx: click.Context, _param: click.Parameter, prefix: str
) -> list[CompletionItem[str]]:
    """The guards that can be overridden."""
    from synapse_apply.planning.guards import GUARD_NAMES

    return _plain_words(GUARD_NAMES, prefix)


def complete_reports(
    ctx: click.Context, param: click.Parameter, prefix: str
) -> list[CompletionItem[str]]:
    """The kinds of report, and files after `=`."""
    if "=" in prefix:
        return complete_by_shell(ctx, param, prefix.partition("=")[2])
    return _plain_words([f"{kind}=" for kind in REPORT_KINDS], prefix)


def complete_controlled(
    ctx: click.Context, _param: click.Parameter, prefix: str
) -> list[CompletionItem[str]]:
    """The targets of a running controller, SOURCE/TARGET; none where it does not answer at once."""
    from synapse_apply.controller.remote.controller_api import (
        TOKEN_VARIABLE,
        URL_VARIABLE,
        ControllerApi,
    )

    url = ctx.params.get("url") or os.environ.get(URL_VARIABLE, "")
    names: list[str] = []

    def read_names() -> None:
        # Whoever types sees no error, and the answer of a server is no reason to print one.
        with suppress(Exception):
            api = ControllerApi(url, os.environ.get(TOKEN_VARIABLE, ""))
            names.extend(api.names_containing(prefix, _MOST_CONTROLLER_TARGETS))

    if url:
        # A daemon: the shell has its answer in time, whatever the server does.
        reader = Thread(target=read_names, daemon=True)
        reader.start()
        reader.join(_CONTROLLER_SECONDS)
    return _plain_words(list(names), prefix)


def _plain_words(names: Iterable[str], prefix: str) -> list[CompletionItem[str]]:
    from click.shell_completion import CompletionItem

    return [
        CompletionItem(name)
        for name in names
        if name.startswith(prefix) and re.fullmatch(_PLAIN_WORD, name)
    ]


def _partial_invocation(ctx: click.Context) -> Invocation:
    """The Invocation of the options typed so far."""
    from synapse_apply.workspace.invocation import Invocation

    typed = ctx.params
    directory = Path.cwd() / (typed.get("chdir") or "")
    return Invocation(
        directory=directory,
        project=directory / typed["project"] if typed.get("project") else None,
        target=single_target(typed) or None,
        paths=tuple(directory / path for path in typed.get("paths") or ()),
        variables=typed.get("variables") or {},
        on_terminal=True,
    )


COMPLETION_VARIABLE = "_SYNAPSE_APPLY_COMPLETE"
NAME = "synapse-apply"
SHELLS = ("bash", "zsh", "fish")


def complete_or_print_script(root: click.Command, instruction: str) -> int:
    """Answer a shell's completion request, or print its script; a failure prints nothing."""
    from click.shell_completion import shell_complete

    shell, _, answer = instruction.partition("_")
    try:
        if answer == "source":
            click.echo(build_completion_script(root, shell))
            return 0
        with redirect_stderr(io.StringIO()):
            return shell_complete(root, {}, NAME, COMPLETION_VARIABLE, instruction)
    except Exception:  # noqa: BLE001 - somebody is typing: no answer is better than a traceback
        return 1


def build_completion_script(root: click.Command, shell: str) -> str:
    """The script that a shell sources; LookupError for an unknown shell."""
    from click.shell_completion import ShellComplete, get_completion_class

    completion_class = get_completion_class(shell)
    if completion_class is None:
        raise LookupError(shell)
    # Not Bash's own method: it starts the first `bash` on PATH to ask for its version.
    return ShellComplete.source(completion_class(root, {}, NAME, COMPLETION_VARIABLE))


if TYPE_CHECKING:
    AnyParamType = click.ParamType[Any]
else:
    AnyParamType = click.ParamType  # not generic at run time before click 8.4


class Typed(AnyParamType):
    """A parameter whose text `parse` makes a value of; its ValueError says what is wrong."""

    def __init__(
        self, name: str, parse: Callable[[str], Any] = str, completer: Completer | None = None
    ) -> None:
        self.name = name
        self._parse = parse
        self._completer = completer

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A usage error for a text of another form."""
        try:
            return self._parse(value) if isinstance(value, str) else value
        except ValueError as problem:
            self.fail(str(problem), param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        return self._completer(ctx, param, incomplete) if self._completer else []


def text_of(pattern: str, problem: str) -> Callable[[str], str]:
    """A parser that takes the texts of one form; `problem` says of others what is wrong."""

    def parse(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError(problem.format(text))
        return text

    return parse


def list_kinds() -> tuple[str, ...]:
    """The kinds that an option may name."""
    from synapse_apply.kinds.catalogue import CATALOGUE

    return tuple(sorted(CATALOGUE))


REPORT_KINDS = ("json", "markdown", "html", "github", "gitlab", "codequality")
# Compiled where such a value was given.
_ENV_REFERENCE = r"""\{\s*["']?env["']?\s*:\s*["']?([A-Za-z_][A-Za-z0-9_]*)["']?\s*\}"""
_LINEAGE_PATTERN = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"


class NumberType(click.FloatRange):
    """A number in a range; `nan` is refused, though it compares as neither below nor above."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """A usage error for everything else."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


def parse_url_or_reference(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> str | SecretRef | None:
    """A text as it is, or the reference `{env: NAME}`; a usage error for another text in braces."""
    if value is None or not value.lstrip().startswith("{"):
        return value
    env_match = re.fullmatch(_ENV_REFERENCE, value.strip())
    if env_match is None:
        raise click.BadParameter(
            "give a url, or `{env: NAME}` with the name of a variable that contains a url."
        )
    from synapse_apply.model.values import SecretRef

    return SecretRef("env", env_match[1])


def parse_lineage(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """A UUID in a state's form; a usage error for anything else."""
    if value and re.fullmatch(_LINEAGE_PATTERN, value) is None:
        raise click.BadParameter(f"{value!r} is not a UUID in lower-case letters and digits.")
    return value


def parse_report_options(
    _ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """(kind, file) pairs of `KIND=FILE`; a usage error for an unknown kind or a repeated file."""
    requests: list[tuple[str, str]] = []
    for text in texts:
        kind, separator, file = text.partition("=")
        if kind not in REPORT_KINDS:
            raise click.BadParameter(
                f"{kind!r} is not a kind of report. The kinds are {', '.join(REPORT_KINDS)}."
            )
        # `github` needs no file: the runner names its files in the environment.
        if not file and (separator or kind != "github"):
            raise click.BadParameter(f"expected {kind}=FILE.")
        if file and file in [other_file for _, other_file in requests]:
            raise click.BadParameter(f"two reports cannot both go to {file}.")
        requests.append((kind, file))
    return tuple(requests)


def parse_variables(
    ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]
) -> dict[str, str]:
    """Values by name, of `NAME=VALUE`; the files of `@FILE` become `variable_files`."""
    convert = click.Path(dir_okay=False, path_type=Path).convert
    ctx.params["variable_files"] = tuple(
        convert(text[1:], param, ctx) for text in texts if text.startswith("@")
    )
    return parse_name_values(ctx, param, tuple(one for one in texts if not one.startswith("@")))


def parse_name_values(
    _ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]
) -> dict[str, str]:
    """Values by name, of `NAME=VALUE`; a usage error for any other form."""
    values: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not (separator and name):
            raise click.BadParameter(f"expected NAME=VALUE, not {name!r}.")
        values[name] = value
    return values


def require_guard_names(
    _ctx: click.Context, _param: click.Parameter, guard_names: tuple[str, ...]
) -> tuple[str, ...]:
    """A usage error for an unknown guard.

    Names of policy rules are checked later, in `PlanArguments`, where the policy is known.
    """
    if guard_names:
        from synapse_apply.operations.plan_arguments import describe_unknown_guard

        for name in guard_names:
            if description := describe_unknown_guard(name):
                raise click.BadParameter(description)
    return guard_names


def reject_lone_timeout(
    ctx: click.Context, _param: click.Parameter, timeout: float | None
) -> float | None:
    """A usage error for --timeout without --follow."""
    if timeout is not None and not ctx.params.get("follow"):
        raise click.UsageError("--timeout needs --follow.", ctx)
    return timeout


_TIME_SPAN = re.compile(r"(\d{1,6})([wdhms])")
_SECONDS_BY_UNIT = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}


def _parse_span_or_none(text: str) -> timedelta | None:
    """A span such as `1d12h`, None for a text of another form."""
    parts = _TIME_SPAN.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return timedelta(seconds=sum(int(number) * _SECONDS_BY_UNIT[unit] for number, unit in parts))


def parse_time_span(text: str) -> timedelta:
    """A span such as `7d` or `1d12h`; ValueError for anything else, and for no time at all."""
    with suppress(OverflowError):
        if span := _parse_span_or_none(text):
            return span
    raise ValueError(f"{text!r} is not a time span such as 7d, 12h, 30m or 1d12h.")


def parse_time(text: str) -> datetime:
    """A date or a time, in UTC; without a zone it is in that of this machine."""
    with suppress(ValueError, OverflowError, OSError):
        return datetime.fromisoformat(text).astimezone(UTC)
    raise ValueError(f"{text!r} is not a date such as 2026-11-24 or 2026-11-24T10:30:00Z.")


def parse_moment(text: str, now: datetime | None = None) -> datetime:
    """A date, a time, or a span before `now`, as a time in UTC; ValueError for anything else."""
    with suppress(ValueError, OverflowError, OSError):
        if (span := _parse_span_or_none(text)) is None:
            return parse_time(text)
        return (now or datetime.now(UTC)).astimezone(UTC) - span
    raise ValueError(
        f"{text!r} is not a date such as 2026-11-24 or 2026-11-24T10:30:00Z, or a time span "
        "such as 7d, 12h, 30m or 1d12h."
    )


def _parse_status(word: str) -> JobStatus:
    """A job's status in the words of the API page or of the platform."""
    from synapse_apply.model.job import JobStatus, parse_job_status

    job_status = parse_job_status(word)
    if job_status is JobStatus.UNKNOWN:
        raise ValueError(
            f"{word!r} is not a status. Use queued (or pending), running, completed (or "
            "succeeded), failed or stopped."
        )
    return job_status


def _parse_address(text: str) -> Address:
    from synapse_apply.model.address import Address

    return Address.parse(text)


MOMENT, TIME_SPAN = Typed("moment", parse_moment), Typed("span", parse_time_span)
DATE_TIME = Typed("time", parse_time)
STATUS = Typed("status", _parse_status)
ADDRESS = Typed("address", _parse_address, complete_declared)
# A text that names a resource; the command resolves it with a state or manifests.
DECLARED_NAME = Typed("name", completer=complete_declared)
RECORDED_NAME = Typed("name", completer=complete_recorded)


def parse_json_or_text(text: str) -> JsonValue:
    """The JSON value of the text, or the text itself where it is not JSON."""
    with suppress(ValueError):
        return _parse_json(text)
    return text


def parse_key_value_options(
    _ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]
) -> dict[str, Any]:
    """`KEY=VALUE` options as a mapping; a usage error for a repeated key."""
    parsed_values: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not (separator and name):
            raise click.BadParameter(f"expected KEY=VALUE, not {text!r}.", param=param)
        if name in parsed_values:
            raise click.BadParameter(f"{name!r} is given twice.", param=param)
        parsed_values[name] = parse_json_or_text(value)
    return parsed_values


def _parse_json(text: str) -> JsonValue:
    import json

    def parse_number(number: str) -> float:
        # Python accepts NaN and Infinity, which are not JSON (RFC 8259) and servers refuse.
        if not math.isfinite(float(number)):
            raise ValueError(f"{number} is not a JSON number")
        return float(number)

    try:
        return json.loads(text, parse_constant=parse_number, parse_float=parse_number)
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"this is not JSON: {problem}.") from None


JSON = Typed("json", _parse_json)


def has_address_form(text: str) -> bool:
    """Whether a text has the form KIND/NAME; the kind may be unknown."""
    with suppress(ValueError):
        return bool(_parse_address(text))
    return False


def read_mapping_file(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file; InputError with the position of an error in it."""
    from synapse_apply.files.checkout import read_typed_file
    from synapse_apply.manifests.yaml.reader import read_single_mapping
    from synapse_apply.model.errors import InputError

    try:
        mapping, _ = read_single_mapping(read_typed_file(path), str(path))
    except OSError as problem:
        raise InputError.from_summary(
            "The file cannot be read", f"{path}: {problem.strerror}."
        ) from None
    return dict(mapping)


def read_codes(path: Path) -> tuple[str, ...]:
    """The lines of the file of --codes, without blank ones and comments; else a usage error."""
    from synapse_apply.files.checkout import read_typed_file

    try:
        lines = read_typed_file(path).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise click.UsageError(
            f"--codes {path} cannot be read as text with one code per line."
        ) from None
    return tuple(code for line in lines if (code := line.strip()) and not code.startswith("#"))
