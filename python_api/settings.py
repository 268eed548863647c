"""Settings: the only reader of the environment.

An unset or empty variable means the default; a wrong value raises `SettingsError`, whose one
line ends the start.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address
from urllib.parse import unquote

from python_api.auth.provider import tls_context
from python_api.http.addresses import Network, parse_networks
from python_api.users.schemas import email_rule, password_rule

# better-sqlite3 takes white space off a path's end, so no path has any there; and a variable that is
# not UTF-8 is none.
SQLITE_URL = re.compile(
    r"sqlite:///([^\x00-\x1f\ud800-\udfff\ufffd]*[^\s\ufeff\ud800-\udfff\ufffd])"
)
PART = r"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})"
POSTGRES_URL = re.compile(
    rf"postgresql://({PART}+)(?::({PART}*))?@(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))"
    rf"(?::([0-9]{{1,5}}))?/({PART}+)(?:\?([!-~]*))?"
)
OPTION = re.compile(r"(sslmode|sslrootcert)=((?:[A-Za-z0-9._~!$'()*+,;:@/?-]|%[0-9A-Fa-f]{2})+)")
SSLMODES = ("disable", "prefer", "require", "verify-ca", "verify-full")
NOT_UTF_8 = re.compile("[\ud800-\udfff\ufffd]")
# Long enough that nobody guesses it (AUTH-12).
SECRET = re.compile("[!-~]{32,1024}")
WORD = re.compile("[!-~]{1,255}")
# Where only the machine itself can ask (AUTH-14).
LOOPBACK = re.compile(r"localhost|127(?:\.[0-9]{1,3}){3}|::1")
JWKS_URL = re.compile(
    r"https?://(?:\[([0-9a-f:.]+)\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?(?:/[!-~]*)?"
)
CERTIFICATE = re.compile(
    "-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\r\n\t ]+-----END CERTIFICATE-----"
)
ORIGIN = re.compile(r"https?://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")
RETRY = re.compile("[0-9]{1,6}(?:,[0-9]{1,6}){0,19}")
LINE_BREAK = re.compile(r"\r?\n\Z")
SECRETS = ("DATABASE_URL", "AUTH_SECRET", "AUTH_SECRET_PREVIOUS", "ADMIN_PASSWORD")


class SettingsError(Exception):
    """A setting has a value that is not allowed."""


@dataclass(frozen=True, slots=True)
class SqliteUrl:
    """A database in a file."""

    path: str


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """A database on a server. The fields have libpq's names, and its meanings."""

    user: str
    password: str
    host: str
    port: int
    database: str
    sslmode: str
    sslrootcert: str
    """A file of certificates; empty for none."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The service's settings; README.md's table says what each does. Times are in seconds."""

    host: str
    port: int
    web_concurrency: int
    database_url: SqliteUrl | PostgresUrl
    database_pool_size: int
    """Connections to PostgreSQL, of each process."""
    database_timeout: int
    database_statement_timeout: int
    idempotency_ttl: int
    events_ttl: int
    events_heartbeat: int
    events_streams: int
    webhooks_networks: tuple[Network, ...]
    """Where webhooks may lead although those there aren't public."""
    webhooks_retry: tuple[int, ...]
    """How long to wait after each failed attempt but the last."""
    webhooks_timeout: int
    webhooks_ca: str
    """Certificates (PEM)."""
    argon2_memory: int
    argon2_iterations: int
    argon2_parallelism: int
    hash_queue: int
    auth: bool
    """Whether a request has to say who sends it."""
    auth_secret: str
    auth_secret_previous: str
    auth_issuer: str
    auth_audience: str
    auth_token_ttl: int
    auth_jwks_url: str
    auth_jwks_ca: str
    """Certificates (PEM)."""
    registration: bool
    """Whether anybody may create a user."""
    admin_email: str
    admin_password: str
    login_failures_per_email: int
    login_failures_per_address: int
    login_failures_window: int
    registrations_per_address: int
    registrations_window: int
    trusted_proxies: tuple[Network, ...]
    cors_origins: tuple[str, ...]
    max_connections: int
    request_timeout: int
    keep_alive_timeout: int
    shutdown_timeout: int


