"""GetServerStatus, ListKeyStoreHealth and RotateRootKey."""

from __future__ import annotations

from kagitori_keystore.base import StoreKind
from kagitori_server.model.custom_key_stores import DEFAULT_STORE
from kagitori_server.operations.context import Context
from kagitori_server.operations.shapes import service as shapes
from kagitori_server.storage.reader import Reader

_PAGE = 1_000
_PROBE_SECONDS = 5.0


def get_server_status(context: Context, _request: shapes.NoMembers) -> shapes.GetServerStatusResponse:
    """Describes the process that answers, and the catalog it shares with others."""
    services, administration = context.services, context.services.administration
    with services.catalog.read() as reader:
        accounts = _accounts(reader)
        keys = sum(reader.count_keys(account, region) for account in accounts for region in services.regions)
    return shapes.GetServerStatusResponse(
        version=administration.server.version,
        uptime=administration.uptime(),
        region=administration.server.default_region,
        account_count=len(accounts),
        key_count=keys,
        root_key_provider=administration.root_key.provider,
        root_key_id=administration.root_key.current_version(),
        catalog_kind=services.catalog.kind,
        catalog_schema_revision=services.catalog.schema_revision,
        audit_positions=tuple(
            shapes.AuditPosition(
                chain_name=position.chain, sequence=position.seq, head_hash=bytes.fromhex(position.head)
            )
            for position in administration.audit.positions()
        ),
        operations=tuple(sorted(administration.server.operations)),
    )


def list_key_store_health(context: Context, _request: shapes.NoMembers) -> shapes.ListKeyStoreHealthResponse:
    """Uses every key store once, all at a time, and tells how it went."""
    probed = [
        shapes.KeyStoreHealth(
            key_store_id="software" if store_id == DEFAULT_STORE and kind is StoreKind.SOFTWARE else store_id,
            kind=kind.name.lower(),
            healthy=not detail,
            detail=detail,
            latency=seconds,
        )
        for store_id, kind, detail, seconds in context.services.stores.probe(_PROBE_SECONDS)
    ]
    return shapes.ListKeyStoreHealthResponse(key_stores=tuple(sorted(probed, key=lambda found: found.key_store_id)))


def rotate_root_key(context: Context, _request: shapes.NoMembers) -> shapes.RotateRootKeyResponse:
    """Makes a new version of the root key and rewraps everything under it; keys and ciphertexts stay."""
    done = context.services.administration.root_key.rotate()
    return shapes.RotateRootKeyResponse(
        previous_root_key_id=done.previous, root_key_id=done.current, rewrapped_count=done.rewrapped
    )


def _accounts(reader: Reader) -> list[str]:
    found: list[str] = []
    while page := reader.list_accounts(found[-1] if found else "", _PAGE):
        found += [account.account for account in page]
    return found
