"""The audit trail for others to keep: log files and digests as AWS CloudTrail delivers them.

`log_files` follows the chains of the trail, `digests` signs for what was delivered, `running` lets both run; a
`Destination` is a directory or an S3 bucket. `checking` verifies what lies there.
"""
