"""A package's files as the platform will find them: entrypoints, secrets, what is left out.

All of it is seen while the package is hashed. Text files of at most 512 KiB are looked into; what
holds a zero byte is no text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from synapse_apply.model.credentials import UNSHOWN, allows, credentials, is_secret, is_secret_value
from synapse_apply.model.desired import PackageSource
from synapse_apply.model.diagnostic import Diagnostic, Path, Position
from synapse_apply.model.frozen import frozen
from synapse_apply.model.package_rules import Flaw
from synapse_apply.model.values import leaves
from synapse_apply.packages import requirements
from synapse_apply.packages.content import Entry, Gathered
from synapse_apply.packages.entrypoints import (
    Entrypoint,
    defines,
    entrypoints,
    imported,
    module_file,
    top_levels,
)
from synapse_apply.packages.publisher import PublisherRules
from synapse_apply.packages.sources import CONFIG_FILES, FILE, name_in

_LARGEST, _LARGEST_CONFIG = 512 * 1024, 1024 * 1024
# So many bytes of code are kept to follow imports in it.
_MOST_CODE = 16 * 1024 * 1024
_MOST_OF_A_RULE = 20
_MOST_NAMED = 5
_RENAME = "rename it, or change the pattern"
_SDK = "synapse_sdk"
_IGNORED_BY = (".gitignore", ".synapseignore")  # in the order in which the publisher reads them
_CONFIG, _SYNAPSE = CONFIG_FILES
_BINARY = re.compile(
    r"\.(png|jpe?g|gif|bmp|tiff?|webp|ico|pdf|zip|gz|bz2|xz|7z|tar|whl|so|dll|pyd|pyc|pt|pth|onnx"
    r"|npy|npz|pkl|parquet|h5|bin|mp[34]|wav|avi|mov|ttf|woff2?)$",
    re.IGNORECASE,
)


class Config(Protocol):
    """A config.yaml that was read."""

    @property
    def value(self) -> Mapping[str, Any]: ...
    @property
    def positions(self) -> Mapping[Path, Position]: ...
    @property
    def findings(self) -> tuple[Diagnostic, ...]: ...
    @property
    def flaws(self) -> tuple[Flaw, ...]: ...


# (bytes, name of the file for messages) -> what it says.
ReadConfig = Callable[[bytes, str], Config]


@frozen
class _LeftOut:
    """What is no part of the package, by path; a folder's ends in a slash."""

    rules: Mapping[str, str]

    def why(self, module: str) -> tuple[str, str] | None:
        """(path, rule) where a module, named by its path without an ending, is left out."""
        parts = module.split("/")
        at = ""
        for part in parts:
            at += part
            for path in (f"{at}/", f"{at}.py"):
                if path in self.rules:
                    return path, self.rules[path]
            at += "/"
        return None


