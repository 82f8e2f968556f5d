"""Key material has no way out: types refuse to show it, no public door returns it, imports stay narrow."""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import os
import pickle
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from tests.support.keystore_parts import HOME, KEY, OTHER_KEY, Workshop

import kagitori_keystore
from kagitori_keystore import base, capabilities
from kagitori_keystore.algorithms import KeySpec, WrappingAlgorithm, WrappingSpec
from kagitori_keystore.base import CiphertextInvalid, MaterialCorrupt, MaterialRef
from kagitori_keystore.cache import HandleCache
from kagitori_keystore.ciphertext import parse
from kagitori_keystore.rootkey import Argon2Cost, open_passphrase_root
from kagitori_keystore.secret import Guarded, SecretBytes
from kagitori_keystore.software import SoftwareKeyStore
from kagitori_keystore.xaes import XaesKey

SPEC = KeySpec.SYMMETRIC_DEFAULT
PACKAGE = Path(kagitori_keystore.__file__).parent


def modules() -> Iterator[ModuleType]:
    for info in pkgutil.walk_packages(kagitori_keystore.__path__, "kagitori_keystore."):
        yield importlib.import_module(info.name)


def secret_bytes(_: Path) -> object:
    return SecretBytes(bytearray(b"k" * 32))


def xaes_key(_: Path) -> object:
    return XaesKey(b"k" * 32)


def cache(_: Path) -> object:
    held: HandleCache[str, bytes] = HandleCache(2)
    held.put("key", b"k" * 32, held.drops)
    return held


def software_store(place: Path) -> object:
    return Workshop(place).store


def file_root(place: Path) -> object:
    return Workshop(place).root


def imported_again(store: SoftwareKeyStore, material: bytes) -> MaterialRef:
    """The reference under which a symmetric material comes back in by import."""
    public_key, sealed = store.import_parameters(HOME, KEY, WrappingSpec.RSA_2048, b"binding")
    key = load_der_public_key(public_key)
    assert isinstance(key, RSAPublicKey)
    wrapped = key.encrypt(material, OAEP(MGF1(SHA256()), SHA256(), None))
    algorithm = WrappingAlgorithm.RSAES_OAEP_SHA_256
    return store.import_material(SPEC, HOME, KEY, sealed, b"binding", algorithm, wrapped)


def passphrase_root(place: Path) -> object:
    cost = Argon2Cost(memory_kib=8_192, iterations=1, lanes=1)
    return open_passphrase_root(place / "root", b"k" * 32, os.urandom, cost)


@pytest.mark.parametrize(
    "make",
    [secret_bytes, xaes_key, cache, software_store, file_root, passphrase_root],
    ids=lambda f: f.__name__,
)
def test_holders_refuse(make: Callable[[Path], object], tmp_path: Path) -> None:
    """`repr`, `str` and formatting show the type alone; pickling, copying, hashing and `==` raise."""
    holder = make(tmp_path)
    for shown in (repr(holder), str(holder), f"{holder}", f"{[holder]}"):
        assert "contents withheld" in shown
        assert "kkkk" not in shown
    assert not hasattr(holder, "__dict__")
    refusals: list[Callable[[], object]] = [
        *(lambda protocol=protocol: pickle.dumps(holder, protocol) for protocol in range(6)),
        lambda: copy.copy(holder),
        lambda: copy.deepcopy(holder),
        lambda: holder == holder,
        lambda: holder != holder,
        lambda: {holder},
    ]
    for refusal in refusals:
        with pytest.raises(TypeError, match=r"^secrets are not "):
            refusal()


def test_holders_are_guarded() -> None:
    """Every class of the package that stores keys or handles on them is a `Guarded`."""
    for module in modules():
        for name, found in inspect.getmembers(module, inspect.isclass):
            if found.__module__ == module.__name__ and {"_buffer", "key", "keys", "_ring", "_root"} & set(
                getattr(found, "__slots__", ())
            ):
                assert issubclass(found, Guarded), f"{module.__name__}.{name}"


def test_secret_bytes_are_overwritten() -> None:
    """Leaving the block leaves zeros, also for whoever kept the buffer, also after an exception."""
    buffer = bytearray(b"k" * 32)
    with SecretBytes(buffer) as opened:
        assert opened == b"k" * 32
    assert buffer == bytes(32)
    buffer[:] = b"k" * 32
    with pytest.raises(RuntimeError), SecretBytes(buffer):
        raise RuntimeError
    assert buffer == bytes(32)


