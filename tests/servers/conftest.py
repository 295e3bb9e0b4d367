"""Real servers that others wrote, each started when a test first asks for it: pgstac, rustac, SeaweedFS and moto.

They listen on loopback only and are ended with the tests. They come from::

    apt-get install postgresql-15 postgresql-15-postgis-3    # PostgreSQL for pgstac
    make servers                                             # the rest, into .venv-servers

``FROSTMAP_SERVERS_VENV`` names another environment than ``.venv-servers``. A test whose server is absent is skipped and
says what to install; with ``FROSTMAP_SERVERS=required`` in the environment it fails instead.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import pytest

from frostmap.pipeline.storage import Storage

ROOT = Path(__file__).parents[2]
ENVIRONMENT = Path(os.environ.get("FROSTMAP_SERVERS_VENV") or ROOT / ".venv-servers")
STARTS_WITHIN = 90.0  # seconds; ten times what a busy machine of two cores needs

# neither is part of any other name: where they turn up, they were spilt
KEYS = {
    "AWS_ACCESS_KEY_ID": "FROSTMAPTESTSKEYID",
    "AWS_SECRET_ACCESS_KEY": "a key that opens nothing else",
    "AWS_REGION": "us-east-1",
}
BUCKET = "frostmap-tests"

Json: TypeAlias = dict[str, Any]


# ---- programs and ports --------------------------------------------------------------------------------------------


def absent(what: str, remedy: str) -> NoReturn:
    """Skip a test because a server is not installed; fail where all must be."""
    reason = f"{what} is not installed: {remedy}"
    if os.environ.get("FROSTMAP_SERVERS") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


def program(name: str) -> Path:
    """Return a program of the servers' environment."""
    path = ENVIRONMENT / "bin" / name
    if not path.exists():
        absent(f"{name} of the test servers", f"run 'make servers' (looked in {ENVIRONMENT})")
    return path


