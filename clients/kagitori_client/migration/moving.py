"""Makes here what was planned. A key that a run broke off at is finished by the next. One that was finished is left
as it is but for material that it waits for: what its owners changed since is theirs.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp

from kagitori.kms.v1.grants_pb2 import ListGrantsRequest
from kagitori.kms.v1.key_material_pb2 import (
    EnableKeyRotationRequest,
    GetParametersForImportRequest,
    ImportKeyMaterialRequest,
    WrappingAlgorithm,
    WrappingKeySpec,
)
from kagitori.kms.v1.keys_pb2 import (
    CreateAliasRequest,
    CreateKeyRequest,
    DescribeKeyRequest,
    DisableKeyRequest,
    GetKeyPolicyRequest,
    ListAliasesRequest,
    ListKeysRequest,
    ListResourceTagsRequest,
    TagResourceRequest,
)
from kagitori.kms.v1.resources_pb2 import ExpirationModel, KeySpec, KeyState, KeyUsage, Origin, Tag
from kagitori_client.client import KmsClient, pages
from kagitori_client.errors import KagitoriError, KeyMaterialError, ServiceError, SourceError
from kagitori_client.importing import KeyMaterial, wrap_key_material
from kagitori_client.importing import WrappingAlgorithm as Wrapping
from kagitori_client.migration.plan import ORIGIN_TAG, Plan
from kagitori_client.migration.source import SourceKey

_NOT_OURS = (
    "a key here has the tag of this one, but another policy, kind or origin, or grants: remove the tag if it isn't the "
    "one that was moved, and finish by hand if it is"
)
_UNFINISHED = " unfinished"
"""Behind the ARN in the tag of a key that isn't yet all that was planned."""
_PATIENCE = 60.0
"""Seconds for a key whose primes have to be found."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What came of one plan: the key here, None if it wasn't made, and what is to be said about it."""

    source_arn: str
    arn: str | None
    outcome: str
    """`created`, `found` (made by an earlier run, and finished where that broke off), `skipped` or `failed`."""
    notes: tuple[str, ...]


