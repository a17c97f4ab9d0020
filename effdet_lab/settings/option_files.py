"""An option from a file: `scaling=FILE` and `backbone=FILE` stand for the overrides that the file holds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from effdet_lab.errors import ConfigError

SUFFIXES = (".yaml", ".yml")
# Which option of the group the file's settings belong to, where the file does not say it itself.
OPTION_OF = {"scaling": "formula", "backbone": "staged"}
SAYS_OPTION = {"scaling": "mode", "backbone": "name"}


def names_file(override: str) -> bool:
    """Whether an override takes its option from a file.

    >>> names_file("scaling=outputs/SWEEP/scaling.yaml"), names_file("scaling=formula")
    (True, False)
    """
    group, _, value = override.partition("=")
    return group in OPTION_OF and value.strip("'\"").endswith(SUFFIXES)


def from_files(overrides: Sequence[str]) -> list[str]:
    """The overrides, with those of the files in the place of their names.

    Raises: ConfigError naming every file that is not there or holds no settings.
    """
    spelled, problems = [], []
    for override in overrides:
        if not names_file(override):
            spelled.append(override)
            continue
        group, _, value = override.partition("=")
        try:
            spelled += _spelled(group, _read(Path(value.strip("'\"")).expanduser()))
        except (OSError, UnicodeDecodeError):
            problems.append(f"{override}: no such file.")
        except (yaml.YAMLError, TypeError) as error:
            problems.append(f"{override}: holds no settings ({' '.join(str(error).split())}).")
    if problems:
        raise ConfigError(problems)
    return spelled


def _read(path: Path) -> Mapping[str, Any]:
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(settings, dict) or not all(isinstance(name, str) for name in settings):
        raise TypeError("settings are lines of the form name: value")
    return settings


def _spelled(group: str, settings: Mapping[str, Any]) -> list[str]:
    option = settings.get(SAYS_OPTION[group], OPTION_OF[group])
    rest = {name: value for name, value in settings.items() if name != SAYS_OPTION[group]}
    return [f"{group}={option}", *(f"{group}.{name}={literal(value)}" for name, value in rest.items())]


def literal(value: Any) -> str:
    """A value as Hydra reads it on a command line.

    >>> literal([{"kernel_size": 5, "skip": True, "operator": "mbconv"}, None])
    "[{kernel_size:5,skip:true,operator:'mbconv'},null]"
    """
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return "'" + value.replace("'", "\\'") + "'"
        case list():
            return f"[{','.join(map(literal, value))}]"
        case dict():
            return f"{{{','.join(f'{name}:{literal(item)}' for name, item in value.items())}}}"
        case _:
            return repr(value)
