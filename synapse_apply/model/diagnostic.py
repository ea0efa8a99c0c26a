"""A finding for people: what happened, where, why, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from functools import lru_cache
from typing import Any

from synapse_apply.model.command import WithCommands
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.json_types import JsonObject

FieldPath = tuple[str | int, ...]

# A finding is read by people. What it quotes comes from files and servers and may be of any size.
MAX_TEXT_LENGTH = 4000
_MAX_NAME_LENGTH = 300


class Severity(Enum):
    """How much a finding weighs; `--strict` turns warnings into errors, and leaves notes alone."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@frozen
class Position:
    """A place in a text file; line and column start at 1. Sorted by file, line and column."""

    file: str
    line: int
    column: int

    def __lt__(self, other: Position) -> bool:
        return (self.file, self.line, self.column) < (other.file, other.line, other.column)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@frozen
class Diagnostic(WithCommands):
    """Summary is terse and constant; detail names the thing; hint says what to do next.

    `address` is the resource's address as text, `path` the field relative to the document,
    `target` the target whose overlay or variables led to it, `request_id` the server's, `rule` the
    id of the rule that it is against, where rules have ids. `of_backend` marks what is a fact of
    the backend, met with this resource: it is told once for all resources that met it. What is too
    long for a reader is shortened.
    """

    TEXT_FIELDS = ("detail", "hint")

    severity: Severity
    summary: str
    detail: str = ""
    hint: str = ""
    position: Position | None = None
    address: str | None = None
    path: FieldPath | None = None
    target: str | None = None
    request_id: str | None = None
    rule: str | None = None
    of_backend: bool = False

    def __post_init__(self) -> None:
        # Frozen by the type checker alone: the texts are shortened before anybody has the value.
        for name, max_length in _MAX_LENGTHS.items():
            text = getattr(self, name)
            if text is not None and len(text) > max_length:
                object.__setattr__(self, name, cut_middle(text, max_length))
        if self.path is not None and any(_is_too_long(part) for part in self.path):
            short = tuple(
                cut_middle(p, _MAX_NAME_LENGTH) if _is_too_long(p) else p for p in self.path
            )
            object.__setattr__(self, "path", short)

    @property
    def is_error(self) -> bool:
        return self.severity is Severity.ERROR

    @property
    def is_warning(self) -> bool:
        return self.severity is Severity.WARNING

    @property
    def is_note(self) -> bool:
        return self.severity is Severity.NOTE

    @property
    def untold_request_id(self) -> str:
        """The id of the request that failed; "" where there is none, or the detail names it."""
        request_id = self.request_id or ""
        return "" if request_id in self.detail else request_id

    @property
    def line_independent_key(self) -> tuple[Any, ...]:
        """Equal for two findings that differ only in their line, which edits move."""
        file = self.position.file if self.position else ""
        return self.summary, self.address, self.path, self.target, file

    def as_error(self) -> Diagnostic:
        """The same as `--strict` has it: a warning is an error, a note stays a note."""
        return self.with_changes(severity=Severity.ERROR) if self.is_warning else self

    def with_changes(self, **changes: Any) -> Diagnostic:
        """A copy that knows more, such as the target it was found for."""
        return replace(self, **changes)

    def to_json(self) -> JsonObject:
        """The shape of `diagnostics[]` in every JSON document of ours."""
        data: dict[str, Any] = {
            "severity": self.severity.value,
            "summary": self.summary,
            "detail": self.detail,
        }
        for key in ("hint", "address", "target", "request_id", "rule"):
            if value := getattr(self, key):
                data[key] = value
        if self.path is not None:
            data["path"] = format_json_pointer(self.path)
        if self.position is not None:
            start = {"line": self.position.line, "column": self.position.column}
            data["range"] = {"filename": self.position.file, "start": start}
        return data


_MAX_LENGTHS = {
    "detail": MAX_TEXT_LENGTH,
    "hint": MAX_TEXT_LENGTH,
    "address": _MAX_NAME_LENGTH,
    "request_id": _MAX_NAME_LENGTH,
}


def _is_too_long(part: str | int) -> bool:
    return isinstance(part, str) and len(part) > _MAX_NAME_LENGTH


def cut_middle(text: Any, max_length: int) -> str:
    """The beginning and the end of a long text, and how much is left out between them."""
    tail = max_length // 4
    left_out = f" ... ({len(text) - max_length:,} more characters) ... "
    return f"{text[: max_length - tail]}{left_out}{text[-tail:]}"


def error_finding(summary: str, detail: str = "", hint: str = "", **fields: Any) -> Diagnostic:
    """An error finding."""
    return Diagnostic(Severity.ERROR, summary, detail, hint, **fields)


def warning_finding(summary: str, detail: str = "", hint: str = "", **fields: Any) -> Diagnostic:
    """A warning finding."""
    return Diagnostic(Severity.WARNING, summary, detail, hint, **fields)


def find_nearest_position(
    positions: Mapping[FieldPath, Position], path: FieldPath
) -> Position | None:
    """The position of a path, or of the nearest path above it that has one."""
    while path:
        if path in positions:
            return positions[path]
        path = path[:-1]
    return positions.get(())


def is_at_or_below(path: FieldPath, roots: Iterable[FieldPath]) -> bool:
    """Whether a path is one of these or stands below one."""
    return any(path[: len(root)] == root for root in roots)


@lru_cache(maxsize=4096)  # thousands of resources have the same few paths
def format_json_pointer(path: FieldPath) -> str:
    """A path as a JSON Pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def parse_json_pointer(text: str) -> tuple[str, ...]:
    """A JSON Pointer (RFC 6901) as a path of strings, "" as (); ValueError for any other text."""
    if not text:
        return ()
    if not text.startswith("/"):
        raise ValueError(f"a JSON Pointer begins with '/': {text!r}")
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/"))
