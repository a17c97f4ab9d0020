"""The price list: what it says, what it writes, what it refuses, and that nothing is built for it."""

import csv
import dataclasses
import json
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import changed, tiny_classifier, tiny_detector
from torch.utils._python_dispatch import TorchDispatchMode

import effdet_lab
from effdet_lab import cli
from effdet_lab.errors import MachineError
from effdet_lab.models.counting import count
from effdet_lab.models.memory import MemoryTrace
from effdet_lab.run import capacity as capacities
from effdet_lab.run.capacity import Capacity, available_memory, capacity, misfit, smaller_batch
from effdet_lab.run.plan import plan
from effdet_lab.run.pricing import memory_of, network_of, pictures_of_device, training_memory
from effdet_lab.run.probe import pictures_per_second, sizes
from effdet_lab.run.quote import quotes
from effdet_lab.run.rehearsal import given_tensors, loss_of, normalised, random_batch
from effdet_lab.run.say import told
from effdet_lab.spec import PlanSpec
from effdet_lab.tasks.build import build_task
from effdet_lab.tasks.optim import build_optimiser

SCENES = ("data=digit_scenes", "logger=csv")
DETECTOR, CLASSIFIER = tiny_detector(), tiny_classifier()
FOR_80_GB = PlanSpec(probe=False, memory=80 * 10**9)


def listed(specs, folder, capsys):
    """What the plan says on the console, and what cannot fit."""
    folder.mkdir(exist_ok=True)
    with told(folder, aloud=True):
        misfits = plan(specs, folder)
    return capsys.readouterr().out, misfits


def obeyed(*arguments):
    cli._obey(list(arguments))


class Built(TorchDispatchMode):
    """The bytes of the largest tensor that was really made."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, list | tuple) else [result]:
            if isinstance(tensor, torch.Tensor) and not tensor.is_meta:
                self.largest = max(self.largest, tensor.nbytes)
        return result


@pytest.mark.parametrize("spec", [DETECTOR, CLASSIFIER], ids=lambda spec: spec.name)
def test_a_plan_counts_what_counting_counts(spec):
    with torch.device("meta"):
        model = effdet_lab.build_model(spec)
    assert network_of(spec).counts == count(model, spec.model.input.image_size)


def test_flops_are_twice_the_multiply_adds_and_both_are_named(tmp_path, capsys):
    said, _ = listed([effdet_lab.compose("data=coco", "task=plan")], tmp_path, capsys)
    assert "multiply-adds" in said
    assert "2.492 G" in said
    assert "FLOPs" in said
    assert "4.985 G" in said


@pytest.mark.parametrize("spec", [DETECTOR, CLASSIFIER], ids=lambda spec: spec.name)
def test_a_rehearsed_loss_is_the_task_s(spec):
    model = effdet_lab.build_model(spec).eval()  # for a step in training would move the norms
    batch = random_batch(spec, 3, (64, 96))
    if hasattr(batch, "boxes_BM4"):
        spec = changed_size(spec, (64, 96))
    task = build_task(spec, model, None).eval()
    images_BCHW = normalised(spec, batch.images_BCHW)
    assert torch.allclose(images_BCHW, task.normalised(batch.images_BCHW), atol=1e-5)
    task.training = True  # labels are smoothed in training only
    expected = task.losses(task(batch.images_BCHW), batch)["loss"]
    torch.testing.assert_close(loss_of(spec, model(images_BCHW), batch), expected)


def changed_size(spec, image_size):
    model = dataclasses.replace(spec.model, input=dataclasses.replace(spec.model.input, image_size=image_size))
    return dataclasses.replace(spec, model=model)


@pytest.mark.parametrize("spec", [DETECTOR, CLASSIFIER], ids=lambda spec: spec.name)
def test_a_real_step_keeps_what_was_predicted(spec):
    """The tensors of a task's own step on the processor, against the trace that computed nothing."""
    pictures = 8
    task = build_task(spec, effdet_lab.build_model(spec), None).train()
    batch = random_batch(spec, pictures, spec.model.input.image_size)
    with MemoryTrace([*given_tensors(task, batch)]) as trace:
        for parameter in task.parameters():
            parameter.register_post_accumulate_grad_hook(lambda parameter: trace.forget(parameter.grad))
        answer = task(batch.images_BCHW)
        loss = task.losses(answer, batch)["loss"]
        del answer
        kept = trace.live + batch.images_BCHW.nbytes
        loss.backward()
    memory = memory_of(spec, network_of(spec), pictures)
    assert kept == pytest.approx(memory.activations, rel=0.05)
    assert trace.peak + batch.images_BCHW.nbytes == pytest.approx(memory.activations + memory.passing, rel=0.1)


