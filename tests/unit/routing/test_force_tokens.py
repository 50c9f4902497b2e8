"""Force tokens: signed as RFC 2104 says, refused for the first thing that is wrong."""

import pytest

from sidecar.errors import CanaryError
from sidecar.routing import (
    Route,
    Table,
    UnitSource,
    Variant,
    compile_table,
    force,
    twin,
    twin_codec,
)
from sidecar.routing.force import Key, KeysError, parse_keys, sign

KEY = Key("qa", b"k" * 32)
NOW_S = 1_800_000_000
ROUTE = Route("chat", (UnitSource("header", "u"),), b"s", (Variant("a", 1), Variant("b", 0)))
TOKEN = sign(KEY, {"chat": "b"}, NOW_S + 60)
SIGNED, _, SIGNATURE = TOKEN.rpartition(".")

# RFC 4231, test cases 1 to 4: key, data, HMAC-SHA-256.
VECTORS = [
    (b"\x0b" * 20, b"Hi There",
     "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (b"Jefe", b"what do ya want for nothing?",
     "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    (b"\xaa" * 20, b"\xdd" * 50,
     "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    (bytes(range(1, 26)), b"\xcd" * 50,
     "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
]  # fmt: skip


@pytest.mark.parametrize(("secret", "data", "expected"), VECTORS)
def test_signatures_are_those_of_rfc_4231(secret, data, expected):
    assert force._signature(Key("k", secret), data).decode() == expected


REFUSED = {
    "expired at its second": (TOKEN, NOW_S + 60, "expired"),
    "long expired": (TOKEN, NOW_S + 10**6, "expired"),
    "another key's signature": (sign(Key("qa", b"x" * 32), {"chat": "b"}, NOW_S + 60), NOW_S,
                                "bad_signature"),
    "a key nobody knows": (sign(Key("other", b"k" * 32), {"chat": "b"}, NOW_S + 60), NOW_S,
                           "unknown_key"),
    "another variant put in": (f"{SIGNED.replace('=b', '=a')}.{SIGNATURE}", NOW_S, "bad_signature"),
    "a later expiry put in": (TOKEN.replace("1800000060", "1900000060"), NOW_S, "bad_signature"),
    "no signature": (SIGNED, NOW_S, "malformed"),
    "upper case": (f"{SIGNED}.{SIGNATURE.upper()}", NOW_S, "malformed"),
    "another version": (TOKEN.replace("v1.", "v2.", 1), NOW_S, "malformed"),
    "17 pairs": (f"v1.qa.1800000060.{'+'.join(['a=b'] * 17)}.{SIGNATURE}", NOW_S, "malformed"),
    "no pair": (f"v1.qa.1800000060..{SIGNATURE}", NOW_S, "malformed"),
    "a name alone": ("chat=b", NOW_S, "malformed"),
    "too long": ("v1." * 2000, NOW_S, "malformed"),
}  # fmt: skip


@pytest.mark.parametrize(("token", "now_s", "why"), REFUSED.values(), ids=REFUSED)
def test_a_token_that_is_not_good_is_ignored_and_counted(token, now_s, why):
    assert force.read(token.encode(), [KEY], now_s) == force.Force({}, why)
    table = Table(compile_table([ROUTE], "v", [KEY]))
    message = twin_codec.write(twin.Request([("u", b"1"), ("canary-force", token.encode())]))
    table.answer(message, now_s)
    assert table.tally() == {("chat", "a", "weight"): 1}
    assert {why: 1} == {one: count for one, count in table.force_refused().items() if count}


def test_a_good_token_gives_its_variant_and_nothing_is_counted_as_refused():
    table = Table(compile_table([ROUTE], "v", [KEY]))
    message = twin_codec.write(twin.Request([("canary-force", TOKEN.encode())]))
    table.answer(message, NOW_S)
    assert table.tally() == {("chat", "b", "forced"): 1}
    assert not any(table.force_refused().values())


def test_without_keys_no_token_is_honoured():
    table = Table(compile_table([ROUTE], "v"))
    message = twin_codec.write(twin.Request([("canary-force", TOKEN.encode())]))
    table.answer(message, NOW_S)
    assert table.force_refused()["unknown_key"] == 1


def test_a_file_of_keys_has_comments_and_the_first_one_signs():
    keys = parse_keys(f"# QA\n\nnew {'n' * 32}\n  old\t{'o' * 32}  \n")
    assert [key.id for key in keys] == ["new", "old"]
    assert "nnn" not in repr(keys)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "0 keys"),
        ("qa short", "line 1 is not a key"),
        (f"# a\nQA {'k' * 32}", "line 2 is not a key"),
        (f"qa {'k' * 32}\nqa {'l' * 32}", "line 2: key 'qa' is there twice"),
        ("\n".join(f"k{n} {'k' * 32}" for n in range(17)), "17 keys"),
    ],
)
def test_a_file_of_keys_that_cannot_be_used_is_refused_without_a_word_of_its_secrets(text, what):
    with pytest.raises(KeysError) as refused:
        parse_keys(text)
    assert what in str(refused.value)
    assert refused.value.remedy
    assert "short" not in str(refused.value)


def test_what_no_token_can_say_is_refused():
    for variants, expires_s in (({}, 1), ({"chat": "b"}, 10**13), ({"Chat": "b"}, 1)):
        with pytest.raises(CanaryError, match="no token can say that"):
            sign(KEY, variants, expires_s)
