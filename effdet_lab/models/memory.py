"""What a piece of work keeps in memory, followed storage by storage. On the meta device nothing of it is allocated."""

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class MemoryTrace(TorchDispatchMode):
    """While it is open, every storage that an operation makes counts from its birth to its death.

    `given` are tensors that were there before: neither they nor views of them count. `witness` is told of every
    operation, its arguments and its result.
    """

    def __init__(self, given: Iterable[Tensor]) -> None:
        super().__init__()
        self.live = 0  # bytes now
        self.peak = 0  # bytes at the worst moment
        self.witness: Callable[[Any, tuple, dict, Any], None] | None = None
        self._sizes: dict[int, int] = {}
        self._watched: dict[int, weakref.ref] = {}
        for tensor in given:
            self._meet(tensor, counts=False)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if self.witness is not None:
            self.witness(func, args, kwargs, result)
        for tensor in _tensors(result):
            self._meet(tensor)
        return result

    @contextmanager
    def only_what_remains(self) -> Iterator[None]:
        """What does not outlive this passage never counts: work in blocks, whose size is the device's own."""
        peak = self.peak
        yield
        self.peak = max(peak, self.live)

    def forget(self, tensor: Tensor) -> None:
        """It counts no longer, because somebody else accounts for it."""
        key = tensor.untyped_storage()._cdata
        self.live -= self._sizes.get(key, 0)
        self._sizes[key] = 0

    def _meet(self, tensor: Tensor, counts: bool = True) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata  # the address may serve again, but not before the storage is dead
        if key in self._watched:
            return
        self._sizes[key] = storage.nbytes() if counts else 0
        self._watched[key] = weakref.ref(storage, lambda _: self._bury(key))
        self.live += self._sizes[key]
        self.peak = max(self.peak, self.live)

    def _bury(self, key: int) -> None:
        self.live -= self._sizes.pop(key)
        del self._watched[key]


def _tensors(result: Any) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, list | tuple):
        for each in result:
            yield from _tensors(each)
