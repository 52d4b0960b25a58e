"""What unrelated rooms share: errors, atomic writing, hashes, seeds, devices, console."""

import contextlib
import csv
import errno
import gc
import hashlib
import io
import logging
import math
import os
import platform
import random
import shlex
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import psutil

if TYPE_CHECKING:  # two seconds, which --help and a mistake in a command should not take
    import torch


class UserError(Exception):
    """Something that the user can mend; the message says what, where and what to do."""


def run_quickly(main: Callable[[list[str]], int | None]) -> NoReturn:
    """Like run_command, for a short command that has closed all it opened when its `main` ends.

    What it imports is not looked through for garbage until it says `started`, since all of that
    stays: it is a third of the time of importing PyTorch. And the process ends with `main`, without
    taking apart what was imported, which would be another second.
    """
    status: int | str | None = 1
    gc.disable()
    try:
        run_command(main)
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
    logging.shutdown()
    with contextlib.suppress(OSError, ValueError):  # closed by whoever read them
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 1)


def run_command(main: Callable[[list[str]], int | None]) -> NoReturn:
    """Run a command's `main`: a UserError is one sentence and status 2, never a traceback."""
    # SIGTERM ends as an exception, so that what is open is closed and workers are let go.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        status = main(sys.argv[1:]) or 0
        sys.stdout.flush()  # here, where a reader that is gone is understood
        raise SystemExit(status)
    except UserError as error:
        rank = os.environ.get("RANK", "0")  # of several processes each says which it is
        print(f"{'error' if rank == '0' else f'process {rank}'}: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # `| head` closed our output: no failure of ours
            _say_no_more()
            raise SystemExit(141) from None
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("\nstopped by Ctrl-C", file=sys.stderr)
        raise SystemExit(130) from None


def started() -> None:
    """Said by a command of run_quickly when all that it imports is there."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


# ---------------------------------------------------------------------------------- files


@contextmanager
def atomic_path(path: Path | str, lasting: bool = True) -> Iterator[Path]:
    """A name beside `path` to write to; renamed into place when the block ends well.

    lasting: it is on the disk, and not only on its way there, before it has its name.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        if lasting:
            with beside.open("rb+") as file:
                os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        beside.chmod(0o666 & ~mask)  # mkstemp makes files that only the owner can read
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_atomic(path: Path | str, content: str | bytes, lasting: bool = True) -> None:
    """Write text (UTF-8) or bytes so that `path` holds either the old or the whole new content."""
    with atomic_path(path, lasting) as beside:
        beside.write_bytes(_encoded(content) if isinstance(content, str) else content)


def refuse_unwritable(path: Path | str) -> None:
    """Raise UserError where no file can be written: before hours of work, and not after them."""
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path}: is a folder, and a file is to be written there")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None


def refuse_over(target: Path | str, read: Iterable[Path | str]) -> None:
    """Raise UserError where what is to be written, a file or a folder, is one of those read."""
    if os.path.realpath(target) in {os.path.realpath(one) for one in read}:
        raise UserError(f"{target}: is read, and would be written over: name another")


def no_room(error: OSError) -> str:
    """What is wrong with a disk on which nothing more can be written; empty: it is not that."""
    if error.errno == errno.EROFS:
        return "is read-only now"
    return "is full: make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""


def csv_text(table: Any) -> str:
    r"""A DataFrame as CSV text with `\n` between rows, so that any cell is read back to the letter.

    A `\r` ends a row for whoever reads, and is not quoted where rows end in `\n`: all cells are
    quoted where one holds it, as a file's name may.
    """
    text = table.to_csv(index=False, lineterminator="\n")
    if "\r" in text:
        text = table.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_ALL)
    return text


def _encoded(text: str) -> bytes:
    # A file name of Linux may hold bytes that are no UTF-8: they are written as they are.
    return text.encode("utf-8", "surrogateescape")


def relative(value: str, home: Path) -> str:
    """A path as a file in `home` writes it: relative where it lies below, else absolute."""
    path, home = Path(os.path.normpath(value)), Path(os.path.normpath(home))
    below = bool(value) and path.is_relative_to(home)
    return path.relative_to(home).as_posix() if below else value


def sha256_file(path: Path | str) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_text(*parts: Any) -> str:
    """SHA-256 of some values' text, in hexadecimal; the same on every machine."""
    return hashlib.sha256("\x1f".join(str(part) for part in parts).encode("utf-8")).hexdigest()


