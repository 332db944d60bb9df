"""What the engine needs from whoever sits in front of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gpuplug.outputs import SafeBundle


class Talk(Protocol):
    """A front end, as the engine sees it. Called from the thread that called the engine, never from another."""

    @property
    def can_ask(self) -> bool:
        """Whether a person can answer now."""
        ...

    def phase(self, name: str, detail: str = "") -> None:
        """Begin the phase `name` (the one before ends); `detail` may change while it lasts."""
        ...

    def progress(self, done: int, total: int, rate: float) -> None:
        """Say how many bytes of the phase at hand are done; `rate` in bytes per second."""
        ...

    def note(self, text: str) -> None:
        """Say one thing that the user must know."""
        ...

    def ask(self, question: str) -> bool:
        """Ask yes or no; only called when `can_ask`."""
        ...

    def read_input(self, prompt: str, *, password: bool) -> str | None:
        """Answer the cell's `input()`; None when nobody can."""
        ...

    def stream(self, name: str, text: str) -> None:
        """Show text of the cell's `stdout` or `stderr`; already safe."""
        ...

    def display(self, bundle: SafeBundle, display_id: str | None, *, update: bool) -> None:
        """Show rich output; already safe."""
        ...

    def result(self, bundle: SafeBundle) -> None:
        """Show the value of the cell's last expression; already safe."""
        ...

    def clear(self, *, wait: bool) -> None:
        """Remove what the cell has shown."""
        ...

    def cost(self, line: str) -> None:
        """Show the cell's cost line and end the phases."""
        ...