@dataclass(slots=True)
class PackageLint:
    """Watches one package being read; `flaws` is all that it is against, when that is done.

    `config_findings` are then those of the YAML of its config.yaml.
    """

    source: PackageSource
    read_config: ReadConfig
    config_findings: tuple[Diagnostic, ...] = ()
    _found: Gathered = field(default_factory=Gathered)
    _files: dict[str, int] = field(default_factory=dict)
    _config_name: str = ""
    _config: bytes | None = None
    _code: dict[str, str] = field(default_factory=dict)
    _kept: int = 0
    _libraries: frozenset[str] = frozenset()
    _flaws: list[Flaw] = field(default_factory=list)
    _left: _LeftOut = field(default_factory=lambda: _LeftOut({}))
    _publisher: PublisherRules | None = None

    def begin(self, found: Gathered) -> None:
        """As `Watch` has it."""
        self._found = found
        self._files = {entry.path: entry.size for entry in found.entries}
        self._config_name = config_name(self._files)
        self._left = _LeftOut(dict(found.excluded))
        if self.source.kind != FILE:  # which anybody publishes as it is
            self._publisher = PublisherRules(map(found.ignore_files.get, _IGNORED_BY, ("", "")))

    def _pattern(self, path: str) -> str | None:
        """The pattern by which the platform's publisher leaves a file out."""
        return self._publisher.why(path) if self._publisher else None

    def wants(self, entry: Entry) -> bool:
        """As `Watch` has it."""
        if entry.path == self._config_name:
            return entry.size <= _LARGEST_CONFIG
        return 0 < entry.size <= _LARGEST and not _BINARY.search(entry.path)

    def see(self, entry: Entry, data: bytes) -> None:
        """As `Watch` has it."""
        if entry.path == self._config_name:
            self._config = data
        if b"\0" in data:
            return
        text = data.decode("utf-8", "replace")
        self._flaws += self._secrets(entry.path, text)
        if entry.path == requirements.FILE:
            self._flaws += self._requirements(text)
        if entry.path.endswith(".py") and self._kept + len(text) <= _MOST_CODE:
            self._kept += len(text)
            self._code[entry.path] = text

    def flaws(self) -> list[Flaw]:
        """All of them; of each rule the first few, the last of which counts the others."""
        found = [*self._of_config(), *self._flaws, *self._imports()]
        order = sorted(dict.fromkeys(map(unrevealing, found)), key=_by_place)
        return list(_limit_flaws(order))

    def _name(self, path: str) -> str:
        return name_in(self.source, path)

    def _at(self, path: str, line: int = 1, column: int = 1) -> Position:
        return Position(self._name(path), line, column)

    def _of_config(self) -> Iterator[Flaw]:
        yield from self._which_config()
        if self._config is None:
            return
        config = self.read_config(self._config, self._name(self._config_name))
        self.config_findings = tuple(
            one.with_(detail=UNSHOWN, hint="", path=None) if is_secret(f"{one}") else one
            for one in config.findings
        )
        yield from config.flaws
        yield from self._settings(config)
        for entrypoint in entrypoints(config.value):
            yield from self._entrypoint(entrypoint, config)
        yield from self._dockerfiles(config)

    def _which_config(self) -> Iterator[Flaw]:
        name = self._config_name
        others = [path for path in self._files if path.endswith(_CONFIG)]
        if name == _CONFIG:
            if _SYNAPSE in self._files:
                detail = f"{self._name(_SYNAPSE)} stands beside {_CONFIG}, which is the one read"
                yield Flaw("package:two-configs", detail, "delete it", self._at(_SYNAPSE))
        elif name == _SYNAPSE:
            other = f", and would take {min(others, key=len)}" if others else ""
            detail = f"what publishes a zip looks for {_CONFIG}{other}"
            yield Flaw("package:synapse-yaml", detail, f"rename it {_CONFIG}", self._at(name))
        elif self._files:
            taken = f"; a publisher of the platform would take {name}" if name else ""
            detail = f"{self.source} has neither {_CONFIG} nor {_SYNAPSE} at its root{taken}"
            hint = (
                "The platform reads the plugin's actions from it. "
                "Is this the plugin's own folder, and does no ignore rule leave the file out?"
            )
            yield Flaw("package:no-config", detail, hint, Position(str(self.source), 1, 1))
        if name and self._files[name] > _LARGEST_CONFIG:
            detail = f"{self._name(name)} is over 1 MiB"
            yield Flaw("package:unreadable-config", detail, "", self._at(name))

    def _secrets(self, path: str, text: str) -> Iterator[Flaw]:
        for found in credentials(text):
            where = self._at(path, found.line, found.column)
            yield _secret_flaw(found.kind, "here", where, certain=found.is_certain)

    def _settings(self, config: Config) -> Iterator[Flaw]:
        """Environment variables: their names say what they are, however YAML writes them."""
        text = (self._config or b"").decode("utf-8", "replace")
        file = self._name(self._config_name)
        places = [one.position for one in self._flaws if one.position is not None]
        known = {at.line for at in places if at.file == file}
        for top in (("env",), ("runtime_env", "env_vars"), ("container", "env")):
            for path, value in leaves(_below(config.value, top)).items():
                whole = (*top, *path)
                at = config.positions.get(whole)
                kind = is_secret_value(str(path[-1]), value) if isinstance(value, str) else ""
                if not kind or at is None or at.line in known or allows(text, at.line):
                    continue
                certain = isinstance(value, str) and is_secret(value)
                yield _secret_flaw(kind, f"`{'.'.join(map(str, whole))}`", at, certain, whole)

    def _requirements(self, text: str) -> Iterator[Flaw]:
        named = list(requirements.requirements(text))
        self._libraries = frozenset(one.name.lower().replace("-", "_") for one in named)
        loose = [one for one in named if not one.is_pinned]
        if loose:
            more = f" and {len(loose) - _MOST_NAMED} more" if len(loose) > _MOST_NAMED else ""
            names = ", ".join(one.name for one in loose[:_MOST_NAMED])
            yield Flaw(
                "package:unpinned",
                f"no version is pinned of {names}{more}",
                f"write, for example, {loose[0].name}==1.2.0",
                self._at(requirements.FILE, loose[0].line),
            )

    def _entrypoint(self, one: Entrypoint, config: Config) -> Iterator[Flaw]:
        def flaw(rule: str, detail: str, hint: str = "") -> Flaw:
            at = config.positions.get(one.path) or config.positions.get(one.path[:-1])
            return Flaw(f"package:{rule}", detail, hint, at, one.path)

        shown = f"`{one.text}`"
        if not one.is_wellformed:
            if one.text:
                detail = f"{shown} of action `{one.action}` is no entrypoint"
                yield flaw("entrypoint-form", detail, "write plugin.FILE:NAME")
            else:
                detail = f"action `{one.action}` has no `entrypoint`"
                yield flaw("entrypoint-none", detail, "write `entrypoint: plugin.FILE:NAME`")
            return
        file = module_file(one.module, self._files)
        top = one.module.partition(".")[0]
        if file is not None:
            if (why := self._pattern(file)) is not None:
                detail = f"{self._name(file)}, of {shown}, is left out there by the pattern `{why}`"
                yield flaw("left-out-elsewhere", detail, _RENAME)
            text = self._code.get(file)
            if text is not None and not defines(text, one.name):
                detail = f"{self._name(file)} has no `{one.name}`"
                yield flaw("entrypoint-name", detail, "name a class or a function of it")
        elif left := self._left.why(one.module.replace(".", "/")):
            detail = f"{left[0]}, of {shown}, is left out ({left[1]})"
            yield flaw("left-out", detail, f"rename it, or write `!{left[0]}` into .synapseignore")
        elif top in top_levels(self._files):
            detail = f"{shown} of action `{one.action}` leads to no file: there is no module "
            yield flaw("entrypoint-missing", f"{detail}`{one.module}` in {self.source}")
        elif top not in self._libraries and top != _SDK:
            detail = f"{shown} of action `{one.action}`: `{top}` is not in {self.source}"
            yield flaw("entrypoint-outside", detail, "is the path from the package's root?")

    def _dockerfiles(self, config: Config) -> Iterator[Flaw]:
        for block in ("container", "code_server"):
            settings = _below(config.value, (block,))
            file = settings.get("dockerfile")
            if not settings.get("enabled") or not isinstance(file, str) or not file.strip():
                continue
            path = file.strip().removeprefix("./")
            if path not in self._files:
                where: Path = (block, "dockerfile")
                detail = f"there is no {path} in {self.source}"
                at = config.positions.get(where)
                yield Flaw("package:dockerfile-missing", detail, "", at, where)

    def _imports(self) -> Iterator[Flaw]:
        """Modules that code imports and that are, or may be, left out; each once."""
        lost = {path: why for path in self._code if (why := self._pattern(path)) is not None}
        if not self._left.rules and not lost:
            return
        named: set[str] = set()
        for path, text in self._code.items():
            for module, offset in imported(text, path):
                file = module_file(module.replace("/", "."), self._files)
                left = self._left.why(module) if file is None else None
                name = file or module
                if name in named or (left is None and file not in lost):
                    continue
                named.add(name)
                at = self._at(path, text.count("\n", 0, offset) + 1)
                if left is not None:
                    detail = f"{left[0]}, which is imported here, is left out ({left[1]})"
                    hint = f"rename it, or write `!{left[0]}` into .synapseignore"
                    yield Flaw("package:import-left-out", detail, hint, at)
                else:
                    detail = f"{file}, which is imported here, is left out there by `{lost[name]}`"
                    yield Flaw("package:left-out-elsewhere", detail, _RENAME, at)


