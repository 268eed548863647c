"""What an operator sees: request ids and the log, one JSON object a line."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import uuid4

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def request_id(sent: Sequence[str]) -> str:
    """The id of a request: the one in its `X-Request-Id`, when it is alone and valid, or a UUID."""
    return sent[0] if len(sent) == 1 and REQUEST_ID.fullmatch(sent[0]) else str(uuid4())


def timestamp(moment: datetime) -> str:
    """A moment (in UTC) as RFC 3339 text with three fraction digits and `Z`."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def log(level: str, message: str, **fields: str) -> None:
    """Write one line to the log."""
    line = {"time": timestamp(datetime.now(UTC)), "level": level, "message": message, **fields}
    print(json.dumps(line), flush=True)
