"""Bodies: JSON (RFC 8259), its declaration and its size, on every operation that reads one."""

import json
from typing import Any

import pytest

from contract_tests.harness.client import Client
from contract_tests.harness.expect import (
    MAX_ID,
    body,
    empty,
    error,
    head_of,
    problem,
    unique_email,
    user,
)
from contract_tests.harness.wire import Answer

NOBODY = f"/users/{MAX_ID}"
# What is wrong with a body comes before the user that isn't there, so these change nobody.
WRITES = (("POST", "/users"), ("PUT", NOBODY), ("PATCH", NOBODY))
JSON = {"content-type": "application/json"}
LIMIT = 65536


def each_write(api: Client, content: bytes) -> list[Answer]:
    """The answers of all three operations to this body."""
    return [api.request(method, path, content=content, headers=JSON) for method, path in WRITES]


def refuse(api: Client, content: bytes) -> None:
    """POST answers malformed-json; that PUT and PATCH do is for `test_malformed_for_every_write`."""
    problem(api.post("/users", content=content, headers=JSON), "malformed-json")


def ada(**members: Any) -> dict[str, Any]:
    """A valid body with an email of its own, and these members."""
    return {"name": "Ada", "email": unique_email(), **members}


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + end


@pytest.mark.storeless
@pytest.mark.clause("JSON-01", "JSON-02", "JSON-04", "JSON-05", "JSON-06", "JSON-07", "JSON-10")
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"name":NaN}', id="NaN"),
        pytest.param(b'{"name":"Ada",}', id="comma"),
        pytest.param(b'{"name":01}', id="number"),
        pytest.param(b'{"name":"Ada"}x', id="trailing-data"),
        pytest.param(b'\xef\xbb\xbf{"name":"Ada"}', id="byte-order-mark"),
        pytest.param('{"name":"Ada"}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b'{"name":"\xed\xa0\x80"}', id="surrogate"),
        pytest.param(b'{"name":"\xff"}', id="FF"),
        pytest.param(b'{"name":' + b"[" * 32 + b"]" * 32 + b"}", id="33-levels"),
        pytest.param(b"[" * LIMIT, id="65536-levels"),
    ],
)
def test_malformed_for_every_write(api: Client, content: bytes) -> None:
    for answer in each_write(api, content):
        problem(answer, "malformed-json")


@pytest.mark.storeless
@pytest.mark.clause("JSON-01")
@pytest.mark.parametrize("content", [b"", b" ", b"\r\n\t "], ids=["empty", "space", "mixed-space"])
def test_body_without_a_value_is_malformed(api: Client, content: bytes) -> None:
    refuse(api, content)


@pytest.mark.storeless
@pytest.mark.clause("JSON-02")
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b'{"name":NaN}', id="NaN"),
        pytest.param(b'{"name":Infinity}', id="Infinity"),
        pytest.param(b'{"name":-Infinity}', id="minus-Infinity"),
        pytest.param(b"NaN", id="only-NaN"),
        pytest.param(b"{'name':'Ada'}", id="single-quotes"),
        pytest.param(b'{"name":"Ada"} // Ada', id="line-comment"),
        pytest.param(b'{/* Ada */"name":"Ada"}', id="block-comment"),
        pytest.param(b'{"name":"Ada",}', id="trailing-comma"),
        pytest.param(b'{"name":["Ada",]}', id="trailing-comma-in-array"),
        pytest.param(b'{,"name":"Ada"}', id="leading-comma"),
        pytest.param(b'{"name":"Ada",,"x":1}', id="two-commas"),
        pytest.param(b'{"name":"Ada" "x":1}', id="no-comma"),
        pytest.param(b'{"name" "Ada"}', id="no-colon"),
        pytest.param(b'{"name":}', id="no-value"),
        pytest.param(b'{"name"}', id="only-a-name"),
        pytest.param(b'{name:"Ada"}', id="bare-name"),
        pytest.param(b'{1:"Ada"}', id="number-as-name"),
        pytest.param(b'{"name":Ada}', id="bare-value"),
        pytest.param(b'{"name":undefined}', id="undefined"),
        pytest.param(b'{"name":True}', id="Python-True"),
        pytest.param(b'{"name":None}', id="Python-None"),
        pytest.param(b'{"name":nul}', id="half-a-null"),
        pytest.param(b'{"name":"Ada', id="open-string"),
        pytest.param(b'{"name":"Ada"', id="open-object"),
        pytest.param(b'{"name":["Ada"}', id="open-array"),
        pytest.param(b'{"name":"Ada"]', id="wrong-bracket"),
        pytest.param(b"{", id="only-a-brace"),
        pytest.param(b"}", id="closing-brace"),
        pytest.param(b'{"name":"A\nda"}', id="raw-newline"),
        pytest.param(b'{"name":"A\tda"}', id="raw-tab"),
        pytest.param(b'{"name":"A\x00da"}', id="raw-NUL"),
        pytest.param(b'{"name":"A\x1fda"}', id="raw-U+001F"),
        pytest.param(b'{"na\nme":"Ada"}', id="raw-newline-in-name"),
        pytest.param(rb'{"name":"\x41da"}', id="x-escape"),
        pytest.param(rb'{"name":"\'"}', id="escaped-single-quote"),
        pytest.param(rb'{"name":"\0"}', id="zero-escape"),
        pytest.param(rb'{"name":"\u41"}', id="short-u-escape"),
        pytest.param(rb'{"name":"\u{41}"}', id="braced-u-escape"),
        pytest.param(rb'{"name":"\u+041"}', id="signed-u-escape"),
        pytest.param(rb'{"name":"\U00000041"}', id="long-U-escape"),
        pytest.param(b'{"name":"Ada\\', id="open-escape"),
    ],
)
def test_what_rfc_8259_does_not_know_is_malformed(api: Client, content: bytes) -> None:
    refuse(api, content)


