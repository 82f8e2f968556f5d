"""gRPC: one dispatcher from (path, metadata, peer, bytes) to an answer, and the host that carries it."""
