"""Definitions that ship with frostmap: one YAML file each, read strictly, with messages that name file and field."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from frostmap.catalogs.errors import CatalogError

Model = TypeVar("Model", bound=BaseModel)


class StrictModel(BaseModel):
    """What a definition is made of: no unknown field, no conversion, no change."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def as_tuple(value: object) -> object:
    """Return a list as a tuple: YAML has lists only, strict models want tuples."""
    return tuple(value) if isinstance(value, list) else value


def known_in(folder: str, but: tuple[str, ...] = ()) -> list[str]:
    """List the ids of the definitions in a folder of definitions/, "" for itself."""
    names = (entry.name for entry in _folder(folder).iterdir() if entry.name.endswith(".yaml"))
    return sorted(name.removesuffix(".yaml") for name in names if name.removesuffix(".yaml") not in but)


def load(model: type[Model], folder: str, name: str, what: str, known: list[str]) -> Model:
    """Load a definition by its id; `what` says what it describes, as in "gridded series"."""
    if name not in known:
        raise CatalogError(f"no {what} named {name!r}", wanted="one of " + ", ".join(known))
    return parse(model, (_folder(folder) / f"{name}.yaml").read_text("utf-8"), what, f"{name}.yaml")


def parse(model: type[Model], text: str, what: str, where: str = "") -> Model:
    """Read a definition from YAML text; `where` is the file it comes from, for messages."""
    try:
        return model.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise CatalogError("a definition that is not YAML", where=where, found=error) from error
    except ValidationError as error:
        raise CatalogError(f"a definition that does not describe a {what}", where=where, found=faults(error)) from error


def faults(error: ValidationError) -> str:
    """Return what is wrong in words, field by field."""
    told = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".removeprefix(": ") for fault in error.errors())
    return "; ".join(told)


def _folder(name: str) -> Traversable:
    definitions = resources.files("frostmap.catalogs") / "definitions"
    return definitions / name if name else definitions