@pytest.mark.storeless
@pytest.mark.clause("JSON-03")
@pytest.mark.parametrize(
    "number",
    [
        "01",
        "-01",
        "00",
        "+1",
        ".5",
        "-.5",
        "1.",
        "1.e1",
        "1e",
        "1e+",
        "0x1",
        "0b1",
        "0o7",
        "1_0",
        "-",
        "--1",
        "- 1",
        "1n",
        "1 0",
    ],
)
def test_number_that_rfc_8259_does_not_know_is_malformed(api: Client, number: str) -> None:
    refuse(api, b'{"name":%s}' % number.encode())
    refuse(api, number.encode())


@pytest.mark.storeless
@pytest.mark.clause("JSON-04")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(b"", b"{}", id="second-object"),
        pytest.param(b"", b"\n{}", id="second-line"),
        pytest.param(b"", b" x", id="letter"),
        pytest.param(b"", b",", id="comma"),
        pytest.param(b"", b"}", id="brace"),
        pytest.param(b"", b"\x00", id="NUL"),
        pytest.param(b"", b"\x1a", id="U+001A"),
        pytest.param(b"", b"\x0b", id="vertical-tab-after"),
        pytest.param(b"\x0b", b"", id="vertical-tab-before"),
        pytest.param(b"", b"\x0c", id="form-feed-after"),
        pytest.param(b"\x0c", b"", id="form-feed-before"),
        pytest.param(b"\xc2\xa0", b"", id="no-break-space"),
        pytest.param(b"\xc2\x85", b"", id="U+0085"),
        pytest.param(b"", b"\xe2\x80\xa8", id="U+2028"),
        pytest.param(b"", b"\xe3\x80\x80", id="ideographic-space"),
        pytest.param(b"", b"\xef\xbb\xbf", id="byte-order-mark-after"),
        pytest.param(b"\x1e", b"", id="record-separator"),
        pytest.param(b")]}',\n", b"", id="prefix-against-hijacking"),
    ],
)
def test_anything_else_around_the_value_is_malformed(
    api: Client, before: bytes, after: bytes
) -> None:
    refuse(api, before + b'{"name":"Ada"}' + after)
    if before:
        refuse(api, b'{"name":' + before + b'"Ada"}')


@pytest.mark.clause("JSON-04")
def test_json_white_space_is_read_anywhere_outside_strings(api: Client) -> None:
    email = unique_email()
    space = " \t\r\n"
    text = space.join(["", "{", '"name"', ":", '"Ada"', ",", '"email"', ":", f'"{email}"', "}", ""])
    user(api.post("/users", content=text.encode(), headers=JSON), 201, name="Ada", email=email)


@pytest.mark.storeless
@pytest.mark.clause("JSON-05")
@pytest.mark.parametrize("content", [b'{"name":"Ada"}', b"{}", b""], ids=["name", "{}", "empty"])
def test_byte_order_mark_is_malformed(api: Client, content: bytes) -> None:
    refuse(api, b"\xef\xbb\xbf" + content)


@pytest.mark.storeless
@pytest.mark.clause("JSON-06")
@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_another_utf_is_malformed(api: Client, encoding: str) -> None:
    refuse(api, json.dumps(ada()).encode(encoding))


