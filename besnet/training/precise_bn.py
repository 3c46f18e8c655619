"""BatchNorm statistics of a finished training, measured on the network as it is evaluated."""

from besnet.evaluation.inference import InferenceSettings
from besnet.evaluation.ranks import Ranks
from besnet.evaluation.recalibration import recalibrate
from besnet.evaluation.views import ViewPlan
from besnet.models.build import build
from besnet.training.step_timer import StepTimer
from besnet.training.task import ActionTraining


def measure_statistics(task: ActionTraining, phases: StepTimer) -> None:
    """After the last step, on all ranks, where `recipe.precise_bn` is set."""
    videos = task.recipe.precise_bn
    if videos is None:
        return
    # a plain copy: the BatchNorms may be synchronised between ranks, which get different batches here
    plain = build(task.header["model"]).to(task.device)
    plain.load_state_dict(task.eval_network.state_dict())
    data, ranks = task.data, Ranks(task.global_rank, task.trainer.world_size, task.device)

    def beat() -> None:
        with phases.during("evaluation"):
            pass

    size, short_side, whole = task.evaluation_view
    plan = ViewPlan(1, 1, short_side=short_side, whole=whole)
    settings = InferenceSettings(data.clip, plan, size, data.workers, data.backend)
    _, measured = recalibrate(plain, data.manifest, videos, settings, ranks, beat)
    if task.global_rank == 0:
        print(f"BatchNorm statistics of {measured} training videos (recipe.precise_bn {videos})")
    task.eval_network.load_state_dict(plain.state_dict())
