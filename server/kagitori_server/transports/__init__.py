"""Protocols that the service speaks. Each turns bytes into calls and answers into bytes, and decides nothing."""
