"""Every change to what was delivered is found and named, those that AWS's validator passes over among them."""

from __future__ import annotations

import copy
import gzip
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.support.delivering import DESCRIPTION, Deliverer, objects
from tests.support.inprocess import HOME, REGION, InProcess
from tests.support.kms_calls import DAY, OTHER, new_key

from kagitori_server.delivery.checking import DeliveryReport, Known, check_delivery, known_of
from kagitori_server.delivery.digest_form import make_digest, string_to_sign
from kagitori_server.delivery.directory import METADATA_ENDING, DirectoryDestination
from kagitori_server.model.delivery_records import Consignment, DigestChain
from kagitori_server.operations.digest_keys import fingerprint, pkcs1
from kagitori_server.service_keys import KeyPurpose, SigningKey


class Delivered:
    """A folder with some hours of a service in two Regions and two accounts, and what a check says of it."""

    def __init__(self, folder: Path) -> None:
        (folder / "service").mkdir()
        self.out = folder / "out"
        self.out.mkdir()
        self.service = InProcess(folder / "service")
        tenant = self.service.new_account(OTHER)
        self.deliverer = Deliverer(self.service, DirectoryDestination(self.out))
        for _ in range(3):
            for region in (REGION, "eu-west-1"):
                self.service.call("CreateKey", region=region)
            self.service.call("CreateKey", token=tenant)
            self.deliverer.hours(2)
        self.known: Known = known_of(self.service.catalog)

    def check(self, known: Known | None = None) -> DeliveryReport:
        return check_delivery(
            DirectoryDestination(self.out), DESCRIPTION, lambda: known or self.known, self.service.audit_folder
        )

    def found(self, known: Known | None = None) -> set[str]:
        """What is wrong, without where."""
        return {problem.description for problem in self.check(known).problems}

    def logs(self, region: str = REGION) -> list[Path]:
        return sorted(self.out.glob(f"audit/AWSLogs/{HOME}/CloudTrail/{region}/**/*.json.gz"))

    def digests(self, region: str = REGION) -> list[Path]:
        """Of the home account, oldest first."""
        return sorted(self.out.glob(f"audit/AWSLogs/{HOME}/CloudTrail-Digest/{region}/**/*.json.gz"))

    def signer(self) -> SigningKey:
        return self.deliverer.keys.current(KeyPurpose.AUDIT_DIGEST)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Delivered]:
    delivered = Delivered(tmp_path_factory.mktemp("original"))
    with delivered.service:
        yield delivered


@pytest.fixture
def here(original: Delivered, tmp_path: Path) -> Delivered:
    """With files of its own, over the same service."""
    mine = copy.copy(original)
    mine.out = tmp_path / "out"
    shutil.copytree(original.out, mine.out)
    return mine


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Delivered]:
    """With a service of its own."""
    delivered = Delivered(tmp_path)
    with delivered.service:
        yield delivered


def read(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


def beside(path: Path) -> Path:
    return path.with_name(path.name + METADATA_ENDING)


def rewrite(path: Path, change: Callable[[dict[str, Any]], None], sign: Callable[[bytes], bytes] | None = None) -> None:
    """Changes a digest and, with `sign`, signs it anew."""
    members = json.loads(read(path))
    change(members)
    text = json.dumps(members, separators=(",", ":")).encode()
    path.write_bytes(gzip.compress(text))
    if sign is not None:
        signed = string_to_sign(
            members["digestEndTime"], members["digestS3Bucket"], members["digestS3Object"], text,
            members["previousDigestSignature"],
        )
        metadata = json.loads(beside(path).read_text())
        beside(path).write_text(json.dumps({**metadata, "signature": sign(signed).hex()}))


def test_all_is_sound_as_it_was_delivered(here: Delivered) -> None:
    report = here.check()
    assert report.problems == []
    assert report.sound
    assert report.records == len(here.service.records())
    assert report.digests == sum(chain.number for chain in here.known.digests)
    assert report.log_files == len(objects(here.out))


def test_it_stays_sound_over_keys_and_stops(alone: Delivered) -> None:
    service = alone.service
    new_key(service)
    alone.deliverer.deliver()
    alone.known = known_of(service.catalog)
    report = alone.check()
    assert (report.problems, report.pending) == ([], 1)
    service.clock.advance(100 * DAY)
    alone.deliverer.hours(1)
    service.clock.advance(20 * DAY)
    alone.deliverer.running.finish(60)
    assert len(known_of(service.catalog).keys) == 2
    alone.known = known_of(service.catalog)
    assert alone.check().problems == []


def altered_log(here: Delivered) -> None:
    here.logs()[1].write_bytes(gzip.compress(read(here.logs()[1]).replace(b"CreateKey", b"ListKeys")))


def missing_log(here: Delivered) -> None:
    here.logs()[1].unlink()


def reordered_log(here: Delivered) -> None:
    records = json.loads(read(here.logs()[0]))["Records"]
    assert len(records) > 1
    text = json.dumps({"Records": records[::-1]}, separators=(",", ":")).encode()
    here.logs()[0].write_bytes(gzip.compress(text))


def swapped_logs(here: Delivered) -> None:
    one, two = here.logs()[:2]
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)


