/*
 * Writes moments in the reader's zone and keeps ages going from the server's time. The browser's own clock is never
 * trusted: only how long ago the server last said what time it is.
 */
(function () {
  "use strict";
  const page = (window.regimes = window.regimes || {});
  const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  let base = Date.now(), heard = performance.now(), standing = false;

  page.setNow = function (iso, declared) {
    base = Date.parse(iso);
    heard = performance.now();
    standing = Boolean(declared);
    tick();
  };
  page.now = () => base + (standing ? 0 : performance.now() - heard);
  page.zone = () => (new URLSearchParams(location.search).get("tz") === "local" ? "local" : "utc");

  const two = (n) => (n < 10 ? "0" + n : String(n));

  function parts(date) {
    return page.zone() === "local"
      ? [date.getFullYear(), date.getMonth(), date.getDate(), date.getHours(), date.getMinutes(), date.getSeconds()]
      : [date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate(), date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()];
  }

  function age(ms) {
    const s = Math.max(0, Math.round(ms / 1000));
    if (s < 60) return s + " s";
    if (s < 5400) return Math.round(s / 60) + " min";
    if (s < 172800) return Math.round(s / 3600) + " h";
    return Math.round(s / 86400) + " d";
  }

  page.writeTime = function (el) {
    const style = el.dataset.time;
    const date = style === "now" ? new Date(page.now()) : new Date(el.getAttribute("datetime"));
    const [y, mo, d, h, mi, s] = parts(date);
    let text;
    if (style === "age") text = age(page.now() - date);
    else if (style === "hm") text = two(h) + ":" + two(mi);
    else if (style === "hms") text = two(h) + ":" + two(mi) + ":" + two(s);
    else if (style === "day") text = d + " " + MONTHS[mo];
    else if (style === "full" || style === "now") text = y + "-" + two(mo + 1) + "-" + two(d) + " " + two(h) + ":" + two(mi);
    else text = d + " " + MONTHS[mo] + " " + two(h) + ":" + two(mi);
    if (el.textContent !== text) el.textContent = text;
    if (style !== "full" && style !== "now" && !el.title) el.title = date.toISOString().slice(0, 16).replace("T", " ") + " UTC";
  };
  page.writeTimes = function (root) {
    for (const el of root.querySelectorAll("time[data-time]")) page.writeTime(el);
  };

  function tick() {
    if (document.hidden) return;
    for (const el of document.querySelectorAll("time[data-time=age], time[data-time=now]")) page.writeTime(el);
  }
  setInterval(tick, 1000);
  (page.painted = page.painted || []).push(function (root) {
    const told = root.querySelector("[data-now]");
    if (told) page.setNow(told.dataset.now, told.dataset.declared);
  });
})();