def read_settings(environment: Mapping[str, str]) -> Settings:
    """The settings that the environment's variables give.

    Raises SettingsError for the first that is wrong.

    Clauses: AUTH-02, AUTH-33, HOOK-13, LIMIT-01, LIMIT-02, LIMIT-08, LIMIT-12, OPS-02, PASSWORD-12,
    PASSWORD-17, RIGHT-09, RIGHT-11.
    """
    environment = _with_files(environment)
    return Settings(
        host=_host(environment),
        port=_integer(environment, "PORT", 8000, 0, 65535),
        web_concurrency=_integer(environment, "WEB_CONCURRENCY", 1, 1, 64),
        database_url=_database_url(environment),
        database_pool_size=_integer(environment, "DATABASE_POOL_SIZE", 10, 1, 100),
        database_timeout=_integer(environment, "DATABASE_TIMEOUT", 5, 1, 60),
        database_statement_timeout=_integer(environment, "DATABASE_STATEMENT_TIMEOUT", 5, 1, 60),
        idempotency_ttl=_integer(environment, "IDEMPOTENCY_TTL", 86400, 1, 31536000),
        events_ttl=_integer(environment, "EVENTS_TTL", 604800, 1, 31536000),
        events_heartbeat=_integer(environment, "EVENTS_HEARTBEAT", 10, 1, 3600),
        events_streams=_integer(environment, "EVENTS_STREAMS", 500, 1, 100000),
        webhooks_networks=_networks(environment, "WEBHOOKS_NETWORKS"),
        webhooks_retry=_retry(environment),
        webhooks_timeout=_integer(environment, "WEBHOOKS_TIMEOUT", 15, 1, 60),
        webhooks_ca=_certificates(environment, "WEBHOOKS_CA"),
        argon2_memory=_argon2_memory(environment),
        argon2_iterations=_integer(environment, "ARGON2_ITERATIONS", 2, 1, 100),
        argon2_parallelism=_integer(environment, "ARGON2_PARALLELISM", 1, 1, 16),
        hash_queue=_integer(environment, "HASH_QUEUE", 64, 1, 10000),
        auth=_auth(environment),
        auth_secret=_secret(environment, "AUTH_SECRET"),
        auth_secret_previous=_secret(environment, "AUTH_SECRET_PREVIOUS"),
        auth_issuer=_word(environment, "AUTH_ISSUER", "users"),
        auth_audience=_word(environment, "AUTH_AUDIENCE", "users"),
        auth_token_ttl=_integer(environment, "AUTH_TOKEN_TTL", 900, 1, 86400),
        auth_jwks_url=_jwks_url(environment),
        auth_jwks_ca=_certificates(environment, "AUTH_JWKS_CA"),
        registration=_choice(environment, "REGISTRATION", "open", "closed") != "closed",
        admin_email=_admin(environment, "ADMIN_EMAIL", "an email", email_rule).lower(),
        admin_password=_admin(
            environment, "ADMIN_PASSWORD", "a password of 12 to 128 characters", password_rule
        ),
        login_failures_per_email=_integer(environment, "LOGIN_FAILURES_PER_EMAIL", 10, 1, 1000),
        login_failures_per_address=_integer(
            environment, "LOGIN_FAILURES_PER_ADDRESS", 10, 1, 1000000
        ),
        login_failures_window=_integer(environment, "LOGIN_FAILURES_WINDOW", 900, 1, 86400),
        registrations_per_address=_integer(
            environment, "REGISTRATIONS_PER_ADDRESS", 20, 1, 1000000
        ),
        registrations_window=_integer(environment, "REGISTRATIONS_WINDOW", 3600, 1, 86400),
        trusted_proxies=_networks(environment, "TRUSTED_PROXIES"),
        cors_origins=_origins(environment),
        max_connections=_integer(environment, "MAX_CONNECTIONS", 1000, 1, 100000),
        request_timeout=_integer(environment, "REQUEST_TIMEOUT", 60, 1, 3600),
        keep_alive_timeout=_integer(environment, "KEEP_ALIVE_TIMEOUT", 65, 1, 3600),
        shutdown_timeout=_integer(environment, "SHUTDOWN_TIMEOUT", 5, 1, 60),
    )


def _with_files(environment: Mapping[str, str]) -> Mapping[str, str]:
    """The environment, with what stands in the files that it names for a secret.

    Clauses: OPS-55.
    """
    read = dict(environment)
    for name in SECRETS:
        if file := environment.get(f"{name}_FILE"):
            if environment.get(name):
                raise SettingsError(f"{name} must be empty where {name}_FILE is set")
            read[name] = _content(f"{name}_FILE", file)
    return read


def _content(name: str, file: str) -> str:
    try:
        text = "" if NOT_UTF_8.search(file) else _bytes_in(file).decode("utf-8")
    except (OSError, UnicodeDecodeError):
        text = ""
    text = LINE_BREAK.sub("", text)
    # An empty one would be as none at all: without AUTH_SECRET nobody is asked for a token.
    if not text:
        raise SettingsError(f"{name} must be a file that can be read and is not empty")
    return text


