"""Prometheus metrics and health probes over HTTP, on an address of their own."""
