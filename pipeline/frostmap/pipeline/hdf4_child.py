"""The process that reads HDF files for another one: a request a line on stdin, an answer a line on stdout, both JSON.

Arrays go through memory that both processes see, an open file whose descriptor is the only argument. It imports little,
because there is one of it beside every worker.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from frostmap.pipeline.granule_errors import GranuleError
from frostmap.pipeline.hdf4 import Layer, read_layers, read_swath
from frostmap.pipeline.hdf_eos import Expected, ExpectedSwath

ADDRESS_SPACE = 1 << 30
"""Bytes that the process may ask for: more than any granule needs, less than would harm the machine."""

_GRACE_S = 10.0  # the asking process ends a hanging one first, if it still lives


def main(descriptor: int) -> None:
    """Answer requests until stdin ends, which it does when the asking process is gone."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="ascii", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what the library prints is no answer
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":  # elsewhere the limit is not kept to
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    shared: mmap.mmap | None = None
    answers.write("{}\n")  # ready
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if request["bytes"] and (shared is None or len(shared) < request["bytes"]):
            shared = mmap.mmap(descriptor, request["bytes"])
        # a hanging process does not see that stdin ended; an alarm's default is to end it
        signal.setitimer(signal.ITIMER_REAL, request["timeout_s"] + _GRACE_S)
        answers.write(json.dumps(_answer(request, shared)) + "\n")
        signal.setitimer(signal.ITIMER_REAL, 0)


def _answer(request: dict[str, Any], shared: mmap.mmap | None) -> dict[str, Any]:
    expected = ExpectedSwath(**request["expected"]) if request["swath"] else Expected(**request["expected"])
    layers = [Layer(name, dtype) for name, dtype in request["layers"]]
    path, into = Path(request["path"]), None
    if shared is not None and request["bytes"]:
        most = (
            (expected.pixels, expected.pixels)
            if isinstance(expected, Expected)
            else (expected.most_rows * expected.most_columns,)
        )
        into = [
            np.ndarray(most, layer.dtype, buffer=shared, offset=offset)
            for layer, offset in zip(layers, request["offsets"], strict=True)
        ]
    try:
        if isinstance(expected, Expected):
            arrays = read_layers(path, expected, layers, into)
        else:
            arrays = read_swath(path, expected, layers, into)
    except GranuleError as error:
        return {"what": error.what, **error.details()}
    except MemoryError:
        return {"what": "an HDF granule that asks for more memory than any needs", "where": request["path"]}
    return {"shape": arrays[0].shape if arrays else []}


if __name__ == "__main__":
    main(int(sys.argv[1]))
