"""That workers see the work directory: they write the cube, and what they write elsewhere would be lost."""

from __future__ import annotations

import uuid
from pathlib import Path

from distributed import Client

from frostmap.pipeline.clusters.loss import answered
from frostmap.pipeline.errors import UserError


def refuse_unshared(client: Client, folder: Path) -> None:
    """Raise `UserError` if a worker does not see a folder as this process does, by a file that is put there.

    Workers that come later are taken to be like those that are there.
    """
    mark = folder.absolute() / f".seen-{uuid.uuid4().hex}"
    mark.touch()
    try:
        found = answered(client, lambda: client.run(_sees, str(mark)))
        blind = sorted(address for address, seen in found.items() if not seen)
    finally:
        mark.unlink()
    if blind:
        more = f" and {len(blind) - 1} more" if len(blind) > 1 else ""
        raise UserError(
            "workers do not see the work directory",
            where=f"worker {blind[0]}{more}",
            found=f"not the files of {folder.absolute()}",
            wanted="a file system that this process and all workers see under the same path",
            remedy="name a work directory on such a file system with --workdir, or mount it in the workers",
        )


def _sees(path: str) -> bool:
    return Path(path).is_file()
