"""Variables: their values for one target, and `${var.NAME}` in the strings of a document.

Only declared variables exist. A string that is one `${var.X}` takes the variable's type, `$${`
writes `${`. A variable's value may hold other variables; a cycle is an error that names it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from synapse_apply.manifests.reader import kind_of, read
from synapse_apply.manifests.wording import did_you_mean
from synapse_apply.model.diagnostic import Diagnostic, Path, Position, error
from synapse_apply.model.project import Project, Target, Variable

Report = Callable[[Path, str, str, str], None]
"""Told where in the document, and summary, detail and hint."""

_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)(\})?")
_NAMED = re.compile(r"var\.([A-Za-z_][A-Za-z0-9_-]*)")
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "list": (list,),
    "map": (dict,),
}
_IN_WORDS = {
    "string": "a string",
    "number": "a number",
    "integer": "an integer",
    "boolean": "true or false",
    "list": "a list",
    "map": "a mapping",
}
MISSING: Any = object()
_LONGEST_CHAIN = 30


# Variables of variables grow like aliases of aliases; no honest value comes near these.
_MOST_NODES = 10_000
_MOST_CHARACTERS = 1_000_000
_DEEPEST = 50
# Of all that variables and overlays put into the documents of one target. A value there is copied a
# few times until it is declared, so this bounds memory; a node costs as much as a long text.
_MOST_IN_ALL = 64 * 1024 * 1024
_COST_OF_NODE = 100


class _Unresolvable(Exception):
    """A value that cannot be had; the finding was reported where it belongs."""


def fits(type_name: str, value: Any) -> bool:
    """Whether a value is of a variable's type; true is no number."""
    if isinstance(value, bool) and type_name != "boolean":
        return False
    return isinstance(value, _TYPES[type_name])


def from_text(variable: Variable, text: str) -> tuple[Any, Diagnostic | None]:
    """The text of `--var NAME=TEXT` as the variable's type, or why it is none.

    Lists and maps are written as YAML or JSON.
    """
    if variable.type == "string" or _REFERENCE.search(text):
        return text, None
    reading = read(text, f"--var {variable.name}")
    value = reading.documents[0].value if len(reading.documents) == 1 else None
    if not reading.diagnostics and fits(variable.type, value):
        return value, None
    wanted = _IN_WORDS[variable.type]
    return None, error(
        "Wrong type of variable",
        f"the value given for {variable.name} is not {wanted}",
        f"`{variable.name}` is declared with type {variable.type}",
        position=variable.position,
    )


