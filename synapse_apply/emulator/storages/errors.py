"""Which refusals requests about storages have, and their texts."""

from __future__ import annotations

from collections.abc import Sequence

from synapse_apply.emulator.core.errors import ApiError
from synapse_apply.emulator.core.fields import REQUIRED_MESSAGE


def session_refused(code: str, detail: str) -> ApiError:
    return ApiError(400, {"code": code, "detail": detail})


def require_keys(missing: Sequence[str]) -> None:
    """Raises ApiError (400) for these missing keys of `configuration`, if there are any."""
    if missing:
        raise ApiError(400, {"configuration": {key: [REQUIRED_MESSAGE] for key in missing}})
