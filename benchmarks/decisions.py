"""How long a decision takes, as the service makes it: from an admitted request to allowed or not.

Measured in this process on the records of the deployment's own catalog, by the functions that the pipeline calls:
the question is built, put to the policies and, where they don't allow, to the grants. All is warm: policies are
compiled, records are kept, as for every call but the first after a change. Nothing of the decisions themselves is
remembered here, since they depend on the request (conditions).
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from benchmarks.governed import GOVERNED_CONTEXT, REGION
from kagitori_server.asking import question
from kagitori_server.authn.authenticator import Authenticator
from kagitori_server.authz.authorizer import Authorizer
from kagitori_server.model.call import Evidence, TlsFacts
from kagitori_server.model.keys import Key
from kagitori_server.operations.context import Context, Services
from kagitori_server.operations.shapes.crypto import EncryptRequest
from kagitori_server.operations.table import ENCRYPT
from kagitori_server.storage.catalog import open_catalog

_ROUND = 200


def decision_seconds(catalog_file: Path, certificate: bytes, key_id: str, rounds: int = 25) -> float:
    """Median processor seconds (it never waits) of the decision whether the certificate's user may encrypt with that
    key; it must be allowed."""
    catalog = open_catalog(catalog_file, monotonic=time.monotonic)
    try:
        catalog.view.prove_blocking()
        key = catalog.view.key(REGION, key_id)
        if key is None:
            raise SystemExit("a key of the benchmark is missing")
        evidence = Evidence(
            certificate=certificate, source_ip="127.0.0.1", user_agent="benchmark", tls=TlsFacts("TLSv1.3", "-")
        )
        caller = Authenticator(time.time, "aws", None).authenticate(evidence, catalog.view)
        request = EncryptRequest(key_id=key_id, plaintext=b"x" * 1024, encryption_context=GOVERNED_CONTEXT)
        context = Context(
            operation=ENCRYPT, caller=caller, request=request, evidence=evidence, account=caller.account,
            region=REGION, services=cast("Services", SimpleNamespace(catalog=catalog)),  # no more has a part in it
            now=time.time(), lookup=catalog.view,
        )
        authorizer = Authorizer()
        if not _allowed(context, authorizer, key):
            raise SystemExit("the decision of the benchmark is not to allow")
        context.lookup = catalog.view.kept  # as in the event loop, now that all is there
        times = []
        for _ in range(rounds):
            started = time.thread_time()
            for _ in range(_ROUND):
                _allowed(context, authorizer, key)
            times.append((time.thread_time() - started) / _ROUND)
        return statistics.median(times)
    finally:
        catalog.close()


def _allowed(context: Context, authorizer: Authorizer, key: Key) -> bool:
    """As the pipeline asks for the one permission of Encrypt."""
    permission, slot = ENCRYPT.permissions[0], ENCRYPT.keys[0]
    asked = question(context, permission, slot, key, key.account)
    decision = authorizer.on_key(asked, key, cross_account=ENCRYPT.cross_account)
    if not decision.allowed and not decision.explicit_deny:
        decision = authorizer.by_grant(
            asked, key, context.lookup, None, cross_account=ENCRYPT.cross_account
        ) or decision
    return decision.allowed
