// A formula that is a little wider than the column is set smaller. What scrolls sideways is reachable with the keyboard.
const SMALLEST = 0.75;

function fit() {
  for (const formula of document.querySelectorAll("div.math")) {
    formula.style.fontSize = "";
    const share = formula.clientWidth / formula.scrollWidth;
    if (share < 1) formula.style.fontSize = `${Math.max(SMALLEST, 0.98 * share)}em`;
  }
  for (const box of document.querySelectorAll("pre, .table-wrapper, .output, div.math")) {
    if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

addEventListener("load", () => {
  fit();
  let waiting;
  addEventListener("resize", () => {  // a telephone was turned, the text enlarged
    clearTimeout(waiting);
    waiting = setTimeout(fit, 100);
  });
  window.MathJax?.Hub.Queue(fit);  // once the formulas have their widths
});

// A telephone shows these tables as lists (course.css); to a screen reader they stay tables.
addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("table.docutils:has(thead th:nth-child(3))")) {
    const heads = [...table.querySelectorAll("thead th")].map((head) => head.textContent.trim());
    table.classList.add("stacked");
    table.role = "table";
    table.querySelectorAll("thead, tbody").forEach((part) => { part.role = "rowgroup"; });
    for (const row of table.rows) {
      row.role = "row";
      [...row.cells].forEach((cell, column) => {
        cell.role = cell.tagName == "TH" ? "columnheader" : "cell";
        cell.dataset.head = heads[column];
      });
    }
  }
});

// One switch opens all answers of all notebooks, in this browser; paper has them open.
addEventListener("DOMContentLoaded", () => {
  const answers = [...document.querySelectorAll(".answer")];
  if (!answers.length) return;
  const button = document.createElement("button");
  answers.forEach((answer) => answer.addEventListener("toggle", fit));
  const show = (all) => {
    answers.forEach((answer) => { answer.open = all; });
    button.textContent = all ? "Fold all answers" : "Show all answers";
  };
  button.className = "answers-switch";
  button.onclick = () => {
    const all = localStorage.getItem("answers") != "open";
    localStorage.setItem("answers", all ? "open" : "folded");
    show(all);
  };
  document.querySelector("h1").after(button);
  show(localStorage.getItem("answers") == "open");

  let folded = [];
  addEventListener("beforeprint", () => {
    folded = answers.filter((answer) => !answer.open);
    folded.forEach((answer) => { answer.open = true; });
  });
  addEventListener("afterprint", () => folded.forEach((answer) => { answer.open = false; }));
});

// A search leads to the cell or the section that first has a word of it, not to the top of the page.
async function leadToSection(link) {
  const stemmer = new Stemmer();
  const query = new URLSearchParams(location.search).get("q").toLowerCase();
  const words = query.split(/\W+/).filter(Boolean).map((word) => stemmer.stemWord(word));
  const page = new DOMParser().parseFromString(await (await fetch(link.href)).text(), "text/html");
  const walker = page.createTreeWalker(page.querySelector("article"), NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
  let place = "";
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (node.id && node.matches("section, dt, .cell-link a")) place = node.id;
    if (node.nodeType == Node.TEXT_NODE && words.some((word) => node.data.toLowerCase().includes(word))) break;
  }
  link.hash = place;
}

addEventListener("DOMContentLoaded", () => {
  const results = document.getElementById("search-results");
  if (!results) return;
  const led = new Set();
  new MutationObserver(() => {
    for (const link of results.querySelectorAll("li > a")) {
      if (led.has(link)) continue;
      led.add(link);
      if (!link.hash) leadToSection(link).catch(() => {});  // a page opened from a file may not read others
    }
  }).observe(results, { childList: true, subtree: true });
});
