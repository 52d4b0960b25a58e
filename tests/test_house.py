"""The house: imports point down only, one room decodes pictures, nothing happens on import."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from report import card

ROOT = Path(__file__).parents[1]

PICTURE = re.findall(
    r"^(\d+) +(\w+(?:  \w+)*)$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.M
)
LAYER = {room: int(number) for number, rooms in PICTURE for room in rooms.split()}
"""The house as CONTRIBUTING.md draws it: a room imports from the layers below its own.

Where the picture turns out wrong, change it there, and write the reason down beside it.
"""

OUTSIDE = ("tests", "benchmarks", "samples")
"""Folders with Python that is not the house: they may decode pictures and import anything."""

DECODERS = (
    "PIL.Image.open", "PIL.Image.frombytes", "cv2.imread", "cv2.imreadmulti", "cv2.imdecode",
    "cv2.VideoCapture", "av.open", "matplotlib.pyplot.imread", "matplotlib.image.imread",
    "skimage.io.*", "imageio.*", "torchvision.io.*", "torchcodec.*", "decord.*", "tifffile.*",
)  # fmt: skip
UNSAFE = (
    "eval", "exec", "compile", "__import__", "pickle.*", "dill.*", "joblib.load", "marshal.*",
    "shelve.*", "pandas.read_pickle", "yaml.load", "yaml.unsafe_load", "yaml.full_load",
    "os.system", "os.popen",
)  # fmt: skip
QUIET = (
    "frozenset", "re.compile", "pathlib.Path", "typing.TypeVar", "pydantic.BeforeValidator",
    "pydantic.Field", "float", "Thresholds", "Kind", "datetime.timedelta",
    "fractions.Fraction", "vars", "numpy.array",
)  # fmt: skip
"""Calls that a constant may need; everything else on the top level is work done on import."""


LONGEST = 400
LONGER: dict[str, int] = {}
"""Lines of a file at the most, and of the files that are longer today: those may only shrink."""


def modules() -> list[Path]:
    folders = [f for f in ROOT.iterdir() if (f / "__init__.py").is_file()]
    files = [*ROOT.glob("*.py"), *(file for folder in folders for file in folder.rglob("*.py"))]
    return sorted(file for file in files if room(file) not in OUTSIDE)


def room(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def lines(file: Path) -> int:
    return len(file.read_text(encoding="utf-8").splitlines())


every_module = pytest.mark.parametrize("file", modules(), ids=name)


@pytest.fixture
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


# ---------------------------------------------------------------------- reading a module


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import, wherever in the file it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide which room is meant"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Every call with the full name of what is called, as far as the imports tell it."""
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.split(".")[0]
                known[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom):
            known |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            first, _, rest = ast.unparse(node.func).partition(".")
            yield node, known.get(first, first) + (f".{rest}" if rest else "")


def is_one_of(called: str, names: tuple[str, ...]) -> bool:
    return any(
        called == given or (given.endswith(".*") and called.startswith(given[:-1]))
        for given in names
    )


def upward(home: str, tree: ast.AST) -> list[str]:
    """Imports of a module in the room `home` that do not point down."""
    rooms = [(line, full.split(".")[0]) for line, full in imported(tree)]
    return [
        f"line {line}: {home} (layer {LAYER[home]}) imports {other} (layer {LAYER[other]})"
        for line, other in rooms
        if other in LAYER and other != home and LAYER[other] >= LAYER[home]
    ]


def decoded(tree: ast.AST) -> list[str]:
    return [
        f"line {node.lineno}: {full}" for node, full in calls(tree) if is_one_of(full, DECODERS)
    ]


def unsafe(tree: ast.AST) -> list[str]:
    found = []
    for node, full in calls(tree):
        options = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
        bad = is_one_of(full, UNSAFE)
        bad |= full in ("torch.load", "torch.hub.load") and options.get("weights_only") is not True
        bad |= full == "numpy.load" and options.get("allow_pickle") is True
        bad |= full == "ruamel.yaml.YAML" and options.get("typ") not in ("safe", "rt")
        bad |= options.get("shell") is True
        if bad:
            found.append(f"line {node.lineno}: {full}")
    return found


