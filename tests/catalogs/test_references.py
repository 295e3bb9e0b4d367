"""Every product can be cited, and what is cited is written as BibTeX and readers want it."""

import pytest

from frostmap.catalogs.collections import known_collections, load_collection
from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.gridded import known_series, load_series
from frostmap.catalogs.references import (
    Reference,
    bibtex,
    load_references,
    parse_reference,
    parse_references,
    reference_by_doi,
)


@pytest.mark.parametrize("name", known_collections())
def test_every_product_has_a_reference_with_authors_and_year(name):
    known = reference_by_doi(load_collection(name).doi)
    assert known is not None
    assert known[1].authors
    assert known[1].year


def test_the_series_of_the_paper_have_references():
    dois = {load_series(name).doi for name in known_series()}
    assert {"10.1002/jame.20026", "10.5194/essd-11-1931-2019", "10.5194/essd-16-2501-2024"} <= dois
    assert all(reference_by_doi(doi) for doi in dois if "jame" in doi or "essd" in doi)


def test_everything_that_ships_can_be_found():
    references = load_references()
    assert all(reference.address for reference in references.values())
    dois = [reference.doi.lower() for reference in references.values() if reference.doi]
    assert len(set(dois)) == len(dois)


@pytest.mark.parametrize(
    "text", ["10.1002/JAME.20026", "https://doi.org/10.1002/jame.20026", "doi: 10.1002/jame.20026."]
)
def test_a_known_doi_is_recognised_however_it_is_written(text):
    assert parse_reference(text).year == 2013


def test_an_unknown_doi_and_plain_words_are_kept():
    assert parse_reference("10.1234/abc").doi == "10.1234/abc"
    words = parse_reference("Ground survey of Gaize, 2010. doi 10.1234/abc")
    assert (words.title, words.doi) == ("Ground survey of Gaize, 2010. doi 10.1234/abc", "10.1234/abc")


def test_bibtex_has_each_reference_once_under_a_key_of_its_own():
    one, other = Reference(kind="article", title="A_1", year=2000), Reference(kind="dataset", title="B", doi="10.1/x")
    text = bibtex([("a b", one), ("c", one), ("a b", other)])
    assert text.count("@article{a_b,") == text.count("@misc{a_b_1,") == 1
    assert "@misc{c" not in text
    assert r"title = {{A\_1}}" in text
    assert "url = {https://doi.org/10.1/x}" in text
    assert text.count("{") == text.count("}")


def test_references_that_cannot_be_read_are_told():
    with pytest.raises(CatalogError, match="title: Field required"):
        parse_references("a: {kind: article}", "x.yaml")
    with pytest.raises(CatalogError, match="not YAML"):
        parse_references("a: {", "x.yaml")
