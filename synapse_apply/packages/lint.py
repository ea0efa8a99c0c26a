"""Which flaws the lint reports in a package: entrypoints, secrets, requirements, left-out modules.

Files are inspected while the package is hashed. Only text files of at most 512 KiB are; a file with
a zero byte is not a text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import field
from typing import Any, Protocol

from synapse_apply.model.diagnostic import Diagnostic, FieldPath, Position
from synapse_apply.model.frozen import frozen, mutable, replace
from synapse_apply.model.packages import SECRET_RULES, PackageFlaw, iter_limited_flaws
from synapse_apply.model.phrases import format_field_path, format_short_list
from synapse_apply.model.resource import FILE, PackageSource
from synapse_apply.model.secrets.credentials import (
    NOT_SHOWN_TEXT,
    contains_secret,
    guess_secret_kind,
    is_line_allowed_by_comment,
    list_one_unallowed_credential_per_line,
)
from synapse_apply.model.values import flatten
from synapse_apply.packages.content import GatheredFiles, PackageFile, exhaust
from synapse_apply.packages.ignore import PublisherRules
from synapse_apply.packages.sources import CONFIG_FILES, NO_CONFIG_HINT, format_file_label

_MAX_TEXT_SIZE, _MAX_CONFIG_SIZE = 512 * 1024, 1024 * 1024
# Characters of Python code that are kept in memory to look for imports.
_MAX_CODE_SIZE = 16 * 1024 * 1024
_SDK_MODULE = "synapse_sdk"
# In the order in which the publisher reads them.
_PUBLISHER_IGNORE_FILES = (".gitignore", ".synapseignore")
_CONFIG_FILE, _SYNAPSE_FILE = CONFIG_FILES

_RENAME_HINT = "rename it, or change the pattern"
_INCLUDE_HINT = "rename it, or write `!{left_out}` into .synapseignore"
_TAKE_OUT_HINT = (
    "remove the secret, and revoke it if it was ever published. If it is not a secret, add the "
    "comment `# pragma: allowlist secret` to the line"
)
# What is said of each flaw, and what to do about it; SECRET_RULES have the rules of the first two.
_FLAWS = {
    "secret-here": ("{kind} found", _TAKE_OUT_HINT),
    "secret-at": ("`{path}` holds {kind}", _TAKE_OUT_HINT),
    "two-configs": (
        f"{{file}} is next to {_CONFIG_FILE}, and only {_CONFIG_FILE} is read",
        "delete the file",
    ),
    "synapse-yaml": (
        f"the publisher of a zip looks for {_CONFIG_FILE}{{other}}",
        f"rename the file to {_CONFIG_FILE}",
    ),
    "no-config": (
        f"{{source}} has neither {_CONFIG_FILE} nor {_SYNAPSE_FILE} at its root{{other}}",
        NO_CONFIG_HINT,
    ),
    "unreadable-config": ("{file} is over 1 MiB", ""),
    "unpinned": ("no version is pinned for {names}", "write, for example, {name}==1.2.0"),
    "entrypoint-form": (
        "`{text}` of action `{action}` is not an entrypoint",
        "write plugin.FILE:NAME",
    ),
    "entrypoint-none": (
        "action `{action}` has no `entrypoint`",
        "write `entrypoint: plugin.FILE:NAME`",
    ),
    "entrypoint-name": ("{file} has no `{name}`", "name one of its classes or functions"),
    "entrypoint-missing": (
        "`{text}` of action `{action}` has no file: {source} has no module `{module}`",
        "",
    ),
    "entrypoint-outside": (
        "`{text}` of action `{action}`: `{top_module}` is not in {source}",
        "check that the path starts at the package's root",
    ),
    "left-out": ("{left_out}, of `{text}`, is excluded ({rule})", _INCLUDE_HINT),
    "import-left-out": ("{left_out}, which is imported here, is excluded ({rule})", _INCLUDE_HINT),
    "left-out-elsewhere": ("{file}, {what}, is excluded there by {pattern}", _RENAME_HINT),
    "dockerfile-missing": ("there is no {file} in {source}", ""),
}
_BINARY_FILE = re.compile(
    r"\.(png|jpe?g|gif|bmp|tiff?|webp|ico|pdf|zip|gz|bz2|xz|7z|tar|whl|so|dll|pyd|pyc|pt|pth|onnx"
    r"|npy|npz|pkl|parquet|h5|bin|mp[34]|wav|avi|mov|ttf|woff2?)$",
    re.IGNORECASE,
)


_REQUIREMENTS_FILE = "requirements.txt"
_REQUIRED_NAME = re.compile(
    r"([A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?)[ \t]*(?:\[[^\]]{0,200}\])?"
)
# Possessive: a long run of blanks is not tried at each of its splits.
_PINNED = re.compile(
    r"[ \t]*+(?:\([ \t]*+)?={2,3}[ \t]*+[^\s*,;]++[ \t]*+(?:\)[ \t]*+)?(?:;|$|--hash)"
)
# What pins a requirement by URL: a commit id, a hash, or an archive of one version.
_COMMIT = re.compile(r"@[0-9a-f]{40}(?:#|$)|#sha256=|\.whl(?:#|$)|\.tar\.gz(?:#|$)")


class LintableConfig(Protocol):
    """A parsed config.yaml with positions by path, and what is wrong with its YAML and fields."""

    @property
    def value(self) -> Mapping[str, Any]: ...
    @property
    def positions(self) -> Mapping[FieldPath, Position]: ...
    @property
    def findings(self) -> tuple[Diagnostic, ...]: ...
    @property
    def flaws(self) -> tuple[PackageFlaw, ...]: ...


# (content of config.yaml, its label for messages) -> the parsed config.
ReadConfig = Callable[[bytes, str], LintableConfig]


@mutable
class PackageLint:
    """Lints one package while it is read for its hash.

    Call `all_flaws` after all files were read; `config_findings` then has the
    errors in the YAML of its config.yaml.
    """

    source: PackageSource
    read_config: ReadConfig
    config_findings: tuple[Diagnostic, ...] = ()
    _gathered: GatheredFiles = field(default_factory=GatheredFiles)
    _file_sizes: dict[str, int] = field(default_factory=dict)
    _config_name: str = ""
    _config_bytes: bytes | None = None
    _top_modules: frozenset[str] = frozenset()
    _code_by_path: dict[str, str] = field(default_factory=dict)
    _words_by_file: dict[str, frozenset[str] | None] = field(default_factory=dict)
    _code_size: int = 0
    _libraries: frozenset[str] = frozenset()
    _flaws: list[PackageFlaw] = field(default_factory=list)
    _left_out: dict[str, str] = field(default_factory=dict)  # rules by paths, folders' end in /
    _publisher_rules: PublisherRules | None = None

    def begin_package(self, gathered: GatheredFiles) -> None:
        """Called once, before the first file."""
        self._gathered = gathered
        self._file_sizes = {entry.path: entry.size for entry in gathered.entries}
        self._top_modules = frozenset(
            path.partition("/")[0].removesuffix(_PYTHON_SUFFIX)
            for path in self._file_sizes
            if path.endswith(_PYTHON_SUFFIX)
        )
        # Without one at the root the platform takes the file with the shortest such path.
        config_paths = [path for path in self._file_sizes if path.endswith(_CONFIG_FILE)]
        names = (*CONFIG_FILES, *sorted(config_paths, key=len))
        self._config_name = next((name for name in names if name in self._file_sizes), "")
        self._left_out = dict(gathered.excluded)
        # A zip is published as it is, whatever its ignore files say.
        if self.source.kind != FILE:
            self._publisher_rules = PublisherRules(
                map(gathered.ignore_files.get, _PUBLISHER_IGNORE_FILES, ("", ""))
            )

    def _publisher_pattern(self, path: str) -> str | None:
        """The pattern by which the platform's own publisher leaves a file out, else None."""
        rules = self._publisher_rules
        return rules.find_pattern_excluding_path_or_part(path) if rules else None

    def _left_out_with(self, module: str) -> str:
        """Which left-out path contains a module, given by its path without an ending; else ""."""
        ends = (found.start() for found in re.finditer("/|$", module[:_MAX_PATH]))
        return next(filter(None, (self._left_out_at(module[:end]) for end in ends)), "")

    def _left_out_at(self, module: str) -> str:
        paths = (module + ending for ending in ("/", _PYTHON_SUFFIX))
        return next((path for path in paths if path in self._left_out), "")

    def wants_file(self, entry: PackageFile) -> bool:
        """Whether this file is inspected, which is then held in memory."""
        if entry.path == self._config_name:
            return entry.size <= _MAX_CONFIG_SIZE
        return 0 < entry.size <= _MAX_TEXT_SIZE and not _BINARY_FILE.search(entry.path)

    def read_file(self, entry: PackageFile, blocks: Iterator[bytes]) -> None:
        """Called with the blocks of each file; all of them are read, those of a wanted one kept."""
        if not self.wants_file(entry):
            exhaust(entry, blocks)
            return
        data = b"".join(blocks)
        if entry.path == self._config_name:
            self._config_bytes = data
        # Not a text, in which matches would mean nothing.
        if b"\0" in data:
            return
        text = data.decode("utf-8", "replace")
        for found in list_one_unallowed_credential_per_line(text):
            position = self._position(entry.path, found.line, found.column)
            flaw = self._flaw("secret-here", position, kind=found.kind)
            rule = SECRET_RULES[not found.is_certain]
            self._flaws.append(replace(flaw, rule=rule, file=entry.path))
        if entry.path == _REQUIREMENTS_FILE:
            self._flaws += self._requirement_flaws(text)
        # Beyond the limit only imports go unchecked; secrets are still searched for.
        if entry.path.endswith(".py") and self._code_size + len(text) <= _MAX_CODE_SIZE:
            self._code_size += len(text)
            self._code_by_path[entry.path] = text

    def limited_flaws(self) -> list[PackageFlaw]:
        """All flaws by position, at most 20 of each rule, the last of which counts the others."""
        return list(iter_limited_flaws(self.all_flaws()))

    def all_flaws(self) -> list[PackageFlaw]:
        """All flaws by position; a text that would quote a well-known secret is withheld."""
        all_flaws = [*self._config_flaws(), *self._flaws, *self._import_flaws()]
        return sorted(
            dict.fromkeys(map(withhold_secret, all_flaws)),
            key=lambda flaw: (
                (flaw.position.file, flaw.position.line, flaw.position.column)
                if flaw.position
                else ("", 0, 0)
            ),
        )

    def _label(self, path: str) -> str:
        return format_file_label(self.source, path)

    def _position(self, path: str, line: int = 1, column: int = 1) -> Position:
        return Position(self._label(path), line, column)

    def _flaw(
        self,
        rule: str,
        position: Position | None,
        path: FieldPath | None = None,
        /,
        **facts: object,
    ) -> PackageFlaw:
        """The flaw with this rule in `_FLAWS`, whose texts have these facts in them."""
        detail, hint = (text.format(source=self.source, **facts) for text in _FLAWS[rule])
        return PackageFlaw(f"package:{rule}", detail, hint, position, path)

    def _config_flaws(self) -> Iterator[PackageFlaw]:
        """Parse config.yaml and check all that it refers to; sets `config_findings`."""
        yield from self._config_file_flaws()
        if self._config_bytes is None:
            return
        config = self.read_config(self._config_bytes, self._label(self._config_name))
        self.config_findings = tuple(
            finding.with_changes(detail=NOT_SHOWN_TEXT, hint="", path=None)
            if contains_secret(f"{finding}")
            else finding
            for finding in config.findings
        )
        yield from config.flaws
        yield from self._variable_flaws(config)
        for entrypoint in iter_entrypoints(config.value):
            yield from self._entrypoint_flaws(entrypoint, config)
        yield from self._dockerfile_flaws(config)

    def _config_file_flaws(self) -> Iterator[PackageFlaw]:
        name = self._config_name
        if name == _CONFIG_FILE:
            if _SYNAPSE_FILE in self._file_sizes:
                file = self._label(_SYNAPSE_FILE)
                yield self._flaw("two-configs", self._position(_SYNAPSE_FILE), file=file)
        elif name == _SYNAPSE_FILE:
            config_paths = [path for path in self._file_sizes if path.endswith(_CONFIG_FILE)]
            other = f", and would take {min(config_paths, key=len)}" if config_paths else ""
            yield self._flaw("synapse-yaml", self._position(name), other=other)
        elif self._file_sizes:
            other = f"; a publisher of the platform would take {name}" if name else ""
            yield self._flaw("no-config", Position(str(self.source), 1, 1), other=other)
        if name and self._file_sizes[name] > _MAX_CONFIG_SIZE:
            yield self._flaw("unreadable-config", self._position(name), file=self._label(name))

    def _variable_flaws(self, config: LintableConfig) -> Iterator[PackageFlaw]:
        """Environment variables in config.yaml whose name and value look like a secret.

        The search in the text cannot find them all, since YAML may write a value in several ways.
        """
        lines = (self._config_bytes or b"").decode("utf-8", "replace").split("\n")
        file = self._label(self._config_name)
        positions = [flaw.position for flaw in self._flaws if flaw.position is not None]
        flawed_lines = {position.line for position in positions if position.file == file}
        for section in (("env",), ("runtime_env", "env_vars"), ("container", "env")):
            for path, value in flatten(_section(config.value, section)).items():
                full_path = (*section, *path)
                position = config.positions.get(full_path)
                kind = guess_secret_kind(str(path[-1]), value) if isinstance(value, str) else ""
                if (
                    not kind
                    or position is None
                    or position.line in flawed_lines
                    or is_line_allowed_by_comment(lines, position.line)
                ):
                    continue
                is_certain = isinstance(value, str) and contains_secret(value)
                location = format_field_path(full_path)
                flaw = self._flaw("secret-at", position, full_path, kind=kind, path=location)
                rule = SECRET_RULES[not is_certain]
                yield replace(flaw, rule=rule, file=self._config_name)

    def _requirement_flaws(self, text: str) -> Iterator[PackageFlaw]:
        """Requirements without a pinned version; also remembers the names of the libraries.

        Options (`-r`, ...), URLs and paths are skipped.
        """
        libraries, unpinned = set[str](), list[tuple[str, int]]()
        for number, line in enumerate(text.split("\n"), 1):
            requirement = re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip().rstrip("\\").strip()
            match = _REQUIRED_NAME.match(requirement)
            specifier = requirement[match.end() :] if match else ""
            # The latter is a URL, or a path.
            if match is None or specifier[:1] in {":", "/", "+", "\\"} - {""}:
                continue
            libraries.add(match[1].lower().replace("-", "_"))
            if specifier.lstrip().startswith("@"):
                pin = _COMMIT.search(specifier.split(";")[0].strip())
            else:
                pin = _PINNED.match(specifier)
            if pin is None:
                unpinned.append((match[1], number))
        self._libraries = frozenset(libraries)
        if unpinned:
            names = format_short_list(name for name, _ in unpinned)
            name, line_number = unpinned[0]
            position = self._position(_REQUIREMENTS_FILE, line_number)
            yield self._flaw("unpinned", position, names=names, name=name)

    def _entrypoint_flaws(
        self, entrypoint: Entrypoint, config: LintableConfig
    ) -> Iterator[PackageFlaw]:
        path, module = entrypoint.path, entrypoint.module
        position = config.positions.get(path) or config.positions.get(path[:-1])
        facts: dict[str, object] = {"text": entrypoint.text, "action": entrypoint.action}
        if not module:
            name = "entrypoint-form" if entrypoint.text else "entrypoint-none"
            yield self._flaw(name, position, path, **facts)
            return
        file, top_module = imported_file(module, self._file_sizes), module.partition(".")[0]
        if file is not None:
            label = self._label(file)
            if (pattern := self._publisher_pattern(file)) is not None:
                what, pattern = f"of `{entrypoint.text}`", f"the pattern `{pattern}`"
                yield self._flaw(
                    "left-out-elsewhere", position, path, file=label, what=what, pattern=pattern
                )
            words = self._words_of(file)
            if words is not None and entrypoint.name not in words:
                yield self._flaw(
                    "entrypoint-name", position, path, file=label, name=entrypoint.name
                )
        elif left_out := self._left_out_with(module.replace(".", "/")):
            rule = self._left_out[left_out]
            yield self._flaw("left-out", position, path, left_out=left_out, rule=rule, **facts)
        # A folder or module at the package's root that contains Python code.
        elif top_module in self._top_modules:
            yield self._flaw("entrypoint-missing", position, path, module=module, **facts)
        # The SDK is always installed; a required library may contain the entrypoint.
        elif top_module not in self._libraries and top_module != _SDK_MODULE:
            yield self._flaw("entrypoint-outside", position, path, top_module=top_module, **facts)

    def _words_of(self, file: str) -> frozenset[str] | None:
        """The words of a module, of which a name that it defines is one; None if it may have more.

        That is where the text is not at hand, or where a name could come by `*`.
        """
        if file not in self._words_by_file:
            text = self._code_by_path.get(file)
            is_open = text is None or any(sign in text for sign in _ADDS_NAMES)
            self._words_by_file[file] = None if is_open else frozenset(_WORD.findall(text or ""))
        return self._words_by_file[file]

    def _dockerfile_flaws(self, config: LintableConfig) -> Iterator[PackageFlaw]:
        for block in ("container", "code_server"):
            settings = _section(config.value, (block,))
            file = settings.get("dockerfile")
            if not settings.get("enabled") or not isinstance(file, str) or not file.strip():
                continue
            path = file.strip().removeprefix("./")
            if path not in self._file_sizes:
                field_path: FieldPath = (block, "dockerfile")
                position = config.positions.get(field_path)
                yield self._flaw("dockerfile-missing", position, field_path, file=path)

    def _import_flaws(self) -> Iterator[PackageFlaw]:
        """Imported modules that a rule, or the platform's publisher, leaves out; each once."""
        excluded_patterns = {
            path: pattern
            for path in self._code_by_path
            if (pattern := self._publisher_pattern(path)) is not None
        }
        # Searching all code for imports takes long; usually nothing is left out.
        if not self._left_out and not excluded_patterns:
            return
        modules_by_folder = _possible_modules([*self._file_sizes, *self._left_out])
        seen: set[str] = set()
        for path, text in self._code_by_path.items():
            line, counted = 1, 0
            for package, names, offset in iter_possibly_imported_module_paths(text, path):
                line, counted = line + text.count("\n", counted, offset), offset
                # Each name could be a module of the package, and few are.
                possible = modules_by_folder.get(package, ())
                found = dict.fromkeys(_NAME.findall(names)) if possible else ()
                prefix = f"{package}/" if package else ""
                for module in (package, *(prefix + name for name in found if name in possible)):
                    if module not in seen and len(seen) < _MAX_MODULES:
                        seen.add(module)
                        position = self._position(path, line)
                        yield from self._import_flaw(module, position, excluded_patterns)

    def _import_flaw(
        self, module: str, position: Position, excluded_patterns: Mapping[str, str]
    ) -> Iterator[PackageFlaw]:
        file = imported_file(module.replace("/", "."), self._file_sizes)
        if file is None:
            if left_out := self._left_out_with(module):
                rule = self._left_out[left_out]
                yield self._flaw("import-left-out", position, left_out=left_out, rule=rule)
        elif file in excluded_patterns:
            what, pattern = "which is imported here", f"`{excluded_patterns[file]}`"
            yield self._flaw("left-out-elsewhere", position, file=file, what=what, pattern=pattern)


