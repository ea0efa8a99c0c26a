"""The profile of the embedded backend that laws, faults and scenarios run against.

`SYNAPSE_APPLY_TEST_PROFILE=vendor pytest tests/fault` runs them all against another one;
a share of the vendor's is in every run.
"""

from __future__ import annotations

import os

PAGE = "page"
VENDOR = "vendor"
PROFILE = os.environ.get("SYNAPSE_APPLY_TEST_PROFILE", PAGE)
