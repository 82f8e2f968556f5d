"""Seed files: what is refused before anything is made, and that messages name the member, never what it holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from kagitori_server.config import ConfigurationError
from kagitori_server.laboratory.seed import Seed, load_seed
from kagitori_server.laboratory.seed_principals import Surroundings

AROUND = Surroundings("aws", "000000000000", "us-east-1")
KEY = 'id = "0b8f52c4-9d3e-4a57-8f0c-6f1d4c2f9a10"\n'
MARKED = "marked-secret"


def seed(tmp_path: Path, text: str | bytes) -> Seed:
    file = tmp_path / "seed.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_seed(file, AROUND)


REFUSED = {
    "not-toml": ("keys = [", "is not TOML"),
    "not-text": (b'name = "\xff"', "is not UTF-8 text"),
    "too-large": ("#" + "x" * 1_048_576, "at most 1 MiB"),
    "unknown-at-the-top": ('key = "x"', "key is nothing that a seed can say"),
    "clock-without-zone": ("clock = 2026-01-01T00:00:00", "clock must be a date, a time and Z"),
    "clock-as-text": ('clock = "2026-01-01"', "clock must be"),
    "keys-as-table": ("[keys]\n" + KEY, r"keys must be .* \[\[keys\]\]"),
    "too-many-keys": ("keys = [" + "{}," * 1_001 + "]", "at most 1000"),
    "key-without-id": ("[[keys]]", r"keys\[0\]\.id is missing; it must be a UUID"),
    "key-id-upper-case": ('[[keys]]\nid = "0B8F52C4-9D3E-4A57-8F0C-6F1D4C2F9A10"', r"keys\[0\]\.id must be a UUID"),
    "key-id-not-uuid": (f'[[keys]]\nid = "{MARKED}"', r"keys\[0\]\.id must be a UUID"),
    "key-id-mrk-short": ('[[keys]]\nid = "mrk-0123"', r"keys\[0\]\.id must be a UUID"),
    "key-id-number": ("[[keys]]\nid = 7", r"keys\[0\]\.id must be a UUID"),
    "key-unknown-member": (f"[[keys]]\n{KEY}colour = 1", r"keys\[0\]\.colour is nothing"),
    "second-key": (f'[[keys]]\n{KEY}[[keys]]\nid = "x"', r"keys\[1\]\.id must be"),
    "spec": (f'[[keys]]\n{KEY}spec = "RSA_1024"', r"keys\[0\]\.spec must be a key spec"),
    "origin": (f'[[keys]]\n{KEY}origin = "AWS_CLOUDHSM"', r"keys\[0\]\.origin must be AWS_KMS or EXTERNAL"),
    "state": (f'[[keys]]\n{KEY}state = "PendingImport"', r"keys\[0\]\.state must be Enabled, Disabled"),
    "days-without-deletion": (f"[[keys]]\n{KEY}deletion_days = 7", r"keys\[0\]\.deletion_days is for keys of state"),
    "days-as-text": (
        f'[[keys]]\n{KEY}state = "PendingDeletion"\ndeletion_days = "7"', r"deletion_days must be a whole number"
    ),
    "account": (f'[[keys]]\n{KEY}account = "7"', r"keys\[0\]\.account must be 12 digits"),
    "region": (f'[[keys]]\n{KEY}region = "EU"', r"keys\[0\]\.region must be the name of a Region"),
    "valid-to-of-ours": (f"[[keys]]\n{KEY}valid_to = 2030-01-01T00:00:00Z", r"valid_to is for keys of origin EXTERNAL"),
    "material-not-base64": (f'[[keys]]\n{KEY}materials = ["{MARKED}"]', r"keys\[0\]\.materials must be key material"),
    "material-empty": (f'[[keys]]\n{KEY}materials = [""]', r"keys\[0\]\.materials must be key material"),
    "material-too-long": (f'[[keys]]\n{KEY}materials = ["{"A" * 5_464}"]', r"keys\[0\]\.materials must be"),
    "material-not-listed": (f'[[keys]]\n{KEY}materials = "AAEC"', r"keys\[0\]\.materials must be a list"),
    "material-old-pem": (
        f'[[keys]]\n{KEY}materials = ["-----BEGIN EC PRIVATE KEY-----AAEC-----END EC PRIVATE KEY-----"]',
        r"keys\[0\]\.materials must be",
    ),
    "policy-number": (f"[[keys]]\n{KEY}policy = 7", r"keys\[0\]\.policy must be a policy"),
    "policy-with-date": (f"[[keys]]\n{KEY}policy = {{ Version = 2012-10-17 }}", r"JSON has no dates"),
    "tags-as-list": (f'[[keys]]\n{KEY}tags = ["a"]', r"keys\[0\]\.tags must be a table of texts"),
    "tags-of-numbers": (f"[[keys]]\n{KEY}tags = {{ a = 1 }}", r"keys\[0\]\.tags must be a table of texts"),
    "grant-without-grantee": (f"[[keys]]\n{KEY}[[keys.grants]]", r"keys\[0\]\.grants\[0\]\.grantee is missing"),
    "grant-id": (
        f'[[keys]]\n{KEY}[[keys.grants]]\ngrantee = "root"\nid = "x"', r"keys\[0\]\.grants\[0\]\.id must be 64 hex"
    ),
    "grant-member": (
        f'[[keys]]\n{KEY}[[keys.grants]]\ngrantee = "root"\ntoken = "x"', r"keys\[0\]\.grants\[0\]\.token is nothing"
    ),
    "account-id": ('[[accounts]]\nid = "7"', r"accounts\[0\]\.id must be 12 digits"),
    "account-without-id": ('[[accounts]]\nname = "a"', r"accounts\[0\]\.id is missing"),
    "user-without-name": ("[[users]]", r"users\[0\]\.name is missing"),
    "user-policies": ('[[users]]\nname = "a"\npolicies = "x"', r"users\[0\]\.policies must be a table of policies"),
    "user-policy": ('[[users]]\nname = "a"\npolicies = { p = 1 }', r"users\[0\]\.policies\.p must be a policy"),
    "user-trust": ('[[users]]\nname = "a"\ntrust = "{}"', r"users\[0\]\.trust is nothing"),
    "group-tags": ('[[groups]]\nname = "a"\ntags = { a = "b" }', r"groups\[0\]\.tags is nothing"),
    "group-tokens": ('[[groups]]\nname = "a"\n[[groups.tokens]]\nvalue = "x"', r"groups\[0\]\.tokens is nothing"),
    "role-access-keys": ('[[roles]]\nname = "a"\naccess_keys = []', r"roles\[0\]\.access_keys is nothing"),
    "token-form": (
        f'[[users]]\nname = "a"\n[[users.tokens]]\nvalue = "{MARKED}"', r"users\[0\]\.tokens\[0\]\.value must be kgt_"
    ),
    "token-missing": ('[[users]]\nname = "a"\n[[users.tokens]]', r"users\[0\]\.tokens\[0\]\.value is missing"),
    "access-key-id": (
        '[[users]]\nname = "a"\n[[users.access_keys]]\nid = "ASIA"', r"users\[0\]\.access_keys\[0\]\.id must be AKIA"
    ),
    "access-key-secret": (
        f'[[users]]\nname = "a"\n[[users.access_keys]]\nid = "AKIAIOSFODNN7EXAMPLE"\nsecret = "{MARKED}"',
        r"users\[0\]\.access_keys\[0\]\.secret must be 40",
    ),
    "managed-policy-member": ('[[managed_policies]]\nname = "a"\ntags = {}', r"managed_policies\[0\]\.tags is nothing"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_can_t_be_is_refused_by_name(tmp_path: Path, text: str | bytes, message: str) -> None:
    """The file and the member are named; its value, which may be a secret, is not."""
    with pytest.raises(ConfigurationError, match=message) as refused:
        seed(tmp_path, text)
    assert str(tmp_path / "seed.toml") in str(refused.value)
    assert MARKED not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_a_file_that_isn_t_there_is_refused(tmp_path: Path) -> None:
    """So is a folder."""
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigurationError, match=r"No such file|Is a directory"):
            load_seed(path, AROUND)


def test_an_empty_file_is_a_seed_of_nothing(tmp_path: Path) -> None:
    """And has a digest, by which it is known again."""
    empty = seed(tmp_path, "")
    assert (empty.clock, list(empty.steps)) == (None, [])
    assert len(empty.digest) == 64


def test_a_seed_shows_no_secrets(tmp_path: Path) -> None:
    """Neither it nor its steps, in which tokens and material are."""
    read = seed(tmp_path, (
        f'[[keys]]\n{KEY}materials = ["AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="]\n'
        '[[users]]\nname = "a"\n[[users.tokens]]\nvalue = "kgt_marked-marked-marked-marked-marked-marked-1"\n'
        '[[users.access_keys]]\nid = "AKIAIOSFODNN7EXAMPLE"\nsecret = "marked-marked-marked-marked-marked-marke"\n'
    ))
    text = repr(read) + repr(list(read.steps))
    assert "marked" not in text
    assert "\\x01\\x02" not in text


def test_the_policy_of_a_key_is_put_last(tmp_path: Path) -> None:
    """It may take away what the steps before need."""
    steps = seed(tmp_path, (
        f'[[keys]]\n{KEY}aliases = ["alias/a"]\nstate = "Disabled"\npolicy = "{{}}"\nrotation_days = 90\n'
        '[[keys.grants]]\ngrantee = "root"\noperations = ["Encrypt"]\n'
    )).steps
    assert [step.operation for step in steps] == [
        "CreateKey", "CreateAlias", "EnableKeyRotation", "CreateGrant", "DisableKey", "PutKeyPolicy",
    ]
