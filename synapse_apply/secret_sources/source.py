"""What a source of secrets is: how a manifest names it, what it may read and how it is read.

Each source is a module with one SecretSource, listed in `catalogue.py`. The check of manifests
calls `find_denial` alone, which reads no variable, starts no program and asks no server.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import field
from pathlib import Path
from threading import RLock
from typing import Any, NoReturn

from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.errors import SecretUnavailable
from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_types import JsonObject
from synapse_apply.model.json_values import is_nested_too_deeply
from synapse_apply.model.remote import ConnectHttp
from synapse_apply.model.secrets.secret_marks import ReadableFiles
from synapse_apply.model.secrets.secret_rules import (
    NO_RESERVED_SOURCES,
    ReservedVariables,
    SettingOffer,
)
from synapse_apply.model.values import SecretRef, Sensitive

ReadMapping = Callable[[bytes, str], tuple[Mapping[str, Any], Any]]
"""The YAML reader: the mapping of a text with one document; InputError for any other."""

UNAVAILABLE = "Secret not available"
FORBIDDEN = "Secret not allowed"
UNUSABLE = "Secret not usable"


class RunMemo:
    """What sources keep in memory for one run, such as a decrypted file; safe for many threads."""

    __slots__ = ("_closing", "_lock", "_outcomes")

    def __init__(self) -> None:
        self._lock = RLock()
        self._outcomes: dict[Any, Any] = {}
        self._closing = ExitStack()

    def register_call_at_close(self, close: Callable[[], object]) -> None:
        """Call this when the run ends, before what was given to be called so far."""
        self._closing.callback(close)

    def close(self) -> None:
        """Give back what was made for the run: connections, tokens."""
        self._closing.close()

    def get_or_make(self, key: Any, make: Callable[[], Any]) -> Any:
        """What `make` returned at the first call with this key; its SecretUnavailable again."""
        with self._lock:
            if key not in self._outcomes:
                try:
                    self._outcomes[key] = make()
                except SecretUnavailable as failure:
                    # Remembered as well: a program or a server is not asked a second time.
                    self._outcomes[key] = failure
            outcome = self._outcomes[key]
        if isinstance(outcome, SecretUnavailable):
            raise SecretUnavailable(*outcome.diagnostics)
        return outcome


@frozen
class SourceContext:
    """What the secrets of one target are read from, and what its manifests may read.

    `root` is the project's folder, where relative names begin; `environ` the variables, empty
    where only texts are checked. `allow_env` and `allow_files` are the target's lists; `reserved`
    may not be read in spite of them. `settings` has the target's block of each source that has one
    (`targets.NAME.SOURCE`), as the project file has it. `connect_http` connects to a server that
    has secrets; None where only texts are checked. `require_server` gets such a server and the
    setting that has its credentials, and raises SecretUnavailable where they may not go there.

    Without `read_single_mapping` no file is looked into. `read_committed_file` is there
    where the manifests are those of a commit: the bytes of its file, None for a path that is not in
    the project's folder; SecretUnavailable where the commit lacks it. `without_checkout` says that
    the project's folder has no files but those. `readable_files` are all that may be read of this
    machine, by settings of the project as well; None for no limit.
    """

    root: Path
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    allow_env: tuple[str, ...] = ()
    allow_files: tuple[str, ...] = ()
    reserved: ReservedVariables = NO_RESERVED_SOURCES
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    target: str = ""
    read_single_mapping: ReadMapping | None = None
    read_committed_file: Callable[[str], bytes | None] | None = None
    memo: RunMemo = field(default_factory=RunMemo, repr=False, compare=False)
    connect_http: ConnectHttp | None = field(default=None, repr=False, compare=False)
    require_server: Callable[[str, str], None] | None = field(
        default=None, repr=False, compare=False
    )
    without_checkout: bool = False
    readable_files: ReadableFiles | None = None


@frozen
class Denial:
    """Why a manifest may not name a secret.

    `summary`, `detail` and `hint` are those of the finding at the manifest's line; `reason` and
    `remedy` are detail and hint where the value is asked for, the latter "" where it is the same.
    `names_target`: the finding is about a setting of the target.
    """

    summary: str
    detail: str
    hint: str
    reason: str
    remedy: str = ""
    names_target: bool = False


@frozen
class SettingFault:
    """What no schema can say is wrong with a target's settings of a source.

    `path` is relative to them.
    """

    path: FieldPath
    summary: str
    detail: str
    hint: str


@frozen
class SecretSource:
    """One source of secrets.

    `name` is its key below `valueFrom` and SecretRef's `source`, `example` a `valueFrom` of it.
    Below its key stands a text, or a mapping of `required_keys` and `optional_keys`, which
    `format_name` turns into the name that messages use.

    `find_denial` says by the text of a reference, and by a file that it names, why a manifest may
    not name it; `find_read_denial`, if there is one, says so where the value is read, of what the
    name leads to as well. `read_text` returns the value's text, or raises SecretUnavailable.
    `list_setting_offers` says, for `doctor`, with which of the target's settings values are read,
    and why not with others. `ask_for_access` asks the source's server
    whether it accepts that, reading no secret: it returns a phrase, or raises SecretUnavailable.
    `find_faults` checks the target's settings beside their schema. `is_read` is False for a source
    that gives no value. `may_share_value` says whether one value can be had by both references.
    `names_file`: the name is the path of a file, from the project's folder on.
    """

    name: str
    example: str
    read_text: Callable[[SecretRef, SourceContext], str]
    find_denial: Callable[[SecretRef, SourceContext], Denial | None] = lambda _ref, _context: None
    find_read_denial: Callable[[SecretRef, SourceContext], Denial | None] | None = None
    required_keys: tuple[str, ...] = ()
    optional_keys: tuple[str, ...] = ()
    format_name: Callable[[Mapping[str, str]], str] = lambda texts: " ".join(texts.values())
    list_setting_offers: Callable[[SourceContext], tuple[SettingOffer, ...]] = lambda _context: ()
    ask_for_access: Callable[[SourceContext], str] = lambda _context: ""
    find_faults: Callable[[Mapping[str, Any]], tuple[SettingFault, ...]] = lambda _settings: ()
    is_read: bool = True
    may_share_value: Callable[[SecretRef, SecretRef], bool] = operator.eq
    names_file: bool = False


def find_reserved_denial(
    source: SecretSource, ref: SecretRef, context: SourceContext
) -> Denial | None:
    """Why manifests may not name a secret that a setting of the project names; None otherwise.

    Of sources with more than a name: those of variables and files see to theirs.
    """
    for reserved, setting in context.reserved.references:
        if reserved.source == ref.source and source.may_share_value(reserved, ref):
            return Denial(
                "Manifests cannot read this secret",
                f"valueFrom may not read {ref.name}: {setting} names it, and a manifest could send "
                "it to a server",
                "keep the secret under a separate key, in any file or path",
                reason=f"valueFrom can never read {ref.name}: {setting} names it",
            )
    return None


def build_reference_or_none_if_malformed(
    source: SecretSource, argument: Any, format_name: str
) -> SecretRef | None:
    """The reference that stands below a source's key in a manifest; None for a malformed one."""
    if not source.is_read:
        return SecretRef(source.name)
    if not source.required_keys:
        is_name = isinstance(argument, str) and bool(argument)
        return SecretRef(source.name, argument, format_name) if is_name else None
    if not isinstance(argument, Mapping) or any(
        key not in (*source.required_keys, *source.optional_keys) for key in argument
    ):
        return None
    texts = {
        key: str(value)
        for key, value in argument.items()
        if isinstance(value, str | int) and not isinstance(value, bool)
    }
    if len(texts) != len(argument) or not all(texts.get(key) for key in source.required_keys):
        return None
    return SecretRef(
        source.name, source.format_name(texts), format_name, arguments=tuple(sorted(texts.items()))
    )


