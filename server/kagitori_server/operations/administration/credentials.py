"""CreateToken, ListTokens, RevokeToken, RegisterCertificate, ListCertificates, DeregisterCertificate and
GetCallerIdentity."""

from __future__ import annotations

import hashlib

from cryptography import x509

from kagitori_server.model.errors import LimitExceededException, NoSuchEntityException, ValidationException
from kagitori_server.model.principals import CertificateRecord, TokenRecord
from kagitori_server.model.spiffe import SpiffeId, SpiffeIdRefused, is_spiffe, parse_spiffe_id
from kagitori_server.operations.administration.pages import read_page
from kagitori_server.operations.administration.reach import find_certificate, find_token, principal_at
from kagitori_server.operations.context import Context
from kagitori_server.operations.shapes import credentials as shapes
from kagitori_server.operations.shapes.empty import EMPTY, Empty
from kagitori_server.operations.shapes.service import NoMembers

TOKENS_MAX = 100
"""Tokens of a principal that haven't expired."""
CERTIFICATES_MAX = 100
"""Certificate mappings of a principal."""
SUBJECT_MAX = 512
"""Characters of a certificate's subject that the catalog can tell apart."""

TOKEN_PREFIX = "kgt_"  # noqa: S105 - what tokens begin with, so that scanners of leaked secrets know them


def check_session_name(
    _context: Context, request: shapes.CreateTokenRequest | shapes.RegisterCertificateRequest
) -> None:
    """Refuses a role's credential without a session name and any other one with it, and the name `root`."""
    is_role = request.principal_arn.split(":", 5)[5].startswith("role/")
    if is_role and request.session_name is None:
        raise ValidationException("A credential of a role needs a session name.")
    if not is_role and request.session_name is not None:
        raise ValidationException("Only credentials of roles have a session name.")
    # Records and their lookup show a root user as `root`.
    if request.session_name is not None and request.session_name.lower() == "root":
        raise ValidationException("The session name root is reserved.")


def create_token(context: Context, request: shapes.CreateTokenRequest) -> shapes.CreateTokenResponse:
    """Makes a token; only its digest is kept, so it is shown this once."""
    services, writer = context.services, context.writer
    principal = principal_at(context, writer, request.principal_arn)
    drop_expired(context, principal.arn)
    if writer.count_tokens(principal.arn) >= TOKENS_MAX:
        raise LimitExceededException(f"The principal has {TOKENS_MAX} tokens, the most it may have.")
    secret = TOKEN_PREFIX + services.ids.secret()
    duration = request.duration_seconds
    token = TokenRecord(
        token_id=credential_id(context, "tok"),
        digest=hashlib.sha256(secret.encode()).digest(),
        principal_arn=principal.arn,
        account=context.account,
        session_name=request.session_name or "",
        description=request.description or "",
        created=context.now,
        expires=None if duration is None else context.now + duration,
    )
    writer.insert_token(token)
    return shapes.CreateTokenResponse(token=secret, token_id=token.token_id, expiration=token.expires)


def list_tokens(context: Context, request: shapes.ListCredentialsRequest) -> shapes.ListTokensResponse:
    """Lists tokens that haven't expired, oldest first, without their secrets."""
    with context.services.catalog.read() as reader:
        if request.principal_arn is not None:
            principal_at(context, reader, request.principal_arn)
        page = read_page(
            context.operation.name,
            request.marker,
            request.limit,
            lambda after, limit: reader.list_tokens(context.account, request.principal_arn, after, limit),
            lambda token: token.token_id,
            lambda token: not _expired(token, context.now),
        )
    return shapes.ListTokensResponse(
        tokens=tuple(_token(token) for token in page.items), next_marker=page.next_marker, truncated=page.truncated
    )


def revoke_token(context: Context, request: shapes.RevokeTokenRequest) -> Empty:
    """Ends a token for good."""
    token = find_token(context, context.writer, request.token_id)
    if token is None:
        raise NoSuchEntityException(f"The token with id {request.token_id} cannot be found.")
    context.writer.delete_token(token.token_id)
    return EMPTY


def drop_expired(context: Context, principal_arn: str) -> None:
    """Removes of a principal what no longer opens anything and is listed nowhere, so that it's in nobody's way."""
    context.writer.clear_expired(principal_arn, context.now)


def check_register_certificate(context: Context, request: shapes.RegisterCertificateRequest) -> None:
    """Refuses what `check_session_name` refuses, and any number of identities but one, readable one."""
    if (request.uri_san is None) == (request.subject is None):
        raise ValidationException("Exactly one of uriSan and subject must be given.")
    if request.uri_san is not None and is_spiffe(request.uri_san) and _spiffe_id(request.uri_san).is_pattern:
        if not request.principal_arn.split(":", 5)[5].startswith("role/"):
            raise ValidationException("A pattern of SPIFFE IDs can only stand for sessions of a role.")
        if request.session_name is not None:
            raise ValidationException("Each SPIFFE ID that fits a pattern has a session name of its own.")
    else:
        check_session_name(context, request)
    if request.subject is not None:
        _normal_subject(request.subject)


