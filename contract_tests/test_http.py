"""HTTP and BODY: what an HTTP client would tidy up, so all of it on raw sockets."""

import json

import pytest

from contract_tests.harness import expect
from contract_tests.harness.client import Client
from contract_tests.harness.expect import Fields, somebody
from contract_tests.harness.wire import Answer, Connection, message

JSON = ("Content-Type", "application/json")
OK = b'{"status":"ok"}'
LIMIT = 65536


def post(api: Client, fields: Fields, *headers: tuple[str, str]) -> bytes:
    """The bytes of a creation."""
    return api.message("POST", "/users", [JSON, *headers], expect.render(fields))


def assert_nobody(api: Client, fields: Fields) -> None:
    """The user was not created."""
    expect.users(api.get(f"/users?q={fields['name']}"), [], next=False)


def assert_refused(api: Client, data: bytes, code: str = "bad-request") -> None:
    """The bytes are refused, and nothing that follows them on the connection is acted on."""
    follower = somebody()
    with api.connect() as connection:
        connection.send(data + post(api, follower))
        expect.problem(connection.read(), code, closed=True)
        assert connection.closed()
    assert_nobody(api, follower)


def assert_cut(connection: Connection) -> None:
    """A 4xx in whatever words, and the end of the connection."""
    assert 400 <= connection.read().status < 500
    assert connection.closed()


# Refusals


@pytest.mark.clause("HTTP-01", "HTTP-06")
@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("hosts", [0, 2, 3])
def test_other_than_one_host_is_refused(api: Client, version: str, hosts: int) -> None:
    assert_refused(api, message("GET", "/healthz", [("Host", api.host)] * hosts, version=version))


@pytest.mark.clause("HTTP-01")
def test_two_different_hosts_are_refused(api: Client) -> None:
    assert_refused(api, message("GET", "/healthz", [("Host", api.host), ("hOST", "other")]))


@pytest.mark.clause("HTTP-02", "HTTP-06")
@pytest.mark.parametrize(
    "host",
    [
        "",
        "a b",
        "a\tb",
        "a/b",
        "a,b",
        "a?b",
        "a#b",
        "a%41",
        "a*",
        "me@a",
        "http://a",
        "a:",
        ":80",
        "a:123456",
        "a:-1",
        "a:+1",
        "a:8o",
        "a:80:80",
        "a:80 80",
        "::1",
        "[]",
        "[::1",
        "::1]",
        "[::1]x",
        "[::1]:",
        "[::1%25lo]",
        "[v1.a]",
        "[a]b:80",
        "\xe4",
        "a\xe4:80",
    ],
)
def test_a_malformed_host_is_refused(api: Client, host: str) -> None:
    assert_refused(api, message("GET", "/healthz", [("Host", host)]))


UNUSUAL_HOST = pytest.mark.direct("HTTP-02")


@pytest.mark.storeless
@pytest.mark.clause("HTTP-02")
@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:1",
        "a_b-c.localhost:0",
        "127.0.0.1",
        "127.0.0.1:00080",
        pytest.param("127.1.2.3:99999", marks=UNUSUAL_HOST),
        "[::1]",
        pytest.param(" \t [::1]:80 \t ", marks=UNUSUAL_HOST),
    ],
)
def test_every_wellformed_host_of_a_loopback_is_served(api: Client, host: str) -> None:
    expect.body(api.raw(message("GET", "/healthz", [("Host", host)])), 200, OK)


@pytest.mark.clause("HTTP-02")
@pytest.mark.parametrize(
    "host",
    [
        "a",
        "EXAMPLE.com",
        "example.com:80",
        "a_b-c.:0",
        pytest.param(".", marks=UNUSUAL_HOST),
        "-",
        "192.0.2.1:00080",
        pytest.param("a:99999", marks=UNUSUAL_HOST),
        "[::FfFf:192.0.2.1]:443",
        "[.]",
        pytest.param(" \t a:80 \t ", marks=UNUSUAL_HOST),
    ],
)
def test_every_wellformed_host_is_served(guarded: Client, host: str) -> None:
    """Asked of a secured service: one that runs open on a loopback takes no other name."""
    expect.body(guarded.raw(message("GET", "/healthz", [("Host", host)])), 200, OK)


@pytest.mark.clause("HTTP-03", "HTTP-06")
@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "HTTPS://{host}/healthz"),
        ("GET", "ftp://{host}/healthz"),
        ("GET", "http:/healthz"),
        ("GET", "http://{host}/healthz#"),
        ("OPTIONS", "*"),
        ("GET", "*"),
        ("GET", "/healthz#"),
        ("GET", "/healthz#top"),
        ("GET", "/users?q=a#top"),
        ("DELETE", "/#"),
    ],
)
def test_a_target_in_another_form_is_refused(api: Client, method: str, target: str) -> None:
    assert_refused(api, api.message(method, target.format(host=api.host)))


@pytest.mark.clause("HTTP-03")
@pytest.mark.parametrize("target", ["users", "?q=a", ".", "{host}", "{host}/users", "%2Fusers"])
def test_a_target_without_a_slash_in_front_is_refused(api: Client, target: str) -> None:
    assert_refused(api, api.message("GET", target.format(host=api.host)))


@pytest.mark.clause("HTTP-20")
@pytest.mark.parametrize("start", ["http://{host}", "HTTP://{host}", "hTTp://localhost:1"])
def test_a_target_in_absolute_form_is_served(api: Client, start: str) -> None:
    start = start.format(host=api.host)
    user = api.create()
    answer = api.raw(api.message("GET", f"{start}/users/{user['id']}"))
    expect.user(answer, 200, name=user["name"], email=user["email"])
    answer = api.raw(api.message("GET", f"{start}/users?q={user['name'].split()[1]}"))
    expect.users(answer, [user], next=False)
    for target in (start, f"{start}?q=%", f"{start}//users", f"{start}/%75sers"):
        expect.problem(api.raw(api.message("GET", target)), "not-found")
    fields = somebody()
    body = expect.render(fields)
    expect.user(api.raw(api.message("POST", f"{start}/users", [JSON], body)), 201, **fields)


ODD_AUTHORITY = pytest.mark.direct("HTTP-20")


@pytest.mark.direct("HTTP-20")
@pytest.mark.clause("HTTP-20", "HTTP-01", "HTTP-02", "HTTP-06")
@pytest.mark.parametrize(
    "authority", ["", "me@{host}", "a b", "[::1", ":80", "localhost:", "localhost:8o", "a\xe4"]
)
def test_a_malformed_authority_is_refused(api: Client, authority: str) -> None:
    target = f"http://{authority.format(host=api.host)}/healthz"
    if " " not in authority and "\xe4" not in authority:
        assert_refused(api, api.message("GET", target))
    with api.connect() as connection:
        connection.send(api.message("GET", target))
        assert_cut(connection)


