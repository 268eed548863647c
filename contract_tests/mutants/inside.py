"""Faults inside the services, where the wire can't plant them: patches to a copy of their code.

A patch names a definition of a file, and a text that is another in it: so rewording the lines around
it, or breaking them elsewhere, doesn't matter. What is shipped is read and never changed.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from contract_tests.harness.services import ROOT, Kind
from contract_tests.mutants.definitions import find, indentation

SOURCES: dict[Kind, str] = {"python": "python_api", "node": "node_api"}


@dataclass(frozen=True)
class Patch:
    """One text in place of another, in one definition. `where` is its name: `Users.create`.

    - `old` stands in the definition once, however its lines are broken: `new` takes its place.
    - Where `old` is empty, `new` is put at the beginning of the definition's body.
    - Where `where` is empty as well, `new` is a file that isn't there yet.

    The further lines of `new` are indented as far as the line that it begins on.
    """

    file: str
    where: str
    old: str
    new: str

    def changed(self, directory: Path) -> str:
        """What the file holds then, of the service in this directory; nothing is written.

        Raises AssertionError where the definition, its body or the text isn't there once.
        """
        path = directory / self.file
        if not self.where:
            assert not path.exists(), path
            return self.new
        lines = path.read_text("utf-8").split("\n")
        begin, end, body = find(lines, self.file, self.where)
        if not self.old:
            assert body is not None, f"{self.where} in {self.file} has no body"
            margin = indentation(lines[body])
            lines.insert(body, margin + _deeper(self.new, margin))
            return "\n".join(lines)
        definition = "\n".join(lines[begin:end])
        found = [match.span() for match in _however_broken(self.old).finditer(definition)]
        times = len(found)
        assert times == 1, f"{self.where} in {self.file} has {times} times {self.old!r}, not once"
        ((start, stop),) = found
        margin = indentation(definition[definition.rfind("\n", 0, start) + 1 :])
        lines[begin:end] = [definition[:start] + _deeper(self.new, margin) + definition[stop:]]
        return "\n".join(lines)

    def apply(self, directory: Path) -> None:
        """Change the file in this copy of a service."""
        text = self.changed(directory)
        (directory / self.file).write_text(text, "utf-8")


def _deeper(text: str, margin: str) -> str:
    """The text with the lines behind its first one indented by the margin."""
    return re.sub(r"\n(?=.)", f"\n{margin}", text)


def _however_broken(text: str) -> re.Pattern[str]:
    """Matches the text with any white space between its words and signs.

    Before a bracket that closes there may be a comma more, as a formatter puts it there where each
    element has a line.
    """
    parts = []
    for part in re.findall(r"\w+|[^\w\s]", text):
        before = r",?\s*" if part in ")]}" else ""
        parts.append(rf"\b{part}\b" if re.match(r"\w", part) else before + re.escape(part))
    return re.compile(r"\s*".join(parts))


@dataclass(frozen=True)
class Inside:
    """One fault; the same one on both sides, in each one's language."""

    name: str
    clause: str
    what: str
    python: tuple[Patch, ...]
    node: tuple[Patch, ...]

    def patches(self, kind: Kind) -> tuple[Patch, ...]:
        """What to change of this service."""
        return self.python if kind == "python" else self.node


@contextmanager
def copied(kind: Kind, patches: tuple[Patch, ...]) -> Iterator[Path]:
    """The root of a copy of this repository in which the service is patched; both run from it."""
    with TemporaryDirectory(prefix="mutant-") as directory:
        root = Path(directory)
        for entry in ROOT.iterdir():
            if entry.name not in (*SOURCES.values(), ".git"):
                (root / entry.name).symlink_to(entry)
        shutil.copytree(ROOT / "python_api", root / "python_api")
        node = root / "node_api"
        node.mkdir()
        for entry in (ROOT / "node_api").iterdir():
            if entry.name != "src":
                (node / entry.name).symlink_to(entry)
        shutil.copytree(ROOT / "node_api" / "src", node / "src")
        for patch in patches:
            patch.apply(root / SOURCES[kind])
        yield root


def _one(
    name: str,
    clause: str,
    what: str,
    python: tuple[str, str, str, str],
    node: tuple[str, str, str, str],
) -> Inside:
    """A fault of one patch a side; Node's file is below `src`."""
    file, *texts = node
    return Inside(name, clause, what, (Patch(*python),), (Patch(f"src/{file}", *texts),))


