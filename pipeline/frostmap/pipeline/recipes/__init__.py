"""Recipes that come with frostmap, and changes to a recipe's text that keep its comments."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from frostmap.pipeline.errors import UserError

BUNDLED = ("demo", "qtp-2020", "wenquan")
"""Names of the recipes that come with frostmap."""


def bundled(name: str) -> str:
    """Return the text of a recipe that comes with frostmap.

    Raises
    ------
    UserError
        There is none of this name.
    """
    if name not in BUNDLED:
        nearest = difflib.get_close_matches(name, BUNDLED, n=1, cutoff=0.4)
        raise UserError(
            f"no recipe named '{name}' comes with frostmap",
            found=name,
            wanted=", ".join(BUNDLED),
            remedy=f"did you mean '{nearest[0]}'?" if nearest else "name one of these",
        )
    return files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def with_values(text: str, values: Mapping[str, Any]) -> str:
    r"""Return a recipe's text with some values replaced.

    Parameters
    ----------
    text
        A recipe: valid YAML, a mapping at its top.
    values
        New values by dotted key. A key that the text lacks is added.

    Examples
    --------
    >>> with_values("region:  # where\n  tiles: [h25v05]  # one\n", {"region.tiles": ["h26v05"]})
    'region:  # where\n  tiles: ["h26v05"]  # one\n'
    """
    wanted: dict[str, Any] = yaml.safe_load(text)
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    edits: list[tuple[int, int, str]] = []
    for dotted, value in values.items():
        *parents, last = dotted.split(".")
        section = wanted
        for parent in parents:
            section = section.setdefault(parent, {})
        written = json.dumps(value, ensure_ascii=False)  # JSON is YAML, too
        section[last] = json.loads(written)
        node = _node(root, [*parents, last])
        edits.append((node.start_mark.index, _end(node), written) if node else (0, 0, f"{dotted}: {written}\n"))
    edited = text
    for start, end, written in sorted(edits, reverse=True):  # from the end, so that earlier places stay where they are
        edited = edited[:start] + written + edited[end:]
    return edited if _says(edited, wanted) else yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True)


def relocated(text: str, data: Path, copied_from: Path) -> str:
    """Return a recipe's text for a copy that lies elsewhere: its data folder as an absolute path."""
    note = f"# Copied by frostmap from {copied_from}: change that file, not this copy.\n"
    return note + with_values(text, {"data": str(data)})


def _node(root: yaml.Node | None, keys: list[str]) -> yaml.Node | None:
    node = root
    for key in keys:
        if not isinstance(node, yaml.MappingNode):
            return None
        node = next((value for name, value in node.value if name.value == key), None)
    return node


def _end(node: yaml.Node) -> int:
    """Return where a node's text ends; a block's own mark is too far, behind the comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    end: int = node.end_mark.index
    return end


def _says(text: str, wanted: dict[str, Any]) -> bool:
    try:
        return bool(yaml.safe_load(text) == wanted)
    except yaml.YAMLError:
        return False
