"""The form of a package's digest, wherever one is read."""

from __future__ import annotations

import re

DIGEST = re.compile(r"pkg1:sha256:([0-9a-f]{64})")
WORDS = "`pkg1:sha256:` and 64 digits of 0-9 and a-f"


def is_package_digest(text: object) -> bool:
    """Whether this is the digest of a package's content."""
    return isinstance(text, str) and DIGEST.fullmatch(text) is not None
