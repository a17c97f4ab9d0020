"""The README's commands compose, and its tables name what there is."""

import re
import shlex
from pathlib import Path

import pytest

from effdet_lab import HOMES, compose
from effdet_lab.settings.compose import expand, groups, options_of, split_space

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
MISTAKE = "model=effdet "  # the command that shows a refusal


def commands() -> list[str]:
    """What is typed after `python run.py`, without comments, questions and placeholders for more."""
    lines = re.findall(r"^ +(?:\$ )?python run\.py (.+)$", README, re.MULTILINE)
    typed = [line.partition("  #")[0].strip() for line in lines]
    return [line for line in typed if "--" not in line and "..." not in line and not line.startswith(MISTAKE)]


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_readme_composes(command):
    overrides = [word for word in shlex.split(command) if word != "-m"]
    if any(word.startswith("search=") for word in overrides):
        overrides, space = split_space(overrides)
        for dimension in space:
            for end in dimension.ends():
                compose(*overrides, f"{dimension.setting}={end}")
    for job in expand(overrides):
        compose(*job)


def test_the_readme_has_commands_at_all():
    assert len(commands()) >= 10


def test_every_group_and_its_own_options_are_in_the_readme():
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", README, re.MULTILINE))
    for group in groups():
        assert group in rows, f"{group} is missing from the table of groups"
    for group in ("model", "bifpn", "head", "scaling", "optim", "trainer", "logger", "experiment"):
        for option in options_of(group):
            assert f"`{option}`" in rows[group], f"{group}={option} is missing from the README"
    for option in options_of("data"):
        assert f"| `{option}` |" in README


def test_the_python_door_has_what_the_readme_uses():
    assert set(re.findall(r"effdet_lab\.(\w+)\(", README)) <= set(HOMES)
