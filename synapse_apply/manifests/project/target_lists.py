"""Which targets `targets_from` makes of its lists, and where a mistake in them stands.

The file of a list is read once, however many templates it is for. Of all rows the name is known,
and whether what they make fits the schema; a Target is made of one when it is asked for.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from functools import cache, partial
from typing import Any, NamedTuple

from synapse_apply.manifests import schemas
from synapse_apply.manifests.decode.variables import REFERENCE_PATTERN
from synapse_apply.manifests.schemas import ValueToCheck, build_schema_findings
from synapse_apply.manifests.yaml.reader import (
    Document,
    Positions,
    describe_value_kind,
    iter_extra_document_error,
    read_documents,
)
from synapse_apply.model.diagnostic import (
    Diagnostic,
    FieldPath,
    Position,
    error_finding,
    find_nearest_position,
)
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_types import JsonDocument
from synapse_apply.model.lazy_patterns import lazy_pattern
from synapse_apply.model.phrases import find_similar_word, format_field_path
from synapse_apply.model.project import EMBEDDED

ReadListFile = Callable[[str], bytes | None]
"""The bytes of a file in the project's folder, None without one; OSError, InputError."""

# Ten thousand rows are less than 1 MiB.
MAX_LIST_BYTES = 8 * 1024 * 1024
# Of the texts that all rows put into their templates, in characters: this bounds memory.
_MAX_TOTAL_COST = 64 * 1024 * 1024
# A mistake in each of ten thousand rows is read by nobody, and takes long to explain.
MAX_ROW_FINDINGS = 100
_DEFAULT_NAME = "${row.name}"
# Of these a key of the template is the cause, even where a row gives its value.
_SUMMARIES_ABOUT_KEYS = frozenset(("Unknown field", "Undeclared variable", "Malformed address"))


@frozen
class _TargetList:
    """One list of `targets_from`, which stands at `path` in the project file.

    `document` is that of its file, None where it cannot be used.
    """

    path: FieldPath
    document: Document | None
    name: RowText
    template: RowTemplate
    defaults: Mapping[str, RowValue]

    def key_paths(self) -> dict[str, FieldPath]:
        """The keys that name and template use, with the path in the project file of the first."""
        of_template = self.template.paths_by_key.items()
        paths = {key: (*self.path, "template", *inner_path) for key, inner_path in of_template}
        return paths | dict.fromkeys(self.name.keys, (*self.path, "name"))

    def rows(self) -> list[Any]:
        return self.document.value if self.document else []


@frozen
class ListedTarget:
    """A target that a row makes: its settings as the template gives them, and the row's values."""

    settings: Mapping[str, Any] = field(repr=False)
    row: Mapping[str, RowValue] = field(repr=False)
    index: int
    origin: _TargetList


class ListedPositions(Positions):
    """The positions of a project file, and of what its lists make below `targets`.

    What a row gives stands in the row, all else in the template.
    """

    def __init__(
        self, own: Mapping[FieldPath, Position], targets: Mapping[str, ListedTarget]
    ) -> None:
        """`own` are the positions in the project file itself."""
        self._own = own
        self._targets = targets

    def __getitem__(self, path: FieldPath) -> Position:
        if (listed := self.target_of(path)) is None:
            return self._own[path]
        template_path = (*listed.origin.path, "template", *path[2:])
        return self.row_position(listed, path[2:]) or self._own[template_path]

    def target_of(self, path: FieldPath) -> ListedTarget | None:
        """The target of a list that a path is of; None for any other path."""
        is_of_target = len(path) > 1 and path[0] == "targets"
        return self._targets.get(str(path[1])) if is_of_target else None

    def row_position(self, listed: ListedTarget, rest: FieldPath) -> Position | None:
        """Where the row, or a default, has what stands at `rest`; None where it is the template."""
        origin = listed.origin
        if origin.document is None:
            return None
        positions = origin.document.positions
        if not rest:
            return positions[(listed.index,)]
        keys = origin.template.find_keys_at(rest)
        if not keys:
            return None
        in_row = positions.get((listed.index, keys[0]))
        return in_row or self._own[(*origin.path, "defaults", keys[0])]

    def __iter__(self) -> Iterator[FieldPath]:
        return iter(self._own)

    def place_findings(self, findings: Iterator[Diagnostic]) -> Iterator[Diagnostic]:
        """Findings about targets, each at its row; one of the template itself only once, there."""
        reported_keys: set[tuple[str, Position | None]] = set()
        for finding in findings:
            path = finding.path or ()
            listed = self.target_of(path)
            if listed is None:
                yield finding
                continue
            rest, root = path[2:], (*listed.origin.path, "template")
            position = find_nearest_position(self._own, (*root, *rest))
            is_about_key = finding.summary in _SUMMARIES_ABOUT_KEYS
            if rest and not is_about_key and self.row_position(listed, rest):
                yield finding.with_changes(detail=f"{finding.detail} (the template: {position})")
            elif (finding.summary, position) not in reported_keys:
                reported_keys.add((finding.summary, position))
                name = f"`{format_field_path(root)}"
                detail = str(finding.detail).replace(f"`targets.{path[1]}", name)
                yield finding.with_changes(detail=detail, position=position, path=(*root, *rest))


