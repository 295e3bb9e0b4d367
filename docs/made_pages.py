"""Pages that are made when the site is built: the reference, and files that lie beside docs/.

MkDocs calls the functions `on_...`. Links between pages are written as they lie in the repository, so that they lead
somewhere there, too; here they are pointed to the site's pages, and lose what the site does not have.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, get_args

import typer
import yaml
from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("kernels", "catalogs", "pipeline")
sys.path[:0] = [str(ROOT / part) for part in PARTS]

BESIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "deploy/README.md": "how-to/deploy.md",
}
"""Files that are pages of the site although they lie elsewhere."""

ON_THE_NETWORK = "https://unpkg.com/iframe-worker/shim"
"""What the theme would fetch for the search to work from disk; `javascripts/worker.js` stands for it."""


# ---- what MkDocs calls --------------------------------------------------------------------------------------------


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add formulas to Markdown, and the modules to the navigation."""
    config.markdown_extensions.append(Formulas())
    for section in config.nav or []:
        for title, entries in section.items():
            if title == "Reference":
                entries.extend(_navigation_of_modules())
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    made: dict[str, Callable[[], str]] = {
        "reference/recipe.md": recipe_page,
        "reference/commands.md": commands_page,
        "reference/cube.md": cube_page,
        "reference/products.md": products_page,
    }
    for page, text in made.items():
        files.append(File.generated(config, page, content=text()))
    for page, content in module_pages():
        files.append(File.generated(config, page, content=content))
    for source, page in BESIDE.items():
        text_there = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=relinked(text_there, source, page)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Point a page's links out of docs/ to the site's own pages."""
    if page.file.generated_by:
        return markdown
    return relinked(markdown, f"docs/{page.file.src_uri}", page.file.src_uri)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Take the search's worker from the site itself."""
    del config
    here = page.file.dest_uri
    return output.replace(ON_THE_NETWORK, _relative("javascripts/worker.js", here))


def on_post_template(output_content: str, template_name: str, **_: Any) -> str:
    """Do the same in the page that tells that there is none."""
    del template_name
    return output_content.replace(ON_THE_NETWORK, "/javascripts/worker.js")


# ---- links --------------------------------------------------------------------------------------------------------

FENCES = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
"""Fenced blocks; a text that is split by it has these at odd places."""
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")


def relinked(text: str, source: str, page: str) -> str:
    """Return Markdown whose relative links are those of the site.

    Parameters
    ----------
    text
        Markdown.
    source
        Where it lies in the repository; its links start there.
    page
        Where it is in the site.
    """

    def pointed(match: re.Match[str]) -> str:
        image, words, target = match.groups()
        path, _, anchor = target.partition("#")
        if "://" in target or target.startswith(("#", "mailto:")):
            return match[0]
        there = os.path.normpath(PurePosixPath(source).parent / path)
        if not (ROOT / there).exists():
            return match[0]  # MkDocs refuses it
        own = there.removeprefix("docs/") if there.startswith("docs/") else BESIDE.get(there)
        if own is None:
            return words if "`" in words else f"{words} (`{there}`)"
        return f"{image}[{words}]({_relative(own, page)}{'#' + anchor if anchor else ''})"

    return "".join(part if part.startswith("```") else LINK.sub(pointed, part) for part in FENCES.split(text))


def _relative(target: str, page: str) -> str:
    return os.path.relpath(target, PurePosixPath(page).parent)


# ---- formulas -----------------------------------------------------------------------------------------------------


