"""What is shown of the words of a bucket's server, which repeats what it was sent."""

from __future__ import annotations

import base64
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from attack.test_databases_of_states import make_site
from echoing import echoing

WORDS = "QuietRiverStoneToken"
HEX = "f81d4fae7dec11d0a765"
KEY = base64.b64encode(b"customer-key-of-32-bytes-exactly").decode()
S3 = {
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "never-sent",
    "AWS_SERVER_SIDE_ENCRYPTION": "sse-c",
    "AWS_SSE_CUSTOMER_KEY_BASE64": KEY,
}
SAS = {"AZURE_STORAGE_SAS_TOKEN": "sv=2024-01-01&ss=b&sig=9f8E7d6C5b%2B4A39281706"}
# What is sent by the command, and a part of it in each spelling that a server may give it.
SENT = [
    ("s3", {**S3, "AWS_SESSION_TOKEN": WORDS}),
    ("s3", {**S3, "AWS_SESSION_TOKEN": HEX}),
    ("az", SAS),
    ("az", {"AZURE_STORAGE_TOKEN": WORDS}),
]
SPELLINGS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "turned": lambda text: text[::-1],
    "base64": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
}
PLACES = {
    "name": "prod/links//{}",
    "folder": "prod/{}//x",
    "after dots": "prod/links/../{}",
    "folders": "prod//{}/{}",
    "certificate": "prod//InvalidCertificate({}",
    "code": "<Code>{}</Code>",
    "region": "<Code>PermanentRedirect</Code><Region>{}</Region>",
}
HEARD = ("x-amz-security-token", "x-amz-server-side-encryption-customer-key", "authorization")


class Repeating(BaseHTTPRequestHandler):
    """Puts what it was sent in a name, a code or a region."""

    how = ""

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        place, spelling = self.how.split(":")
        query = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        sent = [query.get("sig", ""), *(self.headers.get(name, "") for name in HEARD)]
        sent = [text.removeprefix("Bearer ") for text in sent if text and "AWS4" not in text]
        said = PLACES[place].replace("{}", SPELLINGS[spelling]((sent or ["nothing"])[0]))
        if said.startswith("<"):
            self._answer(400, f"<Error>{said}</Error>")
        elif query.get("comp") == "list":
            self._answer(200, AZURE_LIST.format(said, prefix=query.get("prefix", "")))
        elif "list-type" in query:
            self._answer(200, S3_LIST.format(said))
        else:
            self._answer(404, "<Error><Code>NoSuchKey</Code></Error>")

    def _answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/xml")
        self.end_headers()
        self.wfile.write(body.encode())


S3_LIST = """<?xml version="1.0"?><ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated>
<Contents><Key>{}</Key><LastModified>2026-12-01T00:00:00.000Z</LastModified><ETag>"x"</ETag>
<Size>1</Size></Contents></ListBucketResult>"""
AZURE_LIST = """<?xml version="1.0"?><EnumerationResults><Prefix>{prefix}</Prefix><Blobs><Blob>
<Name>{}</Name><Properties><Last-Modified>Tue, 01 Dec 2026 00:00:00 GMT</Last-Modified>
<Content-Length>1</Content-Length><Content-Type>a</Content-Type><Etag>x</Etag></Properties></Blob>
</Blobs><NextMarker/></EnumerationResults>"""


@pytest.mark.parametrize("spelling", ["raw", "turned"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("scheme", "sent"), SENT, ids=["words", "hex", "sas", "bearer"])
def test_no_credential_is_shown(
    tmp_path: Path, scheme: str, sent: dict[str, str], place: str, spelling: str
) -> None:
    """That the command sent, as the name of an object, an error's code or a region."""
    with echoing(Repeating, f"{place}:{spelling}") as endpoint:
        more = "&account=acct" if scheme == "az" else "&region=eu-west-1"
        url = f"{scheme}://bucket/prod?endpoint={endpoint}{more}"
        site = make_site(tmp_path, url, **sent)
        said = site.run("state show", None)
    assert f"{scheme}://bucket/prod" in said
    for text in (WORDS, HEX, KEY, "9f8E7d6C5b%2B4A39281706"):
        for spell in SPELLINGS.values():
            assert spell(text)[:8] not in said


def test_a_foreign_object_is_told_by_its_folder(tmp_path: Path) -> None:
    """What is to be deleted can be found: the folder is the state's own."""
    with echoing(Repeating, "name:raw") as endpoint:
        url = f"s3://bucket/prod?endpoint={endpoint}&region=eu-west-1"
        site = make_site(tmp_path, url, **S3, AWS_SESSION_TOKEN=HEX)
        said = site.run("state show", None)
        assert HEX not in site.run("doctor --json", None)
    assert "The state's folder contains a foreign object" in said
    assert "'prod/links//' (the rest of its name is not shown" in said
