"use strict";
// --- what is known of one parameter

function show(node) {
  const detail = byId("detail");
  if (!node || !node.parameter) {
    const inside = node && node.path ? data.parameters.filter((p) => p.fqn.startsWith(`${node.path}.`)) : data.parameters;
    detail.replaceChildren(element("h2", {}, node && node.path ? node.path : "All parameters"), ...depth(inside), ...summary(inside));
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
  if (p.histogram) detail.append(element("h3", {}, titleOf(p.histogram)), histogram(p.histogram));
  if (p.failures) detail.append(element("h3", {}, "Failed tests"));
  for (const message of p.failures || []) detail.append(element("p", { class: "bad" }, message));
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

// how many parameters each rule or call gives values
function summary(parameters) {
  const counts = new Map();
  for (const p of parameters) {
    const from = p.rule ? `${p.rule}: ${p.initializer}` : p.outcome || p.does || (p.changes ? briefly(p) : "");
    counts.set(from, (counts.get(from) || 0) + 1);
  }
  const list = element("dl");
  for (const [from, count] of [...counts].sort((a, b) => b[1] - a[1]).slice(0, 30)) {
    list.append(element("dt", {}, String(count)), element("dd", {}, from));
  }
  return counts.size ? [element("h3", {}, "Parameters by what gives them values"), list] : [];
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
  const steps = high - low < 2 ? [1, 2, 5] : [1];
  for (let power = Math.floor(low); power <= high; power += 1) for (const step of steps) {
    const tick = step * 10 ** power;
    if (Math.log10(tick) < low - 0.01 || Math.log10(tick) > high) continue;
    picture.append(shape("line", { class: "axis", x1: 50, x2: width - 10, y1: y(tick), y2: y(tick) }));
    picture.append(shape("text", { x: 46, y: y(tick) + 4, "text-anchor": "end" }, power < -3 || power > 3 ? tick.toExponential(0) : number(tick)));
  }
  shown.forEach((p, index) => {
    if (p.asked && p.asked[1] > 0) picture.append(shape("circle", { class: "ring", cx: x(index), cy: y(p.asked[1]), r: 4 }));
    if (p.std > 0) {
      const dot = shape("circle", { class: p.verdict === "failed" ? "dot failed" : "dot", cx: x(index), cy: y(p.std), r: 2.5 });
      dot.append(shape("title", {}, `${p.fqn}: ${number(p.std)}` + (p.asked ? `, not ${number(p.asked[1])}`.repeat(p.verdict === "failed") : "")));
      dot.addEventListener("click", () => reveal(p.fqn));
      picture.append(dot);
    }
  });
  return [element("h3", {}, "std by depth: measured (dots), asked for (rings)"), picture];
}
