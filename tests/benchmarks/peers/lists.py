"""The threaded script on the list endpoints: pages of 100, 16 at a time, each read once.

`lists.py check|apply URL KIND MANIFESTS`. It trusts that no page shifts while it reads.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
from serial import declared, differs, sent
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


def main(verb: str, url: str, folder: str) -> int:
    """Read the lists, then check or apply every document."""
    session = session_of_many()
    with ThreadPoolExecutor(WORKERS) as pool:
        live = listed(session, url, pool)
        changed = [spec for spec in declared(folder) if differs(spec, live.get(spec["name"]))]
        if verb == "apply":
            ids = [live.get(spec["name"], {}).get("id") for spec in changed]
            list(pool.map(lambda spec, found: sent(session, url, spec, found), changed, ids))
    return len(changed)


if __name__ == "__main__":
    _, verb, url, kind, folder = sys.argv[:5]
    print(main(verb, f"{url}/{kind}", folder))
