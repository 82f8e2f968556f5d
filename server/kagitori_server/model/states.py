"""Which key states an operation accepts, and what it answers for the others (AWS "Key states of AWS KMS keys")."""

from __future__ import annotations

from enum import Enum

from kagitori_server.model.errors import DisabledException, KmsError, KMSInvalidStateException
from kagitori_server.model.keys import Key, KeyState

_EVERY = frozenset(KeyState)
_DYING = frozenset({KeyState.PENDING_DELETION, KeyState.PENDING_REPLICA_DELETION})


class StateRule(Enum):
    """The states in which an operation works."""

    ANY = _EVERY
    LIVE = _EVERY - _DYING
    """Any but pending deletion."""
    USABLE = frozenset({KeyState.ENABLED, KeyState.UPDATING})
    """Cryptographic operations."""
    REPLICABLE = frozenset({KeyState.ENABLED})
    """ReplicateKey."""
    GRANTING = frozenset({KeyState.ENABLED, KeyState.UPDATING, KeyState.UNAVAILABLE})
    """CreateGrant: it needs a key that is or will again be usable, not its material."""
    SWITCHABLE = frozenset({KeyState.ENABLED, KeyState.DISABLED, KeyState.UNAVAILABLE})
    """EnableKey and DisableKey."""
    SCHEDULABLE = _EVERY - _DYING - {KeyState.UPDATING}
    """ScheduleKeyDeletion."""
    IMPORTABLE = frozenset({KeyState.ENABLED, KeyState.DISABLED, KeyState.PENDING_IMPORT, KeyState.UPDATING})
    """ImportKeyMaterial."""
    IMPORT_PREPARABLE = frozenset({KeyState.ENABLED, KeyState.DISABLED, KeyState.PENDING_IMPORT})
    """GetParametersForImport."""
    EMPTIABLE = frozenset({KeyState.ENABLED, KeyState.DISABLED, KeyState.PENDING_IMPORT}) | _DYING
    """DeleteImportedKeyMaterial."""
    CANCELLABLE = _DYING
    """CancelKeyDeletion."""

    def refusal(self, key: Key) -> KmsError | None:
        """None when `key` may be used, else the exception that AWS answers for its state."""
        if key.state in self.value:
            return None
        if self is StateRule.CANCELLABLE:
            return KMSInvalidStateException(f"{key.arn} is not pending deletion.")
        if key.state is KeyState.DISABLED:
            return DisabledException(f"{key.arn} is disabled.")
        return KMSInvalidStateException(f"{key.arn} {_PHRASES[key.state]}.")


_PHRASES = {
    KeyState.ENABLED: "is enabled",
    KeyState.PENDING_DELETION: "is pending deletion",
    KeyState.PENDING_REPLICA_DELETION: "is pending deletion",
    KeyState.PENDING_IMPORT: "is pending import",
    KeyState.UNAVAILABLE: "is unavailable",
    KeyState.CREATING: "is creating",
    KeyState.UPDATING: "is updating",
}
