"""The failure log: durable, replayed, and a limit that stops a run."""

import json
from dataclasses import replace
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
    with open(log.journal.path, "a") as file:
        file.write('{"epoch": 0, "row": 5, "vid')
    again = FailureLog(tmp_path, rank=0, num_videos=1000)
    again.append([failure(6)])
    assert FailureLog(tmp_path, rank=0, num_videos=1000).substitutes() == {(0, 3, 0): 4, (0, 6, 0): 7}


def test_the_same_failure_is_recorded_once(tmp_path: Path) -> None:
    log = FailureLog(tmp_path, rank=0, num_videos=1000)
    log.append([failure(3)])
    log.append([failure(3)])
    assert len([json.loads(line) for line in log.journal.path.read_text().splitlines()]) == 1


def test_more_than_one_percent_stops_the_run_naming_the_video(tmp_path: Path) -> None:
    log = FailureLog(tmp_path, rank=0, num_videos=200)
    log.append([failure(1), failure(2), failure(1, epoch=1)])
    with pytest.raises(ValueError, match=r"3 of 200 .*video9: cut short"):
        log.append([failure(9)])
    assert len(FailureLog(tmp_path, 0, 200).known) == 4, "the last failure is on record too"


def test_the_limit_counts_the_failures_of_every_rank(tmp_path: Path) -> None:
    first, second = FailureLog(tmp_path, rank=0, num_videos=100), FailureLog(tmp_path, rank=1, num_videos=100)
    first.append([failure(1), failure(3)])
    with pytest.raises(ValueError, match="3 of 100"):
        second.append([failure(2)])


def test_one_failure_of_a_few_videos_ends_nothing(tmp_path: Path) -> None:
    log = FailureLog(tmp_path, rank=0, num_videos=24)
    log.append([failure(3), failure(4)])
    with pytest.raises(ValueError, match="3 of 24"):
        log.append([failure(5)])


def test_what_failed_before_a_repair_is_neither_obeyed_nor_counted(tmp_path: Path) -> None:
    log = FailureLog(tmp_path, 0, 24, data="torn")
    log.append([failure(3), failure(4)])
    assert FailureLog(tmp_path, 0, 24, data="torn").substitutes() == {(0, 3, 0): 4, (0, 4, 0): 5}
    repaired = FailureLog(tmp_path, 0, 24, data="repaired")
    assert repaired.substitutes() == {}
    repaired.append([failure(3), failure(6)])
    assert repaired.substitutes() == {(0, 3, 0): 4, (0, 6, 0): 7}
    # put back as they were, without another passport: a new start counts anew, and a replay is still exact
    again = FailureLog(tmp_path, 0, 24, data="torn")
    again.append([failure(5)])
    assert again.substitutes() == {(0, 3, 0): 4, (0, 4, 0): 5, (0, 5, 0): 6}


def test_another_substitute_replaces_one_that_is_gone(tmp_path: Path) -> None:
    log = FailureLog(tmp_path, 0, 24)
    log.append([failure(3)])
    log.append([replace(failure(3), substitute=9)])
    assert FailureLog(tmp_path, 0, 24).substitutes() == {(0, 3, 0): 9}
