"""Any typed schema + YAML + command line -> values, each mistake one sentence with its remedy.

Defaults come first, then the YAML, then the command line. A mistake names file, key, value, nearest
known key and what to do; nothing in a YAML can run code. The keys themselves are in flags/.
"""

import argparse
import difflib
import io
import reprlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from utils import UserError


class ConfigError(UserError):
    """A configuration that cannot be used; the message names file, key, value and remedy."""


# ---------------------------------------------------------------------------------- types


def _empty_if_none(value: Any) -> Any:
    return "" if value is None else value


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def not_a_bool(value: Any) -> Any:
    if isinstance(value, bool):  # True == 1 for Python, and nobody means that
        raise ValueError("input should be a number")
    return value


PathText = Annotated[str, BeforeValidator(_empty_if_none)]
"""A path; empty (or `key:` alone in the YAML) means none."""

NumberOrText = Annotated[str, BeforeValidator(_as_text)]
"""Text that may be written as a bare integer in a YAML (`device: 0`, `variant: 34`)."""

OptionalText = Annotated[NumberOrText, BeforeValidator(_empty_if_none)]

Share = Annotated[float, Field(ge=0, le=1)]


def described(default: Any, text: str, unit: str = "", **limits: Any) -> Any:
    """A field with its one-sentence description and its unit, both shown by --help."""
    extra: Any = {"unit": unit} if unit else None
    if isinstance(default, type) and issubclass(default, BaseModel):
        return Field(default_factory=default, description=text)
    return Field(default=default, description=text, json_schema_extra=extra, **limits)


class Section(BaseModel):
    """One group of settings: unknown keys and wrong types are errors, never guesses."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        validate_default=True,
        allow_inf_nan=False,
    )

    @model_validator(mode="before")
    @classmethod
    def _is_a_group(cls, value: Any) -> Any:
        if value is None:  # `optimizer:` with all of its keys commented out
            return {}
        if not isinstance(value, (dict, BaseModel)):
            raise ValueError("expected a group of keys, indented below it")
        return value


Checked = TypeVar("Checked", bound=Section)


def refuse_if(wrong: list[str], section: Checked) -> Checked:
    """The section, unless settings in it contradict each other; then one error names all."""
    if wrong:
        raise ValueError("\n".join(wrong))
    return section


# -------------------------------------------------------------------------------- reading

Schema = TypeVar("Schema", bound=Section)


def keys(schema: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All leaf keys of a schema in order, dotted, with their pydantic fields."""
    for name, field in schema.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from keys(inner, f"{prefix}{name}.")
        else:
            yield prefix + (field.alias or name), field


def load(schema: type[Schema], file: str = "", overrides: dict[str, Any] | None = None) -> Schema:
    """Read defaults, then the YAML `file`, then `overrides` (dotted keys, values as typed).

    Raises ConfigError with every mistake at once: file, key, value, nearest key and remedy.
    """
    values = read_yaml(file) if file else {}
    overrides = overrides or {}
    for key, value in overrides.items():
        _put(values, key, value)
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        problems = [_explain(schema, item, overrides, file) for item in error.errors()]
    raise ConfigError("\n".join(dict.fromkeys(problems)))


def changed(config: Schema, changes: dict[str, Any], where: str) -> Schema:
    """The configuration with other values of some keys, dotted or in groups as in a YAML.

    where: what a mistake is said of. Raises ConfigError as load() does.
    """
    values, known = config.model_dump(), [key for key, _ in keys(type(config))]
    problems = []
    for key, value in flat(changes).items():
        if key in known:
            _put(values, key, value)
        else:
            problems.append(f"{where}: {key}: unknown key{_shown(value)}; {_nearest(key, known)}")
    try:
        made = type(config).model_validate(values)
    except ValidationError as error:
        problems += [_explain(type(config), item, {}, where) for item in error.errors()]
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))
    return made


