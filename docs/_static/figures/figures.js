// The page "Figures that move": each figure is a state, controls that change it, a drawing by JSXGraph, and a sentence.
const JSXGRAPH = new URL("../../live/jsxgraph.js", document.currentScript.src).href;
const { dot, length, times, turned, angle } = numbers;

const made = (name, text = "", attributes = {}) => Object.assign(document.createElement(name), { textContent: text }, attributes);
// -0 is 0; a minus is as wide as a plus
const say = (value, digits = 2) => (Number(value.toFixed(digits)) + 0).toFixed(digits).replace("-", "−");
const short = (value) => String(Number(value.toFixed(3)) + 0).replace("-", "−");
const vector = (values) => `(${values.map(short).join(", ")})`;
const count = (value) => value.toLocaleString("en");

// A figure's element: its parts, its state, and what is done when the state changes.
function figure(name, state, drawn) {
  const box = document.getElementById(`moving-${name}`);
  const [controls, said] = [made("div", "", { className: "moving-controls" }), made("p", "", { className: "moving-said" })];
  said.setAttribute("role", "status");
  box.prepend(controls);
  box.append(said);
  const shown = [];
  const change = (changes) => {
    const before = { ...state };
    Object.assign(state, changes);
    shown.forEach((show) => show());
    const sentence = drawn(state, before);
    if (said.textContent != sentence) said.textContent = sentence;
  };
  const slider = (key, label, { min = -4, max = 4, step = 0.5, unit = "" } = {}) => {
    const [line, output] = [made("label", `${label}: `), made("span")];
    const input = made("input", "", { type: "range", min, max, step });
    input.setAttribute("aria-label", label);
    input.oninput = () => change({ [key]: Number(input.value) });
    shown.push(() => {
      input.value = state[key];
      output.textContent = `${short(state[key])}${unit}`;
      input.setAttribute("aria-valuetext", output.textContent);
    });
    line.append(output, input);
    controls.append(line);
    return input;
  };
  const buttons = (settings) => {
    const row = made("p");
    for (const [label, changes] of Object.entries(settings)) {
      row.append(made("button", label, { type: "button", onclick: () => change(changes) }), " ");
    }
    controls.append(row);
  };
  return { box, controls, shown, state, change, slider, buttons };
}

// A drawing in a figure. The pointer drags its points; the keyboard and a screen reader have the sliders.
function board(box, label, [left, top, right, bottom], more = {}) {
  const place = made("div", "", { id: `${box.id}-board-${box.querySelectorAll(".moving-board").length}`, className: "moving-board" });
  place.style.aspectRatio = more.ratio ?? (right - left) / (top - bottom);
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", label);
  (more.inside ?? box).append(place);
  if (!globalThis.JXG) return null;
  return JXG.JSXGraph.initBoard(place.id, {
    boundingbox: [left, top, right, bottom], axis: false, grid: false, showNavigation: false, showCopyright: false,
    keepaspectratio: false, keyboard: { enabled: false }, pan: { enabled: false }, zoom: { enabled: false },
    browserPan: true, description: "", ...more.options,
  });
}

const QUIET = { highlight: false, fixed: true, tabindex: null, withLabel: false };
const named = (cssClass) => ({ display: "internal", cssClass, highlightCssClass: cssClass, highlight: false, anchorX: "middle", anchorY: "middle", fontSize: 15 });
const draw = {
  grid(on) {
    for (let place = -4; place <= 4; place++) {
      for (const ends of [[[place, -5], [place, 5]], [[-5, place], [5, place]]]) {
        on.create("segment", ends, { ...QUIET, cssClass: `moving-thin ${place ? "moving-faint" : ""}`, strokeWidth: 1 });
      }
    }
  },
  curve: (on, cssClass, at, width = 2) => on.create("curve", [(t) => at(t)[0], (t) => at(t)[1], 0, 2 * Math.PI],
    { ...QUIET, cssClass, strokeWidth: width }),
  arrow: (on, cssClass, tip, from = () => [0, 0]) => on.create("segment", [() => from(), () => tip()],
    { ...QUIET, cssClass, strokeWidth: 3, lastArrow: { type: 2, size: 5 } }),
  line: (on, cssClass, from, to, width = 2, dash = 0) => on.create("segment", [() => from(), () => to()],
    { ...QUIET, cssClass, strokeWidth: width, dash }),
  name: (on, cssClass, text, place) => on.create("text", [() => place()[0], () => place()[1], text], { ...QUIET, ...named(cssClass) }),
};

