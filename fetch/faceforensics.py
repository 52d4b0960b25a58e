"""Clips of FaceForensics++ and DFD, from the server that their authors name after the form.

    python -m fetch.faceforensics --server ADDRESS --out ff --method original --videos 50
    python -m fetch.faceforensics --server ADDRESS --out ff --method Deepfakes --quality c23

ADDRESS is what stands before `misc/filelist.json` in the authors' script, with the folder of the
release (v3). Whoever fetches has agreed to their terms of use. Stopped and called again, it goes
on where it was, within a clip too. `python prepare.py faceforensics --root ff` reads the result.
"""

import json
import re
from pathlib import Path
from typing import Any

from tqdm import tqdm

import utils
from failures import MISSING, Failure, summary, write_failures
from fetch.web import Web, WebError
from flags.fetching import Videos
from settings import parse
from utils import UserError

FOLDERS = {"original": "original_sequences/youtube", "actors": "original_sequences/actors"}
"""Where the clips of a method are, on the server and on disk; all others are manipulated."""

PAIRS = "misc/filelist.json"
DFD_NAMES = "misc/deepfake_detection_filenames.json"
DFD_KEYS = {"actors": "actors", "DeepFakeDetection": "DeepFakesDetection"}
"""DFD's lists within DFD_NAMES."""


def main(argv: list[str]) -> int:
    config = parse(Videos, argv, __doc__)
    if not config.server.startswith(("http://", "https://")):
        raise UserError(
            "--server is missing: fill in the form on github.com/ondyari/FaceForensics; its "
            "authors then send a script with the server's address (http://...)"
        )
    web = Web(config)
    folder = FOLDERS.get(config.method, f"manipulated_sequences/{config.method}")
    folder = f"{folder}/{config.quality}/videos"
    names = clip_names(web, config.server.rstrip("/"), config.method)[: config.videos]
    failures, new = [], 0
    for name in tqdm(names, desc="Fetching", unit="clip", disable=None):
        path = Path(config.out) / folder / f"{name}.mp4"
        if path.exists():
            continue
        try:
            web.file(f"{config.server.rstrip('/')}/{folder}/{name}.mp4", path)
            new += 1
        except WebError as error:
            failures.append(Failure(str(path.absolute()), MISSING, str(error)))
    left_out = Path(config.out) / "left_out.csv"
    write_failures(left_out, failures, Path(config.out).absolute())
    print(f"[+] Fetched {Path(config.out) / folder}")
    print(f" Clips : {len(names) - len(failures)} of {len(names)}, {new} of them new")
    print(f" {summary(failures, left_out).capitalize()}")
    return 1 if failures else 0


def clip_names(web: Web, server: str, method: str) -> list[str]:
    """Names of a method's clips in the authors' order; of a pair, both swaps."""
    where = f"{server}/{DFD_NAMES if method in DFD_KEYS else PAIRS}"
    try:
        answer = web.get(where)
        if answer.status != 200:
            raise WebError(f"the server answers {answer.status}")
        listed = json.loads(answer.content)
        names = list(_names(listed, method))
    except (WebError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(
            f"{where}: looked for the list of clips: {error}; does --server end in the release's "
            "folder, as in the authors' script?"
        ) from None
    strange = [name for name in names if not re.fullmatch(r"\w+", name)]
    if strange or not names:
        raise UserError(f"{where}: looked for names of clips, found {(strange or listed)!r:.80}")
    return names


def _names(listed: Any, method: str) -> list[str]:
    if method in DFD_KEYS:
        return [str(name) for name in listed[DFD_KEYS[method]]]
    pairs = [(str(a), str(b)) for a, b in listed]
    if method == "original":
        return [name for pair in pairs for name in pair]
    return [name for a, b in pairs for name in (f"{a}_{b}", f"{b}_{a}")]


if __name__ == "__main__":
    utils.run_command(main)