def flat(values: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Groups within groups -> dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def parse(schema: type[Schema], argv: Sequence[str], description: str, words: str = "") -> Schema:
    """The command line of a program: `--config_file`, `--help` and every key of the schema.

    words: the key, a list of texts, that takes what stands without a key, such as names of files.
    A mistake is printed and ends the program with status 2, as argparse does.
    """
    fields = dict(keys(schema))
    taken, rest = fields.pop(words, None), list[str]()
    shown = f"{words.upper()[:-1]} ... " if words else ""
    parser = argparse.ArgumentParser(
        usage=f"%(prog)s {shown}[--config_file YAML] [--KEY VALUE ...]",
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--config_file", default="", metavar="YAML", help="Settings to start from.")
    for key, field in fields.items():
        flag, several = field.annotation is bool, _holds_texts(field.annotation)
        parser.add_argument(
            f"--{key}",
            default=argparse.SUPPRESS,
            action="extend" if several else "store",  # so that the flag may be repeated
            nargs="?" if flag else "+" if several else None,
            const="true" if flag else None,
            metavar="TEXT" if several else _type_name(field.annotation),
            help=_help(field),
        )
    if taken:
        parser.add_argument(words, nargs="*", default=[], help=_help(taken))
        flags = {f"--{key}" for key, field in fields.items() if field.annotation is bool}
        if "--" in argv:  # names only from here on, those that begin with a dash too
            rest = list(argv[argv.index("--") + 1 :])
        argv = _flags_alone(argv[: len(argv) - len(rest) - 1] if "--" in argv else argv, flags)
    # Intermixed: names of files may stand between the keys.
    read = parser.parse_known_intermixed_args if taken else parser.parse_known_args
    known, unknown = read(list(argv))
    given = vars(known)
    file, plain = given.pop("config_file"), [*given.pop(words, []), *rest]
    problems = _unknown_arguments(unknown, ["config_file", *fields])
    try:
        overrides = {key: _typed(text, fields[key].annotation) for key, text in given.items()}
        config = load(schema, file, overrides | ({words: plain} if plain else {}))
    except ConfigError as error:
        problems.append(str(error))
    if problems:
        print("error: " + "\n".join(problems), file=sys.stderr)
        raise SystemExit(2)
    return config


def dump(config: BaseModel | dict[str, Any]) -> str:
    """The resolved configuration as YAML text that load() reads back to an equal one."""
    text = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(config if isinstance(config, dict) else config.model_dump(), text)
    return text.getvalue()


def read_yaml(file: str) -> dict[str, Any]:
    """The keys and values of a YAML, checked against no schema."""
    path = Path(file)
    if not path.is_file():
        nearby = sorted(str(p) for p in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        near = difflib.get_close_matches(file, nearby, n=1, cutoff=0.5)
        what = "a folder, not a YAML" if path.is_dir() else "no such file"
        raise ConfigError(f"{file}: {what}" + (f"; did you mean {near[0]}?" if near else ""))
    try:
        # YAML 1.2: `1e-4` is a number, a key given twice is an error, and no tag can run code.
        values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, OSError, ValueError, RecursionError) as error:
        first = " ".join(str(error).split("To suppress")[0].split())
        raise ConfigError(f"{file}: not a YAML that can be read: {first}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: expected `key: value` lines, found a {type(values).__name__}")
    return values


# --------------------------------------------------------------------------- small pieces


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, leaf = key.split(".")
    for parent in parents:
        inner = values.get(parent)
        if inner is not None and not isinstance(inner, dict):
            return  # the YAML has a value where a group belongs: the schema will say so
        # A copy: two groups of a YAML may be one, by an alias.
        values[parent] = values = {**(inner or {})}
    values[leaf] = value


def _flags_alone(argv: Sequence[str], flags: set[str]) -> list[str]:
    """`--cam a.jpg` as `--cam=true a.jpg`: where files are named, a flag takes none of them."""
    said = ("true", "false", "yes", "no", "on", "off")
    after = [*argv, ""][1:]
    return [
        f"{word}=true" if word in flags and following.lower() not in said else word
        for word, following in zip(argv, after, strict=True)
    ]


def _holds_texts(annotation: Any) -> bool:
    """Whether a key takes several words: a list of texts, or one text or several."""
    return list[str] in (annotation, *get_args(annotation))


def _typed(text: str | list[str], annotation: Any) -> Any:
    """What stands on the command line as the YAML would read it, unless the key holds text."""
    if isinstance(text, list):
        # Commas separate names, and belong to a path.
        names = annotation == list[str]
        return [part for word in text for part in _parts(word)] if names else text
    options = get_args(annotation) if get_origin(annotation) in (Union, type(int | str)) else ()
    words = [v for v in get_args(annotation) if isinstance(v, str)] if not options else []
    if annotation is str or text in words:
        return text
    try:
        value = YAML(typ="safe", pure=True).load(text)
    except YAMLError:
        return text
    wants_list = get_origin(annotation) is list or any(get_origin(o) is list for o in options)
    if wants_list and isinstance(value, str):
        value = [_typed(part, float) for part in value.split(",")]
    if annotation is bool and isinstance(value, str):
        value = {"yes": True, "on": True, "no": False, "off": False}.get(value.lower(), value)
    return value


def _parts(word: str) -> list[str]:
    return [part.strip() for part in word.strip("[]").split(",") if part.strip()]


def _explain(schema: type[BaseModel], item: Any, overrides: dict[str, Any], file: str) -> str:
    location = [str(part) for part in item["loc"]]
    known = [key for key, _ in keys(schema)]
    key = ".".join(location)
    unknown = item["type"] in ("extra_forbidden", "invalid_key")
    # A union or a list adds its own parts behind the key: name the key itself.
    while location and key not in {*known, *_groups(known)} and not unknown:
        location.pop()
        key = ".".join(location)
    value = item.get("input")
    where = file if file and key not in overrides else "command line"
    if unknown:
        return f"{where}: {key}: unknown key{_shown(value)}; {_nearest(key, known)}"
    message = item["msg"].removeprefix("Value error, ")
    # A rule about several keys names them itself.
    if isinstance(value, (dict, BaseModel)) and key not in known:
        where += " and command line" if file and overrides else ""
        return "\n".join(f"{where}: {line}" for line in message.splitlines())
    return f"{where}: {key}: {message[0].lower()}{message[1:]}{_shown(value)}"


def _shown(value: Any) -> str:
    short = reprlib.Repr()
    short.maxlevel = 2  # a few lines of aliases can hold a billion values
    text = short.repr(value) if isinstance(value, (dict, list)) else repr(value)
    return f" (value {text})"


def _groups(known: list[str]) -> set[str]:
    return {key.rsplit(".", 1)[0] for key in known if "." in key}


def _nearest(key: str, known: list[str]) -> str:
    """The remedy for an unknown key."""
    if key in known:  # dots are for the command line
        return "in a YAML write " + " and, indented below it, ".join(
            f"`{part}:`" for part in key.split(".")
        )
    if key in _groups(known):
        return "a group: name one of " + ", ".join(k for k in known if k.startswith(f"{key}."))
    names = {name.rsplit(".", 1)[-1].lower(): name for name in known}
    names |= {name.lower(): name for name in (*_groups(known), *known)}
    near = difflib.get_close_matches(key.lower(), names, n=1, cutoff=0.6)
    return f"did you mean {names[near[0]]}?" if near else "--help lists all keys"


def _unknown_arguments(words: list[str], known: list[str]) -> list[str]:
    problems, follows = [], False
    for word, after in pairwise([*words, "-"]):
        if word.startswith("-"):
            name, _, value = word.lstrip("-").partition("=")
            follows = not value and not after.startswith("-")
            shown = _shown(value or after) if value or follows else ""
            typed = word.partition("=")[0]
            problems.append(f"command line: {typed}: unknown key{shown}; {_nearest(name, known)}")
        elif follows:  # the value of the unknown key before it
            follows = False
        else:
            problems.append(f"command line: {word!r} belongs to no key; write --key value")
    return problems


def _type_name(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return "{" + ",".join(str(value) for value in get_args(annotation)) + "}"
    if get_origin(annotation) is list:
        return "LIST"
    options = [o for o in get_args(annotation) if o is not type(None)]
    if options:
        return "|".join(_type_name(option) for option in options)
    return {bool: "BOOL", int: "INT", float: "FLOAT", str: "TEXT"}.get(annotation, "VALUE")


def _help(field: Any) -> str:
    unit = (field.json_schema_extra or {}).get("unit", "")
    default = field.default if field.default not in ("", None) else "none"
    return f"{field.description}{f' [{unit}]' if unit else ''} (default: {default})".replace(
        "%", "%%"
    )