class Moving:
    """Carries out plans, one after the other. `read_material` reads a file of `Wishes.materials`."""

    def __init__(
        self, client: KmsClient, read_material: Callable[[str], KeyMaterial], *, bypass_lockout_check: bool = False
    ) -> None:
        """Raises KagitoriError where the service can't be asked for what it has already."""
        self._client = client
        self._read_material = read_material
        self._bypass = bypass_lockout_check
        self._here, self._unfinished, self._closed = _moved_before(client)
        self._aliases = dict(_aliases(client))

    def carry_out(self, plan: Plan) -> Moved:
        """Makes one key with all that belongs to it. A failure is told in the result."""
        source = plan.source
        if plan.skipped is not None:
            return Moved(source.arn, None, "skipped", (plan.skipped,))
        arn, outcome = self._here.get(source.arn), "found"
        notes = list(plan.notes)
        try:
            material = self._material(plan)
            if arn is None:
                self._refuse_second(source)
                arn, outcome = self._create(plan), "created"
                self._here[source.arn] = arn
                if _is_more_than_made(source):
                    self._unfinished.add(arn)
            elif not self._is_ours(plan, arn):
                return Moved(source.arn, arn, "failed", (_NOT_OURS, *plan.notes))
            notes += self._complete(plan, arn, material)
        except KagitoriError as error:
            return Moved(source.arn, arn, "failed", (f"{error.code}: {error.message}", *plan.notes))
        return Moved(source.arn, arn, outcome, tuple(notes))

    def _material(self, plan: Plan) -> KeyMaterial | None:
        """Read and judged before a key is made for it."""
        if plan.material is None:
            return None
        if plan.source.origin != "EXTERNAL":
            raise KeyMaterialError(f"{plan.source.arn} has material that AWS made: none can be given for it")
        material = self._read_material(plan.material)
        if plan.source.key_spec not in material.key_specs:
            raise KeyMaterialError(f"the file is no material of a key of spec {plan.source.key_spec}")
        return material

    def _refuse_second(self, source: SourceKey) -> None:
        """Whether an earlier run made it can't be seen of a key whose tags are closed to who moves."""
        for alias in source.aliases:
            if self._aliases.get(alias) in self._closed:
                raise SourceError(
                    f"{alias} is here, of a key whose tags you may not read (kms:ListResourceTags): an earlier run may "
                    "have made it"
                )

    def _create(self, plan: Plan) -> str:
        source = plan.source
        try:
            spec, usage = (
                KeySpec.Value(f"KEY_SPEC_{source.key_spec}"), KeyUsage.Value(f"KEY_USAGE_{source.key_usage}")
            )
        except ValueError:
            raise SourceError(f"keys of spec {source.key_spec} for {source.key_usage} are not known here") from None
        request = CreateKeyRequest(
            description=source.description,
            key_spec=spec,
            key_usage=usage,
            origin=Origin.Value(f"ORIGIN_{source.origin}"),
            multi_region=source.multi_region_type is not None or None,
            policy=plan.policy,
            bypass_policy_lockout_safety_check=self._bypass or None,
            tags=[
                Tag(tag_key=name, tag_value=value) for name, value in plan.tags.items() if name != ORIGIN_TAG
            ] + [_origin(source, finished=not _is_more_than_made(source))],
        )
        arn: str = self._client.keys.CreateKey(request, timeout=_PATIENCE).key_metadata.arn
        return arn

    def _is_ours(self, plan: Plan, arn: str) -> bool:
        """Whether a key that carries the tag is as it would be made, under those whom the plan names and nobody else.
        Who may make keys and tag them could have made one to be given aliases and material that aren't theirs."""
        source = plan.source
        found = self._client.keys.DescribeKey(DescribeKeyRequest(key_id=arn)).key_metadata
        # Imported material, and that of a replica elsewhere, is known or usable to others whatever the policy says.
        if (KeySpec.Name(found.key_spec), KeyUsage.Name(found.key_usage), Origin.Name(found.origin)) != (
            f"KEY_SPEC_{source.key_spec}", f"KEY_USAGE_{source.key_usage}", f"ORIGIN_{source.origin}"
        ) or found.multi_region != (source.multi_region_type is not None):
            return False
        policy = json.loads(self._client.keys.GetKeyPolicy(GetKeyPolicyRequest(key_id=arn)).policy)
        if plan.policy is not None:
            as_planned = policy == json.loads(plan.policy)
        else:
            partition, account = arn.split(":")[1], arn.split(":")[4]
            statements = policy.get("Statement")
            as_planned = isinstance(statements, list) and [
                (each.get("Effect"), each.get("Principal")) for each in statements if isinstance(each, dict)
            ] == [("Allow", {"AWS": f"arn:{partition}:iam::{account}:root"})]
        return as_planned and not self._client.keys.ListGrants(ListGrantsRequest(key_id=arn)).grants

    def _complete(self, plan: Plan, arn: str, material: KeyMaterial | None) -> Sequence[str]:
        """Material that the key waits for; aliases, rotation and state of one that isn't finished."""
        source = plan.source
        notes: list[str] = []
        state = self._client.keys.DescribeKey(DescribeKeyRequest(key_id=arn)).key_metadata.key_state
        if material is not None and state == KeyState.KEY_STATE_PENDINGIMPORT:
            if source.state == "Disabled":
                # It will be enabled by its material, and a run that broke off there would leave it so.
                self._mark(source, arn, finished=False)
            notes += self._import(plan, arn, material)
            state = self._client.keys.DescribeKey(DescribeKeyRequest(key_id=arn)).key_metadata.key_state
        if arn in self._unfinished:
            notes += self._finish(source, arn, state)
        return notes

    def _finish(self, source: SourceKey, arn: str, state: KeyState.ValueType) -> Sequence[str]:
        notes: list[str] = []
        for alias in source.aliases:
            target = self._aliases.get(alias)
            if target is None:
                self._client.keys.CreateAlias(CreateAliasRequest(alias_name=alias, target_key_id=arn))
                self._aliases[alias] = arn.rpartition("/")[2]
            elif target != arn.rpartition("/")[2]:
                notes.append(f"{alias} belongs to another key here, {target}")
        if state == KeyState.KEY_STATE_ENABLED:
            if source.rotation_days is not None:
                self._client.keys.EnableKeyRotation(
                    EnableKeyRotationRequest(key_id=arn, rotation_period_in_days=source.rotation_days)
                )
            if source.state == "Disabled":
                self._client.keys.DisableKey(DisableKeyRequest(key_id=arn))
        self._mark(source, arn, finished=True)
        return notes

    def _mark(self, source: SourceKey, arn: str, *, finished: bool) -> None:
        self._client.keys.TagResource(TagResourceRequest(key_id=arn, tags=[_origin(source, finished=finished)]))
        if finished:
            self._unfinished.discard(arn)
        else:
            self._unfinished.add(arn)

    def _import(self, plan: Plan, arn: str, material: KeyMaterial) -> Sequence[str]:
        expires = plan.source.valid_to
        if expires is not None and expires <= dt.datetime.now(dt.UTC):
            return [f"its material expired on {expires:%Y-%m-%d} and was not imported"]
        given = self._client.keys.GetParametersForImport(
            GetParametersForImportRequest(
                key_id=arn, wrapping_algorithm=WrappingAlgorithm.WRAPPING_ALGORITHM_RSA_AES_KEY_WRAP_SHA_256,
                wrapping_key_spec=WrappingKeySpec.WRAPPING_KEY_SPEC_RSA_3072,
            )
        )
        request = ImportKeyMaterialRequest(
            key_id=arn, import_token=given.import_token,
            encrypted_key_material=wrap_key_material(material, given.public_key, Wrapping.RSA_AES_KEY_WRAP_SHA_256),
            expiration_model=ExpirationModel.EXPIRATION_MODEL_KEY_MATERIAL_DOES_NOT_EXPIRE,
        )
        if expires is not None:
            request.expiration_model = ExpirationModel.EXPIRATION_MODEL_KEY_MATERIAL_EXPIRES
            request.valid_to.CopyFrom(Timestamp(seconds=int(expires.timestamp())))
        self._client.keys.ImportKeyMaterial(request)
        return []