def listed_schema_findings(
    targets: Mapping[str, ListedTarget], positions: ListedPositions
) -> Iterator[Diagnostic]:
    """What does not fit the schema of a target; of more than a hundred rows, only of these."""
    validator = schemas.compile_validator("project")
    # All at once takes a few milliseconds for ten thousand.
    if validator.is_valid(_build_project_of(targets)):
        return
    misfits = [
        name for name, listed in targets.items()
        if not validator.is_valid(_build_project_of({name: listed}))
    ]  # fmt: skip
    for name in misfits[:MAX_ROW_FINDINGS]:
        value_to_check = ValueToCheck(
            _build_project_of({name: targets[name]}),
            positions,
            scalar_text=partial(_row_scalar_text, targets[name]),
        )
        yield from build_schema_findings("project", value_to_check)
    if len(misfits) > MAX_ROW_FINDINGS:
        yield _more_finding(len(misfits) - MAX_ROW_FINDINGS, positions)


def _row_scalar_text(listed: ListedTarget, position: Position, value: Any) -> str:
    """How a value is written in its row; its usual text where it is not the row's."""
    document = listed.origin.document
    if document is not None and document.source.file == position.file:
        return document.source.scalar_text(position, value)
    return format_row_value(value)


def _build_project_of(targets: Mapping[str, ListedTarget]) -> JsonDocument:
    settings = {name: listed.settings for name, listed in targets.items()}
    return {"apiVersion": "synapse-apply/v1", "kind": "Project", "targets": settings}


def _more_finding(count: int, positions: Mapping[FieldPath, Position]) -> Diagnostic:
    return error_finding(
        "More errors in rows", f"{count:,} more are not shown",
        "fix these first", position=positions.get(("targets_from",)),
    )  # fmt: skip


class ListedTargets(NamedTuple):
    """What the lists of a project make; with a finding it must not be used."""

    targets: Mapping[str, ListedTarget]
    findings: tuple[Diagnostic, ...]
    files: tuple[str, ...]


def read_listed_targets(
    document: Document, display_name: str, read_list_file: ReadListFile
) -> ListedTargets:
    """The targets that the lists of a project file make, by name, and every finding.

    The document fits the schema of project files. `display_name` is the name of the project file
    in findings, beside which the files of lists are named.
    """
    reader = _ListReader(document, display_name, read_list_file)
    reader.read_lists()
    findings = sorted(reader.findings, key=lambda finding: finding.position or Position("", 0, 0))
    return ListedTargets(reader.targets, tuple(findings), tuple(reader.files))


