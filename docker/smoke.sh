#!/usr/bin/env bash
# Builds the image and does in it, without a network, under a read-only root, as a user without rights: the demo's job on few
# videos, predict, and a training of two ranks that is killed and ends with the bits of an undisturbed one.
# make smoke-container ; ENGINE="docker" or "podman --runtime runc", BUILD="command" for another way to build the image,
# IMAGE=name of one that is there already (then it is not built), RUN_FLAGS for `run` where the host needs some.
set -euo pipefail
cd "$(dirname "$0")/.."
read -ra engine <<<"${ENGINE:-$(command -v docker || command -v podman || true)}"
[ "${#engine[@]}" != 0 ] || { echo "smoke-container needs docker or podman: install one, or say ENGINE=" >&2; exit 2; }

say() { printf '\n== %4d s  %s\n' "$SECONDS" "$*"; }
if [ -z "${IMAGE:-}" ]; then
  IMAGE=besnet-smoke
  say "build $IMAGE"
  ${BUILD:-${engine[*]} build} --build-arg REVISION="$(git rev-parse --short=12 HEAD)" --tag "$IMAGE" .
fi
say "$IMAGE: $("${engine[@]}" image inspect --format '{{.Size}}' "$IMAGE" | awk '{printf "%.2f GB", $1 / 1e9}')"

work=$(mktemp -d)
mkdir -m 777 "$work/data" "$work/runs"
container() { # container NAME DATA_MODE ENTRYPOINT ARGUMENTS...
  # shellcheck disable=SC2086  # RUN_FLAGS are words
  "${engine[@]}" run --rm --name "$1" --network none --read-only --tmpfs /tmp:exec,mode=1777 --cap-drop ALL \
    --security-opt no-new-privileges --shm-size 512m --env OMP_NUM_THREADS=1 ${RUN_FLAGS:-} \
    --volume "$work/data:/app/data:$2" --volume "$work/runs:/app/runs" --entrypoint "$3" "$IMAGE" "${@:4}"
}
name=besnet-smoke-$$
clean() { # what the container's user wrote is removed as that user
  container "$name-clean" rw sh -c 'rm -rf /app/data/* /app/runs/*' >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap clean EXIT
besnet() { say "besnet $*"; container "$name" ro besnet "$@"; }

say "who and where"
container "$name" ro sh -c 'test "$(id -u)" != 0 && ! touch /app/x 2>/dev/null && ! touch /app/data/x 2>/dev/null &&
  ! python -c "import socket; socket.create_connection((\"1.1.1.1\", 53), 3)" 2>/dev/null &&
  echo "user $(id -un), nothing but runs/ and /tmp can be written, no network"'
say "besnet draw, prepare"
container "$name" rw besnet draw data/few --train_videos 48 --test_videos 24
container "$name" rw besnet prepare data/few/index.csv data/few/prepared --short_side 96
small=(--config configs/stick_figures.yaml --data.folder data/few/prepared --data.batch_size 4 --data.workers 1)
besnet train "${small[@]}" --out runs/one --trainer.max_epochs 2
besnet evaluate --ckpt_path runs/one
besnet predict data/few/videos/test --ckpt_path runs/one --sheet runs/answers.png | tail -n 3

two=(launch --nproc_per_node 2 train "${small[@]}" --trainer.devices 2 --trainer.max_epochs 8 --saving.every_steps 5)
besnet "${two[@]}" --out runs/undisturbed
say "the same training, killed"
container "$name-killed" ro besnet "${two[@]}" --out runs/killed &
until ls "$work"/runs/killed/checkpoints/*.ckpt >/dev/null 2>&1; do sleep 0.2; kill -0 $!; done
"${engine[@]}" kill --signal KILL "$name-killed" >/dev/null
wait $! || echo "killed with $(ls "$work/runs/killed/checkpoints" | tail -n 1) there"
besnet "${two[@]}" --out runs/killed
say "compare"
container "$name" ro python -c '
import sys
from pathlib import Path
import torch
from besnet.checkpoints import store
def tensors(value, name=""):
    if isinstance(value, torch.Tensor):
        return {name: value}
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else []
    return {place: found for key, inner in pairs for place, found in tensors(inner, f"{name}.{key}").items()}
one, other = (store.load(Path("runs") / name) for name in ("undisturbed", "killed"))
assert one["besnet"]["position"] == other["besnet"]["position"], "not at the same place"
mine, theirs = (tensors([run["state_dict"], run["optimizer_states"]]) for run in (one, other))
differ = [name for name, tensor in mine.items() if not torch.equal(tensor, theirs[name])]
sys.exit(f"these differ: {differ}" if differ or len(mine) != len(theirs) else
         print(f"the same bits in {len(mine)} tensors at", one["besnet"]["position"]))'
say "all of it held"
