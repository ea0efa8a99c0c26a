"""Which environment variables and files a secret may be read from, and what a usable value is.

No error raised here contains a value. None is raised while an error that contains one is being
handled (a decoder's has the refused text): Python would chain it as the context.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from synapse_apply.model.errors import SecretUnavailable
from synapse_apply.model.secrets.secret_rules import (
    NO_RESERVED_SOURCES,
    ReservedVariables,
    is_file_allowed,
    is_forbidden_variable,
    is_variable_allowed,
)
from synapse_apply.model.values import SecretRef, Sensitive

MAX_SECRET_BYTES = 1024 * 1024

_UNAVAILABLE = "Secret not available"
_FORBIDDEN = "Secret not allowed"
_UNUSABLE = "Secret not usable"


class Resolver:
    """Reads the value of a SecretRef, again at each call.

    `root` is the project's folder, `environ` the variables, `allow_env` and `allow_files` the
    target's lists; `reserved` variables and files may not be read in spite of these lists (rules:
    model/secrets/secret_rules.py).
    """

    def __init__(
        self,
        root: Path,
        environ: Mapping[str, str],
        allow_env: Sequence[str] = (),
        allow_files: Sequence[str] = (),
        reserved: ReservedVariables = NO_RESERVED_SOURCES,
    ) -> None:
        self._root = root
        self._environ = environ
        self._allow_env = tuple(allow_env)
        self._allow_files = tuple(allow_files)
        self._reserved = reserved

    def resolve_secret(self, ref: SecretRef) -> Sensitive:
        """The value of a manifest's `valueFrom`.

        SecretUnavailable if it is missing, empty, not allowed, or not in its format; the detail of
        the diagnostic is a phrase that fits after "not checked:".
        """
        if ref.source == "env":
            self._require_allowed_variable(ref.name)
        elif ref.source == "file":
            self._require_allowed_file(ref.name)
        return self.resolve_setting(ref)

    def resolve_setting(self, ref: SecretRef) -> Sensitive:
        """The value of a reference in the project file (token, state url), without allow-lists.

        SecretUnavailable as for `resolve_secret`. The project file is the user's own.
        """
        if ref.source in {"literal", "login"} and ref.literal is not None:
            return ref.literal
        if ref.source == "env":
            text, source_name = self._read_utf8_variable_unchecked(ref.name), ref.name
        elif ref.source == "file":
            text, source_name = read_secret_file(self._root / ref.name, ref.name), ref.name
        elif ref.source == "live":
            _raise_unavailable(
                _UNAVAILABLE,
                "the value is kept on the server (valueFrom live) and never read from it",
                "Use valueFrom env or file where the value must be sent.",
            )
        else:
            _raise_unavailable(
                _UNUSABLE,
                f"valueFrom has no source {ref.source!r}",
                "The sources are env, file and live.",
            )
        return _parse_secret(text, ref.format, source_name)

    def _require_allowed_variable(self, name: str) -> None:
        """SecretUnavailable for a variable that manifests may not read."""
        if is_forbidden_variable(name):
            _raise_unavailable(
                _FORBIDDEN,
                f"{name} is never readable by valueFrom",
                "Tokens of this tool and of CI jobs are off limits. "
                "Hand the secret over in a variable of another name.",
            )
        if setting := self._reserved.find_setting_by_variable(name):
            _raise_unavailable(
                _FORBIDDEN,
                f"{name} is never readable by valueFrom: {setting} names it",
                "Hand the secret over in a variable of its own.",
            )
        if not is_variable_allowed(name, self._allow_env):
            _raise_unavailable(
                _FORBIDDEN,
                f"{name} matches no pattern of the target's allow_env",
                f"Add {name} to allow_env of the target in the project file.",
            )

    def _read_utf8_variable_unchecked(self, name: str) -> str:
        """The text of any variable; SecretUnavailable if it is not set or not UTF-8."""
        text = self._environ.get(name)
        if text is None:
            _raise_unavailable(
                _UNAVAILABLE, f"{name} is not set", f"Set the environment variable {name}."
            )
        if not _is_valid_unicode(text):
            _raise_unavailable(
                _UNUSABLE, f"{name} is not UTF-8 text", f"Set {name} to text in UTF-8."
            )
        return text

    def _require_allowed_file(self, name: str) -> None:
        """SecretUnavailable for a file that manifests may not read, or that links to such a one."""
        root = self._root.absolute()
        if setting := self._find_setting_that_names_file(name, root):
            _raise_unavailable(
                _FORBIDDEN,
                f"{name} is never readable by valueFrom: {setting} names it",
                "Keep the secret in a file of its own.",
            )
        if is_file_allowed(name, root, self._allow_files) and self._is_link_target_allowed(
            name, root
        ):
            return
        _raise_unavailable(
            _FORBIDDEN,
            f"{name} lies outside the project (or in a folder that is off limits)",
            "Move the file into the project, or list it under allow_files of the target. "
            "Files of .synapse-apply, .synapse and .git are never readable.",
        )

    def _find_setting_that_names_file(self, name: str, root: Path) -> str:
        """The project setting that names this file, by this or another path; "" if none does."""
        if setting := self._reserved.find_setting_by_file(name, root):
            return setting
        for other, setting in self._reserved.files.items():
            with suppress(OSError, ValueError):
                if (root / name).samefile(root / other):
                    return setting
        return ""

    def _is_link_target_allowed(self, name: str, root: Path) -> bool:
        """Whether a file, its links resolved, is in the project or a listed file outside of it.

        A listed name inside of the project does not count here, since a pull request can replace
        it by a link to anywhere. A listed file outside may be a link, as mounted secrets are.
        """
        outside_files = [
            allowed_file
            for allowed_file in self._allow_files
            if not is_file_allowed(allowed_file, root, ())
        ]
        try:
            resolved_files = [
                str((root / allowed_file).resolve()) for allowed_file in outside_files
            ]
            return is_file_allowed(str((root / name).resolve()), root.resolve(), resolved_files)
        except (OSError, RuntimeError):
            return False


def read_secret_file(path: Path, name: str) -> str:
    """The text of a file without its last line break; `name` is for messages. SecretUnavailable."""
    data = _read_limited_bytes(path, name)
    text = _decode_utf8(data)
    if text is None:
        _raise_unavailable(
            _UNUSABLE,
            f"{name} is not UTF-8 text",
            "Write the secret as UTF-8 text; binary secrets can be base64 text.",
        )
    # Editors and `echo` add a line break, which is hardly ever part of a secret.
    if text.endswith("\r\n"):
        return text[:-2]
    return text.removesuffix("\n")


def _read_limited_bytes(path: Path, name: str) -> bytes:
    """The content of a regular file of at most MAX_SECRET_BYTES; SecretUnavailable."""
    try:
        # Opening a named pipe without O_NONBLOCK would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        if not is_file:
            os.close(descriptor)
            data = b""
        else:
            with os.fdopen(descriptor, "rb") as file:
                # One byte more shows that the file is too large, whatever its stated size.
                data = file.read(MAX_SECRET_BYTES + 1)
    except FileNotFoundError:
        _raise_unavailable(
            _UNAVAILABLE,
            f"the file {name} does not exist",
            "Paths are relative to the project's folder.",
        )
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or "not a path"
        _raise_unavailable(
            _UNAVAILABLE, f"the file {name} cannot be read: {reason}", "Check its permissions."
        )
    if not is_file:
        _raise_unavailable(
            _UNUSABLE, f"{name} is not a file", "Name a file, not a folder or a device."
        )
    if len(data) > MAX_SECRET_BYTES:
        _raise_unavailable(_UNUSABLE, f"{name} is larger than 1 MiB", "Is this the file you meant?")
    return data


def _parse_secret(text: str, format_name: str, source_name: str) -> Sensitive:
    """The value of a text in its format (text or json); SecretUnavailable for an empty one."""
    if not text.strip():
        _raise_unavailable(
            _UNUSABLE,
            f"{source_name} is empty",
            "An empty secret is almost always a mistake; leave the field out if it is meant.",
        )
    if format_name == "text":
        return Sensitive(text)
    if format_name != "json":
        _raise_unavailable(
            _UNUSABLE,
            f"{source_name}: format {format_name!r} is not known",
            "The formats are text and json.",
        )
    value, problem = parse_json_with_problem(text)
    if problem:
        _raise_unavailable(
            _UNUSABLE,
            f"{source_name} is not valid JSON{problem}",
            "The content is not shown, since it is secret. "
            "Check it with a JSON parser, or leave out format: json.",
        )
    if value is None or value == "":
        _raise_unavailable(
            _UNUSABLE, f"{source_name} holds an empty JSON value", "Write the secret into it."
        )
    return Sensitive(value)


class ParsedJson(NamedTuple):
    """A value, or why there is none: `problem` begins with a blank and never quotes the text."""

    value: Any
    problem: str = ""


def parse_json_with_problem(text: str) -> ParsedJson:
    """Parse strict JSON (no NaN, no duplicate keys) of a text that must not be quoted."""
    try:
        return ParsedJson(
            json.loads(
                text,
                parse_constant=_refuse_nan_or_infinity,
                object_pairs_hook=_build_object_without_duplicates,
            )
        )
    except json.JSONDecodeError as problem:
        return ParsedJson(None, f" (line {problem.lineno}, column {problem.colno})")
    except _DuplicateKey:
        return ParsedJson(None, " (a key stands twice)")
    except (ValueError, RecursionError):
        return ParsedJson(None, " (a number is out of range, or it nests too deeply)")


class _DuplicateKey(ValueError):
    pass


def _build_object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    # Parsers choose differently between duplicate keys, so that a server could read another value.
    if len(result) != len(pairs):
        raise _DuplicateKey
    return result


def _refuse_nan_or_infinity(_name: str) -> NoReturn:
    raise ValueError


def _decode_utf8(data: bytes) -> str | None:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _is_valid_unicode(text: str) -> bool:
    try:
        # Bytes of the environment that are not UTF-8 appear as lone surrogates (PEP 383).
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _raise_unavailable(summary: str, detail: str, hint: str) -> NoReturn:
    raise SecretUnavailable.from_summary(summary, detail, hint)