@pytest.mark.clause("HTTP-20", "HTTP-01", "HTTP-02", "HTTP-06")
@pytest.mark.parametrize("hosts", [[], ["a b"], ["{host}", "{host}"]])
def test_an_authority_makes_up_for_no_host(api: Client, hosts: list[str]) -> None:
    fields = [("Host", host.format(host=api.host)) for host in hosts]
    assert_refused(api, message("GET", f"http://{api.host}/healthz", fields))


@pytest.mark.storeless
@pytest.mark.clause("HTTP-06", "HTTP-12", "HDR-05", "HDR-09")
@pytest.mark.parametrize("more", [[], [("Connection", "upgrade"), ("Upgrade", "h2c")]])
def test_a_refused_head_has_no_body(api: Client, more: list[tuple[str, str]]) -> None:
    with api.connect() as connection:
        connection.send(message("HEAD", "/healthz", more))
        expect.problem(connection.read("HEAD"), "bad-request", head=True, closed=True)
        assert connection.closed()


def block(api: Client, size: int, where: str) -> bytes:
    """A request whose header block, as HTTP-04 measures it, has this size."""
    target, fields = "/healthz", [("Host", api.host), ("X-Request-Id", "measured")]
    left = size - len(target) - sum(len(name) + len(value) + 4 for name, value in fields)
    match where:
        case "target":
            target += "?" + "a" * (left - 1)
        case "name":
            fields.append(("X" * (left - 4), ""))
        case "value":
            fields.append(("X", "a" * (left - 5)))
        case "obs-text":
            fields.append(("X", "\xe4" * (left - 5)))
        case "white space":
            fields.append(("X", "\t  \t" + "a" * (left - 5) + "  \t  "))
        case "many":
            each = left // 90 - 5
            fields += [("X", "a" * each)] * 89
            fields.append(("X", "a" * (left - 89 * (each + 5) - 5)))
    return message("GET", target, fields)


BLOCKS = ["target", "name", "value", "obs-text", "white space", "many"]


@pytest.mark.storeless
@pytest.mark.clause("HTTP-04")
@pytest.mark.parametrize("where", BLOCKS)
def test_a_header_block_of_16384_bytes_is_served(api: Client, where: str) -> None:
    nobody = api.asking("")
    expect.body(nobody.raw(block(api, 16384, where)), 200, OK, request_id="measured")


@pytest.mark.clause("HTTP-04", "HTTP-06", "HDR-04")
@pytest.mark.parametrize("where", BLOCKS)
@pytest.mark.parametrize("size", [16385, 20000, 40000])
def test_a_larger_header_block_is_refused(api: Client, where: str, size: int) -> None:
    assert_refused(api, block(api, size, where), "headers-too-large")


@pytest.mark.storeless
@pytest.mark.clause("HTTP-05")
def test_100_header_fields_are_served(api: Client) -> None:
    fields = [("Host", api.host)] + [(f"X-{n}", "") for n in range(99)]
    expect.body(api.asking("").raw(message("GET", "/healthz", fields)), 200, OK)


@pytest.mark.clause("HTTP-05", "HTTP-06")
@pytest.mark.parametrize("count", [101, 102, 1500])
def test_more_header_fields_are_refused(api: Client, count: int) -> None:
    fields = [("Host", api.host)] + [("X", "")] * (count - 1)
    assert_refused(api, message("GET", "/healthz", fields), "headers-too-large")


@pytest.mark.clause("HTTP-07")
@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/nowhere"), ("GET", "/users/%31"), ("TRACE", "/users"), ("GET", "/users?q=%")],
)
def test_a_refusal_comes_before_all_else(api: Client, method: str, target: str) -> None:
    assert_refused(api, message(method, target))
    assert_refused(api, message(method, target, [("Host", "a b")]))
    many = [("Host", api.host)] + [("X", "")] * 100
    assert_refused(api, message(method, target, many), "headers-too-large")


@pytest.mark.storeless
@pytest.mark.clause("HTTP-07")
@pytest.mark.parametrize(
    "headers",
    [
        [("Content-Type", "text/plain"), ("Content-Length", "2")],
        [JSON, ("Content-Length", str(LIMIT + 1))],
        [JSON, ("Content-Length", "2"), ("Expect", "100-continue")],
        [JSON, ("Transfer-Encoding", "chunked")],
        [("Connection", "Upgrade"), ("Upgrade", "h2c"), ("HTTP2-Settings", "")],
    ],
)
def test_a_refusal_does_not_wait_for_the_body(api: Client, headers: list[tuple[str, str]]) -> None:
    with api.connect() as connection:
        connection.send(message("POST", "/users", headers))
        expect.problem(connection.read("POST"), "bad-request", closed=True)
        assert connection.closed()


# Bytes that are not HTTP, and framing that has two readings


PASSED_ON = pytest.mark.direct("HTTP-08")


@pytest.mark.storeless
@pytest.mark.clause("HTTP-08")
@pytest.mark.parametrize(
    "data",
    [
        b"GARBAGE\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /healthz\r\n\r\n",
        b"get /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        pytest.param(b"BREW /healthz HTTP/1.1\r\nHost: a\r\n\r\n", marks=PASSED_ON),
        pytest.param(b"GETT /healthz HTTP/1.1\r\nHost: a\r\n\r\n", marks=PASSED_ON),
        b"GET /healthz HTTP/3.7\r\nHost: a\r\n\r\n",
        b"GET /healthz HTTP/1.x\r\nHost: a\r\n\r\n",
        b"GET /healthz XTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /healthz HTTP/1.1 x\r\nHost: a\r\n\r\n",
        b"GET /health z HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\n: no name\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nX Y: z\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nX : z\r\n\r\n",
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX\xe4: z\r\n\r\n", marks=PASSED_ON),
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        b"POST /users HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"POST /users HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /users HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\n{}",
        b"POST /users HTTP/1.1\r\nHost: a\r\nContent-Length: 0x2\r\n\r\n{}",
        b"POST /users HTTP/1.1\r\nHost: a\r\nContent-Length: 2 2\r\n\r\n{}",
        b"POST /users HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n",
        b"\x00\r\n\r\n",
        b"{}\r\n\r\n",
    ],
)
def test_what_is_not_http_is_cut(api: Client, data: bytes) -> None:
    with api.connect() as connection:
        connection.send(data)
        assert_cut(connection)


