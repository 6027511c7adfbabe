"use strict";
const tip = document.getElementById("tip");

function say(text, x, y) {
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  const size = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - size.width - 4)) + "px";
  tip.style.top = (y + 16 + size.height > innerHeight ? Math.max(4, y - size.height - 10) : y + 16) + "px";
}

// --- curves: positions become values again by the scale that each drawing carries
function points(mark) {
  if (!mark.points) {
    mark.points = mark.tagName === "circle"
      ? [[+mark.getAttribute("cx"), +mark.getAttribute("cy")]]
      : mark.getAttribute("d").slice(1).split("L").map((p) => p.split(" ").map(Number));
  }
  return mark.points;
}

function nearest(list, x) {
  let low = 0, high = list.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (list[middle][0] < x) low = middle; else high = middle;
  }
  return x - list[low][0] <= list[high][0] - x ? list[low] : list[high];
}

function curves(svg) {
  return [...svg.querySelectorAll(".line:not(.off), .dot:not(.off)")];
}

function read(svg, x, screenX, screenY) {
  const [left, right, x0, x1, bottom, top, y0, y1] = svg.dataset.scale.split(" ").map(Number);
  const round = (v) => Math.abs(v) >= 1e5 ? Math.round(v).toLocaleString("en") : String(Number(v.toPrecision(4)));
  const within = (list) => x >= list[0][0] - 6 && x <= list.at(-1)[0] + 6;
  const found = curves(svg).filter((mark) => within(points(mark))).map((mark) => ({ s: mark.dataset.s, p: nearest(points(mark), x) }));
  let cross = svg.querySelector(".cross");
  if (!found.length || x < left - 2 || x > right + 2) { leave(svg); return; }
  const at = found.reduce((a, b) => Math.abs(b.p[0] - x) < Math.abs(a.p[0] - x) ? b : a).p[0];
  if (!cross) {
    cross = document.createElementNS("http://www.w3.org/2000/svg", "line");
    cross.setAttribute("class", "cross");
    svg.append(cross);
  }
  for (const [k, v] of Object.entries({ x1: at, x2: at, y1: top, y2: bottom })) cross.setAttribute(k, v);
  const legend = svg.closest("figure").querySelector(".legend");
  const rows = found.slice(0, 12).map(({ s, p }) => {
    const name = legend?.querySelector(`[data-s="${s}"]`)?.textContent ?? "";
    return `${name}: ${round(y0 + (p[1] - bottom) / (top - bottom) * (y1 - y0))}`;
  });
  const value = x0 + (at - left) / (right - left) * (x1 - x0);
  svg.position = at;
  say(`${svg.dataset.x} ${round(value)}\n${rows.join("\n")}`, screenX, screenY);
}

function leave(svg) {
  svg.querySelector(".cross")?.remove();
  say("");
}

for (const svg of document.querySelectorAll("svg[data-scale]")) {
  const width = svg.viewBox.baseVal.width;
  svg.addEventListener("pointermove", (e) => {
    const box = svg.getBoundingClientRect();
    read(svg, (e.clientX - box.left) / box.width * width, e.clientX, e.clientY);
  });
  svg.addEventListener("pointerleave", () => leave(svg));
  svg.addEventListener("blur", () => leave(svg));
  svg.addEventListener("keydown", (e) => {
    if (e.key === "Escape") { leave(svg); return; }
    const step = { ArrowRight: 8, ArrowLeft: -8, Home: -1e9, End: 1e9 }[e.key];
    if (!step) return;
    e.preventDefault();
    const [left, right] = svg.dataset.scale.split(" ").map(Number);
    const x = Math.max(left, Math.min(right, (svg.position ?? left) + step));
    const box = svg.getBoundingClientRect();
    read(svg, x, box.left + x / width * box.width, box.top + box.height / 2);
    svg.position = x;
  });
}

// --- bars, lanes and cells carry their text
document.addEventListener("pointermove", (e) => {
  const text = e.target.dataset?.t;
  if (text) say(text + (e.target.closest("svg").dataset.unit ?? ""), e.clientX, e.clientY);
  else if (!e.target.closest?.("svg[data-scale]")) say("");
});

// --- legends
for (const button of document.querySelectorAll(".legend button")) {
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") === "true";
    button.setAttribute("aria-pressed", String(!on));
    const marks = button.closest("figure").querySelectorAll(`svg [data-s="${button.dataset.s}"]`);
    for (const mark of marks) mark.classList.toggle("off", on);
  });
}

// --- which metric against what
for (const part of document.querySelectorAll(".switch")) {
  const groups = [...part.querySelectorAll(".choice")];
  const chosen = () => groups.map((g) => g.querySelector("[aria-pressed=true]").value);
  for (const button of part.querySelectorAll(".choice button")) {
    button.addEventListener("click", () => {
      for (const other of button.parentElement.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
      const values = chosen();
      const name = values.length > 1 ? values.join("-") : part.dataset.metric + "-" + values[0];
      for (const figure of part.querySelectorAll("figure")) figure.hidden = figure.dataset.name !== name;
    });
  }
}

// --- events
const events = document.getElementById("events");
if (events) {
  const { kinds, logs } = JSON.parse(document.getElementById("data").textContent);
  const form = events.querySelector("form"), body = events.querySelector("tbody"), more = document.getElementById("more");
  let shown = 100;

  function rows(log) {
    if (!log.rows) {
      let time = 0;
      log.rows = log.kind.map((kind, i) => {
        time += log.time[i];
        return { time, kind: kinds[kind], task: log.tasks[log.task[i]] ?? "", client: log.client[i], lease: log.lease[i], value: log.value[i] };
      });
    }
    return log.rows;
  }

  function test(word) {
    const exact = /^(client|lease):(\d+)$/.exec(word);
    if (exact) return (r) => r[exact[1]] === Number(exact[2]);
    return (r) => r.kind.includes(word) || r.task.toLowerCase().includes(word)
      || String(r.client) === word || String(r.lease) === word;
  }

  function value(r) {
    if (["fetched", "arrived"].includes(r.kind)) return r.value.toLocaleString("en") + " B";
    if (["assigned", "offered", "stepped", "evaluated"].includes(r.kind)) return "version " + r.value;
    return r.kind === "joined" ? r.value.toLocaleString("en") + (r.value === 1 ? " client" : " clients") : "";
  }

  function show() {
    const log = logs[form.elements.run.value], kind = form.elements.kind.value;
    const tests = form.elements.text.value.toLowerCase().split(/[\s,]+/).filter(Boolean).map(test);
    const found = rows(log).filter((r) => (!kind || r.kind === kind) && tests.every((t) => t(r)));
    body.textContent = "";
    for (const r of found.slice(0, shown)) {
      const row = body.insertRow();
      const cells = [(r.time / 1e9).toFixed(9).replace(/0{1,6}$/, ""), r.kind, r.task, r.client < 0 ? "" : r.client, r.lease < 0 ? "" : r.lease, value(r)];
      for (const cell of cells) row.insertCell().textContent = cell;
    }
    const part = log.kind.length < log.total ? ` of the first ${log.kind.length.toLocaleString("en")} (the log has ${log.total.toLocaleString("en")})` : "";
    document.getElementById("count").textContent =
      `${found.length.toLocaleString("en")} rows match${part}` + (found.length > shown ? `; the first ${shown} are shown` : "");
    more.hidden = found.length <= shown;
  }

  form.addEventListener("submit", (e) => e.preventDefault());
  form.addEventListener("input", () => { shown = 100; show(); });
  more.addEventListener("click", () => { shown += 400; show(); });
  show();
}
