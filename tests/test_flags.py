"""The configuration: which value wins, what is refused, and that a refusal says enough."""

import os
import re
import tempfile
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

import flags
import settings
from flags import Config, Prepare, Sheet
from settings import ConfigError, Section, described
from utils import UserError

XAI606 = """\
network: "ResNet"

seed: 42
device: 'cuda'

data:
  train: "data/train.csv"
  test: "data/test.csv"
  random_split: True # if True, random split from train files
  test_proportions: 0.2 # only if random_split is True
  crop: True
  num_classes: 2

input_size:
  height: 224
  width: 224

model:
  pretrained: False
  in_channels: 3
  init_weights: True

optimizer:
  type: 'Adam' # Adam, Adadelta
  lr: 1e-4 # 1e-4
  weight_decay: 1e-2

checkpoint: ""
# checkpoint: "./log/ResNet/checkpoints/00XX.pth" # continue to learn or run demo
test_checkpoint: "./log/ResNet/checkpoints/0009.pth"

prefix: "./log/ResNet"

batch_size: 32
num_workers: 8
num_epochs: 20
print_epochs: 1
dropout_rate: 0.1
EARLY_STOPPING_EPOCH: 5
"""
"""The XAI606 project's configs/ResNet.yaml as its README prints it."""


@pytest.fixture
def yaml(tmp_path):
    """A function: text -> the name of a YAML that holds it."""

    def write(text: str | bytes, name: str = "run.yaml") -> str:
        content = text.encode() if isinstance(text, str) else text
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return write


@pytest.fixture
def refused(capsys):
    """A function: a command line that is refused -> what the user reads about it."""

    def parse(*argv: str, schema=Config) -> str:
        with pytest.raises(SystemExit) as ended:
            settings.parse(schema, argv, "A test.")
        out, err = capsys.readouterr()
        assert ended.value.code == 2
        assert out == "" and "Traceback" not in err and "pydantic" not in err
        assert err.count("error: ") == 1
        return err

    return parse


def parsed(*argv: str, schema=Config):
    return settings.parse(schema, argv, "A test.")


# ----------------------------------------------------------------------- what is read


def test_the_xai606_yaml_is_read_unmodified(yaml):
    config = parsed("--config_file", yaml(XAI606))
    assert (config.network, config.seed, config.device) == ("ResNet", 42, "cuda")
    data = config.data
    assert (data.train, data.test, data.random_split) == ("data/train.csv", "data/test.csv", True)
    assert (data.test_proportions, data.crop, data.num_classes) == (0.2, True, 2)
    assert (config.input_size.height, config.input_size.width) == (224, 224)
    model = config.model
    assert (model.pretrained, model.in_channels, model.init_weights) == (False, 3, True)
    assert config.optimizer.type == "Adam"
    assert isinstance(config.optimizer.lr, float) and config.optimizer.lr == 0.0001
    assert isinstance(config.optimizer.weight_decay, float)
    assert config.optimizer.weight_decay == 0.01
    assert config.checkpoint == ""
    assert config.test_checkpoint == "./log/ResNet/checkpoints/0009.pth"
    assert config.prefix == "./log/ResNet"
    assert (config.batch_size, config.num_workers, config.num_epochs) == (32, 8, 20)
    assert (config.print_epochs, config.dropout_rate) == (1, 0.1)
    assert config.EARLY_STOPPING_EPOCH == 5


SHIPPED = sorted(Path(__file__).parents[1].glob("configs/*.yaml"))


@pytest.mark.parametrize("file", [file for file in SHIPPED if file.stem != "sweep"])
def test_every_yaml_that_we_ship_is_read(file):
    text = file.read_text(encoding="utf-8")
    assert parsed("--config_file", str(file)).prefix == re.search(r'prefix: "(.*)"', text)[1]


def test_defaults_then_yaml_then_command_line(yaml):
    file = yaml("seed: 1\noptimizer:\n  lr: 0.5\n  weight_decay: 0.25\n")
    config = parsed("--config_file", file, "--optimizer.lr=2e-3", "--batch_size", "7")
    assert config.optimizer.lr == 2e-3  # the command line's
    assert (config.seed, config.optimizer.weight_decay) == (1, 0.25)  # the YAML's
    assert config.optimizer.momentum == Config().optimizer.momentum  # the default
    assert config.batch_size == 7


