"""Which refusals requests about jobs have, and their texts."""

from __future__ import annotations

from collections.abc import Sequence

from synapse_apply.emulator.core.errors import ApiError, bad_request_error, field_error


def bad_transition_error(old: str, new: str) -> ApiError:
    return field_error("status", f'A job that is "{old}" cannot become "{new}".')


def bad_status_error(word: object) -> ApiError:
    return field_error("status", f'"{word}" is not a valid choice.')


def bad_lines_error() -> ApiError:
    return field_error("console_logs", "Expected an object or a list of objects.")


def unknown_action_error(action: str, actions: Sequence[str]) -> ApiError:
    return field_error("action", f'"{action}" is not one of: {", ".join(actions)}.')


def action_failed_error() -> ApiError:
    return bad_request_error("The action failed on request.")
