// The page "An adapter, live": what is shown follows what is chosen. Recorded answers come first, the model on a click.
import { reader } from "./cron.js";
import { draw, words } from "./drawing.js";
import { Fault, load, manifest, megabytes } from "./model.js";

const at = (id) => document.getElementById(`live-${id}`);
const known = JSON.parse(at("data").textContent);
const TRAINED = { strength: 1, attention: true, mlp: true, rank: 8 };
const BASE = { ...TRAINED, strength: 0 };
const PHONE = matchMedia("(max-width: 46em)").matches;

const key = (phrase, { strength, attention, mlp, rank }) => [phrase, strength, attention, mlp, rank].join("|");
const recorded = new Map();
for (const { answers, ...setting } of known.recorded) {
  for (const [phrase, answer] of Object.entries(answers)) recorded.set(key(phrase, setting), answer);
}
const phrases = Object.keys(known.recorded[0].answers);
const computed = new Map();
let phrase = phrases[0], setting = { ...TRAINED };
let model = null, read = null, running = null, token = 0;

const element = (name, text = "", attributes = {}) => Object.assign(document.createElement(name), { textContent: text }, attributes);
const answerOf = (chosen) => computed.get(key(phrase, chosen)) ?? recorded.get(key(phrase, chosen));
const isComputed = (chosen) => computed.has(key(phrase, chosen));

// What an answer says ------------------------------------------------------------------------------------------------

function explained(text) {
  if (text == "none") return [element("p", "It says that five fields of cron cannot say this.")];
  const schedule = read?.(text);
  if (!read) return [];
  if (!schedule) return [element("p", "This is no cron expression.")];
  const list = element("ol");
  for (const date of schedule.next(3)) {
    list.append(element("li", date.toLocaleString("en", { weekday: "short", year: "numeric", month: "short", day: "numeric",
      hour: "2-digit", minute: "2-digit", hour12: false })));
  }
  const times = list.children.length ? [element("p", "The next times, on your clock:"), list] : [element("p", "It never fires.")];
  return [element("p", `It means: ${schedule.meaning}.`), ...times];
}

function sure(answer) {
  if (answer.probability == null) return "How sure it was is not known: an alternative was half a character.";
  const digits = answer.probability < 0.01 ? "less than 0.01" : answer.probability.toFixed(2);
  return `How sure: ${digits}${answer.probability < known.threshold ? `, which is low (below ${known.threshold})` : ""}.`;
}

function show(side, chosen) {
  const answer = answerOf(chosen);
  const box = at(side);
  box.replaceChildren(box.querySelector("h2"));
  const pre = element("pre", answer?.text ?? "");
  box.append(pre);
  if (answer) {
    box.append(...explained(answer.text), element("p", sure(answer)),
      element("p", isComputed(chosen) ? "Computed here, just now." : "Recorded with PEFT."));
  } else {
    box.append(element("p", model ? "…" : "Not recorded. Load the model to ask it."));
  }
  return pre;
}

function showTokens() {
  const tokens = computed.get(key(phrase, setting))?.tokens ?? [];
  at("tokens").replaceChildren();
  at("bars").hidden = !tokens.length;
  at("next-help").textContent = tokens.length
    ? "Choose a token of the adapted answer: what else could have stood there?"
    : "Once the model has answered here: the five likeliest tokens at each place.";
  if (!tokens.length) return;
  token = Math.min(token, tokens.length - 1);
  const named = (text) => text == "" ? "end" : text.replaceAll(" ", "␣").replaceAll("\n", "⏎");
  tokens.forEach((one, number) => {
    const button = element("button", named(one.token), { type: "button" });
    button.setAttribute("aria-pressed", number == token);
    button.setAttribute("aria-label", `token ${number + 1}: ${one.token.trim() || (one.token ? "space" : "end of text")}`);
    button.onclick = () => {
      token = number;
      showTokens();
      at("tokens").children[number].focus();
    };
    at("tokens").append(button);
  });
  at("bars").caption.textContent = `Place ${token + 1} of ${tokens.length}`;
  at("bars").tBodies[0].replaceChildren(...tokens[token].top_logprobs.map((other) => {
    const [row, cell, share] = [element("tr"), element("td"), Math.exp(other.logprob)];
    cell.innerHTML = `<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect width="${100 * share}" height="10"/></svg>`;
    cell.append(share < 0.0005 ? "less than 0.001" : share.toFixed(3));
    const name = element("td");
    name.append(element("code", named(other.token)));
    row.append(name, cell);
    return row;
  }));
}