def test_two_groups_that_one_alias_made_equal_are_still_two(yaml):
    file = yaml("face: &both {detector: haar}\nfakes: {warp: *both}\n")
    config = parsed("--config_file", file, "--face.detector=mtcnn")
    assert (config.face.detector, config.fakes.warp.detector) == ("mtcnn", "haar")


@pytest.mark.parametrize(
    ("argv", "key", "value"),
    [
        (["--optimizer.lr=3e-4"], "optimizer.lr", 3e-4),
        (["--optimizer.lr", "3e-4"], "optimizer.lr", 3e-4),
        (["--optimizer.lr", "1"], "optimizer.lr", 1.0),
        (["--cam"], "cam", True),
        (["--cam", "--seed", "3"], "cam", True),
        (["--cam", "false"], "cam", False),
        (["--cam=True"], "cam", True),
        (["--data.crop", "no"], "data.crop", False),
        (["--seed", "1", "--seed", "2"], "seed", 2),
        (["--tmp_data", "[16, 3, 8, 8]"], "tmp_data", [16, 3, 8, 8]),
        (["--tmp_data=16,3,8,8"], "tmp_data", [16, 3, 8, 8]),
        (["--face.thresholds", ".5,.6,.7"], "face.thresholds", [0.5, 0.6, 0.7]),
        (["--device", "0"], "device", "0"),
        (["--device", "cuda:1"], "device", "cuda:1"),
        (["--model.variant", "34"], "model.variant", "34"),
        (["--face.margin", "30%"], "face.margin", "30%"),
        (["--face.margin", "50"], "face.margin", "50px"),
        (["--face.margin", "50px"], "face.margin", "50px"),
        (["--tracking.wandb", "off"], "tracking.wandb", "off"),
        (["--fakes.warp.kernel", "3"], "fakes.warp.kernel", 3),
        (["--fakes.warp.scale_max=1"], "fakes.warp.scale_max", 1.0),
        (["--scheduler.type", "none"], "scheduler.type", "none"),
        (["--data.fake_label", "1"], "data.fake_label", 1),
        (["--data.fake_label", "fake"], "data.fake_label", "fake"),
        # Text stays what was typed, whatever a YAML would make of it.
        (["--data.train", "2024"], "data.train", "2024"),
        (["--data.train", "null"], "data.train", "null"),
        (["--data.train", "a: b #c.csv"], "data.train", "a: b #c.csv"),
        (["--data.train", ""], "data.train", ""),
        (["--prefix", "1e-4"], "prefix", "1e-4"),
    ],
)
def test_forms_of_the_command_line(argv, key, value):
    found = parsed(*argv)
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("device: 0", "device", "0"),
        ("model:\n  variant: 34", "model.variant", "34"),
        ("face:\n  margin: 50", "face.margin", "50px"),
        ("face:\n  margin: '12.5 %'", "face.margin", "12.5%"),
        ("optimizer:\n  lr: 1E-4", "optimizer.lr", 1e-4),
        ("tmp_data: [16, 3, 8, 8]", "tmp_data", [16, 3, 8, 8]),
        # `key:` alone
        ("checkpoint:", "checkpoint", ""),
        ("test_checkpoint: null", "test_checkpoint", ""),
        ("data:\n  train:", "data.train", ""),
        ("model:\n  variant:", "model.variant", ""),
        ("tmp_data:", "tmp_data", None),
        ("optimizer:", "optimizer.type", "Adam"),
        ("fakes:\n  warp:", "fakes.warp.kernel", 5),
        ("", "seed", 42),
        ("# nothing yet\n", "seed", 42),
        ("\ufeffseed: 7", "seed", 7),
    ],
)
def test_forms_of_the_yaml(yaml, text, key, value):
    found = parsed("--config_file", yaml(text))
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value and type(found) is type(value)


def test_help_names_every_key_with_its_default(capsys):
    with pytest.raises(SystemExit) as ended:
        parsed("--help")
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for key, field in settings.keys(Config):
        entry = re.search(rf" --{re.escape(key)} (.*?)\(default: (.*?)\)", text)
        assert entry, key
        assert field.description in entry[1]
        assert entry[2] == str("none" if field.default in ("", None) else field.default)
    assert "[px]" in text and "[epochs]" in text and "FLOAT" in text


