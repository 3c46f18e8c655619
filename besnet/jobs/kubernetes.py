"""Job files for Kubernetes: an Indexed Job for a preparation in parts, Kubeflow's TrainJob for what needs ranks."""

from dataclasses import dataclass
from typing import Any

import yaml

from besnet.jobs.stages import LAST, STAGES
from besnet.training.exit_codes import OUT_OF_MEMORY, WRONG_USE

RETRIES_OF_A_PART = 3


@dataclass(frozen=True)
class Cluster:
    """Where the pods run: the image, and the claims of the volumes /data and /runs."""

    image: str
    data_claim: str
    runs_claim: str


def indexed_jobs(command: list[str], parts: int, cluster: Cluster) -> str:
    """Indexed Jobs: pod k does part k of a preparation, or run k of a lab; then one pod ends the work.

    A part that fails is tried again, unless it was used wrongly; the loss of a node does not count.
    """
    fail = {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [WRONG_USE]}}
    ignore = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    name = f"besnet-{command[0]}"
    text, before = "", ""
    for added, flag in (STAGES[command[0]] | {LAST: ""}).items():
        spec: dict[str, Any] = {"suspend": True} if before else {}
        if flag:
            words = [*command, f"{flag}auto/{parts}"]
            spec |= {
                "completionMode": "Indexed",
                "completions": parts,
                "parallelism": parts,
                "backoffLimitPerIndex": RETRIES_OF_A_PART,
                "maxFailedIndexes": parts,
                "podFailurePolicy": {"rules": [fail, ignore]},
            }
        else:
            words = command
            spec |= {"backoffLimit": RETRIES_OF_A_PART}
        spec["template"] = {"spec": pod(words, cluster, read_only_data=command[0] != "prepare")}
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": f"{name}{added}"}, "spec": spec}
        text += ("---\n" if text else "") + document(started_after(before, f"{name}{added}"), job)
        before = f"{name}{added}"
    return text


def started_after(before: str, name: str) -> list[str]:
    """How a job starts: at once, or when the one before has ended, whether or not each of its pods went well."""
    if not before:
        return ["Written by `besnet launch --launcher kubernetes`: a pod for each part; then the suspended jobs below."]
    return [
        f"until kubectl get job/{before} -o jsonpath='{{.status.conditions[*].type}}' | grep -qE 'Complete|Failed'; "
        "do sleep 10; done",
        f"""kubectl patch job/{name} -p '{{"spec":{{"suspend":false}}}}'""",
    ]


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
    return document(head, job)


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


def document(comments: list[str], content: dict[str, Any]) -> str:
    """A YAML document with comments before it."""
    return "".join(f"# {line}\n" for line in comments) + yaml.safe_dump(content, sort_keys=False)
