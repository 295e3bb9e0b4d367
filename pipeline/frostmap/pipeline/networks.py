"""E by neural networks that are trained through the frost number, on surveyed classes alone or held to what is known.

A network gives E of a pixel's predictors; E, DDF and DDT give z = ln DDF - ln DDT - 2 ln E, which is above 0 exactly
where ground is permafrost; the surveyed class says which sign is right. `constraint="none"` is the paper's: nothing but
the classes counts. They say on which side of the critical E a pixel is and no more, so that E may be anything where one
class is all there is. `constraint="bounded"` holds E within the calibration's bounds and adds what is known besides: E
of the calibrated clusters, likeness of neighbours, and that wetter ground has the lower E.

PyTorch trains (the extra `network`); prediction needs no more than NumPy (`frostmap.kernels.network`).
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from frostmap.kernels.agreement import counts
from frostmap.kernels.network import Network, bounded, outputs
from frostmap.pipeline.errors import UserError

Table = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.float64]
Constraint = Literal["bounded", "none"]

FORMAT = 1
"""Of the files; another one is refused."""
SPREAD_OF_E = 0.09
"""What a departure from the calibrated E is measured by: the standard deviation of E that the paper's scores imply."""
LEAST_SUM = 1.0
"""Sums below it are taken to be it [°C d]."""
LEAST_E = 1e-6
"""E below it is taken to be it, in its logarithm."""
NAMES = ("first", "first_bias", "second", "second_bias", "last", "last_bias")
"""Of a member's weights, in the order in which they are used."""


@dataclass(frozen=True)
class Settings:
    """How networks are trained."""

    constraint: Constraint = "bounded"
    bounds: tuple[float, float] = (0.5, 1.5)
    hidden: int = 64
    steepness: float = 5.0
    """Of the probability at the class limit, at first; it is learnt."""
    to_calibrated: float = 0.1
    """Weight of the squared departure from the calibrated E, over that of `SPREAD_OF_E`."""
    to_neighbours: float = 0.01
    """Weight of the difference between neighbours."""
    to_wetness: float = 0.01
    """Weight of E that rises with precipitation."""
    decay: float = 1e-4
    """Of weights, at each step, times the learning rate."""
    rate: float = 2e-3
    """Learning rate."""
    steps: int = 1500
    batch: int = 2048
    """Surveyed pixels of a step; of the other terms half as many."""
    every: int = 25
    """Steps after which the region held out is looked at."""
    patience: int = 12
    """Looks without gain after which training ends."""
    train_share: float = 0.7
    """Of surveyed pixels outside the region held out; the rest tests."""
    seed: int = 123


@dataclass(frozen=True, eq=False)
class Lessons:
    """What networks learn from."""

    values: Table
    """(surveyed, predictors): of surveyed pixels, without NaN."""
    ddf: Numbers
    """(surveyed,): freezing sum [°C d]."""
    ddt: Numbers
    """(surveyed,): thawing sum [°C d]."""
    permafrost: npt.NDArray[np.bool_]
    """(surveyed,): the surveyed class."""
    region: npt.NDArray[np.int64]
    """(surveyed,): number of the surveyed region."""
    pairs: npt.NDArray[np.int64]
    """(pairs, 2): surveyed pixels that touch, both of one region."""
    anchor_values: Table
    """(anchors, predictors): of pixels of the whole map."""
    anchor_e: Numbers
    """(anchors,): their calibrated E."""
    wetter: int
    """Which predictor is precipitation."""

    @property
    def standard(self) -> tuple[Table, Table]:
        """Means and scales of the predictors over the whole map."""
        known = self.anchor_values if len(self.anchor_values) else self.values
        scales = known.std(axis=0, dtype=np.float64)
        return known.mean(axis=0, dtype=np.float64).astype(np.float32), np.where(scales > 0, scales, 1.0).astype(
            np.float32
        )


