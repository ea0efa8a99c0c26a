"""Which bucket a url names, with which options it is opened, and what is said where it is not.

How a URL of a state in a bucket is parsed: `s3://`, `az://`, and `gs://` where it is tried out. A
URL that holds a credential is refused, and no message repeats it.

Which options the client of a bucket gets: endpoint, credentials, encryption, time limits. They are
taken from the URL and from the environment of the command, by the names that the stores' own tools
use, and are passed on explicitly, so that they come before the variables of the process.

Which StateError each failure of a bucket becomes, and which failures leave an outcome open. The
client's exceptions have one class for nearly everything, and their texts quote URLs, headers and
what the server said. So a text is searched for known marks, and no part of it is shown but an error
code of letters, a region, and the start of an object's name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from synapse_apply.model.command import fill
from synapse_apply.model.errors import InputError, StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.lazy_patterns import lazy_pattern
from synapse_apply.model.secrets.proxies import needs_no_proxy
from synapse_apply.model.secrets.secret_rules import is_loopback
from synapse_apply.stores.state_messages import NOTHING_LOST_NOTE, url_error

# The folder of a state whose URL names a bucket alone; the target's name follows.
DEFAULT_FOLDER = "synapse-apply"

_PARAMETERS = {
    "s3": ("region", "endpoint", "path_style"),
    "az": ("account", "endpoint"),
    "gs": ("untested",),
}
# A part of a path: no object store and no tool for one reads anything into these characters.
_SEGMENT_PATTERN = lazy_pattern(r"[A-Za-z0-9_.=-]+")
_BUCKET_PATTERN = lazy_pattern(r"[A-Za-z0-9][A-Za-z0-9_.-]{1,62}")
_WORD_PATTERN = lazy_pattern(r"[a-z0-9][a-z0-9-]{0,62}")
_ENDPOINT_PATTERN = lazy_pattern(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9_.-]+)*/?")
_CREDENTIAL_HINT = (
    "Remove it from the url, and set it where the store's own tools look for it: "
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AZURE_STORAGE_ACCOUNT_KEY, or the identity of "
    "the CI job. If the key was ever committed, others may know it: create a new key."
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
        raise url_error(
            "the name of the bucket is missing or invalid", f"Write {scheme}://BUCKET/FOLDER."
        )
    folder = parts.path.strip("/") or f"{DEFAULT_FOLDER}/{target}"
    if not all(
        _SEGMENT_PATTERN.fullmatch(segment) and segment.strip(".") for segment in folder.split("/")
    ):
        raise url_error(
            "the path of the bucket has a part that is empty or has unusual characters",
            "Use letters, digits and _ . = - between slashes.",
        )
    if scheme == "gs" and parameters.get("untested") != "true":
        raise InputError.from_summary(
            "State in Google Cloud Storage is not tested",
            f"{scheme}://{parts.netloc}/{folder}: no test of a state has ever run there.",
            "Use a bucket of S3 or Azure. To try it anyway, add ?untested=true.",
        )
    region, endpoint = _parse_name(parameters, "region"), parameters.get("endpoint", "")
    if endpoint:
        require_safe_endpoint(endpoint, "endpoint= of state.url")
    account, path_style = _parse_name(parameters, "account"), parameters.get("path_style")
    if path_style not in (None, "true", "false"):
        raise url_error("path_style= is neither true nor false", "Write path_style=true.")
    return BucketLocation(
        scheme,
        parts.netloc,
        folder,
        region,
        endpoint.rstrip("/"),
        account,
        None if path_style is None else path_style == "true",
    )


def require_safe_endpoint(endpoint: str, origin: str) -> None:
    """InputError unless an endpoint is https, or plain http on this machine.

    `origin` says where the endpoint comes from: a variable, or the state's URL.
    """
    if not _ENDPOINT_PATTERN.fullmatch(endpoint):
        raise InputError.from_summary(
            "The state bucket's endpoint cannot be used",
            f"{origin} is not an https URL of a host.",
            "Write it as https://HOST or https://HOST:PORT.",
        )
    parts = urlsplit(endpoint)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise InputError.from_summary(
            "The state bucket's endpoint cannot be used",
            f"{origin} is a plain http URL, so others can read the traffic.",
            "Write https://. Plain http is allowed only for 127.0.0.1, ::1 and localhost.",
        )


def _split_url(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # its text may quote the URL
        reason = "it has brackets that do not enclose an address"
    raise url_error(reason, "Write s3://BUCKET/FOLDER or az://CONTAINER/FOLDER.")


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
            f"state.url begins with {scheme}:// and contains text that looks like a key or a "
            "password.",
            _CREDENTIAL_HINT,
        )
    if has_other or parts.fragment:
        raise url_error(
            "it has a parameter that is unknown or given twice",
            f"The parameters of {scheme}:// are: {', '.join(allowed)}.",
        )
    return dict(pairs)


def _is_credential_name(name: str) -> bool:
    """Whether a parameter is named as a key, a token or a signature of any store."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    return bool({"key", "secret", "token", "password", "sig", "signature", "credential"} & {*words})


