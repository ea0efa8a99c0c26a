"""Which options the client of a bucket gets: endpoint, credentials, encryption, time limits.

They are taken from the URL and from the environment of the command, by the names that the stores'
own tools use, and are passed on explicitly, so that they come before the variables of the process.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.stores.bucket.bucket_url import BucketLocation, require_safe_endpoint

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
_ENDPOINT_VARIABLES = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
    "gs": (),
}
_REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")
_ACCOUNT_VARIABLES = ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT")
_CERTIFICATE_VARIABLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
_DEFAULT_REGION = "us-east-1"
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
        endpoint = "https://storage.googleapis.com"
    client_options: dict[str, Any] = {
        "allow_http": endpoint.startswith("http://"),
        "timeout": timedelta(seconds=_REQUEST_SECONDS),
        "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
        "user_agent": user_agent,
    }
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
            "The storage account of the state is not named",
            f"{location.display_url} names a container alone.",
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