class _ListReader:
    """Reads the lists of one project file; collects targets and findings."""

    def __init__(self, document: Document, display_name: str, read_list_file: ReadListFile) -> None:
        self._value = document.value
        self._positions = document.positions
        self._folder = display_name.removesuffix(display_name.rpartition("/")[2].rpartition(":")[2])
        self._read_list_file = read_list_file
        self._cost = 0
        self._row_finding_count = 0
        self.targets: dict[str, ListedTarget] = {}
        self.files: dict[str, Document | None] = {}
        self.findings: list[Diagnostic] = []

    def read_lists(self) -> None:
        block = self._value.get("targets_from", [])
        entries: list[tuple[FieldPath, Mapping[str, Any]]] = (
            [(("targets_from", index), entry) for index, entry in enumerate(block)]
            if isinstance(block, list)
            else [(("targets_from",), block)]
        )
        lists = [self._parse_list(path, entry) for path, entry in entries]
        if self.findings:
            return
        for document in self.files.values():
            self._report_rows([entry for entry in lists if entry.document is document])
        for target_list in lists:
            self._make_targets(target_list)
        hidden_count = self._row_finding_count - MAX_ROW_FINDINGS
        if hidden_count > 0:
            self.findings.append(_more_finding(hidden_count, self._positions))

    def _report(self, path: FieldPath, summary: str, detail: str, hint: str) -> None:
        position = find_nearest_position(self._positions, path)
        self.findings.append(error_finding(summary, detail, hint, position=position, path=path))

    def _report_row(
        self, target_list: _TargetList, path: FieldPath, summary: str, detail: str, hint: str
    ) -> None:
        self._row_finding_count += 1
        document = target_list.document
        if self._row_finding_count <= MAX_ROW_FINDINGS and document is not None:
            position = find_nearest_position(document.positions, path)
            self.findings.append(error_finding(summary, detail, hint, position=position))

    def _parse_list(self, path: FieldPath, entry: Mapping[str, Any]) -> _TargetList:
        def report(inner_path: FieldPath, *finding: str) -> None:
            self._report((*path, *inner_path), *finding)

        document = self._read_file(path, entry["file"])
        template = parse_row_template(entry["template"], report)
        name = parse_row_text(entry.get("name", _DEFAULT_NAME), ("name",), report)
        return _TargetList(path, document, name, template, entry.get("defaults", {}))

    def _read_file(self, path: FieldPath, name: str) -> Document | None:
        """The document of a list, read once; None (reported) where it cannot be used."""
        normal_name = posixpath.normpath(name)
        if normal_name in self.files:
            return self.files[normal_name]
        file_path: FieldPath = (*path, "file")
        if normal_name.startswith(("/", "../")) or normal_name in {"..", "."} or "\0" in name:
            detail = f"`{name}` is not a file in the folder of the project file"
            hint = "move the list to the project file's folder, or to a folder below it"
            self._report(file_path, "Path outside the project", detail, hint)
            return None
        display_name = f"{self._folder}{normal_name}"
        try:
            content = self._read_list_file(normal_name)
            detail = f"{display_name} does not exist"
            hint = "create the file, or correct the path, which is relative to the project file"
        except InputError as problem:
            position = self._positions.get(file_path)
            findings = problem.diagnostics
            self.findings += [finding.with_changes(position=position) for finding in findings]
            return None
        except (OSError, ValueError) as problem:
            content, hint = None, "check the path, which is relative to the project file"
            reason = getattr(problem, "strerror", None) or "this is not a valid file name"
            detail = f"{display_name}: {reason}"
        if content is None:
            self._report(file_path, "The list cannot be read", detail, hint)
            return None
        self.files[normal_name] = self._parse_file(display_name, content)
        return self.files[normal_name]

    def _parse_file(self, name: str, content: bytes) -> Document | None:
        reading = read_documents(content, name)
        self.findings += (*reading.diagnostics, *iter_extra_document_error(reading, name))
        document = reading.documents[0] if reading.documents else None
        if document is None and not reading.diagnostics:
            detail, hint = f"{name} is empty", "write a row for each target, or [] for none"
            position = Position(name, 1, 1)
            self.findings.append(
                error_finding("Empty list of targets", detail, hint, position=position)
            )
        if document is None or isinstance(document.value, list):
            return document
        kind = describe_value_kind(document.value)
        detail = f"{name} contains {kind}, but must be a list of rows"
        hint = "write a row for each target, such as `- {name: acme}`"
        self.findings.append(error_finding("Not a list", detail, hint, position=document.position))
        return None

    def _report_rows(self, lists: list[_TargetList]) -> None:
        """Report rows of a file that are none, and keys that none of its lists names.

        A mistyped key would change nothing.
        """
        named_keys = {key for target_list in lists for key in target_list.key_paths()}
        for target_list in lists:
            for key in [key for key in target_list.defaults if key not in named_keys]:
                key_path = (*target_list.path, "defaults", key)
                self._report(key_path, *_describe_unknown_key(key, named_keys))
        for index, row in enumerate(lists[0].rows()):
            if not isinstance(row, dict):
                detail = f"the row is {describe_value_kind(row)}, but must be a mapping"
                hint = "write KEY: VALUE lines, such as `name: acme`"
                self._report_row(lists[0], (index,), "Not a row", detail, hint)
                continue
            for key, value in row.items():
                is_known, is_single = key in named_keys, isinstance(value, (str, int, float))
                if self._row_finding_count > MAX_ROW_FINDINGS:
                    self._row_finding_count += not (is_known and is_single)
                elif not is_known:
                    finding = _describe_unknown_key(key, named_keys)
                    self._report_row(lists[0], (index, key), *finding)
                elif not is_single:
                    detail = f"`{key}` is {describe_value_kind(value)}, but must be a single value"
                    hint = "a row may hold strings, numbers and booleans. Omit keys without a value"
                    self._report_row(lists[0], (index, key), "Wrong type", detail, hint)

    def _make_targets(self, target_list: _TargetList) -> None:
        named = target_list.key_paths()
        for index, row in enumerate(target_list.rows()):
            if not isinstance(row, dict):
                continue
            # Before anything is looked up: a template may name as many keys as there are rows.
            if not self._charge(target_list, len(named)):
                return
            values = {**target_list.defaults, **row} if target_list.defaults else row
            missing = [key for key in named if key not in values]
            for key in missing:
                use_position = find_nearest_position(self._positions, named[key])
                detail = f"the row has no `{key}`, which {use_position} uses"
                hint = "add the key to the row, or to `defaults` for all rows"
                self._report_row(target_list, (index,), "Missing value", detail, hint)
            # What is no single value has been reported at its row.
            if missing or not all(isinstance(values[key], (str, int, float)) for key in named):
                continue
            if self._charge(target_list, target_list.template.estimate_cost(values)):
                self._make_target(target_list, index, values)

    def _charge(self, target_list: _TargetList, cost: int) -> bool:
        """Add to what the rows cost so far; False, reported once, above the limit."""
        before, self._cost = self._cost, self._cost + cost
        if before <= _MAX_TOTAL_COST < self._cost:
            detail = f"they add more than {_MAX_TOTAL_COST // 1024**2} MiB to the template"
            hint = "use long values in fewer places, or shorten the values"
            self._report(target_list.path, "The rows expand to too much", detail, hint)
        return self._cost <= _MAX_TOTAL_COST

    def _make_target(
        self, target_list: _TargetList, index: int, values: Mapping[str, RowValue]
    ) -> None:
        name = target_list.name.fill_as_text(values)
        report = partial(self._report_row, target_list, (index, *target_list.name.keys[:1]))
        pattern, rule = _names_schema()
        if pattern.fullmatch(name) is None:
            detail = f"the name {name[:80]!r} is malformed"
            report("Malformed value", detail, f"write {rule}")
        elif name == EMBEDDED:
            detail = "`embedded` is always the embedded backend, so no row can define it"
            report("Reserved target", detail, "choose another name")
        elif name in self.targets or ("targets", name) in self._positions:
            other = ListedPositions(self._positions, self.targets)["targets", name]
            detail = f"target `{name}` already exists, at {other}"
            hint = "each target needs a unique name: rename or remove one of the two"
            report("Duplicate target", detail, hint)
        else:
            settings = target_list.template.fill_with(values)
            self.targets[name] = ListedTarget(settings, values, index, target_list)


