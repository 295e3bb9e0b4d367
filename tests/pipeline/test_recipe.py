"""A recipe means one thing: what it says is kept, what it cannot mean is refused, with the line and the nearest key."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from frostmap.pipeline.errors import UserError
from frostmap.pipeline.recipe import Recipe, Section, load_recipe, parse_recipe
from frostmap.pipeline.recipes import BUNDLED, bundled, relocated, with_values

HERE = Path("/somewhere/recipe.yaml")
SETTINGS = (
    "ingest",
    "quality",
    "terrain",
    "covariates",
    "gap_filling",
    "degree_days",
    "ground_correction",
    "calibration",
    "transfer",
)
SETTINGS += ("frozen_ground", "validation", "change", "store", "cluster")

Keys = tuple[str | int, ...]


def content(name: str = "demo") -> dict[str, Any]:
    """Return what a bundled recipe says, as plain data."""
    plain: dict[str, Any] = yaml.safe_load(bundled(name))
    return plain


def parse(plain: dict[str, Any]) -> Recipe:
    return parse_recipe(yaml.safe_dump(plain, sort_keys=False), HERE)


def entries(plain: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Yield every key of plain data and its value, at any depth."""
    pairs = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    for key, value in pairs:
        yield (*keys, key), value
        yield from entries(value, (*keys, key))


def at(plain: Any, keys: Keys) -> Any:
    for key in keys:
        plain = plain[key]
    return plain


def changed(plain: dict[str, Any], keys: Keys, value: Any) -> dict[str, Any]:
    """Return a copy of plain data with one value replaced."""
    result = copy.deepcopy(plain)
    at(result, keys[:-1])[keys[-1]] = value
    return result


