"""`kagitori keystore`: tokens and external key managers that hold the material of keys."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from kagitori.kms.v1.custom_key_stores_pb2 import (
    ConnectCustomKeyStoreRequest,
    CreateCustomKeyStoreRequest,
    CustomKeyStoresListEntry,
    DeleteCustomKeyStoreRequest,
    DescribeCustomKeyStoresRequest,
    DisconnectCustomKeyStoreRequest,
    UpdateCustomKeyStoreRequest,
    XksProxyAuthenticationCredential,
)
from kagitori.kms.v1.operation_pb2 import CheckCustomKeyStoreRequest
from kagitori.kms.v1.resources_pb2 import (
    CONNECTION_STATE_CONNECTING,
    CONNECTION_STATE_DISCONNECTING,
    CONNECTION_STATE_FAILED,
    CUSTOM_KEY_STORE_TYPE_EXTERNAL_KEY_STORE,
    XKS_PROXY_CONNECTIVITY_PUBLIC_ENDPOINT,
    ConnectionErrorCode,
)
from kagitori_client.cli.failures import Unhealthy, UsageError
from kagitori_client.cli.files import read_document, read_secret
from kagitori_client.cli.session import Session, command
from kagitori_client.client import pages

app = typer.Typer(help="Keep the material of keys in HSMs or external key managers.", no_args_is_help=True)

Store = Annotated[str, typer.Argument(metavar="STORE", help="Id of the key store, cks-…, or its name.")]
_WAITING = (CONNECTION_STATE_CONNECTING, CONNECTION_STATE_DISCONNECTING)
_LOOK_SECONDS = 0.2
_COLUMNS = [
    "custom_key_store_id", "custom_key_store_name", "custom_key_store_type", "connection_state",
    "connection_error_code", "cloud_hsm_cluster_id",
]
_ID_PREFIX = "cks-"
_SECRET_MAX = 4_096

Password = Annotated[
    str, typer.Option("--password-file", help="File with the user PIN of the token; - for stdin.", metavar="FILE")
]
Cluster = Annotated[str, typer.Option(help="The token, by its section in the server's configuration.")]
Endpoint = Annotated[str, typer.Option("--proxy", help="The proxy, such as https://xks.example.", metavar="URL")]
Path = Annotated[str, typer.Option("--proxy-path", help="Path of its API, ending in /kms/xks/v1.", metavar="PATH")]
AccessKeyId = Annotated[str, typer.Option("--access-key-id", help="Id of the credential for the proxy.")]
SecretFile = Annotated[
    str, typer.Option("--secret-file", help="File with the credential's secret; - for stdin.", metavar="FILE")
]


@command(
    app, "create-hsm",
    epilog="Example: kagitori keystore create-hsm vault cluster-2abcdefghij --password-file pin --trust-anchor ca.pem",
)
def create_hsm(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new key store.")],
    cluster: Annotated[str, typer.Argument(metavar="CLUSTER", help="The token: cluster-… in the configuration.")],
    password_file: Password,
    trust_anchor: Annotated[str, typer.Option(help="A certificate (PEM) to keep with it.", metavar="FILE")],
) -> None:
    """Make a key store on a PKCS#11 token. Connecting it changes the token's user PIN."""
    request = CreateCustomKeyStoreRequest(
        custom_key_store_name=name, cloud_hsm_cluster_id=cluster, key_store_password=_secret(password_file, "PIN"),
        trust_anchor_certificate=read_document(trust_anchor),
    )
    _made(session, request)


@command(
    app, "create-xks",
    epilog="Example: kagitori keystore create-xks outside --proxy https://xks.example --proxy-path /kms/xks/v1 "
    "--access-key-id ID --secret-file secret",
)
def create_xks(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new key store.")],
    proxy: Endpoint,
    proxy_path: Path,
    access_key_id: AccessKeyId,
    secret_file: SecretFile,
) -> None:
    """Make a key store behind a proxy that speaks AWS's XKS protocol."""
    request = CreateCustomKeyStoreRequest(
        custom_key_store_name=name,
        custom_key_store_type=CUSTOM_KEY_STORE_TYPE_EXTERNAL_KEY_STORE,
        xks_proxy_connectivity=XKS_PROXY_CONNECTIVITY_PUBLIC_ENDPOINT,
        xks_proxy_uri_endpoint=proxy,
        xks_proxy_uri_path=proxy_path,
        xks_proxy_authentication_credential=_credential(access_key_id, secret_file),
    )
    _made(session, request)


@command(app, "list")
def list_(session: Session) -> None:
    """List the key stores of the account and Region."""
    every = pages(session.client.keys.DescribeCustomKeyStores, DescribeCustomKeyStoresRequest())
    session.records("custom_key_stores", [each for page in every for each in page.custom_key_stores], _COLUMNS)


@command(app, "show")
def show(session: Session, store: Store) -> None:
    """Show a key store."""
    session.record(_found(session, store))


@command(app, "connect")
def connect(
    session: Session,
    store: Store,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Come back when it is connected, or not.")] = True,
) -> None:
    """Connect a key store, so that its keys can be used; exit code 1 if that fails."""
    store_id = _found(session, store).custom_key_store_id
    session.client.keys.ConnectCustomKeyStore(ConnectCustomKeyStoreRequest(custom_key_store_id=store_id))
    _finish(session, store_id, wait=wait)


