"""How a URL of a state in a bucket is parsed: `s3://`, `az://`, and `gs://` where it is tried out.

A URL that holds a credential is refused, and no message repeats it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qsl, urlsplit

from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen

# The folder of a state whose URL names a bucket alone; the target's name follows.
DEFAULT_FOLDER = "synapse-apply"

_PARAMETERS = {
    "s3": ("region", "endpoint", "path_style"),
    "az": ("account", "endpoint"),
    "gs": ("untested",),
}
# A part of a path: no object store and no tool for one reads anything into these characters.
_SEGMENT_PATTERN = re.compile(r"[A-Za-z0-9_.=-]+")
_BUCKET_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{1,62}")
_WORD_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_ENDPOINT_PATTERN = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9_.-]+)*/?")
_CREDENTIAL_HINT = (
    "Take it out, and have it where the store's own tools look for it: AWS_ACCESS_KEY_ID and"
    " AWS_SECRET_ACCESS_KEY, AZURE_STORAGE_ACCOUNT_KEY, or the identity of the CI job. A key that"
    " was committed is known to others: make a new one."
)


@frozen
class BucketLocation:
    """Where a state is: `scheme` is s3, az or gs; `folder` is its path in the bucket.

    "" for a region, endpoint or account that the URL does not name; `path_style` None likewise.
    """

    scheme: str
    bucket: str
    folder: str
    region: str = ""
    endpoint: str = ""
    account: str = ""
    path_style: bool | None = None

    @property
    def display_url(self) -> str:
        """The URL for messages, without its parameters."""
        return f"{self.scheme}://{self.bucket}/{self.folder}"


def is_bucket_url(url: str) -> bool:
    """Whether a state's URL names a bucket of S3, Azure or Google Cloud."""
    scheme, separator, _ = url.partition("://")
    return bool(separator) and scheme.lower() in _PARAMETERS


def parse_bucket_url(url: str, target: str) -> BucketLocation:
    """Parse a state's URL; InputError if it is unusable or holds a credential.

    Without a path the folder is `synapse-apply/TARGET`.
    """
    parts = _split_url(url)
    scheme = parts.scheme.lower()
    parameters = _known_parameters(parts, scheme)
    if not _BUCKET_PATTERN.fullmatch(parts.netloc):
        raise _build_url_error(
            "the name of the bucket is missing, or is none", f"Write {scheme}://BUCKET/FOLDER."
        )
    folder = parts.path.strip("/") or f"{DEFAULT_FOLDER}/{target}"
    if not all(
        _SEGMENT_PATTERN.fullmatch(segment) and segment.strip(".") for segment in folder.split("/")
    ):
        raise _build_url_error(
            "the path of the bucket has a part that is empty or has unusual characters",
            "Use letters, digits and _ . = - between slashes.",
        )
    if scheme == "gs" and parameters.get("untested") != "true":
        raise InputError.from_summary(
            "State in Google Cloud Storage is not tested",
            f"{scheme}://{parts.netloc}/{folder}: nobody has run the tests of a state there.",
            "Use a bucket of S3 or Azure. To try it all the same, add ?untested=true.",
        )
    return BucketLocation(
        scheme,
        parts.netloc,
        folder,
        region=_parse_name(parameters, "region"),
        endpoint=_parse_endpoint(parameters.get("endpoint", "")),
        account=_parse_name(parameters, "account"),
        path_style=_parse_flag_or_none(parameters, "path_style"),
    )


def require_safe_endpoint(endpoint: str, origin: str) -> None:
    """InputError unless an endpoint is https, or plain http on this machine.

    `origin` says where the endpoint comes from: a variable, or the state's URL.
    """
    if not _ENDPOINT_PATTERN.fullmatch(endpoint):
        raise InputError.from_summary(
            "The endpoint of the state's bucket cannot be used",
            f"{origin} is no https URL of a host.",
            "Write it as https://HOST or https://HOST:PORT.",
        )
    parts = urlsplit(endpoint)
    if parts.scheme != "https" and not _is_loopback(parts.hostname or ""):
        raise InputError.from_summary(
            "The endpoint of the state's bucket cannot be used",
            f"{origin} is a plain http URL, and what is sent there can be read on the way.",
            "Write https://. Plain http is allowed for 127.0.0.1, ::1 and localhost alone.",
        )


def _split_url(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # its text may quote the URL
        reason = "it has brackets that belong to no address"
    raise _build_url_error(reason, "Write s3://BUCKET/FOLDER or az://CONTAINER/FOLDER.")


def _known_parameters(parts: SplitResult, scheme: str) -> Mapping[str, str]:
    """The parameters; InputError for one that is unknown or repeated, as a credential would be."""
    allowed = _PARAMETERS[scheme]
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    names = [name for name, _ in pairs]
    has_other = not set(names) <= set(allowed) or len(set(names)) != len(names)
    has_login = "@" in parts.netloc or any("@" in value for _, value in pairs)
    if has_login or (has_other and any(_is_credential_name(name) for name in names)):
        raise InputError.from_summary(
            "A credential does not belong in the state's url",
            f"state.url begins with {scheme}:// and holds what looks like a key or a password.",
            _CREDENTIAL_HINT,
        )
    if has_other or parts.fragment:
        raise _build_url_error(
            "it has a parameter that is unknown or stands there twice",
            f"The parameters of {scheme}:// are: {', '.join(allowed)}.",
        )
    return dict(pairs)


def _is_credential_name(name: str) -> bool:
    """Whether a parameter is named as a key, a token or a signature of any store."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    return bool({"key", "secret", "token", "password", "sig", "signature", "credential"} & {*words})


def _parse_endpoint(endpoint: str) -> str:
    if endpoint:
        require_safe_endpoint(endpoint, "endpoint= of state.url")
    return endpoint.rstrip("/")


def _parse_name(parameters: Mapping[str, str], name: str) -> str:
    value = parameters.get(name, "")
    if name in parameters and not _WORD_PATTERN.fullmatch(value):
        raise _build_url_error(
            f"{name}= is no name", f"Write {name}=NAME with lower-case letters, digits and -."
        )
    return value


def _parse_flag_or_none(parameters: Mapping[str, str], name: str) -> bool | None:
    if name not in parameters:
        return None
    if parameters[name] not in ("true", "false"):
        raise _build_url_error(f"{name}= is neither true nor false", f"Write {name}=true.")
    return parameters[name] == "true"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _build_url_error(reason: str, hint: str) -> InputError:
    return InputError.from_summary("The state's url cannot be used", f"state.url: {reason}.", hint)
