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

// --- what is known of one parameter

function show(node) {
  const detail = byId("detail");
  if (!node || !node.parameter) {
    const inside = node && node.path ? data.parameters.filter((p) => p.fqn.startsWith(`${node.path}.`)) : data.parameters;
    detail.replaceChildren(element("h2", {}, node && node.path ? node.path : "All parameters"), ...depth(inside));
    return;
  }
  const p = node.parameter;
  const facts = [
    ["shape", p.shape], ["dtype", p.dtype], ["layer", p.layer], ["outcome", p.outcome], ["fill", p.fill], ["rule", p.rule],
    ["initializer", p.initializer], ["overrides", (p.overrides || []).join("\n")], ["fans", (p.fans || []).join(", ")],
    ["also known as", (p.aliases || []).join(", ")],
    ["asked for", p.asked ? `mean ${number(p.asked[0])}, std ${number(p.asked[1])}` : ""],
    ["measured", p.std === undefined ? "" : `mean ${number(p.mean)}, std ${number(p.std)}`],
    ["NaN or infinite", p.nonfinite ? String(p.nonfinite) : ""], ["verdict", p.verdict],
    ["detectable std error", p.detects ? `${number(100 * p.detects)} %` : ""],
  ];
  if (!p.outcome) facts.push(["calls", p.does]);
  for (const [what, first, second] of p.changes || []) facts.push([what, `${first || "(none)"}\n→ ${second || "(none)"}`]);
  const list = element("dl");
  for (const [name, value] of facts) if (value) list.append(element("dt", {}, name), element("dd", {}, value));
  detail.replaceChildren(element("h2", {}, p.fqn), list);
  for (const message of p.failures || []) detail.append(element("p", { class: "bad" }, message));
  if (p.histogram) detail.append(element("h3", {}, titleOf(p.histogram)), histogram(p.histogram));
  if (p.calls && p.calls.length) detail.append(element("h3", {}, "Calls, in order"), calls(p.calls));
}

function calls(list) {
  const made = element("ol");
  for (const call of list) {
    const item = element("li");
    item.append(element("span", { class: call.overwritten ? "overwritten" : "" }, call.call));
    const place = call.file ? `${call.file.replace(/^.*(site|dist)-packages./, "")}:${call.line}` : "";
    item.append(element("span", { class: "where", title: call.file }, `  ${place}` + (call.layer ? ` in ${call.layer}` + (call.module ? ` (${call.module})` : "") : "")));
    if (call.source) item.append(element("pre", {}, call.source));
    made.append(item);
  }
  return made;
}

function titleOf(h) {
  if (!h.counts.length) return "The density that is asked for";
  return h.density ? "Values (bars), and the density that was asked for (line)" : "Values";
}

function histogram(h) {
  const [width, height, bottom] = [480, 200, 180];
  const picture = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "histogram of the values" });
  const top = Math.max(...h.counts, ...(h.density || []), 1);
  const x = (index) => 10 + ((width - 20) * index) / (h.counts.length || h.density.length);
  const y = (count) => bottom - ((bottom - 10) * count) / top;
  h.counts.forEach((count, index) => picture.append(shape("rect", {
    class: "bar", x: x(index), y: y(count), width: Math.max(1, x(1) - x(0) - 1), height: bottom - y(count) })));
  if (h.density) {
    const points = h.density.map((count, index) => `${x(index + 0.5)},${y(count)}`);
    picture.append(shape("polyline", { class: "asked", points: points.join(" ") }));
  }
  picture.append(shape("line", { class: "axis", x1: 10, x2: width - 10, y1: bottom, y2: bottom }));
  picture.append(shape("text", { x: 10, y: height - 4 }, number(h.low)));
  picture.append(shape("text", { x: width - 10, y: height - 4, "text-anchor": "end" }, number(h.high)));
  return picture;
}

// std of every weight in model order: what was measured as dots, what was asked for as rings
function depth(parameters) {
  const spread = parameters.filter((p) => p.std > 0 || (p.asked && p.asked[1] > 0));
  const step = Math.ceil(spread.length / 1000);  // more dots than pixels only cost time
  const shown = spread.filter((p, index) => index % step === 0 || p.verdict === "failed");
  if (!shown.length) return [element("p", { class: "empty" }, "No values: select a parameter.")];
  const [width, height, bottom] = [480, 240, 220];
  const all = shown.flatMap((p) => [p.std, p.asked && p.asked[1]]).filter((value) => value > 0).map(Math.log10);
  const [low, high] = [Math.floor(Math.min(...all) * 2) / 2, Math.ceil(Math.max(...all) * 2) / 2 + 0.001];
  const x = (index) => 50 + ((width - 60) * (index + 0.5)) / shown.length;
  const y = (std) => bottom - ((bottom - 10) * (Math.log10(std) - low)) / (high - low || 1);
  const picture = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "std by depth" });
  for (let tick = Math.ceil(low); tick <= high; tick += 1) {
    picture.append(shape("line", { class: "axis", x1: 46, x2: width - 10, y1: y(10 ** tick), y2: y(10 ** tick) }));
    picture.append(shape("text", { x: 42, y: y(10 ** tick) + 4, "text-anchor": "end" }, `1e${tick}`));
  }
  shown.forEach((p, index) => {
    if (p.asked && p.asked[1] > 0) picture.append(shape("circle", { class: "ring", cx: x(index), cy: y(p.asked[1]), r: 4 }));
    if (p.std > 0) {
      const dot = shape("circle", { class: "dot", cx: x(index), cy: y(p.std), r: 2.5 });
      dot.append(shape("title", {}, `${p.fqn}: ${number(p.std)}`));
      dot.addEventListener("click", () => reveal(p.fqn));
      picture.append(dot);
    }
  });
  return [element("h3", {}, "std by depth: measured (dots), asked for (rings)"), picture];
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
