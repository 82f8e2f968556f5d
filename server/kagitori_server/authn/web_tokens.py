"""Tokens of OpenID Connect issuers: which provider one belongs to, whether it is good, what session it opens.

Signatures are checked once: a verified token is remembered by its SHA-256 as long as the provider's record and the
issuer's keys are the same objects, and its times are looked at in every call. Nothing is told of a refused token but
that it is refused; the log says why, when an issuer that is trusted is said to have made it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from kagitori_server.federation.claims import facts, name_claim, session_name, session_tags
from kagitori_server.federation.issuer_keys import IssuerKeys
from kagitori_server.federation.keys import KeySet
from kagitori_server.federation.tokens import (
    ClaimRefused,
    SignedToken,
    TokenOver,
    TokenRefused,
    check_signature,
    check_times,
    read_token,
)
from kagitori_server.model.call import ExchangedToken
from kagitori_server.model.errors import (
    DependencyTimeoutException,
    ExpiredTokenException,
    UnrecognizedClientException,
)
from kagitori_server.model.lookup import Lookup
from kagitori_server.model.neighbour_errors import (
    ExpiredIdentityTokenException,
    IDPCommunicationErrorException,
    IDPRejectedClaimException,
    InvalidIdentityTokenException,
)
from kagitori_server.model.principals import AssumedSession, OidcProviderRecord, WebIdentity
from kagitori_server.storage.generations import MISSING, Generations

_log = logging.getLogger(__name__)

_TOKENS_MAX = 4_096
"""Verified tokens that are remembered, each of at most 8 KiB."""
_UNKNOWN = "The security token included in the request is invalid."
_INVALID = "The web identity token can't be validated, or is for nobody here."


@dataclass(frozen=True, slots=True, eq=False)
class VerifiedToken:
    """A token that was found good, as the credential of the session that it opens."""

    token_id: str
    """`jwt-` and 16 hexadecimal digits of its SHA-256: what the audit record shows."""
    token: SignedToken
    providers: tuple[OidcProviderRecord, ...]
    """All of the issuer, as they were."""
    provider: OidcProviderRecord
    keys: KeySet
    session_name: str
    session: AssumedSession
    web_identity: WebIdentity = field(repr=False)
    created: float
    """When the issuer says that it made the token; without that, when it was first seen."""

    @property
    def principal_arn(self) -> str:
        """The role that it opens a session of."""
        return self.provider.role_arn


@dataclass(frozen=True, slots=True, eq=False)
class ExchangedIdentity:
    """A token that was found good, as the credential of a session of a role that the request names (AWS STS
    AssumeRoleWithWebIdentity). Whether the role admits it is not said."""

    verified: VerifiedToken
    principal_arn: str
    session_name: str

    @property
    def session(self) -> AssumedSession:
        """What the token settles."""
        return self.verified.session

    @property
    def web_identity(self) -> WebIdentity:
        """What the token says."""
        return self.verified.web_identity

    @property
    def created(self) -> float:
        """As the token's."""
        return self.verified.created