def config_name(files: Mapping[str, int]) -> str:
    """The file that counts as config.yaml, "" where there is none."""
    for name in CONFIG_FILES:
        if name in files:
            return name
    others = sorted((path for path in files if path.endswith(_CONFIG)), key=len)
    return others[0] if others else ""


def _below(value: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    found: Any = value
    for part in path:
        found = found.get(part) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _secret_flaw(
    kind: str, where: str, at: Position, certain: bool, path: Path | None = None
) -> Flaw:
    hint = (
        "take it out, and make it invalid where it was ever published; a comment "
        "`# pragma: allowlist secret` on the line says that it is none"
    )
    detail = f"{kind} stands {where}" if where == "here" else f"{where} holds {kind}"
    rule = "package:secret" if certain else "package:secret-like"
    return Flaw(rule, detail, hint, at, path)


def _by_place(flaw: Flaw) -> tuple[str, int, int]:
    at = flaw.position
    return (at.file, at.line, at.column) if at else ("", 0, 0)


def unrevealing(flaw: Flaw) -> Flaw:
    """The same flaw; without its words where they would quote a secret of a well-known form."""
    if not is_secret(f"{flaw.detail} {flaw.hint} {flaw.path}"):
        return flaw
    return Flaw(flaw.rule, UNSHOWN, "", flaw.position)


def _limit_flaws(flaws: list[Flaw]) -> Iterator[Flaw]:
    counts, seen = Counter(flaw.rule for flaw in flaws), Counter[str]()
    for flaw in flaws:
        seen[flaw.rule] += 1
        if seen[flaw.rule] < _MOST_OF_A_RULE:
            yield flaw
        elif seen[flaw.rule] == _MOST_OF_A_RULE:
            more = counts[flaw.rule] - _MOST_OF_A_RULE
            others = f"; and {more} more like it in this package" if more else ""
            yield Flaw(flaw.rule, flaw.detail + others, flaw.hint, flaw.position, flaw.path)
