"""Tests of the catalogues do not wait as long as a user would between two attempts."""

import pytest

from frostmap.catalogs import stac_requests


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(stac_requests, "BACKOFF_S", 0.001)
