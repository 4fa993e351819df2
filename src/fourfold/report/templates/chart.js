"use strict";
/* A line chart in SVG: axes, bands, lines, markers, and reading of points by pointer, touch and arrow keys. */

const NS = "http://www.w3.org/2000/svg";

function element(name, attributes, text) {
  const node = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function html(name, attributes, text) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

/* Both themes at once: the browser chooses, so a change of theme needs no redrawing. */
const paint = (colour) => `light-dark(${colour[0]}, ${colour[1]})`;

const SHAPES = {
  circle: (r) => `M${-r} 0A${r} ${r} 0 1 0 ${r} 0A${r} ${r} 0 1 0 ${-r} 0Z`,
  square: (r) => `M${-r * 0.9} ${-r * 0.9}H${r * 0.9}V${r * 0.9}H${-r * 0.9}Z`,
  triangle: (r) => `M0 ${-r * 1.15}L${r * 1.1} ${r * 0.8}H${-r * 1.1}Z`,
  diamond: (r) => `M0 ${-r * 1.25}L${r * 1.25} 0L0 ${r * 1.25}L${-r * 1.25} 0Z`,
  plus: (r) => `M${-r * 0.4} ${-r * 1.1}H${r * 0.4}V${-r * 0.4}H${r * 1.1}V${r * 0.4}H${r * 0.4}V${r * 1.1}H${-r * 0.4}V${r * 0.4}H${-r * 1.1}V${-r * 0.4}H${-r * 0.4}Z`,
  cross: (r) => `M${-r} ${-r * 0.5}L${-r * 0.5} ${-r}L0 ${-r * 0.5}L${r * 0.5} ${-r}L${r} ${-r * 0.5}L${r * 0.5} 0L${r} ${r * 0.5}L${r * 0.5} ${r}L0 ${r * 0.5}L${-r * 0.5} ${r}L${-r} ${r * 0.5}L${-r * 0.5} 0Z`,
};

function mark(series, point, x, y, radius) {
  const node = element("path", { d: SHAPES[series.marker](radius), transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`, "stroke-width": 1.5 });
  node.style.stroke = paint(series.colour);
  if (point && point.hollow) node.setAttribute("class", "hollow");
  else node.style.fill = paint(series.colour);
  return node;
}

/* A short piece of a series' line with its marker, for legends and switches. */
function swatch(series) {
  const svg = element("svg", { viewBox: "0 0 30 14", "aria-hidden": "true" });
  const line = element("path", { d: "M1 7H29", fill: "none", "stroke-width": series.faint ? 1.5 : 2.2, "stroke-dasharray": (series.dash || []).join(" ") });
  line.style.stroke = paint(series.colour);
  if (series.faint) line.style.opacity = 0.65;
  svg.append(line);
  if (SHAPES[series.marker]) svg.append(mark(series, null, 15, 7, 4));
  return svg;
}

const short = (name) => (name.length > 13 ? `${name.slice(0, 5)}…${name.slice(-7)}` : name);

function linearTicks(low, high, most) {
  const raw = (high - low) / Math.max(most, 1);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((s) => s * power >= raw * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.push(i * step);
  return ticks;
}

function logTicks(low, high, most) {
  let ticks = [];
  for (const steps of [[1, 2, 5], [1, 3], [1]]) {
    ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
      for (const s of steps) {
        const value = s * 10 ** power;
        if (value >= low * 0.999 && value <= high * 1.001) ticks.push(value);
      }
    if (ticks.length <= most) break;
  }
  const every = Math.ceil(ticks.length / Math.max(most, 1));
  return ticks.filter((_, i) => i % every === 0);
}

function scale(axis, values, from, to) {
  let low = axis.low ?? Math.min(...values), high = axis.high ?? Math.max(...values);
  if (axis.log) {
    if (low === high) { low /= 1.5; high *= 1.5; }
    const pad = axis.low === undefined ? (high / low) ** 0.025 : 1;
    low /= pad; high *= pad;
  } else {
    if (low === high) { low -= 1; high += 1; }
    const pad = (high - low) * 0.04;
    low = axis.low ?? low - pad; high = axis.high ?? high + pad;
  }
  const warp = axis.log ? Math.log : (v) => v;
  const part = (v) => (warp(v) - warp(low)) / (warp(high) - warp(low));
  return { low, high, at: (v) => from + (axis.reverse ? 1 - part(v) : part(v)) * (to - from) };
}

class Chart {
  constructor(host, label) {
    this.host = host;
    this.tip = html("div", { class: "tip", hidden: "" });
    this.live = html("p", { class: "sr", "aria-live": "polite" });
    this.svg = element("svg", { "aria-hidden": "true" });
    host.append(this.svg, this.tip, this.live);
    host.tabIndex = 0;
    host.setAttribute("role", "group");
    host.setAttribute("aria-label", `Chart: ${label}. The arrow keys walk through its points.`);
    host.addEventListener("pointermove", (event) => this.nearest(event));
    host.addEventListener("pointerdown", (event) => this.nearest(event));
    host.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") this.leave(); });
    host.addEventListener("focus", () => { if (host.matches(":focus-visible")) this.walk(0, 0); });
    host.addEventListener("blur", () => this.leave());
    host.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(host);
  }

  show(spec) {
    this.spec = spec;
    this.here = null;
    this.draw();
  }

  draw() {
    const width = this.host.clientWidth, height = this.host.clientHeight, spec = this.spec;
    if (!spec || !width) return;
    this.svg.replaceChildren();
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.leave();
    this.placed = [];
    this.bottom = height;
    const points = spec.series.flatMap((series) => series.points);
    if (!points.length) {
      this.svg.append(element("text", { x: width / 2, y: height / 2, "text-anchor": "middle", class: "empty" }, spec.empty || "Nothing is switched on."));
      return;
    }
    const names = spec.x.names;
    const longest = names ? Math.max(...names.map((name) => short(name).length)) : 0;
    const slant = names && names.length * (longest * 7 + 8) > width - 70 ? longest * 5 : 0;
    const box = { left: 0, right: width - 14, top: 14, bottom: height - 44 - slant };
    this.bottom = box.bottom + 4;
    const reach = (p, sign) => p.y + (spec.bands && p.std ? sign * p.std : 0);
    const y = scale(spec.y, points.flatMap((p) => [reach(p, -1), reach(p, 1)]), box.bottom, box.top);
    const ticks = (spec.y.log ? logTicks : linearTicks)(y.low, y.high, Math.floor((box.bottom - box.top) / 40));
    box.left = 28 + 7 * Math.max(...ticks.map((tick) => spec.y.format(tick).length));
    const x = scale(spec.x, points.map((p) => p.x), box.left, box.right);
    this.axes(spec, x, y, ticks, box, slant);
    const clip = `clip-${(Chart.count = (Chart.count || 0) + 1)}`;
    const area = element("clipPath", { id: clip });
    area.append(element("rect", { x: box.left - 8, y: box.top - 8, width: box.right - box.left + 16, height: box.bottom - box.top + 12 }));
    const drawn = element("g", { "clip-path": `url(#${clip})` });
    this.svg.append(area, drawn);
    for (const series of spec.series) if (spec.bands && !series.faint) this.band(series, x, y, drawn);
    for (const series of spec.series) this.line(series, x, y, drawn);
    this.placed.sort((a, b) => Boolean(a.series.faint) - Boolean(b.series.faint)); // the arrow keys begin with our own curves
    this.ring = element("circle", { r: 9, class: "ring", visibility: "hidden" });
    this.svg.append(this.ring);
  }

  axes(spec, x, y, rows, box, slant) {
    const add = (name, attributes, text) => this.svg.append(element(name, attributes, text));
    const columns = Math.floor((box.right - box.left) / 46);
    for (const tick of rows) {
      add("line", { x1: box.left, x2: box.right, y1: y.at(tick), y2: y.at(tick), class: "grid" });
      add("text", { x: box.left - 8, y: y.at(tick) + 4, "text-anchor": "end" }, spec.y.format(tick));
    }
    const every = spec.x.names ? Math.ceil((spec.x.names.length * 17) / (box.right - box.left)) : 1;
    const ticks = spec.x.names ? spec.x.names.map((_, i) => i).filter((i) => i % every === 0) : (spec.x.log ? logTicks : linearTicks)(x.low, x.high, columns);
    for (const tick of ticks) {
      const at = x.at(tick);
      add("line", { x1: at, x2: at, y1: box.top, y2: box.bottom, class: "grid" });
      const label = spec.x.names ? short(spec.x.names[tick]) : spec.x.format(tick);
      if (slant) add("text", { x: at + 3, y: box.bottom + 12, "text-anchor": "end", transform: `rotate(-48 ${at + 3} ${box.bottom + 12})` }, label);
      else add("text", { x: at, y: box.bottom + 18, "text-anchor": "middle" }, label);
    }
    add("line", { x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom, class: "edge" });
    add("text", { x: (box.left + box.right) / 2, y: box.bottom + 36 + slant, "text-anchor": "middle", class: "title" }, box.right < 560 ? spec.x.short || spec.x.label : spec.x.label);
    add("text", { x: 12, y: (box.top + box.bottom) / 2, "text-anchor": "middle", class: "title", transform: `rotate(-90 12 ${(box.top + box.bottom) / 2})` }, spec.y.label);
  }

  band(series, x, y, into) {
    const points = series.points.filter((p) => p.std !== null && p.std !== undefined);
    if (points.length < 2) return;
    const side = (list, sign) => list.map((p) => `${x.at(p.x).toFixed(1)} ${y.at(p.y + sign * p.std).toFixed(1)}`).join("L");
    const path = element("path", { d: `M${side(points, 1)}L${side([...points].reverse(), -1)}Z`, class: "band", opacity: 0.18 });
    path.style.fill = paint(series.colour);
    into.append(path);
  }

  line(series, x, y, into) {
    const at = series.points.map((p) => [x.at(p.x), y.at(p.y)]);
    const path = element("path", {
      d: `M${at.map((xy) => `${xy[0].toFixed(1)} ${xy[1].toFixed(1)}`).join("L")}`, class: "series", fill: "none", "stroke-linejoin": "round",
      "stroke-width": series.faint ? 1.4 : 2.2, "stroke-dasharray": (series.dash || []).join(" "), opacity: series.faint ? 0.65 : 1,
    });
    path.style.stroke = paint(series.colour);
    into.append(path);
    const every = series.sparse ? Math.max(1, Math.round(at.length / 8)) : 1;
    at.forEach((xy, i) => {
      if (SHAPES[series.marker] && i % every === 0) into.append(mark(series, series.points[i], xy[0], xy[1], series.radius || 4));
    });
    if (!series.mute) this.placed.push({ series, at });
  }

  nearest(event) {
    const box = this.host.getBoundingClientRect();
    let best = null;
    this.placed?.forEach((placed, s) => placed.at.forEach(([px, py], p) => {
      if (py > this.bottom || py < 0) return;
      const distance = Math.hypot(px - (event.clientX - box.left), (py - (event.clientY - box.top)) * 0.8);
      if (!best || distance < best.distance) best = { s, p, distance };
    }));
    if (best && best.distance < 60) this.read(best.s, best.p);
    else this.leave();
  }

  key(event) {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (event.key === "Escape") this.leave();
    if (!step || !this.placed?.length) return;
    event.preventDefault();
    const order = this.spec.x.reverse ? -1 : 1;
    const points = this.placed[this.here?.s ?? 0].series.points;
    const rising = points.length < 2 || points[0].x * order <= points[points.length - 1].x * order;
    this.walk(step[0], rising ? step[1] : -step[1]);
  }

  walk(series, point) {
    if (!this.placed?.length) return;
    if (!this.here) return this.read(0, 0);
    const count = this.placed.length, s = (this.here.s + series + count) % count;
    const points = this.placed[s].series.points;
    let p = this.here.p + point;
    if (series) {
      const x = this.placed[this.here.s].at[this.here.p][0], all = this.placed[s].at;
      p = all.reduce((best, xy, i) => (Math.abs(xy[0] - x) < Math.abs(all[best][0] - x) ? i : best), 0);
    }
    return this.read(s, Math.max(0, Math.min(points.length - 1, p)));
  }

  read(s, p) {
    const { series, at } = this.placed[s], [x, real] = at[p], list = html("dl");
    const y = Math.max(0, Math.min(this.bottom, real)); // the keyboard also reads points that are out of sight
    const rows = this.spec.tip(series, series.points[p]);
    for (const [name, value] of rows) list.append(html("dt", {}, name), html("dd", {}, value));
    this.here = { s, p };
    this.tip.replaceChildren(html("b", {}, series.label), list);
    this.tip.hidden = false;
    const narrow = this.host.clientWidth < 520;
    this.tip.classList.toggle("below", narrow);
    const wide = this.tip.offsetWidth, tall = this.tip.offsetHeight, room = this.host.clientWidth;
    const left = x + 16 + wide <= room ? x + 16 : x - 16 - wide >= 0 ? x - 16 - wide : Math.max(0, Math.min(room - wide, x - wide / 2));
    const aside = left > x || left + wide < x;
    const top = aside ? Math.max(0, Math.min(this.host.clientHeight - tall, y - tall / 2)) : y - tall - 16 >= -20 ? y - tall - 16 : y + 16;
    // On a phone it would hide the very curve that it reads: it goes below the chart.
    this.tip.style.transform = narrow ? `translate(0, ${this.host.clientHeight}px)` : `translate(${left}px, ${top}px)`;
    this.ring.setAttribute("cx", x);
    this.ring.setAttribute("cy", y);
    this.ring.setAttribute("visibility", y === real ? "visible" : "hidden");
    this.live.textContent = `${series.label}: ${rows.map((row) => row.join(" ")).join(", ")}`;
  }

  leave() {
    this.tip.hidden = true;
    this.ring?.setAttribute("visibility", "hidden");
  }
}
