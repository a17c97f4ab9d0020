"""W&B's sweeps: what is written, that its agent's command lines run, and that a trial joins its sweep."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tiny import changed, tiny_classifier
from wandb_file import kind, values, wandb_records

from effdet_lab.errors import ConfigError, MachineError
from effdet_lab.run.jobs import search, single, spec_of
from effdet_lab.sweep_spec import Dimension, SearchSpec
from effdet_lab.tracking import agent, weights_and_biases
from effdet_lab.tracking.agent import create_sweep, hand_over, parameter, sweep_definition, write_definition
from effdet_lab.tracking.loggers import build_logger, finish

BASE = ("model=efficientnet", "phi=-6", "data=digits")
SPACE = (
    "space=optimiser",
    "head.dropout=range(0.1,0.5,0.1)",
    "trainer.max_epochs=int(interval(1,3))",
    "data.batch_size=range(10,50,8)",
    "trainer.channels_last=true,false",
    "model.image_size=[64,64],[96,64]",
    "init_classes=fit,'by_name'",
    "optim=adamw_cosine,rmsprop_cosine",
)
AGENT = ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_DIR", "WANDB_ENTITY", "WANDB_PROJECT")


@pytest.fixture(autouse=True)
def outside_an_agent(monkeypatch):
    for name in AGENT:
        monkeypatch.setenv(name, "")  # so that what W&B writes there is taken back
        monkeypatch.delenv(name)


def asked(name="tpe", space=(Dimension("seed", choices=(0, 1)),), prune="none", metric="", storage="", warm_start=()):
    return SearchSpec(name, 12, metric, "", prune, 0, storage, warm_start, space)


def defined(search_spec, base=BASE, folder=Path("outputs/sweep_1"), **more):
    return sweep_definition(search_spec, base, "val/top1", "effdet_lab", folder, **more)


def of_a_search(*overrides, folder=Path("outputs/sweep_1")):
    searched = search([*BASE, "search=tpe", *overrides])
    return defined(searched.spec.search, spec_of(searched.base, {}).overrides, folder)


def test_the_whole_definition_as_it_is_written(tmp_path):
    overrides = ("search.trials=30", "search.prune=asha", "space=optimiser", "cluster.at_once=2", "hydra.sweep.dir=x")
    definition = of_a_search(*overrides)
    assert write_definition(tmp_path / "new", definition).read_text() == (
        "name: sweep_1\n"
        "project: effdet_lab\n"
        "program: run.py\n"
        "method: bayes\n"
        "metric:\n"
        "  name: val/top1\n"
        "  goal: maximize\n"
        "parameters:\n"
        "  optim.learning_rate:\n"
        "    distribution: log_uniform_values\n"
        "    min: 0.0003\n"
        "    max: 0.03\n"
        "  optim.weight_decay:\n"
        "    distribution: log_uniform_values\n"
        "    min: 1.0e-06\n"
        "    max: 0.1\n"
        "  optim.warmup_epochs:\n"
        "    values:\n"
        "    - 0.0\n"
        "    - 1.0\n"
        "  optim.ema_decay:\n"
        "    values:\n"
        "    - 0.0\n"
        "    - 0.9\n"
        "    - 0.99\n"
        "run_cap: 30\n"
        "command:\n"
        "- ${env}\n"
        "- ${interpreter}\n"
        "- ${program}\n"
        "- model=efficientnet\n"
        "- phi=-6\n"
        "- data=digits\n"
        "- logger.group='sweep_1'\n"
        "- hydra.run.dir='outputs/sweep_1/${oc.env:WANDB_RUN_ID}'\n"
        "- ${args_no_hyphens}\n"
        "early_terminate:\n"
        "  type: hyperband\n"
        "  min_iter: 1\n"
        "  eta: 3\n"
        "  strict: true\n"
    )


@pytest.mark.parametrize(("name", "method"), [("random", "random"), ("grid", "grid"), ("tpe", "bayes")])
def test_each_search_has_its_method(name, method):
    assert defined(asked(name))["method"] == method


@pytest.mark.parametrize("prune", ["asha", "hyperband"])
def test_both_ways_of_halving_are_hyperband_there(prune):
    assert defined(asked(prune=prune))["early_terminate"] == {
        "type": "hyperband",
        "min_iter": 1,
        "eta": 3,
        "strict": True,
    }
    assert "early_terminate" not in defined(asked())


@pytest.mark.parametrize(
    ("dimension", "word"),
    [
        (Dimension("a", choices=(0.5, 2, True, "x y")), {"values": [0.5, 2, True, "x y"]}),
        (Dimension("a", low=1, high=4, step=1), {"distribution": "int_uniform", "min": 1, "max": 4}),
        (Dimension("a", low=10, high=34, step=8), {"values": [10, 18, 26, 34]}),
        (Dimension("a", low=0.1, high=0.4, step=0.1), {"values": [0.1, 0.2, 0.3, 0.4]}),
        (Dimension("a", low=0, high=1), {"distribution": "uniform", "min": 0.0, "max": 1.0}),
        (Dimension("a", low=1, high=9, log=True), {"distribution": "log_uniform_values", "min": 1.0, "max": 9.0}),
    ],
)
def test_each_kind_of_dimension_has_its_word(dimension, word):
    assert parameter(dimension) == word
    assert [type(value) for value in parameter(dimension).values()] == [type(value) for value in word.values()]


def test_a_metric_that_was_named_counts():
    assert defined(asked(metric="val/top5"))["metric"] == {"name": "val/top5", "goal": "maximize"}


def test_a_group_that_was_named_stays_and_being_offline_is_not_handed_on():
    command = defined(asked(), ("logger.group=mine", "logger.mode=offline", "phi=1"))["command"]
    assert command[3:5] == ["logger.group=mine", "phi=1"]
    assert not any(text.startswith(("logger.mode", "logger.group='")) for text in command)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "cmaes"}, r"search=cmaes: W&B has no such search. Nearest: search=tpe"),
        ({"name": "nsga2"}, r"search=nsga2: W&B has no such search. Nearest: search=tpe"),
        ({"prune": "median"}, r"search.prune=median: .* Use search.prune=asha or none"),
        ({"storage": "sqlite:///x"}, r"search.storage: .* Use search.storage=null"),
        ({"warm_start": ("outputs/a",)}, r"search.warm_start: .*wandb sweep --prior_run ID"),
    ],
)
def test_what_wandb_cannot_do_is_refused_in_words(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        defined(asked(**changes))


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(ConfigError) as refusal:
        defined(asked("cmaes", prune="median"))
    assert len(refusal.value.problems) == 2


def test_a_search_by_wandb_needs_its_logger(tmp_path):
    spec = changed(tiny_classifier(), "logger", name="csv")
    with pytest.raises(ConfigError, match=r"logger=csv: .*Use logger=wandb"):
        hand_over(spec, asked(), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def logged_there(mode="auto"):
    return changed(tiny_classifier(), "logger", name="wandb", mode=mode)


def test_without_a_key_two_commands_are_told(tmp_path):
    lines = hand_over(logged_there(), asked(), tmp_path / "a sweep")
    file = tmp_path / "a sweep" / "wandb_sweep.yaml"
    assert f"wandb sweep '{file}'" in lines[0]
    assert "wandb agent ENTITY/effdet_lab/ID" in lines[1]
    definition = yaml.safe_load(file.read_text())
    assert definition["command"][3:6] == ["logger=csv", "optim.ema_decay=0", "optim.warmup_epochs=0"]


def with_a_key(monkeypatch, answer):
    import wandb

    def sweep(definition, project):
        assert project == definition["project"] == "effdet_lab"
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_ENTITY", "somebody")
    monkeypatch.setattr(wandb, "sweep", sweep)


def test_with_a_key_the_sweep_is_created_and_one_command_is_left(monkeypatch, tmp_path):
    with_a_key(monkeypatch, "abc123")
    (line,) = hand_over(logged_there(), asked(), tmp_path)
    assert line.endswith("wandb agent somebody/effdet_lab/abc123")
    assert len(hand_over(logged_there("offline"), asked(), tmp_path)) == 2


def test_a_server_out_of_reach_leaves_both_commands_and_a_sentence(monkeypatch, tmp_path, caplog):
    with_a_key(monkeypatch, OSError("no such host"))
    with pytest.raises(MachineError, match=r"W&B created no sweep \(no such host\)"):
        create_sweep(defined(asked()))
    assert len(hand_over(logged_there(), asked(), tmp_path)) == 2
    assert [record.getMessage() for record in caplog.records] == ["W&B created no sweep (no such host)."]


def test_a_sweep_is_written_without_torch():
    program = (
        "import sys, effdet_lab.tracking.agent; assert not {'torch', 'pytorch_lightning', 'wandb'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


class Started(Exception):
    """In place of a process."""


def argv_of_the_agent(monkeypatch, definition, arguments, run="run1"):
    """What the installed agent would start for these arguments: the command, and its environment."""
    wandb_agent = pytest.importorskip("wandb.wandb_agent")
    started = []

    def process(command, env, forward_signals):
        started.append((command, env))
        raise Started

    monkeypatch.setattr(wandb_agent, "AgentProcess", process)
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    made = wandb_agent.Agent(api=None, queue=None, sweep_id="sweep1")
    made._sweep_command = list(definition["command"])
    arguments = {name: {"value": value} for name, value in arguments.items()}
    with pytest.raises(Started):
        made._command_run({"run_id": run, "program": definition["program"], "args": arguments})
    return started[0]


def drawn(words, which):
    """The first, the last or a middle value of every parameter, as they come back from the server: JSON."""
    chosen = {}
    for name, word in words.items():
        if "values" in word:
            chosen[name] = word["values"][{"first": 0, "last": -1}.get(which, len(word["values"]) // 2)]
        else:
            middle = (word["min"] * word["max"]) ** 0.5 if "log" in word["distribution"] else 0
            middle = middle or (word["min"] + word["max"]) / 2
            middle = round(middle) if word["distribution"] == "int_uniform" else middle
            chosen[name] = {"first": word["min"], "last": word["max"]}.get(which, middle)
    return json.loads(json.dumps(chosen))


@pytest.mark.parametrize("which", ["first", "middle", "last"])
def test_the_agents_command_settles_to_the_experiment_that_our_own_search_would_run(which, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    searched = search([*BASE, "search=tpe", "data.classes=[a b,'c,d']", *SPACE])
    folder = Path("out puts") / "it's a sweep"
    written = write_definition(folder, defined(searched.spec.search, spec_of(searched.base, {}).overrides, folder))
    definition = yaml.safe_load(written.read_text())
    chosen = drawn(definition["parameters"], which)
    argv, environment = argv_of_the_agent(monkeypatch, definition, chosen)
    assert argv[:3] == ["/usr/bin/env", "python", "run.py"]
    monkeypatch.setenv("WANDB_RUN_ID", environment["WANDB_RUN_ID"])
    job = single(argv[3:])
    assert job.folder == folder / "run1"
    ours = spec_of([*searched.base, 'logger.group="it\'s a sweep"'], chosen)
    assert changed_away(job.spec) == changed_away(ours)
    assert job.spec.logger.group == "it's a sweep"
    assert job.spec.model.input.image_size == ((64, 64) if which == "first" else (96, 64))


def changed_away(spec):
    """Without what was typed, which may say the same in other words."""
    from effdet_lab.spec import to_dict

    return {name: value for name, value in to_dict(spec).items() if name != "overrides"}


@pytest.mark.parametrize("typed", [True, False, 3, 2.0, 1e-5, "null", "a b", "[1,2]"])
def test_a_value_comes_through_the_agent_as_it_was(typed, monkeypatch, tmp_path):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    definition = yaml.safe_load(
        write_definition(tmp_path, defined(asked(space=(Dimension("x", (typed,)),)))).read_text()
    )
    (value,) = definition["parameters"]["x"]["values"]
    argv, _ = argv_of_the_agent(monkeypatch, definition, {"x": value})
    read = OverridesParser.create().parse_override(argv[-1]).value()
    expected = {"null": None, "[1,2]": [1, 2]}.get(typed, typed) if isinstance(typed, str) else typed
    assert read == expected
    assert type(read) is type(expected)


@pytest.fixture
def under_an_agent(monkeypatch, tmp_path):
    """A process that an agent has started, whose W&B reads its environment anew."""
    import wandb

    wandb.teardown()
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    definition = defined(asked(space=(Dimension("seed", choices=(0,)),)))
    _, environment = argv_of_the_agent(monkeypatch, definition, {"seed": 0})
    for name in AGENT:
        if name in environment:
            monkeypatch.setenv(name, environment[name])
    yield
    finish()
    monkeypatch.undo()
    wandb.teardown()


def test_a_run_that_an_agent_starts_joins_the_sweep(under_an_agent, tmp_path):
    spec, folder = logged_there("offline"), tmp_path / "run"
    logger = build_logger(spec, folder)
    logger.log_metrics({"val/top1": 0.5}, step=1)
    finish(logger)
    records = wandb_records(next((folder / "wandb").glob("offline-run-*/*.wandb")))
    run = kind(records, "run")[0]
    assert (run.run_id, run.sweep_id) == ("run1", "sweep1")
    assert not run.resumed
    config = values(run.config.update)
    assert (config["seed"], config["phi"]) == (0, spec.phi)
    assert (folder / "wandb_id.txt").read_text() == "run1\n"


def test_whoever_goes_on_in_that_folder_later_goes_on_with_that_run(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("WANDB_RUN_ID", "run1")
    assert weights_and_biases.whose_run(logged_there(), tmp_path) == {}
    monkeypatch.delenv("WANDB_SWEEP_ID")  # a run id alone is not an agent's
    expected = {"project": "effdet_lab", "id": "run1", "resume": "allow"}
    assert weights_and_biases.whose_run(logged_there(), tmp_path) == expected


@pytest.fixture(scope="module")
def engine():
    """W&B's own search. It asks for an older NumPy than it needs: pip install --no-deps sweeps jsonref."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)  # it speaks to an older pydantic
        module = pytest.importorskip("sweeps")
    if not hasattr(module, "next_runs"):  # a folder of tests that has its name
        pytest.skip("W&B's package sweeps is not installed")
    return module


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_wandb_finds_nothing_to_correct_and_draws_what_settles(name, engine):
    searched = search([*BASE, f"search={name}", "search.prune=hyperband", *SPACE])
    base = spec_of(searched.base, {}).overrides
    definition = defined(searched.spec.search, base)
    assert engine.schema_violations_from_proposed_config(definition) == []
    for run in engine.next_runs(definition, [], n=4):
        sent = json.loads(json.dumps(run.config))
        spec_of(base, {setting: word["value"] for setting, word in sent.items()})


