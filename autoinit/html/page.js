"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
// What several parameters have alike is stored once, and is named by its index.
for (const p of data.parameters) for (const key of ["histogram", "calls"]) if (key in p) p[key] = data.repeated[p[key]];
const byId = (id) => document.getElementById(id);
const ROW = 24;

// Everything that comes from a model is set as text, never as markup.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
function shape(tag, attributes = {}, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}
const number = (x) => (x === 0 ? "0" : Math.abs(x) >= 1e-3 && Math.abs(x) < 1e5 ? String(+x.toPrecision(4)) : x.toExponential(2));

// --- the tree

function treeOf(parameters) {
  const root = { name: "", path: "", children: new Map(), depth: -1, open: true, count: 0 };
  for (const parameter of parameters) {
    let node = root;
    const parts = parameter.fqn.split(".");
    parts.forEach((part, index) => {
      node.count += 1;
      if (!node.children.has(part)) {
        const path = node.path ? `${node.path}.${part}` : part;
        node.children.set(part, { name: part, path, children: new Map(), depth: index, open: parameters.length < 200 && index < 1, count: 0 });
      }
      node = node.children.get(part);
    });
    node.parameter = parameter;
  }
  return root;
}

const filters = {
  failed: ["failed", (p) => p.verdict === "failed"],
  uncovered: ["no rule", (p) => p.uncovered],
  kept: ["kept", (p) => (p.outcome || "").startsWith("kept")],
  filled: ["filled", (p) => p.outcome === "filled"],
  planned: ["planned", (p) => p.outcome === "planned"],
  uncalled: ["no call seen", (p) => p.does === "no call seen"],
  overwritten: ["overwritten", (p) => !p.outcome && (p.calls || []).some((call) => call.overwritten)],
  pending: ["pending", (p) => p.outcome === "pending"],
};
const active = new Set();
const root = treeOf(data.parameters);
let visible = [];
let selected = null;

function matches(parameter, words) {
  if (active.size && ![...active].some((key) => filters[key][1](parameter))) return false;
  const text = [parameter.fqn, parameter.layer, parameter.fill, parameter.rule, briefly(parameter)].join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}

function refresh() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const narrowed = words.length > 0 || active.size > 0;
  visible = [];
  const visit = (node) => {
    if (node.parameter && !node.children.size) {
      if (!matches(node.parameter, words)) return 0;
      visible.push(node);
      return 1;
    }
    const at = visible.length;
    if (node !== root) visible.push(node);
    let found = node.parameter && matches(node.parameter, words) ? 1 : 0;
    const open = node.open || narrowed;
    for (const child of node.children.values()) {
      if (open) found += visit(child);
      else break;
    }
    if (narrowed && !found) visible.length = at;
    return found;
  };
  visit(root);
  byId("rows").style.height = `${visible.length * ROW}px`;
  draw();
}

function mark(parameter) {
  if (parameter.verdict === "failed") return ["✗", "bad"];
  if (parameter.changes) return ["≠", "kept"];
  if (parameter.verdict === "ok") return ["✓", "good"];
  if (parameter.uncovered || parameter.does === "no call seen") return ["○", "bad"];
  if ((parameter.outcome || "").startsWith("kept")) return ["•", "kept"];
  return ["●", "good"];
}

// Only the rows on the screen exist, so that ten thousand parameters scroll as ten do.
function draw() {
  const tree = byId("tree");
  const first = Math.max(0, Math.floor(tree.scrollTop / ROW) - 5);
  const last = Math.min(visible.length, first + Math.ceil(tree.clientHeight / ROW) + 10);
  const made = [];
  for (let index = first; index < last; index += 1) made.push(row(visible[index], index));
  if (!visible.length) made.push(element("p", { class: "empty" }, "No parameter matches."));
  byId("rows").replaceChildren(...made);
}

