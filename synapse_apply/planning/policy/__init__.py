"""The rules of a policy, applied to resources and to the plan."""
