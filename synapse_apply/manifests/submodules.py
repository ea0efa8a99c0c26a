"""Git submodules among the manifests that are not checked out: empty folders, to the eye."""

from __future__ import annotations

import re
from pathlib import Path

_PATH = re.compile(r'^\s*path\s*=\s*"?(.+?)"?\s*$', re.MULTILINE)


def is_not_checked_out(empty: Path) -> bool:
    """Whether an empty folder is where the checkout above it has a submodule.

    Git tracks no empty folder, and leaves one in the place of a submodule that was not asked for.
    `.gitmodules` tells its path (gitmodules(5)).
    """
    folder = empty.resolve()
    for above in folder.parents:
        try:
            text = (above / ".gitmodules").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        return folder.relative_to(above).as_posix() in _PATH.findall(text)
    return False
