"""A bucket whose answers have no end holds nobody up."""

from __future__ import annotations

import time

import pytest
from tests.support.s3_server import ACCESS_KEY_ID, SECRET
from tests.support.unresponsive import dripping

from kagitori_server.delivery.destination import DestinationFailed
from kagitori_server.delivery.s3 import Bucket, S3Destination


def test_calls_are_given_up_in_time_and_made_again_when_they_have_ended() -> None:
    """Though no single wait is long; meanwhile no more calls are begun."""
    with dripping(b"HTTP/1.1 200 OK\r\n") as port:
        endpoint = f"http://127.0.0.1:{port}"
        bucket = S3Destination(Bucket("b", "us-east-1", endpoint, "", ACCESS_KEY_ID, SECRET), seconds=0.5)
        began = time.monotonic()
        with pytest.raises(DestinationFailed, match="took too long"):
            bucket.put("key", b"content", {})
        with pytest.raises(DestinationFailed, match="no end yet"):
            bucket.get("key")
        assert time.monotonic() - began < 5
    told = "no end yet"
    while "no end yet" in told:
        assert time.monotonic() - began < 20
        time.sleep(0.05)
        with pytest.raises(DestinationFailed) as caught:
            list(bucket.keys(""))
        told = str(caught.value)
    assert SECRET not in told
