"""AUTH: which keys of a provider's set count, what is taken for a set, and how it is had."""

import contextlib
import gzip
import ipaddress
import json
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from contract_tests.harness import expect, services
from contract_tests.harness.client import Client
from contract_tests.harness.provider import EcKey, Provider, RsaKey, answer, ec_key, rsa_key
from contract_tests.harness.services import KINDS, Kind, Service
from contract_tests.harness.tokens import claims, encoded

Key = RsaKey | EcKey
Jwk = dict[str, Any]
# What a key of the set is, the key in full, and whether it counts.
Row = tuple[Jwk, Key, bool]

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
# The y of a point whose x is 0.
ROOT_OF_B = bytes.fromhex("66485c780e2f83d72433bd5d84a06bb6541c2af31dae871728bf856a174f93f4")


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A provider that says nothing yet."""
    provider = Provider()
    yield provider
    provider.close()


def token(key: Key, kid: object, user_id: int, **header: object) -> str:
    """A token that this key has signed."""
    fields = {"alg": "RS256" if isinstance(key, RsaKey) else "ES256", "kid": kid} | header
    payload = claims(user_id, role=None, epoch=None)
    text = f"{encoded(fields)}.{encoded(payload)}"
    return f"{text}.{encoded(key.sign(text.encode()))}"


def me(api: Client, given: str) -> Client:
    return api.asking(f"Bearer {given}")


# Keys that count


def rows_of_both(key: Key) -> Iterator[Row]:
    """What holds for keys of both kinds."""
    ours, other = ("RS256", "ES256") if isinstance(key, RsaKey) else ("ES256", "RS256")
    values: dict[str, tuple[list[object], list[object]]] = {
        "use": (["sig"], ["enc", "SIG", "", None, 1, True, ["sig"], {}]),
        "key_ops": (
            [["verify"], ["sign", "verify"], ["verify", "verify"], ["verify", 1]],
            [[], ["sign"], ["encrypt"], ["Verify"], "verify", "", None, 1, {}, {"verify": 1}],
        ),
        "alg": ([ours], [other, "none", "PS256", "HS256", ours.lower(), "", None, 1, [ours], {}]),
        "kty": ([], ["oct", "OKP", "rsa", "ec", "", None, 1, ["RSA"], {}]),
        "x5c": ([["no certificate"], [], None, 1], []),
        "ext": ([True, None], []),
        "k": (["AQAB"], []),
        "__proto__": ([{"d": "AQAB"}, None], []),
    }
    yield key.jwk(), key, True
    yield key.jwk(use="sig", key_ops=["verify"], alg=ours), key, True
    for name, (good, bad) in values.items():
        for value in good:
            yield key.jwk(**{name: value}), key, True
        for value in bad:
            yield key.jwk(**{name: value}), key, False
    for private in ("d", "p", "q", "dp", "dq", "qi", "oth"):
        for value in ("AQAB", "", None, 1, []):
            yield key.jwk(**{private: value}), key, False
    for name in ("n", "e") if isinstance(key, RsaKey) else ("crv", "x", "y"):
        right = key.jwk()[name]
        for value in (None, 1, "", [], {}, True, [right], f"{right}=", f"{right} ", f" {right}"):
            yield key.jwk(**{name: value}), key, False
    for name in key.jwk():
        yield {other: value for other, value in key.jwk().items() if other != name}, key, False


def rsa_rows() -> Iterator[Row]:
    key = rsa_key()
    numbers = key.public_key().public_numbers()
    yield from rows_of_both(key)
    octets = numbers.n.to_bytes(256, "big")
    for n in (b"\0" + octets, b"\0\0" + octets, octets[:-1], octets[1:], bytes(256)):
        yield key.jwk(n=encoded(n)), key, False
    right = encoded(octets)  # four characters too few for unused bits: 256 octets have 2 of them
    twins = [right[:-1] + chr(ord(right[-1]) + 1), right.replace("-", "+").replace("_", "/")]
    for twin in twins:
        yield key.jwk(n=twin), key, twin == right
    for e in (0, 1, 2, 4, 65536, 65538, 2**31 + 1, 2**64 + 1, numbers.n):
        yield key.jwk(e=encoded(e.to_bytes((e.bit_length() + 7) // 8 or 1, "big"))), key, False
    for text in ("AAEAAQ", "AQAB==", "AQAC", "AQA", "AQABA", "A", "AQ-B", "65537", "\xe4"):
        yield key.jwk(e=text), key, False
    for bits, counts in ((1024, False), (2047, False), (3072, True)):
        other = rsa_key(bits)
        yield other.jwk(), other, counts
    three = rsa_key(2048, 3)
    yield three.jwk(), three, True


def ec_rows() -> Iterator[Row]:
    key = ec_key()
    yield from rows_of_both(key)
    numbers = key.public_key().public_numbers()
    right = {"x": numbers.x.to_bytes(32, "big"), "y": numbers.y.to_bytes(32, "big")}
    for crv in ("p-256", "P-384", "P-521", "secp256k1", "secp256r1", "prime256v1", "Ed25519"):
        yield key.jwk(crv=crv), key, False
    for name, octets in right.items():
        for other in (b"\0" + octets, octets + b"\0", octets[1:], octets[:-1], bytes(32)):
            yield key.jwk(**{name: encoded(other)}), key, False
        text = encoded(octets)
        yield key.jwk(**{name: text[:-1] + chr(ord(text[-1]) + 1)}), key, False
        changed = int.from_bytes(octets, "big") ^ 1
        yield key.jwk(**{name: encoded(changed.to_bytes(32, "big"))}), key, False
        for number in (P, P + 1, 2**256 - 1):
            yield key.jwk(**{name: encoded(number.to_bytes(32, "big"))}), key, False
    swapped = {"x": encoded(right["y"]), "y": encoded(right["x"])}
    yield key.jwk(**swapped), key, False
    for curve in (ec.SECP384R1(), ec.SECP256K1()):
        of_another = EcKey(curve)
        for crv in ("P-256", curve.name, "P-384"):
            yield of_another.jwk(crv=crv), of_another, False


# Ids that are none.
NO_IDS: list[object] = [None, 1, [], ["x"], {}]
NO_KEYS: list[object] = [None, 1, "x", True, [], [[]], {}, {"kid": "x"}, {"kty": "RSA"}, [None]]


@pytest.mark.engine("sqlite")
@pytest.mark.clause("AUTH-26", "AUTH-28", "AUTH-19", "OPS-11")
def test_which_keys_count(provider: Provider, launched: Callable[..., Service]) -> None:
    """All of them in one set, so none that doesn't count stands in the way of the others."""
    rows = [*rsa_rows(), *ec_rows()]
    assert len(rows) > 200
    jwks = [*NO_KEYS, *(jwk | {"kid": f"{number}"} for number, (jwk, _, _) in enumerate(rows))]
    # Without an id nobody can name it.
    jwks += [rsa_key().jwk(kid=kid) for kid in NO_IDS]
    # The order is no matter.
    for document in (jwks, jwks[::-1]):
        path = f"/keys/{len(provider.requests)}"
        provider.say(path, json.dumps({"keys": document}).encode())
        api = launched(AUTH_JWKS_URL=provider.url(path)).api
        user = api.create()
        shown = {name: user[name] for name in ("name", "email", "id")}
        wrong = []
        for number, (jwk, key, counts) in enumerate(rows):
            taken = me(api, token(key, f"{number}", user["id"])).get("/users/me")
            try:
                if counts:
                    expect.user(taken, 200, **shown)
                else:
                    expect.problem(taken, "unauthorized", invalid_token=True)
            except AssertionError:
                wrong.append(f"{taken.status}, {'counts' if counts else 'does not'}: {jwk}")
        assert wrong == []
        assert provider.asked(path) == 1


