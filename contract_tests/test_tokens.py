"""AUTH: tables of tokens, each with its verdict, whatever is wrong with it: no library decides."""

import base64
import hashlib
import hmac
import json
import string
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from contract_tests.harness import expect, services, tokens
from contract_tests.harness.client import Client
from contract_tests.harness.provider import EcKey, Provider, RsaKey, ec_key, rsa_key
from contract_tests.harness.services import Service

# What a token is, and whether it is taken.
Row = tuple[str, str, bool]

OWN_HEADER = '{"alg":"HS256","typ":"JWT"}'
MAX = 2**53 - 1

# Texts in the place of a value. Those that are no JSON make no token.
NO_JSON = [
    "NaN",
    "Infinity",
    "-Infinity",
    "+1",
    ".5",
    "1.",
    "00",
    "01",
    "-01",
    "0x10",
    "1e",
    "1e+",
    "1_000",
    "True",
    "None",
    "undefined",
    "'1'",
    '"\\x"',
    '"\\u12"',
    "[1,]",
    '{"a":1,}',
    "{a:1}",
    "[",
    "{",
    '"',
    "-",
]
NUMBERS = [
    "0",
    "1",
    "2",
    "-1",
    "-0",
    "1.0",
    "1.5",
    "0.0",
    "1e0",
    "1E0",
    "1e3",
    "10e-1",
    "1e400",
    "-1e400",
    "1e-400",
    "9007199254740991",
    "9007199254740991.0",
    "9007199254740992",
    "9007199254740993",
    "9.007199254740991e15",
    "1e15",
    "99999999999999999999",
]
OTHERS = ["null", "true", "false", '""', '"1"', '"x"', "[]", "{}", "[1]", "[[]]", '[""]', '{"a":1}']
VALUES = [*NO_JSON, *NUMBERS, "1" * 5000, "0." + "1" * 5000, *OTHERS]


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header: str | bytes, payload: str | bytes) -> str:
    """A token of these texts, whatever they are, signed with the secret."""
    parts = [part.encode() if isinstance(part, str) else part for part in (header, payload)]
    return sealed(".".join(map(base64url, parts)))


def sealed(text: str, digest: str = "sha256") -> str:
    proof = hmac.new(tokens.SECRET.encode(), text.encode(), getattr(hashlib, digest)).digest()
    return f"{text}.{base64url(proof)}"


def unpadded_twins(text: str) -> list[str]:
    """Other texts that lenient decoders take for the same bytes."""
    unused = {0: 0, 2: 4, 3: 2}[len(text) % 4]
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    last = alphabet.index(text[-1])
    return [text[:-1] + alphabet[last + more] for more in range(1, 2**unused)]


def of(members: dict[str, str]) -> str:
    """An object of these members, the values as they are written."""
    return "{" + ",".join(f'"{name}":{value}' for name, value in members.items()) + "}"


def good(user_id: int, **changes: str | None) -> dict[str, str]:
    """The claims of a token that is taken, as they are written; None leaves one out."""
    now = int(time.time())
    ours: dict[str, str | None] = {
        "iss": '"users"',
        "aud": '"users"',
        "sub": f'"{user_id}"',
        "role": '"member"',
        "epoch": "1",
        "iat": f"{now}",
        "exp": f"{now + 900}",
    }
    return {name: value for name, value in (ours | changes).items() if value is not None}


