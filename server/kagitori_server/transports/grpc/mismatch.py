"""How the server says at start that its operations and the gRPC contract don't fit together."""

from __future__ import annotations


class ContractMismatch(Exception):
    """A row or shape asks for what the contract doesn't have. A mistake of ours: the server must not start."""