@pytest.mark.engine("sqlite")
@pytest.mark.clause("AUTH-28", "AUTH-29")
def test_several_keys_of_one_id(provider: Provider, launched: Callable[..., Service]) -> None:
    one, other, curve = rsa_key(), rsa_key(2048, 3), ec_key()
    jwks = [
        one.jwk(kid="two"),
        other.jwk(kid="two"),
        one.jwk(kid="same"),
        one.jwk(kid="same"),
        one.jwk(kid="both"),
        curve.jwk(kid="both"),
        curve.jwk(kid="turned"),
        one.jwk(kid="turned"),
        one.jwk(kid="second", use="enc"),
        one.jwk(kid="second", alg="none"),
        other.jwk(kid="second"),
        curve.jwk(kid="second", d="AQAB"),
        curve.jwk(kid="second"),
        rsa_key(1024).jwk(kid="third"),
        None,
        one.jwk(kid="third", key_ops=["encrypt"]),
        one.jwk(kid="third"),
        # As if its x were 0.
        curve.jwk(kid="unreduced", x=encoded(P.to_bytes(32, "big")), y=encoded(ROOT_OF_B)),
        curve.jwk(kid="unreduced"),
        one.jwk(kid=""),
        one.jwk(kid="\U0001f511"),
        one.jwk(kid="\ud800"),
        one.jwk(kid="__proto__"),
    ]
    provider.say("/keys", json.dumps({"keys": jwks}).encode())
    api = launched(AUTH_JWKS_URL=provider.url("/keys")).api
    user = api.create()
    keys: dict[str, Key] = {"one": one, "other": other, "curve": curve}
    taken = {
        (kid, name)
        for kid in [*{jwk["kid"] for jwk in jwks if jwk}, "x", "Two", "two ", "constructor"]
        for name, key in keys.items()
        if me(api, token(key, kid, user["id"])).get("/users/me").status == 200
    }
    assert taken == {
        ("two", "one"),
        ("same", "one"),
        ("both", "one"),
        ("both", "curve"),
        ("unreduced", "curve"),
        ("turned", "one"),
        ("turned", "curve"),
        ("second", "other"),
        ("second", "curve"),
        ("third", "one"),
        ("", "one"),
        ("\U0001f511", "one"),
        ("\ud800", "one"),
        ("__proto__", "one"),
    }


# What is taken for a set

# Of each URL: whether the key is found there, and how many seconds that took.
FIND: dict[Kind, str] = {
    "python": """
import asyncio, json, sys, time
import uvloop
from python_api.auth.keys import ProviderKeys
from python_api.http.problems import Problem
from python_api.settings import read_settings

async def find(url):
    keys = ProviderKeys(read_settings({"AUTH_JWKS_URL": url}))
    try:
        return "found" if await keys.find("RS256", "rsa") else "none"
    except Problem as problem:
        return problem.code

async def main():
    for verdict in await asyncio.gather(*map(find, json.loads(sys.argv[1]))):
        print(verdict)

uvloop.run(main())
""",
    "node": """
import { ProviderKeys } from "./src/auth/keys.ts";
import { Problem } from "./src/http/problems.ts";
import { readSettings } from "./src/settings.ts";

async function find(url) {
  const keys = new ProviderKeys(readSettings({ AUTH_JWKS_URL: url }));
  try {
    return (await keys.find("RS256", "rsa")) ? "found" : "none";
  } catch (error) {
    if (error instanceof Problem) return error.code;
    throw error;
  }
}

for (const verdict of await Promise.all(JSON.parse(process.argv[1]).map(find))) {
  console.log(verdict);
}
""",
}

