"""Reading and verifying signed requests, without a transport."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.inprocess import ALLOW_ALL, InProcess

from kagitori_keystore import sigv4
from kagitori_keystore.xks import wire
from kagitori_server.authn.authenticator import Authenticator
from kagitori_server.authn.signatures import Signatures
from kagitori_server.authn.sigv4 import read_signed
from kagitori_server.model.call import Evidence, SignedRequest
from kagitori_server.model.errors import (
    ExpiredTokenException,
    IncompleteSignatureException,
    InvalidSignatureException,
    KmsError,
    MissingAuthenticationTokenException,
    UnrecognizedClientException,
    every_error,
)
from kagitori_server.model.principals import Caller, CredentialKind
from kagitori_server.transports.xks.failures import NAMES, failure

HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["authorization", "host", "x-amz-date", "x-amz-security-token", "x-amz-x", "accept"]),
        st.one_of(
            st.text(max_size=60),
            st.from_regex(
                r"AWS4-HMAC-SHA256 Credential=A{16}/20260101/us-east-1/kms/aws4_request, "
                r"SignedHeaders=(host|;|x-amz-date|accept){1,4}, Signature=[0-9a-f]{64}", fullmatch=True,
            ),
            st.sampled_from(["20260101T000000Z", "20261301T000000Z", "20260101T250000Z"]),
        ),
    ),
    max_size=6,
)


@given(headers=HEADERS, body=st.binary(max_size=20))
def test_no_header_breaks_the_reader(headers: list[tuple[str, str]], body: bytes) -> None:
    """Whatever comes, it is read or refused in the vocabulary."""
    refusals = IncompleteSignatureException, InvalidSignatureException, MissingAuthenticationTokenException
    with contextlib.suppress(*refusals):
        assert read_signed("POST", "/", (), headers, body, "kms").service == "kms"


def sign(
    access_key_id: str, secret: str, now: float, *, session_token: str | None = None, service: str = "kms-xks-proxy"
) -> SignedRequest:
    """A request signed at `now`."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    headers = [("host", "kms.example"), ("x-amz-date", moment)]
    if session_token is not None:
        headers.append(("x-amz-security-token", session_token))
    names = [name for name, _ in headers]
    scope = sigv4.Scope(moment[:8], "us-east-1", service)
    canonical = sigv4.canonical_request("POST", "/", (), headers, names, sigv4.payload_hash(b"{}"))
    signature = sigv4.signature(
        sigv4.signing_key(secret.encode(), scope), sigv4.string_to_sign(moment, scope, canonical)
    )
    headers.append(("authorization", sigv4.authorization(access_key_id, scope, names, signature)))
    return read_signed("POST", "/", (), headers, b"{}", service)


class Signer:
    """A user with an access key, and an authenticator of signed requests."""

    def __init__(self, service: InProcess) -> None:
        self.service = service
        self.signatures = Signatures(service.store)
        self.authenticator = Authenticator(service.clock, "aws", None, signatures=self.signatures)
        self.arn = service.call("CreateUser", {"user_name": "signer"}).user.arn
        made = service.call("CreateAccessKey", {"principal_arn": self.arn})
        self.access_key_id, self.secret = made.access_key.access_key_id, made.secret_access_key

    def authenticated(self, signed: SignedRequest, token: str | None = None) -> Caller:
        """Whom the request proves."""
        self.service.catalog.view.prove_blocking()
        return self.authenticator.authenticate(Evidence(signed=signed, token=token), self.service.catalog.view)

    def signed(self, age: float = 0.0) -> SignedRequest:
        """What the access key signs."""
        return sign(self.access_key_id, self.secret, self.service.clock() - age)


def test_a_signature_proves_its_user(tmp_path: Path) -> None:
    """Again and again, and what is kept makes no difference."""
    with InProcess(tmp_path) as service:
        signer = Signer(service)
        assert not signer.signatures.is_known(signer.signed())
        caller = signer.authenticated(signer.signed())
        assert (caller.arn, caller.credential_kind) == (signer.arn, CredentialKind.ACCESS_KEY)
        assert caller.credential_id == signer.access_key_id
        assert signer.signatures.is_known(signer.signed())
        assert signer.authenticated(signer.signed(age=299)) is caller
        for age in (301, -301):
            with pytest.raises(InvalidSignatureException):
                signer.authenticated(signer.signed(age=age))
        with pytest.raises(InvalidSignatureException):
            signer.authenticated(signer.signed()._replace(signature="0" * 64))
        with pytest.raises(InvalidSignatureException):
            signer.authenticated(sign(signer.access_key_id, "x" * 43, service.clock()))
        with pytest.raises(UnrecognizedClientException):
            signer.authenticated(sign("AKIAAAAAAAAAAAAAAAAA", signer.secret, service.clock()))
        with pytest.raises(UnrecognizedClientException):
            signer.authenticated(signer.signed(), token="kgt_" + "x" * 43)


