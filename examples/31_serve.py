"""The guarded model behind OpenAI's interface: start the server, ask it as any client would, at last without waiting for the
verdict, and stop it.

Needs the extra `server`.
"""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request

command = [sys.executable, "-m", "guardrail.cli", "serve", "--port", "0", "--allow-observe"]  # 0: a free port
server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
address = server.stdout.readline().strip()  # it is printed before the model is loaded


def ask(path, body=None):
    """The reply of the server, from JSON; waits while the model loads."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address + path, data, {"Content-Type": "application/json"})
    while True:
        try:
            with urllib.request.urlopen(request, timeout=300) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            time.sleep(0.2)


try:
    ask("readyz")
    for question in ("What is the capital of Japan?", "What is the capital of Burkina Faso?"):
        messages = [{"role": "user", "content": question}]
        reply = ask("v1/chat/completions", {"model": "smollm2-135m", "messages": messages})
        choice = reply["choices"][0]
        verdict = choice["guardrail"]
        print(f"{question} {choice['message']['content']}")
        print(f"  {verdict['action']}, {verdict['label']}, {verdict['confidence']:.2f}")
    strict = {"threshold": 0.9, "confidence": verdict["confidence"]}
    print("with a threshold of 0.9:", ask("v1/guard/decide", strict)["action"])

    # Only watch: the text at once, unjudged; the verdict on it is asked for later
    observe = {"model": "smollm2-135m", "messages": messages, "guardrail": {"mode": "observe"}}
    choice = ask("v1/chat/completions", observe)["choices"][0]
    print(f"unjudged: {choice['message']['content']} ({choice['guardrail']['status']})")
    while (late := ask(f"v1/guard/verdicts/{choice['guardrail']['id']}"))["status"] == "pending":
        time.sleep(0.1)
    print(f"the policy would have said: {late['guardrail']['action']}, {late['guardrail']['label']}")
finally:
    server.terminate()  # drains
    server.wait(30)
print("exit code", server.returncode)