// What training that way gave ----------------------------------------------------------------------------------------

const TEST = "Test-A, a test with new times,";

function beside() {
  const { attention, mlp, rank, strength } = setting;
  const trained = (name) => `${known.trained[name].percent} %`;
  const lines = [];
  if (rank < 8) {
    const result = known.trained[`rank ${rank}`];
    lines.push(`Rank ${rank} is cut after training here. ` + (result
      ? `Trained at rank ${rank}, the small adapters of notebook 09 get ${result.percent} % of ${TEST} right; at rank 8, ${trained("rank 8")}. `
      : `No training at rank ${rank} is recorded; at rank 1, 4 and 8 the small adapters of notebook 09 get ${trained("rank 1")}, ` +
        `${trained("rank 4")} and ${trained("rank 8")} of ${TEST} right. `) +
      "To cut to a rank and to train at it are two different things.");
  }
  if (attention != mlp) {
    const name = attention ? "attention" : "mlp", said = attention ? "attention" : "the MLP";
    lines.push(`The other group is switched off after training here. Trained in ${said} alone, at rank ${known.trained[name].r}, ` +
      `the small adapters of notebook 09 get ${trained(name)} of ${TEST} right; in all layers at rank 8, ${trained("rank 8")}.`);
  }
  if (!attention && !mlp || !strength) lines.push("Nothing is added to W: this is the base alone.");
  const counted = known.recorded.find((row) => key("", row) == key("", setting));
  if (counted) lines.push(`Turned like this, the adapter gets ${counted.right} of ${counted.of} recorded phrases of people right.`);
  at("beside").replaceChildren(...lines.map((line) => element("p", line)));
}

function refresh() {
  at("strength").value = setting.strength;
  at("strength-said").textContent = setting.strength;
  at("attention").checked = setting.attention;
  at("mlp").checked = setting.mlp;
  document.querySelector(`[name="live-rank"][value="${setting.rank}"]`).checked = true;
  draw(at("drawing"), setting, known.shares);
  at("drawn").textContent = words(setting, known.shares);
  beside();
  show("base", BASE);
  show("adapted", setting);
  showTokens();
  const [base, adapted] = [answerOf(BASE), answerOf(setting)];
  if (adapted) {
    at("said").textContent = `With the adapter: ${adapted.text}. ${sure(adapted)} ${base ? `The base alone: ${base.text.slice(0, 80)}.` : ""}`;
  }
}

// Asking --------------------------------------------------------------------------------------------------------------

// Answer what is chosen, the adapted side first; what is chosen meanwhile stops the answer and comes next.
async function answer() {
  refresh();
  running?.abort();
  if (!model) return;
  const mine = running = new AbortController();
  const asked = { phrase, setting: { ...setting } };
  for (const [side, chosen] of [["adapted", asked.setting], ["base", BASE]]) {
    if (computed.has(key(asked.phrase, chosen))) continue;
    await turn;
    if (mine.signal.aborted || !model) return;
    const pre = show(side, chosen);
    pre.textContent = "";
    at("state").textContent = side == "base" ? "The base answers …" : "The model with the adapter answers …";
    let done;
    turn = new Promise((resolve) => { done = resolve; });
    try {
      const said = await model.ask(asked.phrase, chosen, { signal: mine.signal, streamed: (text) => { pre.textContent = text; } });
      computed.set(key(asked.phrase, chosen), said);
    } catch (error) {
      if (error.name != "AbortError") await failed(error);
      return;
    } finally {
      done();
    }
    if (mine.signal.aborted) return;
    refresh();
  }
  at("state").textContent = "The model is loaded. Change anything.";
}
let turn = Promise.resolve();

