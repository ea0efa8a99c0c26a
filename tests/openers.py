"""How tests call a server of this machine by urllib: past every proxy."""

from __future__ import annotations

import urllib.request
from functools import cache


@cache  # each new one reads all certificates of the system, for https
def get_opener_without_proxy() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))