def test_wandbs_grid_is_ours(engine):
    space = (
        "head.dropout=range(0.1,0.5,0.1)",
        "trainer.max_epochs=int(interval(1,3))",
        "data.batch_size=range(10,50,8)",
    )
    searched = search([*BASE, "search=grid", *space])
    definition = defined(searched.spec.search)
    runs = [run for run in engine.next_runs(definition, [], n=100) if run is not None]
    points = {tuple(run.config[name]["value"] for name in definition["parameters"]) for run in runs}
    assert len(points) == len(runs) == 4 * 3 * 5
    assert {point[2] for point in points} == {10, 18, 26, 34, 42}


@pytest.mark.parametrize(("metric", "stopped"), [("val/top1", ["bad"]), ("val/top1.max", [])])
def test_a_curves_name_lets_runs_fall_behind_and_its_summarys_would_not(metric, stopped, engine):
    definition = defined(asked(prune="asha", metric=metric))
    runs = [
        engine.SweepRun(
            name=name,
            state=engine.RunState.running,
            history=[{"val/top1": score, "trainer/global_step": 1}],
            summary_metrics={"val/top1": {"max": score}},
        )
        for name, score in (("good", 0.9), ("fair", 0.8), ("bad", 0.1))
    ]
    assert [run.name for run in engine.stop_runs(definition, runs)] in (stopped, ["fair", *stopped])


def test_the_commands_that_are_told_can_be_pasted(tmp_path):
    first, second = hand_over(logged_there(), asked(), tmp_path / "it's here")
    words = shlex.split(re.search(r"wandb sweep .*", first)[0])
    assert words[2] == str(tmp_path / "it's here" / agent.FILE)
    assert os.path.exists(words[2])
    assert "wandb agent" in second
