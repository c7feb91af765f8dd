"""What looks like a person's data or a secret: telephone and identity numbers, bank cards, mail addresses, keys.

Looking at every text with every pattern would cost more than reading the file. `suspects` finds in one pass over a
whole batch which texts are worth it, by what no such number, address or key can do without.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from appliance.data import search
from appliance.data.search import Octets, Places

KINDS = ("keys", "phone_numbers", "identity_numbers", "bank_cards", "mail_addresses")
MASKS = {
    "keys": "[KEY]",
    "phone_numbers": "[PHONE]",
    "identity_numbers": "[ID]",
    "bank_cards": "[CARD]",
    "mail_addresses": "[EMAIL]",
}

_PATTERNS = {
    "keys": re.compile(
        r"\b(?:sk|rk|pk)-[A-Za-z0-9_-]{20,}|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{30,}"
        r"|\bgithub_pat_[A-Za-z0-9_]{22,}|\bglpat-[\w-]{20,}|\bhf_[A-Za-z0-9]{30,}|\bxox[abprs]-[A-Za-z0-9-]{20,}"
        r"|\bAIza[\w-]{35}|\bLTAI[A-Za-z0-9]{12,26}\b|\beyJ[\w-]{10,400}\.eyJ[\w-]{10,4000}\.[\w-]+"
        r"|-----BEGIN [A-Z ]*PRIVATE KEY-----(?:[\s\S]{0,8000}?-----END [A-Z ]*PRIVATE KEY-----)?"
    ),
    "identity_numbers": re.compile(
        r"(?<![\dA-Za-z])[1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx](?![\dA-Za-z])"
    ),
    "bank_cards": re.compile(
        r"(?<![\d.,-])(?:62|60|65|4\d|5[1-5]|2[2-7]|3[47])\d{2}"
        r"(?:([ -]?)\d{4}\1\d{4}\1\d{3,4}(?:\1?\d{3})?|\d{11})(?![\d.-])"
    ),
    "phone_numbers": re.compile(
        r"(?<![\d.])(?:(?:\+|00)?86[- ]?)?1[3-9]\d([- ]?)\d{4}\1\d{4}(?![\d.]\d|\d)"  # mobile, China
        r"|(?<![\d.-])0\d{2,3}-\d{7,8}(?![\d-])"  # fixed, China
        r"|(?<![\d.-])(?:\(\d{3}\) ?|\d{3}-)\d{3}-\d{4}(?![\d-])"  # North America
        r"|(?<![\d.+])\+\d{1,3}[ -]?\(?\d{1,4}\)?(?:[ -]?\d{2,4}){2,4}(?!\d)"  # with a country's code
    ),
    "mail_addresses": re.compile(
        r"(?<![\w.+-])[\w.+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,3}\.[A-Za-z]{2,10}(?![\w-])"
    ),
}

# Every key has a run of 16 of these, and every number nine digits within 14 characters.
_IN_KEYS = np.array([byte < 128 and (chr(byte).isalnum() or byte in b"_-") for byte in range(256)])
_FEWEST_DIGITS = 9


def suspects(whole: bytes, octets: Octets) -> Places:
    """Where in a batch of texts (UTF-8) something may be private: in all texts that hold such a thing, and some others.

    A place is less than eight bytes before the thing, or within it.
    """
    likely = search.crowds(octets, _FEWEST_DIGITS)
    return search.joined(
        (
            likely,
            likely + 7,
            search.runs(octets, _IN_KEYS),
            search.singles(whole, octets, b"@"),
            search.any_of(octets, [b"KEY-----"]),
        )
    )


def find(text: str) -> Iterator[tuple[str, int, int]]:
    """(kind, begin, end) of everything in a text that looks private; where two overlap, the first kind's."""
    taken: list[tuple[int, int]] = []
    for kind, pattern in _PATTERNS.items():
        if kind == "mail_addresses" and "@" not in text:
            continue
        for match in pattern.finditer(text):
            begin, end = match.span()
            if any(begin < other_end and other_begin < end for other_begin, other_end in taken):
                continue
            if _VALID.get(kind, _anything)(match[0]):
                taken.append((begin, end))
                yield kind, begin, end


def masked(text: str) -> tuple[str, list[str]]:
    """The text with a mark in place of what looks private, and the kinds that were masked."""
    found = sorted(find(text), key=lambda item: item[1])
    parts, last = [], 0
    for kind, begin, end in found:
        parts += [text[last:begin], MASKS[kind]]
        last = end
    return "".join([*parts, text[last:]]), [kind for kind, _begin, _end in found]


def _anything(_number: str) -> bool:
    return True


def _is_identity(number: str) -> bool:
    """The last of the 18 is a checksum over the others (GB 11643-1999: ISO 7064 MOD 11-2)."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(int(digit) * weight for digit, weight in zip(number, weights, strict=False))
    return "10X98765432"[total % 11] == number[-1].upper()


def _is_card(number: str) -> bool:
    """15 to 19 digits whose Luhn sum is right (ISO/IEC 7812-1), and not all alike."""
    digits = [int(character) for character in number if character.isdigit()]
    if not 15 <= len(digits) <= 19 or len(set(digits)) < 2:
        return False
    total = sum(digit if place % 2 == 0 else (2 * digit - 9 * (digit > 4)) for place, digit in enumerate(digits[::-1]))
    return total % 10 == 0


_VALID = {"identity_numbers": _is_identity, "bank_cards": _is_card}