@pytest.mark.storeless
@pytest.mark.clause("JSON-07")
@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\xff", id="FF"),
        pytest.param(b"\xfe", id="FE"),
        pytest.param(b"\x80", id="stray-continuation"),
        pytest.param(b"\xe9", id="latin-1"),
        pytest.param(b"\xc3", id="half-of-two"),
        pytest.param(b"\xe2\x82", id="two-of-three"),
        pytest.param(b"\xf0\x9f\x98", id="three-of-four"),
        pytest.param(b"\xc0\xaf", id="overlong-of-two"),
        pytest.param(b"\xc1\xbf", id="overlong-U+007F"),
        pytest.param(b"\xe0\x80\xaf", id="overlong-of-three"),
        pytest.param(b"\xf0\x80\x80\xaf", id="overlong-of-four"),
        pytest.param(b"\xc0\x80", id="overlong-NUL"),
        pytest.param(b"\xed\xa0\x80", id="high-surrogate"),
        pytest.param(b"\xed\xbf\xbf", id="low-surrogate"),
        pytest.param(b"\xed\xa0\xbd\xed\xb8\x80", id="CESU-8-pair"),
        pytest.param(b"\xf4\x90\x80\x80", id="U+110000"),
        pytest.param(b"\xf8\x88\x80\x80\x80", id="five-bytes"),
    ],
)
def test_bytes_that_are_not_utf8_are_malformed(api: Client, raw: bytes) -> None:
    refuse(api, b'{"name":"A%s"}' % raw)
    refuse(api, b'{"n%s":"Ada"}' % raw)
    refuse(api, b'{"name":"Ada"}' + raw)


@pytest.mark.clause("JSON-08")
def test_last_of_duplicate_members_counts(api: Client) -> None:
    email = unique_email()
    content = f'{{"name":1,"email":"x","name":"","email":"{email}","name":"Ada"}}'.encode()
    user(api.post("/users", content=content, headers=JSON), 201, name="Ada", email=email)


@pytest.mark.storeless
@pytest.mark.clause("JSON-08")
def test_earlier_duplicate_does_not_save_a_broken_last_one(api: Client) -> None:
    content = b'{"name":"Ada","email":"ada@example.com","name":null}'
    for answer in each_write(api, content):
        problem(answer, "validation", [error("wrong-type", pointer="#/name")])


@pytest.mark.storeless
@pytest.mark.clause("JSON-08", "PROB-06")
def test_duplicates_of_an_unknown_member_are_one_error(api: Client) -> None:
    content = b'{"x":1,"name":"Ada","x":2,"email":"ada@example.com","x":3}'
    for answer in each_write(api, content):
        problem(answer, "validation", [error("unknown", pointer="#/x")])


@pytest.mark.clause("JSON-09")
def test_escaped_member_name_is_the_plain_one(api: Client) -> None:
    email = unique_email()
    content = rb'{"name":1,"n\u0061me":"Ada","\u0065mail":"%s"}' % email.encode()
    user(api.post("/users", content=content, headers=JSON), 201, name="Ada", email=email)


NESTS = [
    pytest.param("[", "]", "[]", id="arrays"),
    pytest.param('{"a":', "}", "{}", id="objects"),
    pytest.param('[{"a":', "}]", "", id="mixed"),
]


def nested(depth: int, opening: str, closing: str, core: str) -> str:
    """A value whose innermost array or object is at level `depth`, its outermost at level 1."""
    if core:
        return opening * (depth - 1) + core + closing * (depth - 1)
    half, odd = divmod(depth, 2)
    return opening * half + ("[]" if odd else "0") + closing * half


@pytest.mark.storeless
@pytest.mark.clause("JSON-10")
@pytest.mark.parametrize(("opening", "closing", "core"), NESTS)
def test_thirty_two_levels_are_read(api: Client, opening: str, closing: str, core: str) -> None:
    inner = nested(31, opening, closing, core)
    content = json.dumps(ada())[:-1].encode() + f',"x":{inner}}}'.encode()
    for answer in each_write(api, content):
        problem(answer, "validation", [error("unknown", pointer="#/x")])


@pytest.mark.storeless
@pytest.mark.clause("JSON-10")
@pytest.mark.parametrize(("opening", "closing", "core"), NESTS)
def test_thirty_three_levels_are_malformed(
    api: Client, opening: str, closing: str, core: str
) -> None:
    inner = nested(32, opening, closing, core)
    refuse(api, json.dumps(ada())[:-1].encode() + f',"x":{inner}}}'.encode())
    refuse(api, f'{{"x":{inner},"x":1}}'.encode())
    refuse(api, nested(33, opening, closing, core).encode())


