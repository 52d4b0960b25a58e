"""The commands of prepare.py that read manifests: check, merge, overlap.

python prepare.py check data/portraits/manifest.csv
python prepare.py merge data/a/manifest.csv data/b/manifest.csv --out data/both/manifest.csv
python prepare.py overlap data/a/manifest.csv data/b/manifest.csv
"""

from audit.check import check
from audit.joining import merge, overlap
from flags import Check, Files, Merge, Overlap
from settings import parse
from utils import UserError

COMMANDS: dict[str, tuple[type[Files], int, str]] = {
    "check": (Check, 1, "MANIFEST: leaks, broken files, shortcuts; status 1 where any is found"),
    "merge": (Merge, 2, "A B --out C: two manifests into one, duplicates once"),
    "overlap": (Overlap, 2, "A B: rows of B that A knows; status 1 where there are any"),
}
"""Name -> its settings, how many manifests it reads, and what it says of itself."""


def run(argv: list[str]) -> int:
    """Run COMMANDS[argv[0]]; the manifests come first, then settings."""
    name, words = argv[0], argv[1:]
    schema, number, about = COMMANDS[name]
    files = []
    while words and not words[0].startswith("-"):
        files.append(words.pop(0))
    usage = f"python prepare.py {name} {about}"
    if len(files) != number and not {"-h", "--help"} & set(words):
        raise UserError(
            f"{name} reads {number} manifest{'s'[: number - 1]}, not {len(files)}: {usage}"
        )
    config = parse(schema, words, usage)
    if isinstance(config, Check):
        return check(files[0], config)
    if isinstance(config, Merge):
        return merge(files[0], files[1], config)
    assert isinstance(config, Overlap)
    return overlap(files[0], files[1], config)
