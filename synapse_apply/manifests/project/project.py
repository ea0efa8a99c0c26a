"""Where the project file is found, whether it can be used, and how it becomes a Project."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synapse_apply.files.checkout import read_command_line_file
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.manifests.decode.overlays import Overlay
from synapse_apply.manifests.decode.variables import parse_variable_text
from synapse_apply.manifests.project.policy import (
    add_default_rules_not_named,
    decode_rules,
    merge_rules_for_target,
)
from synapse_apply.manifests.project.refactoring import RefactoringDecoder
from synapse_apply.manifests.schema import schemas, secret_field_marks
from synapse_apply.manifests.schema.explain import Subject, build_schema_findings
from synapse_apply.manifests.schema.unsupported import iter_unsupported_settings
from synapse_apply.manifests.yaml.reader import (
    Document,
    iter_extra_document_findings,
    parse_single_mapping_with_findings,
    read_documents,
)
from synapse_apply.model.coding.json_types import SettingsBlock
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, Position, error_finding
from synapse_apply.model.phrases import suggest_known_word_or_empty
from synapse_apply.model.policy import Policy
from synapse_apply.model.project import (
    EMBEDDED,
    GuardSettings,
    Project,
    Provider,
    StateSettings,
    Target,
    Variable,
    collect_credential_variables_and_files,
)
from synapse_apply.model.values import SecretRef
from synapse_apply.secret_sources.catalogue import SECRET_SOURCES
from synapse_apply.secret_sources.source import build_reference_or_none

FILE_NAME = "synapse-apply.yaml"


class PlacedText(str):
    """A text of the project file, with its position."""

    __slots__ = ("position",)
    position: Position | None


def get_text_position_or_none(text: str) -> Position | None:
    """The position of a text that comes from the project file; None for any other text."""
    return getattr(text, "position", None)


def find_project_file(start: Path) -> Path | None:
    """The project file in a folder, or in the nearest parent that has an entry of its name.

    Also an entry that is no file: reading it reports what is wrong, and skipping it would
    use another project in its place.
    """
    start_folder = start.resolve()
    for folder in (start_folder, *start_folder.parents):
        if os.path.lexists(folder / FILE_NAME):
            return folder / FILE_NAME
    return None


def build_default_project(root: Path) -> Project:
    """The project that is used without a project file: it has the embedded target alone."""
    return Project(root=root, file=None, targets={EMBEDDED: Target(EMBEDDED)})


def read_project_or_findings(
    file: Path, display_name: str, data: bytes | None = None
) -> tuple[Project | None, tuple[Diagnostic, ...]]:
    """The project of a file, or None with the findings why it cannot be used.

    `display_name` is the file's name in findings; `data` its content when it is not read from disk
    (another revision's). Raises OSError if it cannot be read, also where a link leads out of
    the checkout (out of its folder, where there is no repository).
    """
    if data is None:
        data = read_command_line_file(file, file.parent)
    reading = read_documents(data, display_name)
    findings = list(reading.diagnostics)
    if not reading.documents and not findings:
        findings.append(
            error_finding(
                "Empty project file",
                f"{display_name} holds nothing",
                "begin with `apiVersion: synapse-apply/v1` and `kind: Project`",
                position=Position(display_name, 1, 1),
            )
        )
    findings.extend(iter_extra_document_findings(reading, display_name))
    if not reading.documents:
        return None, tuple(findings)
    document = reading.documents[0]
    value, positions = document.value, document.positions
    # The fast validator decides; the one that explains is slow to import.
    if not schemas.compile_validator("project").is_valid(value):
        subject = Subject(value, positions, scalar_text=document.source.read_scalar_text_as_written)
        findings.extend(build_schema_findings("project", subject))
    if isinstance(value, dict):
        findings.extend(iter_unsupported_settings(value, positions))
    # Decoding relies on the schema, so it starts only when all of it is right.
    if findings:
        return None, tuple(findings)
    decoder = _ProjectDecoder(document)
    project = decoder.decode_project(file)
    return (None if decoder.findings else project), tuple(decoder.findings)


class _ProjectDecoder:
    """Decodes a project file that fits its schema; collects `findings` of what no schema checks."""

    def __init__(self, document: Document) -> None:
        self.value: Mapping[str, Any] = document.value
        self.positions = document.positions
        self.source = document.source
        self.findings: list[Diagnostic] = []
        self.rules = decode_rules(self.value, (), self.positions, self._report_finding)

    def decode_project(self, file: Path) -> Project:
        value = self.value
        variables = {
            name: Variable(
                name,
                type=declared.get("type", "string"),
                default=declared.get("default"),
                has_default="default" in declared,
                description=declared.get("description", ""),
                position=self.positions.get(("variables", name)),
            )
            for name, declared in value.get("variables", {}).items()
        }
        targets = {name: self._decode_target(name) for name in value.get("targets", {})}
        # The embedded target is there without being declared; it may be declared to be configured.
        targets.setdefault(EMBEDDED, self._build_target(EMBEDDED, {}, None))
        self._report_undeclared_target_variables(variables)
        self._report_wrong_required_targets(targets)
        self._report_state_keys_of_servers(targets)
        refactoring = RefactoringDecoder(value, self.positions, self._report_finding)
        moved = refactoring.decode_moves()
        default = value.get("default_target", "")
        if default and default not in targets:
            self._report_finding(
                ("default_target",),
                "Unknown target",
                f"there is no target `{default}`",
                suggest_known_word_or_empty(default, targets),
            )
        return Project(
            root=file.parent,
            file=file,
            id=value.get("project", {}).get("id", ""),
            manifests=self._list_manifest_paths_with_positions(("manifests",), value),
            variables=variables,
            targets=targets,
            reserved=collect_credential_variables_and_files(targets),
            default_target=default,
            moved=moved,
            removed=refactoring.decode_removals(moved),
            max_package_size=value.get("max_package_size", 4 * 1024**3),
            providers=self._decode_providers(),
        )

    def _decode_providers(self) -> dict[str, Provider]:
        providers = {}
        for name, description in self.value.get("providers", {}).items():
            if name in secret_field_marks.list_providers_with_known_secrets():
                self._report_finding(
                    ("providers", name),
                    "Provider is known already",
                    f"the keys and secrets of `{name}` are described by this tool",
                    "remove it here, or give the provider its own name",
                )
                continue
            keys = description["keys"]
            providers[name] = Provider(
                frozenset(keys),
                frozenset(key for key, key_settings in keys.items() if key_settings.get("secret")),
                frozenset(
                    key for key, key_settings in keys.items() if key_settings.get("required")
                ),
            )
        return providers

    def _report_state_keys_of_servers(self, targets: Mapping[str, Target]) -> None:
        for name, target in targets.items():
            if target.state.key is not None and target.state.key.keeps_live_value:
                self._report_finding(
                    ("targets", name, "state", "key"),
                    "State key without a value",
                    "no server has a state key that could be kept",
                    "name a variable or a file, such as {env: NAME}",
                )

    def _report_finding(self, path: FieldPath, summary: str, detail: str, hint: str) -> None:
        self.findings.append(
            error_finding(summary, detail, hint, position=self.positions.get(path), path=path)
        )

    def _list_manifest_paths_with_positions(
        self, path: FieldPath, settings: SettingsBlock
    ) -> tuple[str, ...]:
        texts = []
        for index, text in enumerate(settings.get("manifests", ())):
            # The position travels with the text, since findings on paths are made far from here.
            placed_text = PlacedText(text)
            placed_text.position = self.positions.get((*path, index))
            texts.append(placed_text)
        return tuple(texts)

    def _report_undeclared_target_variables(self, declared: Mapping[str, Variable]) -> None:
        for target, settings in self.value.get("targets", {}).items():
            for name in settings.get("variables", {}):
                if name not in declared:
                    self._report_finding(
                        ("targets", target, "variables", name),
                        "Undeclared variable",
                        f"no variable `{name}` is declared",
                        suggest_known_word_or_empty(name, declared)
                        or "declare it under `variables:`",
                    )

    def _report_wrong_required_targets(self, targets: Mapping[str, Target]) -> None:
        for name, target in targets.items():
            for index, required_name in enumerate(target.require_verified):
                field_path: FieldPath = ("targets", name, "require_verified", index)
                other_names = [target_name for target_name in targets if target_name != name]
                if required_name == name:
                    detail = f"target `{name}` cannot be verified in itself first"
                    self._report_finding(
                        field_path, "Target requires itself", detail, "name the target before it"
                    )
                elif required_name not in targets:
                    detail = f"there is no target `{required_name}`"
                    self._report_finding(
                        field_path,
                        "Unknown target",
                        detail,
                        suggest_known_word_or_empty(required_name, other_names),
                    )

    def _decode_target(self, name: str) -> Target:
        target_path: FieldPath = ("targets", name)
        settings = self.value["targets"][name]
        # The embedded backend runs inside this process: a URL or a token would be misleading.
        if name == EMBEDDED:
            for key in ("url", "tenant", "token"):
                if key in settings:
                    self._report_finding(
                        (*target_path, key),
                        "Reserved target",
                        f"`{key}` cannot be set: `embedded` is always the embedded backend",
                        "choose another name for this target",
                    )
        for pattern in settings.get("overlays", {}):
            kind, slash, object_name = pattern.partition("/")
            if not (slash and object_name) or kind not in CATALOGUE:
                self._report_finding(
                    (*target_path, "overlays", pattern),
                    "Malformed address",
                    f"`{pattern}` is not an address",
                    "write plugin/NAME, release/NAME@VERSION, release/NAME@* or storage/NAME",
                )
        return self._build_target(name, settings, self.positions.get(target_path))

    def _list_source_settings(
        self, settings: SettingsBlock, target_path: FieldPath
    ) -> dict[str, Mapping[str, Any]]:
        """The target's block of each source of secrets that has one; reports their faults."""
        blocks = {name: settings[name] for name in SECRET_SOURCES if name in settings}
        for name, block in blocks.items():
            for fault in SECRET_SOURCES[name].find_faults(block):
                fault_path = (*target_path, name, *fault.path)
                self._report_finding(fault_path, fault.summary, fault.detail, fault.hint)
        return blocks

    def _build_target(
        self, name: str, settings: SettingsBlock, position: Position | None
    ) -> Target:
        api = settings.get("api", "v1")
        # A target's settings win over the project's, key by key.
        policy = {**self.value.get("policy", {}), **settings.get("policy", {})}
        target_path: FieldPath = ("targets", name)
        rules = decode_rules(settings, target_path, self.positions, self._report_finding)
        # The default rules protect shared backends; the embedded one is the user's own.
        common = self.rules if name == EMBEDDED else add_default_rules_not_named(self.rules)
        guards = {**self.value.get("guards", {}), **settings.get("guards", {})}
        token = settings.get("token")
        files = (*self.value.get("allow_files", ()), *settings.get("allow_files", ()))
        return Target(
            name=name,
            # Without the slash, so that URLs can be compared and joined.
            url=settings.get("url", "").rstrip("/"),
            tenant=settings.get("tenant", ""),
            # v1 is the default, as every backend has it.
            api={"*": api} if isinstance(api, str) else {"*": "v1", **api},
            token=SecretRef("env", token["env"]) if token else None,
            agents={
                agent: SecretRef("env", reference["env"])
                for agent, reference in settings.get("agents", {}).items()
            },
            state=_decode_state_settings(settings.get("state", {})),
            variables=dict(settings.get("variables", {})),
            variable_places={
                variable: self.positions[(*target_path, "variables", variable)]
                for variable in settings.get("variables", {})
            },
            manifests=self._list_manifest_paths_with_positions(
                ("targets", name, "manifests"), settings
            ),
            overlays={
                pattern: Overlay(
                    pattern,
                    patch,
                    self.positions,
                    ("targets", name, "overlays", pattern),
                    self.source,
                )
                for pattern, patch in settings.get("overlays", {}).items()
            },
            allow_env=tuple(settings.get("allow_env", ())),
            allow_files=files,
            source_settings=self._list_source_settings(settings, target_path),
            on_drift=settings.get("on_drift", "revert"),
            require_verified=tuple(settings.get("require_verified", ())),
            settle_after=float(settings.get("settle_after", 30.0)),
            guards=GuardSettings(**guards),
            policy=Policy(
                policy.get("unreleased_source", "note"),
                merge_rules_for_target(common, rules, target_path, self._report_finding),
            ),
            unsupported_fields=settings.get("unsupported_fields", "error"),
            position=position,
        )


def _decode_state_settings(settings: SettingsBlock) -> StateSettings:
    url = settings.get("url", "")
    key: SecretRef | None = None
    key_file = ""
    block = settings.get("key", {})
    for name in [name for name in block if name in SECRET_SOURCES]:
        source = SECRET_SOURCES[name]
        key = build_reference_or_none(source, block[name], block.get("format", "text"))
        key_file = block[name] if source.names_file else ""
    return StateSettings(
        SecretRef("env", url["env"]) if isinstance(url, Mapping) else str(url),
        settings.get("lineage", ""),
        key,
        key_file,
    )


def parse_command_line_variables(
    project: Project,
    assignments: Sequence[str] = (),
    files: Sequence[tuple[str, bytes]] = (),
) -> tuple[dict[str, Any], tuple[Diagnostic, ...]]:
    """The variables of `--var NAME=VALUE` and of each `--var-file` (its name and content).

    Later files win over earlier ones, and `--var` over all. Returns the values and the findings.
    """
    values: dict[str, Any] = {}
    findings: list[Diagnostic] = []
    for display_name, data in files:
        _merge_variable_file(project, display_name, data, values, findings)
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        variable = project.variables.get(name)
        if not equals or not name:
            findings.append(
                error_finding("Malformed --var", "--var takes NAME=VALUE", "write --var NAME=VALUE")
            )
        elif variable is None:
            findings.append(
                error_finding(
                    "Undeclared variable",
                    f"--var {name}: no variable `{name}` is declared",
                    suggest_known_word_or_empty(name, project.variables)
                    or "declare it under `variables:`",
                )
            )
        else:
            value, finding = parse_variable_text(variable, text)
            if finding is None:
                values[name] = value
            else:
                findings.append(finding)
    return values, tuple(findings)


def _merge_variable_file(
    project: Project,
    display_name: str,
    data: bytes,
    values: dict[str, Any],
    findings: list[Diagnostic],
) -> None:
    mapping, positions, problems = parse_single_mapping_with_findings(data, display_name)
    findings.extend(problems)
    for name, value in mapping.items():
        if name in project.variables:
            values[name] = value
        else:
            findings.append(
                error_finding(
                    "Undeclared variable",
                    f"no variable `{name}` is declared",
                    suggest_known_word_or_empty(name, project.variables)
                    or "declare it under `variables:`",
                    position=positions.get((name,)),
                )
            )
