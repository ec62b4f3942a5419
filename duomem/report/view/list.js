// The episodes found, and what they are found by.
const BLOCK = 200;

const OUTCOMES = [
  ["", "all outcomes"],
  ["won", "won by A"],
  ["lost", "lost by A"],
  ["flipped", "flipped: one won, one lost"],
  ["a", "only A won"],
  ["b", "only B won"],
];

const passes = (state, first, second) => (episode) => {
  if (state.type && episode.type !== state.type) return false;
  if (
    !state.query
      .toLowerCase()
      .split(/\s+/)
      .every((word) => episode.text.includes(word))
  )
    return false;
  if (state.outcome === "won" || state.outcome === "lost") return episode.won === (state.outcome === "won");
  if (!state.outcome) return true;
  const [one, two] = [first, second].map((set) => set && set.tasks.get(episode.task));
  if (!one || !two || one.won === two.won) return false;
  return state.outcome === "flipped" || one.won === (state.outcome === "a");
};

const showFilters = (state, first) => {
  const types = [...new Set(first.episodes.map((episode) => episode.type))].sort();
  byId("type").replaceChildren(new Option("all task types", ""), ...types.map((t) => new Option(visible(t), t)));
  const outcomes = state.b === null ? OUTCOMES.slice(0, 3) : OUTCOMES;
  byId("outcome").replaceChildren(
    ...outcomes.map(([value, text]) => new Option(state.b === null ? text.replace(" by A", "") : text, value)),
  );
  byId("type").value = state.type;
  byId("outcome").value = state.outcome;
};

const item = (episode, second, choose) => {
  const other = second && counterpart(second, episode);
  const flips = other && other.won !== episode.won;
  const about = [`no. ${episode.number}`, plural(episode.row.steps.length, "step")];
  const marks = make(
    "span",
    { class: "marks" },
    chip(episode.won, second ? "A " : ""),
    other ? chip(other.won, "B ") : null,
    make("span", { class: "soft", text: about.join(" \u00b7 ") }),
  );
  const button = make(
    "button",
    { type: "button", class: flips ? "flips" : "", on: { click: () => choose(episode) } },
    make("span", { class: "title", text: episode.row.goal }),
    marks,
  );
  button.dataset.e = episode.number;
  return make("li", {}, button);
};

const list = { found: [], shown: 0, second: null, choose: null };

const showMore = () => {
  const next = list.found.slice(list.shown, list.shown + BLOCK);
  byId("found").append(...next.map((episode) => item(episode, list.second, list.choose)));
  list.shown += next.length;
  byId("more").hidden = list.shown === list.found.length;
};

const showList = (found, total, second, choose) => {
  Object.assign(list, { found, shown: 0, second, choose });
  byId("found").replaceChildren();
  byId("count").textContent = `${found.length} of ${plural(total, "episode")}`;
  showMore();
};

const markInList = (episode) => {
  const at = list.found.indexOf(episode);
  while (at >= list.shown) showMore();
  for (const old of byId("found").querySelectorAll("[aria-current]")) old.removeAttribute("aria-current");
  const button = at < 0 ? null : byId("found").children[at].firstElementChild;
  if (!button) return;
  button.setAttribute("aria-current", "true");
  const box = byId("list");
  const top = button.offsetTop;
  if (top < box.scrollTop) box.scrollTop = top - 8;
  else if (top + button.offsetHeight > box.scrollTop + box.clientHeight)
    box.scrollTop = top + button.offsetHeight - box.clientHeight + 8;
};
