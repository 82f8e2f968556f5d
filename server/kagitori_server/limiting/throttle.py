"""Request rates per account and per principal (AWS KMS, Request quotas).

They are kept in memory, for this process alone: where several serve together, each allows the whole rate.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

from kagitori_server.limiting.buckets import Buckets, Flow
from kagitori_server.model.errors import ThrottlingException
from kagitori_server.model.principals import Caller
from kagitori_server.model.rates import AWS_RATES, RateGroup

REFUSAL = "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls."
_RATE_MAX = 1_000_000.0
_PRESET = "aws"
_UNLIMITED: tuple[str | None, Flow | None, Flow | None] = (None, None, None)


class RatesRefused(Exception):
    """Rates can't be read; the message says why."""


def parse_rates(texts: Sequence[str]) -> Mapping[RateGroup, float]:
    """`group=calls a second`, later ones before earlier ones; `aws` for those of AWS. What isn't named has no limit.

    Raises RatesRefused.
    """
    rates: dict[RateGroup, float] = {}
    for text in texts:
        if text == _PRESET:
            rates.update(AWS_RATES)
            continue
        name, _, number = (part.strip() for part in text.partition("="))
        try:
            group, rate = RateGroup(name), float(number)
        except ValueError:
            groups = ", ".join(RateGroup)
            raise RatesRefused(f"{text!r} is neither {_PRESET} nor GROUP=RATE; the groups are {groups}") from None
        if not 0.0 < rate <= _RATE_MAX:
            raise RatesRefused(f"{text!r}: a rate is more than 0 and at most {_RATE_MAX:.0f} calls a second")
        rates[group] = rate
    return rates


class Throttle:
    """Takes a token for each call, of its account's bucket and of its principal's."""

    def __init__(
        self, *, account: Mapping[RateGroup, float], principal: Mapping[RateGroup, float], burst_seconds: float,
        buckets: int, monotonic: Callable[[], float],
    ) -> None:
        """A bucket holds what runs into it in `burst_seconds`, and at least one token."""
        ours, theirs = _flows(account, burst_seconds), _flows(principal, burst_seconds)
        self._plans = {
            group: (group.value if group.shared else None, ours.get(group), theirs.get(group))
            for group in RateGroup if group in ours or group in theirs
        }
        """Group -> the name under which its operations share a rate, the account's flow and the principal's."""
        self._of_store = ours.get(RateGroup.CUSTOM_KEY_STORE)
        self._buckets = Buckets(buckets, monotonic)
        self.on = bool(account or principal)
        """False where nothing is limited."""

    def take(
        self, caller: Caller, region: str, operation: str, group: RateGroup, stores: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Lets a call pass, or raises ThrottlingException. Sessions of a role share its rate; all who use one of
        `stores` (account and id of a custom key store) share that one's."""
        shared, account, principal = self._plans.get(group, _UNLIMITED)
        what = shared or operation
        wanted: list[tuple[Hashable, Flow]] = []
        if self._of_store is not None:
            wanted += [(store, self._of_store) for store in stores]
        if account is not None:
            wanted.append(((caller.account, region, what), account))
        if principal is not None:
            wanted.append(((caller.record.arn, region, what), principal))
        if wanted and (wait := self._buckets.take(wanted)) > 0.0:
            raise ThrottlingException(REFUSAL, retry_after=wait)


def _flows(rates: Mapping[RateGroup, float], burst_seconds: float) -> Mapping[RateGroup, Flow]:
    return {group: Flow(rate, max(1.0, rate * burst_seconds)) for group, rate in rates.items()}
