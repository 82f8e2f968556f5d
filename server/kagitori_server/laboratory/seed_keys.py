"""The part of a seed about keys."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any

from kagitori_server.config import ConfigurationError
from kagitori_server.laboratory.seed_principals import ACCOUNT_FORM, Surroundings, tag_list
from kagitori_server.laboratory.steps import Fixed, Step
from kagitori_server.laboratory.tables import Table
from kagitori_server.model.arn import ACCOUNT_ID, KEY_ID_PATTERN, REGION, root_arn
from kagitori_server.model.key_specs import KEY_SPECS
from kagitori_server.model.keys import KeySpec, KeyState, Origin

_KEY_ID = re.compile(KEY_ID_PATTERN)
_KEY_ID_FORM = "a UUID in lower case, or mrk- and 32 hexadecimal digits"
_MULTI_REGION = "mrk-"
_SPEC = re.compile("|".join(KeySpec))
_ORIGIN = re.compile(f"{Origin.AWS_KMS}|{Origin.EXTERNAL}")
_STATES = {
    KeyState.ENABLED: None, KeyState.DISABLED: "DisableKey", KeyState.PENDING_DELETION: "ScheduleKeyDeletion"
}
_STATE = re.compile("|".join(_STATES))
_GRANT_ID = re.compile("[0-9a-f]{64}")
_PEM = re.compile(r"\s*-----BEGIN PRIVATE KEY-----([A-Za-z0-9+/=\s]+)-----END PRIVATE KEY-----\s*")
_MATERIAL_MAX = 4_096


def key_steps(root: Table, around: Surroundings) -> Iterator[Step]:
    """What makes keys, with all that they have."""
    for table in root.tables("keys"):
        yield from _Key(table, around).steps()


class _Key:
    """One key on its way from the file to calls."""

    def __init__(self, table: Table, around: Surroundings) -> None:
        self._table = table
        self._around = around
        self._account = table.text("account", ACCOUNT_ID, ACCOUNT_FORM) or around.home_account
        self._region = table.text("region", REGION, "the name of a Region") or around.region
        self._id = table.needed("id", _KEY_ID, _KEY_ID_FORM)
        self._spec = KeySpec(table.text("spec", _SPEC, "a key spec") or KeySpec.SYMMETRIC_DEFAULT)
        self._origin = Origin(table.text("origin", _ORIGIN, "AWS_KMS or EXTERNAL") or Origin.AWS_KMS)
        self._materials = tuple(
            _material(table.place("materials"), text) for text in table.texts("materials")
        )

    def steps(self) -> Iterator[Step]:
        """All calls, those last that take away what the others need: the state, then the policy."""
        table = self._table
        yield self._creation()
        valid_to = table.time("valid_to")
        if self._origin is Origin.EXTERNAL:
            yield from self._imports(valid_to)
        elif valid_to is not None:
            raise ConfigurationError(f"{table.place('valid_to')} is for keys of origin EXTERNAL")
        else:
            for material in self._materials[1:]:
                yield self._step("RotateKeyOnDemand", self._named(), plant=material, plant_key=self._id)
        for alias in table.texts("aliases"):
            yield self._step("CreateAlias", {"alias_name": alias, "target_key_id": self._id})
        if (days := table.number("rotation_days")) is not None:
            yield self._step("EnableKeyRotation", {**self._named(), "rotation_period_in_days": days})
        for region in table.texts("replicas"):
            yield self._step("ReplicateKey", {**self._named(), "replica_region": region})
        yield from self._grants()
        yield from self._state()
        if (policy := table.document("policy")) is not None:
            values = {**self._named(), "policy": policy, "bypass_policy_lockout_safety_check": True}
            yield self._step("PutKeyPolicy", values)

    def _creation(self) -> Step:
        table, usages = self._table, KEY_SPECS[self._spec].usages
        usage = table.text("usage")
        if usage is None and len(usages) == 1:
            usage = next(iter(usages))
        values = {
            "key_spec": self._spec, "origin": self._origin, "description": table.text("description"),
            "key_usage": usage, "multi_region": self._id.startswith(_MULTI_REGION),
            "tags": tag_list(table.pairs("tags")),
        }
        planted = self._materials[0] if self._materials and self._origin is Origin.AWS_KMS else None
        fixed = Fixed(uuid=self._id.removeprefix(_MULTI_REGION))
        return self._step("CreateKey", values, fixed=fixed, plant=planted, plant_key=self._id)

    def _imports(self, valid_to: float | None) -> Iterator[Step]:
        expiration = "KEY_MATERIAL_DOES_NOT_EXPIRE" if valid_to is None else "KEY_MATERIAL_EXPIRES"
        for index, material in enumerate(self._materials):
            values = {**self._named(), "expiration_model": expiration, "valid_to": valid_to}
            if index:
                values["import_type"] = "NEW_KEY_MATERIAL"
            yield self._step("ImportKeyMaterial", values, imported=material)
            if index:
                yield self._step("RotateKeyOnDemand", self._named())

    def _grants(self) -> Iterator[Step]:
        for table in self._table.tables("grants"):
            context = {
                member: pairs for member in ("encryption_context_equals", "encryption_context_subset")
                if (pairs := table.pairs(member))
            }
            values = {
                **self._named(), "name": table.text("name"), "operations": list(table.texts("operations")),
                "grantee_principal": self._principal(table.needed("grantee")),
                "retiring_principal": self._principal(table.text("retiring")), "constraints": context or None,
            }
            grant_id = table.text("id", _GRANT_ID, "64 hexadecimal digits")
            drawn = None if grant_id is None else base64.urlsafe_b64encode(bytes.fromhex(grant_id)).decode()[:-1]
            yield self._step("CreateGrant", values, where=table.where, fixed=Fixed(secret=drawn))

    def _state(self) -> Iterator[Step]:
        table = self._table
        state = table.text("state", _STATE, ", ".join(_STATES)) or KeyState.ENABLED
        days = table.number("deletion_days")
        operation, values = _STATES[KeyState(state)], dict(self._named())
        if days is not None:
            if state != KeyState.PENDING_DELETION:
                raise ConfigurationError(f"{table.place('deletion_days')} is for keys of state PendingDeletion")
            values["pending_window_in_days"] = days
        if operation is not None:
            yield self._step(operation, values)

    def _named(self) -> dict[str, Any]:
        return {"key_id": self._id}

    def _principal(self, name: str | None) -> str | None:
        """An ARN as it is; `root`, `user/…` and `role/…` as those of the key's account."""
        if name is None or name.startswith("arn:"):
            return name
        prefix = root_arn(self._around.partition, self._account).removesuffix("root")
        return f"{prefix}{name}"

    def _step(self, operation: str, values: dict[str, Any], *, where: str | None = None, **more: Any) -> Step:
        present = {name: value for name, value in values.items() if value is not None}
        return Step(
            where=where or self._table.where, operation=operation, values=present, account=self._account,
            region=self._region, **more,
        )


def _material(where: str, text: str) -> bytes:
    """Bytes from base64, or from the PEM of PKCS#8. Whether they are a key of the spec is for the key store to say."""
    pem = _PEM.fullmatch(text)
    body = re.sub(r"\s", "", text if pem is None else pem[1])
    try:
        material = base64.b64decode(body, validate=True)
    except binascii.Error:
        material = b""
    if not 1 <= len(material) <= _MATERIAL_MAX:
        raise ConfigurationError(f"{where} must be key material in base64, or private keys in PEM (PKCS#8)")
    return material