@pytest.mark.parametrize("optim", ["sgd_cosine", "adamw_cosine", "rmsprop_cosine"])
def test_weights_gradients_and_states_are_those_of_the_optimiser(optim):
    spec = tiny_classifier(f"optim={optim}", "optim.ema_decay=0.9")
    model = effdet_lab.build_model(spec)
    optimiser = build_optimiser(model, spec.optim)
    model(torch.rand(2, 3, 96, 96)).sum().backward()
    optimiser.step()
    states = [value for state in optimiser.state.values() for value in state.values() if torch.is_tensor(value)]
    memory = training_memory(spec)
    assert memory.weights == memory.average == sum(t.nbytes for t in (*model.parameters(), *model.buffers()))
    assert memory.gradients == sum(parameter.grad.nbytes for parameter in model.parameters())
    assert memory.optimiser == sum(state.nbytes for state in states if state.numel() > 1)


def test_what_is_frozen_has_neither_gradients_nor_states():
    spec = tiny_detector("optim.freeze=[backbone]")
    memory, whole = training_memory(spec), training_memory(tiny_detector())
    assert memory.weights == whole.weights
    assert memory.gradients < whole.gradients / 2
    assert memory.optimiser < whole.optimiser / 2
    assert memory.activations < whole.activations


def test_half_precision_keeps_half_and_a_copy_of_the_weights():
    full, half = tiny_detector(), tiny_detector("trainer.precision=bf16")
    assert training_memory(half).activations == pytest.approx(training_memory(full).activations / 2, rel=0.1)
    assert training_memory(half).weights > training_memory(full).weights
    assert training_memory(half).gradients == training_memory(full).gradients


