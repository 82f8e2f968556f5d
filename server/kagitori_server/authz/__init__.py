"""Gathers the policies of one call, asks `policy` and returns its decision. Default deny."""
