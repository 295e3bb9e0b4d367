"""Pictures of notebooks show the run's own numbers, with hvplot and without."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from frostmap.kernels.frost_number import CLASS_NAMES
from frostmap.pipeline import interactive
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.explorer.pixels import Pixels, Place
from frostmap.pipeline.figures import CLASS_COLOURS
from frostmap.pipeline.map_sheets import map_sheet
from frostmap.pipeline.work import Work

from .conftest import Finished

moving = pytest.mark.skipif(not interactive.is_there(), reason="the extra `interactive` is not installed")


@pytest.fixture(scope="module")
def work(pristine: Finished) -> Work:
    return Work(pristine.recipe, pristine.folder)


def middle(work: Work) -> Place:
    rows, columns = np.nonzero(work.inside)
    return Place(int(rows[len(rows) // 2]), int(columns[len(columns) // 2]))


@moving
@pytest.mark.parametrize("name", ["permafrost_probability-target", "class-target"])
def test_a_moving_map_says_value_and_place(work: Work, name: str) -> None:
    picture = interactive.map_of(work, name)
    value, longitude, latitude = (each.name for each in picture.vdims)
    layer = {each.name: each for each in interactive._plain_layers(work)}[name]
    stored = work.open(layer.group)[layer.variable].to_numpy()
    sheet = map_sheet(work, points=max(picture.data[value].shape))
    paper = np.ma.filled(sheet.on_paper(stored).astype(np.float32), np.nan)
    shown = picture.data[value].values
    known = np.isfinite(shown)
    assert known.sum() > 100
    assert np.array_equal(shown[known], paper[known])
    x, y = sheet.positions(picture.data[longitude].values[known], picture.data[latitude].values[known])
    rows, columns = np.nonzero(known)
    assert np.allclose(x / 1000, picture.data["x"].values[columns], atol=0.01)
    assert np.allclose(y / 1000, picture.data["y"].values[rows], atol=0.01)
    assert "simulated" in str(picture.opts.get("plot").kwargs["title"])


@moving
def test_classes_keep_their_colours_and_names(work: Work) -> None:
    options = interactive.map_of(work, "class-target").opts.get("plot").kwargs
    codes = options["colorbar_opts"]["ticker"].ticks
    low, high = options["clim"]
    assert [int(code) for code in codes] == list(range(int(low + 0.5), int(high + 0.5)))  # one colour a code
    assert options["colorbar_opts"]["major_label_overrides"] == {code: CLASS_NAMES[code] for code in CLASS_COLOURS}


@moving
def test_a_moving_year_holds_every_look_and_the_mean(work: Work) -> None:
    place, year = middle(work), max(work.granules["lst"])
    told, picture = Pixels(work).year(place, year), interactive.year_of(work, place, year)
    tables = [element.data for part in picture for element in (part if hasattr(part, "keys") else [part])]
    columns = {
        str(name): table[name].to_numpy(float)
        for table in tables
        for name in table
        if np.issubdtype(table[name].dtype, np.floating)
    }
    assert np.allclose(columns["daily mean"], np.array(told["daily"], float), equal_nan=True)
    look = told["overpasses"][1]
    kept = np.array(look["kept"], bool)
    dots = columns["aqua day"]  # dots come after lines
    assert np.allclose(dots[kept], np.array(look["seen"], float)[kept])
    assert not np.isfinite(dots[~kept]).any()


def test_without_hvplot_the_same_stands_still(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interactive, "is_there", lambda: False)
    figures = [interactive.map_of(work, name) for name in ("class-target", "frost_number-training")]
    figures.append(interactive.year_of(work, middle(work), max(work.granules["lst"])))
    assert all(isinstance(figure, Figure) for figure in figures)
    assert "frost number" in figures[1].axes[1].get_ylabel()
    lines = {line.get_label(): line for line in figures[2].axes[0].lines}
    assert set(lines) >= {"terra day", "aqua day", "terra night", "aqua night", "daily mean"}
    assert figures[2].axes[0].get_ylabel() == "temperature [°C]"


def test_an_unknown_layer_is_refused_with_those_there_are(work: Work) -> None:
    with pytest.raises(UserError, match="no such layer") as refused:
        interactive.map_of(work, "permafrost")
    assert "permafrost_probability-target" in str(refused.value)
