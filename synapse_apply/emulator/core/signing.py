"""How a URL that needs no token is signed, and when it is valid: in the form of Amazon S3."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode

from synapse_apply.emulator.core.auth import TOKEN_HEADERS
from synapse_apply.emulator.core.backend import DataSetBackend
from synapse_apply.emulator.core.errors import build_bad_request_error, build_forbidden_error

LIFETIME = 3600  # seconds
_KEY_SETTING = "signing_key"  # its key in the table `about` of the data set
_DATE, _EXPIRES, _SIGNATURE = "X-Amz-Date", "X-Amz-Expires", "X-Amz-Signature"
_DATE_FORMAT = "%Y%m%dT%H%M%SZ"


def sign_url(backend: DataSetBackend, root: str, path: str) -> str:
    """The signed URL of a path, valid for `LIFETIME` seconds from now."""
    date = datetime.fromtimestamp(backend.clock.now(), UTC).strftime(_DATE_FORMAT)
    query = {
        _DATE: date,
        _EXPIRES: str(LIFETIME),
        _SIGNATURE: _sign_with_key(backend, path, date, str(LIFETIME)),
    }
    return f"{root}{path}?{urlencode(query)}"


def require_signed_url(
    backend: DataSetBackend, path: str, query: Mapping[str, str], headers: Mapping[str, str]
) -> None:
    """Raises ApiError: 403 for a wrong or expired signature, 400 if there is a token as well."""
    if any(name in headers for name in TOKEN_HEADERS):
        raise build_bad_request_error("Only one way to authenticate is allowed.")
    date, lifetime = query.get(_DATE, ""), query.get(_EXPIRES, "")
    expected_signature = _sign_with_key(backend, path, date, lifetime)
    if not hmac.compare_digest(expected_signature.encode(), query.get(_SIGNATURE, "").encode()):
        raise build_forbidden_error("The signature does not match.")
    # Parsed after the comparison: a genuine signature proves that these texts are ours.
    signed_at = datetime.strptime(date, _DATE_FORMAT).replace(tzinfo=UTC).timestamp()
    if backend.clock.now() > signed_at + int(lifetime):
        raise build_forbidden_error("The request has expired.")


def _sign_with_key(backend: DataSetBackend, path: str, date: str, lifetime: str) -> str:
    """The HMAC-SHA256 of path, date and lifetime in hex; creates the key at its first use."""
    key = backend.store.find_setting(_KEY_SETTING)
    if key is None:
        key = secrets.token_hex(32)
        backend.store.write_setting(_KEY_SETTING, key)
    text = f"{path}\n{date}\n{lifetime}"
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()