def test_no_call_on_a_store_returns_material(tmp_path: Path) -> None:
    """Everything the store's public methods return is searched for every key that was drawn."""
    shop = Workshop(tmp_path)
    store = shop.store
    ref = store.generate(SPEC, HOME, KEY)
    keys = [drawn for drawn in shop.random.given if len(drawn) == 32]
    assert len(keys) == 3, "root key, key-encryption key, material"
    blob = store.encrypt(HOME, KEY, ref, b"message", b"context")
    answers: list[object] = [
        ref,
        ref.reference,
        ref.material_id,
        blob,
        store.decrypt(HOME, KEY, ref, parse(blob), b"context"),
        store.generate_data_key(HOME, KEY, ref, 32, b""),
        store.generate_data_key_without_plaintext(HOME, KEY, ref, 32, b""),
        store.random(32),
        store.describe(),
        store.proxy_nonce_bytes(),
        *(proxied := store.seal_for_proxy(HOME, KEY, ref, b"message", b"context")),
        store.open_for_proxy(HOME, KEY, ref, *proxied, b"context"),
        store.rewrap_kek(HOME, shop.shelf.rows[HOME]),
        wrapped := store.wrap_secret(HOME, "label", b"secret"),
        store.unwrap_secret(HOME, "label", wrapped),
        *store.import_parameters(HOME, KEY, WrappingSpec.RSA_2048, b"binding"),
        imported_again(store, keys[2]).reference,
    ]
    assert store.is_at_hand(HOME, [ref.reference]) is True
    silent = {"health", "forget", "destroy", "close", "open_domain"}
    assert all(inspect.signature(getattr(store, name)).return_annotation == "None" for name in silent)
    public = {name for name, _ in inspect.getmembers(store) if not name.startswith("_")}
    assert public == {
        "close", "decapsulate", "decrypt", "decrypt_asymmetric", "derive_shared_secret", "describe", "destroy",
        "encapsulate", "encrypt", "encrypt_asymmetric", "forget", "generate", "generate_data_key",
        "generate_data_key_pair", "generate_data_key_without_plaintext", "generate_mac", "health", "import_material",
        "import_parameters", "is_at_hand", "open_domain", "open_for_proxy", "proxy_nonce_bytes", "public_key", "random",
        "replicate", "rewrap_kek", "seal_for_proxy", "sign", "unwrap_secret", "verify", "verify_mac", "wrap_secret",
    }, "a new public member must be added to the answers above or to those of test_keystore_opened_keys"  # fmt: skip
    for answer in answers:
        raw = answer if isinstance(answer, bytes) else b""
        for key in keys:
            assert key not in raw
            assert key.hex() not in repr(answer)
            assert repr(key)[2:-1] not in repr(answer)


def test_no_door_for_export_exists() -> None:
    """No public name anywhere in the package promises to hand key material out."""
    words = ("export", "unsafe", "reveal", "expose", "plaintext_key", "raw_key", "key_bytes", "dump")
    for module in modules():
        for name, found in inspect.getmembers(module):
            names = [name] + (
                [member for member, _ in inspect.getmembers(found)] if inspect.isclass(found) else []
            )
            suspects = [
                each
                for each in names
                if not each.startswith("_") and not each.isupper() and any(word in each for word in words)
            ]
            assert not suspects, f"{module.__name__}: {suspects}"


def test_normal_imports_reach_no_key() -> None:
    """The package and its contract, which is what the server imports, load no module that can open a wrap."""
    script = (
        "import sys, kagitori_keystore, kagitori_keystore.capabilities, kagitori_keystore.ciphertext\n"
        "print(sorted(name for name in sys.modules if name.startswith('kagitori')))\n"
        "print([name for name in dir(kagitori_keystore) if not name.startswith('_')])"
    )
    environment = {"PYTHONPATH": str(PACKAGE.parent), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    loaded, public = (ast.literal_eval(line) for line in done.stdout.splitlines())
    assert loaded == [
        "kagitori_keystore",
        "kagitori_keystore.algorithms",
        "kagitori_keystore.base",
        "kagitori_keystore.capabilities",
        "kagitori_keystore.ciphertext",
    ]
    assert set(public) <= {"algorithms", "base", "capabilities", "ciphertext"}


def test_contract_returns_no_holder() -> None:
    """No operation of the contract is annotated to return a key holder or a mutable buffer."""
    protocols = [*inspect.getmembers(base, inspect.isclass), *inspect.getmembers(capabilities, inspect.isclass)]
    for name, protocol in protocols:
        for method, function in inspect.getmembers(protocol, inspect.isfunction):
            returned = str(inspect.signature(function).return_annotation)
            assert not any(word in returned for word in ("bytearray", "Secret", "Xaes")), f"{name}.{method}"


def test_package_imports_the_library_and_cryptography_alone() -> None:
    """No gRPC, none of our other packages; python-pkcs11 where tokens are used."""
    usual = {"cryptography", "nacl", "kagitori_keystore", *sys.stdlib_module_names}
    for path in PACKAGE.rglob("*.py"):
        permitted = usual | ({"pkcs11"} if path.parent.name == "pkcs11" else set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, path
                names = [node.module or ""]
            assert {name.partition(".")[0] for name in names} <= permitted, path


def test_failures_chain_nothing_that_holds_keys(tmp_path: Path) -> None:
    """What cryptography raised is neither cause nor shown context of what comes out."""
    shop = Workshop(tmp_path)
    ref = shop.store.generate(SPEC, HOME, KEY)
    blob = parse(shop.store.encrypt(HOME, KEY, ref, b"message", b""))
    failures: list[BaseException] = []
    with pytest.raises(CiphertextInvalid) as invalid:
        shop.store.decrypt(HOME, KEY, ref, blob, b"other")
    failures.append(invalid.value)
    with pytest.raises(MaterialCorrupt) as corrupt:
        shop.store.encrypt(HOME, OTHER_KEY, ref, b"message", b"")
    failures.append(corrupt.value)
    with pytest.raises(MaterialCorrupt) as unwrapped:
        shop.root.unwrap(shop.shelf.rows[HOME], b"other")
    failures.append(unwrapped.value)
    for failure in failures:
        assert failure.__cause__ is None
        assert failure.__suppress_context__