def _integer(
    environment: Mapping[str, str], name: str, default: int, lowest: int, highest: int
) -> int:
    """The setting as an integer, from `lowest` to `highest`. Raises SettingsError.

    Clauses: OPS-03.
    """
    text = environment.get(name) or str(default)
    if not re.fullmatch("[0-9]{1,9}", text) or not lowest <= int(text) <= highest:
        raise SettingsError(f"{name} must be an integer from {lowest} to {highest}")
    return int(text)


def _retry(environment: Mapping[str, str]) -> tuple[int, ...]:
    """How long to wait after each failed attempt (Standard Webhooks' own times by default).

    Raises SettingsError.

    Clauses: HOOK-14.
    """
    text = environment.get("WEBHOOKS_RETRY") or "5,300,1800,7200,18000,36000,50400,72000,86400"
    times = tuple(map(int, text.split(","))) if RETRY.fullmatch(text) else ()
    if not times or not all(1 <= time <= 604800 for time in times):
        raise SettingsError("WEBHOOKS_RETRY must be 1 to 20 integers from 1 to 604800, with commas")
    return times


def _host(environment: Mapping[str, str]) -> str:
    """Where to listen. Raises SettingsError. Clauses: OPS-02, OPS-03."""
    host = environment.get("HOST") or "127.0.0.1"
    if NOT_UTF_8.search(host):
        raise SettingsError("HOST must be a name or an address")
    return host


def _database_url(environment: Mapping[str, str]) -> SqliteUrl | PostgresUrl:
    """Where the database is. Raises SettingsError. Clauses: OPS-30."""
    url = environment.get("DATABASE_URL") or "sqlite:///users.db"
    if match := SQLITE_URL.fullmatch(url):
        return SqliteUrl(match[1])
    try:
        return _postgres_url(url)
    except ValueError:
        raise SettingsError(
            "DATABASE_URL must be a URL such as sqlite:///users.db "
            "or postgresql://user:password@host/users"
        ) from None


def _postgres_url(url: str) -> PostgresUrl:
    """The parts of PostgreSQL's URL. Raises ValueError if it isn't one. Clauses: OPS-30."""
    match = POSTGRES_URL.fullmatch(url)
    if match is None:
        raise ValueError(url)
    user, password, ipv6, name, port, database, query = match.groups()
    if not _is_place(ipv6, port):
        raise ValueError(url)
    options = {} if query is None else _options(query)
    return PostgresUrl(
        user=_decoded(user),
        password=_decoded(password or ""),
        host=ipv6 or name,
        port=int(port or 5432),
        database=_decoded(database),
        sslmode=options.get("sslmode", "prefer"),
        sslrootcert=_decoded(options.get("sslrootcert", "")),
    )


def _is_place(ipv6: str | None, port: str | None) -> bool:
    """Whether these are an address and a port, as far as the URL has them.

    Clauses: AUTH-19, OPS-30.
    """
    try:
        IPv6Address(ipv6 or "::")
    except ValueError:
        return False
    return 1 <= int(port or 443) <= 65535


def _options(query: str) -> dict[str, str]:
    """What stands behind the URL's `?`. Raises SettingsError where it isn't known, or not allowed.

    Clauses: OPS-30, OPS-31.
    """
    matches = [OPTION.fullmatch(part) for part in query.split("&")]
    options = {match[1]: match[2] for match in matches if match}
    if len(options) < len(matches):
        raise SettingsError(
            "DATABASE_URL must be without options but sslmode and sslrootcert, each at most once"
        )
    mode, file = options.get("sslmode", "prefer"), options.get("sslrootcert")
    if mode not in SSLMODES:
        raise SettingsError(f"DATABASE_URL must be with a sslmode of {', '.join(SSLMODES)}")
    verified = mode.startswith("verify-")
    # libpq takes the word `system` for the machine's certificates, of which each runtime has its own.
    if file == "system" or verified > bool(file) or (file and mode in ("disable", "prefer")):
        raise SettingsError(
            "DATABASE_URL must be with a file as its sslrootcert where sslmode is verify-ca or "
            "verify-full, and without one where it is disable or prefer"
        )
    return options


def _decoded(part: str) -> str:
    text = unquote(part, errors="strict")
    if re.search("[\x00-\x1f]", text):
        raise ValueError(part)
    return text


def _argon2_memory(environment: Mapping[str, str]) -> int:
    memory = _integer(environment, "ARGON2_MEMORY", 19456, 8, 1048576)
    # RFC 9106, 3.1
    if memory < 8 * _integer(environment, "ARGON2_PARALLELISM", 1, 1, 16):
        raise SettingsError("ARGON2_MEMORY must be at least 8 for each of ARGON2_PARALLELISM")
    return memory