def _parse_name(parameters: Mapping[str, str], name: str) -> str:
    value = parameters.get(name, "")
    if name in parameters and not _WORD_PATTERN.fullmatch(value):
        raise url_error(
            f"{name}= is not a valid name",
            f"Write {name}=NAME with lower-case letters, digits and -.",
        )
    return value


# Seconds of an operation with all its retries: a third of the lease of a state in a bucket.
OPERATION_SECONDS = 20.0
_REQUEST_SECONDS, _CONNECT_SECONDS, _RETRY_SECONDS = 15.0, 5.0, 5.0

# What obstore takes from the environment, apart from places, which are ours to check, and from
# options that would change what a condition or a checksum means.
_VARIABLES = {
    "s3": (
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
        *("AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        *("AWS_ENDPOINT_URL_STS", "AWS_METADATA_ENDPOINT", "AWS_IMDSV1_FALLBACK"),
        *("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        *("AWS_SERVER_SIDE_ENCRYPTION", "AWS_SSE_KMS_KEY_ID", "AWS_SSE_BUCKET_KEY_ENABLED"),
        *("AWS_SSE_CUSTOMER_KEY_BASE64", "AWS_REQUEST_PAYER"),
    ),
    "az": (
        *("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_MASTER_KEY"),
        *("AZURE_STORAGE_SAS_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_TOKEN"),
        *("AZURE_CLIENT_ID", "AZURE_STORAGE_CLIENT_ID", "AZURE_TENANT_ID"),
        *("AZURE_CLIENT_SECRET", "AZURE_STORAGE_CLIENT_SECRET", "AZURE_STORAGE_TENANT_ID"),
        *("AZURE_AUTHORITY_HOST", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_CREDENTIAL_TYPE"),
        *("AZURE_IDENTITY_ENDPOINT", "AZURE_MSI_ENDPOINT", "AZURE_OBJECT_ID"),
        *("AZURE_MSI_RESOURCE_ID", "AZURE_USE_AZURE_CLI"),
    ),
    "gs": ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_BEARER_TOKEN"),
}
_SECRET_OPTION_PATTERN = lazy_pattern(
    "access_key$|master_key|account_key|sas_|_token$|secret|customer_key"
)
_ENDPOINT_VARIABLES = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
    "gs": (),
}
_REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")
_ACCOUNT_VARIABLES = ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT")
_CERTIFICATE_VARIABLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
_DEFAULT_REGION = "us-east-1"
# Names, IPv4 and IPv6 addresses, as the client has them.
_ALL_HOSTS = ("*", "0.0.0.0/0", "::/0")
_THIS_MACHINE = ("localhost", "127.0.0.0/8", "0.0.0.0/32", "::1", "::", "::ffff:127.0.0.0/104")
_GOOGLE_ENDPOINT = "https://storage.googleapis.com"
_AZURE_ENDPOINT = "https://{}.blob.core.windows.net"


@frozen
class BucketOptions:
    """What obstore's store classes take; `config` holds credentials and is never shown.

    `endpoint` is the base URL, without bucket and path, that requests go to.
    """

    endpoint: str
    config: Mapping[str, Any]
    client_options: Mapping[str, Any]
    retry_config: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"BucketOptions(endpoint={self.endpoint!r})"

    def credentials(self) -> Iterator[str]:
        """What a server is sent and may repeat; a shared access signature, and each part of it."""
        for name, value in self.config.items():
            if _SECRET_OPTION_PATTERN.search(name):
                yield value
                for part in value.split("&") if "_sas_" in name else ():
                    yield from (part.partition("=")[2], unquote(part.partition("=")[2]))


def build_bucket_options(
    location: BucketLocation, environ: Mapping[str, str], user_agent: str
) -> BucketOptions:
    """The options for a bucket; InputError for an unsafe endpoint or an Azure account not named."""
    config: dict[str, Any] = {
        name.lower(): environ[name] for name in _VARIABLES[location.scheme] if environ.get(name)
    }
    endpoint = location.endpoint or _safe_endpoint(location.scheme, environ)
    if location.scheme == "s3":
        endpoint, settings = _s3_settings(location, environ, endpoint)
        config.update(settings)
    elif location.scheme == "az":
        endpoint, settings = _azure_settings(location, environ, endpoint)
        config.update(settings)
    else:
        endpoint = _GOOGLE_ENDPOINT
        _require_google(environ)
    client_options: dict[str, Any] = {
        "allow_http": endpoint.startswith("http://"),
        "timeout": timedelta(seconds=_REQUEST_SECONDS),
        "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
        "user_agent": user_agent,
    }
    if needs_no_proxy(endpoint):
        client_options.update(_without_proxy(endpoint, environ))
    if certificate := _extra_certificates(environ):
        client_options["root_certificate"] = certificate
    return BucketOptions(
        endpoint,
        config,
        client_options,
        {
            "max_retries": 4,
            "retry_timeout": timedelta(seconds=_RETRY_SECONDS),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=2),
                "base": 2,
            },
        },
    )


