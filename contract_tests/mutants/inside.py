"""Faults inside the services, where the wire can't plant them: patches to a copy of their code.

A patch names a file of the service and a text that stands in it exactly once, however far it is
indented; without such a text it adds the file. What is shipped is read and never changed.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from contract_tests.harness.services import ROOT, Kind

SOURCES: dict[Kind, str] = {"python": "python_api", "node": "node_api"}


@dataclass(frozen=True)
class Patch:
    """One text in place of another."""

    file: str
    old: str
    new: str

    def changed(self, directory: Path) -> str:
        """What the file holds then, of the service in this directory; nothing is written."""
        path = directory / self.file
        if not self.old:
            assert not path.exists(), path
            return self.new
        text = path.read_text("utf-8")
        anywhere = re.compile(re.sub(r"(?m)^ +", " +", re.escape(self.old).replace("\\ ", " ")))
        found = anywhere.findall(text)
        assert len(found) == 1, f"{self.file} has {len(found)} times {self.old!r}"
        deeper = _indent(found[0]) - _indent(self.old)
        new = re.sub(r"(?m)^ +", lambda spaces: " " * (len(spaces[0]) + deeper), self.new)
        return text.replace(found[0], new)

    def apply(self, directory: Path) -> None:
        """Change the file in this copy of a service."""
        text = self.changed(directory)
        (directory / self.file).write_text(text, "utf-8")


def _indent(text: str) -> int:
    """How far the first line that is indented is."""
    first = re.search(r"(?m)^ +", text)
    return len(first[0]) if first else 0


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
    name: str, clause: str, what: str, python: tuple[str, str, str], node: tuple[str, str, str]
) -> Inside:
    """A fault of one patch a side; Node's file is below `src`."""
    file, *texts = node
    return Inside(name, clause, what, (Patch(*python),), (Patch(f"src/{file}", *texts),))