// A point that the pointer drags over a grid; `read` and `write` are its two numbers in the state.
function handle(on, read, write) {
  const point = on.create("point", read(), { name: "", size: 7, cssClass: "moving-handle", highlight: false, tabindex: null, showInfobox: false, withLabel: false });
  const grid = (value) => Math.max(-4, Math.min(4, Math.round(2 * value) / 2));
  point.on("drag", () => write([grid(point.X()), grid(point.Y())]));
  return () => point.moveTo(read());
}

const beyond = (tip, by = 0.35) => tip.map((value) => value * (1 + by / Math.max(length(tip), 0.1)));

// A circle becomes an ellipse ----------------------------------------------------------------------------------------

function ellipse() {
  let redraw = () => {};
  const matrix = () => [[state.a, state.b], [state.c, state.d]];
  const arrows = () => [0, 90].map((more) => turned([1, 0], ((state.turn + more) * Math.PI) / 180));
  const images = () => arrows().map((arrow) => times(matrix(), arrow));
  const { box, slider, buttons, change, state } = figure("ellipse", { a: 2, b: 0, c: 1.5, d: 2.5, turn: 0 }, () => {
    redraw();
    const [first, second] = numbers.singularValues(matrix());
    const [ka, kb] = images();
    const apart = angle(ka, kb);
    return `K = (${short(state.a)}, ${short(state.b)}; ${short(state.c)}, ${short(state.d)}). Singular values: ${say(first, 3)} and ` +
      `${say(second, 3)}. Rank ${numbers.rank(matrix())}. Turned by ${state.turn}°: K a is ${say(length(ka), 3)} long, ` +
      `K b ${say(length(kb), 3)}${isNaN(apart) ? "" : `, and the angle between them is ${say(apart, 1)}°`}.`;
  });
  slider("a", "row 1, column 1");
  slider("b", "row 1, column 2");
  slider("c", "row 2, column 1");
  slider("d", "row 2, column 2");
  slider("turn", "turn of the arrows a and b", { min: 0, max: 90, step: 5, unit: "°" });
  buttons({
    "K of notebook 02": { a: 2, b: 0, c: 1.5, d: 2.5 }, "Turn it: no stretch": { a: 0, b: -1, c: 1, d: 0 },
    "Rank 1": { a: 2, b: 1, c: 2, d: 1 }, "Turn by 45°": { turn: 45 },
  });
  const on = board(box, "The unit circle, dotted, and its image under K, with the images of the arrows a and b. The sentence below says it in numbers.",
    [-5, 5, 5, -5]);
  if (on) {
    draw.grid(on);
    draw.curve(on, "moving-dotted", (t) => [Math.cos(t), Math.sin(t)]);
    draw.curve(on, "moving-grey", (t) => times(matrix(), [Math.cos(t), Math.sin(t)]), 3);
    ["b", "a"].forEach((css, i) => {
      draw.line(on, `moving-${css} moving-pale`, () => [0, 0], () => arrows()[i]);
      draw.arrow(on, `moving-${css}`, () => images()[i]);
      draw.name(on, `moving-${css}`, ["K a", "K b"][i], () => beyond(images()[i], 0.55));
    });
    const move = ["ac", "bd"].map(([x, y]) => handle(on, () => [state[x], state[y]], ([p, q]) => change({ [x]: p, [y]: q })));
    redraw = () => {
      move.forEach((one) => one());
      on.fullUpdate();
    };
  }
  change({});
}

