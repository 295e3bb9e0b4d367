"""Where a run computes: threads or processes of this machine, pods, or a Dask cluster that is running already.

Each kind is a context manager that yields an `Opened` and leaves nothing behind; `open_cluster` picks one, compares the
software of all who take part, and prepares the workers.
"""

from frostmap.pipeline.clusters.opened import Kind, Opened, Say
from frostmap.pipeline.clusters.opening import KINDS, open_cluster
from frostmap.pipeline.clusters.shared_folder import refuse_unshared

__all__ = ["KINDS", "Kind", "Opened", "Say", "open_cluster", "refuse_unshared"]
