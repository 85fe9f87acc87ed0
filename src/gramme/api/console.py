"""The page under `/console/`: what `/cluster` says, as nested tables, fetched again every two seconds.

It knows nothing of the status document's members, so it cannot fall behind them. Values are put in as text, never as
markup, because table names and addresses come from outside.
"""

from __future__ import annotations

from typing import Final

CONSOLE_HTML: Final = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Gramme</title>
<style>
  body { font: 14px/1.4 system-ui, sans-serif; margin: 2rem; color: #222; }
  table { border-collapse: collapse; margin: 0.25rem 0; }
  td, th { border: 1px solid #ccc; padding: 0.2rem 0.5rem; text-align: left; vertical-align: top; }
  th { background: #f3f3f3; font-weight: 600; }
  #state { color: #777; }
</style>
<h1>Gramme</h1>
<p id="state">loading</p>
<div id="cluster"></div>
<script>
  function cell(tag, content) {
    const node = document.createElement(tag);
    node.append(content);
    return node;
  }
  function isObject(value) { return value !== null && typeof value === "object"; }
  function rowsOf(list) {
    const table = document.createElement("table");
    const names = [...new Set(list.flatMap((entry) => Object.keys(entry)))];
    const head = table.insertRow();
    names.forEach((name) => head.append(cell("th", name)));
    list.forEach((entry) => {
      const row = table.insertRow();
      names.forEach((name) => row.append(cell("td", show(entry[name]))));
    });
    return table;
  }
  function show(value) {
    if (Array.isArray(value)) {
      if (value.length && value.every((entry) => isObject(entry) && !Array.isArray(entry))) return rowsOf(value);
      return value.map((entry) => isObject(entry) ? JSON.stringify(entry) : String(entry)).join(", ");
    }
    if (!isObject(value)) return value === undefined || value === null ? "" : String(value);
    const table = document.createElement("table");
    Object.entries(value).forEach(([name, content]) => {
      const row = table.insertRow();
      row.append(cell("th", name), cell("td", show(content)));
    });
    return table;
  }
  async function refresh() {
    const state = document.getElementById("state");
    try {
      const answer = await fetch("/cluster");
      if (!answer.ok) throw new Error("HTTP " + answer.status);
      document.getElementById("cluster").replaceChildren(show(await answer.json()));
      state.textContent = "as of " + new Date().toLocaleTimeString();
    } catch (error) {
      state.textContent = "no answer: " + error.message;
    }
    setTimeout(refresh, 2000);
  }
  refresh();
</script>
</html>
"""