_INSIDE = [
    # What is stored, and when
    Inside(
        "look_before_insert",
        "UNIQ-01",
        "Whether an email is taken is looked up before the insert, in a transaction of its own.",
        (
            Patch(
                "users/service.py",
                "        key = scoped_key(sent_key, caller)\n",
                "        key = scoped_key(sent_key, caller)\n"
                "        from sqlalchemy import text\n"
                "        async with self._database.connection() as connection:\n"
                "            look = text('SELECT 1 FROM users WHERE email = :email')\n"
                "            taken = await connection.fetch(look, {'email': sent.fields.email})\n"
                "            if not key and taken:\n"
                "                raise Problem('email-taken')\n"
                "        import asyncio\n"
                "        await asyncio.sleep(0.2)\n",
            ),
            Patch(
                "users/store.py",
                "        (row,) = await connection.fetch(CREATE, values)\n"
                "    except INTEGRITY_ERRORS as error:\n        raise _email_taken(error) from error\n",
                "        (row,) = await connection.fetch(CREATE, values)\n"
                "    except INTEGRITY_ERRORS as error:\n        raise RuntimeError from error\n",
            ),
        ),
        (
            Patch(
                "src/users/service.ts",
                "    const key = scopedKey(sentKey, caller);\n",
                "    const key = scopedKey(sentKey, caller);\n"
                "    const taken = await this.#database.connection.selectFrom('users').select('id')\n"
                "      .where('email', '=', sent.fields.email).executeTakeFirst();\n"
                "    if (!key && taken) throw new Problem('email-taken');\n"
                "    await new Promise((resolve) => setTimeout(resolve, 200));\n",
            ),
            Patch(
                "src/users/store.ts",
                "    return existing(await CREATE(connection, values));\n  } catch (error) {\n"
                "    throw emailTaken(error);\n",
                "    return existing(await CREATE(connection, values));\n  } catch (error) {\n"
                "    throw new Error(String(error));\n",
            ),
        ),
    ),
    Inside(
        "transaction_not_committed",
        "USR-CREATE-05",
        "A transaction is rolled back at its end, but for the schema's.",
        (
            Patch("storage/sqlite.py", 'execute("COMMIT")', 'execute("ROLLBACK")'),
            Patch(
                "storage/sqlite.py",
                "            async with database.transaction():\n                migrate(lent)\n",
                '            connection.execute("BEGIN IMMEDIATE")\n'
                "            migrate(lent)\n"
                '            connection.execute("COMMIT")\n',
            ),
        ),
        (
            Patch(
                "src/storage/sqlite.ts",
                "  override async rollbackTransaction(",
                "  static begun = false;\n\n"
                "  override async commitTransaction(connection: DatabaseConnection) {\n"
                '    const word = WaitingDriver.begun ? "rollback" : "commit";\n'
                "    WaitingDriver.begun = true;\n"
                "    await connection.executeQuery(CompiledQuery.raw(word));\n"
                "  }\n\n  override async rollbackTransaction(",
            ),
        ),
    ),
    _one(
        "change_is_undone",
        "USR-REPLACE-07",
        "A change is undone at once: the answer shows what isn't stored.",
        (
            "users/service.py",
            "            return await store.change_user(connection, target.id, changes, condition, now)\n",
            (
                "            one = await store.change_user(connection, target.id, changes, condition, now)\n"
                "            back = {'name': '?', 'email': one.email}\n"
                "            await store.change_user(connection, target.id, back, None, now)\n"
                "            return one\n"
            ),
        ),
        (
            "users/service.ts",
            "      return await store.changeUser(connection, target.id, changes, condition, now);\n",
            (
                "      const one = await store.changeUser(connection, target.id, changes, condition, now);\n"
                "      const back = { name: '?', email: one.email };\n"
                "      await store.changeUser(connection, target.id, back, null, now);\n"
                "      return one;\n"
            ),
        ),
    ),
    _one(
        "two_versions_a_change",
        "UNIQ-05",
        "A change is two versions.",
        (
            "users/store.py",
            '"version": users.c.version + 1,',
            '"version": users.c.version + 2,',
        ),
        (
            "users/store.ts",
            'version: eb("version", "+", 1),',
            'version: eb("version", "+", 2),',
        ),
    ),
    _one(
        "read_of_a_moment_ago",
        "UNIQ-08",
        "A read shows what another read found up to 0.2 s ago.",
        (
            "users/routes.py",
            "        if condition and condition.match_weakly(user.etag):\n",
            (
                "        import time\n"
                "        seen = globals().setdefault('SEEN', {})\n"
                "        then, kept = seen.get(target.id, (0.0, user))\n"
                "        if time.monotonic() - then < 0.2:\n"
                "            user = kept\n"
                "        else:\n"
                "            seen[target.id] = (time.monotonic(), user)\n"
                "        if condition and condition.match_weakly(user.etag):\n"
            ),
        ),
        (
            "users/routes.ts",
            '    const user = await c.get("users").read(c.get("target").id);\n',
            (
                '    const { id } = c.get("target");\n'
                '    let user = await c.get("users").read(id);\n'
                "    const seen = ((globalThis as any).seen ??= new Map());\n"
                "    const kept = seen.get(id);\n"
                "    if (kept && Date.now() - kept.then < 200) user = kept.user;\n"
                "    else seen.set(id, { then: Date.now(), user });\n"
            ),
        ),
    ),
    _one(
        "ids_are_used_again",
        "REP-09",
        "SQLite gives the id of the newest user again after its deletion.",
        (
            "storage/migrations/v0001_users.py",
            "sqlite_autoincrement=True",
            "sqlite_autoincrement=False",
        ),
        (
            "storage/migrations/v0001_users.ts",
            "column.generatedAlwaysAsIdentity() : column.autoIncrement())",
            "column.generatedAlwaysAsIdentity() : column)",
        ),
    ),
    # Order, search and pages
    _one(
        "unordered_ties",
        "USR-LIST-07",
        "Users that are equal in the sorted member stand in any order.",
        (
            "users/store.py",
            'return statement if column == "id" else statement.order_by(users.c.id.asc())',
            "return statement",
        ),
        ("users/store.ts", '(query) => query.orderBy("id", "asc"))', "(query) => query)"),
    ),
    _one(
        "page_begins_with_the_last",
        "CURSOR-04",
        "A page begins with the user that the cursor names.",
        (
            "users/store.py",
            'or_(beyond, users.c.id > bindparam("id"))',
            'or_(beyond, users.c.id >= bindparam("id"))',
        ),
        (
            "users/store.ts",
            'eb.or([further, eb("id", ">", cursor.id)])',
            'eb.or([further, eb("id", ">=", cursor.id)])',
        ),
    ),
    _one(
        "full_page_has_a_link",
        "USR-LIST-18",
        "A page that is just full links to an empty one.",
        (
            "users/routes.py",
            "if len(found) > page.limit else {}",
            "if len(shown) == page.limit else {}",
        ),
        (
            "users/routes.ts",
            "found.length > page.limit ?",
            "found.length >= page.limit ?",
        ),
    ),
    _one(
        "q_looks_at_the_name_alone",
        "USR-LIST-10",
        "q doesn't find by email.",
        (
            "users/store.py",
            'users.c.email.like(pattern, escape="/")',
            'users.c.name_lower.like(pattern, escape="/")',
        ),
        ("users/store.ts", 'contains(eb, "email", text)', 'contains(eb, "name_lower", text)'),
    ),
    _one(
        "q_is_lower_cased_in_ascii",
        "USR-LIST-11",
        "q is compared with the name as SQLite's LIKE does.",
        ("users/store.py", "users.c.name_lower.like(", "users.c.name.like("),
        ("users/store.ts", 'contains(eb, "name_lower", text)', 'contains(eb, "name" as any, text)'),
    ),
    _one(
        "wildcards_in_q",
        "USR-LIST-12",
        "% and _ in q stand for others.",
        ("users/store.py", 're.compile("[%_/]")', 're.compile("[/]")'),
        ("users/store.ts", "/[%_/]/g", "/[/]/g"),
    ),
    _one(
        "q_is_not_trimmed",
        "USR-LIST-14",
        "q keeps the white space around it.",
        ("users/pages.py", 'sent["q"][0].strip(TRIMMED)', 'sent["q"][0]'),
        ("users/pages.ts", "null : trim(sent.q[0], TRIMMED)", "null : sent.q[0]"),
    ),
    _one(
        "q_has_no_longest",
        "USR-LIST-15",
        "q is not judged.",
        ("users/pages.py", '"q": None if q is None else text_rule(q)', '"q": None'),
        ("users/pages.ts", "q: q === null ? null : textRule(q)", "q: null"),
    ),
    _one(
        "fifty_one_by_default",
        "USR-LIST-03",
        "Without a limit there are 51 users.",
        ("users/pages.py", "DEFAULT_LIMIT = 50", "DEFAULT_LIMIT = 51"),
        ("users/pages.ts", "DEFAULT_LIMIT = 50", "DEFAULT_LIMIT = 51"),
    ),
    _one(
        "cursor_is_bound_to_no_q",
        "CURSOR-06",
        "A cursor is taken with another q.",
        (
            "users/pages.py",
            "(after.sort, after.q) != (sort, q)",
            "after.sort != sort",
        ),
        ("users/pages.ts", "(after.sort !== sort || after.q !== q)", "after.sort !== sort"),
    ),
    _one(
        "cursor_need_not_be_canonical",
        "CURSOR-09",
        "A cursor is taken that no service wrote.",
        ("users/pages.py", "and _encode_cursor(cursor) == text else", "else"),
        ("users/pages.ts", "isPlace(cursor) && encodeCursor(cursor) === text", "isPlace(cursor)"),
    ),
    _one(
        "cursor_holds_any_moment",
        "CURSOR-10",
        "The key of a cursor for created_at is any text.",
        ("users/pages.py", '"created_at": _is_moment', '"created_at": _is_text'),
        ("users/pages.ts", '["created_at", isMoment]', '["created_at", isText]'),
    ),
    # Limits
    _one(
        "thirty_one_levels",
        "JSON-10",
        "31 levels of nesting are read.",
        ("http/requests.py", "MAX_NESTING = 32", "MAX_NESTING = 31"),
        ("http/requests.ts", "MAX_NESTING = 32", "MAX_NESTING = 31"),
    ),
    _one(
        "brackets_in_strings_nest",
        "JSON-11",
        "Brackets inside strings count.",
        (
            "http/requests.py",
            'brackets = STRING.sub(b"", body)',
            "brackets = body",
        ),
        ("http/requests.ts", r"""/"(?:[^"\\]|\\.)*"?|[^[\]{}"]+/gs""", r"/[^[\]{}]+/gs"),
    ),
    _one(
        "body_is_one_byte_short",
        "BODY-01",
        "A body of 65536 bytes is too large.",
        ("http/requests.py", "MAX_BODY = 65536", "MAX_BODY = 65535"),
        ("http/requests.ts", "MAX_BODY = 65536", "MAX_BODY = 65535"),
    ),
    _one(
        "name_of_ninety_nine",
        "NAME-03",
        "A name has 99 code points at most.",
        ("users/schemas.py", "MAX_TEXT = 100", "MAX_TEXT = 99"),
        ("users/schemas.ts", "MAX_TEXT = 100", "MAX_TEXT = 99"),
    ),
    _one(
        "domain_without_a_dot",
        "EMAIL-03",
        "A domain needs no dot.",
        (
            "users/schemas.py",
            r'EMAIL = rf"{LOCAL}+@{LABEL}(\.{LABEL})+"',
            r'EMAIL = rf"{LOCAL}+@{LABEL}(\.{LABEL})*"',
        ),
        (
            "users/schemas.ts",
            r"new RegExp(`^${LOCAL}+@${LABEL}(\\.${LABEL})+$`)",
            r"new RegExp(`^${LOCAL}+@${LABEL}(\\.${LABEL})*$`)",
        ),
    ),
    _one(
        "email_of_255",
        "EMAIL-06",
        "An email has 255 code points at most.",
        ("users/schemas.py", "MAX_EMAIL = 254", "MAX_EMAIL = 255"),
        ("users/schemas.ts", "MAX_EMAIL = 254", "MAX_EMAIL = 255"),
    ),
    # Roles and passwords
    _one(
        "role_alone_is_no_change",
        "ROLE-05",
        "Another role is no change where nothing else changes.",
        ("users/store.py", "for name in names))", 'for name in names if name != "role"))'),
        (
            "users/store.ts",
            "filter((name) => name in values)",
            'filter((name) => name in values && name !== "role")',
        ),
    ),
    _one(
        "password_of_eleven",
        "PASSWORD-02",
        "A password may have 11 code points.",
        ("users/schemas.py", "MIN_PASSWORD = 12", "MIN_PASSWORD = 11"),
        ("users/schemas.ts", "MIN_PASSWORD = 12", "MIN_PASSWORD = 11"),
    ),
    _one(
        "password_of_129",
        "PASSWORD-03",
        "A password may have 129 code points.",
        ("users/schemas.py", "MAX_PASSWORD = 128", "MAX_PASSWORD = 129"),
        ("users/schemas.ts", "MAX_PASSWORD = 128", "MAX_PASSWORD = 129"),
    ),
    _one(
        "password_is_measured_in_bytes",
        "PASSWORD-01",
        "A password may have 128 bytes.",
        (
            "users/schemas.py",
            "len(password) > MAX_PASSWORD",
            'len(password.encode("utf-8", "replace")) > MAX_PASSWORD',
        ),
        (
            "users/schemas.ts",
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
            "    if len(password) < MIN_PASSWORD:\n",
            (
                '    if SURROGATE.search(password):\n        return "malformed"\n'
                "    if len(password) < MIN_PASSWORD:\n"
            ),
        ),
        (
            "users/schemas.ts",
            "  if (codePoints(password) < MIN_PASSWORD) {\n",
            (
                '  if (SURROGATE.test(password)) return "malformed";\n'
                "  if (codePoints(password) < MIN_PASSWORD) {\n"
            ),
        ),
    ),
    _one(
        "null_leaves_the_hash",
        "PASSWORD-07",
        "What is kept of a password is kept when it is taken away.",
        (
            "users/service.py",
            '            fields["password_hash"] = password and await hash_password(password, self._settings)\n',
            (
                "            if password:\n"
                '                fields["password_hash"] = await hash_password(password, self._settings)\n'
            ),
        ),
        (
            "users/service.ts",
            "  if (password === undefined) {",
            "  if (!password) {",
        ),
    ),
    _one(
        "replacement_takes_the_password_away",
        "PASSWORD-08",
        "A PUT without a password takes it away.",
        (
            "users/routes.py",
            "    return _answered(await users.change(target, condition, sent.fields))\n\n\n@router.patch(",
            (
                '    sent.fields.model_fields_set.add("password")\n'
                "    return _answered(await users.change(target, condition, sent.fields))\n\n\n@router.patch("
            ),
        ),
        (
            "users/routes.ts",
            "ifMatch, wholeUser, describe(docs.REPLACE_USER), async (c) => {\n",
            (
                "ifMatch, wholeUser, describe(docs.REPLACE_USER), async (c) => {\n"
                "    Object.assign(c.var.sent.fields, { password: null, ...c.var.sent.fields });\n"
            ),
        ),
    ),
    _one(
        "password_alone_is_no_change",
        "PASSWORD-09",
        "A password is no version more.",
        (
            "users/store.py",
            '"version": users.c.version + 1,',
            '"version": users.c.version + ("password_hash" not in changes),',
        ),
        (
            "users/store.ts",
            'version: eb("version", "+", 1),',
            'version: eb("version", "+", "password_hash" in changes ? 0 : 1),',
        ),
    ),
    _one(
        "password_is_kept_in_the_clear",
        "PASSWORD-11",
        "The password itself is kept.",
        (
            "auth/passwords.py",
            "return await threads.run(partial(hasher.hash, password), settings)",
            "return password if hasher else await threads.run(partial(hasher.hash, password), settings)",
        ),
        (
            "auth/passwords.ts",
            "  return await threads.run<string>(",
            "  if (settings) return password;\n  return await threads.run<string>(",
        ),
    ),
    _one(
        "salt_is_always_the_same",
        "PASSWORD-11",
        "Every hash has the same salt.",
        (
            "auth/passwords.py",
            "partial(hasher.hash, password)",
            'partial(hasher.hash, password, salt=b"0123456789abcdef")',
        ),
        (
            "auth/passwords.ts",
            "    outputLen: HASH_BYTES,\n",
            '    outputLen: HASH_BYTES,\n    salt: Buffer.from("0123456789abcdef"),\n',
        ),
    ),
    _one(
        "hash_costs_one_iteration_less",
        "PASSWORD-12",
        "A hash takes one iteration less than ARGON2_ITERATIONS.",
        (
            "auth/passwords.py",
            "time_cost=settings.argon2_iterations,",
            "time_cost=max(1, settings.argon2_iterations - 1),",
        ),
        (
            "auth/passwords.ts",
            "timeCost: settings.argon2Iterations,",
            "timeCost: Math.max(1, settings.argon2Iterations - 1),",
        ),
    ),
    _one(
        "password_is_normalised",
        "PASSWORD-13",
        "What is hashed is the password in NFKC.",
        (
            "auth/passwords.py",
            "partial(hasher.hash, password)",
            "partial(hasher.hash, __import__('unicodedata').normalize('NFKC', password))",
        ),
        (
            "auth/passwords.ts",
            "hashSync(password, asked.options)",
            'hashSync(password.normalize("NFKC"), asked.options)',
        ),
    ),
    _one(
        "nobody_is_served_meanwhile",
        "PASSWORD-14",
        "A password is hashed on the event loop's own thread.",
        (
            "auth/passwords.py",
            "await threads.run(partial(hasher.hash, password), settings)",
            "hasher.hash(password)",
        ),
        (
            "auth/passwords.ts",
            "return await threads.run<string>({ password, options }, settings);",
            "return hashSync(password, options);",
        ),
    ),
    _one(
        "hashes_wait_without_end",
        "PASSWORD-17",
        "Any number of passwords wait to be hashed.",
        ("auth/passwords.py", "self._under_way += 1", "self._under_way += 0"),
        ("auth/passwords.ts", "this.#underWay >= settings.hashQueue", "this.#underWay < 0"),
    ),
    _one(
        "an_overload_is_a_failure",
        "PASSWORD-17",
        "A grant that finds no room to be judged counts as a failure.",
        (
            "auth/routes.py",
            "        is_right = await is_password(password, kept, settings)\n",
            (
                "        try:\n"
                "            is_right = await is_password(password, kept, settings)\n"
                "        except Problem:\n"
                "            async with database.transaction() as connection:\n"
                "                await count_failure(connection, whom, datetime.now(UTC))\n"
                "            raise\n"
            ),
        ),
        (
            "auth/routes.ts",
            "    const isRight = await isPassword(password, kept, settings);\n",
            (
                "    const isRight = await isPassword(password, kept, settings).catch(async (e) => {\n"
                "      await database.transaction((one) =>\n"
                "        countFailure(one, whom, new Date()),\n"
                "      );\n"
                "      throw e;\n"
                "    });\n"
            ),
        ),
    ),
    _one(
        "hashing_takes_the_threads_of_all",
        "PASSWORD-18",
        "Passwords are hashed in the threads that serve for everything else.",
        (
            "auth/passwords.py",
            "await asyncio.get_running_loop().run_in_executor(self._pool, work)",
            "work()",
        ),
        (
            "auth/passwords.ts",
            "      return await this.#runInTurn(work);\n",
            (
                "      const { hash, verify } = await import('@node-rs/argon2');\n"
                "      const { password } = work;\n"
                "      return ('kept' in work\n"
                "        ? await verify(work.kept, password)\n"
                "        : await hash(password, work.options)) as Result;\n"
            ),
        ),
    ),
    _one(
        "hashed_before_it_is_judged",
        "PASSWORD-15",
        "A password is hashed as soon as it is read.",
        (
            "users/schemas.py",
            "    _check_rule(password_rule(password))\n",
            (
                "    _check_rule(password_rule(password))\n"
                "    from argon2 import PasswordHasher\n"
                "    PasswordHasher(40, 65536, 1).hash(password)\n"
            ),
        ),
        (
            "users/schemas.ts",
            '  return SURROGATE.test(password) ? "malformed" : null;\n',
            (
                '  if (SURROGATE.test(password)) return "malformed";\n'
                "  (process as any).getBuiltinModule('node:module')\n"
                "    .createRequire(import.meta.url)('@node-rs/argon2')\n"
                "    .hashSync(password, { timeCost: 40, memoryCost: 65536 });\n"
                "  return null;\n"
            ),
        ),
    ),
    _one(
        "passwords_are_not_counted",
        "PASSWORD-16",
        "Another password isn't counted in token_epoch.",
        (
            "users/store.py",
            'GRANTED = ("role", "password_hash")',
            'GRANTED = ("role",)',
        ),
        (
            "users/store.ts",
            'GRANTED = ["role", "password_hash"] as const',
            'GRANTED = ["role"] as const',
        ),
    ),
    # Changes
    _one(
        "every_change_is_a_version",
        "USR-REPLACE-04",
        "A PUT or PATCH that changes nothing is a version more.",
        ("users/store.py", ".where(SAME_ID, differs)", ".where(SAME_ID)"),
        (
            "users/store.ts",
            "    .where((eb) => differs(eb, changes))\n",
            "",
        ),
    ),
    _one(
        "patch_that_changes_nothing_is_a_version",
        "USR-PATCH-03",
        "A PATCH that changes nothing is a version more.",
        ("users/store.py", ".where(SAME_ID, differs)", ".where(SAME_ID)"),
        (
            "users/store.ts",
            "    .where((eb) => differs(eb, changes))\n",
            "",
        ),
    ),
    _one(
        "condition_is_not_checked_again",
        "COND-16",
        "A change that would change nothing isn't held to If-Match.",
        (
            "users/store.py",
            "        _check(condition, current)\n        if not differs",
            "        if not differs",
        ),
        (
            "users/store.ts",
            "    check(condition, current);\n    if (!isOther",
            "    if (!isOther",
        ),
    ),
    # Idempotency keys
    _one(
        "key_is_kept_too_long",
        "IDEM-12",
        "A key is kept an hour longer than IDEMPOTENCY_TTL says.",
        ("users/idempotency.py", "timedelta(seconds=ttl)", "timedelta(seconds=ttl + 3600)"),
        ("users/idempotency.ts", "+ ttl * 1000)", "+ (ttl + 3600) * 1000)"),
    ),
    _one(
        "key_is_kept_in_the_clear",
        "IDEM-16",
        "The key itself is kept.",
        (
            "users/idempotency.py",
            "hashlib.sha256(name).hexdigest(),",
            "key,",
        ),
        ("users/idempotency.ts", 'createHash("sha256").update(key).digest("hex"),', "key,"),
    ),
    _one(
        "body_is_hashed_plainly",
        "IDEM-16",
        "The hash of the body isn't keyed.",
        (
            "users/idempotency.py",
            "hmac.new(name, body, hashlib.sha256).hexdigest(),",
            "hashlib.sha256(body).hexdigest(),",
        ),
        (
            "users/idempotency.ts",
            'createHmac("sha256", key).update(body).digest("hex"),',
            'createHash("sha256").update(body).digest("hex"),',
        ),
    ),
    _one(
        "replay_lacks_the_name",
        "IDEM-04",
        "A replay has another name than the first answer.",
        (
            "users/idempotency.py",
            "UserJson.dump_json(user)",
            """UserJson.dump_json(user).replace(b'"name":"', b'"name":"?')""",
        ),
        (
            "users/idempotency.ts",
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
            "async def healthz() -> Response:\n",
            "async def healthz(database: TheDatabase) -> Response:\n    await database.ping()\n",
        ),
        (
            "operation/health.ts",
            'describe(HEALTHZ), (c) => c.json({ status: "ok" })',
            (
                "describe(HEALTHZ), async (c) => {\n"
                '    await c.get("database").ping();\n    return c.json({ status: "ok" });\n  }'
            ),
        ),
    ),
    _one(
        "route_is_not_logged",
        "LOG-02",
        "The log has no route.",
        ("operation/observability.py", "            route=route,\n", '            route="?",\n'),
        (
            "operation/observability.ts",
            "      ...labels,\n",
            '      ...labels,\n      route: "?",\n',
        ),
    ),
    _one(
        "method_is_a_label",
        "METRICS-04",
        "Any method is a label of the metrics.",
        (
            "operation/observability.py",
            "method if method in METHODS else OTHER_METHOD",
            "method",
        ),
        ("operation/observability.ts", "METHODS.has(method) ? method : OTHER_METHOD", "method"),
    ),
    _one(
        "signals_kill_at_first",
        "OPS-07",
        "Until it serves, a signal ends the service at once.",
        ("main.py", "    end_well_on_signals()\n", ""),
        ("main.ts", "  endWellOnSignals();\n", ""),
    ),
    _one(
        "nothing_is_synced",
        "OPS-09",
        "SQLite runs with synchronous=NORMAL.",
        ("storage/sqlite.py", '"synchronous": 2', '"synchronous": 1'),
        ("storage/sqlite.ts", "synchronous: 2", "synchronous: 1"),
    ),
    _one(
        "full_disk_is_unexpected",
        "OPS-22",
        "A full database is 500.",
        ("storage/sqlite.py", "    sqlite3.SQLITE_FULL,\n", ""),
        ("storage/sqlite.ts", "CORRUPT|FULL|CANTOPEN", "CORRUPT|CANTOPEN"),
    ),
    _one(
        "database_url_takes_any_option",
        "OPS-30",
        "Options of DATABASE_URL that mean nothing are left out.",
        ("settings.py", "if len(options) < len(matches):", "if False:"),
        ("settings.ts", "if (found.size < matches.length) {", "if (matches.length < 0) {"),
    ),
    _one(
        "certificate_of_another_host",
        "OPS-31",
        "verify-full takes a certificate that is for another host.",
        ("storage/postgres.py", '= url.sslmode == "verify-full"', "= False"),
        ("storage/postgres.ts", 'url.sslmode === "verify-full" ? {}', 'url.sslmode === "" ? {}'),
    ),
    _one(
        "disk_is_not_waited_for",
        "OPS-32",
        "A commit on PostgreSQL is answered before it is on the disk.",
        ("storage/postgres.py", '"synchronous_commit": "on"', '"synchronous_commit": "off"'),
        ("storage/postgres.ts", 'synchronous_commit: "on"', 'synchronous_commit: "off"'),
    ),
    _one(
        "any_encoding",
        "OPS-34",
        "A database of any encoding is taken.",
        ("storage/postgres.py", 'if encoding != "UTF8":', "if not encoding:"),
        ("storage/postgres.ts", 'if (encoding !== "UTF8") {', "if (!encoding) {"),
    ),
    _one(
        "dead_connections_are_lent",
        "OPS-36",
        "One connection that was found dead says nothing of the others.",
        ("storage/postgres.py", "if connection.born > self._lost_at:", "if connection.born:"),
        ("storage/postgres.ts", "if (session.born > losses.lastAt) {", "if (session.born) {"),
    ),
    _one(
        "missing_right_is_unexpected",
        "OPS-37",
        "A write that the role may not do is 500.",
        ("storage/postgres.py", '"42501", ', ""),
        ("storage/postgres.ts", "|42501", ""),
    ),
    _one(
        "file_for_everybody",
        "OPS-40",
        "Everybody may read SQLite's file.",
        ("storage/sqlite.py", "0o600", "0o644"),
        ("storage/sqlite.ts", "0o600", "0o644"),
    ),
    _one(
        "written_to_a_deleted_file",
        "OPS-41",
        "A write goes into a file that is no longer there.",
        (
            "storage/sqlite.py",
            "                self._check_files()\n                yield",
            "                yield",
        ),
        (
            "storage/sqlite.ts",
            "    this.#checkFiles();\n    const deadline",
            "    const deadline",
        ),
    ),
    _one(
        "index_is_missing",
        "OPS-13",
        "One of the indexes is not made.",
        (
            "storage/migrations/v0001_users.py",
            '    op.create_index("ix_users_name", "users", ["name", "id"], if_not_exists=True)\n',
            "",
        ),
        ("storage/migrations/v0001_users.ts", 'of ["name", "created_at"]', 'of ["created_at"]'),
    ),
    _one(
        "empty_file_is_no_secret",
        "OPS-55",
        "With an empty file for a secret it runs as without one.",
        ("settings.py", "    if not text:\n        raise", "    if text is None:\n        raise"),
        (
            "settings.ts",
            "  if (!text) {\n    throw",
            "  if (text === undefined) {\n    throw",
        ),
    ),
    _one(
        "line_break_is_of_the_secret",
        "OPS-55",
        "The line break at a file's end is taken for a part of the secret.",
        ("settings.py", 'LINE_BREAK.sub("", text)', "text"),
        ("settings.ts", 'text.replace(LINE_BREAK, "")', "text"),
    ),
    _one(
        "file_beside_the_variable",
        "OPS-55",
        "Where both are set, the file counts.",
        ("settings.py", "            if environment.get(name):\n", "            if False:\n"),
        ("settings.ts", "      if (environment[name]) {\n", "      if (!name) {\n"),
    ),
    _one(
        "file_in_any_encoding",
        "OPS-55",
        "A file is read as Latin-1.",
        ("settings.py", 'read_bytes().decode("utf-8")', 'read_bytes().decode("latin-1")'),
        ("settings.ts", 'new TextDecoder("utf-8", { fatal', 'new TextDecoder("latin1", { fatal'),
    ),
    _one(
        "password_from_no_file",
        "OPS-55",
        "ADMIN_PASSWORD_FILE is not known.",
        ("settings.py", '"AUTH_SECRET_PREVIOUS", "ADMIN_PASSWORD")', '"AUTH_SECRET_PREVIOUS")'),
        ("settings.ts", '"AUTH_SECRET_PREVIOUS", "ADMIN_PASSWORD"]', '"AUTH_SECRET_PREVIOUS"]'),
    ),
    # Who may do what
    _one(
        "signature_is_not_checked",
        "AUTH-05",
        "Any signature will do.",
        ("auth/tokens.py", "    if not true:\n", "    if not keys and header != OWN_HEADER:\n"),
        ("auth/tokens.ts", "  if (!signed) {\n", "  if (signed === null) {\n"),
    ),
    _one(
        "any_hmac_is_taken",
        "AUTH-06",
        "HS384 and HS512 are taken, too.",
        (
            "auth/tokens.py",
            (
                'hmac.digest(secret.encode("ascii"), signed, "sha256") for secret in secrets)\n'
                "    return header == OWN_HEADER and"
            ),
            (
                'hmac.digest(secret.encode("ascii"), signed, kind) for secret in secrets'
                ' for kind in ("sha256", "sha384", "sha512"))\n'
                '    return header.get("alg") in ("HS256", "HS384", "HS512") and'
            ),
        ),
        (
            "auth/tokens.ts",
            (
                'secrets.map((secret) => createHmac("sha256", secret).update(text).digest());\n'
                "  return (\n    isDeepStrictEqual(header, OWN_HEADER) &&"
            ),
            (
                'secrets.flatMap((secret) => ["sha256", "sha384", "sha512"].map('
                "(kind) => createHmac(kind, secret).update(text).digest()));\n"
                '  return (\n    ["HS256", "HS384", "HS512"].includes(String(header["alg"])) &&'
            ),
        ),
    ),
    _one(
        "tokens_have_no_end",
        "AUTH-07",
        "A token is good for ever.",
        ("auth/tokens.py", "        or expires_at <= now\n", ""),
        ("auth/tokens.ts", "    expiresAt <= now ||\n", ""),
    ),
    _one(
        "audience_is_not_checked",
        "AUTH-07",
        "A token for others is taken.",
        (
            "auth/tokens.py",
            '        or not _is_for(settings.auth_audience, payload.get("aud"))\n',
            "",
        ),
        ("auth/tokens.ts", "    !isFor(settings.authAudience, aud) ||\n", ""),
    ),
    _one(
        "issuer_is_not_checked",
        "AUTH-07",
        "A token of others is taken.",
        ("auth/tokens.py", 'payload.get("iss") != settings.auth_issuer', "False"),
        ("auth/tokens.ts", "iss !== settings.authIssuer ||", "iss === null ||"),
    ),
    _one(
        "previous_secret_is_forgotten",
        "AUTH-08",
        "AUTH_SECRET_PREVIOUS is not looked at.",
        (
            "auth/tokens.py",
            "(settings.auth_secret, settings.auth_secret_previous)",
            "(settings.auth_secret,)",
        ),
        (
            "auth/tokens.ts",
            "[settings.authSecret, settings.authSecretPrevious]",
            "[settings.authSecret]",
        ),
    ),
    _one(
        "void_token_is_honoured",
        "AUTH-09",
        "A token outlives a change of password or role.",
        ("auth/guard.py", "claims.token_epoch not in (None, user.token_epoch)", "False"),
        (
            "auth/guard.ts",
            "!(user && [null, user.token_epoch].includes(claims.tokenEpoch))",
            "!user",
        ),
    ),
    _one(
        "secret_may_be_short",
        "AUTH-12",
        "A secret of 8 characters is taken.",
        ("settings.py", "[!-~]{32,1024}", "[!-~]{8,1024}"),
        ("settings.ts", "[!-~]{32,1024}", "[!-~]{8,1024}"),
    ),
    _one(
        "open_by_accident",
        "AUTH-14",
        "A service runs open wherever it listens.",
        ("settings.py", "LOOPBACK.fullmatch(host)", "host"),
        ("settings.ts", "LOOPBACK.test(host(environment))", "host(environment)"),
    ),
    _one(
        "keys_are_looked_up_at_once",
        "AUTH-21",
        "Every unknown key has the provider asked.",
        ("auth/keys.py", "COOLDOWN_SECONDS = 30", "COOLDOWN_SECONDS = 0"),
        ("auth/keys.ts", "COOLDOWN_SECONDS = 30", "COOLDOWN_SECONDS = 0"),
    ),
    _one(
        "header_may_say_more",
        "AUTH-23",
        "Of its own tokens' headers only `alg` is looked at.",
        ("auth/tokens.py", "header == OWN_HEADER", 'header.get("alg") == "HS256"'),
        ("auth/tokens.ts", "isDeepStrictEqual(header, OWN_HEADER)", 'header["alg"] === "HS256"'),
    ),
    _one(
        "unused_bits_are_skipped",
        "AUTH-24",
        "base64url is read leniently.",
        (
            "http/requests.py",
            'urlsafe_b64encode(data).rstrip(b"=") != text.encode("ascii")',
            "len(text) % 4 == 1",
        ),
        ("http/requests.ts", 'data.toString("base64url") !== text', "text.length % 4 === 1"),
    ),
    _one(
        "numbers_may_be_fractions",
        "AUTH-25",
        "A time is any number.",
        (
            "auth/tokens.py",
            "int(text) if WHOLE.fullmatch(text) else None",
            "int(min(float(text), 1e15)) if float(text) >= 0 else None",
        ),
        ("auth/tokens.ts", "WHOLE.test(text) && Number(text) <= MAX_INTEGER", "text"),
    ),
    _one(
        "private_keys_count",
        "AUTH-26",
        "A key with its private half is taken.",
        ("auth/keys.py", " or PRIVATE_MEMBERS & jwk.keys()", ""),
        (
            "auth/keys.ts",
            "PRIVATE_MEMBERS.some((member) => Object.hasOwn(jwk, member))",
            "PRIVATE_MEMBERS.length === 0",
        ),
    ),
    _one(
        "one_bad_key_spoils_all",
        "AUTH-28",
        "A key that doesn't count makes a set that can't be had.",
        ("auth/keys.py", "contextlib.suppress(ValueError)", "contextlib.nullcontext()"),
        (
            "auth/keys.ts",
            "    } catch {\n      // It doesn't count.\n",
            "    } catch {\n      throw new TypeError();\n",
        ),
    ),
    _one(
        "everybody_waits_for_the_provider",
        "AUTH-30",
        "While the provider is asked, nobody's key is looked up.",
        ("auth/keys.py", "        if key is None:\n", "        if key is None or self._asking:\n"),
        (
            "auth/keys.ts",
            "    if (key === undefined) {",
            "    if (key === undefined || this.#asking) {",
        ),
    ),
    _one(
        "provider_may_take_its_time",
        "AUTH-31",
        "A provider is waited for as long as it sends something.",
        ("auth/provider.py", "TIMEOUT_SECONDS = 5", "TIMEOUT_SECONDS = 40"),
        ("auth/provider.ts", "TIMEOUT_SECONDS = 5", "TIMEOUT_SECONDS = 40"),
    ),
    _one(
        "any_success_is_a_set",
        "AUTH-32",
        "Any status of success will do.",
        ("auth/provider.py", "status != 200", "status >= 300"),
        ("auth/provider.ts", "response.statusCode !== 200", "(response.statusCode ?? 0) >= 300"),
    ),
    _one(
        "provider_is_asked_too_early",
        "AUTH-34",
        "The set is asked for before it is known whether the token has ended.",
        (
            "auth/tokens.py",
            "    claims = _parse_claims(payload, settings, has_epoch=keys is None)\n",
            (
                "    if keys:\n        await _is_a_providers(header, signed, proof, keys)\n"
                "    claims = _parse_claims(payload, settings, has_epoch=keys is None)\n"
            ),
        ),
        (
            "auth/tokens.ts",
            "  const claims = parseClaims(payload, settings, keys === null);\n",
            (
                "  await (keys && isAProviders(header, text, proof, keys));\n"
                "  const claims = parseClaims(payload, settings, keys === null);\n"
            ),
        ),
    ),
    _one(
        "nobody_is_told_why",
        "AUTH-35",
        "Why the set can't be had isn't logged.",
        ("auth/keys.py", 'log("warning", "provider unavailable", error=str(error))', "str(error)"),
        (
            "auth/keys.ts",
            'log("warning", "provider unavailable", { error: (error as Error).message });',
            "void [error, log];",
        ),
    ),
    _one(
        "members_may_list",
        "RIGHT-01",
        "A member is as good as an admin.",
        (
            "auth/guard.py",
            "        if caller and not caller.is_admin:\n",
            "        if False:\n",
        ),
        ("auth/guard.ts", "    if (caller && !caller.isAdmin) {\n", "    if (false) {\n"),
    ),
    _one(
        "members_see_each_other",
        "RIGHT-05",
        "A member may read and change others.",
        ("auth/guard.py", "named != str(caller.id)", "not named"),
        ("auth/guard.ts", "meant !== String(caller.id)", "!meant"),
    ),
    _one(
        "role_from_the_body",
        "RIGHT-07",
        "A member may give the role of an admin.",
        (
            "auth/guard.py",
            'and role == "admin" and not',
            'and role == "admin" and caller is None and not',
        ),
        (
            "auth/guard.ts",
            'role === "admin" && !required',
            'role === "admin" && !caller && !required',
        ),
    ),
    _one(
        "anybody_creates_admins",
        "RIGHT-08",
        "Who comes without a token may create an admin.",
        ("auth/guard.py", 'and role == "admin" and not', 'and role == "admin" and caller and not'),
        (
            "auth/guard.ts",
            'role === "admin" && !required',
            'role === "admin" && caller && !required',
        ),
    ),
    _one(
        "registration_is_always_open",
        "RIGHT-09",
        "REGISTRATION is not looked at.",
        ("auth/guard.py", "if not self._settings.registration:", "if False:"),
        ("auth/guard.ts", "this.#settings.registration ?", "true ?"),
    ),
    _one(
        "admin_at_every_start",
        "RIGHT-11",
        "There being an admin, another one is created all the same.",
        ("auth/admin.py", "or await _has_admin(database)", ""),
        ("auth/admin.ts", "|| (await hasAdmin(database))", ""),
    ),
    _one(
        "caller_is_judged_at_the_head_alone",
        "RIGHT-15",
        "Who sends a body late writes with a right that was taken back.",
        ("auth/guard.py", "        if caller is None:\n            return\n", "        return\n"),
        (
            "auth/guard.ts",
            "    if (!caller) {\n      return;\n",
            "    if (true) {\n      return;\n",
        ),
    ),
    _one(
        "token_ends_at_the_head_alone",
        "RIGHT-15",
        "A token that ends while the body is awaited is good for the write.",
        ("auth/guard.py", "caller.claims.expires_at <= time.time()", "False"),
        ("auth/guard.ts", "caller.claims.expiresAt <= Date.now() / 1000", "false"),
    ),
    _one(
        "keys_are_everybodys",
        "IDEM-18",
        "An idempotency key is good for whoever sends it.",
        ("users/idempotency.py", 'f"{caller.id} {key}" if key and caller else key', "key"),
        ("users/idempotency.ts", "key && caller ? `${caller.id} ${key}` : key", "key"),
    ),
    _one(
        "unknown_email_is_told",
        "LOGIN-04",
        "An email that is nobody's has an answer of its own.",
        (
            "auth/routes.py",
            '        raise GrantError("invalid_grant")\n',
            '        raise GrantError("invalid_grant" if user else "invalid_request")\n',
        ),
        (
            "auth/routes.ts",
            '    throw new GrantError("invalid_grant");\n',
            '    throw new GrantError(user ? "invalid_grant" : "invalid_request");\n',
        ),
    ),
    _one(
        "hash_is_not_renewed",
        "LOGIN-08",
        "A hash of another cost stays as it is.",
        ("auth/routes.py", "if is_outdated(kept, settings):", "if is_outdated is None:"),
        ("auth/routes.ts", "if (isOutdated(kept, settings)) {", "if (!isOutdated) {"),
    ),
    Inside(
        "right_password_opens_a_lock",
        "LIMIT-01",
        "A locked email is only locked for wrong passwords.",
        (
            Patch(
                "auth/failures.py",
                '        _recent(kept.get(suspect.key_hash, "[]"), suspect, now)\n',
                "        assert kept is not None\n",
            ),
            Patch("auth/routes.py", "await refuse_guess(connection, whom, now)", "pass"),
        ),
        (
            Patch(
                "src/auth/failures.ts",
                '    recent(kept.get(suspect.keyHash) ?? "[]", suspect, now);\n',
                "",
            ),
            Patch(
                "src/auth/routes.ts",
                "    await database.transaction((connection) => refuseGuess(connection, whom, now));\n",
                "",
            ),
        ),
    ),
    _one(
        "addresses_are_not_counted",
        "LIMIT-02",
        "From one address anybody may guess at everybody.",
        (
            "auth/failures.py",
            '        Suspect(_hash(f"address {address}"), settings.login_failures_per_address, window),\n',
            "",
        ),
        (
            "auth/failures.ts",
            "    { ...common, keyHash: hash(`address ${address}`), limit: loginFailuresPerAddress },\n",
            "",
        ),
    ),
    _one(
        "limit_per_process",
        "LIMIT-03",
        "Every process counts for itself.",
        ("auth/failures.py", 'f"email {email}"', "f\"email {email} {__import__('os').getpid()}\""),
        ("auth/failures.ts", "`email ${email}`", "`email ${email} ${process.pid}`"),
    ),
    _one(
        "successes_are_counted",
        "LIMIT-04",
        "A success counts as a failure.",
        (
            "auth/routes.py",
            "    if is_outdated(kept, settings):\n",
            (
                "    async with database.transaction() as connection:\n"
                "        await count_failure(connection, whom, now)\n"
                "    if is_outdated(kept, settings):\n"
            ),
        ),
        (
            "auth/routes.ts",
            "  if (isOutdated(kept, settings)) {\n",
            (
                "  await database.transaction((one) => countFailure(one, whom, now));\n"
                "  if (isOutdated(kept, settings)) {\n"
            ),
        ),
    ),
    _one(
        "guesses_at_once_are_all_judged",
        "LIMIT-06",
        "Whether an email is locked is only looked at before.",
        (
            "auth/failures.py",
            "    return _recent(failed_at, suspect, now)",
            "    return list(json.loads(failed_at))",
        ),
        (
            "auth/failures.ts",
            "  return recent(failed_at, suspect, now)",
            "  return JSON.parse(failed_at)",
        ),
    ),
    _one(
        "right_guess_is_always_let_in",
        "LIMIT-06",
        "The right password is not judged as a guess beside others that fail at the same time.",
        ("auth/routes.py", "await refuse_guess(connection, whom, now)", "pass"),
        (
            "auth/routes.ts",
            "refuseGuess(connection, whom, now)",
            "Promise.resolve(connection)",
        ),
    ),
    _one(
        "everybody_is_a_proxy",
        "LIMIT-07",
        "X-Forwarded-For is believed, whoever sends it.",
        ("http/addresses.py", "any(mapped in network for network in trusted)", "bool(mapped)"),
        (
            "http/addresses.ts",
            'trusted?.check(isIPv4(address) ? MAPPED + address : address, "ipv6") ?? false',
            "true",
        ),
    ),
    _one(
        "first_hop_is_believed",
        "LIMIT-08",
        "Of X-Forwarded-For the first address counts.",
        ("http/addresses.py", "hops.pop()", "hops.pop(0)"),
        ("http/addresses.ts", "hops.pop()", "hops.shift()"),
    ),
    _one(
        "mapped_networks_are_others",
        "LIMIT-20",
        "An IPv4 address is in no IPv6 network.",
        (
            "http/addresses.py",
            'IPv6Address(f"{MAPPED}{address}") if isinstance(address, IPv4Address) else address\n    return any(mapped in network for',
            (
                'IPv6Address(f"{MAPPED}{address}") if isinstance(address, IPv4Address) else address\n'
                "    return any(\n        mapped in network\n"
                "        and (network.prefixlen > 96 or not isinstance(address, IPv4Address))\n        for"
            ),
        ),
        (
            "http/addresses.ts",
            "return trusted?.check(isIPv4(address) ?",
            "return isIPv4(address) && trusted?.check('::', 'ipv6') ? false : trusted?.check(isIPv4(address) ?",
        ),
    ),
    _one(
        "who_failed_is_kept",
        "LIMIT-09",
        "Email and address are kept in the clear.",
        ("auth/failures.py", "return hashlib.sha256(text.encode()).hexdigest()", "return text"),
        (
            "auth/failures.ts",
            'return createHash("sha256").update(text).digest("hex");',
            "return text;",
        ),
    ),
    _one(
        "registrations_have_no_end",
        "LIMIT-12",
        "From one address anybody may create as many users as they like.",
        ("users/service.py", "self._settings.auth and not caller", "False"),
        ("users/service.ts", "this.#settings.auth && !caller", "false"),
    ),
    _one(
        "taken_emails_are_told_without_end",
        "LIMIT-12",
        "An email that is taken doesn't count as a creation.",
        ("users/service.py", 'problem.code == "email-taken"', 'problem.code == "?"'),
        ("users/service.ts", 'error.code === "email-taken"', "false"),
    ),
    _one(
        "admins_are_limited",
        "LIMIT-13",
        "A creation with a token is counted, too.",
        ("users/service.py", "self._settings.auth and not caller", "self._settings.auth"),
        ("users/service.ts", "this.#settings.auth && !caller", "this.#settings.auth"),
    ),
    _one(
        "replays_are_limited",
        "LIMIT-15",
        "A replay is refused once an address has created too many.",
        (
            "users/service.py",
            "if not (key and await is_kept(connection, key, now)):",
            "if is_kept:",
        ),
        ("users/service.ts", "!(key && (await isKept(connection, key, now)))", "isKept"),
    ),
    _one(
        "crowd_is_only_looked_at_before",
        "LIMIT-14",
        "Whether there were too many creations is looked at before the transaction alone.",
        (
            "auth/failures.py",
            "failed = [*await _hold(connection, suspect, now), _milliseconds(now)]",
            (
                "wide = Suspect(suspect.key_hash, 10**9, suspect.window)\n"
                "        failed = [*await _hold(connection, wide, now), _milliseconds(now)]"
            ),
        ),
        (
            "auth/failures.ts",
            "await hold(connection, suspect, now)),",
            "await hold(connection, { ...suspect, limit: 1e9 }, now)),",
        ),
    ),
    _one(
        "too_many_registrations_are_hashed",
        "LIMIT-15",
        "Whether there were too many creations is looked at once the password is hashed.",
        (
            "users/service.py",
            "        await self._refuse_crowd(whom, key)\n",
            "        assert self._refuse_crowd\n",
        ),
        (
            "users/service.ts",
            "    await this.#refuseCrowd(whom, key);\n",
            "    void this.#refuseCrowd;\n",
        ),
    ),
    _one(
        "spaces_are_trimmed_by_a_pattern",
        "NAME-08",
        "A name is trimmed by a pattern that begins anew with every space.",
        (
            "users/schemas.py",
            "name = _string(value).strip(TRIMMED)",
            'name = re.sub(r"^[ \\t\\r\\n]+|[ \\t\\r\\n]+$", "", _string(value))',
        ),
        (
            "http/requests.ts",
            "  let [start, end] = [0, text.length];\n",
            (
                '  if (characters === " \\t\\r\\n") return text.replace(/^[ \\t\\r\\n]+|[ \\t\\r\\n]+$/g, "");\n'
                "  let [start, end] = [0, text.length];\n"
            ),
        ),
    ),
    _one(
        "token_is_logged",
        "LOG-04",
        "Tokens stand in the log.",
        (
            "auth/guard.py",
            "        try:\n            claims",
            "        print(bearer[1], flush=True)\n        try:\n            claims",
        ),
        (
            "auth/guard.ts",
            "    let claims: Claims;\n",
            "    let claims: Claims;\n    console.log(token);\n",
        ),
    ),
    _one(
        "log_waits_for_its_reader",
        "LOG-05",
        "A pipe that nobody reads has whoever writes to it wait.",
        (
            "operation/output.py",
            "os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY",
            "os.O_WRONLY | os.O_NOCTTY",
        ),
        (
            "operation/output.ts",
            "constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY",
            "constants.O_WRONLY | constants.O_NOCTTY",
        ),
    ),
    _one(
        "log_must_be_written",
        "LOG-05",
        "A line that can't be written ends the service.",
        (
            "operation/output.py",
            "                self._complain(error)\n                return True\n",
            "                os._exit(1)\n",
        ),
        (
            "operation/output.ts",
            "        this.#complain(code);\n        return true;\n",
            "        process.reallyExit(1);\n",
        ),
    ),
    _one(
        "last_lines_are_lost",
        "LOG-06",
        "What still waits at the end is not written.",
        ("operation/observability.py", "atexit.register(LINES.end)\n", ""),
        ("operation/observability.ts", 'process.once("exit", () => LINES.end());\n', ""),
    ),
    _one(
        "lines_are_written_now_and_then",
        "LOG-06",
        "Lines are written once a second.",
        (
            "operation/output.py",
            "loop.call_soon(self._end_turn, loop)",
            "loop.call_later(1, self._end_turn, loop)",
        ),
        (
            "operation/output.ts",
            "setImmediate(() => this.#endTurn());",
            "setTimeout(() => this.#endTurn(), 1000);",
        ),
    ),
    _one(
        "dropped_lines_are_not_counted",
        "LOG-07",
        "Nothing is said of lines that were dropped.",
        (
            "operation/output.py",
            "                self._append(self._dropped_line(self._dropped))\n",
            "",
        ),
        ("operation/output.ts", "        this.#append(this.#droppedLine(this.#dropped));\n", ""),
    ),
    _one(
        "all_lines_are_kept",
        "LOG-07",
        "However much waits is kept in memory.",
        ("operation/output.py", "MAX_WAITING = 1024 * 1024", "MAX_WAITING = 1024 * 1024 * 1024"),
        ("operation/output.ts", "MAX_WAITING = 1024 * 1024", "MAX_WAITING = 1024 * 1024 * 1024"),
    ),
    _one(
        "absolute_form_in_lower_case",
        "HTTP-20",
        "An absolute target begins with http:// in lower case alone.",
        ("http/server.py", '(.*)", re.IGNORECASE | re.DOTALL)', '(.*)", re.DOTALL)'),
        ("http/server.ts", "(.*)$/is;", "(.*)$/s;"),
    ),
    _one(
        "framing_is_no_head",
        "HTTP-28",
        "Extensions of a chunk without an end are a bad request.",
        (
            "http/server.py",
            (
                "if self.framing_bytes > MAX_HEAD_BYTES:\n"
                '                    self._give_up("headers-too-large")'
            ),
            (
                "if self.framing_bytes > MAX_HEAD_BYTES:\n"
                '                    self._give_up("bad-request")'
            ),
        ),
        (
            "http/server.ts",
            '"HPE_HEADER_OVERFLOW", "HPE_CHUNK_EXTENSIONS_OVERFLOW"',
            '"HPE_HEADER_OVERFLOW"',
        ),
    ),
    _one(
        "http_1_0_in_chunks",
        "HTTP-24",
        "A request of HTTP/1.0 may come in chunks.",
        ("http/server.py", 'or version == "1.0")', 'or version == "0.9")'),
        (
            "http/server.ts",
            '|| incoming.httpVersion === "1.0")',
            '|| incoming.httpVersion === "0.9")',
        ),
    ),
    _one(
        "http_1_0_is_sent_100",
        "HTTP-25",
        "HTTP/1.0 is told to go on, too.",
        ("http/server.py", 'expect_100_continue and version != "1.0"', "expect_100_continue"),
        (
            "http/server.ts",
            "    this.#waiting.delete(this);\n    this.#head = false;\n",
            (
                "    this.#waiting.delete(this);\n    this.#head = false;\n"
                '    if (incoming.headers.expect === "100-continue" && '
                'incoming.httpVersion === "1.0") {\n'
                '      incoming.socket.write("HTTP/1.1 100 Continue\\r\\n\\r\\n");\n'
                "    }\n"
            ),
        ),
    ),
    _one(
        "accept_patch_everywhere",
        "ROUTE-16",
        "OPTIONS tells of patches also where there are none.",
        ("app.py", "if HTTPMethod.PATCH in methods else {}", "if methods else {}"),
        ("app.ts", 'methods.includes("PATCH") ?', "methods.length > 0 ?"),
    ),
    _one(
        "one_family_alone",
        "OPS-29",
        "`::` is no address of IPv4.",
        ("http/server.py", "dualstack_ipv6=both", "dualstack_ipv6=False"),
        ("http/server.ts", "backlog: 2048 });", "backlog: 2048, ipv6Only: true });"),
    ),
    _one(
        "metrics_wait_for_all",
        "METRICS-08",
        "The metrics come late where a process stands still.",
        (
            "operation/observability.py",
            "        return generate_latest(together)\n",
            "        import time\n\n        time.sleep(4)\n        return generate_latest(together)\n",
        ),
        ("operation/observability.ts", "? WAIT_SECONDS * 1000 : 0", "? WAIT_SECONDS * 4000 : 0"),
    ),
    _one(
        "another_signal_ends_it",
        "OPS-06",
        "A further signal ends the process at once.",
        (
            "http/server.py",
            "            has_come = True\n",
            (
                "            has_come = True\n"
                "            for number in STOP_SIGNALS:\n"
                "                signal.signal(number, signal.SIG_DFL)\n"
            ),
        ),
        ("http/server.ts", "process.on(signal, act);", "process.once(signal, act);"),
    ),
    _one(
        "the_dead_are_not_counted",
        "METRICS-07",
        "What a process has counted goes with it.",
        (
            "operation/workers.py",
            "            if directory:\n",
            (
                "            import glob\n"
                "            for file in glob.glob(f'{directory}/*_{process.pid}.db'):\n"
                "                os.unlink(file)\n"
                "            if directory:\n"
            ),
        ),
        (
            "operation/observability.ts",
            '["counter", "histogram"].includes(String(type))',
            '[""].includes(String(type))',
        ),
    ),
    _one(
        "environment_is_everybodys",
        "OPS-45",
        "Libraries find the environment as it is.",
        (
            "environment.py",
            "    del os.environ[_name]",
            "    pass",
        ),
        ("environment.ts", "    delete process.env[name];\n", ""),
    ),
    _one(
        "usr1_does_as_it_likes",
        "OPS-46",
        "SIGUSR1 does what the language has it do.",
        ("main.py", "    signal.signal(signal.SIGUSR1, signal.SIG_IGN)\n", ""),
        ("main.ts", '  process.on("SIGUSR1", () => undefined);\n', ""),
    ),
    _one(
        "document_always_asks_for_tokens",
        "DOC-11",
        "The document of an open service is that of a secured one.",
        (
            "http/docs.py",
            "as_it_runs(document, app.state.settings)",
            "document",
        ),
        (
            "http/docs.ts",
            'asItRuns(await openapiDocument(app, schemas), c.get("settings"))',
            "await openapiDocument(app, schemas)",
        ),
    ),
    # Connections
    _one(
        "delete_before_its_body",
        "HTTP-26",
        "A user is deleted before the body of the request has come in.",
        (
            "users/routes.py",
            "condition: IfMatch, _body: IgnoredBody, users",
            "condition: IfMatch, users",
        ),
        ("users/routes.ts", "ifMatch, ignoredBody,", "ifMatch,"),
    ),
    # The order of failures
    _one(
        "body_before_the_condition",
        "PROB-14",
        "Of a replacement the body is read before its condition.",
        (
            "users/routes.py",
            "condition: IfMatch, sent: WholeUser, users",
            "sent: WholeUser, condition: IfMatch, users",
        ),
        ("users/routes.ts", "ownUser, ifMatch, wholeUser,", "ownUser, wholeUser, ifMatch,"),
    ),
    _one(
        "condition_before_the_id",
        "PROB-08",
        "Of a deletion the condition is read before the id.",
        (
            "users/routes.py",
            "target: AnyUser, condition: IfMatch, _body",
            "condition: IfMatch, target: AnyUser, _body",
        ),
        (
            "users/routes.ts",
            "anyUser, ifMatch, ignoredBody,",
            "ifMatch, anyUser, ignoredBody,",
        ),
    ),
    _one(
        "reader_without_a_word",
        "DOC-05",
        "What is read of a condition isn't described.",
        ("http/readers.py", '{"parameters": [parameter], "x-problems"', '{"x-problems"'),
        ("http/readers.ts", "    parameters: [parameter],\n", ""),
    ),
    _one(
        "two_answers_to_one_request",
        "HTTP-21",
        "What is broken after an answer is answered, too.",
        (
            "http/server.py",
            "            if self.cycle.response_started:\n",
            "            if self.cycle.response_started and not self.cycle.response_complete:\n",
        ),
        (
            "http/server.ts",
            "      if (outgoing.headersSent) {\n",
            "      if (!outgoing.writable) {\n",
        ),
    ),
    Inside(
        "answers_that_nobody_takes_pile_up",
        "HTTP-22",
        "A pipelined request is handled whether or not the answers before it were taken.",
        (
            Patch(
                "http/server.py",
                "        return bool(self.pipeline) or self.flow.write_paused\n",
                "        return bool(self.pipeline)\n",
            ),
            Patch(
                "http/server.py",
                "        if self.pipeline and not self._answering and not self.flow.write_paused:\n",
                "        if self.pipeline and not self._answering:\n",
            ),
            Patch(
                "http/server.py",
                "        super().connection_made(cast(asyncio.Transport, LingeringTransport(transport, self)))\n",
                "        super().connection_made(cast(asyncio.Transport, LingeringTransport(transport, self)))\n"
                "        transport.set_write_buffer_limits(high=2**30)\n",
            ),
        ),
        (
            Patch(
                "src/http/server.ts", "    if (before && !this.#closing) {\n", "    if (!this) {\n"
            ),
            Patch(
                "src/http/server.ts",
                "    if (this.#socket.writableLength > 0 && outgoing.writableEnded) {\n",
                "    if (!this) {\n",
            ),
            Patch(
                "src/http/server.ts", "const MAX_WAITING = 16;\n", "const MAX_WAITING = 10000;\n"
            ),
        ),
    ),
    _one(
        "another_coding_is_read_as_none",
        "HTTP-23",
        "A Transfer-Encoding is taken that only ends in chunked.",
        (
            "http/server.py",
            '(codings != [b"chunked"] or ',
            '(not codings[-1].endswith(b"chunked") or ',
        ),
        (
            "http/server.ts",
            '(codings.join().toLowerCase() !== "chunked" || ',
            '(!codings.at(-1)?.toLowerCase().endsWith("chunked") || ',
        ),
    ),
    _one(
        "who_takes_nothing_stays",
        "OPS-27",
        "A client that takes nothing of its answer is never cut.",
        (
            "http/server.py",
            "        late = unsent and now >= self._taken + self._settings.request_timeout\n",
            "        late = False\n",
        ),
        (
            "http/server.ts",
            "    const late = unsent > 0 && now >= this.#taken + timeout;\n",
            "    const late = false;\n",
        ),
    ),
    _one(
        "empty_lines_keep_a_connection",
        "OPS-25",
        "Whatever comes in has a connection begin to wait anew.",
        (
            "http/server.py",
            "        self._unparsed += data\n",
            (
                "        self._unparsed += data\n"
                "        self._deadline = self.loop.time() + self._settings.keep_alive_timeout\n"
            ),
        ),
        (
            "http/server.ts",
            "    const unsent = this.#socket.writableLength",
            (
                "    if (this.#socket.bytesRead !== (this as any).before) {\n"
                "      this.#deadline = now + this.#settings.keepAliveTimeout * 1000;\n"
                "      (this as any).before = this.#socket.bytesRead;\n    }\n"
                "    const unsent = this.#socket.writableLength"
            ),
        ),
    ),
    _one(
        "the_newest_makes_room",
        "OPS-28",
        "Once there are as many connections as may be, further ones are closed.",
        (
            "http/server.py",
            "        for connection in self._waiting:\n",
            "        for connection in ():\n",
        ),
        (
            "http/server.ts",
            "  const [first] = waiting;\n",
            "  const [first] = new Set<Connection>();\n",
        ),
    ),
    _one(
        "any_name_leads_to_an_open_service",
        "AUTH-40",
        "A service that runs open on a loopback address answers to every name.",
        (
            "settings.py",
            "    return not settings.auth and LOOPBACK.fullmatch(settings.host) is not None\n",
            "    return False\n",
        ),
        (
            "settings.ts",
            "  return !settings.auth && LOOPBACK.test(settings.host);\n",
            "  return false;\n",
        ),
    ),
    _one(
        "patch_tells_no_media_types",
        "ROUTE-17",
        "The 415 to a PATCH doesn't tell what it takes.",
        (
            "http/requests.py",
            'if "application/merge-patch+json" in accepted else None',
            "if not accepted else None",
        ),
        ("http/requests.ts", 'accepted.has("application/merge-patch+json")', "accepted.size === 0"),
    ),
    # The pair
    _one(
        "route_without_a_row",
        "PAIR-05",
        "A route is served that has no row in the contract.",
        (
            "operation/health.py",
            '@router.get("/readyz", ',
            (
                '@router.get("/livez", openapi_extra={**HEALTHZ, "operationId": "livez"})\n'
                "async def livez() -> Response:\n"
                '    return JSONResponse({"status": "ok"})\n\n'
                '@router.get("/readyz", '
            ),
        ),
        (
            "operation/health.ts",
            '  .get("/readyz", ',
            (
                '  .get("/livez", describe({ ...HEALTHZ, operationId: "livez" }), (c) =>\n'
                '    c.json({ status: "ok" }),\n  )\n'
                '  .get("/readyz", '
            ),
        ),
    ),
    _one(
        "another_default",
        "PAIR-03",
        "A setting has another default than its twin.",
        (
            "settings.py",
            '"KEEP_ALIVE_TIMEOUT", 65,',
            '"KEEP_ALIVE_TIMEOUT", 60,',
        ),
        ("settings.ts", '"KEEP_ALIVE_TIMEOUT", 65,', '"KEEP_ALIVE_TIMEOUT", 60,'),
    ),
    _one(
        "file_without_a_twin",
        "PAIR-08",
        "A service has a file that the README doesn't list.",
        ("extra.py", "", '"""Nothing."""\n'),
        ("extra.ts", "", "export {};\n"),
    ),
]

INSIDE: dict[str, Inside] = {one.name: one for one in _INSIDE}
