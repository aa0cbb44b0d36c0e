"""Proof that a form was filled in on a page of ours: a random word in a cookie, and the same word in the form. Another
server's page can make a browser send the cookie, and cannot read it to write it into a form."""

from __future__ import annotations

import hmac
import re
import secrets
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from bis.errors import UsageError, explains

FIELD: Final = "csrf"
COOKIE: Final = "bis-csrf"
DAYS: Final = 30
STALE: Final = explains("B135", "A form came from elsewhere than a page of this session, so nothing was changed.")
_WORD: Final = re.compile(r"[A-Za-z0-9_-]{43}")


class Foreign(UsageError):
    """A form that is not of a page of ours."""

    code = STALE


def of(request: Request) -> str:
    """The word of this browser; a new one for a browser that has none yet."""
    known = request.cookies.get(COOKIE, "")
    return known if _WORD.fullmatch(known) else secrets.token_urlsafe(32)


def give(request: Request, answer: Response, word: str) -> None:
    if request.cookies.get(COOKIE) != word:
        put(request, answer, COOKIE, word)


def put(request: Request, answer: Response, name: str, value: str) -> None:
    """A cookie that no script reads, and that no page of another server makes a browser send."""
    answer.set_cookie(
        name,
        value,
        max_age=DAYS * 86400,
        path=f"{request.scope.get('app_root_path', '')}/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def check(request: Request, word: str) -> None:
    """Raises Foreign for a form that is not of a page of ours."""
    known = request.cookies.get(COOKIE, "")
    if not known or not hmac.compare_digest(known.encode(), word.encode()):
        raise Foreign(
            "the form does not belong to this session",
            because="Its page is older than the browser's cookie, or it came from elsewhere.",
            hint="go back, load the page again, and send it once more",
        )
