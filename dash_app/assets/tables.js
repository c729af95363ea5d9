/*
 * Sorting, filtering and CSV of every table, without asking the server. State is kept per table id and applied again
 * after each repaint. Cells carry their plain value in data-v where it differs from the text shown.
 */
(function () {
  "use strict";
  const page = (window.regimes = window.regimes || {});
  const states = new Map();
  const value = (cell) => (cell ? (cell.dataset.v !== undefined ? cell.dataset.v : cell.textContent.trim()) : "");

  function state(id) {
    if (!states.has(id)) states.set(id, { column: -1, direction: 1, filter: "" });
    return states.get(id);
  }

  function compare(a, b) {
    const x = parseFloat(a), y = parseFloat(b);
    if (a === "" || b === "") return (a === "") - (b === "");
    if (!Number.isNaN(x) && !Number.isNaN(y) && isFinite(a) && isFinite(b)) return x - y;
    return a.localeCompare(b);
  }

  function apply(table) {
    const { column, direction, filter } = state(table.dataset.table);
    const body = table.tBodies[0];
    if (!body) return;
    const rows = Array.from(body.rows).filter((row) => !row.dataset.fixed);
    if (column >= 0) {
      const sorted = rows.slice().sort((a, b) => {
        const x = value(a.cells[column]), y = value(b.cells[column]);
        return x === "" || y === "" ? compare(x, y) : direction * compare(x, y);
      });
      if (sorted.some((row, i) => row !== rows[i])) sorted.forEach((row) => body.appendChild(row));
    }
    let shown = 0;
    const wanted = filter.toLowerCase();
    for (const row of rows) {
      row.hidden = Boolean(wanted) && !row.textContent.toLowerCase().includes(wanted);
      if (!row.hidden) shown++;
    }
    const heads = table.tHead ? table.tHead.rows[table.tHead.rows.length - 1].cells : [];
    Array.from(heads).forEach((head, i) => {
      if (head.querySelector("button")) {
        head.setAttribute("aria-sort", i !== column ? "none" : direction > 0 ? "ascending" : "descending");
      }
    });
    const count = document.querySelector('[data-count="' + table.dataset.table + '"]');
    if (count) {
      const text = wanted ? shown + " of " + rows.length + " rows" : rows.length + (rows.length === 1 ? " row" : " rows");
      if (count.textContent !== text) count.textContent = text;
    }
  }

  function csv(table) {
    /* A text that a spreadsheet would take for a formula gets an apostrophe; numbers stay numbers. */
    const plain = (text) => (/^[=+\-@\t\r]/.test(text) && !isFinite(text) ? "'" + text : text);
    const quote = (text) => ((text = plain(text)), /[",\r\n]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text);
    const cellText = (cell) => {
      const time = cell.querySelector && cell.querySelector("time");
      return quote(cell.dataset.v !== undefined ? cell.dataset.v : time ? time.getAttribute("datetime") : cell.textContent.trim());
    };
    const head = table.tHead.rows[table.tHead.rows.length - 1];
    const lines = [Array.from(head.cells).map((cell) => quote(cell.dataset.name || cell.textContent.trim())).join(",")];
    for (const row of table.tBodies[0].rows) if (!row.hidden) lines.push(Array.from(row.cells).map(cellText).join(","));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\r\n") + "\r\n"], { type: "text/csv" }));
    link.download = table.dataset.table + ".csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  const find = (id) => document.querySelector('table[data-table="' + id + '"]');
  document.addEventListener("click", function (event) {
    const sort = event.target.closest("button[data-sort]");
    if (sort) {
      const table = sort.closest("table"), own = state(table.dataset.table), column = sort.closest("th").cellIndex;
      own.direction = own.column === column ? -own.direction : sort.dataset.sort === "number" ? -1 : 1;
      own.column = column;
      apply(table);
    }
    const save = event.target.closest("button[data-csv]");
    if (save && find(save.dataset.csv)) csv(find(save.dataset.csv));
  });
  document.addEventListener("input", function (event) {
    const id = event.target.dataset && event.target.dataset.filter;
    if (id && find(id)) { state(id).filter = event.target.value; apply(find(id)); }
  });
  (page.painted = page.painted || []).push((root) => root.querySelectorAll("table[data-table]").forEach(apply));
})();