@pytest.mark.storeless
@pytest.mark.clause("JSON-10")
def test_siblings_do_not_nest(api: Client) -> None:
    for answer in each_write(api, json.dumps(ada(x=[[[]]] * 100 + [{}] * 100)).encode()):
        problem(answer, "validation", [error("unknown", pointer="#/x")])


@pytest.mark.clause("JSON-11")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("[" * 40, id="brackets"),
        pytest.param("{" * 40, id="braces"),
        pytest.param('"' + "[" * 40, id="after-a-quote"),
        pytest.param("\\" + "[" * 40, id="after-a-backslash"),
        pytest.param('\\"' + "{" * 40, id="after-backslash-and-quote"),
        pytest.param('\\\\"' + "{" * 40 + "\\", id="backslashes-around"),
        pytest.param("]}" * 40, id="closing"),
    ],
)
def test_brackets_in_strings_do_not_nest(api: Client, name: str) -> None:
    members = ada(name=name)
    user(api.post("/users", json=members), 201, **members)


@pytest.mark.storeless
@pytest.mark.clause("JSON-10", "JSON-11")
@pytest.mark.parametrize("text", ["\\", '\\"', "]" * 40, '"]' * 40])
def test_brackets_after_strings_nest(api: Client, text: str) -> None:
    refuse(api, f'{{"name":{json.dumps(text)},"x":{"[" * 32}{"]" * 32}}}'.encode())


@pytest.mark.storeless
@pytest.mark.clause("JSON-12")
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"[" * LIMIT, id="open-arrays"),
        pytest.param(b"[" * (LIMIT // 2) + b"]" * (LIMIT // 2), id="arrays"),
        pytest.param(b'{"a":' * (LIMIT // 5), id="open-objects"),
        pytest.param(b'{"a":' * 10_000 + b"1" + b"}" * 10_000, id="objects"),
        pytest.param(b'{"name":' + b"[" * 1000 + b"]" * 1000 + b"}", id="a-thousand"),
    ],
)
def test_deepest_nesting_is_malformed(api: Client, content: bytes) -> None:
    refuse(api, content)


@pytest.mark.storeless
@pytest.mark.clause("JSON-13")
@pytest.mark.parametrize(
    "number",
    [
        pytest.param("9" * 5000, id="5000-digits"),
        pytest.param("-" + "9" * 60_000, id="60000-digits"),
        pytest.param("0." + "3" * 5000, id="5000-fraction-digits"),
        pytest.param("1e999", id="1e999"),
        pytest.param("-1E+999", id="-1E+999"),
        pytest.param("1e-999", id="1e-999"),
        pytest.param("1e" + "9" * 5000, id="5000-exponent-digits"),
        pytest.param("9007199254740993", id="2^53+1"),
        pytest.param("9223372036854775808", id="2^63"),
        pytest.param("-0", id="-0"),
        pytest.param("-0.0e0", id="-0.0e0"),
    ],
)
def test_number_of_any_size_is_a_number(api: Client, number: str) -> None:
    content = f'{{"name":{number},"email":"ada@example.com"}}'.encode()
    answer = api.put(NOBODY, content=content, headers=JSON)
    problem(answer, "validation", [error("wrong-type", pointer="#/name")])
    answer = api.patch(NOBODY, content=f'{{"x":{number}}}'.encode(), headers=JSON)
    problem(answer, "validation", [error("unknown", pointer="#/x")])
    answer = api.post("/users", content=number.encode(), headers=JSON)
    problem(answer, "validation", [error("wrong-type", pointer="#")])


@pytest.mark.storeless
@pytest.mark.clause("JSON-14")
@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b'""',
        b'"Ada"',
        b"0",
        b"1.5",
        b"null",
        b"true",
        b"false",
        b'[{"name":"Ada","email":"ada@example.com"}]',
        b' "{}" ',
    ],
    ids=lambda content: content.decode(),
)
def test_json_that_is_no_object_has_the_wrong_type(api: Client, content: bytes) -> None:
    for answer in each_write(api, content):
        problem(answer, "validation", [error("wrong-type", pointer="#")])