def log_with_a_second_member(here: Delivered) -> None:
    with here.logs()[1].open("ab") as file:
        file.write(gzip.compress(b""))


def cut_log(here: Delivered) -> None:
    here.logs()[1].write_bytes(here.logs()[1].read_bytes()[:-9])


def added_log(here: Delivered) -> None:
    path = here.logs()[1]
    path.with_name(path.name.replace("Z_", "Z_AAAA")[:-12] + ".json.gz").write_bytes(path.read_bytes())


def altered_digest(here: Delivered) -> None:
    rewrite(here.digests()[1], lambda members: members["logFiles"].clear())


def missing_digest(here: Delivered) -> None:
    here.digests()[1].unlink()


def missing_newest_digest(here: Delivered) -> None:
    here.digests()[-1].unlink()


def moved_digest(here: Delivered) -> None:
    one, two = here.digests()[1:3]
    two.write_bytes(one.read_bytes())
    beside(two).write_bytes(beside(one).read_bytes())


def digest_with_a_second_member(here: Delivered) -> None:
    with here.digests()[1].open("ab") as file:
        file.write(gzip.compress(b"{}"))


def digest_without_signature(here: Delivered) -> None:
    beside(here.digests()[1]).unlink()


def digest_with_another_algorithm(here: Delivered) -> None:
    path = beside(here.digests()[1])
    path.write_text(path.read_text().replace("SHA256withRSA", "MD5withRSA"))


def _forged(here: Delivered, key: RSAPrivateKey, algorithm: SHA1 | SHA256, named: str | None) -> None:
    def change(members: dict[str, Any]) -> None:
        if named is not None:
            members["digestPublicKeyFingerprint"] = named
        members["logFiles"] = members["logFiles"][:1]

    rewrite(here.digests()[-1], change, lambda text: key.sign(text, PKCS1v15(), algorithm))


def digest_of_another_key(here: Delivered) -> None:
    key = generate_private_key(65_537, 2_048)
    value = key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    _forged(here, key, SHA256(), fingerprint(value))


def digest_of_another_key_under_the_name_of_ours(here: Delivered) -> None:
    _forged(here, generate_private_key(65_537, 2_048), SHA256(), None)


def repeated_member(here: Delivered) -> None:
    text = read(here.digests()[1])
    here.digests()[1].write_bytes(gzip.compress(b'{"logFiles":[],' + text[1:]))


def stranger(here: Delivered) -> None:
    (here.digests()[0].parent / "notes.txt").write_text("")


@pytest.mark.parametrize(("tamper", "description"), [
    (altered_log, "the log file was altered"),
    (missing_log, "the log file is missing"),
    (reordered_log, "the log file was altered"),
    (swapped_logs, "the log file was altered"),
    (log_with_a_second_member, "something stands behind its gzip member"),
    (cut_log, "it is cut off"),
    (added_log, "no digest lists it"),
    (altered_digest, "its signature is wrong"),
    (missing_digest, "the digest is missing"),
    (missing_newest_digest, "the digest is missing"),
    (moved_digest, "it was moved here from another place"),
    (digest_with_a_second_member, "something stands behind its gzip member"),
    (digest_without_signature, "its signature is wrong"),
    (digest_with_another_algorithm, "it isn't signed with SHA256withRSA"),
    (digest_of_another_key, "it is signed with a key that is not the service's"),
    (digest_of_another_key_under_the_name_of_ours, "its signature is wrong"),
    (repeated_member, "it is not JSON in which no member is repeated"),
    (stranger, "it isn't one of the trail's files"),
], ids=lambda value: value.__name__ if callable(value) else "")
def test_a_change_is_found(here: Delivered, tamper: Callable[[Delivered], None], description: str) -> None:
    tamper(here)
    report = here.check()
    assert not report.sound
    assert description in {problem.description for problem in report.problems}