def _require_google(environ: Mapping[str, str]) -> None:
    """InputError for credentials that lead to another server, which no message would name."""
    for name in _VARIABLES["gs"]:
        try:
            document = json.loads(Path(environ.get(name, "")).read_bytes())
        except (OSError, ValueError, RecursionError):
            continue  # the client says what is wrong with it
        server = document.get("gcs_base_url") if isinstance(document, dict) else None
        if server not in {None, _GOOGLE_ENDPOINT}:
            raise InputError.from_summary(
                "The state bucket's credentials name a different server",
                f"{name} names {environ[name]}, in which gcs_base_url is not {_GOOGLE_ENDPOINT}.",
                "Remove gcs_base_url from the file.",
            )


def _without_proxy(endpoint: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The options of a client that asks no proxy for an endpoint on this machine.

    Another server, which gives the credentials, may still need the proxy for https.
    """
    proxy = _first_set(environ, ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"))
    excluded = (
        urlsplit(endpoint).hostname or "",
        *_THIS_MACHINE,
        _first_set(environ, ("no_proxy", "NO_PROXY")),
    )
    # Exclusions count beside a named proxy alone. Without one all hosts are excluded.
    return {
        "proxy_url": proxy or endpoint,
        "proxy_excludes": ",".join(excluded if proxy else _ALL_HOSTS),
    }


def _s3_settings(
    location: BucketLocation, environ: Mapping[str, str], endpoint: str
) -> tuple[str, dict[str, Any]]:
    """Endpoint and settings of S3. A bucket of Amazon's is part of the host name, as it advises."""
    region = location.region or _first_set(environ, _REGION_VARIABLES) or _DEFAULT_REGION
    # A certificate for *.s3.amazonaws.com does not cover a bucket with a dot in its name.
    is_path_style = location.path_style
    if is_path_style is None:
        is_path_style = bool(endpoint) or "." in location.bucket
    if not endpoint:
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        endpoint = f"https://s3.{region}.{suffix}"
    scheme, _, host = endpoint.partition("://")
    url = endpoint if is_path_style else f"{scheme}://{location.bucket}.{host}"
    return endpoint, {
        "aws_endpoint_url_s3": url,
        "aws_region": region,
        "aws_virtual_hosted_style_request": not is_path_style,
        # The condition and the checksum are what a state depends on.
        "aws_conditional_put": "etag",
        "aws_checksum_algorithm": "sha256",
        "aws_unsigned_payload": False,
        "aws_skip_signature": False,
        "aws_s3_express": False,
        # Each store has DELETE; some have no DeleteObjects.
        "aws_disable_bulk_delete": True,
    }


def build_account_endpoint(location: BucketLocation, environ: Mapping[str, str]) -> str:
    """The host of the Azure account that a URL names; "" where it names none, or has no say."""
    has_endpoint = _first_set(environ, _ENDPOINT_VARIABLES["az"])
    return _AZURE_ENDPOINT.format(location.account) * bool(location.account and not has_endpoint)


def _azure_settings(
    location: BucketLocation, environ: Mapping[str, str], endpoint: str
) -> tuple[str, dict[str, Any]]:
    account = location.account or _first_set(environ, _ACCOUNT_VARIABLES)
    if not account:
        raise InputError.from_summary(
            "The state's storage account is not set",
            f"{location.display_url} names only a container.",
            "Add ?account=NAME to state.url, or set AZURE_STORAGE_ACCOUNT_NAME.",
        )
    endpoint = endpoint or _AZURE_ENDPOINT.format(account)
    return endpoint, {
        "azure_storage_account_name": account,
        "azure_storage_endpoint": endpoint,
        "azure_storage_use_emulator": False,
        "azure_skip_signature": False,
    }


def _safe_endpoint(scheme: str, environ: Mapping[str, str]) -> str:
    """The endpoint that the environment names, "" if none; InputError if it is unsafe."""
    for name in _ENDPOINT_VARIABLES[scheme]:
        if environ.get(name):
            require_safe_endpoint(environ[name], name)
            return environ[name].rstrip("/")
    return ""


def _first_set(environ: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((environ[name] for name in names if environ.get(name)), "")


def _extra_certificates(environ: Mapping[str, str]) -> bytes:
    """The certificates to trust besides the system's, b"" for none; InputError if unreadable."""
    name = next((name for name in _CERTIFICATE_VARIABLES if environ.get(name)), "")
    # A folder of certificates is for OpenSSL alone.
    if not name or Path(environ[name]).is_dir():
        return b""
    try:
        return Path(environ[name]).read_bytes()
    except OSError as problem:
        raise InputError.from_summary(
            "The CA bundle cannot be read",
            f"{name} names {environ[name]}: {problem.strerror}.",
            f"Correct {name}, or unset it for the system's certificates.",
        ) from None


_STATUS_PATTERN = lazy_pattern(r"non-2xx status code: ([1-5]\d\d)")
# Words alone: a server may have a credential that it was sent in this place.
_CODE_PATTERN = lazy_pattern(r"<Code>((?=[A-Za-z]{1,48}<)(?:[A-Z]{1,4}[a-z]+)+)</Code>")
_REGION_PATTERN = lazy_pattern(r"<Region>([a-z]{2,9}(?:-[a-z]{2,9}){0,3}(?:-?\d{1,3})?)</Region>")
_CERTIFICATE_PATTERN = lazy_pattern(
    r"InvalidCertificate\(\s*(?:Other\(\s*OtherError\(\s*)?([A-Za-z]+)"
)

_CERTIFICATE_REASONS = frozenset(
    {
        *("BadEncoding", "BadSignature", "CaUsedAsEndEntity", "EndEntityUsedAsCa", "Expired"),
        *("ExpiredContext", "InvalidPurpose", "InvalidPurposeContext", "NotValidForName"),
        *("NotValidForNameContext", "NotValidYet", "NotValidYetContext", "Revoked"),
        *("SelfSigned", "UnhandledCriticalExtension", "UnknownIssuer", "UnknownRevocationStatus"),
        *("UnsupportedCertVersion", "UnsupportedSignatureAlgorithm"),
    }
)

# S3, Azure and Google Cloud call an object that is not there by these names.
_ABSENT_CODES = frozenset({"NoSuchKey", "BlobNotFound"})
_NO_BUCKET_CODES = frozenset({"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"})
_SKEW_CODES = frozenset({"RequestTimeTooSkewed", "RequestExpired"})
_REGION_CODES = frozenset(
    {"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"}
)
_LOGIN_CODES = frozenset(
    {
        *("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"),
        *("AuthenticationFailed", "InvalidAuthenticationInfo", "NoAuthenticationInformation"),
        *("TokenRefreshRequired", "UnrecognizedClientException"),
    }
)
# Where the client asks for credentials if the environment has none.
_METADATA_MARKS = (
    *("/latest/api/token", "/latest/meta-data", "/metadata/identity", "AssumeRole"),
    "REDACTED",  # the client's own word for the URL of such a request
)

# Such an answer has a status of success and is no object store's.
_FOREIGN_MARKS = ("InvalidListResponse", "MissingEtag", "MissingLastModified", "kind: Redirect")

_LOGIN_HINT = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AZURE_STORAGE_ACCOUNT_KEY, or let the "
    'CI job take a role. The tool does not read profile files: `eval "$(aws configure '
    'export-credentials --format env)"` sets the variables of a profile.'
)
LIST_RIGHT_NOTE = (
    "A state needs permission to read, write and list: without s3:ListBucket on the bucket, S3 "
    "answers 403 for an object that does not exist."
)


class BucketAccessDenied(StateError):
    """The store refuses what was asked; other requests may be permitted."""


@frozen
class BucketFailure:
    """What a failed request says: `status` 0 without an answer, `code` "" without an error code.

    `marks` is the client's text, which is searched and never shown.
    """

    status: int
    code: str
    marks: str

    def __repr__(self) -> str:
        return f"BucketFailure(status={self.status}, code={self.code!r})"

    @property
    def says_object_is_absent(self) -> bool:
        """Whether the store says that this object, in a bucket that exists, is not there."""
        return self.status == 404 and self.code in _ABSENT_CODES

    @property
    def leaves_outcome_open(self) -> bool:
        """Whether a request may have been carried out: no answer, a refusal of the condition.

        Not where the store says that it cannot be used at all.
        """
        if self.status:
            return self.status in (408, 409, 412, 429) or self.status >= 500
        # There was no connection, or to another server.
        return not any(
            mark in self.marks for mark in ("kind: Connect", "BareRedirect", *_FOREIGN_MARKS)
        )

    def build_state_error(self, location: str, endpoint: str, activity: str) -> StateError:
        """The error for people; `activity` begins a sentence: Reading, Writing, Listing."""
        rule, answer = self._find_rule_with_status() if self.status else self._find_rule(location)
        region = _REGION_PATTERN.search(self.marks) if self.status else None
        values = {
            "answer": f"{activity} {location} at {endpoint}: {answer}.",
            "endpoint": endpoint,
            "region": region[1] if region else "NAME",
        }
        kind = BucketAccessDenied if rule == "denied" else StateError
        return kind.from_summary(*(fill(text, values) for text in _TEXTS[rule]))

    def _find_rule_with_status(self) -> tuple[str, str]:
        """The rule of the texts, and what is said of the answer; the same for `_find_rule`."""
        status, code = self.status, self.code
        rule = "other"
        if code in _NO_BUCKET_CODES:
            rule = "no bucket"
        elif code in _SKEW_CODES:
            rule = "skew"
        elif code in _REGION_CODES or status in (301, 307):
            rule = "region"
        elif any(mark in self.marks for mark in _METADATA_MARKS) or code in _LOGIN_CODES:
            rule = "login"
        elif status in (401, 403):
            rule = "denied"
        elif status == 404 and not code:
            rule = "foreign"
        elif status >= 500 or status == 429:
            rule = "fault"
        return rule, f"the store answered {status}{f' {code}' if code else ''}"

    def _find_rule(self, location: str) -> tuple[str, str]:
        marks = self.marks
        if certificate := _CERTIFICATE_PATTERN.search(marks):
            reason = certificate[1]
            return "certificate", reason if reason in _CERTIFICATE_REASONS else "it is not valid"
        if any(mark in marks for mark in _METADATA_MARKS):
            return "login", "no credentials were found"
        if odd_name := _ODD_NAME_PATTERN.search(marks):
            name = _start_of_name(odd_name[1], location)
            return (
                "odd name",
                f"the object {name} has a name that no state uses and that cannot be listed",
            )
        lost = ("unreachable", "the connection was lost")
        return next((rule for mark, rule in _RULES_BY_MARK if mark in marks), lost)


# A server that answers 200 to everything, such as a portal that asks for a login.
PAGE_IN_PLACE_OF_OBJECT = BucketFailure(0, "", _FOREIGN_MARKS[0])


def parse_client_exception(problem: BaseException) -> BucketFailure:
    """What an exception of the client says, by the marks in its text."""
    text = "kind: Timeout" if isinstance(problem, TimeoutError) else str(problem)
    status = _STATUS_PATTERN.search(text)
    code = _CODE_PATTERN.search(text)
    return BucketFailure(int(status[1]) if status else 0, code[1] if code else "", text)


# Of obstore: empty parts, `.`, `..` and control characters, which S3 takes and its paths do not.
_ODD_NAME_PATTERN = lazy_pattern(
    r'invalid path: (?:Error parsing )?Path "(.+?)"(?:: | contained )', re.DOTALL
)


# What is longer may be a credential that the server was sent, also one that nobody here knows.
_MOST_FOREIGN_CHARACTERS = 7


def _start_of_name(name: str, location: str) -> str:
    """An object's name as far as its folders are a state's; all of it where little follows."""
    folder = re.escape(location.split("/", 3)[3])
    known = re.match(rf"{folder}/(?:chain-\d{{1,6}}/)?(?:links|snapshots|audit|probe)?[./]*", name)
    start = known[0] if known else ""
    if len(name) - len(start) <= _MOST_FOREIGN_CHARACTERS:
        return repr(name)
    return f"{start[:200]!r} (the rest of its name is not shown: it may be a credential)"


# By rule: summary, detail and hint.
_TEXTS: Mapping[str, tuple[str, str, str]] = {
    "no bucket": (
        "The state's bucket does not exist",
        "{answer}",
        "Create the bucket, or correct state.url, including region and endpoint.",
    ),
    "skew": (
        "This machine's clock is wrong",
        "{answer} The clocks of the server and this machine differ by more than the server allows.",
        "Set the clock (`timedatectl` shows whether it follows a time server).",
    ),
    "region": (
        "The state's bucket is in a different region",
        "{answer}",
        "Specify its region: ?region={region} in state.url, or AWS_REGION.",
    ),
    "login": ("The state's bucket needs different credentials", "{answer}", _LOGIN_HINT),
    "denied": ("The state's bucket refuses access", "{answer}", LIST_RIGHT_NOTE),
    "fault": (
        "The state bucket's server reported an error",
        "{answer}",
        f"Try again later. {NOTHING_LOST_NOTE}",
    ),
    "other": (
        "The state cannot be used",
        "{answer}",
        "Look up this answer in the store's manual.",
    ),
    "certificate": (
        "The bucket server's certificate is not trusted",
        "{answer}",
        (
            "If your own authority signed the certificate, set AWS_CA_BUNDLE to the authority's "
            "file."
        ),
    ),
    "odd name": (
        "The state's folder contains a foreign object",
        "{answer}",
        f"Delete the object with exactly this name. {NOTHING_LOST_NOTE}",
    ),
    "foreign": (
        "The endpoint is not an object store",
        "{answer}",
        (
            "A proxy may answer at {endpoint}. Check endpoint= in state.url and the variables that "
            "set it."
        ),
    ),
    "too much": (
        "The bucket returned more data than a state can have",
        "{answer}",
        f"Check the content of the folder, and the endpoint. {NOTHING_LOST_NOTE}",
    ),
    "unreachable": (
        "The state's bucket cannot be reached",
        "{answer}",
        f"Check endpoint, region, proxy and network. {NOTHING_LOST_NOTE}",
    ),
}
# What the folder of a bucket calls answers that are longer than it reads.
TOO_MANY_BYTES, TOO_MANY_NAMES = "answer: too many bytes", "answer: too many names"
TOO_LARGE_ANSWER = "answer: too large"
# Of a failure without a status, by the first mark in its text: the rule, and what is said.
_RULES_BY_MARK = (
    (TOO_MANY_BYTES, ("too much", "its objects have more than 512 MiB")),
    (TOO_LARGE_ANSWER, ("too much", "one answer takes more than 2 GiB of memory")),
    (TOO_MANY_NAMES, ("too much", "it lists more than 1,000,000 objects, or 128 MiB of names")),
    ("BareRedirect", ("region", "the store answered that the bucket is at another place")),
    ("InvalidMessage", ("foreign", "the server does not speak TLS")),
    *(
        (mark, ("foreign", "the answer does not come from an object store"))
        for mark in _FOREIGN_MARKS
    ),
    ("kind: Timeout", ("unreachable", "no answer arrived in time")),
    ("ConnectionRefused", ("unreachable", "the connection was refused")),
    ("dns error", ("unreachable", "the host name is unknown")),
    ("failed to lookup", ("unreachable", "the host name is unknown")),
    ("kind: Connect", ("unreachable", "no connection is possible")),
)
