"""How a row becomes cells of a table and back, by its fields' types, in either dialect of SQL.

Texts, numbers, truths and enums have a column each; a target's name has two, `source` and
`target`; any other value is one column of canonical JSON, so that equal values are equal texts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, fields
from enum import Enum
from itertools import zip_longest
from typing import Any, Generic, TypeVar, get_type_hints

from synapse_apply.controller.rows import TargetName
from synapse_apply.model.codec import build_coder
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.json_types import JsonValue
from synapse_apply.model.json_values import WrongShapeError, format_canonical_json

R = TypeVar("R")
_MAX_REMEMBERED_LENGTH, _MAX_REMEMBERED_TEXTS = 200, 500

# What a field of these types is stored as.
_STORED_TYPES: Mapping[Any, type] = {str: str, int: int, float: float, bool: int}
_CELL_TYPES: Mapping[Any, tuple[type, ...]] = {
    str: (str,),
    int: (int,),
    float: (float, int),
    bool: (int,),
}


@frozen
class _FieldCoding:
    """How one field is coded: its columns with the types of their cells, and both directions."""

    name: str
    columns: tuple[tuple[str, type], ...]
    encode: Callable[[Any], tuple[Any, ...]]
    decode: Callable[[Sequence[Any]], Any]
    default_cells: tuple[Any, ...] = ()
    """The cells of the field's default, () where it has none."""


class RowTable(Generic[R]):
    """A table of rows of one type, and the statements that write and read whole rows of it."""

    def __init__(
        self,
        name: str,
        row_type: type[R],
        key: Sequence[str],
        *,
        last_field: str = "",
        numbers: Mapping[str, Callable[[R], int]] | None = None,
    ) -> None:
        """`key` are the columns of the primary key; `last_field` is stored at the end of a row.

        What is large stands last, since SQLite reads no further than the last column it needs.
        `numbers` are further columns to search by, each computed from the row.
        """
        self._numbers = dict(numbers or {})
        self.name = name
        self.row_type = row_type
        self.key = tuple(key)
        hints = get_type_hints(row_type)
        ordered = sorted(fields(row_type), key=lambda field: field.name == last_field)  # type: ignore[arg-type]
        self._codings = tuple(
            _with_default(_build_field_coding(field.name, hints[field.name]), field.default)
            for field in ordered
        )
        self.columns = tuple(column for coding in self._codings for column, _ in coding.columns)

    @property
    def _written_columns(self) -> tuple[str, ...]:
        return (*self.columns, *self._numbers)

    def create_statement(self, dialect: SqlDialect) -> str:
        """A column of a field with a default has it, for rows of programs that lack the field."""
        integer = dialect.column_types[int]
        definitions = [
            *(
                definition
                for coding in self._codings
                for definition in self._column_definitions(coding, dialect)
            ),
            *(f'"{column}" {integer} NOT NULL' for column in self._numbers),
            f"PRIMARY KEY ({_join_quoted(self.key)})",
        ]
        return f"CREATE TABLE {self.name} ({', '.join(definitions)}) {dialect.table_options}"

    def missing_columns(self, present_columns: Collection[str], dialect: SqlDialect) -> list[str]:
        """The definition of each column that is not present, with its value in old rows.

        That is the default of the field; ValueError for a field without one.
        """
        missing = [
            coding
            for coding in self._codings
            if any(column not in present_columns for column, _ in coding.columns)
        ]
        for coding in missing:
            if not coding.default_cells:
                raise ValueError(f"{self.name}.{coding.name} has no default for old rows")
        return [
            definition
            for coding in missing
            for definition in self._column_definitions(coding, dialect)
        ]

    def _column_definitions(self, coding: _FieldCoding, dialect: SqlDialect) -> list[str]:
        return [
            f'"{column}" {dialect.column_types[cell_type]} NOT NULL'
            + (f" DEFAULT {_format_sql_literal(cell)}" if cell is not None else "")
            for (column, cell_type), cell in zip_longest(coding.columns, coding.default_cells)
        ]

    def build_upsert_statement(self, expressions: Mapping[str, str] | None = None) -> str:
        """INSERT that replaces the row of the same key.

        `expressions` give columns of a row that is there another value than the new row's; they
        name columns of that row as TABLE.COLUMN.
        """
        replaced = [column for column in self._written_columns if column not in self.key]
        values = {column: f'excluded."{column}"' for column in replaced} | dict(expressions or {})
        assignments = ", ".join(f'"{column}" = {value}' for column, value in values.items())
        conflict = f"ON CONFLICT ({_join_quoted(self.key)}) DO UPDATE SET {assignments}"
        return f"{self.build_insert_statement()} {conflict}"

    def build_insert_statement(self) -> str:
        names = _join_quoted(self._written_columns)
        marks = ", ".join("?" for _ in self._written_columns)
        return f"INSERT INTO {self.name} ({names}) VALUES ({marks})"  # noqa: S608 - our own names

    def build_select_statement(
        self, sql_after_table: str = "", constants: Mapping[str, str] | None = None
    ) -> str:
        """SELECT of whole rows; `constants` are SQL in place of columns that are not to be read."""
        replaced = constants or {}
        columns = ", ".join(replaced.get(column, f'"{column}"') for column in self.columns)
        return f"SELECT {columns} FROM {self.name} {sql_after_table}"  # noqa: S608 - our own names

    def encode_row(self, row: R) -> tuple[Any, ...]:
        """The cells of a row, in the order of the columns of an INSERT."""
        cells: list[Any] = []
        for coding in self._codings:
            cells.extend(coding.encode(getattr(row, coding.name)))
        return (*cells, *(int(compute(row)) for compute in self._numbers.values()))

    def decode_row(self, cells: Sequence[Any]) -> R:
        """The row of cells; WrongShapeError for what this program would not have written."""
        values = {}
        start = 0
        for coding in self._codings:
            end = start + len(coding.columns)
            try:
                values[coding.name] = coding.decode(cells[start:end])
            except WrongShapeError as problem:
                raise problem.with_outer_step(f".{self.name}.{coding.name}") from None
            start = end
        return self.row_type(**values)


