"""Numbers and addresses of persons, replaced by the name of what was there."""

import dataclasses
import datetime
import functools
import ipaddress
import operator
import re
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import numpy as np
import polars as pl

from data_pipelines.corpus.cleaning.batch import Batch
from data_pipelines.corpus.cleaning.rules import Edit, Edited, configurable
from data_pipelines.errors import DataError


class _Kind(NamedTuple):
    """What is replaced, and by what.

    gate: what a text with one holds at least, in Rust's regular expressions, which are fast but cannot look
    around.
    pattern: a candidate, in Python's.
    check: whether a candidate is one.
    """

    placeholder: str
    gate: str
    pattern: str
    check: Callable[[re.Match], bool]


# GB/T 2260: the first digit of a place, and those that may be the second.
_PROVINCES = {
    "1": "12345",
    "2": "123",
    "3": "1234567",
    "4": "123456",
    "5": "01234",
    "6": "12345",
    "7": "1",
    "8": "123",
}
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def is_identity_number(digits: str) -> bool:
    """Whether this is a citizen's identity number: 18 digits (GB 11643; the last may be X), or the old 15.

    It has a known province, a date of birth, and if of 18 the right check digit (ISO 7064, MOD 11-2).
    """
    born = digits[6:14] if len(digits) == 18 else f"19{digits[6:12]}"
    try:
        datetime.date(int(born[:4]), int(born[4:6]), int(born[6:]))
    except ValueError:
        return False
    if digits[1] not in _PROVINCES.get(digits[0], ""):
        return False
    if len(digits) == 15:
        return True
    remainder = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, digits[:17], strict=True)) % 11
    return "10X98765432"[remainder] == digits[17].upper()


