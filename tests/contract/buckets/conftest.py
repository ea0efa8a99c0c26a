"""A folder in each store that there is."""

from __future__ import annotations

import pytest
from buckets.folders import open_folder_at
from buckets.proxy import BucketProxy
from buckets.servers import AZURITE

STORES = ["seaweed", "moto", *(["azurite"] if AZURITE else [])]


@pytest.fixture(params=STORES)
def store(request):
    """Each store, running."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def folder(store):
    """A new folder in it."""
    opened = open_folder_at(store.url(), store.environ)
    yield opened
    opened.close()


@pytest.fixture
def proxy(moto):
    """A proxy before moto, which looks at no signature."""
    made = BucketProxy(moto.port)
    yield made
    made.close()


@pytest.fixture
def spoiled(proxy, moto):
    """A folder behind the proxy."""
    opened = open_folder_at(moto.url(port=proxy.port), moto.environ)
    yield opened
    opened.close()
