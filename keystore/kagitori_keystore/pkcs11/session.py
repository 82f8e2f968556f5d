"""The login with a token, one session for each thread, and the locks that keep a module from losing objects.

All handles belong to the process: they start again at 1 after C_Finalize, so that a kept one would name another
key. A module is therefore never initialised twice while it is in use; what has lost its login or device is `lost`,
and the worker that finds it so ends: its successor is a process that holds no handle at all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pkcs11
from pkcs11 import PKCS11Error, TokenFlag, _pkcs11
from pkcs11.exceptions import GeneralError, MultipleTokensReturned, NoSuchToken, UserPinNotInitialized
from pkcs11.types import MechanismInfo

from kagitori_keystore.base import RequestRefused, TooSlow
from kagitori_keystore.pkcs11.errors import Meaning, connect_fault, meaning_of, out_of_time
from kagitori_keystore.pkcs11.loading import Module
from kagitori_keystore.pkcs11.settings import ConnectFault, ConnectRefused, TokenSettings

Clock = Callable[[], float]

_START_PAUSES = (0.1, 0.4)
_RACES = (NoSuchToken, GeneralError, UserPinNotInitialized)
"""What a start sees of a SoftHSM token whose file another process rewrites, which each login does."""


class Deadline:
    """A moment in the future, by a monotonic clock."""

    __slots__ = ("_clock", "_end")

    def __init__(self, seconds: float, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def left(self) -> float:
        """Seconds left. Raises `TooSlow` if there are none."""
        left = self._end - self._clock()
        if left <= 0:
            raise out_of_time()
        return left


class TokenLogin:
    """A token into which this process has logged in. Thread-safe.

    The session that logged in stays open and unused: closing it would log out all others.
    """

    def __init__(self, settings: TokenSettings, pin: bytes) -> None:
        """Raises `ConnectRefused`."""
        try:
            self._module = Module(settings.module, settings.library_parameters)
        except (OSError, PKCS11Error, ValueError):
            raise ConnectRefused(ConnectFault.MODULE_FAILED) from None
        self.token, self._anchor = _log_in(self._module.library, settings, _text(pin))
        self.pin = pin
        self.lost = False
        """Whether nothing more can come of this login."""
        self._own = threading.local()
        self._catalogue = threading.Lock()

    @property
    def serial(self) -> bytes:
        """The token's serial number as its module gives it."""
        return self.token.serial

    def mechanisms(self) -> dict[int, MechanismInfo]:
        """What the module says that the token does."""
        slot = self.token.slot
        return {mechanism: slot.get_mechanism_info(mechanism) for mechanism in slot.get_mechanisms()}

    def session(self) -> pkcs11.Session:
        """This thread's session, opened at its first use."""
        session: pkcs11.Session | None = getattr(self._own, "session", None)
        if session is None:
            session = self._own.session = self.token.open(rw=True)
        return session

    def drop_session(self) -> None:
        """Lets go of this thread's session, if it has one."""
        session: pkcs11.Session | None = getattr(self._own, "session", None)
        self._own.session = None
        if session is not None:
            try:
                session.close()
            except PKCS11Error:
                return  # dead already, which is why it was dropped

    @contextmanager
    def catalogue(self, deadline: Deadline) -> Iterator[pkcs11.Session]:
        """This thread's session, while no other thread makes, changes, finds or destroys an object.

        SoftHSM's objects do not bear it, with all of its own locks on. Raises `TooSlow`.
        """
        if not self._catalogue.acquire(timeout=deadline.left()):
            raise out_of_time()
        try:
            yield self.session()
        finally:
            self._catalogue.release()

    def judge(self, error: PKCS11Error, probe: Callable[[], bool]) -> Meaning:
        """Whose fault an error is; notices when the login is lost. `probe` is asked if only a trial can tell."""
        meaning = meaning_of(error)
        if meaning in (Meaning.LOGIN, Meaning.DEVICE):
            self.lost = True
        elif meaning is Meaning.SESSION:
            self.drop_session()
        elif meaning in (Meaning.UNCLEAR, Meaning.KEY_GONE) and not _succeeds(probe):
            self.lost = True
            return Meaning.DEVICE
        return meaning

    def change_pin(self, new: bytes, deadline: Deadline) -> None:
        """Sets another user PIN. Raises `RequestRefused` if the token does not take it, and `PKCS11Error`."""
        text = _text(new)
        with self.catalogue(deadline) as session:
            session.set_pin(_text(self.pin), text)
            self.pin = new


def _succeeds(probe: Callable[[], bool]) -> bool:
    try:
        return probe()
    except (PKCS11Error, TooSlow):
        return False


def _text(pin: bytes) -> str:
    try:
        return pin.decode()
    except UnicodeDecodeError:
        raise RequestRefused("a PIN is UTF-8 text") from None


def _log_in(library: _pkcs11.lib, settings: TokenSettings, pin: str) -> tuple[pkcs11.Token, pkcs11.Session]:
    for pause in (*_START_PAUSES, None):
        try:
            token = _find(library, settings)
            return token, token.open(rw=True, user_pin=pin)
        except PKCS11Error as error:
            # A PIN is never tried twice: three wrong ones lock most tokens.
            if pause is None or not isinstance(error, _RACES):
                raise ConnectRefused(connect_fault(error)) from None
        time.sleep(pause)
        _start_again(library)
    raise ConnectRefused(ConnectFault.MODULE_FAILED)


def _start_again(library: _pkcs11.lib) -> None:
    """Before anything was opened, so that no handle is left from before."""
    try:
        library.finalize()
        library.initialize()
    except PKCS11Error:
        raise ConnectRefused(ConnectFault.MODULE_FAILED) from None


def _find(library: _pkcs11.lib, settings: TokenSettings) -> pkcs11.Token:
    found = []
    for slot in library.get_slots(token_present=True):
        try:
            token = slot.get_token()
        except PKCS11Error:
            continue  # a damaged token beside ours
        if (
            TokenFlag.TOKEN_INITIALIZED in token.flags
            and settings.token_label in (None, token.label)
            and settings.token_serial in (None, token.serial.decode("ascii", "replace").strip())
        ):
            found.append(token)
    if not found:
        raise NoSuchToken
    if len(found) > 1:
        raise MultipleTokensReturned
    return found[0]
