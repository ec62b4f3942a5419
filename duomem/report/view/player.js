// An episode of one set or two: made once, and moved from step to step.
const shown = []; // the columns: the row, the letter, where its step is shown, and what is marked with it

const memory = (row, key) => {
  const ids = row.memories;
  if (!ids) return null;
  if (!ids.length) return make("p", { class: "soft", text: "Played without a memory." });
  const texts = row.memory_texts || ids.map((id) => `${id}: its text is not in this file`);
  return fold(`memory-${key}`, `Memory in use (${ids.length})`, () =>
    make("div", {}, ...texts.map((text, i) => make("blockquote", { text, title: ids[i] }))),
  );
};

const latencies = (row, move) => {
  const known = (row.choices || []).map((choice) => choice && choice.seconds);
  if (!known.some((value) => value !== null)) return { element: null, bars: [] };
  const sorted = known.filter((value) => value !== null).sort((x, y) => x - y);
  const most = sorted[sorted.length - 1];
  const about = `Time a step: median ${seconds(sorted[sorted.length >> 1])}, most ${seconds(most)}`;
  const bars = known.map((value, at) =>
    make("i", { share: { at: most ? (value || 0) / most : 0 }, on: { click: () => move(at + 1) } }),
  );
  return {
    element: make(
      "div",
      { class: "latency" },
      make("div", { class: "columns", role: "img", "aria-label": about }, ...bars),
      make("p", { class: "soft", text: about }),
    ),
    bars,
  };
};

const transcript = (row, move) => {
  const items = row.steps.map((step, at) =>
    make(
      "button",
      { type: "button", on: { click: () => move(at + 1) } },
      make("span", { class: "n", text: at + 1 }),
      make("span", { text: step.action }),
    ),
  );
  return { element: make("ol", { class: "transcript" }, ...items.map((button) => make("li", {}, button))), items };
};

const ENDED = { steps: "no steps left", context: "context full", unanswered: "no usable answer" };

const facts = (row) => {
  const tokens = row.usage
    ? row.usage.prompt_tokens + row.usage.completion_tokens
    : (row.prefilled || 0) + (row.decoded || 0);
  const time = row.usage ? row.usage.seconds : row.seconds;
  return [
    plural(row.steps.length, "step"),
    time === undefined || time === null ? "" : seconds(time),
    tokens ? plural(tokens, "token") : "",
    row.won || !Object.hasOwn(ENDED, row.ended) ? "" : ENDED[row.ended],
  ]
    .filter(Boolean)
    .join(" \u00b7 ");
};

// JSON in which what is not seen is written as its number.
const exact = (row) =>
  JSON.stringify(row, null, 1).replace(HIDDEN, (c) =>
    c === "\n" ? c : [...Array(c.length)].map((_, i) => `\\u${c.charCodeAt(i).toString(16).padStart(4, "0")}`).join(""),
  );

const record = (set, episode, key, fail) => {
  const save = async () => {
    const documents = await unpack(`documents-${set.number}`);
    download(...documents[episode.number - 1]);
  };
  return make(
    "div",
    { class: "record" },
    make("button", {
      type: "button",
      class: "quiet atif",
      text: "Download ATIF",
      on: { click: () => save().catch(fail) },
    }),
    fold(`record-${key}`, "Record", () => make("pre", { tabindex: "0", text: exact(episode.row) })),
  );
};

const column = (set, episode, key, paired, move, fail) => {
  if (!episode) {
    const text = `${set.name} did not play this game.`;
    return make(
      "div",
      { class: "run" },
      make("p", { class: "head" }, letter(key), make("span", { class: "soft", text })),
    );
  }
  const row = episode.row;
  const strip = latencies(row, move);
  const script = transcript(row, move);
  const place = make("div", {});
  shown.push({ row, key, place, items: script.items, bars: strip.bars, box: script.element });
  const head = make(
    "p",
    { class: "head" },
    paired ? letter(key) : null,
    chip(row.won),
    make("span", { text: set.name }),
    make("span", { class: "soft", text: facts(row) }),
  );
  return make(
    "div",
    { class: "run" },
    head,
    memory(row, key),
    place,
    make(
      "div",
      { class: "side" },
      paired ? make("h4", {}, letter(key), " steps") : null,
      strip.element,
      script.element,
      record(set, episode, key, fail),
    ),
  );
};

const showEpisode = (first, second, episode, move, fail) => {
  shown.length = 0;
  if (!episode) {
    byId("goal").textContent = "No episode found.";
    byId("columns").replaceChildren();
    return 0;
  }
  byId("goal").textContent = visible(episode.row.goal);
  byId("columns").className = second ? "pair" : "single";
  byId("columns").replaceChildren(
    column(first, episode, "A", second !== null, move, fail),
    ...(second ? [column(second, counterpart(second, episode), "B", true, move, fail)] : []),
  );
  return Math.max(1, ...shown.map(({ row }) => row.steps.length));
};

// The first step at which two columns do not do the same, 0 if there is none.
const parting = () => {
  if (shown.length < 2) return 0;
  const [one, two] = shown.map(({ row }) => row.steps.map((step) => step.action));
  return [...Array(Math.max(one.length, two.length)).keys()].findIndex((at) => one[at] !== two[at]) + 1;
};

const showStep = (number, count) => {
  for (const { row, key, place, items, bars, box } of shown) {
    const at = Math.min(number, row.steps.length) - 1;
    const ended =
      number > row.steps.length && row.steps.length
        ? make("p", { class: "ended", text: `Ended at step ${row.steps.length}: ${row.won ? "won" : "lost"}.` })
        : "";
    place.replaceChildren(ended, stepCard(row, at, key));
    for (const marked of [items, bars]) {
      marked.forEach((element, i) =>
        i === at ? element.setAttribute("aria-current", "step") : element.removeAttribute("aria-current"),
      );
    }
    const current = items[at];
    if (current) box.scrollTop = current.offsetTop - box.clientHeight / 2;
  }
  byId("slider").max = count;
  byId("slider").value = number;
  byId("position").textContent = shown.length ? `step ${number} of ${count}` : "";
  byId("first").disabled = byId("back").disabled = number <= 1;
  byId("on").disabled = byId("last").disabled = number >= count;
};
