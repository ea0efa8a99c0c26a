"""What is sent to others: commit statuses to GitHub and GitLab, messages to webhooks and Slack."""
