"""Calls to a Synapse backend over HTTP; the home of requests, and nothing that decides."""

from synapse_apply.client.backend import BackendClient
from synapse_apply.client.errors import ClientError
from synapse_apply.client.integration import IntegrationClientMixin

__all__ = ["BackendClient", "ClientError", "IntegrationClientMixin"]
