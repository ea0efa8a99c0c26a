"""Whether a form was made by this page for the person who sends it, and lately.

A token is bound to a person and a purpose by a key that only this process knows, so that no other
site can have it, and that it serves nobody else and nothing else.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import time
from collections.abc import Callable
from hashlib import sha256
from http import HTTPStatus

from synapse_apply.controller.page.entry.refusals import RequestRefused

FORM_SECONDS = 12 * 3600
_TOKEN = re.compile(r"([0-9a-f]{1,12})\.([0-9a-f]{64})")


class FormTokens:
    """Makes and checks the tokens of forms."""

    def __init__(self, count_seconds: Callable[[], float] = time.monotonic) -> None:
        """`count_seconds` is a clock that only counts."""
        self._key = secrets.token_bytes(32)
        self._count_seconds = count_seconds

    def build_token(self, identity: str, purpose: str) -> str:
        """A token for one person and purpose, such as the path of a form."""
        return self._build_token_issued_at(identity, purpose, f"{int(self._count_seconds()):x}")

    def is_valid(self, token: str, identity: str, purpose: str) -> bool:
        """Whether it is a token of this process for person and purpose, and not too old."""
        match = _TOKEN.fullmatch(token)
        if match is None or not hmac.compare_digest(
            token, self._build_token_issued_at(identity, purpose, match[1])
        ):
            return False
        return self._count_seconds() - int(match[1], 16) < FORM_SECONDS

    def require_valid(self, token: str, identity: str, purpose: str) -> None:
        """Raise RequestRefused unless `is_valid`."""
        if not self.is_valid(token, identity, purpose):
            raise RequestRefused.from_words(
                HTTPStatus.FORBIDDEN,
                "The form is too old",
                "It is from before the controller was started, from another login, or older than "
                f"{FORM_SECONDS // 3600} hours. Nothing was done.",
                "Open the page anew, look at what it shows, and send the form again.",
            )

    def _build_token_issued_at(self, identity: str, purpose: str, issued: str) -> str:
        message = json.dumps([identity, purpose, issued]).encode()
        return f"{issued}.{hmac.new(self._key, message, sha256).hexdigest()}"
