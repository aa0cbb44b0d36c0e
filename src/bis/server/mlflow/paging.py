"""The mark of a page, as MLflow's servers give it: clients hand it back as they got it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any, Final

from bis.server.mlflow.endpoint import Refused

FARTHEST: Final = 1 << 62


def page(name: str, found: Sequence[Any], size: int, start: int) -> dict[str, Any]:
    """An answer with a page of what was found, of which one more than its size was asked for: with the mark of the next
    page, where there is one."""
    more = {"next_page_token": page_token(start + size)} if len(found) > size else {}
    return {name: list(found[:size]), **more}


def page_token(start: int) -> str:
    return base64.b64encode(json.dumps({"offset": start}).encode()).decode()


def start_of(token: str) -> int:
    """How many come before the page. Raises Refused."""
    if not token:
        return 0
    try:
        found = json.loads(base64.b64decode(token, validate=True))
        start = int(found["offset"])
    except (binascii.Error, ValueError, UnicodeEncodeError):
        raise Refused("INVALID_PARAMETER_VALUE", "Invalid page token, could not base64-decode") from None
    except (KeyError, TypeError, RecursionError, OverflowError):
        raise Refused("INVALID_PARAMETER_VALUE", "Invalid page token, it names no place") from None
    return min(max(start, 0), FARTHEST)
