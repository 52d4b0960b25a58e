"""The CSV contract: which face is where and what it is; reading, checks, writing.

One row a face. Columns (CONTRIBUTING.md has the frozen list): `path,label` and, where known,
`split, identity, video, source, box` and the other names of COLUMNS.
REAL = 0, FAKE = 1. Paths are relative to the CSV.
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from faces.image import SUFFIXES
from failures import MISSING, SHOWN, Failure
from metrics import FAKE, REAL
from splits import PATHS, SPLITS, UNSAFE, WITHIN_PERSON, count, leaks_and_unsafe
from utils import UserError, csv_text, relative, write_atomic

COLUMNS = (
    "path", "label", "split", "video", "identity", "source", "method", "track", "frame",
    "timestamp", "box", "landmarks", "confidence", "source_path", "source_video",
    "source_identity", "media", "media_box", "media_size",
)  # fmt: skip
"""All columns in their order; the first two are needed, the others may be missing or empty."""

PRIVATE = ("file", "file_box", "file_landmarks")
"""Columns that dataset.py adds for itself and no file ever holds."""

SAME_FACE = ["path", "label", "box"]
"""Rows that agree in these are one face, named twice."""

OUR_LABELS = {"0": REAL, "1": FAKE, "real": REAL, "fake": FAKE}
"""What the cells of a `label` column say."""


@dataclass(frozen=True)
class Manifest:
    """Rows of a manifest and what was noticed while reading it.

    rows: a DataFrame with all of COLUMNS as text (empty where unknown) except `label` (int 0 or
    1), plus any further columns; paths are absolute. missing: files that are not there, with
    their splits.
    """

    file: str
    rows: pd.DataFrame
    warnings: tuple[str, ...] = ()
    missing: tuple[tuple[str, str], ...] = ()

    def split(self, *names: str) -> pd.DataFrame:
        """The rows of these splits, in order."""
        return self.rows[self.rows["split"].isin(names)].reset_index(drop=True)

    def left_out(self, *names: str) -> tuple[Failure, ...]:
        """The missing files of these splits, or of all."""
        return tuple(
            Failure(path, MISSING, "no such file")
            for path, split in self.missing
            if not names or split in names
        )

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
    with two labels, an identity on two sides of a split. A split that says that it is unsafe
    (splits.UNSAFE) may share people between train and val: a warning says so.
    """
    whole, problems, leaks = examine(file, fake_label)
    if problems or leaks:
        raise UserError(f"{file}:\n  " + "\n  ".join(problems + leaks))
    return whole


def examine(
    file: str, fake_label: int | str | None = None
) -> tuple[Manifest, list[str], list[str]]:
    """The same manifest with the problems and the leaks that `read` would refuse it for.

    Rows may then have labels (-1), splits and boxes that are none.
    """
    path = Path(file)
    if path.is_dir():
        rows = _read_folder(path)
    elif path.is_file():
        rows = _read_csv(path, fake_label)
    else:
        raise UserError(f"{file}: no such CSV or folder")
    rows = rows.reindex(columns=[*COLUMNS, *(c for c in rows if c not in COLUMNS)], fill_value="")
    problems, rows, warnings, missing = _check(rows)
    leaks, unsafe = leaks_and_unsafe(rows)
    notes = tuple(f"{file}: {warning}" for warning in [*warnings, *unsafe])
    rows = rows.drop_duplicates(SAME_FACE).reset_index(drop=True)
    return Manifest(file, rows, notes, tuple(missing)), problems, leaks


def pictures(path: str) -> pd.DataFrame:
    """Rows for one picture or a folder of pictures whose labels nobody knows (label -1)."""
    root = Path(path)
    if not root.exists():
        raise UserError(f"{path}: no such picture or folder")
    if root.is_file() and root.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path}: is no picture ({', '.join(sorted(SUFFIXES))})")
    files = [root] if root.is_file() else _pictures_under(root)
    if not files:
        raise UserError(f"{path}: holds no pictures ({', '.join(sorted(SUFFIXES))})")
    rows = pd.DataFrame({"path": [str(f.absolute()) for f in files], "label": -1})
    return rows.reindex(columns=list(COLUMNS), fill_value="")


