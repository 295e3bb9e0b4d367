"""Measures of agreement are those of the literature, and the paper's tables are checked against their own counts."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from frostmap.kernels.agreement import BinaryCounts, McNemar, class_kappa, counts, mcnemar, wilson_interval

REFERENCE = Path(__file__).parents[1] / "reference"
TABLE2 = pd.read_csv(REFERENCE / "chen_nan_table2.csv", comment="#", index_col="map")
gentle = settings(deadline=None, max_examples=60)
full = st.builds(BinaryCounts, *(st.integers(1, 500) for _ in range(4)))
# map: accuracy and its interval, kappa and its interval, balanced accuracy, Matthews
RECOMPUTED = {
    "ours": (0.8440, (0.764, 0.900), 0.5763, (0.40, 0.76), 0.792, 0.576),
    "magt": (0.8165, (0.734, 0.878), 0.3803, (0.17, 0.59), 0.655, 0.422),
    "ttop": (0.7890, (0.703, 0.855), 0.3600, (0.15, 0.57), 0.663, 0.367),
}


def counted(name):
    row = TABLE2.loc[name]
    return BinaryCounts(tp=int(row["tp"]), fn=int(row["fn"]), fp=int(row["fp"]), tn=int(row["tn"]))


@gentle
@given(table=full)
def test_swapping_the_classes_or_map_and_observation_leaves_kappa_and_mcc(table):
    flipped = BinaryCounts(tp=table.tn, fn=table.fp, fp=table.fn, tn=table.tp)
    turned = BinaryCounts(tp=table.tp, fn=table.fp, fp=table.fn, tn=table.tn)
    for other in (flipped, turned):
        assert other.kappa == pytest.approx(table.kappa)
        assert other.mcc == pytest.approx(table.mcc)
        assert other.kappa_variance == pytest.approx(table.kappa_variance)
    assert flipped.balanced_accuracy == pytest.approx(table.balanced_accuracy)


@gentle
@given(table=full)
def test_rates_add_up_and_intervals_hold_their_estimate(table):
    assert table.true_positive_rate + table.false_negative_rate == pytest.approx(1)
    assert table.true_negative_rate + table.false_positive_rate == pytest.approx(1)
    for (low, high), value, least in (
        (table.accuracy_interval(), table.overall_accuracy, 0),
        (table.kappa_interval(), table.kappa, -1),
    ):
        assert least <= low <= value <= high <= 1
    wide, narrow = table.accuracy_interval(0.99), table.accuracy_interval(0.9)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@gentle
@given(table=full)
def test_the_variance_of_kappa_is_that_of_the_delta_method(table):
    shares = np.array([table.tp, table.fn, table.fp, table.tn]) / table.n

    def kappa(p):
        pe = (p[0] + p[1]) * (p[0] + p[2]) + (p[2] + p[3]) * (p[1] + p[3])
        return (p[0] + p[3] - pe) / (1 - pe)

    slope = np.array([(kappa(shares + step) - kappa(shares - step)) / 2e-6 for step in 1e-6 * np.eye(4)])
    twin = (shares @ slope**2 - (shares @ slope) ** 2) / table.n
    assert table.kappa_variance == pytest.approx(twin, rel=1e-4, abs=1e-9)


@gentle
@given(maps=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_counts_are_those_of_the_plain_twin_and_both_kappas_agree(maps):
    observed, mapped = np.array(maps).T
    pairs = [maps.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))]
    table = counts(observed, mapped)
    assert table == BinaryCounts(*pairs)
    several = class_kappa(np.where(observed, 1, 2), np.where(mapped, 1, 2), [1, 2])
    assert several == pytest.approx(table.kappa, nan_ok=True)


@pytest.mark.parametrize("name", RECOMPUTED)
def test_table_2_recomputed_from_its_counts(name):
    table = counted(name)
    accuracy, accuracy_interval, kappa, kappa_interval, balanced, mcc = RECOMPUTED[name]
    assert table.n == 109
    assert round(table.overall_accuracy, 4) == accuracy
    assert tuple(round(end, 3) for end in table.accuracy_interval()) == accuracy_interval
    assert round(table.kappa, 4) == kappa
    assert tuple(round(end, 2) for end in table.kappa_interval()) == kappa_interval
    assert round(table.balanced_accuracy, 3) == balanced
    assert round(table.mcc, 3) == mcc


def test_table_2_prints_what_its_counts_give_but_for_two_numbers():
    wrong = []
    for name, row in TABLE2.iterrows():
        table = counted(name)
        for column, value, digits in (
            ("printed_accuracy", 100 * table.overall_accuracy, 1),
            ("printed_kappa", table.kappa, 2),
            ("printed_true_positive", 100 * table.true_positive_rate, 1),
            ("printed_true_negative", 100 * table.true_negative_rate, 1),
            ("printed_false_negative", 100 * table.false_negative_rate, 1),
            ("printed_false_positive", 100 * table.false_positive_rate, 1),
        ):
            if round(value, digits) != row[column]:
                wrong.append((name, column, row[column], round(value, digits)))
    assert wrong == [
        ("ours", "printed_false_negative", 11.8, 10.8),
        ("ttop", "printed_kappa", 0.28, 0.36),
    ]
    assert round(100 * 9 / 76, 1) == 11.8  # the wrong denominator
    assert round(BinaryCounts(tp=79, fn=4, fp=19, tn=7).kappa, 4) == 0.2756  # the counts that 0.28 would need


def test_boreholes_add_up():
    boreholes = pd.read_csv(REFERENCE / "chen_nan_boreholes.csv", comment="#")["boreholes"]
    assert boreholes.tolist() == [65, 32, 6, 6]
    assert boreholes.sum() == 109 == 83 + 26
    assert {(t.tp + t.fn, t.fp + t.tn) for t in map(counted, RECOMPUTED)} == {(83, 26)}


def test_wilson_by_hand():
    # Brown, Cai and DasGupta 2001, doi:10.1214/ss/1009213286: without a success the interval ends at z² / (n + z²).
    low, high = wilson_interval(0, 10)
    assert low == pytest.approx(0, abs=1e-12)
    assert high == pytest.approx(1.959964**2 / (10 + 1.959964**2), abs=1e-6)
    assert wilson_interval(10, 10)[1] == pytest.approx(1)
    with pytest.raises(ValueError, match="wanted a share"):
        wilson_interval(1, 2, 95)


def test_kappa_of_three_classes_by_hand():
    # Agreement 3 of 4; by chance (1 * 2 + 2 * 1 + 1 * 1) / 16.
    a, b = np.array([1, 2, 2, 3]), np.array([1, 1, 2, 3])
    assert class_kappa(a, b, [1, 2, 3]) == pytest.approx((0.75 - 5 / 16) / (1 - 5 / 16))
    assert class_kappa(np.append(a, [255, 1]), np.append(b, [1, 4]), [1, 2, 3]) == class_kappa(a, b, [1, 2, 3])
    assert class_kappa(a, a, [1, 2, 3]) == 1.0


def test_what_cannot_be_known_is_nan():
    empty, perfect_single = BinaryCounts(0, 0, 0, 0), BinaryCounts(5, 0, 0, 0)
    for table in (empty, perfect_single):
        assert np.isnan([table.kappa, table.mcc, table.false_positive_rate, *table.kappa_interval()]).all()
    assert np.isnan([empty.overall_accuracy, *empty.accuracy_interval()]).all()
    assert np.isnan(class_kappa(np.array([255]), np.array([1]), [1, 2]))
    assert np.isnan(class_kappa(np.array([1, 1]), np.array([1, 1]), [1, 2]))


def test_class_codes_are_not_taken_for_booleans():
    with pytest.raises(ValueError, match="map == 1"):
        counts(np.array([1, 2]), np.array([1, 1]))
    with pytest.raises(ValueError, match="wanted one shape"):
        counts(np.array([True]), np.array([True, False]))
    with pytest.raises(ValueError, match="wanted one shape"):
        class_kappa(np.array([1]), np.array([1, 2]), [1, 2])


@gentle
@given(first=st.integers(0, 60), second=st.integers(0, 60))
def test_mcnemar_tosses_coins(first, second):
    found, turned = McNemar(first, second), McNemar(second, first)
    assert (found.p, found.mid_p) == pytest.approx((turned.p, turned.mid_p))
    assert 0 <= found.mid_p <= found.p <= 1
    if first + second:
        assert found.p == pytest.approx(stats.binomtest(first, first + second).pvalue)


@gentle
@given(sites=st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_mcnemar_counts_where_one_map_alone_is_right(sites):
    seen, first, second = np.array(sites).T
    alone = sum(s == a != b for s, a, b in sites), sum(s == b != a for s, a, b in sites)
    assert mcnemar(seen, first, second) == McNemar(*alone)


def test_mcnemar_in_print():
    # Fagerland, Lydersen and Laake 2013, doi:10.1186/1471-2288-13-91, Tables 1 and 4: 1 and 7 discordant pairs.
    found = McNemar(1, 7)
    assert (round(found.p, 4), round(found.mid_p, 4)) == (0.0703, 0.0391)
    assert McNemar(0, 0).p == McNemar(0, 0).mid_p == 1.0


def test_intervals_of_accuracy_and_kappa_hold_the_truth_as_often_as_they_say():
    """A map of which 84 % is right, checked 200 times at 109 places that were drawn at random."""
    shares = np.array([0.68, 0.08, 0.08, 0.16])
    pe = (shares[0] + shares[1]) * (shares[0] + shares[2]) + (shares[2] + shares[3]) * (shares[1] + shares[3])
    accuracy = shares[0] + shares[3]
    kappa = (accuracy - pe) / (1 - pe)
    rng = np.random.default_rng(2)
    held = np.zeros(2, int)
    for _ in range(200):
        table = BinaryCounts(*map(int, rng.multinomial(109, shares)))
        for k, ((low, high), value) in enumerate(
            ((table.accuracy_interval(), accuracy), (table.kappa_interval(), kappa))
        ):
            held[k] += low <= value <= high
    assert (held >= 180).all()  # 95 % are 190; binomial(200, 0.95) is below 181 in 1 of 1000
    assert (held <= 199).all()
