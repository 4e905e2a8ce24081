// The page's own client of the server: docs/reference/server.md is all that it knows. What a model says is only ever text.
import { answerView } from "./verdict.js";

const at = (id) => document.getElementById(id);
const MAY_COME = new Set([502, 503]);
let turns = [];                 // {question, text} that were answered
let running = null;             // the AbortController of the request under way
let policies = null;            // their names, once the server has told them
let model = null;

class Refused extends Error {
  constructor(status, code, message, after) {
    super(message);
    Object.assign(this, { status, code, after });
  }
}

function headers() {
  const key = at("key").value.trim();
  return { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
}

async function ask(path, body, signal) {
  const options = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  const response = await fetch(path, { ...options, headers: headers(), signal, cache: "no-store", redirect: "error" });
  if (response.ok) return response;
  const told = await response.json().catch(() => null);
  const after = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  const { code, message = `status ${response.status}` } = told?.error ?? {};
  throw new Refused(response.status, code, message, Number.isFinite(after) ? after : null);
}

export const decide = async (body, signal) => (await ask("v1/guard/decide", body, signal)).json();

function inWords(error) {
  if (error.name === "AbortError") return "Stopped.";
  if (!(error instanceof Refused)) return "The connection to the server was lost. Is it still running?";
  const again = error.after === null ? "" : ` Ask again in ${error.after} s.`;
  if (error.status === 401) return "The server wants an API key, or does not know this one: see Options.";
  if (error.code === "queue_full") return `The server has too much to do.${again}`;
  if (error.status === 429) return `This key's limit is spent.${again}`;
  if (MAY_COME.has(error.status)) return `The model cannot be asked now (${error.code ?? error.status}).${again}`;
  if (error.status === 504) return "There was no verdict in time.";
  return error.message;
}

function complain(text, error) {
  at("problem").textContent = text;
  at("problem").hidden = !text;
  if (error?.status === 401) {
    at("options").open = true;
    at("key").focus();
  }
}

function options(select, values) {
  select.replaceChildren(...values.map(([value, text]) => new Option(text, value)));
}

const LEAVES = { answer: "when it is judged", claim: "claim by claim", passthrough: "at once, unjudged" };

async function begin() {
  try {
    const paths = ["v1/guard/policies", "v1/models"];
    const [found, models] = await Promise.all(paths.map((path) => ask(path).then((reply) => reply.json())));
    policies = found.data.map((p) => p.name);
    options(at("policy"), found.data.map((p) => [p.name, p.name]));
    at("policy").value = found.default;
    options(at("stream"), found.allowed.stream_policy.map((p) => [p, LEAVES[p] ?? p]));
    at("original-field").hidden = !found.allowed.include_original;
    model = at("state").textContent = models.data[0].id;
    complain("");
    return true;
  } catch (error) {
    at("state").textContent = "not connected";
    complain(inWords(error), error);
    if (error.status === 503) setTimeout(begin, 1000 * (error.after ?? 2));
    return false;
  }
}

// Events of a stream; a stream that ends without [DONE] was cut off.
async function* events(response) {
  let rest = "", whole = false;
  for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
    rest += part.replaceAll("\r", "");
    const found = rest.split("\n\n");
    rest = found.pop();
    for (const event of found) {
      const data = event.split("\n").filter((l) => l.startsWith("data:")).map((l) => l.slice(5).trimStart()).join("\n");
      if (data === "[DONE]") whole = true;
      else if (data) yield JSON.parse(data);
    }
  }
  if (!whole) throw new TypeError("cut off");
}

function request(question) {
  const before = at("alone").checked ? [] : turns.flatMap((turn) => [
    { role: "user", content: turn.question }, { role: "assistant", content: turn.text },
  ]);
  const guardrail = { policy: at("policy").value, claims: at("claims").checked, stream_policy: at("stream").value };
  if (!at("original-field").hidden && at("original").checked) guardrail.include_original = true;
  return { model, messages: [...before, { role: "user", content: question }], stream: true, guardrail };
}

async function answer(question) {
  running = new AbortController();
  const view = answerView({ policies, decide });
  at("log").append(view.element);
  busy(true);
  let text = "", verdict = null;
  try {
    const response = await ask("v1/chat/completions", request(question), running.signal);
    for await (const chunk of events(response)) {
      if (chunk.error) throw new Refused(500, chunk.error.code, chunk.error.message, null);
      const choice = chunk.choices?.[0];
      if (choice?.delta?.content) view.write((text += choice.delta.content));
      verdict = choice?.guardrail ?? verdict;
    }
    if (!verdict) throw new TypeError("no verdict");
    view.judge(text, verdict);
    turns.push({ question, text });
  } catch (error) {
    view.fail(inWords(error), text !== "");
    complain(error.name === "AbortError" ? "" : inWords(error), error);
    at("question").value ||= question;
  } finally {
    running = null;
    busy(false);
    view.element.scrollIntoView({ block: "nearest" });
  }
}

function busy(yes) {
  at("send").hidden = yes;
  at("stop").hidden = !yes;
  at("clear").disabled = yes;
  (yes ? at("stop") : at("question")).focus();
}

function fit() {
  at("question").style.height = "auto";
  at("question").style.height = `${at("question").scrollHeight + 2}px`;
}

at("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  const question = at("question").value.trim();
  if (!question || running) return;
  if (policies === null && !(await begin())) return;
  complain("");
  at("empty").hidden = true;
  const said = document.createElement("p");
  said.className = "question";
  said.textContent = question;
  at("log").append(said);
  at("question").value = "";
  fit();
  said.scrollIntoView({ block: "nearest" });
  await answer(question);
});
at("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    at("ask").requestSubmit();
  }
});
at("question").addEventListener("input", fit);
at("stop").addEventListener("click", () => running?.abort());
at("clear").addEventListener("click", () => {
  turns = [];
  at("log").replaceChildren(at("empty"));
  at("empty").hidden = false;
  at("question").focus();
});
at("key").addEventListener("change", begin);
at("keys").addEventListener("submit", (event) => {
  event.preventDefault();
  at("key").blur();             // which is a change, if it is one
});
addEventListener("pagehide", () => { at("key").value = ""; });
begin();
