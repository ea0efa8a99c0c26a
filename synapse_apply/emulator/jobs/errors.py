"""Which refusals requests about jobs have, and their texts."""

from __future__ import annotations

from collections.abc import Sequence

from synapse_apply.emulator.core.errors import (
    ApiError,
    build_bad_request_error,
    build_error_of_field,
)


def bad_transition(old: str, new: str) -> ApiError:
    return build_error_of_field("status", f'A job that is "{old}" cannot become "{new}".')


def build_bad_status_error(word: object) -> ApiError:
    return build_error_of_field("status", f'"{word}" is not a valid choice.')


def build_bad_lines_error() -> ApiError:
    return build_error_of_field("console_logs", "Expected an object or a list of objects.")


def unknown_action(action: str, actions: Sequence[str]) -> ApiError:
    return build_error_of_field("action", f'"{action}" is not one of: {", ".join(actions)}.')


def action_failed() -> ApiError:
    return build_bad_request_error("The action failed on request.")
