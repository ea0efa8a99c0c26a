"""The serial script with a pool of 16 threads over one session, still one read per object.

`threaded.py check|apply URL KINDS MANIFESTS IDS`, as `serial.py`.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests
from serial import declared, differs, sent, urls

WORKERS = 16


def session_of_many() -> requests.Session:
    """One session for all threads."""
    session = requests.Session()
    session.headers["Synapse-Access-Token"] = "Token bench"
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=WORKERS))
    return session


def main(verb: str, urls: dict[str, str], folder: str, ids: Path) -> int:
    """Check or apply every document, 16 at a time."""
    known = json.loads(ids.read_text()) if ids.exists() else {}
    session = session_of_many()

    def one(document: tuple[str, dict[str, Any]]) -> bool:
        kind, spec = document
        found, live, url = known.get(spec["name"]), None, urls[kind]
        if found is not None:
            answer = session.get(f"{url}/{found}/", timeout=60)
            answer.raise_for_status()
            live = answer.json()
        changed = differs(spec, live)
        if changed and verb == "apply":
            known[spec["name"]] = sent(session, url, spec, found)
        return changed

    with ThreadPoolExecutor(WORKERS) as pool:
        changed = sum(pool.map(one, declared(folder)))
    if verb == "apply":
        ids.write_text(json.dumps(known))
    return changed


if __name__ == "__main__":
    _, verb, url, kinds, folder, ids = sys.argv
    print(main(verb, urls(url, kinds), folder, Path(ids)))
