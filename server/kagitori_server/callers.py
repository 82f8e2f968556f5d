"""From the evidence of a call to its caller: authentication, and for tokens of OpenID Connect issuers and signed
requests what it takes before and after it.

Before: the issuer's keys are fetched and the token's signature is checked away from the event loop; the secret of an
access key is opened there, once. After: the role's trust
policy has to admit who the token speaks of (AWS STS AssumeRoleWithWebIdentity).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

from kagitori_server.authn.authenticator import Authenticator
from kagitori_server.authn.signatures import Signatures
from kagitori_server.authn.web_tokens import WebTokens
from kagitori_server.authz.assumption import may_assume_with_web_identity
from kagitori_server.authz.condition_keys import Asked
from kagitori_server.federation.issuer_keys import IssuerKeys
from kagitori_server.federation.tokens import looks_signed
from kagitori_server.model.call import Call, Evidence
from kagitori_server.model.errors import (
    AccessDeniedException,
    DependencyTimeoutException,
    UnrecognizedClientException,
)
from kagitori_server.model.lookup import Lookup
from kagitori_server.model.principals import Caller
from kagitori_server.storage.view import NotLoaded, View

_ASSUME = "sts:AssumeRoleWithWebIdentity"
EXCHANGE = "sts AssumeRoleWithWebIdentity"
"""The name of the row that exchanges tokens: the only one that they prove a caller to."""


class Callers:
    """Establishes who calls. `recognise` and `meet` run in the event loop, `establish` anywhere."""

    def __init__(
        self, authenticator: Authenticator, web_tokens: WebTokens, keys: IssuerKeys, view: View, reads: Executor,
        default_region: str, clock: Callable[[], float], signatures: Signatures | None = None,
    ) -> None:
        """`view` and `reads` are those that the pipeline uses, `signatures` those of the authenticator."""
        self._signatures = signatures
        self._authenticator = authenticator
        self._web_tokens = web_tokens
        self._keys = keys
        self._view = view
        self._reads = reads
        self._default_region = default_region
        self._clock = clock

    def is_stranger(self, call: Call) -> bool:
        """Whether `meet` has to be awaited before `establish`."""
        evidence = call.evidence
        if evidence.signed is not None and self._signatures is not None:
            return not self._signatures.is_known(evidence.signed)
        token = _signed_token(evidence)
        return token is not None and looks_signed(token) and not self._web_tokens.is_known(token)

    async def meet(self, call: Call) -> None:
        """Has what a proof needs brought here, and checks its signature in a thread. Raises as `establish`."""
        token = _signed_token(call.evidence) or ""
        if not self._view.prove_now():
            await self._view.prove()
        loop = asyncio.get_running_loop()
        if call.evidence.signed is None:
            try:
                ask = self._web_tokens.provider_of
                provider, key_id = await loop.run_in_executor(self._reads, ask, token, self._view)
                await self._keys.ready(provider, key_id)
            except (UnrecognizedClientException, DependencyTimeoutException):
                # Of a token that is to be exchanged, STS tells that in its own words: so does what comes next.
                if call.evidence.exchanged is None:
                    raise
        await loop.run_in_executor(self._reads, self._authenticator.authenticate, call.evidence, self._view)

    def establish(self, call: Call, lookup: Lookup) -> Caller:
        """The caller that the call's evidence proves, which the call is marked with.

        Raises what `Authenticator.authenticate` raises, AccessDeniedException when the role's trust policy doesn't
        admit whom a token speaks of, NotLoaded where `lookup` does.
        """
        if call.evidence.exchanged is not None and call.operation != EXCHANGE:
            message = "a token that only opens sessions came with another operation"
            raise RuntimeError(message)
        caller = self._authenticator.authenticate(call.evidence, lookup)
        if caller.web_identity is not None and not self._is_admitted(caller, call):
            raise AccessDeniedException(f"Not authorized to perform {_ASSUME}")
        call.proven = True
        return caller

    async def recognise(self, call: Call) -> Caller:
        """As `establish`, with all that it takes, for who wants to know nothing else. Raises too what the catalog fails
        with."""
        if self.is_stranger(call):
            await self.meet(call)
        if not self._view.prove_now():
            await self._view.prove()
        try:
            return self.establish(call, self._view.kept)
        except NotLoaded:
            return await asyncio.get_running_loop().run_in_executor(self._reads, self.establish, call, self._view)

    def _is_admitted(self, caller: Caller, call: Call) -> bool:
        asked = Asked(
            action=_ASSUME,
            caller=caller,
            request=None,
            evidence=call.evidence,
            region=call.region or self._default_region,
            resource_account=caller.account,
            now=self._clock(),
            key=None,
            named=None,
            pairs={},
            attested={},
            same_key=lambda: None,
        )
        return may_assume_with_web_identity(asked)


def _signed_token(evidence: Evidence) -> str | None:
    """The token that may be one of an OpenID Connect issuer."""
    return evidence.token if evidence.exchanged is None else evidence.exchanged.token