def without_nan(value: Any) -> Any:
    """Nested values as JSON can hold them: it has no NaN, an undefined number becomes null."""
    if isinstance(value, dict):
        return {key: without_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# ----------------------------------------------------------------------------- randomness


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's global generators."""
    import torch

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries below us draw from the global generator
    torch.manual_seed(seed)


def sample_seed(seed: int, epoch: int, index: int) -> int:
    """One 63-bit seed for one sample: a function of (seed, epoch, index) and nothing else."""
    digest = hashlib.blake2b(f"{seed},{epoch},{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


# --------------------------------------------------------------------------------- device


def pick_device(name: str) -> "torch.device":
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps` or a GPU's number -> a device that is there.

    Raises UserError that names the remedy where the device is not there.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda:0")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if "," in name:
        count = len(name.strip(",").split(","))
        raise UserError(
            f"device {name}: one process a device; type\n  CUDA_VISIBLE_DEVICES={name} torchrun "
            f"--nproc-per-node {count} {_same_command()}\nor choose one of them, as --device 0"
        )
    try:
        device = torch.device(f"cuda:{name}" if name.isdigit() else name)
    except RuntimeError:
        raise UserError(
            f"device {name!r} is unknown: use cpu, cuda, mps or a GPU's number"
        ) from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise UserError(f"device {name}: no CUDA device is available here; use --device cpu")
        if (device.index or 0) >= count:
            raise UserError(f"device {name}: this machine has CUDA devices 0 to {count - 1}")
        return torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("device mps: no Apple GPU is available here; use --device cpu")
    if device.type not in ("cpu", "mps"):
        raise UserError(f"device {name!r} is not supported: use cpu, cuda, mps or a GPU's number")
    return device


def _same_command() -> str:
    """What was typed, without its --device."""
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    kept = [
        word
        for before, word in zip(["", *words], words, strict=False)
        if before != "--device" and not word.startswith("--device")
    ]
    return shlex.join(kept)


def cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def pick_precision(wanted: str, device: "torch.device") -> tuple["torch.dtype", str]:
    """The arithmetic of autocast and a sentence that says why; float32 means no autocast."""
    import torch

    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if wanted != "auto":
        if wanted == "fp16" and device.type == "cpu":
            raise UserError("precision fp16 needs a GPU; use --precision bf16 or auto on the CPU")
        return dtypes[wanted], f"{wanted} (as set)"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16, "bf16 (auto: the GPU computes in bfloat16)"
        return torch.float16, "fp16 (auto: the GPU has no bfloat16)"
    if device.type == "cpu" and _cpu_computes_in_bf16():
        return torch.bfloat16, "bf16 (auto: the processor has bfloat16 instructions)"
    return torch.float32, f"fp32 (auto: no bfloat16 arithmetic on this {device.type})"


def _cpu_computes_in_bf16() -> bool:
    import torch

    # Emulated bfloat16 is slower than float32, so only real instructions count. The two
    # questions have no public name in torch 2.11 to 2.15.
    questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in questions)


# -------------------------------------------------------------------------------- console


class _Console(logging.StreamHandler):
    """Lines on standard output, while somebody reads them: what is written into files goes on."""

    def handleError(self, record: logging.LogRecord) -> None:
        if isinstance(sys.exc_info()[1], BrokenPipeError):  # `| head` has read enough
            _say_no_more()
        else:
            super().handleError(record)


def _say_no_more() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def console(log_file: Path | None = None, shown: bool = True) -> logging.Logger:
    """The logger of a command: plain lines on standard output and, if given, in a file.

    shown: False for all but the first of several processes, which would repeat its lines.
    """
    logger = logging.getLogger("deepfake")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    logger.addHandler(_Console(sys.stdout) if shown else logging.NullHandler())
    if log_file is not None:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        logger.addHandler(
            logging.FileHandler(log_file, encoding="utf-8", errors="backslashreplace")
        )
    for handler in logger.handlers:
        handler.setFormatter(logging.Formatter("%(message)s"))
    return logger


def environment_block(device: "torch.device", seed: int, precision: str, processes: int = 1) -> str:
    """The console's `[+] System environments` block."""
    import torch

    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = _processor_name() if device.type == "cpu" else "Apple GPU"
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    memory = psutil.virtual_memory().total / 2**30
    return (
        "[+] System environments\n"
        f" Device: {name}\n Random seed : {seed}\n The number of gpus : {gpus}\n"
        f" The number of cpus : {os.cpu_count()}\n Memory Size : {memory:.0f}G\n"
        f" Precision : {precision}\n PyTorch : {torch.__version__}\n"
        + (f" Processes : {processes}\n" if processes > 1 else "")
    )


def _processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass  # not Linux: the platform's own name follows
    return platform.processor() or platform.machine()


def elapsed(seconds: float) -> str:
    """Seconds as 00:00:24."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02d}:{minute:02d}:{second:02d}"