@dataclass(slots=True)
class Values:
    """The values of a project's variables on one target, worked out when first asked for."""

    project: Project
    target: Target
    given: Mapping[str, Any] = field(default_factory=dict)
    findings: list[Diagnostic] = field(default_factory=list)
    _known: dict[str, Any] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)
    _costs: dict[str, int] = field(default_factory=dict)
    _spent: int = 0

    def is_affordable(self, value: Any, name: str, report: Report, path: Path) -> bool:
        """Whether a value may be put into a document once more; the first that may not is reported.

        `name` tells what it is the value of, which is worked out once.
        """
        if name not in self._costs:
            self._costs[name] = _cost_of(value)
        before, self._spent = self._spent, self._spent + self._costs[name]
        if self._spent <= _MOST_IN_ALL:
            return True
        if before <= _MOST_IN_ALL:
            report(
                path,
                "Variables and overlays stand for too much",
                f"up to here they put more than {_MOST_IN_ALL // 1024**2} MiB into the documents",
                "use a large value in fewer places, or shorten it",
            )
        self._spent = max(self._spent, _MOST_IN_ALL + 1)
        return False

    def check(self) -> None:
        """Report what is wrong with the values themselves, used or not."""
        declared = self.project.variables
        for name in self.given:
            if name not in declared:
                self.findings.append(_undeclared(name, declared))
        for name in declared:
            if self._raw(declared[name]) is not MISSING:
                self._value_or_missing(name)

    def value(self, name: str) -> Any:
        """The value; _Unresolvable when there is none (reported once)."""
        value = self._value_or_missing(name)
        if value is MISSING:
            raise _Unresolvable
        return value

    def _value_or_missing(self, name: str) -> Any:
        if name not in self._known:
            self._known[name] = self._resolve(self.project.variables[name])
        return self._known[name]

    def _raw(self, variable: Variable) -> Any:
        if variable.name in self.given:
            return self.given[variable.name]
        if variable.name in self.target.variables:
            return self.target.variables[variable.name]
        return variable.default if variable.has_default else MISSING

    def _resolve(self, variable: Variable) -> Any:
        if variable.name in self._open:
            cycle = [*self._open[self._open.index(variable.name) :], variable.name]
            self._find(
                variable,
                "Variable cycle",
                " -> ".join(cycle),
                "give one of them a value without the others",
            )
            return MISSING
        if len(self._open) >= _LONGEST_CHAIN:
            self._find(
                variable,
                "Variables nested too deeply",
                f"more than {_LONGEST_CHAIN} variables refer to each other in a row",
                "give one of them a value without the others",
            )
            return MISSING
        raw = self._raw(variable)
        if raw is MISSING:
            where = f"targets.{self.target.name}.variables"
            self._find(
                variable,
                "Variable without a value",
                f"`{variable.name}` has no default and no value on target {self.target.name}",
                f"set it under {where}, or pass --var {variable.name}=...",
            )
            return MISSING
        if isinstance(raw, str) and variable.name in self.given:
            raw, finding = from_text(variable, raw)
            if finding is not None:
                self.findings.append(finding)
                return MISSING
        return self._checked(variable, self._expanded(variable, raw))

    def _expanded(self, variable: Variable, raw: Any) -> Any:
        """The value with the variables it holds; a cycle under way is left in `_open`."""
        findings: list[tuple[str, str, str]] = []
        self._open.append(variable.name)
        try:
            value = substitute(raw, self, lambda _path, *finding: findings.append(finding))
        except RecursionError:
            value = MISSING
            findings.append(
                (
                    "Variables nested too deeply",
                    "its value cannot be worked out",
                    "give it a flat value",
                )
            )
        finally:
            self._open.pop()
        if value is not MISSING and _is_too_large(value):
            findings.append(
                (
                    "Variable too large",
                    "it holds too much, or is nested too deeply",
                    "write what is large where it is used",
                )
            )
            value = MISSING
        for summary, detail, hint in findings:
            self._find(variable, summary, f"variable `{variable.name}`: {detail}", hint)
        return value

    def _checked(self, variable: Variable, value: Any) -> Any:
        if value is MISSING:
            return MISSING
        if not fits(variable.type, value):
            hint = "quote it" if variable.type == "string" else ""
            self._find(
                variable,
                "Wrong type of variable",
                f"`{variable.name}` is {kind_of(value)} where {_IN_WORDS[variable.type]} is needed",
                hint or f"`{variable.name}` is declared with type {variable.type}",
            )
            return MISSING
        return value

    def _place(self, variable: Variable) -> Position | None:
        """Where the value stands that is used, else where the variable is declared."""
        if variable.name in self.given:
            return variable.position
        return self.target.variable_places.get(variable.name, variable.position)

    def _find(self, variable: Variable, summary: str, detail: str, hint: str) -> None:
        place = self._place(variable)
        finding = error(summary, detail, hint, position=place, target=self.target.name)
        if finding not in self.findings:
            self.findings.append(finding)


def _is_too_large(value: Any) -> bool:
    characters = 0
    for nodes, (one, depth) in enumerate(_nodes(value), start=1):
        characters += len(one) if isinstance(one, str) else 0
        if nodes > _MOST_NODES or characters > _MOST_CHARACTERS or depth > _DEEPEST:
            return True
    return False


def _cost_of(value: Any) -> int:
    """What a value takes in a document, in characters of text."""
    return sum(
        _COST_OF_NODE + (len(one) if isinstance(one, str) else 0) for one, _ in _nodes(value)
    )


