"""Second call: what the network costs on a GPU, and what bounds it."""

import json
import os
import re
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch.autograd import DeviceType
from torch.profiler import profile

from benchmarks.dilation_ways import WAYS, Way
from benchmarks.gpu.correctness import besnet, finish, start
from benchmarks.gpu.forms import bench_of, in_form, inference_forms, seconds_of
from benchmarks.gpu.step import Found, Line, Options, Step, promise
from besnet.bench.cases import OUR_I3D, PEER_I3D, Case, Cases
from besnet.bench.costs import AGAIN, measure, table
from besnet.bench.timing import alternate
from besnet.models.dilation import Terms
from besnet.models.folding import fold
from tests import command

# Channels in and out, and the side of the frames, of BesNet-50's dilation layers at 224 pixels: one of each stage.
SHAPES = ((256, 64, 56), (512, 128, 28), (1024, 256, 14), (2048, 512, 7))
TINY_SHAPES = ((8, 4, 4), (4, 8, 4))
TERMS: dict[str, Terms] = {"one dilation": [(2, 1.0)], "averaged": [(1, 0.5), (2, 0.5)]}


def ways(options: Options, frames: int) -> Found:
    """The ways of the dilation layer at the network's own shapes: forward, and forward and backward."""
    device = torch.device("cpu" if options.tiny else "cuda")
    found = Found()
    for shape in TINY_SHAPES if options.tiny else SHAPES:
        cases = dict(way_cases(shape, frames, device, options))
        times = alternate(cases, 3 if options.tiny else 7, device)
        for name in cases:
            first = ", ".join([next(iter(WAYS)), *name.split(", ")[1:]])
            cost = f"{1e3 * times.median(name):.2f} ms, {times.ratio(name, first):.2f} of {next(iter(WAYS))}"
            found.lines.append(Line("{} to {}, {} pixels: {}".format(*shape, name), cost))
            print(found.lines[-1])  # what is known when the deadline comes
    return found


