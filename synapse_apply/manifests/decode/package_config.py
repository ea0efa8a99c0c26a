"""What a package's config.yaml gets wrong, and which releases it depends on.

The shape is data: schemas/v1/package-config.schema.json names the rule that each of its keywords
stands for. What no schema can say is in `_violations_beyond_schema`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import yaml

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.manifests import schemas
from synapse_apply.manifests.decode.draft import ConfigWithPositions
from synapse_apply.manifests.schemas import ValueToCheck, build_schema_findings
from synapse_apply.manifests.yaml.reader import Document, read_single_document
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, Position, find_nearest_position
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.packages import PackageFlaw, VersionSortKey, version_sort_key
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.resource import Desired, PackageSource
from synapse_apply.model.values import Reference

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet


SCHEMA_NAME = "package-config"
# What YAML 1.1 reads as no text where it stands in one of these. `*` is any key or index.
_TEXT_PATHS: tuple[FieldPath, ...] = (
    *((name,) for name in ("name", "code", "version", "variant", "category", "description")),
    *((name,) for name in ("readme", "wheels_dir", "package_manager", "data_type")),
    ("requires", "*"),
    ("dependencies", "*"),
    *((name, "*") for name in ("tasks", "tags", "package_manager_options")),
    *(("actions", "*", name) for name in ("entrypoint", "method", "description")),
)
_SPECIFIER_PATHS: tuple[FieldPath, ...] = (("requires", "*"), ("dependencies", "*"))
_MAX_SHOWN_LENGTH = 80


@frozen
class PackageConfig:
    """A parsed config.yaml; `findings` are about its YAML, `flaws` about its fields.

    `value` is empty where the file holds no mapping.
    """

    value: Mapping[str, Any]
    positions: Mapping[FieldPath, Position]
    findings: tuple[Diagnostic, ...] = ()
    flaws: tuple[PackageFlaw, ...] = ()


def parse_and_check_config(data: bytes | str, file: str) -> PackageConfig:
    """Parse a config.yaml and check its fields; raises nothing, whatever the bytes are.

    Flaws may quote values of the file.
    """
    document, findings = read_single_document(data, file)
    if document is None:
        start = Position(file, 1, 1)
        flaw = PackageFlaw("package:unreadable-config", f"{file} is empty", "", start)
        return PackageConfig({}, {(): start}, findings, (flaw,))
    # Field checks on a half-read file would report what the YAML finding already explains.
    if findings:
        value = document.value if isinstance(document.value, dict) else {}
        return PackageConfig(value, document.positions, findings)
    flaws = list(dict.fromkeys(_iter_flaws(document)))
    flaws.sort(key=lambda flaw: flaw.position or Position("", 0, 0))
    return PackageConfig(document.value, document.positions, (), tuple(flaws))


def _iter_flaws(document: Document) -> Iterator[PackageFlaw]:
    """A flaw for each misfit, with the rule that the schema names in `x-lint`, and for the rest."""
    value, positions = document.value, document.positions
    if not schemas.compile_validator(SCHEMA_NAME).is_valid(value):
        to_check = ValueToCheck(value, positions, scalar_text=document.source.scalar_text)
        for one in build_schema_findings(SCHEMA_NAME, to_check):
            rule = one.rule or "package:shape"
            yield PackageFlaw(rule, one.detail, one.hint, one.position, one.path)
    for rule, path, detail, hint in _violations_beyond_schema(document):
        position = find_nearest_position(positions, path)
        yield PackageFlaw(f"package:{rule}", detail, hint, position, path)


def _texts_at(
    value: Any, pattern: FieldPath, path: FieldPath = ()
) -> Iterator[tuple[FieldPath, str]]:
    """The texts at the paths that match a pattern, with their paths; `*` is any key or index."""
    if not pattern:
        if isinstance(value, str):
            yield path, value
        return
    part = pattern[0]
    children: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, dict):
        children = [(key, value[key]) for key in value if part in {"*", key}]
    elif isinstance(value, list) and part == "*":
        children = enumerate(value)
    for key, child in children:
        yield from _texts_at(child, pattern[1:], (*path, key))


def _violations_beyond_schema(document: Document) -> Iterator[tuple[str, FieldPath, str, str]]:
    """Rule, path, detail and hint of what no schema can say of a config.yaml."""
    value = document.value
    if value.get("category") == "converter":
        detail = (
            "the backend accepts `category: converter`, but the platform's SDK refuses it, and "
            "publisher and agents read this file with the SDK"
        )
        hint = "write another category, unless you know that your agents run it"
        yield "category-converter", ("category",), detail, hint
    code, needs = value.get("code"), value.get("dependencies")
    if isinstance(needs, dict) and isinstance(code, str) and code in needs:
        detail = f"`dependencies` of {code} names {code}"
        yield "dependency-itself", ("dependencies", code), detail, "remove the line"
    for path, text in (one for paths in _SPECIFIER_PATHS for one in _texts_at(value, paths)):
        if not is_version_specifier(text):
            quoted_text = f' ("{text}")' if len(text) <= _MAX_SHOWN_LENGTH else ""
            detail = f"`{format_field_path(path)}` is not a version specifier{quoted_text}"
            hint = 'write, for example, ">=1.2,<2", or "==1.2.0" for exactly one'
            yield "specifier", path, detail, hint
    if "smart_tool_type" in value:
        detail = "`smart_tool_type` comes from the platform's templates, but nothing reads it"
        yield "smart-tool-type", ("smart_tool_type",), detail, "write `smart_tool:`"
    blocks = [value.get(name) for name in ("container", "code_server")]
    files = [
        block.get("dockerfile")
        for block in blocks
        if isinstance(block, dict) and block.get("enabled")
    ]
    # A server that is not enabled builds nothing, so its Dockerfile may be the same.
    if len(files) == 2 and isinstance(files[0], str) and files[0] and files[0] == files[1]:
        detail = f"`container` and `code_server` are both built from {files[0]}"
        hint = "write a separate Dockerfile for the code server"
        yield "dockerfile", ("code_server", "dockerfile"), detail, hint
    # Unquoted texts that a YAML 1.1 reader, such as the platform's, reads as another type. A quick
    # search of the raw text first; the walk is needed for few files.
    if any(mark in document.source.text for mark in _YAML11_MARKS):
        for path, text in (one for paths in _TEXT_PATHS for one in _texts_at(value, paths)):
            kind = _describe_yaml11(text)
            if kind and _is_unquoted(document, path, text):
                name = format_field_path(path)
                detail = f"`{name}` is {kind} to the platform, which reads YAML 1.1"
                yield "yaml-1.1", path, detail, f'quote it: "{text}"'


_YAML11_MARKS = ("yes", "no", "on", "off", "Yes", "No", "On", "Off", "YES", "NO", "ON", "OFF",
                 *(f"{digit}{mark}" for digit in "0123456789" for mark in "-:_"), " =")  # fmt: skip


_YAML11_TYPE_LABELS = {
    "bool": "a boolean",
    "int": "a number",
    "float": "a number",
    "timestamp": "a date",
}


# PyYAML's implicit resolvers are those of YAML 1.1, keyed by a scalar's first character.
def _describe_yaml11(text: str) -> str:
    if len(text) > _MAX_SHOWN_LENGTH:
        return ""
    resolvers = yaml.SafeLoader.yaml_implicit_resolvers.get(text[:1], ())
    for tag, pattern in resolvers:
        if pattern.match(text):
            return _YAML11_TYPE_LABELS.get(tag.rpartition(":")[2], "")
    return ""


def _is_unquoted(document: Document, path: FieldPath, text: str) -> bool:
    """Whether the text at a path is written without quotes."""
    position = document.positions.get(path)
    line_rest = document.source.line_from(position) if position else ""
    value_text = line_rest if isinstance(path[-1], int) else line_rest.partition(":")[2]
    return value_text.strip().startswith(text)


_MAX_LENGTH = 500


@lru_cache(maxsize=1024)
def _parse_specifier(text: str) -> SpecifierSet | None:
    # Imported here: most packages depend on no other plugin and need not load `packaging`.
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # noqa: PLC0415

    # The grammar of PEP 440 is matched by regular expressions that are slow on long hostile texts.
    if len(text) > _MAX_LENGTH:
        return None
    try:
        return SpecifierSet(text)
    except InvalidSpecifier:
        return None


def is_version_specifier(text: str) -> bool:
    """Whether a text is a version specifier, such as `>=1.2,<2`; an empty one is, and fits all."""
    return _parse_specifier(text) is not None


def matches_specifier(version: str, specifier: str) -> bool:
    """Whether a version fits a specifier; False where either cannot be parsed."""
    from packaging.version import InvalidVersion, Version  # noqa: PLC0415

    specifier_set = _parse_specifier(specifier)
    if specifier_set is None:
        return False
    try:
        # A pre-release counts: it was declared on purpose, unlike one that pip finds in an index.
        return specifier_set.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


# A release is applied after the newest declared release that fits, else after the plugin. What no
# manifest declares may exist on the backend: that is a finding and no dependency.

ReadConfig = Callable[[PackageSource], ConfigWithPositions]
_DEPENDENCIES_FIELD = "dependencies"


def release_sort_key(release: Desired) -> tuple[bool, VersionSortKey | tuple[()], str]:
    """Sorts releases by version; versions that are not semantic come first, by their text."""
    version = str(release.spec.get("version", ""))
    sort_key = version_sort_key(version)
    return sort_key is not None, sort_key or (), version


@frozen
class _Need:
    """The code of another plugin that the package of a release needs, and what versions fit."""

    release: Desired
    code: str
    specifier: str
    position: Position | None


class _DeclaredPlugins:
    """The declared plugins and their releases by the plugin's code, and what these need."""

    def __init__(self, declared: Mapping[Address, Desired], read_config: ReadConfig) -> None:
        self.plugin_by_code: dict[str, Address] = {}
        self.releases_by_code: dict[str, list[Desired]] = defaultdict(list)
        self.needs: list[_Need] = []
        for resource in declared.values():
            kind, code = CATALOGUE[resource.address.kind], resource.spec.get("code")
            if not kind.carries_package:
                if isinstance(code, str):
                    self.plugin_by_code.setdefault(code, resource.address)
                continue
            config, positions = ({}, {}) if not resource.source else read_config(resource.source)
            owner = resource.spec.get(kind.series_field)
            plugin = declared.get(owner.address) if isinstance(owner, Reference) else None
            # What the manifest declares counts, since that is sent; the package's code is only a
            # default.
            code = (plugin.spec.get("code") if plugin else None) or config.get("code")
            if isinstance(code, str):
                self.releases_by_code[code].append(resource)
                if plugin is not None:
                    self.plugin_by_code.setdefault(code, plugin.address)
            self._note_needs(resource, code, config.get(_DEPENDENCIES_FIELD), positions)

    def _note_needs(
        self, release: Desired, code: Any, block: Any, positions: Mapping[FieldPath, Position]
    ) -> None:
        # Malformed ones are flaws of the package, as is one that needs itself: that would be a
        # cycle.
        for needed, specifier in (block if isinstance(block, dict) else {}).items():
            is_sound = isinstance(specifier, str) and is_version_specifier(specifier)
            if is_sound and needed != (code if isinstance(code, str) else ""):
                position = find_nearest_position(positions, (_DEPENDENCIES_FIELD, needed))
                self.needs.append(_Need(release, needed, specifier, position))

    def newest_fitting(self, need: _Need) -> Address | None:
        """The newest declared release that fits, else the plugin; None if neither is declared."""
        fitting_releases = [
            release
            for release in self.releases_by_code.get(need.code, ())
            if matches_specifier(str(release.spec.get("version", "")), need.specifier)
        ]
        if fitting_releases:
            return max(fitting_releases, key=release_sort_key).address
        return self.plugin_by_code.get(need.code)


