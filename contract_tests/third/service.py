"""A third service, on nothing but Python's http.server: what the suite says of one with gaps.

It is what somebody might have after an afternoon with the contract's core: users in memory, the
happy paths and the common failures. `gaps.txt` has the clauses that it breaks.
"""

import json
import re
import sys
import threading
import uuid
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

USERS: dict[int, dict[str, Any]] = {}
LOCK = threading.Lock()
MEMBERS = ("name", "email", "role")
EMAIL = re.compile(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-z0-9-]+(\.[a-z0-9-]+)+")
ACCEPT_PATCH = "application/json, application/merge-patch+json"
ALLOW = {
    "/users": "GET, HEAD, OPTIONS, POST",
    "/users/": "DELETE, GET, HEAD, OPTIONS, PATCH, PUT",
    "/healthz": "GET, HEAD, OPTIONS",
    "/readyz": "GET, HEAD, OPTIONS",
}
PROBLEMS = {
    "malformed-json": (
        400,
        "Malformed JSON",
        "The body is not JSON (RFC 8259) in UTF-8 with at most 32 levels of nesting.",
    ),
    "not-found": (404, "Not found", "There is nothing at this path."),
    "user-not-found": (404, "User not found", "There is no user with this id."),
    "method-not-allowed": (405, "Method not allowed", "This path does not support the method."),
    "email-taken": (409, "Email taken", "Another user has this email."),
    "unsupported-media-type": (
        415,
        "Unsupported media type",
        "The body must be of the right type, in UTF-8, declared by one Content-Type, not encoded.",
    ),
    "validation": (422, "Validation failed", "The request breaks the rules listed in errors."),
}
DETAILS = {
    "missing": "This member is required.",
    "wrong-type": "This value has the wrong type.",
    "malformed": "This value does not have the required form.",
    "unknown": "This member is not known.",
    "too-short": "This text is too short.",
}


