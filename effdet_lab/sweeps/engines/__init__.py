"""Where jobs run. An engine knows folders and seconds, and nothing of what is in them."""

from pathlib import Path
from typing import Literal, Protocol

OnInterrupt = Literal["hear", "kill", "leave"]


class Handle(Protocol):
    """A job that was started."""

    name: str  # what `Engine.rejoin` finds it by; empty: it ends with us

    def ended(self) -> bool: ...

    def kill(self) -> None: ...


class Engine(Protocol):
    """Starts the job that a folder's spec.yaml describes, in a process of its own."""

    slots: int  # jobs at a time
    is_aloud: bool  # whether jobs write to our console
    # What becomes of running jobs when the user interrupts the sweep: they hear it themselves, or are killed (their
    # checkpoints stay), or are left where they are.
    on_interrupt: OnInterrupt

    def start(self, folder: Path) -> Handle: ...

    def rejoin(self, folder: Path, name: str) -> Handle | None:
        """A job that an earlier process started; None: it cannot be running any more."""
        ...

    def close(self) -> None: ...
