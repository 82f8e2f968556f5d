"""Fixtures of the integration tests."""

from __future__ import annotations

from tests.support.devserver import devserver

__all__ = ["devserver"]
