"""A server process that offers keys as external keys, and a key store of another deployment that uses them."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.keystore_parts import Workshop
from tests.support.server_process import ServerProcess
from tests.support.whole_server import Caller

from kagitori_keystore.xks import XksKeyStore, XksSettings, open_proxy

PREFIX = "/example"
PATH = f"{PREFIX}/kms/xks/v1"
OFFERED = {"ext-1": "alias/external", "ext-2": "alias/other", "gone": "alias/gone", "rsa": "alias/rsa"}
ALLOW = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"}]}'
SLOW = 10.0
"""Seconds that a call may take in tests: the machine is busy with others."""


@dataclass
class Proxy:
    """A running proxy and an access key for it."""

    server: ServerProcess
    call: Caller
    access_key_id: str
    secret: str
    keys: dict[str, str]
    """External id -> key id."""

    @property
    def endpoint(self) -> str:
        """As AWS's XksProxyUriEndpoint, with a port."""
        return f"https://localhost:{self.server.addresses['xks_proxy'].rpartition(':')[2]}"

    @property
    def ca_file(self) -> Path:
        """The authority of its certificate."""
        return self.server.data / "tls" / "ca.crt"

    def settings(self, **changed: Any) -> XksSettings:
        """What a client is given."""
        given: dict[str, Any] = {
            "uri_endpoint": self.endpoint, "uri_path": PATH, "access_key_id": self.access_key_id,
            "ca_file": self.ca_file, "deadline_seconds": SLOW,
        }
        return XksSettings(**given | changed)

    def user(self, name: str, policy: str | None = ALLOW) -> tuple[str, str]:
        """Makes a user. Returns its access key's id and secret."""
        arn = self.call("CreateUser", user_name=name).user.arn
        if policy is not None:
            self.call("PutIdentityPolicy", principal_arn=arn, policy_name="p", policy_document=policy)
        made = self.call("CreateAccessKey", principal_arn=arn)
        return made.access_key.access_key_id, made.secret_access_key


def opened(settings: XksSettings, secret: str, shop: Workshop, *, skew: float = 0.0) -> XksKeyStore:
    """A store over a proxy, its inner cipher the software store of `shop`; `skew` is what its clock is ahead."""
    return open_proxy(
        settings, secret.encode(), inner=shop.store, random=os.urandom, request_ids=lambda: str(uuid.uuid4()),
        clock=lambda: time.time() + skew, monotonic=time.monotonic,
    )


@contextmanager
def running_proxy(folder: Path, *arguments: str) -> Iterator[Proxy]:
    """Starts a server with four keys and a user who may use them."""
    offered = ",".join(f"{name}={key}" for name, key in OFFERED.items())
    with ServerProcess(
        folder, "--xks-proxy-listen", "127.0.0.1:0", "--set", f"xks_proxy.path_prefix={PREFIX}",
        "--set", f"xks_proxy.keys={offered}", *arguments,
    ) as server, server.channel() as channel:
        call = Caller(channel)
        keys = {}
        for name, alias in OFFERED.items():
            if name == "gone":
                continue
            made = call("CreateKey", **(_rsa() if name == "rsa" else {}))
            keys[name] = made.key_metadata.key_id
            call("CreateAlias", alias_name=alias, target_key_id=keys[name])
        proxy = Proxy(server, call, "", "", keys)
        proxy.access_key_id, proxy.secret = proxy.user("proxy-user")
        yield proxy


def _rsa() -> dict[str, Any]:
    return {"key_spec": "KEY_SPEC_RSA_2048", "key_usage": "KEY_USAGE_ENCRYPT_DECRYPT"}
