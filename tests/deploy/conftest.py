"""The manifests of deploy/kubernetes, as they lie there and as kustomize renders them, and judges that others wrote.

The judges come from ``make deploy-tools``, into ``.venv-deploy``; kubectl from wherever it is on the path. A test whose
tool is absent is skipped and says what to install; with ``FROSTMAP_DEPLOY=required`` set it fails instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
TOOLS = Path(os.environ.get("FROSTMAP_DEPLOY_VENV") or ROOT / ".venv-deploy")

Document = dict[str, Any]


def absent(what: str, remedy: str) -> NoReturn:
    """Skip a test because a tool is not installed; fail where all must be."""
    reason = f"{what} is not installed: {remedy}"
    if os.environ.get("FROSTMAP_DEPLOY") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


def tool(name: str) -> Path:
    """Return a program of the tools' environment."""
    path = TOOLS / "bin" / name
    if not path.exists():
        absent(name, f"run 'make deploy-tools' (looked in {TOOLS})")
    return path


def kubectl() -> str:
    """Return the path of kubectl."""
    return shutil.which("kubectl") or absent("kubectl", "see https://kubernetes.io/docs/tasks/tools")


def documents(text: str) -> list[Document]:
    """Return the documents of a YAML text."""
    return [document for document in yaml.safe_load_all(text) if document]


@pytest.fixture(scope="session")
def base() -> list[Document]:
    """Return the base's objects, as they lie there."""
    folder = KUBERNETES / "base"
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    return [found for name in listed for found in documents((folder / name).read_text(encoding="utf-8"))]


@pytest.fixture(scope="session", params=["local", "cloud"])
def rendered(request: pytest.FixtureRequest) -> list[Document]:
    """Return the objects of an overlay, rendered by kustomize."""
    command = [kubectl(), "kustomize", str(KUBERNETES / request.param)]
    return documents(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