def _describe_unknown_key(key: str, named_keys: set[str]) -> tuple[str, str, str]:
    match = find_similar_word(key, named_keys)
    return (
        "Unknown key",
        f"nothing in `targets_from` uses `${{row.{key}}}`",
        f"did you mean `{match}`?" if match else "remove the key, or use it in the template",
    )


@cache
def _names_schema() -> tuple[re.Pattern[str], str]:
    """The pattern of names of targets, and the rule in words."""
    names = schemas.read_schema("project")["properties"]["targets"]["propertyNames"]
    return re.compile(names["pattern"].rstrip("$")), names["x-rule"]


# The syntax is that of variables. In `variables` and `overlays`, which take `${var.NAME}` later,
# that and `$${` stay as they are: a target made here is as if it had been written out.

RowValue = str | int | float | bool
ReportFinding = Callable[[FieldPath, str, str, str], None]
"""Called with the path in the template, and summary, detail and hint of a finding."""

_ROW_KEY = lazy_pattern(r"row\.([A-Za-z_][A-Za-z0-9_-]*)")
_VARIABLE_NAME = lazy_pattern(r"var\.[A-Za-z_][A-Za-z0-9_-]*")
# A value that is no text costs as much memory as a long one.
_NODE_COST = 100
_FIELDS_WITH_VARIABLES = frozenset(("variables", "overlays"))


