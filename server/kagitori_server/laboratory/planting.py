"""Carrying out a seed: by calls like any other's, so that nothing is there that the service would refuse."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import load_der_public_key

from kagitori_server.config import ConfigurationError
from kagitori_server.laboratory.naming import FixedIdentifiers
from kagitori_server.laboratory.seed import Seed
from kagitori_server.laboratory.steps import Step
from kagitori_server.model.arn import root_arn
from kagitori_server.model.call import Call, Evidence
from kagitori_server.model.errors import KmsError

_USER_AGENT = "kagitori-seed"


@dataclass(frozen=True, slots=True)
class Planter:
    """Carries out a seed as the root users of its accounts."""

    handle: Callable[[Call], Awaitable[Any]]
    """The pipeline's."""
    plant: Callable[[str, bytes], None]
    """The key store's."""
    names: FixedIdentifiers
    new_request_id: Callable[[], str]
    partition: str
    home_account: str

    async def carry_out(self, seed: Seed, root_token: str) -> None:
        """`root_token` is that of the home account's root. Raises ConfigurationError, with what the service said."""
        lent: dict[str, tuple[str, str]] = {self.home_account: ("", root_token)}
        for step in seed.steps:
            try:
                if step.account not in lent:
                    lent[step.account] = await self._lend(step.account, root_token)
                await self._do(step, lent[step.account][1])
            except KmsError as error:
                told = f"{error.code()}: {error.message}" if error.message else error.code()
                raise ConfigurationError(f"seed: {step.where}: {step.operation}: {told}") from None
        del lent[self.home_account]
        for account, (token_id, _) in lent.items():
            await self._call("RevokeToken", {"account_id": account, "token_id": token_id}, root_token)

    async def _lend(self, account: str, root_token: str) -> tuple[str, str]:
        """A token of an account's root user, for as long as this takes."""
        values = {"principal_arn": root_arn(self.partition, account), "description": "seeding"}
        made = await self._call("CreateToken", values, root_token)
        return made.token_id, made.token

    async def _do(self, step: Step, token: str) -> None:
        values = step.values
        if step.plant is not None:
            self.plant(step.plant_key, step.plant)
        if step.imported is not None:
            values = {**values, **await self._wrapped(step, step.imported, token)}
        with self.names.giving(step.fixed):
            await self._call(step.operation, values, token, step.region)

    async def _wrapped(self, step: Step, material: bytes, token: str) -> Mapping[str, bytes]:
        """What ImportKeyMaterial takes of a material, wrapped with RSA_AES_KEY_WRAP_SHA_256."""
        values = {
            "key_id": step.values["key_id"], "wrapping_algorithm": "RSA_AES_KEY_WRAP_SHA_256",
            "wrapping_key_spec": "RSA_2048",
        }
        given = await self._call("GetParametersForImport", values, token, step.region)
        public = load_der_public_key(given.public_key)
        if not isinstance(public, RSAPublicKey):
            raise TypeError("wrapping keys are RSA keys")
        aes_key = os.urandom(32)
        head = public.encrypt(aes_key, OAEP(MGF1(SHA256()), SHA256(), None))
        return {
            "import_token": given.import_token,
            "encrypted_key_material": head + aes_key_wrap_with_padding(aes_key, material),
        }

    async def _call(
        self, operation: str, values: Mapping[str, Any], token: str, region: str | None = None
    ) -> Any:
        evidence = Evidence(token=token, user_agent=_USER_AGENT)
        return await self.handle(Call(operation, self.new_request_id(), evidence, region, lambda: values))
