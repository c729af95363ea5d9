/*
 * The address as the state of the page, the question "is there news?" every few seconds, and the forms that ask the
 * platform for something. Nothing here draws: Dash callbacks listen to the stores `address` and `version`.
 */
(function () {
  "use strict";
  const page = (window.regimes = window.regimes || {});
  const client = (window.dash_clientside = window.dash_clientside || {});
  const root = document.documentElement;
  const OFFLINE_AFTER_MS = 45000;
  let answered = performance.now(), shownPage = null, lastVersion = null, asked = 0;

  function address() {
    const local = page.zone() === "local";
    return {
      path: location.pathname,
      search: location.search,
      zone: local ? Intl.DateTimeFormat().resolvedOptions().timeZone : "UTC",
      theme: root.dataset.theme,
    };
  }

  function publish() {
    const theme = new URLSearchParams(location.search).get("theme");
    if (theme === "dark" || theme === "light") {
      root.dataset.theme = theme;
      try { localStorage.setItem("regimes-theme", theme); } catch (error) { /* private window: the address still carries it */ }
    }
    client.set_props("address", { data: address() });
    page.writeTimes(document);
  }

  function go(href, replace) {
    const samePage = new URL(href, location.href).pathname === location.pathname;
    history[replace ? "replaceState" : "pushState"]({}, "", href);
    if (!samePage) window.scrollTo(0, 0);
    publish();
  }

  function withParams(changes) {
    const query = new URLSearchParams(location.search);
    for (const name in changes) changes[name] ? query.set(name, changes[name]) : query.delete(name);
    const text = query.toString().replace(/%2F/g, "/").replace(/%3A/g, ":");
    return location.pathname + (text ? "?" + text : "");
  }

  document.addEventListener("click", function (event) {
    const link = event.target.closest("a[data-nav]");
    if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(link.getAttribute("href"));
  });
  window.addEventListener("popstate", publish);
  matchMedia("(prefers-color-scheme: light)").addEventListener("change", function (event) {
    let chosen = null;
    try { chosen = localStorage.getItem("regimes-theme"); } catch (error) { /* as above */ }
    if (chosen || new URLSearchParams(location.search).get("theme")) return;
    root.dataset.theme = event.matches ? "light" : "dark";
    publish();
  });
  document.addEventListener("change", function (event) {
    const name = event.target.dataset && event.target.dataset.param;
    if (name) go(withParams({ [name]: event.target.value, from: "", to: "", alert: "" }));
  });

  document.addEventListener("submit", async function (event) {
    const form = event.target.closest("form");
    if (!form) return;
    event.preventDefault();
    if (!form.dataset.action) return;
    const told = form.querySelector("output"), button = form.querySelector("button");
    const args = Object.assign(JSON.parse(form.dataset.args || "{}"), Object.fromEntries(new FormData(form)));
    for (const name in args) if (args[name] === "") delete args[name];
    button.disabled = true;
    try {
      const answer = await fetch("/api/alerts/requests", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ kind: form.dataset.action, args: args }),
      });
      const body = await answer.json();
      told.textContent = answer.ok ? "Requested; the delivery sensor carries it out within seconds." : body.detail || body.title;
    } catch (error) {
      told.textContent = "The dashboard's server does not answer; nothing was requested.";
    }
    button.disabled = false;
  });

  async function ask() {
    const control = new AbortController();
    const timer = setTimeout(() => control.abort(), 10000);
    try {
      const answer = await fetch("/api/version", { signal: control.signal, cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      const news = await answer.json();
      answered = performance.now();
      delete root.dataset.offline;
      page.setNow(news.now, news.declared);
      return news;
    } finally {
      clearTimeout(timer);
    }
  }
  setInterval(function () {
    if (performance.now() - answered > OFFLINE_AFTER_MS && !document.hidden) root.dataset.offline = "1";
  }, 1000);

  async function news() {
    try {
      const found = await ask();
      if (found.v === lastVersion) return null;
      lastVersion = found.v;
      return found.v + "#" + ++asked;
    } catch (error) {
      return null;
    }
  }
  document.addEventListener("visibilitychange", async function () {
    if (document.hidden) { answered = Infinity; return; }
    answered = performance.now();
    const version = await news();
    if (version) client.set_props("version", { data: version });
  });

  function moment(text) {
    const plain = String(text).replace(" ", "T").slice(0, 16);
    const date = page.zone() === "local" ? new Date(plain) : new Date(plain + (plain.length > 10 ? "Z" : "T00:00Z"));
    return Number.isNaN(+date) ? "" : date.toISOString().slice(0, 16) + "Z";
  }

  /* On a phone the tabs scroll: the current one is brought into view when it changes. */
  let shownTab = null;
  page.painted.push(function (root) {
    const tab = root.querySelector(".tablink.on");
    if (!tab || tab.textContent === shownTab) return;
    shownTab = tab.textContent;
    const row = tab.parentElement, place = tab.getBoundingClientRect(), frame = row.getBoundingClientRect();
    if (row.scrollWidth > row.clientWidth) row.scrollLeft += place.left - frame.left - (frame.width - place.width) / 2;
  });

  client.regimes = client.regimes || {};
  Object.assign(client.regimes, {
    address: () => address(),
    /* The skeleton of the page that the address names; the same page stays as it is. */
    page(where, skeletons) {
      const path = where.path.replace(/\/+$/, "") || "/";
      const known = skeletons[path] ? path : "/";
      if (known === shownPage) return client.no_update;
      const first = shownPage === null;
      shownPage = known;
      document.title = skeletons[known].title + " · regimes";
      if (!first) requestAnimationFrame(() => { const main = document.getElementById("main"); if (main) main.focus({ preventScroll: true }); });
      return skeletons[known].layout;
    },
    /* What the page was drawn from. Several processes may serve one page, each with a state of its own age: where the
       panels come from another state than the one that was announced, or could not be read, the next poll asks again. */
    told(have) {
      if (have) lastVersion = lastVersion === null || have.version === lastVersion ? have.version : "";
      return client.no_update;
    },
    async poll() {
      if (document.hidden) return client.no_update;
      return (await news()) || client.no_update;
    },
    /* Zooming a chart writes the range to the address; a double click takes it away. */
    zoom(change) {
      if (!change) return client.no_update;
      const from = change["xaxis.range[0]"], to = change["xaxis.range[1]"];
      if (from !== undefined && to !== undefined) {
        const start = moment(from), end = moment(to);
        if (start && end && start < end) go(withParams({ from: start, to: end }), true);
      } else if (change["xaxis.autorange"]) go(withParams({ from: "", to: "" }), true);
      return client.no_update;
    },
  });
})();
