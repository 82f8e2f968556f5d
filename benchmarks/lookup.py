"""`python -m benchmarks.lookup`: how long the trail takes to be indexed, how large that is, and how fast look-ups are.

Writes a trail of calls as a service with many users, keys and tenants has them, indexes it, and looks things up that
are in one record, in few, in half of them, and in none, with and without time bounds. Times are of the wall; of
building, of the processor.

Options: --records N (default 2000000), --folder DIR to keep the trail, or to use one that was kept.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from kagitori_server.audit.chain import chain_name, format_line, genesis, line_hash, segment_name
from kagitori_server.audit.identity import IdentityType, render_identity
from kagitori_server.audit.indexing import Indexer, Indexes
from kagitori_server.audit.lookup import LookupPage, LookupQuery, lookup_events
from kagitori_server.audit.matching import Filter, LookupKey, context_pair
from kagitori_server.audit.record import CallFacts, Resource, render_record
from kagitori_server.audit.trail import open_trail
from kagitori_server.model.call import TlsFacts

ACCOUNT = "111122223333"
START = 1_700_000_000
PER_SECOND = 20
SEGMENT_BYTES = 64 * 1024 * 1024
USERS, KEYS, TENANTS, ADDRESSES = 200, 1_000, 5_000, 300
NAMES = ("Encrypt", "Decrypt", "Decrypt", "Decrypt", "GenerateDataKey", "GenerateDataKey", "DescribeKey", "Sign")


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = options.folder or Path(temporary)
        if not (root / chain_name(0)).exists():
            write_trail(root, options.records)
        measure(root, options.records)


def measure(root: Path, records: int) -> None:
    """Indexes and looks up."""
    trail_bytes = sum(path.stat().st_size for path in root.rglob("*.jsonl"))
    print(f"{records:,} records of {trail_bytes / records:.0f} bytes")
    indexes = Indexes(root)
    trail = open_trail(root)
    try:
        began, cpu = time.perf_counter(), time.process_time()
        Indexer(root, trail, indexes, lambda: None).run_once()
        millions = records / 1e6
        spent, seconds = (time.process_time() - cpu) / millions, (time.perf_counter() - began) / millions
        print(f"built: {spent:.1f} s of CPU and {seconds:.1f} s per million records")
    finally:
        trail.close()
    size = sum(path.stat().st_size for path in (root / "index").rglob("*"))
    print(f"size: {size / millions / 1e6:.0f} MB per million records, {size / trail_bytes:.1%} of the trail")
    for name, query in queries(records):
        print(f"{name:<52} {timed(root, query, indexes)}")


def timed(root: Path, query: LookupQuery, indexes: Indexes) -> str:
    """How long the first page takes, or all that come before the first record if pages are empty."""
    times = []
    calls = 0
    page = LookupPage((), None)
    for _ in range(5):
        began = time.perf_counter()
        asked, calls = query, 0
        while True:
            page = lookup_events(root, asked, indexes=indexes)
            calls += 1
            if page.events or page.next_token is None:
                break
            asked = replace(query, next_token=page.next_token)
        times.append((time.perf_counter() - began) * 1e3)
    return f"{statistics.median(times):8.1f} ms (first {times[0]:8.1f}), {len(page.events):2} records, {calls} calls"


def queries(records: int) -> Iterator[tuple[str, LookupQuery]]:
    """What is looked up, with a name."""
    def asked(*filters: Filter, start: float | None = None, end: float | None = None) -> LookupQuery:
        return LookupQuery(ACCOUNT, filters=filters, start_time=start, end_time=end)

    last = START + records // PER_SECOND
    tenant = (LookupKey.ENCRYPTION_CONTEXT, context_pair("tenant", "t17"))
    decrypts = (LookupKey.EVENT_NAME, "Decrypt")
    yield "nothing: the newest", asked()
    yield "one record: event id of the oldest", asked((LookupKey.EVENT_ID, str(UUID(int=0))))
    yield "few: an encryption context", asked(tenant)
    yield "few: an error code", asked((LookupKey.ERROR_CODE, "DisabledException"))
    yield "some: a user", asked((LookupKey.USERNAME, "user-7"))
    yield "many: an operation", asked(decrypts)
    yield "all: read-only", asked((LookupKey.READ_ONLY, "true"))
    yield "user and operation", asked((LookupKey.USERNAME, "user-7"), decrypts)
    yield "failures of a user on a key", asked(
        (LookupKey.USERNAME, "user-7"), (LookupKey.OUTCOME, "failure"), (LookupKey.KEY, "key-12")
    )
    yield "operation, address, tenant, success", asked(
        decrypts, (LookupKey.SOURCE_IP_ADDRESS, "10.0.0.9"), tenant, (LookupKey.OUTCOME, "success")
    )
    yield "none: no such value", asked((LookupKey.USERNAME, "nobody"))
    yield "none: two ids that aren't together", asked(
        (LookupKey.EVENT_ID, str(UUID(int=5))), (LookupKey.REQUEST_ID, str(UUID(int=2**64 + 6)))
    )
    yield "none: two users at once", asked((LookupKey.USERNAME, "user-7"), (LookupKey.USERNAME, "user-8"))
    yield "none: half and half", asked((LookupKey.EVENT_NAME, "Decrypt"), (LookupKey.EVENT_NAME, "GenerateDataKey"))
    yield "an hour in the middle", asked(start=(START + last) / 2, end=(START + last) / 2 + 3_600)
    yield "an operation in the oldest hour", asked(decrypts, end=START + 3_600)
    yield "none: a user in the oldest minute", asked((LookupKey.USERNAME, "nobody"), end=START + 60)


def write_trail(root: Path, records: int) -> None:
    """One chain, with the same calls whenever it is made."""
    folder = root / chain_name(0)
    folder.mkdir(parents=True)
    head = genesis(folder.name)
    lines: list[bytes] = []
    size = segment = 0
    for number, event in enumerate(calls(records), 1):
        line = format_line(number, head, event)
        head = line_hash(line)
        lines.append(line)
        size += len(line) + 1
        if size > SEGMENT_BYTES or number == records:
            segment += 1
            (folder / segment_name(segment)).write_bytes(b"\n".join(lines) + b"\n")
            lines, size = [], 0


def calls(records: int, account: str = ACCOUNT, arns: Sequence[str] | None = None) -> Iterator[bytes]:
    """Records as the service writes them; one in a hundred is of a call that failed, others differ by everything. The
    keys are those of `arns`, or made up."""
    arns = arns or [f"arn:aws:kms:us-east-1:{account}:key/key-{key}" for key in range(KEYS)]
    chance = random.Random(1)
    identities = [
        render_identity(
            IdentityType.IAM_USER, principal_id=f"AIDA{user:016}", arn=f"arn:aws:iam::{account}:user/user-{user}",
            account_id=account, access_key_id=f"AKIA{user:016}", user_name=f"user-{user}",
        )
        for user in range(USERS)
    ]
    tls = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", "kms.example.net:7700")
    keys = [Resource(account, arn) for arn in arns]
    for number in range(records):
        failed = chance.random() < 0.01
        key = keys[int(len(keys) * chance.random() ** 2)]
        yield render_record(CallFacts(
            event_id=str(UUID(int=number)), request_id=str(UUID(int=number + 2**64)),
            event_time=START + number // PER_SECOND, event_name=chance.choice(NAMES), region="us-east-1",
            user_identity=identities[int(USERS * chance.random() ** 2)],
            source_ip=f"10.0.0.{chance.randrange(ADDRESSES)}",
            user_agent="grpc-python/1.76.0 grpc-c/51.0.0 (linux; chttp2)", read_only=True, recipient_account=account,
            request_parameters={
                "key_id": key.arn, "encryption_algorithm": "SYMMETRIC_DEFAULT",
                "encryption_context": {"tenant": f"t{int(TENANTS * chance.random() ** 2)}"},
            },
            resources=(key,), tls=tls,
            error_code=chance.choice(("AccessDenied", "DisabledException")) if failed else None,
            error_message="It was refused." if failed else None,
        ))


if __name__ == "__main__":
    main()
