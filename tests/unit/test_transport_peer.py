"""What the metadata and the address of a call tell, and how what can't be used is refused."""

from __future__ import annotations

from typing import Any

import pytest

from kagitori_server.authn.authenticator import Authenticator
from kagitori_server.model.call import Evidence
from kagitori_server.model.errors import UnrecognizedClientException
from kagitori_server.transports.grpc.peer import AUTHORIZATION_MAX, USER_AGENT_MAX, Peer, read_metadata, source_ip

TOKEN = "kgt_" + "a" * 43


def evidence(*metadata: tuple[str, Any], peer: Peer | None = None) -> Evidence:
    """What a call with that metadata proves."""
    return read_metadata(metadata, peer or Peer()).evidence


def test_nothing_sent() -> None:
    """A call without metadata has no evidence and no Region."""
    sent = read_metadata((), Peer())
    assert sent.evidence == Evidence()
    assert (sent.region, sent.region_problem) == (None, None)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_bearer_token(scheme: str) -> None:
    """The scheme is read in any case (RFC 9110, 11.1), the token as it is."""
    assert evidence(("authorization", f"{scheme} {TOKEN}")).token == TOKEN


@pytest.mark.parametrize(
    "metadata",
    [
        (("authorization", f"Bearer {TOKEN}"), ("authorization", f"Bearer {TOKEN}")),
        (("authorization", f"Bearer {TOKEN}"), ("authorization", "")),
        (("authorization", "x"),) * 3,
        (("authorization", ""),),
        (("authorization", "Bearer"),),
        (("authorization", "Bearer "),),
        (("authorization", f"Basic {TOKEN}"),),
        (("authorization", TOKEN),),
        (("authorization", f"AWS4-HMAC-SHA256 {TOKEN}"),),
        (("authorization", "Bearer " + "a" * AUTHORIZATION_MAX),),
        (("authorization", f"Bearer {TOKEN}".encode()),),
        (("authorization", b"\xff\xfe"),),
    ],
    ids=[
        "twice the same", "once more, empty", "three times", "empty", "no token", "empty token", "another scheme",
        "no scheme", "SigV4", "too long", "bytes", "binary",
    ],
)
@pytest.mark.parametrize("peer", [Peer(), Peer(local_socket=True), Peer(certificate=b"PEM")], ids=str)
def test_credentials_that_cannot_be_read_are_refused(metadata: Any, peer: Peer) -> None:
    """By the authenticator, whatever else the call brings: nothing stands in for a broken token."""
    broken = evidence(*metadata, peer=peer)
    assert broken.token == ""
    authenticator = Authenticator(lambda: 0.0, "aws", None)
    with pytest.raises(UnrecognizedClientException):
        authenticator.authenticate(broken, None)  # type: ignore[arg-type]  # refused before anything is looked up


@pytest.mark.parametrize("region", ["us-east-1", "a", "a" * 63, "9"])
def test_region(region: str) -> None:
    """Any name that the model allows; whether it is served isn't asked here."""
    sent = read_metadata((("kagitori-region", region),), Peer())
    assert (sent.region, sent.region_problem) == (region, None)


@pytest.mark.parametrize(
    "values",
    [("",), ("a" * 64,), ("-a",), ("US-EAST-1",), ("us east",), ("us-east-1\n",), ("ü",), (b"us-east-1",),
     ("us-east-1", "us-east-1"), ("us-east-1", ""), ("", "us-east-1"), ("a", "b", "c")],
    ids=repr,
)
def test_region_that_cannot_be_used(values: tuple[Any, ...]) -> None:
    """Is told as a problem, for the pipeline to record, and never taken."""
    sent = read_metadata([("kagitori-region", value) for value in values], Peer())
    assert sent.region is None
    assert sent.region_problem is not None
    assert sent.region_problem.violations[0].field == "metadata.kagitori-region"


def test_user_agent_is_bounded_and_printable() -> None:
    """It goes into records as it came, but for its length and control characters."""
    assert evidence(("user-agent", "client/1.0")).user_agent == "client/1.0"
    assert len(evidence(("user-agent", "x" * 10_000)).user_agent) <= USER_AGENT_MAX + 3
    assert "\x1b" not in evidence(("user-agent", "a\x1b[2Jb")).user_agent
    assert evidence(("user-agent", b"\xff")).user_agent == ""


def test_facts_of_the_connection() -> None:
    """What the host knows is passed on."""
    peer = Peer("192.0.2.1", local_socket=True, certificate=b"PEM")
    assert evidence(peer=peer) == Evidence(None, b"PEM", True, "192.0.2.1")


def test_nothing_secret_in_reprs() -> None:
    """Neither token nor certificate."""
    sent = read_metadata((("authorization", f"Bearer {TOKEN}"),), Peer(certificate=b"PEM"))
    assert TOKEN not in repr(sent)
    assert "PEM" not in repr(sent)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("ipv4:192.0.2.1:50000", "192.0.2.1"),
        ("ipv6:%5B2001:DB8::0:1%5D:50000", "2001:db8::1"),
        ("ipv6:[::1]:50000", "::1"),
        ("ipv6:%5B::ffff:192.0.2.1%5D:50000", "192.0.2.1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:50000", "fe80::1"),
        ("unix:", ""),
        ("unix:/run/kagitori.sock", ""),
        ("unix-abstract:x", ""),
        ("ipv4:nonsense:1", ""),
        ("ipv4:192.0.2.999:1", ""),
        ("", ""),
    ],
)
def test_source_ip(address: str, expected: str) -> None:
    """The canonical text of the address, as policies compare it; empty for none."""
    assert source_ip(address) == expected


@pytest.mark.parametrize(("sent", "wanted"), [
    ([], False), ([("kagitori-receipt", "true")], True), ([("kagitori-receipt", "false")], False),
    ([("kagitori-receipt", "TRUE")], False), ([("kagitori-receipt-bin", b"true")], False),
    ([("kagitori-receipt", b"true")], False), ([("kagitori-region", "?"), ("kagitori-receipt", "true")], True),
])
def test_whether_a_receipt_is_wanted(sent: list[tuple[str, str | bytes]], wanted: bool) -> None:
    """By one word alone; also by those who are refused for other metadata."""
    assert read_metadata(sent, Peer()).receipt_wanted is wanted