def claims_rows(user_id: int, *, epoch: bool) -> Iterator[tuple[str, str, bool]]:
    """Payloads of every value for every claim, and whether a token of them is taken."""
    base = {} if epoch else {"epoch": None, "role": None}
    whole = {text: int(text) for text in NUMBERS if text.isdigit() and int(text) <= MAX}
    now = time.time()
    fits = {
        "iss": (),
        "aud": (),
        "sub": (),
        "exp": [text for text, number in whole.items() if number > now],
        "iat": whole,
        "nbf": [text for text, number in whole.items() if number <= now],
        "epoch": ["1"] if epoch else {*VALUES} - {*NO_JSON},
        "role": {*VALUES} - {*NO_JSON},
        "jti": {*VALUES} - {*NO_JSON},
        "x": {*VALUES} - {*NO_JSON},
    }
    for name, fitting in fits.items():
        for value in VALUES:
            # That may be somebody's id.
            if (name, value) != ("sub", '"1"'):
                payload = of(good(user_id, **(base | {name: value})))
                yield f"{name}: {value[:30]}", payload, value in fitting
    for name in ("iss", "aud", "sub", "exp", "iat", "epoch"):
        without = of(good(user_id, **(base | {name: None})))
        yield f"without {name}", without, name == "epoch" and not epoch
    more = {
        "iss": [('"users "', False), ('["users"]', False), ('"\\u0075sers"', True)],
        "aud": [
            ('["users"]', True),
            ('["x","users"]', True),
            ('["users","users"]', True),
            ('["\\u0075sers"]', True),
            ('["users",1]', False),
            ('["users",null]', False),
            ('["users",["users"]]', False),
            ('[["users"]]', False),
            ('["Users"]', False),
            ('{"users":1}', False),
            ('"users,x"', False),
        ],
        "sub": [
            (f"{user_id}", False),
            (f'"0{user_id}"', False),
            (f'"{user_id} "', False),
            (f'"+{user_id}"', False),
            (f'"{user_id}.0"', False),
            (f'"{user_id}\\n"', False),
            (f'["{user_id}"]', False),
            ('"9007199254740992"', False),
            ('"' + "9" * 5000 + '"', False),
            ('"١"', False),
            ("".join(['"', *(f"\\u{ord(digit):04x}" for digit in str(user_id)), '"']), True),
        ],
        "exp": [(f"{int(now)}", False), (f"{int(now) + 600}.5", False), ("1e10", False)],
        "nbf": [(f"{int(now) + 600}", False), (f"{int(now)}", True), (f"{int(now)}.0", False)],
    }
    for name, values in more.items():
        for value, taken in values:
            payload = of(good(user_id, **(base | {name: value})))
            yield f"{name}: {value[:30]}", payload, taken


