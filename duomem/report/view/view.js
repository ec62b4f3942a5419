// The page's state, its address, and its keys.
const state = { a: data.first, b: data.second, e: 1, s: 1, type: "", outcome: "", query: "" };
let first = null;
let second = null;
let episode = null;
let count = 0;
let drawing = 0;

const address = () => {
  const parts = new URLSearchParams({ e: state.e, s: state.s });
  if (state.a !== data.first) parts.set("a", state.a);
  if (state.b !== data.second) parts.set("b", state.b === null ? "" : state.b);
  for (const name of ["type", "outcome", "query"]) if (state[name]) parts.set(name, state[name]);
  return `#${parts}`;
};
const keepAddress = () => {
  byId("link").href = address();
  try {
    history.replaceState(null, "", address());
  } catch {
    // a browser that forbids it, or for a moment too many: the link beside the steps has the address
  }
};
const number = (text, low, high, otherwise) => {
  const n = Number(text);
  return text && Number.isInteger(n) ? Math.min(high, Math.max(low, n)) : otherwise;
};
const readAddress = () => {
  const parts = new URLSearchParams(location.hash.slice(1));
  const last = data.sets.length - 1;
  state.a = number(parts.get("a"), 0, last, data.first);
  state.b = parts.has("b") ? number(parts.get("b"), 0, last, null) : data.second;
  if (state.b === state.a) state.b = null;
  state.e = number(parts.get("e"), 1, Infinity, 1);
  state.s = number(parts.get("s"), 1, Infinity, 1);
  for (const name of ["type", "outcome", "query"]) state[name] = parts.get(name) || "";
};

const fail = (error) => {
  byId("trouble").hidden = false;
  byId("trouble").textContent = visible(error.message);
};

const move = (step) => {
  state.s = Math.min(Math.max(1, step), Math.max(1, count));
  showStep(state.s, count);
  keepAddress();
};
const openEpisode = (chosen, step = 1) => {
  episode = chosen;
  state.e = chosen ? chosen.number : 1;
  count = showEpisode(first, second, chosen, move, fail);
  byId("part").hidden = !parting();
  byId("part").textContent = `part at ${parting()}`;
  markInList(chosen);
  move(step);
};
const clicked = (chosen) => {
  openEpisode(chosen);
  if (matchMedia("(max-width: 60rem)").matches) byId("player").scrollIntoView();
};
// The episodes that pass the filters; the one that was open stays so if it is among them, or if an address names it.
const search = (named = false) => {
  const found = first.episodes.filter(passes(state, first, second));
  showList(found, first.episodes.length, second, clicked);
  const open = first.episodes[state.e - 1];
  if (found.includes(open) || (named && open)) openEpisode(open, state.s);
  else openEpisode(found[0] || null);
};
const showFacts = () => {
  const ids = state.b === null ? [state.a] : [state.a, state.b];
  byId("facts").className = ids.length > 1 ? "pair" : "single";
  byId("facts").replaceChildren(
    ...ids.map((n, i) => {
      const set = data.sets[n];
      const all = set.scores[set.scores.length - 1].cells;
      const told = set.facts.length
        ? fold(`facts-${i}`, "What it was made from", () =>
            make(
              "dl",
              {},
              ...set.facts.flatMap(([name, value]) => [make("dt", { text: name }), make("dd", { text: value })]),
            ),
          )
        : null;
      return make(
        "div",
        {},
        make(
          "p",
          { class: "head" },
          ids.length > 1 ? letter("AB"[i]) : null,
          make("strong", { text: set.name }),
          make("span", { text: `${all[0]} won, ${all[1]}` }),
          make("span", { class: "soft", text: `95 % interval ${all[2]}` }),
        ),
        told,
      );
    }),
  );
};
const draw = async (named = false) => {
  const turn = ++drawing;
  byId("a").value = state.a;
  byId("b").value = state.b === null ? "" : state.b;
  byId("swap").disabled = state.b === null;
  byId("query").value = state.query;
  showFacts();
  showSuccess(state, choose);
  showLadders(state, choose);
  const loaded = await Promise.all([load(state.a), state.b === null ? null : load(state.b)]);
  if (turn !== drawing) return;
  [first, second] = loaded;
  showFilters(state, first);
  search(named);
};
const choose = (changes) => {
  if (!first) return; // what is chosen among is not unpacked yet
  const task = episode && episode.task;
  Object.assign(state, changes);
  if (state.a === state.b) state.b = null;
  if (state.b === null && ["flipped", "a", "b"].includes(state.outcome)) state.outcome = "";
  if (!("a" in changes || "b" in changes)) {
    showFilters(state, first);
    search();
    if ("outcome" in changes) byId("episodes").scrollIntoView();
    return;
  }
  load(state.a)
    .then((set) => {
      // the same game stays open
      const same = set.tasks.get(task);
      if (same) state.e = same.tries[0].number;
      return draw();
    })
    .catch(fail);
};

