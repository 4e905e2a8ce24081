"""Real workers on Ray: the numbers of one process, whoever is killed meanwhile; rows that kill are named; nothing is lost."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from guardrail import load_model
from guardrail.datasets.questions import QuestionRow
from guardrail.errors import ClusterError, DataError
from guardrail.evaluation.bench import contenders
from guardrail.evaluation.setting import workers_from
from guardrail.grading import get_grader
from guardrail.runs.asking import LOST, Asking, RunOptions
from guardrail.runs.cluster import Cluster, Lost
from guardrail.runs.collect import collect
from guardrail.runs.ray_workers import RayWorkers
from guardrail.runs.scorer_pass import ScorerPass
from guardrail.testing import tiny_local_model
from tests.helpers.ray_processes import small_cluster

pytestmark = pytest.mark.xdist_group("ray")
ASKING = Asking("{question}", None, 8)
QUESTIONS = [QuestionRow(f"What is number {i}?", ("x1",)) for i in range(20)]


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """One small cluster for the file."""
    with small_cluster():
        yield


@pytest.fixture(scope="module")
def load(tiny_folder):
    return partial(load_model, str(tiny_folder), device="cpu")


@pytest.fixture(scope="module")
def local(load):
    return load()


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def workers(load, local, told):
    return RayWorkers(Cluster("local", workers=2, attempts=2), load, local, told.append)


def collected(local, options, scorers=None):
    return collect(local, QUESTIONS, get_grader("alias"), ASKING, options, scorers=scorers)


def test_the_run_file_is_that_of_one_process_to_the_byte(local, workers, tmp_path):
    collected(local, RunOptions(tmp_path / "here", batch_size=3))
    collected(local, RunOptions(tmp_path / "there", batch_size=3, workers=workers))
    assert (tmp_path / "there").read_bytes() == (tmp_path / "here").read_bytes()


@pytest.mark.slow
def test_scorers_of_every_kind_go_with_the_work(local, workers):
    names = [
        "semgrad",
        "rauq",
        "p-true",
        "inside",
        "semantic-entropy",
    ]  # passes, locks, samples shared, an embedding model

    def scores(options):
        answers = collected(local, options, ScorerPass(contenders(local, names, ASKING, samples=2)))
        return [record["scores"] for record in answers.records]

    assert scores(RunOptions(batch_size=5, workers=workers)) == scores(RunOptions(batch_size=5))


def test_a_killed_worker_s_rows_are_done_again_exactly_once(workers, told):
    def work(batch):
        time.sleep(0.2)
        return [(i * i, os.getpid()) for i in batch]

    batches, out = [[i, i + 1] for i in range(0, 40, 2)], []
    told.clear()
    for batch, found in workers.each(work, batches, str):
        if not out:
            os.kill(found[0][1], signal.SIGKILL)  # it has its next batch by now
        out.append((batch, [square for square, _ in found]))
    assert out == [(batch, [i * i for i in batch]) for batch in batches]
    assert any(line.startswith("a worker died") for line in told)


@pytest.mark.slow
def test_a_row_that_kills_is_named_and_the_others_go_on(workers, told, local):
    def work(batch):
        if 3 in batch:
            os.kill(os.getpid(), signal.SIGKILL)
        return batch

    told.clear()
    out = [found[0] for _, found in workers.each(work, [[i] for i in range(8)], lambda i: f"row {i}")]
    assert [one for one in out if not isinstance(one, Lost)] == [0, 1, 2, 4, 5, 6, 7]
    assert out[3].reason.startswith("2 workers died on it")
    assert any(line.startswith("left out, row 3:") for line in told)


def test_what_the_work_refuses_is_refused_here_and_workers_stay(workers):
    def refuse(batch):
        raise DataError("no such row; write another one")

    with pytest.raises(DataError, match="no such row"):
        list(workers.each(refuse, [[1]], str))
    assert list(workers.each(lambda batch: batch, [[1]], str)) == [([1], [1])]


def test_a_full_disk_ends_the_run_and_it_goes_on_with_nothing_lost(local, workers, tmp_path):
    whole, file = tmp_path / "whole", tmp_path / "run"
    collected(local, RunOptions(whole, batch_size=2))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole.stat().st_size // 2, before[1]))
    try:
        with pytest.raises(DataError, match="cannot write the run file"):
            collected(local, RunOptions(file, batch_size=2, workers=workers))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    kept = file.read_bytes()
    assert 0 < kept.count(b"\n") - 1 < len(QUESTIONS)
    collected(local, RunOptions(file, resume=True, batch_size=2, workers=workers))
    assert file.read_bytes().startswith(kept)
    keys = [json.loads(line)["key"] for line in file.read_text().splitlines()[1:]]
    assert len(keys) == len(set(keys)) == len(QUESTIONS)


class Deadly:
    """Workers that none survives the fourth row."""

    def each(self, work, batches, named):
        for batch in batches:
            yield (
                batch,
                [Lost("2 workers died on it") if i == 3 else one for i, one in zip(batch, work(batch), strict=True)],
            )


def test_a_lost_row_is_no_answer_and_is_tried_again_with_the_next_resume(local, tmp_path):
    answers = collected(local, RunOptions(tmp_path / "run", batch_size=2, workers=Deadly()))
    assert (len(answers.records), answers.lost) == (19, 1)
    rows = [json.loads(line) for line in (tmp_path / "run").read_text().splitlines()[1:]]
    (lost,) = [row for row in rows if "left_out" in row]
    assert (lost["left_out"], lost["error"], lost["unscored"]) == (LOST, "2 workers died on it", "error")
    again = collected(local, RunOptions(tmp_path / "run", resume=True, batch_size=2))
    assert (len(again.records), again.lost) == (20, 0)


@pytest.mark.slow
def test_workers_with_another_model_are_refused(local):
    other = RayWorkers(Cluster("local", workers=1), partial(tiny_local_model, seed=5, vocab_size=261), local, print)
    with pytest.raises(ClusterError, match="another model than this process: weights"):
        list(other.each(lambda batch: batch, [[1]], str))


def test_a_model_that_stands_here_alone_cannot_be_shared(local):
    with pytest.raises(DataError, match="give the model by its name"):
        workers_from(Cluster(), local, local, print)


@pytest.mark.slow
def test_the_commands_give_the_same_files(cli, tiny_folder, tiny_data, tmp_path):
    rows = "".join(json.dumps({"prompt": f"Number {i}?", "response": f"It is {i}."}) + "\n" for i in range(12)) + "{\n"
    (tmp_path / "in.jsonl").write_text(rows)
    common = ("score", "in.jsonl", "-m", tiny_folder, "--paper", "--device", "cpu")
    assert cli(*common, "-o", "here.jsonl").returncode == 1
    there = cli(*common, "-o", "there.jsonl", "--run", "scores.run", "--ray", "local", "--workers", "2")
    assert there.returncode == 1
    assert "1 of 13 rows could not be scored" in there.stderr
    assert (tmp_path / "there.jsonl").read_bytes() == (tmp_path / "here.jsonl").read_bytes()
    again = cli(*common, "-o", "again.jsonl", "--run", "scores.run", "--resume")
    assert again.returncode == 1
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "here.jsonl").read_bytes()
    made = []
    for name, more in (("one", ()), ("two", ("--ray",))):  # without an address: here
        out = cli("calibrate", tiny_data, "-o", f"{name}.json", "-m", tiny_folder, "--device", "cpu", "--grader", "exact",
                  "--scorer", "hybridgrad", "--max-new-tokens", "6", "--no-cache", *more)  # fmt: skip
        assert out.returncode == 0, out.stderr
        made.append(json.loads((tmp_path / f"{name}.json").read_text())["blocks"])
    assert made[0] == made[1]
    assert (tmp_path / "one.json.run.jsonl").read_bytes() == (tmp_path / "two.json.run.jsonl").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(900)  # on an idle machine a minute
def test_evaluate_says_the_same_with_workers(cli, tiny_folder, tiny_data, tiny_heldout, tmp_path):
    made = cli("calibrate", tiny_data, "-o", "c.json", "-m", tiny_folder, "--device", "cpu", "--grader", "exact",
               "--scorer", "hybridgrad", "--max-new-tokens", "6", "--no-cache")  # fmt: skip
    assert made.returncode == 0, made.stderr
    asked = (tiny_heldout, "-c", "c.json", "-m", tiny_folder, "--device", "cpu", "--limit", "16", "--json")
    evaluated = [cli("evaluate", *asked, "--run", run, *more) for run, more in (("e1", ()), ("e2", ("--ray",)))]
    assert [out.returncode for out in evaluated] == [0, 0], evaluated[1].stderr
    assert evaluated[0].stdout == evaluated[1].stdout
    assert (tmp_path / "e1").read_bytes() == (tmp_path / "e2").read_bytes()


def test_workers_without_ray_are_a_mistake(cli):
    out = cli("score", "in.jsonl", "--workers", "3")
    assert out.returncode == 1
    assert "--workers is for workers on Ray; say where: --ray local" in out.stderr
    assert "does not go with --through" in cli("evaluate", "bundled", "--through", "a.py:b", "--ray").stderr
    assert "does not go with --through" in cli("evaluate", "--through", "a.py:b", "--ray", "--", "bundled").stderr


def test_nothing_of_it_is_imported_where_it_is_not_used(tiny_folder, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"prompt": "Capital of Japan?", "response": "Tokyo."}\n')
    script = (
        "import sys, guardrail, guardrail.cli.main as cli\n"
        f"sys.argv = ['guardrail', 'score', 'in.jsonl', '-o', 'out.jsonl', '--paper', '-m', {str(tiny_folder)!r}]\n"
        "try: cli.main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "print([name for name in ('ray', 'pyarrow.parquet') if name in sys.modules])\n"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert out.stdout == "[]\n", out.stderr