def test_lost_records_are_told_of(here: Delivered) -> None:
    missing_log(here)
    assert {"the log file is missing", "1 records are missing from the delivered log files"} <= here.found()


def test_whoever_has_the_key_can_still_not_change_what_went_before(here: Delivered) -> None:
    """A digest that is signed anew differs from what the next one says of it: AWS's validator compares neither the
    hash nor the signature that is kept beside the previous digest."""
    rewrite(here.digests()[1], lambda members: members["logFiles"].clear(), here.signer().sign)
    assert {
        "the previous digest is another than the one that it followed",
        "the previous digest's signature is another than the one that it followed",
    } <= here.found()


def test_nor_put_another_newest_in_its_place(here: Delivered) -> None:
    rewrite(here.digests()[-1], lambda members: members.update(note="other"), here.signer().sign)
    assert "it is another than the newest that the service made" in here.found()


def test_a_forked_chain(here: Delivered) -> None:
    """A second digest that follows an old one, properly signed."""
    members = json.loads(read(here.digests()[0]))
    metadata = json.loads(beside(here.digests()[0]).read_text())
    [head] = [chain for chain in here.known.digests if (chain.account, chain.region) == (HOME, REGION)]
    older = replace(
        head, number=1, bucket=members["digestS3Bucket"], object_key=members["digestS3Object"],
        hash_value=hashlib.sha256(read(here.digests()[0])).hexdigest(), signature=metadata["signature"],
    )
    fork = make_digest(DESCRIPTION, older, head.ended - 1_800, (), here.signer())
    DirectoryDestination(here.out).put(fork.key, fork.content, fork.metadata)
    assert here.found() == {"it stands in no chain of digests"}
    later = make_digest(DESCRIPTION, older, head.ended + 1_800, (), here.signer())
    DirectoryDestination(here.out).put(later.key, later.content, later.metadata)
    assert here.found() == {"it stands in no chain of digests"}
    assert not here.check(replace(here.known, digests=())).sound


def test_a_second_beginning(here: Delivered) -> None:
    start = DigestChain(HOME, REGION, 0, 1_789_000_000.0)
    begin = make_digest(DESCRIPTION, start, 1_789_003_600.0, (), here.signer())
    DirectoryDestination(here.out).put(begin.key, begin.content, begin.metadata)
    assert here.found() == {"it stands in no chain of digests"}


def test_a_chain_that_was_taken_away_as_a_whole(here: Delivered) -> None:
    for path in (*here.digests("eu-west-1"), *here.logs("eu-west-1")):
        path.unlink()
    found = here.found()
    assert "the digest is missing" in found
    assert any("digests 0 are there" in text for text in found)


def test_a_key_that_was_retired(alone: Delivered) -> None:
    here = alone
    first = here.signer()
    here.deliverer.keys.rotate(KeyPurpose.AUDIT_DIGEST)
    here.service.clock.advance(7_200)
    old = here.deliverer.keys.named(KeyPurpose.AUDIT_DIGEST, first.key_id)
    assert old is not None
    here.deliverer.running.run_once()
    rewrite(
        here.digests()[-1],
        lambda members: members.update(digestPublicKeyFingerprint=fingerprint(pkcs1(old.public_key_der))), old.sign,
    )
    here.known = known_of(here.service.catalog)
    assert "it is signed with a key that was not valid at its end" in here.found()


def test_sha_1_inside_the_signature(here: Delivered) -> None:
    """Signed by the real key, as far as RSA is concerned, but over another hash."""
    key = generate_private_key(65_537, 2_048)
    value = key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    trusted = replace(here.known.keys[0], value=value, fingerprint=fingerprint(value))
    known = replace(here.known, keys=(*here.known.keys, trusted))
    _forged(here, key, SHA1(), trusted.fingerprint)  # noqa: S303 - what is to be refused
    assert "its signature is wrong" in here.found(known)


def test_what_is_on_its_way_is_no_problem(alone: Delivered) -> None:
    """Put, but the catalog doesn't know yet: a crash in between."""
    new_key(alone.service)
    [(chain_id, before)] = alone.known.chains.items()
    alone.deliverer.deliver()
    now = known_of(alone.service.catalog).chains[chain_id].delivered
    waiting = replace(before, consignment=Consignment(now, alone.service.clock()))
    assert alone.found(replace(alone.known, chains={chain_id: waiting})) == set()
    assert alone.found() == {"no digest lists it"}
