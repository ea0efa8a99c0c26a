"""Which refusals requests about plugins have, and their texts."""

from __future__ import annotations

from synapse_apply.emulator.core.errors import ApiError, build_conflict_error, build_error_of_field


def build_code_taken_error(code: str, *, is_field: bool = False) -> ApiError:
    text = f'A plugin with code "{code}" already exists.'
    return build_error_of_field("code", text) if is_field else build_conflict_error(text)


def system_only() -> ApiError:
    return build_error_of_field(
        "system_only", "Only a plugin of no tenant can be for the system alone."
    )


def build_bad_code_error() -> ApiError:
    return build_error_of_field(
        "code", 'Enter a valid "slug" consisting of letters, numbers, underscores or hyphens.'
    )


def build_code_change_error() -> ApiError:
    return build_error_of_field("code", "The code of a plugin may not be changed.")