@dataclass(frozen=True, eq=False)
class Member:
    """One trained network, and how it did."""

    weights: tuple[Table, ...]
    """By `NAMES`."""
    scores: Mapping[str, float]
    """held_out (region, -1 none), steps, steepness; accuracy of the surveyed pixels it was trained on, of those it was
    tested on, and of the region held out, whose kappa too."""


def is_there() -> bool:
    """Say whether PyTorch is installed."""
    return find_spec("torch") is not None


def demand() -> None:
    """Refuse to go on without PyTorch.

    Raises
    ------
    UserError
        It is not installed.
    """
    _torch()


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise UserError(
            "networks are trained with PyTorch, which is not installed",
            found=str(error),
            wanted="the extra `network`",
            remedy="install it with: pip install 'frostmap[network]'; forests need nothing more",
        ) from error
    return torch


# ---- what is minimised --------------------------------------------------------------------------------------------


def initial_weights(predictors: int, settings: Settings, seed: int) -> tuple[Table, ...]:
    """Return weights to begin with, drawn as He et al. (2015, doi:10.1109/ICCV.2015.123) do; E begins near 1."""
    rng, hidden = np.random.default_rng(seed), settings.hidden
    first = rng.normal(0.0, math.sqrt(2.0 / predictors), (predictors, hidden))
    second = rng.normal(0.0, math.sqrt(2.0 / hidden), (hidden, hidden))
    last = rng.normal(0.0, 0.1 / math.sqrt(hidden), hidden)
    bias = 0.0 if settings.constraint == "bounded" else math.log(math.e - 1.0)
    parts = (first, np.zeros(hidden), second, np.zeros(hidden), last, np.array(bias))
    return tuple(np.asarray(part, np.float32) for part in parts)


def e_of(torch: Any, weights: Sequence[Any], x: Any, settings: Settings) -> Any:
    """Return E of standardised predictors (pixels, predictors), as `frostmap.kernels.network` does, in PyTorch."""
    first, first_bias, second, second_bias, last, last_bias = weights
    gelu = torch.nn.functional.gelu
    f = gelu(gelu(x @ first + first_bias) @ second + second_bias) @ last + last_bias
    if settings.constraint == "none":
        return torch.nn.functional.softplus(f)
    lower, upper = settings.bounds
    return lower + (upper - lower) * torch.sigmoid(f)


def logit_of(torch: Any, e: Any, log_ratio: Any, steepness: Any) -> Any:
    """Return the logit of the probability of permafrost, k (ln DDF - ln DDT - 2 ln E); k = softplus(steepness)."""
    z = log_ratio - 2.0 * torch.log(torch.clamp(e, min=LEAST_E))
    return torch.nn.functional.softplus(steepness) * z


def class_loss(torch: Any, logit: Any, permafrost: Any, weight: Any) -> Any:
    """Return the mean cross-entropy, each pixel weighted so that both classes count alike."""
    return torch.nn.functional.binary_cross_entropy_with_logits(logit, permafrost, weight=weight)


@dataclass(frozen=True, eq=False)
class Batch:
    """What one step looks at, as tensors."""

    x: Any
    log_ratio: Any
    permafrost: Any
    weight: Any
    left: Any
    """Standardised predictors of pixels, and of a neighbour of each."""
    right: Any
    anchors: Any
    anchor_e: Any


def loss_of(torch: Any, weights: Sequence[Any], steepness: Any, batch: Batch, settings: Settings, wetter: int) -> Any:
    """Return what training makes small: cross-entropy of the classes and, where E is bounded, the three penalties."""
    e = e_of(torch, weights, batch.x, settings)
    loss = class_loss(torch, logit_of(torch, e, batch.log_ratio, steepness), batch.permafrost, batch.weight)
    if settings.constraint == "none":
        return loss
    anchors = batch.anchors.detach().requires_grad_(True)
    anchored = e_of(torch, weights, anchors, settings)
    if settings.to_calibrated and len(batch.anchor_e):
        loss = loss + settings.to_calibrated * torch.mean((anchored - batch.anchor_e) ** 2) / SPREAD_OF_E**2
    if settings.to_neighbours and len(batch.left):
        apart = e_of(torch, weights, batch.left, settings) - e_of(torch, weights, batch.right, settings)
        loss = loss + settings.to_neighbours * torch.mean(torch.abs(apart))
    if settings.to_wetness and len(batch.anchor_e):
        (slope,) = torch.autograd.grad(anchored.sum(), anchors, create_graph=True)
        loss = loss + settings.to_wetness * torch.mean(torch.relu(slope[:, wetter]))
    return loss