@command(app, "disconnect")
def disconnect(
    session: Session,
    store: Store,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Come back when it is disconnected.")] = True,
) -> None:
    """Disconnect a key store. Its keys are unavailable until it is connected again."""
    store_id = _found(session, store).custom_key_store_id
    session.client.keys.DisconnectCustomKeyStore(DisconnectCustomKeyStoreRequest(custom_key_store_id=store_id))
    _finish(session, store_id, wait=wait)


@command(app, "update", epilog="Example: kagitori keystore update vault --password-file pin")
def update(
    session: Session,
    store: Store,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    password_file: Password | None = None,
    cluster: Cluster | None = None,
    proxy: Endpoint | None = None,
    proxy_path: Path | None = None,
    access_key_id: AccessKeyId | None = None,
    secret_file: SecretFile | None = None,
) -> None:
    """Change a key store, which has to be disconnected for most changes.

    The password is the PIN that the token's user has now, after its officer has set it.
    """
    if (access_key_id is None) != (secret_file is None):
        raise UsageError("--access-key-id and --secret-file go together")
    request = UpdateCustomKeyStoreRequest(
        custom_key_store_id=_found(session, store).custom_key_store_id,
        new_custom_key_store_name=name,
        key_store_password=None if password_file is None else _secret(password_file, "PIN"),
        cloud_hsm_cluster_id=cluster,
        xks_proxy_uri_endpoint=proxy,
        xks_proxy_uri_path=proxy_path,
        xks_proxy_authentication_credential=None if secret_file is None or access_key_id is None
        else _credential(access_key_id, secret_file),
    )
    session.client.keys.UpdateCustomKeyStore(request)
    session.done(f"{request.custom_key_store_id} is changed", custom_key_store_id=request.custom_key_store_id)


@command(app, "delete")
def delete(session: Session, store: Store) -> None:
    """Forget a key store that is disconnected and has no keys. The token or manager is left as it is."""
    store_id = _found(session, store).custom_key_store_id
    session.client.keys.DeleteCustomKeyStore(DeleteCustomKeyStoreRequest(custom_key_store_id=store_id))
    session.done(f"{store_id} is deleted", custom_key_store_id=store_id)


@command(app, "check")
def check(session: Session, store: Store) -> None:
    """Compare a token with the keys that are in it; exit code 1 if one lacks something of the other.

    Nothing is changed. Orphaned objects belong to no key; keys whose objects are missing can't be used.
    """
    store_id = store if store.startswith(_ID_PREFIX) else _found(session, store).custom_key_store_id
    answer = session.client.admin.CheckCustomKeyStore(CheckCustomKeyStoreRequest(custom_key_store_id=store_id))
    if session.as_json:
        session.record(answer)
    else:
        session.done(
            f"{answer.object_count} objects, {answer.orphaned_count} orphaned; {answer.missing_count} missing"
        )
        if answer.orphaned:
            session.records("orphaned", answer.orphaned, ["object_id", "kind", "label"])
        if answer.missing:
            session.records("missing", answer.missing, ["key_arn", "key_material_id", "object_id"])
    if answer.orphaned_count or answer.missing_count:
        raise Unhealthy(
            f"key store {store_id} has {answer.orphaned_count} orphaned objects, and {answer.missing_count} are missing"
        )


def _made(session: Session, request: CreateCustomKeyStoreRequest) -> None:
    store_id = session.client.keys.CreateCustomKeyStore(request).custom_key_store_id
    session.done(f"{store_id} is made; connect it to use it", custom_key_store_id=store_id)


def _found(session: Session, store: str) -> CustomKeyStoresListEntry:
    by_id = store.startswith(_ID_PREFIX)
    request = DescribeCustomKeyStoresRequest(
        custom_key_store_id=store if by_id else None, custom_key_store_name=None if by_id else store
    )
    return session.client.keys.DescribeCustomKeyStores(request).custom_key_stores[0]


def _finish(session: Session, store_id: str, *, wait: bool) -> None:
    found = _found(session, store_id)
    while wait and found.connection_state in _WAITING:
        time.sleep(_LOOK_SECONDS)
        found = _found(session, store_id)
    session.record(found)
    if found.connection_state == CONNECTION_STATE_FAILED:
        code = ConnectionErrorCode.Name(found.connection_error_code).removeprefix("CONNECTION_ERROR_CODE_")
        raise Unhealthy(f"key store {store_id} could not be connected: {code}")


def _secret(name: str, what: str) -> str:
    """The one line of a file, so that no secret is on a command line."""
    try:
        return read_secret(name, _SECRET_MAX, what).decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        # Not chained: the decoding error holds the bytes.
        raise UsageError(f"{name} is not UTF-8 text") from None


def _credential(access_key_id: str, secret_file: str) -> XksProxyAuthenticationCredential:
    return XksProxyAuthenticationCredential(
        access_key_id=access_key_id, raw_secret_access_key=_secret(secret_file, "secret")
    )
