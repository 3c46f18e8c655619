"""Job files for Kubernetes: an Indexed Job for a preparation in parts, Kubeflow's TrainJob for what needs ranks."""

from dataclasses import dataclass
from typing import Any

import yaml

from besnet.training.exit_codes import OUT_OF_MEMORY, WRONG_USE

RETRIES_OF_A_PART = 3


@dataclass(frozen=True)
class Cluster:
    """Where the pods run: the image, and the claims of the volumes /data and /runs."""

    image: str
    data_claim: str
    runs_claim: str


def indexed_job(command: list[str], parts: int, cluster: Cluster) -> str:
    """An Indexed Job: pod k does part k of a preparation. Its last line says how to end the preparation.

    A part that fails is tried again, unless it was used wrongly; the loss of a node does not count.
    """
    fail = {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [WRONG_USE]}}
    ignore = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "besnet-prepare"},
        "spec": {
            "completionMode": "Indexed",
            "completions": parts,
            "parallelism": parts,
            "backoffLimitPerIndex": RETRIES_OF_A_PART,
            "maxFailedIndexes": parts,
            "podFailurePolicy": {"rules": [fail, ignore]},
            "template": {"spec": pod([*command, f"--part=auto/{parts}"], cluster, read_only_data=False)},
        },
    }
    head = [
        "Written by `besnet launch --launcher kubernetes`: a preparation in parts, one pod each.",
        "When the job has ended, one pod ends the preparation: see besnet-prepare-last below.",
    ]
    last = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "besnet-prepare-last"},
        "spec": {
            "suspend": True,
            "backoffLimit": RETRIES_OF_A_PART,
            "template": {"spec": pod(command, cluster, read_only_data=False)},
        },
    }
    start = [
        "kubectl wait --for=condition=complete --timeout=-1s job/besnet-prepare",
        """kubectl patch job/besnet-prepare-last -p '{"spec":{"suspend":false}}'""",
    ]
    return text(head, job) + "---\n" + text(start, last)


def pod(command: list[str], cluster: Cluster, read_only_data: bool) -> dict[str, Any]:
    """The specification of a pod that runs one besnet command."""
    return {
        "restartPolicy": "Never",
        "containers": [
            {
                "name": "besnet",
                "image": cluster.image,
                "command": ["python", "-m", "besnet"],
                "args": command,
                "volumeMounts": mounts(read_only_data),
            }
        ],
        "volumes": volumes(cluster, read_only_data),
    }


def train_job(command: list[str], nproc_per_node: int, nnodes: int, cluster: Cluster) -> str:
    """A TrainJob of Kubeflow Trainer v2: torchrun on every machine; Kubeflow sets the PET_* variables that it reads."""
    container = {
        "name": "node",
        "volumeMounts": [{"name": "shared-memory", "mountPath": "/dev/shm"}, *mounts(read_only=True)],
    }
    shared_memory = {"name": "shared-memory", "emptyDir": {"medium": "Memory"}}
    inner = {
        "terminationGracePeriodSeconds": 120,
        "containers": [container],
        "volumes": [shared_memory, *volumes(cluster, read_only=True)],
    }
    replicated = {"name": "node", "template": {"spec": {"template": {"spec": inner}}}}
    patch = {
        "manager": "besnet.example/trainjob",
        "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [replicated]}}},
    }
    job = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": f"besnet-{command[0]}"},
        "spec": {
            "runtimeRef": {"name": "torch-distributed"},
            "trainer": {
                "image": cluster.image,
                "numNodes": nnodes,
                "numProcPerNode": nproc_per_node,
                "command": ["python", "-m", "besnet.jobs.torchrun"],
                "args": ["-m", "besnet", *command],
                "resourcesPerNode": {"limits": {"nvidia.com/gpu": str(nproc_per_node)}},
            },
            "runtimePatches": [patch],
        },
    }
    head = [
        "Written by `besnet launch --launcher kubernetes`, for Kubeflow Trainer v2. A pod that fails is started again,",
        f"and the run resumes; code {OUT_OF_MEMORY} (out of memory) needs a change first.",
    ]
    return text(head, job)


def mounts(read_only: bool) -> list[dict[str, Any]]:
    """Where the volumes are seen."""
    data: dict[str, Any] = {"name": "data", "mountPath": "/data"}
    return [data | ({"readOnly": True} if read_only else {}), {"name": "runs", "mountPath": "/runs"}]


def volumes(cluster: Cluster, read_only: bool) -> list[dict[str, Any]]:
    """The claims behind /data and /runs; every pod writes into what it does not only read (ReadWriteMany)."""
    data: dict[str, Any] = {"claimName": cluster.data_claim}
    return [
        {"name": "data", "persistentVolumeClaim": data | ({"readOnly": True} if read_only else {})},
        {"name": "runs", "persistentVolumeClaim": {"claimName": cluster.runs_claim}},
    ]


def text(comments: list[str], content: dict[str, Any]) -> str:
    """A YAML document with comments before it."""
    return "".join(f"# {line}\n" for line in comments) + yaml.safe_dump(content, sort_keys=False)