def class_weights(permafrost: npt.NDArray[np.bool_]) -> Numbers:
    """Return a weight for each pixel such that both classes weigh alike and the mean is 1; 1 where there is one class.

    >>> class_weights(np.array([True, False, False, False])).round(3).tolist()
    [2.0, 0.667, 0.667, 0.667]
    """
    count = np.array([np.sum(~permafrost), np.sum(permafrost)], np.float64)
    if not count.all():
        return np.ones(len(permafrost))
    weights: Numbers = (len(permafrost) / (2.0 * count))[permafrost.astype(np.int64)]
    return weights


def log_ratio(ddf: Numbers, ddt: Numbers) -> Numbers:
    """Return ln DDF - ln DDT, sums below 1 °C d taken to be 1."""
    found: Numbers = np.log(np.maximum(ddf, LEAST_SUM)) - np.log(np.maximum(ddt, LEAST_SUM))
    return found


# ---- training -----------------------------------------------------------------------------------------------------


def held_out_regions(lessons: Lessons, settings: Settings) -> list[int]:
    """Return the regions of which each is held out by a member; -1, none, where nothing is to stop training early."""
    regions = np.unique(lessons.region)
    return regions.tolist() if settings.constraint == "bounded" and len(regions) > 1 else [-1]


@contextmanager
def _one_thread(torch: Any) -> Iterator[None]:
    """Keep PyTorch to one thread: steps are so small that several would spend their time waiting for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def train_member(lessons: Lessons, held_out: int, settings: Settings) -> Member:
    """Return a network trained on all regions but one.

    Where a region is held out the weights are kept that were best there: the loss of its classes, looked at every
    `every` steps. Without one, training goes on to its last step. The same seed makes the same network.

    Raises
    ------
    UserError
        PyTorch is not installed.
    """
    torch = _torch()
    with _one_thread(torch):
        return _train_member(torch, lessons, held_out, settings)


def _train_member(torch: Any, lessons: Lessons, held_out: int, settings: Settings) -> Member:
    seed = settings.seed + 1000 * (held_out + 1)
    rng = np.random.default_rng(seed)
    means, scales = lessons.standard
    values, anchors = (lessons.values - means) / scales, (lessons.anchor_values - means) / scales
    ratio = log_ratio(lessons.ddf, lessons.ddt).astype(np.float32)
    outside = np.flatnonzero(lessons.region != held_out)
    train = rng.permutation(outside)[: max(1, round(settings.train_share * len(outside)))]
    pairs = lessons.pairs[lessons.region[lessons.pairs[:, 0]] != held_out] if len(lessons.pairs) else lessons.pairs
    weight = np.zeros(len(ratio), np.float32)
    weight[train] = class_weights(lessons.permafrost[train])
    held = np.flatnonzero(lessons.region == held_out)
    held_weight = class_weights(lessons.permafrost[held]).astype(np.float32)

    def tensor(array: npt.NDArray[Any]) -> Any:
        return torch.from_numpy(np.array(array, np.float32))

    def some(of: int, wanted: int) -> npt.NDArray[np.int64]:
        return rng.integers(0, of, wanted if of else 0)

    def draw() -> Batch:
        rows = train[some(len(train), settings.batch)]
        half = settings.batch // 2 if settings.constraint == "bounded" else 0
        near, kept = pairs[some(len(pairs), half)].reshape(-1, 2), some(len(anchors), half)
        parts = [values[rows], ratio[rows], lessons.permafrost[rows], weight[rows]]
        parts += [values[near[:, 0]], values[near[:, 1]], anchors[kept], lessons.anchor_e[kept]]
        return Batch(*map(tensor, parts))

    start = initial_weights(values.shape[1], settings, seed)
    weights = [tensor(part).requires_grad_(True) for part in start]
    steepness = torch.tensor(math.log(math.expm1(settings.steepness)), dtype=torch.float32, requires_grad=True)
    optimiser = torch.optim.AdamW(
        [{"params": weights, "weight_decay": settings.decay}, {"params": [steepness], "weight_decay": 0.0}],
        lr=settings.rate,
    )
    of_held = [tensor(part) for part in (values[held], ratio[held], lessons.permafrost[held], held_weight)]

    def snapshot() -> tuple[tuple[Table, ...], float]:
        steep = float(torch.nn.functional.softplus(steepness.detach()))
        return tuple(each.detach().numpy().copy() for each in weights), steep

    best, kept, steps, at = math.inf, snapshot(), 0, 0
    while steps < settings.steps:
        optimiser.zero_grad()
        loss_of(torch, weights, steepness, draw(), settings, lessons.wetter).backward()
        optimiser.step()
        steps += 1
        if len(held) and steps % settings.every == 0:
            with torch.no_grad():
                logit = logit_of(torch, e_of(torch, weights, of_held[0], settings), of_held[1], steepness)
                loss = float(class_loss(torch, logit, of_held[2], of_held[3]))
            if loss < best:
                best, kept, at = loss, snapshot(), steps
            elif steps - at >= settings.patience * settings.every:
                break
    if not len(held):
        kept, at = snapshot(), steps
    (found, steep) = kept
    network = _joined([found], lessons, settings)
    test = np.setdiff1d(outside, train)
    scores: dict[str, float] = {"held_out": held_out, "steps": at, "steepness": steep}
    for name, rows in (("train", train), ("test", test), ("held_out", held)):
        if len(rows):
            e = bounded(outputs(network, 0, values[rows]), *network.bounds.tolist())
            table = counts(lessons.permafrost[rows], ratio[rows] - 2.0 * np.log(np.maximum(e, LEAST_E)) > 0)
            scores |= {f"{name}_accuracy": table.overall_accuracy, f"{name}_kappa": table.kappa}
    return Member(found, scores)


def train(lessons: Lessons, settings: Settings, each: Callable[[Member], None] = lambda _member: None) -> Trained:
    """Return trained networks: one for each region, held out by it, or one where nothing is held out.

    Raises
    ------
    UserError
        PyTorch is not installed.
    """
    members = []
    for region in held_out_regions(lessons, settings):
        members.append(train_member(lessons, region, settings))
        each(members[-1])
    return together(members, lessons, settings)


@dataclass(frozen=True, eq=False)
class Trained:
    """Networks, and how each did."""

    network: Network
    members: tuple[Mapping[str, float], ...]
    """Scores of each member (see `Member`)."""
    settings: Settings


def together(members: Sequence[Member], lessons: Lessons, settings: Settings) -> Trained:
    """Return members as one network whose E is their mean."""
    network = _joined([member.weights for member in members], lessons, settings)
    return Trained(network, tuple(member.scores for member in members), settings)


def _joined(weights: Sequence[tuple[Table, ...]], lessons: Lessons, settings: Settings) -> Network:
    stacked = {name: np.stack([some[i] for some in weights]).astype(np.float32) for i, name in enumerate(NAMES)}
    bounds = settings.bounds if settings.constraint == "bounded" else (0.0, math.inf)
    means, scales = lessons.standard
    return Network(means=means, scales=scales, bounds=np.array(bounds, np.float32), **stacked)


# ---- what a whole map of E looks like -----------------------------------------------------------------------------


BIN = 0.1
"""Width of the bins of E in which the paper looks for the mode."""


def plateau_check(e: npt.NDArray[np.floating], bounds: tuple[float, float] = (0.5, 1.5)) -> dict[str, float]:
    """Return what the paper asks of E all over the plateau: how much of it is where, and its mode.

    Parameters
    ----------
    e
        E of pixels; NaN are left out.
    bounds
        What is physical.

    Returns
    -------
    dict
        n; share_physical, share_to_2, share_above_2; mode, the middle of the fullest bin of 0.1 among E up to 2 (NaN if
        there is none); min, median, max.
    """
    known = np.asarray(e, np.float64)[np.isfinite(e)]
    if not known.size:
        return {"n": 0}
    edges = np.linspace(0.0, 2.0, 21)
    bins, _ = np.histogram(known, edges)
    mode = edges[bins.argmax()] + BIN / 2 if bins.any() else float("nan")
    low, high = np.float32(bounds[0]), np.float32(bounds[1])
    return {
        "n": int(known.size),
        "share_physical": float(np.mean((known >= low) & (known <= high))),
        "share_to_2": float(np.mean(known <= 2.0)),
        "share_above_2": float(np.mean(known > 2.0)),
        "mode": float(mode),
        "min": float(known.min()),
        "median": float(np.median(known)),
        "max": float(known.max()),
    }


# ---- kept ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Kept:
    """Networks, and where they come from."""

    network: Network
    predictors: tuple[str, ...]
    """Names of what they look at, in order."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """How they were trained and on what, as plain data."""


def save(trained: Trained, predictors: Sequence[str], folder: Path) -> list[Path]:
    """Write network.npz and network.json into a folder; return their paths."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{each.name: getattr(trained.network, each.name) for each in fields(Network)})
    content = buffer.getvalue()
    described = {
        "format": FORMAT,
        "what": "neural networks of E: see frostmap.kernels.network.Network for the arrays",
        "sha256": hashlib.sha256(content).hexdigest(),
        "predictors": list(predictors),
        "training": {"settings": asdict(trained.settings), "members": [dict(member) for member in trained.members]},
        "software": {name: version(name) for name in ("frostmap", "numpy", "torch")},
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "network.npz", folder / "network.json"]
    for path, data in zip(paths, (content, json.dumps(described, indent=2).encode()), strict=True):
        draft = path.with_suffix(".draft")
        draft.write_bytes(data)
        draft.replace(path)
    return paths


