"""Which values variables and overlays give to a document on one target.

Only declared variables exist. A string that is one `${var.X}` takes the variable's type, `$${`
writes `${`. A variable's value may hold other variables; a cycle is an error that names it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

from synapse_apply.manifests.yaml import reader
from synapse_apply.model.address import matches_pattern
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, Position, error_finding
from synapse_apply.model.frozen import frozen, mutable
from synapse_apply.model.lazy_patterns import lazy_pattern
from synapse_apply.model.phrases import FirstHints, suggest_words
from synapse_apply.model.project import Project, Target, Variable

ReportFinding = Callable[[FieldPath, str, str, str], None]
"""Called with the path in the document, and summary, detail and hint of a finding."""

REFERENCE_PATTERN = lazy_pattern(r"\$\$\{|\$\{([^{}]*)(\})?")
_VARIABLE_NAME = lazy_pattern(r"var\.([A-Za-z_][A-Za-z0-9_-]*)")
# The types in Python of each type of variables, and its name in sentences.
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "string": ((str,), "a string"),
    "number": ((int, float), "a number"),
    "integer": ((int,), "an integer"),
    "boolean": ((bool,), "true or false"),
    "list": ((list,), "a list"),
    "map": ((dict,), "a mapping"),
}
MISSING: Any = object()
_MAX_CHAIN_LENGTH = 30


# Variables of variables grow like aliases of aliases; no honest value comes near these.
_MAX_NODES = 10_000
_MAX_CHARACTERS = 1_000_000
_MAX_DEPTH = 50
# Of all that variables and overlays put into the documents of one target. A value there is copied a
# few times until it is declared, so this bounds memory; a node costs as much as a long text.
_MAX_TOTAL_COST = 64 * 1024 * 1024
_NODE_COST = 100


def _is_of_type(variable: Variable, value: Any) -> bool:
    # In Python bool is a subclass of int.
    if isinstance(value, bool) and variable.type != "boolean":
        return False
    return isinstance(value, _TYPES[variable.type][0])


def parse_variable_text(variable: Variable, text: str) -> Any | Diagnostic:
    """The text of `--var NAME=TEXT` as the variable's type, or the finding why it is none.

    Lists and maps are written as YAML or JSON.
    """
    # A text with a reference gets its type only when the reference is replaced.
    if variable.type == "string" or REFERENCE_PATTERN.search(text):
        return text
    reading = reader.read_documents(text, f"--var {variable.name}")
    value = reading.documents[0].value if len(reading.documents) == 1 else None
    if not reading.diagnostics and _is_of_type(variable, value):
        return value
    return error_finding(
        "Wrong type of variable",
        f"the value given for {variable.name} is not {_TYPES[variable.type][1]}",
        f"`{variable.name}` is declared with type {variable.type}",
        position=variable.position,
    )


def _undeclared(
    name: str,
    project: Project,
    *,
    label: str = "",
    hint: str = "",
    position: Position | None = None,
) -> Diagnostic:
    hint = suggest_words(name, project.variables) or "declare it under `variables:`" + hint
    detail = f"{label}no variable `{name}` is declared"
    return error_finding("Undeclared variable", detail, hint, position=position)


@mutable
class VariableValues:
    """The values of a project's variables on one target, each computed at its first use.

    A value comes from the command line, else the target, else the default. `findings` grow.
    """

    project: Project
    target: Target
    command_line_values: Mapping[str, Any] = field(default_factory=dict)
    findings: list[Diagnostic] = field(default_factory=list)
    hints: FirstHints = field(default_factory=FirstHints)
    _resolved_values: dict[str, Any] = field(default_factory=dict)
    _resolving: list[str] = field(default_factory=list)
    _cost_by_name: dict[str, int] = field(default_factory=dict)
    _spent_cost: int = 0

    def charge(self, value: Any, name: str, report: ReportFinding, path: FieldPath) -> bool:
        """Add a value's size to what was put into documents; False (reported once) above the limit.

        `name` identifies the value, so that its size is computed once.
        """
        if name not in self._cost_by_name:
            self._cost_by_name[name] = sum(
                _NODE_COST + (len(node) if isinstance(node, str) else 0)
                for node, _ in _iter_nodes_with_depth(value)
            )
        spent_before = self._spent_cost
        self._spent_cost += self._cost_by_name[name]
        if self._spent_cost <= _MAX_TOTAL_COST:
            return True
        if spent_before <= _MAX_TOTAL_COST:
            limit = _MAX_TOTAL_COST // 1024**2
            detail = f"up to here they add more than {limit} MiB to the documents"
            hint = "use large values in fewer places, or shorten them"
            report(path, "Variables and overlays expand to too much", detail, hint)
        # Stays above the limit, so that the finding is not repeated for every later use.
        self._spent_cost = max(self._spent_cost, _MAX_TOTAL_COST + 1)
        return False

    def compute_set_values(self) -> None:
        """Compute every variable that has a value, used or not, to report what is wrong with it."""
        declared = self.project.variables
        for name in self.command_line_values:
            if name not in declared:
                label, hint = f"--var {name}: ", " in synapse-apply.yaml"
                self.findings.append(_undeclared(name, self.project, label=label, hint=hint))
        for name in declared:
            if self._raw_value(declared[name]) is not MISSING:
                self.find(name)

    def find(self, name: str) -> Any:
        """The value of a declared variable; MISSING (reported once) without one."""
        if name not in self._resolved_values:
            self._resolved_values[name] = self._compute(self.project.variables[name])
        return self._resolved_values[name]

    def _raw_value(self, variable: Variable) -> Any:
        if variable.name in self.command_line_values:
            return self.command_line_values[variable.name]
        if variable.name in self.target.variables:
            return self.target.variables[variable.name]
        return variable.default if variable.has_default else MISSING

    def _compute(self, variable: Variable) -> Any:
        name, others = variable.name, self._resolving
        hint = "give one of them a value without the others"
        if name in others:
            # Only the cycle itself, without the variables that led to it.
            cycle = " -> ".join([*others[others.index(name) :], name])
            return self._missing(variable, "Variable cycle", cycle, hint)
        if len(others) >= _MAX_CHAIN_LENGTH:
            detail = f"more than {_MAX_CHAIN_LENGTH} variables refer to each other in a row"
            return self._missing(variable, "Variables nested too deeply", detail, hint)
        raw = self._raw_value(variable)
        if raw is MISSING:
            detail = f"`{name}` has no default and no value on target {self.target.name}"
            hint = f"set it under targets.{self.target.name}.variables, or pass --var {name}=..."
            return self._missing(variable, "Variable without a value", detail, hint)
        # The command line gives texts only; the project file gives values with types.
        if isinstance(raw, str) and name in self.command_line_values:
            raw = parse_variable_text(variable, raw)
            if isinstance(raw, Diagnostic):
                self.findings.append(raw)
                return MISSING
        value = self._substitute(variable, raw)
        if value is MISSING or _is_of_type(variable, value):
            return value
        found, expected = reader.describe_value_kind(value), _TYPES[variable.type][1]
        detail = f"`{name}` is {found} where {expected} is needed"
        hint = f"`{name}` is declared with type {variable.type}"
        hint = "quote it" if variable.type == "string" else hint
        return self._missing(variable, "Wrong type of variable", detail, hint)

    def _substitute(self, variable: Variable, raw: Any) -> Any:
        """A variable's value with the variables in it replaced; MISSING (reported) where it fails.

        `_resolving` holds the names that are being computed, by which a cycle is noticed.
        """
        findings: list[tuple[str, str, str]] = []
        self._resolving.append(variable.name)
        try:
            value = substitute_variables(
                raw, self, lambda _path, *finding: findings.append(finding)
            )
        # A chain of variables with nested values can exceed Python's recursion limit.
        except RecursionError:
            value = MISSING
            nested = "Variables nested too deeply"
            findings.append((nested, "its value cannot be computed", "use a flat value"))
        finally:
            self._resolving.pop()
        if value is not MISSING and _is_too_large(value):
            detail = "its value is too large or nested too deeply"
            findings.append(
                ("Variable too large", detail, "write large values where they are used")
            )
            value = MISSING
        for summary, detail, hint in findings:
            self._missing(variable, summary, f"variable `{variable.name}`: {detail}", hint)
        return value

    def _missing(self, variable: Variable, summary: str, detail: str, hint: str) -> Any:
        """MISSING, which is reported."""
        # That of the value that is used, else of the variable's declaration.
        position = variable.position
        if variable.name not in self.command_line_values:
            position = self.target.variable_places.get(variable.name, position)
        # Of one that several others use there may be several equal ones, of which one is told.
        self.findings.append(
            error_finding(summary, detail, hint, position=position, target=self.target.name)
        )
        return MISSING


def _is_too_large(value: Any) -> bool:
    characters = 0
    for nodes, (node, depth) in enumerate(_iter_nodes_with_depth(value), start=1):
        characters += len(node) if isinstance(node, str) else 0
        if nodes > _MAX_NODES or characters > _MAX_CHARACTERS or depth > _MAX_DEPTH:
            return True
    return False


def _iter_nodes_with_depth(value: Any) -> Iterator[tuple[Any, int]]:
    """Every value inside a value, with its depth; the value itself is at 0.

    A loop, not a recursion, so that no depth overflows the stack.
    """
    pending = [(value, 0)]
    while pending:
        node, depth = pending.pop()
        yield node, depth
        if isinstance(node, (list, dict)):
            children = node.values() if isinstance(node, dict) else node
            pending.extend((child, depth + 1) for child in children)


def substitute_variables(
    value: Any,
    values: VariableValues,
    report: ReportFinding,
    path: FieldPath = (),
    unreplaced_paths: set[FieldPath] | None = None,
) -> Any:
    """A value with its variables replaced.

    Where one cannot be, the whole result is MISSING: its finding is reported, and
    consequences of it should not be. With a set `unreplaced_paths`, texts that cannot
    be replaced stay as written instead, and their paths are added to the set.
    """
    return _Substitution(values, report, unreplaced_paths).replace(value, path)


@frozen
class _Substitution:
    """Replaces the variables of one value."""

    _values: VariableValues
    _report: ReportFinding
    _unreplaced: set[FieldPath] | None

    def replace(self, value: Any, path: FieldPath) -> Any:
        """The value, which stands at a path, with its variables replaced; else MISSING."""
        if isinstance(value, str):
            # Most texts have no variable, and most documents are mostly texts.
            if "${" not in value:
                return value
            text = self._replace_in_text(value, path)
            if text is MISSING and self._unreplaced is not None:
                self._unreplaced.add(path)
                return value
            return text
        if isinstance(value, dict):
            return self._replace_in_map(value, path)
        if isinstance(value, list):
            items = [self.replace(item, (*path, index)) for index, item in enumerate(value)]
            return MISSING if any(item is MISSING for item in items) else items
        return value

    def _replace_in_map(self, value: dict[str, Any], path: FieldPath) -> Any:
        result: dict[str, Any] = {}
        is_complete = True
        for key, child in value.items():
            if "${var." in key:
                detail = f"the key `{key}` holds a variable"
                hint = "keys cannot contain variables: write the key itself"
                self._report((*path, key), "Variable in a key", detail, hint)
            result[key] = self.replace(child, (*path, key))
            is_complete = is_complete and result[key] is not MISSING
        return result if is_complete else MISSING

    def _replace_in_text(self, text: str, path: FieldPath) -> Any:
        full_match = REFERENCE_PATTERN.fullmatch(text)
        # A text that is one reference takes the variable's type; anything else becomes text.
        if full_match and full_match[1] is not None:
            return self._resolve(full_match, path)
        pieces: list[str] = []
        end = length = 0
        for match in REFERENCE_PATTERN.finditer(text):
            pieces.append(text[end : match.start()])
            end = match.end()
            if match[1] is None:
                pieces.append("${")
                continue
            value = self._resolve(match, path)
            if value is MISSING:
                return MISSING
            if isinstance(value, (list, dict)):
                kind = reader.describe_value_kind(value)
                detail = f"{match[0]} is {kind} inside a longer string"
                hint = "use the variable alone, or use a string"
                self._report(path, "Variable does not fit into a string", detail, hint)
                return MISSING
            # As JSON, so that booleans and numbers look as in YAML, not as in Python.
            pieces.append(value if isinstance(value, str) else json.dumps(value))
            length += len(pieces[-1])
            if length > _MAX_CHARACTERS:
                detail = f"the string with its variables has more than {_MAX_CHARACTERS} characters"
                self._report(path, "Text too long", detail, "use shorter variables")
                return MISSING
        return "".join(pieces) + text[end:]

    def _resolve(self, match: re.Match[str], path: FieldPath) -> Any:
        # Without a closing brace it is reported, and not taken as plain text: a typing error would
        # be sent.
        name_match = _VARIABLE_NAME.fullmatch(match[1].strip()) if match[2] else None
        if name_match is None:
            detail = f"{match[0]} is not of the form ${{var.NAME}}"
            hint = "write $${ for a literal ${"
            self._report(path, "Unknown reference", detail, hint)
            return MISSING
        name, declared = name_match[1], self._values.project.variables
        if name not in declared:
            hint = self._values.hints.suggest(name, declared)
            hint = hint or "declare it under `variables:` in synapse-apply.yaml"
            self._report(path, "Undeclared variable", f"no variable `{name}` is declared", hint)
            return MISSING
        value = self._values.find(name)
        if value is MISSING:
            return MISSING
        is_affordable = self._values.charge(value, f"var.{name}", self._report, path)
        return value if is_affordable else MISSING


def parse_given_variables(
    project: Project, texts: Mapping[str, str], files: Sequence[tuple[str, bytes]] = ()
) -> tuple[dict[str, Any], tuple[Diagnostic, ...]]:
    """The variables of `--var NAME=VALUE` and of each `--var @FILE` (its name and content).

    Later files win over earlier ones, and `--var` over all. Returns the values and the findings.
    """
    values: dict[str, Any] = {}
    findings: list[Diagnostic] = []
    for display_name, data in files:
        mapping, positions, problems = reader.parse_single_mapping(data, display_name)
        findings.extend(problems)
        for name, value in mapping.items():
            if name in project.variables:
                values[name] = value
            else:
                findings.append(_undeclared(name, project, position=positions.get((name,))))
    for name, text in texts.items():
        variable = project.variables.get(name)
        if variable is None:
            value = _undeclared(name, project, label=f"--var {name}: ")
        else:
            value = parse_variable_text(variable, text)
        if isinstance(value, Diagnostic):
            findings.append(value)
        else:
            values[name] = value
    return values, tuple(findings)


@frozen
class Overlay:
    """A patch for the addresses that match a pattern; `positions` are the project file's.

    `prefix` is the path of the patch in that file. The repr shows no value: a patch may hold a
    secret in plain text.
    """

    pattern: str
    patch: Mapping[str, Any] = field(repr=False)
    positions: Mapping[FieldPath, Position] = field(repr=False)
    prefix: FieldPath
    source: reader.SourceText

    @property
    def position(self) -> Position | None:
        return self.positions.get(self.prefix)

    def matches_address(self, address: str) -> bool:
        """Whether the pattern matches an address, given as text; only `*` is special."""
        return matches_pattern(address, self.pattern)


def apply_merge_patch(value: Any, patch: Any) -> Any:
    """A copy of a value with a merge patch applied (RFC 7386); null removes a key."""
    if not isinstance(patch, Mapping):
        return patch
    # RFC 7386: a patch that is a map replaces any other value by a map.
    result = dict(value) if isinstance(value, Mapping) else {}
    for key, change in patch.items():
        if change is None:
            result.pop(key, None)
        else:
            result[key] = apply_merge_patch(result.get(key), change)
    return result


def copy_without(value: Any, path: FieldPath) -> Any:
    """A copy without the key at a path; a path into a list removes the whole list."""
    if not path or not isinstance(value, Mapping) or path[0] not in value:
        return value
    key, child = path[0], value[path[0]]
    # An item cannot be cut out of a list without moving the items behind it.
    if len(path) > 1 and isinstance(child, Mapping):
        return {**value, key: copy_without(child, path[1:])}
    return {name: item_value for name, item_value in value.items() if name != key}


@frozen
class LayeredPositions(reader.Positions):
    """Positions in a patched document: a value that the overlay set is in the project file."""

    overlay: Overlay
    base_positions: Mapping[FieldPath, Position]

    def __getitem__(self, path: FieldPath) -> Position:
        node: Any = self.overlay.patch
        for part in path:
            if not isinstance(node, Mapping):
                break
            if part not in node:
                return self.base_positions[path]
            node = node[part]
        # A map of the patch is merged into one that was there, which keeps its own position. Below
        # lies another overlay, perhaps: it is asked once, or each would double the work.
        if isinstance(node, Mapping) and (position := self.base_positions.get(path)) is not None:
            return position
        project_path = (*self.overlay.prefix, *path)
        if project_path in self.overlay.positions:
            return self.overlay.positions[project_path]
        return self.base_positions[path]

    def __iter__(self) -> Iterator[FieldPath]:
        prefix, depth = self.overlay.prefix, len(self.overlay.prefix)
        of_overlay = (path[depth:] for path in self.overlay.positions if path[:depth] == prefix)
        return iter(dict.fromkeys((*self.base_positions, *of_overlay)))