def is_bank_card(digits: str) -> bool:
    """Whether this is a payment card's number: an issuer's prefix and length (ISO/IEC 7812), Luhn's sum."""
    prefix, length = int(digits[:4]), len(digits)
    issued = (
        (prefix // 100 == 62 and 16 <= length <= 19)  # UnionPay
        or (prefix // 1000 == 4 and length in (13, 16, 19))  # Visa
        or ((51 <= prefix // 100 <= 55 or 2221 <= prefix <= 2720) and length == 16)  # Mastercard
        or (prefix // 100 in (34, 37) and length == 15)  # American Express
        or (3528 <= prefix <= 3589 and length == 16)  # JCB
        or ((300 <= prefix // 10 <= 305 or prefix // 100 in (36, 38)) and length == 14)  # Diners
    )
    doubled = [sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2]]
    return issued and (sum(doubled) + sum(map(int, digits[-1::-2]))) % 10 == 0


def _is_public(candidate: re.Match) -> bool:
    """Private, reserved and documentation addresses are nobody's, and four numbers may be a version."""
    before = candidate.string[max(candidate.start() - 9, 0) : candidate.start()].rstrip(" :：").lower()
    if before.endswith(("版本", "版本号", "version", "版")):
        return False
    try:
        return ipaddress.ip_address(candidate[0]).is_global
    except ValueError:
        return False


def _always(candidate: re.Match) -> bool:
    return True


# No letter or digit beside it, no decimal point between it and a digit.
_BEFORE = r"(?<![0-9A-Za-z])(?<![0-9]\.)"
_BEHIND = r"(?![0-9A-Za-z])(?!\.[0-9])"
_BIRTH = "[01][0-9][0-3][0-9]"
_AREA = "0(?:10|2[0-9]|[3-9][0-9]{2})"
_COUNTRY = r"(?:\+|00)?86[ -]?"
_FOURS = r"[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}(?:\1[0-9]{1,3})?"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = _OCTET + rf"(?:\.{_OCTET})" + "{3}"
_IPV6 = "[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,34}(?!:)"

# In the order in which they are looked for: longer numbers before those they may contain.
KINDS = {
    "email": _Kind(
        "[邮箱]",
        "@",
        r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9])",
        _always,
    ),
    "identity_number": _Kind(
        "[身份证号]",
        "[0-9]{15}",
        _BEFORE + "[1-9][0-9]{5}(?:" + f"(?:18|19|20)[0-9][0-9]{_BIRTH}[0-9][0-9][0-9][0-9Xx]"
        f"|[0-9][0-9]{_BIRTH}[0-9][0-9][0-9])" + _BEHIND,
        lambda candidate: is_identity_number(candidate[0]),
    ),
    "bank_card": _Kind(
        "[银行卡号]",
        "[0-9]{13}|[0-9]{4}[ -][0-9]{4}[ -][0-9]{4}",
        _BEFORE + "(?:[0-9]{13,19}|" + _FOURS + ")" + _BEHIND,
        lambda candidate: is_bank_card(candidate[0].replace(" ", "").replace("-", "")),
    ),
    "mobile": _Kind(
        "[手机号]",
        "1[3-9][0-9][ -]?[0-9]{4}[ -]?[0-9]{4}",
        rf"(?:(?<![0-9A-Za-z]){_COUNTRY}|{_BEFORE})" + r"1[3-9][0-9]([ -]?)[0-9]{4}\1[0-9]{4}" + _BEHIND,
        _always,
    ),
    "landline": _Kind(
        "[电话]",
        "0[0-9]{2,3}(?:[ -]|[)）] ?)[2-8][0-9]{6}",
        rf"(?:[(（]{_AREA}[)）] ?|{_BEFORE}{_AREA}[ -])" + "[2-8][0-9]{6,7}(?:-[0-9]{1,5})?" + _BEHIND,
        _always,
    ),
    "ip_address": _Kind(
        "[IP地址]",
        r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]|[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2}",
        rf"(?<![0-9A-Za-z.:-])(?:{_IPV4}|{_IPV6})" + _BEHIND,
        _is_public,
    ),
}


@configurable
@dataclasses.dataclass(frozen=True)
class PersonalData(Edit):
    """Replaces personal data by placeholders, and counts each kind.

    E-mail addresses; identity numbers and bank cards, whose check digits must be right; mobile and landline
    (with area code) numbers of mainland China; public IP addresses. Put it last: on fewer texts, and other
    rules judge the text as it was. Samples of rejected documents are scrubbed as well.

    Args:
      kinds: some of `KINDS`.

    Raises:
      DataError: a kind is unknown.
    """

    kinds: tuple[str, ...] = tuple(KINDS)
    name: str = "personal_data"
    private: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise DataError(f"PersonalData.kinds: there is no kind {kind!r}: have {', '.join(KINDS)}")

    def edit(self, batch: Batch) -> Edited:
        changes = {kind: np.zeros(len(batch), np.int64) for kind in KINDS if kind in self.kinds}
        near = batch.texts.to_frame("text").select(
            pl.col("text").str.contains(KINDS[kind].gate).alias(kind) for kind in changes
        )
        rows = np.flatnonzero(functools.reduce(operator.or_, near, pl.repeat(False, len(batch), eager=True)))
        new = batch.texts[rows].to_list()
        for kind, counts in changes.items():
            for i in np.flatnonzero(near[kind].to_numpy()[rows]).tolist():
                new[i], counts[rows[i]] = _scrubbed(new[i], KINDS[kind])
        changed = functools.reduce(operator.add, changes.values(), np.zeros(len(batch), np.int64))[rows] > 0
        new = pl.Series(new, dtype=pl.String).filter(changed)
        return Edited(batch.put(rows[changed], new), changes)


def _scrubbed(text: str, kind: _Kind) -> tuple[str, int]:
    """The text without what is of this kind, and how many those were."""
    count = 0

    def replaced(candidate: re.Match) -> str:
        nonlocal count
        if not kind.check(candidate):
            return candidate[0]
        count += 1
        return kind.placeholder

    return re.sub(kind.pattern, replaced, text), count
