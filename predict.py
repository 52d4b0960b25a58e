"""One photo, film or folder -> a verdict that may say that it does not know.

    python predict.py clip.mp4
    python predict.py photos/ "more/*.jpg" --json verdicts.json --csv verdicts.csv
    python predict.py clip.mp4 --out pages --cam --video
    python predict.py clip.mp4 --checkpoint log/quickstart/checkpoints/best.pth

Each file gets one state: unreadable, no_face, not_enough_evidence, inconclusive,
signs_of_manipulation or no_signs_found; never "real". The files are only read, and nothing is sent
anywhere. --json: all that was found out; --csv: one line a file; --out: a page a file.

Exit status: 0 every file was analysed; 2 a mistake in the command; 3 some files are unreadable;
4 none could be analysed.
"""

import glob
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from faces.apart import Apart, Look
from flags import Predict
from settings import parse
from utils import UserError, console, refuse_over, refuse_unwritable, run_quickly, started

if TYPE_CHECKING:
    import torch

    from flags import Config
    from judging import Verdict
    from report.verdict_folder import Folder
    from verdict import Model

SOME_UNREADABLE, NOTHING_ANALYSED = 3, 4


def main(argv: list[str]) -> int:
    settings = parse(Predict, argv, __doc__, words="paths")
    files = files_of(settings.paths)
    refuse_targets(files, settings)
    with Apart() as apart:
        apart.start()
        return predict(files, settings, apart)


def predict(files: Sequence[str], settings: Predict, apart: Apart) -> int:
    """The verdicts of the files, said and written; the first is searched while we get ready."""
    # Imported late: --help and a mistake in the command need no network.
    import verdict
    from report import verdict_files

    def soon(config: "Config", device: "torch.device") -> None:
        apart.begin(verdict.wanted(files[0], config, device, settings))

    file = verdict.find_checkpoint(settings.checkpoint)
    model = verdict.load_model(file, settings.device, settings.batch_size, soon)
    for target in (settings.json_file, settings.csv, settings.out and f"{settings.out}/index.html"):
        if target:
            refuse_unwritable(target)
    started()
    log = console()
    if not settings.checkpoint:
        log.info(f"Weights: {model.file}: {model.good_for}\n")
    verdicts, stopped = judge(files, model, settings, apart.look)
    if verdicts or not stopped:
        log.info(said(verdicts, model))
        verdict_files.write(verdicts, model, settings.json_file, settings.csv)
        if settings.out and not stopped:
            log.info(f"\n Pages      : {Path(settings.out) / 'index.html'}")
    if stopped:
        done = f"{len(verdicts)} of {len(files)} files were judged before"
        raise UserError(f"{stopped}; {done}") if verdicts else stopped
    return status(verdicts)


def judge(
    files: Sequence[str], model: "Model", settings: Predict, look: Look
) -> tuple[list["Verdict"], UserError | None]:
    """The verdict of each file, one after another, with its page where those are wanted; and what
    ended it before the last, as a full disk does.
    """
    from tqdm import tqdm

    import verdict

    found: list[verdict.Verdict] = []
    stopped = None
    pages = pages_of(model, settings)
    quiet = not sys.stderr.isatty()
    form = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    with tqdm(total=len(files), disable=quiet, bar_format=form, leave=False) as bar:
        for number, file in enumerate(files):

            def tell(share: float, what: str, number: int = number, file: str = file) -> None:
                bar.set_description(f"{Path(file).name[:30]}: {what}", refresh=False)
                bar.n = number + share
                bar.refresh()

            try:
                one = verdict.of_file(file, model, settings, tell, pages is not None, look)
            except UserError as error:
                stopped = error
                break
            found.append(one)
            try:
                if pages:
                    pages.add(one, partial(tell, what="drawing"))
            except OSError as error:  # its verdict and those before it are there all the same
                stopped = UserError(f"{settings.out}: {error.strerror or error}")
                break
    try:
        if pages:
            pages.close()
    except OSError as error:
        stopped = stopped or UserError(f"{settings.out}: {error.strerror or error}")
    return found, stopped


