.DEFAULT_GOAL := help
.PHONY: help demo test check fuzz fuzz-video prove-data bench-loader bench-prepare bench-model bench-peers bench-averaging \
	bench-inflated bench-overhead gpu-bundle bench-gpu bench-gpu-small bench-statistics evidence evidence-durations \
	evidence-durations-settings evidence-jhmdb evidence-jhmdb-settings evidence-settings evidence-small jhmdb \
	jhmdb-fine-tuned jhmdb-folds weizmann prove-resume prove-networks prove-hosts \
	prove-slurm prove-parts prove-stream prove-windowed bench-rare prove-doubts prove-loggers prove-learn prove-labels \
	prove-spans prove-lab smoke-container api-docs

PYTHON ?= python3
JHMDB := ../shared/data/jhmdb
BIN := .venv/bin

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/ready: pyproject.toml constraints.txt
	@echo "Installing besnet and its packages (PyTorch and others) into .venv: this takes a few minutes ..."
	$(PYTHON) -m venv .venv || { $(PYTHON) -m pip install --quiet --target build/virtualenv virtualenv && \
		PYTHONPATH=build/virtualenv $(PYTHON) -m virtualenv .venv; }  # Debian keeps venv's half in a package of its own
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@echo "Installed."
	touch $@

demo: .venv/ready ## draw videos, prepare them, train, evaluate, write a report: about eight minutes on two cores
	$(BIN)/besnet demo

check: .venv/ready ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check ## the checks and the quick tests
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'not slow and not gpu'

fuzz: .venv/ready ## fuzz every file format and the command line: 2,000 cases, about a minute
	FUZZ_CASES=2000 $(BIN)/pytest tests/test_fuzz.py

fuzz-video: .venv/ready ## 1,000 corrupted videos are refused with a reason, and no valid one is
	$(BIN)/pytest -m slow tests/test_fuzz_video.py

prove-data: .venv/ready ## every file in both readers, 20 kills of prepare, 10,000 clips: about 15 minutes
	$(BIN)/pytest -m slow tests/test_reader.py tests/test_shards.py tests/test_steady_memory.py tests/test_against_ffmpeg.py

bench-loader: .venv/ready ## the loader compared with libavcodec alone and other projects' pipelines
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore benchmarks/loader.py

bench-prepare: .venv/ready ## prepare compared with ffmpeg at the same settings (FFMPEG=path of the program)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/prepare.py

bench-model: .venv/ready ## what the network costs here, eager and compiled (ARGS=--compare for others' networks)
	$(BIN)/besnet bench model $(ARGS)

bench-peers: .venv/ready ## a step of I3D-R50 compared with PyTorchVideo's, each as its library trains it
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -W ignore -m benchmarks.peers --precision fp32
	$(BIN)/python -W ignore -m benchmarks.peers --precision bf16

GPU := build/gpu
gpu-bundle: .venv/ready ## what the GPU benchmark needs on a host without network: wheels, shards, weights in build/gpu
	$(BIN)/python -m benchmarks.gpu.bundle $(JHMDB) $(GPU)

bench-gpu: .venv/ready ## on a GPU host: correctness, then speed, of at most fifteen minutes each (GPU=the bundle's folder)
	$(BIN)/python -W ignore -m benchmarks.gpu correctness --data $(GPU)/shards --weights $(GPU)/lite0.pth --out benchmarks/results/gpu
	$(BIN)/python -W ignore -m benchmarks.gpu speed --data $(GPU)/shards --raw $(GPU)/table.csv --out benchmarks/results/gpu

bench-gpu-small: .venv/ready ## every step of the GPU benchmark with tiny networks on a CPU, on drawn videos
	$(BIN)/pytest tests/test_gpu_benchmark.py

KILLS ?= 60
prove-resume: .venv/ready ## kill a two-rank training 60 times (KILLS=6 for less): the same bits at the end
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.prove_resume --kills $(KILLS)

prove-networks: .venv/ready ## the same for Lite0, r3d_18 and a class of one's own, 6 kills each: half an hour on two cores
	for network in "--backbone tf_efficientnet_lite0" "--network r3d_18" "--network tests.ten_lines:TenLines"; do \
	  OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.prove_resume --kills 6 $$network || exit 1; done

