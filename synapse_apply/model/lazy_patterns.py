"""Regular expressions that are compiled when they are first used."""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast


class _LazyPattern:
    """Stands for a compiled pattern: each of its methods is bound at its first use."""

    def __init__(self, pattern: str | bytes, flags: int) -> None:
        self._pattern, self._flags = pattern, flags

    def __getattr__(self, name: str) -> Any:
        member = getattr(re.compile(self._pattern, self._flags), name)
        setattr(self, name, member)
        return member


# All patterns of a plan took as many function calls to compile as it took to read 300 storages.
def lazy_pattern(pattern: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """As `re.compile`, for what most commands never match; re.error is raised at the first use."""
    return cast("re.Pattern[AnyStr]", _LazyPattern(pattern, flags))