def test_wrong_signatures_keep_nothing(tmp_path: Path) -> None:
    """Who has no secret can't fill what is kept."""
    with InProcess(tmp_path) as service:
        signer = Signer(service)
        with pytest.raises(InvalidSignatureException):
            signer.authenticated(sign(signer.access_key_id, "x" * 43, service.clock()))
        assert not signer.signatures.is_known(signer.signed())


def test_an_access_key_that_changes_or_ends(tmp_path: Path) -> None:
    """Inactive or deleted, it proves nothing, whatever is still kept of it."""
    with InProcess(tmp_path) as service:
        signer = Signer(service)
        signer.authenticated(signer.signed())
        service.call("UpdateAccessKey", {"access_key_id": signer.access_key_id, "status": "Inactive"})
        with pytest.raises(UnrecognizedClientException):
            signer.authenticated(signer.signed())
        service.call("UpdateAccessKey", {"access_key_id": signer.access_key_id, "status": "Active"})
        signer.authenticated(signer.signed())
        signer.signatures.forget("AKIAAAAAAAAAAAAAAAAA")
        assert signer.signatures.is_known(signer.signed())
        signer.signatures.forget(signer.access_key_id)
        assert not signer.signatures.is_known(signer.signed())
        service.call("DeleteAccessKey", {"access_key_id": signer.access_key_id})
        with pytest.raises(UnrecognizedClientException):
            signer.authenticated(signer.signed())


def test_secrets_are_what_aws_takes_of_proxies(tmp_path: Path) -> None:
    """AWS's XksProxyAuthenticationCredential."""
    with InProcess(tmp_path) as service:
        signer = Signer(service)
        assert wire.ACCESS_KEY_ID.fullmatch(signer.access_key_id)
        assert wire.SECRET.fullmatch(signer.secret.encode())


def test_session_access_keys_need_their_token(tmp_path: Path) -> None:
    """Not another one, not none, and not after its end."""
    trust = (
        '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}'
    )
    with InProcess(tmp_path) as service:
        signer = Signer(service)
        values = {"role_name": "role", "assume_role_policy_document": trust}
        role = service.call("CreateRole", values).role.arn
        user = service.new_user("alice", policies={"all": ALLOW_ALL})
        assumed = service.call(
            "AssumeRole", {"role_arn": role, "role_session_name": "alices"}, token=user
        ).credentials
        ours = assumed.access_key_id, assumed.secret_access_key, service.clock()
        caller = signer.authenticated(sign(*ours, session_token=assumed.session_token))
        assert caller.arn.endswith("assumed-role/role/alices")
        for token in (None, "another"):
            with pytest.raises(UnrecognizedClientException):
                signer.authenticated(sign(*ours, session_token=token))
        service.clock.advance(90_000)
        late = assumed.access_key_id, assumed.secret_access_key, service.clock()
        with pytest.raises((ExpiredTokenException, UnrecognizedClientException)):
            signer.authenticated(sign(*late, session_token=assumed.session_token))


def test_nothing_of_a_signed_request_is_shown() -> None:
    """In reprs."""
    signed = sign("AKIAAAAAAAAAAAAAAAAA", "x" * 43, 1_790_000_000.0, session_token="a-session-token")
    assert signed.signature not in repr(signed)
    assert "a-session-token" not in repr(signed)
    assert repr(Evidence(signed=signed)).count(signed.signature) == 0


@pytest.mark.parametrize("error", every_error(), ids=lambda error: str(error.code()))
def test_every_failure_has_a_place_in_the_proxy_api(error: type[KmsError]) -> None:
    """With a message that the specification allows."""
    instance = error() if error.__init__ is not KmsError.__init__ else error("line\n\u00e9" * 200)
    status, body = failure(instance)
    assert 400 <= status <= 503
    assert body["errorName"] == NAMES[error]
    message = str(body.get("errorMessage", ""))
    assert len(message) < 512
    assert message.isascii()
    assert "\n" not in message