FAULTS ?= 20
prove-hosts: .venv/ready ## two hosts (network namespaces), one killed or cut off 20 times: the same bits (needs root)
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m benchmarks.prove_hosts --faults $(FAULTS)

WEIZMANN ?= ../shared/data/weizmann
prove-learn: .venv/ready ## besnet learn with no options on Weizmann as class folders; fails below 90 % on unseen people (half an hour)
	$(BIN)/python -m benchmarks.prove_learn $(WEIZMANN)

prove-labels: .venv/ready ## two figures in one picture, two labels: fails below a mAP of 90 % (an hour on two cores)
	$(BIN)/pytest -m slow tests/test_several_labels.py
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.prove_labels

bench-rare: .venv/ready ## a class 20 times rarer than the others: its recall with and without balancing, three seeds
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m benchmarks.rare_class

prove-doubts: .venv/ready ## drawn videos with 5 % wrong labels: at least 80 % of them among the first 10 % of the doubts (40 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m benchmarks.prove_doubts

prove-loggers: .venv/ready ## kill a training that logs to Weights & Biases and MLflow offline: no step twice, none lost
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slow tests/test_loggers.py

prove-spans: .venv/ready ## drawn actions in long videos are found: fails below a mAP of 80 % at tIoU 0.5 (half an hour on two cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.prove_spans

prove-slurm: .venv/ready ## Slurm on this machine warns a job and queues it again: the same bits (needs root)
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m benchmarks.prove_slurm
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m benchmarks.prove_slurm_arrays

CLIPS ?= 0
prove-parts: .venv/ready ## prepare in parts, 30 processes killed, and in s3:// and gs:// (emulators): the same bytes; two parts timed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/test_parts.py tests/test_bucket.py tests/test_remote_source.py
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.prove_parts --jhmdb $(JHMDB) --clips $(CLIPS)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.parts_speed

prove-stream: .venv/ready ## train from shards behind a bad server with a cache of a quarter of the data: the same bits, each shard once
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m benchmarks.prove_stream
	$(BIN)/python -m benchmarks.stream_sizes

prove-windowed: .venv/ready ## the demo's network in the windowed and in the global order, three seeds each: as accurate? (half an hour)
	$(BIN)/python -W ignore -m benchmarks.windowed_order

bench-overhead: .venv/ready ## the time that the safeguards of a training cost
	$(BIN)/python -W ignore -m benchmarks.overhead

bench-inflated: .venv/ready ## what taps in time cost Lite0, beside the same network per frame: half a minute
	$(BIN)/python -W ignore -m benchmarks.inflated

bench-averaging: .venv/ready ## the time that averaging over the dilations costs: about half an hour
	$(BIN)/python benchmarks/averaging.py

api-docs: .venv/ready ## a page for every module from its docstrings: build/api/besnet.html
	$(BIN)/python docs/build_api.py build/api

smoke-container: ## build the image and use it without network on a read-only root: predict, train, kill, resume (ENGINE=podman)
	docker/smoke.sh

jhmdb: .venv/ready ## J-HMDB split 1 on frozen ImageNet features (EfficientNet-Lite0), in minutes: prints top-1 (JHMDB=folder)
	$(BIN)/python -m benchmarks.jhmdb_table $(JHMDB)/split1.csv data/jhmdb
	$(BIN)/besnet prepare data/jhmdb/split1.csv data/jhmdb/lite0 --videos $(JHMDB) --copy
	$(BIN)/besnet probe --data data/jhmdb/lite0 --out runs/jhmdb_probe --network tf_efficientnet_lite0 --weights lite \
		--input.num_frames 8 --input.sampling uniform --input.crop_size 160

jhmdb-fine-tuned: jhmdb ## BesNet on the same network, fine-tuned: an hour on one core
	$(BIN)/besnet train --config configs/jhmdb_lite0.yaml
	$(BIN)/besnet evaluate --ckpt_path runs/jhmdb_lite0 --baseline runs/jhmdb_probe