def register_certificate(
    context: Context, request: shapes.RegisterCertificateRequest
) -> shapes.RegisterCertificateResponse:
    """Lets certificates of one identity, which nobody else may have, prove a principal."""
    writer = context.writer
    principal = principal_at(context, writer, request.principal_arn)
    if len(writer.list_certificates(context.account, principal.arn, "", CERTIFICATES_MAX)) >= CERTIFICATES_MAX:
        raise LimitExceededException(f"The principal has {CERTIFICATES_MAX} certificates, the most it may have.")
    certificate = CertificateRecord(
        certificate_id=credential_id(context, "crt"),
        uri_san=request.uri_san,
        subject=None if request.subject is None else _normal_subject(request.subject),
        principal_arn=principal.arn,
        account=context.account,
        session_name=request.session_name or "",
        description=request.description or "",
        created=context.now,
    )
    writer.insert_certificate(certificate)
    return shapes.RegisterCertificateResponse(certificate_id=certificate.certificate_id)


def list_certificates(
    context: Context, request: shapes.ListCredentialsRequest
) -> shapes.ListCertificatesResponse:
    """Lists certificate mappings, oldest first."""
    with context.services.catalog.read() as reader:
        if request.principal_arn is not None:
            principal_at(context, reader, request.principal_arn)
        page = read_page(
            context.operation.name,
            request.marker,
            request.limit,
            lambda after, limit: reader.list_certificates(context.account, request.principal_arn, after, limit),
            lambda certificate: certificate.certificate_id,
        )
    return shapes.ListCertificatesResponse(
        certificates=tuple(_mapping(certificate) for certificate in page.items),
        next_marker=page.next_marker,
        truncated=page.truncated,
    )


def deregister_certificate(context: Context, request: shapes.DeregisterCertificateRequest) -> Empty:
    """Removes a mapping: such certificates are nobody's from now on."""
    certificate = find_certificate(context, context.writer, request.certificate_id)
    if certificate is None:
        raise NoSuchEntityException(f"The certificate with id {request.certificate_id} cannot be found.")
    context.writer.delete_certificate(certificate.certificate_id)
    return EMPTY


def get_caller_identity(context: Context, _request: NoMembers) -> shapes.GetCallerIdentityResponse:
    """Tells the caller who it is (AWS STS GetCallerIdentity)."""
    caller = context.caller
    return shapes.GetCallerIdentityResponse(account_id=caller.account, arn=caller.arn, user_id=caller.user_id)


def credential_id(context: Context, prefix: str) -> str:
    """An id that sorts by the time of making."""
    return sortable_id(prefix, context.now, context.services.ids.uuid())


def sortable_id(prefix: str, now: float, uuid: str) -> str:
    """Milliseconds since the epoch, then 16 random digits, in hex."""
    return f"{prefix}-{int(now * 1000):011x}-{uuid.replace('-', '')[:16]}"


def _spiffe_id(text: str) -> SpiffeId:
    """The SPIFFE ID or pattern. Raises ValidationException."""
    try:
        return parse_spiffe_id(text, pattern=True)
    except SpiffeIdRefused as refusal:
        raise ValidationException(f"The URI is no valid SPIFFE ID: {refusal}.") from None


def _expired(token: TokenRecord, now: float) -> bool:
    return token.expires is not None and token.expires <= now


def _normal_subject(text: str) -> str:
    """The subject as it is written of a certificate that has it. Raises ValidationException."""
    try:
        name = x509.Name.from_rfc4514_string(text)
        subject = name.rfc4514_string()
        stable = x509.Name.from_rfc4514_string(subject) == name
    except ValueError:
        raise ValidationException("The subject is no distinguished name in the form of RFC 4514.") from None
    # Certificates order the attributes of one such part by their encoding, which the text doesn't tell.
    if any(len(part) != 1 for part in name.rdns):
        raise ValidationException("A subject with several attributes in one part can't be registered.")
    printable = all(isinstance(item.value, str) and item.value.isprintable() for item in name)
    if not stable or not printable or len(subject) > SUBJECT_MAX:
        raise ValidationException(
            f"The subject must have at most {SUBJECT_MAX} characters, all of them printable."
        )
    return subject


def _token(token: TokenRecord) -> shapes.TokenMetadata:
    return shapes.TokenMetadata(
        token_id=token.token_id,
        principal_arn=token.principal_arn,
        description=token.description or None,
        session_name=token.session_name or None,
        create_date=token.created,
        expiration=token.expires,
        last_used_date=None,
    )


def _mapping(certificate: CertificateRecord) -> shapes.CertificateMapping:
    return shapes.CertificateMapping(
        certificate_id=certificate.certificate_id,
        principal_arn=certificate.principal_arn,
        uri_san=certificate.uri_san,
        subject=certificate.subject,
        description=certificate.description or None,
        session_name=certificate.session_name or None,
        create_date=certificate.created,
    )
