"""Which forge's sender is made for a source."""

from __future__ import annotations

from synapse_apply.controller.forge.github import GitHubStatusSender
from synapse_apply.controller.forge.gitlab import GitLabStatusSender
from synapse_apply.controller.ports import StatusSender
from synapse_apply.controller.settings import ForgeStatus
from synapse_apply.model.values import Sensitive


def build_status_sender(forge: ForgeStatus, ref: str, token: Sensitive) -> StatusSender:
    """The sender for a source that follows `ref`; nothing is sent yet.

    InputError for a repository, an API URL or a token that cannot be used.
    """
    if forge.forge == "gitlab":
        return GitLabStatusSender(forge, ref, token)
    return GitHubStatusSender(forge, token)