def json_rows(user_id: int, *, epoch: bool) -> Iterator[tuple[str, bytes, bool]]:
    """Payloads that say the right thing in unusual ways, and whether a token of them is taken."""
    base = {} if epoch else {"epoch": None, "role": None}
    members = good(user_id, **base)
    text = of(members)
    whole = text.encode()

    def also(more: str) -> bytes:
        return f"{text[:-1]},{more}}}".encode()

    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-8-sig"):
        yield f"payload in {encoding}", text.encode(encoding), False
    for bad in (b"\xff", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe4"):
        yield f"{bad!r} in a text", whole[:-1] + b',"x":"' + bad + b'"}', False
    for control in (b"\x00", b"\n", b"\x1f"):
        yield f"{control!r} in a text", whole[:-1] + b',"x":"' + control + b'"}', False
    for some in ("\x7f", "ä", "\U0001f511", "\ufeff", "\\ud800", "\\udc00\\ud800", "\\u0000"):
        yield f"{some!r} in a text", also(f'"x":"{some}"'), True
    for before, after, taken in (
        (b" \t\r\n", b"", True),
        (b"", b" \t\r\n", True),
        (b"", b"\x00", False),
        (b"", b"x", False),
        (b"", b"{}", False),
        (b"[", b"]", False),
        (b"\x0b", b"", False),
        (b"\xc2\xa0", b"", False),
        (b"/**/", b"", False),
    ):
        yield f"{before!r} before, {after!r} after", before + whole + after, taken
    for levels, taken in ((31, True), (32, False), (3000, False)):
        yield f"{levels} more levels", also(f'"x":{"[" * levels}{"]" * levels}'), taken
        yield f"{levels} more objects", also(f'"x":{"{" * 0}{"[" * levels}{"]" * levels}'), taken
    yield "brackets in a text", also(f'"x":"{"[{" * 100}"'), True
    for name, wrong in (("exp", "1"), ("iss", '"x"'), ("sub", "null"), ("iat", "1.5")):
        first = f'"{name}":{wrong}'
        yield f"{name} twice, right at last", f"{{{first},{text[1:]}".encode(), True
        yield f"{name} twice, wrong at last", also(first), False
        escaped = f'"\\u{ord(name[0]):04x}{name[1:]}":{wrong}'
        yield f"{name} twice, escaped", also(escaped), False
        inherited = of({k: v for k, v in members.items() if k != name})
        own = f'"__proto__":{{"{name}":{members[name]}}}'
        yield f"{name} in __proto__", f"{inherited[:-1]},{own}}}".encode(), False
    for name in ("__proto__", "constructor", "toString", "", "exp ", "EXP", "nbf\\u0000"):
        yield f"a claim named {name!r}", also(f'"{name}":{{"exp":1}}'), True
    for nothing in (b"", b"null", b"[]", b"{}", b'"users"', b"1", b"{", b"}", b"[" * 3000):
        yield f"{nothing[:9]!r}", nothing, False


def verdicts(api: Client, user: dict[str, Any], rows: Iterable[Row]) -> list[str]:
    """Which of the rows are answered otherwise than they should be, and how many there are."""
    shown = {name: user[name] for name in ("name", "email", "id")}
    wrong = []
    count = 0
    for what, token, taken in rows:
        count += 1
        answer = api.asking(f"Bearer {token}").get("/users/me")
        try:
            if taken:
                expect.user(answer, 200, **shown)
            else:
                expect.problem(answer, "unauthorized", invalid_token=True)
        except AssertionError:
            wrong.append(f"{what}: {answer.status}, should be {'' if taken else 'not '}taken")
    assert count > 40
    return wrong


# Tokens of its own


@pytest.mark.usefixtures("known_secret")
@pytest.mark.clause("AUTH-25", "AUTH-07", "AUTH-18", "AUTH-17", "OPS-11")
def test_every_value_of_every_claim(guarded: Client) -> None:
    user = guarded.create()
    rows = [
        (what, signed(OWN_HEADER, payload), taken)
        for what, payload, taken in claims_rows(user["id"], epoch=True)
    ]
    assert verdicts(guarded, user, rows) == []


@pytest.mark.usefixtures("known_secret")
@pytest.mark.clause("AUTH-24", "OPS-11")
def test_payloads_in_unusual_writing(guarded: Client) -> None:
    user = guarded.create()
    rows = [
        (what, signed(OWN_HEADER, payload), taken)
        for what, payload, taken in json_rows(user["id"], epoch=True)
    ]
    assert verdicts(guarded, user, rows) == []


def header_rows() -> Iterator[tuple[str, str | bytes, bool]]:
    """Headers, and whether a token that the service's own secret has signed is taken with them."""
    ours = {"alg": '"HS256"', "typ": '"JWT"'}
    for name in ("alg", "typ"):
        for value in [*VALUES, '"hs256"', '"none"', '"HS384"', '"RS256"', '"jwt"', '"JWT "']:
            yield f"{name}: {value[:30]}", of(ours | {name: value}), False
        yield f"without {name}", of({k: v for k, v in ours.items() if k != name}), False
    more = [
        "kid",
        "jti",
        "cty",
        "crit",
        "b64",
        "jwk",
        "jku",
        "x5u",
        "x5c",
        "x5t",
        "zip",
        "enc",
        "x",
        "iss",
        "ALG",
        "__proto__",
        "constructor",
    ]
    for name in more:
        for value in ("null", "true", "false", '"x"', "1", "[]", '["exp"]', "{}", '"HS256"'):
            yield f"{name}: {value}", of(ours | {name: value}), False
    yield "typ first", '{"typ":"JWT","alg":"HS256"}', True
    yield "with spaces", ' {"alg" : "HS256",\r\n\t"typ" : "JWT"} ', True
    yield "escaped", '{"\\u0061lg":"\\u0048S256","typ":"JWT"}', True
    yield "alg twice, right at last", '{"alg":"none","typ":"JWT","alg":"HS256"}', True
    yield "alg twice, wrong at last", '{"alg":"HS256","typ":"JWT","alg":"none"}', False
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"):
        yield f"header in {encoding}", OWN_HEADER.encode(encoding), False
    for before, after in (
        (b"\x00", b""),
        (b"", b"\x00"),
        (b"", b"x"),
        (b"[", b"]"),
        (b"\xff", b""),
    ):
        yield f"{before!r}, {after!r}", before + OWN_HEADER.encode() + after, False
    for levels in (30, 31, 32, 3000):
        nested = f'{{"alg":"HS256","typ":"JWT","x":{"[" * levels}{"]" * levels}}}'
        yield f"{levels} levels", nested, False
    for nothing in ("", "null", "[]", "{}", '"HS256"', "1", "{", "[" * 3000, "9" * 5000):
        yield f"{nothing[:9]!r}", nothing, False


@pytest.mark.usefixtures("known_secret")
@pytest.mark.clause("AUTH-23", "AUTH-06", "AUTH-24", "OPS-11")
def test_every_header_but_its_own(guarded: Client) -> None:
    user = guarded.create()
    payload = of(good(user["id"]))
    rows = [(what, signed(header, payload), taken) for what, header, taken in header_rows()]
    assert verdicts(guarded, user, rows) == []


def writing_rows(token: str) -> Iterator[Row]:
    """Other texts that might pass for this token, which is taken, and are none."""
    header, payload, proof = token.split(".")
    for index, bits in enumerate(base64.urlsafe_b64decode(proof + "==")):
        changed = bytearray(base64.urlsafe_b64decode(proof + "=="))
        changed[index] = bits ^ (1 << index % 8)
        yield f"bit of byte {index}", f"{header}.{payload}.{base64url(bytes(changed))}", False
    for twin in unpadded_twins(proof):
        yield f"unused bits of the signature: {twin[-1]}", f"{header}.{payload}.{twin}", False
    for length in (0, 1, 2, 20, 41, 42):
        yield f"{length} of the signature", f"{header}.{payload}.{proof[:length]}", False
    for more in ("A", "AA", "AAA", "AAAA", "=", "==", ".", ".e30", "+", "/", "~"):
        yield f"{more} behind", token + more, False
    for more in (".", "A", "AAAA", "e30.", "~", "+"):
        yield f"{more} before", more + token, False
    for text in (header, payload, proof, f"{header}.{payload}", f"{header}.{payload}.", "..", "."):
        yield f"{text[:9]}... alone", text, False
    yield "the parts the other way round", f"{payload}.{header}.{proof}", False
    yield (
        "the signature as it stands",
        f"{header}.{payload}.{proof.translate(URL_TO_PLAIN)}",
        (not {"-", "_"} & {*proof}),
    )


URL_TO_PLAIN = str.maketrans("-_", "+/")


@pytest.mark.usefixtures("known_secret")
@pytest.mark.clause("AUTH-24", "AUTH-05")
def test_a_token_has_one_writing(guarded: Client) -> None:
    user = guarded.create()
    # The payload is as long as it takes to have unused bits.
    payloads = [of(good(user["id"], x='"' + "x" * more + '"')) for more in range(3)]
    rows: list[Row] = []
    for payload in payloads:
        token = signed(OWN_HEADER, payload)
        rows += [("as it is", token, True), *writing_rows(token)]
        head, body, _ = token.split(".")
        # Signed as they are written, so the signature is the right one.
        rows += [("unused bits", sealed(f"{head}.{twin}"), False) for twin in unpadded_twins(body)]
        for more in ("=", "==", "A", "+", "/", "~", "."):
            rows.append((f"payload{more}", sealed(f"{head}.{body}{more}"), False))
            rows.append((f"header{more}", sealed(f"{head}{more}.{body}"), False))
        rows.append(
            ("plain base64", sealed(f"{head}.{base64url(b'{' + bytes([251, 255]))}"), False)
        )
        for digest in ("md5", "sha1", "sha224", "sha384", "sha512"):
            rows.append((digest, sealed(f"{head}.{body}", digest), False))
    header = '{"alg":"HS256","typ":"JWT"} '
    for spaces in range(3):
        head = base64url((header + " " * spaces).encode())
        body = base64url(payloads[0].encode())
        rows.append(("a header of another length", sealed(f"{head}.{body}"), True))
        rows += [("unused bits", sealed(f"{twin}.{body}"), False) for twin in unpadded_twins(head)]
    assert verdicts(guarded, user, rows) == []


# A provider's tokens


def outside(header: str | bytes, payload: str | bytes, name: str) -> str:
    """A token of these texts, signed by this one of the provider's keys."""
    parts = [part.encode() if isinstance(part, str) else part for part in (header, payload)]
    text = ".".join(map(base64url, parts))
    return f"{text}.{base64url(KEYS[name].sign(text.encode()))}"


EC = ec_key()
KEYS: dict[str, RsaKey | EcKey] = {"rsa": rsa_key(), "ec": EC}
HEADERS = {
    "rsa": {"alg": '"RS256"', "kid": '"rsa"'},
    "ec": {"alg": '"ES256"', "kid": '"ec"'},
}


def outside_header_rows(name: str) -> Iterator[tuple[str, str | bytes, bool]]:
    """Headers, and whether a token of the key is taken with them."""
    ours = HEADERS[name]
    other = HEADERS["ec" if name == "rsa" else "rsa"]
    texts = {value for value in VALUES if value.startswith('"')} - {*NO_JSON}
    no_json = {*NO_JSON}
    for value in [*VALUES, '"HS256"', '"none"', '"RS384"', '"PS256"', '"ES384"', other["alg"]]:
        yield f"alg: {value[:30]}", of(ours | {"alg": value}), False
        yield f"kid: {value[:30]}", of(ours | {"kid": value}), False
        yield (
            f"typ: {value[:30]}",
            of(ours | {"typ": value}),
            (
                value in texts
                or value in ('"HS256"', '"none"', '"RS384"', '"PS256"', '"ES384"')
                or value == other["alg"]
            ),
        )
        yield f"crit: {value[:30]}", of(ours | {"crit": value}), False
        yield f"b64: {value[:30]}", of(ours | {"b64": value}), False
        yield f"x: {value[:30]}", of(ours | {"x": value}), value not in no_json
    yield "the other kid", of(ours | {"kid": other["kid"]}), False
    yield "without kid", of({"alg": ours["alg"]}), False
    yield "without alg", of({"kid": ours["kid"]}), False
    yield "crit with what is there", of(ours | {"crit": '["exp"]', "exp": "1"}), False
    for member in ("jwk", "jku", "x5u", "x5c", "x5t", "cty", "zip", "jti", "__proto__"):
        for value in ("null", '"x"', "1", "[]", '{"alg":"none"}', '"http://127.0.0.1:1/"'):
            yield f"{member}: {value}", of(ours | {member: value}), True
    header = of(ours)
    for encoding in ("utf-16", "utf-16-le", "utf-8-sig"):
        yield f"header in {encoding}", header.encode(encoding), False
    yield "kid twice, right at last", '{"kid":"x",' + header[1:], True
    yield "kid twice, wrong at last", header[:-1] + ',"kid":"x"}', False
    for levels, taken in ((31, True), (32, False), (3000, False)):
        yield f"{levels} levels", of(ours | {"x": "[" * levels + "]" * levels}), taken
    for nothing in ("", "null", "[]", "{}", "1", "{", "[" * 3000):
        yield f"{nothing[:9]!r}", nothing, False


def outside_signature_rows(payload: str) -> Iterator[Row]:
    """What a library might take for a signature."""
    for name, key in KEYS.items():
        token = outside(of(HEADERS[name]), payload, name)
        text, _, encoded = token.rpartition(".")
        proof = base64.urlsafe_b64decode(encoded + "==")
        yield "as it is", token, True
        for index in range(0, len(proof), 16):
            changed = bytearray(proof)
            changed[index] ^= 1 << index // 16 % 8
            yield f"{name}: bit of byte {index}", f"{text}.{base64url(bytes(changed))}", False
        for twin in unpadded_twins(encoded) if len(encoded) % 4 else ():
            yield f"{name}: unused bits", f"{text}.{twin}", False
        for other in (
            b"",
            proof[:-1],
            proof[1:],
            proof + b"\0",
            b"\0" + proof,
            proof + proof,
            bytes(len(proof)),
            b"\xff" * len(proof),
            b"x" * 32,
        ):
            yield f"{name}: {other[:4]!r} {len(other)}", f"{text}.{base64url(other)}", False
        for form in (Encoding.PEM, Encoding.DER):
            public = key.public_key().public_bytes(form, PublicFormat.SubjectPublicKeyInfo)
            for algorithm in ("HS256", HEADERS[name]["alg"].strip('"')):
                header = of(HEADERS[name] | {"alg": f'"{algorithm}"'})
                forged = f"{base64url(header.encode())}.{base64url(payload.encode())}"
                mac = hmac.new(public, forged.encode(), "sha256").digest()
                yield f"{name}: {algorithm} by the public key", f"{forged}.{base64url(mac)}", False
    text, _, encoded = outside(of(HEADERS["ec"]), payload, "ec").rpartition(".")
    proof = base64.urlsafe_b64decode(encoded + "==")
    r, s = (int.from_bytes(proof[at : at + 32], "big") for at in (0, 32))
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    der = EC.sign_der(text.encode())
    yield "ec: DER", f"{text}.{base64url(der)}", False
    for one, other_, taken in (
        (s, r, False),
        (0, s, False),
        (r, 0, False),
        (order, s, False),
        (r, order, False),
        (r, order - s, True),  # as good as the other, so ECDSA has it
    ):
        both = one.to_bytes(32, "big") + other_.to_bytes(32, "big")
        yield f"ec: {one % 1000} {other_ % 1000}", f"{text}.{base64url(both)}", taken


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    """A provider of these two keys."""
    provider = Provider()
    keys = [key.jwk(kid=name) for name, key in KEYS.items()]
    provider.say("/keys", json.dumps({"keys": keys}).encode())
    yield provider
    provider.close()


@pytest.mark.engine("sqlite")
@pytest.mark.clause("AUTH-29", "AUTH-24", "AUTH-25", "AUTH-05", "AUTH-07", "AUTH-19", "OPS-11")
def test_a_providers_tokens(provider: Provider, launched: Any) -> None:
    service: Service = launched(AUTH_JWKS_URL=provider.url("/keys"))
    api, user = service.api, service.api.create()
    payload = of(good(user["id"], role=None, epoch=None))
    rows: list[Row] = []
    for name in KEYS:
        rows += [
            (f"{name}: {what}", outside(header, payload, name), taken)
            for what, header, taken in outside_header_rows(name)
        ]
    header = of(HEADERS["ec"])
    for what, one, taken in claims_rows(user["id"], epoch=False):
        rows.append((what, outside(header, one, "ec"), taken))
    for what, other, taken in json_rows(user["id"], epoch=False):
        rows.append((what, outside(header, other, "ec"), taken))
    rows += outside_signature_rows(payload)
    rows.append(("signed by nobody", signed(OWN_HEADER, of(good(user["id"]))), False))
    assert verdicts(api, user, rows) == []
    assert services.SECURED["AUTH_SECRET"] not in service.log()