def pages_of(model: "Model", settings: Predict) -> "Folder | None":
    if not settings.out:
        return None
    from report.verdict_folder import Folder

    return Folder(Path(settings.out), model, settings.heatmaps.method, settings.video)


def said(verdicts: Sequence["Verdict"], model: "Model") -> str:
    """A block for one file, a table for many."""
    from report import verdict_text

    if len(verdicts) == 1:
        return verdict_text.block(verdicts[0], model)
    return "\n".join([verdict_text.table(verdicts), *verdict_text.of_model(model)])


def status(verdicts: Sequence["Verdict"]) -> int:
    unreadable = sum(verdict.state == "unreadable" for verdict in verdicts)
    if unreadable == len(verdicts):
        return NOTHING_ANALYSED
    return SOME_UNREADABLE if unreadable else 0


def refuse_targets(files: Sequence[str], settings: Predict) -> None:
    """Raise UserError where a photo or film would be written over, or one target by the other."""
    targets = [target for target in (settings.json_file, settings.csv) if target]
    if len(targets) == 2 and os.path.realpath(targets[0]) == os.path.realpath(targets[1]):
        raise UserError(f"--json and --csv are both {targets[0]}: name two files")
    for target in targets:
        refuse_over(target, files)
        if Path(target).suffix.lower() in media_suffixes():  # --csv *.jpg takes the first of them
            raise UserError(f"{target}: is the name of a photo or film: name another file")
    out = os.path.realpath(settings.out)
    if settings.video and settings.out and out in {os.path.realpath(Path(f).parent) for f in files}:
        raise UserError(f"--out {settings.out} holds what is judged: films go there, name another")


def files_of(paths: Sequence[str]) -> list[str]:
    """The files that are meant, each once: those of a folder and below it by their suffix.

    In the order they were named, sorted within a folder or pattern; hidden ones only where they
    were named themselves. Raises UserError where a path is nothing.
    """
    if not paths:
        raise UserError("no photo or film was named: python predict.py PATH ...")
    found: dict[str, str] = {}
    for path in paths:
        if not path.strip():
            raise UserError("an empty name was given: is a variable of the shell not set?")
        # Not Path.glob, which takes no absolute pattern.
        matched = [path] if Path(path).exists() else sorted(glob.glob(path, recursive=True))  # noqa: PTH207
        if not matched:
            raise UserError(f"{path}: no such file or folder")
        for one in matched:
            inside = media_in(Path(one)) if Path(one).is_dir() else [one]
            for file in inside:
                found.setdefault(os.path.realpath(file), file)  # a link may lead to itself
    if not found:
        raise UserError(f"{', '.join(paths)}: no photo or film in there")
    return list(found.values())


def media_in(folder: Path) -> list[str]:
    """Photos and films below a folder, by their suffix, sorted, and folders that cannot be looked
    into, which are unreadable; nothing hidden. How many others there are is said.
    """
    known, found, closed, others = media_suffixes(), [], [], 0

    def noted(error: OSError) -> None:
        closed.append(str(error.filename))

    for home, folders, names in os.walk(folder, onerror=noted):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = sum((Path(home) / name).is_symlink() for name in folders)
        seen = [Path(home) / name for name in names if not name.startswith(".")]
        media = [file for file in seen if file.suffix.lower() in known and file.is_file()]
        found += [str(file) for file in media]
        others += len(seen) - len(media) + links
    if others:
        what = "file or linked folder was" if others == 1 else "files or linked folders were"
        print(f"{folder}: {others:,} other {what} not looked at", file=sys.stderr)
    return sorted(found + closed)


def media_suffixes() -> frozenset[str]:
    from faces.image import SUFFIXES as PHOTOS
    from faces.video import SUFFIXES as FILMS

    return PHOTOS | FILMS


if __name__ == "__main__":
    run_quickly(main)