def load(folder: Path, predictors: Sequence[str]) -> Kept:
    """Return the networks in a folder; nothing in its files is run, and PyTorch is not needed.

    Raises
    ------
    UserError
        The files are not there or not whole, do not belong together, or hold no network of these predictors.
    """
    arrays_path, path = folder / "network.npz", folder / "network.json"
    try:
        described = json.loads(path.read_bytes())
        content = arrays_path.read_bytes()
    except (OSError, ValueError) as error:
        raise _unusable(path, error, "network.npz and network.json") from error
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        found = described.get("format") if isinstance(described, dict) else described
        raise _unusable(path, f"format {found}", f"format {FORMAT}")
    if described.get("sha256") != hashlib.sha256(content).hexdigest():
        raise _unusable(arrays_path, "content of another digest", f"the digest that {path.name} tells")
    if described.get("predictors") != list(predictors):
        raise _unusable(path, f"predictors {described.get('predictors')}", f"predictors {list(predictors)}")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            network = Network(**{each.name: stored[each.name] for each in fields(Network)})
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise _unusable(arrays_path, error, "the arrays of a network") from error
    if faults := network.faults(len(predictors)):
        raise _unusable(arrays_path, "; ".join(faults), "arrays that fit each other")
    return Kept(network, tuple(predictors), described.get("training", {}))


def _unusable(path: Path, found: object, wanted: str) -> UserError:
    return UserError(
        "a network cannot be used",
        where=str(path),
        found=str(found),
        wanted=wanted,
        remedy="remove the folder, and train again with: frostmap experiment network WORKDIR",
    )
