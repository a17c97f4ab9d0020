"""Types and ranges are judged by the schema; its complaints become sentences that name the setting as it is typed."""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from effdet_lab.errors import ConfigError
from effdet_lab.settings import schema

UNIONS = ("backbone", "bifpn", "head", "data")  # below them pydantic's path names the option before the setting
RULES = {
    "int": "must be a whole number.",
    "float": "must be a number.",
    "finite": "must be a finite number.",
    "bool": "must be true or false.",
    "string": "must be text.",
    "list": "must be a list in brackets.",
    "tuple": "must be a list in brackets.",
    "dict": "must be a group of settings.",
    "model": "must be a group of settings.",
}
BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "less_than_equal": ("at most", "le"),
    "greater_than": ("above", "gt"),
    "less_than": ("below", "lt"),
}


def judge(settings: Mapping[str, Any]) -> schema.Experiment:
    """The settings, typed.

    Raises: ConfigError with every setting that has no place, the wrong type or a value out of range.
    """
    try:
        return schema.Experiment.model_validate(dict(settings))
    except ValidationError as error:
        raise ConfigError(_sentences(error, settings)) from None


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """The nearest legal word as a sentence, or nothing; of settings, the last part alone may be near."""
    choices = list(choices)
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.75)
    if not close:
        by_end = {choice.rpartition(".")[2]: choice for choice in reversed(choices)}
        close = [by_end[end] for end in difflib.get_close_matches(word.rpartition(".")[2], by_end, n=1, cutoff=0.6)]
    return f" Did you mean {close[0]}?" if close else ""


def _sentences(error: ValidationError, settings: Mapping[str, Any]) -> list[str]:
    """One line a setting, however many of its elements are wrong."""
    rules: dict[str, list[str]] = {}
    for problem in error.errors(include_url=False):
        where = _path(problem["loc"])
        rules.setdefault(where, []).append(_rule(problem, where))
    return [f"{where}={_written(settings, where)}: {' '.join(dict.fromkeys(found))}" for where, found in rules.items()]


def _path(location: tuple[int | str, ...]) -> str:
    """The setting as it is typed; elements of a list belong to their list."""
    parts = list(location)
    if parts[0] in UNIONS:
        del parts[1:2]
    names = []
    for part in parts:
        if isinstance(part, int):
            break
        names.append(part)
    return ".".join(names)


def _written(settings: Mapping[str, Any], where: str) -> str:
    value: Any = settings
    for name in where.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return "null" if value is None else str(value)


def _rule(problem: Mapping[str, Any], where: str) -> str:
    kind, context = problem["type"], problem.get("ctx", {})
    match kind:
        case "extra_forbidden":
            return f"no such setting.{did_you_mean(where, SETTING_PATHS)}"
        case "missing":
            return "an element is missing." if isinstance(problem["loc"][-1], int) else "is missing."
        case "literal_error":
            words = re.findall(r"'([^']*)'", context["expected"]) or [context["expected"]]
            return f"must be {' | '.join(words)}.{did_you_mean(str(problem['input']), words)}"
        case "union_tag_invalid":
            return f"must be {context['expected_tags']}."
        case "too_long" | "too_short":
            return f"must have {context.get('max_length') or context.get('min_length')} elements."
        case "value_error":
            return f"{context['error']}"
    if kind in BOUNDS:
        word, key = BOUNDS[kind]
        nearest = f" Nearest: {context[key]}." if word.startswith("at") else ""
        return f"must be {word} {context[key]}.{nearest}"
    return RULES.get(kind.partition("_")[0], f"{problem['msg']}.")


def _paths(model: type[schema.Settings], prefix: str = "") -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        found.append(prefix + name)
        for choice in _members(field.annotation):
            found.extend(_paths(choice, f"{prefix}{name}."))
    return list(dict.fromkeys(found))


def _members(annotation: Any) -> list[type[schema.Settings]]:
    if isinstance(annotation, type) and issubclass(annotation, schema.Settings):
        return [annotation]
    return [member for argument in getattr(annotation, "__args__", ()) for member in _members(argument)]


SETTING_PATHS = tuple(_paths(schema.Experiment))