@pytest.mark.storeless
@pytest.mark.clause("JSON-15", "USR-PATCH-04")
@pytest.mark.parametrize("member", ["name", "email", "role"])
@pytest.mark.parametrize(
    "value",
    [0, 1, 1.5, True, False, None, [], {}, ["Ada"], {"name": "Ada"}],
    ids=json.dumps,
)
def test_nothing_is_coerced_to_text(api: Client, member: str, value: Any) -> None:
    for answer in each_write(api, json.dumps(ada(**{member: value})).encode()):
        problem(answer, "validation", [error("wrong-type", pointer=f"#/{member}")])


@pytest.mark.storeless
@pytest.mark.clause("JSON-16")
@pytest.mark.parametrize(
    "member",
    [
        "id",
        "version",
        "created_at",
        "updated_at",
        "Name",
        "NAME",
        "mail",
        "password_hash",
        "passwd",
        "token_epoch",
        "roles",
        "0",
        "_",
        "__proto__",
        "constructor",
        "prototype",
        "toString",
        "hasOwnProperty",
        "__class__",
        "__init__",
        "model_config",
        "self",
        "length",
        "then",
        "toJSON",
    ],
)
def test_unknown_member_is_an_error(api: Client, member: str) -> None:
    errors = [error("unknown", pointer=f"#/{member}")]
    problem(api.post("/users", json=ada(**{member: {"name": "Ada"}})), "validation", errors)
    problem(api.patch(NOBODY, json={member: None}), "validation", errors)


@pytest.mark.storeless
@pytest.mark.clause("JSON-16")
def test_proto_does_not_bring_members_in(api: Client) -> None:
    content = b'{"__proto__":{"name":"Ada","email":"ada@example.com"}}'
    problem(
        api.post("/users", content=content, headers=JSON),
        "validation",
        [
            error("missing", pointer="#/name"),
            error("missing", pointer="#/email"),
            error("unknown", pointer="#/__proto__"),
        ],
    )


@pytest.mark.clause("JSON-17", "REP-02")
@pytest.mark.parametrize(
    "escaped",
    [r"\uD83D\uDE00", r"\ud83d\ude00", r"\ud83D\uDe00", "\U0001f600"],
    ids=["upper", "lower", "mixed", "raw"],
)
def test_surrogate_pair_is_one_code_point(api: Client, escaped: str) -> None:
    email = unique_email()
    content = f'{{"name":"{escaped * 100}","email":"{email}"}}'.encode()
    answer = api.post("/users", content=content, headers=JSON)
    user(answer, 201, name="\U0001f600" * 100, email=email)


@pytest.mark.clause("JSON-17", "REP-02")
def test_escapes_stand_for_their_characters(api: Client) -> None:
    email = unique_email()
    content = rb'{"name":"\"\\\/\u0041\u00e9\u2028\u003C","email":"%s"}' % email.encode()
    answer = api.post("/users", content=content, headers=JSON)
    user(answer, 201, name='"\\/Aé\u2028<', email=email)


MISSING = [error("missing", pointer="#/name"), error("missing", pointer="#/email")]


def accepted(api: Client, media_type: str) -> None:
    """PUT and PATCH, which differ in what else they take, look at what `{}` says."""
    headers = {"content-type": media_type}
    problem(api.put(NOBODY, content=b"{}", headers=headers), "validation", MISSING)
    problem(api.patch(NOBODY, content=b"{}", headers=headers), "user-not-found")


def unsupported(api: Client, *headers: tuple[str, str]) -> None:
    """POST and PATCH answer 415."""
    answer = api.post("/users", content=b"{}", headers=headers)
    problem(answer, "unsupported-media-type")
    answer = api.patch(NOBODY, content=b"{}", headers=headers)
    problem(answer, "unsupported-media-type", patch=True)


@pytest.mark.storeless
@pytest.mark.clause("CTYPE-01", "JSON-01")
@pytest.mark.parametrize("content", [b"", b"{}", b"{"], ids=["empty", "{}", "{"])
def test_body_without_content_type_is_unsupported(api: Client, content: bytes) -> None:
    for method, path in WRITES:
        for headers in ({}, {"content-type": ""}):
            answer = api.request(method, path, content=content, headers=headers)
            problem(answer, "unsupported-media-type", patch=method == "PATCH")


@pytest.mark.storeless
@pytest.mark.clause("CTYPE-01", "CTYPE-05", "CTYPE-06", "CTYPE-07", "CTYPE-09")
@pytest.mark.parametrize(
    "headers",
    [
        [("content-type", "text/plain")],
        [("content-type", "application/json; charset=latin1")],
        [("content-type", "application/json")] * 2,
        [("content-type", "application/json"), ("content-encoding", "identity")],
    ],
    ids=["type", "charset", "two", "encoding"],
)
def test_unsupported_for_every_write(api: Client, headers: list[tuple[str, str]]) -> None:
    for method, path in WRITES:
        answer = api.request(method, path, content=b"{}", headers=headers)
        problem(answer, "unsupported-media-type", patch=method == "PATCH")


