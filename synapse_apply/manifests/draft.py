"""A manifest on its way to a Desired, and what its decoding may ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from synapse_apply.manifests.files import is_inside, outside
from synapse_apply.manifests.places import nearest
from synapse_apply.manifests.reader import Document
from synapse_apply.model.address import Address
from synapse_apply.model.credentials import UNSHOWN, is_secret
from synapse_apply.model.desired import PackageSource
from synapse_apply.model.diagnostic import Diagnostic, Path, Position, Severity
from synapse_apply.model.errors import InputError
from synapse_apply.model.marks import SecretMarks
from synapse_apply.model.project import Project, Target
from synapse_apply.model.secret_rules import env_allowed, file_allowed

Config = tuple[Mapping[str, Any], Mapping[Path, Position]]
PackageConfig = Callable[[PackageSource], "Config | Diagnostic | None"]
"""The config.yaml of a package with its positions, None without one, or why it cannot be read
(a Diagnostic, or InputError raised).
"""

PUBLISHED = "published"


@dataclass(slots=True)
class Draft:
    """One document for one target; `schema` is also the prefix of its kind's addresses.

    `unknown` are the paths whose variables have no value: what is written there says nothing.
    """

    schema: str
    value: Any = field(repr=False)
    positions: Mapping[Path, Position]
    document: Document
    position: Position
    address: Address | None = None
    unknown: set[Path] = field(default_factory=set)

    @property
    def broken(self) -> bool:
        """Whether it declares nothing, since it is not known as a whole."""
        return bool(self.unknown)

    def is_unknown(self, path: Path) -> bool:
        """Whether what stands at a path, or above it, is not known."""
        return any(path[:length] in self.unknown for length in range(len(path) + 1))

    @property
    def spec(self) -> Mapping[str, Any]:
        found = self.value.get("spec")
        return found if isinstance(found, dict) else {}

    @property
    def metadata(self) -> Mapping[str, Any]:
        found = self.value.get("metadata")
        return found if isinstance(found, dict) else {}

    def place(self, path: Path = ()) -> Position | None:
        return nearest(self.positions, path)


@dataclass(slots=True)
class Context:
    """What decoding for one target shares; `findings` grow in the order of the files."""

    project: Project
    target: Target
    marks: SecretMarks
    package_config: PackageConfig | None = None
    findings: list[Diagnostic] = field(default_factory=list)
    unknown_providers: set[str] = field(default_factory=set)
    reported_flaws: set[tuple[PackageSource, str]] = field(default_factory=set)
    _configs: dict[tuple[str, str, str], Config | None] = field(default_factory=dict)
    _without_config: set[tuple[str, str, str]] = field(default_factory=set)
    _inside: dict[str, bool] = field(default_factory=dict)
    _env: dict[str, bool] = field(default_factory=dict)
    _files: dict[str, bool] = field(default_factory=dict)

    def find(
        self,
        draft: Draft,
        path: Path,
        summary: str,
        detail: str,
        hint: str = "",
        severity: Severity = Severity.ERROR,
        target: str | None = None,
    ) -> None:
        """Report something about a field of a document."""
        address = str(draft.address) if draft.address else None
        self.findings.append(
            Diagnostic(severity, summary, detail, hint, draft.place(path), address, path, target)
        )

    def warn(self, draft: Draft, path: Path, summary: str, detail: str, hint: str = "") -> None:
        """Report a warning about a field of a document."""
        self.find(draft, path, summary, detail, hint, Severity.WARNING)

    def config(self, source: PackageSource | None, draft: Draft | None = None) -> Config:
        """The package's config.yaml, read once; what is wrong with it is reported once."""
        if source is None or source.kind == PUBLISHED or self.package_config is None:
            return {}, {}
        key = (source.kind, source.path, source.ref)
        if key not in self._configs:
            self._configs[key] = self._read_config(source, self.package_config, draft)
        return self._configs[key] or ({}, {})

    def is_broken(self, source: PackageSource | None) -> bool:
        """Whether the package could not be read, which was reported."""
        if source is None:
            return False
        return self._configs.get((source.kind, source.path, source.ref), ()) is None

    def has_no_config(self, source: PackageSource) -> bool:
        """Whether a package that was asked for its config.yaml has none."""
        return (source.kind, source.path, source.ref) in self._without_config

    def report_flaw(self, source: PackageSource | None, rule: str) -> None:
        """Note that what was found says what a rule of package_rules says of a package."""
        if source is not None:
            self.reported_flaws.add((replace(source, position=None), rule))

    def _is_inside(self, path: str) -> bool:
        if path not in self._inside:
            self._inside[path] = is_inside(self.project, self.target, path)
        return self._inside[path]

    def may_read_env(self, name: str) -> bool:
        """Whether valueFrom may read a variable; asked for the same few names all the time."""
        if name not in self._env:
            reserved = self.project.reserved.setting_of_variable(name)
            self._env[name] = not reserved and env_allowed(name, self.target.allow_env)
        return self._env[name]

    def may_read_file(self, name: str) -> bool:
        """Whether valueFrom may name a file."""
        if name not in self._files:
            root = self.project.root
            reserved = self.project.reserved.setting_of_file(name, root)
            allowed = file_allowed(name, root, self.target.allow_files)
            self._files[name] = not reserved and allowed
        return self._files[name]

    def _read_config(
        self, source: PackageSource, package_config: PackageConfig, draft: Draft | None
    ) -> Config | None:
        """None when it cannot be read."""
        try:
            found = package_config(source)
        except InputError as problem:
            self._broken(source, problem.diagnostics, draft)
            return None
        if isinstance(found, Diagnostic):
            self._broken(source, (found,), draft)
            return None
        if found is None:
            self._without_config.add((source.kind, source.path, source.ref))
            return {}, {}
        return found

    def _broken(
        self, source: PackageSource, findings: Iterable[Diagnostic], draft: Draft | None
    ) -> None:
        address = str(draft.address) if draft and draft.address else None
        for one in findings:
            at = one.position or source.position
            if is_secret(f"{one.detail} {one.hint} {one.path}"):
                one = one.with_(detail=UNSHOWN, hint="", path=None)  # noqa: PLW2901
            self.findings.append(one.with_(position=at, address=one.address or address))

    def source(self, draft: Draft, key: str) -> PackageSource | None:
        """The package source in a spec field; None when it is absent or malformed."""
        value = draft.spec.get(key)
        if any(draft.is_unknown(("spec", key, *below)) for below in ((), ("path",), ("ref",))):
            return None
        position = draft.place(("spec", key))
        if value == PUBLISHED and key == "source":
            return PackageSource(PUBLISHED, position=position)
        ref = value.get("ref", "") if isinstance(value, dict) else ""
        path = value.get("path") if isinstance(value, dict) else value
        if not isinstance(path, str) or not path or not isinstance(ref, str):
            return None
        if not self._is_inside(path):
            return None
        kind = "file" if key == "file" else ("git" if ref else "folder")
        return PackageSource(kind, tidy(path), ref, position)

    def check_inside(self, draft: Draft, path: Path, text: Any) -> None:
        """Report a path that leaves the project."""
        if isinstance(text, str) and not self._is_inside(text):
            found = outside(text, self.project)
            self.find(draft, path, found.summary, found.detail, found.hint)


def tidy(path: str) -> str:
    """A path as addresses of sources compare it: forward slashes, no `./`, no last slash."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in {"", "."}]
    return ("/" if path.startswith("/") else "") + "/".join(parts) or "."
