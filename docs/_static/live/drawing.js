// The drawing of LoRA as the adapter is turned. To scale but for A and B, which are drawn twelve times too thick.
const SIDE = 150, STRIPE = 3;

const stripes = (kind, on, place) =>
  Array.from({ length: 8 }, (_, i) => `<rect class="${kind} ${i < on ? "on" : "off"}" ${place(i)}/>`).join("");

function bars(shares, on, x, name) {
  const bar = (share, i) => {
    const height = Math.max(1, 70 * share);
    return `<rect class="b ${i < on ? "on" : "off"}" x="${x + 14 * i}" y="${285 - height}" width="11" height="${height}"/>`;
  };
  return shares.map(bar).join("") + `<text x="${x}" y="304">${name}</text>`;
}

// In words: what the groups add, such as "attention: rank 4 of 8, times 1.5".
export function words({ strength, attention, mlp, rank }, shares) {
  const held = (group) => Math.round(100 * shares[group].slice(0, rank).reduce((sum, share) => sum + share, 0));
  const group = (name, on, key, matrices) => on && strength
    ? `${name}, ${matrices} matrices: y = W x + ${strength} · s B A x with ${rank} of 8 components, ` +
      `which hold ${held(key)} % of what it adds, in squares.`
    : `${name}, ${matrices} matrices: y = W x, no adapter.`;
  return `${group("Attention", attention, "attention", 120)} ${group("MLP", mlp, "mlp", 90)}`;
}

export function draw(svg, setting, shares) {
  const { strength, attention, mlp, rank } = setting;
  const on = strength && (attention || mlp) ? rank : 0;
  const [w, low] = [200, 205];
  const arrow = (path, extra = "") => `<path class="line" marker-end="url(#live-arrow)" d="${path}" ${extra}/>`;
  const weight = `style="stroke-width: ${1 + 2 * Math.abs(on && strength)}" ${on ? "" : 'stroke-dasharray="4 4"'}`;
  svg.innerHTML = `
    <defs><marker id="live-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse"
      orient="auto"><path d="M0 0 8 4 0 8z" style="fill: var(--color-foreground-secondary)"/></marker>
    <pattern id="live-hatch" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
      <path d="M0 0V8" style="stroke: #fff; stroke-width: 1.5"/></pattern></defs>
    <text x="8" y="84">x</text>${arrow(`M24 78H${w - 6}`)}
    <rect class="w" x="${w}" y="4" width="${SIDE}" height="${SIDE}"/>
    <rect x="${w}" y="4" width="${SIDE}" height="${SIDE}" fill="url(#live-hatch)"/>
    <text x="${w + 12}" y="28" style="fill: #000; font-weight: bold; paint-order: stroke; stroke: #fff; stroke-width: 4px">W, frozen</text>
    ${arrow(`M${w + SIDE} 78H470`)}
    <circle class="line" cx="484" cy="78" r="12"/><text x="479" y="83">+</text>${arrow("M497 78H530")}<text x="538" y="84">y</text>
    ${arrow(`M40 78V${low - 22}`)}
    ${stripes("a", on, (i) => `x="10" y="${low - 18 + (STRIPE + 1) * i}" width="${SIDE}" height="${STRIPE}"`)}
    <text x="14" y="${low + 34}">A: ${on} of 8 rows</text>
    ${arrow(`M164 ${low - 3}H${w + 28}`)}
    ${stripes("b", on, (i) => `x="${w + 34 + (STRIPE + 1) * i}" y="166" width="${STRIPE}" height="${SIDE}"`)}
    <text x="${w + 76}" y="320">B</text>
    ${arrow(`M${w + 72} ${low - 3}H484V96`, weight)}
    <text x="474" y="150" text-anchor="end" style="font-weight: bold">${on ? `× ${strength} s` : "off"}</text>
    ${bars(shares.attention, strength && attention ? rank : 0, 316, "attention")}
    ${bars(shares.mlp, strength && mlp ? rank : 0, 440, "MLP")}
    <text class="small" x="316" y="326">share by component</text>`;
}
