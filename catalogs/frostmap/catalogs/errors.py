"""Errors that a user can act on: what, where, found, wanted, what to do next."""

from __future__ import annotations

import functools


class ExplainedError(Exception):
    """A failure whose cause is known, told in parts."""

    def __init__(
        self, what: str, *, where: object = "", found: object = "", wanted: object = "", remedy: str = ""
    ) -> None:
        self.what, self.where, self.found, self.wanted, self.remedy = (
            what,
            str(where),
            str(found),
            str(wanted),
            remedy,
        )
        super().__init__(what, self.where, self.found, self.wanted, remedy)

    def __reduce__(self) -> tuple[functools.partial[ExplainedError], tuple[str]]:
        """Rebuild from keywords: errors travel from workers to the client."""
        return functools.partial(type(self), **self.details()), (self.what,)

    def details(self) -> dict[str, str]:
        """Return the parts that were given, in the order a reader wants them.

        Examples
        --------
        >>> ExplainedError("no such tile", found="h99v05").details()
        {'found': 'h99v05'}
        """
        parts = {"where": self.where, "found": self.found, "wanted": self.wanted, "remedy": self.remedy}
        return {name: text for name, text in parts.items() if text}

    def __str__(self) -> str:
        """Return the whole message, a line a part."""
        return "\n".join([self.what, *(f"  {name}: {text}" for name, text in self.details().items())])


class CatalogError(ExplainedError, ValueError):
    """A catalogue, product, grid or site table that cannot be used as asked."""