# -------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("text", "key", "value", "remedy"),
    [
        ("batch_siz: 3", "batch_siz", "3", "batch_size"),
        ("Seed: 3", "Seed", "3", "seed"),
        ("early_stopping_epoch: 3", "early_stopping_epoch", "3", "EARLY_STOPPING_EPOCH"),
        ("lr: 3", "lr", "3", "optimizer.lr"),
        ("optimizer:\n  learning_rate: 1", "optimizer.learning_rate", "1", "optimizer.lr"),
        ("optimzer:\n  lr: 1", "optimzer", "{'lr': 1}", "optimizer?"),
        ("data.train: a.csv", "data.train", "'a.csv'", "`train:`"),
        ("fakes.warp.kernel: 3", "fakes.warp.kernel", "3", "`warp:` and, indented below it, `ker"),
        ("fakes:\n  kernel: 3", "fakes.kernel", "3", "fakes.warp.kernel"),
        ("cams:\n  count: 3", "cams", "{'count': 3}", "cam"),
        ("heatmap:\n  count: 3", "heatmap", "{'count': 3}", "heatmaps?"),
        ("fakes:\n  warp: 3", "fakes.warp", "3", "group of keys"),
        ("qqqqq: 1", "qqqqq", "1", "--help"),
        ("7: 1", "7", "7", "--help"),
        ("batch_size: big", "batch_size", "'big'", "integer"),
        ("batch_size: '32'", "batch_size", "'32'", "integer"),
        ("batch_size: 1.5", "batch_size", "1.5", "integer"),
        ("batch_size: true", "batch_size", "True", "integer"),
        ("batch_size: 0", "batch_size", "0", "2"),
        ("num_epochs:", "num_epochs", "None", "integer"),
        ("data:\n  num_classes: 3", "data.num_classes", "3", "1 or 2"),
        ("data:\n  num_classes: true", "data.num_classes", "True", "number"),
        ("model:\n  in_channels: true", "model.in_channels", "True", "number"),
        ("dropout_rate: 1", "dropout_rate", "1", "less than 1"),
        ("seed: -1", "seed", "-1", "0"),
        ("seed: 4294967296", "seed", "4294967296", "4294967296"),
        ("cam: yes", "cam", "'yes'", "boolean"),
        ("device: true", "device", "True", "string"),
        ("optimizer:\n  lr: fast", "optimizer.lr", "'fast'", "number"),
        ("optimizer:\n  lr: .inf", "optimizer.lr", "inf", "finite"),
        ("optimizer:\n  lr: .nan", "optimizer.lr", "nan", "finite"),
        ("optimizer:\n  type: adam", "optimizer.type", "'adam'", "'Adam'"),
        ("optimizer: Adam", "optimizer", "'Adam'", "group of keys"),
        ("data:\n  train: [a.csv]", "data.train", "['a.csv']", "string"),
        ("face:\n  thresholds: [.6]", "face.thresholds", "[0.6]", "3"),
        ("face:\n  thresholds: [.6, .7, x]", "face.thresholds", "'x'", "number"),
        ("face:\n  margin: wide", "face.margin", "'wide'", "30%"),
        ("face:\n  margin: -5", "face.margin", "-5", "30%"),
        ("face:\n  margin: true", "face.margin", "True", "30%"),
        ("tmp_data: 16", "tmp_data", "16", "list"),
    ],
)
def test_a_mistake_in_a_yaml(yaml, refused, text, key, value, remedy):
    file = yaml(text)
    message = refused("--config_file", file)
    assert f"{file}: {key}: " in message
    assert f"(value {value})" in message
    assert remedy in message.split(key, 1)[1]
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("argv", "key", "value", "remedy"),
    [
        (["--bach_size", "3"], "--bach_size", "'3'", "batch_size"),
        (["--bach_size=3"], "--bach_size", "'3'", "batch_size"),
        (["--lr=3"], "--lr", "'3'", "optimizer.lr"),
        (["--config_fil", "x.yaml"], "--config_fil", "'x.yaml'", "config_file"),
        (["--cams", "3"], "--cams", "'3'", "cam?"),
        (["--heatmaps", "3"], "--heatmaps", "'3'", "heatmaps.count, heatmaps.path"),
        (["--fakes.warp", "3"], "--fakes.warp", "'3'", "fakes.warp.kernel"),
        (["--fakes.kernel", "3"], "--fakes.kernel", "'3'", "fakes.warp.kernel"),
        (["--fakes.warp.kernel", "big"], "fakes.warp.kernel", "'big'", "integer"),
        (["--num_epochs", "many"], "num_epochs", "'many'", "integer"),
        (["--num_epochs", "3.5"], "num_epochs", "3.5", "integer"),
        (["--num_epochs", "true"], "num_epochs", "True", "integer"),
        (["--data.num_classes", "3"], "data.num_classes", "3", "1 or 2"),
        (["--optimizer.lr", "-3"], "optimizer.lr", "-3", "greater than 0"),
        (["--optimizer.type", "Adagrad"], "optimizer.type", "'Adagrad'", "'AdamW'"),
        (["--cam", "picture.jpg"], "cam", "'picture.jpg'", "boolean"),
        (["--tmp_data", "16,{,3,3"], "tmp_data", "'{'", "integer"),
        (["--prefix", ""], "prefix", "''", "at least 1"),
    ],
)
def test_a_mistake_on_the_command_line(refused, argv, key, value, remedy):
    message = refused(*argv)
    assert f"command line: {key}: " in message
    assert f"(value {value})" in message
    assert remedy in message.split(key, 1)[1]


