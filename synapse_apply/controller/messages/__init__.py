"""Messages to people: how they read, and how they are sent to a webhook or to Slack."""
