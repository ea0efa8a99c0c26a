"""What forms let choose from, and what pages say once a form was sent."""

from __future__ import annotations

from synapse_apply.controller.page.people.action_requests import Verb
from synapse_apply.controller.settings import DAY, HOUR

PAUSE_CHOICES = {
    "an hour": HOUR,
    "4 hours": 4 * HOUR,
    "a day": DAY,
    "3 days": 3 * DAY,
    "a week": 7 * DAY,
    "4 weeks": 28 * DAY,
}
NOTICES = {
    Verb.RECONCILE: "It is looked at as soon as a worker is free.",
    Verb.PAUSE: "Paused: no call begins any more.",
    Verb.RESUME: "The pause has ended: what waited for it goes on.",
    Verb.APPROVE: "Approved. It is done once enough people approve it and nothing forbids it.",
    Verb.REJECT: "Rejected: it is not done, and approvals of it are taken back.",
}
