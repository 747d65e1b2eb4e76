// A room's hands by choice, typed in by a teacher: the counts stay in this page, and the next question clears them.
const asked = JSON.parse(document.getElementById("hands-data").textContent);
const form = document.getElementById("hands");
const [choose, question, rows, total, held, cell] =
  ["choose", "question", "rows", "total", "held", "cell"].map((name) => document.getElementById(`hands-${name}`));
const NUMBERS = 5;  // rows for guesses that are numbers

function made(name, attributes = {}, ...inside) {
  const element = Object.assign(document.createElement(name), attributes);
  element.append(...inside);
  return element;
}

function row(choice, unit) {
  const name = choice ? made("span", {}, choice) : made("input", { className: "hands-guess", placeholder: "a guess" });
  if (!choice) name.setAttribute("aria-label", "A guess");
  const count = made("input", { type: "number", min: 0, step: 1, className: "hands-count", oninput: countHands });
  count.setAttribute("aria-label", choice ? `Hands for ${choice}` : "Hands for this guess");
  const bar = made("span", { className: "hands-bar" });
  return made("div", { className: "hands-row" },
    made("span", { className: "hands-name" }, name, choice ? "" : ` ${unit}`), count,
    made("span", { className: "hands-track" }, bar), made("span", { className: "hands-share" }));
}

function countHands() {
  const counts = [...rows.querySelectorAll(".hands-count")].map((field) => Math.max(0, field.valueAsNumber || 0));
  const all = counts.reduce((sum, count) => sum + count, 0);
  [...rows.children].forEach((line, place) => {
    const share = all ? counts[place] / all : 0;
    line.querySelector(".hands-bar").style.width = `${100 * share}%`;
    line.querySelector(".hands-share").textContent = counts[place] ? `${Math.round(100 * share)} %` : "";
  });
  total.textContent = all ? `${all} ${all == 1 ? "hand" : "hands"}` : "";
}

function show() {
  const { whole, choices, unit, answer, link } = asked[choose.value];
  question.textContent = whole;
  cell.href = link;
  rows.replaceChildren(...(choices.length ? choices : Array(NUMBERS).fill("")).map((choice) => row(choice, unit)));
  held.open = false;
  held.querySelector("p").textContent = choices.length ? answer : `${[...new Set(answer)].join(" to ")} ${unit}`;
  countHands();
}

const groups = new Map();
asked.forEach(({ notebook, question: text }, place) => {
  if (!groups.has(notebook)) groups.set(notebook, made("optgroup", { label: notebook }));
  groups.get(notebook).append(made("option", { value: place }, text));
});
choose.append(...groups.values());
choose.onchange = show;
form.onsubmit = (event) => event.preventDefault();
form.hidden = false;
show();
