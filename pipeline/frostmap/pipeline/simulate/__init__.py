"""A simulated plateau whose truth is known: relief, climate, weather, clouds, orbits, and the archives' own files.

Nothing here is observed. Every field is a pure function of seed, position and time, so a window, a day or a tile comes
out the same however the work was cut. Use it to judge methods, never to say anything about real ground.
"""

from frostmap.pipeline.simulate.archive import ArchiveSummary, write_archive
from frostmap.pipeline.simulate.settings import Simulation
from frostmap.pipeline.simulate.truth import Truth, truth

__all__ = ["ArchiveSummary", "Simulation", "Truth", "truth", "write_archive"]
