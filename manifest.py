"""The CSV contract: which face is where and what it is; checks, groups and splits.

One row a face. Columns (CONTRIBUTING.md has the frozen list): `path,label` and, where known,
`split,video,identity,source,method,track,frame,timestamp,box,landmarks,confidence,source_path`.
REAL = 0, FAKE = 1. Paths are relative to the CSV.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from faces.image import SUFFIXES
from utils import UserError, sha256_text, write_atomic

REAL, FAKE = 0, 1
SPLITS = ("train", "val", "test")

COLUMNS = (
    "path",
    "label",
    "split",
    "video",
    "identity",
    "source",
    "method",
    "track",
    "frame",
    "timestamp",
    "box",
    "landmarks",
    "confidence",
    "source_path",
)
"""All columns in their order; the first two are needed, the others may be missing or empty."""

GROUPING = ("identity", "video", "near_duplicate_group")
"""Rows that share one of these (within a source), or a fake and its original, stay together."""

SAME_FACE = ["path", "label", "box"]
"""Rows that agree in these are one face, named twice."""

OUR_LABELS = {"0": REAL, "1": FAKE, "real": REAL, "fake": FAKE}
"""What the cells of a `label` column say."""

SHOWN = 5
"""So many examples of each problem are named."""


@dataclass(frozen=True)
class Manifest:
    """Rows of a manifest and what was noticed while reading it.

    rows: a DataFrame with all of COLUMNS as text (empty where unknown) except `label` (int 0 or
    1), plus any further columns; `path` and `source_path` are absolute.
    """

    file: str
    rows: pd.DataFrame
    warnings: tuple[str, ...] = field(default=())

    def split(self, *names: str) -> pd.DataFrame:
        """The rows of these splits, in order."""
        return self.rows[self.rows["split"].isin(names)].reset_index(drop=True)

    @property
    def home(self) -> Path:
        """The folder that paths are relative to."""
        path = Path(self.file).absolute()
        return path if path.is_dir() else path.parent

    @property
    def has_splits(self) -> bool:
        return bool((self.rows["split"] != "").any())


# -------------------------------------------------------------------------------- reading


def read(file: str, fake_label: int | str | None = None) -> Manifest:
    """Read a manifest: our CSV, `path,real` (1 = real), a headerless `path,label`, or a folder.

    `fake_label` says which label means fake where the CSV does not: a headerless one needs it.
    Raises UserError that names every problem at once: missing files, unknown labels, one path
    with two labels, an identity on two sides of a split.
    """
    path = Path(file)
    if path.is_dir():
        rows = _read_folder(path)
    elif path.is_file():
        rows = _read_csv(path, fake_label)
    else:
        raise UserError(f"{file}: no such CSV or folder")
    rows = rows.reindex(columns=[*COLUMNS, *(c for c in rows if c not in COLUMNS)], fill_value="")
    problems, rows, warnings = _check(rows, path)
    if problems:
        raise UserError(f"{file}:\n  " + "\n  ".join(problems))
    return Manifest(file, rows, tuple(f"{file}: {warning}" for warning in warnings))


def pictures(path: str) -> pd.DataFrame:
    """Rows for one picture or a folder of pictures whose labels nobody knows (label -1)."""
    root = Path(path)
    if not root.exists():
        raise UserError(f"{path}: no such picture or folder")
    files = [root] if root.is_file() else _pictures_under(root)
    if not files:
        raise UserError(f"{path}: holds no pictures ({', '.join(sorted(SUFFIXES))})")
    rows = pd.DataFrame({"path": [str(f.absolute()) for f in files], "label": -1})
    return rows.reindex(columns=list(COLUMNS), fill_value="")


def write(file: Path, rows: pd.DataFrame) -> None:
    """Write rows as a manifest; paths become relative to it, columns that nobody fills go."""
    rows = rows.copy()
    home = file.absolute().parent
    for column in ("path", "source_path"):
        if column in rows:
            rows[column] = [relative(value, home) for value in rows[column]]
    known = dict.fromkeys((*COLUMNS, *GROUPING))
    kept = [c for c in known if c in rows and (rows[c].astype(str) != "").any()]
    write_atomic(file, rows[kept].to_csv(index=False, lineterminator="\n"))


def relative(value: str, home: Path) -> str:
    """A path as a manifest in `home` writes it: relative where it lies below, else absolute."""
    path, home = Path(value), Path(os.path.normpath(home))
    below = bool(value) and path.is_relative_to(home)
    return path.relative_to(home).as_posix() if below else value


def numbers(text: str) -> np.ndarray | None:
    """A `box` (4 numbers) or `landmarks` (10) cell -> float array, None where empty."""
    return np.array(text.split(), float) if text else None


def cell(values: Sequence[float] | np.ndarray | None) -> str:
    """Numbers -> a `box` or `landmarks` cell: separated by spaces, to a hundredth of a pixel."""
    return "" if values is None else " ".join(f"{float(v):.2f}" for v in np.ravel(values))


# ------------------------------------------------------------------------------- grouping


def groups(rows: pd.DataFrame) -> np.ndarray:
    """Integer group of each row, [n]: rows that must never stand on two sides of a split.

    Linked are rows of one identity, one video, one near-duplicate group, and a fake with the
    picture it was made from; links chain.
    """
    parent = np.arange(len(rows))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return int(i)

    def link(*columns: pd.Series) -> None:
        """Link the rows that carry one name, in whichever of the columns."""
        first: dict[str, int] = {}
        for column in columns:
            for i, name in enumerate(column):
                if name:
                    parent[find(i)] = find(first.setdefault(name, i))

    for column in GROUPING:
        if column in rows:
            link(scoped(rows, column))
    link(rows["path"], rows["source_path"])
    return np.array([find(i) for i in range(len(rows))])


def scoped(rows: pd.DataFrame, column: str) -> pd.Series:
    """Names of a column within their source ("id0" of two collections are two people)."""
    return (rows["source"] + "/" + rows[column]).where(rows[column] != "", "")


def random_split(
    rows: pd.DataFrame, shares: Sequence[float], names: Sequence[str], seed: int
) -> pd.Series:
    """Split names for the rows: by group, stratified by label, the same on every machine.

    shares: one per name, summing to 1. Whole groups go, large ones first and then in an order
    that is a hash of (seed, group's first path within the set), to the split that is furthest
    below its share of the group's classes. The last groups of a class go to splits that have
    none of it yet, so that few people still make a training and a validation set.
    """
    group = groups(rows)
    paths = rows["path"].str.replace("\\", "/")
    common = _common_folder(paths)
    table = pd.DataFrame({"group": group, "fake": rows["label"] == FAKE, "path": paths})
    sizes = table.groupby("group").agg(
        fake=("fake", "sum"), n=("fake", "size"), key=("path", "min")
    )
    hashes = [sha256_text(seed, key[len(common) :]) for key in sizes["key"]]
    # Large groups first: what is left to even out the shares at the end is small.
    order = sizes.assign(hash=hashes).sort_values(["n", "hash"], ascending=[False, True])
    totals = np.array([sizes["n"].sum() - sizes["fake"].sum(), sizes["fake"].sum()], float)
    wanted = np.outer(shares, totals)
    have = np.zeros_like(wanted)
    amounts = np.stack([order["n"] - order["fake"], order["fake"]], axis=1).astype(float)
    groups_left = (amounts > 0).sum(axis=0)
    chosen: dict[int, str] = {}
    for index, amount in zip(order.index, amounts, strict=True):
        lack = ((wanted - have) / np.maximum(totals, 1) * amount).sum(axis=1)
        without = (have == 0) & (wanted > 0)
        in_need = (without & (amount > 0) & (groups_left <= without.sum(axis=0))).any(axis=1)
        best = int(np.argmax(np.where(in_need, lack, -np.inf) if in_need.any() else lack))
        have[best] += amount
        groups_left -= amount > 0
        chosen[int(index)] = names[best]
    return pd.Series([chosen[g] for g in group], index=rows.index)


def leaks(first: pd.DataFrame, second: pd.DataFrame) -> list[str]:
    """What two sets of rows share that they must not: identities, videos, originals, files."""
    found = []
    for column in ("identity", "video", "near_duplicate_group"):
        if column in first and column in second:
            names = (set(scoped(first, column)) & set(scoped(second, column))) - {""}
            if names:
                found.append(_count(f"{column.replace('_', ' ')} on both sides", sorted(names)))
    paths = [set(r["path"]) | set(r["source_path"]) - {""} for r in (first, second)]
    if paths[0] & paths[1]:
        found.append(
            _count("picture, or a fake's original, on both sides", sorted(paths[0] & paths[1]))
        )
    return found


# --------------------------------------------------------------------------- small pieces


def _read_csv(path: Path, fake_label: int | str | None) -> pd.DataFrame:
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        if not isinstance(rows.index, pd.RangeIndex):  # pandas would shift the columns
            raise ValueError("the rows have more cells than the first line")
        if "path" not in rows.columns:
            rows = _headerless(path, list(rows.columns), fake_label)
        elif "label" in rows:
            rows["label"] = _labels(rows["label"], fake_label, path)
        elif "real" in rows:  # the XAI606 project: 1 = real
            rows["label"] = _flipped(_labels(rows.pop("real"), None, path))
        else:
            raise UserError(f"{path}: no column `label` or `real`; has {', '.join(rows.columns)}")
    except (ValueError, OSError) as error:  # pandas' parser errors are ValueErrors
        raise UserError(f"{path}: not a CSV that can be read: {error}") from None
    for column in ("path", "source_path"):
        if column in rows:
            rows[column] = [_absolute(value, path.absolute().parent) for value in rows[column]]
    return rows


def _headerless(path: Path, first: list[str], fake_label: int | str | None) -> pd.DataFrame:
    if len(first) != 2:
        raise UserError(f"{path}: no column `path`; the first line holds {', '.join(first)}")
    if fake_label is None:
        raise UserError(
            f"{path}: has no header, so nobody knows which label is fake: set data.fake_label, "
            "as --data.fake_label 1 (the KAIST project's: 1)"
        )
    names = ["path", "label"]
    rows = pd.read_csv(
        path, dtype=str, keep_default_na=False, header=None, names=names, encoding="utf-8-sig"
    )
    return rows.assign(label=_labels_by_value(_cleaned(rows["label"]), fake_label))


def _labels(values: pd.Series, fake_label: int | str | None, path: Path) -> pd.Series:
    """0 and 1 for what a column with a name says, -1 for what nobody knows.

    The header `label` says 1 = fake; data.fake_label is for a column of other words, and a value
    that contradicts the header is refused: it would turn every label of the file over.
    """
    text = _cleaned(values)
    if fake_label is not None:
        if not set(text) <= {*OUR_LABELS, ""}:
            return _labels_by_value(text, fake_label)
        if OUR_LABELS.get(str(fake_label).lower()) == REAL:
            raise UserError(
                f"{path}: its column `label` says 1 = fake, data.fake_label says {fake_label}: "
                "where 1 is real, call the column `real`"
            )
    return text.map(OUR_LABELS).fillna(-1).astype(int)


def _labels_by_value(text: pd.Series, fake_label: int | str) -> pd.Series:
    """FAKE for this value; the one other value is real, unless its own name says fake."""
    fake = str(fake_label).lower()
    real = set(text) - {fake, "", "fake", *(["1"] if fake != "0" else [])}
    if len(real) > 1:  # a third value is a mistake, not another kind of real
        real &= {"0", "1", "real"}
    return text.map(dict.fromkeys(real, REAL) | {fake: FAKE}).fillna(-1).astype(int)


def _flipped(labels: pd.Series) -> pd.Series:
    return labels.map({REAL: FAKE, FAKE: REAL, -1: -1})


def _cleaned(values: pd.Series) -> pd.Series:
    return values.astype(str).str.strip().str.lower().str.removesuffix(".0")


def _read_folder(folder: Path) -> pd.DataFrame:
    found = {
        child.name.lower(): child
        for child in sorted(Path(_absolute(str(folder), Path.cwd())).iterdir())
        if child.is_dir() and child.name.lower() in ("real", "fake")
    }
    if not found:
        names = ", ".join(sorted(c.name for c in folder.iterdir())[:SHOWN]) or "nothing"
        raise UserError(f"{folder}: looked for the folders real/ and fake/, found {names}")
    rows = [
        {"path": str(file), "label": FAKE if name == "fake" else REAL}
        for name, child in sorted(found.items())
        for file in _pictures_under(child)
    ]
    return pd.DataFrame(rows, columns=["path", "label"])


def _pictures_under(folder: Path) -> list[Path]:
    return sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())


def _check(rows: pd.DataFrame, file: Path) -> tuple[list[str], pd.DataFrame, list[str]]:
    """Problems that stop, the rows that stay, and warnings, all at once."""
    problems: list[str] = []
    warnings: list[str] = []
    if len(rows) == 0:
        return ["holds no rows"], rows, warnings
    unknown = rows["label"] == -1
    if unknown.any():
        lines = [f"{name} (row {i + 2})" for i, name in rows["path"][unknown].items()]
        problems.append(_count("label that is neither real nor fake", lines))
    strange = sorted(set(rows["split"]) - {*SPLITS, ""})
    if strange:
        problems.append(_count("unknown split (train, val, test are known)", strange))
    if (rows["split"] == "").any() and (rows["split"] != "").any():
        empty = list(rows["path"][rows["split"] == ""])
        problems.append(_count("row without a split, while others have one", empty))
    missing = [p for p in dict.fromkeys(rows["path"]) if not Path(p).is_file()]
    if len(missing) == rows["path"].nunique():
        problems.append(
            _count("missing file (all of them; paths are relative to the CSV)", missing)
        )
    elif missing:
        warnings.append(_count("missing file, left out", missing))
        rows = rows[~rows["path"].isin(missing)]
    for column, width, what in (
        ("box", 4, "4 numbers left, top, right, bottom"),
        ("landmarks", 10, "10 numbers"),
    ):
        wrong = [
            p for p, text in zip(rows["path"], rows[column], strict=True) if not _fits(text, width)
        ]
        if wrong:
            problems.append(_count(f"{column} that is not {what}", wrong))
    problems += _duplicates(rows, warnings)
    present = [name for name in SPLITS if (rows["split"] == name).any()]
    for i, first in enumerate(present):
        for second in present[i + 1 :]:
            sides = [rows[rows["split"] == name] for name in (first, second)]
            problems += [f"{first} and {second}: {leak}" for leak in leaks(*sides)]
    return problems, rows.drop_duplicates(SAME_FACE).reset_index(drop=True), warnings


def _duplicates(rows: pd.DataFrame, warnings: list[str]) -> list[str]:
    labels = rows.groupby(["path", "box"])["label"].nunique()
    both = sorted({str(index[0]) for index in labels[labels > 1].index})
    again = list(rows["path"][rows.duplicated(SAME_FACE)])
    if again:
        warnings.append(_count("duplicate row, taken once", again))
    return [_count("picture that is called both real and fake", both)] if both else []


def _fits(text: str, width: int) -> bool:
    try:
        values = numbers(text)
    except ValueError:
        return False
    if values is None:
        return True
    if values.size != width or not np.isfinite(values).all():
        return False
    return width != 4 or bool(values[0] < values[2] and values[1] < values[3])


def _count(what: str, examples: list[str]) -> str:
    more = f" and {len(examples) - SHOWN} more" if len(examples) > SHOWN else ""
    return f"{len(examples)} x {what}: {', '.join(map(str, examples[:SHOWN]))}{more}"


def _absolute(value: str, home: Path) -> str:
    # One picture has one name, however a CSV writes it (`../faces/a.png`), or leaks go unseen.
    return os.path.normpath(home / value) if value else ""


def _common_folder(paths: pd.Series) -> str:
    """What all paths begin with up to a folder, so that a moved set is split the same way."""
    first, last = min(paths), max(paths)
    pairs = enumerate(zip(first, last, strict=False))
    same = next((i for i, (a, b) in pairs if a != b), len(first))
    return first[: max(first.rfind("/", 0, same), first.rfind("\\", 0, same)) + 1]
