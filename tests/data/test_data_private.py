"""What looks like personal data, and what only looks so at first sight."""

from __future__ import annotations

import pytest

from appliance.data import private
from appliance.data.texts import texts_of

SECRET = {
    "phone_numbers": [
        "13812345678", "+86 138-1234-5678", "138 1234 5678", "010-12345678", "(555) 123-4567", "+44 20 7946 0958",
    ],
    "identity_numbers": ["11010519491231002X", "110101199003070070"],
    "bank_cards": ["4111111111111111", "4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005"],
    "mail_addresses": ["a.b@example.com", "li+news@mail.example.com.cn"],
    "keys": [
        "sk-" + "a1" * 20, "AKIAIOSFODNN7EXAMPLE", "ghp_" + "a1B2" * 9, "hf_" + "abcD" * 8,
        "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----",
    ],
}  # fmt: skip
HARMLESS = [
    "110105194912310021",  # the checksum is wrong
    "4111 1111 1111 1112",  # so is Luhn's
    "3.13812345678", "213812345678900", "2019-2020", "100 000 000", "2024-01-01 12:00:00",
    "user@localhost", "@property", "task-" + "a" * 30, "version 1.2.3.4", "0" * 20, "a" * 64,
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in SECRET.items() for text in texts])
def test_found_masked_and_suspected(kind: str, text: str) -> None:
    whole = f"北京 {text}，请联系"
    assert [(found, whole[begin:end]) for found, begin, end in private.find(whole)] == [(kind, text)]
    assert private.masked(whole) == (f"北京 {private.MASKS[kind]}，请联系", [kind])
    for before in (*range(9), 2**18 - 20, 2**18):  # wherever it stands, and where one piece ends and the next begins
        rows = ["nothing here", "-" * before + whole, "也没有什么", ""]
        parts = [row.encode() for row in rows]
        texts = texts_of(parts, [len(row) for row in rows], [0] * 4, [{"text": row} for row in rows])
        assert 1 in texts.at(private.suspects(texts.whole, texts.view))
    assert texts.at(private.suspects(texts.whole[:12], texts.view[:12])) == []


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_numbers_stay(text: str) -> None:
    assert private.masked(f"a {text} b") == (f"a {text} b", [])


def test_several_in_one_text() -> None:
    text = "13812345678 or a@b.example, card 4111111111111111"
    assert private.masked(text) == (
        "[PHONE] or [EMAIL], card [CARD]",
        ["phone_numbers", "mail_addresses", "bank_cards"],
    )
