/*
 * Merges trees from the server into the page. A tree is [tag, attributes, ...children] with text as plain strings
 * (dash_app/tree.py). Only what differs is touched, so that a refresh keeps focus, scroll, sorting and open details.
 * What does not belong here: moments (clock.js), tables (tables.js), addresses and polling (live.js).
 */
(function () {
  "use strict";
  const SVG = new Set(["svg", "path", "line", "rect", "circle", "polyline", "g"]);
  const page = (window.regimes = window.regimes || {});
  page.painted = page.painted || [];  // clock.js was here first

  function setAttributes(el, next) {
    const old = el.__attributes || {};
    for (const name in old) {
      if (!(name in next) && name !== "open" && name !== "value") {
        if (name === "style") el.removeAttribute("style");
        else el.removeAttribute(name);
      }
    }
    for (const name in next) {
      const value = next[name];
      if (name.startsWith("on")) continue;
      if (name === "style") {
        for (const key in value) {
          if (!old.style || old.style[key] !== value[key]) el.style.setProperty(key, value[key]);
        }
      } else if (old[name] !== value) {
        if ((name === "open" || name === "value" || name === "selected") && name in old) {
          if (name === "value") el.value = value;
          else if (name === "selected") el.selected = Boolean(value);
          continue;
        }
        el.setAttribute(name, value === true ? "" : String(value));
      }
    }
    if (old.selected && !next.selected) el.selected = false;
    el.__attributes = next;
  }

  function create(spec, svg) {
    if (typeof spec === "string") return document.createTextNode(spec);
    const inside = svg || SVG.has(spec[0]);
    const el = inside ? document.createElementNS("http://www.w3.org/2000/svg", spec[0]) : document.createElement(spec[0]);
    setAttributes(el, spec[1]);
    fill(el, spec, inside);
    return el;
  }

  function fill(el, spec, svg) {
    if (spec[0] === "time") return page.writeTime(el);
    merge(el, spec, 2, svg);
    if (spec[0] === "select") {
      for (const option of el.options) if (option.__attributes && option.__attributes.selected) option.selected = true;
    }
  }

  function fits(node, spec) {
    if (typeof spec === "string") return node.nodeType === 3;
    return node.nodeType === 1 && node.localName === spec[0] && (node.__attributes || {}).key === spec[1].key;
  }

  function update(node, spec) {
    if (typeof spec === "string") {
      if (node.data !== spec) node.data = spec;
      return;
    }
    setAttributes(node, spec[1]);
    fill(node, spec, SVG.has(spec[0]));
  }

  function merge(parent, specs, from, svg) {
    const keyed = new Map();
    for (const child of parent.childNodes) {
      const key = child.__attributes && child.__attributes.key;
      if (key !== undefined) keyed.set(key, child);
    }
    let here = parent.firstChild;
    for (let i = from; i < specs.length; i++) {
      const spec = specs[i];
      const key = typeof spec === "string" ? undefined : spec[1].key;
      let node = null;
      if (key !== undefined && keyed.has(key) && fits(keyed.get(key), spec)) node = keyed.get(key);
      else if (here && fits(here, spec)) node = here;
      if (node) {
        if (node !== here) parent.insertBefore(node, here);
        else here = here.nextSibling;
        update(node, spec);
      } else {
        parent.insertBefore(create(spec, svg), here);
      }
    }
    while (here) {
      const next = here.nextSibling;
      parent.removeChild(here);
      here = next;
    }
  }

  let paints = 0;
  const client = (window.dash_clientside = window.dash_clientside || {});
  client.regimes = client.regimes || {};
  Object.assign(client.regimes, {
    /* Paint one tree into the element whose attribute is the callback's output. */
    paint(tree) {
      const output = client.callback_context.outputs_list;
      const target = document.getElementById(output.id);
      if (!tree || !target) return client.no_update;
      if (target.dataset.skeleton) { delete target.dataset.skeleton; target.textContent = ""; }
      merge(target, [tree], 0, false);
      target.removeAttribute("aria-busy");
      for (const then of page.painted) then(target);
      return String(++paints);
    },
    /* Show or clear the note of every panel that could not be refreshed. */
    problems(found) {
      for (const panel of document.querySelectorAll("[data-panel]")) {
        const text = (found || {})[panel.dataset.panel] || "";
        const note = panel.querySelector(".problem");
        if (note && note.textContent !== text) note.textContent = text;
        panel.classList.toggle("has-problem", Boolean(text));
      }
      return client.no_update;
    },
  });
})();