def _with_default(coding: _FieldCoding, default: Any) -> _FieldCoding:
    return coding if default is MISSING else replace(coding, default_cells=coding.encode(default))


def _format_sql_literal(cell: str | float) -> str:
    """A cell as SQL; NUL, which PostgreSQL cannot hold, is in no default."""
    return "'" + cell.replace("'", "''") + "'" if isinstance(cell, str) else repr(cell)


def _join_quoted(columns: Sequence[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)


def _build_field_coding(name: str, field_type: Any) -> _FieldCoding:
    if field_type is TargetName:
        return _FieldCoding(
            name,
            (("source", str), ("target", str)),
            tuple,
            lambda cells: TargetName(*(_require_cell_type(str, cell) for cell in cells)),
        )
    if field_type in _STORED_TYPES:
        return _FieldCoding(
            name,
            ((name, _STORED_TYPES[field_type]),),
            lambda value: (int(value) if field_type is bool else value,),
            lambda cells: (
                cells[0]
                if type(cells[0]) is field_type
                else field_type(_require_cell_type(field_type, cells[0]))
            ),
        )
    coder = build_coder(field_type)
    if isinstance(field_type, type) and issubclass(field_type, Enum):
        members = {member.value: member for member in field_type}
        return _FieldCoding(
            name,
            ((name, str),),
            lambda value: (coder.encode(value),),
            # What is no member, or cannot be looked up, is worded by the coder.
            lambda cells: members[cells[0]] if cells[0] in members else coder.decode(cells[0]),
        )
    return _FieldCoding(
        name,
        ((name, str),),
        lambda value: (format_canonical_json(coder.encode(value)),),
        _cached(lambda text: coder.decode(_parse_cell(text))),
    )


def _cached(decode: Callable[[Any], Any]) -> Callable[[Sequence[Any]], Any]:
    """Decode a cell; the same value for the same short text, where it cannot be changed.

    Thousands of targets have equal counts, and decoding these took half of the time of reading
    them.
    """
    values: dict[str, Any] = {}

    def decode_cell(cells: Sequence[Any]) -> Any:
        text = cells[0]
        if type(text) is str and text in values:
            return values[text]
        value = decode(text)
        if len(text) <= _MAX_REMEMBERED_LENGTH and len(values) < _MAX_REMEMBERED_TEXTS:
            with suppress(TypeError):
                hash(value)
                values[text] = value
        return value

    return decode_cell


def _require_cell_type(field_type: type, cell: Any) -> Any:
    if type(cell) not in _CELL_TYPES[field_type]:
        raise WrongShapeError(f"expected {field_type.__name__}, found {type(cell).__name__}")
    return cell


def _parse_cell(cell: Any) -> JsonValue:
    try:
        return json.loads(_require_cell_type(str, cell))
    except (ValueError, RecursionError) as problem:
        if isinstance(problem, WrongShapeError):
            raise
        raise WrongShapeError("expected JSON") from None


# A function that each connection to SQLite has: whether a text matches a pattern in a JSON list.
MATCHES_PATTERN = "matches_pattern"
_BRACKETS = re.compile(r"\[(!?+)(\]?+[^]]*)\]")


@frozen
class SqlDialect:
    """The parts of statements that differ. Everywhere else both databases get the same text.

    `column_types` are those of texts, whole numbers and floats. `text_list` selects the texts of a
    JSON list that is given as one value; `pattern_condition` holds where `{}` matches the value of
    `encode_patterns` (fnmatch, case-sensitive). `call_count` is how many calls a row of `runs` has
    done; `message_subject` is what a row of `messages` is about: source, target and rollout.
    `column_names` selects those of a table that is given as a value. `skip_locked_rows` ends a
    SELECT that locks its rows and leaves out those that another transaction has. `document_size` is
    that of the plan and report of a row of `runs`.
    """

    column_types: Mapping[type, str]
    table_options: str
    text_list: str
    pattern_condition: str
    encode_patterns: Callable[[Sequence[str]], str]
    call_count: str
    message_subject: str
    column_names: str
    skip_locked_rows: str
    document_size: str


def postgres_regex_of(patterns: Sequence[str]) -> str:
    """A regular expression of PostgreSQL for what matches one of the patterns as in fnmatch.

    Only escapes of code points, brackets, `.` and `.*` are used, so that no text of a pattern means
    something there. Nothing matches an empty list.
    """
    return f"^(?:{'|'.join(map(_pattern_regex, patterns))})$" if patterns else "^(?!.|$)"


def _pattern_regex(pattern: str) -> str:
    parts, position = [], 0
    while position < len(pattern):
        brackets = _BRACKETS.match(pattern, position)
        if brackets is not None:
            parts.append(_brackets_regex(brackets[2], is_negated=bool(brackets[1])))
            position = brackets.end()
            continue
        character = pattern[position]
        parts.append({"*": ".*", "?": "."}.get(character) or _escape_code_point(character))
        position += 1
    return "".join(parts)


def _brackets_regex(content: str, *, is_negated: bool) -> str:
    """One character of those of `content`; ranges that run backwards are empty."""
    members, position = [], 0
    while position < len(content):
        first, last = content[position], content[position]
        if content[position + 1 : position + 2] == "-" and position + 2 < len(content):
            last = content[position + 2]
            position += 2
        position += 1
        if first <= last:
            members.append(f"{_escape_code_point(first)}-{_escape_code_point(last)}")
    if not members:
        return "." if is_negated else "(?!.|$)."
    return f"[{'^' if is_negated else ''}{''.join(members)}]"


def _escape_code_point(character: str) -> str:
    return f"\\U{ord(character):08x}"


SQLITE_DIALECT = SqlDialect(
    column_types={str: "TEXT", int: "INTEGER", float: "REAL"},
    table_options="WITHOUT ROWID",
    text_list="SELECT value FROM json_each(?)",
    # GLOB has other rules for brackets.
    pattern_condition=f"{MATCHES_PATTERN}({{}}, ?)",
    encode_patterns=json.dumps,
    call_count="json_extract(calls, '$.done')",
    message_subject="json_extract(fields, '$.source', '$.target', '$.rollout.name')",
    column_names="SELECT name FROM pragma_table_info(?)",
    skip_locked_rows="",
    document_size="length(plan_json) + length(report_json)",
)
POSTGRES_DIALECT = SqlDialect(
    # Texts in the order of their bytes, as SQLite has them, whatever the database's own order is.
    column_types={str: 'TEXT COLLATE "C"', int: "BIGINT", float: "DOUBLE PRECISION"},
    table_options="",
    text_list="SELECT json_array_elements_text(CAST(? AS json))",
    pattern_condition="{} ~ ?",
    encode_patterns=postgres_regex_of,
    call_count="CAST(CAST(calls AS json) ->> 'done' AS bigint)",
    message_subject=(
        "CAST(fields AS json) ->> 'source', CAST(fields AS json) ->> 'target',"
        " CAST(fields AS json) #>> '{rollout,name}'"
    ),
    column_names=(
        "SELECT column_name FROM information_schema.columns"
        " WHERE table_schema = current_schema() AND table_name = ?"
    ),
    skip_locked_rows="FOR UPDATE SKIP LOCKED",
    # Does not read them, as length would.
    document_size="octet_length(plan_json) + octet_length(report_json)",
)