def test_shards_and_buckets_are_known():
    one = training_memory(tiny_detector("data.batch_size=8"))
    both = changed(tiny_detector("data.batch_size=16"), "trainer", processes=2)
    ddp, fsdp = training_memory(both), training_memory(changed(both, "trainer", strategy="fsdp"))
    assert ddp.activations == fsdp.activations == one.activations
    assert ddp.gradients == 2 * one.gradients
    assert (fsdp.gradients, fsdp.optimiser) == (one.gradients // 2, one.optimiser // 2)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 256))
def test_memory_grows_with_the_batch_alone_in_what_the_pictures_keep(pictures):
    spec, network = DETECTOR, network_of(DETECTOR)
    one, many = memory_of(spec, network, 1), memory_of(spec, network, pictures)
    assert many.activations == pictures * one.activations
    assert (many.weights, many.gradients, many.optimiser) == (one.weights, one.gradients, one.optimiser)


def test_networks_that_only_train_differently_are_traced_once(monkeypatch):
    traced = []
    monkeypatch.setattr("effdet_lab.run.pricing.build_model", lambda spec: traced.append(spec) or real(spec))
    real = effdet_lab.build_model
    sizes_of_batch = [tiny_detector("model.image_size=96", f"data.batch_size={size}") for size in (2, 4, 8)]
    peaks = [each.memory.peak for each in quotes(sizes_of_batch)]
    assert len(traced) == 1
    assert peaks == sorted(set(peaks))


def test_nothing_is_built_for_a_price():
    spec = effdet_lab.compose("phi=7", "data=coco", "model.image_size=1024")
    with Built() as built:
        quotes([spec])
    assert built.largest < 1e6
    assert network_of(spec).counts["total"].parameters == 51_871_782


def test_the_files_hold_what_the_tables_say(tmp_path, capsys):
    specs = [dataclasses.replace(effdet_lab.compose(*SCENES, f"phi={phi}"), plan=FOR_80_GB) for phi in (-4, 0)]
    said, misfits = listed(specs, tmp_path, capsys)
    assert misfits == []
    rows = list(csv.DictReader((tmp_path / "plan.csv").open()))
    jobs = json.loads((tmp_path / "plan.json").read_text())["jobs"]
    priced = quotes(specs)
    for row, job, each in zip(rows, jobs, priced, strict=True):
        for name, value in each.row().items():
            assert job[name] == value
            assert row[name] == ("" if value is None else str(value))
        for shown in (
            f"{int(row['parameters']):,}",
            f"{int(row['multiply_adds']) / 1e9:,.3f} G",
            f"{int(row['flops']) / 1e9:,.3f} G",
            f"{int(row['steps']):,}",
            effdet_lab.sizes.as_bytes(int(row["peak_bytes"])),
        ):
            assert shown in said
        assert {part: (c["parameters"], c["multiply_adds"]) for part, c in job["parts"].items()} == {
            part: (c.parameters, c.multiply_adds) for part, c in each.network.counts.items()
        }
    assert (tmp_path / "log.txt").read_text().count("multiply-adds") >= 1


def test_parts_of_the_memory_add_up_to_its_peak():
    row = quotes([DETECTOR])[0].row()
    parts = ("weights", "gradients", "optimiser", "average", "activations", "passing", "heap")
    assert sum(row[f"{part}_bytes"] for part in parts) == row["peak_bytes"]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 64), st.integers(1, 4), st.floats(0.02, 1.5))
def test_the_batch_that_a_refusal_names_fits_and_sees_as_many_pictures(batch, accumulate, share):
    spec = changed(changed(DETECTOR, "data", batch_size=batch), "trainer", accumulate=accumulate)
    network = network_of(spec)
    room = Capacity(int(share * training_memory(spec).peak), "this machine")
    sentence = misfit(spec, network, room)
    assert bool(sentence) == (training_memory(spec).peak > room.size)
    if not sentence:
        return
    named = re.search(r"data.batch_size=(\d+) trainer.accumulate=(\d+) would need", sentence)
    if named is None:
        assert memory_of(spec, network, 1).peak > room.size
        assert "One picture alone needs" in sentence
        return
    other = changed(changed(spec, "data", batch_size=int(named[1])), "trainer", accumulate=int(named[2]))
    assert training_memory(other).peak <= room.size
    assert int(named[1]) * int(named[2]) == batch * accumulate
    better = smaller_batch(spec, network, room.size)
    assert better is not None
    assert better.data.batch_size == int(named[1])


def test_a_smaller_batch_is_shared_by_all_processes():
    spec = changed(changed(DETECTOR, "data", batch_size=24), "trainer", processes=4)
    network = network_of(spec)
    other = smaller_batch(spec, network, memory_of(spec, network, 4).peak)
    assert other is not None
    assert (other.data.batch_size, other.trainer.accumulate) == (12, 2)
    assert pictures_of_device(other) == 3


def test_what_cannot_fit_is_refused_after_it_was_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MachineError) as refusal:
        obeyed("-m", "task=plan", *SCENES, "phi=-4,0", "data.batch_size=16", "plan.memory=2GB")
    (problem,) = refusal.value.problems
    assert problem.startswith("job 1 (efficientdet-d0): data.batch_size=16: a step needs")
    assert "data.batch_size=2 trainer.accumulate=8 would need" in problem
    (folder,) = (tmp_path / "outputs").iterdir()
    assert folder.name.startswith("plan_")
    assert {path.name for path in folder.iterdir()} == {"plan.json", "plan.csv", "log.txt"}
    assert "2 jobs" in capsys.readouterr().out
    assert json.loads((folder / "plan.json").read_text())["jobs"][1]["misfit"] in problem


