// One answer: its text claim by claim, how sure, what the policy did, and what another policy would do.
const DID = {
  answer: "Answered", hedge: "Hedged", retrieve: "Looked up", abstain: "Abstained", ask_back: "Asked back",
  escalate: "Escalated", retry: "Asked once more",
};
const WOULD = {
  answer: "would answer", hedge: "would hedge", retrieve: "would look it up", abstain: "would abstain",
  ask_back: "would ask back", escalate: "would ask a second model",
  retry: "would ask once more",
};
const DONE = { keep: "kept", hedge: "hedged", drop: "held back" };
const SVG = "http://www.w3.org/2000/svg";

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const slug = (label) => (label ?? "unknown").replace(" ", "-");
const two = (number) => number.toFixed(2);

// "0.83 (0.71 to 0.91)"; without a number it says so.
function sure(found) {
  if (found.confidence === null || found.confidence === undefined) return "no confidence";
  const within = found.confidence_interval;
  return two(found.confidence) + (within ? ` (${two(within[0])} to ${two(within[1])})` : "");
}

const labelled = (found) => make("span", { class: `label ${slug(found.label)}` }, found.label ?? "unknown");

function meter(found) {
  if (found.confidence === null || found.confidence === undefined) return [];
  const svg = document.createElementNS(SVG, "svg");
  const rect = (name, x, width, y, height) => {
    const r = document.createElementNS(SVG, "rect");
    Object.entries({ class: name, x, y, width, height }).forEach(([k, v]) => r.setAttribute(k, v));
    svg.append(r);
  };
  Object.entries({ class: "meter", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" })
    .forEach(([k, v]) => svg.setAttribute(k, v));
  rect("track", 0, 100, 3, 4);
  const [low, high] = found.confidence_interval ?? [found.confidence, found.confidence];
  rect("within", 100 * low, 100 * (high - low), 2, 6);
  rect("at", Math.min(98.5, 100 * found.confidence), 1.5, 0, 10);
  return [svg];
}

const BASIS = { calibrated: "calibrated", extrapolated: "outside what was calibrated", none: "not calibrated" };

function basis(found) {
  const why = found.unscored ? ` (unscored: ${found.unscored.replaceAll("_", " ")})` : "";
  return (BASIS[found.basis] ?? found.basis) + (found.basis_reason ? `: ${found.basis_reason}` : "") + why;
}

// What a policy is asked of a verdict, or of a claim, by POST v1/guard/decide.
function facts(found) {
  return {
    confidence: found.confidence ?? null, in_range: found.in_range ?? true, familiarity: found.familiarity ?? null,
    length: found.score?.length ?? 0,
  };
}

function question(verdict, choice) {
  const claims = verdict.claims?.map((claim) => ({ ...facts(claim), kind: claim.kind, support: claim.support ?? null }));
  return {
    ...choice, ...facts(verdict), unscored: verdict.unscored ?? null, finish_reason: verdict.finish_reason,
    evidence: verdict.evidence?.length ?? 0, retriever: false, ...(claims?.length && { claims }),
  };
}

const similar = ({ similarity }) => (typeof similarity === "number" ? `similarity ${two(similarity)}` : "");

function passages(evidence) {
  return evidence.flatMap((passage) => [
    make("blockquote", {}, passage.text),
    make("p", { class: "muted" }, [passage.source, similar(passage)].filter(Boolean).join(", ")),
  ]);
}

// The text with its claims in their places; a claim that is not in it has a place of its own. One tab stop: arrows go on.
function claimed(text, claims, note) {
  const told = "The answer, claim by claim. Arrow keys go through the claims.";
  const box = make("div", { class: "text", role: "group", "aria-label": told });
  let cursor = 0;
  if (!claims.some((claim) => claim.shown && text.includes(claim.shown))) {
    box.append(text, "\n");          // another text stands there: their places come after it
    cursor = text.length;
  }
  const places = claims.map((claim, i) => {
    const shown = claim.shown ?? "";
    const start = shown ? text.indexOf(shown, cursor) : -1;
    const words = `claim ${i + 1}, ${claim.label ?? "unknown"}: ${sure(claim)}, ${DONE[claim.action] ?? claim.action}`;
    const looks = { class: `claim ${slug(claim.label)}`, role: "button", tabindex: i ? "-1" : "0", "aria-pressed": "false" };
    const place = make("span", looks);
    if (start >= 0) {
      box.append(text.slice(cursor, start));
      cursor = start + shown.length;
      place.append(shown);
      place.setAttribute("aria-label", `${shown} (${words})`);
    } else {
      place.classList.add("dropped");
      place.append(`claim ${i + 1}${shown ? "" : " held back"}`);
      place.setAttribute("aria-label", words);
    }
    if (start >= 0) box.append(place);
    else box.append(...(cursor ? [" ", place] : [place, " "]));
    return place;
  });
  box.append(text.slice(cursor));

  function choose(index, focus) {
    places.forEach((place, i) => {
      place.tabIndex = i === index ? 0 : -1;
      place.setAttribute("aria-pressed", String(i === index));
    });
    if (focus) places[index].focus();
    note.show(claims[index], index);
  }
  places.forEach((place, index) => {
    place.addEventListener("click", () => choose(index, true));
    place.addEventListener("focus", () => choose(index, false));
    place.addEventListener("keydown", (event) => {
      const last = places.length - 1;
      const to = {
        ArrowRight: Math.min(index + 1, last), ArrowDown: Math.min(index + 1, last), ArrowLeft: Math.max(index - 1, 0),
        ArrowUp: Math.max(index - 1, 0), Home: 0, End: last, Enter: index, " ": index,
      }[event.key];
      if (event.key === "Escape") note.hide();
      if (to === undefined) return;
      event.preventDefault();
      choose(to, true);
    });
  });
  return box;
}

function claimNote() {
  const element = make("div", { class: "note", role: "status" });
  element.hidden = true;
  let decided = [];
  return {
    element,
    hide: () => { element.hidden = true; },
    decide: (claims) => { decided = claims ?? []; },
    show(claim, index) {
      const would = decided[index] ? ` Now it would be ${DONE[decided[index].action] ?? decided[index].action}.` : "";
      const support = claim.support ? `, ${claim.support} by what was looked up` : "";
      element.replaceChildren(
        make("p", {}, make("strong", {}, `Claim ${index + 1}: `), labelled(claim),
          ` ${sure(claim)}, ${DONE[claim.action] ?? claim.action}${support}.${would}`),
        make("p", { class: "muted" }, [claim.explanation, basis(claim)].filter(Boolean).join(". ")),
        ...(claim.text && claim.text !== claim.shown ? [make("p", {}, `The model said: ${claim.text}`)] : []),
        ...passages(claim.evidence ?? []),
      );
      element.hidden = false;
    },
  };
}

// Another policy, or a threshold, on the same answer. No model works.
function again(verdict, policies, decide, note) {
  const policy = make("select", {}, new Option("a threshold", ""), ...policies.map((name) => new Option(name, name)));
  const slider = make("input", { type: "range", min: "0", max: "1", step: "0.01", value: "0.5" });
  const number = make("output", {}, "0.50");
  const result = make("p", { class: "why", role: "status" });
  let asked = null, timer = 0;

  async function run() {
    asked?.abort();
    asked = new AbortController();
    const choice = policy.value ? { policy: policy.value } : { threshold: Number(slider.value) };
    try {
      const found = await decide(question(verdict, choice), asked.signal);
      const who = policy.value || `A threshold of ${two(choice.threshold)}`;
      result.textContent = `${who} ${WOULD[found.action] ?? found.action}: ${found.explanation}`;
      note?.decide(found.claims);
    } catch (error) {
      if (error.name !== "AbortError") result.textContent = `Not decided: ${error.message}`;
    }
  }
  slider.addEventListener("input", () => {
    number.textContent = two(Number(slider.value));
    clearTimeout(timer);
    timer = setTimeout(run, 120);
  });
  const bar = make("label", {}, "from", slider, number);
  policy.addEventListener("change", () => {
    bar.hidden = policy.value !== "";
    run();
  });
  return make("details", {}, make("summary", {}, "Decide again"),
    make("p", { class: "muted" }, "The same answer and confidence, without the model."),
    make("div", { class: "again" }, make("label", {}, "by", policy), bar), result);
}

function rows(pairs) {
  const known = pairs.filter(([, value]) => value);
  return make("dl", {}, ...known.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

export function answerView({ policies, decide }) {
  const text = make("p", { class: "text waiting" }, "Waiting for the verdict ");
  const element = make("article", { "aria-label": "Answer", "aria-busy": "true" }, text);

  return {
    element,
    write(so_far) {
      text.textContent = so_far;
    },
    fail(why, begun) {
      element.setAttribute("aria-busy", "false");
      text.classList.remove("waiting");
      if (!begun) text.remove();
      element.append(make("p", { class: "failed" }, begun ? `${why} What stands here is not whole, and not judged.` : why));
    },
    judge(shown, verdict) {
      const note = verdict.claims?.length ? claimNote() : null;
      element.setAttribute("aria-busy", "false");
      const said = shown || "(nothing is shown)";
      const body = note ? claimed(shown, verdict.claims, note) : make("p", { class: "text" }, said);
      const did = make("span", { class: "action" }, DID[verdict.action] ?? verdict.action);
      const parts = [
        body, ...(note ? [note.element] : []),
        make("p", { class: "verdict" }, did, labelled(verdict), ...meter(verdict), make("span", {}, sure(verdict))),
        make("p", { class: "why" }, verdict.explanation),
      ];
      const say = (name, words) => parts.push(make("p", { class: name }, words));
      const fold = (title, ...inside) => parts.push(make("details", {}, make("summary", {}, title), ...inside));
      if (!verdict.enforced) say("failed", "Not enforced: the text was shown before it was judged.");
      if (verdict.basis !== "calibrated") say("muted", `Confidence ${basis(verdict)}.`);
      if (verdict.original !== undefined) {
        fold("What the model first said", make("blockquote", {}, verdict.original || "(nothing)"));
      }
      if (verdict.evidence?.length) fold(`Evidence (${verdict.evidence.length})`, ...passages(verdict.evidence));
      parts.push(again(verdict, policies, decide, note));
      fold("Details", rows([
        ["rule", `${verdict.rule} (policy ${verdict.policy})`],
        ["all passes", (verdict.actions ?? []).join(", then ")],
        ["confidence", `${sure(verdict)}, ${basis(verdict)}`],
        ["model", verdict.escalation ? `${verdict.model}, after ${verdict.escalation.first.model}` : verdict.model],
        ["calibrator", verdict.calibrator ?? "none"],
        ["ended", verdict.finish_reason],
      ]));
      element.replaceChildren(...parts);
    },
  };
}
