"""Proof of single audit records: each chain of the trail is a log whose records are leaves of a Merkle tree.

`merkle` is the mathematics of RFC 6962 and RFC 9162, `tiles` keeps a tree as C2SP tlog-tiles, `following` builds it
from the chain on the disk, `notes` writes signed tree heads (C2SP tlog-checkpoint), `log` answers questions, `receipts`
answers calls that want one, `checking` compares trees with their chains. All of it is derived from the chain and may be
thrown away, but for the checkpoints that were given out.
"""
