"use strict";
(() => {
  const FIRST = 3, STEP = 30; // entries shown before and after something is asked for
  const data = JSON.parse(document.getElementById("data").textContent);
  const [query, type, count, found, more] =
    ["query", "type", "count", "found", "more"].map((id) => document.getElementById(id));
  const entries = data.entries.map(([task, kind, thing, target, id, steps]) => ({
    task: data.tasks[task], kind: data.types[kind], thing: data.names[thing], target: data.names[target], id,
    steps: steps.map((step) => data.steps[step]),
  }));
  for (const entry of entries) {
    entry.text = [entry.task, entry.kind, entry.thing, entry.target, entry.id, ...entry.steps].join("\n").toLowerCase();
  }
  for (const kind of data.types) {
    type.append(new Option(kind, kind));
  }
  let matches = [];
  let shown = 0;

  const test = (word) => {
    const at = word.indexOf(":");
    const field = { object: "thing", target: "target" }[word.slice(0, at)];
    const value = word.slice(at + 1);
    return field ? (entry) => entry[field].toLowerCase() === value : (entry) => entry.text.includes(word);
  };
  const element = (tag, text, name) => {
    const made = document.createElement(tag);
    made.textContent = text;
    if (name) made.className = name;
    return made;
  };
  const item = (entry) => {
    const made = document.createElement("li");
    const about = [entry.kind, [entry.thing, entry.target].filter(Boolean).join(" \u2192 "), entry.id];
    const steps = document.createElement("ol");
    steps.append(...entry.steps.map((step) => element("li", step)));
    made.append(element("h3", entry.task), element("p", about.filter(Boolean).join(" \u00b7 "), "soft"), steps);
    return made;
  };
  const show = () => {
    const end = shown + (shown || query.value || type.value ? STEP : FIRST);
    found.append(...matches.slice(shown, end).map(item));
    shown = Math.min(matches.length, end);
    more.hidden = shown === matches.length;
  };
  const search = () => {
    const tests = query.value.toLowerCase().split(/\s+/).filter(Boolean).map(test);
    if (type.value) tests.push((entry) => entry.kind === type.value);
    matches = entries.filter((entry) => tests.every((passes) => passes(entry)));
    count.textContent = `${matches.length} of ${entries.length} entries`;
    found.replaceChildren();
    shown = 0;
    show();
  };
  const fromAddress = () => {
    query.value = new URLSearchParams(location.hash.slice(1)).get("q") || "";
    search();
  };
  query.addEventListener("input", search);
  type.addEventListener("change", search);
  more.addEventListener("click", show);
  addEventListener("hashchange", fromAddress);
  document.addEventListener("click", (event) => {
    const cell = event.target.closest("button[data-q]");
    if (!cell) return;
    query.value = cell.dataset.q;
    type.value = "";
    search();
    document.getElementById("search").scrollIntoView();
  });
  fromAddress();
})();
