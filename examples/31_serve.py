"""The guarded model behind OpenAI's interface: a server on a free port, asked as any client asks it, and stopped.

`guardrail serve` does the same on the command line. Needs the extra `server`, and here the package openai.
"""

import signal
import subprocess
import sys
import time

import httpx
from openai import OpenAI

command = [sys.executable, "-m", "guardrail.cli", "serve", "--port", "0"]
with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:  # noqa: S603
    try:
        address = server.stdout.readline().strip()  # it prints where it listens
        while httpx.get(f"{address}readyz").status_code != 200:  # 503 until the model is loaded
            time.sleep(0.2)
        client = OpenAI(base_url=f"{address}v1", api_key="none")
        for question in ("What is the capital of Japan?", "What is the capital of Burkina Faso?"):
            (choice,) = client.chat.completions.create(
                model="smollm2-135m", messages=[{"role": "user", "content": question}]
            ).choices
            verdict = choice.guardrail
            print(f"{verdict['action']}, {verdict['confidence']:.2f}: {choice.message.content}")
    finally:
        server.send_signal(signal.SIGTERM)  # what it works on is ended first
print("stopped with", server.returncode)
