"""Wrong settings, and the part of the sentence a user acts on."""

import subprocess
import sys
import textwrap

import pytest

from effdet_lab import ConfigError, compose

REFUSALS = [
    (["phii=3"], "phii=3: no such setting. Did you mean phi?"),
    (["bifpn.channel=64"], "Did you mean bifpn.channels?"),
    (["+bifpn.channel=64"], "bifpn.channel=64: no such setting. Did you mean bifpn.channels?"),
    (["+stray=1"], "stray=1: no such setting."),
    (["model=effdet"], "model=effdet: no such option. Did you mean efficientdet?"),
    (["backbone=resnet51"], "Did you mean resnet50?"),
    (["phi=four"], "phi=four: must be a number."),
    (["phi=9"], "Nearest: 7. scaling=formula goes further."),
    (["phi=-9"], "Nearest: -4."),
    (["phi=nan"], "phi=nan: must be a finite number."),
    (["model=efficientnet", "phi=8.5"], "Nearest: 8."),
    (["backbone=efficientnet_lite", "phi=5"], "from -4 to 4. Nearest: 4."),
    (["seed=-1"], "seed=-1: must be at least 0. Nearest: 0."),
    (["model.image_size=20"], "model.image_size=20: must be at least 32. Nearest: 32."),
    (["model.image_size=big"], "must be one whole number or [height, width]."),
    (["model.image_size=[64,64,64]"], "model.image_size=[64, 64, 64]: must have 2 elements."),
    (["trainer.gpus=two"], "trainer.gpus=two: must be a whole number."),
    (["trainer.gpus=2", "trainer.processes=2"], "trainer.processes=2: counts CPU processes"),
    (["trainer.precision=16"], "trainer.precision=16: needs a GPU."),
    (["trainer.precision=fp8"], "trainer.precision=fp8: must be 32 | bf16 | 16."),
    (["trainer.processes=2", "data.batch_size=63"], "Nearest: 62 or 64."),
    (["trainer.processes=2", "data.batch_size=1"], "Nearest: 2."),
    (["head.loss.alpha=2"], "head.loss.alpha=2: must be at most 1.0. Nearest: 1.0."),
    (["optim.momentum=1"], "optim.momentum=1: must be below 1.0."),
    (["optim.freeze=['(']"], "optim.freeze=(: is no regular expression"),
    (["data.augment.scale=[2,1]"], "data.augment.scale=[2.0, 1.0]: must be [low, high]"),
    (["data.classes=[cat,dog,cat]"], "data.classes: cat stands there 2 times."),
    (["model=efficientnet", "data=voc"], "data=voc: has boxes, and model=efficientnet classifies."),
    (["data=cifar10"], "data=cifar10: has no boxes, and model=efficientdet detects."),
    (["bifpn=none"], "bifpn=none: a detector needs a feature network."),
    (["head=classifier"], "head=classifier: does not fit model=efficientdet."),
    (["bifpn=nas_fpn", "bifpn.max_level=8"], "bifpn.max_level=8: bifpn=nas_fpn is wired for P3 to P7 alone. Near"),
    (["experiment=efficientdet_d7x", "bifpn.topology=nas_fpn"], "bifpn=pan takes any."),
    (["bifpn.topology=pam"], "Did you mean pan?"),
    (["bifpn=fully_conected"], "Did you mean fully_connected?"),
    (["model=efficientnet", "data=imagefolder", "data.class_pattern=x"], "needs a group in parentheses"),
    (["task=evaluate"], "checkpoint=null: task=evaluate needs trained weights."),
    (["task=evaluate", "predictions=x.json"], "data.annotations=null: predictions are judged against a COCO file."),
    (["task=predict", "checkpoint=x"], "input=null: task=predict needs pictures."),
    (
        ["task=tran"],
        "task=tran: must be train | evaluate | predict | plan | search | forecast | report | verify | export |",
    ),
    (["task=tran"], "Did you mean train?"),
    (["backbone=timm"], "backbone.architecture: must be given"),
    (["data=cifar"], "Did you mean cifar10?"),
    (["data=food101"], "data=food101: has no boxes, and model=efficientdet detects."),
    (["trainer.min_steps=-1"], "trainer.min_steps=-1: must be at least 0. Nearest: 0."),
    (
        ["trainer.max_steps=2", "trainer.min_steps=3"],
        "trainer.max_steps=2: is less than trainer.min_steps=3. Use trainer.min_steps=2 or less",
    ),
    (["phi=0,1"], "phi=0,1: several values need -m."),
    (["phi"], "phi: is not of the form setting=value"),
    (["plan.memory=lots"], "plan.memory=lots: must be a size as 8GB, 512MB or 16GiB."),
    (["plan.memory=0"], "plan.memory=0: must be a size as 8GB, 512MB or 16GiB."),
    (["plan.probe=maybe"], "plan.probe=maybe: must be true or false."),
]


@pytest.mark.parametrize(
    ("overrides", "sentence"), REFUSALS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_wrong_setting_is_refused_with_its_rule(overrides, sentence):
    with pytest.raises(ConfigError) as refusal:
        compose(*overrides)
    assert sentence in str(refusal.value)


def test_all_problems_are_told_at_once():
    with pytest.raises(ConfigError) as refusal:
        compose("model=effdet", "bifpn.channel=3", "seed=-1", "+model.sizes=3")
    assert len(refusal.value.problems) == 4


def test_settling_needs_no_torch():
    code = """
        import sys
        import effdet_lab
        effdet_lab.compose("phi=2", "data=coco")
        import effdet_lab.cli
        assert not {"torch", "pytorch_lightning", "timm"} & set(sys.modules), "torch came in"
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