class Formulas(Extension):
    """TeX in pages (```math, $`...`$) and docstrings (:math:, .. math::) as MathML, which browsers draw themselves."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 - Markdown's own name
        """Register the preprocessor between the normalising of whitespace (30) and the search for fences (25)."""
        md.preprocessors.register(_FormulasFound(md), "formulas", 28)


class _FormulasFound(Preprocessor):
    FENCED = re.compile(r"^```math\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    DIRECTIVE = re.compile(r"^\.\. math::[ \t]*(\S[^\n]*(?:\n[ \t]+\S[^\n]*)*|\n(?:\n*[ \t]+\S[^\n]*)+)", re.MULTILINE)
    DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)
    INLINE = (re.compile(r"\$`([^`]+)`\$"), re.compile(r":math:`([^`]+)`"))
    DOI = re.compile(r"(?<![\w/(\[`])(doi[: ]\s*)(10\.\d{4,}/[^\s;,)`\]]*[^\s;,)`\].])")

    def run(self, lines: list[str]) -> list[str]:
        """Return the lines with formulas put away as MathML, DOIs as links, and bare doctests in fences."""
        text = self.FENCED.sub(lambda match: f"\n\n{self._kept(match[1], 'block')}\n\n", "\n".join(lines))
        parts = FENCES.split(text)
        parts[::2] = [self._outside_fences(part) for part in parts[::2]]
        return "".join(parts).split("\n")

    def _outside_fences(self, text: str) -> str:
        text = self.DOCTEST.sub(r"```pycon\n\g<0>\n```", text)
        parts = FENCES.split(text)
        for k in range(0, len(parts), 2):
            part = self.DIRECTIVE.sub(lambda match: f"\n\n{self._kept(match[1], 'block')}\n\n", parts[k])
            for pattern in self.INLINE:
                part = pattern.sub(lambda match: self._kept(match[1], "inline"), part)
            parts[k] = self.DOI.sub(r"\1[\2](https://doi.org/\2)", part)
        return "".join(parts)

    def _kept(self, tex: str, display: str) -> str:
        kept: str = self.md.htmlStash.store(convert(" ".join(tex.split()), display=display))
        return kept


# ---- the recipe ---------------------------------------------------------------------------------------------------


def recipe_page() -> str:
    """Return the page of all that a recipe may say, from its schema."""
    from frostmap.pipeline.recipe import Recipe

    schema = Recipe.model_json_schema()
    parts: dict[str, Any] = schema["$defs"]
    sections = {key: _named(given) for key, given in schema["properties"].items()}
    order = list(dict.fromkeys(name for name in sections.values() if name))
    for name in order:  # grows while it is walked: sections, then what they are made of
        for given in parts[name].get("properties", {}).values():
            order += [part for part in _all_named(given) if part not in order and "properties" in parts[part]]
    lines = [
        "# The recipe",
        "",
        "A recipe is one YAML file that says what a run is. `frostmap init demo` writes a complete one with comments,",
        "`frostmap plan` checks one without running it. Unknown keys are refused, with the nearest known one.",
        "",
        "## At the top",
        "",
        *_table_of_keys(schema, parts),
    ]
    titles = {name: key for key, name in sections.items() if name}
    for name in order:
        title = f"`{titles[name]}`" if name in titles else _words(name)
        lines += ["", f"## {title} {{ #{name.lower()} }}", "", _first_paragraph(parts[name]), ""]
        lines += _table_of_keys(parts[name], parts)
    return "\n".join(lines) + "\n"


def _table_of_keys(section: dict[str, Any], parts: dict[str, Any]) -> list[str]:
    required = set(section.get("required", ()))
    lines = ["| key | takes | default | meaning |", "|---|---|---|---|"]
    for key, given in section.get("properties", {}).items():
        default = "**needed**" if key in required else _default(given)
        meaning = given.get("description") or (_first_paragraph(parts[name]) if (name := _named(given)) else "")
        lines.append(f"| `{key}` | {_kind(given, parts)} | {default} | {_cell(meaning)} |")
    return lines


def _kind(given: dict[str, Any], parts: dict[str, Any]) -> str:
    """Return in words what a JSON schema takes."""
    if "$ref" in given:
        name = given["$ref"].rpartition("/")[2]
        return f"[{_words(name)}](#{name.lower()})" if "properties" in parts[name] else _kind(parts[name], parts)
    for several in ("anyOf", "oneOf", "allOf"):
        if several in given:
            kinds = [_kind(each, parts) for each in given[several] if each.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    if "enum" in given:
        return ", ".join(f"`{value}`" for value in given["enum"])
    if "const" in given:
        return f"`{given['const']}`"
    kind = given.get("type")
    if kind == "array":
        items = given.get("items") or {}
        if "prefixItems" in given:
            return f"list of {len(given['prefixItems'])} {_kind(given['prefixItems'][0], parts)}s"
        return f"list: {_kind(items, parts)}"
    if kind == "object":
        return "mapping"
    if kind == "string":
        return "path" if given.get("format") == "path" else "text"
    names = {"integer": "whole number", "number": "number", "boolean": "true or false"}
    return names.get(str(kind), "anything") + _limits(given)


def _limits(given: dict[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    said = [f"{sign} {given[key]:g}" for key, sign in signs.items() if key in given]
    return f" {', '.join(said)}" if said else ""


def _default(given: dict[str, Any]) -> str:
    if "default" not in given or isinstance(given["default"], dict):
        return ""
    value = given["default"]
    written: str = yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
    return "" if value in (None, "", []) else f"`{written}`"


def _named(given: dict[str, Any]) -> str:
    """Return the definition that a schema refers to, empty if none or several."""
    names = list(_all_named(given))
    return names[0] if len(names) == 1 else ""


def _all_named(given: Any) -> Iterator[str]:
    if isinstance(given, dict):
        if "$ref" in given:
            yield given["$ref"].rpartition("/")[2]
        for value in given.values():
            yield from _all_named(value)
    elif isinstance(given, list):
        for value in given:
            yield from _all_named(value)


def _words(name: str) -> str:
    """Return a class's name in words.

    >>> _words("BoreholeTable")
    'borehole table'
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def _first_paragraph(part: dict[str, Any]) -> str:
    return " ".join(str(part.get("description", "")).split("\n\n")[0].split())


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# ---- commands -----------------------------------------------------------------------------------------------------


