"""AWS services beside KMS that its users need, as far as they are served: STS, CloudTrail, Resource Groups Tagging."""
