"""Numbers and lists as a reader sees them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence


def flat(content: Mapping[str, object], above: str = "") -> list[tuple[str, str]]:
    """Return nested content as dotted keys and texts.

    Examples
    --------
    >>> flat({"a": {"b": 1, "c": [0.5, 1.5]}, "d": None})
    [('a.b', '1'), ('a.c', '0.5, 1.5'), ('d', '')]
    """
    rows: list[tuple[str, str]] = []
    for key, value in content.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            rows += flat(value, f"{name}.")
        else:
            rows.append((name, _text(value)))
    return rows


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_text(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, float):
        return minus(f"{value:.6g}")
    return "" if value is None else str(value)


def km2_in_words(km2: float) -> str:
    """Return an area to three digits: what a reader can hold.

    Examples
    --------
    >>> km2_in_words(1_038_123.0), km2_in_words(48_321.0), km2_in_words(7.25), km2_in_words(0)
    ('1.04 million km²', '48,300 km²', '7.25 km²', '0 km²')
    """
    if km2 <= 0:
        return "0 km²"
    rounded = round(km2, 2 - math.floor(math.log10(km2)))
    if rounded >= 1e6:
        return f"{rounded / 1e6:.3g} million km²"
    return f"{rounded:,.0f} km²" if rounded >= 100 else f"{rounded:g} km²"


def percent(share: float) -> str:
    """Return a share of one in per cent; a dash where there is none.

    Examples
    --------
    >>> percent(0.8440), percent(-0.021), percent(float("nan"))
    ('84.4 %', '−2.1 %', '–')
    """
    return "–" if math.isnan(share) else minus(f"{100 * share:.1f} %")


def decimal(value: float) -> str:
    """Return a number to three decimals; a dash where there is none.

    Examples
    --------
    >>> decimal(0.57634), decimal(-0.2), decimal(float("nan"))
    ('0.576', '−0.200', '–')
    """
    return "–" if math.isnan(value) else minus(f"{value:.3f}")


def signed(value: float, digits: int) -> str:
    """Return a number with its sign.

    Examples
    --------
    >>> signed(-4.42, 1), signed(1234.5, 0), signed(0.0, 1)
    ('−4.4', '+1,234', '±0.0')
    """
    text = f"{value:+,.{digits}f}"
    return f"±{text[1:]}" if not float(text.replace(",", "")) else minus(text)


def minus(text: str) -> str:
    """Return a number's text with a minus sign in place of the hyphen."""
    return text.replace("-", "−")


def unbroken(text: str) -> str:
    """Return a text whose numbers stay on one line with their units.

    Examples
    --------
    >>> unbroken("84.4 % of 1.04 million km²") == "84.4\u00a0% of 1.04\u00a0million\u00a0km²"
    True
    """
    return re.sub(r"(?<=\d) (?=%|km|°C|K\b|million)|(?<=million) (?=km)", "\u00a0", text)


def in_words(names: Sequence[str]) -> str:
    """Return a list as words.

    Examples
    --------
    >>> in_words(["2010", "2020"]), in_words(["a", "b", "c"]), in_words([])
    ('2010 and 2020', 'a, b and c', '')
    """
    *most, last = names or [""]
    return f"{', '.join(most)} and {last}" if most else last
