"""The project file: found, read, checked, decoded to the model's Project."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

from synapse_apply.files.checkout import read_named
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.manifests import shapes
from synapse_apply.manifests.explain import Subject, explain
from synapse_apply.manifests.features import unsupported_in_project
from synapse_apply.manifests.overlays import Overlay
from synapse_apply.manifests.policy import merged, rules_of, with_defaults
from synapse_apply.manifests.reader import Document, mapping_of, more_than_one, read
from synapse_apply.manifests.refactoring import Refactoring
from synapse_apply.manifests.variables import from_text
from synapse_apply.manifests.wording import did_you_mean
from synapse_apply.model.diagnostic import Diagnostic, Path, Position, error
from synapse_apply.model.policy import Policy
from synapse_apply.model.project import (
    EMBEDDED,
    Guards,
    Project,
    Provider,
    StateSettings,
    Target,
    Variable,
    reserved_by,
)
from synapse_apply.model.values import SecretRef

FILE_NAME = "synapse-apply.yaml"


class PlacedText(str):
    """A text of the project file that knows where it stands."""

    __slots__ = ("position",)
    position: Position | None


def place_of(text: str) -> Position | None:
    """Where a text of the project file stands; None for one from elsewhere."""
    return getattr(text, "position", None)


def find_project(start: FilePath) -> FilePath | None:
    """The project file in a folder or in the nearest parent that has something of that name.

    What is no file there is given, too: reading it says what is wrong, and passing it over would
    take another project for this one.
    """
    here = start.resolve()
    for folder in (here, *here.parents):
        if os.path.lexists(folder / FILE_NAME):
            return folder / FILE_NAME
    return None


def without_file(root: FilePath) -> Project:
    """What stands in where there is no project file: the embedded target alone."""
    return Project(root=root, file=None, targets={EMBEDDED: Target(EMBEDDED)})


def read_project(
    file: FilePath, shown: str, data: bytes | None = None
) -> tuple[Project | None, tuple[Diagnostic, ...]]:
    """The project of a file, or None and why it cannot be used.

    `shown` is the file's name in findings; `data` its text when it comes from elsewhere (another
    revision). Raises OSError as reading a file does, also for one that a link leads out of the
    checkout (of its folder, where there is no repository around it).
    """
    if data is None:
        data = read_named(file, file.parent)
    reading = read(data, shown)
    findings = list(reading.diagnostics)
    if not reading.documents and not findings:
        findings.append(
            error(
                "Empty project file",
                f"{shown} holds nothing",
                "begin with `apiVersion: synapse-apply/v1` and `kind: Project`",
                position=Position(shown, 1, 1),
            )
        )
    findings.extend(more_than_one(reading, shown))
    if not reading.documents:
        return None, tuple(findings)
    document = reading.documents[0]
    value, positions = document.value, document.positions
    if not shapes.validator("project").is_valid(value):
        subject = Subject(value, positions, scalar_text=document.source.scalar_text)
        findings.extend(explain("project", subject))
    if isinstance(value, dict):
        findings.extend(unsupported_in_project(value, positions))
    if findings:
        return None, tuple(findings)
    decoder = _Decoder(document)
    project = decoder.project(file)
    return (None if decoder.findings else project), tuple(decoder.findings)


class _Decoder:
    """Decodes a project file that fits its schema."""

    def __init__(self, document: Document) -> None:
        self.value: Mapping[str, Any] = document.value
        self.positions = document.positions
        self.source = document.source
        self.findings: list[Diagnostic] = []
        self.rules = rules_of(self.value, (), self.positions, self._find)

    def project(self, file: FilePath) -> Project:
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
        targets = {name: self._target(name) for name in value.get("targets", {})}
        targets.setdefault(EMBEDDED, self._decoded(EMBEDDED, {}, None))
        self._check_variables(variables)
        self._check_required(targets)
        refactoring = Refactoring(value, self.positions, self._find)
        moved = refactoring.moved()
        default = value.get("default_target", "")
        if default and default not in targets:
            self._find(
                ("default_target",),
                "Unknown target",
                f"there is no target `{default}`",
                did_you_mean(default, targets),
            )
        return Project(
            root=file.parent,
            file=file,
            manifests=self._listed(("manifests",), value),
            variables=variables,
            targets=targets,
            reserved=reserved_by(targets),
            default_target=default,
            moved=moved,
            removed=refactoring.removed(moved),
            max_package_size=value.get("max_package_size", 4 * 1024**3),
            providers=self._providers(),
        )

    def _providers(self) -> dict[str, Provider]:
        made = {}
        for name, described in self.value.get("providers", {}).items():
            if name in shapes.described_providers():
                self._find(
                    ("providers", name),
                    "Provider is known already",
                    f"the keys and secrets of `{name}` are described by this tool",
                    "remove it here, or give the provider its own name",
                )
                continue
            keys = described["keys"]
            made[name] = Provider(
                frozenset(keys),
                frozenset(key for key, facts in keys.items() if facts.get("secret")),
                frozenset(key for key, facts in keys.items() if facts.get("required")),
            )
        return made

    def _find(self, path: Path, summary: str, detail: str, hint: str) -> None:
        self.findings.append(
            error(summary, detail, hint, position=self.positions.get(path), path=path)
        )

    def _listed(self, path: Path, settings: Mapping[str, Any]) -> tuple[str, ...]:
        listed = []
        for index, text in enumerate(settings.get("manifests", ())):
            placed = PlacedText(text)
            placed.position = self.positions.get((*path, index))
            listed.append(placed)
        return tuple(listed)

    def _check_variables(self, declared: Mapping[str, Variable]) -> None:
        for target, settings in self.value.get("targets", {}).items():
            for name in settings.get("variables", {}):
                if name not in declared:
                    self._find(
                        ("targets", target, "variables", name),
                        "Undeclared variable",
                        f"no variable `{name}` is declared",
                        did_you_mean(name, declared) or "declare it under `variables:`",
                    )

    def _check_required(self, targets: Mapping[str, Target]) -> None:
        for name, target in targets.items():
            for index, other in enumerate(target.require_verified):
                at: Path = ("targets", name, "require_verified", index)
                others = [known for known in targets if known != name]
                if other == name:
                    detail = f"target `{name}` cannot be verified in itself first"
                    self._find(at, "Target requires itself", detail, "name the target before it")
                elif other not in targets:
                    detail = f"there is no target `{other}`"
                    self._find(at, "Unknown target", detail, did_you_mean(other, others))

    def _target(self, name: str) -> Target:
        at: Path = ("targets", name)
        settings = self.value["targets"][name]
        if name == EMBEDDED:
            for key in ("url", "tenant", "token"):
                if key in settings:
                    self._find(
                        (*at, key),
                        "Reserved target",
                        f"`{key}` cannot be set: `embedded` is always the embedded backend",
                        "choose another name for this target",
                    )
        for pattern in settings.get("overlays", {}):
            kind, slash, rest = pattern.partition("/")
            if not (slash and rest) or kind not in CATALOGUE:
                self._find(
                    (*at, "overlays", pattern),
                    "Malformed address",
                    f"`{pattern}` is no address",
                    "write plugin/NAME, release/NAME@VERSION, release/NAME@* or storage/NAME",
                )
        return self._decoded(name, settings, self.positions.get(at))

    def _decoded(self, name: str, settings: Mapping[str, Any], position: Position | None) -> Target:
        api = settings.get("api", "v1")
        policy = {**self.value.get("policy", {}), **settings.get("policy", {})}
        at: Path = ("targets", name)
        rules = rules_of(settings, at, self.positions, self._find)
        common = self.rules if name == EMBEDDED else with_defaults(self.rules)
        guards = {**self.value.get("guards", {}), **settings.get("guards", {})}
        state = settings.get("state", {})
        token = settings.get("token")
        files = (*self.value.get("allow_files", ()), *settings.get("allow_files", ()))
        return Target(
            name=name,
            url=settings.get("url", "").rstrip("/"),
            tenant=settings.get("tenant", ""),
            api={"*": api} if isinstance(api, str) else {"*": "v1", **api},
            token=SecretRef("env", token["env"]) if token else None,
            agents={
                agent: SecretRef("env", of["env"])
                for agent, of in settings.get("agents", {}).items()
            },
            state=StateSettings(_state_url(state.get("url", "")), state.get("lineage", "")),
            variables=dict(settings.get("variables", {})),
            variable_places={
                variable: self.positions[(*at, "variables", variable)]
                for variable in settings.get("variables", {})
            },
            manifests=self._listed(("targets", name, "manifests"), settings),
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
            on_drift=settings.get("on_drift", "revert"),
            require_verified=tuple(settings.get("require_verified", ())),
            settle_after=float(settings.get("settle_after", 30.0)),
            guards=Guards(**guards),
            policy=Policy(
                policy.get("unreleased_source", "note"), merged(common, rules, at, self._find)
            ),
            unsupported_fields=settings.get("unsupported_fields", "error"),
            position=position,
        )


def _state_url(url: Any) -> str | SecretRef:
    return SecretRef("env", url["env"]) if isinstance(url, Mapping) else str(url)


def given_variables(
    project: Project,
    assignments: Sequence[str] = (),
    files: Sequence[tuple[str, bytes]] = (),
) -> tuple[dict[str, Any], tuple[Diagnostic, ...]]:
    """The variables of `--var NAME=VALUE` and `--var-file` (name shown and content).

    Later files win over earlier ones, and --var over both.
    """
    given: dict[str, Any] = {}
    findings: list[Diagnostic] = []
    for shown, data in files:
        _take_file(project, shown, data, given, findings)
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        variable = project.variables.get(name)
        if not equals or not name:
            findings.append(
                error("Malformed --var", "--var takes NAME=VALUE", "write --var NAME=VALUE")
            )
        elif variable is None:
            findings.append(
                error(
                    "Undeclared variable",
                    f"--var {name}: no variable `{name}` is declared",
                    did_you_mean(name, project.variables) or "declare it under `variables:`",
                )
            )
        else:
            value, finding = from_text(variable, text)
            if finding is None:
                given[name] = value
            else:
                findings.append(finding)
    return given, tuple(findings)


def _take_file(
    project: Project, shown: str, data: bytes, given: dict[str, Any], findings: list[Diagnostic]
) -> None:
    mapping, positions, problems = mapping_of(data, shown)
    findings.extend(problems)
    for name, value in mapping.items():
        if name in project.variables:
            given[name] = value
        else:
            findings.append(
                error(
                    "Undeclared variable",
                    f"no variable `{name}` is declared",
                    did_you_mean(name, project.variables) or "declare it under `variables:`",
                    position=positions.get((name,)),
                )
            )