def _possible_modules(paths: Iterable[str]) -> dict[str, set[str]]:
    """By folder, what its files and folders would be called as modules."""
    found: dict[str, set[str]] = {}
    for path in paths:
        folder, _, name = path.rstrip("/").rpartition("/")
        found.setdefault(folder, set()).add(name.partition(".")[0])
        above, _, name = folder.rpartition("/")
        found.setdefault(above, set()).add(name)
    return found


def _section(value: Mapping[str, Any], path: FieldPath) -> Mapping[str, Any]:
    section: Any = value
    for part in path:
        section = section.get(part) if isinstance(section, Mapping) else None
    return section if isinstance(section, Mapping) else {}


def withhold_secret(flaw: PackageFlaw) -> PackageFlaw:
    """The flaw, without detail, hint and path if these would quote a well-known secret."""
    if not contains_secret(f"{flaw.detail} {flaw.hint} {flaw.path}"):
        return flaw
    return replace(flaw, detail=NOT_SHOWN_TEXT, hint="", path=None)


# Code is searched by regular expressions and never parsed or imported: it may be broken, or written
# for another Python version.
_ENTRYPOINT_FORM = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*(?::|\.)[^\W\d]\w*")
# Parentheses are bounded, so that an unclosed one does not match the rest of a large file.
_IMPORT = re.compile(
    # Possessive: a line of blanks or dots is not tried at each of its splits.
    r"^[ \t]*+(?:from[ \t]++(?P<module>[\w.]++)[ \t]++import[ \t]++"
    r"(?P<names>\([^)]{0,4000}\)|[^\n#]+)|import[ \t]++(?P<modules>[\w., \t]+))",
    re.MULTILINE,
)
_NAME = re.compile(r"[^\W\d]\w*")
_WORD = re.compile(r"\w+")
_MAX_PATH = 4096  # bytes, of a file system's
# Characters of an imported module's path, and modules of a package; others are not looked for.
_MAX_MODULE, _MAX_MODULES = 255, 50_000
_ADDS_NAMES = ("import *", "__getattr__", "globals()")
_PYTHON_SUFFIX = ".py"
# Other files that Python imports as modules.
_BINARY_SUFFIXES = (".so", ".pyd", ".pyc")


