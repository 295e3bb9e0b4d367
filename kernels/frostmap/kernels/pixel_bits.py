"""Sixty-four pixels at once, as the bits of one number: comparing, and adding where a bit is set.

Both are a few vector instructions of the processor, which the compiler does not find in a loop of Python; so they are
written in its own language. Where the compiler is off, NumPy does the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic
from numpy.typing import NDArray

CELL = 64
"""Pixels that are looked at together."""

_INT32, _LANES = ir.IntType(32), ir.VectorType(ir.IntType(32), CELL)


def _address(context: Any, builder: Any, array_type: Any, array: Any, start: Any) -> Any:
    """Return where the 64 numbers from `start` of an array are."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [start]), _LANES.as_pointer())


def _in_all(builder: Any, *values: Any) -> Any:
    """Return lanes that hold a value; the lower half the first and the upper half the second of two."""
    nothing = ir.Constant(ir.VectorType(_INT32, len(values)), ir.Undefined)
    source = nothing
    for i, value in enumerate(values):
        source = builder.insert_element(source, value, ir.Constant(_INT32, i))
    return builder.shuffle_vector(source, nothing, ir.Constant(_LANES, [i * len(values) // CELL for i in range(CELL)]))


def _compiled_above(_context: Any, keys: Any, _start: Any, _threshold: Any) -> Any:
    """Return, as bits, which of the 64 keys from `start` are above a threshold."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, start, threshold = arguments
        values = builder.load(_address(context, builder, signature.args[0], array, start), align=4)
        return builder.bitcast(builder.icmp_signed(">", values, _in_all(builder, threshold)), ir.IntType(CELL))

    return types.uint64(keys, types.uintp, types.int32), generate


def _compiled_add_where(_context: Any, sums: Any, _start: Any, _flags: Any, _value: Any) -> Any:
    """Add a value to those of the 64 sums from `start` whose bit is set."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, start, flags, value = arguments
        address = _address(context, builder, signature.args[0], array, start)
        upper = builder.lshr(flags, ir.Constant(flags.type, 32))
        halves = _in_all(builder, builder.trunc(flags, _INT32), builder.trunc(upper, _INT32))
        to_sign = ir.Constant(_LANES, [31 - i % 32 for i in range(CELL)])  # each lane's own bit becomes its sign
        where = builder.ashr(builder.shl(halves, to_sign), ir.Constant(_LANES, [31] * CELL))
        added = builder.and_(where, _in_all(builder, value))
        builder.store(builder.add(builder.load(address, align=4), added), address, align=4)
        return context.get_dummy_value()

    return types.void(sums, types.uintp, types.uint64, types.int32), generate


def _plain_above(keys: NDArray[np.int32], start: np.uintp, threshold: np.int32) -> np.uint64:
    bits = np.packbits(keys[int(start) : int(start) + CELL] > threshold, bitorder="little")
    return np.uint64(bits.view("<u8")[0])


def _plain_add_where(sums: NDArray[np.int32], start: np.uintp, flags: np.uint64, value: np.int32) -> None:
    bits = np.unpackbits(np.array([flags], "<u8").view(np.uint8), bitorder="little")
    sums[int(start) : int(start) + CELL] += bits * value


_OFF: bool = config.DISABLE_JIT  # type: ignore[attr-defined]  # Numba sets it from the environment

above: Any = _plain_above if _OFF else intrinsic(_compiled_above)
"""``above(keys, start, threshold)``: as bits, which of the 64 int32 from `start` of a flat array are above an int32."""
add_where: Any = _plain_add_where if _OFF else intrinsic(_compiled_add_where)
"""``add_where(sums, start, flags, value)``: add an int32 to those of the 64 int32 from `start` of a flat array whose
bit is set. Neither tests the bounds of the array."""
