"""Which status and body each general refusal has, in the form of Django REST framework."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class ApiError(Exception):
    """A refusal: `status` and a JSON `body` in the form of API v1.

    `code` and `details` are shown by API v2 only: an error code other than that of the status, and
    further facts.
    """

    def __init__(
        self,
        status: int,
        body: dict[str, Any],
        headers: Mapping[str, str] | None = None,
        *,
        code: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body
        self.headers = dict(headers or {})
        self.code = code
        self.details = dict(details or {})


def build_error_of_fields(errors: Mapping[str, Sequence[str]]) -> ApiError:
    """400 with every wrong field: `{"field": ["..."]}`."""
    return ApiError(400, {name: list(texts) for name, texts in errors.items()})


def build_error_of_field(name: str, text: str) -> ApiError:
    return build_error_of_fields({name: [text]})


def build_bad_request_error(detail: str) -> ApiError:
    return ApiError(400, {"detail": detail})


def build_unauthorized_error(detail: str) -> ApiError:
    # RFC 9110, 11.6.1: a 401 has this header.
    return ApiError(401, {"detail": detail}, {"WWW-Authenticate": "Token"})


def build_forbidden_error(detail: str) -> ApiError:
    return ApiError(403, {"detail": detail})


def build_not_found_error(detail: str = "Not found.") -> ApiError:
    return ApiError(404, {"detail": detail})


def method_not_allowed(method: str, allowed: Sequence[str]) -> ApiError:
    return ApiError(
        # RFC 9110, 15.5.6: a 405 has the header Allow.
        405,
        {"detail": f'Method "{method}" not allowed.'},
        {"Allow": ", ".join(allowed)},
    )


def build_conflict_error(detail: str) -> ApiError:
    return ApiError(409, {"detail": detail})


def build_too_large_error(limit: int) -> ApiError:
    return ApiError(413, {"detail": f"The request body is larger than {limit} bytes."})


def unsupported_media(content_type: str) -> ApiError:
    return ApiError(415, {"detail": f'Unsupported media type "{content_type}" in request.'})


def build_unavailable_error(detail: str) -> ApiError:
    return ApiError(503, {"detail": detail})