def test_a_plan_lies_in_the_folder_that_was_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    obeyed("task=plan", *SCENES, "phi=-4", "hydra.run.dir=priced")
    obeyed("-m", "task=plan", *SCENES, "phi=-4,-3", "hydra.sweep.dir=all_priced")
    assert {path.name for path in tmp_path.iterdir()} == {"priced", "all_priced"}
    assert (tmp_path / "all_priced" / "plan.csv").read_text().count("\n") == 3


def test_a_machine_is_what_the_system_and_the_container_leave(tmp_path, monkeypatch):
    meminfo, limit, used = (tmp_path / name for name in ("meminfo", "max", "current"))
    meminfo.write_text("MemTotal: 9000 kB\nMemAvailable: 5000 kB\n")
    monkeypatch.setattr(capacities, "MEMINFO", meminfo)
    monkeypatch.setattr(capacities, "GROUP_LIMIT", limit)
    monkeypatch.setattr(capacities, "GROUP_USED", used)
    assert available_memory() == 5000 * 1024
    used.write_text("1000\n")
    limit.write_text("max\n")
    assert available_memory() == 5000 * 1024
    limit.write_text("3000\n")
    assert available_memory() == 2000
    room = capacity(changed(DETECTOR, "trainer", processes=2))
    assert room is not None
    assert room.size == 1000


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_gpus_that_are_elsewhere_have_the_memory_that_is_named():
    spec = changed(DETECTOR, "trainer", gpus=2)
    assert quotes([spec])[0].room is None
    room = quotes([dataclasses.replace(spec, plan=FOR_80_GB)])[0].room
    assert room == Capacity(80 * 10**9, "the device of plan.memory")


def test_hours_come_of_the_steps_and_the_speed():
    spec = changed(tiny_detector("data.train_images=1000", "data.batch_size=10"), "trainer", max_epochs=3, accumulate=2)
    each = dataclasses.replace(quotes([spec])[0], speed=50.0)
    assert (each.steps_per_epoch, each.steps) == (50, 150)
    assert each.hours == pytest.approx(150 * 20 / 50 / 3600)
    short = dataclasses.replace(each, spec=changed(spec, "trainer", max_steps=40))
    assert short.steps == 40
    long = dataclasses.replace(each, spec=changed(spec, "trainer", min_steps=401))
    assert (long.epochs, long.steps) == (9, 450)


def test_without_its_data_an_experiment_has_no_steps(tmp_path, capsys):
    spec = effdet_lab.compose("data=coco", "phi=-4", "plan.memory=80GB")
    said, _ = listed([spec], tmp_path, capsys)
    assert quotes([spec])[0].steps is None
    assert "data.root=FOLDER tells the steps" in said


@pytest.mark.parametrize("spec", [DETECTOR, CLASSIFIER], ids=lambda spec: spec.name)
def test_a_probe_takes_real_steps(spec):
    probed = dataclasses.replace(spec, plan=PlanSpec(probe=True, memory=0))
    (each,) = quotes([probed])
    assert each.speed is not None
    assert each.speed > 0
    assert each.hours is not None


def test_a_probe_that_finds_no_room_says_nothing():
    assert pictures_per_second(DETECTOR, network_of(DETECTOR), room=1000) is None


def test_pictures_of_a_probe_grow_to_the_real_ones():
    assert sizes((1536, 1536)) == [(192, 192), (384, 384), (768, 768), (1536, 1536)]
    assert sizes((64, 64)) == [(64, 64)]
    assert sizes((600, 600))[-1] == (600, 600)


def test_gradients_of_weights_count_once():
    """A network of many weights on small pictures: its gradients would outweigh all that comes and goes."""
    spec = tiny_classifier("phi=0", "model.image_size=32", "data.batch_size=4")
    memory = training_memory(spec)
    assert memory.gradients > 10e6
    assert memory.passing < memory.gradients / 4
