"""A bare upload: one POST of a form with a file, streamed, and nothing else.

`upload.py URL FILE CODE VERSION`.
"""

from __future__ import annotations

import http.client
import sys
from pathlib import Path
from urllib.parse import urlsplit

BLOCK = 64 * 1024
MARK = "bench-boundary"


def main(url: str, file: Path, code: str, version: str) -> int:
    """Send it; the answer's status."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=600)
    connection.request("GET", "/plugin_releases/?plugin=" + code, headers=_token())
    connection.getresponse().read()
    fields = {"plugin": "1", "version": version}
    head = "".join(
        f'--{MARK}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    head += f'--{MARK}\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n'
    head += "Content-Type: application/zip\r\n\r\n"
    tail = f"\r\n--{MARK}--\r\n"
    connection.putrequest("POST", "/plugin_releases/")
    for name, value in _token().items():
        connection.putheader(name, value)
    connection.putheader("Content-Type", f"multipart/form-data; boundary={MARK}")
    length = len(head) + file.stat().st_size + len(tail)
    connection.putheader("Content-Length", str(length))
    connection.endheaders()
    connection.send(head.encode())
    with file.open("rb") as content:
        while block := content.read(BLOCK):
            connection.send(block)
    connection.send(tail.encode())
    answer = connection.getresponse()
    answer.read()
    return answer.status


def _token() -> dict[str, str]:
    return {"Synapse-Access-Token": "Token bench"}


if __name__ == "__main__":
    _, url, file, code, version = sys.argv
    status = main(url, Path(file), code, version)
    sys.exit(None if status == 201 else f"status {status}")