const neighbour = (by) => {
  const at = list.found.indexOf(episode) + by;
  if (list.found[at]) openEpisode(list.found[at]);
};
const KEYS = {
  ArrowLeft: () => move(state.s - 1),
  ArrowRight: () => move(state.s + 1),
  Home: () => move(1),
  End: () => move(count),
  j: () => neighbour(1),
  k: () => neighbour(-1),
  "/": () => byId("query").focus(),
};
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || !first) return;
  const within = (selector) => event.target.closest && event.target.closest(selector);
  const typing = within("input:not([type=range]), select");
  if (typing) {
    if (event.key === "Escape") typing.blur();
    return;
  }
  if (!Object.hasOwn(KEYS, event.key) || (event.key.length > 1 && event.target.matches?.(".wide, pre"))) return; // these scroll
  event.preventDefault();
  KEYS[event.key]();
});

const THEMES = { auto: "(prefers-color-scheme: dark)", light: "not all", dark: "all" };
const darkRules = [...document.styleSheets[0].cssRules].filter(
  (rule) => rule.media && rule.media.mediaText.includes("dark"),
);
const setTheme = (name) => {
  for (const rule of darkRules) rule.media.mediaText = THEMES[name];
  document.documentElement.style.colorScheme = name === "auto" ? "" : name;
  byId("theme").textContent = `Theme: ${name}`;
  byId("theme").dataset.theme = name;
};
byId("theme").addEventListener("click", () => {
  const names = Object.keys(THEMES);
  setTheme(names[(names.indexOf(byId("theme").dataset.theme) + 1) % names.length]);
});
setTheme("auto");

byId("choose").hidden = data.sets.length < 2;
data.sets.forEach((set, n) => byId("a").append(new Option(visible(set.name), n)));
byId("b").append(new Option("nothing", ""));
data.sets.forEach((set, n) => byId("b").append(new Option(visible(set.name), n)));
byId("a").addEventListener("change", () => choose({ a: Number(byId("a").value) }));
byId("b").addEventListener("change", () => choose({ b: byId("b").value === "" ? null : Number(byId("b").value) }));
byId("swap").addEventListener("click", () => choose({ a: state.b, b: state.a }));
byId("type").addEventListener("change", () => choose({ type: byId("type").value }));
byId("outcome").addEventListener("change", () => {
  state.outcome = byId("outcome").value;
  search();
});
byId("query").addEventListener("input", () => {
  state.query = byId("query").value;
  search();
});
byId("more").addEventListener("click", showMore);
byId("slider").addEventListener("input", () => move(Number(byId("slider").value)));
byId("first").addEventListener("click", KEYS.Home);
byId("back").addEventListener("click", KEYS.ArrowLeft);
byId("on").addEventListener("click", KEYS.ArrowRight);
byId("last").addEventListener("click", KEYS.End);
byId("part").addEventListener("click", () => move(parting()));
const open = () => {
  readAddress();
  draw(true).catch(fail);
};
addEventListener("hashchange", open);
open();