def test_a_stray_word_and_a_missing_value(refused):
    assert "'stray' belongs to no key" in refused("--seed", "3", "stray")
    assert "--seed: expected one argument" in refused("--seed")


def test_the_command_line_is_blamed_for_its_own_values_only(yaml, refused):
    file = yaml("seed: one\n")
    message = refused("--config_file", file, "--batch_size", "two")
    assert f"{file}: seed: " in message and "command line: batch_size: " in message
    assert "seed" not in refused("--config_file", file, "--seed", "1", "--batch_size", "two")


IMPOSSIBLE = [
    ("data: {random_split: true, valid: v.csv}", ["data.random_split", "data.valid 'v.csv'"]),
    ("tmp_data: [16, 3, 8]", ["tmp_data [16, 3, 8]", "[N, 3, H, W]"]),
    ("tmp_data: [4, 3, 8, 8]", ["tmp_data [4, 3, 8, 8]", "8"]),
    ("tmp_data: [16, 3, 0, 8]", ["tmp_data [16, 3, 0, 8]"]),
    ("tmp_data: []", ["tmp_data []"]),
    ("tmp_data: [16, 1, 8, 8]", ["tmp_data has 1 channels", "model.in_channels is 3"]),
    (
        "num_epochs: 5\nscheduler: {type: cosine, warmup_epochs: 5}",
        ["scheduler.warmup_epochs 5", "num_epochs 5"],
    ),
    (
        "optimizer: {lr: 1.0e-5}\nscheduler: {type: linear, min_lr: 1.0e-2}",
        ["scheduler.min_lr 0.01 is above optimizer.lr 1e-05"],
    ),
    ("face: {align: true}\ndata: {crop: false}", ["face.align", "data.crop to True"]),
    ("fakes: {type: warp}\ndata: {crop: false}", ["fakes.type warp", "data.crop to True"]),
    (
        "fakes: {type: warp}\nface: {no_face: whole}",
        ["fakes.type warp", "face.no_face to drop"],
    ),
    ("heatmaps: {path: a.png}", ["heatmaps.path a.png", "--cam"]),
    ("fakes: {warp: {kernel: 4}}", ["fakes.warp.kernel 4", "use 5"]),
    ("fakes: {warp: {scale_min: 2}}", ["fakes.warp.scale_min 2", "fakes.warp.scale_max 1.5"]),
    ("augment: {jpeg_quality: [90, 50]}", ["augment.jpeg_quality [90, 50]", "[low, high]"]),
    ("augment: {jpeg_quality: [0, 50]}", ["augment.jpeg_quality [0, 50]"]),
    ("augment: {jpeg_quality: [50, 101]}", ["augment.jpeg_quality [50, 101]"]),
    ("augment: {h264_crf: [30, 20]}", ["augment.h264_crf [30.0, 20.0]", "within 0..51"]),
    ("augment: {h264_crf: [20, 52]}", ["augment.h264_crf [20.0, 52.0]"]),
    ("face: {margin: 60%}", ["face.margin 60%", "face.grow to 2.2"]),
    ("face: {margin: 10%, grow: 1}", ["face.margin 10%", "face.grow to 1.2"]),
]


