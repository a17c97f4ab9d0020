"""A W&B run for a job: online with a key and a network, offline otherwise, and never a question on the keyboard."""

import logging
import netrc
import os
import secrets
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from effdet_lab.errors import ConfigError
from effdet_lab.spec import ExperimentSpec
from effdet_lab.tracking.describe import STEP, flatten, tags

if TYPE_CHECKING:
    from pytorch_lightning.loggers import WandbLogger

log = logging.getLogger(__name__)

SECONDS_TO_CONNECT = 5  # until it gives up W&B takes up to four more
RUN_ID = "wandb_id.txt"
MODES = {"online": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}
OLD_HOST = "api.wandb.ai"  # a login here still counts where the library's own host is another
# What a table of runs shows of a curve is its best value. Whole names: of two patterns that fit, W&B takes any.
HIGHEST = (
    *("val/map", "val/map_50", "val/map_75", "val/map_small", "val/map_medium", "val/map_large"),
    *("val/mar_1", "val/mar_10", "val/mar_100", "val/mar_small", "val/mar_medium", "val/mar_large"),
    *("val/top1", "val/top5"),
)
LOWEST = tuple(f"{split}/{loss}" for split in ("step", "train", "val") for loss in ("loss", "loss_class", "loss_box"))


def wandb_mode(spec: ExperimentSpec) -> str:
    """online, offline or disabled: WANDB_MODE, else the setting; `auto` is online where a key is at hand.

    Raises: ConfigError if `logger.mode=online` has no key.
    """
    asked = os.environ.get("WANDB_MODE", "").strip().lower()
    if asked in MODES:
        mode = MODES[asked]
        return "offline" if mode == "online" and not has_key() else mode
    if spec.logger.mode == "online" and not has_key():
        raise ConfigError(
            "logger.mode=online: there is no key for W&B on this machine. "
            "Run `wandb login`, set WANDB_API_KEY, or use logger.mode=offline."
        )
    if spec.logger.mode == "auto":
        return "online" if has_key() else "offline"
    return spec.logger.mode


def has_key() -> bool:
    """An API key, in the environment or in the netrc file that `wandb login` writes."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    places = [Path(os.environ["NETRC"])] if "NETRC" in os.environ else [Path.home() / ".netrc", Path.home() / "_netrc"]
    for place in places:
        try:
            logins = netrc.netrc(place)
        except (OSError, netrc.NetrcParseError):
            continue
        if any(logins.authenticators(host) for host in _hosts()):
            return True
    return False


def start_run(spec: ExperimentSpec, folder: Path) -> "WandbLogger | None":
    """The folder's own run, begun or gone on with; None where W&B is disabled or does not start."""
    import wandb
    from pytorch_lightning.loggers import WandbLogger  # torch comes in here, not where a sweep is only written

    mode = wandb_mode(spec)
    if mode == "disabled":
        return None
    wandb.setup(wandb.Settings(silent=True))  # it would tell where it found the key
    modes = ("online", "offline") if mode == "online" else ("offline",)
    for mode in modes:
        try:
            run = wandb.init(
                **whose_run(spec, folder),
                name=spec.name,
                group=spec.logger.group or None,
                job_type=spec.task,
                tags=tags(spec),
                config=flatten(spec),
                dir=folder,
                mode=mode,
                settings=wandb.Settings(init_timeout=SECONDS_TO_CONNECT, silent=True, console="off"),
            )
        except Exception as error:  # of many kinds, some of them private; a run does not end for want of a mirror
            log.warning("W&B did not start %s (%s); the run goes on %s.", mode, _reason(error), _instead(mode))
            wandb.teardown()  # its service would say that the id is in use
            continue
        define_metrics(run)
        return WandbLogger(experiment=run, project=spec.logger.project, save_dir=folder)
    return None


def whose_run(spec: ExperimentSpec, folder: Path) -> dict[str, Any]:
    """What tells `wandb.init` which run it is: the folder's own; nothing under `wandb agent`, which has told it."""
    drawn = drawn_run()
    if drawn:
        _write_id(folder, drawn)  # whoever goes on in this folder later, goes on with this run
        return {}
    return {"project": spec.logger.project, "id": run_id(folder), "resume": "allow"}


def drawn_run() -> str:
    """The id that the server gave this process's run; empty outside `wandb agent`."""
    return os.environ.get("WANDB_RUN_ID", "") if os.environ.get("WANDB_SWEEP_ID") else ""


def run_id(folder: Path) -> str:
    """The id of the folder's run; a resumed job goes on with it."""
    file = folder / RUN_ID
    if not file.exists() or not file.read_text(encoding="utf-8").strip():
        _write_id(folder, secrets.token_hex(4))
    return file.read_text(encoding="utf-8").strip()


def default_entity() -> str:
    """Whose project it is, as W&B itself decides; empty where nobody is logged in."""
    named = os.environ.get("WANDB_ENTITY", "")
    if named or not has_key():
        return named
    import wandb

    return wandb.Api().default_entity or ""


def define_metrics(run: Any) -> None:
    """Curves go over training steps, and a table of runs shows the best value of each."""
    run.define_metric(STEP)
    run.define_metric("*", step_metric=STEP, step_sync=True)
    for names, summary in ((HIGHEST, "max"), (LOWEST, "min")):
        for name in names:
            run.define_metric(name, step_metric=STEP, step_sync=True, summary=summary)


def sync_command(run: Any) -> str:
    """What sends an offline run later, with whatever it went on from."""
    folder = Path(run.dir).parent.parent
    if folder.is_relative_to(Path.cwd()):
        folder = folder.relative_to(Path.cwd())
    return f"wandb sync {shlex.quote(str(folder))}/offline-run-*-{run.id}"


def _write_id(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RUN_ID).write_text(f"{text}\n", encoding="utf-8")


def _hosts() -> tuple[str, ...]:
    """Whose logins the installed library would take."""
    import wandb

    named = os.environ.get("WANDB_BASE_URL")
    return (urlsplit(named).netloc,) if named else (urlsplit(wandb.Settings().base_url).netloc, OLD_HOST)


def _reason(error: Exception) -> str:
    said = str(error).strip()
    return said.splitlines()[0] if said else type(error).__name__


def _instead(mode: str) -> str:
    return "offline" if mode == "online" else "without"
