"""Entrypoints of actions, and the modules that code imports: whether they are in the package."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from synapse_apply.model.diagnostic import Path
from synapse_apply.model.frozen import frozen

_ENTRYPOINT_FORM = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*(?::|\.)[^\W\d]\w*")
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<module>\.*[\w.]*)[ \t]+import[ \t]+"
    r"(?P<names>\([^)]{0,4000}\)|[^\n#]+)|import[ \t]+(?P<modules>[\w., \t]+))",
    re.MULTILINE,
)
_NAME = re.compile(r"[^\W\d]\w*")
_PYTHON_SUFFIX = ".py"
# What Python also imports.
_BINARY_SUFFIXES = (".so", ".pyd", ".pyc")


@frozen
class Entrypoint:
    """An action's entrypoint: the dotted module, the name in it, and the field it stands in."""

    action: str
    text: str
    path: Path
    module: str = ""
    name: str = ""

    @property
    def is_wellformed(self) -> bool:
        return bool(self.module)


def iter_entrypoints(config: Mapping[str, Any]) -> Iterator[Entrypoint]:
    """Those of a config.yaml; of an action without one, an empty text."""
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


def find_module_file(module: str, files: Collection[str]) -> str | None:
    """The file of a package that a dotted module is, None where it has none."""
    base = module.replace(".", "/")
    names = [base + _PYTHON_SUFFIX, f"{base}/__init__{_PYTHON_SUFFIX}"]
    names += [base + ending for ending in _BINARY_SUFFIXES]
    return next((name for name in names if name in files), None)


def find_top_level_modules(files: Collection[str]) -> frozenset[str]:
    """The first parts of all modules that a package has."""
    modules = {
        path.partition("/")[0].removesuffix(_PYTHON_SUFFIX)
        for path in files
        if path.endswith(_PYTHON_SUFFIX)
    }
    return frozenset(modules)


def may_define_name(text: str, name: str) -> bool:
    """Whether a name may be in a module with this text: it occurs there, or all of another's do."""
    return (
        re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None
        or "import *" in text
        or "__getattr__" in text
        or "globals()" in text
    )


def iter_imported_modules(text: str, path: str) -> Iterator[tuple[str, int]]:
    """(path without its ending, offset) of each module that a file of a package imports.

    It is where the module would be in the package, wherever Python finds it.
    """
    package = path.rpartition("/")[0]
    for match in _IMPORT.finditer(text):
        if match["modules"] is not None:
            for part in match["modules"].split(","):
                parts = part.split()
                if parts:
                    yield parts[0].strip(".").replace(".", "/"), match.start()
            continue
        module = match["module"]
        dot_count = len(module) - len(module.lstrip("."))
        folder = package.split("/") if dot_count and package else []
        if dot_count > 1:
            folder = folder[: max(len(folder) - dot_count + 1, 0)]
        module_path = "/".join([*folder, *filter(None, module.strip(".").split("."))])
        yield module_path, match.start()
        for name in _NAME.findall(match["names"]):
            yield (f"{module_path}/{name}" if module_path else name), match.start()