// A shadow on a line ---------------------------------------------------------------------------------------------------

function shadow() {
  let redraw = () => {};
  const [a, b] = [() => [state.a1, state.a2], () => [state.b1, state.b2]];
  const { box, slider, change, state } = figure("shadow", { a1: 4, a2: 2, b1: 1, b2: 3 }, () => {
    redraw();
    if (!length(a())) return "a is zero: it has no direction, so there is no line to cast a shadow on.";
    const { t, foot, rest, P } = numbers.shadow(a(), b());
    const square = P.map((row) => times(P, row));  // P is symmetric: its rows are its columns
    const same = P.flat().every((value, i) => Math.abs(value - square.flat()[i]) < 1e-12);
    return `a = ${vector(a())}, b = ${vector(b())}: t = ${say(t)}. The foot is ${vector(foot)}, ${say(length(foot), 3)} long. The rest is ` +
      `${vector(rest)}, ${say(length(rest), 3)} long, and a · rest = ${say(dot(a(), rest))}. P = (${P[0].map(short).join(", ")}; ` +
      `${P[1].map(short).join(", ")}). P² = P: ${same ? "yes" : "no"}.`;
  });
  slider("a1", "a, first number");
  slider("a2", "a, second number");
  slider("b1", "b, first number");
  slider("b2", "b, second number");
  const on = board(box, "A line through a, a point b beside it, and its shadow on the line. The sentence below says it in numbers.", [-5, 5, 5, -5]);
  if (on) {
    const foot = () => (length(a()) ? numbers.shadow(a(), b()).foot : [0, 0]);
    const far = (side) => () => (length(a()) ? a().map((value) => (side * 9 * value) / length(a())) : [0, 0]);
    draw.grid(on);
    draw.line(on, "moving-grey", far(-1), far(1), 3);
    draw.line(on, "moving-ink", b, foot, 2, 2);
    draw.arrow(on, "moving-a", foot);
    draw.arrow(on, "moving-b", b);
    draw.name(on, "moving-a", "P b", () => foot().map((value, i) => value + [0.3, -0.55][i]));
    draw.name(on, "moving-b", "b", () => beyond(b(), 0.6));
    draw.name(on, "moving-ink", "a", () => a().map((value, i) => value + [0.3, 0.5][i]));
    const move = [["a1", "a2"], ["b1", "b2"]].map(([x, y]) =>
      handle(on, () => [state[x], state[y]], ([p, q]) => change({ [x]: p, [y]: q })));
    redraw = () => {
      move.forEach((one) => one());
      on.fullUpdate();
    };
  }
  change({});
}

// Bricks ---------------------------------------------------------------------------------------------------------------