_INSIDE = [
    # What happened to users
    Inside(
        "event_is_written_afterwards",
        "EVENT-01",
        "An event is written in a transaction of its own, behind that of its change.",
        (
            Patch(
                "users/service.py",
                "Users._write_event",
                "",
                (
                    "import asyncio\n"
                    "async def later() -> None:\n"
                    "    async with self._database.transaction() as own:\n"
                    "        await write_event(own, change, now, self._settings.events_ttl)\n"
                    "self._later = asyncio.create_task(later())\n"
                    "return"
                ),
            ),
        ),
        (
            Patch(
                "src/users/service.ts",
                "Users.#writeEvent",
                "",
                (
                    "setTimeout(() => {\n"
                    "  void this.#database.transaction((own) => writeEvent(own, change, now, this.#settings.eventsTtl)).catch(() => 0);\n"
                    "}, 20);\n"
                    "return Promise.resolve();"
                ),
            ),
        ),
    ),
    _one(
        "first_admin_has_no_event",
        "EVENT-01",
        "The first admin is created without an event.",
        (
            "auth/admin.py",
            "create_first_admin",
            "await write_event(connection, user_created(admin), now, settings.events_ttl)",
            "",
        ),
        (
            "auth/admin.ts",
            "createFirstAdmin",
            "await writeEvent(connection, userCreated(user), now, settings.eventsTtl);",
            "void [userCreated, writeEvent, user];",
        ),
    ),
    _one(
        "no_change_has_an_event",
        "EVENT-02",
        "A change that changes nothing has an event.",
        ("users/service.py", "Users.change", "if is_new:", "if True:"),
        ("users/service.ts", "Users.change", "if (isNew)", "if (isNew || true)"),
    ),
    _one(
        "position_is_the_number",
        "EVENT-03",
        "An event's position is the number under which it was written.",
        (
            "events/store.py",
            "GIVE_POSITIONS",
            "position=NUMBERED.c.position",
            "position=NUMBERED.c.number",
        ),
        (
            "events/store.ts",
            "givePositions",
            'eb.ref("numbered.position")',
            'eb.ref("numbered.number")',
        ),
    ),
    _one(
        "latest_event_is_first",
        "EVENT-04",
        "Of events that get their positions together, the latest comes first.",
        ("events/store.py", "NUMBERED", "order_by=events.c.number", "order_by=-events.c.number"),
        ("events/store.ts", "givePositions", "order by number", "order by number desc"),
    ),
    _one(
        "event_has_the_version_before",
        "EVENT-06",
        "A deletion tells of another version than the one that was deleted.",
        ("users/service.py", "Users.delete", "version, now)", "version + 1, now)"),
        ("users/service.ts", "Users.delete", "version, now)", "version + 1, now)"),
    ),
    _one(
        "old_events_stay",
        "EVENT-14",
        "Events are kept for ever.",
        (
            "events/store.py",
            "give_positions",
            'await connection.execute(FORGET, {"last": last, "expired": expired})',
            "",
        ),
        (
            "events/store.ts",
            "givePositions",
            '.deleteFrom("events")',
            '.deleteFrom("events")\n.where("position", "<", 0)',
        ),
    ),
    _one(
        "events_stay_where_nobody_reads",
        "EVENT-14",
        "Only a list forgets events.",
        ("events/store.py", "write_event", "number % MAX_WAITING == 0", "number < 0"),
        (
            "events/store.ts",
            "writeEvent",
            "written.number % MAX_WAITING === 0",
            "written.number < 0",
        ),
    ),
    _one(
        "gone_events_are_passed_over",
        "EVENT-15",
        "Who asks for forgotten events gets those behind them.",
        ("events/service.py", "Events.list_page", "await self.check_kept(page.after)", "pass"),
        ("events/service.ts", "Events.listPage", "await this.checkKept(after);", ""),
    ),
    _one(
        "stream_is_kept_back",
        "STREAM-01",
        "A gateway is left to keep back what a stream brings.",
        (
            "events/streams.py",
            "Stream.__init__",
            '"X-Accel-Buffering": "no"',
            '"X-Accel-Buffering": "yes"',
        ),
        (
            "events/routes.ts",
            "eventsRoutes",
            '"X-Accel-Buffering": "no"',
            '"X-Accel-Buffering": "yes"',
        ),
    ),
    _one(
        "stream_is_asked_for_too_soon",
        "STREAM-02",
        "A stream has its clients ask again too soon.",
        ("events/streams.py", "RETRY", "1000", "10"),
        ("events/streams.ts", "RETRY", "1000", "10"),
    ),
    _one(
        "stream_begins_nowhere",
        "STREAM-02",
        "A stream doesn't tell where it begins.",
        (
            "events/streams.py",
            "_chunks",
            r"retry: {RETRY}\nid: {follower.position}",
            "retry: {RETRY}",
        ),
        (
            "events/streams.ts",
            "chunks",
            r"retry: ${RETRY}\nid: ${follower.position}",
            "retry: ${RETRY}",
        ),
    ),
    _one(
        "streams_take_all_connections",
        "STREAM-08",
        "Streams may take as many connections as there are.",
        ("events/feed.py", "Feed.__init__", "settings.max_connections // 2", "10**9"),
        ("events/feed.ts", "Feed.constructor", "settings.maxConnections / 2", "10 ** 9"),
    ),
    _one(
        "all_is_forgotten_at_once",
        "EVENT-14",
        "All that is old is forgotten in one go.",
        ("events/store.py", "MAX_FORGOTTEN", "1000", "10**9"),
        ("events/store.ts", "MAX_FORGOTTEN", "1000", "10 ** 9"),
    ),
    _one(
        "newest_event_is_forgotten",
        "EVENT-14",
        "The newest event is forgotten, too.",
        ("events/store.py", "FORGET", 'bindparam("last")', 'bindparam("last") + 1'),
        ("events/store.ts", "givePositions", "eb.val(last)", "eb.val(last + 1)"),
    ),
    _one(
        "events_are_forgotten_early",
        "EVENT-14",
        "Events are kept for a quarter of the time.",
        (
            "events/store.py",
            "give_positions",
            "timedelta(seconds=ttl)",
            "timedelta(seconds=ttl / 4)",
        ),
        ("events/store.ts", "givePositions", "ttl * 1000", "ttl * 250"),
    ),
    _one(
        "chunks_for_http_1_0",
        "STREAM-13",
        "HTTP/1.0 is answered in chunks.",
        ("http/server.py", "Protocol._start_asgi_task", '!= "1.1"', '== "0.8"'),
        (
            "events/routes.ts",
            "eventsRoutes",
            '"X-Accel-Buffering": "no" }',
            '"X-Accel-Buffering": "no", "Transfer-Encoding": "chunked" }',
        ),
    ),
    _one(
        "last_event_id_is_ignored",
        "STREAM-03",
        "A stream begins anew whatever its client has seen.",
        ("events/pages.py", "_read_start", "after if sent_last is None else sent_last", "after"),
        ("events/pages.ts", "streamStart", "sentLast ?? after", "after"),
    ),
    _one(
        "stream_passes_over_what_is_gone",
        "STREAM-04",
        "A stream that lags behind goes on with what is left.",
        ("events/feed.py", "Feed._next", "await self._events.check_kept(position)", ""),
        ("events/feed.ts", "Feed.#next", "await this.#events.checkKept(position);", ""),
    ),
    _one(
        "stream_misses_the_next",
        "STREAM-05",
        "The event behind one that is told is passed over.",
        ("events/feed.py", "Feed._next", "position + len(new)", "position + len(new) + 1"),
        ("events/feed.ts", "Feed.#next", "position + fresh.length", "position + fresh.length + 1"),
    ),
    _one(
        "silent_stream",
        "STREAM-06",
        "A stream has no heartbeat.",
        (
            "events/streams.py",
            "_chunks",
            r'"".join(map(_block, page)) or f":\nid: {follower.position}\n\n"',
            '"".join(map(_block, page))',
        ),
        (
            "events/streams.ts",
            "chunks",
            r'page.map(block).join("") || `:\nid: ${follower.position}\n\n`',
            'page.map(block).join("")',
        ),
    ),
    _one(
        "void_token_follows_on",
        "STREAM-07",
        "A stream goes on whatever has become of its token.",
        ("events/feed.py", "Feed.confirm", "await self._guard.is_still(follower.caller)", "True"),
        ("events/feed.ts", "Feed.confirm", "await this.#guard.isStill(follower.caller)", "true"),
    ),
    _one(
        "admin_of_yesterday_follows_on",
        "STREAM-07",
        "A stream goes on for an admin who is one no more.",
        (
            "auth/guard.py",
            "Guard.is_still",
            "return _is_good(user, caller.claims) and (user.role == 'admin') == caller.is_admin".replace(
                "'", '"'
            ),
            "return user is not None",
        ),
        (
            "auth/guard.ts",
            "Guard.isStill",
            'isGood(user, caller.claims) && (user.role === "admin") === caller.isAdmin',
            "user !== undefined",
        ),
    ),
    _one(
        "any_number_of_streams",
        "STREAM-08",
        "There may be any number of streams.",
        (
            "events/feed.py",
            "Feed.join",
            "len(self._followers) >= self._most",
            "False",
        ),
        (
            "events/feed.ts",
            "Feed.join",
            "this.#followers.size >= this.#most",
            "this.#followers.size < 0",
        ),
    ),
    _one(
        "streams_count_for_ever",
        "STREAM-08",
        "A stream counts when its client has gone.",
        ("events/streams.py", "Stream.__call__", "self._feed.leave(self._follower)", "pass"),
        ("events/feed.ts", "Feed.leave", "this.#followers.delete(follower);", ""),
    ),
    _one(
        "stream_reads_the_whole_log",
        "STREAM-09",
        "A stream takes all that there is into memory.",
        ("events/feed.py", "PAGE", "100", "1000000"),
        ("events/feed.ts", "PAGE", "100", "1_000_000"),
    ),
    _one(
        "streams_hold_up_the_end",
        "STREAM-10",
        "A service that stops waits for its streams.",
        ("app.py", "create_app", "(app.state.feed.stop, deliveries.stop)", "(deliveries.stop,)"),
        ("http/server.ts", "serve", "stopping.abort();", ""),
    ),
    _one(
        "lost_database_breaks_streams",
        "STREAM-11",
        "While the database is away, nobody looks into the log any more.",
        ("events/feed.py", "Feed._look_once", "pause = AWAY_SECONDS", "raise"),
        (
            "events/feed.ts",
            "Feed.#lookOnce",
            "milliseconds = AWAY_MILLISECONDS;",
            "throw error;",
        ),
    ),
    _one(
        "head_of_a_stream_goes_on",
        "STREAM-12",
        "HEAD of a stream ends when the stream does.",
        (
            "app.py",
            "CommonHeaders.__call__",
            'method == "HEAD" and message.get("more_body")',
            "False",
        ),
        (
            "events/routes.ts",
            "eventsRoutes",
            'if (c.req.method === "HEAD")',
            'if (c.req.method === "?")',
        ),
    ),
    _one(
        "socket_without_request_id",
        "SOCK-01",
        "A socket is opened without an X-Request-Id.",
        (
            "app.py",
            "CommonHeaders.__call__",
            '[*message["headers"], (b"X-Request-Id", this_request.encode())]',
            "[]",
        ),
        (
            "http/sockets.ts",
            "Handshake.#open",
            "lines.push(`X-Request-Id: ${requestId}`)",
            "lines.length",
        ),
    ),
    _one(
        "any_version_of_websocket",
        "SOCK-02",
        "A handshake may be of any version that the library knows.",
        (
            "events/handshake.py",
            "_check",
            'header(headers, "sec-websocket-version") != VERSION',
            'header(headers, "sec-websocket-version") not in ("8", VERSION)',
        ),
        (
            "events/handshake.ts",
            "handshake",
            'c.req.header("sec-websocket-version") !== VERSION',
            '!["8", VERSION].includes(c.req.header("sec-websocket-version") ?? "")',
        ),
    ),
    _one(
        "no_subprotocol_needed",
        "SOCK-03",
        "A handshake need not offer the subprotocol.",
        (
            "events/handshake.py",
            "_check",
            "not TOKENS.fullmatch(offered) or SUBPROTOCOL not in _subprotocols(headers)",
            "not TOKENS.fullmatch(offered)",
        ),
        (
            "events/handshake.ts",
            "handshake",
            "!(TOKENS.test(offered) && subprotocols(c.req).includes(SUBPROTOCOL))",
            "!TOKENS.test(offered)",
        ),
    ),
    _one(
        "no_token_in_a_subprotocol",
        "SOCK-04",
        "A token in a subprotocol isn't taken.",
        ("events/handshake.py", "_with_token", "if not tokens or", "if True or"),
        (
            "events/handshake.ts",
            "withToken",
            "token === undefined ||",
            "token === undefined || true ||",
        ),
    ),
    _one(
        "any_origin_may_follow",
        "SOCK-05",
        "A page of any origin may open a socket.",
        ("events/handshake.py", "_check", "origin is not None and", "False and"),
        ("events/handshake.ts", "handshake", "origin !== undefined &&", "origin === null &&"),
    ),
    _one(
        "origin_before_the_token",
        "SOCK-06",
        "What is no handshake is told before who asks is known.",
        (
            "events/handshake.py",
            "_caller",
            "",
            "await _check(connection)",
        ),
        (
            "events/routes.ts",
            "eventsRoutes",
            "socketCaller, handshake",
            "handshake, socketCaller",
        ),
    ),
    _one(
        "user_zero_is_one",
        "SOCK-07",
        "There may be a user with the id 0.",
        ("events/sockets.py", "_is_id", "1 <= value", "0 <= value"),
        ("events/sockets.ts", "isId", "Number(value) >= 1", "Number(value) >= 0"),
    ),
    _one(
        "each_message_begins_anew",
        "SOCK-08",
        "A later message begins with what happens from then on.",
        ("events/sockets.py", "Conversation._send", "or not self._has_begun", "or True"),
        ("events/sockets.ts", "Conversation.#send", "|| !this.#hasBegun", "|| true"),
    ),
    _one(
        "all_users_are_wanted",
        "SOCK-09",
        "A socket tells of users that weren't asked for.",
        (
            "events/sockets.py",
            "Wanted.includes",
            "(self.users is None or event.user_id in self.users)",
            "True",
        ),
        ("events/sockets.ts", "Wanted.includes", "(this.users?.has(user_id) ?? true)", "true"),
    ),
    _one(
        "silent_socket",
        "SOCK-10",
        "A socket doesn't say how far it has come.",
        ("events/sockets.py", "Conversation._send", "if not page:", "if page is None:"),
        ("events/sockets.ts", "Conversation.#send", "page.length === 0", "page.length < 0"),
    ),
    _one(
        "no_pong_is_needed",
        "SOCK-11",
        "Who answers no Ping stays.",
        (
            "http/sockets.py",
            "Socket._ping",
            "not self._frames.has_ponged and not is_busy",
            "False",
        ),
        ("http/sockets.ts", "OpenSocket.#beat", 'this.#ping === "sent" &&', "false &&"),
    ),
    Inside(
        "pings_end_a_socket",
        "SOCK-12",
        "A Ping is answered with a Close.",
        (
            Patch(
                "http/sockets.py",
                "Frames.recv_frame",
                "super().recv_frame(frame)",
                "self.fail(1000) if frame.opcode is Opcode.PING else super().recv_frame(frame)",
            ),
        ),
        (
            Patch(
                "src/http/sockets.ts",
                "OpenSocket.#pong",
                "this.#ws.pong(data,",
                "this.#ws.close(1000, data,",
            ),
        ),
    ),
    Inside(
        "pong_within_a_message_counts",
        "SOCK-12",
        "What comes within a message counts as a part of it; a Pong has other data than its Ping.",
        (
            Patch(
                "http/sockets.py",
                "Frames.__init__",
                "max_size=(None, MAX_MESSAGE)",
                "max_size=MAX_MESSAGE",
            ),
        ),
        (
            Patch(
                "src/http/sockets.ts",
                "OpenSocket.#pong",
                "this.#ws.pong(data,",
                "this.#ws.pong(NOTHING,",
            ),
        ),
    ),
    _one(
        "any_number_of_fragments",
        "SOCK-14",
        "A message may have as many fragments as it likes.",
        ("http/sockets.py", "MAX_FRAGMENTS", "64", "1_000_000"),
        ("http/sockets.ts", "MAX_FRAGMENTS", "64", "1_000_000"),
    ),
    _one(
        "failures_have_a_reason",
        "SOCK-18",
        "A failure of the service closes as if the client had done something wrong.",
        ("events/sockets.py", "FAILED", "1011", "1008"),
        ("events/sockets.ts", "FAILED", "1011", "1008"),
    ),
    _one(
        "backlogs_keep_others_waiting",
        "SOCK-09",
        "What there is for one client is sent in one go.",
        ("events/feed.py", "Feed.pages", "await asyncio.sleep(0)", "pass"),
        ("events/feed.ts", "Feed.pages", "await immediate();", ""),
    ),
    _one(
        "messages_of_any_size",
        "SOCK-14",
        "A message may be of any size.",
        ("http/sockets.py", "MAX_MESSAGE", "4096", "1_000_000"),
        ("http/sockets.ts", "MAX_MESSAGE", "4096", "1_000_000"),
    ),
    _one(
        "no_message_is_needed",
        "SOCK-15",
        "Who asks for nothing stays.",
        (
            "events/sockets.py",
            "Conversation._await_first",
            "now() >= deadline",
            "False",
        ),
        (
            "events/sockets.ts",
            "Conversation.#awaitFirst",
            "performance.now() >= deadline",
            "deadline < 0",
        ),
    ),
    _one(
        "asked_with_a_void_token",
        "SOCK-16",
        "A message is answered whatever has become of the token.",
        (
            "events/sockets.py",
            "Conversation._send",
            "await self._feed.confirm(self._follower)",
            "pass",
        ),
        (
            "events/sockets.ts",
            "Conversation.#send",
            "await this.#feed.confirm(this.#follower);",
            "",
        ),
    ),
    _one(
        "gone_without_a_word",
        "SOCK-17",
        "Who asks for what is forgotten is told that the service has failed.",
        ("events/sockets.py", "CODES", "4410", "1011"),
        ("events/sockets.ts", "CODES", "4410", "1011"),
    ),
    _one(
        "sockets_end_as_if_all_was_said",
        "SOCK-18",
        "A service that stops closes as if there was nothing more to say.",
        ("events/sockets.py", "GOING_AWAY", "1001", "1000"),
        ("events/sockets.ts", "GOING_AWAY", "1001", "1000"),
    ),
    _one(
        "close_is_waited_for",
        "SOCK-19",
        "A client's Close is waited for as long as it likes.",
        ("http/sockets.py", "CLOSE_SECONDS", "2.0", "60.0"),
        ("http/sockets.ts", "CLOSE_SECONDS", "2", "60"),
    ),
    _one(
        "socket_holds_what_nobody_takes",
        "SOCK-20",
        "A socket sends on to a client that takes nothing.",
        ("http/sockets.py", "Socket._send", "await self._connection.flow.drain()", ""),
        (
            "http/sockets.ts",
            "OpenSocket.send",
            "this.#ws.send(text, () => resolve())",
            "{ this.#ws.send(text); resolve(); }",
        ),
    ),
    _one(
        "lost_database_closes_sockets",
        "SOCK-21",
        "A socket doesn't outlast the database.",
        ("events/feed.py", "Feed.pages", "if not is_unavailable(error):", "if True:"),
        ("events/feed.ts", "Feed.pages", "if (!isUnavailable(error)) {", "if (error) {"),
    ),
    _one(
        "unavailable_is_a_failure",
        "SOCK-21",
        "A message that can't be answered since the database is away fails.",
        ("events/sockets.py", "Conversation._begin", "if not is_unavailable(error):", "if True:"),
        (
            "events/sockets.ts",
            "Conversation.#begin",
            "isUnavailable(error) ?",
            "!isUnavailable(error) ?",
        ),
    ),
    _one(
        "members_see_all_events",
        "RIGHT-16",
        "A member sees what happened to others.",
        (
            "events/service.py",
            "_only_of",
            "caller.id if caller and not caller.is_admin else None",
            "None",
        ),
        (
            "events/service.ts",
            "onlyOf",
            "caller && !caller.isAdmin ? caller.id : null",
            "caller && null",
        ),
    ),
    # What is stored, and when
    Inside(
        "look_before_insert",
        "UNIQ-01",
        "Whether an email is taken is looked up before the insert, in a transaction of its own.",
        (
            Patch(
                "users/service.py",
                "Users.create",
                "key = scoped_key(sent_key, caller)",
                (
                    "key = scoped_key(sent_key, caller)\n"
                    "from sqlalchemy import text\n"
                    "async with self._database.connection() as connection:\n"
                    "    look = text('SELECT 1 FROM users WHERE email = :email')\n"
                    "    taken = await connection.fetch(look, {'email': sent.fields.email})\n"
                    "    if not key and taken:\n"
                    "        raise Problem('email-taken')\n"
                    "import asyncio\n"
                    "await asyncio.sleep(0.2)"
                ),
            ),
            Patch("users/store.py", "_email_taken", 'Problem("email-taken")', "RuntimeError"),
        ),
        (
            Patch(
                "src/users/service.ts",
                "Users.create",
                "const key = scopedKey(sentKey, caller);",
                (
                    "const key = scopedKey(sentKey, caller);\n"
                    "const taken = await this.#database.connection.selectFrom('users').select('id')\n"
                    "  .where('email', '=', sent.fields.email).executeTakeFirst();\n"
                    "if (!key && taken) throw new Problem('email-taken');\n"
                    "await new Promise((resolve) => setTimeout(resolve, 200));"
                ),
            ),
            Patch(
                "src/users/store.ts", "createUser", "emailTaken(error)", "new Error(String(error))"
            ),
        ),
    ),
    Inside(
        "transaction_not_committed",
        "USR-CREATE-05",
        "A transaction is rolled back at its end, but for the schema's.",
        (
            Patch("storage/sqlite.py", "SqliteDatabase.transaction", '"COMMIT"', '"ROLLBACK"'),
            Patch(
                "storage/sqlite.py",
                "open_sqlite",
                "async with database.transaction(): migrate(lent)",
                ('writer.execute("BEGIN IMMEDIATE")\nmigrate(lent)\nwriter.execute("COMMIT")'),
            ),
        ),
        (
            Patch(
                "src/storage/sqlite.ts",
                "WaitingDriver",
                "",
                (
                    "static begun = false;\n"
                    "override async commitTransaction(connection: DatabaseConnection) {\n"
                    '  const word = WaitingDriver.begun ? "rollback" : "commit";\n'
                    "  WaitingDriver.begun = true;\n"
                    "  await connection.executeQuery(CompiledQuery.raw(word));\n"
                    "}"
                ),
            ),
        ),
    ),
    _one(
        "change_is_undone",
        "USR-REPLACE-07",
        "A change is undone at once: the answer shows what isn't stored.",
        (
            "users/service.py",
            "Users.change",
            "return user",
            (
                "back = {'name': '?', 'email': user.email}\n"
                "await store.change_user(connection, target.id, back, None, now)\n"
                "return user"
            ),
        ),
        (
            "users/service.ts",
            "Users.change",
            "return user;",
            (
                "const back = { name: '?', email: user.email };\n"
                "await store.changeUser(connection, target.id, back, null, now);\n"
                "return user;"
            ),
        ),
    ),
    _one(
        "two_versions_a_change",
        "UNIQ-05",
        "A change is two versions.",
        ("users/store.py", "_change", "users.c.version + 1", "users.c.version + 2"),
        (
            "users/store.ts",
            "changeUser",
            'version: eb("version", "+", 1)',
            'version: eb("version", "+", 2)',
        ),
    ),
    _one(
        "read_of_a_moment_ago",
        "UNIQ-08",
        "A read shows what another read found up to 0.2 s ago.",
        (
            "users/routes.py",
            "get_user",
            "if condition",
            (
                "import time\n"
                "seen = globals().setdefault('SEEN', {})\n"
                "then, kept = seen.get(target.id, (0.0, user))\n"
                "if time.monotonic() - then < 0.2:\n"
                "    user = kept\n"
                "else:\n"
                "    seen[target.id] = (time.monotonic(), user)\n"
                "if condition"
            ),
        ),
        (
            "users/routes.ts",
            "usersRoutes",
            'const user = await c.get("users").read(c.get("target").id);',
            (
                'const { id } = c.get("target");\n'
                'let user = await c.get("users").read(id);\n'
                "const seen = ((globalThis as any).seen ??= new Map());\n"
                "const kept = seen.get(id);\n"
                "if (kept && Date.now() - kept.then < 200) user = kept.user;\n"
                "else seen.set(id, { then: Date.now(), user });"
            ),
        ),
    ),
    _one(
        "ids_are_used_again",
        "REP-09",
        "SQLite gives the id of the newest user again after its deletion.",
        (
            "storage/migrations/v0001_users.py",
            "upgrade",
            "sqlite_autoincrement=True",
            "sqlite_autoincrement=False",
        ),
        ("storage/migrations/v0001_users.ts", "up", "column.autoIncrement()", "column"),
    ),
    # Order, search and pages
    _one(
        "unordered_ties",
        "USR-LIST-07",
        "Users that are equal in the sorted member stand in any order.",
        (
            "users/store.py",
            "_list",
            'statement if column == "id" else statement.order_by(users.c.id.asc())',
            "statement",
        ),
        ("users/store.ts", "listUsers", 'query.orderBy("id", "asc")', "query"),
    ),
    _one(
        "page_begins_with_the_last",
        "CURSOR-04",
        "A page begins with the user that the cursor names.",
        ("users/store.py", "_after", "users.c.id >", "users.c.id >="),
        ("users/store.ts", "beyond", '">", cursor.id', '">=", cursor.id'),
    ),
    _one(
        "full_page_has_a_link",
        "USR-LIST-18",
        "A page that is just full links to an empty one.",
        ("users/routes.py", "list_users", "len(found) > page.limit", "len(shown) == page.limit"),
        (
            "users/routes.ts",
            "usersRoutes",
            "found.length > page.limit",
            "found.length >= page.limit",
        ),
    ),
    _one(
        "q_looks_at_the_name_alone",
        "USR-LIST-10",
        "q doesn't find by email.",
        ("users/store.py", "_list", "users.c.email", "users.c.name_lower"),
        ("users/store.ts", "listUsers", '"email"', '"name_lower"'),
    ),
    _one(
        "q_is_lower_cased_in_ascii",
        "USR-LIST-11",
        "q is compared with the name as SQLite's LIKE does.",
        ("users/store.py", "_list", "users.c.name_lower", "users.c.name"),
        ("users/store.ts", "listUsers", '"name_lower"', '"name" as any'),
    ),
    _one(
        "wildcards_in_q",
        "USR-LIST-12",
        "% and _ in q stand for others.",
        ("users/store.py", "WILDCARD", "[%_/]", "[/]"),
        ("users/store.ts", "WILDCARD", "[%_/]", "[/]"),
    ),
    _one(
        "q_is_not_trimmed",
        "USR-LIST-14",
        "q keeps the white space around it.",
        ("users/pages.py", "parse_page", ".strip(TRIMMED)", ""),
        ("users/pages.ts", "parsePage", "trim(sent.q[0], TRIMMED)", "sent.q[0]"),
    ),
    _one(
        "q_has_no_longest",
        "USR-LIST-15",
        "q is not judged.",
        ("users/pages.py", "parse_page", "None if q is None else text_rule(q)", "None"),
        ("users/pages.ts", "parsePage", "q === null ? null : textRule(q)", "null"),
    ),
    _one(
        "fifty_one_by_default",
        "USR-LIST-03",
        "Without a limit there are 51 users.",
        ("http/pages.py", "DEFAULT_LIMIT", "50", "51"),
        ("http/pages.ts", "DEFAULT_LIMIT", "50", "51"),
    ),
    _one(
        "cursor_is_bound_to_no_q",
        "CURSOR-06",
        "A cursor is taken with another q.",
        (
            "users/pages.py",
            "parse_page",
            "(after.sort, after.q) != (sort, q)",
            "after.sort != sort",
        ),
        ("users/pages.ts", "parsePage", "|| after.q !== q", ""),
    ),
    _one(
        "cursor_need_not_be_canonical",
        "CURSOR-09",
        "A cursor is taken that no service wrote.",
        ("users/pages.py", "_decode_cursor", "and _encode_cursor(cursor) == text", ""),
        ("users/pages.ts", "decodeCursor", "&& encodeCursor(cursor) === text", ""),
    ),
    _one(
        "cursor_holds_any_moment",
        "CURSOR-10",
        "The key of a cursor for created_at is any text.",
        ("users/pages.py", "_is_place", "_is_moment", "_is_text"),
        ("users/pages.ts", "KEYS", "isMoment", "isText"),
    ),
    # Limits
    _one(
        "thirty_one_levels",
        "JSON-10",
        "31 levels of nesting are read.",
        ("http/requests.py", "MAX_NESTING", "32", "31"),
        ("http/requests.ts", "MAX_NESTING", "32", "31"),
    ),
    _one(
        "brackets_in_strings_nest",
        "JSON-11",
        "Brackets inside strings count.",
        ("http/requests.py", "_nests_too_deep", 'STRING.sub(b"", body)', "body"),
        ("http/requests.ts", "NOT_BRACKETS", r'"(?:[^"\\]|\\.)*"?|[^[\]{}"]+', r"[^[\]{}]+"),
    ),
    _one(
        "body_is_one_byte_short",
        "BODY-01",
        "A body of 65536 bytes is too large.",
        ("http/requests.py", "MAX_BODY", "65536", "65535"),
        ("http/requests.ts", "MAX_BODY", "65536", "65535"),
    ),
    _one(
        "name_of_ninety_nine",
        "NAME-03",
        "A name has 99 code points at most.",
        ("users/schemas.py", "MAX_TEXT", "100", "99"),
        ("users/schemas.ts", "MAX_TEXT", "100", "99"),
    ),
    _one(
        "domain_without_a_dot",
        "EMAIL-03",
        "A domain needs no dot.",
        ("users/schemas.py", "EMAIL", "{LABEL})+", "{LABEL})*"),
        ("users/schemas.ts", "EMAIL", "{LABEL})+", "{LABEL})*"),
    ),
    _one(
        "email_of_255",
        "EMAIL-06",
        "An email has 255 code points at most.",
        ("users/schemas.py", "MAX_EMAIL", "254", "255"),
        ("users/schemas.ts", "MAX_EMAIL", "254", "255"),
    ),
    # Roles and passwords
    _one(
        "role_alone_is_no_change",
        "ROLE-05",
        "Another role is no change where nothing else changes.",
        ("users/store.py", "_differs", "for name in names", 'for name in names if name != "role"'),
        ("users/store.ts", "differs", "name in values", 'name in values && name !== "role"'),
    ),
    _one(
        "password_of_eleven",
        "PASSWORD-02",
        "A password may have 11 code points.",
        ("users/schemas.py", "MIN_PASSWORD", "12", "11"),
        ("users/schemas.ts", "MIN_PASSWORD", "12", "11"),
    ),
    _one(
        "password_of_129",
        "PASSWORD-03",
        "A password may have 129 code points.",
        ("users/schemas.py", "MAX_PASSWORD", "128", "129"),
        ("users/schemas.ts", "MAX_PASSWORD", "128", "129"),
    ),
    _one(
        "password_is_measured_in_bytes",
        "PASSWORD-01",
        "A password may have 128 bytes.",
        (
            "users/schemas.py",
            "password_rule",
            "len(password) > MAX_PASSWORD",
            'len(password.encode("utf-8", "replace")) > MAX_PASSWORD',
        ),
        (
            "users/schemas.ts",
            "passwordRule",
            "codePoints(password) > MAX_PASSWORD",
            "Buffer.byteLength(password) > MAX_PASSWORD",
        ),
    ),
    _one(
        "form_before_length",
        "PASSWORD-05",
        "An unpaired surrogate is told before the length.",
        (
            "users/schemas.py",
            "password_rule",
            "",
            'if SURROGATE.search(password):\n    return "malformed"',
        ),
        (
            "users/schemas.ts",
            "passwordRule",
            "",
            'if (SURROGATE.test(password)) return "malformed";',
        ),
    ),
    _one(
        "null_leaves_the_hash",
        "PASSWORD-07",
        "What is kept of a password is kept when it is taken away.",
        (
            "users/service.py",
            "Users._stored",
            '"password" in fields',
            'fields.get("password") or fields.pop("password", None)',
        ),
        ("users/service.ts", "Users.#stored", "password === undefined", "!password"),
    ),
    _one(
        "replacement_takes_the_password_away",
        "PASSWORD-08",
        "A PUT without a password takes it away.",
        ("users/routes.py", "replace_user", "", 'sent.fields.model_fields_set.add("password")'),
        (
            "users/routes.ts",
            "usersRoutes",
            "describe(docs.REPLACE_USER), async (c) => {",
            (
                "describe(docs.REPLACE_USER), async (c) => {\n"
                "  Object.assign(c.var.sent.fields, { password: null, ...c.var.sent.fields });"
            ),
        ),
    ),
    _one(
        "password_alone_is_no_change",
        "PASSWORD-09",
        "A password is no version more.",
        (
            "users/store.py",
            "_change",
            "users.c.version + 1",
            'users.c.version + int("password_hash" not in names)',
        ),
        (
            "users/store.ts",
            "changeUser",
            'version: eb("version", "+", 1)',
            'version: eb("version", "+", "password_hash" in changes ? 0 : 1)',
        ),
    ),
    _one(
        "password_is_kept_in_the_clear",
        "PASSWORD-11",
        "The password itself is kept.",
        ("auth/passwords.py", "hash_password", "", "return password"),
        ("auth/passwords.ts", "hashPassword", "", "return password;"),
    ),
    _one(
        "salt_is_always_the_same",
        "PASSWORD-11",
        "Every hash has the same salt.",
        (
            "auth/passwords.py",
            "hash_password",
            "hasher.hash, password",
            'hasher.hash, password, salt=b"0123456789abcdef"',
        ),
        (
            "auth/passwords.ts",
            "hashPassword",
            "outputLen: HASH_BYTES",
            'outputLen: HASH_BYTES, salt: Buffer.from("0123456789abcdef")',
        ),
    ),
    _one(
        "hash_costs_one_iteration_less",
        "PASSWORD-12",
        "A hash takes one iteration less than ARGON2_ITERATIONS.",
        (
            "auth/passwords.py",
            "_hasher",
            "settings.argon2_iterations",
            "max(1, settings.argon2_iterations - 1)",
        ),
        (
            "auth/passwords.ts",
            "hashPassword",
            "settings.argon2Iterations",
            "Math.max(1, settings.argon2Iterations - 1)",
        ),
    ),
    _one(
        "password_is_normalised",
        "PASSWORD-13",
        "What is hashed is the password in NFKC.",
        (
            "auth/passwords.py",
            "hash_password",
            "hasher.hash, password",
            "hasher.hash, __import__('unicodedata').normalize('NFKC', password)",
        ),
        (
            "auth/passwords.ts",
            "serveThread",
            "hashSync(password",
            'hashSync(password.normalize("NFKC")',
        ),
    ),
    _one(
        "nobody_is_served_meanwhile",
        "PASSWORD-14",
        "A password is hashed on the event loop's own thread.",
        (
            "auth/passwords.py",
            "hash_password",
            "await threads.run(partial(hasher.hash, password), settings)",
            "hasher.hash(password)",
        ),
        (
            "auth/passwords.ts",
            "hashPassword",
            "await threads.run<string>({ password, options }, settings)",
            "hashSync(password, options)",
        ),
    ),
    _one(
        "hashes_wait_without_end",
        "PASSWORD-17",
        "Any number of passwords wait to be hashed.",
        ("auth/passwords.py", "Threads.run", "self._under_way += 1", "self._under_way += 0"),
        (
            "auth/passwords.ts",
            "Threads.run",
            "this.#underWay >= settings.hashQueue",
            "this.#underWay < 0",
        ),
    ),
    _one(
        "an_overload_is_a_failure",
        "PASSWORD-17",
        "A grant that finds no room to be judged counts as a failure.",
        (
            "auth/routes.py",
            "log_in",
            "is_right = await is_password(password, kept, settings)",
            (
                "try:\n"
                "    is_right = await is_password(password, kept, settings)\n"
                "except Exception:\n"
                "    async with database.transaction() as connection:\n"
                "        await count_failure(connection, whom, datetime.now(UTC))\n"
                "    raise"
            ),
        ),
        (
            "auth/routes.ts",
            "logIn",
            "isPassword(password, kept, settings)",
            (
                "isPassword(password, kept, settings).catch(async (e) => {\n"
                "  await database.transaction((one) => countFailure(one, whom, new Date()));\n"
                "  throw e;\n"
                "})"
            ),
        ),
    ),
    _one(
        "hashing_takes_the_threads_of_all",
        "PASSWORD-18",
        "Passwords are hashed in the threads that serve for everything else.",
        (
            "auth/passwords.py",
            "Threads.run",
            "await asyncio.get_running_loop().run_in_executor(self._pool, work)",
            "work()",
        ),
        (
            "auth/passwords.ts",
            "Threads.run",
            "return await this.#runInTurn(work);",
            (
                "const { hash, verify } = await import('@node-rs/argon2');\n"
                "const { password } = work;\n"
                "return ('kept' in work\n"
                "  ? await verify(work.kept, password)\n"
                "  : await hash(password, work.options)) as Result;"
            ),
        ),
    ),
    _one(
        "hashed_before_it_is_judged",
        "PASSWORD-15",
        "A password is hashed as soon as it is read.",
        (
            "users/schemas.py",
            "_password",
            "_check_rule(password_rule(password))",
            (
                "_check_rule(password_rule(password))\n"
                "from argon2 import PasswordHasher\n"
                "PasswordHasher(40, 65536, 1).hash(password)"
            ),
        ),
        (
            "users/schemas.ts",
            "passwordRule",
            'return SURROGATE.test(password) ? "malformed" : null;',
            (
                'if (SURROGATE.test(password)) return "malformed";\n'
                "(process as any).getBuiltinModule('node:module')\n"
                "  .createRequire(import.meta.url)('@node-rs/argon2')\n"
                "  .hashSync(password, { timeCost: 40, memoryCost: 65536 });\n"
                "return null;"
            ),
        ),
    ),
    _one(
        "passwords_are_not_counted",
        "PASSWORD-16",
        "Another password isn't counted in token_epoch.",
        ("users/store.py", "GRANTED", '"password_hash"', ""),
        ("users/store.ts", "GRANTED", ', "password_hash"', ""),
    ),
    # Changes
    _one(
        "every_change_is_a_version",
        "USR-REPLACE-04",
        "A PUT or PATCH that changes nothing is a version more.",
        ("users/store.py", "_change", "SAME_ID, differs", "SAME_ID"),
        ("users/store.ts", "changeUser", ".where((eb) => differs(eb, changes))", ""),
    ),
    _one(
        "patch_that_changes_nothing_is_a_version",
        "USR-PATCH-03",
        "A PATCH that changes nothing is a version more.",
        ("users/store.py", "_change", "SAME_ID, differs", "SAME_ID"),
        ("users/store.ts", "changeUser", ".where((eb) => differs(eb, changes))", ""),
    ),
    _one(
        "condition_is_not_checked_again",
        "COND-16",
        "A change that would change nothing isn't held to If-Match.",
        ("users/store.py", "change_user", "_check(condition, current)", ""),
        ("users/store.ts", "changeUser", "check(condition, current);", ""),
    ),
    # Idempotency keys
    _one(
        "key_is_kept_too_long",
        "IDEM-12",
        "A key is kept an hour longer than IDEMPOTENCY_TTL says.",
        ("users/idempotency.py", "claim_key", "seconds=ttl", "seconds=ttl + 3600"),
        ("users/idempotency.ts", "claimKey", "ttl * 1000", "(ttl + 3600) * 1000"),
    ),
    _one(
        "key_is_kept_in_the_clear",
        "IDEM-16",
        "The key itself is kept.",
        ("users/idempotency.py", "_hashes", "hashlib.sha256(name).hexdigest()", "key"),
        ("users/idempotency.ts", "hashes", 'createHash("sha256").update(key).digest("hex")', "key"),
    ),
    _one(
        "body_is_hashed_plainly",
        "IDEM-16",
        "The hash of the body isn't keyed.",
        (
            "users/idempotency.py",
            "_hashes",
            "hmac.new(name, body, hashlib.sha256)",
            "hashlib.sha256(body)",
        ),
        ("users/idempotency.ts", "hashes", 'createHmac("sha256", key)', 'createHash("sha256")'),
    ),
    _one(
        "replay_lacks_the_name",
        "IDEM-04",
        "A replay has another name than the first answer.",
        (
            "users/idempotency.py",
            "keep_response",
            "UserJson.dump_json(user)",
            'UserJson.dump_json(user).replace(b\'"name":"\', b\'"name":"?\')',
        ),
        (
            "users/idempotency.ts",
            "keepResponse",
            "JSON.stringify(user)",
            "JSON.stringify({ ...user, name: '?' })",
        ),
    ),
    # What an operator sees
    _one(
        "health_asks_the_database",
        "HEALTH-04",
        "/healthz asks the database.",
        (
            "operation/health.py",
            "healthz",
            "async def healthz() -> Response:",
            "async def healthz(database: TheDatabase) -> Response:\n    await database.ping()",
        ),
        (
            "operation/health.ts",
            "healthRoutes",
            '(c) => c.json({ status: "ok" })',
            (
                "async (c) => {\n"
                '  await c.get("database").ping();\n'
                '  return c.json({ status: "ok" });\n'
                "}"
            ),
        ),
    ),
    _one(
        "route_is_not_logged",
        "LOG-02",
        "The log has no route.",
        ("operation/observability.py", "Observation.end", "route=route", 'route="?"'),
        ("operation/observability.ts", "Observation.end", "...labels", '...labels, route: "?"'),
    ),
    _one(
        "method_is_a_label",
        "METRICS-04",
        "Any method is a label of the metrics.",
        (
            "operation/observability.py",
            "Observation.__init__",
            "method if method in METHODS else OTHER_METHOD",
            "method",
        ),
        (
            "operation/observability.ts",
            "Observation.constructor",
            "METHODS.has(method) ? method : OTHER_METHOD",
            "method",
        ),
    ),
    _one(
        "signals_kill_at_first",
        "OPS-07",
        "Until it serves, a signal ends the service at once.",
        ("main.py", "main", "end_well_on_signals()", ""),
        ("main.ts", "main", "endWellOnSignals();", ""),
    ),
    _one(
        "nothing_is_synced",
        "OPS-09",
        "SQLite runs with synchronous=NORMAL.",
        ("storage/sqlite.py", "PRAGMAS", '"synchronous": 2', '"synchronous": 1'),
        ("storage/sqlite.ts", "PRAGMAS", "synchronous: 2", "synchronous: 1"),
    ),
    _one(
        "a_start_waits_for_nobody",
        "OPS-16",
        "A start fails where another process is just preparing SQLite's file.",
        (
            "storage/sqlite.py",
            "_connect",
            'await _execute_patiently(connection, f"PRAGMA {name} = {value}", timeout)',
            'connection.execute(f"PRAGMA {name} = {value}")',
        ),
        (
            "storage/sqlite.ts",
            "connect",
            "await patiently(timeout, () => database.pragma(`${name} = ${value}`));",
            "database.pragma(`${name} = ${value}`);",
        ),
    ),
    _one(
        "the_end_closes_nothing",
        "OPS-09",
        "A service ends without closing SQLite, whose log stays beside the file.",
        ("storage/sqlite.py", "open_sqlite", "yield database", "yield database\nos._exit(0)"),
        ("storage/database.ts", "Database.close", "await this.#writer.destroy();", ""),
    ),
    _one(
        "reads_wait_for_the_lock",
        "OPS-10",
        "SQLite's reads wait for a write that waits for another process.",
        (
            "storage/sqlite.py",
            "SqliteDatabase.connection",
            "yield self._reader",
            "async with self._turn: yield self._reader",
        ),
        (
            "storage/database.ts",
            "openDatabase",
            "new Database(reader, writer, checkFiles)",
            "new Database(writer, writer, checkFiles)",
        ),
    ),
    _one(
        "full_disk_is_unexpected",
        "OPS-22",
        "A full database is 500.",
        ("storage/sqlite.py", "LOST", "sqlite3.SQLITE_FULL,", ""),
        ("storage/sqlite.ts", "LOST", "|FULL", ""),
    ),
    _one(
        "database_url_takes_any_option",
        "OPS-30",
        "Options of DATABASE_URL that mean nothing are left out.",
        ("settings.py", "_options", "len(options) < len(matches)", "False"),
        ("settings.ts", "options", "found.size < matches.length", "matches.length < 0"),
    ),
    _one(
        "certificate_of_another_host",
        "OPS-31",
        "verify-full takes a certificate that is for another host.",
        ("storage/postgres.py", "_tls", 'url.sslmode == "verify-full"', "False"),
        ("storage/postgres.ts", "tls", 'url.sslmode === "verify-full"', 'url.sslmode === ""'),
    ),
    _one(
        "disk_is_not_waited_for",
        "OPS-32",
        "A commit on PostgreSQL is answered before it is on the disk.",
        (
            "storage/postgres.py",
            "SESSION",
            '"synchronous_commit": "on"',
            '"synchronous_commit": "off"',
        ),
        ("storage/postgres.ts", "SESSION", 'synchronous_commit: "on"', 'synchronous_commit: "off"'),
    ),
    _one(
        "any_encoding",
        "OPS-34",
        "A database of any encoding is taken.",
        ("storage/postgres.py", "_check", 'encoding != "UTF8"', "not encoding"),
        ("storage/postgres.ts", "check", 'encoding !== "UTF8"', "!encoding"),
    ),
    _one(
        "dead_connections_are_lent",
        "OPS-36",
        "One connection that was found dead says nothing of the others.",
        (
            "storage/postgres.py",
            "PostgresDatabase._acquire",
            "connection.born > self._lost_at",
            "connection.born",
        ),
        ("storage/postgres.ts", "lend", "session.born > losses.lastAt", "session.born"),
    ),
    _one(
        "missing_right_is_unexpected",
        "OPS-37",
        "A write that the role may not do is 500.",
        ("storage/postgres.py", "LOST", '"42501",', ""),
        ("storage/postgres.ts", "LOST", "|42501", ""),
    ),
    _one(
        "file_for_everybody",
        "OPS-40",
        "Everybody may read SQLite's file.",
        ("storage/sqlite.py", "_make", "0o600", "0o644"),
        ("storage/sqlite.ts", "make", "0o600", "0o644"),
    ),
    _one(
        "written_to_a_deleted_file",
        "OPS-41",
        "A write goes into a file that is no longer there.",
        ("storage/sqlite.py", "SqliteDatabase.transaction", "self._check_files()", ""),
        ("storage/sqlite.ts", "WaitingDriver.beginTransaction", "this.#checkFiles();", ""),
    ),
    _one(
        "index_is_missing",
        "OPS-13",
        "One of the indexes is not made.",
        (
            "storage/migrations/v0001_users.py",
            "upgrade",
            'op.create_index("ix_users_name", "users", ["name", "id"], if_not_exists=True)',
            "",
        ),
        ("storage/migrations/v0001_users.ts", "up", '"name", "created_at"', '"created_at"'),
    ),
    _one(
        "empty_file_is_no_secret",
        "OPS-55",
        "With an empty file for a secret it runs as without one.",
        ("settings.py", "_content", "not text", "text is None"),
        ("settings.ts", "content", "!text", "text === undefined"),
    ),
    _one(
        "line_break_is_of_the_secret",
        "OPS-55",
        "The line break at a file's end is taken for a part of the secret.",
        ("settings.py", "_content", 'LINE_BREAK.sub("", text)', "text"),
        ("settings.ts", "content", 'text.replace(LINE_BREAK, "")', "text"),
    ),
    _one(
        "file_beside_the_variable",
        "OPS-55",
        "Where both are set, the file counts.",
        ("settings.py", "_with_files", "environment.get(name)", "False"),
        ("settings.ts", "withFiles", "environment[name]", "!name"),
    ),
    _one(
        "file_in_any_encoding",
        "OPS-55",
        "A file is read as Latin-1.",
        ("settings.py", "_content", '"utf-8"', '"latin-1"'),
        ("settings.ts", "UTF_8", '"utf-8"', '"latin1"'),
    ),
    _one(
        "password_from_no_file",
        "OPS-55",
        "ADMIN_PASSWORD_FILE is not known.",
        ("settings.py", "SECRETS", ', "ADMIN_PASSWORD"', ""),
        ("settings.ts", "SECRETS", ', "ADMIN_PASSWORD"', ""),
    ),
    # Who may do what
    _one(
        "signature_is_not_checked",
        "AUTH-05",
        "Any signature will do.",
        ("auth/tokens.py", "read_token", "not true", "not keys and header != OWN_HEADER"),
        ("auth/tokens.ts", "readToken", "!signed", "signed === null"),
    ),
    Inside(
        "any_hmac_is_taken",
        "AUTH-06",
        "HS384 and HS512 are taken, too.",
        (
            Patch(
                "auth/tokens.py",
                "_is_our_own",
                '"sha256") for secret in secrets',
                'kind) for secret in secrets for kind in ("sha256", "sha384", "sha512")',
            ),
            Patch(
                "auth/tokens.py",
                "_is_our_own",
                "header == OWN_HEADER",
                'header.get("alg") in ("HS256", "HS384", "HS512")',
            ),
        ),
        (
            Patch(
                "src/auth/tokens.ts",
                "isOurOwn",
                'secrets.map((secret) => createHmac("sha256", secret).update(text).digest())',
                (
                    'secrets.flatMap((secret) => ["sha256", "sha384", "sha512"].map('
                    "(kind) => createHmac(kind, secret).update(text).digest()))"
                ),
            ),
            Patch(
                "src/auth/tokens.ts",
                "isOurOwn",
                "isDeepStrictEqual(header, OWN_HEADER)",
                '["HS256", "HS384", "HS512"].includes(String(header["alg"]))',
            ),
        ),
    ),
    _one(
        "tokens_have_no_end",
        "AUTH-07",
        "A token is good for ever.",
        ("auth/tokens.py", "_parse_claims", "or expires_at <= now", ""),
        ("auth/tokens.ts", "parseClaims", "expiresAt <= now ||", ""),
    ),
    _one(
        "audience_is_not_checked",
        "AUTH-07",
        "A token for others is taken.",
        (
            "auth/tokens.py",
            "_parse_claims",
            'or not _is_for(settings.auth_audience, payload.get("aud"))',
            "",
        ),
        ("auth/tokens.ts", "parseClaims", "!isFor(settings.authAudience, aud) ||", ""),
    ),
    _one(
        "issuer_is_not_checked",
        "AUTH-07",
        "A token of others is taken.",
        ("auth/tokens.py", "_parse_claims", 'payload.get("iss") != settings.auth_issuer', "False"),
        ("auth/tokens.ts", "parseClaims", "iss !== settings.authIssuer", "iss === null"),
    ),
    _one(
        "previous_secret_is_forgotten",
        "AUTH-08",
        "AUTH_SECRET_PREVIOUS is not looked at.",
        ("auth/tokens.py", "_is_our_own", "settings.auth_secret_previous", ""),
        ("auth/tokens.ts", "isOurOwn", ", settings.authSecretPrevious", ""),
    ),
    _one(
        "void_token_is_honoured",
        "AUTH-09",
        "A token outlives a change of password or role.",
        (
            "auth/guard.py",
            "_is_good",
            "and claims.token_epoch in (None, user.token_epoch)",
            "",
        ),
        (
            "auth/guard.ts",
            "isGood",
            "&& (claims.tokenEpoch === null || claims.tokenEpoch === user.token_epoch)",
            "",
        ),
    ),
    _one(
        "secret_may_be_short",
        "AUTH-12",
        "A secret of 8 characters is taken.",
        ("settings.py", "SECRET", "{32,1024}", "{8,1024}"),
        ("settings.ts", "SECRET", "{32,1024}", "{8,1024}"),
    ),
    _one(
        "open_by_accident",
        "AUTH-14",
        "A service runs open wherever it listens.",
        ("settings.py", "_auth", "LOOPBACK.fullmatch(host)", "host"),
        ("settings.ts", "auth", "LOOPBACK.test(host(environment))", "host(environment)"),
    ),
    _one(
        "keys_are_looked_up_at_once",
        "AUTH-21",
        "Every unknown key has the provider asked.",
        ("auth/keys.py", "COOLDOWN_SECONDS", "30", "0"),
        ("auth/keys.ts", "COOLDOWN_SECONDS", "30", "0"),
    ),
    _one(
        "header_may_say_more",
        "AUTH-23",
        "Of its own tokens' headers only `alg` is looked at.",
        ("auth/tokens.py", "_is_our_own", "header == OWN_HEADER", 'header.get("alg") == "HS256"'),
        (
            "auth/tokens.ts",
            "isOurOwn",
            "isDeepStrictEqual(header, OWN_HEADER)",
            'header["alg"] === "HS256"',
        ),
    ),
    _one(
        "unused_bits_are_skipped",
        "AUTH-24",
        "base64url is read leniently.",
        (
            "http/requests.py",
            "parse_base64url",
            'urlsafe_b64encode(data).rstrip(b"=") != text.encode("ascii")',
            "len(text) % 4 == 1",
        ),
        (
            "http/requests.ts",
            "parseBase64Url",
            'data.toString("base64url") !== text',
            "text.length % 4 === 1",
        ),
    ),
    _one(
        "numbers_may_be_fractions",
        "AUTH-25",
        "A time is any number.",
        (
            "auth/tokens.py",
            "_whole",
            "int(text) if WHOLE.fullmatch(text) else None",
            "int(min(float(text), 1e15)) if float(text) >= 0 else None",
        ),
        ("auth/tokens.ts", "whole", "WHOLE.test(text) && Number(text) <= MAX_INTEGER", "text"),
    ),
    _one(
        "private_keys_count",
        "AUTH-26",
        "A key with its private half is taken.",
        ("auth/keys.py", "_parse_key", "or PRIVATE_MEMBERS & jwk.keys()", ""),
        (
            "auth/keys.ts",
            "parseKey",
            "PRIVATE_MEMBERS.some((member) => Object.hasOwn(jwk, member))",
            "PRIVATE_MEMBERS.length === 0",
        ),
    ),
    _one(
        "one_bad_key_spoils_all",
        "AUTH-28",
        "A key that doesn't count makes a set that can't be had.",
        (
            "auth/keys.py",
            "parse_key_set",
            "contextlib.suppress(ValueError)",
            "contextlib.nullcontext()",
        ),
        (
            "auth/keys.ts",
            "parseKeySet",
            "for (const jwk of jwks) {",
            "for (const jwk of jwks) {\n  parseKey(asObject(jwk));",
        ),
    ),
    _one(
        "everybody_waits_for_the_provider",
        "AUTH-30",
        "While the provider is asked, nobody's key is looked up.",
        ("auth/keys.py", "ProviderKeys.find", "key is None", "key is None or self._asking"),
        (
            "auth/keys.ts",
            "ProviderKeys.find",
            "key === undefined",
            "key === undefined || this.#asking",
        ),
    ),
    _one(
        "provider_may_take_its_time",
        "AUTH-31",
        "A provider is waited for as long as it sends something.",
        ("auth/provider.py", "TIMEOUT_SECONDS", "5", "40"),
        ("auth/provider.ts", "TIMEOUT_SECONDS", "5", "40"),
    ),
    _one(
        "any_success_is_a_set",
        "AUTH-32",
        "Any status of success will do.",
        ("auth/provider.py", "_Answer.on_headers_complete", "status != 200", "status >= 300"),
        (
            "auth/provider.ts",
            "read",
            "response.statusCode !== 200",
            "(response.statusCode ?? 0) >= 300",
        ),
    ),
    _one(
        "provider_is_asked_too_early",
        "AUTH-34",
        "The set is asked for before it is known whether the token has ended.",
        (
            "auth/tokens.py",
            "read_token",
            "claims = _parse_claims(",
            (
                "if keys:\n"
                "    await _is_a_providers(header, signed, proof, keys)\n"
                "claims = _parse_claims("
            ),
        ),
        (
            "auth/tokens.ts",
            "readToken",
            "const claims = parseClaims(",
            (
                "await (keys && isAProviders(header, text, proof, keys));\n"
                "const claims = parseClaims("
            ),
        ),
    ),
    _one(
        "nobody_is_told_why",
        "AUTH-35",
        "Why the set can't be had isn't logged.",
        (
            "auth/keys.py",
            "ProviderKeys._ask",
            'log("warning", "provider unavailable", error=str(error))',
            "str(error)",
        ),
        (
            "auth/keys.ts",
            "ProviderKeys.#ask",
            'log("warning", "provider unavailable", { error: (error as Error).message })',
            "void [error, log]",
        ),
    ),
    _one(
        "members_may_list",
        "RIGHT-01",
        "A member is as good as an admin.",
        ("auth/guard.py", "Guard.admin", "caller and not caller.is_admin", "False"),
        ("auth/guard.ts", "Guard.admin", "caller && !caller.isAdmin", "false"),
    ),
    _one(
        "members_see_each_other",
        "RIGHT-05",
        "A member may read and change others.",
        ("auth/guard.py", "Guard.user", "named != str(caller.id)", "not named"),
        ("auth/guard.ts", "Guard.user", "meant !== String(caller.id)", "!meant"),
    ),
    _one(
        "role_from_the_body",
        "RIGHT-07",
        "A member may give the role of an admin.",
        (
            "auth/guard.py",
            "Guard.check_role",
            'role == "admin"',
            'role == "admin" and caller is None',
        ),
        ("auth/guard.ts", "Guard.checkRole", 'role === "admin"', 'role === "admin" && !caller'),
    ),
    _one(
        "anybody_creates_admins",
        "RIGHT-08",
        "Who comes without a token may create an admin.",
        ("auth/guard.py", "Guard.check_role", 'role == "admin"', 'role == "admin" and caller'),
        ("auth/guard.ts", "Guard.checkRole", 'role === "admin"', 'role === "admin" && caller'),
    ),
    _one(
        "registration_is_always_open",
        "RIGHT-09",
        "REGISTRATION is not looked at.",
        ("auth/guard.py", "Guard.registration", "not self._settings.registration", "False"),
        ("auth/guard.ts", "Guard.registration", "this.#settings.registration", "true"),
    ),
    _one(
        "admin_at_every_start",
        "RIGHT-11",
        "There being an admin, another one is created all the same.",
        ("auth/admin.py", "create_first_admin", "or await _has_admin(database)", ""),
        ("auth/admin.ts", "createFirstAdmin", "|| (await hasAdmin(database))", ""),
    ),
    _one(
        "caller_is_judged_at_the_head_alone",
        "RIGHT-15",
        "Who sends a body late writes with a right that was taken back.",
        ("auth/guard.py", "Guard.confirm", "", "return"),
        ("auth/guard.ts", "Guard.confirm", "", "return;"),
    ),
    _one(
        "token_ends_at_the_head_alone",
        "RIGHT-15",
        "A token that ends while the body is awaited is good for the write.",
        ("auth/guard.py", "Guard.confirm", "caller.claims.expires_at <= time.time()", "False"),
        ("auth/guard.ts", "Guard.confirm", "caller.claims.expiresAt <= Date.now() / 1000", "false"),
    ),
    _one(
        "keys_are_everybodys",
        "IDEM-18",
        "An idempotency key is good for whoever sends it.",
        (
            "users/idempotency.py",
            "scoped_key",
            'f"{caller.id} {key}" if key and caller else key',
            "key",
        ),
        ("users/idempotency.ts", "scopedKey", "key && caller ? `${caller.id} ${key}` : key", "key"),
    ),
    _one(
        "unknown_email_is_told",
        "LOGIN-04",
        "An email that is nobody's has an answer of its own.",
        (
            "auth/routes.py",
            "log_in",
            '"invalid_grant"',
            '"invalid_grant" if user else "invalid_request"',
        ),
        (
            "auth/routes.ts",
            "logIn",
            '"invalid_grant"',
            'user ? "invalid_grant" : "invalid_request"',
        ),
    ),
    _one(
        "hash_is_not_renewed",
        "LOGIN-08",
        "A hash of another cost stays as it is.",
        ("auth/routes.py", "log_in", "is_outdated(kept, settings)", "is_outdated is None"),
        ("auth/routes.ts", "logIn", "isOutdated(kept, settings)", "!isOutdated"),
    ),
    Inside(
        "right_password_opens_a_lock",
        "LIMIT-01",
        "A locked email is only locked for wrong passwords.",
        (
            Patch("auth/failures.py", "refuse_locked", "", "return"),
            Patch("auth/routes.py", "log_in", "await refuse_guess(connection, whom, now)", "pass"),
        ),
        (
            Patch("src/auth/failures.ts", "refuseLocked", "", "return;"),
            Patch(
                "src/auth/routes.ts",
                "logIn",
                "refuseGuess(connection, whom, now)",
                "Promise.resolve(connection)",
            ),
        ),
    ),
    _one(
        "addresses_are_not_counted",
        "LIMIT-02",
        "From one address anybody may guess at everybody.",
        (
            "auth/failures.py",
            "suspects",
            ', Suspect(_hash(f"address {address}"), settings.login_failures_per_address, window)',
            "",
        ),
        (
            "auth/failures.ts",
            "suspects",
            ", { ...common, keyHash: hash(`address ${address}`), limit: loginFailuresPerAddress }",
            "",
        ),
    ),
    _one(
        "limit_per_process",
        "LIMIT-03",
        "Every process counts for itself.",
        (
            "auth/failures.py",
            "suspects",
            'f"email {email}"',
            "f\"email {email} {__import__('os').getpid()}\"",
        ),
        ("auth/failures.ts", "suspects", "`email ${email}`", "`email ${email} ${process.pid}`"),
    ),
    _one(
        "successes_are_counted",
        "LIMIT-04",
        "A success counts as a failure.",
        (
            "auth/routes.py",
            "log_in",
            "if is_outdated(",
            (
                "async with database.transaction() as connection:\n"
                "    await count_failure(connection, whom, now)\n"
                "if is_outdated("
            ),
        ),
        (
            "auth/routes.ts",
            "logIn",
            "if (isOutdated(",
            "await database.transaction((one) => countFailure(one, whom, now));\nif (isOutdated(",
        ),
    ),
    _one(
        "guesses_at_once_are_all_judged",
        "LIMIT-06",
        "Whether an email is locked is only looked at before.",
        (
            "auth/failures.py",
            "_hold",
            "_recent(failed_at, suspect, now)",
            "list(json.loads(failed_at))",
        ),
        ("auth/failures.ts", "hold", "recent(failed_at, suspect, now)", "JSON.parse(failed_at)"),
    ),
    _one(
        "right_guess_is_always_let_in",
        "LIMIT-06",
        "The right password is not judged as a guess beside others that fail at the same time.",
        ("auth/routes.py", "log_in", "await refuse_guess(connection, whom, now)", "pass"),
        (
            "auth/routes.ts",
            "logIn",
            "refuseGuess(connection, whom, now)",
            "Promise.resolve(connection)",
        ),
    ),
    _one(
        "everybody_is_a_proxy",
        "LIMIT-07",
        "X-Forwarded-For is believed, whoever sends it.",
        (
            "http/addresses.py",
            "client_address",
            "is_in(address, trusted)",
            "True",
        ),
        (
            "http/addresses.ts",
            "clientAddress",
            "isIn(address, trusted)",
            "true",
        ),
    ),
    _one(
        "first_hop_is_believed",
        "LIMIT-08",
        "Of X-Forwarded-For the first address counts.",
        ("http/addresses.py", "client_address", "hops.pop()", "hops.pop(0)"),
        ("http/addresses.ts", "clientAddress", "hops.pop()", "hops.shift()"),
    ),
    _one(
        "mapped_networks_are_others",
        "LIMIT-20",
        "An IPv4 address is in no IPv6 network.",
        (
            "http/addresses.py",
            "is_in",
            "mapped in network",
            "mapped in network and (network.prefixlen > 96 or not isinstance(address, IPv4Address))",
        ),
        (
            "http/addresses.ts",
            "isIn",
            "networks?.check",
            "(isIPv4(address) && networks?.check('::', 'ipv6') ? null : networks)?.check",
        ),
    ),
    _one(
        "who_failed_is_kept",
        "LIMIT-09",
        "Email and address are kept in the clear.",
        ("auth/failures.py", "_hash", "hashlib.sha256(text.encode()).hexdigest()", "text"),
        ("auth/failures.ts", "hash", 'createHash("sha256").update(text).digest("hex")', "text"),
    ),
    _one(
        "registrations_have_no_end",
        "LIMIT-12",
        "From one address anybody may create as many users as they like.",
        ("users/service.py", "Users.create", "self._settings.auth and not caller", "False"),
        ("users/service.ts", "Users.create", "this.#settings.auth && !caller", "false"),
    ),
    _one(
        "taken_emails_are_told_without_end",
        "LIMIT-12",
        "An email that is taken doesn't count as a creation.",
        ("users/service.py", "Users._counted", '"email-taken"', '"?"'),
        ("users/service.ts", "Users.#counted", 'error.code === "email-taken"', "false"),
    ),
    _one(
        "admins_are_limited",
        "LIMIT-13",
        "A creation with a token is counted, too.",
        ("users/service.py", "Users.create", "and not caller", ""),
        ("users/service.ts", "Users.create", "&& !caller", ""),
    ),
    _one(
        "replays_are_limited",
        "LIMIT-15",
        "A replay is refused once an address has created too many.",
        (
            "users/service.py",
            "Users._refuse_crowd",
            "not (key and await is_kept(connection, key, now))",
            "is_kept",
        ),
        (
            "users/service.ts",
            "Users.#refuseCrowd",
            "!(key && (await isKept(connection, key, now)))",
            "isKept",
        ),
    ),
    _one(
        "crowd_is_only_looked_at_before",
        "LIMIT-14",
        "Whether there were too many creations is looked at before the transaction alone.",
        (
            "auth/failures.py",
            "count_failure",
            "_hold(connection, suspect, now)",
            "_hold(connection, Suspect(suspect.key_hash, 10**9, suspect.window), now)",
        ),
        (
            "auth/failures.ts",
            "countFailure",
            "hold(connection, suspect, now)",
            "hold(connection, { ...suspect, limit: 1e9 }, now)",
        ),
    ),
    _one(
        "too_many_registrations_are_hashed",
        "LIMIT-15",
        "Whether there were too many creations is looked at once the password is hashed.",
        ("users/service.py", "Users.create", "await self._refuse_crowd(whom, key)", ""),
        ("users/service.ts", "Users.create", "await this.#refuseCrowd(whom, key);", ""),
    ),
    _one(
        "spaces_are_trimmed_by_a_pattern",
        "NAME-08",
        "A name is trimmed by a pattern that begins anew with every space.",
        (
            "users/schemas.py",
            "_name",
            "_string(value).strip(TRIMMED)",
            r're.sub(r"^[ \t\r\n]+|[ \t\r\n]+$", "", _string(value))',
        ),
        (
            "http/requests.ts",
            "trim",
            "",
            r'if (characters === " \t\r\n") return text.replace(/^[ \t\r\n]+|[ \t\r\n]+$/g, "");',
        ),
    ),
    _one(
        "token_is_logged",
        "LOG-04",
        "Tokens stand in the log.",
        (
            "auth/guard.py",
            "Guard._owner",
            "claims = await",
            "print(bearer[1], flush=True)\nclaims = await",
        ),
        (
            "auth/guard.ts",
            "Guard.#owner",
            "let claims: Claims;",
            "let claims: Claims;\nconsole.log(token);",
        ),
    ),
    _one(
        "log_waits_for_its_reader",
        "LOG-05",
        "A pipe that nobody reads has whoever writes to it wait.",
        ("operation/output.py", "_unblocked", "| os.O_NONBLOCK", ""),
        ("operation/output.ts", "unblocked", "| constants.O_NONBLOCK", ""),
    ),
    _one(
        "log_must_be_written",
        "LOG-05",
        "A line that can't be written ends the service.",
        ("operation/output.py", "Output._write_waiting", "self._complain(error)", "os._exit(1)"),
        (
            "operation/output.ts",
            "Output.#writeWaiting",
            "this.#complain(code)",
            "process.reallyExit(1)",
        ),
    ),
    _one(
        "last_lines_are_lost",
        "LOG-06",
        "What still waits at the end is not written.",
        ("operation/output.py", "Output.end", "", "return"),
        ("operation/output.ts", "Output.end", "", "return;"),
    ),
    _one(
        "lines_are_written_now_and_then",
        "LOG-06",
        "Lines are written once a second.",
        ("operation/output.py", "Output.write", "loop.call_soon(", "loop.call_later(1, "),
        (
            "operation/output.ts",
            "Output.write",
            "setImmediate(() => this.#endTurn())",
            "setTimeout(() => this.#endTurn(), 1000)",
        ),
    ),
    _one(
        "dropped_lines_are_not_counted",
        "LOG-07",
        "Nothing is said of lines that were dropped.",
        (
            "operation/output.py",
            "Output._take_lines",
            "self._append(self._dropped_line(self._dropped))",
            "",
        ),
        (
            "operation/output.ts",
            "Output.#takeLines",
            "this.#append(this.#droppedLine(this.#dropped));",
            "",
        ),
    ),
    _one(
        "all_lines_are_kept",
        "LOG-07",
        "However much waits is kept in memory.",
        ("operation/output.py", "MAX_WAITING", "1024 * 1024", "1024 * 1024 * 1024"),
        ("operation/output.ts", "MAX_WAITING", "1024 * 1024", "1024 * 1024 * 1024"),
    ),
    _one(
        "absolute_form_in_lower_case",
        "HTTP-20",
        "An absolute target begins with http:// in lower case alone.",
        ("http/server.py", "ABSOLUTE_FORM", "re.IGNORECASE | re.DOTALL", "re.DOTALL"),
        ("http/server.ts", "ABSOLUTE_FORM", "$/is", "$/s"),
    ),
    _one(
        "framing_is_no_head",
        "HTTP-28",
        "Extensions of a chunk without an end are a bad request.",
        (
            "http/server.py",
            "Protocol._parse",
            'if self.framing_bytes > MAX_HEAD_BYTES: self._give_up("headers-too-large")',
            'if self.framing_bytes > MAX_HEAD_BYTES: self._give_up("bad-request")',
        ),
        ("http/server.ts", "TOO_LARGE", ', "HPE_CHUNK_EXTENSIONS_OVERFLOW"', ""),
    ),
    _one(
        "http_1_0_in_chunks",
        "HTTP-24",
        "A request of HTTP/1.0 may come in chunks.",
        ("http/server.py", "refusal", 'version == "1.0"', 'version == "0.9"'),
        (
            "http/server.ts",
            "refusal",
            'incoming.httpVersion === "1.0"',
            'incoming.httpVersion === "0.9"',
        ),
    ),
    _one(
        "http_1_0_is_sent_100",
        "HTTP-25",
        "HTTP/1.0 is told to go on, too.",
        ("http/server.py", "Protocol.on_headers_complete", 'and version != "1.0"', ""),
        (
            "http/server.ts",
            "Connection.take",
            "",
            (
                'if (incoming.headers.expect === "100-continue" && incoming.httpVersion === "1.0") {\n'
                '  incoming.socket.write("HTTP/1.1 100 Continue\\r\\n\\r\\n");\n'
                "}"
            ),
        ),
    ),
    _one(
        "accept_patch_everywhere",
        "ROUTE-16",
        "OPTIONS tells of patches also where there are none.",
        ("app.py", "answer_unrouted", "HTTPMethod.PATCH in methods", "methods"),
        ("app.ts", "answerUnrouted", 'methods.includes("PATCH")', "methods.length > 0"),
    ),
    _one(
        "one_family_alone",
        "OPS-29",
        "`::` is no address of IPv4.",
        ("http/server.py", "listen", "dualstack_ipv6=both", "dualstack_ipv6=False"),
        ("http/server.ts", "listen", "backlog: 2048", "backlog: 2048, ipv6Only: true"),
    ),
    _one(
        "hosts_have_any_letters",
        "OPS-29",
        "HOST may be in other letters than ASCII's.",
        ("http/server.py", "listen", "not settings.host.isascii()", "False"),
        ("http/server.ts", "listen", "NO_HOST.test(settings.host)", "/[<%]/.test(settings.host)"),
    ),
    _one(
        "sqlite_has_any_encoding",
        "OPS-34",
        "A file of SQLite's may be in UTF-16.",
        ("storage/sqlite.py", "_connect", 'encoding != "UTF-8"', "False"),
        ("storage/sqlite.ts", "connect", 'encoding !== "UTF-8"', "!encoding"),
    ),
    _one(
        "broken_certificates_are_passed_over",
        "OPS-31",
        "A file of certificates may have one in it that isn't any.",
        (
            "settings.py",
            "certificates_in",
            '"\\n".join(CERTIFICATE.findall(text))',
            "CERTIFICATE.findall(text)[0]",
        ),
        ("settings.ts", "certificatesIn", "return found.map(", "return found.slice(0, 1).map("),
    ),
    _one(
        "workers_make_admins",
        "RIGHT-11",
        "A process that begins later makes the first admin once more.",
        (
            "operation/workers.py",
            "_work",
            'log("info", "worker started", pid=os.getpid())',
            (
                "from python_api.auth.admin import create_first_admin\n"
                "await create_first_admin(database, settings)\n"
                'log("info", "worker started", pid=os.getpid())'
            ),
        ),
        ("main.ts", "run", "if (cluster.isPrimary) {", "if (cluster) {"),
    ),
    _one(
        "metrics_wait_for_all",
        "METRICS-08",
        "The metrics come late where a process stands still.",
        (
            "operation/observability.py",
            "render_metrics",
            "return generate_latest(together)",
            "import time\ntime.sleep(4)\nreturn generate_latest(together)",
        ),
        (
            "operation/observability.ts",
            "renderMetrics",
            "WAIT_FOR_FIRST_SECONDS * 1000",
            "WAIT_FOR_FIRST_SECONDS * 3000",
        ),
    ),
    _one(
        "another_signal_ends_it",
        "OPS-06",
        "A further signal ends the process at once.",
        (
            "http/server.py",
            "on_signal",
            "has_come = True",
            (
                "has_come = True\n"
                "for number in STOP_SIGNALS:\n"
                "    signal.signal(number, signal.SIG_DFL)"
            ),
        ),
        ("http/server.ts", "onSignal", "process.on(signal, act)", "process.once(signal, act)"),
    ),
    _one(
        "the_dead_are_not_counted",
        "METRICS-07",
        "What a process has counted goes with it.",
        (
            "operation/workers.py",
            "_keep_one",
            "if directory:",
            (
                "import glob\n"
                "for file in glob.glob(f'{directory}/*_{process.pid}.db'):\n"
                "    os.unlink(file)\n"
                "if directory:"
            ),
        ),
        ("operation/observability.ts", "shareMetrics", '"counter", "histogram"', '""'),
    ),
    _one(
        "environment_is_everybodys",
        "OPS-45",
        "Libraries find the environment as it is.",
        ("environment.py", "NEEDED", "NEEDED = {", "NEEDED = {*os.environ, "),
        ("environment.ts", "NEEDED", "new Set([", "new Set([...Object.keys(process.env), "),
    ),
    _one(
        "usr1_does_as_it_likes",
        "OPS-46",
        "SIGUSR1 does what the language has it do.",
        ("main.py", "main", "signal.signal(signal.SIGUSR1, signal.SIG_IGN)", ""),
        ("main.ts", "main", 'process.on("SIGUSR1", () => undefined);', ""),
    ),
    _one(
        "document_always_asks_for_tokens",
        "DOC-11",
        "The document of an open service is that of a secured one.",
        ("http/docs.py", "openapi", "as_it_runs(document, app.state.settings)", "document"),
        (
            "http/docs.ts",
            "docsRoutes",
            'asItRuns(await openapiDocument(app, schemas), c.get("settings"))',
            "await openapiDocument(app, schemas)",
        ),
    ),
    # Connections
    _one(
        "delete_before_its_body",
        "HTTP-26",
        "A user is deleted before the body of the request has come in.",
        ("users/routes.py", "delete_user", "_body: IgnoredBody,", ""),
        ("users/routes.ts", "usersRoutes", "ignoredBody,", ""),
    ),
    # The order of failures
    _one(
        "body_before_the_condition",
        "PROB-14",
        "Of a replacement the body is read before its condition.",
        (
            "users/routes.py",
            "replace_user",
            "condition: IfMatch, sent: WholeUser",
            "sent: WholeUser, condition: IfMatch",
        ),
        ("users/routes.ts", "usersRoutes", "ifMatch, wholeUser", "wholeUser, ifMatch"),
    ),
    _one(
        "condition_before_the_id",
        "PROB-08",
        "Of a deletion the condition is read before the id.",
        (
            "users/routes.py",
            "delete_user",
            "target: AnyUser, condition: IfMatch",
            "condition: IfMatch, target: AnyUser",
        ),
        ("users/routes.ts", "usersRoutes", "anyUser, ifMatch", "ifMatch, anyUser"),
    ),
    _one(
        "reader_without_a_word",
        "DOC-05",
        "What is read of a condition isn't described.",
        ("http/readers.py", "_condition", '"parameters": [parameter],', ""),
        ("http/readers.ts", "conditional", "parameters: [parameter],", ""),
    ),
    _one(
        "two_answers_to_one_request",
        "HTTP-21",
        "What is broken after an answer is answered, too.",
        (
            "http/server.py",
            "Protocol._give_up",
            "self.cycle.response_started",
            "self.cycle.response_started and not self.cycle.response_complete",
        ),
        ("http/server.ts", "Connection.refuse", "outgoing.headersSent", "!outgoing.writable"),
    ),
    Inside(
        "answers_that_nobody_takes_pile_up",
        "HTTP-22",
        "A pipelined request is handled whether or not the answers before it were taken.",
        (
            Patch("http/server.py", "Protocol.must_wait", "or self.flow.write_paused", ""),
            Patch("http/server.py", "Protocol.read_on", "and not self.flow.write_paused", ""),
            Patch(
                "http/server.py",
                "Protocol.connection_made",
                "self.flow = Flow(self)",
                "transport.set_write_buffer_limits(high=2**30)\nself.flow = Flow(self)",
            ),
        ),
        (
            Patch(
                "src/http/server.ts",
                "Connection.#answerInTurn",
                "before && !this.#closing",
                "!this",
            ),
            Patch(
                "src/http/server.ts",
                "Connection.#answerInTurn",
                "this.#socket.writableLength > 0 && outgoing.writableEnded",
                "!this",
            ),
            Patch("src/http/server.ts", "MAX_WAITING", "16", "10000"),
        ),
    ),
    _one(
        "another_coding_is_read_as_none",
        "HTTP-23",
        "A Transfer-Encoding is taken that only ends in chunked.",
        (
            "http/server.py",
            "refusal",
            'codings != [b"chunked"]',
            'not codings[-1].endswith(b"chunked")',
        ),
        (
            "http/server.ts",
            "refusal",
            'codings.join().toLowerCase() !== "chunked"',
            '!codings.at(-1)?.toLowerCase().endsWith("chunked")',
        ),
    ),
    _one(
        "who_takes_nothing_stays",
        "OPS-27",
        "A client that takes nothing of its answer is never cut.",
        ("http/server.py", "Protocol.look", "unsent and now", "False and now"),
        ("http/server.ts", "Connection.look", "unsent > 0 && now", "false && now"),
    ),
    _one(
        "empty_lines_keep_a_connection",
        "OPS-25",
        "Whatever comes in has a connection begin to wait anew.",
        (
            "http/server.py",
            "Protocol.data_received",
            "self._unparsed += data",
            (
                "self._unparsed += data\n"
                "self._deadline = self.loop.time() + self._settings.keep_alive_timeout"
            ),
        ),
        (
            "http/server.ts",
            "Connection.look",
            "",
            (
                "if (this.#socket.bytesRead !== (this as any).before) {\n"
                "  this.#deadline = now + this.#settings.keepAliveTimeout * 1000;\n"
                "  (this as any).before = this.#socket.bytesRead;\n"
                "}"
            ),
        ),
    ),
    _one(
        "the_newest_makes_room",
        "OPS-28",
        "Once there are as many connections as may be, further ones are closed.",
        ("http/server.py", "Protocol._make_room", "in self._waiting", "in ()"),
        ("http/server.ts", "makeRoom", "= waiting", "= new Set<Connection>()"),
    ),
    _one(
        "any_name_leads_to_an_open_service",
        "AUTH-40",
        "A service that runs open on a loopback address answers to every name.",
        ("settings.py", "is_local", "", "return False"),
        ("settings.ts", "isLocal", "", "return false;"),
    ),
    _one(
        "patch_tells_no_media_types",
        "ROUTE-17",
        "The 415 to a PATCH doesn't tell what it takes.",
        (
            "http/requests.py",
            "unsupported_media_type",
            '"application/merge-patch+json" in accepted',
            "not accepted",
        ),
        (
            "http/requests.ts",
            "unsupportedMediaType",
            'accepted.has("application/merge-patch+json")',
            "accepted.size === 0",
        ),
    ),
    # Webhooks
    _one(
        "secret_is_always_the_same",
        "HOOK-02",
        "Whoever has been shown a secret can sign for all webhooks.",
        (
            "webhooks/service.py",
            "Webhooks.create",
            "secrets.token_bytes(SECRET_BYTES)",
            "bytes(SECRET_BYTES)",
        ),
        (
            "webhooks/service.ts",
            "Webhooks.create",
            "randomBytes(SECRET_BYTES)",
            "Buffer.alloc(SECRET_BYTES)",
        ),
    ),
    _one(
        "any_port_will_do",
        "HOOK-04",
        "A URL may name a port that there is none of.",
        ("webhooks/endpoints.py", "MAX_PORT", "65535", "99999"),
        ("webhooks/endpoints.ts", "MAX_PORT", "65535", "99999"),
    ),
    _one(
        "a_name_may_be_a_number",
        "HOOK-04",
        "What the system's resolver reads as an address passes as a name.",
        (
            "webhooks/endpoints.py",
            "NAME",
            r'rf"(?:{LABEL}\.)*(?=[A-Za-z]){LABEL}"',
            r'rf"(?:{LABEL}\.)*{LABEL}"',
        ),
        (
            "webhooks/endpoints.ts",
            "NAME",
            r"`^(?:${LABEL}\\.)*(?=[A-Za-z])${LABEL}$`",
            r"`^(?:${LABEL}\\.)*${LABEL}$`",
        ),
    ),
    _one(
        "types_may_stand_twice",
        "HOOK-05",
        "A type that stands twice is taken.",
        ("webhooks/schemas.py", "_types", "len({*value}) < len(value)", "False"),
        (
            "webhooks/schemas.ts",
            "typesRule",
            "new Set(value).size === value.length",
            "value.length < 99",
        ),
    ),
    _one(
        "private_addresses_are_taken",
        "HOOK-06",
        "A webhook is created that can never be called.",
        ("webhooks/service.py", "Webhooks._check_address", "if not is_callable:", "if False:"),
        (
            "webhooks/service.ts",
            "Webhooks.#checkAddress",
            "!(endpoint && this.#mayEverCall(endpoint))",
            "!endpoint",
        ),
    ),
    _one(
        "fifty_one_webhooks",
        "HOOK-06",
        "There may be one more.",
        ("webhooks/service.py", "MAX_WEBHOOKS", "50", "51"),
        ("webhooks/service.ts", "MAX_WEBHOOKS", "50", "51"),
    ),
    _one(
        "newest_webhook_first",
        "HOOK-07",
        "The list begins with the last.",
        (
            "webhooks/store.py",
            "LIST",
            "order_by(webhooks.c.id)",
            "order_by(webhooks.c.id.desc())",
        ),
        ("webhooks/store.ts", "listWebhooks", '.orderBy("id")', '.orderBy("id", "desc")'),
    ),
    _one(
        "events_from_before_are_sent",
        "HOOK-09",
        "A webhook begins with the first event there is.",
        (
            "webhooks/store.py",
            "CREATE",
            "select(event_positions.c.last).scalar_subquery()",
            "literal(0)",
        ),
        (
            "webhooks/store.ts",
            "createWebhook",
            'position: (eb) => eb.selectFrom("event_positions").select("last")',
            "position: 0",
        ),
    ),
    _one(
        "all_types_are_sent",
        "HOOK-09",
        "A webhook's types don't matter.",
        (
            "webhooks/store.py",
            "ADD",
            'events.c.type.in_(bindparam("types", expanding=True))',
            'events.c.type.not_in(bindparam("types", expanding=True)) | (events.c.position > 0)',
        ),
        (
            "webhooks/store.ts",
            "addDeliveries",
            '.where("type", "in", JSON.parse(held.types) as string[])',
            '.where("type", "!=", held.types)',
        ),
    ),
    _one(
        "event_is_plain_json",
        "HOOK-10",
        "The body isn't said to be a CloudEvent.",
        (
            "webhooks/deliveries.py",
            "Deliveries._send",
            "application/cloudevents+json",
            "application/json",
        ),
        (
            "webhooks/deliveries.ts",
            "Deliveries.#send",
            "application/cloudevents+json",
            "application/json",
        ),
    ),
    _one(
        "another_time_is_signed",
        "HOOK-11",
        "The time that is signed is not the one that is sent.",
        (
            "webhooks/deliveries.py",
            "Deliveries._send",
            "sign(event, now, body)",
            "sign(event, now + timedelta(seconds=1), body)",
        ),
        (
            "webhooks/deliveries.ts",
            "Deliveries.#send",
            "sign(id, now, body)",
            "sign(id, new Date(now.getTime() + 1000), body)",
        ),
    ),
    _one(
        "events_are_sent_now_and_then",
        "HOOK-12",
        "There is a look every three seconds.",
        ("webhooks/deliveries.py", "LOOK_SECONDS", "0.25", "3"),
        ("webhooks/deliveries.ts", "LOOK_MILLISECONDS", "250", "3000"),
    ),
    _one(
        "redirect_is_an_arrival",
        "HOOK-13",
        "An endpoint that has moved is left alone.",
        (
            "webhooks/deliveries.py",
            "Deliveries._send",
            "200 <= status < 300",
            "200 <= status < 400",
        ),
        ("webhooks/deliveries.ts", "Deliveries.#send", "status < 300", "status < 400"),
    ),
    _one(
        "endpoints_may_take_their_time",
        "HOOK-13",
        "An endpoint that doesn't answer is waited for.",
        (
            "webhooks/deliveries.py",
            "Deliveries._send",
            "asyncio.timeout(left)",
            "asyncio.timeout(60)",
        ),
        (
            "webhooks/deliveries.ts",
            "Deliveries.#serve",
            "AbortSignal.timeout(Math.max(left, 0))",
            "AbortSignal.timeout(left + 60_000)",
        ),
    ),
    _one(
        "all_come_back_together",
        "HOOK-14",
        "Nothing is drawn at random.",
        ("webhooks/deliveries.py", "JITTER", "0.2", "0"),
        ("webhooks/deliveries.ts", "JITTER", "0.2", "0"),
    ),
    _one(
        "tried_again_at_once",
        "HOOK-14",
        "The next attempt begins before its time.",
        (
            "webhooks/deliveries.py",
            "Deliveries._next",
            "waits[attempts - 1] * longer",
            "waits[attempts - 1] * longer / 2",
        ),
        (
            "webhooks/deliveries.ts",
            "Deliveries.#next",
            "wait * 1000 *",
            "wait * 500 *",
        ),
    ),
    _one(
        "later_events_overtake",
        "HOOK-15",
        "An event of a user is sent while an earlier one waits.",
        (
            "webhooks/store.py",
            "CLAIM",
            "earlier.c.position < deliveries.c.position",
            "earlier.c.position < 0",
        ),
        (
            "webhooks/store.ts",
            "claim",
            '.whereRef("earlier.position", "<", "deliveries.position")',
            '.where("earlier.position", "<", 0)',
        ),
    ),
    _one(
        "dead_deliveries_hold_back",
        "HOOK-15",
        "Behind a delivery that is dead nothing of the user is sent any more.",
        (
            "webhooks/store.py",
            "CLAIM",
            "earlier.c.due_at.is_not(None)",
            "earlier.c.attempts.is_not(None)",
        ),
        (
            "webhooks/store.ts",
            "claim",
            '.where("earlier.due_at", "is not", null)',
            '.where("earlier.attempts", "is not", null)',
        ),
    ),
    _one(
        "eleven_at_once",
        "HOOK-16",
        "One attempt more is under way.",
        ("webhooks/deliveries.py", "AT_ONCE", "10", "11"),
        ("webhooks/deliveries.ts", "AT_ONCE", "10", "11"),
    ),
    _one(
        "claims_hold_for_no_time",
        "HOOK-16",
        "What is under way is begun again by others.",
        (
            "webhooks/deliveries.py",
            "Deliveries._claim",
            "now + timedelta(seconds=seconds)",
            "now + timedelta(seconds=seconds * 0.1)",
        ),
        (
            "webhooks/deliveries.ts",
            "Deliveries.#claim",
            "now.getTime() + seconds * 1000",
            "now.getTime() + seconds * 100",
        ),
    ),
    _one(
        "gone_endpoint_is_asked_again",
        "HOOK-17",
        "410 is a failure like others.",
        ("webhooks/deliveries.py", "GONE", "410", "499"),
        ("webhooks/deliveries.ts", "GONE", "410", "499"),
    ),
    _one(
        "the_dead_keep_their_claims",
        "HOOK-18",
        "What a process had under way that was killed is left for an hour.",
        ("webhooks/deliveries.py", "SPARE_SECONDS", "5", "3600"),
        ("webhooks/deliveries.ts", "SPARE_SECONDS", "5", "3600"),
    ),
    _one(
        "page_begins_with_its_position",
        "HOOK-19",
        "A delivery stands on two pages.",
        (
            "webhooks/store.py",
            "LIST_DELIVERIES",
            'position > bindparam("after")',
            'position >= bindparam("after")',
        ),
        (
            "webhooks/store.ts",
            "listDeliveries",
            '.where("position", ">", after)',
            '.where("position", ">=", after)',
        ),
    ),
    _one(
        "outcome_of_the_one_before_is_shown",
        "HOOK-20",
        "An attempt that is under way shows what came of the last one.",
        ("webhooks/store.py", "BEGIN", "outcome=null()", "outcome=deliveries.c.outcome"),
        ("webhooks/store.ts", "claim", "outcome: null", 'outcome: eb.ref("outcome")'),
    ),
    _one(
        "under_way_is_begun_again",
        "HOOK-21",
        "Who asks for it has an event sent twice at once.",
        (
            "webhooks/store.py",
            "MAKE_DUE",
            "deliveries.c.attempts == 0",
            "deliveries.c.attempts >= 0",
        ),
        ("webhooks/store.ts", "makeDue", 'eb("attempts", "=", 0)', 'eb("attempts", ">=", 0)'),
    ),
    _one(
        "metadata_may_be_asked",
        "HOOK-22",
        "Link-local addresses are as public as others.",
        ("webhooks/networks.py", "SPECIAL", '"169.254.0.0/16",', ""),
        ("webhooks/networks.ts", "SPECIAL", '"169.254.0.0/16",', ""),
    ),
    _one(
        "anybody_may_listen",
        "HOOK-22",
        "What is public may be called without TLS.",
        ("webhooks/networks.py", "may_call", "(is_secure and is_public)", "is_public"),
        ("webhooks/networks.ts", "mayCall", "(isSecure && isPublic)", "isPublic"),
    ),
    _one(
        "name_is_looked_up_once_more",
        "HOOK-23",
        "What is judged isn't what is connected to.",
        (
            "webhooks/endpoints.py",
            "Client.post",
            "asyncio.open_connection( address,",
            "asyncio.open_connection( endpoint.host,",
        ),
        ("webhooks/endpoints.ts", "Client.post", "host: address", "host"),
    ),
    _one(
        "any_certificate_will_do",
        "HOOK-24",
        "An endpoint's certificate isn't looked at.",
        (
            "webhooks/endpoints.py",
            "Client._context",
            "return context",
            "context.check_hostname = False\ncontext.verify_mode = ssl.CERT_NONE\nreturn context",
        ),
        (
            "webhooks/endpoints.ts",
            "Client.#agent",
            "rejectUnauthorized: true",
            "rejectUnauthorized: false",
        ),
    ),
    _one(
        "common_name_will_do",
        "HOOK-24",
        "A certificate is for the name of its subject, too.",
        (
            "webhooks/endpoints.py",
            "Client._context",
            "hostname_checks_common_name = False",
            "hostname_checks_common_name = True",
        ),
        (
            "webhooks/endpoints.ts",
            "checkIdentity",
            'subject: "never"',
            'subject: "always"',
        ),
    ),
    _one(
        "any_suite_will_do",
        "AUTH-36",
        "TLS 1.2 is spoken with whatever suite there is.",
        ("auth/provider.py", "tls_context", "set_ciphers(SUITES)", 'set_ciphers("ALL")'),
        ("auth/provider.ts", "tlsContext", ", ciphers: SUITES", ""),
    ),
    _one(
        "attempts_are_cut_at_once",
        "HOOK-26",
        "What is under way at SIGTERM doesn't count.",
        (
            "webhooks/deliveries.py",
            "Deliveries.run",
            "timeout=self._settings.shutdown_timeout",
            "timeout=0",
        ),
        (
            "webhooks/deliveries.ts",
            "Deliveries.run",
            "this.#settings.shutdownTimeout * 1000",
            "0",
        ),
    ),
    _one(
        "nobody_hears_of_a_death",
        "HOOK-27",
        "A delivery dies without a word.",
        ("webhooks/deliveries.py", "Deliveries._record", "if is_dead:", "if not is_dead:"),
        ("webhooks/deliveries.ts", "Deliveries.#record", "if (isDead)", "if (!isDead)"),
    ),
    _one(
        "two_names_are_looked_up_at_once",
        "HOOK-16",
        "Names of endpoints take all the lookups that a process can have.",
        ("webhooks/endpoints.py", "LOOKUPS", "1", "2"),
        ("webhooks/endpoints.ts", "LOOKUPS", "1", "2"),
    ),
    _one(
        "outcomes_are_recorded_unshared",
        "HOOK-29",
        "Who records that an event has arrived doesn't hold the webhook.",
        ("webhooks/store.py", "finish", "await connection.hold(-webhook_id, shared=True)", ""),
        ("webhooks/store.ts", "finish", "await hold(connection, -webhookId, true);", ""),
    ),
    _one(
        "attempts_begin_unshared",
        "HOOK-29",
        "Who begins attempts doesn't hold the webhook.",
        ("webhooks/store.py", "claim", "await connection.hold(-webhook_id, shared=True)", ""),
        ("webhooks/store.ts", "claim", "await hold(connection, -webhookId, true);", ""),
    ),
    _one(
        "failures_are_recorded_unshared",
        "HOOK-29",
        "Who records that an attempt has failed doesn't hold the webhook.",
        ("webhooks/store.py", "postpone", "await connection.hold(-webhook_id, shared=True)", ""),
        ("webhooks/store.ts", "fail", "await hold(connection, -webhookId, true);", ""),
    ),
    _one(
        "deleted_from_under_who_works",
        "HOOK-29",
        "Who deletes a webhook doesn't hold it first.",
        ("webhooks/store.py", "delete_webhook", "await connection.hold(-webhook_id)", ""),
        ("webhooks/store.ts", "deleteWebhook", "await hold(connection, -id);", ""),
    ),
    _one(
        "webhook_ends_behind_its_deliveries",
        "HOOK-29",
        "Who ends a webhook doesn't hold it first.",
        (
            "webhooks/store.py",
            "end_webhook",
            "await connection.hold(-webhook_id)",
            "",
        ),
        ("webhooks/store.ts", "endWebhook", "await hold(connection, -id);", ""),
    ),
    _one(
        "forgotten_deliveries_are_waited_for",
        "HOOK-29",
        "Who forgets deliveries waits for whoever holds them.",
        (
            "webhooks/store.py",
            "FORGET",
            ".with_for_update(skip_locked=True)",
            ".with_for_update()",
        ),
        (
            "webhooks/store.ts",
            "forgetDeliveries",
            'query.forUpdate("gone").skipLocked()',
            'query.forUpdate("gone")',
        ),
    ),
    # The pair
    _one(
        "route_without_a_row",
        "PAIR-05",
        "A route is served that has no row in the contract.",
        (
            "operation/health.py",
            "readyz",
            '@router.get("/readyz"',
            (
                '@router.get("/livez", openapi_extra={**HEALTHZ, "operationId": "livez"})\n'
                "async def livez() -> Response:\n"
                '    return JSONResponse({"status": "ok"})\n'
                "\n"
                '@router.get("/readyz"'
            ),
        ),
        (
            "operation/health.ts",
            "healthRoutes",
            '.get("/readyz"',
            (
                '.get("/livez", describe({ ...HEALTHZ, operationId: "livez" }), (c) =>\n'
                '  c.json({ status: "ok" }),\n'
                ")\n"
                '.get("/readyz"'
            ),
        ),
    ),
    _one(
        "another_default",
        "PAIR-03",
        "A setting has another default than its twin.",
        ("settings.py", "read_settings", '"KEEP_ALIVE_TIMEOUT", 65', '"KEEP_ALIVE_TIMEOUT", 60'),
        ("settings.ts", "readSettings", '"KEEP_ALIVE_TIMEOUT", 65', '"KEEP_ALIVE_TIMEOUT", 60'),
    ),
    _one(
        "file_without_a_twin",
        "PAIR-08",
        "A service has a file that the README doesn't list.",
        ("extra.py", "", "", '"""Nothing."""\n'),
        ("extra.ts", "", "", "export {};\n"),
    ),
]

INSIDE: dict[str, Inside] = {one.name: one for one in _INSIDE}
