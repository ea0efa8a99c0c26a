"""How a row of the store becomes cells of a table and back, by the declared types of its fields.

Texts, numbers, truths and enums have a column each; a target's name has two, `source` and
`target`; any other value is one column of canonical JSON, so that equal values are equal texts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, fields
from enum import Enum
from typing import Any, Generic, TypeVar, get_type_hints

from synapse_apply.controller.rows import TargetName
from synapse_apply.model.coding.canonical_json import format_canonical_json
from synapse_apply.model.coding.json_shapes import build_coder
from synapse_apply.model.coding.json_types import JsonValue
from synapse_apply.model.coding.json_values import WrongShapeError
from synapse_apply.model.frozen import frozen

R = TypeVar("R")

_SQL_TYPES: Mapping[Any, str] = {str: "TEXT", int: "INTEGER", float: "REAL", bool: "INTEGER"}
_CELL_TYPES: Mapping[Any, tuple[type, ...]] = {
    str: (str,),
    int: (int,),
    float: (float, int),
    bool: (int,),
}


@frozen
class _FieldCoding:
    """How one field is coded: its columns with their SQL types, and both directions."""

    name: str
    columns: tuple[tuple[str, str], ...]
    encode: Callable[[Any], tuple[Any, ...]]
    decode: Callable[[Sequence[Any]], Any]


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
        self._row_type = row_type
        self.key = tuple(key)
        hints = get_type_hints(row_type)
        ordered = sorted(fields(row_type), key=lambda field: field.name == last_field)  # type: ignore[arg-type]
        self._codings = tuple(
            _build_field_coding(field.name, hints[field.name]) for field in ordered
        )
        self.columns = tuple(column for coding in self._codings for column, _ in coding.columns)

    @property
    def _written_columns(self) -> tuple[str, ...]:
        return (*self.columns, *self._numbers)

    def build_create_statement(self) -> str:
        definitions = [
            *(
                f'"{column}" {sql_type} NOT NULL'
                for coding in self._codings
                for column, sql_type in coding.columns
            ),
            *(f'"{column}" INTEGER NOT NULL' for column in self._numbers),
            f"PRIMARY KEY ({_join_quoted(self.key)})",
        ]
        return f"CREATE TABLE {self.name} ({', '.join(definitions)}) WITHOUT ROWID"

    def list_column_definitions_with_defaults(
        self, present: Collection[str]
    ) -> list[tuple[str, Any]]:
        """The definition of each column that is not among `present`, and its value in old rows.

        That is the default of the field; ValueError for a field without one.
        """
        definitions: list[tuple[str, Any]] = []
        for coding in self._codings:
            missing = [column for column, _ in coding.columns if column not in present]
            if not missing:
                continue
            field = next(field for field in fields(self._row_type) if field.name == coding.name)  # type: ignore[arg-type]
            if field.default is MISSING:
                raise ValueError(f"{self.name}.{coding.name} has no default for old rows")
            cells = coding.encode(field.default)
            definitions.extend(
                (f'"{column}" {sql_type} NOT NULL', cell)
                for (column, sql_type), cell in zip(coding.columns, cells, strict=True)
            )
        return definitions

    def build_upsert_statement(self, expressions: Mapping[str, str] | None = None) -> str:
        """INSERT that replaces the row of the same key.

        `expressions` give columns of a row that is there another value than the new row's.
        """
        replaced = [column for column in self._written_columns if column not in self.key]
        values = {column: f'excluded."{column}"' for column in replaced} | dict(expressions or {})
        assignments = ", ".join(f'"{column}" = {value}' for column, value in values.items())
        return f"{self.build_insert_statement()} ON CONFLICT DO UPDATE SET {assignments}"

    def build_insert_statement(self) -> str:
        names = _join_quoted(self._written_columns)
        marks = ", ".join("?" for _ in self._written_columns)
        return f"INSERT INTO {self.name} ({names}) VALUES ({marks})"  # noqa: S608 - our own names

    def build_select_statement(
        self, rest: str = "", constants: Mapping[str, str] | None = None
    ) -> str:
        """SELECT of whole rows; `constants` are SQL in place of columns that are not to be read."""
        replaced = constants or {}
        columns = ", ".join(replaced.get(column, f'"{column}"') for column in self.columns)
        return f"SELECT {columns} FROM {self.name} {rest}"  # noqa: S608 - our own names

    def encode_row(self, row: R) -> tuple[Any, ...]:
        """The cells of a row, in the order of the columns of an INSERT."""
        cells: list[Any] = []
        for coding in self._codings:
            cells.extend(coding.encode(getattr(row, coding.name)))
        return (*cells, *(compute(row) for compute in self._numbers.values()))

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
        return self._row_type(**values)


def _join_quoted(columns: Sequence[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)


def _build_field_coding(name: str, hint: Any) -> _FieldCoding:
    if hint is TargetName:
        return _FieldCoding(
            name,
            (("source", "TEXT"), ("target", "TEXT")),
            tuple,
            lambda cells: TargetName(*(_require_cell(str, cell) for cell in cells)),
        )
    if hint in _SQL_TYPES:
        return _FieldCoding(
            name,
            ((name, _SQL_TYPES[hint]),),
            lambda value: (int(value) if hint is bool else value,),
            lambda cells: hint(_require_cell(hint, cells[0])),
        )
    coder = build_coder(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _FieldCoding(
            name,
            ((name, "TEXT"),),
            lambda value: (coder.encode(value),),
            lambda cells: coder.decode(cells[0]),
        )
    return _FieldCoding(
        name,
        ((name, "TEXT"),),
        lambda value: (format_canonical_json(coder.encode(value)),),
        lambda cells: coder.decode(_parse_json_cell(cells[0])),
    )


def _require_cell(hint: type, cell: Any) -> Any:
    if type(cell) not in _CELL_TYPES[hint]:
        raise WrongShapeError(f"expected {hint.__name__}, found {type(cell).__name__}")
    return cell


def _parse_json_cell(cell: Any) -> JsonValue:
    try:
        return json.loads(_require_cell(str, cell))
    except (ValueError, RecursionError) as problem:
        if isinstance(problem, WrongShapeError):
            raise
        raise WrongShapeError("expected JSON") from None
