"""What was asked of the service and how it ended: CloudTrail-shaped records in a durable, hash-chained log.

`record` renders one record, `trail` makes it durable, `verify` proves that nothing was changed since,
`lookup` finds records again. Nothing here decides what a record may show: the caller passes only what may be
seen.
"""
