// A drawing that does not fit begins where it is looked at: with the thing that was asked for in the middle, else at its
// end, where the newest is.
// @ts-check

for (const drawing of document.querySelectorAll("[data-drawing]")) {
  const middle = drawing.querySelector("[data-middle]");
  if (!middle) {
    drawing.scrollLeft = drawing.scrollWidth;
    continue;
  }
  const around = drawing.getBoundingClientRect();
  const thing = middle.getBoundingClientRect();
  drawing.scrollLeft += thing.left + thing.width / 2 - around.left - around.width / 2;
  drawing.scrollTop += thing.top + thing.height / 2 - around.top - around.height / 2;
}
