"""A model behind an endpoint, scored by what it tells of its tokens: here guardrail's own server, started for the purpose.

Needs the extras `server` and `remote`. Any OpenAI-compatible server will do: vLLM, SGLang, llama.cpp.
"""

import subprocess
import sys
import time

import httpx

from guardrail import Guard, load_model
from guardrail.scoring.registry import able_for, scorer

# observe: the model's own text, as every other engine gives it
command = [sys.executable, "-m", "guardrail.cli", "serve", "--policy", "observe", "--port", "0"]
server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
address = server.stdout.readline().strip().rstrip("/")
try:
    while httpx.get(f"{address}/readyz").status_code != 200:
        time.sleep(0.2)

    model = load_model(f"openai:{address}/v1#smollm2-135m")
    print(f"engine: {model.engine}; log-probabilities: {model.abilities.log_probs}")
    print("works without weights:", ", ".join(able_for(model)))

    for name in ("g-nll", "p-true"):
        guard = Guard(model=model, scorer=scorer(name, model), policy="observe")
        for question in ("What is the capital of Japan?", "What is the capital of Burkina Faso?"):
            verdict = guard.answer(question)
            print(f"{name}: {verdict.score.value:.3f}  {verdict.text}")

    try:
        scorer("hybridgrad", model)
    except Exception as error:
        print(f"refused: {str(error).partition(';')[0]}")
finally:
    server.terminate()
    server.wait(60)
