// The drawing begins where the thing that was asked for is in the middle, if all of it does not fit.
// @ts-check

for (const drawing of document.querySelectorAll("[data-drawing]")) {
  const middle = drawing.querySelector("[data-middle]");
  if (!middle) continue;
  const around = drawing.getBoundingClientRect();
  const thing = middle.getBoundingClientRect();
  drawing.scrollLeft += thing.left + thing.width / 2 - around.left - around.width / 2;
  drawing.scrollTop += thing.top + thing.height / 2 - around.top - around.height / 2;
}
