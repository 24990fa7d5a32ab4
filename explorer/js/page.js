// What is of the page rather than of the theory: colours, the dock of phones, copying code.

import { $ } from "./dom.js";

const THEMES = ["auto", "light", "dark"];
const PHONE = matchMedia("(max-width: 48rem)");

export function listenToPage() {
  showTheme(storedTheme());
  $("theme").addEventListener("click", nextTheme);
  $("copy").addEventListener("click", copyCode);
  $("open-code").addEventListener("click", () => $("code-card").scrollIntoView());
  PHONE.addEventListener("change", dock);
  dock();
}

/** On phones the sentence and two sliders stay at the bottom, while the pictures scroll. */
function dock() {
  $("dock").hidden = !PHONE.matches;
  (PHONE.matches ? $("dock") : $("reading-place")).append($("reading"));
  (PHONE.matches ? $("dock") : $("rail-sliders")).append($("theta-control"), $("gain-control"));
}

function showTheme(theme) {
  document.documentElement.dataset.theme = theme;
  $("theme").textContent = { auto: "◐ auto", light: "○ light", dark: "● dark" }[theme];
  $("theme").setAttribute("aria-label", `colours: ${theme}; press to change`);
}

function nextTheme() {
  const theme = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
  showTheme(theme);
  try {
    localStorage.setItem("varflow-theme", theme);
  } catch {} // files opened from a disk may have no storage
}

function storedTheme() {
  try {
    return localStorage.getItem("varflow-theme") ?? "auto";
  } catch {
    return "auto";
  }
}

async function copyCode() {
  const button = $("copy");
  try {
    await navigator.clipboard.writeText($("code").textContent);
    button.textContent = "copied";
  } catch {
    getSelection().selectAllChildren($("code"));
    button.textContent = "selected: press Ctrl+C";
  }
  setTimeout(() => (button.textContent = "copy"), 1600);
}