def _is_more_than_made(source: SourceKey) -> bool:
    """Whether making the key isn't all that is to be done about it."""
    return bool(source.aliases) or source.rotation_days is not None or source.state == "Disabled"


def _origin(source: SourceKey, *, finished: bool) -> Tag:
    return Tag(tag_key=ORIGIN_TAG, tag_value=source.arn if finished else source.arn + _UNFINISHED)


def _moved_before(client: KmsClient) -> tuple[dict[str, str], set[str], set[str]]:
    """ARNs in AWS -> keys here that earlier runs made of them; those of these keys that aren't finished; and the ids of
    keys of which it can't be told."""
    found: dict[str, str] = {}
    closed: set[str] = set()
    unfinished: set[str] = set()
    for page in pages(client.keys.ListKeys, ListKeysRequest()):
        for key in page.keys:
            try:
                tags = client.keys.ListResourceTags(ListResourceTagsRequest(key_id=key.key_arn)).tags
            except ServiceError as error:
                # Keys of others may be closed to who moves; none of them is one that this run could go on with.
                if error.code != "AccessDeniedException":
                    raise
                closed.add(key.key_id)
                continue
            for tag in tags:
                if tag.tag_key == ORIGIN_TAG:
                    found[tag.tag_value.removesuffix(_UNFINISHED)] = key.key_arn
                    if tag.tag_value.endswith(_UNFINISHED):
                        unfinished.add(key.key_arn)
    return found, unfinished, closed


def _aliases(client: KmsClient) -> Mapping[str, str]:
    """Aliases here -> ids of their keys."""
    return {
        entry.alias_name: entry.target_key_id
        for page in pages(client.keys.ListAliases, ListAliasesRequest())
        for entry in page.aliases
    }