@frozen
class Entrypoint:
    """The entrypoint of an action; `path` is its field in config.yaml.

    `text` is what is written there; `module` (dotted) and `name` are "" if it has another form.
    """

    action: str
    text: str
    path: FieldPath
    module: str = ""
    name: str = ""


def iter_entrypoints(config: Mapping[str, Any]) -> Iterator[Entrypoint]:
    """The entrypoint of each action in a config.yaml, with `text` "" for an action without one."""
    actions = config.get("actions")
    for action, value in actions.items() if isinstance(actions, Mapping) else ():
        if not isinstance(value, Mapping):
            continue
        text, path = value.get("entrypoint", ""), ("actions", action, "entrypoint")
        if not isinstance(text, str):
            continue
        if not _ENTRYPOINT_FORM.fullmatch(text):
            yield Entrypoint(action, text, path)
            continue
        module, _, name = text.rpartition(":" if ":" in text else ".")
        yield Entrypoint(action, text, path, module, name)


def imported_file(module: str, files: Collection[str]) -> str | None:
    """The file in the package that Python would import for a dotted module, None without one."""
    base = module.replace(".", "/")
    names = [base + _PYTHON_SUFFIX, f"{base}/__init__{_PYTHON_SUFFIX}"]
    names += [base + ending for ending in _BINARY_SUFFIXES]
    return next((name for name in names if name in files), None)


def iter_possibly_imported_module_paths(text: str, path: str) -> Iterator[tuple[str, str, int]]:
    """Each module that the file at `path` may import, as if it were in the package.

    Given are its path in the package, without an ending, the text of the names that are imported
    from it, each of which may be a module in it, and the offset of the import.
    """
    package = path.rpartition("/")[0]
    for match in _IMPORT.finditer(text):
        if match["modules"] is not None:
            for part in match["modules"].split(","):
                parts = part.split()
                if parts and len(parts[0]) <= _MAX_MODULE:
                    yield parts[0].strip(".").replace(".", "/"), "", match.start()
            continue
        module = match["module"].lstrip(".")
        # One dot is the file's own package, each further dot the one above.
        above = len(match["module"]) - len(module) - 1
        folder = package.rsplit("/", above)[0] if 0 <= above <= package.count("/") else ""
        module_path = "/".join(filter(None, [folder, *module.split(".")]))
        if len(module_path) <= _MAX_MODULE:
            yield module_path, match["names"], match.start()
