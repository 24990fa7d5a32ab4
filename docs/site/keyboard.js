// For readers without a mouse or without eyes: what scrolls can be reached by the tab key, and captions of the sidebar are headings.

const SCROLL = "pre, article table, .table-wrapper, .math, .cell_output .output";

function reachable() {
  for (const element of document.querySelectorAll(SCROLL)) {
    if (element.scrollWidth > element.clientWidth || element.scrollHeight > element.clientHeight) element.tabIndex = 0;
  }
}

addEventListener("load", () => {
  for (const caption of document.querySelectorAll('[role="heading"]:not([aria-level])')) caption.setAttribute("aria-level", "2");
  for (const summary of document.querySelectorAll("summary[aria-label]")) summary.removeAttribute("aria-label"); // its text says more
  reachable();
  window.MathJax?.startup?.promise?.then(reachable);
});
addEventListener("resize", reachable);