def commands_page() -> str:
    """Return the page of all commands and their options, as the command line itself knows them."""
    from frostmap.pipeline.cli import app

    root = typer.main.get_command(app)
    lines = ["# Commands", "", f"{root.help}", "", f"{root.epilog}", ""]
    lines += ["All commands say what is wrong in words, and with `--json`, where they have it, as JSON.", ""]
    for command, path in _leaves(root, "frostmap"):
        lines += [f"## {path} {{ #{path.replace(' ', '-')} }}", "", str(command.help or ""), ""]
        arguments = [each for each in command.params if each.param_type_name == "argument"]
        options = [each for each in command.params if each.param_type_name == "option" and each.name != "help"]
        words = [each.metavar or str(each.name).upper() for each in arguments]
        lines += ["```", " ".join([path, *words, *(["[OPTIONS]"] if options else [])]), "```", ""]
        if command.params:
            lines += ["| | takes | default | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{each.metavar or str(each.name).upper()}` | | {'' if each.required else 'may be left out'} "
            f"| {_cell(getattr(each, 'help', '') or '')} |"
            for each in arguments
        ]
        for each in options:
            names = ", ".join(f"`{name}`" for name in [*each.opts, *each.secondary_opts])
            flag = bool(getattr(each, "is_flag", False))
            takes = "" if flag else _takes(each)
            default = "" if flag or each.default in (None, (), "") else f"`{each.default}`"
            lines.append(f"| {names} | {takes} | {default} | {_cell(getattr(each, 'help', '') or '')} |")
        lines.append("")
    return "\n".join(lines)


def _takes(option: Any) -> str:
    """Return what an option takes: its own word, choices, or the name of its type."""
    if option.metavar:
        return f"`{option.metavar}`"
    annotation = option.type_descriptor.annotation
    choices = get_args(annotation)
    return ", ".join(f"`{each}`" for each in choices) if choices else f"`{annotation.__name__.upper()}`"


def _leaves(command: Any, path: str) -> Iterator[tuple[Any, str]]:
    """Yield the commands that do something, each with the words that call it."""
    for name, inner in getattr(command, "commands", {}).items():
        if hasattr(inner, "commands"):
            yield from _leaves(inner, f"{path} {name}")
        else:
            yield inner, f"{path} {name}"


# ---- the cube, and the products -----------------------------------------------------------------------------------


