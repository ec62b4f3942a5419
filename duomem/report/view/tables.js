// Success by task type: of one set, or of two with what only one of them won. Every cell was made by duomem.
const plot = (row, side = "") =>
  make(
    "div",
    { class: `plot ${side}`, share: { low: row.low, high: row.high, at: row.success }, "aria-hidden": "true" },
    make("i"),
    make("b"),
  );
const cell = (text, name) => make("td", { text, class: name });
const heading = (...names) =>
  make("thead", {}, make("tr", {}, ...names.map((name) => make("th", { scope: "col", text: name }))));
const breakable = (name) =>
  visible(name)
    .split("_")
    .flatMap((part, i) => (i ? [`_`, make("wbr"), part] : [part]));

const typeCell = (row, choose) => {
  const button = make("button", {
    class: "cell",
    type: "button",
    on: { click: () => choose({ type: row.all ? "" : row.name, outcome: "" }) },
  });
  button.append(...(row.all ? ["all"] : breakable(row.name)));
  return make("th", { scope: "row" }, button);
};

const showOneTable = (table, set, choose) => {
  table.replaceChildren(
    heading("task type", "", "success", "won", "95 % interval", "steps", "s/episode", "tokens"),
    make(
      "tbody",
      {},
      ...set.scores.map((row) =>
        make(
          "tr",
          { class: row.all && "sum" },
          typeCell(row, choose),
          make("td", { class: "drawn" }, plot(row)),
          ...row.cells.map((text) => cell(text)),
        ),
      ),
    ),
  );
};

const showPairTable = (table, a, b, choose) => {
  const pair = pairOf(a, b);
  const [ofA, ofB] = [a, b].map((n) => new Map(data.sets[n].scores.map((row) => [row.all ? "" : row.name, row])));
  const only = (row, n, outcome) =>
    make(
      "td",
      {},
      make("button", {
        class: "cell",
        type: "button",
        text: n,
        disabled: n === 0,
        on: { click: () => choose({ type: row.all ? "" : row.name, outcome }) },
      }),
    );
  table.replaceChildren(
    heading("task type", "", "A won", "A: 95 % interval", "B won", "B: 95 % interval", "both", "only A", "only B", "p"),
    make(
      "tbody",
      {},
      ...pair.rows.map((row) => {
        const [one, two] = [ofA, ofB].map((rows) => rows.get(row.all ? "" : row.name));
        return make(
          "tr",
          { class: row.all && "sum" },
          typeCell(row, choose),
          make("td", { class: "drawn" }, one ? plot(one, "a") : null, two ? plot(two, "b") : null),
          ...[one, two].flatMap((r) =>
            r ? [cell(`${r.cells[0]} (${r.cells[1]})`), cell(r.cells[2])] : [cell(""), cell("")],
          ),
          cell(row.both),
          only(row, row.first, "a"),
          only(row, row.second, "b"),
          cell(row.p),
        );
      }),
    ),
  );
  return pair;
};

const showSuccess = (state, choose) => {
  const note = byId("success-note");
  if (state.b === null) {
    showOneTable(byId("success"), data.sets[state.a], choose);
    note.textContent =
      "Wilson intervals. A game is won if any of its tries is. Choose a task type to see its episodes.";
    return;
  }
  const { rows, alone } = showPairTable(byId("success"), state.a, state.b, choose);
  const all = rows[rows.length - 1];
  const left = alone.some(Boolean)
    ? ` Left out of it: ${alone[0]} that only A played, ${alone[1]} that only B did.`
    : "";
  note.textContent =
    `McNemar's exact test, two-sided, on the ${plural(all.n, "game")} both played: only A won ${all.first}, ` +
    `only B won ${all.second}, p = ${all.p}; not corrected for the rows.${left} Wilson intervals.`;
};