function briefly(p) {
  if (p.changes) return p.changes.map(([what, first, second]) => (what === "parameter" ? second === "(missing)" ? "only in the first" : "only in the second" : `${first} → ${second}`)).join("; ");
  return p.fill || p.outcome || p.does || "";
}

function row(node, index) {
  const made = element("div", { class: "row", role: "treeitem", "aria-selected": String(node === selected), "aria-level": String(node.depth + 1) });
  made.style.top = `${index * ROW}px`;
  made.style.paddingLeft = `${8 + node.depth * 16}px`;
  if (node.children.size) {
    made.setAttribute("aria-expanded", String(node.open));
    made.append(element("span", { class: "mark" }, node.open ? "▾" : "▸"), element("span", { class: "name" }, node.name));
    made.append(element("span", { class: "what" }, String(node.count)));
  } else {
    const [sign, kind] = mark(node.parameter);
    made.append(element("span", { class: `mark ${kind}` }, sign), element("span", { class: "name" }, node.name));
    made.append(element("span", { class: "what" }, briefly(node.parameter)));
  }
  made.addEventListener("click", () => { select(node); if (node.children.size) toggle(node); });
  return made;
}

function toggle(node, open = !node.open) { node.open = open; refresh(); }

function select(node) {
  selected = node;
  const index = visible.indexOf(node);
  const tree = byId("tree");
  if (index >= 0) {
    if (index * ROW < tree.scrollTop) tree.scrollTop = index * ROW;
    if ((index + 1) * ROW > tree.scrollTop + tree.clientHeight) tree.scrollTop = (index + 1) * ROW - tree.clientHeight;
  }
  draw();
  show(node);
  history.replaceState(null, "", node ? `#${encodeURIComponent(node.path)}` : "#");
}

function reveal(path) {
  let node = root;
  for (const part of path.split(".")) {
    node.open = true;
    node = node.children.get(part);
    if (!node) return;
  }
  refresh();
  select(node);
}

// --- tools and keys

function tools() {
  for (const [key, [label, test]] of Object.entries(filters)) {
    const count = data.parameters.filter(test).length;
    if (!count) continue;
    const button = element("button", { type: "button", "aria-pressed": "false", "data-filter": key }, `${label} ${count}`);
    button.addEventListener("click", () => {
      if (active.has(key)) active.delete(key); else active.add(key);
      button.setAttribute("aria-pressed", String(active.has(key)));
      byId("tree").scrollTop = 0;
      refresh();
    });
    byId("filters").append(button);
  }
  const theme = (name) => document.documentElement.setAttribute("data-theme", name);
  theme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  byId("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  byId("search").addEventListener("input", () => { byId("tree").scrollTop = 0; refresh(); });
  byId("tree").addEventListener("scroll", draw);
  addEventListener("resize", draw);
}

function key(event) {
  if (event.key === "/" && event.target !== byId("search")) { event.preventDefault(); byId("search").focus(); return; }
  if (event.key === "Escape") { byId("search").value = ""; refresh(); byId("tree").focus(); return; }
  if (event.target === byId("search") && event.key !== "ArrowDown") return;
  const index = visible.indexOf(selected);
  const move = { ArrowDown: 1, ArrowUp: -1, PageDown: 20, PageUp: -20, Home: -visible.length, End: visible.length }[event.key];
  if (move !== undefined && visible.length) {
    event.preventDefault();
    byId("tree").focus();
    select(visible[Math.min(visible.length - 1, Math.max(0, index + move))]);
  } else if (selected && selected.children.size && ["ArrowRight", "ArrowLeft", "Enter", " "].includes(event.key)) {
    event.preventDefault();
    toggle(selected, event.key === "ArrowRight" ? true : event.key === "ArrowLeft" ? false : undefined);
  }
}

byId("title").textContent = data.title;
byId("caption").textContent = data.caption || "";
tools();
addEventListener("keydown", key);
refresh();
if (location.hash.length > 1) reveal(decodeURIComponent(location.hash.slice(1)));
else show(null);
