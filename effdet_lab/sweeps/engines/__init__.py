"""Where jobs run. An engine knows folders and seconds, and nothing of what is in them."""

from pathlib import Path
from typing import Protocol


class Handle(Protocol):
    """A job that was started."""

    def ended(self) -> bool: ...

    def kill(self) -> None: ...


class Engine(Protocol):
    """Starts the job that a folder's spec.yaml describes, in a process of its own."""

    slots: int  # jobs at a time

    def start(self, folder: Path) -> Handle: ...

    def close(self) -> None: ...
