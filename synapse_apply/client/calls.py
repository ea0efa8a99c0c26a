"""One call as a value, and what an observer of its attempts learns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, unquote

from synapse_apply.client.http.multipart import MultipartBody
from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.errors import Invalid
from synapse_apply.model.frozen import frozen


@frozen
class RequestEvent:
    """One attempt of one call, reported when it has ended.

    `path` has no query and no agent token; `status` is 0 without an answer; `seconds` is the
    duration; `failure` is the name of the error class; `attempt` starts at 1. `started_at` is the
    start by this machine's clock, `server_date` the answer's Date header (None without one), both
    in seconds since the epoch.
    """

    method: str
    path: str
    status: int
    seconds: float
    request_id: str | None
    attempt: int
    mutates: bool
    failure: str | None = None
    started_at: float = 0.0
    server_date: float | None = None


OnRequest = Callable[[RequestEvent], None]
# Called at every 429 with the seconds of Retry-After, None if the server sent none.
OnRateLimit = Callable[[float | None], None]


# Whether an error text about this path of the request's body must not be printed.
IsSensitive = Callable[[FieldPath], bool]
Query = Mapping[str, Any] | tuple[tuple[str, str], ...]

_AGENT_TOKEN_PATH = re.compile(r"(agents/)[^/?\s\"']+")


# An agent's token stands in the path of its health check. So the path is masked everywhere, the
# server's words about it are withheld, an id that repeats it is dropped, and the check is sent
# once, also after a 429.
def mask_agent_token_in_path(text: str) -> str:
    """The text with the token of every `agents/TOKEN` path in it replaced by `***`."""
    return _AGENT_TOKEN_PATH.sub(r"\1***", text)


def encode_path(*parts: int | str, safe_chars: str = "") -> str:
    """The parts, percent-encoded, as a path relative to the base URL that ends in '/'.

    `safe_chars` are not encoded. Invalid for a part that is empty or has a slash or dots.
    """
    path = ""
    for part in parts:
        text = str(part)
        # Encoding would not help here: many servers decode %2F and %2E before they route the path.
        is_unusable = not text.strip() or text in {".", ".."} or any(char in text for char in "/\\")
        if isinstance(part, bool) or is_unusable or not text.isprintable():
            raise Invalid("not sent: an id in the path is empty or has invalid characters")
        path += f"{quote(text, safe=safe_chars)}/"
    return path


@frozen
class ClientCall:
    """One HTTP call, not sent yet; its repr shows only method and path.

    - `mutates`: it may change the server, so that a lost answer leaves its effect unknown.
    - `repeatable`: it may be sent again even if it may have arrived.
    - `send_once`: it is not sent again even after a 429.
    - `empty_ok`: a success may have no body.
    - `body_fields`: the top-level field names of the body.
    - `sensitive`: which paths of the body hold secrets; None if none do.
    - `accept`: the content type of an answer that is streamed, else "".
    - `api_version`: selects the headers that carry the credentials.
    - `is_display_text`: the answer is only shown to people and may be lenient JSON.
    - `idempotency_key`: sent as `Idempotency-Key`, by which a server recognises a second create.
    """

    method: str
    path: str
    query: Query = ()
    body: bytes | MultipartBody | None = None
    content_type: str | None = None
    body_fields: frozenset[str] = frozenset()
    mutates: bool = False
    repeatable: bool = False
    send_once: bool = False
    empty_ok: bool = False
    sensitive: IsSensitive | None = None
    accept: str = ""
    api_version: str = "v1"
    is_display_text: bool = False
    idempotency_key: str = ""

    def __repr__(self) -> str:
        return f"<Call {self}>"

    def __str__(self) -> str:
        return f"{self.method} {self.masked_path}"

    @property
    def masked_path(self) -> str:
        """The path without its agent token, for messages and observers."""
        return mask_agent_token_in_path(self.path)

    @property
    def secret_bytes(self) -> bytes:
        """The bytes that may hold a credential: the path if it has an agent token, and the body.

        An upload is left out: it is streamed and never held as a whole.
        """
        path = unquote(self.path).encode() if self.path != self.masked_path else b""
        body = self.body if isinstance(self.body, bytes) else b""
        return path + b"\n" + body if path else body

    @property
    def upload_size(self) -> int:
        """Bytes of a streamed body, 0 for the small ones that are sent at once."""
        return len(self.body) if isinstance(self.body, MultipartBody) else 0

    @property
    def is_cut_short(self) -> bool:
        """Whether it has an upload whose end was not sent: no server can act on that."""
        return isinstance(self.body, MultipartBody) and not self.body.is_fully_read
