// The conditions of a comparison, one table a protocol, and their tests.
const pick = (side, state, number, choose) =>
  make("button", {
    class: `pick ${side}`,
    type: "button",
    text: side.toUpperCase(),
    title: data.sets[number].name,
    "aria-label": `Show ${data.sets[number].name} as ${side.toUpperCase()}`,
    "aria-pressed": String(state[side] === number),
    on: { click: () => choose({ [side]: side === "b" && state.b === number ? null : number }) },
  });

const ladderTable = (panel, state, choose) => {
  const rows = panel.rows.map((row) =>
    make(
      "tr",
      { class: row.sets.includes(state.a) || row.sets.includes(state.b) ? "shown" : "" },
      make(
        "td",
        {},
        make(
          "span",
          { class: "picks" },
          ...row.sets.flatMap((n) => [pick("a", state, n, choose), pick("b", state, n, choose)]),
        ),
      ),
      make("th", { scope: "row", text: row.name }),
      make("td", { class: "drawn" }, plot(row)),
      ...row.cells.map((text) => cell(text)),
      cell(row.taught, "words"),
    ),
  );
  return make(
    "table",
    { class: "figures ladder" },
    heading("show", "condition", "", ...data.heads.conditions, "taught by"),
    make("tbody", {}, ...rows),
  );
};

const testsTable = (panel) =>
  make(
    "div",
    { class: "wide", tabindex: "0" },
    make(
      "table",
      { class: "figures tests" },
      heading(...data.heads.comparisons),
      make(
        "tbody",
        {},
        ...panel.comparisons.map((cells) =>
          make(
            "tr",
            {},
            make("th", { scope: "row", text: cells[0] }),
            cell(cells[1], "words"),
            ...cells.slice(2).map((text) => cell(text)),
          ),
        ),
      ),
    ),
  );

const showLadders = (state, choose) => {
  byId("ladders").replaceChildren(
    ...data.ladders.flatMap((ladder, i) =>
      ladder.panels.map((panel, j) => {
        const title = ["Conditions", panel.name, data.ladders.length > 1 ? ladder.name : ""].filter(Boolean).join(": ");
        const table = make(
          "div",
          { class: "wide", tabindex: "0", role: "region", "aria-label": title },
          ladderTable(panel, state, choose),
        );
        const tests = panel.comparisons.length
          ? fold(`tests-${i}-${j}`, `${plural(panel.comparisons.length, "test")} between them`, () => testsTable(panel))
          : null;
        return make("section", {}, make("h2", { text: title }), table, tests);
      }),
    ),
  );
};
