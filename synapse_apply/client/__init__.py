"""The HTTP client of a Synapse backend: sends calls and reads answers; makes no decision of a plan.

`requests` is imported in this folder only.
"""

from synapse_apply.client.backend import BackendClient
from synapse_apply.client.integration import IntegrationClientMixin
from synapse_apply.model.errors import RemoteError as ClientError

__all__ = ["BackendClient", "ClientError", "IntegrationClientMixin"]