class WebTokens:
    """Verifies tokens and remembers those that it has verified. Thread-safe."""

    def __init__(self, clock: Callable[[], float], keys: IssuerKeys, entries: int = _TOKENS_MAX) -> None:
        self._clock = clock
        self._keys = keys
        self._verified: Generations[bytes, VerifiedToken] = Generations(entries)

    def is_known(self, text: str) -> bool:
        """Whether the token was verified before, and the keys that it was verified with needn't be fetched anew."""
        known = self._verified.get(_digest(text))
        return known is not MISSING and not self._keys.wants_fetch(known.provider)

    def provider_of(self, text: str, lookup: Lookup) -> tuple[OidcProviderRecord, str | None]:
        """(provider, id of the key that has to be at hand) of a token of which nothing is proven yet.

        Raises UnrecognizedClientException when there is none for it.
        """
        try:
            token = read_token(text)
            return _provider(token, lookup.oidc_providers(token.issuer)), token.key_id
        except TokenRefused:
            raise UnrecognizedClientException(_UNKNOWN) from None

    def verified(self, text: str, lookup: Lookup) -> VerifiedToken:
        """The token, if it is good now. Fetches nothing: `IssuerKeys.ready` has seen to the keys.

        Raises UnrecognizedClientException, ExpiredTokenException for one that was good, DependencyTimeoutException
        while its issuer's keys can't be had.
        """
        try:
            return self._good(text, lookup)
        except TokenOver:
            raise ExpiredTokenException("The security token included in the request is expired.") from None
        except TokenRefused:
            raise UnrecognizedClientException(_UNKNOWN) from None

    def exchanged(self, shown: ExchangedToken, lookup: Lookup) -> ExchangedIdentity:
        """The same of a token that is to open a session of another role than its provider's, if it is good now.

        Raises InvalidIdentityTokenException, ExpiredIdentityTokenException for one that was good,
        IDPRejectedClaimException, IDPCommunicationErrorException.
        """
        try:
            verified = self._good(shown.token, lookup)
        except TokenOver:
            raise ExpiredIdentityTokenException("The web identity token is expired.") from None
        except ClaimRefused:
            raise IDPRejectedClaimException("A claim of the web identity token is not acceptable.") from None
        except TokenRefused:
            raise InvalidIdentityTokenException(_INVALID) from None
        except DependencyTimeoutException as failure:
            raise IDPCommunicationErrorException(failure.message) from None
        return ExchangedIdentity(verified, shown.role_arn, shown.session_name)

    def _good(self, text: str, lookup: Lookup) -> VerifiedToken:
        digest = _digest(text)
        known = self._verified.get(digest)
        if known is not MISSING and self._still_proven(known, lookup):
            check_times(known.token, self._clock())
            return known
        verified = self._verify(text, digest, lookup)
        self._verified.put(digest, verified)
        return verified

    def _still_proven(self, known: VerifiedToken, lookup: Lookup) -> bool:
        return (
            lookup.oidc_providers(known.token.issuer) is known.providers
            and self._keys.held(known.provider) is known.keys
        )

    def _verify(self, text: str, digest: bytes, lookup: Lookup) -> VerifiedToken:
        token = read_token(text)
        providers = lookup.oidc_providers(token.issuer)
        provider = _provider(token, providers)
        keys = self._keys.held(provider)
        if keys is None:
            raise DependencyTimeoutException("The keys of the token's issuer can't be had at the moment.")
        try:
            check_signature(token, keys)
            check_times(token, self._clock())
            name = session_name(name_claim(token.claims, provider.session_name_claim))
            tags = session_tags(token.claims, provider.tag_claims)
        except TokenRefused as refusal:
            _log.info("a token for %s was refused: %s", provider.arn, refusal)
            raise
        accepted = tuple(each for each in dict.fromkeys(token.audiences) if each in provider.audiences)
        return VerifiedToken(
            token_id=f"jwt-{digest.hex()[:16]}",
            token=token,
            providers=providers,
            provider=provider,
            keys=keys,
            session_name=name,
            session=AssumedSession(tags=tags, federated_provider=provider.arn),
            web_identity=WebIdentity(
                provider.arn, facts(token.issuer, token.claims, accepted), _subject(token), accepted[0]
            ),
            created=self._clock() if token.issued is None else token.issued,
        )


def _provider(token: SignedToken, providers: tuple[OidcProviderRecord, ...]) -> OidcProviderRecord:
    """The one provider that accepts an audience of the token. Raises TokenRefused."""
    fitting = [each for each in providers if not set(each.audiences).isdisjoint(token.audiences)]
    if len(fitting) != 1:
        if providers:
            what = "it is for another audience" if not fitting else "it is for the audiences of several providers"
            _log.info("a token for %s was refused: %s", providers[0].issuer, what)
        raise TokenRefused("no provider is for it")
    return fitting[0]


def _subject(token: SignedToken) -> str:
    subject = token.claims.get("sub")
    return subject if isinstance(subject, str) else ""


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