def busy(tree: ast.Module) -> list[str]:
    """Top-level statements that do more than define something."""
    found = []
    for node in tree.body:
        quiet = isinstance(
            node,
            ast.Import
            | ast.ImportFrom
            | ast.FunctionDef
            | ast.ClassDef
            | ast.Assign
            | ast.AnnAssign,
        )
        quiet |= isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.If):
            quiet = ast.unparse(node.test) in ("__name__ == '__main__'", "TYPE_CHECKING")
        if not quiet:
            found.append(f"line {node.lineno}: {ast.unparse(node)[:60]}")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            whole = ast.Module([*(n for n in tree.body if is_import(n)), node], [])
            work = {full for _, full in calls(whole) if not is_one_of(full, QUIET)}
            found += [f"line {node.lineno}: {full}()" for full in sorted(work)]
    return found


def is_import(node: ast.AST) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


# --------------------------------------------------------------------- the house itself


def test_every_room_is_in_the_picture_and_once():
    assert {room(file) for file in modules()} == set(LAYER)
    assert len(LAYER) == sum(len(rooms.split()) for _, rooms in PICTURE)


def test_the_picture_has_every_floor_once_from_the_top_down():
    floors = [int(number) for number, _ in PICTURE]
    assert floors == list(range(floors[0], -1, -1)) and floors[0] > 0


@every_module
def test_imports_point_down_only(file, tree):
    assert upward(room(file), tree) == []


@every_module
def test_only_faces_decodes_pictures_and_films(file, tree):
    if room(file) != "faces":
        assert decoded(tree) == []


@every_module
def test_nothing_unpickles_evaluates_or_runs_text(file, tree):
    assert unsafe(tree) == []


@every_module
def test_nothing_happens_on_import(file, tree):
    assert busy(tree) == []


@every_module
def test_a_file_opens_with_one_sentence(file, tree):
    text = ast.get_docstring(tree)
    assert text, "no docstring"
    first = text.split("\n\n")[0]
    assert re.match(r"[A-Z`]", first) and first.endswith("."), first
    assert len(first) <= 200, "one sentence, not a page"


@every_module
def test_a_file_is_a_short_walk(file):
    # 300 lines are where to look for two rooms in one; this is where there are two.
    assert lines(file) <= LONGER.get(name(file), LONGEST)


def test_a_file_that_is_short_again_is_no_exception():
    assert all(lines(ROOT / file) > LONGEST for file in LONGER)


@pytest.mark.parametrize("file", sorted(ROOT.glob("networks/[A-Z]*.py")), ids=name)
def test_a_network_file_is_about_its_network(file, tree):
    assert lines(file) <= 60
    assigned = {t.id: n.value for n in tree.body if isinstance(n, ast.Assign) for t in n.targets}
    variants = ast.literal_eval(assigned["VARIANTS"])
    assert variants and all(isinstance(v, str) for v in variants)
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for needed in ("backbone", "heatmap_layer"):
        assert len(functions[needed].args.args) == 1
    assert set(functions) <= {"backbone", "heatmap_layer", "packaged_weights", "heatmap_reshape"}


def test_the_tables_that_make_writes_have_their_places(monkeypatch):
    monkeypatch.chdir(ROOT)
    places = re.findall(r"--card (\S+)", (ROOT / "Makefile").read_text())
    assert len(places) == 2
    card.refuse_unmarked(places)  # else hours of training end in an error


