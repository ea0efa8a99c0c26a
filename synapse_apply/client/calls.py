"""One call as a value: method, path, query, body, and what its failure may mean and show."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, unquote

from synapse_apply.client.errors import NotSentError
from synapse_apply.client.http.multipart import MultipartBody
from synapse_apply.model.diagnostic import Path
from synapse_apply.model.frozen import frozen

# Whether an error text about this path of the request's body must not be printed.
IsSensitive = Callable[[Path], bool]
Query = Mapping[str, Any] | tuple[tuple[str, str], ...]

_AGENT_TOKEN_PATH = re.compile(r"(agents/)[^/?\s\"']+")


def mask_agent_token(text: str) -> str:
    """The text with every `agents/{token}` path in it masked: the token is a credential."""
    return _AGENT_TOKEN_PATH.sub(r"\1***", text)


def build_path(*parts: int | str, safe_chars: str = "") -> str:
    """A path below the base URL, ending in '/'; `safe_chars` are characters left as they are.

    A part is one segment whatever it holds. NotSentError for one that servers or libraries would
    read as more than that: many decode %2F and %2E before they look at the path.
    """
    return "".join(f"{_quote_segment(part, safe_chars)}/" for part in parts)


def _quote_segment(part: int | str, safe_chars: str) -> str:
    text = str(part)
    is_unusable = not text.strip() or text in {".", ".."} or any(char in text for char in "/\\")
    if isinstance(part, bool) or is_unusable or not text.isprintable():
        raise NotSentError("not sent: an id in the path is empty or has characters no id has")
    return quote(text, safe=safe_chars)


def is_always_sensitive(_path: Path) -> bool:
    """All that is said of a request is sensitive: its path holds a credential."""
    return True


def build_sensitive_check(*field_names: str) -> IsSensitive:
    """Sensitive is what stands under these top-level fields."""
    return lambda path: bool(path) and path[0] in field_names


@frozen
class ClientCall:
    """One call.

    `mutates`: the server may change, so a lost answer leaves the effect unknown. `repeatable`:
    sending it again after it may have arrived does no harm. `send_once`: not even a 429 lets it be
    sent again. `empty_ok`: success may have no body. `body_fields`: top-level names a body has.
    `sensitive`: None when the body carries no secret. `accept`: the content type asked for where
    the answer is taken as it arrives, else "". `api_version`: the version whose header forms go
    with it. `is_display_text`: what is answered is only shown to people. `idempotency_key`: what
    makes a repeat of a create known as one (`Idempotency-Key`), else "". A repr shows method and
    path alone.
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
        return mask_agent_token(self.path)

    @property
    def secret_bytes(self) -> bytes:
        """What may hold a credential: a path with an agent token, any body but an upload."""
        path = unquote(self.path).encode() if self.path != self.masked_path else b""
        body = self.body if isinstance(self.body, bytes) else b""
        return path + b"\n" + body if path else body

    @property
    def upload_size(self) -> int:
        """Bytes of a streamed body, 0 for the small ones that are sent at once."""
        return len(self.body) if isinstance(self.body, MultipartBody) else 0
