"""The commands of docs/*.md, typed as they stand against a server of their own.

README.md, docs/attestation.md, docs/root-key.md and docs/testing.md have tests of their own, as have the parts of other
pages that need an HSM, a proxy or AWS's clients.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from jwt.algorithms import RSAAlgorithm
from tests.support.commandline import CommandLine, Result
from tests.support.devserver import running_server

ROOT = Path(__file__).parents[2]
_ISSUER = "https://issuer.example"


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[CommandLine]:
    with running_server() as server:
        yield CommandLine(monkeypatch, server.environment(), tmp_path)


def _blocks(page: str) -> list[str]:
    """The blocks of commands of a page of docs/, fenced or indented."""
    text = (ROOT / "docs" / page).read_text()
    fenced = re.findall(r"^```(?:sh|console)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [*fenced, *re.findall(r"(?:^    kagitori.*\n)+", text, re.MULTILINE)]


def _lines(block: str) -> list[str]:
    return [line.strip() for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def _type(cli: CommandLine, line: str, code: int = 0) -> Result | None:
    """One line: in this process if it is `kagitori` and nothing else, in a shell otherwise."""
    words = shlex.split(line, comments=True)
    if words[0] == "kagitori":
        done = cli(*words[1:])
        assert done.code == code, f"{line}\n{done.err}"
        return done
    subprocess.run(["bash", "-euo", "pipefail", "-c", line], cwd=cli.folder, env=cli.environment, check=True)
    return None


def test_keys(cli: CommandLine) -> None:
    create, rotate, give, elsewhere, wrap, again = map(_lines, _blocks("keys.md"))
    cli.done("key", "create", "--alias", "alias/app")
    parameters, take = elsewhere
    (cli.folder / "second.bin").write_bytes(bytes(range(32)))
    # As the page says in words: the token and the wrapped material are of one algorithm.
    parameters += " --algorithm RSAES_OAEP_SHA_256"
    for line in (*create, *rotate, *give, parameters, *wrap, take, *again):
        _type(cli, line)
    assert [row["key_material_state"] for row in cli.json("key", "rotations", "alias/mine")["rotations"]] == [
        "NON_CURRENT", "CURRENT"
    ]


def test_access(cli: CommandLine) -> None:
    cli.done("key", "create", "--alias", "alias/app")
    for kind, name in (("user", "alice"), ("role", "worker")):
        cli.done("principal", f"create-{kind}", name)
        cli.done("policy", "put-identity", f"{kind}/{name}", "use", str(ROOT / "examples" / "use-keys.json"))
    shutil.copy(ROOT / "examples" / "use-keys.json", cli.folder / "my-policy.json")
    grant = cli.json("grant", "create", "alias/app", "user/alice", "Decrypt")["grant_id"]
    (cli.folder / "new.json").write_bytes(cli.done("policy", "get", "alias/app").out)
    for block in _blocks("access.md"):
        for line in _lines(block):
            # The grant above was made by a recorded call, which a disabled key would refuse.
            _type(cli, line.replace("GRANT-ID", grant), code=5 if "--disable-key" in line else 0)


def test_usage_and_limits(cli: CommandLine) -> None:
    cli.done("key", "create", "--alias", "alias/orders")
    cli.done("principal", "create-role", "web")
    (cli.folder / "prices.toml").write_bytes(cli.done("usage", "prices").out)
    for line in _lines(_blocks("usage.md")[0]):
        _type(cli, line)
    put, lift = map(_lines, _blocks("limits.md"))
    for line in put:
        _type(cli, line)
    cli.done("principal", "create-user", "mallory")
    cli.done("policy", "put-identity", "user/mallory", "use", str(ROOT / "examples" / "use-keys.json"))
    cli.done("budget", "put", "exfiltration", "--operation", "Decrypt", "--limit", "1/month", "--freeze")
    cli.done("token", "create", "user/mallory", "--out", "mallory.token")
    (cli.folder / "secret").write_text("x")
    cli.done("encrypt", "--raw", "--key", "alias/orders", "secret", "sealed")
    theirs = {"KAGITORI_TOKEN_FILE": "mallory.token"}
    codes = [cli("decrypt", "--raw", "--force", "sealed", "opened", environment=theirs).code for _ in range(2)]
    assert codes == [0, 1]
    frozen = cli.json("budget", "list-freezes")["freezes"][0]["freeze_id"]
    for line in lift:
        _type(cli, re.sub(r"frz-\S+", frozen, line))
    assert cli.json("budget", "list-freezes") == {"freezes": []}


def test_asking_the_trail_and_proving_it(cli: CommandLine) -> None:
    cli.done("key", "create", "--alias", "alias/app")
    (cli.folder / "plain").write_text("x")
    for block in _blocks("audit-lookup.md"):
        for line in _lines(block):
            _type(cli, line.replace(" --follow", ""))
    head, call, verify, prove, grown, _offline = _lines(_blocks("transparency.md")[0])
    _type(cli, head)
    key = cli.json("audit", "tree-head")["verifier_keys"][0]
    (cli.folder / "log.vkey").write_text(f"{key}\n")
    _type(cli, call.replace("...", "--key alias/app plain sealed"))
    verify = re.sub(r"'[^']*'", shlex.quote(key), verify)
    told = _type(cli, verify)
    assert told is not None
    found = re.search(r"^request id +(\S+)", told.text, re.MULTILINE)
    assert found
    _type(cli, prove.replace("ID", found[1], 1))
    for line in (verify, grown, grown):
        _type(cli, line)


def test_federation(cli: CommandLine) -> None:
    """With what a cluster would answer; the pod is this test."""
    private = generate_private_key(65537, 2048)
    keys = RSAAlgorithm.to_jwk(private.public_key()).replace("{", '{"kid": "1", "alg": "RS256", "use": "sig", ', 1)
    answers = cli.folder / "answers"
    answers.mkdir()
    (answers / "jwks").write_text(f'{{"keys": [{keys}]}}')
    (answers / "openid-configuration").write_text(f'{{"issuer": "{_ISSUER}"}}')
    make, provide, map_certificates = _blocks("federation.md")
    shell = re.sub(r"kubectl get --raw \S*/(\S+?)(?=[ )]|$)", r"cat answers/\1", make + provide, flags=re.MULTILINE)
    files: list[str] = []
    lines: list[str] = []
    for line in shell.replace("\\\n", " ").splitlines():
        (lines if line.startswith("kagitori") else files).append(line)
    _type(cli, "\n".join(files))
    for line in lines:
        _type(cli, line.replace('"$ISSUER"', _ISSUER))
    now = int(time.time())
    token = jwt.encode(
        {
            "iss": _ISSUER, "aud": ["kagitori"], "sub": "system:serviceaccount:shop:orders", "iat": now,
            "exp": now + 600,
            "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "orders"}},
        },
        private, algorithm="RS256", headers={"kid": "1"},
    )
    (cli.folder / "token").write_text(token)
    seen = cli.done("principal", "whoami", environment={"KAGITORI_TOKEN_FILE": "token"}).text
    assert "arn:aws:sts::000000000000:assumed-role/shop/system-serviceaccount-shop-orders-" in seen
    cli.done("principal", "create-role", "web")
    for line in _lines(map_certificates):
        _type(cli, line)
