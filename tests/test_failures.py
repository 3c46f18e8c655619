"""The failure log: durable, replayed, and a limit that stops a run."""

import json
from pathlib import Path

import pytest

from besnet.data.failures import Failure, FailureLog


def failure(row: int, epoch: int = 0) -> Failure:
    return Failure(epoch, row, f"video{row}", "cut short", row + 1)


def test_a_replay_knows_what_every_rank_recorded(tmp_path: Path) -> None:
    FailureLog(tmp_path, rank=0, num_videos=1000).append([failure(3)])
    FailureLog(tmp_path, rank=1, num_videos=1000).append([failure(8, epoch=2)])
    assert FailureLog(tmp_path, rank=0, num_videos=1000).substitutes() == {(0, 3, 0): 4, (2, 8, 0): 9}


def test_a_line_cut_by_a_kill_is_passed_over_and_the_next_one_is_whole(tmp_path: Path) -> None:
    log = FailureLog(tmp_path, rank=0, num_videos=1000)
    log.append([failure(3)])
    with open(log.path, "a") as file:
        file.write('{"epoch": 0, "row": 5, "vid')
    again = FailureLog(tmp_path, rank=0, num_videos=1000)
    again.append([failure(6)])
    assert FailureLog(tmp_path, rank=0, num_videos=1000).substitutes() == {(0, 3, 0): 4, (0, 6, 0): 7}


def test_the_same_failure_is_recorded_once(tmp_path: Path) -> None:
    log = FailureLog(tmp_path, rank=0, num_videos=1000)
    log.append([failure(3)])
    log.append([failure(3)])
    assert len([json.loads(line) for line in log.path.read_text().splitlines()]) == 1


def test_more_than_one_percent_stops_the_run_naming_the_video(tmp_path: Path) -> None:
    log = FailureLog(tmp_path, rank=0, num_videos=200)
    log.append([failure(1), failure(2), failure(1, epoch=1)])
    with pytest.raises(ValueError, match=r"3 of 200 .*video9: cut short"):
        log.append([failure(9)])
    assert len(FailureLog(tmp_path, 0, 200).known) == 4, "the last failure is on record too"


def test_the_limit_counts_the_failures_of_every_rank(tmp_path: Path) -> None:
    first, second = FailureLog(tmp_path, rank=0, num_videos=100), FailureLog(tmp_path, rank=1, num_videos=100)
    first.append([failure(1)])
    with pytest.raises(ValueError, match="2 of 100"):
        second.append([failure(2)])
