"""What people can do: forms and API calls that reconcile, pause, approve and reject; the audit."""