FOUND, NONE, UNAVAILABLE = "found", "none", "provider-unavailable"


def documents() -> Iterator[tuple[str, bytes, str]]:
    """Documents, and what is found in them."""
    key = rsa_key().jwk(kid="rsa")
    text = json.dumps(key)
    whole = json.dumps({"keys": [key]})
    for keys, verdict in (
        ([key], FOUND),
        ([], NONE),
        ([None], NONE),
        ([None, key], FOUND),
        ([key, None], FOUND),
        ([[key]], NONE),
        ([{"keys": [key]}], NONE),
        ([text], NONE),
        ([key | {"kid": "other"}], NONE),
        ([key | {"kid": "RSA"}], NONE),
        ([ec_key().jwk(kid="rsa")], NONE),
        ([ec_key().jwk(kid="rsa"), key], FOUND),
        ([key | {"alg": "none"}], NONE),
        ([{"kid": "other", "alg": "none"}, key], FOUND),
        ([key, key], FOUND),
        *NO_KEYS_ALONE,
    ):
        yield f"keys: {keys}"[:60], json.dumps({"keys": keys}).encode(), verdict
    for document in (
        *("", "null", "1", '"x"', "[]", "{}", f"[{text}]", text, f"[{whole}]"),
        *('{"keys":null}', '{"keys":{}}', '{"keys":"x"}', '{"keys":1}', f'{{"keys":{text}}}'),
        *(f'{{"Keys":[{text}]}}', f'{{"keys ":[{text}]}}', f'{{"__proto__":{whole}}}'),
        *(whole[:-1], f"{whole}x", f"{whole}{whole}", f"\x00{whole}", f"{whole}\x00"),
        *(f'{whole[:-1]},"x":NaN}}', f'{whole[:-1]},"x":-Infinity}}', f"{whole[:-1]},}}"),
        *(f'{whole[:-1]},"x":01}}', f'{whole[:-1]},"x":"\n"}}', f"\ufeff{whole}"),
        *(f'{whole[:-1]},"x":{"[" * 32}{"]" * 32}}}', f'{whole[:-1]},"x":{"[" * 5000}}}'),
        f'{whole[:-1]},"keys":{{}}}}',
    ):
        yield document[:60], document.encode(), UNAVAILABLE
    for document, verdict in (
        (f'{{"keys":{{}},{whole[1:]}', FOUND),
        (f'{{"keys":[{text}],"keys":[]}}', NONE),
        (f'{whole[:-1]},"x":{"[" * 31}{"]" * 31}}}', FOUND),
        (f'{whole[:-1]},"x":1e999}}', FOUND),
        (f'{whole[:-1]},"x":{"1" * 5000}}}', FOUND),
        (f" \r\n\t{whole} \r\n\t", FOUND),
        (whole.replace("keys", "\\u006beys"), FOUND),
        (whole + " " * (2**20 - len(whole)), FOUND),
        (whole + " " * (2**20 - len(whole) + 1), UNAVAILABLE),
        (whole + " " * 2**24, UNAVAILABLE),
    ):
        yield f"{document[:60]} {len(document)}", document.encode(), verdict
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"):
        yield encoding, whole.encode(encoding), UNAVAILABLE
    yield "latin-1", whole[:-1].encode() + b',"x":"\xe4"}', UNAVAILABLE
    # How long a key may be; to see that it counts takes no private half.
    for bits, verdict in ((8192, FOUND), (8193, NONE), (16384, NONE)):
        n = encoded((2 ** (bits - 1) + 2**64 + 1).to_bytes((bits + 7) // 8, "big"))
        yield f"{bits} bits", json.dumps({"keys": [key | {"n": n}]}).encode(), verdict
    even = encoded((2**2047 + 2**64).to_bytes(256, "big"))
    yield "an even modulus", json.dumps({"keys": [key | {"n": even}]}).encode(), NONE
    for e, verdict in ((3, FOUND), (5, FOUND), (2**31 - 1, FOUND), (2**31 + 1, NONE)):
        text_e = encoded(e.to_bytes((e.bit_length() + 7) // 8, "big"))
        yield f"e = {e}", json.dumps({"keys": [key | {"e": text_e}]}).encode(), verdict


NO_KEYS_ALONE = [([one], NONE) for one in NO_KEYS]


def answers(good: str) -> Iterator[tuple[str, bytes, str]]:
    """Answers as they come, and what is found in them; there is a set at the URL `good`."""
    body = json.dumps({"keys": [rsa_key().jwk(kid="rsa")]}).encode()
    size = f"Content-Length: {len(body)}"

    def raw(*lines: str, body: bytes = body) -> bytes:
        return "\r\n".join([*lines, "", ""]).encode() + body

    def full(*lines: str, more: int = 0) -> str:
        """A field that brings the reason of two letters and these fields to the limit."""
        used = 2 + sum(len(line) - 2 for line in lines)
        return f"X: {'x' * (16384 - used - 1 + more)}"

    half = len(body) // 2
    chunks = b"%x\r\n%b\r\n%x;a=b\r\n%b\r\n0\r\n" % (
        half,
        body[:half],
        len(body) - half,
        body[half:],
    )
    chunked = "Transfer-Encoding: chunked"
    ok = "HTTP/1.1 200 OK"
    hints = "HTTP/1.1 103 OK"
    long = full(size, more=-1)
    # Five bytes for two that count, and more fields than Node keeps by itself.
    short = ["A:b"] * 8000
    for what, data in {
        "HTTP/1.0": raw("HTTP/1.0 200 OK"),
        "HTTP/1.0 with a length": raw("HTTP/1.0 200 OK", size),
        "no length": raw(ok),
        "no length, close": raw(ok, "Connection: close"),
        "keep-alive": raw(ok, size, "Connection: keep-alive"),
        "chunks": raw(ok, chunked, body=chunks + b"\r\n"),
        "chunks and a trailer": raw(ok, chunked, body=chunks + b"X: y\r\n\r\n"),
        "another reason": raw("HTTP/1.1 200 Never mind", size),
        "no reason": raw("HTTP/1.1 200 ", size),
        "another media type": raw(ok, size, "Content-Type: text/html; charset=utf-16"),
        "100 before": raw("HTTP/1.1 100 Continue", body=b"") + raw(ok, size),
        "103 before": raw("HTTP/1.1 103 Early Hints", "Link: </x>", body=b"") + raw(ok, size),
        "something behind": raw(ok, size) + b"HTTP/1.1 500 No\r\n\r\n",
        "the same behind": raw(ok, size) * 2,
        "chunks behind chunks": raw(ok, chunked, body=chunks + b"\r\n") * 2,
        "a long head": raw(ok, size, f"X: {'x' * 12000}"),
        "as long a head as may be": raw(ok, size, long),
        "a long reason": raw(f"HTTP/1.1 200 {'x' * 16000}", size),
        "a head of short fields": raw(ok, size, *short),
        "as long a head before": raw(hints, full(more=-1), body=b"") + raw(ok, size, long),
        "many before": raw(hints, f"X: {'x' * 9000}", body=b"") * 10 + raw(ok, size),
        "many short ones before": raw(hints, body=b"") * 5000 + raw(ok, size),
        "a length before": raw(hints, "Content-Length: 3", body=b"") + raw(ok),
        "encodings before": (
            raw(hints, "Content-Encoding: gzip", "Transfer-Encoding: gzip", body=b"")
            + raw(ok, size)
        ),
        "as long a trailer as may be": raw(
            ok, chunked, body=chunks + f"X: {'x' * 16382}\r\n\r\n".encode()
        ),
        "an encoding in the trailer": raw(
            ok, chunked, body=chunks + b"Content-Encoding: gzip\r\n\r\n"
        ),
        "Chunked": raw(ok, "Transfer-Encoding: Chunked ", body=chunks + b"\r\n"),
        "identity": raw(ok, size, "Content-Encoding: identity"),
        "Identity": raw(ok, size, "Content-Encoding: Identity "),
        "an empty encoding": raw(ok, size, "Content-Encoding:"),
        "a cookie": raw(ok, size, "Set-Cookie: a=b", "Set-Cookie: a=b"),
        "cached elsewhere": raw(ok, size, "Cache-Control: no-store", "Age: 100000"),
    }.items():
        yield what, data, FOUND
    location = f"Location: {good}"
    for status in (201, 202, 203, 204, 205, 206, 226, 300, 304, 305, 400, 401, 403, 404, 407, 410):
        yield f"{status}", answer(body, f"{status} X"), UNAVAILABLE
    for status in (418, 429, 500, 501, 502, 503, 504, 599, 600, 999):
        yield f"{status}", answer(body, f"{status} X", "Retry-After: 0"), UNAVAILABLE
    for status in (301, 302, 303, 307, 308):
        yield f"{status}", answer(body, f"{status} X", location), UNAVAILABLE
    for coding in ("gzip", "x", "gzip, identity", "identity, identity", "identity;q=1", "chunked"):
        what = f"Content-Encoding: {coding}"
        yield what, raw(ok, size, what), UNAVAILABLE
        yield f"{what}, in chunks", raw(ok, chunked, what, body=chunks + b"\r\n"), UNAVAILABLE
    two = ["Content-Encoding: identity"] * 2
    yield "two encodings", raw(ok, size, *two), UNAVAILABLE
    for coding in (
        *("gzip", "x", "xchunked", "identity", "gzip, chunked", "identity, chunked"),
        *("chunked, gzip", "chunked, chunked", "chunked,", ",chunked", "chunked;a=b"),
    ):
        what = f"Transfer-Encoding: {coding}"
        yield what, raw(ok, what), UNAVAILABLE
        yield f"{what}, in chunks", raw(ok, what, body=chunks + b"\r\n"), UNAVAILABLE
    two = ["Transfer-Encoding: gzip", chunked]
    yield "two in transfer", raw(ok, *two, body=chunks + b"\r\n"), UNAVAILABLE
    gzipped = gzip.compress(body)
    for what, data in {
        "nothing": b"",
        "no HTTP": b"hello\r\n\r\n",
        "a version more": raw("HTTP/2 200 OK", size),
        "half a head": raw(ok, size)[:30],
        "gzip": raw(ok, "Content-Encoding: gzip", f"Content-Length: {len(gzipped)}", body=gzipped),
        "gzip in transfer": raw(ok, "Transfer-Encoding: gzip", body=gzipped),
        "a byte too few": raw(ok, f"Content-Length: {len(body) + 1}"),
        "a byte cut": raw(ok, f"Content-Length: {len(body) - 1}"),
        "no length that is one": raw(ok, "Content-Length: x"),
        "less than nothing": raw(ok, "Content-Length: -1"),
        "two lengths": raw(ok, size, "Content-Length: 1"),
        "length and chunks": raw(ok, size, chunked, body=chunks + b"\r\n"),
        "no end of the chunks": raw(ok, chunked, body=chunks),
        "half of the chunks": raw(ok, chunked, body=chunks[: half // 2]),
        "no chunks": raw(ok, chunked),
        "nothing in it": raw(ok, "Content-Length: 0", body=b""),
        "101": raw("HTTP/1.1 101 Switching", "Upgrade: x", "Connection: upgrade"),
        "100 alone": raw("HTTP/1.1 100 Continue", body=b""),
        "too long a head": raw(ok, size, f"X: {'x' * 17000}"),
        "a byte too long a head": raw(ok, size, full(size)),
        "too long a reason": raw(f"HTTP/1.1 200 {'x' * 16384}", size),
        "a byte too long a head before": raw(hints, full(), body=b"") + raw(ok, size),
        "a byte too long a trailer": raw(
            ok, chunked, body=chunks + f"X: {'x' * 16383}\r\n\r\n".encode()
        ),
        "a trailer without an end": raw(ok, chunked, body=chunks + b"X: " + b"x" * 2**20),
        "an encoding behind short fields": raw(ok, size, *short, "Content-Encoding: gzip"),
        "too many fields": raw(ok, size, *(f"X-{n}: {'x' * 40}" for n in range(500))),
        "a head without an end": (ok + "\r\nX: ").encode() + b"x" * 2**20,
        "chunks that are too much": raw(
            ok, chunked, body=b"100000\r\n" + b" " * 2**20 + b"\r\n" + chunks + b"\r\n"
        ),
    }.items():
        yield what, data, UNAVAILABLE


def found(kind: Kind, urls: list[str]) -> list[str]:
    printed = services.run_code(FIND, kind, json.dumps(urls)).splitlines()
    # The log's lines are objects.
    return [line for line in printed if not line.startswith("{")]


@pytest.mark.clause("AUTH-27", "AUTH-26", "AUTH-28", "AUTH-22", "AUTH-32")
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_taken_for_a_set(provider: Provider, kind: Kind) -> None:
    rows = list(documents())
    assert len(rows) > 70
    for number, (_, document, _) in enumerate(rows):
        provider.say(f"/{number}", document)
    verdicts = found(kind, [provider.url(f"/{number}") for number in range(len(rows))])
    wrong = [
        f"{what}: {verdict}, should be {right}"
        for (what, _, right), verdict in zip(rows, verdicts, strict=True)
        if verdict != right
    ]
    assert wrong == []


@pytest.mark.clause("AUTH-32", "AUTH-22")
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_taken_for_an_answer(provider: Provider, kind: Kind) -> None:
    provider.say("/good", json.dumps({"keys": [rsa_key().jwk(kid="rsa")]}).encode())
    rows = list(answers(provider.url("/good")))
    assert len(rows) > 60
    for number, (_, data, _) in enumerate(rows):
        provider.say_raw(f"/{number}", data)
    urls = [provider.url(f"/{number}") for number in range(len(rows))]
    verdicts = found(kind, [*urls, "http://127.0.0.1:1/", "http://nowhere.invalid/"])
    assert verdicts[-2:] == [UNAVAILABLE] * 2
    wrong = [
        f"{what}: {verdict}, should be {right}"
        for (what, _, right), verdict in zip(rows, verdicts[:-2], strict=True)
        if verdict != right
    ]
    assert wrong == []
    # No redirect was followed.
    assert provider.asked("/good") == 0


@pytest.mark.clause("AUTH-32")
@pytest.mark.parametrize("kind", KINDS)
def test_how_it_is_asked_for(provider: Provider, kind: Kind) -> None:
    paths = ["/keys", "/", "/a/../b/./c", "/a?b=c&d=%zz", '/"<>\\^`{|}', "//a", "/keys#x", ""]
    urls = [provider.url(path) for path in paths]
    assert found(kind, urls) == [UNAVAILABLE] * len(urls)
    host = provider.url("").partition("//")[2]
    fields = [
        "Accept: application/jwk-set+json, application/json",
        "Connection: close",
        f"Host: {host}",
        "User-Agent: users",
    ]
    requests = [
        request.decode().removesuffix("\r\n\r\n").split("\r\n") for request in provider.requests
    ]
    assert sorted([first, *sorted(more)] for first, *more in requests) == sorted(
        [f"GET {path.partition('#')[0] or '/'} HTTP/1.1", *fields] for path in paths
    )


# When it is asked for


@pytest.mark.clause("AUTH-31")
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_waited_for_longer_than_five_seconds(provider: Provider, kind: Kind) -> None:
    head = b"HTTP/1.1 200 OK\r\n"
    provider.hang("/silent")
    provider.hang("/drips in the head".replace(" ", "-"), b"", b"H")
    provider.hang("/drips-fields", head, b"X: y\r\n")
    provider.hang("/drips-hints", b"", b"HTTP/1.1 103 X\r\n\r\n")
    provider.hang("/head", head + b"\r\n")
    provider.hang("/body", head + b"Content-Length: 9\r\n\r\n{")
    provider.hang("/drips-in-the-body", head + b"\r\n{", b" ")
    provider.hang("/drips-chunks", head + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n")
    paths = ["silent", "drips-in-the-head", "drips-fields", "drips-hints", "head", "body"]
    urls = [provider.url(f"/{path}") for path in [*paths, "drips-in-the-body", "drips-chunks"]]
    # Nobody speaks TLS there.
    urls.append(provider.url("/").replace("http:", "https:"))
    begun = time.monotonic()
    assert found(kind, urls) == [UNAVAILABLE] * len(urls)
    # Without an end of it they would drip for ever.
    assert time.monotonic() - begun < 30


@pytest.mark.engine("sqlite")
@pytest.mark.clause("AUTH-30", "AUTH-31", "AUTH-35", "AUTH-21", "AUTH-22")
def test_a_provider_that_hangs_is_asked_once(
    provider: Provider, launched: Callable[..., Service]
) -> None:
    provider.hang("/keys")
    service = launched(AUTH_JWKS_URL=provider.url("/keys"))
    api = service.api
    given = [token(ec_key(), f"{number}", 1) for number in range(30)]
    requests = [
        api.message("GET", "/users/me", [("Authorization", f"Bearer {one}")]) for one in given
    ]
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(api.connect(30)) for _ in requests]
        for connection, request in zip(connections, requests, strict=True):
            connection.send(request)
        assert provider.hanging.wait(20)
        # Nobody else waits, those with a password to hash neither.
        for _ in range(5):
            api.create(password="a password of somebody")
        expect.body(api.get("/healthz"), 200, b'{"status":"ok"}')
        expect.problem(api.get("/users"), "unauthorized")
        for connection in connections:
            expect.problem(connection.read("GET"), "provider-unavailable")
    # And then it is left alone.
    begun = time.monotonic()
    for one in given[:10]:
        expect.problem(me(api, one).get("/users/me"), "provider-unavailable")
    assert time.monotonic() - begun < 4
    assert len(provider.requests) == 1
    warnings = [line for line in map(json.loads, service.stdout().splitlines()) if "error" in line]
    assert [(line["level"], line["message"], line["error"]) for line in warnings] == [
        ("warning", "provider unavailable", "not there within 5 seconds")
    ]


# A clock that a test can put forward, and what happens in which order.
IN_TIME: dict[Kind, str] = {
    "python": """
import asyncio, json, sys, time
import uvloop
from python_api.auth.keys import ProviderKeys
from python_api.http.problems import Problem
from python_api.settings import read_settings

keys = ProviderKeys(read_settings({"AUTH_JWKS_URL": sys.argv[1]}))
clock, forward = time.monotonic, 0
time.monotonic = lambda: clock() + forward

async def find(key_id):
    try:
        return "found" if await keys.find("RS256", key_id) else "none"
    except Problem as problem:
        return problem.code

async def main():
    global forward
    for line in sys.stdin:
        seconds, names = json.loads(line)
        forward += seconds
        asked = [asyncio.create_task(find(name)) for name in names]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        # What needs nobody else is there at once.
        await asyncio.sleep(0.1)
        first = [one.result() if one.done() else "waits" for one in asked]
        print(json.dumps([first, [await one for one in asked]]), flush=True)

uvloop.run(main())
""",
    "node": """
import { createInterface } from "node:readline";
import { ProviderKeys } from "./src/auth/keys.ts";
import { Problem } from "./src/http/problems.ts";
import { readSettings } from "./src/settings.ts";

const keys = new ProviderKeys(readSettings({ AUTH_JWKS_URL: process.argv[1] }));
const clock = performance.now.bind(performance);
let forward = 0;
performance.now = () => clock() + forward * 1000;

async function find(keyId) {
  try {
    return (await keys.find("RS256", keyId)) ? "found" : "none";
  } catch (error) {
    if (error instanceof Problem) return error.code;
    throw error;
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const [seconds, names] = JSON.parse(line);
  forward += seconds;
  const first = names.map(() => "waits");
  const asked = names.map((name, index) => find(name).then((verdict) => (first[index] = verdict)));
  await Promise.race(asked);
  // What needs nobody else is there at once.
  await new Promise((resolve) => setTimeout(resolve, 100));
  console.log(JSON.stringify([[...first], await Promise.all(asked)]));
}
""",
}


class InTime:
    """A process with a clock that is put forward, and keys that are looked for."""

    def __init__(self, kind: Kind, provider: Provider) -> None:
        self._provider = provider
        self._process = services.start_code(IN_TIME, kind, provider.url("/keys"))
        self.waiting: list[str] = []

    def find(self, *names: str, after: float = 0) -> tuple[list[str], int]:
        """What comes of looking for these at once, and how often the provider was asked so far.

        What there is of it while others still wait is in `waiting`.
        """
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps([after, names]), file=self._process.stdin, flush=True)
        # The log's lines are objects.
        printed = next(line for line in self._process.stdout if not line.startswith("{"))
        self.waiting, verdicts = json.loads(printed)
        return verdicts, len(self._provider.requests)

    def close(self) -> None:
        self._process.communicate(timeout=20)


@pytest.fixture
def in_time(kind: Kind, provider: Provider) -> Iterator[InTime]:
    """The process, which asks the provider for `/keys`."""
    process = InTime(kind, provider)
    yield process
    process.close()


def key_set(*names: str) -> bytes:
    return json.dumps({"keys": [rsa_key().jwk(kid=name) for name in names]}).encode()


@pytest.mark.clause("AUTH-20", "AUTH-21", "AUTH-22")
@pytest.mark.parametrize("kind", KINDS)
def test_when_the_set_is_asked_for_again(provider: Provider, in_time: InTime) -> None:
    find = in_time.find
    # A failure counts as much as a set.
    provider.say_raw("/keys", b"")
    assert find("a") == ([UNAVAILABLE], 1)
    provider.say("/keys", key_set("a"))
    assert find("a") == ([UNAVAILABLE], 1)
    assert find("a", "b", after=29) == ([UNAVAILABLE] * 2, 1)
    assert find("a", "b", after=2) == ([FOUND, NONE], 2)
    # A key that is not in it is looked up again, and not at once.
    provider.say("/keys", key_set("a", "b"))
    assert find("b", after=28) == ([NONE], 2)
    assert find("b", "c", after=3) == ([FOUND, NONE], 3)
    # Ten minutes from then on.
    provider.say("/keys", key_set("b"))
    assert find("a", after=598) == ([FOUND], 3)
    assert find("a", "b", after=3) == ([NONE, FOUND], 4)
    # What was had is kept while others are looked for in vain.
    provider.say_raw("/keys", b"")
    assert find("c", "b", after=31) == ([UNAVAILABLE, FOUND], 5)
    assert find("c", "b") == ([UNAVAILABLE, FOUND], 5)
    assert find("c", "b", after=31) == ([UNAVAILABLE, FOUND], 6)
    # But not for ever.
    assert find("b", after=530) == ([FOUND], 6)
    assert find("b", after=20) == ([UNAVAILABLE], 7)
    provider.say("/keys", key_set("b"))
    assert find("b", after=29) == ([UNAVAILABLE], 7)
    assert find("b", after=2) == ([FOUND], 8)


@pytest.mark.clause("AUTH-30", "AUTH-31")
@pytest.mark.parametrize("kind", KINDS)
def test_nobody_waits_whose_key_is_there(provider: Provider, in_time: InTime) -> None:
    provider.say("/keys", key_set("a"))
    assert in_time.find("a") == ([FOUND], 1)
    provider.hang("/keys")
    made_up = [f"{number}" for number in range(12)]
    verdicts = ([FOUND] + [UNAVAILABLE] * 12 + [FOUND], 2)
    assert in_time.find("a", *made_up, "a", after=31) == verdicts
    assert in_time.waiting == [FOUND] + ["waits"] * 12 + [FOUND]
    assert in_time.find("a", *made_up, "a") == verdicts
    assert in_time.waiting == verdicts[0]


@pytest.mark.engine("sqlite")
@pytest.mark.clause("AUTH-34", "AUTH-22", "AUTH-04")
def test_what_is_void_anyway_needs_no_set(
    provider: Provider, launched: Callable[..., Service]
) -> None:
    api = launched(AUTH_JWKS_URL=provider.url("/keys")).api
    key, header = ec_key(), {"alg": "ES256", "kid": "ec"}
    good = claims(1, role=None, epoch=None)

    def signed(fields: object, payload: object) -> str:
        text = f"{encoded(fields)}.{encoded(payload)}"
        return f"{text}.{encoded(key.sign(text.encode()))}"

    void = [
        *(
            signed(header | {"alg": alg}, good)
            for alg in ("HS256", "none", "PS256", None, ["ES256"])
        ),
        *(signed(header | {"kid": kid}, good) for kid in NO_IDS),
        *(signed({"alg": alg}, good) for alg in ("ES256", "RS256", "HS256")),
        signed(header | {"crit": ["exp"]}, good),
        signed(header | {"b64": False}, good),
        signed(header | {"typ": 1}, good),
        *(signed(header, good | {"exp": end}) for end in (1, "1", None, 1e300)),
        *(signed(header, good | {name: "x"}) for name in ("iss", "aud", "sub", "iat", "nbf")),
        signed(header, good | {"nbf": int(time.time()) + 600}),
        signed(header, []),
        signed([], good),
        f"{signed(header, good)}=",
        "a.b.c",
    ]
    for one in void:
        expect.problem(me(api, one).get("/users/me"), "unauthorized", invalid_token=True)
    assert provider.requests == []
    expect.problem(me(api, signed(header, good)).get("/users/me"), "provider-unavailable")
    assert len(provider.requests) == 1


# Whom it trusts


class Authority:
    """A private certificate authority, and a server's context with a certificate of it."""

    def __init__(self, directory: Path, host: str = "127.0.0.1") -> None:
        self.file = directory / "ca.pem"
        key, name = ec.generate_private_key(ec.SECP256R1()), _name("authority")
        own = _certificate(name, key.public_key(), name, key)
        self.file.write_bytes(b"# Whom we trust: \xe4\r\n" + own.public_bytes(Encoding.PEM))
        of_server = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(_name("server"), of_server.public_key(), name, key, host)
        both = directory / "server.pem"
        both.write_bytes(
            of_server.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + certificate.public_bytes(Encoding.PEM)
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(both)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    subject: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    issuers: ec.EllipticCurvePrivateKey,
    host: str = "",
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    is_authority = x509.BasicConstraints(ca=not host, path_length=None)
    builder = builder.add_extension(is_authority, critical=True)
    if host:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(issuers, SHA256())


@pytest.mark.engine("sqlite")
@pytest.mark.clause("AUTH-36")
@pytest.mark.parametrize(
    ("suite", "status"),
    [
        ("ECDHE-ECDSA-CHACHA20-POLY1305", 200),
        ("ECDHE-ECDSA-AES256-GCM-SHA384", 200),
        ("ECDHE-ECDSA-AES256-SHA384", 503),
        ("ECDHE-ECDSA-AES128-CCM", 503),
    ],
)
def test_which_suites_of_tls_are_spoken(
    launched: Callable[..., Service], tmp_path: Path, suite: str, status: int
) -> None:
    authority = Authority(tmp_path)
    authority.context.maximum_version = ssl.TLSVersion.TLSv1_2
    authority.context.set_ciphers(suite)
    provider = Provider(authority.context)
    provider.say("/keys", key_set("rsa"))
    api = launched(AUTH_JWKS_URL=provider.url("/keys"), AUTH_JWKS_CA=str(authority.file)).api
    user = api.create()
    answer = me(api, token(rsa_key(), "rsa", user["id"])).get("/users/me")
    assert answer.status == status, answer
    provider.close()


@pytest.mark.engine("sqlite")
@pytest.mark.clause("AUTH-33")
def test_the_settings_alone_say_whom_to_trust(
    launched: Callable[..., Service], tmp_path: Path
) -> None:
    ours, others = tmp_path / "ours", tmp_path / "others"
    for directory in (ours, others):
        directory.mkdir()
    authority, other = Authority(ours), Authority(others, "127.0.0.2")
    # Whatever the libraries themselves would read.
    environment = {
        "SSL_CERT_FILE": str(authority.file),
        "SSL_CERT_DIR": str(ours),
        "NODE_EXTRA_CA_CERTS": str(authority.file),
        "NODE_TLS_REJECT_UNAUTHORIZED": "0",
    }
    provider, stranger = Provider(authority.context), Provider(other.context)
    for one in (provider, stranger):
        one.say("/keys", key_set("rsa"))
    verdicts = []
    for server, more in (
        (provider, {"AUTH_JWKS_CA": str(authority.file)}),
        (provider, environment),
        (provider, environment | {"AUTH_JWKS_CA": str(other.file)}),
        # Its own certificate authority, but not its name.
        (stranger, {"AUTH_JWKS_CA": str(other.file)}),
    ):
        api = launched(AUTH_JWKS_URL=server.url("/keys"), **more).api
        user = api.create()
        verdicts.append(me(api, token(rsa_key(), "rsa", user["id"])).get("/users/me").status)
    provider.close()
    stranger.close()
    assert verdicts == [200, 503, 503, 503]


@pytest.mark.engine("sqlite")
@pytest.mark.clause("AUTH-33")
def test_no_proxy_is_asked(provider: Provider, launched: Callable[..., Service]) -> None:
    proxy = Provider()
    names = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
    environment = {name: proxy.url("") for name in names} | {"NODE_USE_ENV_PROXY": "1"}
    provider.say("/keys", key_set("rsa"))
    api = launched(AUTH_JWKS_URL=provider.url("/keys"), **environment).api
    user = api.create()
    assert me(api, token(rsa_key(), "rsa", user["id"])).get("/users/me").status == 200
    proxy.close()
    assert (len(proxy.requests), len(provider.requests)) == (0, 1)


# What comes of each of these paths.
CERTIFICATES: dict[Kind, str] = {
    "python": """
import json, sys
from python_api.settings import SettingsError, read_settings

for path in json.loads(sys.argv[1]):
    try:
        print(json.dumps(read_settings({"AUTH_JWKS_CA": path}).auth_jwks_ca.split()))
    except SettingsError as error:
        print(json.dumps(str(error)))
""",
    "node": """
import { readSettings, SettingsError } from "./src/settings.ts";

for (const path of JSON.parse(process.argv[1])) {
  try {
    console.log(JSON.stringify(readSettings({ AUTH_JWKS_CA: path }).authJwksCa.trim().split(/\\s+/)));
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    console.log(JSON.stringify(error.message));
  }
}
""",
}


@pytest.mark.clause("AUTH-33", "OPS-03")
@pytest.mark.parametrize("kind", KINDS)
def test_certificates_that_are_none_are_refused(kind: Kind, tmp_path: Path) -> None:
    good = Authority(tmp_path).file.read_text("latin-1")
    pem = good[good.index("-----") :]
    none = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    refused = "AUTH_JWKS_CA must be the path of a file of certificates in PEM"
    files: dict[str, tuple[str, object]] = {
        "one": (good, pem.split()),
        "two": (good + good, pem.split() * 2),
        "crlf": (good.replace("\n", "\r\n"), pem.split()),
        "empty": ("", refused),
        "text": ("hello", refused),
        "stars": (good.replace("M", "*"), refused),
        "label": (good.replace("CERTIFICATE", "PUBLIC KEY"), refused),
        "none": (none, refused),
        "half": (good + none, refused),
        "cut": (good.replace(pem.split()[3], ""), refused),
    }
    for name, (text, _) in files.items():
        (tmp_path / name).write_text(text, "latin-1", newline="")
    paths = [*(str(tmp_path / name) for name in files), str(tmp_path), str(tmp_path / "nowhere")]
    printed = services.run_code(CERTIFICATES, kind, json.dumps(paths))
    results = [json.loads(line) for line in printed.splitlines()]
    assert results == [*(result for _, result in files.values()), refused, refused]
