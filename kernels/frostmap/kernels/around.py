"""Missing pixels from the known ones around them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled

EARTH_RADIUS_KM = 6371.007181
"""Of the sphere that MODIS pixels lie on."""


def filled_from_around(
    values: NDArray[np.float32],
    wanted: NDArray[np.bool_],
    longitude: NDArray[np.float64],
    latitude: NDArray[np.float64],
    reach_km: float,
    window: tuple[int, int],
) -> NDArray[np.float32]:
    r"""Return values with wanted missing ones made of those around, nearer ones counting for more.

    .. math:: v = \frac{\sum_i v_i / d_i^2}{\sum_i 1 / d_i^2} \quad\text{over all known } i \text{ with } d_i \le r

    (Shepard 1968, doi 10.1145/800186.810616, with his power of 2.) Distances are those on the ground: on a sheared
    grid, rows and columns are not east and north.

    Parameters
    ----------
    values : (y, x) float32
        NaN is missing. What is filled here is nobody's neighbour.
    wanted : (y, x) bool
        Which missing values to fill.
    longitude, latitude : (y, x) float64
        Of the pixels' centres [°]; NaN off the globe.
    reach_km
        How far known values may be, r [km].
    window
        Rows and columns to either side that are looked at: enough to hold all within reach.

    Returns
    -------
    (y, x) float32
        Known values unchanged; NaN where nothing is known within reach, and where not wanted.

    Examples
    --------
    >>> import numpy as np
    >>> values = np.array([[1.0, np.nan, np.nan, 4.0]], np.float32)
    >>> longitude, latitude = np.array([[90.0, 90.01, 90.02, 90.03]]), np.zeros((1, 4))
    >>> filled_from_around(values, np.ones((1, 4), bool), longitude, latitude, 5.0, (0, 4))
    array([[1. , 1.6, 3.4, 4. ]], dtype=float32)
    """
    if not values.shape == wanted.shape == longitude.shape == latitude.shape:
        raise ValueError(
            f"values, wanted, longitude, latitude have shapes {values.shape}, {wanted.shape}, {longitude.shape}, "
            f"{latitude.shape}; wanted one shape"
        )
    if not reach_km > 0:
        raise ValueError(f"the reach is {reach_km} km; wanted more than 0")
    filled: NDArray[np.float32] = _filled(
        values, wanted, np.radians(longitude), np.radians(latitude), reach_km, *window
    )
    return filled


@compiled(error_model="numpy")
def _filled(
    values: Any, wanted: Any, longitude: Any, latitude: Any, reach_km: float, rows: int, columns: int
) -> NDArray[np.float32]:
    height, width = values.shape
    filled: NDArray[np.float32] = values.copy()
    farthest = (reach_km / EARTH_RADIUS_KM) ** 2
    for i in range(height):
        for j in range(width):
            if not wanted[i, j] or not np.isnan(values[i, j]):
                continue
            total, weight = 0.0, 0.0
            for y in range(max(i - rows, 0), min(i + rows + 1, height)):
                for x in range(max(j - columns, 0), min(j + columns + 1, width)):
                    value = values[y, x]
                    north = latitude[y, x] - latitude[i, j]
                    east = (longitude[y, x] - longitude[i, j]) * np.cos(0.5 * (latitude[y, x] + latitude[i, j]))
                    square = north * north + east * east
                    if np.isnan(value) or not 0.0 < square <= farthest:
                        continue
                    total += value / square
                    weight += 1.0 / square
            if weight > 0.0:
                filled[i, j] = np.float32(total / weight)
    return filled
