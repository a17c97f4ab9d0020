"""What one experiment costs, from its parameters to its hours, as numbers for tables and for scripts."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from effdet_lab.data.epochs import epochs_of, steps_per_epoch
from effdet_lab.models.counting import Count
from effdet_lab.run.capacity import Capacity, capacity, misfit
from effdet_lab.run.pricing import Memory, Network, memory_of, network_of, pictures_of_device
from effdet_lab.spec import DataSpec, DigitScenesSource, DigitsSource, ExperimentSpec, PlanSpec

PROBED_SHARE = 0.5  # of the memory at hand, for a step that only takes the time


@dataclass(frozen=True)
class Quote:
    """One job, priced; what is None can only be told with the data or by a probe."""

    spec: ExperimentSpec
    network: Network
    memory: Memory  # of one device
    room: Capacity | None
    misfit: str  # empty where it fits
    pictures: int | None  # of the training split
    speed: float | None  # pictures a second, of all devices together

    @property
    def total(self) -> Count:
        """Of the whole network."""
        return self.network.counts["total"]

    @property
    def steps_per_epoch(self) -> int | None:
        """Steps of the optimiser."""
        return None if self.pictures is None else steps_per_epoch(self.spec, self.pictures)

    @property
    def epochs(self) -> int:
        """As many as were asked for, or as `trainer.min_steps` takes."""
        return epochs_of(self.spec, self.steps_per_epoch) if self.steps_per_epoch else self.spec.trainer.max_epochs

    @property
    def steps(self) -> int | None:
        """In all; without the data, where the settings limit them."""
        most = self.spec.trainer.max_steps
        if self.steps_per_epoch is None:
            return most if most >= 0 else None
        steps = self.steps_per_epoch * self.epochs
        return min(steps, most) if most >= 0 else steps

    @property
    def hours(self) -> float | None:
        """Of the training steps alone: evaluations and starting come on top."""
        if self.steps is None or not self.speed:
            return None
        seen = self.steps * self.spec.data.batch_size * self.spec.trainer.accumulate
        return seen / self.speed / 3600

    def row(self) -> dict[str, Any]:
        """A line of plan.csv."""
        height, width = self.spec.model.input.image_size
        return {
            "name": self.spec.name,
            "phi": self.spec.phi,
            "height": height,
            "width": width,
            "parameters": self.total.parameters,
            "multiply_adds": self.total.multiply_adds,
            "flops": self.total.flops,
            "activation_bytes_of_a_picture": self.network.activations,
            "batch_size": self.spec.data.batch_size,
            "pictures_of_a_device": pictures_of_device(self.spec),
            **{f"{name}_bytes": size for name, size in dataclasses.asdict(self.memory).items()},
            "peak_bytes": self.memory.peak,
            "room_bytes": self.room.size if self.room else None,
            "fits": not self.misfit if self.room else None,
            "pictures": self.pictures,
            "epochs": self.epochs,
            "steps": self.steps,
            "pictures_per_second": self.speed,
            "hours": self.hours,
        }


def quotes(specs: Sequence[ExperimentSpec]) -> list[Quote]:
    """Nothing of a network is built, unless `plan.probe` asks for its speed. The same data are looked at once.

    Raises: DataError where the data cannot be read.
    """
    known: dict[DataSpec, tuple[DataSpec, int | None]] = {}
    found = []
    for spec in specs:
        if spec.data not in known:
            known[spec.data] = _looked_at(spec)
        data, pictures = known[spec.data]
        found.append(_quote(dataclasses.replace(spec, data=data), pictures))
    return found


def _quote(spec: ExperimentSpec, pictures: int | None) -> Quote:
    network, room = network_of(spec), capacity(spec)
    return Quote(
        spec=spec,
        network=network,
        memory=memory_of(spec, network, pictures_of_device(spec)),
        room=room,
        misfit=misfit(spec, network, room) if room else "",
        pictures=pictures,
        speed=_speed(spec, network) if spec.plan.probe else None,
    )


def _speed(spec: ExperimentSpec, network: Network) -> float | None:
    from effdet_lab.run.probe import pictures_per_second

    here = capacity(dataclasses.replace(spec, plan=PlanSpec(probe=True, memory=0)))
    return pictures_per_second(spec, network, round(PROBED_SHARE * here.size)) if here else None


def _looked_at(spec: ExperimentSpec) -> tuple[DataSpec, int | None]:
    """The data with their classes, and how many pictures train, where the data are at hand."""
    data = spec.data
    if isinstance(data.source, DigitScenesSource):
        others = (data.folds - 1) / data.folds if data.is_cut else 1
        return data, round(data.source.train_images * others)
    if not data.root and not isinstance(data.source, DigitsSource):
        return data, None
    from effdet_lab.data.opening import count_pictures, learn_classes  # torchvision takes seconds to import

    spec = learn_classes(dataclasses.replace(spec, task="train"))
    return spec.data, count_pictures(spec, "train")
