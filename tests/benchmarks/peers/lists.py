"""The threaded script on the list endpoints: pages of 100, 16 at a time, each read once.

`lists.py check|apply URL KINDS MANIFESTS`. It trusts that no page shifts while it reads.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
from serial import declared, differs, sent, urls
from threaded import WORKERS, session_of_many

PAGE = 100


def listed(session: requests.Session, url: str, pool: ThreadPoolExecutor) -> dict[str, Any]:
    """Every live object by its name."""

    def page(number: int) -> dict[str, Any]:
        asked = {"page_size": PAGE, "page": number}
        answer = session.get(f"{url}/", params=asked, timeout=60)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    first = page(1)
    pages = [first, *pool.map(page, range(2, -(-first["count"] // PAGE) + 1))]
    return {item["name"]: item for one in pages for item in one["results"]}


def main(verb: str, urls: dict[str, str], folder: str) -> int:
    """Read the lists, then check or apply every document."""
    session = session_of_many()
    with ThreadPoolExecutor(WORKERS) as pool:
        live = {kind: listed(session, url, pool) for kind, url in urls.items()}
        changed = [
            (kind, spec)
            for kind, spec in declared(folder)
            if differs(spec, live[kind].get(spec["name"]))
        ]

        def send(document: tuple[str, dict[str, Any]]) -> None:
            kind, spec = document
            sent(session, urls[kind], spec, live[kind].get(spec["name"], {}).get("id"))

        if verb == "apply":
            list(pool.map(send, changed))
    return len(changed)


if __name__ == "__main__":
    _, verb, url, kinds, folder = sys.argv[:5]
    print(main(verb, urls(url, kinds), folder))