def way_cases(
    shape: tuple[int, int, int], frames: int, device: torch.device, options: Options
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Each way with one dilation and with two averaged; a way that this device cannot run is left out."""
    channels_in, channels_out, side = shape
    clips = 1 if options.tiny else options.batch_size
    dtype = torch.float32 if options.tiny else torch.bfloat16
    x = torch.randn(clips, channels_in, frames, side, side, device=device, dtype=dtype)
    x = x.to(memory_format=torch.channels_last_3d).requires_grad_()
    weight = torch.randn(channels_out, channels_in, 3, 1, 1, device=device, dtype=dtype, requires_grad=True)
    gradient = torch.randn(clips, channels_out, frames, side, side, device=device, dtype=dtype)
    gradient = gradient.to(memory_format=torch.channels_last_3d)
    for terms_name, terms in TERMS.items():
        for way_name, way in WAYS.items():
            of_triton = way_name == "gathered"
            if of_triton and options.tiny:
                continue  # Triton needs a GPU

            def forward(way: Way = way, terms: Terms = terms) -> None:
                with torch.no_grad():
                    way(x, weight, terms, "replicate")

            def step(way: Way = way, terms: Terms = terms) -> None:
                torch.autograd.backward(way(x, weight, terms, "replicate"), gradient)
                x.grad = weight.grad = None

            yield f"{way_name}, {terms_name}, forward", forward
            if not of_triton:  # its kernel has no backward pass
                yield f"{way_name}, {terms_name}, both ways", step


def best_batch(options: Options) -> int:
    """The batch size with the most clips/s in a training step, of three; found once, and kept for the next steps."""
    kept = options.work / "batch_size"
    if kept.exists():
        return int(kept.read_text())
    rates = {}
    for size in (options.batch_size, 2 * options.batch_size, 4 * options.batch_size):
        try:
            bench, network, host = bench_of(options, size)
            times = alternate({"step": bench.step(network, network, host)}, 2, bench.device)
        except torch.OutOfMemoryError:
            break
        rates[size] = size / times.median("step")
    kept.write_text(str(max(rates, key=lambda size: rates[size])))
    return int(kept.read_text())


def training_step(options: Options, form: str) -> Found:
    """BesNet-50's whole step at the best batch: clips/s, MFU, memory and the largest kernels."""
    bench, network, host = bench_of(options, best_batch(options))
    bench.cases.append(Case("BesNet", "training step", "eager", bench.step(network, network, host)))
    first = []
    if form != "eager":
        case = Case("BesNet", "training step", form, in_form(form, bench, network, host, options))
        first.append(Line(f"first step, {form}", f"{seconds_of(case.run, bench.device):.1f} s"))
        bench.cases.append(case)
    costs, times, peak = measure(bench, 3 if options.tiny else 5)
    cost = costs[-1]
    share = promise(
        f"training step, {form}: share of a product",
        cost.mfu,
        "0.20, target 0.35",
        cost.mfu >= 0.2,
        options.tiny,
    )
    memory = Line("memory of a training step", f"{cost.memory_mb or 0:.0f} MB for {len(bench.clips)} clips")
    rate = Line(f"training step, {form}", f"{cost.clips_per_sec:.1f} clips/s")
    found = Found([*first, rate, share, memory, Line("A/A", f"{times.ratio(AGAIN, bench.cases[0].name):.3f}")])
    found.notes = [bench.describe(), *table(costs).splitlines(), *str(peak).splitlines()]
    found.notes += kernels(bench.cases[-1])
    return found


def timed_convolutions(options: Options) -> Found:
    """The eager step with the fastest of cuDNN's algorithms, by its own timing, in place of the one that it expects to
    be. In a process of its own: torch keeps the first choice."""
    torch.backends.cudnn.benchmark = True
    bench, network, host = bench_of(options, best_batch(options))
    times = alternate({"step": bench.step(network, network, host)}, 3 if options.tiny else 7, bench.device)
    return Found(
        [Line("training step, eager, cudnn.benchmark", f"{len(bench.clips) / times.median('step'):.1f} clips/s")]
    )


def averaged(options: Options) -> Found:
    """The average over the dilations against one dilation, forward and folded."""
    bench, network, host = bench_of(options, options.batch_size)
    one, mean = fold(network, host), fold(network)
    forms = ("eager",) if options.tiny else ("eager", "compiled")
    bench.cases = [
        Case("BesNet", "forward, one dilation", "eager", bench.forward(network, network, host)),
        Case("BesNet", "forward, averaged", "eager", bench.forward(network, network)),
    ]
    for form in forms:
        for mode, folded in (("folded, one dilation", one), ("folded, averaged", mean)):
            run = torch.compile(folded) if form == "compiled" else folded
            bench.cases.append(Case("BesNet", mode, form, bench.forward(folded, run)))
    times = alternate({case.name: case.run for case in bench.cases}, 3 if options.tiny else 15, bench.device)
    found = Found()
    for mode, form in (("forward", "eager"), *(("folded", form) for form in forms)):
        price = times.ratio(f"BesNet, {mode}, averaged, {form}", f"BesNet, {mode}, one dilation, {form}")
        found.lines.append(
            promise(f"averaged / one dilation, {mode}, {form}", price, "at most 1.05", price <= 1.05, options.tiny)
        )
    return found


def peers(options: Options) -> Found:
    """A step of our I3D-R50 against PyTorchVideo's, with the same weights."""
    if options.tiny:
        return Found(notes=["the networks of full size are for a GPU"])
    bench = Cases(torch.device("cuda"), "bf16", options.batch_size, 16, 224, 400)
    notes = bench.add_peers(published=False)
    if OUR_I3D not in bench.networks:
        return Found(notes=notes)
    ours = bench.networks[OUR_I3D]
    bench.cases.append(Case(OUR_I3D, "training step", "compiled", bench.step(ours, torch.compile(ours))))
    steps = [case for case in bench.cases if case.mode == "training step"]
    times = alternate({case.name: case.run for case in steps}, 5, bench.device)
    found = Found(notes=notes)
    for form, bound in (("eager", ""), ("compiled", "at least 1.5")):
        gain = times.ratio(f"{PEER_I3D}, training step, eager", f"{OUR_I3D}, training step, {form}")
        holds = gain >= 1.5 if bound else None
        found.lines.append(promise(f"clips/s of our I3D-R50, {form} / theirs", gain, bound, holds, options.tiny))
    return found


def waiting(options: Options, name: str) -> Found:
    """How much of a training step waits for data, from shards or from raw files."""
    data = options.data
    if name == "raw":
        if options.raw is None:
            return Found(notes=["no raw files at hand: give --raw"])
        data = options.work / "raw_index"
        besnet("prepare", str(options.raw), str(data), "--index_only")
    words = [f"--data.folder={data}", f"--out={options.work / name}", "--trainer.max_epochs=100"]
    if options.tiny:
        words = [*command.TINY, *words, "--trainer.max_steps=4"]
    else:
        workers = max(1, (os.cpu_count() or 2) // options.ranks - 1)
        size = 2 * options.batch_size  # of a batch, with eight clips of each video: epochs of 30 steps
        words += ["--trainer.accelerator=gpu", "--trainer.precision=bf16-mixed", "--trainer.log_every_n_steps=10",
                  "--data.clip.num_frames=16", "--data.clip.frame_interval=2", "--data.crop_size=224",
                  f"--data.workers={workers}", f"--data.batch_size={size}", "--data.repeats=8",
                  f"--trainer.devices={options.ranks}", "--trainer.max_steps=180"]  # fmt: skip
    output = finish(start("train.py", words, options.ranks))
    verdict = next((line for line in output.splitlines() if line.startswith("bottleneck: ")), "")
    shares = re.search(r"waiting for data (\d+) %", verdict)
    rate = steady_rate(output)
    waited = float(shares[1]) / 100 if shares else 0.0
    bound = ("at most 0.02", waited <= 0.02) if name == "shards" else ("", None)
    return Found(
        [
            promise(f"waiting for data, {name}: share of the step", waited, *bound, options.tiny),
            Line(f"training from {name}, with all of Lightning", f"{rate:.1f} clips/s"),
        ],
        [verdict or "the run was too short for a verdict"],
    )


def steady_rate(output: str) -> float:
    """Clips/s of a run's second half, from the means since its start that it printed after each epoch."""
    lines = re.findall(r"epoch (\d+)/\d+  step (\d+)/(\d+) .* ([\d.]+) clips/s", output)
    ends = [(int(epoch) * int(steps), float(rate)) for epoch, step, steps, rate in lines if step == steps]
    if len(ends) < 2:
        return float(lines[-1][-1]) if lines else 0.0
    (first, early), (last, late) = ends[len(ends) // 2 - 1], ends[-1]
    return (last - first) / (last / late - first / early)


def evaluation(options: Options) -> Found:
    """Videos/s of an evaluation with 10 x 3 views (tiny: 2 x 1) of the training videos, of which there are more, by the
    network of the run from shards."""
    run = options.work / "shards"
    if not (run / "checkpoints").exists():
        return Found(notes=["the run from shards was not made"])
    found, views = Found(), ("2", "1") if options.tiny else ("10", "3")
    for form in ("eager",) if options.tiny else ("eager", "compiled"):
        out = options.work / f"evaluation_{form}"
        besnet("evaluate", f"--ckpt_path={run}", f"--data={options.data}", f"--out={out}", f"--num_clips={views[0]}",
               f"--num_crops={views[1]}", "--precision=bf16", f"--device={'cpu' if options.tiny else 'cuda'}",
               "--split=train", "--allow_training_videos=true", f"--compile={form == 'compiled'}",
               f"--workers={0 if options.tiny else (os.cpu_count() or 2) - 1}")  # fmt: skip
        cost = json.loads((out / "results.json").read_text())["run"]["cost"]
        found.lines.append(Line(f"evaluation, {' x '.join(views)} views, bf16, {form}", cost))
    return found


def kernels(step: Case) -> list[str]:
    """What a training step spends its time on: the twenty largest kernels, and the share of all that multiplies."""
    with profile() as profiled:
        step.run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    on_device = [event for event in profiled.key_averages() if event.device_type == DeviceType.CUDA]
    spent = {event.key: event.self_device_time_total for event in on_device}
    if not spent:
        spent = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
    whole = sum(spent.values())
    multiplies = re.compile("(?!triton_).*(conv|gemm|xmma|cutlass|nvjet|fprop|grad)")  # Triton's names tell fused steps
    products = sum(time for name, time in spent.items() if multiplies.match(name))
    lines = [f"profile of the training step, {step.form}: {products / whole:.0%} in convolutions and matrix products"]
    largest = sorted(spent.items(), key=lambda entry: -entry[1])[:20]
    return lines + [f"  {time / whole:5.1%}  {name[:100]}" for name, time in largest]


STEPS = [
    Step("training step", 50, partial(training_step, form="eager")),
    Step("ways, 8 frames", 60, partial(ways, frames=8)),
    Step("from shards", 90, partial(waiting, name="shards")),
    Step("evaluation", 90, evaluation),
    Step("averaged", 70, averaged),
    Step("compiled step", 110, partial(training_step, form="compiled")),
    Step("inference forms", 90, inference_forms),
    Step("from raw files", 90, partial(waiting, name="raw")),
    Step("cudnn.benchmark", 40, timed_convolutions),
    Step("peers", 90, peers),
    Step("step compiled by block", 70, partial(training_step, form="compiled by block")),
    Step("ways, 16 frames", 60, partial(ways, frames=16)),
]