@pytest.mark.storeless
@pytest.mark.clause("CTYPE-01")
@pytest.mark.parametrize(("method", "path"), WRITES, ids=["POST", "PUT", "PATCH"])
def test_no_body_at_all_needs_its_content_type(api: Client, method: str, path: str) -> None:
    answer = api.raw(api.message(method, path), method=method)
    problem(answer, "unsupported-media-type", patch=method == "PATCH")
    message = api.message(method, path, [("Content-Type", "application/json")])
    problem(api.raw(message, method=method), "malformed-json")


@pytest.mark.clause("CTYPE-01", "CTYPE-02")
@pytest.mark.parametrize(
    "media_type",
    [
        "application/json",
        "Application/JSON",
        "APPLICATION/json; Charset=UTF-8",
        "application/json; CHARSET=Utf-8",
        'application/json; charset="UTF-8"',
    ],
)
def test_declaration_in_any_letter_case_is_taken(api: Client, media_type: str) -> None:
    accepted(api, media_type)


@pytest.mark.clause("CTYPE-03")
@pytest.mark.parametrize(
    "media_type",
    [
        "application/json;charset=utf-8",
        "application/json ; charset=utf-8",
        "application/json\t;\t charset=utf-8",
        'application/json; charset="utf-8"',
        r'application/json; charset="ut\f\-8"',
        "application/json;",
        "application/json; ;;charset=utf-8",
        "application/json;charset=utf-8;",
        "application/json; charset=utf-8; charset=UTF-8",
        "application/json; version=1",
        "application/json; x=!#$%&'*+-.^_`|~",
        'application/json; x=""',
        'application/json; x=";charset=latin1"',
        r'application/json; x="\";charset=latin1"',
        'application/json; x="a b\t(c);é"',
        "application/json; xcharset=latin1",
        "application/json; charset*=latin1",
    ],
)
def test_parameters_are_read_as_rfc_9110_has_them(api: Client, media_type: str) -> None:
    accepted(api, media_type)


@pytest.mark.storeless
@pytest.mark.clause("CTYPE-04")
@pytest.mark.parametrize(
    "media_type",
    [
        "application/json; charset",
        "application/json; charset=",
        "application/json; charset =utf-8",
        "application/json; charset= utf-8",
        "application/json; =utf-8",
        'application/json; charset="utf-8',
        'application/json; charset=utf-8"',
        'application/json; charset="utf-8"x',
        "application/json; charset=utf-8 x",
        "application/json; charset=utf 8",
        "application/json; x=a,b",
        "application/json; x=é",
        "application/json; x y=1",
        "application/json charset=utf-8",
        "application/json, charset=utf-8",
        "application/json x",
        "application /json",
        "application/ json",
        r'application/json; x="\"',
        "; charset=utf-8",
        "json",
    ],
)
def test_declaration_outside_the_grammar_is_unsupported(api: Client, media_type: str) -> None:
    unsupported(api, ("content-type", media_type))


@pytest.mark.storeless
@pytest.mark.clause("CTYPE-05")
@pytest.mark.parametrize(
    "parameters",
    [
        "charset=utf8",
        "charset=utf_8",
        "charset=utf-16",
        "charset=utf-8-sig",
        "charset=us-ascii",
        "charset=iso-8859-1",
        "Charset=Latin1",
        'charset=""',
        'charset=" utf-8"',
        "charset='utf-8'",
        "charset=utf-8; charset=latin1",
        "charset=latin1; charset=utf-8",
        'x=1; charset="latin1"',
    ],
)
def test_another_charset_is_unsupported(api: Client, parameters: str) -> None:
    unsupported(api, ("content-type", f"application/json; {parameters}"))


@pytest.mark.storeless
@pytest.mark.clause("CTYPE-06")
@pytest.mark.parametrize(
    "values",
    [
        ("application/json", "application/json"),
        ("application/json", "text/plain"),
        ("text/plain", "application/json"),
        ("application/json", ""),
        ("", "application/json"),
        ('application/json; a="x', 'y"'),
        ('application/json; a="x, y"',),
        ("application/json, application/json",),
        ("application/json,",),
        (",application/json",),
    ],
    ids=" + ".join,
)
def test_second_content_type_is_unsupported(api: Client, values: tuple[str, ...]) -> None:
    unsupported(api, *(("content-type", value) for value in values))


