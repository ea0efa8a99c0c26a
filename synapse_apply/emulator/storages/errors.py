"""Refusals of storages."""

from __future__ import annotations

from synapse_apply.emulator.core.errors import ApiError


def session_refused(code: str, detail: str) -> ApiError:
    return ApiError(400, {"code": code, "detail": detail})