async function failed(error) {
  await model?.end();
  model = null;
  const again = !(error instanceof Fault) || error.again;
  at("fault").textContent = `${error.message} ${again ? "“Start again” tries once more; what has come is kept." : ""}`;
  at("fault").hidden = false;
  at("state").textContent = "The model is not loaded. The recorded answers stay.";
  at("progress").hidden = at("end").hidden = true;
  at("load").hidden = !again;
  at("load").disabled = false;
  at("load").textContent = "Start again";
  refresh();
}

async function start() {
  at("load").disabled = true;
  at("fault").hidden = true;
  at("progress").hidden = false;
  at("state").textContent = "Loading …";
  try {
    const whole = megabytes(await manifest());
    at("progress").max = Math.max(1, whole);
    model = await load((loaded) => {
      at("progress").value = loaded;
      at("state").textContent = loaded < whole - 1 ? `Loading: ${Math.round(loaded)} of ${whole} MB` : "Starting the model …";
    });
  } catch (error) {
    return failed(error);
  }
  at("load").hidden = at("progress").hidden = true;
  at("end").hidden = false;
  at("state").textContent = "The model is loaded.";
  answer();
}

async function end() {
  running?.abort();
  const ending = model;
  model = null;
  await turn;
  await ending?.end();
  at("end").hidden = true;
  Object.assign(at("load"), { hidden: false, disabled: false, textContent: "Load the model" });
  at("state").textContent = "The model is out of memory. Its parts stay in the browser.";
  refresh();
}

async function describe() {
  try {
    const parts = await manifest();
    const phone = PHONE ? "On a telephone the recorded answers below come first: loading is much for a mobile network, and untried there. " : "";
    at("size").textContent = `${phone}The model and the adapter are ${megabytes(parts)} MB. The browser keeps them for the next visit. ` +
      "They need some 400 MB of memory, and an answer takes a few seconds.";
    at("load").textContent = `Load the model (${megabytes(parts)} MB)`;
    read = await reader();
  } catch (error) {
    at("size").textContent = "The answers below are recorded.";
    await failed(error);
  }
  refresh();
}

// Controls ------------------------------------------------------------------------------------------------------------

// What is being typed stays: only a choice changes the field.
function choose(changes, text) {
  if (text) at("phrase").value = phrase = text;
  setting = { ...setting, ...changes };
  token = 0;
  answer();
}

at("strength").onchange = ({ target }) => choose({ strength: Number(target.value) });
at("strength").oninput = ({ target }) => { at("strength-said").textContent = target.value; };
at("attention").onchange = ({ target }) => choose({ attention: target.checked });
at("mlp").onchange = ({ target }) => choose({ mlp: target.checked });
document.getElementsByName("live-rank").forEach((radio) => { radio.onchange = () => choose({ rank: Number(radio.value) }); });
at("reset").onclick = () => choose(TRAINED);
at("load").onclick = start;
at("end").onclick = end;
at("ask").onsubmit = (event) => {
  event.preventDefault();
  choose({}, at("phrase").value.trim() || phrase);
};
phrases.forEach((text) => {
  at("phrases").append(element("option", "", { value: text }));
  at("examples").append(element("button", text, { type: "button", onclick: () => choose({}, text) }));
});
document.querySelectorAll("[data-set]").forEach((button) => {
  button.onclick = () => {
    const { phrase: number, ...changes } = JSON.parse(button.dataset.set);
    choose({ ...TRAINED, ...changes }, phrases[number]);
    document.querySelector(".live-answers").scrollIntoView();
    at("adapted").focus({ preventScroll: true });
  };
});

document.getElementById("live").hidden = false;
at("phrase").value = phrase;
refresh();
describe();
