"""What all tests share: where real data is."""

import signal
from pathlib import Path

import pytest
from hypothesis import settings

REALDATA = Path(__file__).resolve().parents[2] / "shared" / "data"

# Shells start what they put in the background deaf to Ctrl-C, and children inherit that; the tests of it need ears.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes is the machine's affair.
settings.register_profile("frostmap", settings(), deadline=None)
settings.load_profile("frostmap")


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Return the folder of real MODIS, survey, station and STAC files, or skip."""
    if not REALDATA.is_dir():
        pytest.skip("the real files of ../shared/data are not here")
    return REALDATA
