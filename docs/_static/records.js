// The filter of the page "The records, compared": it hides rows. What they say was judged when the site was built.
const rows = [...document.querySelectorAll("table.compared tbody tr")];
const chosen = { word: new Set(), measure: new Set() };
const made = (name, text = "", attributes = {}) => Object.assign(document.createElement(name), { textContent: text }, attributes);
const said = made("p");
said.setAttribute("role", "status");

function filter() {
  for (const row of rows) row.hidden = !Object.entries(chosen).every(([kind, values]) => values.has(row.dataset[kind]));
  const shown = rows.filter((row) => !row.hidden).length;
  said.textContent = `Shown: ${shown} of ${rows.length} comparisons. What is hidden was judged with the rest, so no word changes.`;
}

function choices(kind, legend) {
  const field = made("fieldset");
  field.append(made("legend", legend));
  for (const value of new Set(rows.map((row) => row.dataset[kind]))) {
    const label = made("label"), box = made("input", "", { type: "checkbox", checked: true });
    chosen[kind].add(value);
    box.onchange = () => {
      chosen[kind][box.checked ? "add" : "delete"](value);
      filter();
    };
    label.append(box, ` ${value} `);
    field.append(label);
  }
  return field;
}

const box = document.getElementById("records-filter");
box.append(choices("word", "Show the words"), choices("measure", "Show the measures"), said);
box.hidden = false;
filter();
