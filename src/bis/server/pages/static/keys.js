// The keys that work on every page. Each is listed by `?`, from the page itself: an element with `data-key` has one.

const field = (element) => element.closest("input, textarea, select, [contenteditable]");

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || field(event.target)) return;
  const found = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (!found) return;
  event.preventDefault();
  if (field(found)) found.focus();
  else found.click();
});
