"""How much of a request's body is read, and for how long."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

_BODY_SECONDS = 10.0


async def read_body_within_limits(request: Request, max_size: int) -> bytes:
    """The body of a request; HTTPException where it is too large, too slow or broken off."""
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_size:
                    raise HTTPException(
                        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                        f"A body has at most {max_size:,} bytes.",
                    )
    except TimeoutError:
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, "The body came too slowly.") from None
    except ClientDisconnect:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "The body broke off.") from None
    return bytes(body)


def require_media_type(request: Request, expected: str) -> None:
    """Raise HTTPException unless the body is said to be of one media type."""
    values = request.headers.getlist("content-type")
    media_type = values[0].partition(";")[0].strip().lower() if len(values) == 1 else ""
    if media_type != expected:
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"The body has to be {expected}.")
