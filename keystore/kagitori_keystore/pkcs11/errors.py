"""What the errors of a PKCS#11 module mean: one table, on which alone the fate of call, session and worker depends."""

from __future__ import annotations

import enum

from pkcs11 import exceptions as raised

from kagitori_keystore.base import KeyStoreError, MaterialUnknown, RequestRefused, SessionLost, StoreLost, TooSlow
from kagitori_keystore.pkcs11.settings import ConnectFault


class Meaning(enum.Enum):
    """Whose fault an error is."""

    REQUEST = "request"
    """The token does not do this; it is in order."""
    KEY_GONE = "key-gone"
    """The handle is void: the key was destroyed, or the user is logged out."""
    SESSION = "session"
    """This session ended; a new one may serve."""
    LOGIN = "login"
    """The user is logged out: every session, every handle of the process is void."""
    DEVICE = "device"
    """The token is gone, or out of memory."""
    UNCLEAR = "unclear"
    """Anything: the token has to be tried."""


_MEANINGS: dict[type[raised.PKCS11Error], Meaning] = {
    raised.MechanismInvalid: Meaning.REQUEST,
    raised.MechanismParamInvalid: Meaning.REQUEST,
    raised.ArgumentsBad: Meaning.REQUEST,
    raised.DataInvalid: Meaning.REQUEST,
    raised.DataLenRange: Meaning.REQUEST,
    raised.DomainParamsInvalid: Meaning.REQUEST,
    raised.FunctionNotSupported: Meaning.REQUEST,
    raised.KeySizeRange: Meaning.REQUEST,
    raised.KeyTypeInconsistent: Meaning.REQUEST,
    raised.AttributeTypeInvalid: Meaning.REQUEST,
    raised.AttributeValueInvalid: Meaning.REQUEST,
    raised.TemplateIncomplete: Meaning.REQUEST,
    raised.TemplateInconsistent: Meaning.REQUEST,
    raised.TokenWriteProtected: Meaning.REQUEST,
    raised.PinInvalid: Meaning.REQUEST,
    raised.PinLenRange: Meaning.REQUEST,
    raised.PinTooWeak: Meaning.REQUEST,
    raised.KeyHandleInvalid: Meaning.KEY_GONE,
    raised.ObjectHandleInvalid: Meaning.KEY_GONE,
    raised.NoSuchKey: Meaning.KEY_GONE,
    raised.SessionHandleInvalid: Meaning.SESSION,
    raised.SessionClosed: Meaning.SESSION,
    raised.SessionCount: Meaning.SESSION,
    raised.OperationActive: Meaning.SESSION,
    raised.OperationNotInitialized: Meaning.SESSION,
    raised.FunctionCancelled: Meaning.SESSION,
    raised.UserNotLoggedIn: Meaning.LOGIN,
    raised.PinExpired: Meaning.LOGIN,
    raised.DeviceError: Meaning.DEVICE,
    raised.DeviceMemory: Meaning.DEVICE,
    raised.DeviceRemoved: Meaning.DEVICE,
    raised.HostMemory: Meaning.DEVICE,
    raised.TokenNotPresent: Meaning.DEVICE,
    raised.TokenNotRecognised: Meaning.DEVICE,
    raised.SlotIDInvalid: Meaning.DEVICE,
    raised.NoSuchToken: Meaning.DEVICE,
}

_CONNECT_FAULTS: dict[type[raised.PKCS11Error], ConnectFault] = {
    raised.NoSuchToken: ConnectFault.TOKEN_NOT_FOUND,
    raised.TokenNotPresent: ConnectFault.TOKEN_NOT_FOUND,
    raised.TokenNotRecognised: ConnectFault.TOKEN_NOT_FOUND,
    raised.MultipleTokensReturned: ConnectFault.TOKEN_AMBIGUOUS,
    raised.PinIncorrect: ConnectFault.PIN_REFUSED,
    raised.PinInvalid: ConnectFault.PIN_REFUSED,
    raised.PinLenRange: ConnectFault.PIN_REFUSED,
    raised.PinExpired: ConnectFault.PIN_REFUSED,
    raised.PinLocked: ConnectFault.PIN_LOCKED,
    raised.UserPinNotInitialized: ConnectFault.PIN_NOT_SET,
}


def meaning_of(error: raised.PKCS11Error) -> Meaning:
    """Whose fault it is; UNCLEAR for all that has no row, such as GeneralError and the errors of a vendor."""
    return _MEANINGS.get(type(error), Meaning.UNCLEAR)


def error_for(meaning: Meaning) -> KeyStoreError:
    """What the caller is told. The module's own words stay here: some quote what they were given."""
    match meaning:
        case Meaning.REQUEST:
            return RequestRefused("the token does not serve this")
        case Meaning.KEY_GONE:
            return MaterialUnknown("the token holds no such key")
        case Meaning.SESSION | Meaning.LOGIN:
            return SessionLost("the session with the token ended")
        case Meaning.DEVICE | Meaning.UNCLEAR:
            return StoreLost("the token failed")


def connect_fault(error: raised.PKCS11Error) -> ConnectFault:
    """Why a token cannot be opened."""
    return _CONNECT_FAULTS.get(type(error), ConnectFault.MODULE_FAILED)


def out_of_time() -> TooSlow:
    """The error of an operation that never began."""
    return TooSlow("the token was busy for too long")
