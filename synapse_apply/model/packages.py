"""What is known of packages apart from their bytes: digests, versions, rules, replaced files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, TypeVar

from synapse_apply.model.diagnostic import Diagnostic, FieldPath, Position, Severity
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.json_types import JsonObject
from synapse_apply.model.json_values import TextForm

DIGEST_PATTERN = re.compile(r"pkg1:sha256:([0-9a-f]{64})")
DIGEST_RULE = "`pkg1:sha256:` and 64 digits of 0-9 and a-f"

# Behind the SHA-256 of a file that is executable, in `Package.files` and the `files` of a record.
EXECUTABLE_SUFFIX = " x"
DIGEST_FORM = TextForm(DIGEST_PATTERN, f"a digest: {DIGEST_RULE}")


def is_package_digest(text: object) -> bool:
    """Whether a value is a text in the form of a package digest."""
    return isinstance(text, str) and DIGEST_PATTERN.fullmatch(text) is not None


_LFS_PREFIXES = (
    b"version https://git-lfs.github.com/spec/",
    b"version https://hawser.github.com/spec/",
)


def is_lfs_pointer(first_bytes: bytes, size: int) -> bool:
    """Whether a file of `size` bytes is a Git LFS pointer (git-lfs, docs/spec.md), not content."""
    return size < 1024 and first_bytes.startswith(_LFS_PREFIXES)


_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]+)?"
)
# `schemas/v1/parts.schema.json` has the same pattern.
_VERSION_CHARS = re.compile(r"[A-Za-z0-9._+-]{1,64}")
VersionSortKey = tuple[int, int, int, tuple[tuple[int, int, str], ...]]
_NO_PRERELEASE = ((2, 0, ""),)


def is_valid_version(text: str) -> bool:
    """Whether a text may be a release's version: 1 to 64 letters, digits, `.`, `_`, `+` and `-`.

    A version is part of an address, so it must be usable on a command line and in a URL.
    """
    return _VERSION_CHARS.fullmatch(text) is not None


def version_sort_key(version: str) -> VersionSortKey | None:
    """A sort key by semantic versioning 2.0.0, section 11; None for what is not a semantic version.

    Build metadata does not count.
    """
    match = _SEMVER.fullmatch(version)
    if match is None:
        return None
    major, minor, patch, prerelease = match.groups()
    return int(major), int(minor), int(patch), _prerelease_key(prerelease)


def _prerelease_key(text: str | None) -> tuple[tuple[int, int, str], ...]:
    if not text:
        return _NO_PRERELEASE
    return tuple(
        # Numbers come before texts, and are compared as numbers (section 11.4).
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in text.split(".")
    )


def find_next_free_patch(version: str, used_versions: Iterable[str]) -> str:
    """The next patch version that is not used; "" for what is not a semantic version."""
    sort_key = version_sort_key(version)
    if sort_key is None:
        return ""
    used = set(used_versions)
    major, minor, patch, prerelease = sort_key
    # A prerelease leads to its own version, which may still be free.
    patch += prerelease == _NO_PRERELEASE
    while f"{major}.{minor}.{patch}" in used:
        patch += 1
    return f"{major}.{minor}.{patch}"


def bump_version_or_empty(version: str, part: str) -> str:
    """The next version by a part (major, minor or patch); "" for what is not a semantic version.

    A prerelease counts as earlier than the version that it leads to: 1.2.0-rc.1 is followed by
    1.2.0 for patch and minor, by 2.0.0 for major. Prerelease and build metadata are dropped.
    """
    sort_key = version_sort_key(version)
    if sort_key is None:
        return ""
    major, minor, patch, prerelease = sort_key
    is_prerelease = prerelease != _NO_PRERELEASE
    if part == "major":
        return f"{major + (not (is_prerelease and minor == patch == 0))}.0.0"
    if part == "minor":
        return f"{major}.{minor + (not (is_prerelease and patch == 0))}.0"
    return f"{major}.{minor}.{patch + (not is_prerelease)}"


# Checks elsewhere yield a `PackageFlaw` that names a rule; its severity depends on what the package
# is for, and is decided here.
_MAX_FLAWS_PER_RULE = 20


class Level(Enum):
    """The level of a rule.

    ERROR: nothing can be published. REFUSED: the platform's own tools refuse such a package. That
    is an error, and a warning where the package is only for the embedded backend, which takes it.
    """

    ERROR = "error"
    REFUSED = "refused"
    WARNING = "warning"
    NOTE = "note"


@frozen
class PackageRule:
    """A rule; `title` is the summary of its findings, `text` explains what is required and why."""

    name: str
    level: Level
    title: str
    text: str

    @property
    def id(self) -> str:
        return f"package:{self.name}"


@frozen
class PackageFlaw:
    """A violation of a rule; `path` is that of a field of config.yaml.

    `file` is the path in the package of a file with a secret.
    """

    rule: str
    detail: str
    hint: str = ""
    position: Position | None = None
    path: FieldPath | None = None
    file: str = ""


_ERROR, _REFUSED, _WARNING, _NOTE = Level.ERROR, Level.REFUSED, Level.WARNING, Level.NOTE

# `schemas/v1/package-config.schema.json` names the rule of each keyword (`x-lint`); the weights
# stand here. What the platform's tools refuse is an error, but a warning for the embedded backend,
# which accepts it: a check must not stop people whom it does not concern.
_ALL_RULES = (
    # The file itself.
    PackageRule("no-config", _WARNING, "Package without config.yaml",
         "The platform reads config.yaml at the root. If there is none, it reads the file whose "
         "name ends in config.yaml and whose path is the shortest."),
    PackageRule("synapse-yaml", _WARNING, "Only a synapse.yaml",
         "The platform reads synapse.yaml only from a folder without config.yaml. Publishing a "
         "zip, or several packages at once, requires config.yaml."),
    PackageRule("two-configs", _NOTE, "A synapse.yaml that is not read",
         "The platform ignores synapse.yaml next to config.yaml."),
    PackageRule("unreadable-config", _REFUSED, "config.yaml cannot be read",
         "It must be UTF-8 text of at most 1 MiB, and one YAML mapping."),
    # Fields of config.yaml, in the order of its schema.
    PackageRule("name", _REFUSED, "Name is missing or not a string",
         "`name` is required and must be a string. Quote a number."),
    PackageRule("code", _REFUSED, "Code is missing or not a string",
         "`code` is required and must be a string. Quote a number."),
    PackageRule("version", _REFUSED, "Version is not a string",
         "`version` must be a string. YAML reads `version: 1.0` as the number 1.0: quote it."),
    PackageRule("version-form", _WARNING, "Version is not X.Y.Z",
         "The platform still accepts other forms, but has announced that it will refuse them."),
    PackageRule("empty-value", _REFUSED, "Key without a value",
         "`description:` without a value is null, which the platform refuses. Remove the key, or "
         "write an empty string, list or map."),
    PackageRule("text", _REFUSED, "Value is not a string",
         "`description`, `readme`, `wheels_dir` and `variant` must be strings."),
    PackageRule("category", _REFUSED, "Unknown category",
         "The platform accepts only a fixed set of categories."),
    PackageRule("category-converter", _WARNING, "Category that the platform's tools refuse",
         "The backend accepts `converter`. The platform's publisher and agents read packages "
         "with its SDK, which refuses this category."),
    PackageRule("data-type", _REFUSED, "Unknown data type",
         "The platform accepts only a fixed set of data types, without `time_series`."),
    PackageRule("data-type-needed", _REFUSED, "neural_net without a data type",
         "`data_type` is required if `category` is neural_net."),
    PackageRule("package-manager", _REFUSED, "Package manager is not pip or uv",
         "`package_manager` must be pip or uv."),
    PackageRule("shape", _REFUSED, "List or map expected",
         "`tasks`, `tags` and `package_manager_options` must be lists of strings. `env`, "
         "`runtime_env`, `dependencies`, `requires` and `actions` must be maps."),
    PackageRule("requires", _REFUSED, "Requirement is not a string",
         "`sdk`, `python` and `cuda` of `requires` must be strings. `python: 3.12` is a number: "
         "quote it."),
    PackageRule("dependencies", _REFUSED, "Dependency is not a string",
         "`dependencies` maps a plugin's code to a string. `1.0` is a number: quote it."),
    PackageRule("specifier", _REFUSED, "Not a version specifier",
         "Versions in `requires` and `dependencies` must be PEP 440 specifiers, as for pip, such "
         "as `>=1.2,<2`."),
    PackageRule("supported-data-types", _REFUSED, "Unknown supported data type",
         "`supported_data_types` (or `supported_data_type`) is a list of data types."),
    PackageRule("annotation-tools", _REFUSED, "Unknown annotation tool",
         "`supported_annotation_tools` maps annotation categories to lists of tools. The platform "
         "accepts only known categories and tools."),
    PackageRule("annotation-category", _REFUSED, "Unknown annotation category",
         "The platform accepts only a fixed set of categories. Its guide shows "
         "`object_detection`, which its SDK refuses."),
    PackageRule("annotation-type", _REFUSED, "Unknown annotation type",
         "The platform accepts only a fixed set of types."),
    PackageRule("smart-tool", _REFUSED, "Unknown smart tool",
         "`smart_tool` is interactive, automatic or semi_automatic."),
    PackageRule("smart-tool-type", _NOTE, "smart_tool_type is not read",
         "The platform's templates write `smart_tool_type`, but the platform reads only "
         "`smart_tool`."),
    PackageRule("action", _REFUSED, "Malformed action",
         "`entrypoint`, `description`, `input_type` and `output_type` of an action must be "
         "strings. `serve_options` must be a map."),
    PackageRule("action-text", _REFUSED, "Action is a string",
         "Publishing silently drops an action that is not a map."),
    PackageRule("method", _REFUSED, "Unknown method",
         "`method` is job, task, serve or restapi."),
    PackageRule("container", _REFUSED, "Malformed container",
         "In `container` and `code_server`, ports must be 1 to 65535, `gpu` at least 0, and the "
         "numbers of `healthcheck` above 0."),
    PackageRule("dockerfile", _REFUSED, "Container without a separate Dockerfile",
         "A container or code server that is `enabled` needs `dockerfile`. The two must not "
         "share a Dockerfile."),
    PackageRule("dockerfile-missing", _WARNING, "Dockerfile is not in the package",
         "`dockerfile` is a path in the package."),
    PackageRule("yaml-1.1", _REFUSED, "String that the platform reads as another type",
         "The platform reads YAML 1.1, where an unquoted `yes`, `no`, `on`, `off`, a date or "
         "`1:30` is not a string: quote it."),
    PackageRule("unknown-key", _NOTE, "Key that is ignored",
         "The platform ignores unknown keys, so you would not notice a typo."),
    # Entrypoints, and the files behind them.
    PackageRule("entrypoint-form", _REFUSED, "Malformed entrypoint",
         "An entrypoint is `module.path:Name`, or `module.path.Name`."),
    PackageRule("entrypoint-none", _WARNING, "Action without an entrypoint",
         "Nobody can run an action without an entrypoint. The platform's publisher adds it from "
         "the code; synapse-apply publishes the package unchanged."),
    PackageRule("entrypoint-missing", _REFUSED, "Entrypoint is in no file of the package",
         "The module of an entrypoint must be a file of the package."),
    PackageRule("entrypoint-outside", _WARNING, "Entrypoint outside the package",
         "The module is neither in the package nor in a library that requirements.txt names."),
    PackageRule("entrypoint-name", _WARNING, "Entrypoint names no class or function in its file",
         "The class or function does not occur in the module."),
    PackageRule("left-out", _REFUSED, "Code that is left out of the package",
         "An ignore rule excludes the module of an entrypoint. Built-in rules exclude `env`, "
         "`build` and `dist`, among others."),
    PackageRule("import-left-out", _WARNING, "Imported code that is left out of the package",
         "An ignore rule excludes a module that the package imports."),
    PackageRule("left-out-elsewhere", _WARNING, "Code that the platform's publisher leaves out",
         "The platform's publisher matches ignore patterns against every part of a path and "
         "supports neither `!` nor anchors. It may leave out files that synapse-apply publishes."),
    # Secrets.
    PackageRule("secret", _REFUSED, "Secret in the package",
         "The package contains a credential, such as a private key or a GitHub token. Everyone "
         "who can download the release can read it."),
    PackageRule("secret-like", _WARNING, "Value that looks like a secret",
         "A name such as `API_KEY`, `TOKEN`, `SECRET` or `PASSWORD` has a value that looks "
         "random."),
    # What it needs.
    PackageRule("unpinned", _NOTE, "Requirement without a version",
         "Without `==` in requirements.txt, each installation may get another version of a "
         "requirement."),
    PackageRule("dependency-itself", _REFUSED, "Plugin that depends on itself",
         "`dependencies` names other plugins."),
    PackageRule("dependency-missing", _WARNING, "Required plugin is not declared",
         "No manifest of the target declares the plugin code in `dependencies`. The plugin may "
         "exist on the backend."),
    PackageRule("dependency-version", _WARNING, "Declared version does not fit the requirement",
         "No declared release of the plugin matches the specifier. An older release may still "
         "exist."),
    PackageRule("dependency-cycle", _ERROR, "Plugins that depend on each other",
         "No order exists in which you could publish them."),
    # What the manifests say of the plugin.
    PackageRule("plugin-code", _WARNING, "Plugin without a code",
         "The platform requires `code`; the embedded backend does not."),
    PackageRule("plugin-category", _WARNING, "Plugin without a category",
         "The platform requires `category`, one of a closed list; the embedded backend does not."),
)  # fmt: skip
RULES_BY_ID = {rule.id: rule for rule in _ALL_RULES}
# What no option lifts: a policy lets one finding pass, by its file and the package's digest.
SECRET_RULES = ("package:secret", "package:secret-like")

_SEVERITIES = {
    Level.ERROR: Severity.ERROR,
    Level.REFUSED: Severity.ERROR,
    Level.WARNING: Severity.WARNING,
    Level.NOTE: Severity.NOTE,
}


def build_flaw_finding(
    flaw: PackageFlaw, *, is_only_for_embedded_backend: bool = False
) -> Diagnostic:
    """The diagnostic of a flaw, less severe where only the embedded backend gets the package."""
    rule = RULES_BY_ID[flaw.rule]
    severity = _SEVERITIES[rule.level]
    if is_only_for_embedded_backend and rule.level is Level.REFUSED:
        severity = Severity.WARNING
    return Diagnostic(
        severity, rule.title, flaw.detail, flaw.hint, flaw.position, path=flaw.path, rule=rule.id
    )


T = TypeVar("T", bound=PackageFlaw | Diagnostic)


def iter_limited_flaws(flaws: Sequence[T]) -> Iterator[T]:
    """The first 20 flaws of each rule, or errors of each summary; the last counts the others."""
    rules = [flaw.rule if isinstance(flaw, PackageFlaw) else flaw.summary for flaw in flaws]
    counts, seen_counts = Counter(rules), Counter[str]()
    for flaw, rule in zip(flaws, rules, strict=True):
        seen_counts[rule] += 1
        more_count = counts[rule] - _MAX_FLAWS_PER_RULE
        if seen_counts[rule] == _MAX_FLAWS_PER_RULE and more_count:
            more_text = f"; and {more_count} more like it in this package"
            yield replace(flaw, detail=flaw.detail.removesuffix(".") + more_text)
        elif seen_counts[rule] <= _MAX_FLAWS_PER_RULE:
            yield flaw


# The key of a plan's `extras` that holds a replacement as JSON.
REPLACES_KEY = "replaces"
# The key of a package that differs and is kept: which call of ours sent it, "" for none.
KEPT_KEY = "kept_package"
ADDED, REMOVED, CHANGED = "added", "removed", "changed"
FILE_VERBS = (ADDED, CHANGED, REMOVED)


@frozen
class ChangedFile:
    """One file that differs. `diff` has the lines of `diff -u`, without the two file names.

    `note` says what is missing in the diff, or why there is none.
    """

    path: str
    verb: str
    diff: tuple[str, ...] = ()
    note: str = ""


@frozen
class Replacement:
    """The newest recorded version below a new one, and how its files differ.

    `counts` has how many were added, changed and removed, None where the files of `version` were
    never recorded; `files` are the first of them.
    """

    version: str
    counts: Mapping[str, int] | None = None
    files: tuple[ChangedFile, ...] = ()

    @property
    def unlisted_count(self) -> int:
        """How many files differ that are not in `files`."""
        return max(0, sum((self.counts or {}).values()) - len(self.files))

    def to_json(self) -> JsonObject:
        """The JSON object that plans store and show."""
        if self.counts is None:
            return {"version": self.version}
        files = [
            {
                "path": file.path,
                "change": file.verb,
                **({"diff": list(file.diff)} if file.diff else {}),
                **({"note": file.note} if file.note else {}),
            }
            for file in self.files
        ]
        return {"version": self.version, **self.counts, "files": files}


def parse_replacement(extras: Mapping[str, Any]) -> Replacement | None:
    """The replacement in a plan's `extras`.

    None without one, also where a saved plan has nonsense.
    """
    data = extras.get(REPLACES_KEY)
    if not isinstance(data, Mapping) or not isinstance(version := data.get("version"), str):
        return None
    counts = {verb: data.get(verb) for verb in FILE_VERBS}
    # A saved plan may have been edited, so nothing in it is trusted.
    valid_counts = {verb: n for verb, n in counts.items() if isinstance(n, int) and 0 <= n < 2**63}
    listed = data.get("files")
    if len(valid_counts) < len(FILE_VERBS) or not isinstance(listed, (list, tuple)):
        return Replacement(version)
    return Replacement(version, valid_counts, tuple(filter(None, map(_parse_changed_file, listed))))


def _parse_changed_file(data: Any) -> ChangedFile | None:
    if not isinstance(data, Mapping):
        return None
    path, verb, note = data.get("path"), data.get("change"), data.get("note", "")
    diff = data.get("diff", ())
    if not isinstance(path, str) or verb not in FILE_VERBS or not isinstance(diff, (list, tuple)):
        return None
    lines = tuple(line for line in diff if isinstance(line, str))
    return ChangedFile(path, verb, lines, note if isinstance(note, str) else "")
