// A reader's guesses stay in this browser. A guess opens its answer; the end of the page names the cells, and no score,
// at which the run said otherwise. Whoever guesses nothing sees nothing of it.
addEventListener("DOMContentLoaded", () => {
  const end = document.querySelector(".guesses-end");
  if (!end) return;
  const key = `guesses ${end.dataset.notebook}`;
  const forms = [...document.querySelectorAll("form.guess")];
  const kept = {};
  try {
    Object.assign(kept, JSON.parse(localStorage.getItem(key)));
  } catch {}  // another page of this host may have written there

  const held = (form) => {
    const answer = JSON.parse(form.dataset.answer), guess = kept[form.dataset.cell];
    return Array.isArray(answer) ? answer[0] <= guess && guess <= answer[1] : guess == answer;
  };

  function show(form) {
    const guess = kept[form.dataset.cell];
    for (const button of form.querySelectorAll("[aria-pressed]")) button.ariaPressed = button.value === guess;
    if (form.elements.number) form.elements.number.value = guess ?? "";
    form.querySelector("[role=status]").textContent = guess === undefined ? "" : "Kept in this browser.";
  }

  function lookBack() {
    const guessed = forms.filter((form) => form.dataset.cell in kept);
    const otherwise = guessed.filter((form) => !held(form));
    end.hidden = !guessed.length;
    end.replaceChildren();
    if (!otherwise.length) return end.append(made("p", "Your guesses held."));
    const list = made("ul");
    for (const form of otherwise) {
      const item = made("li"), link = made("a", form.dataset.question);
      link.href = `#${form.dataset.cell}`;
      item.append(link);
      list.append(item);
    }
    const cells = ["this cell", "these two cells", "these three cells", "these four cells", "these five cells"];
    end.append(made("p", "You expected otherwise at"), list, made("p", `Go back to ${cells[otherwise.length - 1]}.`));
  }

  const made = (name, text = "") => Object.assign(document.createElement(name), { textContent: text });

  function keep(form, guess) {
    if (guess === undefined) delete kept[form.dataset.cell];
    else kept[form.dataset.cell] = guess;
    localStorage.setItem(key, JSON.stringify(kept));
    show(form);
    lookBack();
    if (guess !== undefined) answerTo(form).open = true;
  }

  function answerTo(form) {
    const all = [...document.querySelectorAll("form.guess, .answer")];
    return all.slice(all.indexOf(form) + 1).find((part) => part.matches(".answer"));
  }

  for (const form of forms) {
    for (const button of form.querySelectorAll("[aria-pressed]")) {  // pressed once more, it takes the guess back
      button.onclick = () => keep(form, button.ariaPressed == "true" ? undefined : button.value);
    }
    form.onsubmit = (event) => {
      event.preventDefault();
      const { number } = form.elements;
      if (number.validity.valid) keep(form, number.value == "" ? undefined : number.valueAsNumber);
    };
    show(form);
    form.hidden = false;
  }
  lookBack();
});
