from __future__ import annotations

import os

# It installs every library of the image: minutes, on a slow network.
collect_ignore = [] if os.environ.get("SYNAPSE_APPLY_TEST_DEEP") else ["test_image_at_length.py"]
