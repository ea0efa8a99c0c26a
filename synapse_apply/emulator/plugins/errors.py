"""Refusals of plugins."""

from __future__ import annotations

from synapse_apply.emulator.core.errors import ApiError, conflict, field_error


def code_taken(code: str) -> ApiError:
    return conflict(f'A plugin with code "{code}" already exists.')


def bad_code() -> ApiError:
    return field_error(
        "code",
        'Enter a valid "slug" consisting of letters, numbers, underscores or hyphens.',
    )


def code_is_final() -> ApiError:
    return field_error("code", "The code of a plugin may not be changed.")