def cube_page() -> str:
    """Return the page of all variables of the cube, by the stage that writes them."""
    from frostmap.pipeline.stages import STAGES

    lines = [
        "# The cube",
        "",
        "`cube.zarr` is a Zarr v3 store with CF attributes. Each step has a group, `STAGE/SCOPE`; a scope is a year,",
        "an epoch (`training`, `target`), or none. Stages run in this order; each is made again when what it depends",
        "on changes. Open a group with",
        '`xarray.open_zarr("WORKDIR/cube.zarr", group="frozen_ground/target", consolidated=False)`.',
        "",
    ]
    for stage in STAGES:
        lines += [f"## {stage.name}", "", f"{stage.title[:1].upper()}{stage.title[1:]}.", ""]
        if stage.sections:
            lines += ["Recipe: " + ", ".join(f"`{name}`" for name in stage.sections) + ".", ""]
        if stage.writes:
            lines += ["| variable | dimensions | stored as | units | what |", "|---|---|---|---|---|"]
            for each in stage.writes:
                coded = "".join(
                    f", {word} {value:g}"
                    for word, value in (("fill", each.fill), ("scale", each.scale), ("offset", each.offset))
                    if value is not None
                )
                lines.append(
                    f"| `{each.name}` | {', '.join(each.dims)} | {each.dtype}{coded} | {each.units} "
                    f"| {_cell(each.long_name)} |"
                )
            lines.append("")
    return "\n".join(lines)


def products_page() -> str:
    """Return the page of the products and series that frostmap knows."""
    from frostmap.catalogs.collections import known_collections, load_collection
    from frostmap.catalogs.gridded import known_series, load_series

    lines = [
        "# Products and series",
        "",
        "Codings are frostmap's own table; files' attributes and catalogues are not believed. A product is one YAML",
        "file in `catalogs/frostmap/catalogs/definitions`.",
        "",
    ]
    loaded: list[tuple[str, Any]] = [(name, load_collection(name)) for name in known_collections()]
    loaded += [(name, load_series(name)) for name in known_series()]
    for name, product in loaded:
        pages = ", ".join(f"<{page}>" for page in product.landing_pages)
        lines += [f"## {name}", "", f"{product.title}. {product.licence}. {pages}", ""]
        if product.doi:
            lines += [f"Cite doi {product.doi}.", ""]
        lines += [
            "| layer | stored as | factor | offset | fill | valid (stored) | units |",
            "|---|---|---|---|---|---|---|",
        ]
        for band in product.bands:
            fill = "" if band.fill is None else f"{band.fill:g}"
            low, high = band.valid_range
            lines.append(
                f"| `{band.name}` | {band.dtype} | {band.factor:g} | {band.offset:g} | {fill} | {low:g} to {high:g} "
                f"| {band.units} |"
            )
        lines.append("")
    return "\n".join(lines)


# ---- modules ------------------------------------------------------------------------------------------------------


def _modules(part: str) -> dict[str, Path]:
    """Return the modules and packages of a part that get a page, by their dotted name below it."""
    top = ROOT / part / "frostmap" / part
    found = {path.stem: path for path in sorted(top.glob("*.py")) if not path.stem.startswith("_")}
    packages = {path.parent.name: path for path in sorted(top.glob("*/__init__.py"))}
    return dict(sorted((found | packages).items()))


def _navigation_of_modules() -> list[dict[str, Any]]:
    return [
        {part: [f"reference/{part}/index.md", *(f"reference/{part}/{name}.md" for name in _modules(part))]}
        for part in PARTS
    ]


def module_pages() -> Iterator[tuple[str, str]]:
    """Yield a page for each module or package, and one for each part that lists them."""
    for part in PARTS:
        top = ROOT / part / "frostmap" / part / "__init__.py"
        lines = [f"# frostmap.{part}", "", _docstring(top), "", "| module | what |", "|---|---|"]
        for name, path in _modules(part).items():
            lines.append(f"| [{name}]({name}.md) | {_cell(_first_words(path))} |")
            yield f"reference/{part}/{name}.md", _module_page(f"frostmap.{part}.{name}", path)
        yield f"reference/{part}/index.md", "\n".join(lines) + "\n"


def _module_page(dotted: str, path: Path) -> str:
    head = f"---\ntitle: {dotted.rpartition('.')[2]}\n---\n\n# {dotted}\n\n"
    if path.name != "__init__.py":
        return f"{head}::: {dotted}\n"
    lines = [_docstring(path), ""]
    for inner in sorted(path.parent.rglob("*.py")):
        if not inner.stem.startswith("_"):
            name = ".".join([dotted, *inner.relative_to(path.parent).with_suffix("").parts])
            lines += [
                f"## {name.removeprefix(dotted + '.')}",
                "",
                f"::: {name}",
                "    options:",
                "      heading_level: 3",
                "",
            ]
    return head + "\n".join(lines)


def _first_words(path: Path) -> str:
    return _docstring(path).split("\n\n")[0]


def _docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