@pytest.mark.parametrize(("text", "named"), IMPOSSIBLE)
def test_impossible_combinations(yaml, refused, text, named):
    file = yaml(text)
    message = refused("--config_file", file)
    assert message.startswith(f"error: {file}: ") and len(message.splitlines()) == 1
    for part in named:
        assert part in message


@pytest.mark.parametrize(
    "text",
    [
        "data: {random_split: true}",
        "data: {valid: v.csv}",
        "tmp_data: [8, 1, 8, 8]\nmodel: {in_channels: 1}",
        "num_epochs: 5\nscheduler: {type: cosine, warmup_epochs: 4}",
        "num_epochs: 5\nscheduler: {type: step, warmup_epochs: 9}",
        "fakes: {type: warp}",
        "face: {no_face: whole}",
        "heatmaps: {path: a.png}\ncam: true",
        "fakes: {warp: {kernel: 1, scale_min: 1.5}}",
        "face: {margin: 50%}",
        "face: {margin: 500px}",
    ],
)
def test_their_possible_neighbours(yaml, text):
    parsed("--config_file", yaml(text))


@pytest.mark.parametrize("split", ["[.5, .5, .5]", "[1.5, -.25, -.25]", "[.5, .5]", "[a, b, c]"])
def test_shares_that_are_none(yaml, refused, split):
    message = refused("--config_file", yaml(f"split: {{shares: {split}}}"), schema=Prepare)
    assert "split.shares" in message
    given = parsed("--split.shares", ".7,.2,.1", schema=Prepare)
    assert given.split.shares == [0.7, 0.2, 0.1]


def test_a_combination_of_a_yaml_and_the_command_line_names_both(yaml, refused):
    file = yaml("num_epochs: 3\nscheduler: {warmup_epochs: 3}")
    message = refused("--config_file", file, "--scheduler.type", "cosine")
    assert file in message and "command line" in message


def test_all_mistakes_are_named_at_once(yaml, refused):
    file = yaml(
        "batch_siz: 3\nseed: x\noptimizer: {lr: 0, foo: 1}\n"
        "fakes: {warp: {kernel: 4, scale_min: 9}}\nface: {detector: none}\n"
    )
    message = refused("--config_file", file, "--num_epochs", "0", "--fooo", "--workers=3")
    for part in (
        "batch_siz: ",
        "seed: ",
        "optimizer.lr: ",
        "optimizer.foo: ",
        "fakes.warp.kernel 4",
        "fakes.warp.scale_min 9",
        "face.detector: ",
        "num_epochs: ",
        "--fooo: ",
        "--workers: ",
    ):
        assert part in message
    assert len(message.splitlines()) == 10
    several = refused("--tmp_data", "1,2", "--data.crop=false", "--fakes.type=warp")
    assert "tmp_data [1, 2]" in several and "fakes.type warp" in several


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("seed: 1\nseed: 2\n", 'duplicate key "seed"'),
        ("optimizer:\n  lr: 1\n  lr: 1\n", 'duplicate key "lr"'),
        ("optimizer:\n\tlr: 1\n", "line 2"),
        ("tmp_data: [1,\n", "line 2"),
        ("a: b: c\n", "line 1"),
        ("seed: 1\n---\nseed: 2\n", "document"),
        ("- seed\n- 42\n", "found a list"),
        ("just words\n", "found a str"),
        (b"\xff\xfe\x00", "utf-8"),
        ("[" * 1200, ""),
    ],
)
def test_what_is_no_configuration_at_all(yaml, refused, text, named):
    file = yaml(text)
    message = refused("--config_file", file)
    assert message.startswith(f"error: {file}: ") and named in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch {}']",
        "!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{}']]",
        "!!python/object/new:subprocess.Popen [['touch', '{}']]",
    ],
)
def test_nothing_in_a_yaml_runs(yaml, refused, tmp_path, tag):
    proof = tmp_path / "proof"
    text = tag.format(proof)
    for key in ("seed", "prefix", "anything"):
        assert "tag" in refused("--config_file", yaml(f"{key}: {text}"))
    assert "(value " in refused(f"--optimizer.lr={text}")
    assert not proof.exists()


def test_a_bomb_of_aliases_is_refused_in_few_words(yaml, refused):
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert len(refused("--config_file", yaml("\n".join(lines)))) < 20_000


