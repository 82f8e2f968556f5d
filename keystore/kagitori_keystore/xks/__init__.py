"""External key stores: keys held by an external key manager behind an XKS proxy (AWS KMS External Key Store Proxy
API, version 1)."""

from kagitori_keystore.xks.errors import ExternalKeyUnknown, ExternalKeyUnusable, ProxyFault, ProxyLost, ProxyTooSlow
from kagitori_keystore.xks.settings import XksSettings
from kagitori_keystore.xks.store import InnerCipher, XksKeyStore, external_key_id, open_proxy

__all__ = [
    "ExternalKeyUnknown",
    "ExternalKeyUnusable",
    "InnerCipher",
    "ProxyFault",
    "ProxyLost",
    "ProxyTooSlow",
    "XksKeyStore",
    "XksSettings",
    "external_key_id",
    "open_proxy",
]
