"""Repeatable measurements: `make bench`. They print ratios against a baseline taken in the same run."""
