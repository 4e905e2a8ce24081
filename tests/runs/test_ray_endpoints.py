"""Workers on Ray that ask an endpoint, and the commands that share their rows: the numbers of one process."""

from __future__ import annotations

import json
from functools import partial

import pytest

from guardrail import load_model
from guardrail.datasets.questions import QuestionRow
from guardrail.errors import EndpointError
from guardrail.grading import get_grader
from guardrail.runs.asking import Asking, RunOptions
from guardrail.runs.cluster import Cluster
from guardrail.runs.collect import collect
from guardrail.runs.ray_workers import RayWorkers
from guardrail.runs.scorer_pass import ScorerPass, scorer_for
from guardrail.scoring.registry import scorer
from tests.helpers.endpoints import own_endpoint
from tests.helpers.ray_processes import small_cluster

pytestmark = pytest.mark.xdist_group("ray")
ASKING = Asking("{question}", None, 8)
QUESTIONS = [QuestionRow(f"What is number {i}?", ("x1",)) for i in range(10)]


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """One small cluster for the file."""
    with small_cluster():
        yield


@pytest.fixture(scope="module")
def behind(tiny_folder):
    """The tiny model, loaded for an endpoint."""
    return load_model(str(tiny_folder), device="cpu")


def endpoint(model):
    # a scorer without gradients, which nobody asks for
    return own_endpoint(model, scorer=scorer("g-nll", model))


def collected(local, file, names=(), workers=None):
    scorers = ScorerPass({name: scorer_for(local, name, max_new_tokens=8, samples=2) for name in names})
    options = RunOptions(file, batch_size=3, workers=workers)
    return collect(local, QUESTIONS, get_grader("alias"), ASKING, options, scorers=scorers)


def test_the_run_file_of_answers_that_a_copy_reads_is_that_of_one_process(behind, tiny_folder, tmp_path):
    with endpoint(behind) as url:
        load = partial(load_model, f"openai:{url}#{behind.name}", score_with=str(tiny_folder), device="cpu")
        local = load()
        collected(local, tmp_path / "here")
        workers = RayWorkers(Cluster("local", workers=2), load, local, print)
        collected(local, tmp_path / "there", workers=workers)
    assert (tmp_path / "there").read_bytes() == (tmp_path / "here").read_bytes()
    assert '"semgrad' in (tmp_path / "there").read_text()


def test_an_endpoint_alone_is_asked_by_workers_and_one_that_is_gone_ends_the_command(behind, tmp_path):
    said = []
    with endpoint(behind) as url:
        load = partial(load_model, f"openai:{url}#{behind.name}")
        local = load()
        workers = RayWorkers(Cluster("local", workers=2), load, local, said.append)
        found = [collected(local, None, ("self-consistency",), each).records for each in (None, workers)]
    assert [record["scores"] for record in found[1]] == [record["scores"] for record in found[0]]
    assert [record["answer"] for record in found[1]] == [record["answer"] for record in found[0]]
    assert all(len(record["log_probs"]) > 0 for record in found[1])
    with pytest.raises(EndpointError, match=r"the connection to .* failed"):
        collected(local, tmp_path / "gone", workers=workers)
    assert not any("died" in line for line in said)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # alone a minute
def test_every_command_says_the_same_with_workers(behind, cli, tiny_data, tiny_heldout, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"prompt": "What is number 1?", "response": "It is 1."}\n')
    with endpoint(behind) as url:
        model = ("--model", f"openai:{url}#{behind.name}")
        made = {}
        for name, ray in (("here", ()), ("there", ("--ray",))):
            calibrated = cli("calibrate", tiny_data, "-o", f"{name}.json", *model, "--max-new-tokens", "6", *ray)
            assert calibrated.returncode == 0, calibrated.stderr
            bench = ("--scorers", "g-nll,max-nll", "--limit", "40", "--run", f"{name}.bench")
            compared = cli("bench", tiny_heldout, *model, "--max-new-tokens", "6", *bench, *ray)
            assert compared.returncode == 0, compared.stderr
            rows = [json.loads(line) for line in (tmp_path / f"{name}.bench").read_text().splitlines()[1:]]
            evaluated = cli("evaluate", tiny_heldout, "-c", "here.json", "--limit", "30", "--json", *model, *ray)
            scored = cli("score", "in.jsonl", "-o", f"{name}.scores", "-c", "here.json", *model, *ray)
            assert (evaluated.returncode, scored.returncode) == (0, 0), evaluated.stderr + scored.stderr
            curve = json.loads((tmp_path / f"{name}.json").read_text())
            made[name] = {
                "answers": [(row["key"], row["answer"]) for row in rows],
                "scores": [score for row in rows for score in row["scores"].values()],
                "curve": [curve["provenance"]["n"], curve["provenance"]["scorer"]],
                "evaluated": json.loads(evaluated.stdout)["n"],
                "scored": json.loads((tmp_path / f"{name}.scores").read_text())["score"]["unscored"],
            }
    # what an endpoint answers side by side it multiplies in other batches, which moves last digits
    assert made["there"].pop("scores") == pytest.approx(made["here"].pop("scores"), rel=1e-4)
    assert made["there"] == made["here"]
    assert len(made["here"]["answers"]) == 40
    assert (made["here"]["evaluated"], made["here"]["scored"]) == (30, "no_log_probs")