def _auth(environment: Mapping[str, str]) -> bool:
    """Whether callers have to say who they are. Raises SettingsError. Clauses: AUTH-13, AUTH-14."""
    secured = bool(environment.get("AUTH_SECRET") or environment.get("AUTH_JWKS_URL"))
    chosen = _choice(environment, "AUTH", "on", "off")
    if chosen == "on" and not secured:
        raise SettingsError("AUTH_SECRET must be set where AUTH is on")
    host = _host(environment)
    if not (chosen or secured or LOOPBACK.fullmatch(host)):
        raise SettingsError("AUTH_SECRET must be set, or AUTH be off, where HOST is no loopback")
    return secured and chosen != "off"


def is_local(settings: Settings) -> bool:
    """Whether the service is open on a loopback address, so meant for this machine alone.

    Clauses: AUTH-40.
    """
    return not settings.auth and LOOPBACK.fullmatch(settings.host) is not None


def _choice(environment: Mapping[str, str], name: str, one: str, other: str) -> str:
    text = environment.get(name) or ""
    if text not in ("", one, other):
        raise SettingsError(f"{name} must be {one} or {other}")
    return text


def _secret(environment: Mapping[str, str], name: str) -> str:
    """A secret; empty if it is not set. Raises SettingsError. Clauses: AUTH-12."""
    text = environment.get(name) or ""
    if text and not SECRET.fullmatch(text):
        raise SettingsError(f"{name} must be 32 or more visible ASCII characters")
    return text


def _word(environment: Mapping[str, str], name: str, default: str) -> str:
    text = environment.get(name) or default
    if not WORD.fullmatch(text):
        raise SettingsError(f"{name} must be visible ASCII characters")
    return text


def _jwks_url(environment: Mapping[str, str]) -> str:
    """Where the provider's keys are; empty if there is none. Raises SettingsError.

    Clauses: AUTH-19.
    """
    url = environment.get("AUTH_JWKS_URL") or ""
    match = JWKS_URL.fullmatch(url)
    if url and not (match and _is_place(*match.groups())):
        raise SettingsError("AUTH_JWKS_URL must be a URL such as https://example.com/keys")
    if url and environment.get("AUTH_SECRET"):
        raise SettingsError("AUTH_JWKS_URL must be empty where AUTH_SECRET is set")
    return url


def _certificates(environment: Mapping[str, str], name: str) -> str:
    """The certificates that another one is judged by. Raises SettingsError.

    Clauses: AUTH-33, HOOK-24, OPS-03.
    """
    path = environment.get(name) or ""
    if not path:
        return ""
    found = certificates_in(path)
    if not found:
        raise SettingsError(f"{name} must be the path of a file of certificates in PEM")
    return found


def certificates_in(path: str) -> str:
    """The certificates in a file (PEM); none where one isn't, or where it can't be read."""
    try:
        text = "" if NOT_UTF_8.search(path) else _bytes_in(path).decode("latin-1")
        found = "\n".join(CERTIFICATE.findall(text))
        tls_context(found)
    # Errors of TLS are OSErrors, too.
    except (OSError, ValueError):
        return ""
    return found


def _bytes_in(path: str) -> bytes:
    # `Path` would leave out a slash at the end, which no file has.
    with open(path, "rb") as file:  # noqa: PTH123
        return file.read()


def _admin(
    environment: Mapping[str, str], name: str, what: str, rule: Callable[[str], str | None]
) -> str:
    text = environment.get(name) or ""
    both = bool(environment.get("ADMIN_EMAIL")) == bool(environment.get("ADMIN_PASSWORD"))
    if (text and rule(text)) or NOT_UTF_8.search(text) or not both:
        raise SettingsError(f"{name} must be {what}, and not alone")
    return text


def _networks(environment: Mapping[str, str], name: str) -> tuple[Network, ...]:
    """The networks that the setting names. Raises SettingsError. Clauses: HOOK-22, LIMIT-08."""
    text = environment.get(name) or ""
    try:
        return parse_networks(part.strip(" ") for part in text.split(",") if text)
    except ValueError:
        raise SettingsError(
            f"{name} must be addresses or networks such as 10.0.0.0/8, with commas"
        ) from None


def _origins(environment: Mapping[str, str]) -> tuple[str, ...]:
    text = environment.get("CORS_ORIGINS") or ""
    origins = tuple(part.strip(" ") for part in text.split(",")) if text else ()
    if not all(ORIGIN.fullmatch(origin) for origin in origins):
        raise SettingsError("CORS_ORIGINS must be origins such as https://example.com, with commas")
    return origins
