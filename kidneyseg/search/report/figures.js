// Draws every figure from the data beside it, and again at the size of the paper before printing.
"use strict";
(() => {
  const PAPER_PX = 660; // the width of A4 or Letter between its margins
  const PAPER_SHARE = 0.75; // of a drawing's height: two figures to a page
  const config = { displayModeBar: false, responsive: true };
  const heights = new Map();
  const drawings = [...document.querySelectorAll(".drawing")];

  for (const drawing of drawings) {
    const { data, layout } = JSON.parse(drawing.querySelector("script").textContent);
    if (drawing.clientWidth < 480) layout.font.size = 11;
    heights.set(drawing, layout.height);
    drawing.replaceChildren();
    Plotly.newPlot(drawing, data, layout, config);
  }

  let before = null;
  function toPaper() {
    if (before !== null) return;
    before = [...document.querySelectorAll("details:not([open])")];
    for (const details of before) details.open = true;
    for (const drawing of drawings) {
      const many = drawing.parentElement.className === "drawings";
      const height = heights.get(drawing);
      Plotly.relayout(drawing, {
        width: many ? PAPER_PX / 3 - 8 : PAPER_PX,
        height: many ? height * PAPER_SHARE : Math.max(height * PAPER_SHARE, Math.min(height, 340)),
      });
    }
  }
  function toScreen() {
    if (before === null) return;
    for (const details of before) details.open = false;
    before = null;
    for (const drawing of drawings) {
      Plotly.relayout(drawing, { width: null, autosize: true, height: heights.get(drawing) });
    }
  }
  window.addEventListener("beforeprint", toPaper);
  window.addEventListener("afterprint", toScreen);
  document.documentElement.dataset.drawn = "yes";
})();
