"""Which rows a checkpoint was trained and validated on, as hashes, and what others share with them.

    seen.overlap(Path("log/run/checkpoints/best.pth"), state, rows)    # empty: nothing is shared

They lie beside the checkpoint as rows.csv (frozen in CONTRIBUTING.md), whose own hash it carries.
"""

import io
from pathlib import Path
from typing import Any

import pandas as pd

import splits
from hashes import DIGITS, content_hashes
from utils import UserError, sha256_file, sha256_text

ROWS_FILE = "rows.csv"
"""Hashes of the rows that a run trained and validated on; lies beside its checkpoints."""

HASHES_FILE = "hashes.txt"
"""Hashes of files by their size and time of change; lies in data.cache."""


def row_hashes(rows: pd.DataFrame, cache: str = "") -> str:
    """rows.csv: split, label and box of rows, and hashes of what identifies them.

    content: of the picture. original: of a fake's real. media: of the picture that a stored face
    was cut from. video, source_video, identity, source_identity: of names within their source.
    cache: a folder (data.cache) in which the hashes of unchanged files are kept.
    """
    return _hashes(rows, cache).to_csv(index=False, lineterminator="\n")


def rows_of(checkpoint: Path, state: dict[str, Any]) -> pd.DataFrame | None:
    """rows.csv of a checkpoint; None where it is not beside it, or is another run's."""
    file = checkpoint.parent / ROWS_FILE
    if not file.is_file() or sha256_file(file) != state["data"]["rows"]:
        return None
    return as_rows(file.read_text(encoding="utf-8"))


def as_rows(text: str) -> pd.DataFrame:
    """A rows.csv as a table of texts."""
    return pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)


def with_new(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """A rows.csv, and below it the rows of another that it does not have."""
    known = set(one.itertuples(index=False, name=None))
    new = [row for row in other.itertuples(index=False, name=None) if row not in known]
    return pd.concat([one, pd.DataFrame(new, columns=one.columns)])


def overlap(
    checkpoint: Path,
    state: dict[str, Any],
    rows: pd.DataFrame,
    cache: str = "",
    validated: bool = True,
) -> list[str] | None:
    """What `rows` share with the rows that the checkpoint was trained and validated on.

    Empty where nothing, None where nobody can tell, as `rows_of`. validated: whether what it
    only validated on counts. Without it, those pictures themselves are not asked about.
    """
    known = rows_of(checkpoint, state)
    if known is None:
        return None
    mine = _hashes(rows, cache)
    if not validated:
        of_training = known["split"] == "train"
        # Of several networks side by side one may have validated on what trained another.
        trained = {v for c in SHARED_PICTURES for v in known[c][of_training].tolist()}
        only = mine["content"].isin(set(known["content"][~of_training]) - trained - {""})
        known, mine, rows = known[of_training], mine[~only], rows[~only.to_numpy()]
    found = []
    for what, columns in SHARED.items():
        values = {value for column in columns for value in known[column].tolist()} - {""}
        hit = mine[list(columns)].isin(values).any(axis=1)
        if hit.any():
            examples = ", ".join(rows["path"][hit.to_numpy()].head(3))
            found.append(f"{int(hit.sum())} rows share {what} with it, as {examples}")
    return found


SHARED_PICTURES = ("content", "original", "media")

SHARED = {
    "a picture, or its original,": SHARED_PICTURES,
    "a video": ("video", "source_video"),
    "an identity": ("identity", "source_identity"),
}
"""What two sets must not share -> the columns of rows.csv that tell."""


def refuse_same_pictures(hashes: str) -> None:
    """Raise UserError where one picture, under whatever names, both trains and validates."""
    columns = ["split", "content", "original", "media"]
    table = as_rows(hashes)
    sides = [table[table["split"] == split] for split in ("train", "val")]
    contents = [{v for c in columns[1:] for v in side[c].tolist()} - {""} for side in sides]
    if same := contents[0] & contents[1]:
        raise UserError(
            f"{len(same)} pictures are in training and in validation, under different names: "
            "remove the copies, or give them one identity"
        )


def _hashes(rows: pd.DataFrame, cache: str) -> pd.DataFrame:
    columns = {"content": "path", "original": "source_path", "media": "media"}
    paths = {path for column in columns.values() for path in rows[column].tolist()} - {""}
    known = content_hashes(sorted(paths), Path(cache) / HASHES_FILE if cache else None)
    table = {"split": rows["split"], "label": rows["label"], "box": rows["box"]}
    for name, column in columns.items():
        table[name] = [known.get(path, "") for path in rows[column].tolist()]
    for column in ("video", "source_video", "identity", "source_identity"):
        names = splits.scoped(rows, column).tolist()
        hashed = {name: sha256_text(name)[:DIGITS] if name else "" for name in set(names)}
        table[column] = [hashed[name] for name in names]
    return pd.DataFrame(table)