JHMDB_FOLDS := fold1 fold2 fold3
jhmdb-folds: .venv/ready ## the same on three folds that share no film, against the frozen features: about two hours on one core
	$(BIN)/python -m benchmarks.jhmdb_table $(JHMDB)/split1.csv data/jhmdb --folds 3
	for fold in $(JHMDB_FOLDS); do \
	  $(BIN)/besnet prepare data/jhmdb/$$fold.csv data/jhmdb/$$fold --videos $(JHMDB) --copy && \
	  $(BIN)/besnet probe --data data/jhmdb/$$fold --out runs/jhmdb_folds/probe-$$fold --network tf_efficientnet_lite0 \
	    --weights lite --input.num_frames 8 --input.sampling uniform --input.crop_size 160 && \
	  $(BIN)/besnet maps --config configs/jhmdb_lite0.yaml --data data/jhmdb/$$fold --out data/jhmdb/maps/$$fold \
	    --cache data/jhmdb/maps/cache || exit 1; done
	$(BIN)/python -m benchmarks.folds --config configs/jhmdb_lite0.yaml --data $(addprefix data/jhmdb/maps/,$(JHMDB_FOLDS)) \
	  --out runs/jhmdb_folds --baselines $(addprefix runs/jhmdb_folds/probe-,$(JHMDB_FOLDS))

FOLDS := daria,denis,eli ido,ira,lena lyova,moshe,shahar
weizmann: .venv/ready ## three folds of three unseen people, fine-tuned from ImageNet weights: prints top-1; fails below 92 % (half an hour)
	for people in $(FOLDS); do $(BIN)/besnet prepare $(WEIZMANN)/index.csv data/weizmann/$$people --copy \
	  --group person --test person=$$people || exit 1; done
	$(BIN)/python -m benchmarks.folds --config configs/weizmann_lite0.yaml --data $(addprefix data/weizmann/,$(FOLDS)) \
	  --out runs/weizmann_lite0 --at_least 92

bench-statistics: .venv/ready ## how often a lab's statistics are wrong, on 2,000 drawn labs per line: minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.lab_statistics --out benchmarks/results/lab_statistics.json

# A lab goes on from the evaluated runs that are kept in its folder of results, and keeps its own there, also if it is
# stopped: a machine that has no runs trains those that are missing.
define EVIDENCE
mkdir -p runs/lab/evidence_$(1) $(2)/evidence_$(1)
cp -ru $(2)/evidence_$(1)/. runs/lab/evidence_$(1)
trap : INT TERM; $(BIN)/besnet lab --plan configs/evidence/$(1).yaml; code=$$?; cd runs/lab/evidence_$(1) && \
	cp -u config.yaml attempts.jsonl outcomes.jsonl $(CURDIR)/$(2)/evidence_$(1); exit $$code
cp runs/lab/evidence_$(1)/report.html $(2)/evidence_$(1).html
cp runs/lab/evidence_$(1)/results.json $(2)/evidence_$(1).json
endef
SPEEDS := 0.5 1 2
COMMA := ,
SPACE := $(COMMA:,=) $(COMMA:,=)
evidence evidence-settings: PLAN := stick_figures
evidence evidence-settings: DRAWN := data/stick_figures/evidence
evidence evidence-settings: SIZE := --variant hard --test_videos 4000
evidence-settings: INTERVALS := 3 4
evidence: AT_SPEEDS := --variant hard --test_videos 1020
evidence: RESULTS := benchmarks/results
evidence-settings: .venv/ready ## its learning rate and frame interval, tried on validation videos: an estimated hour on two cores
evidence: .venv/ready ## the comparison of docs/evidence.md on drawn videos: an estimated seven hours on two cores; it resumes
evidence-durations evidence-durations-settings: PLAN := durations
evidence-durations evidence-durations-settings: DRAWN := data/stick_figures/evidence_durations
evidence-durations evidence-durations-settings: SIZE := --variant durations --test_videos 2000
evidence-durations-settings: INTERVALS := 6
evidence-durations: SPEEDS :=
evidence-durations: RESULTS := benchmarks/results
evidence-durations-settings: .venv/ready ## its learning rate, tried on validation videos: an estimated half an hour on two cores
evidence-durations: .venv/ready ## the same where duration alone tells classes apart: an estimated hour or more on two cores
evidence-settings evidence-durations-settings:
	$(call DRAW,$(DRAWN),$(SIZE))
	$(BIN)/python -m benchmarks.plan_settings --config configs/evidence/$(PLAN)_training.yaml --data $(DRAWN)/prepared \
	  --intervals $(INTERVALS) --seeds 4