def _nodes(value: Any) -> Iterator[tuple[Any, int]]:
    """Everything in a value with its depth, itself at 0."""
    waiting = [(value, 0)]
    while waiting:
        one, depth = waiting.pop()
        yield one, depth
        if isinstance(one, (list, dict)):
            inside = one.values() if isinstance(one, dict) else one
            waiting.extend((below, depth + 1) for below in inside)


def _undeclared(name: str, declared: Mapping[str, Variable]) -> Diagnostic:
    return error(
        "Undeclared variable",
        f"--var {name}: no variable `{name}` is declared",
        did_you_mean(name, declared) or "declare it under `variables:` in synapse-apply.yaml",
    )


def substitute(
    value: Any,
    values: Values,
    report: Report,
    path: Path = (),
    unreplaced: set[Path] | None = None,
) -> Any:
    """A value with its variables replaced, copied only where something changes.

    What cannot be replaced becomes MISSING as a whole value: its finding is reported, and
    nothing that follows from it should be. With a set `unreplaced` only the texts that cannot
    be replaced stay as they are written, and their paths are added to it.
    """
    if isinstance(value, str):
        if "${" not in value:
            return value
        text = _text(value, values, report, path)
        if text is MISSING and unreplaced is not None:
            unreplaced.add(path)
            return value
        return text
    if isinstance(value, dict):
        return _map(value, values, report, path, unreplaced)
    if isinstance(value, list):
        items = [substitute(v, values, report, (*path, i), unreplaced) for i, v in enumerate(value)]
        return MISSING if any(item is MISSING for item in items) else items
    return value


def _map(
    value: dict[str, Any],
    values: Values,
    report: Report,
    path: Path,
    unreplaced: set[Path] | None,
) -> Any:
    result: dict[str, Any] = {}
    whole = True
    for key, below in value.items():
        if "${var." in key:
            report(
                (*path, key),
                "Variable in a key",
                f"the key `{key}` holds a variable",
                "keys take no variables: write the key out",
            )
        result[key] = substitute(below, values, report, (*path, key), unreplaced)
        whole = whole and result[key] is not MISSING
    return result if whole else MISSING


def _text(text: str, values: Values, report: Report, path: Path) -> Any:
    only = _REFERENCE.fullmatch(text)
    if only and only[1] is not None:
        return _reference(only, values, report, path)
    pieces: list[str] = []
    end = length = 0
    for found in _REFERENCE.finditer(text):
        pieces.append(text[end : found.start()])
        end = found.end()
        if found[1] is None:
            pieces.append("${")
            continue
        value = _reference(found, values, report, path)
        if value is MISSING:
            return MISSING
        if isinstance(value, (list, dict)):
            report(
                path,
                "Variable does not fit into a text",
                f"{found[0]} is {kind_of(value)} and stands inside a longer text",
                "let it stand alone, or use a string",
            )
            return MISSING
        pieces.append(value if isinstance(value, str) else json.dumps(value))
        length += len(pieces[-1])
        if length > _MOST_CHARACTERS:
            report(
                path,
                "Text too long",
                f"with its variables it has more than {_MOST_CHARACTERS} characters",
                "use shorter variables",
            )
            return MISSING
    return "".join(pieces) + text[end:]


def _reference(found: re.Match[str], values: Values, report: Report, path: Path) -> Any:
    named = _NAMED.fullmatch(found[1].strip()) if found[2] else None
    if named is None:
        report(
            path,
            "Unknown reference",
            f"{found[0]} is not of the form ${{var.NAME}}",
            "write $${ where the text itself holds ${",
        )
        return MISSING
    name = named[1]
    if name not in values.project.variables:
        report(
            path,
            "Undeclared variable",
            f"no variable `{name}` is declared",
            did_you_mean(name, values.project.variables)
            or "declare it under `variables:` in synapse-apply.yaml",
        )
        return MISSING
    try:
        value = values.value(name)
    except _Unresolvable:
        return MISSING
    affordable = values.is_affordable(value, f"var.{name}", report, path)
    return value if affordable else MISSING