def test_a_missing_file_names_the_nearest(yaml, refused, tmp_path):
    yaml("seed: 1", "ResNet.yaml")
    message = refused("--config_file", str(tmp_path / "ResNt.yaml"))
    assert "no such file" in message and str(tmp_path / "ResNet.yaml") in message
    assert "no such file" in refused("--config_file", str(tmp_path / "none" / "x.yaml"))
    assert "a folder" in refused("--config_file", str(tmp_path))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(yaml, refused):
    file = yaml("seed: 1")
    Path(file).chmod(0)
    assert file in refused("--config_file", file)


def test_load_raises_where_a_program_asks(yaml):
    with pytest.raises(ConfigError, match="sed: unknown key"):
        settings.load(Config, yaml("sed: 1"))
    with pytest.raises(ConfigError, match="seed"):
        settings.load(Config, overrides={"seed": "x"})


def test_a_configuration_error_is_the_users_to_mend():
    assert issubclass(ConfigError, UserError)


class Engine(Section):
    power: float = described(1.5, "Power at most.", "kW", gt=0)


class Boat(Section):
    name: str = described("", "What is painted on it.")
    engine: Engine = described(Engine, "What drives it.")


def test_any_schema_is_read(yaml, refused, capsys):
    """The reading knows no key of ours."""
    config = parsed("--config_file", yaml("name: Anna\n"), "--engine.power", "2", schema=Boat)
    assert config == Boat(name="Anna", engine=Engine(power=2.0))
    assert [key for key, _ in settings.keys(Boat)] == ["name", "engine.power"]
    assert "engine.power?" in refused("--engine.pover=3", schema=Boat)
    with pytest.raises(SystemExit):
        parsed("--help", schema=Boat)
    assert "Power at most. [kW] (default: 1.5)" in capsys.readouterr().out


@pytest.mark.parametrize("schema", [Config, Prepare, Sheet])
def test_every_key_says_what_it_is(schema):
    for key, field in settings.keys(schema):
        assert field.description and field.description.endswith("."), key


# ------------------------------------------------------------------------- round trip

WORDS = st.one_of(
    st.sampled_from(
        ["null", "~", "true", "no", "1e-4", "0009", "a: b", "#c", "- d", "'", '"', " "]
    ),
    # Not the line breaks of Unicode (U+0085, U+2028, U+2029): ruamel.yaml folds them to spaces.
    st.text(
        st.characters(exclude_categories=["Cs", "Zl", "Zp"], exclude_characters="\x85"),
        min_size=1,
        max_size=12,
    ),
)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    prefix=WORDS.map(lambda word: word.replace("$", "S")),  # $NAME is the environment's
    train=WORDS,
    lr=st.floats(min_value=1e-300, max_value=1e300),
    decay=st.floats(min_value=0, max_value=1e300),
    seed=st.integers(0, 2**32 - 1),
    tmp_data=st.none() | st.just([8, 3, 4, 4]),
    fake_label=st.none() | st.integers() | WORDS,
    crop=st.booleans(),
    margin=st.sampled_from([0, 7, 12.5, "30%", "1.25px"]),
    kernel=st.sampled_from([1, 3, 99]),
)
def test_what_is_dumped_loads_to_an_equal_configuration(
    prefix, train, lr, decay, seed, tmp_data, fake_label, crop, margin, kernel
):
    config = Config.model_validate(
        {
            "prefix": prefix,
            "seed": seed,
            "tmp_data": tmp_data,
            "data": {"train": train, "fake_label": fake_label, "crop": crop},
            "optimizer": {"lr": lr, "weight_decay": decay},
            "face": {"margin": margin},
            "fakes": {"warp": {"kernel": kernel}},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.write_bytes(settings.dump(config).encode())
        assert settings.load(Config, str(file)) == config
    assert settings.dump(config.model_dump()) == settings.dump(config)


def test_the_default_of_each_schema_survives_the_round_trip(yaml):
    for schema in (Config, Prepare, Sheet):
        assert settings.load(schema, yaml(settings.dump(schema()))) == schema()


def test_a_dict_is_dumped_in_its_own_order_whatever_its_keys():
    text = settings.dump({"zoo": {"later_key": 1.5, "a": [1, 2]}, "b": None})
    assert text == "zoo:\n  later_key: 1.5\n  a:\n  - 1\n  - 2\nb: null\n"


@pytest.mark.parametrize(("text", "value"), [("30%", (30.0, "%")), ("50px", (50.0, "px"))])
def test_margin(text, value):
    assert flags.parse_margin(text) == value
