"""Where the project file is found, whether it can be used, and how it becomes a Project."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from synapse_apply import __version__
from synapse_apply.files import checkout
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.manifests import schemas
from synapse_apply.manifests.decode.variables import Overlay
from synapse_apply.manifests.project.policy import (
    RefactoringDecoder,
    add_default_rules,
    decode_allowed_secrets,
    decode_brake,
    decode_rules,
    merge_rules_for_target,
)
from synapse_apply.manifests.project.target_lists import (
    MAX_LIST_BYTES,
    ListedPositions,
    ListedTargets,
    ReadListFile,
    listed_schema_findings,
    read_listed_targets,
)
from synapse_apply.manifests.schemas import ValueToCheck, build_schema_findings
from synapse_apply.manifests.yaml.reader import Document, iter_extra_document_error, read_documents
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, Position, error_finding
from synapse_apply.model.json_types import SettingsBlock
from synapse_apply.model.phrases import FirstHints, suggest_words
from synapse_apply.model.project import (
    EMBEDDED,
    STATE_KEY,
    AllowedSecret,
    GuardSettings,
    Policy,
    PolicyRule,
    Project,
    Provider,
    StateSettings,
    Target,
    Variable,
    collect_credentials,
    list_credentials,
)
from synapse_apply.model.secrets.credentials import is_name_of_secret
from synapse_apply.model.secrets.secret_rules import (
    KEY_VARIABLE,
    ReservedVariables,
    is_text_of_authors,
)
from synapse_apply.model.values import SecretRef
from synapse_apply.secret_sources.catalogue import SECRET_SOURCES
from synapse_apply.secret_sources.source import build_reference_or_none_if_malformed


class LazyTargets(Mapping[str, Target]):
    """Targets by name, each made at its first use; names are known without making any."""

    def __init__(self, names: Collection[str], build_target: Callable[[str], Target]) -> None:
        """`build_target` gets one of the names."""
        self._names = dict.fromkeys(names)
        self._build_target = build_target
        self._built: dict[str, Target] = {}

    def __getitem__(self, name: str) -> Target:
        if name not in self._built:
            if name not in self._names:
                raise KeyError(name)
            self._built[name] = self._build_target(name)
        return self._built[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


FILE_NAME = "synapse-apply.yaml"
# Of all targets together: each with a policy of its own has all common rules, too.
_MAX_RULES = 10_000_000


class PlacedText(str):
    """A text of the project file, with its position."""

    __slots__ = ("position",)
    position: Position | None


def text_position(text: str) -> Position | None:
    """The position of a text that comes from the project file; None for any other text."""
    return getattr(text, "position", None)


def find_project_file(start: Path) -> Path | None:
    """The project file in a folder, or in the nearest parent that has an entry of its name.

    Also an entry that is no file: reading it reports what is wrong, and skipping it would
    use another project in its place.
    """
    for folder in checkout.iter_folders_above(start.resolve() / FILE_NAME):
        if os.path.lexists(f"{folder}/{FILE_NAME}"):
            return Path(folder, FILE_NAME)
    return None


def build_default_project(root: Path) -> Project:
    """The project that is used without a project file: it has the embedded target alone."""
    return Project(root=root, file=None, targets={EMBEDDED: Target(EMBEDDED)})


def read_project_or_findings(
    file: Path,
    display_name: str,
    data: bytes | None = None,
    read_list_file: ReadListFile | None = None,
) -> tuple[Project | None, tuple[Diagnostic, ...]]:
    """The project of a file, or None with the findings why it cannot be used.

    `display_name` is the file's name in findings; `data` its content, and `read_list_file` reads
    the lists of targets, when they are not read from disk (another revision's). Raises OSError if
    it cannot be read, also where a link leads out of the checkout (out of its folder, where there
    is no repository).
    """
    if data is None:
        data = checkout.read_typed_file(file, file.parent)
    reading = read_documents(data, display_name)
    findings = [*reading.diagnostics, *iter_extra_document_error(reading, display_name)]
    if not reading.documents and not findings:
        hint = "begin with `apiVersion: synapse-apply/v1` and `kind: Project`"
        position = Position(display_name, 1, 1)
        detail = f"{display_name} is empty"
        findings.append(error_finding("Empty project file", detail, hint, position=position))
    if not reading.documents:
        return None, tuple(findings)
    document = reading.documents[0]
    value, positions = document.value, document.positions
    # The fast validator decides; the one that explains is slow to import.
    if not schemas.compile_validator("project").is_valid(value):
        value_to_check = ValueToCheck(value, positions, scalar_text=document.source.scalar_text)
        findings.extend(build_schema_findings("project", value_to_check))
    # Decoding relies on the schema, so it starts only when all of it is right.
    if findings:
        return None, tuple(findings)
    reader = read_list_file or partial(_read_list, file)
    listed = read_listed_targets(document, display_name, reader)
    placed = ListedPositions(positions, listed.targets)
    findings = list(listed.findings)
    if listed.targets:
        findings.extend(placed.place_findings(listed_schema_findings(listed.targets, placed)))
    if findings:
        return None, tuple(findings)
    decoder = _ProjectDecoder(document, listed, placed)
    project = decoder.decode(file)
    findings = list(placed.place_findings(iter(decoder.findings)))
    return (None if findings else project), tuple(findings)


def _read_list(project_file: Path, name: str) -> bytes | None:
    """A list in the folder of a project file, None without one; OSError, also for links out."""
    path = project_file.parent / name
    if not os.path.lexists(path):
        return None
    checkout.require_path_inside(path, project_file.parent)
    return checkout.read_regular_file(path, MAX_LIST_BYTES)


class _ProjectDecoder:
    """Decodes a project file that fits its schema; collects `findings` of what no schema checks."""

    def __init__(
        self, document: Document, listed: ListedTargets, positions: Mapping[FieldPath, Position]
    ) -> None:
        """`positions` has those of what is `listed`, too."""
        self.value: Mapping[str, Any] = document.value
        self.listed = listed
        self.settings: Mapping[str, SettingsBlock] = {
            **self.value.get("targets", {}),
            **{name: target.settings for name, target in listed.targets.items()},
        }
        self.positions = positions
        self.source = document.source
        self.findings: list[Diagnostic] = []
        self._hints = FirstHints()
        # By the identities of blocks: what a template says without a row is one object for all.
        self._checked_parts: dict[tuple[int, ...], tuple[PolicyRule, ...]] = {}
        self.rules = decode_rules(self.value, (), self.positions, self._report)
        if len(self.rules) * len(self.settings) > _MAX_RULES:
            detail = f"all targets together have more than {_MAX_RULES:,} rules"
            self._report(("policy",), "Too many policy rules", detail, "write fewer rules")
            self.rules = ()
        self._allowed_secrets((), self.value)

    def decode(self, file: Path) -> Project:
        value = self.value
        if (required := value.get("required_version", __version__)) != __version__:
            detail = f"this is synapse-apply {__version__}, and the project requires {required}"
            hint = f"install synapse-apply=={required}, or have `init --pin` write {__version__}"
            summary = "Another version of synapse-apply is required"
            self._report(("required_version",), summary, detail, hint)
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
        # The embedded target is there without being declared; it may be declared to be configured.
        targets = LazyTargets((*self.settings, EMBEDDED), self._build_target)
        for name in self.settings:
            self._report_target_faults(name)
        self._report_unknown_names(variables, targets)
        # Of targets that name the same credentials, the first.
        by_identity: dict[tuple[int, ...], Target] = {}
        for name, settings in self.settings.items():
            keys = ("token", "agents", "state", *SECRET_SOURCES)
            identity = tuple(id(settings.get(key)) for key in keys)
            if identity not in by_identity:
                by_identity[identity] = Target(name, **_decode_credentials(settings))
        reserved = collect_credentials({target.name: target for target in by_identity.values()})
        self._report_odd_credentials(by_identity.values(), reserved)
        refactoring = RefactoringDecoder(value, self.positions, self._report)
        moved = refactoring.decode_moves()
        default = value.get("default_target", "")
        if default and default not in targets:
            detail, hint = f"there is no target `{default}`", suggest_words(default, targets)
            self._report(("default_target",), "Unknown target", detail, hint)
        return Project(
            root=file.parent,
            file=file,
            id=value.get("project", {}).get("id", ""),
            manifests=self._place_texts(("manifests",), value),
            variables=variables,
            targets=targets,
            reserved=reserved,
            default_target=default,
            moved=moved,
            removed=refactoring.decode_removals(moved),
            max_package_size=value.get("max_package_size", 4 * 1024**3),
            providers=self._decode_providers(),
            list_files=frozenset(self.listed.files),
        )

    def _report_odd_credentials(
        self, targets: Iterable[Target], reserved: ReservedVariables
    ) -> None:
        """A credential that a commit's author writes, or a state key that would be sent away."""
        named = {**reserved.files, **reserved.variables}
        for target in targets:
            for setting, ref in list_credentials(target).items():
                if not isinstance(ref, SecretRef) or ref.arguments:
                    continue
                upper, path = ref.name.upper(), ("targets", target.name)
                setting_of = named.get(ref.name) or named.get(upper, "")
                is_key = upper.startswith(KEY_VARIABLE) or setting_of.endswith(STATE_KEY)
                if is_text_of_authors(ref.name):
                    self._report(
                        path,
                        "Variable set by a commit's author",
                        f"`{setting}` names {ref.name}, which the forge sets to a value that the "
                        "author of a commit or pull request chose, or to a folder of the checkout",
                        "name a variable that you set yourself",
                    )
                elif setting != STATE_KEY and is_key:
                    detail = (
                        f"`{setting}` names {ref.name}, which is a state key, and the tool "
                        "never sends a state key to a server"
                    )
                    hint = "name a separate credential"
                    self._report(path, "State key as another credential", detail, hint)

    def _decode_providers(self) -> dict[str, Provider]:
        providers = {}
        for name, description in self.value.get("providers", {}).items():
            if name in schemas.providers_with_secrets():
                detail = f"the tool already describes the keys and secrets of `{name}`"
                hint = "remove the description here, or use another name for the provider"
                self._report(("providers", name), "Provider is known already", detail, hint)
                continue
            keys = description["keys"]
            secret, required = (
                frozenset(key for key, key_settings in keys.items() if key_settings.get(mark))
                for mark in ("secret", "required")
            )
            names = frozenset(filter(is_name_of_secret, keys))
            providers[name] = Provider(dict.fromkeys(sorted(keys)), secret, required, names)
        return providers

    def _report(
        self, path: FieldPath, summary: str, detail: str, hint: str | Callable[[], str]
    ) -> None:
        """Add a finding; of hints that are searched for only the first are."""
        text = hint if isinstance(hint, str) else self._hints.find_hint(hint)
        position = self.positions.get(path)
        self.findings.append(error_finding(summary, detail, text, position=position, path=path))

    def _place_texts(self, path: FieldPath, settings: SettingsBlock) -> tuple[str, ...]:
        texts = []
        for index, text in enumerate(settings.get("manifests", ())):
            # The position travels with the text, since findings on paths are made far from here.
            placed_text = PlacedText(text)
            placed_text.position = self.positions.get((*path, index))
            texts.append(placed_text)
        return tuple(texts)

    def _report_unknown_names(
        self, variables: Mapping[str, Variable], names: Collection[str]
    ) -> None:
        for target, settings in self.settings.items():
            for name in settings.get("variables", ()):
                if name not in variables:
                    path: FieldPath = ("targets", target, "variables", name)
                    hint = self._hints.suggest(name, variables) or "declare it under `variables:`"
                    detail = f"no variable `{name}` is declared"
                    self._report(path, "Undeclared variable", detail, hint)
        for target, settings in self.settings.items():
            for index, name in enumerate(settings.get("require_verified", ())):
                path = ("targets", target, "require_verified", index)
                if name == target:
                    detail = f"target `{target}` cannot require its own verification"
                    hint = "name the preceding target"
                    self._report(path, "Target requires itself", detail, hint)
                elif name not in names:
                    hint = self._hints.suggest(name, filter(target.__ne__, names))
                    self._report(path, "Unknown target", f"there is no target `{name}`", hint)

    def _report_target_faults(self, name: str) -> None:
        """Report what no schema finds; what several targets of a list share is checked once."""
        target_path: FieldPath = ("targets", name)
        settings = self.settings[name]
        # The embedded backend runs inside this process: a URL or a token would be misleading.
        if name == EMBEDDED:
            for key in [key for key in ("url", "tenant", "token") if key in settings]:
                detail = f"`{key}` cannot be set: `embedded` is always the embedded backend"
                hint = "choose another name for this target"
                self._report((*target_path, key), "Reserved target", detail, hint)
        for pattern in settings.get("overlays", ()):
            kind, slash, object_name = pattern.partition("/")
            if not (slash and object_name) or kind not in CATALOGUE:
                path, detail = (*target_path, "overlays", pattern), f"`{pattern}` is not an address"
                hint = "write plugin/NAME, release/NAME@VERSION, release/NAME@* or storage/NAME"
                self._report(path, "Malformed address", detail, hint)
        self._merged_rules(name)
        if (policy_part := (id(settings.get("policy")),)) not in self._checked_parts:
            self._checked_parts[policy_part] = ()
            self._allowed_secrets(target_path, settings)
        state_key = _decode_state(settings.get("state", {})).key
        if state_key is not None and state_key.keeps_live_value:
            detail = "a state key has no live value: no server has it"
            hint = "name a variable or a file, such as {env: NAME}"
            path = (*target_path, "state", "key")
            self._report(path, "State key without a value", detail, hint)
        for source in SECRET_SOURCES:
            if source in settings and (id(settings[source]),) not in self._checked_parts:
                self._checked_parts[id(settings[source]),] = ()
                for fault in SECRET_SOURCES[source].find_faults(settings[source]):
                    fault_path = (*target_path, source, *fault.path)
                    self._report(fault_path, fault.summary, fault.detail, fault.hint)

    def _merged_rules(self, name: str) -> tuple[PolicyRule, ...]:
        """The rules of a target's policy, which are one tuple for all that share the block."""
        settings = self.settings.get(name, {})
        # The default rules protect shared backends; the embedded one is the user's own.
        is_embedded = name == EMBEDDED
        part = (id(settings.get("policy")), is_embedded)
        if part not in self._checked_parts:
            target_path: FieldPath = ("targets", name)
            rules = decode_rules(settings, target_path, self.positions, self._report)
            common = self.rules if is_embedded else add_default_rules(self.rules)
            self._checked_parts[part] = merge_rules_for_target(
                common, rules, target_path, self._report
            )
        return self._checked_parts[part]

    def _allowed_secrets(
        self, owner_path: FieldPath, settings: SettingsBlock
    ) -> tuple[AllowedSecret, ...]:
        return tuple(decode_allowed_secrets(settings, owner_path, self.positions, self._report))

    def _build_target(self, name: str) -> Target:
        settings = self.settings.get(name, {})
        listed = self.listed.targets.get(name)
        api = settings.get("api", "v1")
        # A target's settings win over the project's, key by key.
        policy = {**self.value.get("policy", {}), **settings.get("policy", {})}
        target_path: FieldPath = ("targets", name)
        guards = {**self.value.get("guards", {}), **settings.get("guards", {})}
        files = (*self.value.get("allow_files", ()), *settings.get("allow_files", ()))
        return Target(
            name=name,
            # Without the slash, so that URLs can be compared and joined.
            url=settings.get("url", "").rstrip("/"),
            tenant=settings.get("tenant", ""),
            # v1 is the default, as every backend has it.
            api={"*": api} if isinstance(api, str) else {"*": "v1", **api},
            variables=dict(settings.get("variables", {})),
            variable_places={
                variable: self.positions[(*target_path, "variables", variable)]
                for variable in settings.get("variables", {})
            },
            manifests=self._place_texts(("targets", name, "manifests"), settings),
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
            owners=tuple(self.value.get("owners", ())),
            settle_after=float(settings.get("settle_after", 30.0)),
            guards=GuardSettings(**guards),
            policy=Policy(
                policy.get("unreleased_source", "note"),
                self._merged_rules(name),
                (
                    *self._allowed_secrets((), self.value),
                    *self._allowed_secrets(target_path, settings),
                ),
                decode_brake(policy.get("brake", {})),
            ),
            unsupported_fields=settings.get("unsupported_fields", "error"),
            position=self.positions.get(target_path) if name in self.settings else None,
            labels=settings.get("labels", {}),
            row=listed.row if listed else None,
            **_decode_credentials(settings),
        )


def _decode_credentials(settings: SettingsBlock) -> dict[str, Any]:
    """The fields of a target that name credentials, with the block of each source of secrets."""
    token, agents = settings.get("token"), settings.get("agents", {})
    return {
        "token": SecretRef("env", token["env"]) if token else None,
        "agents": {name: SecretRef("env", ref["env"]) for name, ref in agents.items()},
        "state": _decode_state(settings.get("state", {})),
        "source_settings": {name: settings[name] for name in SECRET_SOURCES if name in settings},
    }


def _decode_state(settings: SettingsBlock) -> StateSettings:
    url = settings.get("url", "")
    key: SecretRef | None = None
    key_file = ""
    block = settings.get("key", {})
    for name in [name for name in block if name in SECRET_SOURCES]:
        source = SECRET_SOURCES[name]
        key = build_reference_or_none_if_malformed(source, block[name], block.get("format", "text"))
        key_file = block[name] if source.names_file else ""
    return StateSettings(
        SecretRef("env", url["env"]) if isinstance(url, Mapping) else str(url),
        settings.get("lineage", ""),
        key,
        key_file,
    )