def fields(model: type[BaseModel] = Recipe, keys: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the key of every field of the format, down to sections that are values of their own."""
    for name, field in model.model_fields.items():
        yield (*keys, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from fields(field.annotation, (*keys, name))


DEMO = content()
SECTIONS = [()] + [keys for keys, value in entries(DEMO) if isinstance(value, dict)]
KEYS = [keys for keys, _ in entries(DEMO) if isinstance(keys[-1], str)]
VALUES = [keys for keys, value in entries(DEMO) if not isinstance(value, (dict, list))]


# ---- keys that the format does not have ---------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(section=st.sampled_from(SECTIONS), key=st.from_regex(r"[a-z_]{1,12}", fullmatch=True))
def test_an_unknown_key_is_refused_at_any_depth_with_its_line(section: Keys, key: str) -> None:
    plain = copy.deepcopy(DEMO)
    known = sorted(at(DEMO, section))
    if key in [keys[-1] for keys in fields()] or key in known or key in ("name", "path", "training", "target"):
        return
    at(plain, section)[key] = "unexpected"
    with pytest.raises(UserError, match=f"unknown key '{key}'") as caught:
        parse(plain)
    lines = yaml.safe_dump(plain, sort_keys=False).splitlines()
    line = next(number for number, text in enumerate(lines, 1) if text.replace("'", "").endswith(f"{key}: unexpected"))
    assert f"line {line}:" in caught.value.found
    assert ".".join(map(str, (*section, key))) in caught.value.found


@settings(max_examples=40, deadline=None)
@given(keys=st.sampled_from(KEYS), place=st.integers(0, 30), letter=st.sampled_from("aeioutrsn_"))
def test_a_misspelt_key_gets_the_right_one_named(keys: Keys, place: int, letter: str) -> None:
    name = str(keys[-1])
    place %= len(name) + 1
    typo = name[:place] + letter + name[place:]
    plain = copy.deepcopy(DEMO)
    section = at(plain, keys[:-1])
    if typo in section or len(name) < 4:
        return
    section[typo] = section.pop(name)
    with pytest.raises(UserError) as caught:
        parse(plain)
    shorter = {typo[:i] + typo[i + 1 :] for i in range(len(typo))}  # samplesr is as near to sampler as to samples
    meant = [key for key in (name, *section) if key in shorter]
    assert any(f"unknown key '{typo}': did you mean '{key}'?" in caught.value.found for key in meant)


def test_all_faults_are_named_at_once() -> None:
    text = bundled("demo").replace("harmonics: 2", "harmonics: two").replace("  trees:", "  tress:")
    with pytest.raises(UserError, match="2 things") as caught:
        parse_recipe(text, HERE)
    assert "gap_filling.harmonics" in caught.value.found
    assert "did you mean 'trees'?" in caught.value.found


def test_a_key_given_twice_is_refused_because_yaml_would_take_the_last_in_silence() -> None:
    with pytest.raises(UserError, match="'samples' twice") as caught:
        parse_recipe(bundled("demo").replace("  samples: 3000", "  samples: 3000\n  samples: 50"), HERE)
    first, second = map(int, re.findall(r"\d+", caught.value.found))
    assert second == first + 1


# ---- values that a key cannot have --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("name",), "with space", "pattern"),
        (("name",), None, "valid string"),
        (("frostmap",), 2, "should be 1"),
        (("region",), {}, "say where"),
        (("region", "tiles"), ["h25"], "pattern"),
        (("region", "tiles"), "h25v05", "array"),
        (("region", "bbox"), [70, 20, 90], "bbox"),
        (("region", "pixels_per_tile"), "1200", "valid integer"),
        (("region", "pixels_per_tile"), 0, "greater than or equal to 4"),
        (("epochs", "training", "years"), [], "at least 1"),
        (("epochs", "training", "years"), [-2010], "greater than or equal to 2000"),
        (("epochs", "training", "years"), [1999], "greater than or equal to 2000"),
        (("epochs", "training", "years"), [2010, 2010], "each year once"),
        (("epochs", "training", "years"), [2010.5], "valid integer"),
        (("epochs", "training", "years"), [True], "valid integer"),
        (("epochs", "target", "years"), [2010], "share"),
        (("sources", "lst"), None, "sources.lst"),
        (("sources", "forcing"), {"training": {"freezing": "a", "thawing": "b"}}, "not both"),
        (("sources", "surveys"), [], "surveys is empty"),
        (("sources", "sand"), None, "sources lack"),
        (("sources", "snow_cover"), {"training": "a.tif"}, "no 'target'"),
        (("sources", "stations"), None, "identity"),
        (("ingest", "bad_granules"), "ignore", "'refuse' or 'accept'"),
        (("quality", "max_lst_error_class"), 4, "less than or equal to 3"),
        (("terrain", "flow"), "d16", "'fd8', 'd8' or 'dinf'"),
        (("terrain", "order"), "last", "'slope_first' or 'dem_first'"),
        (("terrain", "wetness_margin_km"), -1, "greater than or equal to 0"),
        (("sources", "elevation"), {"kind": "stac", "catalogue": "a", "model": "srtm-v4.1"}, "kind folder; not stac"),
        (("sources", "elevation"), {"kind": "parquet", "catalogue": "a"}, "not parquet"),
        (("sources", "elevation"), {"kind": "folder", "catalogue": "a", "model": "alos"}, "'nasadem'"),
        (("gap_filling", "anomaly_damping"), 1.5, "less than or equal to 1"),
        (("gap_filling", "anomaly_damping"), float("nan"), "finite"),
        (("degree_days", "minimum_days"), 400, "less than or equal to 366"),
        (("ground_correction", "force"), "yes please", "boolean"),
        (("calibration", "prior"), 2.0, "lower < prior < upper"),
        (("calibration", "upper"), float("inf"), "finite"),
        (("transfer", "samples"), 3, "greater than or equal to 50"),
        (("cluster", "workers"), 0, "greater than or equal to 1"),
        (("cluster", "memory_gib"), float("inf"), "finite"),
    ],
)
def test_a_value_that_no_run_can_use_is_refused(keys: Keys, value: object, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(changed(DEMO, keys, value))
    assert message in str(caught.value)
    assert caught.value.exit_code == 2
    assert str(HERE) in caught.value.where


def test_a_wrong_value_is_named_with_its_line_and_what_was_found() -> None:
    text = bundled("demo").replace("years: [2010]", "years: [-5, 2010]")
    line = 1 + text[: text.index("[-5")].count("\n")
    with pytest.raises(UserError) as caught:
        parse_recipe(text, HERE)
    assert f"epochs.training.years.0, line {line}:" in caught.value.found
    assert "found -5" in caught.value.found


@settings(max_examples=40, deadline=None)
@given(
    keys=st.sampled_from(VALUES),
    value=st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([]) | st.just({}),
)
def test_any_value_anywhere_is_taken_or_refused_but_never_a_crash(keys: Keys, value: object) -> None:
    plain = changed(DEMO, keys, value)
    with suppress(UserError):
        assert isinstance(parse(plain), Recipe)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a list",
        "a word",
        "name: demo\n  region: {}",
        "name: [demo",
        "name: 'demo",
        "name: demo\n\tregion: {}",
        "name: demo\x00",
        "name: &a [*a]",
        "name: *nothing",
        "label: 2010-99-99",
        "2010-01-01: name",
        "? [a, b]\n: c",
        "name: !!python/object:os.system {}",
        "--- {name: a}\n--- {name: b}",
    ],
)
def test_text_that_is_no_recipe_is_refused(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_recipe(text, HERE)
    assert caught.value.remedy


def test_broken_yaml_is_refused_with_its_line() -> None:
    text = bundled("demo").replace("  tiles: [h23v05", "  tiles: h23v05]: [")
    line = 1 + text[: text.index("h23v05]")].count("\n")
    with pytest.raises(UserError, match="not valid YAML") as caught:
        parse_recipe(text, HERE)
    assert f"line {line}" in caught.value.where


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_recipe_that_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="cannot be read") as caught:
        load_recipe(tmp_path / name)
    assert "frostmap init" in caught.value.remedy


def test_a_recipe_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"\x0e\x03\x13\x01\xff\xfe")
    with pytest.raises(UserError, match="cannot be read"):
        load_recipe(path)


# ---- what a recipe means ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUNDLED)
def test_a_recipe_survives_being_written_and_read_again(name: str) -> None:
    recipe = parse_recipe(bundled(name), HERE)
    again = parse(recipe.model_dump(mode="json"))
    assert again == recipe
    assert again.digest() == recipe.digest()


@settings(max_examples=40, deadline=None)
@given(order=st.permutations(list(DEMO)))
def test_the_order_of_keys_means_nothing(order: list[str]) -> None:
    assert parse({key: DEMO[key] for key in order}).digest() == parse(DEMO).digest()


def test_a_default_that_is_spelt_out_means_the_same_as_one_left_out() -> None:
    plain = content("wenquan")
    kept = ("name", "title", "data", "region", "epochs", "sources", "ground_correction", "citations")
    sparse = {key: plain[key] for key in kept}
    sparse["calibration"] = {"method": plain["calibration"]["method"]}
    assert parse(sparse).digest() == parse(plain).digest()


OTHER_VALUES: dict[str, tuple[Keys, Any]] = {
    "title": (("title",), "another"),
    "data": (("data",), "elsewhere"),
    "region": (("region", "pixels_per_tile"), 40),
    "epochs": (("epochs", "training", "label"), "another"),
    "sources": (("sources", "elevation"), "another.tif"),
    "ingest": (("ingest", "bad_granules"), "accept"),
    "quality": (("quality", "max_lst_error_class"), 0),
    "terrain": (("terrain", "flow"), "dinf"),
    "covariates": (("covariates", "fill"), "around"),
    "gap_filling": (("gap_filling", "anomaly_damping"), 0.25),
    "degree_days": (("degree_days", "minimum_days"), 340),
    "ground_correction": (("ground_correction", "force"), True),
    "calibration": (("calibration", "prior"), 0.8),
    "transfer": (("transfer", "trees"), 100),
    "frozen_ground": (("frozen_ground", "mask_fraction"), 0.25),
    "validation": (
        ("validation", "reference_maps"),
        [{"name": "other", "path": "other.tif", "holds": "classes", "codes": {1: "permafrost"}}],
    ),
    "store": (("store", "chunk_pixels"), 50),
    "cluster": (("cluster", "workers"), 1),
    "citations": (("citations",), [{"source": "sand", "cite": "10.1002/jame.20026"}]),
}


@settings(max_examples=40, deadline=None)
@given(
    altered=st.sampled_from(sorted(OTHER_VALUES)),
    asked=st.sets(st.sampled_from(sorted(OTHER_VALUES)), min_size=1),
)
def test_a_digest_changes_when_and_only_when_one_of_its_sections_does(altered: str, asked: set[str]) -> None:
    keys, value = OTHER_VALUES[altered]
    before, after = parse(DEMO), parse(changed(DEMO, keys, value))
    assert (before.digest(*asked) != after.digest(*asked)) == (altered in asked)
    assert before.digest() != after.digest()


def test_the_order_of_sections_does_not_change_their_digest() -> None:
    recipe = parse(DEMO)
    assert recipe.digest("region", "epochs") == recipe.digest("epochs", "region")


def test_where_a_recipe_lies_does_not_change_its_digest() -> None:
    here, there = parse_recipe(bundled("demo"), HERE), parse_recipe(bundled("demo"), Path("/else/where.yaml"))
    assert here.digest() == there.digest()


def test_paths_start_at_the_data_folder_which_starts_at_the_recipe() -> None:
    recipe = parse(DEMO)
    assert recipe.path(Path("a.tif")) == Path("/somewhere/archive/a.tif")
    assert recipe.path(Path("/b.tif")) == Path("/b.tif")
    assert parse(DEMO | {"data": "/data"}).path(Path("a.tif")) == Path("/data/a.tif")


def test_a_catalogue_is_a_path_or_an_address_or_an_archives_own() -> None:
    demo, plateau = parse(DEMO), parse_recipe(bundled("qtp-2020"), HERE)
    assert demo.sources.lst
    assert plateau.sources.lst
    assert demo.catalogue(demo.sources.lst) == "/somewhere/archive/catalog.json"
    assert plateau.sources.lst.kind == "planetary-computer"
    assert plateau.catalogue(plateau.sources.lst) == ""
    elsewhere = plateau.sources.lst.model_copy(update={"catalogue": "https://stac.example.org"})
    assert plateau.catalogue(elsewhere) == "https://stac.example.org"


def test_sources_are_asked_in_turn() -> None:
    second = {"kind": "earthdata", "second": {"kind": "folder", "catalogue": "granules"}}
    lst = parse(changed(DEMO, ("sources", "lst"), {"catalogue": "catalog.json", "second": second})).sources.lst
    assert lst
    assert [source.kind for source in lst.in_turn()] == ["stac", "earthdata", "folder"]


def test_an_epoch_without_a_label_is_called_by_its_last_year() -> None:
    epochs = parse(DEMO).epochs.named()
    assert {name: epoch.title for name, epoch in epochs.items()} == {"training": "2010", "target": "2020"}


# ---- recipes that come with frostmap ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_recipe_shows_every_key_of_the_format(name: str) -> None:
    lines = bundled(name).splitlines()
    for keys in fields():
        depth, key = len(keys) - 1, keys[-1]
        pattern = rf" {{{2 * depth}}}(# )?{key}:"
        assert any(re.match(pattern, line) for line in lines), f"{'.'.join(keys)} is not shown"


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_recipe_explains_every_key_in_a_sentence(name: str) -> None:
    lines = bundled(name).splitlines()
    for keys in fields():
        depth, key = len(keys) - 1, keys[-1]
        if key in (*SETTINGS, "region", "epochs", "sources", "sand", "clay", "lower", "upper") or depth > 1:
            continue  # headings, and keys that share a comment
        index = next(i for i, line in enumerate(lines) if re.match(rf" {{{2 * depth}}}(# )?{key}:", line))
        comment = index - 1
        while re.match(r" *# [a-z_]+: ", lines[comment]):
            comment -= 1  # commented keys above it share the comment
        assert re.match(r" *# .+[.:]$", lines[comment]), f"{'.'.join(keys)} has no comment"


@pytest.mark.parametrize("name", BUNDLED)
def test_the_defaults_in_its_comments_are_the_formats_own(name: str) -> None:
    text, checked = bundled(name), 0
    for section in SETTINGS:
        block = text[text.index(f"\n{section}:\n") :]
        defaults = Recipe.model_fields[section].default
        for key in type(defaults).model_fields:
            stated = re.search(r"Default: ([^#]+?)\.\n  " + key + ":", block)
            if stated:
                default = getattr(defaults, key)
                found = list(default) if isinstance(default, tuple) else default
                assert yaml.safe_load(stated[1]) == found, f"{section}.{key}"
                checked += 1
    assert checked > 20


def test_the_plateaus_recipe_is_set_up_as_in_the_paper() -> None:
    recipe = parse_recipe(bundled("qtp-2020"), HERE)
    assert recipe.region.tiles == ("h23v05", "h24v05", "h25v05", "h25v06", "h26v05", "h26v06")
    assert recipe.region.pixels_per_tile == 1200
    assert recipe.epochs.training.years == tuple(range(2005, 2011))
    assert recipe.epochs.target
    assert recipe.epochs.target.years == tuple(range(2016, 2021))
    assert recipe.calibration.clusters * recipe.calibration.subclusters == 16
    assert not recipe.simulated


def test_an_unknown_bundled_recipe_gets_the_nearest_named() -> None:
    with pytest.raises(UserError, match="no recipe named 'qtp2020'") as caught:
        bundled("qtp2020")
    assert "did you mean 'qtp-2020'?" in caught.value.remedy


# ---- changes to a recipe's text -----------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x85"), max_size=9)
"""PyYAML folds a line at the control character NEL, and reads a space there."""

plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-999, 999) | st.floats(0, 1) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "path"]), inner),
    max_leaves=5,
)


@settings(max_examples=40, deadline=None)
@given(keys=st.sampled_from([keys for keys in KEYS if all(isinstance(key, str) for key in keys)]), value=plain_values)
def test_a_changed_value_is_the_only_change(keys: Keys, value: object) -> None:
    edited = with_values(bundled("demo"), {".".join(map(str, keys)): value})
    assert yaml.safe_load(edited) == changed(DEMO, keys, value)


@settings(max_examples=40, deadline=None)
@given(keys=st.sampled_from([keys for keys in VALUES if all(isinstance(key, str) for key in keys)]))
def test_a_change_keeps_every_other_line_and_its_comments(keys: Keys) -> None:
    before = bundled("demo").splitlines()
    after = with_values(bundled("demo"), {".".join(map(str, keys)): "another"}).splitlines()
    assert len(before) == len(after)
    assert sum(old != new for old, new in zip(before, after, strict=True)) == 1


@pytest.mark.parametrize(
    "text", ["name: a\n", "{name: a}", "---\nname: a\n...\n", "# only\nname: a", "data: &d x\nb: *d\n"]
)
def test_a_key_can_be_added_or_changed_in_yaml_of_any_style(text: str) -> None:
    edited = with_values(text, {"data": "/a folder: #1"})
    assert yaml.safe_load(edited)["data"] == "/a folder: #1"


def test_a_copy_that_lies_elsewhere_means_the_same_files() -> None:
    recipe = parse_recipe(bundled("demo"), HERE)
    text = relocated(bundled("demo"), recipe.path(Path()), HERE)
    there = parse_recipe(text, Path("/work/recipe.yaml"))
    assert there.path(Path("a.tif")) == recipe.path(Path("a.tif"))
    assert there.digest("region", "epochs", "sources", *SETTINGS) == recipe.digest(
        "region", "epochs", "sources", *SETTINGS
    )
    kept = difflib.SequenceMatcher(None, bundled("demo").splitlines(), text.splitlines(), autojunk=False).ratio()
    assert kept > 0.98