function bricks() {
  const START = { u: [1, 0, 1], v: [2, 2, 0], w: [0, 1, 0.5], x: [2, 0, -4] };
  const shown = [];
  const { box, buttons, change, state } = figure("bricks", structuredClone(START), () => {
    const parts = [numbers.brick(state.u, state.v), numbers.brick(state.w, state.x)];
    const all = [...parts, numbers.sum(...parts)];
    shown.forEach((show) => show(all));
    const rows = (matrix) => matrix.map((row) => row.map(short).join(", ")).join("; ");
    const ranks = all.map(numbers.rank);
    return `Brick 1: (${rows(all[0])}), rank ${ranks[0]}. Brick 2: (${rows(all[1])}), rank ${ranks[1]}. Their sum: (${rows(all[2])}), rank ${ranks[2]}.`;
  });
  buttons({
    "M of notebook 01": START, "The brick of section 1": { u: [1, 2, 3], v: [5, 0, -1], w: [0, 0, 0], x: [0, 0, 0] },
    "Two bricks, one direction": { u: [1, 0, 1], v: [2, 2, 0], w: [1, 0, 1], x: [2, 0, -4] },
  });
  const field = (key, i, label) => {
    const input = made("input", "", { type: "number", min: -5, max: 5, step: 0.5 });
    input.setAttribute("aria-label", label);
    input.onchange = () => {  // an empty field is a zero
      const value = Math.max(-5, Math.min(5, Math.round(2 * Number(input.value)) / 2));
      change({ [key]: state[key].map((old, j) => (j == i ? value : old)) });
    };
    shown.push(() => { input.value = state[key][i]; });
    return input;
  };
  const grids = made("div", "", { className: "moving-grids" });
  box.append(grids);
  const cells = (number, heads, title) => {
    const table = made("table");
    table.append(made("caption", title));
    const body = table.createTBody();
    if (heads) {
      const head = body.insertRow();
      head.append(made("td"));
      heads.v.forEach((input) => head.insertCell().append(input));
    }
    for (const i of [0, 1, 2]) {
      const row = body.insertRow();
      if (heads) row.insertCell().append(heads.u[i]);
      for (const j of [0, 1, 2]) {
        const cell = row.insertCell();
        cell.className = "moving-cell";
        shown.push((all) => {
          const value = all[number][i][j];
          cell.textContent = short(value);
          cell.style.setProperty("--share", `${Math.min(70, 6 * Math.abs(value))}%`);
          cell.classList.toggle("moving-minus", value < 0);
        });
      }
    }
    grids.append(table);
  };
  const of = (brick, key, kind) => [0, 1, 2].map((i) => field(key, i, `brick ${brick}, ${kind}, number ${i + 1}`));
  cells(0, { u: of(1, "u", "column"), v: of(1, "v", "row") }, "Brick 1");
  cells(1, { u: of(2, "w", "column"), v: of(2, "x", "row") }, "+ brick 2");
  cells(2, null, "= their sum");
  change({});
}

// r (m + n) against m n ------------------------------------------------------------------------------------------------

function factors() {
  const SHAPES = { q_proj: [576, 576], k_proj: [192, 576], gate_proj: [1536, 576] };
  let redraw = () => {};
  const held = (r) => { const [m, n] = SHAPES[state.weight]; return r * (m + n); };
  const { box, controls, slider, shown, change, state } = figure("factors", { weight: "q_proj", r: 8 }, () => {
    const [m, n] = SHAPES[state.weight];
    redraw();
    const share = (100 * held(state.r)) / (m * n);
    return `${state.weight}, ${m} × ${n}, holds ${count(m * n)} numbers. At r = ${state.r}, B and A hold ${state.r} · (${m} + ${n}) = ` +
      `${count(held(state.r))}: ${say(share, 1)} % of it, ${share < 100 ? "fewer" : "not fewer"}. Break-even is at r = ${say(numbers.breakEven(m, n), 1)}.`;
  });
  const choice = made("fieldset");
  choice.append(made("legend", "The weight"));
  for (const [name, [m, n]] of Object.entries(SHAPES)) {
    const label = made("label"), radio = made("input", "", { type: "radio", name: "moving-weight", value: name });
    radio.onchange = () => change({ weight: name, r: Math.min(state.r, m, n) });
    shown.push(() => { radio.checked = state.weight == name; });
    label.append(radio, ` ${name}, ${m} × ${n}`);
    choice.append(label);
  }
  controls.append(choice);
  const input = slider("r", "rank r", { min: 1, max: 576, step: 1 });
  shown.unshift(() => { input.max = Math.min(...SHAPES[state.weight]); });
  const on = board(box, "Numbers held against the rank r: a rising line for B and A, a level line for W. They cross at break-even.",
    [-60, 1.6, 620, -0.25], { ratio: 1.6 });
  if (on) {
    // the height is in units of m n
    const whole = () => { const [m, n] = SHAPES[state.weight]; return m * n; };
    const most = () => Math.min(...SHAPES[state.weight]);
    const even = () => numbers.breakEven(...SHAPES[state.weight]);
    draw.line(on, "moving-thin", () => [0, 0], () => [600, 0], 1);
    draw.line(on, "moving-thin", () => [0, 0], () => [0, 1.55], 1);
    draw.line(on, "moving-grey", () => [0, 1], () => [600, 1], 4);
    draw.line(on, "moving-b", () => [0, 0], () => { const r = Math.min(most(), 1.5 * even()); return [r, held(r) / whole()]; }, 3);
    draw.line(on, "moving-ink", () => [even(), 0], () => [even(), 1], 1, 2);
    draw.line(on, "moving-a", () => [state.r, 0], () => [state.r, Math.min(1.5, held(state.r) / whole())], 3);
    draw.name(on, "moving-ink", "m n: W", () => [540, 1.08]);
    draw.name(on, "moving-b", "r (m + n): B and A", () => [0.75 * even() - 20, 1.08 + 0.35 * (even() > 250)]);
    draw.name(on, "moving-ink", () => `break-even ${say(even(), 1)}`, () => [even(), -0.09]);
    draw.name(on, "moving-ink", "rank r", () => [575, -0.09]);
    draw.name(on, "moving-a", () => `r = ${state.r}`, () => [Math.max(30, state.r), -0.18]);
    redraw = () => on.fullUpdate();
  }
  change({});
}

