"""What the url of a state in a bucket means, and that nothing of a credential is ever repeated."""

from __future__ import annotations

import pytest

from synapse_apply.model.errors import InputError
from synapse_apply.stores.bucket.bucket_url import (
    build_bucket_options,
    is_bucket_url,
    parse_bucket_url,
)


def options_of(url, environ=(), account="acme"):
    """What the client gets."""
    environ = {"AZURE_STORAGE_ACCOUNT_NAME": account, **dict(environ)}
    return build_bucket_options(parse_bucket_url(url, "prod"), environ, "tests")


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("s3://acme/states/prod", "s3://acme/states/prod"),
        ("S3://acme/states/prod/", "s3://acme/states/prod"),
        ("s3://acme", "s3://acme/synapse-apply/prod"),
        (
            "s3://a.b-c/x?region=eu-west-1&endpoint=https://s3.example&path_style=true",
            "s3://a.b-c/x",
        ),
        ("az://states/a_b/c=1.d", "az://states/a_b/c=1.d"),
        ("gs://acme/x?untested=true", "gs://acme/x"),
    ],
)
def test_where_names_bucket_and_folder(url, where):
    """Without a path the target has a folder of its own."""
    assert is_bucket_url(url)
    assert parse_bucket_url(url, "prod").display_url == where


@pytest.mark.parametrize(
    ("url", "environ", "endpoint", "address"),
    [
        ("s3://acme/x", {}, "https://s3.us-east-1.amazonaws.com", "https://acme.s3.us-east-1.amazonaws.com"),
        ("s3://acme/x?region=eu-west-1", {"AWS_REGION": "us-west-2"}, "https://s3.eu-west-1.amazonaws.com",
         "https://acme.s3.eu-west-1.amazonaws.com"),
        ("s3://a.b/x", {"AWS_DEFAULT_REGION": "cn-north-1"}, "https://s3.cn-north-1.amazonaws.com.cn",
         "https://s3.cn-north-1.amazonaws.com.cn"),
        ("s3://acme/x", {"AWS_ENDPOINT_URL": "https://s3.example/"}, "https://s3.example", "https://s3.example"),
        ("s3://acme/x?endpoint=https://mine.example&path_style=false", {"AWS_ENDPOINT_URL": "https://other.example"},
         "https://mine.example", "https://acme.mine.example"),
        ("s3://acme/x?endpoint=http://127.0.0.1:9000", {}, "http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("s3://acme/x?endpoint=http://[::1]:9000", {}, "http://[::1]:9000", "http://[::1]:9000"),
    ],
)  # fmt: skip
def test_where_requests_go(url, environ, endpoint, address):
    """What the URL names comes first, then the environment, then Amazon's own."""
    options = options_of(url, environ)
    assert options.endpoint == endpoint
    assert options.config["aws_endpoint_url_s3"] == address
    assert options.client_options["allow_http"] == endpoint.startswith("http:")


def test_credentials_come_from_the_environment_of_the_command_and_are_shown_nowhere():
    """By the names of the store's own tools; what changes conditions or checksums is not taken."""
    environ = {
        "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "s3cr3t", "AWS_SESSION_TOKEN": "t0ken",
        "AWS_CONDITIONAL_PUT": "disabled", "AWS_CHECKSUM_ALGORITHM": "none", "AWS_PROFILE": "x",
        "AWS_SKIP_SIGNATURE": "true",
    }  # fmt: skip
    options = options_of("s3://acme/x", environ)
    assert options.config["aws_secret_access_key"] == "s3cr3t"
    assert options.config["aws_session_token"] == "t0ken"
    assert options.config["aws_conditional_put"] == "etag"
    assert options.config["aws_checksum_algorithm"] == "sha256"
    assert options.config["aws_skip_signature"] is False
    assert "s3cr3t" not in f"{options!r} {options}"


def test_an_account_of_azure_comes_from_the_url_or_the_environment():
    """Without one the message says how to name it."""
    assert options_of("az://cat/x?account=mine").endpoint == "https://mine.blob.core.windows.net"
    assert options_of("az://cat/x").endpoint == "https://acme.blob.core.windows.net"
    with pytest.raises(InputError) as caught:
        options_of("az://cat/x", account="")
    assert "AZURE_STORAGE_ACCOUNT_NAME" in caught.value.diagnostics[0].hint


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIA:s3c-r3t@acme/x",
        "s3://acme/x?access_key_id=s3c&secret_access_key=r3t",
        "s3://acme/x?endpoint=https://s3c:r3t@s3.example",
        "az://states/x?sig=s3c-r3t&se=2030",
        "az://states/x?account=acme&account_key=s3cr3t",
        "az://states/x?SAS-Token=s3cr3t",
    ],
)
def test_a_credential_is_refused_and_not_repeated(url):
    """Where it may stand instead is said."""
    with pytest.raises(InputError) as caught:
        parse_bucket_url(url, "prod")
    finding = caught.value.diagnostics[0]
    words = f"{finding.summary} {finding.detail} {finding.hint}"
    assert finding.summary == "A credential does not belong in the state's url"
    assert "AWS_ACCESS_KEY_ID" in words
    assert "s3c" not in words
    assert "r3t" not in words


@pytest.mark.parametrize(
    "url",
    [
        "s3:///x",
        "s3://a/x",
        "s3://acme/x/../y",
        "s3://acme/x//y",
        "s3://acme/x%2Fy",
        "s3://acme/x y",
        "s3://acme/x#y",
        "s3://acme/x?regoin=eu",
        "s3://acme/x?region=eu&region=us",
        "s3://acme/x?region=",
        "s3://acme/x?account=a",
        "s3://acme/x?path_style=yes",
        "s3://acme/x?endpoint=s3.example",
        "s3://acme/x?endpoint=http://s3.example",
        "s3://acme/x?endpoint=http://127.0.0.1.example",
        "s3://acme/x?endpoint=ftp://s3.example",
        "s3://acme/x?endpoint=https://s3.example?x=y",
        "s3://[acme/x",
        "az://acme/x?path_style=true",
        "gs://acme/x",
    ],
)
def test_a_url_that_cannot_be_used_says_why(url):
    """Nothing is guessed."""
    with pytest.raises(InputError) as caught:
        parse_bucket_url(url, "prod")
    finding = caught.value.diagnostics[0]
    assert finding.detail
    assert finding.hint
    assert caught.value.__context__ is None


def test_an_endpoint_of_the_environment_is_no_less_checked():
    """Plain http reaches no other machine."""
    with pytest.raises(InputError) as caught:
        options_of("s3://acme/x", {"AWS_ENDPOINT_URL": "http://minio.example:9000"})
    assert "AWS_ENDPOINT_URL is a plain http URL" in caught.value.diagnostics[0].detail


@pytest.mark.parametrize("url", ["", "state.db", "s3", "s3:x", "sqlite:///a", "postgresql://db/s"])
def test_what_is_no_url_of_a_bucket(url):
    """A path is a path."""
    assert not is_bucket_url(url)