def free_ports(n: int) -> list[int]:
    """Return ports of loopback that nothing listens on."""
    with contextlib.ExitStack() as stack:  # held together, so that none comes twice
        probes = [stack.enter_context(socket.socket()) for _ in range(n)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def surroundings(**more: str) -> dict[str, str]:
    """Return what a server sees of this process's environment: neither keys, nor proxies, nor Python's settings."""
    kept = ("PATH", "LANG", "LC_ALL", "TMPDIR", "TZ")
    return {name: os.environ[name] for name in kept if name in os.environ} | more


def accepts(port: int) -> bool:
    """Say whether something listens on a port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def answers(url: str) -> bool:
    """Say whether a server answers with success."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def succeeds(command: Sequence[str | Path]) -> bool:
    """Say whether a command ends with success."""
    return subprocess.run(command, env=surroundings(), stdin=subprocess.DEVNULL, check=False).returncode == 0


@contextlib.contextmanager
def running(
    command: Sequence[str | Path],
    folder: Path,
    ready: Callable[[], bool],
    *,
    environment: dict[str, str] | None = None,
    user: str | None = None,
    stop: signal.Signals = signal.SIGTERM,
) -> Iterator[None]:
    """Run a server in a folder of its own until the block ends; its output goes to ``log`` there."""
    log = folder / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment or surroundings(),
            user=user,
            group=user,
            extra_groups=[] if user else None,
        )
    try:
        give_up = time.monotonic() + STARTS_WITHIN
        while not ready():
            if server.poll() is not None or time.monotonic() > give_up:
                said = log.read_text(errors="replace")[-4000:]
                pytest.fail(f"{Path(command[0]).name} did not start (exit code {server.poll()}):\n{said}")
            time.sleep(0.05)
        yield
    finally:
        server.send_signal(stop)
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def once(command: Sequence[str | Path], environment: dict[str, str] | None = None, user: str | None = None) -> None:
    """Run a command to its end; fail with all that it said."""
    done = subprocess.run(
        command,
        env=environment or surroundings(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",  # a folder that any user may enter
        text=True,
        check=False,
        user=user,
        group=user,
        extra_groups=[] if user else None,
    )
    if done.returncode:
        pytest.fail(f"{Path(command[0]).name} failed ({done.returncode}):\n{done.stdout[-4000:]}")


# ---- object stores -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ObjectStore:
    """A place in a bucket that is this test's alone; the keys to it are in the environment."""

    server: str
    """Which server it is on: ``"seaweedfs"`` or ``"moto"``."""

    endpoint: str
    """The server, plain http on loopback."""

    bucket: str
    """A bucket that exists."""

    prefix: str
    """No object of this name or below it existed when the test began."""

    @property
    def url(self) -> str:
        """The place as recipes name it."""
        return f"s3://{self.bucket}/{self.prefix}"


def make_bucket(endpoint: str) -> None:
    """Make the bucket, signed by the vendor's own library."""
    text = "import boto3, sys; boto3.client('s3', endpoint_url=sys.argv[1]).create_bucket(Bucket=sys.argv[2])"
    environment = surroundings(**KEYS, AWS_DEFAULT_REGION=KEYS["AWS_REGION"], AWS_MAX_ATTEMPTS="10")
    once([program("python"), "-I", "-c", text, endpoint, BUCKET], environment)


@dataclass(frozen=True)
class SeaweedFS:
    """A store that keeps its objects on disk and checks signatures; it can be killed and started again."""

    command: list[str | Path]
    folder: Path
    endpoint: str
    """Of its S3 interface."""

    @classmethod
    def in_folder(cls, folder: Path) -> SeaweedFS:
        """Return a server that does not run yet, with an empty disk."""
        weed = program("weed")
        (folder / "data").mkdir()
        credentials = [{"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}]
        rights = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {"name": "tests", "credentials": credentials, "actions": rights}
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        parts = ("master", "volume", "filer", "s3")
        http, grpc = free_ports(4), free_ports(4)  # gRPC ports would else be 10000 higher, above 65535 now and then
        command: list[str | Path] = [weed, "-logtostderr", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-dir=data"]
        command += ["-filer", "-s3", "-s3.config=s3.json", "-volume.max=50", "-master.volumeSizeLimitMB=256"]
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.localSocket={folder / 's3.sock'}"]
        command += [f"-filer.localSocket={folder / 'filer.sock'}"]
        command += ["-master.telemetry=false"]  # it reports to its makers otherwise
        command += [f"-{part}.port={port}" for part, port in zip(parts, http, strict=True)]
        command += [f"-{part}.port.grpc={port}" for part, port in zip(parts, grpc, strict=True)]
        return cls(command, folder, f"http://127.0.0.1:{http[3]}")

    def running(self) -> contextlib.AbstractContextManager[None]:
        """Run it until the block ends; it is killed then: an orderly stop takes 15 s."""
        ready = f"{self.endpoint}/healthz"
        return running(self.command, self.folder, lambda: answers(ready), stop=signal.SIGKILL)


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run SeaweedFS; yield its S3 endpoint."""
    server = SeaweedFS.in_folder(tmp_path_factory.mktemp("seaweedfs"))
    with server.running():
        make_bucket(server.endpoint)
        yield server.endpoint


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run moto, a store that keeps its objects in memory and checks no signature; yield its endpoint."""
    (port,) = free_ports(1)
    command = [program("moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with running(command, tmp_path_factory.mktemp("moto"), lambda: accepts(port)):
        make_bucket(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"


_serial = itertools.count(1)


def empty_place(server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """Return an empty place on a server, and set the keys to it as a user would."""
    endpoint = request.getfixturevalue(server)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)  # the account of whoever runs the tests
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    test = re.sub(r"[^a-z0-9]+", "-", request.node.originalname.lower()).strip("-")
    return ObjectStore(server, endpoint, BUCKET, f"{test}-{next(_serial)}")


@pytest.fixture(params=["seaweedfs", "moto"])
def s3(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """Return an empty place on each of the S3 servers."""
    return empty_place(request.param, request, monkeypatch)


@pytest.fixture(params=["folder", "seaweedfs", "moto"])
def storage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Storage:
    """Return an empty storage of each kind."""
    if request.param == "folder":
        return Storage.of_folder(tmp_path / "storage")
    place = empty_place(request.param, request, monkeypatch)
    return Storage(place.url, place.endpoint)


# ---- STAC APIs -----------------------------------------------------------------------------------------------------


def write_lines(path: Path, documents: Iterable[Json]) -> Path:
    """Write documents as newline-delimited JSON."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(document, separators=(",", ":")) + "\n" for document in documents)
    return path


def postgresql() -> Path:
    """Return the folder of PostgreSQL's programs, the newest that has PostGIS."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -int(path.parent.name)):
        if (Path("/usr/share/postgresql") / folder.parent.name / "extension" / "postgis.control").exists():
            return folder
    absent("PostgreSQL with PostGIS", "apt-get install postgresql-15 postgresql-15-postgis-3")


def database_user() -> str | None:
    """Return whom to run PostgreSQL as, which refuses root: None for whoever runs the tests."""
    if os.geteuid():
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        absent("the user postgres", "apt-get install postgresql-15 postgresql-15-postgis-3")


@dataclass(frozen=True)
class PgStac:
    """PostgreSQL with databases of STAC items, and the APIs on them; all end with the tests."""

    programs: Path
    """PostgreSQL's."""

    port: int
    """PostgreSQL's, on loopback."""

    folder: Path
    """Where logs and loaded documents lie."""

    apis: contextlib.ExitStack
    """The servers that run."""

    def environment(self, database: str, **more: str) -> dict[str, str]:
        """Return what a client of a database needs to know."""
        place = {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGDATABASE": database}
        return surroundings(**place, PGUSER="postgres", PGPASSWORD="unused", **more)

    def sql(self, statement: str, database: str = "postgres") -> None:
        """Carry out a statement."""
        command = [self.programs / "psql", "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-qc", statement]
        once(command, self.environment(database))

    def migrate(self) -> None:
        """Make the empty catalogue that others are copies of: copying takes a tenth of the time of making."""
        self.sql("CREATE DATABASE empty")
        self.sql("CREATE EXTENSION postgis", "empty")
        once([program("pypgstac"), "migrate"], self.environment("empty"))

    def load(self, name: str, collections: Iterable[Json], items: Iterable[Json]) -> str:
        """Make a database of collections and items; return its name."""
        self.sql(f"CREATE DATABASE {name} TEMPLATE empty")
        for table, documents in (("collections", collections), ("items", items)):
            path = write_lines(self.folder / f"{name}-{table}.ndjson", documents)
            once([program("pypgstac"), "load", table, path, "--method", "upsert"], self.environment(name))
        return name

    def serve(self, database: str, extensions: str = "") -> str:
        """Start an API on a database and return its address; `extensions` separated by commas, all if empty."""
        (port,) = free_ports(1)
        folder = self.folder / f"api-{port}"
        folder.mkdir()
        address = f"http://127.0.0.1:{port}"
        # the API, not SQL, makes whole items of stored ones: so does the public catalogue, at a tenth of the time
        settings = {"USE_API_HYDRATE": "TRUE"} | ({"ENABLED_EXTENSIONS": extensions} if extensions else {})
        environment = self.environment(database, **settings)
        command = [program("uvicorn"), "stac_fastapi.pgstac.app:create_app", "--factory"]
        command += ["--host", "127.0.0.1", "--port", str(port), "--no-access-log"]
        server = running(command, folder, lambda: answers(f"{address}/_mgmt/ping"), environment=environment)
        self.apis.enter_context(server)
        return address


@pytest.fixture(scope="session")
def pgstac(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PgStac]:
    """Run PostgreSQL with an empty pgstac, the catalogue that Planetary Computer runs, for tests to fill and serve."""
    programs, user = postgresql(), database_user()
    program("pypgstac")
    (port,) = free_ports(1)
    with contextlib.ExitStack() as stack:
        # not below pytest's folders, which nobody but their owner may enter
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="frostmap-postgresql-")))
        if user:
            shutil.chown(home, user, user)
        data = home / "data"
        once([programs / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync"], user=user)
        settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
        settings |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "max_wal_size": "4GB"}
        command: list[str | Path] = [programs / "postgres", "-D", data]
        command += [f"--{name}={value}" for name, value in settings.items()]
        ask = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        # SIGINT: close connections and stop
        stack.enter_context(running(command, home, lambda: succeeds(ask), user=user, stop=signal.SIGINT))
        apis = stack.enter_context(contextlib.ExitStack())
        server = PgStac(programs, port, tmp_path_factory.mktemp("pgstac"), apis)
        server.migrate()
        yield server


@pytest.fixture(scope="session")
def rustac(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Iterable[Json]], str]]:
    """Yield a function that serves items by rustac, a small API without the query extension; it returns the address."""
    command = Path(sys.executable).parent / "rustac"
    if not command.exists():
        absent("rustac", "install the development tools: make lint")

    with contextlib.ExitStack() as stack:

        def serve(items: Iterable[Json]) -> str:
            (port,) = free_ports(1)
            folder = tmp_path_factory.mktemp("rustac")
            write_lines(folder / "items.ndjson", items)
            line = [command, "serve", "items.ndjson", "--create-collections", "--addr", f"127.0.0.1:{port}"]
            stack.enter_context(running(line, folder, lambda: accepts(port)))
            return f"http://127.0.0.1:{port}"

        yield serve