@pytest.mark.storeless
@pytest.mark.clause("CTYPE-07")
@pytest.mark.parametrize(
    "media_type",
    [
        "text/json",
        "text/plain",
        "application/problem+json",
        "application/ld+json",
        "*/*",
        "application/*",
        "application/jsonx",
        "xapplication/json",
        "application/x-json",
        "application/json+json",
        "application/json-patch+json",
        "application/json5",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json/x",
        "application/octet-stream",
        "application/json-seq",
        "application",
        "application/",
        "/json",
    ],
)
def test_another_media_type_is_unsupported(api: Client, media_type: str) -> None:
    unsupported(api, ("content-type", media_type))


@pytest.mark.clause("CTYPE-08")
@pytest.mark.parametrize(
    "media_type",
    ["application/merge-patch+json", "Application/Merge-Patch+JSON; charset=utf-8"],
)
def test_merge_patch_is_taken_by_patch_alone(api: Client, media_type: str) -> None:
    headers = {"content-type": media_type}
    for method, path in WRITES[:2]:
        answer = api.request(method, path, content=b"{}", headers=headers)
        problem(answer, "unsupported-media-type")
    problem(api.patch(NOBODY, content=b"{}", headers=headers), "user-not-found")


@pytest.mark.storeless
@pytest.mark.clause("CTYPE-08")
@pytest.mark.parametrize(
    "media_type",
    [
        "application/merge-patch+json; charset=latin1",
        "application/merge-patch+json; charset",
        "application/merge-patch",
        "application/merge-patch+json, application/json",
    ],
)
def test_merge_patch_is_under_the_same_rules(api: Client, media_type: str) -> None:
    unsupported(api, ("content-type", media_type))


@pytest.mark.storeless
@pytest.mark.clause("CTYPE-09")
@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd", "identity", "", "x"])
def test_content_encoding_is_unsupported(api: Client, encoding: str) -> None:
    unsupported(api, ("content-type", "application/json"), ("content-encoding", encoding))


@pytest.mark.storeless
@pytest.mark.clause("CTYPE-10")
@pytest.mark.parametrize(
    "end", ['"', "x", "=", ";charset=x"], ids=["quote", "token", "equals", "x"]
)
def test_long_content_type_is_judged_at_once(api: Client, end: str) -> None:
    # Where 18 gaps take seconds, 5000 take for ever: the first that is too slow ends the test.
    for gaps in (18, 5000):
        headers = [("Content-Type", "application/json" + " ; " * gaps + end)]
        message = api.message("POST", "/users", headers, b"{}")
        problem(api.raw(message, method="POST"), "unsupported-media-type")
        headers = [("Content-Type", "application/json;" + " " * 3 * gaps + end)]
        message = api.message("POST", "/users", headers, b"{}")
        problem(api.raw(message, method="POST"), "unsupported-media-type")


@pytest.mark.clause("BODY-01")
def test_body_of_the_limit_is_read(api: Client) -> None:
    members = ada()
    content = json.dumps(members).encode().ljust(LIMIT)
    user(api.post("/users", content=content, headers=JSON), 201, **members)


@pytest.mark.storeless
@pytest.mark.clause("BODY-01")
def test_body_is_counted_in_bytes(api: Client) -> None:
    for count, code in ((30_000, "validation"), (33_000, "body-too-large")):
        content = json.dumps(ada(x="é" * count), ensure_ascii=False).encode()
        assert (len(content) > LIMIT) == (code == "body-too-large")
        errors = [error("unknown", pointer="#/x")] if code == "validation" else []
        for answer in each_write(api, content):
            problem(answer, code, errors)


@pytest.mark.storeless
@pytest.mark.clause("BODY-02")
@pytest.mark.parametrize(("method", "path"), WRITES, ids=["POST", "PUT", "PATCH"])
@pytest.mark.parametrize("length", [LIMIT + 1, 99_999_999_999])
def test_too_large_content_length_is_answered_at_once(
    api: Client, method: str, path: str, length: int
) -> None:
    headers = [("Content-Type", "application/json"), ("Content-Length", str(length))]
    problem(api.raw(api.message(method, path, headers), method=method), "body-too-large")