@frozen
class RowText:
    """A text as the pieces that it is joined of, every second of which is a key of the row."""

    pieces: tuple[str, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        return self.pieces[1::2]

    def fill_with(self, row: Mapping[str, RowValue]) -> RowValue:
        """The text with the row's values, which has every key; one alone keeps its value's type."""
        if len(self.pieces) == 3 and not self.pieces[0] and not self.pieces[2]:
            return row[self.pieces[1]]
        return self.fill_as_text(row)

    def fill_as_text(self, row: Mapping[str, RowValue]) -> str:
        """The same as a text, also where a value of another type stands alone."""
        pieces = list(self.pieces)
        pieces[1::2] = [format_row_value(row[key]) for key in self.keys]
        return "".join(pieces)


def format_row_value(value: RowValue) -> str:
    """A row's value inside a text: booleans and numbers look as in YAML, not as in Python."""
    return value if isinstance(value, str) else json.dumps(value)


@frozen
class RowTemplate:
    """A template that is read once and filled with many rows.

    `paths_by_key` has, for each key of the row that it names, the first path where it does. What
    names no row is one and the same object in every result.
    """

    _root: Any
    _fixed_cost: int
    _uses: Mapping[str, int]
    paths_by_key: Mapping[str, FieldPath]

    def fill_with(self, row: Mapping[str, RowValue]) -> Any:
        """The template's value for a row that has all of `paths_by_key`."""
        return _fill_node(self._root, row)

    def estimate_cost(self, row: Mapping[str, RowValue]) -> int:
        """How much `fill_with` makes, in characters of text; a value without text is some, too."""
        uses = self._uses.items()
        return self._fixed_cost + sum(len(format_row_value(row[key])) * n for key, n in uses)

    def find_keys_at(self, path: FieldPath) -> tuple[str, ...]:
        """The keys of the row that the text at a path names; () for none, and for no text."""
        node = self._root
        for part in path:
            node = node.children.get(part) if isinstance(node, _Filled) else None
        return node.keys if isinstance(node, RowText) else ()


def parse_row_template(value: Mapping[str, Any], report: ReportFinding) -> RowTemplate:
    """A template parsed; references that cannot be replaced are reported."""
    paths_by_key: dict[str, FieldPath] = {}
    root = _parse_template_node(value, ("template",), report, paths_by_key)
    nodes = list(_iter_nodes(root))
    texts = [node for node in nodes if isinstance(node, RowText)]
    literals = sum(len(piece) for text in texts for piece in text.pieces[::2])
    uses = Counter(key for text in texts for key in text.keys)
    return RowTemplate(root, len(nodes) * _NODE_COST + literals, uses, paths_by_key)


def parse_row_text(
    text: str, path: FieldPath, report: ReportFinding, *, takes_variables: bool = False
) -> RowText:
    """A text parsed; with `takes_variables`, `${var.NAME}` and `$${` stay as they are."""
    pieces: list[str] = []
    literals: list[str] = []
    end = 0
    for match in REFERENCE_PATTERN.finditer(text):
        literals.append(text[end : match.start()])
        end = match.end()
        reference = match[1].strip() if match[2] else ""
        if match[1] is None:
            literals.append(match[0] if takes_variables else "${")
        elif (key_match := _ROW_KEY.fullmatch(reference)) is not None:
            pieces += ("".join(literals), key_match[1])
            literals = []
        elif takes_variables and _VARIABLE_NAME.fullmatch(reference):
            literals.append(match[0])
        else:
            forms = "${row.KEY} or ${var.NAME}" if takes_variables else "${row.KEY}"
            detail = f"{match[0]} is not of the form {forms}"
            hint = "write $${ for a literal ${"
            report(path, "Unknown reference", detail, hint)
    return RowText((*pieces, "".join(literals) + text[end:]))


@frozen
class _Filled:
    """A mapping, or a list with its indexes as keys, in which something names a row."""

    children: Mapping[str | int, Any]
    is_list: bool


def _parse_template_node(
    value: Any, path: FieldPath, report: ReportFinding, paths: dict[str, FieldPath]
) -> Any:
    if isinstance(value, str):
        if "${" not in value:
            return value
        takes_variables = len(path) > 1 and path[1] in _FIELDS_WITH_VARIABLES
        text = parse_row_text(value, path, report, takes_variables=takes_variables)
        for name in text.keys:
            paths.setdefault(name, path[1:])
        return text if text.keys else text.fill_as_text({})
    if not isinstance(value, (Mapping, list)):
        return value
    children = {
        key: _parse_template_node(child, (*path, key), report, paths)
        for key, child in (enumerate(value) if isinstance(value, list) else value.items())
    }
    for key in children:
        if "${row." in str(key):
            hint = "keys cannot contain values of rows: write the key itself"
            report((*path, key), "Row in a key", f"the key `{key}` refers to a row", hint)
    is_same = all(child is value[key] for key, child in children.items())
    return value if is_same else _Filled(children, isinstance(value, list))


def _iter_nodes(node: Any) -> Iterator[Any]:
    """A node, and those in it that are made anew for each row, with what stands in these."""
    yield node
    for child in node.children.values() if isinstance(node, _Filled) else ():
        yield from _iter_nodes(child)


def _fill_node(node: Any, row: Mapping[str, RowValue]) -> Any:
    if isinstance(node, RowText):
        return node.fill_with(row)
    if not isinstance(node, _Filled):
        return node
    if node.is_list:
        return [_fill_node(child, row) for child in node.children.values()]
    return {key: _fill_node(child, row) for key, child in node.children.items()}
