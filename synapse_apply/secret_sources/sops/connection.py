"""Which variables sops gets where a key lies at a server: proxies, and authorities to trust.

They are the operator's own, of the environment, and say how a server is reached, not which one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

_PROXY_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")
# By the first of these other programs find the authorities of a company. Go, in which sops is
# written, knows the first one alone.
_CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def build_connection_variables_with_absolute_paths(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables for sops; paths are absolute, since it runs in another folder."""
    names = [*_PROXY_VARIABLES, *(name.lower() for name in _PROXY_VARIABLES)]
    variables = {name: environ[name] for name in names if environ.get(name)}
    if environ.get("SSL_CERT_DIR"):
        folders = environ["SSL_CERT_DIR"].split(":")
        variables["SSL_CERT_DIR"] = ":".join(str(Path(folder).absolute()) for folder in folders)
    bundle = next((environ[name] for name in _CERTIFICATE_VARIABLES if environ.get(name)), "")
    if bundle:
        path = Path(bundle).absolute()
        variables["SSL_CERT_DIR" if path.is_dir() else "SSL_CERT_FILE"] = str(path)
    return variables


def list_proxy_passwords_as_written_and_decoded(proxy_urls: Iterable[str]) -> list[str]:
    """The passwords in the URLs of proxies, as they are written there and as they are meant."""
    secrets: list[str] = []
    for url in proxy_urls:
        try:
            password = urlsplit(url if "://" in url else f"//{url}").password
        except ValueError:
            continue
        secrets += [password, unquote(password)] if password else []
    return secrets
