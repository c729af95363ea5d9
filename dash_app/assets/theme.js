/* Runs before the first paint: the theme from the address, else the reader's choice, else the system's. */
(function () {
  "use strict";
  var chosen = new URLSearchParams(location.search).get("theme");
  if (chosen !== "dark" && chosen !== "light") {
    try { chosen = localStorage.getItem("regimes-theme"); } catch (error) { chosen = null; }
  }
  if (chosen !== "dark" && chosen !== "light") {
    chosen = matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark";
  }
  document.documentElement.dataset.theme = chosen;
})();
