"""Which refusals requests about plugins have, and their texts."""

from __future__ import annotations

from synapse_apply.emulator.core.errors import ApiError, conflict_error, field_error


def code_taken_error(code: str, *, is_field: bool = False) -> ApiError:
    text = f'A plugin with code "{code}" already exists.'
    return field_error("code", text) if is_field else conflict_error(text)


def tenant_plugin_system_only_error() -> ApiError:
    return field_error("system_only", "Only a plugin of no tenant can be for the system alone.")


def bad_code_error() -> ApiError:
    return field_error(
        "code",
        'Enter a valid "slug" consisting of letters, numbers, underscores or hyphens.',
    )


def code_change_error() -> ApiError:
    return field_error("code", "The code of a plugin may not be changed.")
