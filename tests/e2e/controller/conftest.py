from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from answering import Answering, answering

# It installs every library of the image: minutes, on a slow network.
collect_ignore = [] if os.environ.get("SYNAPSE_APPLY_TEST_DEEP") else ["test_image_at_length.py"]


@pytest.fixture
def server(controller: Any) -> Iterator[Answering]:
    """Where the stand-in of a test module is served."""
    with answering(controller.answer) as served:
        yield served