evidence-small: PLAN := small
evidence-small: DRAWN := data/stick_figures/evidence_small
evidence-small: SIZE := --variant hard --train_videos 24 --test_videos 36
evidence-small: AT_SPEEDS := --variant hard --test_videos 12
evidence-small: RESULTS := build
evidence-small: .venv/ready ## every step of it with ten tiny networks, in a few minutes
define DRAW
test -f $(1)/index.csv || $(BIN)/besnet draw $(1) $(2)
$(BIN)/besnet prepare $(1)/index.csv $(1)/prepared --short_side 96 --group person
endef
evidence evidence-durations evidence-small:
	$(call DRAW,$(DRAWN),$(SIZE))
	$(if $(SPEEDS),test -f $(DRAWN)/speeds/$(lastword $(SPEEDS))/index.csv || \
		$(BIN)/besnet draw $(DRAWN)/speeds $(AT_SPEEDS) --speeds [$(subst $(SPACE),$(COMMA),$(SPEEDS))])
	$(foreach speed,$(SPEEDS),$(BIN)/besnet prepare $(DRAWN)/speeds/$(speed)/index.csv $(DRAWN)/speeds/$(speed)/prepared \
		--short_side 96 --group person &&) true
	$(call EVIDENCE,$(PLAN),$(RESULTS))

JHMDB_MAPS = $(BIN)/besnet prepare data/jhmdb/five/$(1).csv data/jhmdb/five/$(1) --videos $(JHMDB) --copy && \
	$(BIN)/besnet maps --config configs/evidence/jhmdb_training.yaml --data data/jhmdb/five/$(1) \
	--out data/jhmdb/evidence/$(1) --cache data/jhmdb/evidence/maps
evidence-jhmdb: .venv/ready ## the same on J-HMDB, five folds by film, from ImageNet weights: an estimated six and a half hours on two cores
	$(BIN)/python -m benchmarks.jhmdb_table $(JHMDB)/split1.csv data/jhmdb/five --folds 5
	$(foreach fold,fold1 fold2 fold3 fold4 fold5,$(call JHMDB_MAPS,$(fold)) &&) true
	$(call EVIDENCE,jhmdb,benchmarks/results)
	$(BIN)/python -m benchmarks.fold_differences --plan configs/evidence/jhmdb.yaml --without data/jhmdb/five/settings.csv \
	  --out benchmarks/results/evidence_jhmdb_folds.json

evidence-jhmdb-settings: .venv/ready ## its learning rate and frame interval, tried on training films: an estimated hour on one core
	$(BIN)/python -m benchmarks.jhmdb_table $(JHMDB)/split1.csv data/jhmdb/five --folds 5
	$(call JHMDB_MAPS,settings)
	$(BIN)/python -m benchmarks.plan_settings --config configs/evidence/jhmdb_training.yaml --data data/jhmdb/evidence/settings

HARD := data/stick_figures/hard
LAB := runs/lab/stick_figures_hard
prove-lab: .venv/ready ## five controls x three seeds on hard stick figures, with a report: an hour, and drawing the videos once
	$(BIN)/pytest -m slow tests/test_lab.py
	test -f $(HARD)/index.csv || $(BIN)/besnet draw $(HARD) --variant hard
	$(BIN)/besnet prepare $(HARD)/index.csv $(HARD)/prepared --short_side 96 --group person
	$(BIN)/besnet lab --config configs/stick_figures_hard.yaml --out $(LAB) \
		--controls '[c2d,none,fixed_2,random_12,random_1234]' --seeds 3 --max_parallel 2 \
		--primary '[random_12,none]'
	mkdir -p benchmarks/results
	cp $(LAB)/report.html benchmarks/results/lab_stick_figures_hard.html
	cp $(LAB)/results.json benchmarks/results/lab_stick_figures_hard.json
