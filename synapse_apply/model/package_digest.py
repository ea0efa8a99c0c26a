"""The form of a package's digest, wherever one is read."""

from __future__ import annotations

import re

from synapse_apply.model.text_forms import TextForm

DIGEST = re.compile(r"pkg1:sha256:([0-9a-f]{64})")
WORDS = "`pkg1:sha256:` and 64 digits of 0-9 and a-f"

A_DIGEST = TextForm(DIGEST, f"a digest: {WORDS}")


def is_package_digest(text: object) -> bool:
    """Whether this is the digest of a package's content."""
    return isinstance(text, str) and DIGEST.fullmatch(text) is not None
