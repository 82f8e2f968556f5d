"""What an AWS account's KMS holds, read with boto3 (extra `cli`) and nothing changed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kagitori_client.errors import ConfigurationError, SourceError

_CREDENTIALS_REFUSED = frozenset({
    "ExpiredTokenException", "ExpiredToken", "IncompleteSignature", "InvalidClientTokenId", "InvalidSignatureException",
    "MissingAuthenticationToken", "MissingAuthenticationTokenException", "SignatureDoesNotMatch",
    "UnrecognizedClientException",
})
"""Refusals that are about who asks, not about the key (AWS, common errors of its APIs)."""


@dataclass(frozen=True, slots=True)
class SourceKey:
    """One key as its account sees it. Names of specs, usages, origins and states are AWS's."""

    arn: str
    description: str
    key_spec: str
    key_usage: str
    origin: str
    state: str
    multi_region_type: str | None
    """`PRIMARY` or `REPLICA`; None for a key of one Region."""
    valid_to: dt.datetime | None
    """When its imported material expires."""
    policy: str
    tags: Mapping[str, str]
    aliases: Sequence[str]
    rotation_days: int | None
    """Days between automatic rotations; None where there are none."""
    grants: int

    @property
    def key_id(self) -> str:
        """The last part of the ARN."""
        return self.arn.rpartition("/")[2]

    @property
    def account(self) -> str:
        """The 12 digits of the owner."""
        return self.arn.split(":")[4]


@dataclass(frozen=True, slots=True)
class UnreadKey:
    """A key that AWS doesn't show: its ARN, or the name by which it was asked for, and AWS's reason."""

    name: str
    reason: str


class Source:
    """Reads with boto3's usual settings: environment, profile, and the endpoint where one is given."""

    def __init__(self, *, profile: str | None = None, region: str | None = None, endpoint: str | None = None) -> None:
        """Raises ConfigurationError without boto3 or without what it needs to know."""
        try:
            import boto3
            from botocore import exceptions
        except ImportError:
            raise ConfigurationError(
                "reading from AWS needs boto3", hint="install kagitori-kms with its extra cli"
            ) from None
        self._refused: Any = exceptions.ClientError
        self._refusals: tuple[type[Exception], ...] = (exceptions.ClientError, exceptions.BotoCoreError)
        try:
            session = boto3.Session(profile_name=profile, region_name=region)
            self._kms: Any = session.client("kms", endpoint_url=endpoint)
        except (exceptions.BotoCoreError, ValueError) as error:
            raise ConfigurationError(f"AWS can't be asked: {error}") from None

    def keys(self, wanted: Sequence[str] = ()) -> Iterator[SourceKey | UnreadKey]:
        """The customer managed keys, or those of the ids, ARNs or aliases `wanted`.

        A key that AWS refuses to show ends nothing: it comes as an UnreadKey. Raises SourceError where AWS can't be
        asked at all, or doesn't list keys and aliases.
        """
        try:
            names: dict[str, list[str]] = {}
            for alias in self._listed("list_aliases", "Aliases"):
                names.setdefault(alias.get("TargetKeyId", ""), []).append(alias["AliasName"])
            for name in wanted or [key["KeyArn"] for key in self._listed("list_keys", "Keys")]:
                found = self._read(name, names)
                if found is not None:
                    yield found
                elif wanted:
                    raise SourceError(f"{name} is a key that AWS manages, for a service of its own")
        except self._refusals as error:
            raise SourceError(str(error)) from None

    def _read(self, name: str, aliases: Mapping[str, Sequence[str]]) -> SourceKey | UnreadKey | None:
        """One key; None for one that AWS manages."""
        try:
            metadata = self._kms.describe_key(KeyId=name)["KeyMetadata"]
            if metadata["KeyManager"] != "CUSTOMER":
                return None
            return self._key(metadata, sorted(aliases.get(metadata["KeyId"], ())))
        except self._refused as error:
            if error.response.get("Error", {}).get("Code") in _CREDENTIALS_REFUSED:
                # Every other key would be refused likewise.
                raise
            return UnreadKey(name, str(error))

    def _key(self, metadata: Mapping[str, Any], aliases: Sequence[str]) -> SourceKey:
        arn = metadata["Arn"]
        region = metadata.get("MultiRegionConfiguration")
        return SourceKey(
            arn=arn,
            description=metadata.get("Description", ""),
            key_spec=metadata["KeySpec"],
            key_usage=metadata["KeyUsage"],
            origin=metadata["Origin"],
            state=metadata["KeyState"],
            multi_region_type=region["MultiRegionKeyType"] if region else None,
            valid_to=metadata.get("ValidTo"),
            policy=self._kms.get_key_policy(KeyId=arn, PolicyName="default")["Policy"],
            tags={tag["TagKey"]: tag["TagValue"] for tag in self._listed("list_resource_tags", "Tags", KeyId=arn)},
            aliases=aliases,
            rotation_days=self._rotation(metadata),
            grants=sum(1 for _ in self._listed("list_grants", "Grants", KeyId=arn)),
        )

    def _rotation(self, metadata: Mapping[str, Any]) -> int | None:
        if metadata["KeySpec"] != "SYMMETRIC_DEFAULT" or metadata["Origin"] != "AWS_KMS":
            return None
        status = self._kms.get_key_rotation_status(KeyId=metadata["Arn"])
        days: int = status.get("RotationPeriodInDays", 365)
        return days if status["KeyRotationEnabled"] else None

    def _listed(self, operation: str, members: str, **arguments: str) -> Iterator[dict[str, Any]]:
        for page in self._kms.get_paginator(operation).paginate(**arguments):
            yield from page[members]
