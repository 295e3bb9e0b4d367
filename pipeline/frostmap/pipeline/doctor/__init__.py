"""Whether this machine, and what a recipe asks for, is fit for a run: each check says what it found and what to do."""

from frostmap.pipeline.doctor.examination import examine
from frostmap.pipeline.doctor.finding import Finding, State

__all__ = ["Finding", "State", "examine"]
