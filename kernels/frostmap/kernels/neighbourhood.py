"""What the clear pixels around a cloudy one say about its day."""

import numpy as np
from numpy.typing import NDArray

from frostmap.kernels.compiled import compiled

OBSERVED = 0
"""The temperature was observed."""
FILLED_BY_NEIGHBOURS = 1
"""Expected temperature of the day plus the damped anomaly of the neighbours."""
FILLED_BY_CYCLE = 2
"""Expected temperature of the day; no neighbour was clear."""
NOT_FILLED = 255
"""Neither observed nor expected: NaN."""

_PER_KELVIN = 100.0  # anomalies are summed as integers of 0.01 K
_NAN = np.float32(np.nan)


def neighbourhood_mean(anomaly: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    r"""Return the mean of the valid values in a square around each pixel.

    .. math:: m_{yx} = \frac{1}{n} \sum_{|y'-y| \le r,\ |x'-x| \le r} a_{y'x'}

    Parameters
    ----------
    anomaly : (time, y, x)
        Departure from what was expected [K], at most some thousands. NaN is missing.
    radius : int
        Half width r of the square, in pixels along y and x alike; the square is cut at the array's edges.

    Returns
    -------
    (time, y, x) float32
        Mean anomaly [K] over the valid pixels of the square, the pixel itself included; NaN where it holds none.

    Notes
    -----
    Anomalies are rounded to 0.01 K and summed as integers, which neither round nor depend on the order. Wherever an
    array is cut, a pixel at least `radius` away from the cut keeps its mean to the last bit. Running sums make the
    cost independent of the radius.

    Examples
    --------
    >>> import numpy as np
    >>> anomaly = np.array([[[1.0, np.nan, 3.0, np.nan, np.nan]]], np.float32)
    >>> neighbourhood_mean(anomaly, 1)
    array([[[ 1.,  2.,  3.,  3., nan]]], dtype=float32)
    """
    if anomaly.ndim != 3 or anomaly.dtype != np.float32:
        raise ValueError(f"anomaly is {anomaly.dtype} of shape {anomaly.shape}; wanted float32 (time, y, x)")
    if radius < 0:
        raise ValueError(f"radius is {radius} pixels; wanted 0 or more")
    mean: NDArray[np.float32] = _neighbourhood_mean(anomaly, radius)
    return mean


@compiled(error_model="numpy")
def _neighbourhood_mean(anomaly: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    days, height, width = anomaly.shape
    mean = np.empty((days, height, width), np.float32)
    column_sum = np.empty(width, np.int64)
    column_count = np.empty(width, np.int64)
    for t in range(days):
        for x in range(width):
            column_sum[x] = 0
            column_count[x] = 0
        for y in range(min(radius, height)):
            _add_row(anomaly[t, y], 1, column_sum, column_count)
        for y in range(height):
            if y + radius < height:
                _add_row(anomaly[t, y + radius], 1, column_sum, column_count)
            if y - radius - 1 >= 0:
                _add_row(anomaly[t, y - radius - 1], -1, column_sum, column_count)
            total, count = 0, 0
            for x in range(min(radius, width)):
                total += column_sum[x]
                count += column_count[x]
            for x in range(width):
                if x + radius < width:
                    total += column_sum[x + radius]
                    count += column_count[x + radius]
                if x - radius - 1 >= 0:
                    total -= column_sum[x - radius - 1]
                    count -= column_count[x - radius - 1]
                mean[t, y, x] = np.float32(total / (_PER_KELVIN * count)) if count > 0 else _NAN
    return mean


@compiled(error_model="numpy")
def _add_row(
    row: NDArray[np.float32], sign: int, column_sum: NDArray[np.int64], column_count: NDArray[np.int64]
) -> None:
    for x in range(row.size):
        value = row[x]
        if value == value:
            column_sum[x] += sign * np.int64(np.rint(np.float64(value) * _PER_KELVIN))
            column_count[x] += sign


def fill_missing(
    temperature: NDArray[np.float32],
    expected: NDArray[np.float32],
    anomaly_mean: NDArray[np.float32],
    damping: float = 0.5,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    r"""Fill missing temperatures with what is expected of the day and its neighbourhood.

    .. math:: T = T_{expected} + \delta \, m

    Parameters
    ----------
    temperature : (time, y, x)
        Observed surface temperature [°C]. NaN is missing.
    expected : (time, y, x)
        Surface temperature of the fitted annual cycle [°C], see `annual_cycle.annual_cycle`. NaN is unknown.
    anomaly_mean : (time, y, x)
        Mean anomaly m of the neighbours that day [K], see `neighbourhood_mean`. NaN counts as 0 and is flagged.
    damping : float
        Part of the anomaly that is believed, 0 to 1.

    Returns
    -------
    filled : (time, y, x) float32
        Surface temperature [°C]: observed ones unchanged; NaN where neither observed nor expected.
    flag : (time, y, x) uint8
        `OBSERVED`, `FILLED_BY_NEIGHBOURS`, `FILLED_BY_CYCLE` or `NOT_FILLED`.

    Examples
    --------
    >>> import numpy as np
    >>> temperature, expected, anomaly = (
    ...     np.array(row, np.float32).reshape(1, 1, 4)
    ...     for row in ([1.0, np.nan, np.nan, np.nan], [0.0, 5.0, 5.0, np.nan], [2.0, 2.0, np.nan, 2.0])
    ... )
    >>> filled, flag = fill_missing(temperature, expected, anomaly, 0.5)
    >>> filled[0, 0], flag[0, 0]
    (array([ 1.,  6.,  5., nan], dtype=float32), array([  0,   1,   2, 255], dtype=uint8))
    """
    if not temperature.shape == expected.shape == anomaly_mean.shape:
        raise ValueError(
            f"temperature, expected, anomaly_mean have shapes {temperature.shape}, {expected.shape}, "
            f"{anomaly_mean.shape}; wanted one shape"
        )
    if not 0.0 <= damping <= 1.0:
        raise ValueError(f"damping is {damping}; wanted 0 to 1")
    filled, flag = _fill_missing(temperature, expected, anomaly_mean, np.float32(damping))
    return filled, flag


@compiled
def _fill_missing(
    temperature: NDArray[np.float32],
    expected: NDArray[np.float32],
    anomaly_mean: NDArray[np.float32],
    damping: np.float32,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    filled = np.empty(temperature.shape, np.float32)
    flag = np.empty(temperature.shape, np.uint8)
    days, height, width = temperature.shape
    for t in range(days):
        for y in range(height):
            for x in range(width):
                value = temperature[t, y, x]
                cycle = expected[t, y, x]
                anomaly = anomaly_mean[t, y, x]
                if value == value:
                    filled[t, y, x] = value
                    flag[t, y, x] = OBSERVED
                elif cycle != cycle:
                    filled[t, y, x] = _NAN
                    flag[t, y, x] = NOT_FILLED
                elif anomaly == anomaly:
                    filled[t, y, x] = cycle + damping * anomaly
                    flag[t, y, x] = FILLED_BY_NEIGHBOURS
                else:
                    filled[t, y, x] = cycle
                    flag[t, y, x] = FILLED_BY_CYCLE
    return filled, flag