// RoPE's hands -----------------------------------------------------------------------------------------------------------

function hands() {
  const [Q, K] = [[2, 0], [2, 1]];  // Paris asks, France is asked: head 0 of notebook 04
  const CLOCKS = { "quarter turns": Math.PI / 2, ...Object.fromEntries([0, 8, 16, 31].map((pair) => [`pair ${pair}`, numbers.speed(pair)])) };
  const redraw = [];
  const at = (speed) => [turned(Q, (state.start + state.distance) * speed), turned(K, state.start * speed)];
  const { box, slider, change, state } = figure("hands", { distance: 2, start: 3 }, (now, before) => {
    redraw.forEach((one) => one());
    const found = Object.entries(CLOCKS).map(([name, speed]) => `${name} ${say(dot(...at(speed)))}`);
    const moved = now.start != before.start ? "Only the start has moved: no angle has changed. " : "";
    return `${moved}The key stands at ${now.start}, the query at ${now.start + now.distance}: distance ${now.distance}. Scores: ${found.join(", ")}.`;
  });
  slider("distance", "distance, from the key to the query", { min: 0, max: 20, step: 1 });
  slider("start", "start, where the key stands", { min: 0, max: 1000, step: 1 });
  const clocks = made("div", "", { className: "moving-clocks" });
  box.append(clocks);
  for (const [name, speed] of Object.entries(CLOCKS)) {
    const clock = made("div");
    clocks.append(clock);
    const on = board(box, `Two hands, ${name}`, [-2.6, 2.6, 2.6, -2.6], { inside: clock });
    const [round, read] = [made("p", `${name}: once round in ${say((2 * Math.PI) / speed, 1).replace(/\B(?=(\d{3})+\.)/g, ",")} tokens`), made("p")];
    clock.append(round, read);
    redraw.push(() => { read.textContent = `angle ${say(angle(...at(speed)), 1)}°, score ${say(dot(...at(speed)))}`; });
    if (on) {
      draw.curve(on, "moving-dotted", (t) => [2.3 * Math.cos(t), 2.3 * Math.sin(t)]);
      draw.arrow(on, "moving-b", () => at(speed)[0]);
      draw.arrow(on, "moving-a", () => at(speed)[1]);
      redraw.push(() => on.fullUpdate());
    }
  }
  change({});
}

// ------------------------------------------------------------------------------------------------------------------------

function show() {
  document.querySelectorAll(".moving").forEach((box) => { box.hidden = false; });
  [ellipse, shadow, bricks, factors, hands].forEach((start) => start());
}

const script = made("script", "", { src: JSXGRAPH, onload: show });
script.onerror = () => {
  document.getElementById("moving-missing").hidden = false;
  show();
};
document.head.append(script);
