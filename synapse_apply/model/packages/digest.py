"""Which text is a package's digest, in states, plans, configs and manifests."""

from __future__ import annotations

import re

from synapse_apply.model.coding.text_forms import TextForm

DIGEST_PATTERN = re.compile(r"pkg1:sha256:([0-9a-f]{64})")
DIGEST_RULE = "`pkg1:sha256:` and 64 digits of 0-9 and a-f"

# Behind the SHA-256 of a file that is executable, in `Package.files` and the `files` of a record.
EXECUTABLE_SUFFIX = " x"
DIGEST_FORM = TextForm(DIGEST_PATTERN, f"a digest: {DIGEST_RULE}")


def is_package_digest(text: object) -> bool:
    """Whether a value is a text in the form of a package digest."""
    return isinstance(text, str) and DIGEST_PATTERN.fullmatch(text) is not None