def write(file: Path, rows: pd.DataFrame) -> None:
    """Write rows as a manifest; paths become relative to it, columns that nobody fills go."""
    write_atomic(file, as_csv(rows, file.absolute().parent))


def as_csv(rows: pd.DataFrame, home: Path, first: Sequence[str] = ()) -> str:
    """Rows as CSV text: `first`, then COLUMNS, then any others, without those that are empty."""
    rows = rows.drop(columns=[c for c in PRIVATE if c in rows])
    for column in PATHS:
        if column in rows:
            rows[column] = _relative(rows[column].tolist(), home)
    order = dict.fromkeys([*first, *COLUMNS, *rows])
    kept = [c for c in order if c in rows and (c in first or (rows[c].astype(str) != "").any())]
    return csv_text(rows[kept])


def numbers(text: str) -> np.ndarray | None:
    """A `box` (4 numbers) or `landmarks` (10) cell -> float array, None where empty."""
    return np.array(text.split(), float) if text else None


def table(texts: Sequence[str] | np.ndarray, width: int) -> np.ndarray:
    """Cells of `width` numbers each -> float array [n, width], NaN where a cell is empty."""
    cells = np.array(texts, dtype=object)
    values = np.full((len(cells), width), np.nan)
    filled = np.array([bool(text.strip()) for text in cells], dtype=bool)
    if filled.any():
        values[filled] = _parsed(cells[filled].tolist(), width)
    return values


def _parsed(cells: list[str], width: int) -> np.ndarray:
    try:  # NumPy's parser is seven times as fast, and knows fewer ways to write a number
        values = np.loadtxt(cells, comments=None, ndmin=2)
        if values.shape == (len(cells), width):
            return values
    except ValueError:
        pass
    return np.array([text.split() for text in cells], dtype=float).reshape(len(cells), width)


def cell(values: Sequence[float] | np.ndarray | None) -> str:
    """Numbers -> a `box` or `landmarks` cell: separated by spaces, to a hundredth of a pixel."""
    return "" if values is None else " ".join(f"{float(v):.2f}" for v in np.ravel(values))


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
    for column in PATHS:
        if column in rows:
            rows[column] = _absolute(rows[column].tolist(), path.absolute().parent)
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
    return values.map({v: str(v).strip().lower().removesuffix(".0") for v in values.unique()})


def _read_folder(folder: Path) -> pd.DataFrame:
    found = [
        child
        for child in sorted(Path(os.path.normpath(folder.absolute())).iterdir())
        if child.is_dir() and child.name.lower() in ("real", "fake")
    ]
    if not found:
        names = ", ".join(sorted(c.name for c in folder.iterdir())[:SHOWN]) or "nothing"
        manifest = folder / "manifest.csv"
        meant = f"; did you mean {manifest}?" if manifest.is_file() else ""
        raise UserError(f"{folder}: looked for the folders real/ and fake/, found {names}{meant}")
    rows = [
        {"path": str(file), "label": FAKE if child.name.lower() == "fake" else REAL}
        for child in sorted(found, key=lambda child: child.name.lower())
        for file in _pictures_under(child)
    ]
    return pd.DataFrame(rows, columns=["path", "label"])


def _pictures_under(folder: Path) -> list[Path]:
    return sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())


