"""Where the root key comes from: providers that wrap key-encryption keys and rotate in crash-safe steps."""

from kagitori_keystore.rootkey.file import open_file_root
from kagitori_keystore.rootkey.passphrase import Argon2Cost, open_passphrase_root
from kagitori_keystore.rootkey.provider import RootKeyProvider
from kagitori_keystore.rootkey.versions import RootKeys

__all__ = ["Argon2Cost", "RootKeyProvider", "RootKeys", "open_file_root", "open_passphrase_root"]