# As `Desired.depends_on`, like a reference: order, graph, refusals and records need nothing new. On
# v2 a plugin that is created with its first release waits for what that needs. Cycles are searched
# in strongly connected components alone, because a checkout may hold thousands.
def with_dependencies(
    declared: Mapping[Address, Desired], read_config: ReadConfig
) -> dict[Address, Desired]:
    """The same resources, with what each package needs added to `depends_on`."""
    plugins = _DeclaredPlugins(declared, read_config)
    added: dict[Address, list[Address]] = defaultdict(list)
    for need in plugins.needs:
        if (fitting := plugins.newest_fitting(need)) is not None:
            added[need.release.address].append(fitting)
    resources = dict(declared)
    for address, needed in added.items():
        depends_on = dict.fromkeys((*declared[address].depends_on, *needed))
        resources[address] = replace(declared[address], depends_on=tuple(depends_on))
    return resources


def unmet_needs(
    declared: Mapping[Address, Desired], read_config: ReadConfig
) -> Iterator[tuple[Desired, PackageFlaw]]:
    """The release and a flaw for each need that no manifest declares in a fitting version."""
    plugins = _DeclaredPlugins(declared, read_config)
    for need in plugins.needs:
        path = (_DEPENDENCIES_FIELD, need.code)
        wanted = f"{need.code}{f' {need.specifier}' if need.specifier else ''}"
        detail = f"`{format_field_path(path)}` of {need.release.address}"
        plugin = plugins.plugin_by_code.get(need.code)
        candidates = plugins.releases_by_code.get(need.code, ())
        if plugin is None and not candidates:
            rule = "missing"
            detail += f": no manifest declares a plugin with code {wanted}"
            hint = (
                "declare the plugin, so that it is published first. It may already exist on "
                "the backend"
            )
        elif candidates and plugins.newest_fitting(need) == plugin:
            rule = "version"
            versions = sorted(str(release.spec.get("version", "")) for release in candidates)
            detail += f" needs {wanted}, but the manifests declare {', '.join(versions)}"
            hint = (
                "declare a matching release, or change the specifier. An older release may "
                "still exist on the backend"
            )
        else:
            continue
        flaw = PackageFlaw(f"package:dependency-{rule}", detail, hint, need.position, path)
        yield need.release, flaw
