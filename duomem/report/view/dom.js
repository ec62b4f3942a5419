// Elements made of data: text alone, in which nothing hides or turns what stands beside it.
const byId = (id) => document.getElementById(id);
const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}]/gu;
const PILED = /\p{M}{5,}/gu; // marks on one letter, which would grow over what stands above it
const visible = (text) =>
  String(text)
    .replace(HIDDEN, (c) => (c === "\n" ? c : c === "\t" ? " " : "\ufffd"))
    .replace(PILED, "\ufffd");

// options: text; class; on: {event: handler}; share: numbers as --names of its style; else attributes.
const make = (tag, options = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "text") made.textContent = visible(value);
    else if (name === "on") Object.entries(value).forEach(([event, handler]) => made.addEventListener(event, handler));
    else if (name === "share") Object.entries(value).forEach(([key, n]) => made.style.setProperty(`--${key}`, n));
    else made.setAttribute(name, value === true ? "" : visible(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
};

// What is folded stays as it was when another step or episode is shown, and is made when it is first opened.
const opened = new Set(["memory-A", "memory-B"]);
const fold = (key, title, build) => {
  const made = make("details", {}, make("summary", { text: title }));
  const fill = () => {
    if (made.open && made.children.length === 1) made.append(build());
  };
  made.open = opened.has(key);
  fill();
  made.addEventListener("toggle", () => {
    if (made.open) opened.add(key);
    else opened.delete(key);
    fill();
  });
  return made;
};

const OUTCOME = { true: ["won", "\u2713"], false: ["lost", "\u2717"] };
const chip = (won, before = "") =>
  make("span", { class: `chip ${OUTCOME[won][0]}`, text: `${before}${OUTCOME[won][1]} ${OUTCOME[won][0]}` });
const letter = (name) => make("b", { class: `letter ${name.toLowerCase()}`, text: name });
const seconds = (s) => (s < 1 ? `${Math.round(s * 1000)} ms` : `${s.toFixed(s < 10 ? 2 : 1)} s`);
const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
