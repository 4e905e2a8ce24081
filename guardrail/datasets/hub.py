"""Data sets of the Hugging Face hub, by name -> rows like those of JSON lines, each with its place.

`hub:sciq@validation` is a data set's split. The split must be named, must be one that the hub says exists, and must be the one
that arrives: a data set never gives another split than the one that was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from guardrail.datasets.hub_sets import HUB_SETS, HubSet
from guardrail.errors import DataError, MissingExtraError

HUB_PREFIX = "hub:"
_SPEC = re.compile(
    r"hub:(?P<name>[\w-]+)(?::(?P<folder>[^@]+))?(?:@(?P<split>\w[\w.-]*)(?:\[(?P<start>\d*):(?P<stop>\d*)\])?)?"
)
Placed = tuple[str, dict[str, Any]]


def read_hub(spec: str) -> tuple[Iterator[Placed], dict[str, JsonValue]]:
    """Rows with their places (`hub:sciq@validation:17`, from 1 in the whole split), and where they come from.

    spec: `hub:NAME@SPLIT`; `hub:NAME@SPLIT[100:200]` takes rows 100 to 199, counted from 0; `hub:NAME:FOLDER@SPLIT` reads a
    copy on disk. From the hub, the commit is looked up first, loaded, and told in the source.

    Raises `MissingExtraError` without the package datasets, and `DataError` for an unknown name, a split that is not named,
    does not exist or has no answers, and for a hub that cannot be reached.
    """
    parts = _SPEC.fullmatch(spec)
    if parts is None:
        raise DataError(f"{spec!r} names no data set of the hub; write hub:NAME@SPLIT, such as hub:sciq@validation")
    name, split, folder = parts["name"], parts["split"], parts["folder"]
    if name not in HUB_SETS:
        raise DataError(
            f"no data set {name!r} is known here; known are {', '.join(HUB_SETS)}. Write other questions to a .jsonl file"
        )
    found = HUB_SETS[name]
    if split is None:
        raise DataError(
            f"{spec!r} names no split, and which one is used must be plain; {name} has {', '.join(found.splits)}: "
            f"write hub:{name}@{found.splits[0]}"
        )
    if split in found.without_answers:
        raise DataError(
            f"the answers of the split {split!r} of {name} are not public; use {', '.join(found.with_answers)}"
        )
    table, revision = _load(found, name, split, folder)
    start, stop = int(parts["start"] or 0), int(parts["stop"]) if parts["stop"] else len(table)
    if not 0 <= start < min(stop, len(table)):
        raise DataError(f"{spec!r} takes no rows: the split has {len(table)}")
    stop = min(stop, len(table))
    source: dict[str, JsonValue] = {
        "kind": "hub",
        "name": name,
        "path": folder or found.path,
        "config": found.config,
        "split": split,
        "rows": [start, stop],
        "revision": revision,
        "licence": found.licence,
        "fingerprint": str(getattr(table, "_fingerprint", "")),
    }
    return _rows(found, table, start, stop, f"hub:{name}@{split}"), source


def _rows(found: HubSet, table: Any, start: int, stop: int, place: str) -> Iterator[Placed]:
    missing = [column for column in found.columns if column not in table.column_names]
    if missing:
        raise DataError(
            f"{place}: no column {missing[0]!r}; its columns are {', '.join(table.column_names)}. The data set has "
            "changed: write its questions to a .jsonl file"
        )
    for i in range(start, stop):
        row = found.read(table[i])
        # a form without a letter or digit is in no one's power to mend here, and nothing could match it
        row["answers"] = [a for a in dict.fromkeys(row["answers"]) if any(map(str.isalnum, a))]
        if row["answers"]:
            yield f"{place}:{i + 1}", row


def _load(found: HubSet, name: str, split: str, folder: str | None) -> tuple[Any, str | None]:
    datasets = _library()
    revision = None
    try:
        if folder is None:
            revision = _commit(found.path)
        arguments: Mapping[str, Any] = {"revision": revision} if revision else {}
        location, config = folder or found.path, found.config if folder is None else None
        there: Sequence[str] = datasets.get_dataset_split_names(location, config, **arguments)
        if split not in there:
            raise DataError(f"{name} has no split {split!r}; it has {', '.join(there)}")
        table = datasets.load_dataset(location, config, split=split, **arguments)
    except DataError:
        raise
    except Exception as error:  # its readers and its network layer raise anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(
            f"cannot load {name} ({found.path}): {reason}. Without network, copy it where there is one (hf download "
            f"{found.path} --repo-type dataset --local-dir {name}) and read the copy: hub:{name}:FOLDER@{split}"
        ) from error
    arrived = str(table.split)
    told = (table.info.splits or {}).get(split)
    if arrived != split or told is None or told.num_examples != len(table):
        raise DataError(
            f"asked for the split {split!r} of {name}, and {arrived!r} with {len(table)} rows came; nothing is used of it"
        )
    return table, revision


def _commit(path: str) -> str:
    from huggingface_hub import HfApi

    return str(HfApi().dataset_info(path).sha)


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(
            "data sets of the hub need the package datasets; run: pip install 'hybridgrad-guardrail[datasets]'"
        ) from error
    datasets.disable_progress_bars()
    return datasets
