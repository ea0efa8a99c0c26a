"""The draft of a manifest while it is decoded, and what decoding may read: packages, secrets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, NamedTuple

from synapse_apply.manifests.files import build_outside_finding, is_inside_or_allowed
from synapse_apply.manifests.yaml.reader import Document, read_single_mapping
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import (
    Diagnostic,
    FieldPath,
    Position,
    Severity,
    find_nearest_position,
)
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import mutable, replace
from synapse_apply.model.json_types import Spec
from synapse_apply.model.phrases import FirstHints
from synapse_apply.model.project import Project, Target
from synapse_apply.model.resource import PackageSource
from synapse_apply.model.secrets.credentials import NOT_SHOWN_TEXT, contains_secret
from synapse_apply.model.secrets.secret_marks import SecretMarks
from synapse_apply.model.values import SecretRef
from synapse_apply.secret_sources.source import (
    Denial,
    SecretSource,
    SourceContext,
    find_reserved_denial,
)

ConfigWithPositions = tuple[Mapping[str, Any], Mapping[FieldPath, Position]]
ReadPackageConfig = Callable[[PackageSource], "ConfigWithPositions | Diagnostic | None"]
"""The config.yaml of a package with its positions, None without one, or why it cannot be read
(a Diagnostic, or InputError raised).
"""


class SourceConfig(NamedTuple):
    """The config.yaml of a package and its positions, which are empty where nothing was read.

    `is_missing`: the package has none; `is_unreadable`: that was reported.
    """

    value: Mapping[str, Any] = {}
    positions: Mapping[FieldPath, Position] = {}
    is_missing: bool = False
    is_unreadable: bool = False


PUBLISHED = "published"


@mutable
class Draft:
    """One document while it is decoded for one target.

    `schema` names its schema, and is its kind's address prefix. `unknown_paths` are those of texts
    whose variables have no value, and of what does not fit the schema: nothing can be said of them,
    and a draft that has some declares nothing.
    """

    context: DecodeContext = field(repr=False)
    schema: str
    value: Any = field(repr=False)
    positions: Mapping[FieldPath, Position]
    document: Document
    position: Position
    address: Address | None = None
    unknown_paths: set[FieldPath] = field(default_factory=set)

    def is_unknown_at_or_above(self, path: FieldPath) -> bool:
        """Whether the value at a path, or one that contains it, is not known."""
        return any(path[:length] in self.unknown_paths for length in range(len(path) + 1))

    @property
    def spec(self) -> Spec:
        section = self.value.get("spec")
        return section if isinstance(section, dict) else {}

    @property
    def metadata(self) -> Mapping[str, Any]:
        section = self.value.get("metadata")
        return section if isinstance(section, dict) else {}

    def find_position(self, path: FieldPath = ()) -> Position | None:
        return find_nearest_position(self.positions, path)

    def report(
        self,
        path: FieldPath,
        summary: str,
        detail: str,
        hint: str = "",
        severity: Severity = Severity.ERROR,
        target: str | None = None,
    ) -> None:
        """Append a finding about the field at `path`, at its position in the text."""
        address = str(self.address) if self.address else None
        position = self.find_position(path)
        self.context.findings.append(
            Diagnostic(severity, summary, detail, hint, position, address, path, target)
        )

    def warn(self, path: FieldPath, summary: str, detail: str, hint: str = "") -> None:
        """As `report`, as a warning."""
        self.report(path, summary, detail, hint, Severity.WARNING)

    def package_source(self, key: str) -> PackageSource | None:
        """The package source in a spec field; None when absent, malformed, unknown, not allowed."""
        value, field_path = self.spec.get(key), ("spec", key)
        # A variable without a value or a misfit, which was reported: no other folder is meant.
        if self.is_unknown_at_or_above(field_path) or any(
            path[:2] == field_path for path in self.unknown_paths
        ):
            return None
        position = self.find_position(field_path)
        if value == PUBLISHED and key == "source":
            return PackageSource(PUBLISHED, position=position)
        ref = value.get("ref", "") if isinstance(value, dict) else ""
        path = value.get("path") if isinstance(value, dict) else value
        if not isinstance(path, str) or not path or not isinstance(ref, str):
            return None
        if not self.context.is_path_allowed(path):
            return None
        # A folder with a `ref` is read from Git, not from the disk.
        kind = "file" if key == "file" else ("git" if ref else "folder")
        return PackageSource(kind, normalize_source_path(path), ref, position)

    def report_outside_path(self, key: str) -> None:
        """Report a source that leaves the project and is not listed under `allow_files`."""
        value = self.spec.get(key)
        path = value.get("path") if isinstance(value, dict) else value
        if isinstance(path, str) and not self.context.is_path_allowed(path):
            finding = build_outside_finding(path, self.context.project)
            self.report(("spec", key), finding.summary, finding.detail, finding.hint)


@mutable
class DecodeContext:
    """What the decoding of all documents for one target shares.

    `findings` grow in the order of the files; what is said once of several comes last. Answers
    about packages, variables and files are remembered, since thousands of documents ask for the
    same few.
    """

    project: Project
    target: Target
    marks: SecretMarks
    read_package_config: ReadPackageConfig | None = None
    findings: list[Diagnostic] = field(default_factory=list)
    hints: FirstHints = field(default_factory=FirstHints)
    drafts_by_unknown_provider: dict[str, list[Draft]] = field(default_factory=dict)
    reported_flaws: set[tuple[PackageSource, str]] = field(default_factory=set)
    _configs: dict[tuple[str, str, str], SourceConfig] = field(default_factory=dict)
    _allowed_by_path: dict[str, bool] = field(default_factory=dict)
    read_committed_file: Callable[[str], bytes | None] | None = None
    _denials: dict[tuple[str, ...], Denial | None] = field(default_factory=dict)
    _source_context: SourceContext | None = None

    def read_config(self, source: PackageSource | None, draft: Draft | None = None) -> SourceConfig:
        """A package's config.yaml; each is read once, and its problems are reported once."""
        # Without a reader (as for completion or formatting) no package may be opened.
        if source is None or source.kind == PUBLISHED or self.read_package_config is None:
            return SourceConfig()
        key = (source.kind, source.path, source.ref)
        if key not in self._configs:
            self._configs[key] = self._read_config(source, self.read_package_config, draft)
        return self._configs[key]

    def mark_flaw_reported(self, source: PackageSource | None, rule: str) -> None:
        """Note that a finding already says what this lint rule would say of the package."""
        if source is not None:
            # Without its position, one source is equal wherever it is named.
            self.reported_flaws.add((replace(source, position=None), rule))

    def is_path_allowed(self, path: str) -> bool:
        if path not in self._allowed_by_path:
            self._allowed_by_path[path] = is_inside_or_allowed(self.project, self.target, path)
        return self._allowed_by_path[path]

    def find_denial(self, source: SecretSource, ref: SecretRef) -> Denial | None:
        """Why manifests of the target may not name a secret; None where they may."""
        key = ref.identity
        if key not in self._denials:
            context = self._source_context = self._source_context or SourceContext(
                self.project.root,
                {},
                self.target.allow_env,
                self.target.allow_files,
                replace(self.project.reserved, opened=self.target.opened),
                self.target.source_settings,
                self.target.name,
                # Who may open no package may open no other file either.
                read_single_mapping if self.read_package_config else None,
                self.read_committed_file,
            )
            self._denials[key] = find_reserved_denial(source, ref, context) or source.find_denial(
                ref, context
            )
        return self._denials[key]

    def _read_config(
        self, source: PackageSource, read_package_config: ReadPackageConfig, draft: Draft | None
    ) -> SourceConfig:
        try:
            config = read_package_config(source)
            if config is None:
                return SourceConfig(is_missing=True)
            if not isinstance(config, Diagnostic):
                return SourceConfig(*config)
            findings: tuple[Diagnostic, ...] = (config,)
        except InputError as problem:
            findings = problem.diagnostics
        address = str(draft.address) if draft and draft.address else None
        for finding in findings:
            # A config.yaml may quote a value that this run knows as a secret.
            has_secret = contains_secret(f"{finding.detail} {finding.hint} {finding.path}")
            shown = (
                finding.with_changes(detail=NOT_SHOWN_TEXT, hint="", path=None)
                if has_secret
                else finding
            )
            position = finding.position or source.position
            self.findings.append(
                shown.with_changes(position=position, address=finding.address or address)
            )
        return SourceConfig(is_unreadable=True)


def normalize_source_path(path: str) -> str:
    """A source's path as sources are compared: `/` only, no `./`, no last slash."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in {"", "."}]
    return ("/" if path.startswith("/") else "") + "/".join(parts) or "."