class Problem(Exception):
    """Ends a request."""

    def __init__(self, code: str, *errors: tuple[str, str, str]) -> None:
        self.code = code
        self.errors = [
            {place: where, "code": rule, "detail": DETAILS[rule]} for place, where, rule in errors
        ]


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def answer(self) -> None:
        """Any method comes here."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        try:
            self.route("GET" if self.command == "HEAD" else self.command, path, query, body)
        except Problem as problem:
            status, title, detail = PROBLEMS[problem.code]
            document = {"type": f"/problems/{problem.code}", "title": title, "status": status}
            document["detail"] = detail
            if problem.errors:
                document["errors"] = problem.errors
            headers = {"Allow": self.allow} if status == 405 else {}
            if status == 415 and self.command == "PATCH":
                headers = {"Accept-Patch": ACCEPT_PATCH}
            self.send(status, document, headers, "application/problem+json")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def route(self, method: str, path: str, query: str, body: bytes) -> None:
        """Find out what is asked for, and do it."""
        kind = "/users/" if re.fullmatch("/users/[^/%]+", path) else path
        if kind not in ALLOW or (kind == "/users/" and kind == path):
            raise Problem("not-found")
        self.allow = ALLOW[kind]
        if method not in self.allow.split(", "):
            raise Problem("method-not-allowed")
        if method == "OPTIONS":
            accept = {"Accept-Patch": ACCEPT_PATCH} if "PATCH" in self.allow else {}
            self.send(204, None, {"Allow": self.allow} | accept)
        elif not kind.startswith("/users"):
            self.send(200, {"status": "ok"})
        elif kind == "/users":
            with LOCK:
                self.create(body) if method == "POST" else self.list(query)
        else:
            with LOCK:
                self.one(method, path.removeprefix("/users/"), body)

    def create(self, body: bytes) -> None:
        """POST /users."""
        fields = {"role": "member", **self.fields(body, {"name", "email"})}
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        taken(fields["email"], None)
        user = {
            "id": len(USERS) + 1,
            **ordered(fields),
            "created_at": now,
            "updated_at": now,
            "version": 1,
        }
        USERS[len(USERS) + 1] = user
        self.user(user, 201)

    def list(self, query: str) -> None:
        """GET /users."""
        asked = dict(parse_qsl(query))
        q, limit = asked.get("q", "").strip().lower(), int(asked.get("limit", "50"))
        found = [
            user
            for user in USERS.values()
            if user and (q in user["name"].lower() or q in user["email"])
        ]
        self.send(200, found[:limit])

    def one(self, method: str, name: str, body: bytes) -> None:
        """Whatever /users/{id} is asked."""
        wanted = {"PUT": {"name", "email"}, "PATCH": set[str]()}.get(method)
        fields = {} if wanted is None else self.fields(body, wanted)
        if not re.fullmatch("[1-9][0-9]{0,15}", name):
            raise Problem("validation", ("parameter", "id", "malformed"))
        user = USERS.get(int(name))
        if not user:
            raise Problem("user-not-found")
        if method == "DELETE":
            USERS[user["id"]] = {}
            self.send(204, None)
            return
        if any(user[field] != value for field, value in fields.items()):
            taken(fields.get("email"), user["id"])
            now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            user |= {**fields, "updated_at": now, "version": user["version"] + 1}
        self.user(user, 200)

    def fields(self, body: bytes, required: set[str]) -> dict[str, str]:
        """The body's members, checked."""
        if self.headers.get_content_type() not in (
            "application/json",
            "application/merge-patch+json",
        ):
            raise Problem("unsupported-media-type")
        try:
            document = json.loads(body.decode())
        except ValueError:
            raise Problem("malformed-json") from None
        if not isinstance(document, dict):
            raise Problem("validation", ("pointer", "#", "wrong-type"))
        rules = {name: rule(name, document.get(name)) for name in MEMBERS}
        broken = [
            ("pointer", f"#/{name}", broken)
            for name, broken in rules.items()
            if broken and (name in required or name in document)
        ]
        unknown = sorted(set(document) - set(MEMBERS))
        if broken or unknown:
            raise Problem(
                "validation", *broken, *(("pointer", f"#/{n}", "unknown") for n in unknown)
            )
        if "name" in document:
            document["name"] = document["name"].strip(" \t\r\n")
        if "email" in document:
            document["email"] = document["email"].lower()
        return ordered(document)

    def user(self, user: dict[str, Any], status: int) -> None:
        """Answer with a user."""
        headers = {"ETag": f'"{user["version"]}"', "Cache-Control": "no-cache"}
        if status == 201:
            headers["Location"] = f"/users/{user['id']}"
        self.send(status, user, headers)

    def send(
        self,
        status: int,
        document: Any,
        headers: dict[str, str] | None = None,
        kind: str = "application/json",
    ) -> None:
        """Write the answer."""
        text = (
            ""
            if document is None
            else json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        )
        self.send_response_only(status)
        fields = {
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            **(headers or {}),
        }
        if document is not None:
            fields |= {"Content-Type": kind, "Content-Length": str(len(text.encode()))}
        fields["X-Request-Id"] = self.headers.get("X-Request-Id") or str(uuid.uuid4())
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def ordered(members: dict[str, str]) -> dict[str, str]:
    """The members in the order in which a user has them."""
    return {name: members[name] for name in MEMBERS if name in members}


def rule(name: str, value: object) -> str | None:
    """The rule that a member breaks."""
    if value is None:
        return "missing"
    if not isinstance(value, str):
        return "wrong-type"
    if name == "role":
        return None if value in ("admin", "member") else "malformed"
    if name == "name":
        return None if value.strip() else "too-short"
    return None if EMAIL.fullmatch(value.lower()) else "malformed"


def taken(email: str | None, mine: int | None) -> None:
    """Raise the problem that another user's email is."""
    if any(user and user["email"] == email and user["id"] != mine for user in USERS.values()):
        raise Problem("email-taken")


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