def test_no_file_knows_a_machine():
    texts = [*modules(), *ROOT.glob("tests/**/*.py"), *ROOT.glob("benchmarks/**/*.py")]
    for pattern in ("*.md", "*.toml", "*.txt", "*.yaml", "configs/*.yaml", "Makefile", ".ci/run"):
        texts += ROOT.glob(pattern)
    texts += [
        *ROOT.glob(".github/**/*.yml"),
        *ROOT.glob("report/*.jinja"),
        *ROOT.glob("notebooks/*"),
    ]
    absolute = re.compile(r"(?<![\w.$}])/(?:work|tmp|root|home|Users|mnt)/")
    found = [
        f"{name(file)}:{number}: {line.strip()}"
        for file in texts
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if absolute.search(line)
    ]
    assert found == []


# ------------------------------------------------ the tests above see what they look for


@pytest.mark.parametrize(
    ("home", "text", "count"),
    [
        ("metrics", "import networks", 1),
        ("metrics", "import networks.ResNet as r", 1),
        ("metrics", "def f():\n    from networks import build", 1),
        ("flags", "import settings, utils", 0),
        ("settings", "import flags", 1),
        ("settings", "import failures", 1),
        ("utils", "from failures import Failure", 1),
        ("failures", "from utils import UserError", 0),
        ("scores", "from training.rows import Rows", 1),
        ("manifest", "import checkpoint, dataset", 2),
        ("checkpoint", "import manifest, flags", 0),
        ("checkpoint", "import fakes", 1),
        ("checkpoint", "import train", 1),
        ("manifest", "import fakes", 1),
        ("dataset", "import sources", 1),
        ("report", "from train import main", 1),
        ("networks", "from networks.backbones import from_timm", 0),
        ("train", "import report, training, numpy", 0),
    ],
)
def test_an_import_that_points_up_is_seen(home, text, count):
    assert len(upward(home, ast.parse(text))) == count


@pytest.mark.parametrize(
    "text",
    [
        "from PIL import Image\nImage.open(f)",
        "import PIL.Image as I\nI.open(f)",
        "from PIL.Image import open as look\nlook(f)",
        "import cv2\ncv2.imread(f)",
        "def f():\n    from cv2 import VideoCapture as V\n    return V(0)",
        "import torchvision\ntorchvision.io.read_image(f)",
        "import torchvision.io as t\nt.decode_jpeg(f)",
        "import matplotlib.pyplot as plt\nplt.imread(f)",
        "import av\nwith av.open(f) as film: pass",
    ],
)
def test_a_decoder_is_seen(text):
    assert len(decoded(ast.parse(text))) == 1
    assert decoded(ast.parse("from faces.image import read_image\nread_image(f)\nopen(f)")) == []


@pytest.mark.parametrize(
    "text",
    [
        "import torch\ntorch.load(f)",
        "import torch\ntorch.load(f, weights_only=False)",
        "from torch import load\nload(f)",
        "eval(text)",
        "import pickle as p\np.loads(b)",
        "import numpy as np\nnp.load(f, allow_pickle=True)",
        "import yaml\nyaml.load(text, yaml.Loader)",
        "from ruamel.yaml import YAML\nYAML(typ='unsafe')",
        "import subprocess\nsubprocess.run(text, shell=True)",
    ],
)
def test_an_unsafe_call_is_seen(text):
    assert len(unsafe(ast.parse(text))) == 1
    assert unsafe(ast.parse("import torch\ntorch.load(f, weights_only=True)\nnet.eval()")) == []


@pytest.mark.parametrize(
    "text",
    [
        "print('hello')",
        "import torch\ntorch.set_num_threads(1)",
        "for f in files: pass",
        "try:\n    import wandb\nexcept ImportError:\n    wandb = None",
        "import torch\nDEVICE = torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "TEXT = open('a').read()",
        "from pathlib import Path\nFILES = list(Path('.').iterdir())",
    ],
)
def test_work_on_import_is_seen(text):
    assert busy(ast.parse(text)) != []
    assert busy(ast.parse("'''A.'''\nfrom pathlib import Path\nA: Path = Path('.')\nB = 1")) == []
    value = "class Thresholds: pass\nNONE = Thresholds(float('nan'), 'none yet')"
    assert busy(ast.parse(value)) == []