@pytest.mark.direct("HTTP-08")
@pytest.mark.clause("HTTP-08", "HTTP-11")
@pytest.mark.parametrize("requests", [0, 1, 3])
def test_what_is_not_http_is_told_to_a_client_that_has_no_more_to_say(
    api: Client, requests: int
) -> None:
    with api.connect() as connection:
        connection.send(api.message("GET", "/users?limit=1") * requests + b"X-Name: a\r\n\r\n")
        connection.half_close()
        for _ in range(requests):
            assert connection.read().status == 200
        assert_cut(connection)


@pytest.mark.storeless
@pytest.mark.clause("HTTP-08")
@pytest.mark.parametrize("chunk", [b"zz\r\n", b"-1\r\n", b"0x5\r\n", b"\r\n", b"2\r\n{}x\r\n"])
@pytest.mark.parametrize("path", ["/users", "/nowhere"])
def test_a_broken_chunk_ends_the_connection(api: Client, path: str, chunk: bytes) -> None:
    """The answer may be one to the request as far as it goes, where the body does not matter."""
    headers = [("Host", api.host), JSON, ("Transfer-Encoding", "chunked")]
    with api.connect() as connection:
        connection.send(message("POST", path, headers, chunk))
        assert 400 <= connection.read().status < 500
        assert connection.closed(ignore_rest=True)


@pytest.mark.direct("HTTP-08")
@pytest.mark.storeless
@pytest.mark.clause("HTTP-08", "ROUTE-11")
@pytest.mark.parametrize("path", ["/users", "/nowhere", "/events/stream"])
@pytest.mark.parametrize("before", [0, 2])
def test_a_head_whose_body_breaks_is_answered_without_one(
    api: Client, path: str, before: int
) -> None:
    headers = [("Host", api.host), ("Transfer-Encoding", "chunked")]
    with api.connect() as connection:
        ahead = api.message("HEAD", "/healthz") * before
        connection.send(ahead + message("HEAD", path, headers, b"zz\r\n"))
        for _ in range(before):
            assert connection.read("HEAD").status == 200
        answer = connection.read("HEAD")
        assert (answer.status, answer.body) == (400, b"")
        assert connection.closed()


