"""Sixty-four comparisons and additions at once are what one after the other would be."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numba import njit

from frostmap.kernels.pixel_bits import CELL, above, add_where

gentle = settings(deadline=None, max_examples=40)
int32 = st.integers(-(2**31), 2**31 - 1)


@njit
def bits_above(keys, start, threshold):
    return above(keys, start, threshold)


@njit
def added_where(sums, start, flags, values):
    for value in values:  # in a loop, where the compiler might take the bits apart
        add_where(sums, start, flags, value)


@gentle
@given(keys=hnp.arrays(np.int32, 2 * CELL, elements=int32), start=st.integers(0, CELL), threshold=int32)
def test_bits_tell_which_keys_are_above(keys, start, threshold):
    found = int(bits_above(keys, np.uintp(start), np.int32(threshold)))
    assert [found >> i & 1 for i in range(CELL)] == (keys[start : start + CELL] > threshold).tolist()


@gentle
@given(flags=st.integers(0, 2**64 - 1), start=st.integers(0, CELL), values=st.lists(st.integers(-999, 999), max_size=3))
def test_values_are_added_where_a_bit_is_set_and_nowhere_else(flags, start, values):
    sums = np.arange(2 * CELL, dtype=np.int32)
    expected = sums.copy()
    expected[[start + i for i in range(CELL) if flags >> i & 1]] += sum(values)
    added_where(sums, np.uintp(start), np.uint64(flags), np.array(values, np.int32))
    np.testing.assert_array_equal(sums, expected)
