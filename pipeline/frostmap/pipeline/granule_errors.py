"""What is wrong with a granule's file."""

from __future__ import annotations

from frostmap.pipeline.errors import DataIncomplete

DOWNLOAD_AGAIN = "delete the file and download it again"
"""What to do about a damaged file."""


class GranuleError(DataIncomplete):
    """A granule's file is absent, damaged or not what its name says."""
