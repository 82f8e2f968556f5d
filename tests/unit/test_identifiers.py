"""Fresh names: their form, that none comes twice, and that they come from the source that was given."""

from __future__ import annotations

import base64
import itertools
import os
import re
import threading
import uuid

from kagitori_server.identifiers import UuidSource, system_identifiers

FORM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def test_uuids_are_version_4() -> None:
    """RFC 9562: version and variant bits in place, the other 122 from the source."""
    source = UuidSource(os.urandom)
    for _ in range(1000):
        text = source()
        assert FORM.fullmatch(text)
        assert (uuid.UUID(text).version, uuid.UUID(text).variant) == (4, uuid.RFC_4122)


def test_all_122_bits_vary() -> None:
    """Every bit but the six fixed ones is seen as 0 and as 1."""
    source = UuidSource(os.urandom)
    values = [uuid.UUID(source()).int for _ in range(500)]
    ones = zeros = 0
    for value in values:
        ones |= value
        zeros |= ~value & (2**128 - 1)
    fixed = (0xF << 76) | (0x3 << 62)
    assert (ones & zeros) | fixed == 2**128 - 1
    assert ones & zeros & fixed == 0


def test_none_comes_twice() -> None:
    """Of several threads that empty the pool at the same time, either."""
    counter = itertools.count()
    source = UuidSource(lambda size: b"".join(next(counter).to_bytes(16) for _ in range(size // 16)))
    found: list[list[str]] = [[] for _ in range(8)]
    start = threading.Barrier(8)

    def take(mine: list[str]) -> None:
        start.wait()
        mine += [source() for _ in range(2000)]

    threads = [threading.Thread(target=take, args=(mine,)) for mine in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [text for mine in found for text in mine]
    assert len(set(everything)) == len(everything) == 16_000


def test_system_identifiers() -> None:
    """Unique ids are 17 characters after their prefix; secrets have 256 bits and fit a token's form."""
    ids = system_identifiers(os.urandom)
    for prefix in ("AIDA", "AROA"):
        names = {ids.unique_id(prefix) for _ in range(1000)}
        assert len(names) == 1000
        assert all(re.fullmatch(prefix + "[A-Z2-7]{17}", name) for name in names)
    secrets = {ids.secret() for _ in range(1000)}
    assert len(secrets) == 1000
    for secret in secrets:
        assert re.fullmatch(r"[A-Za-z0-9_-]{43}", secret)
        assert len(base64.urlsafe_b64decode(secret + "=")) == 32
