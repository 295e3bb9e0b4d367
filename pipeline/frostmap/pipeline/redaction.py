"""What is written to logs holds no secret, whatever a library put into its messages."""

from __future__ import annotations

import logging
import os
import re

from frostmap.catalogs.hosts import without_query

SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_TOKEN", "EARTHDATA_TOKEN")
"""Variables of the environment whose values nobody may see."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>\\]+")
_HEADER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}")


def redacted(text: str) -> str:
    """Return a text without secrets: values of the environment's, queries and passwords of addresses, log-in headers.

    >>> redacted("GET https://me:secret@archive.test/a.tif?sig=secret failed; Authorization: Bearer abcdefgh")
    'GET https://archive.test/a.tif failed; Authorization: Bearer ***'
    """
    for name in SECRETS:
        secret = os.environ.get(name, "").strip()
        if secret:
            text = text.replace(secret, "***")
    return _HEADER.sub(r"\1 ***", _URL.sub(lambda found: without_query(found[0]), text))


class Redacting(logging.Formatter):
    """Formats messages of libraries, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, its traceback too."""
        return redacted(super().format(record))
