// One step of an episode: what was seen, what was considered and withheld, what was done, and what came of it.
const titled = (title, ...children) => make("div", { class: "part" }, make("h4", { text: title }), ...children);
const said = (text, name = "") => make("p", { class: `said ${name}`, text });

const BEGINS = "\u2026"; // ends a candidate that stands for all commands that begin so
const candidates = (choice, { action, admissible }) => {
  const rows = choice.candidates.map(([command, share]) => {
    const chosen = command === action;
    return make(
      "tr",
      { class: chosen ? "chosen" : "" },
      make(
        "th",
        { scope: "row", text: `${chosen ? "\u25b8 " : ""}${command}` },
        command.endsWith(BEGINS) || admissible.includes(command)
          ? null
          : make("span", { class: "soft", text: " not admissible" }),
      ),
      make(
        "td",
        { class: "drawn" },
        make("div", { class: "share", share: { at: share }, "aria-hidden": "true" }, make("i")),
      ),
      cell(`${(100 * share).toFixed(1)}%`),
    );
  });
  return titled(
    "Considered",
    make(
      "table",
      { class: "candidates" },
      make(
        "thead",
        { class: "unseen" },
        make("tr", {}, ...["command", "", "probability"].map((name) => make("th", { scope: "col", text: name }))),
      ),
      make("tbody", {}, ...rows),
    ),
    choice.candidates.some(([command]) => command.endsWith(BEGINS))
      ? make("p", { class: "soft note", text: `${BEGINS} stands for all commands that begin so.` })
      : null,
  );
};

const withheld = (choice) =>
  titled(
    "Withheld by the action filter",
    make("ul", { class: "withheld" }, ...choice.withheld.map((command) => make("li", { text: command }))),
  );

const costs = (choice) =>
  [
    seconds(choice.seconds),
    `${plural(choice.prefilled, "token")} read`,
    `${choice.decoded.toLocaleString("en")} written`,
  ].join(" \u00b7 ");

const choiceOf = (row, at) => (row.choices || [])[at] || null;

const stepCard = (row, at, key) => {
  const step = row.steps[at];
  const card = make("div", { class: "card" });
  if (!step) {
    card.append(titled("Saw", said(row.last)), make("p", { class: "soft", text: "No step was played." }));
    return card;
  }
  const choice = choiceOf(row, at);
  const after = at + 1 < row.steps.length ? row.steps[at + 1].observation : row.last;
  card.append(titled("Saw", said(step.observation)));
  if (step.thought) card.append(titled("Thought", said(step.thought, "thought")));
  if (choice && choice.candidates.length) card.append(candidates(choice, step));
  if (choice && choice.withheld.length) card.append(withheld(choice));
  const noise = step.is_noise
    ? make("span", { class: "soft", text: " (injected noise, not the player's choice)" })
    : null;
  card.append(
    titled(
      "Did",
      make("p", { class: "did" }, make("code", { text: step.action }), noise),
      choice ? make("p", { class: "soft cost", text: costs(choice) }) : null,
    ),
    titled("Then", said(after)),
    fold(`admissible-${key}`, `${plural(step.admissible.length, "admissible command")}`, () =>
      make("ul", { class: "commands" }, ...step.admissible.map((command) => make("li", { text: command }))),
    ),
  );
  return card;
};