@pytest.mark.clause("HTTP-09")
@pytest.mark.parametrize(
    "lengths",
    [
        ["Content-Length: {n}", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: {n}"],
        ["Transfer-Encoding: chunked", "Content-Length: 0"],
        ["Content-Length: {n}", "Content-Length: 3"],
        ["Content-Length: 3", "content-length: {n}"],
        ["Content-Length: 0", "Content-Length: {n}"],
        ["Content-Length: {n}, 3"],
    ],
)
def test_two_lengths_are_cut_and_nothing_is_done(api: Client, lengths: list[str]) -> None:
    first, second = somebody(), somebody()
    content = expect.render(first)
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
    for body in (content, chunked):
        fields = [tuple(line.format(n=len(body)).split(": ")) for line in lengths]
        headers = [("Host", api.host), JSON, *((name, value) for name, value in fields)]
        with api.connect() as connection:
            connection.send(message("POST", "/users", headers, body) + post(api, second))
            assert_cut(connection)
    assert_nobody(api, first)
    assert_nobody(api, second)


# Codings, and HTTP/1.0


OTHER_CODING = pytest.mark.direct("HTTP-23")


@pytest.mark.direct("HTTP-23")
@pytest.mark.clause("HTTP-23")
@pytest.mark.parametrize(
    "codings",
    [
        ["gzip, chunked"],
        ["gzip", "chunked"],
        ["chunked, chunked"],
        ["chunked", "chunked"],
        ["identity"],
        ["identity, chunked"],
        ["chunked;a=b"],
        ["x-chunked"],
        ["chunked, gzip"],
        ["chunked\t"],
        [""],
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_another_coding_is_refused_and_nothing_is_done(
    api: Client, codings: list[str], method: str
) -> None:
    first, second = somebody(), somebody()
    content = expect.render(first)
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
    head = [("Host", api.host), JSON, *(("Transfer-Encoding", coding) for coding in codings)]
    with api.connect() as connection:
        connection.send(message(method, "/users", head, chunked) + post(api, second))
        assert_cut(connection)
    assert_nobody(api, first)
    assert_nobody(api, second)


@pytest.mark.clause("HTTP-23")
@pytest.mark.parametrize("coding", ["chunked", "Chunked", "CHUNKED"])
def test_chunked_is_taken_in_any_letter_case(api: Client, coding: str) -> None:
    fields = somebody()
    content = expect.render(fields)
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
    head = [("Host", api.host), JSON, ("Transfer-Encoding", coding)]
    expect.user(api.raw(message("POST", "/users", head, body)), 201, **fields)


@pytest.mark.clause("HTTP-24", "HTTP-06")
@pytest.mark.parametrize("more", [[], [("Connection", "keep-alive")]], ids=["close", "keep-alive"])
def test_http_1_0_has_no_transfer_encoding(api: Client, more: list[tuple[str, str]]) -> None:
    fields = somebody()
    content = expect.render(fields)
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
    head = [("Host", api.host), JSON, ("Transfer-Encoding", "chunked"), *more]
    assert_refused(api, message("POST", "/users", head, body, version="1.0"))
    assert_nobody(api, fields)


@pytest.mark.clause("HTTP-25", "HTTP-16")
def test_http_1_0_is_sent_no_100(api: Client) -> None:
    fields = somebody()
    content = expect.render(fields)
    head = [("Host", api.host), JSON, ("Content-Length", str(len(content)))]
    with api.connect() as connection:
        expectation = ("Expect", "100-continue")
        connection.send(message("POST", "/users", [*head, expectation], content, version="1.0"))
        expect.user(connection.read("POST"), 201, **fields)
        assert connection.interim == []
        assert connection.closed()


# What has no end


@pytest.mark.direct("HTTP-08")
@pytest.mark.clause("HTTP-08", "HTTP-11", "HTTP-06")
@pytest.mark.parametrize(
    "begun",
    [
        b"G",
        b"GET /he",
        b"GET /healthz HTTP/1.1\r\nHost: loc",
        (
            b"POST /users HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 10\r\n\r\n{}"
        ),
        (
            b"POST /users HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"
        ),
    ],
)
@pytest.mark.parametrize("before", [0, 1, 3])
def test_what_is_whole_is_answered_before_what_is_not(
    api: Client, begun: bytes, before: int
) -> None:
    planned = [somebody() for _ in range(before)]
    with api.connect() as connection:
        connection.send(b"".join(post(api, fields) for fields in planned) + begun)
        connection.half_close()
        for fields in planned:
            expect.user(connection.read("POST"), 201, **fields)
        expect.problem(connection.read(), "bad-request", closed=True)
        assert connection.closed()


# What can't be read to its end


BROKEN = [b"zz\r\n", b"3\r\nabcde\r\n", b"3\r\nabc\r\n0\r\nno colon\r\n\r\n"]


@pytest.mark.direct("HTTP-26")
@pytest.mark.clause("HTTP-26")
@pytest.mark.parametrize("chunk", BROKEN)
@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
@pytest.mark.parametrize("method", ["DELETE", "PATCH", "PUT"])
def test_what_is_refused_is_not_done(api: Client, method: str, chunk: bytes, apart: bool) -> None:
    user = api.create()
    path, content = f"/users/{user['id']}", expect.render(somebody())
    head = [("Host", api.host), JSON, ("Transfer-Encoding", "chunked")]
    first, rest = message(method, path, head, b"%x\r\n%s\r\n" % (len(content), content)), chunk
    with api.connect() as connection:
        if apart:
            connection.send(first)
            # Whoever acts now can be seen to have.
            assert not connection.readable(0.3)
            connection.send(rest)
        else:
            connection.send(first + rest)
        expect.problem(connection.read(method), "bad-request", closed=True)
        assert connection.closed()
    expect.user(api.get(path), 200, name=user["name"], email=user["email"])


@pytest.mark.direct("HTTP-26")
@pytest.mark.clause("HTTP-26")
@pytest.mark.parametrize("framing", [("Content-Length", "9"), ("Transfer-Encoding", "chunked")])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_what_has_not_come_in_is_not_done(
    api: Client, framing: tuple[str, str], version: str
) -> None:
    """The client ends the connection with the body withheld; the user is there before and after."""
    user = api.create()
    path = f"/users/{user['id']}"
    if version == "1.0" and framing[0] == "Transfer-Encoding":
        pytest.skip("HTTP-24")
    with api.connect() as connection:
        connection.send(message("DELETE", path, [("Host", api.host), framing], version=version))
        assert not connection.readable(0.3)
        expect.user(api.get(path), 200, name=user["name"], email=user["email"])
        connection.half_close()
        assert connection.closed(ignore_rest=True)
    expect.user(api.get(path), 200, name=user["name"], email=user["email"])


@pytest.mark.direct("HTTP-26")
@pytest.mark.clause("HTTP-26", "BODY-06")
def test_a_body_that_is_ignored_is_waited_for(api: Client) -> None:
    path = f"/users/{api.create()['id']}"
    with api.connect() as connection:
        head = [("Host", api.host), ("Transfer-Encoding", "chunked")]
        connection.send(message("DELETE", path, head, b"3\r\nabc\r\n"))
        assert not connection.readable(0.3)
        connection.send(b"0\r\n\r\n" + api.message("GET", path))
        expect.empty(connection.read("DELETE"))
        expect.problem(connection.read(), "user-not-found")


@pytest.mark.direct("HTTP-26")
@pytest.mark.clause("HTTP-21", "HTTP-08")
@pytest.mark.parametrize("chunk", BROKEN)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/healthz"),
        ("GET", "/docs/swagger-ui-bundle.js"),
        ("GET", "/users?limit=1"),
        ("POST", "/nowhere"),
        ("PUT", "/users"),
        ("POST", "/users"),
    ],
)
def test_a_request_has_one_answer(api: Client, method: str, path: str, chunk: bytes) -> None:
    """What is broken comes with the request, or after its answer: 404, 405, 415 or 200."""
    head = [("Host", api.host), ("Content-Type", "text/plain"), ("Transfer-Encoding", "chunked")]
    begun = message(method, path, head, b"3\r\nabc\r\n")
    with api.connect() as connection:
        connection.send(begun + chunk)
        expect.problem(connection.read(method), "bad-request", closed=True)
        assert connection.closed()
    with api.connect() as connection:
        connection.send(begun)
        answer = connection.read(method)
        assert answer.status in (200, 404, 405, 415)
        connection.send(chunk + api.message("GET", "/healthz"))
        assert connection.closed()


# Pipelining


@pytest.mark.clause("HTTP-10")
def test_delete_delete_in_a_pipeline_is_204_then_404(api: Client) -> None:
    for _ in range(5):
        path = f"/users/{api.create()['id']}"
        with api.connect() as connection:
            connection.send(api.message("DELETE", path) * 2 + api.message("GET", path))
            expect.empty(connection.read("DELETE"))
            expect.problem(connection.read("DELETE"), "user-not-found")
            expect.problem(connection.read(), "user-not-found")


@pytest.mark.clause("HTTP-10", "HTTP-11")
def test_50_pipelined_changes_take_effect_in_order(api: Client) -> None:
    user = api.create()
    path, email = f"/users/{user['id']}", user["email"]
    data = b""
    for version in range(2, 52):
        etag = ("If-Match", f'"{version - 1}"')
        body = expect.render({"name": f"Name {version}"})
        data += api.message("PATCH", path, [JSON, etag], body)
    with api.connect() as connection:
        connection.send(data)
        for version in range(2, 52):
            answer = connection.read("PATCH")
            expect.user(answer, 200, name=f"Name {version}", email=email, version=version)


@pytest.mark.clause("HTTP-10", "HTTP-11")
def test_a_pipeline_of_every_operation_sees_its_own_effects(api: Client) -> None:
    fields = somebody()
    created = api.create()
    path = f"/users/{created['id']}"
    name, other = fields["name"], expect.unique()
    with api.connect() as connection:
        connection.send(
            api.message("GET", f"/users?q={name}")
            + post(api, fields)
            + post(api, fields)
            + api.message("GET", f"/users?q={name}")
            + api.message("PATCH", path, [JSON], expect.render({"name": other}))
            + api.message("GET", path)
            + api.message("PUT", path, [JSON], expect.render({**fields, "email": created["email"]}))
            + api.message("HEAD", path)
            + api.message("DELETE", path)
            + api.message("GET", path)
            + api.message("GET", f"/users?q={name}")
        )
        expect.users(connection.read(), [], next=False)
        user = expect.user(connection.read("POST"), 201, **fields)
        expect.problem(connection.read("POST"), "email-taken")
        expect.users(connection.read(), [user], next=False)
        for method in ("PATCH", "GET"):
            answer = connection.read(method)
            expect.user(answer, 200, name=other, email=created["email"], version=2)
        answer = connection.read("PUT")
        expect.user(answer, 200, name=name, email=created["email"], version=3)
        assert connection.read("HEAD").header("etag") == '"3"'
        expect.empty(connection.read("DELETE"))
        expect.problem(connection.read(), "user-not-found")
        expect.users(connection.read(), [user], next=False)


@pytest.mark.clause("HTTP-11")
def test_pipelined_answers_come_in_order_whatever_each_costs(api: Client) -> None:
    targets = ["/healthz", "/openapi.json", "/nowhere", "/users?limit=100", "/readyz", "/users/0"]
    order = [targets[n * 5 % len(targets)] for n in range(48)]
    with api.connect() as connection:
        connection.send(
            b"".join(
                api.message("GET", target, [("X-Request-Id", f"n-{n}")])
                for n, target in enumerate(order)
            )
        )
        for n, target in enumerate(order):
            answer = connection.read()
            assert answer.header("x-request-id") == f"n-{n}"
            assert answer.status == {"/nowhere": 404, "/users/0": 422}.get(target, 200)


@pytest.mark.clause("HTTP-10", "HTTP-11")
def test_a_pipeline_that_arrives_byte_by_byte_is_the_same(api: Client) -> None:
    fields = somebody()
    data = post(api, fields) + api.message("GET", f"/users?q={fields['name']}")
    with api.connect() as connection:
        for n in range(len(data)):
            connection.send(data[n : n + 1])
        user = expect.user(connection.read("POST"), 201, **fields)
        expect.users(connection.read(), [user], next=False)


@pytest.mark.storeless
@pytest.mark.clause("HTTP-11")
def test_a_pipeline_is_answered_to_a_client_that_has_no_more_to_say(api: Client) -> None:
    with api.connect() as connection:
        connection.send(api.message("GET", "/healthz") * 3)
        connection.half_close()
        for _ in range(3):
            expect.body(connection.read(), 200, OK)
        assert connection.closed()


# Upgrade, Expect


UPGRADES = [
    [("Connection", "Upgrade"), ("Upgrade", "foo/2")],
    [
        ("Connection", "keep-alive, Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ],
    [
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA"),
    ],
    [("Upgrade", "h2c")],
]


@pytest.mark.storeless
@pytest.mark.clause("HTTP-12")
@pytest.mark.parametrize("upgrade", UPGRADES, ids=["foo", "websocket", "h2c", "no-connection"])
def test_upgrade_is_ignored(api: Client, upgrade: list[tuple[str, str]]) -> None:
    with api.connect() as connection:
        connection.send(api.message("GET", "/healthz", upgrade) * 2)
        expect.body(connection.read(), 200, OK)
        expect.body(connection.read(), 200, OK)
        connection.send(api.message("GET", "/nowhere", upgrade))
        expect.problem(connection.read(), "not-found")
        connection.send(api.message("OPTIONS", "/users", upgrade))
        allow = "GET, HEAD, OPTIONS, POST"
        expect.empty(connection.read("OPTIONS"), allow=allow)
        connection.send(api.message("TRACE", "/users", upgrade))
        expect.problem(connection.read("TRACE"), "method-not-allowed", allow=allow)


@pytest.mark.clause("HTTP-13")
@pytest.mark.parametrize("upgrade", UPGRADES, ids=["foo", "websocket", "h2c", "no-connection"])
@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_the_body_of_an_upgrade_is_read(
    api: Client, upgrade: list[tuple[str, str]], apart: bool, chunked: bool
) -> None:
    for _ in range(2):
        fields = somebody()
        body = expect.render(fields)
        if chunked:
            framing = ("Transfer-Encoding", "chunked")
            body = b"3\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (body[:3], len(body) - 3, body[3:])
        else:
            framing = ("Content-Length", str(len(body)))
        head = message("POST", "/users", [("Host", api.host), JSON, *upgrade, framing])
        with api.connect() as connection:
            if apart:
                connection.send(head)
                connection.send(body[:10])
                connection.send(body[10:])
            else:
                connection.send(head + body)
            user = expect.user(connection.read("POST"), 201, **fields)
            connection.send(api.message("GET", f"/users/{user['id']}"))
            expect.user(connection.read(), 200, **fields)


@pytest.mark.clause("HTTP-14")
@pytest.mark.parametrize("value", ["100-continue", "100-Continue"])
@pytest.mark.parametrize("waits", [False, True], ids=["at once", "waits"])
def test_expect_continue_is_answered(api: Client, value: str, waits: bool) -> None:
    fields = somebody()
    body = expect.render(fields)
    head = [("Host", api.host), JSON, ("Content-Length", str(len(body))), ("Expect", value)]
    with api.connect() as connection:
        connection.send(message("POST", "/users", head))
        if waits:  # for the 100, but not for ever: whether one is sent is the server's affair
            connection.readable(0.3)
        connection.send(body)
        expect.user(connection.read("POST"), 201, **fields)
        connection.send(api.message("GET", "/healthz"))
        expect.body(connection.read(), 200, OK)


@pytest.mark.storeless
@pytest.mark.clause("HTTP-14")
def test_expect_continue_without_a_body_is_answered(api: Client) -> None:
    answer = api.raw(api.message("GET", "/healthz", [("Expect", "100-continue")]))
    expect.body(answer, 200, OK)


TWO_EXPECTATIONS = pytest.param(["foo", "bar"], marks=pytest.mark.direct("HTTP-15"))


@pytest.mark.clause("HTTP-15")
@pytest.mark.parametrize(
    "values", [["foo"], [""], ["200-ok"], ["100-continue, foo"], TWO_EXPECTATIONS, ["a=b; c"]]
)
def test_any_other_expect_is_ignored(api: Client, values: list[str]) -> None:
    headers = [("Expect", value) for value in values]
    fields = somebody()
    with api.connect() as connection:
        connection.send(api.message("GET", "/healthz", headers))
        expect.body(connection.read(), 200, OK)
        connection.send(post(api, fields, *headers))
        expect.user(connection.read("POST"), 201, **fields)
        connection.send(api.message("GET", "/nowhere", headers))
        expect.problem(connection.read(), "not-found")


# HTTP/1.0, fields


@pytest.mark.storeless
@pytest.mark.clause("HTTP-16")
@pytest.mark.parametrize("path", ["/healthz", "/nowhere", "/users/0"])
def test_http_1_0_is_served_and_closed(api: Client, path: str) -> None:
    with api.connect() as connection:
        connection.send(message("GET", path, [("Host", api.host)], version="1.0"))
        answer = connection.read()
        assert connection.closed()
    assert_like(answer, api.get(path))


def assert_like(answer: Answer, other: Answer) -> None:
    """The same but for what is generated and what belongs to the connection."""
    generated = ("connection", "keep-alive", "date", "x-request-id")
    ours, theirs = (
        (it.status, sorted(field for field in it.headers if field[0] not in generated), it.body)
        for it in (answer, other)
    )
    assert ours == theirs


@pytest.mark.clause("HTTP-16")
def test_http_1_0_takes_a_body(api: Client) -> None:
    fields = somebody()
    body = expect.render(fields)
    head = [("Host", api.host), JSON, ("Content-Length", str(len(body)))]
    with api.connect() as connection:
        connection.send(message("POST", "/users", head, body, version="1.0"))
        user = expect.user(connection.read("POST"), 201, **fields)
        assert connection.closed()
    with api.connect() as connection:
        path = f"/users/{user['id']}"
        connection.send(message("DELETE", path, [("Host", api.host)], version="1.0"))
        expect.empty(connection.read("DELETE"))
        assert connection.closed()


@pytest.mark.storeless
@pytest.mark.direct("HTTP-16")
@pytest.mark.clause("HTTP-16")
@pytest.mark.parametrize(
    "fields",
    [
        [("Connection", "keep-alive")],
        [("Connection", "close, keep-alive")],
        [("Connection", "keep-alive"), ("Connection", "close")],
        [("Proxy-Connection", "keep-alive")],
    ],
)
def test_http_1_0_is_closed_whatever_it_asks_for(
    api: Client, fields: list[tuple[str, str]]
) -> None:
    with api.connect() as connection:
        head = [("Host", api.host), *fields]
        connection.send(message("GET", "/healthz", head, version="1.0") * 2)
        expect.body(connection.read(), 200, OK)
        assert connection.closed()


@pytest.mark.clause("HTTP-17")
def test_field_names_come_in_any_letter_case(api: Client) -> None:
    fields = somebody()
    body = expect.render(fields)
    answers = []
    for spell in (str.lower, str.upper, str.swapcase):
        head = [
            (spell("Host"), api.host),
            (spell("X-Request-Id"), "spelt"),
            (spell("Content-Type"), "application/json"),
            (spell("Content-Length"), str(len(body))),
            (spell("Idempotency-Key"), fields["name"]),
        ]
        answers.append(api.raw(message("POST", "/users", head, body)))
    first, *others = answers
    user = expect.user(first, 201, **fields, request_id="spelt")
    for answer in others:
        expect.replay(answer, first, request_id="spelt")
    for spell in (str.lower, str.upper, str.swapcase):
        head = [(spell("Host"), api.host), (spell("If-None-Match"), '"1"')]
        expect.not_modified(api.raw(message("GET", f"/users/{user['id']}", head)), '"1"')


TAB, TABS = pytest.mark.direct("HTTP-17"), ("\t", " \t \t ")


@pytest.mark.clause("HTTP-17")
@pytest.mark.parametrize("space", ["", " ", *(pytest.param(tab, marks=TAB) for tab in TABS)])
def test_values_come_without_the_space_around_them(api: Client, space: str) -> None:
    fields = somebody()
    body = expect.render(fields)
    lines = [
        f"POST /users HTTP/1.1\r\nHost:{space}{api.host}{space}",
        f"Content-Type:{space}application/json{space}",
        f"Content-Length:{space}{len(body)}{space}",
        f"X-Request-Id:{space}spaced{space}",
        f"Idempotency-Key:{space}{fields['name']}{space}",
    ]
    data = "\r\n".join([*lines, "", ""]).encode() + body
    first = api.raw(data)
    expect.user(first, 201, **fields, request_id="spaced")
    expect.replay(api.raw(data), first, request_id="spaced")


@pytest.mark.clause("HTTP-18")
def test_unknown_fields_are_ignored(api: Client) -> None:
    fields = somebody()
    unknown = [
        ("X-Unknown", "\x80\xff\xe4 \xc3\xa4"),
        ("X-Empty", ""),
        ("x!#$%&'*+-.^_`|~9", "a token too"),
        ("Cookie", "a=\xe4; b"),
        ("Accept", "\xe4"),
        ("User-Agent", "\xe4"),
        ("Origin", "\xe4"),
        ("Content-Location", "%%%"),
        ("__proto__", "1"),
        ("constructor", "1"),
    ]
    user = expect.user(api.raw(post(api, fields, *unknown)), 201, **fields)
    answer = api.raw(api.message("GET", f"/users/{user['id']}", unknown))
    expect.user(answer, 200, **fields)


NAMES = ["__proto__", "constructor", "toString", "hasOwnProperty", "valueOf", "prototype", "then"]


@pytest.mark.clause("HTTP-27", "HTTP-18", "JSON-16")
@pytest.mark.parametrize("name", [*NAMES, "__PROTO__", "__class__", "__init__"])
def test_no_name_does_anything(api: Client, name: str) -> None:
    fields = somebody()
    twice = [(name, "a"), (name, "b")]
    user = expect.user(api.raw(post(api, fields, *twice)), 201, **fields)
    expect.body(api.raw(api.message("GET", "/healthz", twice)), 200, OK)
    expect.problem(api.raw(api.message("GET", "/nowhere", [(name, "")])), "not-found")
    path = f"/users/{user['id']}"
    answer = api.raw(api.message("PATCH", path, [JSON, *twice], b'{"name":"Changed"}'))
    changed = expect.user(answer, 200, name="Changed", email=fields["email"], version=2)
    body = b'{"%s":{"name":"a"}}' % name.encode()
    answer = api.raw(api.message("PATCH", path, [JSON, *twice], body))
    expect.problem(answer, "validation", [expect.error("unknown", pointer=f"#/{name}")])
    answer = api.get(f"/users?{name}=1&q={fields['email']}&{name}=2")
    expect.users(answer, [changed], next=False)
    expect.body(api.get("/healthz"), 200, OK)


@pytest.mark.direct("HTTP-18")
@pytest.mark.clause("HTTP-18")
def test_unknown_fields_are_ignored_twice_too(api: Client) -> None:
    user = api.create()
    twice = [("X-Unknown", "a"), ("Cookie", "a=b")] * 2
    answer = api.raw(api.message("GET", f"/users/{user['id']}", twice))
    expect.user(answer, 200, name=user["name"], email=user["email"])


# Where a request ends


def smuggled(api: Client, victim: str) -> bytes:
    """A body that reads as a request that would do harm."""
    return api.message("DELETE", victim) + api.message("GET", "/openapi.json")


@pytest.mark.clause("HTTP-19", "BODY-06", "BODY-07")
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("HEAD", "/healthz", 200),
        ("GET", "/users?limit=1", 200),
        ("DELETE", "/users/9007199254740991", 404),
        ("OPTIONS", "/users", 204),
        ("GET", "/nowhere", 404),
        ("POST", "/nowhere", 404),
        ("PUT", "/users/", 404),
        ("DELETE", "/users", 405),
        ("POST", "/healthz", 405),
        pytest.param("TRACE", "/users", 405, marks=pytest.mark.direct("HTTP-19")),
        ("POST", "/users", 400),
        ("PATCH", "/users/1", 400),
    ],
)
def test_no_part_of_a_body_is_the_next_request(
    api: Client, method: str, path: str, status: int, chunked: bool
) -> None:
    user = api.create()
    victim = f"/users/{user['id']}"
    body = smuggled(api, victim)
    if chunked:
        framing = ("Transfer-Encoding", "chunked")
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    else:
        framing = ("Content-Length", str(len(body)))
    data = message(method, path, [("Host", api.host), JSON, framing], body)
    with api.connect() as connection:
        connection.send(data + api.message("GET", "/healthz"))
        assert connection.read(method).status == status
        expect.body(connection.read(), 200, OK)
    expect.user(api.get(victim), 200, name=user["name"], email=user["email"])


@pytest.mark.clause("HTTP-19")
def test_no_part_of_an_undeclared_body_is_the_next_request(api: Client) -> None:
    """415 is known before the body is; the body is read away all the same."""
    user = api.create()
    victim = f"/users/{user['id']}"
    head = [("Content-Type", "text/plain")]
    with api.connect() as connection:
        connection.send(api.message("POST", "/users", head, smuggled(api, victim)))
        expect.problem(connection.read("POST"), "unsupported-media-type")
        connection.send(api.message("GET", victim))
        expect.user(connection.read(), 200, name=user["name"], email=user["email"])


# BODY


def large(size: int) -> tuple[Fields, bytes]:
    """A creation of exactly this size: an email in it, and white space."""
    fields = somebody()
    content = expect.render(fields)
    return fields, content[:-1] + b" " * (size - len(content)) + b"}"


def in_chunks(content: bytes, size: int) -> bytes:
    """The chunks of a body, without the last one of size 0."""
    pieces = [content[n : n + size] for n in range(0, len(content), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


def too_large(connection: Connection, method: str = "POST") -> None:
    expect.problem(connection.read(method), "body-too-large")


@pytest.mark.clause("BODY-01")
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_body_of_65536_bytes_is_read(api: Client, chunked: bool) -> None:
    fields, content = large(LIMIT)
    if chunked:
        head = [("Host", api.host), JSON, ("Transfer-Encoding", "chunked")]
        body = in_chunks(content, 1000) + b"0\r\n\r\n"
        answer = api.raw(message("POST", "/users", head, body))
    else:
        answer = api.raw(api.message("POST", "/users", [JSON], content))
    expect.user(answer, 201, **fields)


@pytest.mark.storeless
@pytest.mark.clause("BODY-01")
def test_a_body_is_counted_in_bytes(api: Client) -> None:
    content = json.dumps({"name": "é" * 40000}, ensure_ascii=False).encode()
    assert len(content) > LIMIT
    answer = api.post("/users", content=content, headers=[JSON])
    expect.problem(answer, "body-too-large")
    content = json.dumps({"name": "é" * 30000}, ensure_ascii=False).encode()
    answer = api.post("/users", content=content, headers=[JSON])
    errors = [
        expect.error("too-long", pointer="#/name"),
        expect.error("missing", pointer="#/email"),
    ]
    expect.problem(answer, "validation", errors)


@pytest.mark.storeless
@pytest.mark.clause("BODY-02")
@pytest.mark.parametrize("length", [f"{LIMIT + 1}", f"{10**6}", f"{10**15}", f"{LIMIT + 1:0>40}"])
@pytest.mark.parametrize("extra", [[], [("Expect", "100-continue")], [("Connection", "close")]])
def test_a_length_that_is_too_large_is_answered_at_once(
    api: Client, length: str, extra: list[tuple[str, str]]
) -> None:
    head = [("Host", api.host), JSON, ("Content-Length", length), *extra]
    for method, path in (("POST", "/users"), ("PUT", "/users/1"), ("PATCH", "/users/1")):
        with api.connect() as connection:
            connection.send(message(method, path, head))
            too_large(connection, method)


@pytest.mark.clause("BODY-02", "HTTP-19")
def test_a_body_that_is_too_large_is_not_the_next_request(api: Client) -> None:
    user = api.create()
    victim = f"/users/{user['id']}"
    body = smuggled(api, victim) * 900
    assert len(body) > LIMIT
    with api.connect() as connection:
        connection.send(api.message("POST", "/users", [JSON], body))
        too_large(connection)
    expect.user(api.get(victim), 200, name=user["name"], email=user["email"])


@pytest.mark.clause("BODY-03")
@pytest.mark.parametrize("size", [500, 16384, LIMIT + 1])
@pytest.mark.parametrize("ended", [True, False], ids=["ended", "open"])
def test_a_chunked_body_that_is_too_large_is_answered(api: Client, size: int, ended: bool) -> None:
    fields, content = large(LIMIT + 1)
    head = [("Host", api.host), JSON, ("Transfer-Encoding", "chunked")]
    body = in_chunks(content, size) + (b"0\r\n\r\n" if ended else b"")
    with api.connect() as connection:
        connection.send(message("POST", "/users", head, body))
        too_large(connection)
    assert_nobody(api, fields)


@pytest.mark.storeless
@pytest.mark.clause("BODY-04")
@pytest.mark.parametrize("close", [False, True], ids=["keep-alive", "close"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_client_that_sends_it_all_sees_the_413(api: Client, close: bool, chunked: bool) -> None:
    content = b"x" * 2**20
    framing = ("Content-Length", str(len(content)))
    if chunked:
        framing = ("Transfer-Encoding", "chunked")
        content = in_chunks(content, 8192) + b"0\r\n\r\n"
    head = [("Host", api.host), JSON, framing, *[("Connection", "close")] * close]
    data = message("POST", "/users", head, content)
    with api.connect() as connection:
        for n in range(0, len(data), 16384):
            connection.send(data[n : n + 16384])  # fails where the server has closed or reset
        too_large(connection)
        if close:
            assert connection.closed()


@pytest.mark.storeless
@pytest.mark.clause("BODY-04")
def test_an_ordinary_client_sees_the_413(api: Client) -> None:
    answer = api.post("/users", content=b"x" * 2**20, headers=[JSON])
    expect.problem(answer, "body-too-large")


@pytest.mark.clause("BODY-05")
@pytest.mark.parametrize(
    "form", ["whole", "bytes", "extensions", "upper case", "zeros", "trailers"]
)
def test_a_chunked_body_is_read_as_any_other(api: Client, form: str) -> None:
    fields = somebody()
    content = expect.render(fields)
    match form:
        case "bytes":
            body = in_chunks(content, 1) + b"0\r\n\r\n"
        case "extensions":
            body = b'%x;a;b=c;d="e"\r\n%s\r\n0;f\r\n\r\n' % (len(content), content)
        case "upper case":
            body = b"%X\r\n%s\r\n0\r\n\r\n" % (len(content), content)
        case "zeros":
            body = b"0000%x\r\n%s\r\n000\r\n\r\n" % (len(content), content)
        case "trailers":
            body = in_chunks(content, 7) + b"0\r\nX-Checksum: 1\r\nExpires: 0\r\n\r\n"
        case _:
            body = in_chunks(content, len(content)) + b"0\r\n\r\n"
    head = [("Host", api.host), JSON, ("Transfer-Encoding", "chunked")]
    with api.connect() as connection:
        connection.send(message("POST", "/users", head, body) + api.message("GET", "/healthz"))
        expect.user(connection.read("POST"), 201, **fields)
        expect.body(connection.read(), 200, OK)


@pytest.mark.clause("BODY-05")
@pytest.mark.parametrize("trailers", [b"X: a\r\n" * 1100, b"X: %s\r\n" % (b"a" * 65000)])
def test_trailers_may_be_many_and_long(api: Client, trailers: bytes) -> None:
    fields = somebody()
    head = [("Host", api.host), JSON, ("Transfer-Encoding", "chunked")]
    body = in_chunks(expect.render(fields), 1000) + b"0\r\n" + trailers + b"\r\n"
    with api.connect() as connection:
        connection.send(message("POST", "/users", head, body) + api.message("GET", "/healthz"))
        expect.user(connection.read("POST"), 201, **fields)
        expect.body(connection.read(), 200, OK)


@pytest.mark.direct("HTTP-28")
@pytest.mark.clause("HTTP-28", "HTTP-06", "HTTP-26")
@pytest.mark.parametrize("end", [b"0\r\nX: ", b"0\r\nX", b"0;x=", b"1;x="])
def test_framing_without_an_end_is_refused(api: Client, end: bytes) -> None:
    fields = somebody()
    head = [("Host", api.host), JSON, ("Transfer-Encoding", "chunked")]
    body = in_chunks(expect.render(fields), 1000) + end + b"a" * (256 * 1024)
    assert_refused(api, message("POST", "/users", head, body), "headers-too-large")
    assert_nobody(api, fields)


@pytest.mark.clause("BODY-05")
def test_trailers_are_not_taken_for_headers(api: Client) -> None:
    user = api.create()
    content = expect.render({"name": "Changed"})
    trailers = [
        "Host: other",
        "Content-Type: text/plain",
        "Content-Encoding: gzip",
        'If-Match: "99"',
        "X-Request-Id: trailer",
        "Origin: null",
    ]
    end = "\r\n".join(["0", *trailers, "", ""]).encode()
    head = [("Host", api.host), JSON, ("Transfer-Encoding", "chunked")]
    data = message("PATCH", f"/users/{user['id']}", head, in_chunks(content, 5) + end)
    with api.connect() as connection:
        connection.send(data + api.message("GET", "/healthz"))
        answer = connection.read("PATCH")
        expect.user(answer, 200, name="Changed", email=user["email"], version=2)
        expect.body(connection.read(), 200, OK)


@pytest.mark.clause("BODY-05", "CTYPE-01", "IDEM-01")
def test_what_only_a_trailer_says_is_not_said(api: Client) -> None:
    fields = somebody()
    head = [("Host", api.host), ("Transfer-Encoding", "chunked")]
    body = in_chunks(expect.render(fields), 9) + b"0\r\nContent-Type: application/json\r\n\r\n"
    answer = api.raw(message("POST", "/users", head, body))
    expect.problem(answer, "unsupported-media-type")
    key = f"Idempotency-Key: {fields['name']}\r\n".encode()
    body = in_chunks(expect.render(fields), 9) + b"0\r\n" + key + b"\r\n"
    answer = api.raw(message("POST", "/users", [*head, JSON], body))
    expect.user(answer, 201, **fields)
    answer = api.raw(message("POST", "/users", [*head, JSON], body))
    expect.problem(answer, "email-taken")


IGNORED = {
    "not JSON": ([JSON], b"{"),
    "no type": ([], b"{}"),
    "another type": ([("Content-Type", "text/plain")], b"hello"),
    "two types": ([JSON, JSON], b"{}"),
    "encoded": ([JSON, ("Content-Encoding", "gzip")], b"\x1f\x8b"),
    "large": ([JSON], b"x" * (LIMIT + 1)),
    "larger": ([], b"x" * 300_000),
}


def ignored(mark: pytest.MarkDecorator) -> list[object]:
    """The bodies' names; after the large ones a gateway may close the connection."""
    return [pytest.param(name, marks=mark if "large" in name else ()) for name in IGNORED]


@pytest.mark.clause("BODY-06")
@pytest.mark.parametrize("body", ignored(pytest.mark.direct("BODY-06")))
def test_a_body_is_ignored_where_none_belongs(api: Client, body: str) -> None:
    headers, content = IGNORED[body]
    user = api.create()
    path = f"/users/{user['id']}"
    name, email = user["name"], user["email"]
    with api.connect() as connection:
        connection.send(api.message("GET", path, headers, content))
        get = connection.read()
        expect.user(get, 200, name=name, email=email)
        connection.send(api.message("HEAD", path, headers, content))
        expect.head_of(connection.read("HEAD"), get)
        connection.send(api.message("OPTIONS", path, headers, content))
        allow = "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"
        expect.empty(connection.read("OPTIONS"), allow=allow)
        connection.send(api.message("GET", f"/users?q={name.split()[1]}", headers, content))
        expect.users(connection.read(), [user], next=False)
        connection.send(api.message("DELETE", path, headers, content))
        expect.empty(connection.read("DELETE"))


@pytest.mark.storeless
@pytest.mark.clause("BODY-07")
@pytest.mark.parametrize("body", ignored(pytest.mark.direct("BODY-07")))
def test_a_body_is_ignored_where_nothing_is_served(api: Client, body: str) -> None:
    headers, content = IGNORED[body]
    with api.connect() as connection:
        for method in ("POST", "PUT", "GET", "DELETE"):
            connection.send(api.message(method, "/nowhere", headers, content))
            expect.problem(connection.read(method), "not-found")
        for method in ("PUT", "PATCH", "DELETE", "TRACE"):
            connection.send(api.message(method, "/users", headers, content))
            answer = connection.read(method)
            expect.problem(answer, "method-not-allowed", allow="GET, HEAD, OPTIONS, POST")
