"""BatchNorm's statistics of a finished training, measured on the network as it will be evaluated."""

from besnet.evaluation.ranks import Ranks
from besnet.evaluation.recalibration import recalibrate
from besnet.models.besnet import BesNet
from besnet.training.module import ActionTraining


def measure_statistics(task: ActionTraining) -> None:
    """After the last step, on all ranks: what `recipe.precise_bn` asks for."""
    videos = task.recipe.precise_bn
    if videos is None:
        return
    # a plain copy: the trained one's BatchNorms may be synchronised between the ranks, which see other batches here
    plain = BesNet(**task.header["model"]).to(task.device)
    plain.load_state_dict(task.eval_network.state_dict())
    data, ranks = task.data, Ranks(task.global_rank, task.trainer.world_size, task.device)

    def beat() -> None:  # for the watchdog: this run still moves
        with task.trainer.profiler.profile("validation_step"):  # type: ignore[attr-defined]
            pass

    _, measured = recalibrate(
        plain, data.manifest, videos, data.clip, task.evaluation_size, ranks, data.workers, data.backend, beat
    )
    if task.global_rank == 0:
        print(f"BatchNorm statistics of {measured} training videos ({videos} asked for)")
    task.eval_network.load_state_dict(plain.state_dict())