def describe_malformed(source: SecretSource) -> str:
    """Why `build_reference_or_none_if_malformed` gives None, behind the field's name."""
    if not source.required_keys:
        return "is not a name"
    optional_text = f", and may have {', '.join(source.optional_keys)}" * bool(source.optional_keys)
    return f"needs {' and '.join(source.required_keys)}{optional_text}, and nothing else"


def raise_unavailable(summary: str, detail: str, hint: str) -> NoReturn:
    """SecretUnavailable; `detail` is a phrase that fits after "not checked:"."""
    raise SecretUnavailable.from_summary(summary, detail, hint)


def raise_if_denied(denial: Denial | None) -> None:
    """SecretUnavailable for a denial; nothing without one."""
    if denial is not None:
        hint = denial.remedy or f"{denial.hint[:1].upper()}{denial.hint[1:]}."
        raise_unavailable(FORBIDDEN, denial.reason, hint)


# No error raised here contains a value. None is raised while an error that contains one is being
# handled (a decoder's has the refused text): Python would chain it as the context.


def parse_secret(text: str, format_name: str, source_name: str) -> Sensitive:
    """The value of a text in its format (text or json); SecretUnavailable for an empty one."""
    if not text.strip():
        raise_unavailable(
            UNUSABLE,
            f"{source_name} is empty",
            "An empty secret is almost always a mistake; leave out the field if you intend this.",
        )
    if format_name == "text":
        return Sensitive(text)
    if format_name != "json":
        raise_unavailable(
            UNUSABLE,
            f"{source_name}: unknown format {format_name!r}",
            "The formats are text and json.",
        )
    value, problem = parse_json_with_problem(text)
    if problem:
        raise_unavailable(
            UNUSABLE,
            f"{source_name} is not valid JSON{problem}",
            "The content is secret and not shown. Check it with a JSON parser, or leave out "
            "format: json.",
        )
    if value is None or value == "":
        raise_unavailable(
            UNUSABLE, f"{source_name} contains an empty JSON value", "Write the secret into it."
        )
    return Sensitive(value)


def parse_json_with_problem(text: str) -> tuple[Any, str]:
    """Parse strict JSON (no NaN, no duplicate keys) of a text that must not be quoted.

    Gives the value, or why there is none: that begins with a blank and never quotes the text.
    """
    try:
        # A constant is NaN or an infinity, of which no number is made.
        value = json.loads(
            text, parse_constant=int, parse_float=_parse_finite, object_pairs_hook=_build_object
        )
    except json.JSONDecodeError as problem:
        return None, f" (line {problem.lineno}, column {problem.colno})"
    except _DuplicateKey:
        return None, " (a key is given twice)"
    except (ValueError, RecursionError):
        return None, _OUT_OF_RANGE
    return (None, _OUT_OF_RANGE) if is_nested_too_deeply(value) else (value, "")


_OUT_OF_RANGE = " (a number is out of range, or it nests too deeply)"


class _DuplicateKey(ValueError):
    pass


def _parse_finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise ValueError
    return number


def _build_object(pairs: list[tuple[str, Any]]) -> JsonObject:
    result = dict(pairs)
    # Parsers choose differently between duplicate keys, so that a server could read another value.
    if len(result) != len(pairs):
        raise _DuplicateKey
    return result
