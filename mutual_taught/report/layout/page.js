"use strict";
// Hover, search and filters. Without this script the page shows everything.
(function () {
  const STEP = 20;
  const form = document.getElementById("filters");
  const hint = document.getElementById("hint");

  // What a mark of a picture stands for is shown beside the pointer.
  document.querySelectorAll("figure svg").forEach(function (svg) {
    svg.addEventListener("pointermove", function (event) {
      const mark = event.target.closest("[data-says]");
      hint.hidden = !mark;
      hint.textContent = mark ? mark.dataset.says : "";
      hint.style.left = Math.min(event.clientX + 12, window.innerWidth - hint.offsetWidth - 8) + "px";
      hint.style.top = event.clientY + 16 + "px";
    });
    svg.addEventListener("pointerleave", function () { hint.hidden = true; });
  });

  if (!form) return;
  const list = document.getElementById("cards");
  const cards = Array.from(list.children);
  const texts = cards.map(function (card) { return card.textContent.toLowerCase(); });
  const count = document.getElementById("count");
  const more = document.getElementById("more");
  let limit = STEP;

  function value(card, name) {
    const text = card.dataset[name];
    return text === undefined ? null : Number(text);
  }

  // A prompt without the number comes last, whatever the order.
  function sorted(found, order) {
    if (!order) return found;
    const name = order.replace("-", "");
    const sign = name === "shortest" ? 1 : -1;
    function size(card) { return name === "change" ? Math.abs(value(card, name)) : value(card, name); }
    return found.filter(function (card) { return value(card, name) !== null; })
      .sort(function (a, b) { return sign * (size(a) - size(b)); })
      .concat(found.filter(function (card) { return value(card, name) === null; }));
  }

  function show() {
    const words = form.elements.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const split = form.elements.split.value;
    const instruction = form.elements.instruction ? form.elements.instruction.value : "";
    const found = cards.filter(function (card, place) {
      return (!split || card.dataset.split === split) &&
        (!instruction || card.dataset.instructions.split(" ").includes(instruction)) &&
        words.every(function (word) { return texts[place].includes(word); });
    });
    const ordered = sorted(found, form.elements.order.value);
    const seen = new Set(ordered.slice(0, limit));
    cards.forEach(function (card) { card.hidden = !seen.has(card); });
    ordered.slice(0, limit).reverse().forEach(function (card) { list.insertBefore(card, list.firstChild); });
    count.textContent = found.length + " of " + cards.length + " prompts, " + seen.size + " shown";
    more.hidden = found.length <= limit;
  }

  form.addEventListener("input", function () { limit = STEP; show(); });
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  more.addEventListener("click", function () { limit += STEP; show(); });
  list.addEventListener("click", function (event) {
    const button = event.target.closest("button.copy");
    if (!button) return;
    const code = button.previousElementSibling;
    const done = function () { button.textContent = "copied"; };
    const mark = function () { window.getSelection().selectAllChildren(code); };
    if (navigator.clipboard) navigator.clipboard.writeText(code.textContent).then(done, mark);
    else mark();
  });
  form.hidden = false;
  show();
}());