def _check(
    rows: pd.DataFrame,
) -> tuple[list[str], pd.DataFrame, list[str], list[tuple[str, str]]]:
    """Problems that stop, the rows that stay, warnings, and missing files, all at once."""
    problems: list[str] = []
    warnings: list[str] = []
    if len(rows) == 0:
        return ["holds no rows"], rows, warnings, []
    unknown = rows["label"] == -1
    if unknown.any():
        lines = [f"{name} (row {i + 2})" for i, name in rows["path"][unknown].items()]
        problems.append(count("label that is neither real nor fake", lines))
    strange = sorted(set(rows["split"].unique()) - {*SPLITS, ""})
    if strange:
        problems.append(count("unknown split (train, val, test are known)", strange))
    if (rows["split"] == "").any() and (rows["split"] != "").any():
        empty = list(rows["path"][rows["split"] == ""])
        problems.append(count("row without a split, while others have one", empty))
    splits = dict(zip(rows["path"].tolist(), rows["split"].tolist(), strict=True))
    missing = _missing(splits)
    if len(missing) == len(splits):
        problems.append(count("missing file (all of them; paths are relative to the CSV)", missing))
    elif missing:
        warnings.append(count("missing file, left out", missing))
        rows = rows[~rows["path"].isin(missing)]
    for column, width, what in (
        ("box", 4, "4 numbers left, top, right, bottom"),
        ("media_box", 4, "4 numbers left, top, right, bottom"),
        ("landmarks", 10, "10 numbers"),
    ):
        wrong = rows["path"][_misfits(rows[column].to_numpy(object), width)].tolist()
        if wrong:
            problems.append(count(f"{column} that is not {what}", wrong))
    problems += _duplicates(rows, warnings)
    if UNSAFE in rows and (odd := sorted(set(rows[UNSAFE].unique()) - {WITHIN_PERSON, ""})):
        problems.append(count(f"unknown {UNSAFE} ({WITHIN_PERSON} is known)", odd))
    return problems, rows, warnings, [(path, splits[path]) for path in missing]


def _duplicates(rows: pd.DataFrame, warnings: list[str]) -> list[str]:
    twice = rows[rows.duplicated(["path", "box"], keep=False)]
    labels = twice.groupby(["path", "box"])["label"].nunique()
    both = sorted({str(index[0]) for index in labels[labels > 1].index})
    again = list(twice["path"][twice.duplicated(SAME_FACE)])
    if again:
        warnings.append(count("duplicate row, taken once", again))
    return [count("picture that is called both real and fake", both)] if both else []


def _misfits(cells: np.ndarray, width: int) -> np.ndarray:
    """Which cells [n] are neither empty nor `width` numbers (of a box, the corners in order)."""
    try:
        values = table(cells, width)
    except ValueError:
        half = len(cells) // 2
        if half == 0:
            return np.array([True])
        return np.concatenate([_misfits(part, width) for part in (cells[:half], cells[half:])])
    right = np.isfinite(values).all(axis=1)
    if width == 4:
        right &= (values[:, 0] < values[:, 2]) & (values[:, 1] < values[:, 3])
    return ~right & (cells != "")


def _missing(paths: Collection[str]) -> list[str]:
    """Those of the paths that are no files."""
    inside = Counter(path.rpartition(os.sep)[0] for path in paths)
    listed = {folder: _listed(folder + os.sep, 4 * number) for folder, number in inside.items()}

    def is_there(path: str) -> bool:
        folder, _, name = path.rpartition(os.sep)
        return name in listed[folder] or Path(path).is_file()

    return [path for path in paths if not is_there(path)]


def _listed(folder: str, most: int) -> set[str]:
    """Names of files among the first `most` entries of a folder.

    One listing finds thousands of files at once; a network drive that is asked for each by itself
    takes minutes.
    """
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in islice(entries, most) if entry.is_file()}
    except OSError:
        return set()


# ------------------------------------------------------------------------------------ paths

NOT_PLAIN = re.compile(r"^$|^[/.]|/[/.]|/$|[\\:]")
"""What a relative path in its normal form never holds (and hidden files, which take longer)."""


def _absolute(values: list[str], home: Path) -> list[str]:
    # One picture has one name, however a CSV writes it (`../faces/a.png`), or leaks go unseen.
    start = os.path.normpath(home).rstrip(os.sep) + os.sep

    def absolute(value: str) -> str:
        if NOT_PLAIN.search(value):
            return os.path.normpath(home / value) if value else ""
        return start + value.replace("/", os.sep)

    return [absolute(value) for value in values]


def _relative(values: list[str], home: Path) -> list[str]:
    start = os.path.normpath(home).rstrip(os.sep) + os.sep

    def below(value: str) -> str:
        rest = value.removeprefix(start)
        return relative(value, home) if rest == value or NOT_PLAIN.search(rest) else rest

    return [below(value) for value in values]
