"""Refusals that name the setting or the file, its value, the rule and what would be right."""

from collections.abc import Iterable


class Refusal(Exception):
    """Something the user can mend: every problem found, one sentence each."""

    opening = "This cannot run:"

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join([self.opening, *(f"  - {problem}" for problem in self.problems)]))


class ConfigError(Refusal):
    """Settings that cannot run."""

    opening = "This configuration cannot run:"


class DataError(Refusal):
    """Files that cannot be used: path, record and field."""

    opening = "This data cannot be used:"


class LostRank(RuntimeError):
    """A process of the job died without a word: killed, or taken by the system."""


class MachineError(Refusal):
    """Files or devices that are not here."""

    opening = "This cannot run here:"
