"""What SQLite and PostgreSQL say differently, of the SQL that the store needs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence

from synapse_apply.model.frozen import frozen

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
    SELECT that locks its rows and leaves out those that another transaction has.
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
)
