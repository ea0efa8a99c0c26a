# What no built-in rule asks, asked of `plan --json`; for Conftest, or OPA with data.main.deny.
package main

import rego.v1

changes contains row if {
	some row in input.resource_changes
	some action in row.change.actions
	action in {"create", "update", "delete"}
}

# Buckets bear the name of their owner.
deny contains message if {
	some row in changes
	bucket := row.change.after.configuration.bucket_name
	not startswith(bucket, "acme-")
	message := sprintf("%s: bucket %s does not begin with acme-", [row.address, bucket])
}

# Deleting is done by people.
deny contains message if {
	some row in changes
	"delete" in row.change.actions
	message := sprintf("%s would be deleted", [row.address])
}

# Whoever reviews should know that a rule was meant to stop this.
warn contains message if {
	some row in input.resource_changes
	some refusal in row.refusals
	startswith(refusal.rule, "policy:")
	message := sprintf("%s is refused by %s", [row.address, refusal.rule])
}
