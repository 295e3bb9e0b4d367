"""The report of a run: one HTML page that needs nothing but itself.

One module a section, in the order of `page.write_report`; a new section is a function of the work directory that
returns a `Section`.
"""

from frostmap.pipeline.report.contents import binary_counts, has_table, numbers
from frostmap.pipeline.report.page import write_report
from frostmap.pipeline.report.parts import MOST_ROWS, Picture, Section, Table, confusion
from frostmap.pipeline.report.words import decimal, flat, in_words, km2_in_words, minus, percent, signed

__all__ = [
    "MOST_ROWS",
    "Picture",
    "Section",
    "Table",
    "binary_counts",
    "confusion",
    "decimal",
    "flat",
    "has_table",
    "in_words",
    "km2_in_words",
    "minus",
    "numbers",
    "percent",
    "signed",
    "write_report",
]