@pytest.mark.storeless
@pytest.mark.clause("BODY-03", "BODY-05")
@pytest.mark.parametrize(("method", "path"), WRITES, ids=["POST", "PUT", "PATCH"])
def test_chunked_body_is_counted(api: Client, method: str, path: str) -> None:
    headers = [("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")]
    head = api.message(method, path, headers)
    content = b'{"x":1}'.ljust(LIMIT)
    missing = [] if method == "PATCH" else MISSING
    answer = api.raw(head + chunked(content[:1], content[1:]), method=method)
    problem(answer, "validation", [*missing, error("unknown", pointer="#/x")])
    answer = api.raw(head + chunked(content, b" "), method=method)
    problem(answer, "body-too-large")


@pytest.mark.storeless
@pytest.mark.clause("BODY-03")
def test_chunked_body_without_end_is_answered(api: Client) -> None:
    headers = [("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")]
    endless = chunked(b" " * (LIMIT + 1), end=b"")
    problem(api.raw(api.message("POST", "/users", headers) + endless), "body-too-large")


@pytest.mark.storeless
@pytest.mark.clause("BODY-04")
@pytest.mark.parametrize("framing", ["content-length", "chunked"])
@pytest.mark.parametrize(("method", "path"), WRITES, ids=["POST", "PUT", "PATCH"])
def test_client_that_sends_on_sees_the_413(
    api: Client, method: str, path: str, framing: str
) -> None:
    content = b" " * 2**20
    headers = [("Content-Type", "application/json")]
    if framing == "chunked":
        headers.append(("Transfer-Encoding", "chunked"))
        message = api.message(method, path, headers) + chunked(*[content[:4096]] * 256)
    else:
        message = api.message(method, path, headers, content)
    with api.connect() as connection:
        connection.send(message)  # all of it, before it reads: most clients do so
        problem(connection.read(method), "body-too-large")


@pytest.mark.clause("BODY-05")
@pytest.mark.parametrize(
    "case", ["bytewise", "one chunk", "extension", "trailer", "upper", "zeros"]
)
def test_chunked_body_is_read_as_any_other(api: Client, case: str) -> None:
    members = ada(name="Ada é")
    content = json.dumps(members, ensure_ascii=False).encode()
    size = b"%x" % len(content)
    framed = {
        "bytewise": chunked(*(content[at : at + 1] for at in range(len(content)))),
        "one chunk": chunked(content),
        "extension": b'%s;a=1;b="x;y"\r\n%s\r\n0;c\r\n\r\n' % (size, content),
        "trailer": chunked(content, end=b"0\r\nX-Checksum: 1\r\nIf-Match: x\r\n\r\n"),
        "upper": b"%s\r\n%s\r\n0\r\n\r\n" % (size.upper(), content),
        "zeros": b"000%s\r\n%s\r\n000\r\n\r\n" % (size, content),
    }[case]
    headers = [("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")]
    user(api.raw(api.message("POST", "/users", headers) + framed), 201, **members)


BODIES = [
    pytest.param(b"{", id="broken"),
    pytest.param(b'{"name":""}', id="invalid"),
    pytest.param(b"\xff\xfe", id="bytes"),
    pytest.param(b"x" * (LIMIT + 1), id="large"),
]


@pytest.mark.clause("BODY-06")
@pytest.mark.parametrize(
    "headers", [{}, {"content-encoding": "gzip"}, JSON], ids=["", "gz", "json"]
)
@pytest.mark.parametrize("content", BODIES)
def test_body_on_a_method_without_one_is_ignored(
    api: Client, content: bytes, headers: dict[str, str]
) -> None:
    someone = api.create()
    path = f"/users/{someone['id']}"
    get = api.request("GET", path, content=content, headers=headers)
    user(get, 200, **someone)
    head_of(api.request("HEAD", path, content=content, headers=headers), get)
    options = api.request("OPTIONS", path, content=content, headers=headers)
    empty(options, 204, allow="DELETE, GET, HEAD, OPTIONS, PATCH, PUT")
    body(api.request("GET", "/healthz", content=content, headers=headers), 200, b'{"status":"ok"}')
    empty(api.request("DELETE", path, content=content, headers=headers), 204)
    problem(api.get(path), "user-not-found")


@pytest.mark.storeless
@pytest.mark.clause("BODY-07")
@pytest.mark.parametrize("content", BODIES)
def test_body_on_an_unknown_path_or_method_is_ignored(api: Client, content: bytes) -> None:
    for method in ("POST", "PUT", "PATCH"):
        problem(api.request(method, "/nothing", content=content), "not-found")
        answer = api.request(method, "/healthz", content=content)
        problem(answer, "method-not-allowed", allow="GET, HEAD, OPTIONS")
