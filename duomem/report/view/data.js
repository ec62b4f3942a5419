// What the page holds: the tables at once, the records of a set when somebody looks at it.
const data = JSON.parse(byId("data").textContent);

const unpack = async (id) => {
  if (!window.DecompressionStream) throw new Error("This browser is too old to unpack the episodes of this page.");
  const bytes = Uint8Array.from(atob(byId(id).textContent), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
};

const taskOf = (row) => (row.goal_source === "template" ? row.game : `${row.game}/${row.goal_source}`);

const episodeOf = (row, index) => ({
  row,
  number: index + 1,
  task: taskOf(row),
  won: row.won,
  type: row.task_type,
  text: [row.goal, row.task_type, row.group, row.player, ...row.steps.map((step) => step.action)]
    .join("\n")
    .toLowerCase(),
});

// A set: its episodes, and by task whether any of its tries won, and the tries.
const kept = new Map();
const load = async (number) => {
  if (!kept.has(number)) {
    const episodes = (await unpack(`records-${number}`)).map(episodeOf);
    const tasks = new Map();
    for (const episode of episodes) {
      const known = tasks.get(episode.task) || { won: false, tries: [] };
      episode.try = known.tries.push(episode) - 1;
      known.won = known.won || episode.won;
      tasks.set(episode.task, known);
    }
    kept.set(number, { number, name: data.sets[number].name, episodes, tasks });
  }
  const loaded = kept.get(number);
  kept.delete(number); // the two that were looked at last stay unpacked
  kept.set(number, loaded);
  if (kept.size > 2) kept.delete(kept.keys().next().value);
  return loaded;
};

// What the set played of an episode's game: the same try if it has it.
const counterpart = (set, episode) => {
  const known = set && set.tasks.get(episode.task);
  return known ? known.tries[Math.min(episode.try, known.tries.length - 1)] : null;
};

const pairOf = (a, b) => {
  const found = data.pairs[`${Math.min(a, b)},${Math.max(a, b)}`];
  if (!found || a < b) return found;
  const swapped = found.rows.map((row) => ({ ...row, first: row.second, second: row.first }));
  return { rows: swapped, alone: [...found.alone].reverse() };
};

const download = (name, text) => {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
};
