"""What forgets when the catalog changes, in whichever process: listeners to the view."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kagitori_keystore.base import KeyStore
from kagitori_server.authn.signatures import Signatures
from kagitori_server.storage.changes import Change, ChangeKind


def forgetting(store: KeyStore) -> Callable[[Sequence[Change] | None], None]:
    """A listener to the view that lets `store` forget what it has opened of keys that changed, in any process."""

    def changed(changes: Sequence[Change] | None) -> None:
        for change in changes or ():
            if change.kind is ChangeKind.KEY:
                _, key_id = change.parts()
                store.forget(key_id)

    return changed


def forgetting_access_keys(signatures: Signatures) -> Callable[[Sequence[Change] | None], None]:
    """A listener to the view that lets `signatures` forget what it keeps of access keys that changed or ended."""

    def changed(changes: Sequence[Change] | None) -> None:
        if changes is None:
            signatures.forget(None)
        for change in changes or ():
            if change.kind is ChangeKind.ACCESS_KEY:
                signatures.forget(change.parts()[0])

    return changed
