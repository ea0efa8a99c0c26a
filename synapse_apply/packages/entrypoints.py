"""Which file of a package an entrypoint or an import refers to.

Code is searched by regular expressions and never parsed or imported: it may be broken, or written
for another Python version.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.frozen import frozen

_ENTRYPOINT_FORM = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*(?::|\.)[^\W\d]\w*")
# Parentheses are bounded, so that an unclosed one does not match the rest of a large file.
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<module>\.*[\w.]*)[ \t]+import[ \t]+"
    r"(?P<names>\([^)]{0,4000}\)|[^\n#]+)|import[ \t]+(?P<modules>[\w., \t]+))",
    re.MULTILINE,
)
_NAME = re.compile(r"[^\W\d]\w*")
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

    @property
    def has_module_and_name(self) -> bool:
        return bool(self.module)


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


def python_names(files: Collection[str]) -> frozenset[str]:
    """The names of the folders and modules at the package's root that contain Python code."""
    modules = {
        path.partition("/")[0].removesuffix(_PYTHON_SUFFIX)
        for path in files
        if path.endswith(_PYTHON_SUFFIX)
    }
    return frozenset(modules)


def may_define(text: str, name: str) -> bool:
    """Whether a module with this text may define a name: it occurs in it, or could come by `*`."""
    return (
        re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None
        or "import *" in text
        or "__getattr__" in text
        or "globals()" in text
    )


class ImportedModule(NamedTuple):
    """A module by its path in the package, without an ending, and the offset of the import."""

    path: str
    offset: int


def iter_possibly_imported_module_paths(text: str, path: str) -> Iterator[ImportedModule]:
    """Each module that the file at `path` may import, as if it were in the package.

    `from a import b` gives `a` and `a/b`, since `b` may be a module.
    """
    package = path.rpartition("/")[0]
    for match in _IMPORT.finditer(text):
        if match["modules"] is not None:
            for part in match["modules"].split(","):
                parts = part.split()
                if parts:
                    module_path = parts[0].strip(".").replace(".", "/")
                    yield ImportedModule(module_path, match.start())
            continue
        module = match["module"]
        dot_count = len(module) - len(module.lstrip("."))
        # One dot is the file's own package, each further dot the one above.
        folder = package.split("/") if dot_count and package else []
        if dot_count > 1:
            folder = folder[: max(len(folder) - dot_count + 1, 0)]
        module_path = "/".join([*folder, *filter(None, module.strip(".").split("."))])
        yield ImportedModule(module_path, match.start())
        for name in _NAME.findall(match["names"]):
            name_path = f"{module_path}/{name}" if module_path else name
            yield ImportedModule(name_path, match.start())
